// From the first call to the end of the process: order, durability, time, the ways a store, a file or a process ends.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startDbInspector } from './support/db-inspector.mjs';
import { isolate } from './support/isolate.mjs';
import { ours } from './support/packages.mjs';
import { randomSource } from './support/seed.mjs';
import { slowly } from './support/slowness.cjs';
import { sleep, soon } from './support/waiting.mjs';

const require = createRequire(import.meta.url);
const { ask, run } = require('./support/processes.cjs');
const { START, stateOf, turn } = require('./support/harness.cjs');

const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } =
  /** @type {Record<string, any>} */ (ours);
const classes = [
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
];

const { path, files } = isolate();
const inspector = startDbInspector();

/** @type {any[]} */
let opened = [];
afterEach(() => {
  for (const store of opened) store.destroy();
  opened = [];
});

/**
 * A store that is destroyed after the test.
 * @param {any} Store
 * @param {Record<string, unknown>} [options]
 */
function open(Store, options) {
  const store = new Store({ database: path('stores.db'), ...options });
  opened.push(store);
  return store;
}

/** @param {string} file @param {string} sql */
function rowsOf(file, sql) {
  const db = new Database(file, { readonly: true });
  const rows = db.prepare(sql).raw().all();
  db.close();
  return rows;
}

/** Copies a file from outside: closing a descriptor here would drop the locks of a store. @param {string} from @param {string} to */
const copy = (from, to) =>
  execFileSync(process.execPath, ['-e', `fs.copyFileSync(...process.argv.slice(1))`, from, to]);

const isWindows = process.platform === 'win32';

