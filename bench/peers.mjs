// What is measured, each on files of its own: the stores of this package, of version 0.2.0, hand-written ones, and
// other packages. Nothing is loaded before it is opened, so that loading can be measured too.

import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PREVIOUS } from '../scripts/previous.mjs';

const DAY = 86_400_000;
const limits = { defaultConfig: { limit: 1e9, windowMs: DAY } };

/** Requests that the limiters have seen before, by resource: so many within the window. */
const SEEDED = {
  'requests-50': 50,
  'requests-1000': 1_000,
  'requests-10000': 10_000,
  'requests-100000': 100_000,
};

/** @typedef {'cache' | 'dedupe' | 'rate' | 'adaptive'} Kind */
/** @typedef {{ close: () => Promise<void>, [kind: string]: any }} Peer */
/** @typedef {(options: object) => any} Make */

const published = {
  cache: 'SQLiteCacheStore',
  dedupe: 'SQLiteDedupeStore',
  rate: 'SQLiteRateLimitStore',
  adaptive: 'SqliteAdaptiveRateLimitStore',
};

/** This package as it was built in a folder. @param {string} folder */
function buildIn(folder) {
  return { load: () => import(pathToFileURL(join(folder, 'index.mjs')).href), names: published };
}

/** Whose stores: how they are loaded, and the classes' names. */
const sources = {
  ours: { load: () => import('../index.mjs'), names: published },
  previous: buildIn(PREVIOUS),
  theirs: { load: () => import('sqlite-store-0.2.0'), names: published },
  handWritten: {
    load: () => import('./hand-written.mjs'),
    names: {
      cache: 'CacheStore',
      dedupe: 'DedupeStore',
      rate: 'RateLimitStore',
      adaptive: 'AdaptiveRateLimitStore',
    },
  },
};

const NOT_FLUSHED = 'WAL, NORMAL';
const NONE = 'none';

export const durabilities = {
  [NOT_FLUSHED]:
    'a write that has resolved survives the end of the process; the last ones may be lost in a power failure',
  'WAL, FULL': 'each commit is flushed to the disk before its writes resolve',
  'rollback journal, FULL': 'the same, with the older journal: SQLite as it comes',
  'flush follows':
    'a write resolves when it is committed and visible; its flush overlaps with what follows, and a later commit waits for it',
  [NONE]: 'nothing survives the process',
};

/**
 * @typedef {object} Definition
 * @property {string} what
 * @property {string} durability  what is certain once a write has resolved: one of `durabilities`
 * @property {keyof typeof sources} [of]  whose stores
 * @property {'path' | 'connection' | 'memory'} on
 * @property {object} [options]
 * @property {(on: { file: string, connection?: any }) => any} [open]  of a store that is none of `sources`
 */

/** @type {Record<string, Definition>} */
export const definitions = {
  ours: {
    what: 'the stores of this package on a path, with their defaults',
    of: 'ours',
    on: 'path',
    durability: NOT_FLUSHED,
  },
  'ours, full': {
    what: "the same with `synchronous: 'full'`",
    of: 'ours',
    on: 'path',
    options: { synchronous: 'full' },
    durability: 'WAL, FULL',
  },
  'ours on a connection': {
    what: 'the stores of this package on a better-sqlite3 connection',
    of: 'ours',
    on: 'connection',
    durability: NOT_FLUSHED,
  },
  'ours in memory': {
    what: "the stores of this package on `':memory:'`",
    of: 'ours',
    on: 'memory',
    durability: NONE,
  },
  '0.3.0': {
    what: 'version 0.3.0 of this package on a path, as `scripts/previous.mjs` builds it',
    of: 'previous',
    on: 'path',
    durability: NOT_FLUSHED,
  },
  '0.2.0': {
    what: '`@comic-vine/sqlite-store@0.2.0` on a path',
    of: 'theirs',
    on: 'path',
    durability: 'rollback journal, FULL',
  },
  '0.2.0 on a connection': {
    what: 'version 0.2.0 on a better-sqlite3 connection',
    of: 'theirs',
    on: 'connection',
    durability: NOT_FLUSHED,
  },
  '0.2.0 in memory': {
    what: "version 0.2.0 on `':memory:'`",
    of: 'theirs',
    on: 'memory',
    durability: NONE,
  },
  'hand-written': {
    what: 'plain JavaScript on better-sqlite3, statements prepared once, plain JSON: `bench/hand-written.mjs`',
    of: 'handWritten',
    on: 'connection',
    durability: NOT_FLUSHED,
  },
  'hand-written in memory': {
    what: "the same on `':memory:'`",
    of: 'handWritten',
    on: 'memory',
    durability: NONE,
  },
  '@keyv/sqlite': {
    what: '`keyv` on `@keyv/sqlite`, its own serialization; its connection set to WAL and NORMAL',
    on: 'path',
    open: async ({ file }) => (await import('./adapters.mjs')).keyvStore(file),
    durability: NOT_FLUSHED,
  },
  lmdb: {
    what: '`lmdb` with its defaults (MessagePack), an awaited `put`; expiry added',
    on: 'path',
    open: async ({ file }) => (await import('./adapters.mjs')).lmdbStore(file),
    durability: 'flush follows',
  },
  'rate-limiter-flexible': {
    what: '`RateLimiterSQLite` on better-sqlite3: one counter per fixed window, so it knows no sliding window; `canProceed` is its `get`, `record` its `consume`',
    on: 'connection',
    open: async ({ connection }) =>
      (await import('./adapters.mjs')).flexibleLimiter(connection, SEEDED),
    durability: NOT_FLUSHED,
  },
  'JSON alone': {
    what: '`JSON.parse` and `JSON.stringify` with the texts in a `Map`: what they alone take of a call',
    on: 'memory',
    open: async () => (await import('./adapters.mjs')).jsonAlone(),
    durability: NONE,
  },
};

