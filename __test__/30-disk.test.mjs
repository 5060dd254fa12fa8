// What lies in the file: byte for byte what 0.2.0 writes, so that each serves the other's files.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startDbInspector } from './support/db-inspector.mjs';
import { ours, reference } from './support/packages.mjs';

const require = createRequire(import.meta.url);
const { values } = require('./support/values.cjs');
const { START, turn } = require('./support/harness.cjs');

/** @type {Record<string, any>} */
const tested = ours ?? reference;

let directory = '';
/** @type {any[]} */
let opened = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'disk-'));
  vi.useFakeTimers({ now: START });
});
afterEach(() => {
  for (const store of opened) store.destroy();
  opened = [];
  vi.useRealTimers();
  rmSync(directory, { recursive: true, force: true });
});

const file = (name = 'stores.db') => join(directory, name);

const inspector = startDbInspector();

/**
 * @param {Record<string, any>} stores
 * @param {string} name
 * @param {Record<string, unknown>} [options]
 */
function open(stores, name, options) {
  const store = new stores[name]({ database: file(), claimTimeoutMs: 0, ...options });
  opened.push(store);
  return store;
}

/**
 * The rows of a table of each version after the same calls at the same times.
 * @param {string} name
 * @param {string} table
 * @param {Record<string, unknown>} options
 * @param {(store: any) => Promise<void>} calls
 */
async function rowsOfBoth(name, table, options, calls) {
  const both = [];
  for (const stores of [reference, tested]) {
    vi.setSystemTime(START);
    const store = open(stores, name, { database: file(`${both.length}.db`), ...options });
    await calls(store);
    await store.close();
    both.push(withoutIds((await inspector.dump(file(`${both.length}.db`)))[table].rows));
  }
  return { expected: both[0], written: both[1] };
}

/**
 * Row ids and random job ids, replaced by the order of their appearance.
 * @param {[string, string, string][][]} rows
 */
function withoutIds(rows) {
  /** @type {string[]} */
  const ids = [];
  return rows.map((row) =>
    row.map(([column, type, value]) => {
      if (column !== 'id' && column !== 'job_id') return [column, type, value];
      if (!ids.includes(value)) ids.push(value);
      return [column, type, ids.indexOf(value)];
    }),
  );
}

