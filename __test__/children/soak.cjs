'use strict';
// Makes random calls on the four stores on one database, and tells every so often what the process holds. Each line
// it writes is a JSON object. Needs --expose-gc.

const {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeSync,
} = require('node:fs');
const stores = require('../../index.js');
const { random } = require('../support/random.cjs');

const { database, calls, interval, seed } = JSON.parse(process.argv[2]);
const next = random(seed);
const integer = (/** @type {number} */ below) => Math.floor(next() * below);
/** @type {<T>(list: readonly T[]) => T} */
const one = (list) => list[integer(list.length)];

/** What may not have been expected. @type {string[]} */
const surprises = [];
const surprise = (/** @type {any} */ error) => {
  if (surprises.length < 10) surprises.push(`${error?.code}: ${error?.stack ?? error}`);
};
const ignore = () => {};

/** @type {any} */ let cache;
/** @type {any} */ let dedupe;
/** @type {any} */ let rate;
/** @type {any} */ let adaptive;
const limits = new Map([['tight', { limit: 3, windowMs: 50 }]]);

function open() {
  cache = new stores.SQLiteCacheStore({
    database,
    cleanupIntervalMs: 100,
    maxEntrySizeBytes: 60_000,
  });
  dedupe = new stores.SQLiteDedupeStore({ database, cleanupIntervalMs: 100, jobTimeoutMs: 1_000 });
  rate = new stores.SQLiteRateLimitStore({
    database,
    defaultConfig: { limit: 100, windowMs: 100 },
    resourceConfigs: limits,
  });
  adaptive = new stores.SqliteAdaptiveRateLimitStore({
    database,
    defaultConfig: { limit: 100, windowMs: 100 },
    reservationMs: 20,
    adaptiveConfig: {
      monitoringWindowMs: 200,
      sustainedInactivityThresholdMs: 300,
      recalculationIntervalMs: 10,
    },
  });
}
const all = () => [cache, dedupe, rate, adaptive];

const texts = [10, 100, 1_000, 10_000, 70_000].map((size) => 'x'.repeat(size));
const value = () => ({
  id: integer(1e9),
  text: texts[integer(1_000) < 998 ? integer(3) : 3 + integer(2)],
});
const key = () => `key ${integer(2_000)}`;
const hash = () => `hash ${integer(300)}`;
const resource = () => one(['issues', 'volumes', 'tight', 'characters']);
const priority = () => one(['user', 'background']);

/** Values with no JSON form, and hashes that are none. */
const wrong = [
  () => cache.set(key(), ignore, 60),
  () => cache.set(key(), 1n, 60),
  () => cache.set(key(), {}, Number.NaN),
  () => cache.get(7),
  () => dedupe.complete(hash(), Symbol('value')),
  () => adaptive.record('issues', 'nobody'),
];

/** One call; what it answers is awaited with its group. */
function call() {
  const kind = next();
  if (kind < 0.3) return cache.get(key());
  if (kind < 0.45) return cache.set(key(), value(), one([0, 0.02, 60, Number.POSITIVE_INFINITY]));
  if (kind < 0.48) return cache.delete(key());
  if (kind < 0.51) return dedupe.register(hash());
  if (kind < 0.53) return dedupe.registerOrJoin(hash());
  if (kind < 0.58) return dedupe.complete(hash(), value());
  if (kind < 0.6) return dedupe.fail(hash(), new Error('refused'));
  if (kind < 0.63) {
    // Nobody waits for a waiter here: it may have to wait until the job is past its time.
    dedupe.waitFor(hash()).catch((/** @type {any} */ error) => {
      if (error.message !== 'refused') surprise(error);
    });
    return undefined;
  }
  if (kind < 0.67) return dedupe.isInProgress(hash());
  if (kind < 0.7) return dedupe.getResult(hash());
  if (kind < 0.74) return rate.canProceed(resource());
  if (kind < 0.77) return rate.record(resource());
  if (kind < 0.78) return rate.acquire(resource());
  if (kind < 0.8) return rate.getStatus(resource());
  if (kind < 0.82) return rate.getWaitTime(resource());
  if (kind < 0.86) return adaptive.canProceed(resource(), priority());
  if (kind < 0.89) return adaptive.record(resource(), priority());
  if (kind < 0.9) return adaptive.acquire(resource(), priority());
  if (kind < 0.92) return adaptive.getStatus(resource());
  if (kind < 0.94) return adaptive.getWaitTime(resource(), priority());
  if (kind < 0.97)
    return one(wrong)().then(
      () => surprise('not refused'),
      (/** @type {any} */ error) => {
        if (!(error instanceof Error)) surprise(error);
      },
    );
  if (kind < 0.98) return one(all()).cleanup();
  if (kind < 0.985) return one(all()).getStats();
  if (kind < 0.987) return one([rate, adaptive]).reset(resource());
  if (kind < 0.9872) return one(all()).clear();
  limits.set('tight', { limit: integer(5), windowMs: 50 });
  return adaptive.setResourceConfig(resource(), { limit: 50 + integer(100), windowMs: 100 });
}

