// Several processes on one file, and what happens while another program holds its lock.
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lock, Remote } from './support/remote.mjs';
import { SEED } from './support/seed.mjs';
import { slowly } from './support/slowness.cjs';

const require = createRequire(import.meta.url);
const { connect, OURS_ON_CONNECTIONS } = require('./support/implementations.cjs');
const { Program } = require('./support/processes.cjs');

const STORES = [
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
];
const [CACHE, DEDUPE, RATE, ADAPTIVE] = STORES.keys();

/** How long a store waits for a lock that is told nothing else. */
const BUSY_TIMEOUT_MS = 5_000;
/**
 * How often the event loop turns at least in half a second in which a lock is held. If it waited for the lock, it would not
 * turn at all.
 */
const TURNS = 500 / slowly(25);

let directory = '';
let file = '';
/** @type {Remote[]} */
let remotes = [];
/** @type {(() => Promise<void>)[]} */
let releases = [];
/** @type {InstanceType<typeof Program>[]} */
let programs = [];
beforeAll(() => console.log(`processes: SEED=${SEED}`));
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'processes-'));
  file = path.join(directory, 'stores.db');
});
afterEach(async () => {
  await Promise.all(releases.map((release) => release()));
  await Promise.all(remotes.map((remote) => remote.kill()));
  for (const program of programs) program.kill();
  [remotes, releases, programs] = [[], [], []];
  rmSync(directory, { recursive: true, force: true });
});

/**
 * @param {number} count
 * @param {import('./support/implementations.cjs').Implementation} [implementation]
 */
async function start(count, implementation) {
  const started = await Promise.all(
    Array.from({ length: count }, () => Remote.start(implementation)),
  );
  remotes.push(...started);
  return started;
}

/** @param {Parameters<typeof lock>} args */
async function hold(...args) {
  const release = await lock(...args);
  releases.push(release);
  return release;
}

/**
 * This process opens no store, so it may look into a file whenever it likes.
 * @template T
 * @param {(db: import('better-sqlite3').Database) => T} look
 * @returns {T}
 */
function inspect(look) {
  const db = new Database(file);
  try {
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    return look(db);
  } finally {
    db.close();
  }
}

/** @param {Buffer} blob */
const decoded = (blob) => JSON.parse(JSON.parse(blob.toString('utf8')));

/** A hundred calls of all kinds, most of which write. */
const hundred = (/** @type {number} */ group) =>
  Array.from({ length: 100 }, (_, n) => {
    const key = `${group}-${n}`;
    /** @type {[number, string, ...any[]][]} */
    const calls = [
      [CACHE, 'set', key, { group, n }, 3_600],
      [DEDUPE, 'register', key],
      [RATE, 'record', 'issues'],
      [ADAPTIVE, 'record', 'volumes', 'user'],
      [CACHE, 'get', `${group}-${n - (n % 5)}`],
    ];
    return calls[n % 5];
  });
const rowCounts = () =>
  inspect((db) => ({
    entries: db.prepare('SELECT COUNT(*) FROM cache').pluck().get(),
    jobs: db.prepare('SELECT COUNT(*) FROM dedupe_jobs').pluck().get(),
    requests: db.prepare('SELECT COUNT(*) FROM rate_limits').pluck().get(),
  }));

