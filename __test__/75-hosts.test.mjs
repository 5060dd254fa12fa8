// What several hosts do together through one server: limits kept, requests made once, jobs taken over from the dead. Each is a
// process that shares nothing with the others but the server. SEED=… repeats the schedules; ROUNDS=… makes more or fewer rounds.
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import { Remote } from './support/remote.mjs';

const require = createRequire(import.meta.url);
const { connect, program, reset, Server } = require('./support/servers.cjs');
const freePort = require('./support/ports.cjs');

const ROUNDS = process.env.ROUNDS === undefined ? undefined : Number(process.env.ROUNDS);
const HOUR = 3_600_000;
const numbers = (/** @type {number} */ count, first = 0) =>
  Array.from({ length: count }, (_, n) => first + n);
const measured = (/** @type {string} */ text) => console.log(`hosts: ${text}`);

if (program === undefined) {
  console.error('75-hosts: SKIPPED: there is no libSQL server for this platform');
}
describe.skipIf(program === undefined)('hosts', () => {
  /** @type {InstanceType<typeof Server>} */
  let server;
  /** @type {InstanceType<typeof Server>} */
  let replica;
  /** @type {import('../examples/demo/fake-api.mjs').FakeApi} */
  let api;
  /** @type {any} */
  let direct;
  /** @type {Remote[]} */
  let hosts = [];

  beforeAll(async () => {
    const grpc = `127.0.0.1:${await freePort()}`;
    server = await Server.start(['--grpc-listen-addr', grpc]);
    replica = await Server.start(['--primary-grpc-url', `http://${grpc}`]);
    api = await startFakeApi({ latencyMs: 5 });
    direct = connect(server.url);
  });
  afterAll(async () => {
    direct.close();
    await api.close();
    await replica.stop();
    await server.stop();
  });
  beforeEach(async () => {
    api.reset();
    await reset(direct);
  });
  afterEach(async () => {
    await Promise.all(hosts.map((host) => host.kill()));
    hosts = [];
  });

  /**
   * Hosts, by the urls of what each asks, or how far its clock is ahead.
   * @param {{ url?: string, ahead?: number }[]} wanted
   */
  async function start(wanted) {
    const started = await Promise.all(
      wanted.map(({ url = server.url, ahead }) =>
        Remote.start({ version: 'ours', by: 'server', url, ahead }),
      ),
    );
    hosts.push(...started);
    return started;
  }
  const three = () => start([{}, {}, {}]);

  /** Waits until the replica, too, has no tables. */
  async function replicaIsReset() {
    const client = connect(replica.url);
    while ((await client.execute("SELECT 1 FROM sqlite_schema WHERE name = 'request_log'")).rows[0])
      await sleep(20);
    client.close();
  }

  /**
   * How many of so many calls get a slot in all.
   * @param {Remote[]} started @param {string} name @param {any} options @param {string} method @param {number} rounds
   */
  async function granted(started, name, options, method, rounds) {
    const stores = await Promise.all(
      started.map(async (host) => ({ host, store: await host.make(name, options) })),
    );
    const counts = [];
    for (const round of numbers(rounds)) {
      const resource = `resource ${round}`;
      // Divides the limit now, where it is divided.
      for (const { host, store } of stores) await host.call(store, 'getStatus', resource);
      const outcomes = await Promise.all(
        stores.map(({ host, store }) => {
          const call = (/** @type {number} */ n) => [
            store,
            method,
            resource,
            n % 2 ? 'user' : 'background',
          ];
          // Several stretches, so that those of all hosts get in between each other.
          return host.run('calls', Array(20).fill(numbers(20).map(call)), 1);
        }),
      );
      const all = outcomes.flat();
      expect(all.filter(({ status }) => status === 'rejected')).toEqual([]);
      counts.push(all.filter(({ value }) => value === true).length);
    }
    return counts;
  }

  // On a loaded machine a host may look for a result later than it is served by default.
  const lasting = { resultTtlMs: 60_000 };
  const defaultConfig = { limit: 500, windowMs: HOUR };

  it.each([
    ['SQLiteRateLimitStore', 'acquire', {}, 20],
    ['SqliteAdaptiveRateLimitStore', 'acquire', {}, 5],
    ['SQLiteRateLimitStore', 'canProceed', { reservationMs: HOUR }, 5],
    ['SqliteAdaptiveRateLimitStore', 'canProceed', { reservationMs: HOUR }, 3],
  ])(
    '%s: %s lets exactly 500 of 3 x 400 through',
    {
      timeout: 240_000,
    },
    async (name, method, options, rounds) => {
      const began = performance.now();
      const counts = await granted(
        await three(),
        name,
        { defaultConfig, ...options },
        method,
        ROUNDS ?? rounds,
      );
      expect(counts).toEqual(counts.map(() => 500));
      measured(
        `${name}.${method}: ${counts.length} x 500 of 1,200 in ${((performance.now() - began) / 1_000).toFixed(1)} s`,
      );
    },
  );

  it('whose clocks are an hour apart keep a limit, and see what others have stored', async () => {
    const apart = await start([{ ahead: -HOUR / 2 }, { ahead: HOUR / 2 }]);
    const short = { defaultConfig: { limit: 500, windowMs: 600_000 } };
    expect(await granted(apart, 'SQLiteRateLimitStore', short, 'acquire', 3)).toEqual([
      500, 500, 500,
    ]);
    const [early, late] = await Promise.all(
      apart.map(async (host) => ({ host, store: await host.make('SQLiteCacheStore', {}) })),
    );
    await early.host.call(early.store, 'set', 'early', 1, 600);
    await late.host.call(late.store, 'set', 'late', 2, 600);
    await early.host.call(early.store, 'cleanup');
    await late.host.call(late.store, 'cleanup');
    expect(await late.host.call(late.store, 'get', 'early')).toBe(1);
    expect(await early.host.call(early.store, 'get', 'late')).toBe(2);
    // Each is told times by its own clock.
    const [entry] = await early.host.call(early.store, 'listEntries', 0, 1);
    expect(Math.abs(entry.createdAt - (Date.now() - HOUR / 2))).toBeLessThan(60_000);
  });

  it('ask a replica that forwards writes, and keep limits and claims', {
    timeout: 120_000,
  }, async () => {
    await replicaIsReset();
    const mixed = await start([{}, { url: replica.url }, { url: replica.url }]);
    expect(await granted(mixed, 'SQLiteRateLimitStore', { defaultConfig }, 'acquire', 3)).toEqual([
      500, 500, 500,
    ]);
    // Nor does whoever may register a job lose that because this process is slow to have it done.
    const held = { ...lasting, claimTimeoutMs: 60_000 };
    const stores = await Promise.all(
      mixed.map(async (host) => ({ host, store: await host.make('SQLiteDedupeStore', held) })),
    );
    for (const round of numbers(10)) {
      const hash = `job ${round}`;
      const waiting = stores.map(({ host, store }) => ({
        host,
        store,
        done: host.begin(store, 'waitFor', hash).done,
      }));
      const first = await Promise.race(waiting.map((waiter) => waiter.done.then(() => waiter)));
      await first.host.call(first.store, 'register', hash);
      await first.host.call(first.store, 'complete', hash, round);
      const outcomes = await Promise.all(waiting.map(({ done }) => done));
      const values = outcomes.map(({ value, error }) => error ?? value);
      const index = waiting.indexOf(first);
      // Host 0 asks the primary.
      expect(values, `round ${round}, made by host ${index}`).toEqual(
        waiting.map((waiter) => (waiter === first ? undefined : round)),
      );
    }
  });

  it('have the unmodified client make identical requests once', { timeout: 240_000 }, async () => {
    const started = await three();
    await Promise.all(
      started.map(async (host) => {
        const dedupe = await host.make('SQLiteDedupeStore', lasting);
        const cache = await host.make('SQLiteCacheStore', {});
        const limit = { defaultConfig: { limit: 1e6, windowMs: 60_000 } };
        const rateLimit = await host.make('SqliteAdaptiveRateLimitStore', limit);
        await host.run('client', api.baseUrl(), { cache, dedupe, rateLimit });
      }),
    );
    const began = performance.now();
    const rounds = ROUNDS ?? 100;
    for (const round of numbers(rounds, 1)) {
      api.reset();
      const told = await Promise.all(
        started.map((host) => host.run('retrieve', 0, Array(5).fill(round))),
      );
      expect({ told, calls: api.count() }, `round ${round}`).toEqual({
        told: Array(3).fill({ answered: 5, errors: {} }),
        calls: 1,
      });
    }
    measured(
      `${rounds} requests of 3 x 5 made once each, in ${((performance.now() - began) / 1_000).toFixed(1)} s`,
    );
  });

  it('take over from one that was killed', { timeout: 90_000 }, async () => {
    const [owner, ...waiters] = await Promise.all(
      (await three()).map(async (host) => ({
        host,
        store: await host.make('SQLiteDedupeStore', {}),
      })),
    );
    await owner.host.call(owner.store, 'register', 'job');
    const waiting = waiters.map(({ host, store }) => ({
      host,
      store,
      ...host.begin(store, 'waitFor', 'job'),
    }));
    await Promise.all(waiting.map(({ begun }) => begun));
    await sleep(1_000);
    const killed = Number(process.hrtime.bigint()) / 1e6;
    await owner.host.kill();
    const first = await Promise.race(
      waiting.map((waiter) => waiter.done.then((outcome) => ({ ...waiter, outcome }))),
    );
    expect(first.outcome).toMatchObject({ status: 'resolved', value: undefined });
    const after = first.outcome.settled - killed;
    await first.host.call(first.store, 'register', 'job');
    await first.host.call(first.store, 'complete', 'job', 'done');
    const values = (await Promise.all(waiting.map(({ done }) => done))).map(({ value }) => value);
    expect(values.filter((value) => value === 'done')).toHaveLength(1);
    measured(`a job was taken over ${(after / 1_000).toFixed(1)} s after its owner was killed`);
    // The lease is valid for 15 s, and looked at each 100 ms.
    expect(after).toBeLessThan(20_000);
  });

  it('do the housekeeping one at a time', async () => {
    const started = await three();
    const cleaned = { cleanupIntervalMs: 200 };
    const stores = await Promise.all(
      started.map(async (host) => ({ host, store: await host.make('SQLiteCacheStore', cleaned) })),
    );
    await stores[0].host.call(stores[0].store, 'set', 'key', 1, 0.001);
    const owners = new Set();
    for (const _ of numbers(20)) {
      const { rows } = await direct.execute("SELECT owner FROM host_leases WHERE name = 'cache'");
      for (const { owner } of rows) owners.add(owner);
      await sleep(100);
    }
    expect(owners.size).toBe(1);
    expect((await direct.execute('SELECT COUNT(*) AS n FROM cache')).rows[0].n).toBe(0);
  });
});
