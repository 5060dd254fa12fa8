// What 0.2.0 gets wrong, fault by fault: it is seen there, and it is not here, on a path, on a connection, or on a server.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ComicVine } from '@comic-vine/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import { casesOf } from './support/cases.mjs';
import { startDbInspector } from './support/db-inspector.mjs';
import { lock, Remote } from './support/remote.mjs';

const require = createRequire(import.meta.url);
const { storesOf } = require('./support/implementations.cjs');
const { run } = require('./support/processes.cjs');
const { connect: connectTo, program, reset, Server } = require('./support/servers.cjs');

/**
 * @typedef {import('./support/implementations.cjs').Implementation} Implementation
 *
 * @typedef {object} Correction
 * @property {string} before  what 0.2.0 does
 * @property {string} now
 * @property {'path' | 'connection'} [only]  the fault needs the database to be given so
 * @property {string} [notOnServers]  why it cannot be seen there
 * @property {[store: string, title: string, reason: RegExp][]} [cases]  of the contract, and why they fail with 0.2.0
 * @property {(scene: Scene) => Promise<any>} [observe]  does what shows the fault, and answers what was seen
 * @property {(seen: any) => void} [there]  checks what was seen of 0.2.0
 * @property {(seen: any) => void} [here]
 */

/** What is waited for longer than this is taken to hang. */
const HANG_MS = 1_000;
/** What ours does at once is waited for so long, on a busy machine; 0.2.0 waits for the job timeout, 5 min. */
const PATIENCE_MS = 5_000;
/** Likewise; a lease runs out after 4 s, or 15 s on a connection, and is noticed soon after. */
const TAKEOVER_MS = 25_000;

/** The time on the clock that all processes share, in ms. */
const clock = () => Number(process.hrtime.bigint()) / 1e6;

/**
 * How long after `start` a promise settles; Infinity if it has not when `limit` has passed as well.
 * @param {Promise<unknown>} promise
 * @param {number} limit
 */
function settling(promise, limit = HANG_MS) {
  const at = promise.then(clock, clock);
  return async (/** @type {number} */ start) =>
    (await Promise.race([at, sleep(limit, Number.POSITIVE_INFINITY)])) - start;
}