/** Whether this is Wine, whose symbolic links lead nowhere. */
function isWithoutLinks() {
  if (!isWindows) return false;
  const directory = mkdtempSync(join(tmpdir(), 'links-'));
  try {
    symlinkSync(directory, join(directory, 'link'));
    return !existsSync(join(directory, 'link', 'link'));
  } catch {
    return true;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** How a database may be opened: each takes another way to the file. @type {[string, Record<string, unknown>][]} */
const modes = [
  ['by default', {}],
  ["with synchronous 'full'", { synchronous: 'full' }],
  ["with journalMode 'delete'", { journalMode: 'delete' }],
];

describe('calls take effect in call order, awaited or not', () => {
  const random = randomSource('calls take effect in call order');

  /**
   * Random calls on three stores of one file, in stretches of random length, against a Map.
   * @param {Record<string, unknown>} options
   * @param {number} large  one value in how many is large
   */
  async function interleave(options, large) {
    const stores = [1, 2, 3].map(() => open(SQLiteCacheStore, options));
    /** @type {Map<string, any>} */
    const model = new Map();
    /** @type {Promise<void>[]} */
    const pending = [];
    for (let call = 0; call < 600; call++) {
      const store = random.pick(stores);
      const key = `key ${random.below(4)}`;
      const kind = random.below(20);
      if (kind < 8) {
        const isLarge = random.below(large) === 0;
        const value = isLarge ? `${call} ${'x'.repeat(300_000 + random.below(900_000))}` : { call };
        model.set(key, value);
        pending.push(store.set(key, value, 1_000));
      } else if (kind < 16) {
        const expected = model.get(key);
        pending.push(
          store.get(key).then((/** @type {any} */ value) => {
            // Not of large values: a failure would print them.
            if (JSON.stringify(value) !== JSON.stringify(expected)) {
              throw new Error(
                `call ${call}: got ${String(JSON.stringify(value)).slice(0, 40)} instead of ${String(JSON.stringify(expected)).slice(0, 40)}`,
              );
            }
          }),
        );
      } else if (kind < 18) {
        model.delete(key);
        pending.push(store.delete(key));
      } else if (kind < 19) {
        const expected = model.size;
        pending.push(
          store.getStats().then((/** @type {any} */ { totalItems }) => {
            if (totalItems !== expected) throw new Error(`call ${call}: ${totalItems} items`);
          }),
        );
      } else if (random.below(4) === 0) {
        model.clear();
        pending.push(store.clear());
      }
      const pause = random.below(40);
      if (pause === 0) await turn();
      else if (pause === 1) await Promise.resolve();
      else if (pause === 2) await pending.at(-1);
    }
    await soon(Promise.all(pending), 15_000);
    expect((await stores[0].getStats()).totalItems).toBe(model.size);
  }

  it.each(modes)('on several stores of a file opened %s', (_title, options) =>
    interleave(options, 1e9),
  );
  it.each(modes)('with large values, on a file opened %s', (_title, options) =>
    interleave(options, 25),
  );

  it('with a lock held elsewhere meanwhile', async () => {
    const [one, other] = [open(SQLiteCacheStore), open(SQLiteCacheStore)];
    await one.set('key', 0, 1_000);
    await inspector.lock(path('stores.db'), 200);
    const calls = [];
    for (let round = 1; round <= 50; round++) {
      calls.push(one.set('key', round, 1_000), other.get('key'), other.delete('key'));
      calls.push(one.get('key').then((/** @type {any} */ value) => value ?? 'none'));
      if (round % 10 === 0) await turn();
    }
    const answers = await soon(Promise.all(calls));
    for (let round = 1; round <= 50; round++) {
      expect(answers.slice(4 * (round - 1), 4 * round)).toEqual([
        undefined,
        round,
        undefined,
        'none',
      ]);
    }
  });

  it('reads behind a write that cannot get the lock are answered without it', async () => {
    const store = open(SQLiteCacheStore, { busyTimeoutMs: 100 });
    await store.set('key', 'old', 1_000);
    await inspector.lock(path('stores.db'), 600);
    const calls = [
      store.set('key', 'new', 1_000),
      store.get('key'),
      store.delete('key'),
      store.get('key'),
      store.getStats(),
    ];
    const settled = await soon(Promise.allSettled(calls));
    const busy = { status: 'rejected', reason: expect.objectContaining({ code: 'SQLITE_BUSY' }) };
    const old = { status: 'fulfilled', value: 'old' };
    expect(settled.slice(0, 4)).toEqual([busy, old, busy, old]);
    expect(settled[4]).toMatchObject({ status: 'fulfilled', value: { totalItems: 1 } });
  });

  it.each(modes)('counting: a limit is kept by unawaited calls, %s', async (_title, options) => {
    const resourceConfigs = new Map([['r', { limit: 5, windowMs: 100_000 }]]);
    const one = open(SQLiteRateLimitStore, { resourceConfigs, ...options });
    const other = open(SQLiteRateLimitStore, { resourceConfigs, ...options });
    const asked = [];
    for (let round = 0; round < 8; round++) {
      asked.push(other.canProceed('r'));
      void one.record('r');
      if (round === 6) void other.reset('r');
    }
    expect(await Promise.all(asked)).toEqual([true, true, true, true, true, false, false, true]);
  });

  it.each(modes)('jobs: registered, ended and read in one stretch, %s', async (_title, options) => {
    const one = open(SQLiteDedupeStore, options);
    const other = open(SQLiteDedupeStore, options);
    const answers = await soon(
      Promise.all([
        one.isInProgress('job'),
        one.register('job'),
        other.isInProgress('job'),
        other.waitFor('job'),
        one.complete('job', 'first'),
        one.isInProgress('job'),
        other.getResult('job'),
        other.waitFor('job'),
      ]),
    );
    answers[1] = typeof answers[1];
    expect(answers).toEqual([false, 'string', true, 'first', undefined, false, 'first', 'first']);
    const ended = [one.getResult('job'), other.clear(), one.getResult('job')];
    expect(await soon(Promise.all(ended))).toEqual(['first', undefined, undefined]);
  });

  it('jobs: each end belongs to the registration before it', async () => {
    const store = open(SQLiteDedupeStore);
    const results = [];
    for (let round = 0; round < 5; round++) {
      void store.register('job');
      void store.complete('job', round);
      results.push(store.getResult('job'));
    }
    expect(await soon(Promise.all(results))).toEqual([0, 1, 2, 3, 4]);
  });

  it('stores of different kinds on one file share the order', async () => {
    const cache = open(SQLiteCacheStore);
    const limits = open(SQLiteRateLimitStore);
    const adaptive = open(SqliteAdaptiveRateLimitStore);
    const answers = [
      limits.record('r'),
      adaptive.getStats(),
      cache.set('key', 'x'.repeat(1_500_000), 60),
      adaptive.record('r', 'user'),
      limits.getStats(),
      adaptive.clear(),
      limits.getStats(),
      cache.getStats(),
    ];
    const settled = await soon(Promise.all(answers));
    expect(settled[1].totalRequests).toBe(1);
    expect(settled[4].totalRequests).toBe(2);
    expect(settled[6].totalRequests).toBe(0);
    expect(settled[7].totalItems).toBe(1);
  });
});

describe('when a write resolves, other processes see it', () => {
  const ROWS = 'SELECT count(*) FROM';

  it.each(modes)('%s', async (_title, options) => {
    const file = path('stores.db');
    const cache = open(SQLiteCacheStore, options);
    const dedupe = open(SQLiteDedupeStore, options);
    const limits = open(SQLiteRateLimitStore, options);
    const adaptive = open(SqliteAdaptiveRateLimitStore, options);
    const read = (/** @type {string} */ key) =>
      inspector.rows(file, 'SELECT length(value) FROM cache WHERE hash = ?', key);
    for (let round = 0; round < 15; round++) {
      await cache.set('key', 'x'.repeat(round), 60);
      expect(await read('key')).toEqual([[round + 6]]);
      await cache.delete('key');
      expect(await read('key')).toEqual([]);
      await Promise.all([limits.record('r'), adaptive.record('r', 'user')]);
      expect(await inspector.rows(file, `${ROWS} rate_limits`)).toEqual([[2 * round + 2]]);
    }
    await cache.set('large', 'x'.repeat(3_000_000), 60);
    expect(await read('large')).toEqual([[3_000_006]]);
    await cache.clear();
    expect(await read('large')).toEqual([]);
    const status = () => inspector.rows(file, 'SELECT status FROM dedupe_jobs');
    await dedupe.register('job');
    expect(await status()).toEqual([['pending']]);
    await dedupe.complete('job', 1);
    expect(await status()).toEqual([['completed']]);
    await dedupe.register('job');
    await dedupe.fail('job', new Error('failed'));
    expect(await status()).toEqual([['failed']]);
    await dedupe.clear();
    expect(await status()).toEqual([]);
    await limits.reset('r');
    expect(await inspector.rows(file, `${ROWS} rate_limits`)).toEqual([[0]]);
  });

  it('each of many that were issued together', async () => {
    const store = open(SQLiteCacheStore);
    await store.set('first', 0, 60);
    const seen = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        await store.set(`key ${index}`, index, 60);
        return inspector.rows(
          path('stores.db'),
          'SELECT count(*) FROM cache WHERE hash = ?',
          `key ${index}`,
        );
      }),
    );
    expect(seen.flat(2)).toEqual(Array(100).fill(1));
  });
});

