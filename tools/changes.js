'use strict';

// What changes a file: through the package's own stores, so that other processes notice, and see all or nothing of a step.

const { SQLiteCacheStore } = require('../index.js');
const { count, openFile } = require('./inspection/index.js');
const { journalMode } = require('./inspection/stats.js');

/**
 * Opens a store, has it work, and closes it. The file keeps its journal mode.
 * @template T @param {string} path @param {(store: SQLiteCacheStore) => Promise<T>} work @returns {Promise<T>}
 */
async function withStore(path, work) {
  const options = { cleanupIntervalMs: 0, journalMode: journalMode(openFile(path)) };
  const store = new SQLiteCacheStore({ database: path, ...options });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/**
 * Removes entries of the cache.
 * @param {string} path @param {import('./inspection/entries.js').Selection} selection  one of its members
 * @param {{ now: number }} options
 * @returns {Promise<number>} how many there were
 */
async function purge(path, selection, { now }) {
  const found = count(openFile(path), selection, now);
  await withStore(path, async (store) => {
    const { key, prefix, tag, expired } = selection;
    if (key !== undefined) await store.delete(key);
    else if (prefix !== undefined) await store.clear(prefix);
    else if (tag !== undefined) await store.invalidateByTag(tag);
    else if (expired) await store.cleanup();
    else await store.clear();
  });
  return found;
}

/** Rebuilds the file without what is free in it. @param {string} path @returns {Promise<{ freedBytes: number }>} */
const vacuum = (path) => withStore(path, (store) => store.vacuum());

module.exports = { purge, vacuum };
