// What a program can see: messages on channels of `node:diagnostics_channel`, and counts. Both say the same of a call.
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '../index.mjs';

const NAMES = ['cache', 'dedupe', 'rate-limit'].map((name) => `comic-vine:sqlite-store:${name}`);

/** What was told, with the channel's name. @type {any[]} */
let told = [];
/** @param {any} message @param {any} name */
const listen = (message, name) => told.push({ channel: String(name).split(':').pop(), ...message });

let directory = '';
/** @type {{ close(): unknown }[]} */
let opened = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'channels-'));
  opened = [];
  told = [];
  for (const name of NAMES) subscribe(name, listen);
});
afterEach(async () => {
  vi.useRealTimers();
  for (const name of NAMES) unsubscribe(name, listen);
  for (const one of opened) await one.close();
  rmSync(directory, { recursive: true, force: true });
});

/** @template {{ close(): unknown }} S @param {S} one @returns {S} */
function open(one) {
  opened.unshift(one);
  return one;
}

/** @type {Record<string, () => any>} */
const DATABASES = {
  'a path': () => join(directory, 'stores.db'),
  memory: () => ':memory:',
  'a connection': () => open(new Database(join(directory, 'stores.db'))),
};

/** What is the same each time, of what was told since. @param {object} store */
function take(store) {
  const messages = told;
  told = [];
  return messages.map(({ store: of, durationMs, ...rest }) => {
    expect(of).toBe(store);
    expect(durationMs).toBeGreaterThanOrEqual(0);
    expect(durationMs).toBeLessThan(120_000);
    return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  });
}

