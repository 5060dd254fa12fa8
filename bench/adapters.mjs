// Other packages that keep a cache or a limit in a file, behind the methods that the cases call. They are packages of
// bench/package.json, which not every checkout has installed.

import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);
const DAY_SECONDS = 86_400;

/**
 * keyv on @keyv/sqlite, with keyv's own serialization. It keeps the journal mode and `synchronous` that SQLite has by
 * default, and has no option for them; here it gets those of the other peers.
 * @param {string} file
 */
export async function keyvStore(file) {
  const { Keyv } = load('keyv');
  const { KeyvSqlite } = load('@keyv/sqlite');
  const store = new KeyvSqlite({ uri: `sqlite://${file}` });
  await store.query('PRAGMA journal_mode = WAL');
  await store.query('PRAGMA synchronous = NORMAL');
  const keyv = new Keyv({ store });
  return {
    /** @param {string} key */
    get: (key) => keyv.get(key),
    /** @param {string} key @param {unknown} value @param {number} ttlSeconds */
    set: (key, value, ttlSeconds) => keyv.set(key, value, ttlSeconds * 1000),
    close: () => keyv.disconnect(),
  };
}

/**
 * lmdb as it comes: MessagePack; `put` resolves when it is committed, and its flush overlaps with what follows. It has no
 * TTL, so an entry carries its own.
 * @param {string} file
 */
export function lmdbStore(file) {
  const database = load('lmdb').open({ path: file });
  return {
    /** @param {string} key */
    async get(key) {
      const entry = database.get(key);
      return entry !== undefined && Date.now() < entry.expiresAt ? entry.value : undefined;
    },
    /** @param {string} key @param {unknown} value @param {number} ttlSeconds */
    set: (key, value, ttlSeconds) =>
      database.put(key, { value, expiresAt: Date.now() + ttlSeconds * 1000 }),
    close: () => database.close(),
  };
}

/**
 * rate-limiter-flexible on better-sqlite3: a counter per fixed window, not the requests of a sliding one.
 * @param {import('better-sqlite3').Database} connection
 * @param {Record<string, number>} seeded  how many requests it has seen, by resource
 */
export async function flexibleLimiter(connection, seeded) {
  const { RateLimiterSQLite } = load('rate-limiter-flexible');
  /** @type {any} */
  const limiter = await new Promise((resolve, reject) => {
    const made = new RateLimiterSQLite(
      {
        storeClient: connection,
        storeType: 'better-sqlite3',
        tableName: 'limits',
        points: 1e9,
        duration: DAY_SECONDS,
      },
      (/** @type {unknown} */ error) => (error ? reject(error) : resolve(made)),
    );
  });
  for (const [resource, count] of Object.entries(seeded))
    await limiter.set(resource, count, DAY_SECONDS);
  return {
    /** @param {string} resource */
    async canProceed(resource) {
      const state = await limiter.get(resource);
      return state === null || state.remainingPoints > 0;
    },
    /** @param {string} resource */
    record: (resource) => limiter.consume(resource),
    /** @param {string} resource */
    reset: (resource) => limiter.delete(resource),
    async close() {},
  };
}

/** Nothing but JSON: what serializing and parsing alone take. */
export function jsonAlone() {
  /** @type {Map<string, string>} */
  const texts = new Map();
  return {
    /** @param {string} key */
    async get(key) {
      return JSON.parse(/** @type {string} */ (texts.get(key)));
    },
    /** @param {string} key @param {unknown} value */
    async set(key, value) {
      texts.set(key, JSON.stringify(value));
    },
    async close() {},
  };
}
