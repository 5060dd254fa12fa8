// Ours and older versions on one file at once: 0.2.0 on the same connection, and in several processes; 0.3.0 in several
// processes, if `node scripts/previous.mjs` has built it, for MIXED_SECONDS. SEED=… repeats a run.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import * as reference from 'sqlite-store-0.2.0';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as ours from '../index.mjs';
import { hasPrevious, PREVIOUS } from '../scripts/previous.mjs';
import { SEED } from './support/seed.mjs';

const require = createRequire(import.meta.url);
const { Program } = require('./support/processes.cjs');
const { random } = require('./support/random.cjs');

const HOUR = 3_600_000;

let directory = '';
let file = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'versions-'));
  file = join(directory, 'stores.db');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function connect() {
  const connection = new Database(file, { timeout: 20_000 });
  connection.pragma('journal_mode = WAL');
  connection.pragma('synchronous = NORMAL');
  return connection;
}

describe(`both versions on one connection, seed ${SEED}`, () => {
  /** @type {import('better-sqlite3').Database} */
  let connection;
  /** @type {any[]} */
  let opened = [];
  beforeEach(() => {
    connection = connect();
  });
  afterEach(() => {
    for (const store of opened) store.destroy();
    opened = [];
    connection.close();
  });

  /** The same store in both versions. @param {string} name @param {object} [options] */
  function both(name, options) {
    const made = [ours, reference].map(
      (version) => new /** @type {any} */ (version)[name]({ database: connection, ...options }),
    );
    opened.push(...made);
    return made;
  }
  const next = random(SEED);
  const below = (/** @type {number} */ n) => Math.floor(next() * n);
  const one = (/** @type {any[]} */ list) => list[below(list.length)];

  it('share cache entries', async () => {
    const stores = both('SQLiteCacheStore');
    /** @type {Map<string, any>} */
    const entries = new Map();
    for (let n = 0; n < 1_000; n++) {
      const key = `key ${below(30)}`;
      const kind = next();
      if (kind < 0.4) {
        const value = one([
          n,
          `${n}`,
          { n },
          [n],
          null,
          undefined,
          { text: 'é\u{1F9B8}"'.repeat(n) },
        ]);
        entries.set(key, value);
        await one(stores).set(key, value, 60);
      } else if (kind < 0.9) {
        expect([key, await one(stores).get(key)]).toStrictEqual([key, entries.get(key)]);
      } else if (kind < 0.95) {
        entries.delete(key);
        await one(stores).delete(key);
      } else {
        for (const store of stores) expect((await store.getStats()).totalItems).toBe(entries.size);
      }
    }
  });

  it('share jobs', async () => {
    const stores = both('SQLiteDedupeStore', { claimTimeoutMs: 0 });
    /** @type {Map<string, { id: string, result?: any }>} */
    const jobs = new Map();
    for (let n = 0; n < 1_000; n++) {
      const hash = `job ${below(50)} of ${Math.floor(n / 200)}`;
      const job = jobs.get(hash);
      const kind = next();
      // A job that is over is registered again by ours in another way than by 0.2.0.
      if (kind < 0.4 && !(job && 'result' in job)) {
        const id = await one(stores).register(hash);
        if (job) expect(id).toBe(job.id);
        else jobs.set(hash, { id });
      } else if (kind < 0.6 && job && !('result' in job)) {
        job.result = one([n, { n }, [null], 'text']);
        await one(stores).complete(hash, job.result);
      } else {
        const inProgress = job !== undefined && !('result' in job);
        for (const store of stores) {
          expect(await store.isInProgress(hash)).toBe(inProgress);
          expect(await store.getResult(hash)).toStrictEqual(job?.result);
          if (!inProgress) expect(await store.waitFor(hash)).toStrictEqual(job?.result);
        }
      }
    }
  });

  it('share jobs with their waiters: ours wake for 0.2.0', async () => {
    const [mine, theirs] = both('SQLiteDedupeStore', { claimTimeoutMs: 0 });
    await theirs.register('job');
    const waiter = mine.waitFor('job');
    await new Promise((resolve) => setTimeout(resolve, 60));
    await theirs.complete('job', { done: true });
    // Without that it wakes at the job timeout, long after the test's.
    expect(await waiter).toStrictEqual({ done: true });
  });

  for (const name of ['SQLiteRateLimitStore', 'SqliteAdaptiveRateLimitStore']) {
    it(`count requests together: ${name}`, async () => {
      const stores = both(name, { defaultConfig: { limit: 10_000, windowMs: HOUR } });
      const counts = new Map([
        ['r', 0],
        ['s', 0],
      ]);
      for (let n = 0; n < 1_000; n++) {
        const resource = one(['r', 's']);
        const before = counts.get(resource) ?? 0;
        if (next() < 0.6) {
          counts.set(resource, before + 1);
          await one(stores).record(
            resource,
            ...(name.includes('Adaptive') ? [one(['user', 'background'])] : []),
          );
        } else if (next() < 0.9) {
          for (const store of stores)
            expect((await store.getStatus(resource)).limit - count(resource)).toBe(10_000 - before);
        } else {
          counts.set(resource, 0);
          await one(stores).reset(resource);
        }
      }
      for (const store of stores)
        expect((await store.getStats()).totalRequests).toBe(
          [...counts.values()].reduce((a, b) => a + b),
        );
    });
  }

  /** @param {string} resource */
  const count = (resource) =>
    /** @type {any} */ (
      connection.prepare('SELECT COUNT(*) AS n FROM rate_limits WHERE resource = ?').get(resource)
    ).n;
});

