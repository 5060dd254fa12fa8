// `createSQLiteStores`: the four stores on one database.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as stores from '../index.mjs';

const require = createRequire(import.meta.url);
const { createSQLiteStores } = stores;
const dispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');
const MEMBERS = {
  cache: stores.SQLiteCacheStore,
  dedupe: stores.SQLiteDedupeStore,
  rateLimit: stores.SQLiteRateLimitStore,
  adaptiveRateLimit: stores.SqliteAdaptiveRateLimitStore,
};

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'factory-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** @type {Record<string, () => { database?: any, release?: () => void }>} */
const databases = {
  'a path': () => ({ database: join(directory, 'stores.db') }),
  memory: () => ({ database: ':memory:' }),
  'memory, by default': () => ({}),
  'a connection': () => {
    const database = new Database(join(directory, 'stores.db'));
    return { database, release: () => database.close() };
  },
};

describe.each(Object.entries(databases))('on %s', (_, open) => {
  it('makes the four, which share the database, and closes them', async () => {
    const { database, release } = open();
    const made = createSQLiteStores({ database });
    expect(Object.keys(made)).toEqual(Object.keys(MEMBERS));
    for (const [name, Store] of Object.entries(MEMBERS))
      expect(/** @type {any} */ (made)[name]).toBeInstanceOf(Store);
    const { cache, dedupe, rateLimit, adaptiveRateLimit } = made;
    await cache.setWithTags('key', { n: 1 }, 60, ['tag']);
    await dedupe.register('job');
    await rateLimit.record('plain');
    await adaptiveRateLimit.record('adaptive', 'user');
    expect(await cache.get('key')).toEqual({ n: 1 });
    // Both limiters count the requests of the one table.
    expect((await rateLimit.getStats()).totalRequests).toBe(2);
    expect((await adaptiveRateLimit.getStats()).uniqueResources).toBe(2);
    const before = (await cache.getStats()).databaseSizeKB;
    await dedupe.complete('job', 'x'.repeat(200_000));
    expect((await cache.getStats()).databaseSizeKB).toBeGreaterThanOrEqual(before + 190);

    const waiting = (await dedupe.waitFor('other')) ?? dedupe.waitFor('other');
    // One that is closed by itself leaves the others.
    await rateLimit.close();
    expect(await cache.get('key')).toEqual({ n: 1 });
    expect(await made.close()).toBeUndefined();
    expect(await waiting).toBeUndefined();
    await made.close();
    for (const call of [() => cache.get('key'), () => adaptiveRateLimit.getStats()])
      await expect(call()).rejects.toThrow(/ store has been destroyed$/);
    release?.();
    expect(readdirSync(directory).filter((name) => /-(wal|shm)$/.test(name))).toEqual([]);
  });

  it('can be disposed of', async () => {
    const { database, release } = open();
    const made = createSQLiteStores({ database });
    const disposed = /** @type {any} */ (made)[dispose]();
    expect(disposed).toBeInstanceOf(Promise);
    expect(await disposed).toBeUndefined();
    await expect(made.cache.get('key')).rejects.toThrow('Cache store has been destroyed');
    release?.();
  });

  it('keeps what is stored for 0 seconds, unless it is told otherwise', async () => {
    for (const [zeroTtl, expected] of /** @type {const} */ ([
      [undefined, 1],
      ['forever', 1],
      ['expired', undefined],
    ])) {
      const { database, release } = open();
      const made = createSQLiteStores({ database, cache: { zeroTtl } });
      await made.cache.set('key', 1, 0);
      expect([zeroTtl, await made.cache.get('key')]).toEqual([zeroTtl, expected]);
      await made.close();
      release?.();
      rmSync(join(directory, 'stores.db'), { force: true });
    }
  });
});

it('does not share memory with other stores', async () => {
  const [one, other] = [createSQLiteStores(), createSQLiteStores({ database: ' :memory: ' })];
  await one.cache.set('key', 1, 60);
  expect(await other.cache.get('key')).toBeUndefined();
  await one.close();
  await other.cache.set('key', 2, 60);
  expect(await other.cache.get('key')).toBe(2);
  await other.close();
});

it('is one function, by import and by require', () => {
  expect(require('../index.js').createSQLiteStores).toBe(createSQLiteStores);
});

it('passes options on, to each its own', async () => {
  const made = createSQLiteStores({
    database: join(directory, 'stores.db'),
    journalMode: 'delete',
    cache: { maxEntrySizeBytes: 3 },
    dedupe: { jobTimeoutMs: 1_234 },
    rateLimit: { defaultConfig: { limit: 3, windowMs: 1_000 } },
    adaptiveRateLimit: { defaultConfig: { limit: 4, windowMs: 1_000 } },
  });
  await made.cache.set('key', 'long', 60);
  expect(await made.cache.get('key')).toBeUndefined();
  expect(made.rateLimit.getResourceConfig('any').limit).toBe(3);
  expect(made.adaptiveRateLimit.getResourceConfig('any').limit).toBe(4);
  expect(readdirSync(directory)).toEqual(['stores.db']);
  await made.close();
});

describe('when one store cannot be made', () => {
  it.each([
    ['cache', { zeroTtl: 'never' }, /^zeroTtl must be /],
    ['dedupe', { claimTimeoutMs: -1 }, /^claimTimeoutMs must be /],
    ['rateLimit', { reservationMs: 'long' }, /^reservationMs must be /],
    ['adaptiveRateLimit', { adaptiveConfig: 5 }, /^adaptiveConfig must be /],
    ['cache', 5, /^cache must be an object, got 5$/],
    ['dedupe', null, /^dedupe must be an object, got null$/],
  ])('%s: the others are closed, and the error thrown', (name, options, message) => {
    const database = join(directory, 'stores.db');
    const make = () => createSQLiteStores(/** @type {any} */ ({ database, [name]: options }));
    expect(make).toThrow(message);
    expect(make).toThrow(TypeError);
    // The last one on a file removes what lies beside it.
    expect(readdirSync(directory).filter((file) => file !== 'stores.db')).toEqual([]);
  });

  it('refuses options that are none, and a database that is none', () => {
    for (const options of [null, 5, 'x'])
      expect(() => createSQLiteStores(/** @type {any} */ (options))).toThrow(
        /^options must be an object, got /,
      );
    expect(() => createSQLiteStores({ database: /** @type {any} */ (5) })).toThrow(
      /^database must be /,
    );
  });
});
