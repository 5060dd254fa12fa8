'use strict';
// Workers are terminated in the middle of what they do, while the main thread's stores on the same file go on.

const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const { writeSync } = require('node:fs');
const {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} = require('../..');

/** What the worker does when it is terminated. @type {Record<string, (path: string) => unknown>} */
const forms = {
  /** Calls of every kind, awaited and not, for ever. */
  async mixed(path) {
    const cache = new SQLiteCacheStore({ database: path, cleanupIntervalMs: 5 });
    const dedupe = new SQLiteDedupeStore({ database: path, claimTimeoutMs: 5 });
    const adaptive = new SqliteAdaptiveRateLimitStore({ database: path });
    const key = `${Math.random()}`;
    void dedupe.waitFor('the job of the main thread');
    for (let round = 0; ; round++) {
      if (round === 10) parentPort?.postMessage('at it');
      void cache.set(key, { round }, 1_000);
      void adaptive.record('of the workers', 'user');
      void dedupe.register(`${key}:${round}`);
      if (round % 20 === 0) void cache.set(`${key}:big`, 'x'.repeat(1_200_000), 1_000);
      if (round % 3 === 0) await cache.get(key);
      if (round % 5 === 0) await dedupe.complete(`${key}:${round}`, round);
      if (round % 50 === 49) await new Promise(setImmediate);
    }
  },
  /** Within a call, in the caller's own code. */
  'in toJSON'(path) {
    const cache = new SQLiteCacheStore({ database: path });
    void cache.set('of the worker', 'before', 1_000);
    const toJSON = () => {
      parentPort?.postMessage('within');
      for (;;);
    };
    void cache.set('never', { toJSON }, 1_000);
  },
  'in the Map of limits'(path) {
    const resourceConfigs = new Map();
    const store = new SQLiteRateLimitStore({ database: path, resourceConfigs });
    resourceConfigs.get = () => {
      parentPort?.postMessage('within');
      for (;;);
    };
    void store.record('of the worker');
    void store.canProceed('r');
  },
  'in a constructor'(path) {
    const options = {
      database: path,
      get cleanupIntervalMs() {
        parentPort?.postMessage('within');
        for (;;);
      },
    };
    new SQLiteCacheStore(/** @type {any} */ (options));
  },
  /** Only calls, in one stretch: nothing is committed before the end. */
  'in one stretch'(path) {
    const cache = new SQLiteCacheStore({ database: path });
    for (let round = 0; ; round++) {
      if (round === 500) parentPort?.postMessage('within');
      if (round < 2_000) void cache.set(`stretch:${round}`, round, 1_000);
      else void cache.get('nothing');
    }
  },
};

async function main() {
  const { path, form, times, random = [] } = JSON.parse(process.argv[2]);
  const cache = new SQLiteCacheStore({ database: path });
  // No request leaves its window, however long this takes.
  const defaultConfig = { limit: 100_000, windowMs: 3_600_000 };
  const limits = new SQLiteRateLimitStore({ database: path, defaultConfig });
  const dedupe = new SQLiteDedupeStore({ database: path });
  await dedupe.register('the job of the main thread');
  let recorded = 0;
  /** @type {Promise<unknown>[]} */
  const pending = [];
  const goOn = () => {
    pending.push(
      limits.record('of the main thread'),
      cache.set('of the main thread', ++recorded, 1_000),
    );
  };
  for (let time = 0; time < times; time++) {
    const worker = new Worker(__filename, { workerData: { path, form } });
    const said = new Promise((resolve) => {
      worker.once('message', resolve);
    });
    if (form === 'mixed') {
      await new Promise((resolve) => {
        worker.once('online', resolve);
      });
      // Every other one has made calls, however long it takes to come to that.
      if (time % 2) await said;
      const end = performance.now() + random[time];
      while (performance.now() < end) {
        goOn();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } else {
      await said;
    }
    goOn();
    const code = await worker.terminate();
    if (code !== 1) throw new Error(`a worker ended by itself: ${code}`);
    goOn();
  }
  await Promise.all(pending);
  await dedupe.complete('the job of the main thread', 'done');
  const answer = {
    recorded,
    counted: defaultConfig.limit - (await limits.getStatus('of the main thread')).remaining,
    last: await cache.get('of the main thread'),
    ofTheWorker: (await cache.get('of the worker')) ?? null,
    job: await dedupe.getResult('the job of the main thread'),
  };
  cache.destroy();
  limits.destroy();
  dedupe.destroy();
  writeSync(1, JSON.stringify(answer));
}

if (isMainThread) main();
else forms[workerData.form](workerData.path);