describe('several processes on one file', () => {
  it(`lose nothing: 0.2.0 and ours on connections, ours on the path, 1,000 calls each, seed ${SEED}`, {
    timeout: 120_000,
  }, async () => {
    connect().close();
    const kinds = [
      { version: '0.2.0', by: 'connection' },
      { version: 'ours', by: 'connection' },
      { version: 'ours', by: 'path' },
    ];
    const programs = kinds.map((kind, index) => {
      const input = {
        ...kind,
        path: file,
        id: `${kind.version} by ${kind.by}`,
        calls: 1_000,
        seed: SEED + index,
      };
      return new Program('mixed-versions.cjs', input);
    });
    for (const program of programs) expect(await program.line()).toBe('ready');
    for (const program of programs) program.write('go');
    const lines = await Promise.all(programs.map((program) => program.line()));
    const reports = lines.map((line) => JSON.parse(line));
    for (const program of programs) program.end();
    for (const program of programs) await program.done();

    for (const { wrong } of reports) expect(wrong).toEqual([]);
    const db = new Database(file);
    try {
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
      /** @type {any[]} */
      const cached = db
        .prepare('SELECT hash, value FROM cache WHERE expires_at > ?')
        .all(Date.now());
      const entries = cached.map(({ hash, value }) => [
        hash,
        JSON.parse(JSON.parse(String(value))),
      ]);
      expect(Object.fromEntries(entries)).toStrictEqual(
        Object.fromEntries(reports.flatMap((report) => report.entries)),
      );
      /** @type {any[]} */
      const rows = db.prepare("SELECT * FROM dedupe_jobs WHERE hash NOT LIKE 'shared%'").all();
      const states = rows.map(({ hash, status, result, error }) => {
        if (status !== 'completed') expect([hash, result]).toEqual([hash, null]);
        if (status === 'failed') expect(error).toBe(hash);
        return [hash, status === 'completed' ? JSON.parse(String(result)) : status];
      });
      expect(Object.fromEntries(states)).toStrictEqual(
        Object.fromEntries(reports.flatMap((report) => report.jobs)),
      );
      /** @type {any[]} */
      const shared = db
        .prepare("SELECT hash, job_id FROM dedupe_jobs WHERE hash LIKE 'shared%'")
        .all();
      for (const report of reports) {
        for (const [hash, id] of Object.entries(report.shared))
          expect(shared).toContainEqual({ hash, job_id: id });
      }
      expect(shared.length).toBeGreaterThan(10);
      const found = db
        .prepare(
          'SELECT resource, priority, COUNT(*) AS n FROM rate_limits GROUP BY 1, 2 ORDER BY 1, 2 DESC',
        )
        .all();
      const sum = (/** @type {string} */ kind) =>
        reports.reduce((total, { recorded }) => total + recorded[kind], 0);
      expect(found).toEqual([
        { resource: 'adaptive', priority: 'user', n: sum('user') },
        { resource: 'adaptive', priority: 'background', n: sum('background') },
        { resource: 'plain', priority: 'background', n: sum('plain') },
      ]);
    } finally {
      db.close();
    }
  });

  it('wake each other: ours on a connection for 0.2.0 in another process', async () => {
    const connection = connect();
    const store = new ours.SQLiteDedupeStore({ database: connection, claimTimeoutMs: 0 });
    const peer = new Program('peer-0.2.0.cjs', { path: file });
    expect(await peer.line()).toBe('ready');
    for (let round = 0; round < 5; round++) {
      const hash = `job ${round}`;
      peer.write(hash);
      expect(await peer.line()).toBe('registered');
      // Without that it wakes at the job timeout, long after the test's.
      expect(await store.waitFor(hash)).toStrictEqual({ hash });
      expect(await peer.line()).toBe('completed');
    }
    peer.end();
    await peer.ended;
    store.destroy();
    connection.close();
  });
});