describe('time that is faked', () => {
  beforeEach(() => {
    vi.useFakeTimers({
      now: START,
      toFake: [
        'setTimeout',
        'clearTimeout',
        'setInterval',
        'clearInterval',
        'setImmediate',
        'clearImmediate',
        'queueMicrotask',
        'Date',
        'performance',
        'hrtime',
      ],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each(['stores.db', ':memory:'])('expires entries: %s', async (name) => {
    const database = name === ':memory:' ? name : path(name);
    const store = open(SQLiteCacheStore, { database });
    await store.set('key', 'value', 10);
    vi.advanceTimersByTime(9_999);
    expect(await store.get('key')).toBe('value');
    vi.advanceTimersByTime(2);
    expect(await store.get('key')).toBe(undefined);
  });

  it('cleans at the interval, of every store on the file', async () => {
    const store = open(SQLiteCacheStore, { cleanupIntervalMs: 1_000 });
    const dedupe = open(SQLiteDedupeStore, { cleanupIntervalMs: 2_000, jobTimeoutMs: 500 });
    await store.set('short', 1, 0.5);
    await store.set('long', 1, 5);
    await dedupe.register('job');
    vi.advanceTimersByTime(999);
    expect((await store.getStats()).totalItems).toBe(2);
    vi.advanceTimersByTime(1);
    expect((await store.getStats()).totalItems).toBe(1);
    expect((await dedupe.getStats()).totalJobs).toBe(1);
    vi.advanceTimersByTime(1_000);
    expect((await dedupe.getStats()).totalJobs).toBe(0);
    vi.advanceTimersByTime(4_000);
    expect((await store.getStats()).totalItems).toBe(0);
  });

  it('cleans never with an interval of 0', async () => {
    open(SQLiteCacheStore, { cleanupIntervalMs: 0 });
    open(SQLiteDedupeStore, { cleanupIntervalMs: 0 });
    open(SQLiteCacheStore, { cleanupIntervalMs: Number.POSITIVE_INFINITY });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends a job at its timeout, and those who wait for it', async () => {
    const store = open(SQLiteDedupeStore, { jobTimeoutMs: 30_000 });
    await store.register('job');
    vi.advanceTimersByTime(10_000);
    const waiting = store.waitFor('job');
    vi.advanceTimersByTime(19_999);
    expect(await stateOf(waiting)).toEqual({ status: 'pending' });
    vi.advanceTimersByTime(1);
    expect(await soon(waiting)).toBe(undefined);
    expect(await store.isInProgress('job')).toBe(false);
  });

  it('limits: the window slides', async () => {
    const store = open(SQLiteRateLimitStore, { defaultConfig: { limit: 1, windowMs: 60_000 } });
    await store.record('r');
    vi.advanceTimersByTime(59_999);
    expect(await store.canProceed('r')).toBe(false);
    vi.advanceTimersByTime(2);
    expect(await store.canProceed('r')).toBe(true);
  });

  it('is looked up at the call: faked and real in turn', async () => {
    const store = open(SQLiteCacheStore);
    await store.set('key', 'value', 1);
    vi.useRealTimers();
    // START is long past.
    expect(await store.get('key')).toBe(undefined);
    await store.set('key', 'value', 100);
    vi.useFakeTimers({ now: Date.now() + 200_000 });
    expect(await store.get('key')).toBe(undefined);
  });

  it('a store lets go of its timers', async () => {
    for (const end of [
      (/** @type {any} */ store) => store.destroy(),
      (/** @type {any} */ store) => store.close(),
    ]) {
      const stores = classes.map((Store) => open(Store));
      const [, dedupe] = stores;
      await dedupe.register('job');
      const waiting = dedupe.waitFor('job');
      await dedupe.isInProgress('job');
      expect(vi.getTimerCount()).toBeGreaterThan(1);
      for (const store of stores) await end(store);
      expect(await soon(waiting)).toBe(undefined);
      expect(vi.getTimerCount()).toBe(0);
    }
  });

  it.each(modes)('calls settle although no fake timer runs, %s', async (_title, options) => {
    const cache = open(SQLiteCacheStore, options);
    const dedupe = open(SQLiteDedupeStore, options);
    await soon(cache.set('key', 1, 60));
    await soon(cache.set('large', 'x'.repeat(2_000_000), 60));
    await soon(dedupe.register('job'));
    const waiting = dedupe.waitFor('job');
    await soon(dedupe.complete('job', 'result'));
    expect(await soon(waiting)).toBe('result');
    expect(await soon(cache.get('key'))).toBe(1);
    await soon(cache.close());
    await soon(dedupe.close());
  });
});

it('calls settle in a process where nothing that schedules ever runs', async () => {
  const expected = [
    null,
    3,
    'registered',
    ['result', null],
    2,
    null,
    true,
    null,
    2,
    null,
    null,
    2,
    [null, null],
    null,
    null,
    null,
    null,
  ];
  expect(await ask('faked-schedulers.cjs', { directory: path('.') })).toEqual({
    wal: expected,
    full: expected,
    journal: expected,
  });
});

describe('close() and destroy()', () => {
  const ends = /** @type {[string, (store: any) => unknown][]} */ ([
    ['close()', (store) => store.close()],
    ['destroy()', (store) => store.destroy()],
    ['Symbol.asyncDispose', (store) => store[Symbol.asyncDispose]()],
  ]);

  it.each(ends)('%s may be called again', async (_title, end) => {
    for (const Store of classes) {
      const store = open(Store);
      await end(store);
      for (const [, again] of ends)
        expect(await soon(Promise.resolve(again(store)))).toBe(undefined);
    }
    expect(files()).toEqual(['stores.db']);
  });

  it.each(ends)('%s ends every method', async (_title, end) => {
    const words = ['Cache', 'Dedupe', 'Rate limit', 'Rate limit'];
    for (const [index, Store] of classes.entries()) {
      const store = open(Store);
      const ended = end(store);
      const methods = Object.getOwnPropertyNames(Store.prototype).filter(
        (name) =>
          !['constructor', 'close', 'destroy', 'getMetrics', 'entries'].includes(name) &&
          !/Config$/.test(name),
      );
      expect(methods.length).toBeGreaterThan(5);
      for (const method of methods) {
        await expect(soon(store[method]('key', 'user', 1)), method).rejects.toThrow(
          new Error(`${words[index]} store has been destroyed`),
        );
      }
      if (Store === SQLiteCacheStore) {
        await expect(soon(store.entries().next())).rejects.toThrow(
          'Cache store has been destroyed',
        );
      }
      await ended;
    }
  });

  for (const [mode, options] of modes) {
    it.each(ends)(`%s commits what was called before, ${mode}`, async (_title, end) => {
      const cache = open(SQLiteCacheStore, options);
      const limits = open(SQLiteRateLimitStore, options);
      const calls = [];
      for (let index = 0; index < 50; index++) calls.push(cache.set(`key ${index}`, index, 60));
      calls.push(cache.set('large', 'x'.repeat(2_000_000), 60), cache.delete('key 0'));
      calls.push(limits.record('r'));
      const ended = [end(cache), end(limits)];
      await soon(Promise.all(calls));
      await Promise.all(ended);
      expect(files()).toEqual(['stores.db']);
      expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[50]]);
      expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM rate_limits')).toEqual([[1]]);
    });

    it(`destroy() has done so when it returns, ${mode}`, () => {
      const cache = open(SQLiteCacheStore, options);
      const dedupe = open(SQLiteDedupeStore, options);
      for (let index = 0; index < 50; index++) void cache.set(`key ${index}`, index, 60);
      void cache.set('large', 'x'.repeat(2_000_000), 60);
      void dedupe.register('job');
      cache.destroy();
      dedupe.destroy();
      expect(files()).toEqual(['stores.db']);
      expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[51]]);
      expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM dedupe_jobs')).toEqual([[1]]);
    });
  }

  it('destroy() after close() has done so when it returns', async () => {
    for (let round = 0; round < 10; round++) {
      const store = open(SQLiteCacheStore);
      const written = store.set('key', 'x'.repeat(1_000_000), 60);
      const closed = store.close();
      if (round % 2) await turn();
      store.destroy();
      expect(files()).toEqual(['stores.db']);
      expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[1]]);
      await soon(Promise.all([written, closed]));
      rmSync(path('stores.db'));
    }
  });

  it('destroy() waits for a lock held elsewhere rather than lose a call', async () => {
    const store = open(SQLiteCacheStore);
    await store.set('key', 1, 60);
    await inspector.lock(path('stores.db'), 150);
    const written = store.set('key', 2, 60);
    store.destroy();
    await soon(written);
    const read = open(SQLiteCacheStore);
    expect(await read.get('key')).toBe(2);
  });

  it('only the last store on a file removes its sidecars', async () => {
    const [one, other, third] = [
      open(SQLiteCacheStore),
      open(SQLiteRateLimitStore),
      open(SQLiteCacheStore),
    ];
    await one.set('key', 1, 60);
    one.destroy();
    expect(files()).toContain('stores.db-wal');
    await other.close();
    expect(files()).toContain('stores.db-wal');
    expect(await third.get('key')).toBe(1);
    third.destroy();
    expect(files()).toEqual(['stores.db']);
  });

  it.each(ends)('%s settles a pending waitFor with undefined', async (_title, end) => {
    const owner = open(SQLiteDedupeStore);
    await owner.register('job');
    const store = open(SQLiteDedupeStore);
    const waiting = [store.waitFor('job'), store.waitFor('job')];
    expect(await stateOf(waiting[0])).toEqual({ status: 'pending' });
    // One that is not looked at yet, and one that waits for a claim.
    waiting.push(store.waitFor('job'), store.waitFor('new'), store.waitFor('new'));
    const ended = end(store);
    expect(await soon(Promise.all(waiting))).toEqual(Array(5).fill(undefined));
    await ended;
    // The job is not harmed.
    expect(await owner.isInProgress('job')).toBe(true);
    const other = owner.waitFor('job');
    await owner.complete('job', 'result');
    expect(await soon(other)).toBe('result');
  });

  it('settles a pending waitFor while a lock is held elsewhere', async () => {
    const store = open(SQLiteDedupeStore);
    await store.register('job');
    const waiting = store.waitFor('job');
    await turn();
    await inspector.lock(path('stores.db'), 300);
    const closed = store.close();
    expect(await soon(waiting)).toBe(undefined);
    await soon(closed);
  });

  it('opened and closed over and over, nothing is lost', async () => {
    const random = randomSource('opened and closed over and over');
    const pending = [];
    let written = 0;
    for (let round = 0; round < 60; round++) {
      const store = open(SQLiteCacheStore, random.below(8) === 0 ? { synchronous: 'full' } : {});
      for (let call = random.below(6); call > 0; call--) {
        const size = random.below(20) === 0 ? 1_500_000 : 10;
        pending.push(store.set(`key ${written++}`, 'x'.repeat(size), 60));
      }
      const end = random.below(4);
      if (end === 0) store.destroy();
      else if (end === 1) pending.push(store.close());
      else if (end === 2) await store.close();
      else pending.push(turn().then(() => store.close()));
    }
    await soon(Promise.all(pending), 15_000);
    for (const store of opened) store.destroy();
    expect(files()).toEqual(['stores.db']);
    expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[written]]);
    expect(rowsOf(path('stores.db'), 'PRAGMA integrity_check')).toEqual([['ok']]);
  });
});

