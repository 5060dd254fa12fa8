'use strict';
// Every method of the four stores in every state a connection of the application's can be in: closed, read-only, in
// a transaction, iterating a statement, locked out by another process. The same under Vitest and Bun's test runner.

const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { connect, drivers } = require('../support/drivers.cjs');
const { Program } = require('../support/processes.cjs');

const HOUR = 3_600_000;

/** Options with which nothing happens by itself. */
const OPTIONS = {
  SQLiteCacheStore: { cleanupIntervalMs: 0 },
  SQLiteDedupeStore: { cleanupIntervalMs: 0, jobTimeoutMs: HOUR, resultTtlMs: HOUR },
  SQLiteRateLimitStore: { defaultConfig: { limit: 10, windowMs: HOUR } },
  SqliteAdaptiveRateLimitStore: { defaultConfig: { limit: 100, windowMs: HOUR } },
};
const reserving = { ...OPTIONS.SQLiteRateLimitStore, reservationMs: HOUR };
const adaptiveReserving = { ...OPTIONS.SqliteAdaptiveRateLimitStore, reservationMs: HOUR };

/**
 * @typedef {object} Cell
 * @property {keyof typeof OPTIONS} store
 * @property {string} method
 * @property {any[]} args
 * @property {boolean} writes  whether the call is refused where nothing can be written
 * @property {any} expected  what it comes to, or what that matches
 * @property {object} options
 */

/** @type {Cell[]} */
const cells = [];
/**
 * @param {keyof typeof OPTIONS} store
 * @param {Record<string, [any[], any, object?]>} reads
 * @param {Record<string, [any[], any, object?]>} writes
 */
function add(store, reads, writes) {
  for (const [calls, isWrite] of /** @type {const} */ ([
    [reads, false],
    [writes, true],
  ])) {
    for (const [name, [args, expected, options = OPTIONS[store]]] of Object.entries(calls)) {
      const [method] = name.split(' ');
      cells.push({ store, method, args, writes: isWrite, expected, options });
    }
  }
}

add(
  'SQLiteCacheStore',
  {
    get: [['kept'], { text: 'kept' }],
    // What has expired is deleted, if it can be.
    'get of an expired entry': [['stale'], undefined],
    getStats: [[], { totalItems: 2, expiredItems: 1 }],
    listEntries: [[], [{ hash: 'kept', tags: [] }]],
    'invalidateByTag nobody has': [['tag'], 0],
    'invalidateByTags nobody has': [[['tag', 'other']], 0],
  },
  {
    set: [['new', 1, 60], undefined],
    setWithTags: [['kept', 1, 60, ['tag']], undefined],
    'clear of a scope': [['k'], undefined],
    delete: [['kept'], undefined],
    cleanup: [[], undefined],
    clear: [[], undefined],
  },
);
add(
  'SQLiteDedupeStore',
  {
    'waitFor a result': [['done'], { text: 'done' }],
    isInProgress: [['running'], true],
    'isInProgress of a job past its time': [['stale'], false],
    getResult: [['done'], { text: 'done' }],
    getStats: [[], { totalJobs: 3, pendingJobs: 2, expiredJobs: 1 }],
    listJobs: [[3], []],
  },
  {
    // It claims the hash.
    'waitFor nothing': [['absent'], undefined],
    register: [['new'], /^[0-9a-f-]{36}$/],
    registerOrJoin: [['new'], { isOwner: true }],
    complete: [['running', { done: true }], undefined],
    fail: [['running', new Error('upstream')], undefined],
    cleanup: [[], undefined],
    clear: [[], undefined],
  },
);
for (const [store, priority, limit, options] of /** @type {const} */ ([
  ['SQLiteRateLimitStore', [], 10, reserving],
  ['SqliteAdaptiveRateLimitStore', ['user'], 100, adaptiveReserving],
])) {
  add(
    store,
    {
      canProceed: [['r', ...priority], true],
      getStatus: [['r'], { remaining: limit - 1, limit }],
      getWaitTime: [['r', ...priority], 0],
      getStats: [[], { uniqueResources: 1 }],
      listResources: [[], [{ resource: 'cooling' }, { resource: 'r', requestCount: 1, limit }]],
      getCooldown: [['cooling'], 9e12],
    },
    {
      'canProceed that reserves a slot': [['r', ...priority], true, options],
      acquire: [['r', ...priority], true],
      record: [['r', ...priority], undefined],
      reset: [['r'], undefined],
      setCooldown: [['server', 9e12], undefined],
      clearCooldown: [['cooling'], undefined],
      cleanup: [[], undefined],
      clear: [[], undefined],
    },
  );
}
for (const [index, cell] of cells.entries()) {
  const again = cells
    .slice(0, index)
    .some((o) => o.store === cell.store && o.method === cell.method);
  Object.assign(cell, {
    title: `${cell.method}(${cell.args.map(String).join(', ')})${again ? (cell.writes ? ', writing' : ', reading') : ''}`,
  });
}