const { SQLiteDedupeStore } = ours;

describe('what lasts for ever, and tags', () => {
  /** The stores of a version, each in a process of its own. @param {string} version */
  const program = (version) => new Program('ask.cjs', { version, path: file, previous: PREVIOUS });

  /** @param {any} peer @param {string} store @param {string} method @param {any[]} args */
  async function ask(peer, store, method, ...args) {
    peer.write(JSON.stringify({ store, method, args }));
    const { value, error } = JSON.parse(await peer.line());
    if (error) throw new Error(`${method}: ${error}`);
    return value;
  }

  const versions = ['0.2.0', ...(hasPrevious() ? ['0.3.0'] : [])];

  it(`outlives all clean-ups: ours, the successor's rows, ${versions.join(', ')}`, {
    timeout: 60_000,
  }, async () => {
    const peers = [...versions, 'ours'].map(program);
    for (const peer of peers) expect(await peer.line()).toBe('ready');
    const [ours, ...others] = [...peers].reverse();
    await ask(ours, 'cache', 'setWithTags', 'zero', 1, 0, ['tag']);
    await ask(ours, 'cache', 'setWithTags', 'one', 1, 60, ['tag', 'other']);
    await ask(ours, 'cache', 'set', 'expired', 1, -1);
    for (const [n, other] of others.entries()) await ask(other, 'cache', 'set', `of ${n}`, n, 60);
    // As the successor writes them, while all have the file open.
    const db = new Database(file);
    db.exec(`INSERT INTO cache VALUES ('successor', CAST('"1"' AS BLOB), 0, ${Date.now()});
      INSERT INTO cache_tags VALUES ('tag', 'successor'), ('tag', 'never there');
      CREATE TABLE server_cooldowns (origin TEXT PRIMARY KEY, cooldown_until INTEGER NOT NULL);
      INSERT INTO server_cooldowns VALUES ('origin', 9e12)`);
    const count = (/** @type {string} */ sql) =>
      db.prepare(`SELECT COUNT(*) FROM ${sql}`).pluck().get();
    for (let round = 0; round < 2; round++) await ask(ours, 'cache', 'cleanup');
    expect(await ask(ours, 'cache', 'get', 'successor')).toBe(1);
    expect((await ask(ours, 'cache', 'getStats')).expiredItems).toBe(0);
    expect(count("cache WHERE hash = 'expired'")).toBe(0);
    expect(count("cache_tags WHERE hash = 'never there'")).toBe(0);
    expect(count("cache WHERE hash IN ('zero', 'one', 'successor')")).toBe(3);
    expect(count("cache WHERE hash LIKE 'of %'")).toBe(versions.length);
    expect(count('server_cooldowns')).toBe(1);

    // Others delete without tags, and what the successor means to keep.
    await ask(others[0], 'cache', 'delete', 'one');
    expect(count("cache_tags WHERE hash = 'one'")).toBe(2);
    for (const other of others) {
      db.exec("UPDATE cache SET expires_at = 0 WHERE hash = 'successor'");
      await ask(other, 'cache', 'cleanup');
    }
    expect(count("cache WHERE hash = 'successor'")).toBe(0);
    expect(await ask(ours, 'cache', 'get', 'zero')).toBe(1);
    for (const other of others) expect(await ask(other, 'cache', 'get', 'zero')).toBe(1);
    await ask(ours, 'cache', 'cleanup');
    expect(db.prepare('SELECT tag, hash FROM cache_tags').all()).toEqual([
      { tag: 'tag', hash: 'zero' },
    ]);
    expect(await ask(ours, 'cache', 'invalidateByTag', 'tag')).toBe(1);
    expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    db.close();
    for (const peer of peers) peer.end();
    for (const peer of peers) await peer.done();
  });

  it(`keeps errors' names, beside ${versions.join(', ')}`, { timeout: 60_000 }, async () => {
    const peers = [...versions, 'ours'].map(program);
    for (const peer of peers) expect(await peer.line()).toBe('ready');
    const [ours, ...others] = [...peers].reverse();
    const db = new Database(file);
    for (const other of others) {
      const id = await ask(ours, 'dedupe', 'register', 'job');
      await ask(ours, 'dedupe', 'fail', 'job', { name: 'AbortError', message: 'gone' });
      expect(db.prepare('SELECT error, error_name FROM dedupe_jobs').get()).toEqual({
        error: 'gone',
        error_name: `${id} AbortError`,
      });
      // Another version registers it anew, and leaves the name, which is not this job's.
      await ask(other, 'dedupe', 'register', 'job');
      const store = new SQLiteDedupeStore({ database: db, claimTimeoutMs: 0 });
      const waiter = store.waitFor('job').catch((/** @type {unknown} */ error) => error);
      await new Promise((resolve) => setTimeout(resolve, 60));
      await ask(other, 'dedupe', 'fail', 'job', { name: 'AbortError', message: 'theirs' });
      expect(await waiter).toMatchObject({ name: 'Error', message: 'theirs' });
      await store.close();
      await ask(ours, 'dedupe', 'clear', 'j');
    }
    db.close();
    for (const peer of peers) peer.end();
    for (const peer of peers) await peer.done();
  });
});

