// By how much a process grows with stores and with entries.
//
//   memory.mjs <peer> <directory>

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fillMany } from '../fill.mjs';
import { open } from '../peers.mjs';

const STORES = 20;
const ENTRIES = 10_000;
const [name, directory] = process.argv.slice(2);

const resident = () => {
  for (let i = 0; i < 3; i++) globalThis.gc?.();
  return process.memoryUsage.rss() / 1024;
};

/** @param {number} number */
async function openAndUse(number) {
  const folder = join(directory, String(number));
  mkdirSync(folder);
  const store = await open(name, ['cache'], folder);
  await fillMany(store.cache, 1, '100 B');
  await store.cache.get('key-0');
  return store;
}

// The first store brings what is loaded and compiled once.
const stores = [await openAndUse(0)];
const withOne = resident();
for (let i = 1; i <= STORES; i++) stores.push(await openAndUse(i));
const withMany = resident();
const [{ cache }] = stores;
await fillMany(cache, ENTRIES, '100 B');
for (let i = 0; i < ENTRIES; i++) await cache.get(`key-${i}`);
const withEntries = resident();
process.send?.({
  'a store on a file of its own': (withMany - withOne) / STORES,
  '10,000 entries of 100 B, each read once': withEntries - withMany,
});
for (const store of stores) await store.close();
process.disconnect();
