'use strict';
// The unmodified client on stores that ignore errors, while calls to the system fail by a seed. Writes what came of its requests,
// what the channels told, and what was counted.

const { subscribe } = require('node:diagnostics_channel');
/** @type {any} */
const binding = require('../../lib/binding.js');
const { createSQLiteStores } = require('../..');
const { random } = require('../support/random.cjs');

const { directory, seeds, baseUrl } = JSON.parse(process.argv[2]);

/** @type {any[]} */
const told = [];
for (const name of ['cache', 'dedupe', 'rate-limit'])
  subscribe(`comic-vine:sqlite-store:${name}`, (message) => told.push(message));

/** @param {number} seed */
async function run(seed) {
  const { ComicVine } = await import('@comic-vine/client');
  const next = random(seed);
  /** @type {<T>(list: readonly T[]) => T} */
  const one = (list) => list[Math.floor(next() * list.length)];
  const path = `${directory}/${seed}.db`;
  binding.faults(path, seed, one([3, 8, 20]), 1e9);
  const stores = createSQLiteStores({
    database: path,
    onError: 'ignore',
    busyTimeoutMs: 100,
    journalMode: one(['wal', 'delete']),
    synchronous: one(['normal', 'full']),
  });
  const { cache, dedupe, rateLimit, adaptiveRateLimit } = stores;
  const client = new ComicVine({
    apiKey: 'test',
    baseUrl,
    stores: { cache, dedupe, rateLimit: one([rateLimit, adaptiveRateLimit]) },
  });
  const [answered, refused] = [/** @type {number[]} */ ([]), /** @type {string[]} */ ([])];
  for (let round = 0; round < 6; round++) {
    const ids = Array.from({ length: 5 }, () => 1 + Math.floor(next() * 4));
    const asked = ids.map(async (id) => {
      try {
        const { id: got } = await client.issue.retrieve(id);
        if (got !== id) throw new Error(`asked for ${id}, got ${got}`);
        answered.push(id);
      } catch (error) {
        refused.push(String(error));
      }
    });
    await Promise.all(asked);
  }
  const struck = Object.values(JSON.parse(binding.faults(path)));
  const all = [cache, dedupe, rateLimit, adaptiveRateLimit];
  const metrics = all.map((store) => store.getMetrics());
  await stores.close();
  const errors = told.filter(({ type, store }) => type === 'error' && all.includes(store));
  return {
    answered: answered.length,
    refused,
    struck: struck.reduce((sum, count) => sum + count, 0),
    counted: metrics.reduce((sum, { errors }) => sum + errors, 0),
    told: errors.length,
    ignored: errors.filter(({ ignored }) => ignored).length,
    codes: [...new Set(errors.map(({ error }) => error.code))],
  };
}

async function main() {
  // Side by side: where a job could not be ended, others wait for its lease to run out.
  const runs = await Promise.all(seeds.map(run));
  process.stdout.write(JSON.stringify(runs));
}

main();
