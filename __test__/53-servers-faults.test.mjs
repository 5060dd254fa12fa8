// Stores on a server that is far away, loses connections, stops, or ends. SEED=… repeats what is lost.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createSQLiteStores,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
} from '../index.mjs';
import { randomSource } from './support/seed.mjs';

const require = createRequire(import.meta.url);
const { connect, pause, program, reset, Server } = require('./support/servers.cjs');
const freePort = require('./support/ports.cjs');
const { HttpProxy } = require('./support/http-proxy.cjs');

const random = randomSource('servers');
const MIB = 1 << 20;
const numbers = (/** @type {number} */ count) => Array.from({ length: count }, (_, n) => n);

describe('what is no client', () => {
  it('is told apart from one', () => {
    const promising = {
      prepare: () => Promise.resolve({}),
      exec: () => Promise.resolve(),
    };
    const answering = {
      prepare: () => ({
        run: () => Promise.resolve(),
        get: () => Promise.reject(new Error('not asked')),
        all: () => Promise.resolve(),
      }),
      exec: () => {},
    };
    for (const database of [promising, answering]) {
      expect(() => new SQLiteCacheStore({ database: /** @type {any} */ (database) })).toThrow(
        'an open connection whose statements answer at once, got one whose statements answer promises',
      );
    }
    for (const database of [{}, { execute() {} }, { batch() {} }, { execute: 1, batch: 2 }]) {
      expect(() => new SQLiteCacheStore({ database: /** @type {any} */ (database) })).toThrow(
        TypeError,
      );
    }
  });

  it('is told of by the calls where only its answers show it', async () => {
    const clients = [
      { execute: async () => undefined, batch: async () => undefined },
      { execute: async () => 1, batch: async () => [1, 2] },
      { execute: () => ({}), batch: () => [{}, {}] },
    ];
    for (const database of clients) {
      const store = new SQLiteCacheStore({ database: /** @type {any} */ (database) });
      await expect(store.get('key')).rejects.toThrow('answer promises of { rows, rowsAffected }');
      await store.close();
    }
    const client = connect('file::memory:', { intMode: 'string' });
    const store = new SQLiteCacheStore({ database: client });
    await expect(store.get('key')).rejects.toThrow('one that answers them as text');
    await store.close();
    client.close();
  });

  it.each([0, -1, Number.NaN, '1', null])('takes no requestTimeoutMs of %s', (requestTimeoutMs) => {
    const database = { execute: async () => {}, batch: async () => [] };
    const options = /** @type {any} */ ({ database, requestTimeoutMs });
    expect(() => new SQLiteCacheStore(options)).toThrow(
      'requestTimeoutMs must be a positive number of milliseconds',
    );
  });
});

describe('a replica that lags behind', () => {
  let directory = '';
  /** @type {any} */
  let primary;
  /** @type {any} */
  let empty;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'replica-'));
    primary = connect(`file:${directory}/primary.db`);
    empty = connect('file::memory:');
  });
  afterEach(() => {
    for (const client of [primary, empty]) client.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** A client of one: what only reads is answered without tables, so many times. @param {number} times */
  function lagging(times) {
    const client = {
      times,
      reader: () => (client.times-- > 0 ? empty : primary),
      /** @param {any} statement */
      execute: (statement) =>
        (statement.sql.startsWith('SELECT') ? client.reader() : primary).execute(statement),
      /** @param {any[]} statements @param {string} mode */
      batch: (statements, mode) =>
        (mode === 'read' ? client.reader() : primary).batch(statements, mode),
    };
    return client;
  }

  it.each(['nobody', 'somebody else'])(
    'is waited for until it has the tables, which %s had made before',
    async (who) => {
      if (who !== 'nobody') {
        const others = createSQLiteStores({ database: primary });
        await others.dedupe.register('job of others');
        await others.close();
      }
      const database = lagging(7);
      const stores = createSQLiteStores({ database });
      const registered = stores.dedupe.register('job');
      // Its tables are needed while those of the others are waited for.
      const later = new SQLiteRateLimitStore({ database });
      await Promise.all([
        registered,
        stores.cache.set('key', 1, 60),
        stores.rateLimit.record('resource'),
        stores.adaptiveRateLimit.record('resource', 'user'),
        later.record('resource'),
      ]);
      expect(database.times).toBeLessThan(0);
      expect(await stores.cache.get('key')).toBe(1);
      await later.close();
      await stores.close();
    },
  );

  it('and does not catch up has calls rejected at their deadlines, which say why', async () => {
    const database = lagging(Number.POSITIVE_INFINITY);
    const store = new SQLiteCacheStore({ database, requestTimeoutMs: 2_000 });
    const late = {
      code: 'SQLITE_STORE_TIMEOUT',
      message: expect.stringContaining('a replica may lag behind'),
    };
    await expect(store.get('key')).rejects.toMatchObject(late);
    // The same if tables are made again for a call, and another store waits for ever.
    const patient = new SQLiteCacheStore({ database, requestTimeoutMs: Number.POSITIVE_INFINITY });
    database.times = 0;
    await patient.set('key', 1, 60);
    await reset(primary);
    database.times = Number.POSITIVE_INFINITY;
    await expect(store.set('key', 2, 60)).rejects.toMatchObject(late);
    database.times = 0;
    expect(await patient.get('key')).toBeUndefined();
    await patient.close();
    await store.close();
  });
});

