'use strict';
// Calls a store on a connection and ends at once.

const { SQLiteCacheStore } = require('../..');
const { connect } = require('../support/drivers.cjs');

const { driver, path, way } = JSON.parse(process.argv[2]);
const connection = connect(driver, path);
// As better-sqlite3's documentation tells to.
if (way.includes('listener')) process.on('exit', () => connection.close());
new SQLiteCacheStore({ database: connection }).set('key', 'value', 60);
if (way.startsWith('process.exit')) process.exit();