/** Stores of one implementation on one file, here and in other processes. */
class Scene {
  #directory = mkdtempSync(path.join(tmpdir(), 'corrections-'));
  file = path.join(this.#directory, 'stores.db');
  /** @type {{ destroy(): void }[]} */
  #open = [];
  /** @type {Remote[]} */
  #remotes = [];

  /** @param {Implementation} implementation @param {Record<string, any>} stores */
  constructor(implementation, stores) {
    this.implementation = implementation;
    this.stores = stores;
  }

  /** @param {string} name @param {Record<string, unknown>} [options] */
  open(name, options) {
    const store = new this.stores[name]({ database: this.file, ...options });
    this.#open.push(store);
    return store;
  }

  /**
   * A store in another process.
   * @param {string} name
   * @param {Record<string, unknown>} [options]
   * @param {Implementation} [implementation]
   */
  async elsewhere(name, options, implementation = this.implementation) {
    const remote = await Remote.start(implementation);
    this.#remotes.push(remote);
    const store = await remote.make(name, { database: this.file, ...options });
    return {
      remote,
      store,
      call: (/** @type {[string, ...any[]]} */ ...call) => remote.call(store, ...call),
      begin: (/** @type {[string, ...any[]]} */ ...call) => remote.begin(store, ...call),
      outcome: (/** @type {[string, ...any[]]} */ ...call) => remote.outcome(store, ...call),
    };
  }

  async end() {
    await Promise.all(this.#remotes.map((remote) => remote.kill()));
    for (const store of this.#open) store.destroy();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const inspector = startDbInspector();
/** @type {import('../examples/demo/fake-api.mjs').FakeApi} */
let api;
beforeAll(async () => {
  api = await startFakeApi({ latencyMs: 20 });
});
beforeEach(() => api.reset());
afterAll(() => api.close());

/** @param {ConstructorParameters<typeof ComicVine>[0]['stores']} stores */
const clientWith = (stores) => new ComicVine({ apiKey: 'test', baseUrl: api.baseUrl(), stores });

const numbers = (/** @type {number} */ count) => Array.from({ length: count }, (_, n) => n + 1);

/** @type {Correction[]} */
const corrections = [
  {
    before:
      '`require()` of the rate limit stores throws with default options (the client’s CJS build hides its exports)',
    now: 'works; nothing is imported from the client',
    async observe({ implementation, stores, file }) {
      const name = implementation.version === 'ours' ? '../index.js' : 'sqlite-store-0.2.0';
      const required = require(name);
      // On connections the classes are those of `stores`, which are `required` too.
      const { SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } =
        implementation.by === 'path' ? required : stores;
      const told = [];
      for (const Store of [SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore]) {
        try {
          const store = new Store({ database: file });
          told.push(await store.canProceed('r'));
          store.destroy();
        } catch (error) {
          told.push(error.message);
        }
      }
      const loaded = new Set();
      const visit = (/** @type {NodeJS.Module | undefined} */ module) => {
        if (!module || loaded.has(module.filename)) return;
        loaded.add(module.filename);
        module.children.forEach(visit);
      };
      visit(require.cache[require.resolve(name)]);
      const fromClient = [...loaded].filter((file) =>
        /[\\/]@comic-vine[\\/]client[\\/]/.test(file),
      );
      return { told, fromClient: fromClient.length };
    },
    there: ({ told, fromClient }) => {
      expect(told).toEqual([
        expect.stringContaining("reading 'windowMs'"),
        expect.stringContaining('AdaptiveCapacityCalculator is not a constructor'),
      ]);
      expect(fromClient).toBe(1);
    },
    here: (seen) => expect(seen).toEqual({ told: [true, true], fromClient: 0 }),
  },
  {
    before: 'the client never recognises the adaptive store; priorities are lost',
    now: 'they arrive',
    async observe(scene) {
      const rateLimit = scene.open('SqliteAdaptiveRateLimitStore');
      const client = clientWith({ rateLimit });
      for (const id of [1, 2, 3]) await client.issue.retrieve(id, { priority: 'user' });
      await client.issue.retrieve(4, { priority: 'background' });
      return (await rateLimit.getStatus('issue')).adaptive.recentUserActivity;
    },
    there: (users) => expect(users).toBe(0),
    here: (users) => expect(users).toBe(3),
  },
  {
    before: '`waitFor` on another process’s job hangs until the job timeout, 5 min',
    // Threads: 60-threads.test.mjs.
    now: 'wakes within 100 ms of complete or fail, in any process or thread',
    async observe(scene) {
      const owner = await scene.elsewhere('SQLiteDedupeStore');
      const store = scene.open('SQLiteDedupeStore');
      /** @type {Record<string, number>} */
      const woken = {};
      for (const method of ['complete', 'fail']) {
        const result = method === 'complete' ? 'done' : new Error('refused');
        await owner.call('register', method);
        const settled = settling(store.waitFor(method), PATIENCE_MS);
        await sleep(50);
        const { called } = await owner.outcome(method, method, result);
        woken[method] = await settled(called);
      }
      return woken;
    },
    there: (woken) => {
      expect(woken).toEqual({
        complete: Number.POSITIVE_INFINITY,
        fail: Number.POSITIVE_INFINITY,
      });
    },
    here: ({ complete, fail }) => {
      // How soon: npm run bench.
      expect(complete).toBeLessThan(PATIENCE_MS);
      expect(fail).toBeLessThan(PATIENCE_MS);
    },
  },
  {
    before:
      'N identical requests through the client at once make N upstream calls (it awaits `waitFor`, then `register`)',
    // Many processes and many rounds: 71-coordination.test.mjs.
    now: 'exactly 1, in one process or across several',
    async observe(scene) {
      const client = clientWith({ dedupe: scene.open('SQLiteDedupeStore') });
      await Promise.all(numbers(20).map(() => client.issue.retrieve(1)));
      const inOne = api.count();
      api.reset();
      const others = await Promise.all([1, 2].map(() => scene.elsewhere('SQLiteDedupeStore')));
      for (const { remote, store } of others)
        await remote.run('client', api.baseUrl(), { dedupe: store });
      const answers = Promise.all(
        others.map(({ remote }) => remote.run('retrieve', 0, Array(10).fill(2), undefined)),
      );
      // With 0.2.0 the second process may be late enough to wait for the first, and hang.
      const told = await Promise.race([answers, sleep(2 * PATIENCE_MS)]);
      return { inOne, acrossTwo: api.count(), told };
    },
    there: ({ inOne, acrossTwo }) => {
      expect(inOne).toBe(20);
      expect(acrossTwo).toBeGreaterThanOrEqual(10);
    },
    here: (seen) => {
      const all = { answered: 10, errors: {} };
      expect(seen).toEqual({ inOne: 1, acrossTwo: 1, told: [all, all] });
    },
  },
  {
    before:
      'completed jobs are served for ever, and only pending ones are ever cleaned: stale data past the cache’s TTL, endless growth',
    now: 'served for `resultTtlMs`, rows cleaned after `jobTimeoutMs`',
    cases: [
      [
        'SQLiteDedupeStore',
        'results are served to waiters for a second',
        /expected 'result' to be undefined/,
      ],
      ['SQLiteDedupeStore', 'cleanup removes finished jobs, too', /expected 2 to be \+?0/],
    ],
  },
  {
    before:
      'a job registered again keeps its old `created_at`, result and error, so it is expired at birth',
    now: 'fresh',
    notOnServers: 'the file is looked into',
    cases: [
      ['SQLiteDedupeStore', 'a job registered again starts anew', /expected false to be true/],
    ],
    async observe(scene) {
      const store = scene.open('SQLiteDedupeStore');
      /** @type {Record<string, string[]>} */
      const kept = {};
      for (const [hash, end] of /** @type {[string, () => Promise<void>][]} */ ([
        ['completed', () => store.complete('completed', 'old')],
        ['failed', () => store.fail('failed', new Error('old'))],
      ])) {
        const first = Date.now();
        await store.register(hash);
        await end();
        while (Date.now() <= first + 1) await sleep(1);
        const again = Date.now();
        await store.register(hash);
        const [[createdAt, result, error]] = await inspector.rows(
          scene.file,
          'SELECT created_at, result, error FROM dedupe_jobs WHERE hash = ?',
          hash,
        );
        kept[hash] = [
          createdAt < again ? 'created_at' : '',
          result === null ? '' : 'result',
          error === null ? '' : 'error',
        ].filter(Boolean);
      }
      return kept;
    },
    there: (kept) => {
      expect(kept).toEqual({
        completed: ['created_at', 'result'],
        failed: ['created_at', 'error'],
      });
    },
    here: (kept) => expect(kept).toEqual({ completed: [], failed: [] }),
  },
  {
    before: '`complete`, `fail` and timeouts match the hash only and can end a newer job',
    now: 'only the job this store registered or, if it registered none, a pending one',
    cases: [
      [
        'SQLiteDedupeStore',
        'ending a job does not touch the newer job of another store, however often',
        /expected false to be true/,
      ],
      [
        'SQLiteDedupeStore',
        'ending a job by its timeout does not touch a newer one',
        /to match object \{ pendingJobs: 1, failedJobs: \+?0 \}/,
      ],
    ],
  },
  {
    before: 'a process that dies holding a job blocks others for `jobTimeoutMs`',
    now: 'a lease lets one waiter take over within seconds; rows without one (0.2.0’s) wait for the timeout',
    notOnServers: '0.2.0 uses the file, too; of its own takes over: 75-hosts',
    async observe(scene) {
      const store = scene.open('SQLiteDedupeStore');
      /** @type {Record<string, number>} */
      const waited = {};
      await Promise.all(
        [
          scene.implementation,
          /** @type {Implementation} */ ({ version: '0.2.0', by: 'path' }),
        ].map(async (implementation, index) => {
          const owner = await scene.elsewhere('SQLiteDedupeStore', {}, implementation);
          await owner.call('register', `job ${index}`);
          const settled = settling(store.waitFor(`job ${index}`), TAKEOVER_MS);
          const killed = clock();
          await owner.remote.kill();
          waited[index === 0 ? 'its own' : 'of 0.2.0'] = await settled(killed);
        }),
      );
      return waited;
    },
    there: (waited) => expect(waited['its own']).toBe(Number.POSITIVE_INFINITY),
    here: (waited) => {
      expect(waited['its own']).toBeLessThan(TAKEOVER_MS);
      expect(waited['of 0.2.0']).toBe(Number.POSITIVE_INFINITY);
    },
  },
  {
    before: '`jobTimeoutMs: 0`: `getResult` is always undefined, `cleanup` deletes live jobs',
    now: '0 means no timeout everywhere',
    cases: [
      ['SQLiteDedupeStore', 'timeouts of 0 never come', /expected undefined to be 1/],
      ['SQLiteDedupeStore', 'timeouts of 0 outlive a cleanup', /expected false to be true/],
    ],
  },
  {
    before: 'pending waiters hang on `close()` and `clear()`',
    now: 'settle with `undefined`',
    cases: ['clear', 'close', 'destroy'].map((method) => [
      'SQLiteDedupeStore',
      `waiters get undefined on ${method}`,
      /expected \{ status: 'pending' \} to strictly equal/,
    ]),
  },
  {
    before: 'a failed job: waiters of this process reject with the error',
    now: 'same, and waiters elsewhere reject with an `Error` of that message',
    notOnServers: 'what is called first need not be there first; of one process: 52-servers',
    async observe(scene) {
      const store = scene.open('SQLiteDedupeStore');
      const other = await scene.elsewhere('SQLiteDedupeStore');
      await store.register('job');
      const error = new RangeError('upstream');
      const own = store.waitFor('job').catch((/** @type {unknown} */ reason) => reason === error);
      const waiting = other.begin('waitFor', 'job');
      await waiting.begun;
      await store.fail('job', error);
      return { own: await own, elsewhere: await Promise.race([waiting.done, sleep(PATIENCE_MS)]) };
    },
    there: (seen) => expect(seen).toEqual({ own: true, elsewhere: undefined }),
    here: ({ own, elsewhere }) => {
      expect(own).toBe(true);
      expect(elsewhere).toMatchObject({
        status: 'rejected',
        error: { name: 'RangeError', message: 'upstream', isError: true },
      });
    },
  },
  {
    before: 'cache `cleanupIntervalMs: 0` cleans every millisecond',
    now: 'off',
    async observe(scene) {
      const store = scene.open('SQLiteCacheStore', { cleanupIntervalMs: 0 });
      await store.set('key', 'value', 0.001);
      await sleep(100);
      return store.getStats();
    },
    there: (stats) => expect(stats).toMatchObject({ totalItems: 0 }),
    here: (stats) => expect(stats).toMatchObject({ totalItems: 1, expiredItems: 1 }),
  },
  {
    before: 'closing a shared handle before the store kills the process (unhandled rejection)',
    now: 'quiet',
    only: 'connection',
    async observe({ implementation, file }) {
      const input = { implementation, path: file };
      const { code, stdout, stderr } = await run('closed-connection.cjs', input);
      return { code, output: stdout, errors: stderr };
    },
    there: (seen) => {
      expect(seen).toEqual({
        code: 1,
        output: '',
        errors: expect.stringContaining('The database connection is not open'),
      });
    },
    here: (seen) => expect(seen).toEqual({ code: 0, output: 'goes on', errors: '' }),
  },
  {
    before: 'check and record are two steps: limits are passed under concurrency',
    // Many processes and many rounds: 71-coordination.test.mjs.
    now: '`acquire` is atomic across processes; `reservationMs` for the unmodified client',
    async observe(scene) {
      const options = { defaultConfig: { limit: 5, windowMs: 60_000 } };
      const rateLimit = scene.open('SQLiteRateLimitStore', { ...options, reservationMs: 30_000 });
      const client = clientWith({ rateLimit });
      await Promise.allSettled(numbers(20).map((id) => client.issue.retrieve(id)));

      const store = scene.open('SQLiteRateLimitStore', options);
      const passed = await Promise.all(
        numbers(20).map(async () => {
          if (store.acquire) return store.acquire('r');
          const may = await store.canProceed('r');
          if (may) await store.record('r');
          return may;
        }),
      );
      return { client: api.count(), store: passed.filter(Boolean).length };
    },
    there: (passed) => expect(passed).toEqual({ client: 20, store: 20 }),
    here: (passed) => expect(passed).toEqual({ client: 5, store: 5 }),
  },
  {
    before: 'adaptive: activity of other processes, after the first look, is never seen',
    now: 'shared through the database',
    async observe(scene) {
      const options = { adaptiveConfig: { recalculationIntervalMs: 200 } };
      const store = scene.open('SqliteAdaptiveRateLimitStore', options);
      const other = await scene.elsewhere('SqliteAdaptiveRateLimitStore', options);
      await store.getStatus('r');
      for (let n = 0; n < 12; n++) await other.call('record', 'r', 'user');
      // The shares are due again.
      await sleep(250);
      const { recentUserActivity, reason } = (await store.getStatus('r')).adaptive;
      return { recentUserActivity, reason };
    },
    there: (seen) => {
      expect(seen).toEqual({
        recentUserActivity: 0,
        reason: expect.stringMatching(/^Initial state/),
      });
    },
    here: (seen) => {
      expect(seen).toEqual({
        recentUserActivity: 12,
        reason: expect.stringMatching(/^High user activity \(12 requests/),
      });
    },
  },
  {
    before: 'adaptive: after 30 idle minutes users get 0 slots and are locked out for good',
    now: 'a user may use any slot not yet used',
    cases: [
      [
        'SqliteAdaptiveRateLimitStore',
        'requests of users may use any free slot after long quiet',
        /expected false to be true/,
      ],
    ],
  },
  {
    before: 'adaptive: user and background shares move, and their sum passes `limit`',
    now: 'total use never passes `limit`; shares stay within 0 and `limit`; `remaining` is never negative',
    cases: [
      [
        'SqliteAdaptiveRateLimitStore',
        'requests never pass the limit in all, though shares move',
        /expected \d+ to be 20/,
      ],
      [
        'SqliteAdaptiveRateLimitStore',
        'shares stay between 0 and the limit',
        /to match object \{ remaining: 3, limit: 3/,
      ],
      [
        'SqliteAdaptiveRateLimitStore',
        'requests beyond the limit leave nothing, not less',
        /expected -\d+ to be \+?0/,
      ],
    ],
  },
  {
    before: 'adaptive: `getStats().adaptiveMetrics` is documented and missing',
    now: 'there',
    cases: [
      [
        'SqliteAdaptiveRateLimitStore',
        'stats have adaptive metrics',
        /expected undefined to strictly equal/,
      ],
      [
        'SqliteAdaptiveRateLimitStore',
        'stats count each time a resource enters high activity',
        /Cannot read properties of undefined \(reading 'priorityModeActivations'\)/,
      ],
    ],
  },
  {
    before:
      'adaptive: history does not survive a restart when the window is shorter than the monitoring window',
    now: 'rows are kept as long as any of the three spans needs them; counts still use the window',
    cases: [
      [
        'SqliteAdaptiveRateLimitStore',
        'a file keeps activity longer than a short window',
        /to match object \{ remaining: 20, adaptive: \{ …\(2\) \} \}/,
      ],
    ],
  },
  {
    before:
      '`getWaitTime` over the limit answers when the oldest request leaves, not when a slot is free',
    now: 'when a slot is free; never 0 while `canProceed` is false',
    cases: [
      [
        'SQLiteRateLimitStore',
        'getWaitTime over the limit is the time until a slot is free',
        /expected 700 to be 900/,
      ],
      [
        'SQLiteRateLimitStore',
        'getWaitTime is never 0 while the window is closed',
        /expected \+?0 to be 1/,
      ],
      [
        'SqliteAdaptiveRateLimitStore',
        'getWaitTime over the limit is the time until a slot is free',
        /expected \d+ to be \d+/,
      ],
      [
        'SqliteAdaptiveRateLimitStore',
        'getWaitTime is never 0 while the way is closed',
        /expected \+?0 to be greater than or equal to 1/,
      ],
    ],
  },
  {
    before: 'a lock held elsewhere blocks the event loop up to 5 s',
    // On a connection it is the driver that waits.
    now: 'never blocks it (path databases)',
    only: 'path',
    async observe(scene) {
      const { remote, store, call } = await scene.elsewhere('SQLiteCacheStore');
      await call('set', 'key', 'before', 60);
      const release = await lock(scene.file, 'IMMEDIATE');
      await remote.run('watchLoop');
      const written = remote.begin(store, 'set', 'key', 'value', 60);
      await sleep(HANG_MS);
      await release();
      const { status } = await written.done;
      return { status, stall: await remote.run('longestStall') };
    },
    there: ({ stall }) => expect(stall).toBeGreaterThan(HANG_MS / 2),
    here: ({ status, stall }) => {
      expect(status).toBe('resolved');
      expect(stall).toBeLessThan(HANG_MS / 2);
    },
  },
  {
    before: '`set(k, function)` fails with a Buffer error',
    now: '`Failed to serialize value: …`',
    cases: [
      [
        'SQLiteCacheStore',
        'values refuse a function',
        /The \\?"string\\?" argument must be of type/,
      ],
    ],
  },
];

if (program === undefined) {
  console.error('12-corrections: SKIPPED on a server: there is none for this platform');
}
const server = program === undefined ? undefined : await Server.start();
const direct = server && connectTo(server.url);
afterAll(async () => {
  direct?.close();
  await server?.stop();
});

for (const correction of corrections) {
  const { before, now, only, notOnServers, observe, here, there } = correction;
  /** @type {Implementation[]} */
  const implementations = [
    { version: '0.2.0', by: only ?? 'path' },
    .../** @type {const} */ (['path', 'connection'])
      .filter((by) => only === undefined || by === only)
      .map((by) => /** @type {Implementation} */ ({ version: 'ours', by })),
  ];
  if (observe && only === undefined && notOnServers === undefined) {
    // In one process: the client's statements on a file keep others from it now and then.
    if (!String(observe).includes('elsewhere(')) {
      implementations.push({ version: 'ours', by: 'client' });
    }
    if (server) implementations.push({ version: 'ours', by: 'server', url: server.url });
  }

  for (const implementation of implementations) {
    const isOurs = implementation.version === 'ours';
    // Of those on servers the whole contract is run: 52-servers.
    const isNear = implementation.by === 'path' || implementation.by === 'connection';
    const cases = (isNear && correction.cases) || [];
    const title = isOurs ? `ours on a ${implementation.by}: ${now}` : '0.2.0';
    describe(`${before} – ${title}`, () => {
      /** @type {Record<string, any>} */
      let stores;
      /** @type {Scene} */
      let scene;
      beforeAll(async () => {
        stores = await storesOf(implementation);
      });
      beforeEach(async () => {
        if (implementation.by === 'server') await reset(direct);
        scene = new Scene(implementation, stores);
      });
      afterEach(() => scene.end());

      if (observe) {
        it('observed', async () => {
          const seen = await observe(scene);
          if (isOurs) return here?.(seen);
          there?.(seen);
          expect(() => here?.(seen), 'what is expected of ours').toThrow();
        });
      }

      it.each(cases)('%s: %s', async (name, title, reason) => {
        const found = casesOf(name, { Store: stores[name], reference: !isOurs }).get(title);
        expect(found, 'the case of the contract').toMatchObject({ fails: !isOurs });
        const run = /** @type {import('./support/cases.mjs').Case} */ (found).run();
        if (isOurs) await run;
        else await expect(run).rejects.toThrow(reason);
      });
    });
  }
}
