'use strict';
// Holds a file's write lock, as any other program might. Says `locked` when it has it, and lets go when its stdin ends.

const { connect } = require('../support/drivers.cjs');

const { path, kind, journalMode, driver = 'better-sqlite3 12' } = JSON.parse(process.argv[2]);
const db = connect(driver, path);
if (journalMode) db.exec(`PRAGMA journal_mode = ${journalMode}`);
db.exec('CREATE TABLE IF NOT EXISTS other (moment INTEGER)');
db.exec(`BEGIN ${kind}`);
db.exec(`INSERT INTO other VALUES (${Date.now()})`);
process.stdin.on('end', () => {
  db.exec('COMMIT');
  db.close();
});
process.stdin.resume();
process.stdout.write('locked\n');
