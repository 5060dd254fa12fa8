// What is measured: the stores of this package, of version 0.2.0, and hand-written ones, each on files of its own.

import { join } from 'node:path';
import Database from 'better-sqlite3';
import * as theirs from 'sqlite-store-0.2.0';
import * as ours from '../index.mjs';
import * as handWritten from './hand-written.mjs';

const DAY = 86_400_000;
const limits = { defaultConfig: { limit: 1e9, windowMs: DAY } };

/** Requests that the limiters have seen before, by resource: so many within the window. */
export const SEEDED = {
  'requests-50': 50,
  'requests-1000': 1_000,
  'requests-10000': 10_000,
  'requests-100000': 100_000,
};

/** A connection with the settings that the path has by default. @param {string} file */
export function connect(file) {
  const connection = new Database(file);
  connection.pragma('journal_mode = WAL');
  connection.pragma('synchronous = NORMAL');
  return connection;
}

/** Puts requests into a file that nobody has open. @param {string} file */
function seed(file) {
  const connection = new Database(file);
  new handWritten.RateLimitStore({ database: connection, ...limits });
  const insert = connection.prepare('INSERT INTO rate_limits (resource, timestamp) VALUES (?, ?)');
  const now = Date.now();
  connection.transaction(() => {
    for (const [resource, count] of Object.entries(SEEDED))
      for (let i = 0; i < count; i++) insert.run(resource, now - count + i);
  })();
  connection.close();
}

const classes = {
  ours: {
    cache: ours.SQLiteCacheStore,
    dedupe: ours.SQLiteDedupeStore,
    rate: ours.SQLiteRateLimitStore,
    adaptive: ours.SqliteAdaptiveRateLimitStore,
  },
  theirs: {
    cache: theirs.SQLiteCacheStore,
    dedupe: theirs.SQLiteDedupeStore,
    rate: theirs.SQLiteRateLimitStore,
    adaptive: theirs.SqliteAdaptiveRateLimitStore,
  },
  handWritten: {
    cache: handWritten.CacheStore,
    dedupe: handWritten.DedupeStore,
    rate: handWritten.RateLimitStore,
    adaptive: handWritten.AdaptiveRateLimitStore,
  },
};

/** @typedef {'cache' | 'dedupe' | 'rate' | 'adaptive'} Kind */
/** @typedef {{ close: () => Promise<void>, [kind: string]: any }} Peer */

const notFlushed = 'WAL, NORMAL: survives the process, not a power failure';
const flushed = 'flushed to the disk on each commit';

/**
 * The peers: whose classes, on what, with which options, and what is certain once a write has resolved.
 * @type {Record<string, { of: keyof typeof classes, on: 'path' | 'connection' | 'memory', options?: object, durability: string }>}
 */
export const definitions = {
  ours: { of: 'ours', on: 'path', durability: notFlushed },
  "ours, synchronous: 'full'": {
    of: 'ours',
    on: 'path',
    options: { synchronous: 'full' },
    durability: flushed,
  },
  'ours on a connection': { of: 'ours', on: 'connection', durability: notFlushed },
  'ours in memory': { of: 'ours', on: 'memory', durability: 'none' },
  '0.2.0': { of: 'theirs', on: 'path', durability: flushed },
  '0.2.0 on a connection': { of: 'theirs', on: 'connection', durability: notFlushed },
  '0.2.0 in memory': { of: 'theirs', on: 'memory', durability: 'none' },
  'hand-written': { of: 'handWritten', on: 'connection', durability: notFlushed },
  'hand-written in memory': { of: 'handWritten', on: 'memory', durability: 'none' },
};

/**
 * Opens a peer's store of one kind, on a file of its own.
 * @param {string} name
 * @param {Kind} kind
 * @param {string} directory
 * @returns {Peer}
 */
export function open(name, kind, directory) {
  const { of, on, options } = definitions[name];
  const file =
    on === 'memory' ? ':memory:' : join(directory, `${name.replace(/[^\w.-]+/g, '-')}.db`);
  if (kind === 'rate' && on !== 'memory') seed(file);
  const connection = on === 'connection' || of === 'handWritten' ? connect(file) : undefined;
  /** @type {any} */
  const Store = classes[of][kind];
  const store = new Store({
    database: connection ?? file,
    jobTimeoutMs: DAY,
    // Nothing is cleaned up meanwhile. In 0.2.0 an interval of 0 cleans up all the time.
    cleanupIntervalMs: 2 ** 31 - 1,
    ...limits,
    ...options,
  });
  return {
    [kind]: store,
    async close() {
      await store.close();
      connection?.close();
    },
  };
}
