// Reads wait for no write that they cannot see: neither while that waits for a lock that another process holds, nor behind
// a clean-up.

import { createRequire } from 'node:module';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { isolate } from './support/isolate.mjs';
import { ours } from './support/packages.mjs';
import { lock } from './support/remote.mjs';
import { soon } from './support/waiting.mjs';

const require = createRequire(import.meta.url);
const { stateOf, turn } = require('./support/harness.cjs');

const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } =
  /** @type {Record<string, any>} */ (ours);

const { path } = isolate();

/** @type {any[]} */
let opened = [];
afterEach(() => {
  for (const store of opened) store.destroy();
  opened = [];
});

/** @param {any} Store @param {Record<string, unknown>} [options] */
function open(Store, options) {
  const store = new Store({
    database: path('stores.db'),
    cleanupIntervalMs: 0,
    busyTimeoutMs: 60_000,
    ...options,
  });
  opened.push(store);
  return store;
}

/**
 * Makes a write, which waits for the lock of another process; and while it does, what answers at once and what waits for the
 * write.
 * @param {() => Promise<any>} write
 * @param {{ atOnce?: () => Promise<any>[], waiting?: () => Promise<any>[] }} reads
 */
async function besides(write, { atOnce = () => [], waiting = () => [] }) {
  const release = await lock(path('stores.db'), 'IMMEDIATE');
  try {
    const written = write();
    // It is begun when this stretch of JavaScript ends.
    await turn();
    const waits = waiting();
    const answers = await soon(Promise.all(atOnce()), 30_000);
    for (const call of [written, ...waits])
      expect(await stateOf(call)).toEqual({ status: 'pending' });
    await release();
    await written;
    return { answers, afterwards: await Promise.all(waits) };
  } finally {
    await release();
  }
}

describe('while a write waits for the lock of another process', () => {
  it('entries of other keys are read, and those of its own wait for it', async () => {
    const cache = open(SQLiteCacheStore);
    await Promise.all([cache.set('key', 'old', 60), cache.set('other', 'other', 60)]);
    const found = await besides(() => cache.set('key', 'new', 60), {
      atOnce: () => [cache.get('other'), cache.get('absent')],
      waiting: () => [cache.get('key')],
    });
    expect(found).toEqual({ answers: ['other', undefined], afterwards: ['new'] });
  });

  it('so it is behind thousands of writes', async () => {
    const cache = open(SQLiteCacheStore);
    await cache.set('other', 'other', 60);
    const keys = Array.from({ length: 5_000 }, (_, i) => `key ${i}`);
    const write = () => Promise.all(keys.map((key) => cache.set(key, key, 60)));
    const found = await besides(write, {
      atOnce: () => [cache.get('other')],
      waiting: () => [cache.get('key 0'), cache.get('key 4999')],
    });
    expect(found).toEqual({ answers: ['other'], afterwards: ['key 0', 'key 4999'] });
  });

  it('another store that shares the connection reads', async () => {
    const cache = open(SQLiteCacheStore);
    const limits = open(SQLiteRateLimitStore);
    const adaptive = open(SqliteAdaptiveRateLimitStore);
    // Nobody is served what is older, and who is not takes the job, which is a write.
    const dedupe = open(SQLiteDedupeStore, { resultTtlMs: 60_000 });
    await Promise.all([limits.record('r'), adaptive.record('r', 'user'), dedupe.register('job')]);
    await dedupe.complete('job', 'result');
    const { answers } = await besides(() => cache.set('key', 'value', 60), {
      atOnce: () => [
        limits.canProceed('r'),
        adaptive.getStatus('r').then((/** @type {any} */ { limit }) => limit),
        dedupe.waitFor('job'),
        dedupe.isInProgress('job'),
      ],
    });
    expect(answers).toEqual([true, 200, 'result', false]);
  });

  it('requests of other resources are counted, and those of its own wait for it', async () => {
    const limits = open(SQLiteRateLimitStore, { defaultConfig: { limit: 1, windowMs: 60_000 } });
    const found = await besides(() => limits.record('own'), {
      atOnce: () => [limits.canProceed('other'), limits.getWaitTime('other')],
      waiting: () => [limits.canProceed('own')],
    });
    expect(found).toEqual({ answers: [true, 0], afterwards: [false] });
  });

  it('what clears the table is waited for', async () => {
    const cache = open(SQLiteCacheStore);
    await cache.set('key', 'value', 60);
    const waiting = () => [cache.get('key')];
    const { afterwards } = await besides(() => cache.clear(), { waiting });
    expect(afterwards).toEqual([undefined]);
  });

  it('a clean-up is not waited for', async () => {
    const cache = open(SQLiteCacheStore);
    await Promise.all([cache.set('key', 'value', 60), cache.set('expired', 'value', -1)]);
    const { answers } = await besides(() => cache.cleanup(), {
      atOnce: () => [cache.get('key'), cache.get('expired')],
    });
    expect(answers).toEqual(['value', undefined]);
    expect((await cache.getStats()).totalItems).toBe(1);
  });
});

it('a clean-up on a connection is not waited for', async () => {
  const connection = new Database(path('own.db'));
  const cache = open(SQLiteCacheStore, { database: connection });
  connection.exec(`WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO cache SELECT 'expired ' || i, x'22', 1, 1 FROM n`);
  await cache.set('key', 'value', 60);
  /** @type {any[]} */
  const order = [];
  await Promise.all([
    cache.cleanup().then(() => order.push('cleanup')),
    cache.get('key').then((/** @type {any} */ value) => order.push(value)),
  ]);
  expect(order).toEqual(['value', 'cleanup']);
  expect((await cache.getStats()).totalItems).toBe(1);
  cache.destroy();
  connection.close();
});
