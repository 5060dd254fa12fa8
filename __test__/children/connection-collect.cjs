'use strict';
// Drops connections and the stores on them, and tells how many are collected. Needs --expose-gc.

const stores = require('../..');
const { connect } = require('../support/drivers.cjs');

const NAMES = [
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
];
const { driver } = JSON.parse(process.argv[2]);
const COUNT = 30;
const collect = /** @type {any} */ (globalThis).Bun
  ? () => /** @type {any} */ (globalThis).Bun.gc(true)
  : /** @type {any} */ (globalThis).gc;

let collected = 0;
const registry = new FinalizationRegistry(() => {
  collected++;
});

/** In a function of its own, so that no variable is left. */
async function make() {
  const connection = connect(driver, ':memory:');
  registry.register(connection, undefined);
  // With timers: they must not hold on to the stores.
  const [cache, dedupe, rate] = NAMES.map((name) => new stores[name]({ database: connection }));
  await cache.set('key', 'value', 60);
  await dedupe.register('job');
  await rate.record('r');
}

async function main() {
  for (let i = 0; i < COUNT; i++) await make();
  const end = Date.now() + 10_000;
  while (collected < COUNT && Date.now() < end) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  process.stdout.write(JSON.stringify({ made: COUNT, collected }));
}

main();