describe('the same calls write the same rows', () => {
  it('in the cache', async () => {
    const { expected, written } = await rowsOfBoth(
      'SQLiteCacheStore',
      'cache',
      { maxEntrySizeBytes: 400_000 },
      async (store) => {
        for (const [index, { value }] of values.entries()) {
          vi.setSystemTime(START + index);
          await store.set(`value-${index}`, value, 60);
        }
        const ttls = [
          0,
          -1,
          -0,
          0.0005,
          0.0015,
          0.1,
          1 / 3,
          1.1,
          3_600,
          1e9,
          1e300,
          Number.POSITIVE_INFINITY,
          Number.NEGATIVE_INFINITY,
        ];
        for (const ttl of ttls) await store.set(`ttl-${ttl}`, ttl, ttl);
        for (const key of ['', 'a\0b', 'ü', '\u{1F9B8}', "'", 'k'.repeat(5_000)])
          await store.set(key, key, 60);
        await store.set('twice', 'first', 1);
        vi.setSystemTime(START + 500);
        await store.set('twice', { second: true }, 2);
        await store.set('gone', 1, 60);
        await store.delete('gone');
        await store.set('too big', 'x'.repeat(400_000), 60);
        await store.set('read', 1, 0.001);
        vi.setSystemTime(START + 600);
        await store.get('read');
      },
    );
    expect(written.length).toBeGreaterThan(values.length + 15);
    expect(written).toStrictEqual(expected);
  });

  it('in the cache, cleaned up', async () => {
    const { expected, written } = await rowsOfBoth(
      'SQLiteCacheStore',
      'cache',
      { cleanupIntervalMs: 1_000 },
      async (store) => {
        for (let i = 0; i < 30; i++) await store.set(`key-${i}`, i, i / 10);
        await vi.advanceTimersByTimeAsync(1_500);
        vi.setSystemTime(START + 2_000);
        await store.cleanup();
      },
    );
    expect(written).toHaveLength(10);
    expect(written).toStrictEqual(expected);
  });

  it('of dedupe jobs', async () => {
    const { expected, written } = await rowsOfBoth(
      'SQLiteDedupeStore',
      'dedupe_jobs',
      { jobTimeoutMs: 5_000, cleanupIntervalMs: 0 },
      async (store) => {
        for (const [index, { value }] of values.entries()) {
          await store.register(`value-${index}`);
          vi.setSystemTime(START + index);
          await store.complete(`value-${index}`, value);
        }
        vi.setSystemTime(START + 100);
        for (const job of [
          'pending',
          'failed',
          'nameless',
          'completed twice',
          'failed twice',
          'both',
          'timed out',
          'ü',
          '',
        ])
          await store.register(job);
        const waiter = store.waitFor('timed out');
        await turn();
        vi.advanceTimersByTime(100);
        await store.register('pending');
        await store.fail('failed', new Error('upstream: ü \u{1F9B8} "quoted"'));
        await store.fail('nameless', new Error());
        await store.complete('completed twice', 1);
        await store.complete('completed twice', 2);
        await store.fail('failed twice', new Error('one'));
        await store.fail('failed twice', new Error('two'));
        await store.fail('both', new Error('failed first'));
        await store.complete('both', 'completed then');
        await store.complete('never registered', 1);
        await store.fail('never registered', new Error('no'));
        await vi.advanceTimersByTimeAsync(4_900);
        await waiter;
      },
    );
    expect(written).toHaveLength(values.length + 9);
    const isOurs = (/** @type {any[]} */ [name]) => name === 'error_name';
    expect(written.map((row) => row.filter((column) => !isOurs(column)))).toStrictEqual(expected);
    const names = written.map((row) => row.find(isOurs)?.[2]).filter((name) => name);
    expect(names.sort()).toEqual(Array(4).fill(expect.stringMatching(/^[0-9a-f-]{36} Error$/)));
    const timedOut = written.find((row) => row[0][2] === 'timed out');
    expect(timedOut?.slice(2).filter((column) => !isOurs(column))).toStrictEqual([
      ['status', 'text', 'failed'],
      ['result', 'null', null],
      ['error', 'text', 'Job timed out'],
      ['created_at', 'integer', String(START + 100)],
      ['updated_at', 'integer', String(START + 5_100)],
    ]);
  });

  it('of rate limits', async () => {
    const options = { defaultConfig: { limit: 3, windowMs: 1_000 } };
    const { expected, written } = await rowsOfBoth(
      'SQLiteRateLimitStore',
      'rate_limits',
      options,
      async (store) => {
        for (let i = 0; i < 20; i++) {
          vi.setSystemTime(START + i * 100);
          await store.record(['r', 's', 'ü'][i % 3]);
          if (i % 5 === 0) await store.canProceed('r');
        }
        await store.record('gone');
        await store.reset('gone');
      },
    );
    expect(written.length).toBeGreaterThan(12);
    expect(written).toStrictEqual(expected);
  });

  it('of adaptive rate limits', async () => {
    const { expected, written } = await rowsOfBoth(
      'SqliteAdaptiveRateLimitStore',
      'rate_limits',
      {},
      async (store) => {
        for (let i = 0; i < 20; i++) {
          vi.setSystemTime(START + i * 100);
          await store.record(['r', 's', 'ü'][i % 3], ['user', 'background', undefined][i % 4]);
          if (i % 5 === 0) await store.getStatus('r');
        }
        vi.setSystemTime(START + 3_600_500);
        await store.canProceed('s', 'user');
      },
    );
    expect(written).toHaveLength(18);
    expect(written).toStrictEqual(expected);
  });
});

describe('the schema', () => {
  for (const [tables, names] of [
    ['the cache', ['SQLiteCacheStore']],
    ['dedupe jobs', ['SQLiteDedupeStore']],
    ['rate limits', ['SQLiteRateLimitStore']],
    ['adaptive rate limits', ['SqliteAdaptiveRateLimitStore']],
    ['rate limits made adaptive', ['SQLiteRateLimitStore', 'SqliteAdaptiveRateLimitStore']],
    [
      'adaptive rate limits, used plainly',
      ['SqliteAdaptiveRateLimitStore', 'SQLiteRateLimitStore'],
    ],
  ]) {
    it(`of ${tables} has 0.2.0's columns and indexes`, async () => {
      for (const [index, stores] of [reference, tested].entries()) {
        for (const name of names)
          await open(stores, name, { database: file(`${index}.db`) }).close();
      }
      const expected = await inspector.dump(file('0.db'));
      const made = await inspector.dump(file('1.db'));
      for (const [table, { columns, indexes }] of Object.entries(expected)) {
        const isTheirs = (/** @type {any} */ { name }) => name !== 'error_name';
        expect(made[table].columns.filter(isTheirs)).toStrictEqual(columns);
        expect(made[table].indexes).toMatchObject(indexes);
      }
    });
  }
});

/**
 * Fills all four stores; `expectServed` asks for what is left.
 * @param {Record<string, any>} stores
 * @param {boolean} legacy  whether the rate limits have no priority
 */