describe('files that come and go', () => {
  it('removed and made anew after destroy()', async () => {
    for (let round = 0; round < 5; round++) {
      const store = open(SQLiteCacheStore);
      expect(await store.get('key')).toBe(undefined);
      await store.set('key', round, 60);
      store.destroy();
      rmSync(path('stores.db'));
      expect(files()).toEqual([]);
    }
  });

  const aliases = ['real', 'symlink', 'directory symlink', 'relative', 'roundabout'];

  const told = {
    newSeesOld: null,
    oldKeepsOld: 'of the old file',
    oldSeesNew: null,
    oldSeesLater: 2,
    newSeesNew: 1,
    newSeesLater: null,
    goesOn: 3,
  };

  describe.skipIf(isWindows).each(['unlink', 'rename'])('%s while a store has it open', (how) => {
    it.each(aliases)('and opened anew, first by its %s path', async (first) => {
      // A link still leads to the path where the new file is made.
      for (const second of first === 'real' ? aliases : ['real', first]) {
        const directory = path(`${first} ${second}`);
        mkdirSync(directory);
        const lastFirst = first.length % 2 === 0;
        const seen = await ask('files.cjs', { directory, how, first, second, lastFirst });
        expect(seen, `first by its ${first}, then by its ${second} path`).toEqual({
          ...told,
          newSeesReplacement: how === 'rename' ? 'of the new file' : null,
          files: ['stores.db'],
        });
        const file = `${directory}/real/stores.db`;
        expect(rowsOf(file, 'PRAGMA integrity_check')).toEqual([['ok']]);
        const keys = ['big', 'new', ...(how === 'rename' ? ['replacement'] : [])];
        if (!lastFirst) keys.push('after the other has ended');
        expect(rowsOf(file, 'SELECT hash FROM cache ORDER BY hash').flat()).toEqual(keys.sort());
      }
    });

    it('and the store that has it open writes on, until it checkpoints', async () => {
      const input = { directory: path('.'), how, first: 'real', second: 'real', heavy: true };
      const seen = await ask('files.cjs', input);
      expect(seen).toMatchObject(told);
      expect(rowsOf(path('real', 'stores.db'), 'PRAGMA integrity_check')).toEqual([['ok']]);
    });
  });

  it.runIf(isWindows)('cannot be removed while a store has it open', async () => {
    const store = open(SQLiteCacheStore);
    await store.set('key', 1, 60);
    expect(() => rmSync(path('stores.db'))).toThrow(/EBUSY|EPERM/);
    expect(await store.get('key')).toBe(1);
  });

  /** What is in the log of a store that is still open. @param {string} to */
  async function copyCompanions(to) {
    const store = open(SQLiteCacheStore, { database: path('source.db') });
    await store.set('old', 'of another database', 1_000);
    for (const suffix of ['-wal', '-shm']) copy(path(`source.db${suffix}`), path(`${to}${suffix}`));
    store.destroy();
    rmSync(path('source.db'));
  }

  it.each([
    ['without a database', false],
    ['beside a new, empty file', true],
  ])('-wal and -shm of an old database %s are not recovered', async (_title, isEmpty) => {
    await copyCompanions('stores.db');
    if (isEmpty) writeFileSync(path('stores.db'), '');
    const store = open(SQLiteCacheStore);
    expect(await store.get('old')).toBe(undefined);
    await store.set('new', 1, 60);
    store.destroy();
    expect(files()).toEqual(['stores.db']);
    expect(rowsOf(path('stores.db'), 'SELECT hash FROM cache')).toEqual([['new']]);
    expect(rowsOf(path('stores.db'), 'PRAGMA integrity_check')).toEqual([['ok']]);
  });

  it('the -wal of a process that was killed is recovered', async () => {
    const store = open(SQLiteCacheStore, { database: path('source.db') });
    await store.set('key', 'kept', 1_000);
    for (const suffix of ['', '-wal']) copy(path(`source.db${suffix}`), path(`stores.db${suffix}`));
    store.destroy();
    expect(await open(SQLiteCacheStore).get('key')).toBe('kept');
  });
});