/**
 * @param {{ describe: any, it: any, expect: any, beforeEach: any, afterEach: any, beforeAll: any, afterAll: any }} runner
 * @param {string} driver
 * @param {Record<string, any>} stores
 */
module.exports = function states(runner, driver, stores) {
  const { describe, it, expect, beforeEach, afterEach, beforeAll, afterAll } = runner;
  const { refusesWhileIterating, keepsStatements } = drivers[driver];

  let directory = '';
  let path = '';
  /** @type {any[]} */
  let connections = [];
  /** @type {any[]} */
  let opened = [];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'states-'));
    path = join(directory, 'stores.db');
    await fill(path);
  });
  afterEach(() => {
    for (const store of opened) store.destroy();
    for (const connection of connections) if (connection.open !== false) end(connection);
    opened = [];
    connections = [];
    rmSync(directory, { recursive: true, force: true });
  });

  /** @param {any} connection */
  function end(connection) {
    try {
      connection.close();
    } catch {
      // The test has closed it.
    }
  }

  /** @param {import('../support/drivers.cjs').OpenOptions & { file?: string }} [options] */
  function open({ file = path, ...options } = {}) {
    const connection = connect(driver, file, options);
    connections.push(connection);
    return connection;
  }

  /**
   * @param {any} connection
   * @param {Cell} cell
   */
  function storeOf(connection, cell) {
    const store = new stores[cell.store]({ ...cell.options, database: connection });
    opened.push(store);
    return store;
  }

  /**
   * What a call comes to: `{ value }` or `{ error }`.
   * @param {any} store
   * @param {Cell} cell
   */
  const outcomeOf = (store, { method, args }) =>
    store[method](...args).then(
      (/** @type {any} */ value) => ({ value }),
      (/** @type {any} */ error) => ({ error }),
    );

  /**
   * @param {{ value?: any, error?: any }} outcome
   * @param {Cell} cell
   */
  function expectDone(outcome, { expected }) {
    expect(outcome.error).toBeUndefined();
    if (expected instanceof RegExp) expect(outcome.value).toMatch(expected);
    else if (typeof expected === 'object') expect(outcome.value).toMatchObject(expected);
    else expect(outcome.value).toBe(expected);
  }

  /**
   * @param {{ value?: any, error?: any }} outcome
   * @param {string[] | RegExp} messages  the driver's own
   */
  function expectRefused(outcome, messages) {
    expect(outcome.error).toBeInstanceOf(Error);
    const { message } = outcome.error;
    if (messages instanceof RegExp) expect(message).toMatch(messages);
    else expect(messages).toContain(message);
  }

  /** @param {() => unknown} make */
  function messageOf(make) {
    try {
      make();
    } catch (error) {
      return error.message;
    }
    return undefined;
  }

  /** Rows in every table, written by the stores themselves, and one in each that is past its time. @param {string} file */
  async function fill(file, mode = 'WAL') {
    const connection = connect(driver, file);
    connection.exec(`PRAGMA synchronous = OFF; PRAGMA journal_mode = ${mode}`);
    const made = Object.entries(OPTIONS).map(([name, options]) => [
      name,
      new stores[name]({ ...options, database: connection }),
    ]);
    const { SQLiteCacheStore: cache, SQLiteDedupeStore: dedupe } = Object.fromEntries(made);
    await Promise.all([
      cache.set('kept', { text: 'kept' }, 60),
      cache.set('stale', 'stale', -60),
      dedupe.register('running'),
      dedupe.register('stale'),
      dedupe.register('done'),
      dedupe.complete('done', { text: 'done' }),
    ]);
    for (const [, store] of made) store.destroy();
    // The store that registered them has ended: without its leases its jobs are those of a stranger.
    connection.exec(`DELETE FROM dedupe_leases;
      UPDATE dedupe_jobs SET created_at = created_at - 2 * ${HOUR} WHERE hash = 'stale';
      INSERT INTO rate_limits (resource, timestamp, priority) VALUES ('r', ${Date.now()}, 'user');
      INSERT INTO rate_limits (resource, timestamp, priority) VALUES ('r', ${Date.now() - 48 * HOUR}, 'user');
      INSERT INTO server_cooldowns VALUES ('cooling', 9000000000000);
      CREATE TABLE own (n INTEGER);
      WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1000) INSERT INTO own SELECT n FROM t`);
    connection.close();
  }

  /** All rows of the stores' tables, as text, through a connection of its own. */
  function dump() {
    const connection = connect(driver, path);
    const rows = (/** @type {string} */ sql) =>
      connection
        .prepare(sql)
        .all()
        .map((/** @type {any} */ row) => row.c0);
    const found = rows(
      "SELECT name AS c0 FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1",
    ).map((/** @type {string} */ table) => {
      const columns = rows(`SELECT name AS c0 FROM pragma_table_info('${table}')`);
      const text = columns
        .map((/** @type {string} */ name) => `quote("${name}")`)
        .join(` || ',' || `);
      return [table, rows(`SELECT ${text} AS c0 FROM ${table} ORDER BY 1`)];
    });
    connection.close();
    return Object.fromEntries(found);
  }

  /** @param {any} connection */
  const isInTransaction = (connection) => connection.inTransaction ?? connection.isTransaction;

  /** One test for every cell. @param {(cell: Cell) => Promise<void>} test */
  function each(test) {
    for (const cell of cells)
      it(`${cell.store} ${/** @type {any} */ (cell).title}`, () => test(cell));
  }

  it('the matrix has every method', () => {
    for (const name of Object.keys(OPTIONS)) {
      const named = cells.filter(({ store }) => store === name).map(({ method }) => method);
      const known = ['constructor', 'close', 'destroy', 'getResourceConfig', 'setResourceConfig'];
      // See 35-channels, 38-backup and suites/cache.cjs.
      known.push('getMetrics', 'backup', 'vacuum', 'entries');
      expect([...new Set([...named, ...known])].sort()).toEqual(
        [
          ...new Set([
            ...Object.getOwnPropertyNames(stores[name].prototype),
            // Not every class has limits.
            ...known,
          ]),
        ].sort(),
      );
    }
  });

  for (const warm of [true, false]) {
    describe(`closed, ${warm ? 'with' : 'without'} prepared statements: rejects with the driver's message`, () => {
      each(async (cell) => {
        const connection = open();
        const store = storeOf(connection, cell);
        const own = connection.prepare('SELECT 1');
        if (warm) await outcomeOf(store, cell);
        connection.close();
        const messages = [
          messageOf(() => own.get()),
          messageOf(() => connection.prepare('SELECT 1')),
          messageOf(() => connection.exec('SELECT 1')),
        ].filter((message) => message !== undefined);
        expect(messages.length).toBeGreaterThan(0);
        const outcomes = await Promise.all([outcomeOf(store, cell), outcomeOf(store, cell)]);
        for (const outcome of outcomes) expectRefused(outcome, messages);
        expect(await store.close()).toBeUndefined();
        expect(store.destroy()).toBeUndefined();
      });
    });
  }

  describe('closed: limits can still be looked up, and the end comes quietly', () => {
    for (const [name, options] of Object.entries(OPTIONS)) {
      it(name, async () => {
        const connection = open();
        const make = () => new stores[name]({ ...options, database: connection });
        const [closed, destroyed, disposed] = [make(), make(), make()];
        connection.close();
        if ('getResourceConfig' in closed) {
          closed.setResourceConfig('r', { limit: 1, windowMs: 2 });
          expect(closed.getResourceConfig('r')).toEqual({ limit: 1, windowMs: 2 });
        }
        expect(await closed.close()).toBeUndefined();
        expect(destroyed.destroy()).toBeUndefined();
        await disposed[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
        expect(messageOf(make)).toBe(messageOf(() => connection.prepare('SELECT 1')));
      });
    }
  });

  /**
   * A connection, and what opens it again once it is closed: node:sqlite has that, and whatever the driver, a connection
   * may be an object of the application's that connects anew.
   */
  function reopening() {
    let current = open();
    if (typeof current.open === 'function')
      return { connection: current, reopen: () => current.open() };
    const connection = new Proxy(
      {},
      {
        get(_, name) {
          const value = current[name];
          return typeof value === 'function' ? value.bind(current) : value;
        },
      },
    );
    return {
      connection,
      reopen() {
        current = open();
      },
    };
  }

  for (const warm of keepsStatements ? [] : [true, false]) {
    describe(`closed and opened again, ${warm ? 'with' : 'without'} prepared statements: works`, () => {
      each(async (cell) => {
        const { connection, reopen } = reopening();
        const store = storeOf(connection, cell);
        const before = dump();
        for (let round = 0; round < 2; round++) {
          if (warm) {
            connection.exec('BEGIN');
            expectDone(await outcomeOf(store, cell), cell);
            connection.exec('ROLLBACK');
          }
          connection.close();
          expect((await outcomeOf(store, cell)).error).toBeInstanceOf(Error);
          reopen();
          connection.exec('BEGIN');
          expectDone(await outcomeOf(store, cell), cell);
          connection.exec('ROLLBACK');
          expect(dump()).toEqual(before);
          connection.close();
          reopen();
        }
        // Two at once, so that what writes is run in a transaction of the store's.
        const [outcome] = await Promise.all([outcomeOf(store, cell), outcomeOf(store, cell)]);
        expectDone(outcome, cell);
        if (cell.writes) expect(dump()).not.toEqual(before);
      });
    });
  }

  describe('without the tables, which another program has dropped: makes them, but not in a transaction', () => {
    each(async (cell) => {
      const connection = open();
      const store = storeOf(connection, cell);
      const other = open();
      const drop = () => {
        for (const table of Object.keys(dump()))
          if (table !== 'own') other.exec(`DROP TABLE ${table}`);
      };
      for (const isCold of [true, false]) {
        drop();
        connection.exec('BEGIN; DELETE FROM own WHERE n = 1');
        const { error } = await outcomeOf(store, cell);
        // Nobody has a tag where there is no table of tags.
        if (!cell.method.startsWith('invalidate'))
          expect(error?.message).toMatch(/no such table: /);
        expect(Object.keys(dump())).toEqual(['own']);
        connection.exec('ROLLBACK');
        const outcomes = await Promise.all([outcomeOf(store, cell), outcomeOf(store, cell)]);
        for (const outcome of outcomes)
          expect([isCold, outcome.error]).toEqual([isCold, undefined]);
      }
    });
  });

  describe('read-only: reads work, writes reject', () => {
    each(async (cell) => {
      const before = dump();
      const store = storeOf(open({ readonly: true }), cell);
      for (let round = 0; round < 2; round++) {
        const outcome = await outcomeOf(store, cell);
        if (cell.writes) expectRefused(outcome, /readonly|read-only|query_only/i);
        else expectDone(outcome, cell);
      }
      expect(dump()).toEqual(before);
    });

    for (const name of Object.keys(OPTIONS)) {
      it(`${name} needs its tables`, () => {
        const file = join(directory, 'empty.db');
        connect(driver, file).close();
        const writable = connect(driver, file);
        writable.exec('CREATE TABLE own (n INTEGER)');
        writable.close();
        const connection = open({ file, readonly: true });
        const message = messageOf(() => new stores[name]({ database: connection }));
        expect(message).toMatch(/readonly|read-only|query_only/i);
      });
    }
  });

  describe('in a transaction: works, and goes the way of the transaction', () => {
    each(async (cell) => {
      const connection = open();
      const store = storeOf(connection, cell);
      const before = dump();
      for (const end of ['ROLLBACK', 'COMMIT']) {
        connection.exec('BEGIN');
        expectDone(await outcomeOf(store, cell), cell);
        if (isInTransaction(connection) !== undefined)
          expect(isInTransaction(connection)).toBe(true);
        // Nobody else sees it yet.
        expect(dump()).toEqual(before);
        connection.exec(end);
        if (end === 'ROLLBACK' || !cell.writes) {
          if (cell.writes) expect(dump()).toEqual(before);
        } else expect(dump()).not.toEqual(before);
      }
    });

    it('one call that fails does not undo the others, nor what the application did', async () => {
      const connection = open();
      const store = storeOf(connection, cells[0]);
      connection.exec(`CREATE TRIGGER t BEFORE INSERT ON cache WHEN new.hash = 'refused'
        BEGIN SELECT raise(ABORT, 'not this one'); END`);
      connection.exec(
        "BEGIN; DELETE FROM own; UPDATE cache SET expires_at = 1 WHERE hash = 'kept'",
      );
      const outcomes = await Promise.allSettled([
        store.set('one', 1, 60),
        store.set('refused', 2, 60),
        store.set('three', 3, 60),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect(/** @type {any} */ (outcomes[1]).reason.message).toMatch(/not this one/);
      connection.exec('COMMIT');
      expect(
        await Promise.all(['one', 'refused', 'three', 'kept'].map((key) => store.get(key))),
      ).toEqual([1, undefined, 3, undefined]);
      expect(dump().own).toEqual([]);
    });
  });

  describe('in a savepoint of the application: goes its way', () => {
    each(async (cell) => {
      const connection = open();
      const store = storeOf(connection, cell);
      const before = dump();
      connection.exec('SAVEPOINT own');
      expectDone(await outcomeOf(store, cell), cell);
      connection.exec('ROLLBACK TO own; RELEASE own');
      expect(dump()).toEqual(before);
      expectDone(await outcomeOf(store, cell), cell);
      if (cell.writes) expect(dump()).not.toEqual(before);
    });
  });

  for (const warm of [true, false]) {
    describe(`iterating, ${warm ? 'with' : 'without'} prepared statements: ${
      refusesWhileIterating ? 'reads work, writes reject' : 'works'
    }`, () => {
      each(async (cell) => {
        const connection = open();
        const store = storeOf(connection, cell);
        if (warm) {
          // Within a transaction, so that the rows are there again.
          connection.exec('BEGIN');
          expectDone(await outcomeOf(store, cell), cell);
          connection.exec('ROLLBACK');
        }
        const before = dump();
        const rows = connection.prepare('SELECT n FROM own ORDER BY n').iterate();
        expect(Number(rows.next().value.n)).toBe(1);
        const outcome = await outcomeOf(store, cell);
        // A claim is one statement that answers a row, which those drivers take for a read.
        if (refusesWhileIterating && cell.writes && cell.method !== 'waitFor') {
          expectRefused(outcome, /busy executing a query/);
          expect(dump()).toEqual(before);
        } else expectDone(outcome, cell);
        let last = 1;
        for (let row = rows.next(); !row.done; row = rows.next()) last = Number(row.value.n);
        expect(last).toBe(1_000);
        if (isInTransaction(connection) !== undefined)
          expect(isInTransaction(connection)).toBe(false);
        if (outcome.error) {
          expectDone(await outcomeOf(store, cell), cell);
          if (cell.writes) expect(dump()).not.toEqual(before);
        }
      });
    });
  }

  for (const [begin, mode] of [
    ['BEGIN IMMEDIATE', 'WAL'],
    ['BEGIN EXCLUSIVE', 'DELETE'],
  ]) {
    const readable = mode === 'WAL';
    describe(`${begin} of another process, journal mode ${mode}: ${readable ? 'reads work, writes reject' : 'rejects'}`, () => {
      let locked = '';
      /** @type {InstanceType<typeof Program>} */
      let holder;

      beforeAll(async () => {
        locked = mkdtempSync(join(tmpdir(), 'locked-'));
        const file = join(locked, 'stores.db');
        await fill(file, mode);
        holder = new Program('lock.cjs', { driver, path: file, kind: begin.split(' ')[1] });
        await holder.line();
      });
      afterAll(async () => {
        holder.end();
        await holder.ended;
        rmSync(locked, { recursive: true, force: true });
      });

      /** The stores that can be made only before the lock. @param {number} [timeout] */
      const openLocked = (timeout = 50) => open({ file: join(locked, 'stores.db'), timeout });

      each(async (cell) => {
        if (!readable) {
          // Not even whether the tables are there can be found out.
          expect(messageOf(() => storeOf(openLocked(), cell))).toMatch(/locked|busy/i);
          return;
        }
        const store = storeOf(openLocked(), cell);
        const start = performance.now();
        const outcome = await outcomeOf(store, cell);
        if (cell.writes) expectRefused(outcome, /locked|busy/i);
        else expectDone(outcome, cell);
        // One timeout of 50 ms, and for what is not prepared yet perhaps another. The drivers' own is 5 s.
        expect(performance.now() - start).toBeLessThan(2_500);
      });

      if (readable) {
        it('20 writes at once wait once, not 20 times', async () => {
          const store = storeOf(openLocked(400), cells[0]);
          const start = performance.now();
          const outcomes = await Promise.all(
            Array.from({ length: 20 }, (_, i) =>
              outcomeOf(store, { ...cells[0], method: 'set', args: [`${i}`, i, 60] }),
            ),
          );
          for (const outcome of outcomes) expectRefused(outcome, /locked|busy/i);
          // 400 ms, not 8,000.
          expect(performance.now() - start).toBeLessThan(4_000);
        });
      }
    });
  }

  describe('after the other process lets go', () => {
    each(async (cell) => {
      const other = open();
      const connection = open({ timeout: 0 });
      const store = storeOf(connection, cell);
      const before = dump();
      other.exec('BEGIN IMMEDIATE');
      const outcome = await outcomeOf(store, cell);
      other.exec('ROLLBACK');
      if (!cell.writes) return expectDone(outcome, cell);
      expectRefused(outcome, /locked|busy/i);
      expect(dump()).toEqual(before);
      expectDone(await outcomeOf(store, cell), cell);
      expect(dump()).not.toEqual(before);
    });
  });
};