/**
 * Adds the stores of another build of this package as a peer.
 * @param {string} folder  where that lies, built
 */
export function addBuild(folder) {
  Object.assign(sources, { build: buildIn(folder) });
  for (const name of ['ours', 'ours in memory'])
    definitions[buildOf(name)] = {
      ...definitions[name],
      what: `another build of this package: ${definitions[name].what}`,
      of: /** @type {any} */ ('build'),
    };
}

/** The peer that is the other build of `ours` or `ours in memory`. @param {string} name */
export const buildOf = (name) => name.replace('ours', 'other build');

/** A connection with the settings that a path has by default. @param {string} file */
export async function connect(file) {
  const { default: Database } = await import('better-sqlite3');
  const connection = new Database(file);
  connection.pragma('journal_mode = WAL');
  connection.pragma('synchronous = NORMAL');
  return connection;
}

/**
 * Makes a file with the requests that have been seen, unless there is one.
 * @param {string} directory
 */
async function seed(directory) {
  const file = join(directory, 'seeded.db');
  const connection = await connect(file);
  const { SCHEMA } = await sources.handWritten.load();
  connection.exec(SCHEMA);
  const insert = connection.prepare('INSERT INTO rate_limits (resource, timestamp) VALUES (?, ?)');
  const now = Date.now();
  if (connection.prepare('SELECT 1 FROM rate_limits LIMIT 1').get() === undefined)
    connection.transaction(() => {
      for (const [resource, count] of Object.entries(SEEDED))
        for (let i = 0; i < count; i++) insert.run(resource, now - count + i);
    })();
  // As version 0.2.0 would have left it; who wants WAL says so.
  connection.pragma('journal_mode = DELETE');
  connection.close();
  return file;
}

/**
 * Where a peer's file lies in a directory.
 * @param {string} name
 * @param {string} directory
 */
export const fileOf = (name, directory) =>
  definitions[name].on === 'memory'
    ? ':memory:'
    : join(directory, `${name.replace(/[^\w.-]+/g, '-')}.db`);

/** Loads what a peer of `sources` is made of. @param {string} name */
export async function preload(name) {
  const { of, on } = definitions[name];
  if (of) await sources[of].load();
  if (on === 'connection') await import('better-sqlite3');
}

/**
 * Opens a peer's stores of some kinds, all on one file.
 * @param {string} name
 * @param {Kind[]} kinds
 * @param {string} directory
 * @returns {Promise<Peer>}
 */
export async function open(name, kinds, directory) {
  const { of, on, options, open: openOther } = definitions[name];
  const file = fileOf(name, directory);
  if (of && kinds.includes('rate') && on !== 'memory') copyFileSync(await seed(directory), file);
  const connection = on === 'connection' || of === 'handWritten' ? await connect(file) : undefined;
  /** @type {Record<string, any>} */
  const stores = {};
  for (const kind of kinds) {
    if (openOther) stores[kind] = await openOther({ file, connection });
    if (!of) continue;
    const { load, names } = sources[of];
    const Store = /** @type {any} */ (await load())[names[kind]];
    stores[kind] = new Store({
      database: connection ?? file,
      jobTimeoutMs: DAY,
      // Nothing is cleaned up meanwhile. In 0.2.0 an interval of 0 cleans up all the time.
      cleanupIntervalMs: 2 ** 31 - 1,
      ...limits,
      ...options,
    });
  }
  return {
    ...stores,
    async close() {
      for (const store of Object.values(stores)) await store.close();
      connection?.close();
    },
  };
}