async function fill(stores, legacy) {
  const cache = open(stores, 'SQLiteCacheStore');
  await cache.set('object', { a: [1, 'ü', null] }, 60);
  await cache.set('undefined', undefined, 60);
  await cache.set('fraction', 'kept', 0.1005);
  await cache.set('expired', 1, 0.05);
  const dedupe = open(stores, 'SQLiteDedupeStore');
  for (const job of ['pending', 'completed', 'null', 'failed']) await dedupe.register(job);
  await dedupe.complete('completed', { a: ['\ud800'] });
  await dedupe.complete('null', null);
  await dedupe.fail('failed', new Error('upstream'));
  const limits = open(stores, legacy ? 'SQLiteRateLimitStore' : 'SqliteAdaptiveRateLimitStore');
  for (let i = 0; i < 12; i++) await limits.record('r', i < 4 ? 'user' : 'background');
  for (const store of opened) await store.close();
}

/**
 * @param {Record<string, any>} stores
 * @param {boolean} legacy
 * @param {boolean} isInProgress  whether the job that was left pending is
 */
async function expectServed(stores, legacy, isInProgress) {
  vi.setSystemTime(START + 100);
  const cache = open(stores, 'SQLiteCacheStore');
  expect(await cache.getStats()).toMatchObject({ totalItems: 4, expiredItems: 1 });
  expect(await cache.get('object')).toStrictEqual({ a: [1, 'ü', null] });
  expect(await cache.get('undefined')).toBeUndefined();
  expect(await cache.get('fraction')).toBe('kept');
  expect(await cache.get('expired')).toBeUndefined();
  vi.setSystemTime(START + 101);
  expect(await cache.get('fraction')).toBeUndefined();
  expect(await cache.getStats()).toMatchObject({ totalItems: 2, expiredItems: 0 });

  const dedupe = open(stores, 'SQLiteDedupeStore');
  expect(await dedupe.getStats()).toStrictEqual({
    totalJobs: 4,
    pendingJobs: 1,
    completedJobs: 2,
    failedJobs: 1,
    expiredJobs: 0,
  });
  expect(await dedupe.isInProgress('pending')).toBe(isInProgress);
  expect(await dedupe.getResult('completed')).toStrictEqual({ a: ['\ud800'] });
  expect(await dedupe.waitFor('completed')).toStrictEqual({ a: ['\ud800'] });
  expect(await dedupe.getResult('null')).toBeNull();
  expect(await dedupe.waitFor('failed')).toBeUndefined();
  const waiter = dedupe.waitFor('pending');
  await turn();
  await dedupe.complete('pending', 'done by the other version');
  expect(await waiter).toBe(isInProgress ? 'done by the other version' : undefined);
  expect(await dedupe.getResult('pending')).toBe('done by the other version');

  const plain = open(stores, 'SQLiteRateLimitStore', {
    defaultConfig: { limit: 12, windowMs: 60_000 },
  });
  expect(await plain.canProceed('r')).toBe(false);
  expect(await plain.getWaitTime('r')).toBe(60_000 - 101);
  const adaptive = open(stores, 'SqliteAdaptiveRateLimitStore');
  expect(await adaptive.getStatus('r')).toMatchObject({
    remaining: 188,
    adaptive: legacy
      ? { recentUserActivity: 0, userReserved: 5 }
      : { recentUserActivity: 4, backgroundMax: 200 - 80 * (1.4 * 1.2) },
  });
  await adaptive.record('r', 'user');
  await plain.record('r');
  expect((await adaptive.getStats()).totalRequests).toBe(14);
  expect((await adaptive.getStatus('r')).adaptive.recentUserActivity).toBe(legacy ? 1 : 5);
  expect((await plain.getStatus('r')).remaining).toBe(0);
}

