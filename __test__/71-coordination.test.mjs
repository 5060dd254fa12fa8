// What the processes of an application do together through one file: requests made once, jobs taken over from the
// dead, limits kept. SEED=… repeats the random schedules; ROUNDS=… makes more or fewer rounds.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import { Remote } from './support/remote.mjs';
import { randomSource } from './support/seed.mjs';

// This process opens no store, so it may look into a file whenever it likes.
const { connect, OURS_ON_CONNECTIONS, OURS_ON_PATHS } = createRequire(import.meta.url)(
  './support/implementations.cjs',
);

const ROUNDS = process.env.ROUNDS === undefined ? undefined : Number(process.env.ROUNDS);
/** How many times longer that may take. */
const LONGER = Math.max(1, (ROUNDS ?? 0) / 50);
const random = randomSource('coordination');
const numbers = (/** @type {number} */ count, first = 1) =>
  Array.from({ length: count }, (_, n) => first + n);
const sum = (/** @type {number[]} */ values) => values.reduce((total, value) => total + value, 0);

/** @template T @param {readonly T[]} list @returns {T[]} */
function shuffled(list) {
  const copy = [...list];
  for (let end = copy.length; end > 1; end--) {
    const other = random.below(end);
    [copy[end - 1], copy[other]] = [copy[other], copy[end - 1]];
  }
  return copy;
}

/** @param {number[]} values */
function spread(values) {
  const sorted = [...values].sort((one, other) => one - other);
  return { median: sorted[sorted.length >> 1], worst: sorted[sorted.length - 1] };
}

/** @type {import('../examples/demo/fake-api.mjs').FakeApi} */
let api;
let directory = '';
let file = '';
/** @type {Remote[]} */
let remotes = [];
beforeAll(async () => {
  api = await startFakeApi({ latencyMs: 5 });
});
afterAll(() => api.close());
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'coordination-'));
  file = path.join(directory, 'stores.db');
  api.reset();
});
afterEach(async () => {
  await Promise.all(remotes.map((remote) => remote.kill()));
  remotes = [];
  rmSync(directory, { recursive: true, force: true });
});

/**
 * @typedef {object} Backend
 * @property {string} title
 * @property {import('./support/implementations.cjs').Implementation} implementation
 * @property {Record<string, unknown>} [own]  options of every store
 * @property {number} rounds  of what is to happen again and again
 */
/** @type {Backend[]} */
const backends = [
  { title: 'on a path', implementation: OURS_ON_PATHS, rounds: 100 },
  {
    title: "on a path, journalMode 'delete'",
    implementation: OURS_ON_PATHS,
    own: { journalMode: 'delete' },
    rounds: 20,
  },
  { title: 'on connections', implementation: OURS_ON_CONNECTIONS, rounds: 100 },
];

