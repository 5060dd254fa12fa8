// `onError: 'ignore'`: a store that fails breaks no request. What each call answers then; that each error is told and counted;
// and the unmodified client while calls to the system fail at random. `SEED` is the first of the seeds.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import {
  createSQLiteStores,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '../index.mjs';
import { FAULTS_ADDON } from '../scripts/faults.mjs';
import { SEED } from './support/seed.mjs';

const { ask } = createRequire(import.meta.url)('./support/processes.cjs');

const SEEDS = Number(process.env.ROUNDS ?? 12);

const NAMES = ['cache', 'dedupe', 'rate-limit'].map((name) => `comic-vine:sqlite-store:${name}`);
/** @type {any[]} */
let told = [];
/** @param {any} message */
const listen = (message) => told.push(message);

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'on-error-'));
  told = [];
  for (const name of NAMES) subscribe(name, listen);
});
afterEach(() => {
  vi.useRealTimers();
  for (const name of NAMES) unsubscribe(name, listen);
  rmSync(directory, { recursive: true, force: true });
});

const id = expect.stringMatching(/^[0-9a-f-]{36}$/);
const LIMIT = { limit: 7, windowMs: 1_000 };
const status = { remaining: 7, limit: 7, resetTime: expect.any(Date) };
/** What calls answer that the clients make, and what rejects: by class, calls with their arguments. */
const LIMITER = {
  answers: [
    ['canProceed', ['key'], true],
    ['acquire', ['key'], true],
    ['acquire', ['key', 'user', { maxWaitMs: 10 }], true],
    ['record', ['key'], undefined],
    ['getStatus', ['key'], status],
    ['reset', ['key'], undefined],
    ['getWaitTime', ['key'], 0],
    ['setCooldown', ['key', 5e12], undefined],
    ['getCooldown', ['key'], undefined],
    ['clearCooldown', ['key'], undefined],
    ['clear', [], undefined],
  ],
  rejects: ['listResources', 'getStats', 'cleanup'],
};
const CASES = /** @type {[string, any, { answers: any[], rejects: string[] }][]} */ ([
  [
    'SQLiteCacheStore',
    SQLiteCacheStore,
    {
      answers: [
        ['get', ['key'], undefined],
        ['set', ['key', 1, 60], undefined],
        ['setWithTags', ['key', 1, 60, ['tag']], undefined],
        ['delete', ['key'], undefined],
        ['clear', [], undefined],
        ['clear', ['key'], undefined],
        ['invalidateByTag', ['tag'], 0],
        ['invalidateByTags', [['tag']], 0],
      ],
      rejects: ['listEntries', 'getStats', 'cleanup'],
    },
  ],
  [
    'SQLiteDedupeStore',
    SQLiteDedupeStore,
    {
      answers: [
        ['waitFor', ['key'], undefined],
        ['waitFor', ['key', { maxWaitMs: 1_000 }], undefined],
        ['register', ['key'], id],
        ['registerOrJoin', ['key'], { jobId: id, isOwner: true }],
        ['complete', ['key', 1], undefined],
        ['fail', ['key', new Error('failed')], undefined],
        ['isInProgress', ['key'], false],
        ['getResult', ['key'], undefined],
        ['clear', [], undefined],
      ],
      rejects: ['listJobs', 'getStats', 'cleanup'],
    },
  ],
  ['SQLiteRateLimitStore', SQLiteRateLimitStore, LIMITER],
  ['SqliteAdaptiveRateLimitStore', SqliteAdaptiveRateLimitStore, LIMITER],
]);

