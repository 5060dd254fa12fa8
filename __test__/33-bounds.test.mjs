// A cache keeps its bounds between processes, beside versions that know none, and whatever ends a process. SEED=… repeats a run.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import * as reference from 'sqlite-store-0.2.0';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SQLiteCacheStore } from '../index.mjs';
import { SEED } from './support/seed.mjs';

const require = createRequire(import.meta.url);
const { Program } = require('./support/processes.cjs');
const { random } = require('./support/random.cjs');

const BOUNDS = { maxEntries: 40, maxSizeBytes: 60_000 };

let directory = '';
let file = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bounds-'));
  file = join(directory, 'stores.db');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/**
 * What there is, and what the totals say.
 * @param {import('better-sqlite3').Database} connection
 * @returns {{ counted: any, totals: any }}
 */
const count = (connection) => ({
  counted: connection
    .prepare('SELECT COUNT(*) AS entries, IFNULL(SUM(length(value)), 0) AS bytes FROM cache')
    .get(),
  totals: connection.prepare('SELECT entries, bytes FROM cache_totals').get(),
});

/** Looks into a file that no process has open. */
function look() {
  const connection = new Database(file);
  try {
    expect(connection.pragma('integrity_check', { simple: true })).toBe('ok');
    return count(connection);
  } finally {
    connection.close();
  }
}

/** @param {any} counted */
function expectWithin({ entries, bytes }) {
  expect(entries).toBeLessThanOrEqual(BOUNDS.maxEntries);
  expect(bytes).toBeLessThanOrEqual(BOUNDS.maxSizeBytes);
}

describe(`between processes, seed ${SEED}`, () => {
  for (const eviction of ['lru', 'fifo']) {
    it(`no write of four leaves a cache past its bounds: ${eviction}`, {
      timeout: 120_000,
    }, async () => {
      const input = { path: file, calls: 250, options: { ...BOUNDS, eviction } };
      const programs = Array.from(
        { length: 4 },
        (_, index) => new Program('bounds.cjs', { ...input, seed: SEED * 10 + index }),
      );
      for (const program of programs) {
        const { code, stdout, stderr } = await program.ended;
        expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'ready\n', stderr: '' });
      }
      const { counted, totals } = look();
      expect(totals).toEqual(counted);
      expectWithin(counted);
      expect(counted.entries).toBeGreaterThan(0);
    });
  }

  it('totals are right after each kill -9', { timeout: 120_000 }, async () => {
    const next = random(SEED);
    let entries = 0;
    for (let round = 0; round < 10; round++) {
      const programs = Array.from({ length: 2 }, (_, index) => {
        const seed = SEED * 100 + round * 2 + index;
        return new Program('bounds.cjs', { path: file, seed, forever: true, options: BOUNDS });
      });
      for (const program of programs) await program.line();
      setTimeout(() => {
        for (const program of programs) program.kill();
      }, next() * 150);
      for (const program of programs) {
        const { signal, stdout, stderr } = await program.ended;
        expect({ signal, stdout, stderr }).toEqual({
          signal: 'SIGKILL',
          stdout: 'ready\n',
          stderr: '',
        });
      }
      const { counted, totals } = look();
      expect(totals).toEqual(counted);
      expectWithin(counted);
      entries += counted.entries;
    }
    // They were killed at work.
    expect(entries).toBeGreaterThan(0);
  });
});

