// Several processes on one file, and what happens while another program holds its lock.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lock, Remote } from './processes/remote.mjs';

// This process opens no store, so it may look into a file whenever it likes.
const { random } = createRequire(import.meta.url)('./processes/calls.cjs');

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const STORES = [
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
];
const [CACHE, DEDUPE, RATE, ADAPTIVE] = STORES.keys();

/** How long the event loop may stand still. */
const STALL_MS = 20;
/**
 * For tests that measure time to milliseconds: a virtual machine may be stopped for longer than that. A wait of ours for
 * a lock would be there each time.
 */
const MEASURED = { retry: 2 };

let directory = '';
let file = '';
/** @type {Remote[]} */
let remotes = [];
/** @type {(() => Promise<void>)[]} */
let releases = [];
/** @type {import('node:child_process').ChildProcess[]} */
let children = [];
beforeAll(() => console.log(`processes: SEED=${SEED}`));
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'processes-'));
  file = path.join(directory, 'stores.db');
});
afterEach(async () => {
  await Promise.all(releases.map((release) => release()));
  await Promise.all(remotes.map((remote) => remote.kill()));
  for (const child of children) child.kill('SIGKILL');
  [remotes, releases, children] = [[], [], []];
  rmSync(directory, { recursive: true, force: true });
});