describe.each(CASES)('%s', (_name, Store, { answers, rejects }) => {
  const defaultConfig =
    Store === SQLiteCacheStore || Store === SQLiteDedupeStore ? undefined : LIMIT;

  /** A store whose database has gone, and how it fails. @param {string} kind @param {'ignore' | 'reject'} onError */
  function broken(kind, onError) {
    if (kind === 'not opened') {
      return new Store({ database: join(directory, 'none/stores.db'), onError, defaultConfig });
    }
    const connection = new Database(join(directory, 'stores.db'));
    const store = new Store({ database: connection, onError, defaultConfig });
    connection.close();
    return store;
  }

  it.each(['closed by the application', 'not opened'])(
    '%s: answers what lets its caller go on',
    async (kind) => {
      const store = broken(kind, 'ignore');
      for (const [method, args, expected] of answers) {
        told = [];
        expect([method, await store[method](...args)]).toEqual([method, expected]);
        // The line of those who wait asks twice: for a slot, and it is not told what time to wait.
        expect(told.length, method).toBe(1);
        const [{ type, key, error, ignored, store: of, method: called }] = told;
        expect([type, ignored, called, of === store]).toEqual(['error', true, method, true]);
        expect(key).toBe(typeof args[0] === 'string' ? args[0] : undefined);
        expect(error).toBeInstanceOf(Error);
      }
      for (const method of rejects) {
        told = [];
        await expect(store[method](), method).rejects.toBeInstanceOf(Error);
        expect(told).toMatchObject([{ type: 'error', ignored: false, method }]);
      }
      expect(store.getMetrics().errors).toBe(answers.length + rejects.length);
      // What is told to nobody is ignored as well.
      for (const name of NAMES) unsubscribe(name, listen);
      const [[method, args, expected]] = answers;
      expect(await store[method](...args)).toEqual(expected);
      expect(store.getMetrics().errors).toBe(answers.length + rejects.length + 1);
      await store.close();
      await expect(store[method](...args)).rejects.toThrow('has been destroyed');
    },
  );

  it('rejects without the option, or with the other', async () => {
    for (const onError of /** @type {const} */ ([undefined, 'reject'])) {
      const connection = new Database(':memory:');
      const store = new Store({ database: connection, onError, defaultConfig });
      connection.close();
      for (const [method, args] of answers)
        await expect(store[method](...args), method).rejects.toBeInstanceOf(Error);
      await store.close();
      expect(() => broken('not opened', /** @type {any} */ (onError))).toThrow(
        'the directory does not exist',
      );
    }
  });

  it('a wrong argument or option is an error all the same', async () => {
    const store = new Store({ onError: 'ignore', defaultConfig });
    const [[method]] = answers;
    await expect(store[method](5)).rejects.toThrow(TypeError);
    await store.close();
    await expect(store[method]('key')).rejects.toThrow('has been destroyed');
    expect(told).toEqual([]);
    expect(() => new Store({ onError: 'ignore', busyTimeoutMs: -1 })).toThrow(
      /^busyTimeoutMs must/,
    );
    for (const onError of [null, 5, 'Ignore'])
      expect(() => new Store({ onError })).toThrow(/^onError must be 'reject' or 'ignore', got /);
    expect(() => new Store({ onError: 'ignore', database: {} })).toThrow(/^database must be /);
  });

  it('works again as soon as it can', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const database = join(directory, 'later/stores.db');
    const store = new Store({ database, onError: 'ignore', defaultConfig });
    const resource = 'key';
    store.setResourceConfig?.(resource, { limit: 3, windowMs: 60_000 });
    const {
      rejects: [list],
    } = { rejects };
    await expect(store[list]()).rejects.toThrow('the directory does not exist');
    mkdirSync(join(directory, 'later'));
    // Not with each call.
    await expect(store[list]()).rejects.toThrow('the directory does not exist');
    vi.advanceTimersByTime(1_000);
    expect(await store[list]()).toEqual([]);
    if (store.getResourceConfig) {
      expect(store.getResourceConfig(resource).limit).toBe(3);
      expect(store.getResourceConfig('other')).toMatchObject(LIMIT);
      for (const expected of [true, true, true, false])
        expect(await store.acquire(resource, 'user')).toBe(expected);
    }
    expect(store.getMetrics().errors).toBe(2);
    await store.close();
  });
});