describe('names of one file', () => {
  /** @type {[string, (directory: string) => string][]} */
  const names = [
    [
      'a symbolic link',
      (file) => {
        symlinkSync(file, path('link.db'));
        return path('link.db');
      },
    ],
    [
      'a path through a symbolic link',
      () => {
        symlinkSync(path('.'), path('here'));
        return path('here', 'stores.db');
      },
    ],
    [
      'a hard link',
      (file) => {
        linkSync(file, path('hard.db'));
        return path('hard.db');
      },
    ],
    ['a relative path', (file) => relative(process.cwd(), file)],
    ['a roundabout path', () => `${path('.')}/./x/../stores.db`],
    ['a path with blanks around it', (file) => ` ${file}\n`],
  ];

  it.for(names)('%s shares the connection', async ([title, alias], { skip }) => {
    skip(title.includes('symbolic') && isWithoutLinks(), 'Wine makes links that lead nowhere');
    mkdirSync(path('x'));
    const one = open(SQLiteCacheStore);
    const other = open(SQLiteCacheStore, { database: alias(path('stores.db')) });
    const answers = [];
    for (let round = 0; round < 20; round++) {
      void one.set('key', round, 60);
      answers.push(other.get('key'));
      void other.delete('key');
      answers.push(one.get('key'));
    }
    const settled = await soon(Promise.all(answers));
    expect(settled).toEqual(Array.from({ length: 20 }, (_, round) => [round, undefined]).flat());
    // One log, beside the name that was opened first.
    expect(files().filter((name) => name.endsWith('-wal'))).toEqual(['stores.db-wal']);
  });

  it('a relative path stays what it was when the working directory changes', async () => {
    const before = process.cwd();
    try {
      process.chdir(path('.'));
      const store = open(SQLiteCacheStore, { database: 'stores.db' });
      mkdirSync('elsewhere');
      process.chdir('elsewhere');
      await store.set('key', 'x'.repeat(9_000_000), 60);
      await store.set('key', 1, 60);
      const other = open(SQLiteCacheStore, { database: 'stores.db' });
      expect(await other.get('key')).toBe(undefined);
      store.destroy();
      other.destroy();
    } finally {
      process.chdir(before);
    }
    expect(files()).toEqual(['elsewhere', 'stores.db']);
    expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[1]]);
  });

  it.each([
    ["':memory:'", ':memory:'],
    ['no path', undefined],
    ["''", ''],
    ['a blank', ' '],
  ])('%s is private to each store', async (_title, database) => {
    const stores = [open(SQLiteCacheStore, { database }), open(SQLiteCacheStore, { database })];
    await stores[0].set('key', 1, 60);
    expect(await stores[0].get('key')).toBe(1);
    expect(await stores[1].get('key')).toBe(undefined);
    await stores[1].set('large', 'x'.repeat(3_000_000), 60);
    stores[0].destroy();
    expect((await stores[1].get('large')).length).toBe(3_000_000);
    await stores[1].close();
    expect(files()).toEqual([]);
    expect(existsSync(':memory:')).toBe(false);
  });
});