/** Stores are made and closed all the time, on this file, on others, and left to the collector. */
async function renew(/** @type {number} */ round) {
  const other = new stores.SQLiteDedupeStore();
  await other.register('job');
  const waiter = other.waitFor('job');
  await other.close();
  await waiter;
  new stores.SQLiteRateLimitStore({ database: round % 2 ? database : ':memory:' });
  if (round % 10 !== 0) return;
  const closed = all();
  open();
  await Promise.all(closed.slice(1).map((store) => store.close()));
  closed[0].destroy();
}

const file = database === ':memory:' ? '' : database;
let longestLog = 0;

function sizeOfLog() {
  if (file && existsSync(`${file}-wal`))
    longestLog = Math.max(longestLog, statSync(`${file}-wal`).size);
}

/** What is open, by name. */
function descriptors() {
  const names = readdirSync('/proc/self/fd').map((number) => {
    try {
      return readlinkSync(`/proc/self/fd/${number}`);
    } catch {
      // The directory that was just read.
      return '';
    }
  });
  return names.filter((name) => name !== '').sort();
}

/** What the process holds when nothing is under way: no waiters, no rows that have expired, no garbage. */
async function measure(/** @type {number} */ made, /** @type {number} */ seconds) {
  await dedupe.clear();
  for (const store of all()) await store.cleanup();
  for (let turns = 0; turns < 4; turns++) {
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { rss, heapUsed } = process.memoryUsage();
  const linux = process.platform === 'linux';
  const figures = {
    calls: made,
    perSecond: Math.round(made / seconds),
    rss,
    heapUsed,
    descriptors: linux ? descriptors() : [],
    threads: linux
      ? Number(/Threads:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
      : 0,
    log: longestLog,
    database: file ? statSync(file).size : 0,
    items: (await cache.getStats()).totalItems,
    requests: (await rate.getStats()).totalRequests,
    surprises,
  };
  // Not `console.log`, whose first use opens a descriptor.
  writeSync(1, `${JSON.stringify(figures)}\n`);
}

async function main() {
  open();
  let [made, rounds, seconds] = [0, 0, 0];
  for (let wanted = interval; wanted <= calls; wanted += interval) {
    const start = performance.now();
    while (made < wanted) {
      const group = [];
      for (let left = one([1, 1, 1, 10, 100]); left > 0; left--, made++) group.push(call());
      await Promise.all(group).catch(surprise);
      // Timers and what other threads deliver get their turn as in a server.
      if (group.length > 1) await new Promise((resolve) => setImmediate(resolve));
      if (++rounds % 50 === 0) sizeOfLog();
      if (rounds % 1_000 === 0) await renew(rounds / 1_000);
    }
    seconds += (performance.now() - start) / 1_000;
    await measure(made, seconds);
  }
  for (const store of all()) await store.close();
}

main();