it('a signal that is aborted, and a job that has failed, are no errors of the store', async () => {
  const dedupe = new SQLiteDedupeStore({ onError: 'ignore' });
  await dedupe.register('key');
  const waiting = dedupe.waitFor('key');
  const aborted = dedupe.waitFor('key', { signal: AbortSignal.abort(new Error('aborted')) });
  await expect(aborted).rejects.toThrow('aborted');
  await dedupe.fail('key', new Error('failed'));
  await expect(waiting).rejects.toThrow('failed');
  const limits = new SQLiteRateLimitStore({
    onError: 'ignore',
    defaultConfig: { limit: 0, windowMs: 60_000 },
  });
  const controller = new AbortController();
  const acquiring = limits.acquire('key', 'user', { signal: controller.signal });
  controller.abort(new Error('aborted'));
  await expect(acquiring).rejects.toThrow('aborted');
  expect(told.filter(({ type }) => type === 'error')).toEqual([]);
  await dedupe.close();
  await limits.close();
});

it('who waits for a job that cannot be ended gets what it came to', async () => {
  for (const onError of /** @type {const} */ (['ignore', 'reject'])) {
    const connection = new Database(join(directory, `${onError}.db`));
    const dedupe = new SQLiteDedupeStore({ database: connection, onError });
    await dedupe.register('completed');
    await dedupe.register('failed');
    const waiting = [dedupe.waitFor('completed'), dedupe.waitFor('failed')];
    // Until they wait.
    await dedupe.isInProgress('completed');
    connection.close();
    const ended = Promise.allSettled([
      dedupe.complete('completed', 5),
      dedupe.fail('failed', new Error('failed')),
    ]);
    if (onError === 'ignore') {
      expect((await ended).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
      expect(await waiting[0]).toBe(5);
      await expect(waiting[1]).rejects.toThrow('failed');
    } else {
      expect((await ended).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      await dedupe.close();
      expect(await Promise.all(waiting)).toEqual([undefined, undefined]);
    }
    await dedupe.close();
  }
});

it('the factory has it for all, and each store its own', async () => {
  const database = join(directory, 'none/stores.db');
  expect(() => createSQLiteStores({ database })).toThrow('the directory does not exist');
  expect(() =>
    createSQLiteStores({ database, onError: 'ignore', rateLimit: { onError: 'reject' } }),
  ).toThrow('the directory does not exist');
  const stores = createSQLiteStores({ database, onError: 'ignore' });
  const work = vi.fn(async () => 'done');
  expect(await stores.once('key', work, { ttlSeconds: 60 })).toBe('done');
  expect(work).toHaveBeenCalledTimes(1);
  await expect(stores.backup(join(directory, 'copy.db'))).rejects.toThrow('does not exist');
  await expect(stores.cache.entries().next()).rejects.toThrow('does not exist');
  await stores.close();
});

describe('the unmodified client, while calls to the system fail', () => {
  it(`gets an answer to every request, and each error is told (${SEEDS} seeds)`, async () => {
    console.log(`on-error: SEED=${SEED}`);
    const api = await startFakeApi({ latencyMs: 1 });
    try {
      const seeds = Array.from({ length: SEEDS }, (_, index) => SEED + index);
      const runs = await ask(
        'on-error.cjs',
        { directory, seeds, baseUrl: api.baseUrl() },
        {
          env: { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: FAULTS_ADDON },
          timeout: 100_000,
        },
      );
      expect(runs).toHaveLength(SEEDS);
      for (const [index, run] of runs.entries()) {
        const seed = SEED + index;
        expect([seed, run.refused, run.answered]).toEqual([seed, [], 30]);
        expect([seed, run.told, run.ignored]).toEqual([seed, run.counted, run.counted]);
      }
      const sum = (/** @type {string} */ of) =>
        runs.reduce((/** @type {number} */ all, /** @type {any} */ run) => all + run[of], 0);
      const codes = [...new Set(runs.flatMap((/** @type {any} */ run) => run.codes))];
      console.log(
        `${sum('answered')} requests answered, ${sum('told')} errors ignored and told, ${sum('struck')} faults: ${codes}`,
      );
      expect(sum('told')).toBeGreaterThan(0);
    } finally {
      await api.close();
    }
  });
});
