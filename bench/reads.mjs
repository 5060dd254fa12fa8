// How long a read waits at most while something else goes on that it cannot see.

import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { lock } from '../__test__/support/remote.mjs';
import { withDirectory } from './directory.mjs';
import { median } from './measure.mjs';
import { fileOf, open } from './peers.mjs';
import { HOUR_SECONDS } from './values.mjs';

const MOST_MS = 5;
const RUNS = 5;
const EXPIRED = 100_000;
const LOG_BYTES = 64 << 20;
const VALUE_BYTES = 1 << 20;
const SETTLE_MS = 500;
const LOCK_MS = 2_000;
const LEASE_MS = 2_500;
/** About what a `get` of 0.2.0 takes: as often as that, it is looked whether the thread was held up. */
const NO_CALL_MS = 0.02;

/** @typedef {Record<string, any>} Stores */

/** What is done again and again. @type {Record<string, (stores: Stores) => unknown>} */
const calls = {
  async ours({ cache }) {
    const value = await cache.get('key');
    if (value !== 'value') throw new Error(`read ${value}`);
  },
  'no call'() {
    const start = performance.now();
    while (performance.now() - start < NO_CALL_MS);
  },
};

/** @param {() => unknown} call @param {Promise<unknown>} ended @returns {Promise<number>} ms */
async function longest(call, ended) {
  let done = false;
  ended.finally(() => {
    done = true;
  });
  let found = 0;
  while (!done) {
    const start = performance.now();
    await call();
    found = Math.max(found, performance.now() - start);
    await turn();
  }
  return found;
}

/**
 * What goes on; each answers what makes it end.
 * @type {Record<string, (stores: Stores, file: string) => Promise<{ ended: Promise<unknown> }>>}
 */
const beside = {
  async 'the removal of 100,000 rows'({ cache }) {
    const value = 'x'.repeat(100);
    const written = [];
    for (let i = 0; i < EXPIRED; i++) written.push(cache.set(`expired ${i}`, value, -1));
    await Promise.all(written);
    // What the writing leaves, a checkpoint and garbage, is no part of it.
    await sleep(SETTLE_MS);
    return { ended: cache.cleanup() };
  },
  async 'the writing and the checkpoint of 64 MB'({ cache }) {
    const value = 'x'.repeat(VALUE_BYTES);
    const written = [];
    for (let i = 0; i < LOG_BYTES / VALUE_BYTES; i++)
      written.push(cache.set(`large ${i}`, value, HOUR_SECONDS));
    // The checkpoint comes after.
    return { ended: Promise.all(written).then(() => sleep(SETTLE_MS)) };
  },
  async 'the renewal of a lease'({ dedupe }) {
    await dedupe.register('job');
    return { ended: sleep(LEASE_MS) };
  },
  async 'a write that waits for another process'({ cache }, file) {
    const release = await lock(file, 'IMMEDIATE');
    setTimeout(release, LOCK_MS);
    return { ended: cache.set('other', 'value', HOUR_SECONDS) };
  },
};

/** @param {string} name @param {string} what @returns {Promise<number>} ms */
const run = (name, what) =>
  withDirectory(async (directory) => {
    const stores = await open('ours', ['cache', 'dedupe'], directory);
    try {
      await stores.cache.set('key', 'value', HOUR_SECONDS);
      await stores.cache.get('key');
      const { ended } = await beside[what](stores, fileOf('ours', directory));
      return await longest(() => calls[name](stores), ended);
    } finally {
      await stores.close();
    }
  });

/** @returns {Promise<import('./report.mjs').Section>} */
export async function reads() {
  const rows = [];
  for (const what of Object.keys(beside)) {
    /** @type {Record<string, number[]>} */
    const found = { ours: [], 'no call': [] };
    for (let i = 0; i < RUNS; i++) {
      for (const name of Object.keys(found)) found[name].push(await run(name, what));
    }
    const values = { ours: median(found.ours), 'no call': median(found['no call']) };
    rows.push({ name: `get beside ${what}`, values });
  }
  return {
    title: 'Reads beside other work',
    about: `The longest wait of a \`get\` of another key, made again and again until the other work has ended: the median of ${RUNS} runs. "No call" is how long the thread is held up at most where nothing is read: by the system, which gives the processor to others.`,
    unit: 'ms',
    rows,
    verdicts: rows.map(({ name, values: { ours } }) => ({
      name,
      wanted: `under ${MOST_MS} ms`,
      found: `${ours.toFixed(1)} ms`,
      reached: ours < MOST_MS,
    })),
  };
}