describe('beside versions that know no bounds', () => {
  /** @type {import('better-sqlite3').Database} */
  let connection;
  /** @type {any[]} */
  let opened = [];
  beforeEach(() => {
    connection = new Database(file);
    connection.pragma('journal_mode = WAL');
  });
  afterEach(() => {
    for (const store of opened) store.destroy();
    opened = [];
    connection.close();
  });
  /** @param {any} Store @param {object} [options] */
  function open(Store, options) {
    const store = new Store({ database: connection, cleanupIntervalMs: 3_600_000, ...options });
    opened.push(store);
    return store;
  }

  /** How 0.2.0 and the successor's statements store and remove, the latter with tags. @type {Record<string, () => any>} */
  const others = {
    '0.2.0': () => open(reference.SQLiteCacheStore),
    'the successor': () => {
      connection.exec(`CREATE TABLE IF NOT EXISTS cache_tags (tag TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (tag, hash));
        CREATE INDEX IF NOT EXISTS idx_cache_tags_tag ON cache_tags(tag);
        CREATE INDEX IF NOT EXISTS idx_cache_tags_hash ON cache_tags(hash);`);
      const set =
        connection.prepare(`INSERT INTO cache (hash, value, expires_at, created_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (hash) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at`);
      const tag = connection.prepare('INSERT OR IGNORE INTO cache_tags (tag, hash) VALUES (?, ?)');
      const remove = connection.prepare('DELETE FROM cache WHERE hash = ?');
      return {
        async set(/** @type {string} */ hash, /** @type {any} */ value, /** @type {number} */ ttl) {
          const text = JSON.stringify(JSON.stringify(value));
          set.run(hash, Buffer.from(text), Date.now() + ttl * 1000, Date.now());
          tag.run('tag', hash);
        },
        async delete(/** @type {string} */ hash) {
          remove.run(hash);
        },
      };
    },
  };

  for (const [name, make] of Object.entries(others)) {
    it(`a clean-up counts what ${name} has written, seed ${SEED}`, async () => {
      const next = random(SEED);
      const below = (/** @type {number} */ n) => Math.floor(next() * n);
      const ours = open(SQLiteCacheStore, BOUNDS);
      const theirs = make();
      for (let round = 0; round < 20; round++) {
        for (let n = 0; n < 50; n++) {
          const store = next() < 0.3 ? ours : theirs;
          const key = `key ${below(150)}`;
          if (next() < 0.8) await store.set(key, 'x'.repeat(below(5_000)), 3_600);
          else await store.delete(key);
        }
        await ours.cleanup();
        const { counted, totals } = count(connection);
        expect(totals).toEqual(counted);
        expectWithin(counted);
        // What was written last stays, as far as there is room.
        await theirs.set('last', 1, 3_600);
        await ours.set('newest', 1, 3_600);
        await ours.cleanup();
        expect(await ours.get('last')).toBe(1);
        expect(await ours.get('newest')).toBe(1);
        const strays = `SELECT COUNT(*) AS strays FROM cache_use u FULL JOIN cache c ON c.hash = u.hash
          WHERE (c.hash IS NULL OR u.hash IS NULL) AND u.hash IS NOT x''`;
        expect(connection.prepare(strays).get()).toEqual({ strays: 0 });
      }
    });

    it(`a store counts what ${name} has written before, when it is made`, async () => {
      const first = open(SQLiteCacheStore, BOUNDS);
      await first.set('key', 1, 60);
      first.destroy();
      const theirs = make();
      for (let n = 0; n < 100; n++) await theirs.set(`key ${n}`, n, 3_600);
      const second = open(SQLiteCacheStore, BOUNDS);
      await second.set('new', 1, 60);
      const { counted, totals } = count(connection);
      expect(totals).toEqual(counted);
      expectWithin(counted);
    });
  }

  it('a store has its tables made again that somebody has dropped', async () => {
    const store = open(SQLiteCacheStore, BOUNDS);
    await store.set('key', 1, 60);
    for (const table of ['cache', 'cache_use', 'cache_totals'])
      connection.exec(`DROP TABLE ${table}`);
    await store.set('key', 2, 60);
    expect(await store.get('key')).toBe(2);
    const { counted, totals } = count(connection);
    expect(totals).toEqual(counted);
  });

  it('a store without bounds makes no table and no index for them', async () => {
    const store = open(SQLiteCacheStore);
    await store.set('key', 1, 60);
    await store.cleanup();
    const names = connection
      .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
      .pluck()
      .all();
    expect(names.sort()).toEqual(['cache', 'idx_cache_expires_at']);
  });

  it('a table that was dropped is made anew', async () => {
    const store = open(SQLiteCacheStore, BOUNDS);
    for (let n = 0; n < 50; n++) await store.set(`key ${n}`, n, 3_600);
    connection.exec('DROP TABLE cache_totals; DROP TABLE cache_use');
    await store.set('new', 1, 60);
    const { counted, totals } = count(connection);
    expect(totals).toEqual(counted);
    expectWithin(counted);
  });
});