describe('journalMode and synchronous', () => {
  it("'delete': there is never a -wal", async () => {
    const watched = new Set();
    const stores = classes.map((Store) => open(Store, { journalMode: 'delete' }));
    const [cache, dedupe] = stores;
    for (let round = 0; round < 10; round++) {
      const pending = [
        cache.set('key', 'x'.repeat(round * 100_000), 60),
        dedupe.register(`${round}`),
      ];
      for (const file of files()) watched.add(file);
      await Promise.all(pending);
      for (const file of files()) watched.add(file);
    }
    expect(await inspector.rows(path('stores.db'), 'PRAGMA journal_mode')).toEqual([['delete']]);
    for (const store of stores) store.destroy();
    watched.delete('stores.db-journal');
    expect([...watched]).toEqual(['stores.db']);
    expect(files()).toEqual(['stores.db']);
  });

  it('the file takes the mode that is asked for', async () => {
    for (const journalMode of ['wal', 'delete', 'wal']) {
      const store = open(SQLiteCacheStore, { journalMode });
      await store.set(journalMode, 1, 60);
      store.destroy();
      expect(rowsOf(path('stores.db'), 'PRAGMA journal_mode')).toEqual([[journalMode]]);
    }
    expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[2]]);
  });

  it.each([
    [{}, { journalMode: 'delete' }],
    [{ journalMode: 'wal' }, { journalMode: 'delete' }],
    [{ journalMode: 'delete' }, { journalMode: 'wal' }],
  ])('%j and then %j on one file: a TypeError that names it', async (first, second) => {
    const one = open(SQLiteCacheStore, first);
    expect(() => open(SQLiteRateLimitStore, second)).toThrow(TypeError);
    expect(() => open(SQLiteRateLimitStore, second)).toThrow(/journalMode/);
    // Neither the store nor the file is harmed, nor held longer.
    await one.set('key', 1, 60);
    expect(await one.get('key')).toBe(1);
    one.destroy();
    expect(files()).toEqual(['stores.db']);
    await open(SQLiteRateLimitStore, second).record('r');
  });

  it.each([
    [{}, { journalMode: 'wal' }],
    [{ journalMode: 'wal' }, {}],
    [{ journalMode: 'wal' }, { journalMode: 'wal' }],
    [{ journalMode: 'delete' }, { journalMode: 'delete' }],
    [{ synchronous: 'full' }, { synchronous: 'normal' }],
    [{ synchronous: 'normal' }, { synchronous: 'full' }],
  ])('%j and then %j on one file go together', async (first, second) => {
    const one = open(SQLiteCacheStore, first);
    const other = open(SQLiteCacheStore, second);
    void one.set('key', 1, 60);
    expect(await other.get('key')).toBe(1);
  });
});

