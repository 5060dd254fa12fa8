'use strict';
// The stores as suites know them that name a path or ':memory:', but on a connection: one for all stores on a path.

const { existsSync } = require('node:fs');
const { dirname } = require('node:path');

/**
 * @param {Record<string, any>} stores
 * @param {(path: string) => any} open  opens a connection
 * @param {object} [defaults]  options of all stores
 * @returns {Record<string, any>}
 */
function onConnections(stores, open, defaults = {}) {
  /** @type {Map<string, any>} */
  const onFiles = new Map();

  /** @param {any} database */
  function connectionFor(database) {
    if (database === undefined || database === ':memory:') return open(':memory:');
    // What a connection cannot be had for is for the store to refuse.
    if (typeof database !== 'string' || !existsSync(dirname(database))) return database;
    for (const [path, connection] of onFiles) {
      if (existsSync(path)) continue;
      // Of an earlier test, which has removed its directory.
      connection.close();
      onFiles.delete(path);
    }
    const connection = onFiles.get(database) ?? open(database);
    onFiles.set(database, connection);
    return connection;
  }

  /** @param {any} Store */
  const wrap = (Store) =>
    class extends Store {
      /** @param {any} [options] */
      constructor(options = {}) {
        super(
          typeof options === 'object' && options !== null
            ? { ...defaults, ...options, database: connectionFor(options.database) }
            : options,
        );
      }
    };
  return Object.fromEntries(
    Object.entries(stores).map(([name, value]) => [
      name,
      name.endsWith('Store') ? wrap(value) : value,
    ]),
  );
}

module.exports = { onConnections };
