'use strict';
// One of several processes that call the stores on one file at once. Writes as JSON what it did.
// Begins when its stdin ends.

const stores = /** @type {any} */ (require('../../index.js'));
const { random } = require('../support/random.cjs');

const { database, name, calls, seed, options } = JSON.parse(process.argv[2]);
const next = random(seed);
const integer = (/** @type {number} */ below) => Math.floor(next() * below);
/** @type {<T>(list: readonly T[]) => T} */
const one = (list) => list[integer(list.length)];
// No request leaves its window, however long this takes.
const defaultConfig = { limit: 60, windowMs: 3_600_000 };
const make = (/** @type {string} */ store) =>
  new stores[store]({ database, defaultConfig, ...options });

async function main() {
  await new Promise((resolve) => process.stdin.on('end', resolve).resume());
  // Several processes make the file and its tables at once.
  const cache = make('SQLiteCacheStore');
  const dedupe = make('SQLiteDedupeStore');
  const rate = make('SQLiteRateLimitStore');
  const adaptive = make('SqliteAdaptiveRateLimitStore');

  const told = {
    /** The last value under keys of this process. @type {Record<string, any>} */
    own: {},
    /** The last value this process stored under keys of all. @type {Record<string, any>} */
    shared: {},
    /** @type {Record<string, any>} */
    results: {},
    /** @type {Record<string, string>} */
    failures: {},
    /** How often each resource was recorded with each priority. @type {Record<string, number>} */
    records: {},
    /** What went wrong. @type {string[]} */
    wrong: [],
    longest: 0,
  };
  let [made, jobs] = [0, 0];

  const count = (/** @type {string} */ key) => {
    told.records[key] = (told.records[key] ?? 0) + 1;
  };
  /** @returns {Promise<any>} */
  const call = () => {
    const kind = next();
    const value = { name, made, text: 'x'.repeat(integer(2_000)) };
    if (kind < 0.25) {
      const key = `${name} ${integer(50)}`;
      told.own[key] = value;
      return cache.set(key, value, 3_600);
    }
    if (kind < 0.35) {
      const key = `shared ${integer(20)}`;
      told.shared[key] = value;
      return cache.set(key, value, 3_600);
    }
    if (kind < 0.45) {
      const key = `${name} ${integer(50)}`;
      const expected = told.own[key];
      return cache.get(key).then((/** @type {any} */ found) => {
        if (found?.made !== expected?.made)
          told.wrong.push(`${key}: ${found?.made} read, ${expected?.made} written before`);
      });
    }
    if (kind < 0.55) {
      const hash = `${name} job ${jobs++}`;
      return dedupe.register(hash).then(() => {
        if (next() < 0.5) {
          told.results[hash] = value;
          return dedupe.complete(hash, value);
        }
        told.failures[hash] = `refused ${made}`;
        return dedupe.fail(hash, new Error(told.failures[hash]));
      });
    }
    const resource = one(['issues', 'volumes', 'characters']);
    if (kind < 0.7) {
      count(`${resource} background`);
      return rate.record(resource);
    }
    if (kind < 0.85) {
      const priority = one(['user', 'background']);
      count(`${resource} ${priority}`);
      return adaptive.record(resource, priority);
    }
    if (kind < 0.9) return rate.canProceed(resource);
    if (kind < 0.95) return adaptive.getStatus(resource);
    return one([cache, dedupe, rate, adaptive]).getStats();
  };

  while (made < calls) {
    const group = [];
    for (let left = one([1, 1, 1, 10, 100]); left > 0 && made < calls; left--, made++)
      group.push(
        call().catch((/** @type {any} */ error) =>
          told.wrong.push(`${error.code}: ${error.message}`),
        ),
      );
    const start = performance.now();
    await Promise.all(group);
    told.longest = Math.max(told.longest, performance.now() - start);
  }
  for (const store of [cache, dedupe, rate, adaptive]) await store.close();
  process.stdout.write(JSON.stringify({ ...told, made }));
}

main();