describe('four processes call the stores on one new file at once', () => {
  const CALLS = 3_000;
  /**
   * @param {string} name
   * @param {Record<string, unknown>} options
   */
  function begin(name, options) {
    const seed = SEED * 10 + Number(name.slice(-1));
    const program = new Program('mixed.cjs', { database: file, name, calls: CALLS, seed, options });
    programs.push(program);
    return program;
  }

  it.each([
    ['wal', ['wal', 'wal', 'wal', 'wal']],
    ['delete', ['delete', 'delete', 'delete', 'delete']],
    ['one or the other', ['wal', 'delete', 'wal', 'delete']],
  ])(
    'with journalMode %s: nothing is lost, counts are exact',
    {
      timeout: slowly(60_000),
    },
    async (title, modes) => {
      const four = modes.map((journalMode, index) =>
        begin(`process ${index}`, { journalMode, busyTimeoutMs: 60_000 }),
      );
      await sleep(200);
      for (const program of four) program.end();
      const told = await Promise.all(four.map(async (program) => JSON.parse(await program.done())));
      const longest = Math.max(...told.map((one) => one.longest));
      console.log(
        `processes, ${title}: the longest wait for up to 100 calls ${longest.toFixed(0)} ms`,
      );

      expect(told.flatMap((one) => one.wrong)).toEqual([]);
      for (const { made } of told) expect(made).toBe(CALLS);
      inspect((db) => {
        const entries = new Map(
          db
            .prepare('SELECT hash, value FROM cache')
            .all()
            .map((/** @type {any} */ { hash, value }) => [hash, decoded(value)]),
        );
        for (const { own } of told)
          for (const [key, value] of Object.entries(own)) expect(entries.get(key)).toEqual(value);
        for (let index = 0; index < 20; index++) {
          const last = told.map(({ shared }) => shared[`shared ${index}`]);
          expect(last).toContainEqual(entries.get(`shared ${index}`));
        }

        const jobs = db.prepare('SELECT hash, status, result, error FROM dedupe_jobs').all();
        const expectedJobs = told.flatMap(({ results, failures }) => [
          ...Object.entries(results).map(([hash, value]) => [hash, 'completed', value, null]),
          ...Object.entries(failures).map(([hash, message]) => [hash, 'failed', null, message]),
        ]);
        const byHash = (/** @type {any[]} */ [one], /** @type {any[]} */ [other]) =>
          one < other ? -1 : 1;
        expect(
          jobs
            .map((/** @type {any} */ { hash, status, result, error }) => [
              hash,
              status,
              result && decoded(result),
              error,
            ])
            .sort(byHash),
        ).toEqual(expectedJobs.sort(byHash));

        /** @type {Record<string, number>} */
        const expected = {};
        for (const { records } of told)
          for (const [key, count] of Object.entries(records))
            expected[key] = (expected[key] ?? 0) + Number(count);
        const counts = db
          .prepare('SELECT resource, priority, COUNT(*) AS count FROM rate_limits GROUP BY 1, 2')
          .all();
        expect(
          Object.fromEntries(
            counts.map((/** @type {any} */ { resource, priority, count }) => [
              `${resource} ${priority}`,
              count,
            ]),
          ),
        ).toEqual(expected);
      });
    },
  );

  it('makes the tables once, whoever comes first', { timeout: slowly(60_000) }, async () => {
    const four = await start(4);
    for (let round = 0; round < 25; round++) {
      const database = path.join(directory, `new-${round}.db`);
      const made = await Promise.all(
        four.map(async (remote, index) => {
          // Each begins with another class.
          const order = [...STORES.keys()].map((n) => STORES[(n + index) % 4]);
          const { numbers } = await remote.run(
            'make',
            order.map((name) => [name, { database }]),
          );
          const number = (/** @type {string} */ name) => numbers[order.indexOf(name)];
          await remote.call(number('SQLiteCacheStore'), 'set', `${index}`, index, 60);
          await remote.call(number('SQLiteDedupeStore'), 'register', `${index}`);
          await remote.call(number('SQLiteRateLimitStore'), 'record', 'issues');
          await remote.call(number('SqliteAdaptiveRateLimitStore'), 'record', 'issues', 'user');
          return { remote, numbers, rate: number('SQLiteRateLimitStore') };
        }),
      );
      for (const { remote, rate } of made)
        expect(await remote.call(rate, 'getStats')).toMatchObject({ totalRequests: 8 });
      for (const { remote, numbers } of made)
        for (const store of numbers) await remote.call(store, 'close');
      expect(existsSync(`${database}-wal`)).toBe(false);
    }
  });
});

describe('the write-ahead log', () => {
  it('stays bounded while two processes write without a pause', async () => {
    const two = await start(2);
    const stores = await Promise.all(
      two.map((remote) => remote.make('SQLiteCacheStore', { database: file })),
    );
    const writing = Promise.all(
      two.map((remote, n) => remote.run('write', stores[n], 4_000, 5_000)),
    );
    let longest = 0;
    let done = false;
    writing.finally(() => {
      done = true;
    });
    while (!done) {
      longest = Math.max(longest, statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0);
      await sleep(20);
    }
    const writes = (await writing).reduce((sum, one) => sum + one, 0);
    console.log(
      `processes: ${writes} writes of 5 KB in 4 s, write-ahead log up to ${(longest / 1e6).toFixed(1)} MB`,
    );
    // Twice the length at which a checkpoint begins to wait for the others.
    expect(longest).toBeLessThan(128 * 1024 * 1024);
  });
});