describe.each(backends)('$title', ({ title, implementation, own, rounds }) => {
  const measured = (/** @type {string} */ text) => console.log(`coordination, ${title}: ${text}`);

  beforeEach(() => {
    // One connection alone can change the journal mode of a file.
    if (implementation.by === 'connection') connect(file).close();
  });

  /** @param {number} count */
  async function start(count) {
    const started = await Promise.all(numbers(count).map(() => Remote.start(implementation)));
    remotes.push(...started);
    return started;
  }

  /**
   * A store in each of so many processes.
   * @param {number} count
   * @param {string} name
   * @param {Record<string, any>} [options]
   */
  async function stores(count, name, options) {
    return Promise.all(
      (await start(count)).map(async (remote) => ({
        remote,
        store: await remote.make(name, { database: file, ...own, ...options }),
      })),
    );
  }

  describe('the unmodified client makes one upstream call', () => {
    /** Clients in a process: one with the dedupe store alone, one with all stores. */
    async function clients() {
      return Promise.all(
        (await start(4)).map(async (remote) => {
          const options = { database: file, ...own };
          const dedupe = await remote.make('SQLiteDedupeStore', options);
          const cache = await remote.make('SQLiteCacheStore', options);
          const rateLimit = await remote.make('SqliteAdaptiveRateLimitStore', {
            ...options,
            defaultConfig: { limit: 1e6, windowMs: 60_000 },
          });
          await remote.run('client', api.baseUrl(), { dedupe });
          await remote.run('client', api.baseUrl(), { cache, dedupe, rateLimit });
          return remote;
        }),
      );
    }

    it('of 20 identical requests at once, of 4 x 10, and for each of 50 different ones of 4 x 200', {
      timeout: 180_000 * LONGER,
    }, async () => {
      const four = await clients();
      const began = performance.now();
      let id = 1;
      for (let round = 0; round < (ROUNDS ?? rounds); round++) {
        const client = round % 2;
        const at = `round ${round}`;
        /** @param {Remote[]} callers @param {() => number[]} ids */
        const ask = async (callers, ids) => {
          api.reset();
          const told = await Promise.all(
            callers.map((remote) => remote.run('retrieve', client, ids())),
          );
          return { calls: api.count(), told };
        };

        const one = id++;
        expect(await ask([four[round % 4]], () => Array(20).fill(one)), at).toEqual({
          calls: 1,
          told: [{ answered: 20, errors: {} }],
        });
        const other = id++;
        expect(await ask(four, () => Array(10).fill(other)), at).toEqual({
          calls: 1,
          told: Array(4).fill({ answered: 10, errors: {} }),
        });
        const fifty = numbers(50, id);
        id += 50;
        const fourTimes = () => shuffled([fifty, fifty, fifty, fifty].flat());
        expect(await ask(four, fourTimes), at).toEqual({
          calls: 50,
          told: Array(4).fill({ answered: 200, errors: {} }),
        });
      }
      measured(
        `${id - 1} upstream calls in ${((performance.now() - began) / 1_000).toFixed(1)} s, none too many`,
      );
    });
  });

  describe('deduplication', () => {
    it('a waiter elsewhere wakes on complete and on fail', {
      timeout: 60_000,
    }, async () => {
      const [owner, waiter] = await stores(2, 'SQLiteDedupeStore');
      /** @type {{ complete: number[], fail: number[] }} */
      const latencies = { complete: [], fail: [] };
      for (const round of numbers(250)) {
        const hash = `job ${round}`;
        const method = round % 5 === 0 ? 'fail' : 'complete';
        await owner.remote.call(owner.store, 'register', hash);
        const waiting = waiter.remote.begin(waiter.store, 'waitFor', hash);
        await waiting.begun;
        // At any moment between two looks.
        await sleep(random.next() * 20);
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
      expect([latencies.complete.length, latencies.fail.length]).toEqual([200, 50]);
      for (const [method, list] of Object.entries(latencies)) {
        const { median, worst } = spread(list);
        measured(
          `${list.length} waiters woke on ${method}, median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms`,
        );
        // How soon: npm run bench. Unless it looks, it wakes at the job timeout, 5 min.
        expect(worst).toBeLessThan(10_000);
      }
    });

    it('one of those who wait for a killed process takes over, the others get its result', {
      timeout: 90_000,
    }, async () => {
      const HASHES = 5;
      const [owner, alive, ...waiters] = await stores(5, 'SQLiteDedupeStore');
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
      measured(
        `taken over ${takeovers.map((ms) => ms.toFixed(0)).join(', ')} ms after the owner was killed`,
      );
      for (const ms of takeovers) {
        expect(ms).toBeGreaterThan(0);
        // The lease is valid for 4 s, or 15 s on a connection; the job timeout is 5 min.
        expect(ms).toBeLessThan(30_000);
      }
      expect(slow).toBe('waiting');
      await alive.remote.call(alive.store, 'complete', 'slow', 'done');
      expect(await slowWaiter.done).toMatchObject({ value: 'done' });
    });

    it('a claim that is not followed by register runs out after claimTimeoutMs', async () => {
      const [first, ...others] = await stores(3, 'SQLiteDedupeStore');
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
        // From the call on for the lower bounds, from the answer on for the upper ones: the lease of a job is 4 s.
        const at = outcomes.map((outcome) => outcome.settled).sort((one, other) => one - other);
        told.push(at.map((moment) => (moment - settled).toFixed(0)).join(' and '));
        expect(at[0] - called, 'the first').toBeGreaterThan(200);
        expect(at[0] - settled, 'the first').toBeLessThan(1_500);
        // Its claim, too, has to run out.
        expect(at[1] - called, 'the second').toBeGreaterThan(450);
        expect(at[1] - settled, 'the second').toBeLessThan(2_500);
      }
      measured(`claims passed on after ${told.join(', ')} ms`);
    });

    it('a hundred pending waiters cost an idle process hardly any time of a core', async () => {
      const [owner, waiter] = await stores(2, 'SQLiteDedupeStore');
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
      measured(
        `CPU over 3 s, 100 waiters ${waiterMs.toFixed(1)} ms, the owner of their jobs ${ownerMs.toFixed(1)} ms`,
      );
      // The target is in npm run bench. A process that looked for each waiter would take ten times as long.
      expect(waiterMs).toBeLessThan(300);
      expect(ownerMs).toBeLessThan(300);
      await owner.remote.run('calls', [
        hashes.map((hash) => [owner.store, 'complete', hash, hash]),
      ]);
      expect((await waiting.done).map((/** @type {any} */ { value }) => value)).toEqual(hashes);
    });
  });

  describe('limits', () => {
    it('the rate limiter counts the requests of all processes', async () => {
      const options = { defaultConfig: { limit: 10, windowMs: 60_000 } };
      const two = await stores(2, 'SQLiteRateLimitStore', options);
      for (const n of numbers(9)) {
        const { remote, store } = two[n % 2];
        await remote.call(store, 'record', 'issues');
      }
      for (const { remote, store } of two) {
        expect(await remote.call(store, 'canProceed', 'issues')).toBe(true);
        expect(await remote.call(store, 'getStatus', 'issues')).toMatchObject({ remaining: 1 });
      }
      await two[0].remote.call(two[0].store, 'record', 'issues');
      // One that was not there when the requests were made counts them too.
      const [late] = await stores(1, 'SQLiteRateLimitStore', options);
      for (const { remote, store } of [...two, late]) {
        expect(await remote.call(store, 'canProceed', 'issues')).toBe(false);
        expect(await remote.call(store, 'getStatus', 'issues')).toMatchObject({ remaining: 0 });
        expect(await remote.call(store, 'getWaitTime', 'issues')).toBeGreaterThan(50_000);
        expect(await remote.call(store, 'canProceed', 'volumes')).toBe(true);
      }
      await two[1].remote.call(two[1].store, 'reset', 'issues');
      expect(await late.remote.call(late.store, 'getStatus', 'issues')).toMatchObject({
        remaining: 10,
      });
    });

    // Of the adaptive store's 100 slots 30 are the users' and 70 the background's; the plain one looks at no priority.
    it.each([
      ['SQLiteRateLimitStore', 'acquire', {}],
      ['SqliteAdaptiveRateLimitStore', 'acquire', {}],
      ['SQLiteRateLimitStore', 'canProceed', { reservationMs: 60_000 }],
      ['SqliteAdaptiveRateLimitStore', 'canProceed', { reservationMs: 60_000 }],
    ])(
      '%s: %s lets exactly 100 of 4 x 100 through',
      {
        timeout: 120_000 * LONGER,
      },
      async (name, method, options) => {
        const defaultConfig = { limit: 100, windowMs: 600_000 };
        const four = await stores(4, name, { defaultConfig, ...options });
        for (const round of numbers(ROUNDS ?? 50)) {
          const resource = `resource ${round}`;
          // Divides the limit now: the users who come through do not change it within this round.
          for (const { remote, store } of four) await remote.call(store, 'getStatus', resource);
          const outcomes = await Promise.all(
            four.map(({ remote, store }) => {
              const pair = [
                [store, method, resource, 'user'],
                [store, method, resource, 'background'],
              ];
              // Several stretches, so that those of all processes get in between each other.
              const groups = Array.from({ length: 10 }, () => Array(5).fill(pair).flat());
              return remote.run('calls', groups, 1);
            }),
          );
          const all = outcomes.flat();
          expect(all).toHaveLength(400);
          expect(all.filter(({ status }) => status === 'rejected')).toEqual([]);
          expect(
            all.filter(({ value }) => value === true),
            resource,
          ).toHaveLength(100);
        }
      },
    );

    it.each(['SQLiteRateLimitStore', 'SqliteAdaptiveRateLimitStore'])(
      '%s with reservations holds the clients of 4 processes, 100 requests at once in each, to 100',
      async (name) => {
        const four = await stores(4, name, {
          defaultConfig: { limit: 100, windowMs: 600_000 },
          reservationMs: 60_000,
        });
        for (const { remote, store } of four)
          await remote.run('client', api.baseUrl(), { rateLimit: store });
        const told = await Promise.all(
          four.map(({ remote }, n) =>
            remote.run('retrieve', 0, numbers(100, 1 + 100 * n), n % 2 ? 'user' : 'background'),
          ),
        );
        const answered = sum(told.map((one) => one.answered));
        const errors = told.flatMap((one) => Object.entries(one.errors));
        const refused = sum(errors.map(([, count]) => count));
        for (const [message] of errors)
          expect(message).toContain("Rate limit exceeded for resource 'issue'. Wait … before");
        // What the clients were told is what was there: none too many, and of the plain store no slot was left empty.
        expect(answered + refused).toBe(400);
        expect(api.count()).toBe(answered);
        if (name === 'SQLiteRateLimitStore') expect(answered).toBe(100);
        expect(answered).toBeLessThanOrEqual(100);
        expect(answered).toBeGreaterThan(0);
      },
    );

    it('the adaptive store divides by the activity of all processes', async () => {
      const options = { adaptiveConfig: { recalculationIntervalMs: 3_000 } };
      const [users, workers] = (await stores(2, 'SqliteAdaptiveRateLimitStore', options)).map(
        ({ remote, store }) =>
          (/** @type {[string, ...any[]]} */ ...call) =>
            remote.call(store, ...call),
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
      await sleep(3_050);
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

    it('priorities that a client is given reach the adaptive stores of all processes', async () => {
      const [one, other] = await stores(2, 'SqliteAdaptiveRateLimitStore');
      await one.remote.run('client', api.baseUrl(), { rateLimit: one.store });
      for (const [ids, priority] of [
        [[1, 2], 'user'],
        [[3, 4, 5], 'background'],
        [[6], undefined],
      ])
        expect(await one.remote.run('retrieve', 0, ids, priority)).toEqual({
          answered: ids?.length,
          errors: {},
        });
      expect(await other.remote.call(other.store, 'getStatus', 'issue')).toMatchObject({
        remaining: 194,
        adaptive: { recentUserActivity: 2 },
      });
    });

    it('requests of users and of the background never pass the limit in any window', {
      timeout: 60_000,
    }, async () => {
      const PROCESSES = 3;
      const DURATION_MS = 3_000;
      const reasons = new Set();
      for (const round of numbers(3)) {
        const resource = `resource ${round}`;
        const limit = 2 + random.below(30);
        const windowMs = 100 + random.below(400);
        const several = await stores(PROCESSES, 'SqliteAdaptiveRateLimitStore', {
          defaultConfig: { limit, windowMs },
          reservationMs: 10_000,
          adaptiveConfig: {
            monitoringWindowMs: 300,
            recalculationIntervalMs: 1 + random.below(50),
            minUserReserved: random.below(6),
            // So long are requests kept, and can be looked at afterwards.
            sustainedInactivityThresholdMs: 60_000,
            backgroundPauseOnIncreasingTrend: random.next() < 0.5,
          },
        });
        const done = several.map(({ remote, store }) => {
          // Times at which users come in numbers, and between them none.
          const rushes = numbers(4).map(() => random.below(DURATION_MS));
          const requests = numbers(800).map(() => {
            const after = random.below(DURATION_MS);
            const rush = rushes.some((start) => after >= start && after < start + 300);
            return {
              after,
              priority: rush && random.next() < 0.7 ? 'user' : 'background',
              takes: random.next() < 0.5 ? random.below(60) : undefined,
            };
          });
          return remote.run('ask', store, resource, requests);
        });
        const all = Promise.all(done);
        let isOver = false;
        all.finally(() => {
          isOver = true;
        });
        while (!isOver) {
          const status = await several[0].remote.call(several[0].store, 'getStatus', resource);
          reasons.add(status.adaptive.reason.replace(/[ (].*/, ''));
          expect(status.remaining).toBeGreaterThanOrEqual(0);
          await sleep(50);
        }
        const granted = sum(await all);

        const db = new Database(file);
        const times = /** @type {number[]} */ (
          db
            .prepare('SELECT timestamp FROM rate_limits WHERE resource = ? ORDER BY timestamp')
            .pluck()
            .all(resource)
        );
        db.close();
        expect(times).toHaveLength(granted);
        // A request exactly as old as the window still counts.
        const within = times.map(
          (start) => times.filter((time) => time >= start && time <= start + windowMs).length,
        );
        const most = Math.max(...within);
        measured(
          `${granted} of ${PROCESSES * 800} requests, at most ${most} in ${windowMs} ms, limit ${limit}`,
        );
        expect(most).toBeLessThanOrEqual(limit);
        // The limit was what held them.
        expect(granted).toBeGreaterThan(limit);
        await Promise.all(several.map(({ remote }) => remote.close()));
      }
      // The shares moved.
      expect(reasons.size).toBeGreaterThan(2);
    });
  });
});
