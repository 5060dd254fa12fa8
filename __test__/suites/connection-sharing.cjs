'use strict';
// What an application can rely on that shares its connection with stores. The same under Vitest and Bun's test runner.

const { argumentsOf } = require('../support/method-arguments.cjs');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { outcomeOf, START, stateOf, turn } = require('../support/harness.cjs');
const { connect, drivers } = require('../support/drivers.cjs');
const { run } = require('../support/processes.cjs');

const realNow = performance.now.bind(performance);

/**
 * @param {{ describe: any, it: any, expect: any, beforeEach: any, afterEach: any, clock: import('../support/harness.cjs').Clock }} runner
 * @param {string} driver
 * @param {Record<string, any>} stores
 */
module.exports = function sharing(runner, driver, stores) {
  const { describe, it, expect, beforeEach, afterEach, clock } = runner;
  const {
    SQLiteCacheStore,
    SQLiteDedupeStore,
    SQLiteRateLimitStore,
    SqliteAdaptiveRateLimitStore,
  } = stores;
  const names = [
    'SQLiteCacheStore',
    'SQLiteDedupeStore',
    'SQLiteRateLimitStore',
    'SqliteAdaptiveRateLimitStore',
  ];

  let directory = '';
  /** @type {any[]} */
  let connections = [];
  /** @type {any[]} */
  let opened = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sharing-'));
  });
  afterEach(() => {
    for (const store of opened) store.destroy();
    for (const connection of connections) close(connection);
    opened = [];
    connections = [];
    rmSync(directory, { recursive: true, force: true });
  });

  /** @param {any} connection */
  function close(connection) {
    try {
      connection.close();
    } catch {
      // The test has closed it.
    }
  }

  const path = () => join(directory, 'stores.db');

  /** @param {string} [file] */
  function open(file = path()) {
    const connection = connect(driver, file);
    connection.exec('PRAGMA synchronous = OFF');
    connections.push(connection);
    return connection;
  }

  /**
   * @param {new (options: any) => any} Store
   * @param {any} database
   * @param {object} [options]
   */
  function make(Store, database, options) {
    const store = new Store({ database, ...options });
    opened.push(store);
    return store;
  }

  /**
   * Stands for a connection, and tells what is called on it.
   * @param {any} connection
   */
  function observed(connection) {
    /** @type {string[]} */
    const executed = [];
    /** @type {string[]} */
    const prepared = [];
    /** @type {string[]} */
    const run = [];
    const observer = {
      prepare(/** @type {string} */ sql) {
        prepared.push(sql);
        const statement = connection.prepare(sql);
        /** @param {'run' | 'get' | 'all'} method */
        const passed = (method) => {
          return (/** @type {any[]} */ ...args) => {
            run.push(sql);
            return statement[method](...args);
          };
        };
        return { run: passed('run'), get: passed('get'), all: passed('all') };
      },
      exec(/** @type {string} */ sql) {
        executed.push(sql);
        return connection.exec(sql);
      },
      get inTransaction() {
        return connection.inTransaction ?? connection.isTransaction;
      },
      get open() {
        return connection.open;
      },
      close() {
        executed.push('close()');
      },
    };
    return { observer, executed, prepared, run };
  }

  /** @param {any} connection @param {string} sql @returns {any} the first column, c0, of the first row */
  const firstOf = (connection, sql) => connection.prepare(sql).get()?.c0;
  const count = (/** @type {any} */ connection, /** @type {string} */ table) =>
    Number(firstOf(connection, `SELECT COUNT(*) AS c0 FROM ${table}`));

  describe('the end', () => {
    for (const name of names) {
      it(`of ${name} leaves the connection open`, async () => {
        const connection = open();
        const { observer, executed } = observed(connection);
        await make(stores[name], observer).close();
        make(stores[name], observer).destroy();
        await make(stores[name], observer)[
          Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')
        ]();
        expect(executed).not.toContain('close()');
        expect(Number(firstOf(connection, 'SELECT 1 AS c0'))).toBe(1);
        // As does the end of the last with others gone before.
        const next = make(stores[name], connection);
        await next.clear();
      });
    }

    it('comes when all that was called before is done', async () => {
      const connection = open();
      const cache = make(SQLiteCacheStore, connection, { cleanupIntervalMs: 0 });
      await Promise.all(Array.from({ length: 2_000 }, (_, i) => cache.set(`${i}`, i, -1)));
      const calls = Promise.allSettled([
        cache.set('before', 1, 60),
        cache.cleanup(),
        cache.set('after', 1, 60),
      ]);
      cache.destroy();
      expect(count(connection, 'cache')).toBe(2);
      close(connection);
      for (const { status } of await calls) expect(status).toBe('fulfilled');
    });

    for (const way of [
      'process.exit',
      'the end of the script',
      'process.exit after an exit listener that closes',
    ]) {
      it(`by ${way}: what was called before is written`, async () => {
        const { code, stderr } = await run('connection-exit.cjs', { driver, path: path(), way });
        expect([
          code,
          stderr.replace(/^.*(ExperimentalWarning|--trace-warnings).*\n/gm, ''),
        ]).toEqual([0, '']);
        expect(count(open(), 'cache')).toBe(1);
      });
    }
  });

  describe('closing the connection first', () => {
    /** @type {string[]} */
    let unhandled = [];
    const note = (/** @type {any} */ error) => unhandled.push(String(error));
    beforeEach(() => {
      unhandled = [];
      process.on('unhandledRejection', note);
      process.on('uncaughtException', note);
    });
    afterEach(() => {
      process.off('unhandledRejection', note);
      process.off('uncaughtException', note);
      clock.stop();
    });

    it('kills nothing while cleanup timers run', async () => {
      clock.start(START);
      const connection = open();
      const all = names.map((name) =>
        make(stores[name], connection, { cleanupIntervalMs: 1_000, jobTimeoutMs: 2_000 }),
      );
      await all[0].set('key', 1, 0.5);
      await all[1].register('job');
      const waiter = all[1].waitFor('job').catch((/** @type {any} */ error) => error);
      await turn();
      connection.close();
      await clock.advanceAsync(10_000);
      // It cannot look any more, and the time of its job is over.
      const waited = await outcomeOf(waiter);
      expect(waited.status).toBe('resolved');
      if (waited.value !== undefined) expect(waited.value).toBeInstanceOf(Error);
      for (const store of all) expect(await store.close()).toBeUndefined();
      await turn();
      expect(unhandled).toEqual([]);
    });

    it('has what is still queued rejected', async () => {
      const connection = open();
      const cache = make(SQLiteCacheStore, connection);
      const calls = Promise.allSettled([
        cache.set('a', 1, 60),
        cache.get('a'),
        cache.set('b', 1, 60),
      ]);
      connection.close();
      for (const { status, reason } of /** @type {any[]} */ (await calls)) {
        expect(status).toBe('rejected');
        expect(reason).toBeInstanceOf(Error);
      }
      expect(count(open(), 'cache')).toBe(0);
    });

    it('lets waiters go when the store ends', async () => {
      const connection = open();
      const dedupe = make(SQLiteDedupeStore, connection);
      await dedupe.register('job');
      const waiters = [dedupe.waitFor('job'), dedupe.waitFor('job')];
      const settled = Promise.allSettled(waiters);
      await turn();
      connection.close();
      for (let i = 0; i < 20; i++) await turn();
      dedupe.destroy();
      for (const { status, value, reason } of /** @type {any[]} */ (await settled)) {
        if (status === 'rejected') expect(reason).toBeInstanceOf(Error);
        else expect(value).toBeUndefined();
      }
    });
  });

  describe('waiters', () => {
    const options = { claimTimeoutMs: 0, pollIntervalMs: 60_000 };

    it('wake at once for another store on the connection', async () => {
      const connection = open();
      const [one, other, third] = [0, 1, 2].map(() => make(SQLiteDedupeStore, connection, options));
      for (const [end, expected] of /** @type {[(hash: string) => Promise<void>, any][]} */ ([
        [(hash) => one.complete(hash, { a: [1] }), { status: 'resolved', value: { a: [1] } }],
        [(hash) => other.complete(hash, null), { status: 'resolved' }],
        [() => third.clear(), { status: 'resolved', value: undefined }],
      ])) {
        for (let round = 0; round < 3; round++) {
          const hash = `job ${round} ${expected.value}`;
          await one.register(hash);
          const waiters = [one, other, third].map((store) => store.waitFor(hash));
          for (const waiter of waiters) expect((await stateOf(waiter)).status).toBe('pending');
          await end(hash);
          for (const waiter of waiters) expect(await outcomeOf(waiter)).toMatchObject(expected);
        }
      }
    });

    it.each([
      ['in another store on the connection', 60_000],
      ['by another connection', 1],
    ])('take no more statements for each of many that end %s', async (where, pollIntervalMs) => {
      /** Statements on jobs, while so many are waited for and end one by one. @param {number} count */
      async function statements(count) {
        const { observer, run } = observed(open());
        const [one, other] = [0, 1].map(() =>
          make(SQLiteDedupeStore, observer, { claimTimeoutMs: 0, pollIntervalMs }),
        );
        const ender = pollIntervalMs === 1 ? make(SQLiteDedupeStore, open(), options) : other;
        const hashes = Array.from({ length: count }, (_, n) => `${where} ${count} ${n}`);
        await Promise.all(hashes.map((hash) => ender.register(hash)));
        const waiting = hashes.map((hash) => one.waitFor(hash));
        await turn();
        run.length = 0;
        for (const [index, hash] of hashes.entries()) {
          await ender.complete(hash, index);
          expect(await waiting[index]).toBe(index);
        }
        return run.filter((sql) => /dedupe_jobs/.test(sql)).length;
      }
      for (const count of [25, 100]) expect(await statements(count)).toBeLessThan(8 * count);
    });

    it('get the error of a job that failed in another store on the connection', async () => {
      const connection = open();
      const [one, other] = [0, 1].map(() => make(SQLiteDedupeStore, connection, options));
      await one.register('job');
      const waiter = other.waitFor('job').catch((/** @type {any} */ error) => error);
      await turn();
      await one.fail('job', new RangeError('upstream'));
      const error = await waiter;
      expect(error).toBeInstanceOf(Error);
      expect(error.message).toBe('upstream');
    });

    /** @param {Promise<any>} waiter */
    async function wokenWithin(waiter, ms = 10_000) {
      const start = realNow();
      for (;;) {
        const state = await stateOf(waiter);
        if (state.status !== 'pending' || realNow() - start > ms) return state;
      }
    }
    const polling = { claimTimeoutMs: 0 };
    /** @param {any} connection */
    const completeBySql = (connection) =>
      connection.exec(`UPDATE dedupe_jobs SET status = 'completed', result = CAST('"\\"by SQL\\""' AS BLOB),
        updated_at = ${Date.now()} WHERE hash = 'job'`);

    it('wake for what the application does on the connection', async () => {
      const connection = open();
      const dedupe = make(SQLiteDedupeStore, connection, polling);
      await dedupe.register('job');
      const waiter = dedupe.waitFor('job');
      // It has looked, and looked again for its first poll.
      await new Promise((resolve) => setTimeout(resolve, 60));
      completeBySql(connection);
      expect(await wokenWithin(waiter)).toEqual({ status: 'resolved', value: 'by SQL' });
    });

    it('wake for what another connection does', async () => {
      const [one, other, third] = [open(), open(), open()];
      const stores = [one, other].map((connection) => make(SQLiteDedupeStore, connection, polling));
      await stores[0].register('job');
      const waiters = stores.map((store) => store.waitFor('job'));
      await new Promise((resolve) => setTimeout(resolve, 60));
      completeBySql(third);
      for (const waiter of waiters)
        expect(await wokenWithin(waiter)).toEqual({ status: 'resolved', value: 'by SQL' });
    });

    it('do not keep the connection busy when nobody waits', async () => {
      const { observer, run } = observed(open());
      const dedupe = make(SQLiteDedupeStore, observer, { claimTimeoutMs: 0, pollIntervalMs: 1 });
      await dedupe.register('job');
      const waiter = dedupe.waitFor('job');
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(run.some((sql) => /data_version/.test(sql))).toBe(true);
      await dedupe.complete('job', 1);
      expect(await waiter).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      run.length = 0;
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(run).toEqual([]);
    });
  });

  describe('transactions', () => {
    it('hold the writes of one stretch, of all stores', async () => {
      const connection = open();
      const { observer, executed, run } = observed(connection);
      const [cache, dedupe, rate, adaptive] = names.map((name) => make(stores[name], observer));
      executed.length = 0;
      run.length = 0;
      const calls = [
        ...Array.from({ length: 100 }, (_, i) => cache.set(`${i}`, i, 60)),
        dedupe.register('job'),
        rate.record('r'),
        adaptive.record('r', 'user'),
        // A read in between sees what comes before it.
        rate.getStatus('r'),
        rate.acquire('r'),
      ];
      expect(executed).toEqual([]);
      expect(run).toEqual([]);
      const results = await Promise.all(calls);
      expect(results.at(-2)).toMatchObject({ remaining: 58 });
      expect(executed).toEqual(['BEGIN IMMEDIATE', 'COMMIT']);
      // A hundred entries are five statements.
      expect(run.length).toBeGreaterThanOrEqual(10);
      expect(run.length).toBeLessThan(30);
      await Promise.all([cache.set('a', 1, 60), cache.set('b', 1, 60)]);
      expect(executed).toEqual(['BEGIN IMMEDIATE', 'COMMIT', 'BEGIN IMMEDIATE', 'COMMIT']);
      expect(count(connection, 'cache')).toBe(102);
    });

    it('are seen as a whole or not at all by another process', async () => {
      // Another connection stands for it: it sees commits and nothing else.
      const [connection, other] = [open(), open()];
      connection.exec('PRAGMA journal_mode = WAL');
      const { observer, run } = observed(connection);
      const cache = make(SQLiteCacheStore, observer);
      const seen = new Set();
      const passed = run.push;
      run.push = (...sql) => {
        seen.add(count(other, 'cache'));
        return passed.apply(run, sql);
      };
      await Promise.all(Array.from({ length: 50 }, (_, i) => cache.set(`${i}`, i, 60)));
      expect([...seen]).toEqual([0]);
      expect(count(other, 'cache')).toBe(50);
    });

    it('do not lose the calls beside one that fails', async () => {
      const connection = open();
      const cache = make(SQLiteCacheStore, connection);
      connection.exec(`CREATE TRIGGER t BEFORE INSERT ON cache WHEN new.hash LIKE 'refused%'
        BEGIN SELECT raise(ABORT, 'not this one'); END`);
      const keys = ['a', 'refused 1', 'b', 'refused 2', 'c'];
      const outcomes = await Promise.allSettled(keys.map((key) => cache.set(key, key, 60)));
      expect(outcomes.map(({ status }) => status === 'fulfilled')).toEqual([
        true,
        false,
        true,
        false,
        true,
      ]);
      for (const index of [1, 3])
        expect(/** @type {any} */ (outcomes[index]).reason.message).toMatch(/not this one/);
      expect(await Promise.all(keys.map((key) => cache.get(key)))).toEqual([
        'a',
        undefined,
        'b',
        undefined,
        'c',
      ]);
      expect(connection.inTransaction ?? connection.isTransaction ?? false).toBe(false);
    });

    // What does not tell of its transactions cannot be asked before it is too late.
    for (const end of drivers[driver].hidesTransaction ? [] : ['ROLLBACK', 'COMMIT']) {
      it(`of the application hold what is called in them without awaiting, ${end}`, async () => {
        const connection = open();
        const cache = make(SQLiteCacheStore, connection);
        connection.exec('CREATE TABLE own (n INTEGER)');
        connection.exec('BEGIN; INSERT INTO own VALUES (1)');
        const calls = [cache.set('key', 1, 60), cache.get('key'), cache.set('other', 2, 60)];
        connection.exec(end);
        const [, read] = await Promise.all(calls);
        expect(read).toBe(1);
        const kept = end === 'COMMIT';
        expect([count(connection, 'own'), count(connection, 'cache')]).toEqual(
          kept ? [1, 2] : [0, 0],
        );
      });
    }

    it('may make the tables, and take them back', async () => {
      for (const name of names) {
        const connection = open(':memory:');
        connection.exec('BEGIN');
        const store = make(stores[name], connection);
        expect(await store.clear()).toBeUndefined();
        connection.exec('ROLLBACK');
        // They are made anew.
        expect(await store.clear()).toBeUndefined();
      }
    });

    it('that another connection holds do not stop a store from being made whose tables are there', async () => {
      const [connection, other] = [open(), open()];
      connection.exec('PRAGMA journal_mode = WAL');
      for (const name of names) make(stores[name], connection);
      other.exec('BEGIN IMMEDIATE');
      for (const name of names) make(stores[name], open());
      other.exec('ROLLBACK');
    });
  });

  describe('the connection', () => {
    const pragmas = [
      'journal_mode',
      'synchronous',
      'foreign_keys',
      'busy_timeout',
      'cache_size',
      'temp_store',
      'recursive_triggers',
      'wal_autocheckpoint',
      'journal_size_limit',
      'user_version',
      'application_id',
      'locking_mode',
      'read_uncommitted',
      'query_only',
      'secure_delete',
      'automatic_index',
    ];
    /** @param {any} connection */
    const state = (connection) =>
      Object.fromEntries(
        pragmas.map((name) => {
          const row = connection.prepare(`PRAGMA ${name}`).get();
          return [name, String(row?.[Object.keys(row)[0]])];
        }),
      );

    it('keeps its settings and its temporary tables', async () => {
      const connection = open();
      connection.exec(`PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = OFF;
        PRAGMA busy_timeout = 1234; PRAGMA cache_size = 77; PRAGMA user_version = 5; PRAGMA application_id = 6;
        PRAGMA wal_autocheckpoint = 78; PRAGMA secure_delete = ON; PRAGMA recursive_triggers = ON;
        CREATE TEMP TABLE own (n INTEGER); INSERT INTO own VALUES (1)`);
      const before = state(connection);
      expect(before).toMatchObject({
        journal_mode: 'truncate',
        user_version: '5',
        wal_autocheckpoint: '78',
      });
      const { observer, executed, prepared } = observed(connection);
      const [cache, dedupe, rate, adaptive] = names.map((name) => make(stores[name], observer));
      await Promise.all([cache.set('a', 1, 60), cache.cleanup(), cache.getStats(), cache.clear()]);
      await Promise.all([
        dedupe.register('a'),
        dedupe.complete('a', 1),
        dedupe.waitFor('a'),
        dedupe.cleanup(),
      ]);
      await Promise.all([
        rate.record('a'),
        rate.cleanup(),
        adaptive.record('a', 'user'),
        adaptive.getStats(),
      ]);
      for (const store of [cache, dedupe, rate, adaptive]) await store.close();
      expect(state(connection)).toEqual(before);
      expect(count(connection, 'own')).toBe(1);
      const spoken = [...executed, ...prepared].filter((sql) => /pragma\s/i.test(sql));
      for (const sql of spoken) expect(sql).toBe('PRAGMA data_version');
    });

    it('prepares each statement once for all stores on it', async () => {
      const { observer, prepared, run } = observed(open());
      /** @param {any} store */
      const use = async (store) => {
        const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(store));
        for (const method of methods.filter(
          (each) =>
            !/constructor|close|destroy|ResourceConfig|getMetrics|entries|backup|vacuum/.test(each),
        ))
          await store[method](...argumentsOf(method));
      };
      const first = names.map((name) => make(stores[name], observer));
      for (const store of first) await use(store);
      const second = names.map((name) => make(stores[name], observer));
      prepared.length = 0;
      run.length = 0;
      for (const store of [...second, ...first]) await use(store);
      expect(run.length).toBeGreaterThan(50);
      expect(prepared.filter((sql) => !/data_version|total_changes/.test(sql))).toEqual([]);
    });

    it('may be one for temporary use', async () => {
      const connection = open('');
      const cache = make(SQLiteCacheStore, connection);
      await cache.set('a', 1, 60);
      expect(await cache.get('a')).toBe(1);
    });

    it('may hold old tables, and the application’s own rows in them', async () => {
      const connection = open();
      connection.exec(`CREATE TABLE rate_limits (id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, timestamp INTEGER NOT NULL);
        INSERT INTO rate_limits (resource, timestamp) VALUES ('r', ${Date.now()})`);
      const plain = make(SQLiteRateLimitStore, connection);
      expect(await plain.getStatus('r')).toMatchObject({ remaining: 59 });
      const adaptive = make(SqliteAdaptiveRateLimitStore, connection);
      expect(await adaptive.getStatus('r')).toMatchObject({ remaining: 199 });
      expect(firstOf(connection, 'SELECT priority AS c0 FROM rate_limits')).toBe('background');
      const cache = make(SQLiteCacheStore, connection);
      const text = (/** @type {string} */ json) => `CAST('${json}' AS TEXT)`;
      const later = Date.now() + 60_000;
      connection.exec(`INSERT INTO cache VALUES ('text', ${text('"{\\"a\\":1}"')}, ${later}.5, 0),
        ('plain', CAST('{"b":2}' AS BLOB), ${later}, 0), ('broken', CAST('{' AS BLOB), ${later}, 0)`);
      expect([
        await cache.get('text'),
        await cache.get('plain'),
        await cache.get('broken'),
      ]).toEqual([{ a: 1 }, { b: 2 }, undefined]);
      await turn();
      expect(count(connection, 'cache')).toBe(2);
    });

    it('is free again between the steps of a long cleanup', async () => {
      const connection = open();
      const cache = make(SQLiteCacheStore, connection);
      await Promise.all(Array.from({ length: 20_000 }, (_, i) => cache.set(`${i}`, i, -1)));
      let done = false;
      const cleanup = cache.cleanup().then(() => {
        done = true;
      });
      const sizes = new Set();
      while (!done) {
        await turn();
        sizes.add(count(connection, 'cache'));
      }
      await cleanup;
      expect(count(connection, 'cache')).toBe(0);
      expect(sizes.size).toBeGreaterThan(3);
    });

    if (driver === 'better-sqlite3-multiple-ciphers') {
      it('may be encrypted', async () => {
        const connection = open();
        const cache = make(SQLiteCacheStore, connection);
        await cache.set('a', 'a text to be looked for', 60);
        expect(await cache.get('a')).toBe('a text to be looked for');
        connection.pragma('wal_checkpoint(TRUNCATE)');
        const bytes = readFileSync(path()).toString('latin1');
        expect(bytes.length).toBeGreaterThan(4_096);
        expect(bytes.startsWith('SQLite format 3')).toBe(false);
        expect(bytes).not.toContain('a text to be looked for');
      });
    }
  });

  /** What a program tells. @param {string} name @param {Record<string, string>} input @param {string[]} flags  of Node's */
  async function told(name, input, flags = []) {
    const node = process.versions.bun ? [] : ['--expose-gc', ...flags];
    const { stdout, stderr, code, signal } = await run(name, input, { node, timeout: 60_000 });
    const errors = stderr.replace(/^.*(Warning:|--trace-warnings).*\n/gm, '');
    expect([code, signal, errors]).toEqual([0, null, '']);
    return JSON.parse(stdout);
  }

  it('connections and stores that nobody has any more are collected', async () => {
    const { made, collected } = await told('connection-collect.cjs', { driver });
    // The last may still lie on the stack.
    expect(collected).toBeGreaterThanOrEqual(made - 3);
  });

  // Node has two ways to keep async contexts.
  for (const flag of ['', '--experimental-async-context-frame', '--no-async-context-frame']) {
    const isKnown = process.allowedNodeEnvironmentFlags.has(flag) && !process.versions.bun;
    if (flag && !isKnown) continue;
    it(`async contexts are not mixed up, nor kept${flag && `, ${flag}`}`, async () => {
      const input = { driver, path: path() };
      const { kept, ...uses } = await told('contexts.cjs', input, flag ? [flag] : []);
      expect(kept).toEqual([]);
      for (const [title, { made, wrote, read, waited }] of Object.entries(uses)) {
        const isSpied = title === 'connection';
        expect([title, made]).toEqual([title, ['setInterval: outside']]);
        expect([title, wrote]).toEqual([title, isSpied ? ['INSERT: outside'] : []]);
        expect([title, read]).toEqual([title, isSpied ? ['SELECT: connection, read'] : []]);
        expect(waited).toContain('setTimeout: outside');
        expect(waited.length).toBeGreaterThan(isSpied ? 2 : 0);
        for (const what of waited) expect(what).toMatch(/: outside$/);
      }
    });
  }

  it('each thread may have its connection, and be terminated', async () => {
    // libsql's own binding aborts the process if its thread is terminated while it makes an array of rows.
    const isOfDriver = (/** @type {any} */ error) =>
      driver === 'libsql' && String(error.actual).includes('neon-');
    let attempts = 0;
    /** @returns {Promise<any>} */
    const attempt = async () => {
      const file = join(directory, `threads ${++attempts}.db`);
      try {
        return await told('connection-threads.cjs', { driver, path: file });
      } catch (error) {
        if (attempts === 5 || !isOfDriver(error)) throw error;
        return attempt();
      }
    };
    expect(await attempt()).toEqual({
      code: 0,
      result: { name: 'a' },
      read: [0, 99, 0],
      enough: true,
      // What is called at once is written at once.
      even: 0,
      check: 'ok',
    });
  });

  describe('a path that the application has open', () => {
    if (process.platform !== 'linux') return;
    it('is warned of', async () => {
      expect(await told('connection-warning.cjs', { driver, directory })).toEqual({
        'only by path': [],
        'twice by path': [],
        'another file': [],
        'by connection, then connection': [],
        'by connection, then path': ['COMIC_VINE_SQLITE_STORE_FILE_OPEN'],
        'by connection, then path through a link': ['COMIC_VINE_SQLITE_STORE_FILE_OPEN'],
      });
    });
  });
};