describe.each(
  /** @type {const} */ ([
    ['IMMEDIATE', 'wal'],
    ['IMMEDIATE', 'delete'],
    ['EXCLUSIVE', 'delete'],
  ]),
)('while another process holds an %s lock, journalMode %s', (kind, journalMode) => {
  /** @param {Record<string, any>} options */
  async function opened(options = {}) {
    const [remote] = await start(1);
    await remote.run(
      'make',
      STORES.map((name) => [name, { database: file, journalMode, ...options }]),
    );
    // Whatever is done once is done.
    await remote.call(CACHE, 'delete', 'nothing');
    return remote;
  }

  it('a thousand calls queue, the event loop turns, and all succeed afterwards', async () => {
    const remote = await opened();
    const release = await hold(file, kind);
    await remote.run('watchLoop');
    const groups = Array.from({ length: 10 }, (_, group) => hundred(group));
    const { done } = remote.start('calls', groups, 100);
    await sleep(3_000);
    const turns = await remote.run('turns');
    const released = Number(process.hrtime.bigint()) / 1e6;
    await release();
    /** @type {import('./support/remote.mjs').Outcome[]} */
    const outcomes = await done;
    const stall = await remote.run('longestStall');
    console.log(
      `processes, ${journalMode}, ${kind}: longest stall ${stall.toFixed(1)} ms; all settled ${(Math.max(...outcomes.map(({ settled }) => settled)) - released).toFixed(0)} ms after the release`,
    );

    expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
    expect(outcomes).toHaveLength(1_000);
    for (const [index, { value, settled }] of outcomes.entries()) {
      // Reads wait for the writes before them, and see them.
      expect(settled).toBeGreaterThan(released);
      if (index % 5 === 4)
        expect(value).toEqual({ group: Math.floor(index / 100), n: (index % 100) - 4 });
    }
    expect(turns).toBeGreaterThan(TURNS);
    expect(rowCounts()).toEqual({ entries: 200, jobs: 200, requests: 400 });
  });

  it('calls past busyTimeoutMs reject with SQLITE_BUSY, and later ones work', async () => {
    const remote = await opened({ busyTimeoutMs: 300 });
    const release = await hold(file, kind);
    await remote.run('watchLoop');
    // The second hundred are called while the first still wait.
    const writes = (/** @type {number} */ group) =>
      hundred(group).filter(([, method]) => method !== 'get');
    const outcomes = await remote.run('calls', [writes(0), writes(1)], 150);
    expect(await remote.run('turns')).toBeGreaterThan(TURNS);
    expect(outcomes).toHaveLength(160);
    for (const { status, error, called, settled } of outcomes) {
      expect(status).toBe('rejected');
      expect(error).toMatchObject({ name: 'SqliteError', code: 'SQLITE_BUSY', isError: true });
      expect(settled - called).toBeGreaterThan(290);
      // Waiting one after the other, the last would take 80 times as long.
      expect(settled - called).toBeLessThan(BUSY_TIMEOUT_MS / 2);
    }

    await release();
    const later = await remote.run('calls', [hundred(2)]);
    expect(
      later.filter((/** @type {any} */ { status }) => status === 'rejected'),
      'later calls',
    ).toEqual([]);
    // What was refused did not happen.
    expect(rowCounts()).toEqual({ entries: 20, jobs: 20, requests: 40 });
  });

  it.each([
    ['a more patient store', false],
    ['the renewal of a lease', true],
  ])('busyTimeoutMs holds behind %s', async (_, pendingJob) => {
    const [remote] = await start(1);
    const patient = await remote.make('SQLiteCacheStore', { database: file, journalMode });
    const own = { database: file, journalMode, busyTimeoutMs: 300 };
    const impatient = await remote.make('SQLiteCacheStore', own);
    const dedupe = await remote.make('SQLiteDedupeStore', own);
    if (pendingJob) await remote.call(dedupe, 'register', 'job');
    else await remote.call(dedupe, 'clear');
    const release = await hold(file, kind);
    // Leases are renewed every second.
    if (pendingJob) await sleep(1_500);
    const waiting = pendingJob ? undefined : remote.begin(patient, 'set', 'patient', 1, 60);
    await waiting?.begun;
    const { status, error, called, settled } = await remote.outcome(impatient, 'set', 'key', 1, 60);
    expect({ status, code: error?.code }).toEqual({ status: 'rejected', code: 'SQLITE_BUSY' });
    // The other store's patience is the default.
    expect(settled - called).toBeLessThan(BUSY_TIMEOUT_MS / 2);
    await release();
    if (waiting) expect(await waiting.done).toMatchObject({ status: 'resolved' });
  });

  it.each([
    ['that has the tables', true, journalMode],
    ['without the tables', false, journalMode],
    ['without the tables, journalMode not given', false, undefined],
  ])(
    'stores are made on a file %s, and their calls succeed afterwards',
    async (_, tables, mode) => {
      if (tables) await (await opened()).close();
      const release = await hold(file, kind, journalMode);
      const [remote] = await start(1);
      const { ms } = await remote.run(
        'make',
        STORES.map((name) => [name, { database: file, journalMode: mode }]),
      );
      // If they waited for the lock, they would until their busy timeout.
      expect(ms, 'time to make four stores').toBeLessThan(BUSY_TIMEOUT_MS / 2);
      await remote.run('watchLoop');
      const { done } = remote.start('calls', [hundred(0)]);
      await sleep(500);
      expect(await remote.run('turns')).toBeGreaterThan(TURNS);
      await release();
      const outcomes = await done;
      expect(outcomes.filter((/** @type {any} */ { status }) => status === 'rejected')).toEqual([]);
      expect(rowCounts()).toEqual({ entries: 20, jobs: 20, requests: 40 });
    },
  );

  it('a store made long before the release and first called after it works', async () => {
    const release = await hold(file, kind, journalMode);
    const [remote] = await start(1);
    await remote.run(
      'make',
      STORES.map((name) => [name, { database: file, journalMode, busyTimeoutMs: 300 }]),
    );
    const early = await remote.run('calls', [[[CACHE, 'set', 'early', 1, 60]]]);
    expect(early[0]).toMatchObject({ status: 'rejected', error: { code: 'SQLITE_BUSY' } });
    await sleep(1_500);
    await release();
    const outcomes = await remote.run('calls', [hundred(0)]);
    expect(outcomes.filter((/** @type {any} */ { status }) => status === 'rejected')).toEqual([]);
    expect(rowCounts()).toEqual({ entries: 20, jobs: 20, requests: 40 });
  });
});

