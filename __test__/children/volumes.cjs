'use strict';
// Stores on a small volume, or under a limit on the size of files. Each scenario answers JSON on stdout: what it saw. The
// variable STORES has another build of the package loaded.

const { execFileSync } = require('node:child_process');
const { closeSync, openSync, rmSync, statfsSync, writeSync } = require('node:fs');
const { dirname, join } = require('node:path');
const {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} = require(process.env.STORES ?? '../..');

const FOREVER = 1e9;
const MONTH = 30 * 86_400_000;
const defaultConfig = { limit: 1e9, windowMs: MONTH };
let now = Date.now();
Date.now = () => now;

/** What calls came to, by code, and how many of each. @param {Promise<unknown>[]} calls */
async function tally(calls) {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const { status, reason } of /** @type {any[]} */ (await Promise.allSettled(calls))) {
    const code = status === 'fulfilled' ? 'resolved' : `${reason.code}: ${reason.message}`;
    counts[code] = (counts[code] ?? 0) + 1;
  }
  return counts;
}

/** Makes calls one after the other, up to a number or to the first that is refused. @param {(n: number) => Promise<unknown>} call */
async function repeat(call, most = Number.POSITIVE_INFINITY) {
  for (let n = 0; n < most; n++) {
    const error = await call(n).then(
      () => null,
      (error) => error,
    );
    if (error) return { resolved: n, code: error.code, message: error.message };
  }
  return { resolved: most };
}

/** How each kind of store is filled, and in which ways it is emptied. @type {Record<string, (database: object) => any>} */
const kinds = {
  cache(database) {
    const store = new SQLiteCacheStore({ ...database, cleanupIntervalMs: 0 });
    return {
      store,
      fill: (/** @type {number} */ n) =>
        store.set(`key ${(n * 7_919) % 100_003}`, 'x'.repeat(1_000), 1_000),
      delete: async (/** @type {number} */ count) => {
        for (let n = 0; n < count; n++) await store.delete(`key ${(n * 7_919) % 100_003}`);
      },
      clear: () => store.clear(),
      cleanup: () => store.cleanup(),
      isEmpty: async () => (await store.getStats()).totalItems === 0,
    };
  },
  large(database) {
    const store = new SQLiteCacheStore({ ...database, cleanupIntervalMs: 0 });
    return {
      ...kinds.cache(database),
      store,
      fill: (/** @type {number} */ n) =>
        store.set(`key ${(n * 7_919) % 100_003}`, 'x'.repeat(300_000), 1_000),
    };
  },
  dedupe(database) {
    const store = new SQLiteDedupeStore(database);
    return {
      store,
      fill: async (/** @type {number} */ n) => {
        await store.register(`job ${n}`);
        await store.complete(`job ${n}`, 'x'.repeat(1_000));
      },
      clear: () => store.clear(),
      cleanup: () => store.cleanup(),
      isEmpty: async () => (await store.getStats()).totalJobs === 0,
    };
  },
  rates(database) {
    const store = new SQLiteRateLimitStore({ ...database, defaultConfig });
    const fill = (/** @type {number} */ n) =>
      tally(
        Array.from({ length: 50 }, (_, i) =>
          store.record(`resource ${(n + i) % 7} ${'x'.repeat(300)}`),
        ),
      ).then((counts) => {
        const [refused] = Object.keys(counts).filter((code) => code !== 'resolved');
        if (refused)
          throw Object.assign(new Error(refused.split(': ')[1]), { code: refused.split(': ')[0] });
      });
    return {
      store,
      fill,
      clear: () => store.clear(),
      cleanup: () => store.cleanup(),
      isEmpty: async () => (await store.getStats()).totalRequests === 0,
    };
  },
  adaptive(database) {
    const store = new SqliteAdaptiveRateLimitStore({ ...database, defaultConfig });
    return {
      ...kinds.rates(database),
      store,
      fill: (/** @type {number} */ n) =>
        store.record(`resource ${n % 7} ${'x'.repeat(2_000)}`, 'user'),
      isEmpty: async () => (await store.getStats()).totalRequests === 0,
    };
  },
};