/** @param {number} count */
async function start(count) {
  const started = await Promise.all(Array.from({ length: count }, () => Remote.start()));
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

/** @param {number[]} values */
function spread(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return { median: sorted[sorted.length >> 1], worst: sorted[sorted.length - 1] };
}

describe('four processes call the stores on one new file at once', () => {
  const CALLS = 3_000;
  const script = fileURLToPath(new URL('./processes/mixed.cjs', import.meta.url));

  /**
   * @param {string} name
   * @param {Record<string, unknown>} options
   */
  function begin(name, options) {
    const seed = SEED * 10 + Number(name.slice(-1));
    const args = [script, file, name, `${CALLS}`, `${seed}`, JSON.stringify(options)];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(child);
    let written = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      written += text;
    });
    return {
      go: () => child.stdin.end(),
      /** @type {Promise<any>} */
      told: new Promise((resolve, reject) => {
        child.on('error', reject);
        child.on('close', (code, signal) =>
          code === 0
            ? resolve(JSON.parse(written))
            : reject(new Error(`${name} ended with ${code ?? signal}`)),
        );
      }),
    };
  }

  it.each([
    ['wal', ['wal', 'wal', 'wal', 'wal']],
    ['delete', ['delete', 'delete', 'delete', 'delete']],
    ['one or the other', ['wal', 'delete', 'wal', 'delete']],
  ])(
    'with journalMode %s: nothing is lost, counts are exact',
    {
      timeout: 60_000,
    },
    async (title, modes) => {
      const four = modes.map((journalMode, index) =>
        begin(`process ${index}`, { journalMode, busyTimeoutMs: 60_000 }),
      );
      await sleep(200);
      for (const { go } of four) go();
      const told = await Promise.all(four.map((child) => child.told));
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

  it('makes the tables once, whoever comes first', { timeout: 60_000 }, async () => {
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
)('while another process holds an %s lock, journalMode %s', MEASURED, (kind, journalMode) => {
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
    const released = Number(process.hrtime.bigint()) / 1e6;
    await release();
    /** @type {import('./processes/remote.mjs').Outcome[]} */
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
    expect(stall).toBeLessThan(STALL_MS);
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
    const stall = await remote.run('longestStall');
    expect(outcomes).toHaveLength(160);
    for (const { status, error, called, settled } of outcomes) {
      expect(status).toBe('rejected');
      expect(error).toMatchObject({ name: 'SqliteError', code: 'SQLITE_BUSY', isError: true });
      expect(settled - called).toBeGreaterThan(290);
      expect(settled - called).toBeLessThan(600);
    }
    expect(stall).toBeLessThan(STALL_MS);

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
    expect(settled - called).toBeLessThan(600);
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
      expect(ms, 'time to make four stores').toBeLessThan(STALL_MS);
      await remote.run('watchLoop');
      const { done } = remote.start('calls', [hundred(0)]);
      await sleep(500);
      await release();
      const outcomes = await done;
      expect(outcomes.filter((/** @type {any} */ { status }) => status === 'rejected')).toEqual([]);
      expect(await remote.run('longestStall')).toBeLessThan(STALL_MS);
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

describe.each(['wal', 'delete'])(
  'deduplication across processes, journalMode %s',
  (journalMode) => {
    const options = () => ({ database: file, journalMode });
    /** @param {number} count */
    async function stores(count, own = {}) {
      const started = await start(count);
      return Promise.all(
        started.map(async (remote) => ({
          remote,
          store: await remote.make('SQLiteDedupeStore', { ...options(), ...own }),
        })),
      );
    }

    it('a waiter elsewhere wakes within 100 ms of complete and of fail', {
      ...MEASURED,
      timeout: 60_000,
    }, async () => {
      const [owner, waiter] = await stores(2);
      const next = random(SEED);
      /** @type {{ complete: number[], fail: number[] }} */
      const latencies = { complete: [], fail: [] };
      for (let round = 0; round < 200; round++) {
        const hash = `job ${round}`;
        const method = round % 2 === 0 ? 'complete' : 'fail';
        await owner.remote.call(owner.store, 'register', hash);
        const waiting = waiter.remote.begin(waiter.store, 'waitFor', hash);
        await waiting.begun;
        // At any moment between two looks.
        await sleep(next() * 20);
        const result = method === 'complete' ? { round } : new Error(`refused ${round}`);
        const ended = await owner.remote.outcome(owner.store, method, hash, result);
        const outcome = await waiting.done;
        expect(ended.status).toBe('resolved');
        if (method === 'complete')
          expect(outcome).toMatchObject({ status: 'resolved', value: { round } });
        else
          expect(outcome).toMatchObject({
            status: 'rejected',
            error: { name: 'Error', message: `refused ${round}`, isError: true },
          });
        latencies[method].push(outcome.settled - ended.called);
      }
      for (const [method, list] of Object.entries(latencies)) {
        const { median, worst } = spread(list);
        console.log(
          `processes, ${journalMode}: ${list.length} waiters woke on ${method}, median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms`,
        );
        expect(list).toHaveLength(100);
        expect(worst).toBeLessThan(100);
      }
    });

    it('one of those who wait for a killed process takes over, the others get its result', async () => {
      const HASHES = 5;
      const [owner, alive, ...waiters] = await stores(5);
      const hashes = Array.from({ length: HASHES }, (_, n) => `job ${n}`);
      for (const hash of hashes) await owner.remote.call(owner.store, 'register', hash);
      await alive.remote.call(alive.store, 'register', 'slow');
      let slow = 'waiting';
      const slowWaiter = waiters[0].remote.begin(waiters[0].store, 'waitFor', 'slow');
      slowWaiter.done.then(() => {
        slow = 'settled';
      });
      const waiting = hashes.map((hash) =>
        waiters.map(({ remote, store }) => {
          const call = remote.begin(store, 'waitFor', hash);
          return { remote, store, ...call };
        }),
      );
      await Promise.all(waiting.flat().map(({ begun }) => begun));
      // While the owner lives, its jobs are waited for longer than a lease is valid.
      await sleep(4_500);
      const killed = Number(process.hrtime.bigint()) / 1e6;
      await owner.remote.kill();

      const takeovers = await Promise.all(
        waiting.map(async (group, index) => {
          const first = await Promise.race(
            group.map((waiter) => waiter.done.then((outcome) => ({ waiter, outcome }))),
          );
          expect(first.outcome).toMatchObject({ status: 'resolved', value: undefined });
          const { remote, store } = first.waiter;
          await remote.call(store, 'register', hashes[index]);
          // Long enough for another to take over as well, if it did.
          await sleep(500);
          await remote.call(store, 'complete', hashes[index], { job: index });
          const outcomes = await Promise.all(group.map(({ done }) => done));
          expect(outcomes.filter(({ value }) => value === undefined)).toHaveLength(1);
          expect(outcomes.filter(({ value }) => value?.job === index)).toHaveLength(2);
          return first.outcome.settled - killed;
        }),
      );
      console.log(
        `processes, ${journalMode}: taken over ${takeovers.map((ms) => ms.toFixed(0)).join(', ')} ms after the owner was killed`,
      );
      for (const ms of takeovers) {
        expect(ms).toBeGreaterThan(0);
        expect(ms).toBeLessThan(5_000);
      }
      expect(slow).toBe('waiting');
      await alive.remote.call(alive.store, 'complete', 'slow', 'done');
      expect(await slowWaiter.done).toMatchObject({ value: 'done' });
    });

    it('a claim that is not followed by register runs out after claimTimeoutMs', async () => {
      const [first, ...others] = await stores(3);
      const told = [];
      for (let round = 0; round < 5; round++) {
        const hash = `job ${round}`;
        const { status, value, called, settled } = await first.remote.outcome(
          first.store,
          'waitFor',
          hash,
        );
        expect({ status, value }).toEqual({ status: 'resolved', value: undefined });
        const waiting = others.map(({ remote, store }) => remote.begin(store, 'waitFor', hash));
        const outcomes = await Promise.all(waiting.map(({ done }) => done));
        for (const { status, value } of outcomes)
          expect({ status, value }).toEqual({ status: 'resolved', value: undefined });
        // From the call on for the lower bound, from the answer on for the upper.
        const at = outcomes.map((outcome) => outcome.settled).sort((one, other) => one - other);
        told.push(at.map((moment) => (moment - settled).toFixed(0)).join(' and '));
        expect(at[0] - called, 'the first').toBeGreaterThan(200);
        expect(at[0] - settled, 'the first').toBeLessThan(400);
        // Its claim, too, has to run out.
        expect(at[1] - at[0], 'the second').toBeGreaterThan(200);
        expect(at[1] - at[0], 'the second').toBeLessThan(400);
      }
      console.log(`processes, ${journalMode}: claims passed on after ${told.join(', ')} ms`);
    });

    it('identical requests of all processes at once are made once', {
      timeout: 60_000,
    }, async () => {
      const four = await stores(4);
      for (let round = 0; round < 40; round++) {
        const answers = await Promise.all(
          four
            // Two in each process.
            .flatMap((one) => [one, one])
            .map(({ remote, store }) => remote.run('request', store, `request ${round}`, 5)),
        );
        const makers = answers.filter(({ made }) => made);
        expect(makers, `round ${round}`).toHaveLength(1);
        for (const { value } of answers) expect(value).toEqual(makers[0].value);
      }
    });

    it('a hundred pending waiters cost an idle process less than 2 % of a core', async () => {
      const [owner, waiter] = await stores(2);
      const hashes = Array.from({ length: 100 }, (_, n) => `job ${n}`);
      await owner.remote.run('calls', [hashes.map((hash) => [owner.store, 'register', hash])]);
      const waiting = waiter.remote.start('calls', [
        hashes.map((hash) => [waiter.store, 'waitFor', hash]),
      ]);
      await waiting.begun;
      const [waiterMs, ownerMs] = await Promise.all([
        waiter.remote.run('cpu', 3_000),
        owner.remote.run('cpu', 3_000),
      ]);
      console.log(
        `processes, ${journalMode}: CPU over 3 s, 100 waiters ${waiterMs.toFixed(1)} ms, the owner of their jobs ${ownerMs.toFixed(1)} ms`,
      );
      expect(waiterMs).toBeLessThan(60);
      expect(ownerMs).toBeLessThan(60);
      await owner.remote.run('calls', [
        hashes.map((hash) => [owner.store, 'complete', hash, hash]),
      ]);
      expect((await waiting.done).map((/** @type {any} */ { value }) => value)).toEqual(hashes);
    });
  },
);

describe('limits across processes', () => {
  it('the rate limiter counts the requests of all processes', async () => {
    const options = { database: file, defaultConfig: { limit: 10, windowMs: 60_000 } };
    const two = await Promise.all(
      (await start(2)).map(async (remote) => ({
        remote,
        store: await remote.make('SQLiteRateLimitStore', options),
      })),
    );
    for (let n = 0; n < 9; n++) {
      const { remote, store } = two[n % 2];
      await remote.call(store, 'record', 'issues');
    }
    for (const { remote, store } of two) {
      expect(await remote.call(store, 'canProceed', 'issues')).toBe(true);
      expect(await remote.call(store, 'getStatus', 'issues')).toMatchObject({ remaining: 1 });
    }
    await two[0].remote.call(two[0].store, 'record', 'issues');
    // One that was not there when the requests were made counts them too.
    const [late] = await start(1);
    two.push({ remote: late, store: await late.make('SQLiteRateLimitStore', options) });
    for (const { remote, store } of two) {
      expect(await remote.call(store, 'canProceed', 'issues')).toBe(false);
      expect(await remote.call(store, 'getStatus', 'issues')).toMatchObject({ remaining: 0 });
      expect(await remote.call(store, 'getWaitTime', 'issues')).toBeGreaterThan(50_000);
      expect(await remote.call(store, 'canProceed', 'volumes')).toBe(true);
    }
    await two[1].remote.call(two[1].store, 'reset', 'issues');
    expect(await late.call(two[2].store, 'getStatus', 'issues')).toMatchObject({ remaining: 10 });
  });

  it.each([
    ['SQLiteRateLimitStore', 'acquire', {}, []],
    ['SqliteAdaptiveRateLimitStore', 'acquire', {}, ['user']],
    ['SQLiteRateLimitStore', 'canProceed', { reservationMs: 60_000 }, []],
    ['SqliteAdaptiveRateLimitStore', 'canProceed', { reservationMs: 60_000 }, ['user']],
  ])(
    '%s: %s lets no more through than the limit, however many ask at once',
    async (name, method, own, priority) => {
      // The adaptive store gives users 30 % of it.
      const limit = 100;
      const places = name === 'SQLiteRateLimitStore' ? limit : 30;
      const options = { database: file, defaultConfig: { limit, windowMs: 60_000 }, ...own };
      const four = await start(4);
      for (const remote of four) {
        await remote.make(name, options);
        // Divides the limit now: the users who come through do not change it within this test.
        await remote.call(0, 'getStatus', 'issues');
      }
      const outcomes = await Promise.all(
        four.map((remote) =>
          remote.run(
            'calls',
            Array.from({ length: 20 }, () => Array(5).fill([0, method, 'issues', ...priority])),
            1,
          ),
        ),
      );
      expect(outcomes.flat().filter(({ status }) => status === 'rejected')).toEqual([]);
      expect(outcomes.flat().filter(({ value }) => value)).toHaveLength(places);
    },
  );

  it('the adaptive store divides by the activity of all processes', async () => {
    const options = {
      database: file,
      defaultConfig: { limit: 200, windowMs: 60_000 },
      adaptiveConfig: { recalculationIntervalMs: 400 },
    };
    const [users, workers] = await Promise.all(
      (await start(2)).map(async (remote) => {
        const store = await remote.make('SqliteAdaptiveRateLimitStore', options);
        return (/** @type {[string, ...any[]]} */ ...call) => remote.call(store, ...call);
      }),
    );
    const idle = { userReserved: 60, backgroundMax: 140, backgroundPaused: false };
    expect(await workers('getStatus', 'issues')).toMatchObject({
      remaining: 200,
      adaptive: { ...idle, recentUserActivity: 0 },
    });
    for (let n = 0; n < 12; n++) await users('record', 'issues', 'user');
    // Seen at once; the shares hold until they are due again.
    expect(await workers('getStatus', 'issues')).toMatchObject({
      remaining: 188,
      adaptive: { ...idle, recentUserActivity: 12 },
    });
    expect(await workers('canProceed', 'issues', 'background')).toBe(true);
    await sleep(450);
    for (const call of [users, workers]) {
      expect(await call('getStatus', 'issues')).toMatchObject({
        remaining: 188,
        adaptive: {
          userReserved: 180,
          backgroundMax: 20,
          backgroundPaused: true,
          recentUserActivity: 12,
          reason: 'High user activity (12 requests/15min) - prioritizing users',
        },
      });
      expect(await call('canProceed', 'issues', 'background')).toBe(false);
      expect(await call('canProceed', 'issues', 'user')).toBe(true);
      expect(await call('canProceed', 'volumes', 'background')).toBe(true);
      // Counted once, although both processes saw the users become active.
      expect(await call('getStats')).toMatchObject({
        totalRequests: 12,
        adaptiveMetrics: { priorityModeActivations: 1 },
      });
    }
  });
});