describe('a file', () => {
  for (const [maker, made, server, served] of /** @type {const} */ ([
    ['0.2.0', reference, 'ours', tested],
    ['ours', tested, '0.2.0', reference],
    ['ours', tested, 'ours', tested],
  ])) {
    for (const legacy of [false, true]) {
      it(`of ${maker}${legacy ? ' with rate limits that have no priority' : ''} serves ${server}`, async () => {
        await fill(made, legacy);
        const { columns } = (await inspector.dump(file())).rate_limits;
        expect(columns.some((/** @type {any} */ { name }) => name === 'priority')).toBe(!legacy);
        // A store of ours gives its jobs up when it ends, which 0.2.0 does not look at.
        await expectServed(served, legacy, maker !== 'ours' || server !== 'ours');
      });
    }
  }

  it('serves both versions at once', async () => {
    vi.useRealTimers();
    const cache = open(tested, 'SQLiteCacheStore');
    const dedupe = open(tested, 'SQLiteDedupeStore');
    const limits = open(tested, 'SqliteAdaptiveRateLimitStore', {
      defaultConfig: { limit: 200, windowMs: 60_000 },
    });
    await cache.set('key', { from: 'ours' }, 60);
    const id = await dedupe.register('job');
    await limits.record('r', 'user');
    const answers = await inspector.calls(file(), {
      SQLiteCacheStore: [
        ['get', 'key'],
        ['set', 'other', [1, 2], 60],
      ],
      SQLiteDedupeStore: [
        ['isInProgress', 'job'],
        ['register', 'job'],
        ['complete', 'job', 'done there'],
      ],
      SqliteAdaptiveRateLimitStore: [['record', 'r', 'background'], ['getStats']],
    });
    expect(answers).toStrictEqual([
      { from: 'ours' },
      null,
      true,
      id,
      null,
      null,
      { totalRequests: 2, uniqueResources: 1, rateLimitedResources: [] },
    ]);
    expect(await cache.get('other')).toStrictEqual([1, 2]);
    expect(await dedupe.isInProgress('job')).toBe(false);
    expect(await dedupe.getResult('job')).toBe('done there');
    expect((await limits.getStatus('r')).remaining).toBe(198);
  });
});

const hex = (/** @type {string | Buffer} */ content) => ({
  hex: Buffer.from(content).toString('hex'),
});
// These rows are beyond 0.2.0.
describe.skipIf(!ours)('rows of other hands', () => {
  const plainJson = [
    '{"a":[1]}',
    '[null,"x"]',
    ' {"spaced": true} ',
    '5',
    '-1.5e3',
    'true',
    'null',
  ];
  const broken = [
    '',
    ' ',
    '{"a":',
    '"unterminated',
    '"{\\"a\\":"',
    '"not JSON within"',
    'nonsense',
    Buffer.from([0xff, 0xfe]),
    Buffer.from([0x22, 0xff, 0x22]),
  ];
  const insertEntry = 'INSERT INTO cache VALUES (?, ?, ?, ?)';
  const insertJob = "INSERT INTO dedupe_jobs VALUES (?, ?, 'completed', ?, NULL, ?, ?, NULL)";

  it('are read as plain JSON', async () => {
    const [cache, dedupe] = [open(tested, 'SQLiteCacheStore'), open(tested, 'SQLiteDedupeStore')];
    await inspector.change(
      file(),
      ...plainJson.flatMap((text, index) => [
        [insertEntry, `key-${index}`, hex(text), START + 60_000, START],
        [insertJob, `job-${index}`, `id-${index}`, hex(text), START, START],
      ]),
    );
    for (const [index, text] of plainJson.entries()) {
      expect(await cache.get(`key-${index}`)).toStrictEqual(JSON.parse(text));
      expect(await dedupe.getResult(`job-${index}`)).toStrictEqual(JSON.parse(text));
      expect(await dedupe.waitFor(`job-${index}`)).toStrictEqual(JSON.parse(text));
    }
    expect((await cache.getStats()).totalItems).toBe(plainJson.length);
  });

  it('that do not parse are absent, and deleted', async () => {
    const [cache, dedupe] = [open(tested, 'SQLiteCacheStore'), open(tested, 'SQLiteDedupeStore')];
    await inspector.change(
      file(),
      ...broken.flatMap((content, index) => [
        [insertEntry, `key-${index}`, hex(content), START + 60_000, START],
        [insertJob, `job-${index}`, `id-${index}`, hex(content), START, START],
      ]),
    );
    expect((await cache.getStats()).totalItems).toBe(broken.length);
    for (const index of broken.keys()) {
      expect([index, await cache.get(`key-${index}`)]).toStrictEqual([index, undefined]);
      expect([
        index,
        await dedupe[index % 2 ? 'getResult' : 'waitFor'](`job-${index}`),
      ]).toStrictEqual([index, undefined]);
    }
    expect((await cache.getStats()).totalItems).toBe(0);
    expect((await dedupe.getStats()).totalJobs).toBe(0);
    await cache.close();
    await dedupe.close();
    const { cache: entries, dedupe_jobs: jobs } = await inspector.dump(file());
    expect([entries.rows, jobs.rows]).toStrictEqual([[], []]);
  });

  it('may end between two milliseconds', async () => {
    const cache = open(tested, 'SQLiteCacheStore');
    await inspector.change(file(), [insertEntry, 'real', hex('1'), START + 10.5, START]);
    vi.setSystemTime(START + 10);
    expect(await cache.get('real')).toBe(1);
    expect((await cache.getStats()).expiredItems).toBe(0);
    vi.setSystemTime(START + 11);
    expect((await cache.getStats()).expiredItems).toBe(1);
    expect(await cache.get('real')).toBeUndefined();
    expect((await cache.getStats()).totalItems).toBe(0);
  });
});
