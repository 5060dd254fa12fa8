'use strict';
// Stores that are dropped without close(). Needs --expose-gc.

const { readdirSync, readlinkSync, renameSync, rmSync, writeSync } = require('node:fs');
const { join } = require('node:path');

const { directory, form } = JSON.parse(process.argv[2]);
const path = join(directory, 'stores.db');

/** @type {any} */
const scope = globalThis;

// Counted before the stores are loaded: they look timers up when they set them.
let intervals = 0;
const { setInterval: start, clearInterval: stop } = globalThis;
scope.setInterval = (/** @type {any[]} */ ...parameters) => {
  intervals++;
  return /** @type {any} */ (start)(...parameters);
};
scope.clearInterval = (/** @type {any} */ timer) => {
  intervals--;
  stop(timer);
};

const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } =
  require('../..');

const sleep = (/** @type {number} */ milliseconds) =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The files of the directory that this process has open. */
function descriptors() {
  if (process.platform === 'win32') return readdirSync(directory).filter(isHeld);
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${name}`);
      return target.startsWith(directory) ? [target.slice(directory.length + 1)] : [];
    } catch {
      return [];
    }
  });
}

/** Whether a file is open somewhere: Windows gives it no other name then. @param {string} name */
function isHeld(name) {
  const file = join(directory, name);
  try {
    renameSync(file, `${file} renamed`);
    renameSync(`${file} renamed`, file);
    return false;
  } catch {
    return true;
  }
}

let collected = 0;
const registry = new FinalizationRegistry(() => {
  collected++;
});

/** @template {object} Store @param {Store} store @returns {Store} */
function watch(store) {
  registry.register(store, undefined);
  return store;
}

/** Collects until `condition` holds, at most some seconds. @param {() => boolean} condition */
async function collectUntil(condition) {
  for (let round = 0; round < 300 && !condition(); round++) {
    scope.gc();
    await sleep(10);
  }
}

/** @type {Record<string, () => Promise<unknown>>} */
const forms = {
  /** One of each, used and idle. */
  async idle() {
    await (async () => {
      const options = { database: path, cleanupIntervalMs: 20 };
      const cache = watch(new SQLiteCacheStore(options));
      const dedupe = watch(new SQLiteDedupeStore(options));
      const resourceConfigs = new Map([['r', { limit: 1, windowMs: 1_000 }]]);
      const limits = watch(new SQLiteRateLimitStore({ ...options, resourceConfigs }));
      const adaptive = watch(new SqliteAdaptiveRateLimitStore({ ...options, resourceConfigs }));
      await cache.set('key', 1, 60);
      await dedupe.register('job');
      await limits.record('r');
      await adaptive.canProceed('r', 'user');
    })();
    const before = { intervals, descriptors: descriptors().length > 0 };
    await collectUntil(() => collected === 4 && descriptors().length === 0 && intervals === 0);
    return { before, collected, intervals, descriptors: descriptors() };
  },
  /** Dropped in the stretch in which they were written to. */
  async 'with writes pending'() {
    (() => {
      for (const synchronous of /** @type {const} */ (['normal', 'full'])) {
        const database = join(directory, `${synchronous}.db`);
        const store = watch(new SQLiteCacheStore({ database, synchronous }));
        for (let index = 0; index < 100; index++) void store.set(`key ${index}`, index, 60);
        for (let index = 0; index < 10; index++)
          void store.set(`big ${index}`, 'x'.repeat(900_000), 60);
      }
    })();
    await collectUntil(() => collected === 2 && descriptors().length === 0);
    return { collected, descriptors: descriptors() };
  },
  /** A promise that is still wanted outlives the store's object. */
  async 'with a waitFor pending'() {
    const owner = new SQLiteDedupeStore({ database: path });
    await owner.register('job');
    let answer = 'pending';
    (() => {
      void watch(new SQLiteDedupeStore({ database: path }))
        .waitFor('job')
        .then((/** @type {any} */ value) => {
          answer = value;
        });
    })();
    await collectUntil(() => collected === 1 || answer !== 'pending');
    await owner.complete('job', 'result');
    for (let round = 0; round < 100 && answer === 'pending'; round++) await sleep(10);
    await owner.close();
    return { answer };
  },
  /** As many files as stores, and as many in memory. */
  async many() {
    for (let index = 0; index < 60; index++) {
      watch(new SQLiteCacheStore());
      watch(new SQLiteCacheStore({ database: join(directory, `${index}.db`) }));
    }
    const most = descriptors().length;
    await collectUntil(() => collected === 120 && descriptors().length === 0);
    return { most: most >= 60, collected, descriptors: descriptors() };
  },
  /** The file may be removed and made anew once they are gone. */
  async 'made anew'() {
    await (async () => {
      await watch(new SQLiteCacheStore({ database: path })).set('old', 1, 60);
    })();
    await collectUntil(() => collected === 1 && descriptors().length === 0);
    rmSync(path);
    const store = new SQLiteCacheStore({ database: path });
    await store.set('new', 2, 60);
    const answers = [(await store.get('old')) ?? null, await store.get('new')];
    await store.close();
    return { answers, files: readdirSync(directory) };
  },
};

forms[form]().then((result) => {
  writeSync(1, JSON.stringify(result));
  // A pending call must not be able to keep the test waiting.
  process.exit(0);
});