describe.each(Object.entries(DATABASES))('on %s', (_, database) => {
  it('the cache tells of hits, misses, sets and what is skipped', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 });
    const cache = open(new SQLiteCacheStore({ database: database(), maxEntrySizeBytes: 100 }));
    const of = (/** @type {string} */ type, /** @type {string} */ method, more = {}) => ({
      channel: 'cache',
      type,
      key: 'key',
      method,
      ...more,
    });
    await cache.get('key');
    expect(take(cache)).toEqual([of('miss', 'get')]);
    await cache.set('key', 1, 60);
    expect(take(cache)).toEqual([of('set', 'set')]);
    expect(await cache.get('key')).toBe(1);
    expect(take(cache)).toEqual([of('hit', 'get')]);
    await cache.setWithTags('key', 'x'.repeat(100), 60, ['tag']);
    expect(take(cache)).toEqual([of('skip', 'setWithTags')]);
    await cache.setWithTags('key', 2, 60, ['tag']);
    expect(take(cache)).toEqual([of('set', 'setWithTags')]);
    vi.setSystemTime(1_060_000);
    expect(await cache.get('key')).toBeUndefined();
    expect(take(cache)).toEqual([of('miss', 'get', { expired: true })]);
    await cache.delete('key');
    await cache.getStats();
    expect(take(cache)).toEqual([]);
    expect(cache.getMetrics()).toEqual({
      hits: 1,
      misses: 2,
      expired: 1,
      sets: 2,
      skipped: 1,
      evictions: 0,
      errors: 0,
    });
  });

  it('the dedupe store tells of claims, of waiting, and of taking over', async () => {
    const dedupe = open(new SQLiteDedupeStore({ database: database(), claimTimeoutMs: 20 }));
    const of = (/** @type {string} */ type, /** @type {string} */ method, more = {}) => ({
      channel: 'dedupe',
      type,
      key: 'key',
      method,
      ...more,
    });
    await dedupe.waitFor('key');
    await dedupe.register('key');
    expect(take(dedupe)).toEqual([of('claim', 'waitFor'), of('claim', 'register')]);
    const waiting = dedupe.waitFor('key');
    expect(await dedupe.registerOrJoin('key')).toMatchObject({ isOwner: false });
    await dedupe.complete('key', 5);
    expect(await waiting).toBe(5);
    expect(take(dedupe)).toEqual([of('wait', 'waitFor', { result: 'value' })]);
    expect(await dedupe.waitFor('key')).toBe(5);
    expect(take(dedupe)).toEqual([of('hit', 'waitFor')]);

    await dedupe.registerOrJoin('key');
    expect(take(dedupe)).toEqual([of('claim', 'registerOrJoin')]);
    const failing = dedupe.waitFor('key');
    await dedupe.fail('key', new Error('failed'));
    await expect(failing).rejects.toThrow('failed');
    expect(take(dedupe)).toEqual([of('wait', 'waitFor', { result: 'failure' })]);

    // A claim that nobody registers passes on.
    expect(await dedupe.waitFor('other')).toBeUndefined();
    expect(await dedupe.waitFor('other')).toBeUndefined();
    expect(take(dedupe).map(({ type, key }) => [type, key])).toEqual([
      ['claim', 'other'],
      ['take-over', 'other'],
    ]);
    // One that waits for nothing that comes.
    await dedupe.register('key');
    expect(await dedupe.waitFor('key', { maxWaitMs: 1 })).toBeUndefined();
    expect(take(dedupe)).toEqual([
      of('claim', 'register'),
      of('wait', 'waitFor', { result: 'none' }),
    ]);
    expect(dedupe.getMetrics()).toEqual({
      owned: 3,
      shared: 3,
      waited: 4,
      takenOver: 1,
      timedOut: 0,
      errors: 0,
    });
  });

  it('a job that is waited for past its time is counted', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'], now: 1_000_000 });
    const dedupe = open(new SQLiteDedupeStore({ database: database(), jobTimeoutMs: 1_000 }));
    await dedupe.register('key');
    const waiting = dedupe.waitFor('key');
    // Only then there is a deadline.
    await dedupe.isInProgress('key');
    await vi.waitFor(() => expect(vi.getTimerCount()).toBeGreaterThan(0));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await waiting).toBeUndefined();
    expect(dedupe.getMetrics()).toMatchObject({ timedOut: 1, takenOver: 1, waited: 1 });
  });

  it.each([
    ['SQLiteRateLimitStore', SQLiteRateLimitStore],
    ['SqliteAdaptiveRateLimitStore', SqliteAdaptiveRateLimitStore],
  ])('%s tells what it allows and denies, and of cooldowns', async (_name, Store) => {
    const defaultConfig = { limit: 2, windowMs: 60_000 };
    const limits = open(new Store({ database: database(), defaultConfig }));
    const of = (/** @type {string} */ type, /** @type {string} */ method, more = {}) => ({
      channel: 'rate-limit',
      type,
      key: 'key',
      method,
      ...more,
    });
    const acquire = /** @type {any} */ (limits).acquire.bind(limits);
    expect(await acquire('key', 'user')).toBe(true);
    expect(await acquire('key', 'user')).toBe(true);
    expect(await acquire('key', 'user')).toBe(false);
    expect(await /** @type {any} */ (limits).canProceed('key', 'user')).toBe(false);
    const user = { priority: 'user' };
    expect(take(limits)).toEqual([
      of('allow', 'acquire', user),
      of('allow', 'acquire', user),
      of('deny', 'acquire', user),
      of('deny', 'canProceed', user),
    ]);
    // However often it has to try.
    expect(await acquire('key', 'user', { maxWaitMs: 1 })).toBe(false);
    const waiting = acquire('key', 'user', {});
    // It has been refused once.
    await limits.getStatus('key');
    await limits.reset('key');
    expect(await waiting).toBe(true);
    expect(take(limits)).toEqual([of('deny', 'acquire', user), of('allow', 'acquire', user)]);
    await limits.setCooldown('key', 5_000_000_000_000);
    expect(take(limits)).toEqual([of('cooldown', 'setCooldown', { until: 5_000_000_000_000 })]);
    await limits.record('key');
    await limits.getStatus('key');
    expect(take(limits)).toEqual([]);
    expect(limits.getMetrics()).toEqual({
      allowed: 3,
      denied: 3,
      waited: 2,
      cooldowns: 1,
      errors: 0,
    });
  });

  it('a call that fails is told, and counted, and one that is wrong is not', async () => {
    const cache = open(new SQLiteCacheStore({ database: database() }));
    await expect(cache.get(/** @type {any} */ (5))).rejects.toThrow('hash must be a string, got 5');
    await expect(cache.set('key', () => {}, 60)).rejects.toThrow('Failed to serialize value');
    await expect(cache.backup('')).rejects.toThrow('path must be a file path');
    await cache.close();
    await expect(cache.get('key')).rejects.toThrow('Cache store has been destroyed');
    expect(take(cache)).toEqual([]);
    // Counts outlive the store.
    expect(cache.getMetrics()).toMatchObject({ errors: 0 });
  });
});

