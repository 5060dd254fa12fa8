'use strict';
// The SQLite drivers whose connections the stores take, and how each opens one. Only what differs between them.

const { statSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');

/** The folder of what the developer's own installation does not have. */
const elsewhere = createRequire(join(__dirname, '../runtimes/package.json'));

/**
 * @typedef {object} OpenOptions
 * @property {boolean} [readonly]
 * @property {number} [timeout]  how long to wait for a lock, in ms
 * @property {boolean} [safeIntegers]  answer every integer as a BigInt
 *
 * @typedef {object} Driver
 * @property {() => any} load  the module's class of connections
 * @property {(Database: any, path: string, options: OpenOptions) => any} open
 * @property {boolean} [refusesWhileIterating]  what writes
 * @property {boolean} [hidesTransaction]  does not tell whether a transaction is open
 * @property {boolean} [keepsStatements]  statements go on with a connection that is closed
 */

/** @type {(Database: any, path: string, options: OpenOptions) => any} */
function openBetterSqlite3(Database, path, { readonly = false, timeout = 5_000, safeIntegers }) {
  const connection = new Database(path, { readonly, timeout });
  if (safeIntegers) connection.defaultSafeIntegers(true);
  return connection;
}

/** @type {Record<string, Driver>} */
const drivers = {
  'better-sqlite3 12': {
    load: () => require('better-sqlite3'),
    open: openBetterSqlite3,
    refusesWhileIterating: true,
  },
  'better-sqlite3 13': {
    load: () => elsewhere('better-sqlite3'),
    open: openBetterSqlite3,
    refusesWhileIterating: true,
  },
  'better-sqlite3-multiple-ciphers': {
    load: () => elsewhere('better-sqlite3-multiple-ciphers'),
    open(Database, path, options) {
      const connection = openBetterSqlite3(Database, path, options);
      if (path.endsWith('.db')) {
        // By default the key is derived in 64,007 rounds, 60 ms for each of some thousand connections.
        connection.pragma('kdf_iter = 1');
        connection.pragma("key = 'a key'");
        // An empty file has no salt yet, and each connection would choose its own.
        if (statSync(path).size === 0) connection.pragma('user_version = 0');
      }
      return connection;
    },
    refusesWhileIterating: true,
  },
  // Not a driver, but what applications pass, too: something around a connection, and no more than is asked for.
  'a Proxy of better-sqlite3 12': {
    load: () => require('better-sqlite3'),
    open: (...args) => new Proxy(openBetterSqlite3(...args), {}),
    refusesWhileIterating: true,
  },
  'prepare and exec of better-sqlite3 12': {
    load: () => require('better-sqlite3'),
    open(...args) {
      const connection = openBetterSqlite3(...args);
      return {
        prepare: (/** @type {string} */ sql) => connection.prepare(sql),
        exec: (/** @type {string} */ sql) => connection.exec(sql),
        close: () => connection.close(),
      };
    },
    refusesWhileIterating: true,
    hidesTransaction: true,
  },
  libsql: {
    load: () => elsewhere('libsql'),
    open(Database, path, { readonly, timeout = 5_000, safeIntegers }) {
      const connection = new Database(path, { timeout });
      // It has no option for this.
      if (readonly) connection.exec('PRAGMA query_only = ON');
      if (safeIntegers) connection.defaultSafeIntegers(true);
      return connection;
    },
    keepsStatements: true,
  },
  'node:sqlite': {
    load: () => /** @type {any} */ (process).getBuiltinModule('node:sqlite').DatabaseSync,
    open: (Database, path, { readonly = false, timeout = 5_000, safeIntegers = false }) =>
      new Database(path, { readOnly: readonly, timeout, readBigInts: safeIntegers }),
  },
  'bun:sqlite': {
    load: () => require(`bun:${'sqlite'}`).Database,
    open(Database, path, { readonly = false, timeout = 5_000, safeIntegers = false }) {
      const connection = new Database(path, {
        ...(readonly ? { readonly } : { readwrite: true, create: true }),
        safeIntegers,
      });
      connection.run(`PRAGMA busy_timeout = ${timeout}`);
      return connection;
    },
    keepsStatements: true,
  },
};

/**
 * The drivers to be tested in this process: those named in the environment variable DRIVERS, separated by commas; by
 * default those which this runtime can load once `node scripts/runtimes.mjs install` has run.
 */
function chosen() {
  if (process.env.DRIVERS) return process.env.DRIVERS.split(',');
  if (process.versions.bun) return ['bun:sqlite'];
  const [major, minor] = process.versions.node.split('.').map(Number);
  const newer = ['better-sqlite3 13', 'better-sqlite3-multiple-ciphers', 'node:sqlite'];
  return [
    'better-sqlite3 12',
    'a Proxy of better-sqlite3 12',
    'prepare and exec of better-sqlite3 12',
    'libsql',
    ...(major > 22 || (major === 22 && minor >= 13) ? newer : []),
  ];
}

/**
 * A connection of a driver.
 * @param {string} name
 * @param {string} path
 * @param {OpenOptions} [options]
 */
function connect(name, path, options = {}) {
  return drivers[name].open(drivers[name].load(), path, options);
}

/**
 * Whether a text that a driver reads ends at a NUL: some versions cut it.
 * @param {string} name
 */
function cutsTexts(name) {
  const connection = connect(name, ':memory:');
  const { text } = connection.prepare("SELECT 'a' || char(0) AS text").get();
  connection.close();
  return text === 'a';
}

module.exports = { drivers, chosen, connect, cutsTexts };
