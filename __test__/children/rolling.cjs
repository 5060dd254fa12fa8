'use strict';
// One of several processes on one file, half of them of another version: makes calls for some time, and tells what must have
// come of them. Starts when its stdin says so.

const { isDeepStrictEqual } = require('node:util');

const { stores, path, id, milliseconds, journalMode } = JSON.parse(process.argv[2]);
const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } =
  require(stores);
const HOUR = 3_600_000;
const LIMIT = 20;
const ROUND = 200;

const options = { database: path, journalMode, busyTimeoutMs: 60_000 };
const defaultConfig = { limit: LIMIT, windowMs: HOUR };
const cache = new SQLiteCacheStore(options);
// A claim outlasts what a busy machine takes.
const dedupe = new SQLiteDedupeStore({
  ...options,
  jobTimeoutMs: HOUR,
  resultTtlMs: HOUR,
  claimTimeoutMs: 60_000,
});
const limits = new SQLiteRateLimitStore({ ...options, defaultConfig });
const adaptive = new SqliteAdaptiveRateLimitStore({ ...options, defaultConfig });

/** How often something was done, by its name. @param {Record<string, number>} counts @param {string} name */
const count = (counts, name) => {
  counts[name] = (counts[name] ?? 0) + 1;
};
/** @type {Record<string, Record<string, number>>} */
const told = { made: {}, let: {}, asked: {} };
/** @type {string[]} */
const wrong = [];
/** @type {Map<string, unknown>} */
const entries = new Map();

/** @param {string} hash */
async function once(hash) {
  let value = await dedupe.waitFor(hash);
  if (value === undefined) {
    await dedupe.register(hash);
    count(told.made, hash);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await dedupe.complete(hash, { hash });
    value = { hash };
  }
  if (!isDeepStrictEqual(value, { hash })) wrong.push(`${hash}: ${JSON.stringify(value)}`);
}

/** @param {string} resource */
async function acquire(resource) {
  count(told.asked, resource);
  const isLet = resource.startsWith('shared')
    ? await adaptive.acquire(resource, Object.keys(told.asked).length % 2 ? 'user' : 'background')
    : await limits.acquire(resource);
  if (isLet) count(told.let, resource);
}

/** @param {string} key @param {unknown} value */
async function keep(key, value) {
  const found = await cache.get(key);
  if (!isDeepStrictEqual(found, entries.get(key))) wrong.push(`${key}: ${JSON.stringify(found)}`);
  entries.set(key, value);
  await cache.set(key, value, HOUR);
}

async function main() {
  process.stdout.write('ready\n');
  const start = Number(await new Promise((resolve) => process.stdin.once('data', resolve)));
  const end = start + milliseconds;
  for (let n = 0; Date.now() < end; n++) {
    // The same for all processes.
    const round = `${start} ${Math.floor((Date.now() - start) / ROUND)}`;
    await Promise.all([
      once(`job ${round} ${n % 3}`),
      once(`job ${round} ${n % 3}`),
      acquire(`plain ${round}`),
      acquire(`shared ${round}`),
      keep(`${id} ${n % 30}`, { n, text: 'x'.repeat(n % 2_000) }),
    ]);
  }
  for (const store of [cache, dedupe, limits, adaptive]) await store.close();
  const report = JSON.stringify({ ...told, entries: [...entries], wrong });
  // A line longer than what the pipe holds is cut by an end that does not wait for it.
  process.stdout.write(`${report}\n`, () => process.exit(0));
}

main();