describe('the package, evaluated two hundred times', () => {
  it.each(['stores.db', ':memory:'])('leaves nothing behind: %s', async (name) => {
    const database = name === ':memory:' ? name : path(name);
    const parameters = { evaluations: 200, measuredFrom: 20, database };
    const found = await ask('evaluations.cjs', parameters, { node: ['--expose-gc'] });
    console.log(`evaluations, ${name}: ${JSON.stringify(found)}`);
    expect(found.made).toBe(800);
    expect(found.alive).toBeLessThan(5);
    expect(found.grown).toBeLessThan(1 << 20);
  });
});

describe('a store that is dropped without close()', () => {
  /** @param {string} form */
  const collect = (form) =>
    ask('collect.cjs', { directory: path('.'), form }, { node: ['--expose-gc'] });

  it('gives its file back and stops its timers', async () => {
    expect(await collect('idle')).toEqual({
      before: { intervals: 2, descriptors: true },
      collected: 4,
      intervals: 0,
      descriptors: [],
    });
    expect(files()).toEqual(['stores.db']);
    expect(rowsOf(path('stores.db'), 'SELECT count(*) FROM cache')).toEqual([[1]]);
  });

  it('has what was called before committed', async () => {
    expect(await collect('with writes pending')).toEqual({ collected: 2, descriptors: [] });
    for (const name of ['normal.db', 'full.db']) {
      expect(rowsOf(path(name), 'SELECT count(*) FROM cache')).toEqual([[110]]);
    }
  });

  it('goes on for a waitFor that is pending', async () => {
    expect(await collect('with a waitFor pending')).toEqual({ answer: 'result' });
  });

  it('leaks nothing, however many', async () => {
    expect(await collect('many')).toEqual({
      most: true,
      collected: 120,
      descriptors: [],
    });
  });

  it('leaves a file that can be made anew', async () => {
    expect(await collect('made anew')).toEqual({ answers: [null, 2], files: ['stores.db'] });
  });
});