const MIXED_SECONDS = Number(process.env.MIXED_SECONDS ?? 4);

describe.runIf(hasPrevious()).each(['wal', 'delete'])(
  'a rolling update from 0.3.0, and back, journalMode %s',
  (journalMode) => {
    const root = fileURLToPath(new URL('..', import.meta.url));

    /** Eight processes at once, every other one of the version before. @param {number} place  of that */
    async function run(place) {
      const programs = Array.from({ length: 8 }, (_, index) => {
        const stores = index % 2 === place ? PREVIOUS : root;
        const milliseconds = (MIXED_SECONDS * 1_000) / 2;
        const input = { stores, path: file, id: `${place} ${index}`, milliseconds, journalMode };
        return new Program('rolling.cjs', input);
      });
      for (const program of programs) expect(await program.line()).toBe('ready');
      const start = Date.now();
      for (const program of programs) program.write(`${start}`);
      const lines = await Promise.all(programs.map((program) => program.line()));
      for (const program of programs) await program.done();
      return lines.map((line) => JSON.parse(line));
    }

    it('loses nothing, passes no limit, and makes each request once', {
      timeout: 120_000 + MIXED_SECONDS * 2_000,
    }, async () => {
      // Each process is then one of the other version.
      const reports = [...(await run(0)), ...(await run(1))];
      const sum = (/** @type {'made' | 'let' | 'asked'} */ kind) => {
        /** @type {Map<string, number>} */
        const sums = new Map();
        for (const report of reports) {
          for (const [name, times] of Object.entries(report[kind]))
            sums.set(name, (sums.get(name) ?? 0) + times);
        }
        return sums;
      };
      expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);
      const [made, asked, through] = [sum('made'), sum('asked'), sum('let')];
      expect([...made].filter(([, times]) => times !== 1)).toEqual([]);
      // The adaptive store's shares may let less through.
      const isRight = (
        /** @type {string} */ name,
        /** @type {number} */ times,
        passed = through.get(name) ?? 0,
      ) => (name.startsWith('shared') ? passed <= 20 : passed === Math.min(times, 20));
      expect([...asked].filter(([name, times]) => !isRight(name, times))).toEqual([]);
      console.log(`${journalMode}: ${made.size} requests, ${asked.size} limits`);
      expect(made.size).toBeGreaterThan(10);
      const db = new Database(file);
      try {
        expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
        /** @type {any[]} */
        const rows = db.prepare('SELECT resource, count(*) AS n FROM rate_limits GROUP BY 1').all();
        expect(new Map(rows.map(({ resource, n }) => [resource, n]))).toEqual(through);
        /** @type {any[]} */
        const cached = db.prepare('SELECT hash, value FROM cache').all();
        expect(
          Object.fromEntries(
            cached.map(({ hash, value }) => [hash, JSON.parse(JSON.parse(value))]),
          ),
        ).toStrictEqual(Object.fromEntries(reports.flatMap(({ entries }) => entries)));
      } finally {
        db.close();
      }
    });
  },
);
