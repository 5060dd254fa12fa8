'use strict';
// Whose stores a test is about, and how they are given their database.

const Database = require('better-sqlite3');
const { onConnections } = require('./on-connections.cjs');

/**
 * @typedef {object} Implementation
 * @property {'ours' | '0.2.0'} version
 * @property {'path' | 'connection' | 'client' | 'server'} by  a client: of a server, on a file
 * @property {string} [url]  of the server
 * @property {number} [ahead]  by how many ms the clock of `Date` is ahead of the system's
 * @property {number} [timeout]  of the connection: how long it waits for a lock, in ms
 */

/** @type {Implementation} */
const OURS_ON_PATHS = { version: 'ours', by: 'path' };
/** @type {Implementation} */
const OURS_ON_CONNECTIONS = { version: 'ours', by: 'connection' };

/**
 * A connection as an application makes it whose processes share a file.
 * @param {string} path
 * @param {number} [timeout]  how long to wait for a lock, in ms
 */
function connect(path, timeout = 5_000) {
  const connection = new Database(path, { timeout });
  connection.pragma('journal_mode = WAL');
  connection.pragma('synchronous = NORMAL');
  return connection;
}

/**
 * Stores on a server, whatever they name as `database`.
 * @param {Record<string, any>} stores @param {string} url @returns {Record<string, any>}
 */
function onServer(stores, url) {
  const client = require('./servers.cjs').connect(url);
  /** @param {any} Store */
  const wrap = (Store) =>
    class extends Store {
      /** @param {any} options */
      constructor(options) {
        super({ ...options, database: client });
      }
    };
  const names = Object.keys(stores).filter((name) => name.endsWith('Store'));
  return Object.fromEntries(names.map((name) => [name, wrap(stores[name])]));
}

/**
 * The store classes of an implementation. All take a path as `database`; those on connections open one for it, which all
 * stores of the process share.
 * @param {Implementation} implementation
 * @returns {Promise<Record<string, any>>}
 */
async function storesOf({ version, by, timeout, url, ahead = 0 }) {
  if (ahead !== 0) {
    const { now } = Date;
    Date.now = () => now() + ahead;
  }
  if (by === 'server') return onServer(require('../..'), /** @type {string} */ (url));
  if (by === 'client') {
    const clientOf = require('./servers.cjs').connect;
    return onConnections(require('../..'), (path) => {
      if (path === ':memory:') return clientOf(path);
      const client = clientOf(`file:${path}`);
      // Without it, who reads keeps others from writing.
      client.execute('PRAGMA journal_mode = WAL');
      return client;
    });
  }
  const stores = version === 'ours' ? require('../..') : await import('sqlite-store-0.2.0');
  return by === 'path' ? stores : onConnections(stores, (path) => connect(path, timeout));
}

module.exports = { OURS_ON_CONNECTIONS, OURS_ON_PATHS, connect, storesOf };