describe('the end of the process commits what was called before', () => {
  /** @type {[string, number, string][]} the form, its exit code, what is on stderr */
  const forms = [
    ['the natural end', 0, ''],
    ['process.exit()', 3, ''],
    ['process.exit() in a promise', 3, ''],
    ['process.exit() once the writes are under way', 3, ''],
    ['an uncaught exception', 1, 'uncaught here'],
    ['an unhandled rejection', 1, 'unhandled here'],
    ['an exit listener added before the stores', 0, ''],
    ['an exit listener added after the stores', 0, ''],
    ['a beforeExit listener', 0, ''],
    ['a signal handler', 3, ''],
    ['close() that nobody awaits', 3, ''],
  ];

  /** @type {[object, number, number][]} options, the size of the values, how many */
  const cases = [
    [{}, 10, 30],
    [{}, 2_000_000, 3],
    [{}, 400_000, 30],
    [{ synchronous: 'full' }, 10, 30],
    [{ synchronous: 'full' }, 2_000_000, 3],
    [{ journalMode: 'delete' }, 10, 30],
  ];

  it.for(forms)('%s', async ([form, code, message], { skip }) => {
    skip(isWindows && form === 'a signal handler', 'Windows has no signals');
    const commits = async ([options, size, count], /** @type {number} */ index) => {
      const file = path(`${index}.db`);
      const ended = await run('exit.cjs', { path: file, form, options, size, count });
      expect(ended, ended.stderr).toMatchObject({ code, signal: null });
      if (message) expect(ended.stderr).toContain(message);
      else expect(ended.stderr).toBe('');
      const values = rowsOf(file, 'SELECT count(*), min(length(value)) FROM cache');
      expect(values, JSON.stringify(options)).toEqual([[count - 1, size + 6]]);
      expect(rowsOf(file, 'SELECT count(*) FROM rate_limits')).toEqual([[count]]);
      expect(rowsOf(file, 'SELECT status FROM dedupe_jobs')).toEqual([['completed']]);
    };
    await Promise.all(cases.map(commits));
  });

  it('also when another process holds the lock meanwhile', async () => {
    const file = path('stores.db');
    open(SQLiteCacheStore).destroy();
    await inspector.lock(file, 600);
    const ended = await run('exit.cjs', {
      path: file,
      form: 'process.exit()',
      options: {},
      size: 10,
      count: 30,
    });
    expect(ended, ended.stderr).toMatchObject({ code: 3, signal: null });
    expect(rowsOf(file, 'SELECT count(*) FROM cache')).toEqual([[29]]);
  });
});

describe('what keeps the process alive', () => {
  it('not an idle store, whatever its timers, leases and claims', async () => {
    const started = performance.now();
    const { code, stdout } = await run('alive.cjs', { path: path('stores.db'), form: 'idle' });
    expect({ code, stdout }).toEqual({ code: 0, stdout: '1' });
    // Kept alive by a timer of ours it would not end, or not before the job timeout, 5 min.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it.each([
    ['a waitFor that times out', 'undefined'],
    ['close()', 'closed'],
  ])('%s', async (form, answer) => {
    expect(await ask('alive.cjs', { path: path('stores.db'), form })).toEqual({ answer });
  });

  it('a write that waits for a lock', async () => {
    await open(SQLiteCacheStore).set('key', 1, 60);
    await inspector.lock(path('stores.db'), 700);
    const form = 'a write that waits for a lock';
    expect(await ask('alive.cjs', { path: path('stores.db'), form })).toEqual({
      answer: 'written',
    });
  });

  it('a waitFor on the job of another process', async () => {
    const store = open(SQLiteDedupeStore);
    await store.register('job');
    const form = 'a waitFor on the job of another process';
    const answer = ask('alive.cjs', { path: path('stores.db'), form });
    await sleep(slowly(700));
    await store.complete('job', 'from elsewhere');
    expect(await soon(answer)).toEqual({ answer: 'from elsewhere' });
  });
});

describe('a worker that is terminated within a call', () => {
  it.each([
    ['in toJSON', null],
    ['in the Map of limits', null],
    ['in a constructor', null],
    ['in one stretch', null],
  ])('%s', async (form) => {
    const answer = await ask('terminate.cjs', { path: path('stores.db'), form, times: 3 });
    expect(answer).toMatchObject({ recorded: 6, counted: 6, last: 6, job: 'done' });
    // What it had called before is committed.
    if (form === 'in toJSON') expect(answer.ofTheWorker).toBe('before');
    expect(files()).toEqual(['stores.db']);
    expect(rowsOf(path('stores.db'), 'PRAGMA integrity_check')).toEqual([['ok']]);
    if (form === 'in one stretch') {
      expect(
        rowsOf(path('stores.db'), "SELECT count(*) FROM cache WHERE hash LIKE 'stretch:%'"),
      ).toEqual([[expect.toSatisfy((/** @type {number} */ count) => count >= 500)]]);
    }
  });
});

describe.each(modes)('an error that does not come at once, %s', (_title, options) => {
  /** @param {Promise<unknown>} promise */
  async function awaiting(promise) {
    return await promise;
  }

  it('has the functions that await it in its stack', async () => {
    const [cache, dedupe, ...limiters] = classes.map((Store) => open(Store, options));
    await dedupe.register('job');
    const waiting = open(SQLiteDedupeStore, options).waitFor('job');
    const refusals = ['cache', 'dedupe_jobs', 'rate_limits'].map((table) => [
      `CREATE TRIGGER no_${table} BEFORE INSERT ON ${table} BEGIN SELECT raise(ABORT, 'refused'); END`,
    ]);
    await inspector.change(path('stores.db'), ...refusals);
    const settled = Promise.allSettled(
      [
        cache.set('key', 1, 60),
        dedupe.register('other'),
        ...limiters.flatMap((store) => [store.record('r'), store.acquire('r')]),
        waiting,
      ].map(awaiting),
    );
    await dedupe.fail('job', new Error('refused'));
    for (const { reason } of /** @type {any[]} */ (await settled)) {
      expect(reason?.stack).toMatch(
        /^(Sqlite)?Error: refused\n(?:.*node:internal.*\n)? {4}at (?:async )?awaiting \(.*40-lifecycle\.test\.mjs:/,
      );
    }
  });
});
