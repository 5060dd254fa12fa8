'use strict';
// Holds a lock on a database from a process of its own: node lock.cjs <driver> <path> <BEGIN …>. Says "held" when it
// has it, and lets go when its stdin ends.

const { connect } = require('./drivers.cjs');

const [, , driver, path, begin] = process.argv;
const connection = connect(driver, path);
connection.exec(begin);
process.stdout.write('held');
process.stdin.on('end', () => {
  connection.exec('ROLLBACK');
  connection.close();
});
process.stdin.resume();
