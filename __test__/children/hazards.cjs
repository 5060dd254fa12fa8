'use strict';
// What can end a user's day, each as a scenario in a process of its own, named in the argument. Answers JSON on stdout:
// what the scenario saw. The variable STORES has another build of the package loaded.

const { fork } = require('node:child_process');
const { readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs');
const { setImmediate: turn, setTimeout: sleep } = require('node:timers/promises');
const Database = require('better-sqlite3');
const {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} = require(process.env.STORES ?? '../..');

const MIB = 1024 * 1024;

/** What a call came to. @param {Promise<unknown>} call @returns {Promise<{ value?: any, code?: string, message?: string }>} */
const outcome = (call) =>
  call.then(
    (value) => ({ value: value ?? null }),
    (error) => ({ code: error.code, message: error.message }),
  );

/** Another process that knows the file by another copy of SQLite. @param {string} path */
function peer(path) {
  const started = fork(__filename, [JSON.stringify({ scenario: 'peer', path })]);
  /** @param {string[]} statements */
  const call = (...statements) =>
    new Promise((resolve, reject) => {
      started.once('message', (/** @type {any} */ { error, rows }) =>
        error ? reject(new Error(error)) : resolve(rows),
      );
      started.send(statements);
    });
  return { call, end: () => started.disconnect() };
}

/** The processor time that the JavaScript thread has taken, in hundredths of a second (Linux). */
function ownTicks() {
  const fields = readFileSync(`/proc/self/task/${process.pid}/stat`, 'utf8')
    .split(') ')[1]
    .split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** Rows as another process sees them. @param {string} path @param {string} sql */
async function rowsOf(path, sql) {
  const { call, end } = peer(path);
  const rows = await call(sql);
  end();
  return rows;
}

/** @type {Record<string, (input: any) => Promise<unknown>>} */
const scenarios = {
  /** Answers what it is asked with, in order, from a process that shares nothing with the one that asks. */
  peer({ path }) {
    const db = new Database(path, { timeout: 20_000 });
    process.on('message', (/** @type {string[]} */ statements) => {
      try {
        let rows;
        for (const sql of statements) {
          if (sql === 'REMOVE LOG') {
            for (const suffix of ['-wal', '-shm']) rmSync(path + suffix);
          } else if (sql.startsWith('EXEC ')) {
            db.exec(sql.slice(5));
          } else {
            const statement = db.prepare(sql);
            rows = statement.reader ? statement.raw().all() : statement.run().changes;
          }
        }
        process.send?.({ rows });
      } catch (error) {
        process.send?.({ error: String(error) });
      }
    });
    process.on('disconnect', () => {
      db.close();
      process.exit();
    });
    return new Promise(() => {});
  },

  /** The largest transaction of housekeeping on a user's connection, and how many turns of the event loop it took. */
  async cleanupOnConnection() {
    let log = /** @type {string[]} */ ([]);
    const database = new Database(':memory:', {
      verbose: (text) => log.push(String(text).slice(0, 60)),
    });
    const cache = new SQLiteCacheStore({ database, cleanupIntervalMs: 0 });
    for (let i = 0; i < 100; i++) await cache.set(`${i}`, 'x'.repeat(MIB), 0);
    log = [];
    let turns = 0;
    let running = true;
    const count = () => {
      turns++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    await cache.cleanup();
    running = false;
    // Each transaction with what it deletes; a statement outside of one is one by itself.
    let most = 0;
    let current = 0;
    let isOpen = false;
    for (const statement of log) {
      if (statement.startsWith('BEGIN')) [isOpen, current] = [true, 0];
      else if (statement.startsWith('COMMIT')) isOpen = false;
      else if (statement.startsWith('DELETE')) {
        current = isOpen ? current + 1 : 1;
        // One that deletes by a search deletes all it finds.
        most = Math.max(most, /rowid IN \(SELECT/.test(statement) ? 100 : current);
      }
    }
    const { totalItems } = await cache.getStats();
    return { megabytesAtOnce: most, turns: turns > 10, totalItems };
  },

  /** A lease after its job has ended, of 1,000 jobs. */
  async leases({ path }) {
    const store = new SQLiteDedupeStore({ database: path });
    for (let i = 0; i < 1_000; i++) {
      await store.register(`${i}`);
      if (i % 2) await store.complete(`${i}`, i);
      else await store.fail(`${i}`, new Error('no'));
    }
    await store.register('pending');
    const [[leases]] = await rowsOf(
      path,
      'SELECT COUNT(*) FROM dedupe_leases WHERE expires_at > 0',
    );
    await store.close();
    return { leases };
  },

  /** A store ends, in some way, with a job and a claim: what others find. */
  async endWithJobs({ path, how, onConnection }) {
    const worker = fork(
      __filename,
      [JSON.stringify({ scenario: 'endsWithJobs', path, how, onConnection })],
      { execArgv: ['--expose-gc'] },
    );
    await new Promise((resolve) => worker.once('message', resolve));
    const store = new SQLiteDedupeStore({ database: path });
    const waiting = outcome(store.waitFor('job'));
    await store.isInProgress('job');
    const ended = new Promise((resolve) =>
      how === 'exit' ? worker.once('exit', resolve) : worker.once('message', resolve),
    );
    worker.send('end');
    await ended;
    const seen = {
      isInProgress: await store.isInProgress('job'),
      leases: (
        await rowsOf(
          path,
          "SELECT COUNT(*) FROM dedupe_leases WHERE hash <> 'job' AND expires_at > 0",
        )
      )[0][0],
      waiter: await waiting,
    };
    worker.kill();
    await store.close();
    return seen;
  },

  async endsWithJobs({ path, how, onConnection }) {
    const database = onConnection ? new Database(path) : path;
    if (onConnection) database.pragma('journal_mode = WAL');
    const stores = [new SQLiteDedupeStore({ database })];
    await stores[0].register('job');
    await stores[0].waitFor('claimed');
    process.on('message', async () => {
      if (how === 'close') await stores[0].close();
      if (how === 'destroy') stores[0].destroy();
      if (how === 'exit') process.exit();
      if (how === 'collected') {
        stores.pop();
        for (let i = 0; i < 20; i++) {
          await turn();
          /** @type {any} */ (globalThis).gc();
        }
        // Its end is carried out in the background.
        await sleep(200);
      }
      process.send?.('ended');
    });
    process.send?.('ready');
    return new Promise(() => {});
  },

  /** The system refuses threads while a file exists, from a moment on at which there is no thread yet. */
  async refusedThreads({ path, flag }) {
    // So that the log has begun: to begin it takes a flush, which is not waited for.
    const other = fork(__filename, [JSON.stringify({ scenario: 'writeAndWait', path })], {
      env: { ...process.env, LD_PRELOAD: '' },
    });
    await new Promise((resolve) => other.once('message', resolve));
    const cache = new SQLiteCacheStore({ database: path, cleanupIntervalMs: 0 });
    const dedupe = new SQLiteDedupeStore({ database: path });
    const rate = new SQLiteRateLimitStore({ database: path });
    writeFileSync(flag, '');
    /** @param {() => Promise<unknown>} call */
    const told = async (call, isBounded = false) => {
      let result = await Promise.race([
        outcome(call()),
        sleep(20_000, { code: 'hangs' }, { ref: false }),
      ]);
      // The other process may have the lock for a moment, to renew its lease: the next call is to work.
      for (let i = 0; i < 20 && isBounded && result.code === 'SQLITE_STORE_NO_THREAD'; i++) {
        await sleep(20);
        result = await outcome(call());
      }
      return result.code ?? /** @type {any} */ (result).message ?? 'resolved';
    };
    const calls = {
      set: () => cache.set('a', 1, 100),
      get: () => cache.get('a'),
      cleanup: () => cache.cleanup(),
      getStats: () => cache.getStats(),
      large: () => cache.set('large', 'x'.repeat(4_000_000), 100),
      record: () => rate.record('issues'),
      canProceed: () => rate.canProceed('issues'),
      register: () => dedupe.register('job'),
      waitFor: () => dedupe.waitFor('other'),
      again: () => cache.set('b', 2, 100),
    };
    /** @type {Record<string, unknown>} */
    const refused = {};
    const bounded = ['set', 'get', 'large', 'record', 'canProceed', 'waitFor', 'again'];
    for (const [name, call] of Object.entries(calls)) {
      refused[name] = await told(call, bounded.includes(name));
    }
    // Nobody would look when it ends.
    refused.waitForAnother = await told(() => dedupe.waitFor('held'));
    rmSync(flag);
    /** @type {Record<string, unknown>} */
    const allowed = {};
    for (const [name, call] of Object.entries(calls)) allowed[name] = await told(call);
    const closed = await told(async () => {
      await cache.close();
      await dedupe.close();
      await rate.close();
    });
    other.kill();
    return { refused, allowed, closed };
  },

  /** Makes the stores' tables, writes, and has the file open until it is killed. */
  async writeAndWait({ path }) {
    const stores = [SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore].map(
      (Store) => new Store({ database: path }),
    );
    await /** @type {any} */ (stores[0]).set('other', 1, 100);
    await /** @type {any} */ (stores[1]).register('held');
    setInterval(() => stores, 1_000);
    process.send?.('ready');
    return new Promise(() => {});
  },

  /** A store is made while another process has the lock, and another store on the file ends. */
  async madeWhileAnotherEnds({ path }) {
    const first = new SQLiteCacheStore({ database: path });
    await first.set('a', 1, 100);
    const { call, end } = peer(path);
    await call('EXEC BEGIN IMMEDIATE');
    const second = new SQLiteDedupeStore({ database: path });
    const third = new SQLiteRateLimitStore({ database: path });
    // By then the background has given up waiting for the lock, until somebody calls.
    await sleep(1_500);
    first.destroy();
    await call('EXEC COMMIT');
    end();
    const seen = {
      register: await outcome(second.register('job').then(() => 'registered')),
      record: await outcome(third.record('issues').then(() => 'recorded')),
    };
    await second.close();
    await third.close();
    return seen;
  },

  /** A limiter is made on a file of an old version with many requests: what that takes of this thread's processor time. */
  async largeFile({ path, journalMode, requests, isAdaptive }) {
    const db = new Database(path);
    // As 0.2.0 makes it, and the version before that.
    db.exec(`CREATE TABLE rate_limits (id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, timestamp INTEGER NOT NULL);
      CREATE INDEX idx_rate_limit_resource ON rate_limits(resource);
      CREATE INDEX idx_rate_limit_timestamp ON rate_limits(timestamp)`);
    db.prepare(
      `INSERT INTO rate_limits (resource, timestamp)
        SELECT 'resource ' || (value % 100), ? - value FROM (
          WITH RECURSIVE counter(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM counter LIMIT ?) SELECT value FROM counter)`,
    ).run(Date.now(), requests);
    db.close();
    const Store = isAdaptive ? SqliteAdaptiveRateLimitStore : SQLiteRateLimitStore;
    const before = ownTicks();
    const store = /** @type {any} */ (
      new Store({
        database: path,
        journalMode,
        defaultConfig: { limit: 100, windowMs: 86_400_000 },
      })
    );
    const constructing = ownTicks() - before;
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const canProceed = await store.canProceed('resource 1');
    await store.record('new', 'user');
    clearInterval(timer);
    const seen = {
      constructing: constructing < 10 ? 'short' : constructing,
      turns: turns > 10,
      canProceed,
      total: (await store.getStats()).totalRequests,
    };
    await store.close();
    const [[indexes]] = await rowsOf(
      path,
      "SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'idx_rate_limit_resource%timestamp'",
    );
    return { ...seen, indexes };
  },

  /** A value whose text has more bytes than a string may have, and is stored by another program. */
  async hugeText({ path }) {
    const text = 'é'.repeat(270e6);
    const cache = new SQLiteCacheStore({
      database: path,
      maxEntrySizeBytes: Number.POSITIVE_INFINITY,
    });
    const set = await outcome(cache.set('huge', text, 1_000));
    const get = await outcome(cache.get('huge'));
    const dedupe = new SQLiteDedupeStore({ database: path });
    await dedupe.register('job');
    const complete = await outcome(dedupe.complete('job', text));
    await dedupe.close();
    await cache.close();
    return { set: set.code, get, complete: complete.code };
  },

  /** A file is replaced while a store has it open; another process opens the new one, then a second store here. */
  async replacedAndShared({ path }) {
    for (const file of [path, `${path}.new`]) {
      const store = new SQLiteCacheStore({ database: file });
      await store.set('from', file === path ? 'old' : 'new', 1_000);
      await store.close();
    }
    const first = new SQLiteCacheStore({ database: path });
    await first.get('from');
    renameSync(`${path}.new`, path);
    const { call, end } = peer(path);
    const insert = (/** @type {number} */ i) =>
      `INSERT INTO cache VALUES ('peer-${i}', CAST('"1"' AS BLOB), 9e15, 0)`;
    for (let i = 0; i < 150; i++) await call(insert(i));
    const second = new SQLiteCacheStore({ database: path });
    const sees = (await second.get('from')) ?? null;
    for (let i = 150; i < 300; i++) {
      await call(insert(i));
      if (i % 30 === 0) await second.set(`second-${i}`, i, 1_000);
    }
    await first.set('first', 1, 1_000);
    const firstSees = (await first.get('from')) ?? null;
    await first.close();
    await second.set('second', 1, 1_000);
    await second.close();
    end();
    const count = "SELECT COUNT(*) FROM cache WHERE hash LIKE 'peer-%'";
    const [[acknowledged]] = await rowsOf(path, count);
    const own = await rowsOf(path, "SELECT hash FROM cache WHERE hash IN ('first', 'second')");
    const [[integrity]] = await rowsOf(path, 'PRAGMA integrity_check');
    return { sees, firstSees, acknowledged, own: own.flat().sort(), integrity };
  },

  /** The locks of an open file are dropped, and another program removes its log; `action` is to write or to close. */
  async lostLog({ path, action }) {
    /** @type {string[]} */
    const warnings = [];
    process.on('warning', (/** @type {any} */ { code }) => warnings.push(code));
    const store = new SQLiteCacheStore({ database: path });
    await store.set('before', 1, 1_000);
    // Closes its descriptor, and with it the process's locks.
    readFileSync(path);
    // What SQLite before 3.53 does then, when it closes the file.
    const { call, end } = peer(path);
    await call('PRAGMA wal_checkpoint(TRUNCATE)', 'REMOVE LOG');
    end();
    // Others go on without this process.
    const insert = (/** @type {number} */ i) =>
      `EXEC INSERT INTO cache VALUES ('peer-${i}', CAST('"1"' AS BLOB), 9e15, 0)`;
    const other = peer(path);
    await other.call('EXEC VACUUM', ...Array.from({ length: 50 }, (_, i) => insert(i)));
    /** @type {number | null} */
    let noticed = null;
    if (action === 'write') {
      for (let i = 0; i < 200 && warnings.length === 0; i++) {
        await outcome(store.set(`unsure-${i}`, 'x'.repeat(5_000), 1_000));
        await sleep(20);
      }
      noticed = warnings.length;
      for (let i = 0; i < 50; i++) await store.set(`sure-${i}`, i, 1_000);
    } else {
      await store.set('unsure', 'x'.repeat(500_000), 1_000);
    }
    await store.close();
    await turn();
    other.end();
    const [[integrity]] = await rowsOf(path, 'PRAGMA integrity_check');
    const [[peers]] = await rowsOf(path, "SELECT COUNT(*) FROM cache WHERE hash LIKE 'peer-%'");
    const [[sure]] = await rowsOf(path, "SELECT COUNT(*) FROM cache WHERE hash LIKE 'sure-%'");
    return { warnings, noticed, integrity, peers, sure };
  },

  /** The file is moved while a store has it open, and moved back or not. */
  async moved({ path, back }) {
    /** @type {string[]} */
    const warnings = [];
    process.on('warning', (/** @type {any} */ { code }) => warnings.push(code));
    const store = new SQLiteCacheStore({ database: path });
    await store.set('before', 1, 1_000);
    renameSync(path, `${path}.moved`);
    // Later than names are looked at.
    await sleep(600);
    await store.set('meanwhile', 2, 1_000);
    if (back) {
      renameSync(`${path}.moved`, path);
      await sleep(600);
      await store.set('after', 3, 1_000);
    }
    await store.close();
    await turn();
    if (!back) {
      // Whoever moved the file by hand moves its log, too.
      renameSync(`${path}-wal`, `${path}.moved-wal`);
      rmSync(`${path}-shm`);
      renameSync(`${path}.moved`, path);
      renameSync(`${path}.moved-wal`, `${path}-wal`);
    }
    return { warnings, rows: (await rowsOf(path, 'SELECT hash FROM cache ORDER BY hash')).flat() };
  },

  /** Leases of jobs that are registered twice at once, and of a store that ends while it registers. */
  async registrations({ path }) {
    const cache = new SQLiteCacheStore({ database: path });
    const store = new SQLiteDedupeStore({ database: path });
    await Promise.all([store.registerOrJoin('twice'), store.registerOrJoin('twice')]);
    const ends = new SQLiteDedupeStore({ database: path });
    const registration = outcome(ends.register('ends'));
    await ends.close();
    await registration;
    const { call, end } = peer(path);
    const lease = async (/** @type {string} */ hash) =>
      (await call(`SELECT expires_at FROM dedupe_leases WHERE hash = '${hash}'`))[0][0];
    const first = await lease('twice');
    let isRenewed = false;
    for (let i = 0; i < 400 && !isRenewed; i++) {
      await sleep(25);
      isRenewed = (await lease('twice')) > first;
    }
    const seen = { isRenewed, ends: await lease('ends') };
    end();
    await store.close();
    await cache.close();
    return seen;
  },

  /** A schema with an expression of thousands of terms, in one of the stores' tables or in another. */
  async deepExpression({ path, terms, table }) {
    const deep = `(x${'+0'.repeat(terms)})`;
    const db = new Database(path);
    db.exec(`${readSchema()}; CREATE TABLE other (x)`);
    db.unsafeMode(true);
    db.pragma('writable_schema = ON');
    const sql =
      table === 'other'
        ? `CREATE TABLE other (x, CHECK ${deep})`
        : `CREATE TABLE cache (hash TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at INTEGER NOT NULL, created_at INTEGER NOT NULL, CHECK ${deep.replace('x', 'expires_at')})`;
    db.prepare('UPDATE sqlite_schema SET sql = ? WHERE name = ?').run(sql, table);
    db.close();
    /** @type {Record<string, unknown>} */
    const seen = {};
    for (const Store of [
      SQLiteCacheStore,
      SQLiteDedupeStore,
      SQLiteRateLimitStore,
      SqliteAdaptiveRateLimitStore,
    ]) {
      try {
        const store = new Store({ database: path });
        store.destroy();
        seen[Store.name] = 'made';
      } catch (error) {
        seen[Store.name] = error.code;
      }
    }
    return seen;
  },

  /** A commit takes effect and is reported as failed, on a user's connection. */
  async failedCommit({ path }) {
    const database = new Database(path);
    let armed = false;
    const store = new SQLiteRateLimitStore({
      database: {
        prepare: (/** @type {string} */ sql) => database.prepare(sql),
        get open() {
          return database.open;
        },
        get inTransaction() {
          return database.inTransaction;
        },
        exec(/** @type {string} */ sql) {
          database.exec(sql);
          if (sql === 'COMMIT' && armed) {
            throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR_UNLOCK' });
          }
        },
      },
      defaultConfig: { limit: 1_000, windowMs: 60_000 },
    });
    armed = true;
    const calls = await Promise.all(
      Array.from({ length: 30 }, () => outcome(store.acquire('issues'))),
    );
    armed = false;
    const rows = database.prepare('SELECT COUNT(*) FROM rate_limits').pluck().get();
    return { rejected: calls.filter(({ code }) => code).length, rows };
  },
};

function readSchema() {
  return 'CREATE TABLE cache (hash TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at INTEGER NOT NULL, created_at INTEGER NOT NULL); CREATE INDEX idx_cache_expires_at ON cache(expires_at)';
}

const { scenario, ...input } = JSON.parse(process.argv[2]);
scenarios[scenario](input).then((seen) => process.stdout.write(JSON.stringify(seen)));
