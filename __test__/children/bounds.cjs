'use strict';
// Stores entries at random in a cache with bounds, and looks after each whether it is within them. With `forever` it does so until
// it is killed.

const { writeSync } = require('node:fs');
const { SQLiteCacheStore } = require('../../index.js');
const { random } = require('../support/random.cjs');

const { path, seed, calls, forever, options } = JSON.parse(process.argv[2]);
const next = random(seed);
const below = (/** @type {number} */ n) => Math.floor(next() * n);
const store = new SQLiteCacheStore({ database: path, ...options });
const { maxEntries, maxSizeBytes } = options;
const say = (/** @type {string} */ line) => writeSync(1, `${line}\n`);

async function check() {
  const entries = await store.listEntries(0, Number.POSITIVE_INFINITY);
  const bytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
  if (entries.length > maxEntries || bytes > maxSizeBytes)
    say(`${entries.length} entries of ${bytes} bytes`);
}

async function act() {
  const key = `key ${below(200)}`;
  const kind = next();
  if (kind < 0.7) {
    const value = 'x'.repeat(below(next() < 0.9 ? 1_000 : 40_000));
    if (next() < 0.3) await store.setWithTags(key, value, 3_600, [`tag ${below(5)}`]);
    else await store.set(key, value, 3_600);
    await check();
  } else if (kind < 0.9) await store.get(key);
  else if (kind < 0.95) await store.delete(key);
  else if (kind < 0.97) await store.invalidateByTag(`tag ${below(5)}`);
  else if (kind < 0.98) await store.clear(`key ${below(3)}`);
  else if (kind < 0.99) await store.cleanup();
  else await Promise.all(Array.from({ length: 30 }, () => store.set(`key ${below(200)}`, 1, 60)));
}

async function main() {
  say('ready');
  for (let n = 0; forever || n < calls; n++) await act();
  await store.close();
}

main();