describe('a server that answers late at first', () => {
  it('gives no longer lease to a job that was registered meanwhile', async () => {
    const client = connect('file::memory:');
    const late = pause(1_500);
    const database = {
      execute: (/** @type {any} */ statement) => late.then(() => client.execute(statement)),
      batch: (/** @type {any[]} */ all, /** @type {any} */ mode) =>
        late.then(() => client.batch(all, mode)),
    };
    const store = new SQLiteDedupeStore({ database: /** @type {any} */ (database) });
    await store.register('job');
    const now = Date.now();
    const { rows } = await client.execute('SELECT expires_at FROM dedupe_leases');
    const left = rows[0].expires_at - now;
    // A lease on a server: it has begun when the job was stored, and not 1.5 seconds later.
    expect(left).toBeLessThan(15_500);
    expect(left).toBeGreaterThan(10_000);
    await store.close();
    client.close();
  });
});

describe('a client like that of D1', () => {
  it('is one', async () => {
    const Database = require('better-sqlite3');
    const connection = new Database(':memory:');
    connection.defaultSafeIntegers(false);
    /** @param {string} sql @param {any[]} values */
    const run = (sql, values) => {
      const statement = connection.prepare(sql);
      const bound = values.map((value) =>
        value instanceof Uint8Array ? Buffer.from(value) : value,
      );
      if (!statement.reader)
        return { results: [], meta: { changes: statement.run(bound).changes } };
      const rows = statement
        .all(bound)
        .map((/** @type {any} */ row) =>
          Object.fromEntries(
            Object.entries(row).map(([key, value]) => [
              key,
              value instanceof Buffer ? [.../** @type {any} */ (value)] : value,
            ]),
          ),
        );
      return { results: rows, meta: { changes: 0 } };
    };
    const database = {
      prepare: (/** @type {string} */ sql) => ({
        sql,
        values: [],
        bind: (/** @type {any[]} */ ...values) => ({ sql, values }),
      }),
      exec: async () => {},
      batch: async (/** @type {any[]} */ list) =>
        connection.transaction(() => list.map(({ sql, values }) => run(sql, values)))(),
    };
    const stores = createSQLiteStores({ database: /** @type {any} */ (database) });
    await stores.cache.set('key', { value: [1, 'two'] }, 60);
    expect(await stores.cache.get('key')).toEqual({ value: [1, 'two'] });
    expect(await stores.rateLimit.acquire('resource')).toBe(true);
    expect(await stores.rateLimit.getStatus('resource')).toMatchObject({ remaining: 59 });
    expect(await stores.dedupe.waitFor('job')).toBeUndefined();
    await stores.dedupe.register('job');
    await stores.dedupe.complete('job', 1);
    expect(await stores.dedupe.waitFor('job')).toBe(1);
    await stores.close();
    connection.close();
  });
});

