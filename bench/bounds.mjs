// What a `set` and a clean-up take of the processor in a cache that is at its bounds, by how many entries it has.
//
//   node bench/bounds.mjs [entries…]    1000 and 1000000 by default

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQLiteCacheStore } from '../index.mjs';

const CALLS = 5_000;
const ROUNDS = 3;
const AT_ONCE = 200;
const value = { name: 'issue 1', description: 'x'.repeat(500) };

/** As the client makes them. @param {number} n */
const hash = (n) => createHash('sha256').update(String(n)).digest('hex');

/** The processor's time so far, of all threads, in µs: what else the machine does matters less. */
const elapsed = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** @param {number[]} figures */
const least = (figures) => Math.min(...figures).toFixed(1);

/**
 * What a `set` takes, one by one and at once.
 * @param {SQLiteCacheStore} store @param {() => string} key
 */
async function measure(store, key) {
  const oneByOne = [];
  const together = [];
  for (let round = 0; round < ROUNDS; round++) {
    let started = elapsed();
    for (let call = 0; call < CALLS; call++) await store.set(key(), value, 3_600);
    oneByOne.push((elapsed() - started) / CALLS);
    started = elapsed();
    for (let call = 0; call < CALLS; call += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, () => store.set(key(), value, 3_600)));
    }
    together.push((elapsed() - started) / CALLS);
  }
  return `${least(oneByOne)} µs, ${AT_ONCE} at once ${least(together)} µs each`;
}

/** In memory if that can be had: a checkpoint of many entries writes more pages, which says more about the disk. */
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const directory = mkdtempSync(join(base, 'sqlite-store-bounds-'));
const counts = process.argv.slice(2).map(Number);
try {
  for (const entries of counts.length > 0 ? counts : [1_000, 1_000_000]) {
    const database = join(directory, `${entries}.db`);
    const filling = new SQLiteCacheStore({ database, cleanupIntervalMs: 0 });
    let next = 0;
    while (next < entries) {
      const some = Array.from({ length: Math.min(AT_ONCE, entries - next) }, () => next++);
      await Promise.all(some.map((n) => filling.set(hash(n), value, 3_600)));
    }
    const without = await measure(filling, () => hash(next++ % entries));
    await filling.close();
    const store = new SQLiteCacheStore({ database, cleanupIntervalMs: 0, maxEntries: entries });
    const opening = elapsed();
    await store.set(hash(0), value, 3_600);
    const opened = elapsed() - opening;
    const evicting = await measure(store, () => hash(next++));
    const started = elapsed();
    await store.cleanup();
    const cleanup = elapsed() - started;
    console.log(
      `${entries} entries: set that evicts one ${evicting}; without bounds ${without}; first bounds ${(opened / 1_000).toFixed(0)} ms; cleanup ${(cleanup / 1_000).toFixed(0)} ms`,
    );
    await store.close();
  }
} finally {
  rmSync(directory, { recursive: true });
}