describe('while another process writes one value after the other', () => {
  it.each([
    ['without pause', 0, 1_000],
    // The other's patience is shorter than that work: the lock is given back meanwhile.
    ['with much other work after each', 400, 100],
  ])('%s, the log can be taken over and begun anew', async (_, workMs, timeout) => {
    const [remote] = await start(1);
    await remote.run('make', [[STORES[CACHE], { database: file }]]);
    const { done } = remote.start('write', CACHE, slowly(2_500), 100, workMs);
    await sleep(500);
    const db = new Database(file, { timeout });
    // While another connection's checkpoint runs, SQLite answers -1 at once, whatever the busy
    // timeout: then asked again. All other locks are waited for.
    const truncate = async () => {
      for (const until = Date.now() + 2_000; ; await sleep(1)) {
        const [answer] = /** @type {any} */ (db.pragma('wal_checkpoint(TRUNCATE)'));
        if (answer.log !== -1 || Date.now() > until) return answer;
      }
    };
    for (let round = 0; round < 15; round++) {
      expect(await truncate()).toEqual({ busy: 0, log: 0, checkpointed: 0 });
      await sleep(slowly(100));
    }
    expect(await done).toBeGreaterThan(4);
    // Nothing is kept from others when nothing goes on.
    db.pragma('busy_timeout = 0');
    await sleep(50);
    expect(await truncate()).toEqual({ busy: 0, log: 0, checkpointed: 0 });
    db.close();
    expect(inspect((file) => file.prepare('SELECT COUNT(*) FROM cache').pluck().get())).toBe(
      Math.min(100, await done),
    );
  });
});

describe('while another process holds the lock, on a connection', () => {
  /** The four stores on a connection that waits for locks for so long. @param {number} timeout */
  async function opened(timeout) {
    connect(file).close();
    const [remote] = await start(1, { ...OURS_ON_CONNECTIONS, timeout });
    await remote.run(
      'make',
      STORES.map((name) => [name, { database: file }]),
    );
    return remote;
  }

  it('the driver waits, and of a thousand calls all succeed afterwards', async () => {
    const remote = await opened(5_000);
    const release = await hold(file, 'IMMEDIATE');
    const groups = Array.from({ length: 10 }, (_, group) => hundred(group));
    const { done } = remote.start('calls', groups, 100);
    await sleep(3_000);
    await release();
    /** @type {import('./support/remote.mjs').Outcome[]} */
    const outcomes = await done;
    expect(outcomes).toHaveLength(1_000);
    expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
    expect(rowCounts()).toEqual({ entries: 200, jobs: 200, requests: 400 });
  });

  it('calls past its timeout reject with SQLITE_BUSY, and later ones work', async () => {
    const remote = await opened(300);
    const release = await hold(file, 'IMMEDIATE');
    const outcomes = await remote.run('calls', [
      hundred(0).filter(([, method]) => method !== 'get'),
    ]);
    expect(outcomes).toHaveLength(80);
    for (const { status, error } of outcomes)
      expect({ status, code: error?.code }).toEqual({ status: 'rejected', code: 'SQLITE_BUSY' });
    await release();
    const later = await remote.run('calls', [hundred(1)]);
    expect(
      later.filter((/** @type {any} */ { status }) => status === 'rejected'),
      'later calls',
    ).toEqual([]);
    expect(rowCounts()).toEqual({ entries: 20, jobs: 20, requests: 40 });
  });
});
