'use strict';
// Holds a file's write lock, as any other program might, until its parent says `release`.
// Run as: node lock.cjs <path> <'IMMEDIATE' or 'EXCLUSIVE'> <journal mode, or nothing to leave it>

const Database = require('better-sqlite3');

const [path, kind, journalMode] = process.argv.slice(2);
const db = new Database(path);
if (journalMode) db.pragma(`journal_mode = ${journalMode}`);
db.exec('CREATE TABLE IF NOT EXISTS other (moment INTEGER)');
db.exec(`BEGIN ${kind}`);
db.prepare('INSERT INTO other VALUES (?)').run(Date.now());
process.on('message', () => {
  db.exec('COMMIT');
  db.close();
  process.disconnect();
});
process.send?.('locked');