it('what the driver of a connection throws is told', async () => {
  const connection = new Database(join(directory, 'stores.db'));
  const cache = open(new SQLiteCacheStore({ database: connection }));
  const dedupe = open(new SQLiteDedupeStore({ database: connection }));
  connection.close();
  const failure = await cache.get('key').catch((error) => error);
  expect(failure).toBeInstanceOf(Error);
  expect(take(cache)).toEqual([
    { channel: 'cache', type: 'error', key: 'key', method: 'get', error: failure, ignored: false },
  ]);
  await expect(cache.getStats()).rejects.toThrow();
  expect(take(cache)).toMatchObject([{ type: 'error', method: 'getStats' }]);
  await expect(dedupe.waitFor('key')).rejects.toThrow();
  await expect(dedupe.register('key')).rejects.toThrow();
  expect(take(dedupe)).toMatchObject([{ method: 'waitFor' }, { method: 'register' }]);
  expect(cache.getMetrics().errors).toBe(2);
  expect(dedupe.getMetrics().errors).toBe(2);
});

it('an entry that cannot be read is a miss', async () => {
  const connection = open(new Database(join(directory, 'stores.db')));
  const cache = open(new SQLiteCacheStore({ database: connection }));
  await cache.set('key', 1, 60);
  connection.prepare('UPDATE cache SET value = ?').run(Buffer.from('"{"'));
  take(cache);
  expect(await cache.get('key')).toBeUndefined();
  expect(take(cache)).toMatchObject([{ type: 'miss', key: 'key' }]);
  expect(cache.getMetrics()).toMatchObject({ hits: 0, misses: 1, errors: 0 });
});

it('what evicts tells which entries had to go', async () => {
  const path = join(directory, 'stores.db');
  const cache = open(new SQLiteCacheStore({ database: path, maxEntries: 2, eviction: 'fifo' }));
  for (const key of ['first', 'second']) await cache.set(key, 1, 60);
  take(cache);
  const one = (/** @type {string} */ type, /** @type {string} */ key, method = 'set') => ({
    channel: 'cache',
    type,
    key,
    method,
  });
  await cache.set('third', 1, 60);
  expect(take(cache)).toEqual([one('set', 'third'), one('evict', 'first')]);
  // Of a store without bounds: they are looked after by the next clean-up.
  const other = open(new SQLiteCacheStore({ database: path }));
  for (const key of ['fourth', 'fifth']) await other.set(key, 1, 60);
  take(other);
  await cache.cleanup();
  expect(take(cache)).toEqual([
    one('evict', 'second', 'cleanup'),
    one('evict', 'third', 'cleanup'),
  ]);
  expect(cache.getMetrics()).toMatchObject({ sets: 3, evictions: 3 });
  expect(other.getMetrics()).toMatchObject({ sets: 2, evictions: 0 });
});

it('who subscribes after the store was made hears of the next call, and nobody else of none', async () => {
  for (const name of NAMES) unsubscribe(name, listen);
  const cache = open(new SQLiteCacheStore());
  expect(NAMES.map((name) => channel(name).hasSubscribers)).toEqual([false, false, false]);
  await cache.get('before');
  subscribe(NAMES[0], listen);
  const during = cache.get('during');
  unsubscribe(NAMES[0], listen);
  await during;
  await cache.get('after');
  // It was asked for when the call was made, and is no longer when it ends.
  expect(told).toEqual([]);
  subscribe(NAMES[0], listen);
  await cache.get('last');
  expect(told.map(({ key }) => key)).toEqual(['last']);
  expect(cache.getMetrics().misses).toBe(4);
});

it('a listener that throws breaks no call', async () => {
  const cache = open(new SQLiteCacheStore());
  const thrown = new Promise((resolve) => process.once('uncaughtException', resolve));
  const broken = () => {
    throw new Error('a broken listener');
  };
  subscribe(NAMES[0], broken);
  const listeners = process.rawListeners('uncaughtException');
  try {
    expect(await cache.get('key')).toBeUndefined();
    expect(await thrown).toMatchObject({ message: 'a broken listener' });
  } finally {
    unsubscribe(NAMES[0], broken);
    expect(process.rawListeners('uncaughtException').length).toBeLessThanOrEqual(listeners.length);
  }
});

it('a rejection that is observed names who awaits it', async () => {
  const cache = open(new SQLiteCacheStore());
  async function whoAwaits() {
    return await cache.get(/** @type {any} */ (5));
  }
  const { stack } = /** @type {any} */ (await whoAwaits().catch((error) => error));
  expect(stack).toContain('whoAwaits');
});