/** Whether a process of its own can use the file. @param {string} path @param {string} journalMode */
const works = (path, journalMode) =>
  JSON.parse(
    execFileSync(
      process.execPath,
      [__filename, JSON.stringify({ scenario: 'use', path, journalMode })],
      {
        encoding: 'utf8',
      },
    ),
  );

/** @type {Record<string, (input: any) => Promise<unknown>>} */
const scenarios = {
  /** A store is used, as after a restart. */
  async use({ path, journalMode }) {
    try {
      const store = new SQLiteCacheStore({ database: path, journalMode });
      const { resolved, ...refused } = await repeat(
        (n) => store.set(`new ${n}`, 'x'.repeat(1_000), FOREVER),
        20,
      );
      const value = await store.get('new 19');
      await store.clear();
      await store.close();
      return resolved === 20 ? value?.length : refused;
    } catch (error) {
      return { thrown: error.code, message: error.message };
    }
  },

  /** One key is written again and again, one call after the other and at once. */
  async overwrite({ path, journalMode, count }) {
    const store = new SQLiteCacheStore({ database: path, journalMode });
    let least = Number.POSITIVE_INFINITY;
    const one = await repeat(async (n) => {
      await store.set('key', `${n}`.padEnd(1_000), FOREVER);
      const { bavail, bsize } = statfsSync(dirname(path));
      least = Math.min(least, bavail * bsize);
    }, count);
    const atOnce = await tally(
      Array.from({ length: count }, (_, n) =>
        store.set(`key ${n % 10}`, `${n}`.padEnd(1_000), FOREVER),
      ),
    );
    const last = (await store.get('key'))?.trim();
    await store.close();
    return {
      ...one,
      atOnce,
      last,
      leavesReserve: least >= 256 * 1024,
      again: works(path, journalMode),
    };
  },

  /** A store fills the volume by itself, and is emptied by one of its methods. */
  async fill({ path, journalMode, kind, empty }) {
    const database = { database: path, journalMode };
    const { store, fill, ...ways } = kinds[kind](database);
    const { resolved, ...refused } = await repeat(fill);
    // Past every window and time to live.
    now += 2 * MONTH;
    const emptied = await tally([ways[empty](resolved)]);
    const isEmpty = await ways.isEmpty();
    const filledAgain = await repeat(fill, Math.min(resolved, 20));
    now += 2 * MONTH;
    await store.close();
    return {
      filled: resolved > 0,
      refused,
      emptied,
      isEmpty,
      again: filledAgain.resolved > 0 && !filledAgain.code,
      next: works(path, journalMode),
    };
  },

  /** Something else takes all the room, to the last byte, and gives it back. */
  async other({ path, journalMode }) {
    const store = new SQLiteCacheStore({ database: path, journalMode });
    await repeat((n) => store.set(`key ${n}`, 'x'.repeat(1_000), FOREVER), 50);
    const other = join(dirname(path), 'other');
    const file = openSync(other, 'w');
    for (let size = 1 << 20; size >= 1; ) {
      try {
        if (writeSync(file, Buffer.alloc(size)) < size) size >>= 1;
      } catch {
        size >>= 1;
      }
    }
    closeSync(file);
    const value = 'y'.repeat(100_000);
    const refused = await repeat((n) => store.set(`more ${n}`, value, FOREVER));
    const atOnce = Object.keys(
      await tally(Array.from({ length: 5 }, (_, n) => store.set(`more ${n}`, value, FOREVER))),
    );
    const read = (await store.get('key 49'))?.length;
    const elsewhere = works(path, journalMode);
    rmSync(other);
    const freed = await repeat((n) => store.set(`after ${n}`, value, FOREVER), 5);
    await store.close();
    return { refused, atOnce, read, elsewhere, freed, again: works(path, journalMode) };
  },
};

const { scenario, ...input } = JSON.parse(process.argv[2]);
scenarios[scenario](input).then((seen) => process.stdout.write(JSON.stringify(seen)));
