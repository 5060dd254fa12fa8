'use strict';
// One of several processes on one file: makes calls on all four stores, checks what it can at once, and tells what
// must be in the file at the end. Starts when its stdin says so, and ends with it.

const { isDeepStrictEqual } = require('node:util');
const { connect } = require('../support/implementations.cjs');
const { random } = require('../support/random.cjs');

const { version, by, path, id, calls, seed } = JSON.parse(process.argv[2]);
const HOUR = 3_600_000;

async function main() {
  /** @type {any} */
  const stores = version === 'ours' ? require('../..') : await import('sqlite-store-0.2.0');
  /** @type {any} */
  let connection;
  if (by === 'connection') {
    connection = connect(path, 20_000);
  }
  const database = connection ?? path;
  const config = { limit: 1e6, windowMs: HOUR };
  const cache = new stores.SQLiteCacheStore({
    database,
    cleanupIntervalMs: 50,
    busyTimeoutMs: 20_000,
  });
  const dedupe = new stores.SQLiteDedupeStore({
    database,
    cleanupIntervalMs: 50,
    busyTimeoutMs: 20_000,
    jobTimeoutMs: HOUR,
  });
  const rate = new stores.SQLiteRateLimitStore({
    database,
    busyTimeoutMs: 20_000,
    defaultConfig: config,
  });
  const adaptive = new stores.SqliteAdaptiveRateLimitStore({
    database,
    busyTimeoutMs: 20_000,
    defaultConfig: config,
    // A division made before the first user request holds for a while: it has to leave users all their slots.
    adaptiveConfig: { minUserReserved: 10_000 },
  });

  process.stdout.write('ready\n');
  await new Promise((resolve) => process.stdin.once('data', resolve));
  process.stdin.pause();

  const next = random(seed);
  const below = (/** @type {number} */ n) => Math.floor(next() * n);
  /** Keys that are in the cache, with their values. @type {Map<string, any>} */
  const entries = new Map();
  /** Jobs by their state. @type {Map<string, string>} */
  const jobs = new Map();
  /** @type {Record<string, string>} */
  const shared = {};
  const recorded = { plain: 0, user: 0, background: 0 };
  /** @type {string[]} */
  const wrong = [];
  /** @param {string} what @param {Promise<any>} promise @param {any} [expected] */
  async function check(what, promise, expected) {
    const found = await promise.catch((error) => `rejected: ${error.message}`);
    if (!isDeepStrictEqual(found, expected)) wrong.push(`${what}: ${JSON.stringify(found)}`);
  }
  /** @param {string} what @param {Promise<any>} promise @param {(found: any) => boolean} accept */
  const checkThat = (what, promise, accept) =>
    check(
      what,
      promise.then((found) => (accept(found) ? undefined : found)),
    );

  for (let n = 0; n < calls; ) {
    /** @type {Promise<void>[]} */
    const group = [];
    /** What a group touches once. */
    const touched = new Set();
    /** How many jobs there are for certain: in 0.2.0 what is not awaited may come later. */
    const registered = jobs.size;
    for (let left = next() < 0.2 ? 10 : 1; left > 0 && n < calls; left--, n++) {
      const kind = next();
      const key = `${id} ${below(40)}`;
      if (kind < 0.45 && touched.has(key)) {
        n--;
        continue;
      }
      touched.add(key);
      if (kind < 0.2) {
        const value = { id, n, text: 'x'.repeat(below(2_000)) };
        // Some are past their time at once: then it is no matter who deletes them.
        const kept = next() < 0.8;
        if (kept) entries.set(key, value);
        else entries.delete(key);
        group.push(check(`set ${key}`, cache.set(key, value, kept ? 3_600 : -1)));
      } else if (kind < 0.35) {
        group.push(check(`get ${key}`, cache.get(key), entries.get(key)));
      } else if (kind < 0.4) {
        entries.delete(key);
        group.push(check(`delete ${key}`, cache.delete(key)));
      } else if (kind < 0.45) {
        group.push(check('cleanup', cache.cleanup()));
      } else if (kind < 0.55) {
        const hash = `${id} job ${n}`;
        jobs.set(hash, 'pending');
        touched.add(hash);
        group.push(
          checkThat(`register ${hash}`, dedupe.register(hash), (jobId) => jobId.length === 36),
        );
      } else if (kind < 0.65) {
        // In 0.2.0 calls that are not awaited do not keep their order: what ends was registered in an earlier group.
        const pending = [...jobs].find(
          ([hash, state]) => state === 'pending' && !touched.has(hash),
        );
        if (!pending) continue;
        const [hash] = pending;
        if (next() < 0.7) {
          jobs.set(hash, `"${hash}"`);
          group.push(
            check(`complete ${hash}`, dedupe.complete(hash, hash)).then(() =>
              check(`result of ${hash}`, dedupe.getResult(hash), hash),
            ),
          );
        } else {
          jobs.set(hash, 'failed');
          group.push(check(`fail ${hash}`, dedupe.fail(hash, new Error(hash))));
        }
      } else if (kind < 0.7 && version === 'ours') {
        // Registered by every process of ours: in 0.2.0, looking and registering are two steps.
        const hash = `shared ${below(20)}`;
        group.push(
          dedupe.register(hash).then(
            (/** @type {string} */ jobId) => {
              shared[hash] ??= jobId;
              if (shared[hash] !== jobId) wrong.push(`${hash} has two jobs`);
            },
            (/** @type {Error} */ error) => void wrong.push(`register ${hash}: ${error.message}`),
          ),
        );
      } else if (kind < 0.82) {
        recorded.plain++;
        group.push(check('record', rate.record('plain')));
      } else if (kind < 0.86) {
        const least = recorded.plain;
        group.push(
          checkThat(
            'getStatus',
            rate.getStatus('plain'),
            ({ remaining }) => remaining <= 1e6 - least,
          ),
        );
      } else if (kind < 0.96) {
        const priority = next() < 0.5 ? 'user' : 'background';
        recorded[priority]++;
        group.push(check('record', adaptive.record('adaptive', priority)));
      } else if (kind < 0.98) {
        // In 0.2.0 shares move such that users may be locked out.
        const may = version === 'ours' ? [true] : [true, false];
        group.push(
          checkThat('canProceed', adaptive.canProceed('adaptive', 'user'), (found) =>
            may.includes(found),
          ),
        );
      } else {
        group.push(
          checkThat('getStats', dedupe.getStats(), ({ totalJobs }) => totalJobs >= registered),
        );
      }
    }
    await Promise.all(group);
  }
  const told = { entries: [...entries], jobs: [...jobs], shared, recorded, wrong };
  process.stdout.write(`${JSON.stringify(told)}\n`);
  // A store that ends gives up its jobs: not before all have told.
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.once('end', resolve));
  for (const store of [cache, dedupe, rate, adaptive]) await store.close();
  connection?.close();
}

main();
