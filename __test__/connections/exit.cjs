'use strict';
// Calls a store on a connection and ends at once: node exit.cjs <driver> <path> <way>.

const { SQLiteCacheStore } = require('../..');
const { connect } = require('./drivers.cjs');

const [, , driver, path, way] = process.argv;
const connection = connect(driver, path);
// As better-sqlite3's documentation tells to.
if (way.includes('listener')) process.on('exit', () => connection.close());
new SQLiteCacheStore({ database: connection }).set('key', 'value', 60);
if (way.startsWith('process.exit')) process.exit();