if (program === undefined) {
  console.error('53-servers-faults: SKIPPED: there is no libSQL server for this platform');
}
describe.skipIf(program === undefined)('a server', () => {
  /** @type {InstanceType<typeof Server>} */
  let server;
  /** @type {InstanceType<typeof HttpProxy>} */
  let proxy;
  /** @type {any} */
  let client;
  /** A client that nothing stands in the way of. @type {any} */
  let direct;
  /** @type {any[]} */
  let opened = [];

  beforeAll(async () => {
    server = await Server.start();
    proxy = await HttpProxy.start(server.port);
    direct = connect(server.url);
    client = connect(proxy.url);
  });
  afterAll(async () => {
    client.close();
    direct.close();
    await proxy.stop();
    await server.stop();
  });
  beforeEach(async () => {
    await reset(direct);
    [proxy.delay, proxy.lose] = [0, () => undefined];
  });
  afterEach(async () => {
    [proxy.delay, proxy.lose] = [0, () => undefined];
    for (const stores of opened) await stores.close();
    opened = [];
  });

  /** @param {any} [options] */
  function open(options = {}) {
    /** @type {any} */
    const stores = createSQLiteStores({ database: client, ...options });
    opened.push(stores);
    return stores;
  }
  /** @param {string} sql */
  const query = async (sql) => (await direct.execute(sql)).rows;

  it('is asked at most three times for a hundred calls at once', async () => {
    const { cache, rateLimit, adaptiveRateLimit, dedupe } = open({
      rateLimit: { defaultConfig: { limit: 50, windowMs: 60_000 } },
    });
    await cache.set('key 1', 1, 60);
    proxy.delay = 20;
    /** @type {Record<string, () => Promise<any>[]>} */
    const calls = {
      get: () => numbers(100).map((n) => cache.get(`key ${n}`)),
      set: () => numbers(100).map((n) => cache.set(`key ${n}`, n, 60)),
      record: () => numbers(100).map(() => rateLimit.record('recorded')),
      acquire: () => numbers(100).map(() => rateLimit.acquire('acquired')),
      'acquire, adaptive': () =>
        numbers(100).map(() => adaptiveRateLimit.acquire('shared', 'user')),
      waitFor: () => numbers(100).map((n) => dedupe.waitFor(`job ${n}`)),
      register: () => numbers(100).map((n) => dedupe.register(`job ${n}`)),
      complete: () => numbers(100).map((n) => dedupe.complete(`job ${n}`, n)),
    };
    for (const [name, make] of Object.entries(calls)) {
      proxy.count = 0;
      const answers = await Promise.all(make());
      expect(proxy.count, name).toBeLessThanOrEqual(3);
      if (name === 'acquire') expect(answers.filter(Boolean)).toHaveLength(50);
    }
    expect(await rateLimit.getStats()).toMatchObject({ totalRequests: 150 + 60 });
  });

  it('keeps what is large, up to 4 MiB, and answers it', async () => {
    const { cache, dedupe } = open();
    const half = 'x'.repeat(MIB / 2);
    await Promise.all(numbers(30).map((n) => cache.set(`half ${n}`, `${n}${half}`, 60)));
    const lengths = await Promise.all(numbers(31).map((n) => cache.get(`half ${n}`)));
    expect(lengths.map((value) => value?.length)).toEqual(
      numbers(31).map((n) => (n === 30 ? undefined : half.length + `${n}`.length)),
    );
    await cache.set('large', 'x'.repeat(4 * MIB - 100), 60);
    expect((await cache.get('large')).length).toBe(4 * MIB - 100);
    await cache.set('too large', 1, 60);
    for (const value of ['x'.repeat(5 * MIB), '"'.repeat(2 * MIB)]) {
      await cache.set('too large', value, 60);
      expect(await cache.get('too large')).toBe(1);
    }
    // Who waits in the same process has the result; others make the request.
    const other = open();
    await dedupe.register('job');
    const waiting = [dedupe.waitFor('job'), other.dedupe.waitFor('job')];
    await dedupe.complete('job', 'x'.repeat(5 * MIB));
    expect((await waiting[0]).length).toBe(5 * MIB);
    expect(await waiting[1]).toBeUndefined();
  });

  it('keeps what never ends', async () => {
    const { cache, rateLimit } = open({
      rateLimit: {
        defaultConfig: { limit: Number.POSITIVE_INFINITY, windowMs: 1_000 },
        reservationMs: Number.POSITIVE_INFINITY,
      },
    });
    await cache.set('for ever', 1, Number.POSITIVE_INFINITY);
    expect(await cache.get('for ever')).toBe(1);
    expect(await cache.listEntries()).toMatchObject([{ hash: 'for ever', expiresAt: 0 }]);
    await cache.cleanup();
    expect(await cache.get('for ever')).toBe(1);
    for (const _ of numbers(3)) {
      expect(await rateLimit.canProceed('resource')).toBe(true);
      await rateLimit.record('resource');
    }
    expect(await rateLimit.acquire('resource')).toBe(true);
    expect(await rateLimit.getStatus('resource')).toMatchObject({
      remaining: Number.POSITIVE_INFINITY,
      limit: Number.POSITIVE_INFINITY,
    });
    expect(await rateLimit.getWaitTime('resource')).toBe(0);
  });

  it('does once what is asked once, whatever is lost on the way', async () => {
    const { rateLimit, adaptiveRateLimit, cache, dedupe } = open({
      rateLimit: { defaultConfig: { limit: 60, windowMs: 600_000 } },
      requestTimeoutMs: 60_000,
    });
    await cache.get('the tables are there');
    /** @type {any[]} */
    const losses = ['request', 'answer', undefined, undefined];
    proxy.lose = () => losses[random.below(losses.length)];
    let [recorded, acquired, claims] = [0, 0, 0];
    for (const round of numbers(12)) {
      const count = 1 + random.below(20);
      recorded += 2 * count;
      const one = [];
      for (const n of numbers(count)) {
        one.push(
          rateLimit.record(`recorded ${round}`),
          adaptiveRateLimit.record('recorded', 'user'),
        );
        one.push(cache.set(`key ${n}`, round, 60));
      }
      const asked = numbers(10).map(() => rateLimit.acquire('acquired'));
      // Of two who ask for one hash, one is told to make the request, and the other waits for it.
      const job = `job ${round}`;
      const [first, second] = [dedupe.waitFor(job), dedupe.waitFor(job)];
      expect(await first).toBeUndefined();
      claims++;
      await dedupe.register(job);
      await dedupe.complete(job, round);
      expect(await second).toBe(round);
      await Promise.all(one);
      acquired += (await Promise.all(asked)).filter(Boolean).length;
    }
    proxy.lose = () => undefined;
    expect(acquired).toBe(60);
    const counts = await query(
      "SELECT (SELECT COUNT(*) FROM rate_limits WHERE resource LIKE 'recorded%') AS recorded, (SELECT COUNT(*) FROM rate_limits WHERE resource = 'acquired') AS acquired, (SELECT COUNT(*) FROM dedupe_jobs WHERE status = 'completed') AS completed",
    );
    expect({ ...counts[0] }).toEqual({ recorded, acquired: 60, completed: claims });
  });

  it('may be refused a statement, of which no other call hears', async () => {
    const { cache, rateLimit } = open();
    await Promise.all([cache.get('made'), rateLimit.canProceed('made')]);
    await direct.execute(
      "CREATE TRIGGER refuse BEFORE INSERT ON cache WHEN new.hash LIKE 'bad%' BEGIN SELECT RAISE(ABORT, 'not that'); END",
    );
    proxy.count = 0;
    const outcomes = await Promise.allSettled(
      numbers(40).flatMap((n) => [
        cache.set(n % 20 === 3 ? `bad ${n}` : `good ${n}`, n, 60),
        rateLimit.record('resource'),
      ]),
    );
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    expect(refused).toHaveLength(2);
    for (const { reason } of /** @type {any[]} */ (refused)) {
      expect(reason.name).toBe('SqliteError');
      expect(reason.code).toMatch(/^SQLITE_CONSTRAINT/);
      expect(reason.message).toContain('not that');
    }
    expect(proxy.count).toBeLessThanOrEqual(5);
    expect(await rateLimit.getStats()).toMatchObject({ totalRequests: 40 });
    expect(await cache.getStats()).toMatchObject({ totalItems: 38 });
  });

  it('has its tables made again that somebody has dropped', async () => {
    const { cache, dedupe } = open();
    await cache.set('key', 1, 60);
    await reset(direct);
    await cache.set('key', 2, 60);
    expect(await cache.get('key')).toBe(2);
    expect(await dedupe.waitFor('job')).toBeUndefined();
  });

  it('may be held by others for a while, and for too long', async () => {
    const { cache } = open({ busyTimeoutMs: 1_500 });
    await cache.get('made');
    const transaction = await direct.transaction('write');
    await transaction.execute("INSERT INTO request_log VALUES ('other', 1)");
    const quick = cache.set('key', 1, 60);
    await pause(300);
    await transaction.rollback();
    await quick;
    expect(await cache.get('key')).toBe(1);
  });

  it('that is not there yet is waited for until the deadline', async () => {
    const port = await freePort();
    const none = connect(`http://127.0.0.1:${port}`);
    const store = new SQLiteRateLimitStore({ database: none, requestTimeoutMs: 1_000 });
    await expect(store.record('resource')).rejects.toMatchObject({
      code: 'SQLITE_STORE_TIMEOUT',
      message: expect.stringContaining('The server has not answered within 1000 ms'),
    });
    const late = new Server(port, []);
    const recorded = store.record('resource').catch((/** @type {any} */ error) => error);
    await late.start();
    // A machine that starts it slowly has refused the first.
    if ((await recorded) !== undefined) await store.record('resource');
    expect(await store.getStatus('resource')).toMatchObject({ remaining: 59 });
    await store.close();
    none.close();
    await late.stop();
  });

  it('that is not there is waited for as long as each store says', async () => {
    const none = connect(`http://127.0.0.1:${await freePort()}`);
    const hasty = new SQLiteCacheStore({ database: none, requestTimeoutMs: 200 });
    const patient = new SQLiteRateLimitStore({ database: none, requestTimeoutMs: 1_000 });
    const recorded = patient.record('resource').catch((/** @type {any} */ error) => error.message);
    // Until after the longest wait, at which the tables are asked for anew.
    for (const end = performance.now() + 1_500; performance.now() < end; ) {
      await expect(hasty.get('key')).rejects.toMatchObject({
        code: 'SQLITE_STORE_TIMEOUT',
        message: expect.stringContaining('within 200 ms'),
      });
    }
    expect(await recorded).toContain('within 1000 ms');
    await Promise.all([hasty.close(), patient.close()]);
    none.close();
  });

  it('that stops has calls rejected at their deadline, and goes on', async () => {
    const { cache, rateLimit } = open({ requestTimeoutMs: 1_500 });
    // Another store of the client waits longer.
    open({ requestTimeoutMs: 60_000 });
    await Promise.all([cache.set('key', 1, 60), rateLimit.canProceed('made')]);
    server.signal('SIGSTOP');
    /** @type {string[]} */
    let codes = [];
    try {
      const start = performance.now();
      const sent = rateLimit.record('resource');
      sent.catch(() => {});
      await pause(50);
      const queued = cache.set('key', 2, 60);
      const read = cache.get('key');
      const errors = await Promise.all(
        [sent, queued, read].map((call) => call.catch((/** @type {any} */ error) => error)),
      );
      for (const { message } of errors) expect(message).toContain('within 1500 ms');
      codes = errors.map(({ code }) => code);
      // What is queued may be sent once the first is given up.
      const unsure = expect.stringMatching(/^SQLITE_STORE_(TIMEOUT|OUTCOME_UNKNOWN)$/);
      expect(codes).toEqual(['SQLITE_STORE_OUTCOME_UNKNOWN', unsure, 'SQLITE_STORE_TIMEOUT']);
      expect(performance.now() - start).toBeGreaterThan(1_400);
    } finally {
      server.signal('SIGCONT');
    }
    for (let attempt = 0; ; attempt++) {
      try {
        await cache.set('key', 3, 60);
        break;
      } catch (error) {
        if (attempt > 20) throw error;
      }
    }
    // What was sent landed once it went on: `queued` too, if it was sent, and perhaps after what was set later.
    const values = codes[1] === 'SQLITE_STORE_OUTCOME_UNKNOWN' ? [2, 3] : [3];
    expect(values).toContain(await cache.get('key'));
    expect(await rateLimit.getStatus('resource')).toMatchObject({ remaining: 59 });
  });

  it('that is killed under load and starts again has lost nothing that was acknowledged', async () => {
    const { cache, rateLimit, dedupe } = open({ requestTimeoutMs: 60_000 });
    await Promise.all([cache.get('made'), rateLimit.canProceed('made'), dedupe.getStats()]);
    let stopped = false;
    /** @type {any[]} */
    const failures = [];
    let done = 0;
    const worker = async (/** @type {number} */ id) => {
      for (let n = 0; !stopped; n++) {
        try {
          await Promise.all([cache.set(`${id} ${n}`, n, 600), rateLimit.record(`resource ${id}`)]);
          done++;
        } catch (error) {
          failures.push(error);
        }
      }
    };
    const workers = numbers(10).map(worker);
    for (const _ of numbers(3)) {
      await pause(300 + 200 * random.next());
      await server.kill();
      await pause(100);
      await server.start();
    }
    await pause(300);
    stopped = true;
    await Promise.all(workers);
    expect(failures).toEqual([]);
    const [{ kept, recorded }] = await query(
      'SELECT (SELECT COUNT(*) FROM cache) AS kept, (SELECT COUNT(*) FROM rate_limits) AS recorded',
    );
    expect({ kept, recorded }).toEqual({ kept: done, recorded: done });
    expect(done).toBeGreaterThan(30);
  });
});
