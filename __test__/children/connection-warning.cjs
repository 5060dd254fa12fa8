'use strict';
// Opens files in ways of which some are dangerous, and tells what warnings that gave.
// In a process of its own: two copies of SQLite are on one file here.

const { symlinkSync } = require('node:fs');
const { join } = require('node:path');
const { SQLiteCacheStore } = require('../..');
const { connect } = require('../support/drivers.cjs');

const { driver, directory } = JSON.parse(process.argv[2]);
const path = (/** @type {string} */ name) => join(directory, `${name}.sqlite`);
/** @param {any} database */
const make = (database) => new SQLiteCacheStore({ database, cleanupIntervalMs: 0 });
/** @param {string} name */
function connection(name) {
  const opened = connect(driver, path(name));
  // A file is there only when something is in it, and this one stays open.
  opened.exec('CREATE TABLE IF NOT EXISTS own (n INTEGER)');
  return opened;
}

/** @type {Record<string, () => void>} */
const ways = {
  'only by path': () => make(path('a')),
  'twice by path': () => {
    make(path('b'));
    make(path('b'));
  },
  'another file': () => {
    connection('c');
    make(path('d'));
  },
  'by connection, then connection': () => {
    const opened = connection('e');
    make(opened);
    make(opened);
  },
  'by connection, then path': () => {
    make(connection('f'));
    make(path('f'));
  },
  'by connection, then path through a link': () => {
    connection('g');
    symlinkSync(path('g'), path('h'));
    make(path('h'));
  },
};

/** @type {Record<string, any[]>} */
const warnings = {};
let current = '';
process.on('warning', (/** @type {any} */ warning) => {
  if (warning.name !== 'ExperimentalWarning') warnings[current].push(warning.code);
});

async function main() {
  for (const [name, open] of Object.entries(ways)) {
    current = name;
    warnings[name] = [];
    open();
    // Warnings are emitted on the next tick.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  process.stdout.write(JSON.stringify(warnings));
}

main();
