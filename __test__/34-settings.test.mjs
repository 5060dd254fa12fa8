// What limiters write down for who looks at a file from outside: the table `store_settings` of docs/schema.md.
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } from '../index.mjs';

const START = Date.UTC(2030, 0, 1);
const MINUTE = 60_000;

/** @type {any} */ let connection;
/** @type {any[]} */ let stores = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: START });
  connection = new Database(':memory:');
  stores = [];
});
afterEach(async () => {
  vi.useRealTimers();
  for (const store of stores) await store.close();
  connection.close();
});

/** @template {new (options: any) => any} S @param {S} Store @param {object} [options] @returns {InstanceType<S>} */
function open(Store, options) {
  const store = new Store({ database: connection, ...options });
  stores.push(store);
  return store;
}

/** What is written down, by kind and resource. @returns {Record<string, any>} */
function told() {
  const rows = connection.prepare('SELECT * FROM store_settings').all();
  return Object.fromEntries(
    rows.map((/** @type {any} */ { kind, resource, settings, written_at }) => [
      `${kind} ${resource}`,
      { ...JSON.parse(settings), at: written_at - START },
    ]),
  );
}

const limit = { limit: 3, windowMs: 1_000 };
const plain = { ...limit, minIntervalMs: 0, honourCooldowns: false };

describe.each([
  { Store: SQLiteRateLimitStore, kind: 'rate-limit' },
  { Store: SqliteAdaptiveRateLimitStore, kind: 'adaptive' },
])('a store of the kind $kind', ({ Store, kind }) => {
  it.each(['record', 'acquire'])('writes down what limits a resource with %s', async (method) => {
    const resourceConfigs = new Map([['own', { limit: 5, windowMs: 10, minIntervalMs: 2 }]]);
    const store = open(Store, { defaultConfig: limit, resourceConfigs });
    await store.canProceed('own');
    await store.getStatus('own');
    expect(told()).toEqual({});
    await Promise.all([store[method]('own'), store[method]('other')]);
    expect(told()).toMatchObject({
      [`${kind} own`]: { limit: 5, windowMs: 10, minIntervalMs: 2, at: 0 },
      [`${kind} other`]: { ...plain, at: 0 },
    });
    expect(Object.keys(told())).toHaveLength(2);
    const rows = connection.prepare('SELECT DISTINCT version FROM store_settings').pluck().all();
    expect(rows).toEqual([expect.stringMatching(/^\d+\.\d+\.\d+/)]);
  });

  it('tells all that limits it, also without end', async () => {
    const store = open(Store, {
      defaultConfig: { limit: Number.POSITIVE_INFINITY, windowMs: 1_000 },
      sharedConfig: { limit: 7, windowMs: 500, minIntervalMs: 1 },
      honourCooldowns: true,
      reservationMs: 5,
    });
    await store.record('r');
    expect(told()[`${kind} r`]).toMatchObject({
      limit: Number.POSITIVE_INFINITY,
      sharedConfig: { limit: 7, windowMs: 500, minIntervalMs: 1 },
      honourCooldowns: true,
    });
  });

  it('writes it again where it differs: after a change at once, and otherwise within a minute', async () => {
    const store = open(Store, { defaultConfig: limit });
    const other = open(Store, { defaultConfig: { ...limit, limit: 4 } });
    await store.record('r');
    vi.setSystemTime(START + 1);
    await store.setResourceConfig('r', { limit: 9, windowMs: 1_000 });
    await store.record('r');
    expect(told()[`${kind} r`]).toMatchObject({ limit: 9, at: 1 });
    await other.record('r');
    expect(told()[`${kind} r`]).toMatchObject({ limit: 4, at: 1 });
    vi.setSystemTime(START + MINUTE);
    await store.record('r');
    expect(told()[`${kind} r`]).toMatchObject({ limit: 4, at: 1 });
    vi.setSystemTime(START + MINUTE + 1);
    await store.record('r');
    expect(told()[`${kind} r`]).toMatchObject({ limit: 9, at: MINUTE + 1 });
  });

  it('writes nothing where nothing differs, but once a day', async () => {
    const store = open(Store, { defaultConfig: limit });
    await store.record('r');
    for (const [at, written] of [
      [10 * MINUTE, 0],
      [24 * 60 * MINUTE, 0],
      [24 * 60 * MINUTE + 2 * MINUTE, 24 * 60 * MINUTE + 2 * MINUTE],
    ]) {
      vi.setSystemTime(START + at);
      await store.record('r');
      expect(told()[`${kind} r`].at).toBe(written);
    }
  });

  it('forgets what nobody has used for a week, with a clean-up', async () => {
    const store = open(Store, { defaultConfig: limit });
    await store.record('old');
    vi.setSystemTime(START + 7 * 24 * 60 * MINUTE);
    await store.record('new');
    await store.cleanup();
    expect(Object.keys(told())).toHaveLength(2);
    vi.setSystemTime(START + 7 * 24 * 60 * MINUTE + 1);
    await store.cleanup();
    expect(Object.keys(told())).toEqual([`${kind} new`]);
  });

  it('records all the same where the table is gone or the configuration is wrong', async () => {
    const store = open(Store, { defaultConfig: limit });
    await store.record('r');
    connection.exec('DROP TABLE store_settings');
    await store.record('s');
    await store.setResourceConfig('t', /** @type {any} */ ({ limit: 'many' }));
    await store.record('t');
    const count = 'SELECT COUNT(*) FROM rate_limits';
    expect(connection.prepare(count).pluck().get()).toBe(3);
  });
});

it('an adaptive store tells how it divides limits', async () => {
  const store = open(SqliteAdaptiveRateLimitStore, { adaptiveConfig: { minUserReserved: 8 } });
  await store.record('r');
  const { adaptiveConfig } = told()['adaptive r'];
  expect(adaptiveConfig).toMatchObject({ minUserReserved: 8, monitoringWindowMs: 15 * MINUTE });
  const names = Object.keys(adaptiveConfig);
  expect(names).toHaveLength(8);
  // They can be passed as the option.
  open(SqliteAdaptiveRateLimitStore, { adaptiveConfig });
});
