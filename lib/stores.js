'use strict';

// The four stores on one database, as one object that closes them.

const { createMemoryDatabase } = require('./binding.js');
const once = require('./once.js');
const refuse = require('./refuse.js');
/** @type {any} */
const stores = require('./realm.js');

/** What is the same for all stores, but for `database`. */
const SHARED = /** @type {const} */ ([
  'busyTimeoutMs',
  'requestTimeoutMs',
  'journalMode',
  'synchronous',
]);

/** The members, and their classes. */
const CLASSES = /** @type {const} */ ({
  cache: stores.SQLiteCacheStore,
  dedupe: stores.SQLiteDedupeStore,
  rateLimit: stores.SQLiteRateLimitStore,
  adaptiveRateLimit: stores.SqliteAdaptiveRateLimitStore,
});

/** Where they differ from those of the classes. @type {Record<string, Record<string, unknown>>} */
const DEFAULTS = { cache: { zeroTtl: 'forever' }, dedupe: { resultTtlMs: 1_000 } };

/** @param {string} name @param {any} value @returns {Record<string, any>} */
function objectOf(name, value) {
  if (value === undefined) return {};
  if (typeof value === 'object' && value !== null) return value;
  return refuse(name, 'an object', value);
}

/** @param {any} database */
function shared(database) {
  const isMemory =
    database === undefined || (typeof database === 'string' && database.trim() === ':memory:');
  return isMemory ? createMemoryDatabase() : database;
}

class Stores {
  /** @param {string} hash @param {() => unknown} work @param {unknown} options */
  once(hash, work, options) {
    return once(this, hash, work, options);
  }

  /** @this {any} @param {string} path @param {unknown} [options] */
  backup(path, options = undefined) {
    return this.cache.backup(path, options);
  }

  /** @this {any} */
  vacuum() {
    return this.cache.vacuum();
  }

  close() {
    return Promise.all(Object.keys(CLASSES).map((name) => this[name].close())).then(() => {});
  }
}
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');
Object.defineProperty(Stores.prototype, asyncDispose, {
  /** @this {Stores} */
  value: function close() {
    return this.close();
  },
  writable: true,
  configurable: true,
});

/** @param {any} [options] @returns {any} */
exports.createSQLiteStores = function createSQLiteStores(options = undefined) {
  const given = objectOf('options', options);
  /** @type {Record<string, any>} */
  const parts = {};
  for (const name of Object.keys(CLASSES)) parts[name] = objectOf(name, given[name]);
  const database = shared(given.database);
  /** @type {any} */
  const made = new Stores();
  try {
    for (const [name, Store] of Object.entries(CLASSES)) {
      const own = { ...parts[name], database };
      for (const option of SHARED) own[option] = given[option];
      own.onError ??= given.onError;
      for (const [option, value] of Object.entries(DEFAULTS[name] ?? {}))
        if (own[option] === undefined) own[option] = value;
      made[name] = new Store(own);
    }
  } catch (error) {
    for (const name of Object.keys(CLASSES)) made[name]?.destroy();
    throw error;
  }
  return made;
};
