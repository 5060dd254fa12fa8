// What waiting takes: for a job of another process, and for a lock that another process holds.

import { setTimeout as sleep } from 'node:timers/promises';
import { lock, Remote } from '../__test__/support/remote.mjs';
import { withDirectory } from './directory.mjs';
import { median } from './measure.mjs';
import { connect, fileOf } from './peers.mjs';

/** @typedef {import('../__test__/support/implementations.cjs').Implementation} Implementation */

/** @type {Record<string, Implementation>} */
const implementations = {
  ours: { version: 'ours', by: 'path' },
  'ours on a connection': { version: 'ours', by: 'connection' },
};
const ROUNDS = 200;
const KILLS = 100;
const WAITERS = 100;
const CPU_MS = 3_000;
const LOCK_MS = 1_000;

const MEDIAN_MS = 25;
const WORST_MS = 100;
const TAKE_OVER_MS = 250;
/** 2 % of a core. */
const BUSY_MS = 60;
const STALL_MS = 20;

/**
 * @template Result
 * @param {string} peer
 * @param {string} name  of the stores
 * @param {(...each: { remote: Remote, store: number, file: string }[]) => Promise<Result>} work
 */
const withTwo = (peer, name, work) =>
  withDirectory(async (directory) => {
    const file = fileOf(peer, directory);
    // One connection alone can change the journal mode of a file.
    (await connect(file)).close();
    const remotes = await Promise.all([1, 2].map(() => Remote.start(implementations[peer])));
    try {
      const each = remotes.map(async (remote) => ({
        remote,
        store: await remote.make(name, { database: file }),
        file,
      }));
      return await work(...(await Promise.all(each)));
    } finally {
      await Promise.all(remotes.map((remote) => remote.kill()));
    }
  });

/** @param {string} peer @returns {Promise<number[]>} ms from the call of `complete` until each waiter has its answer */
const wakes = (peer) =>
  withTwo(peer, 'SQLiteDedupeStore', async (owner, waiter) => {
    const found = [];
    for (let round = 0; round < ROUNDS; round++) {
      const hash = `job ${round}`;
      await owner.remote.call(owner.store, 'register', hash);
      const waiting = waiter.remote.begin(waiter.store, 'waitFor', hash);
      await waiting.begun;
      // At any moment between two looks.
      await sleep(((round * 7) % 20) + 1);
      const { called } = await owner.remote.outcome(owner.store, 'complete', hash, { round });
      found.push((await waiting.done).settled - called);
    }
    return found;
  });

/** @param {string} peer @returns {Promise<number[]>} ms from the end of an owner until a waiter takes over */
export const takeOvers = (peer) =>
  withTwo(peer, 'SQLiteDedupeStore', async (_, waiter) => {
    const found = [];
    for (let round = 0; round < KILLS; round++) {
      const hash = `job ${round}`;
      const owner = await Remote.start(implementations[peer]);
      const store = await owner.make('SQLiteDedupeStore', { database: waiter.file });
      await owner.call(store, 'register', hash);
      const waiting = waiter.remote.begin(waiter.store, 'waitFor', hash);
      await waiting.begun;
      // At any moment between two looks.
      await sleep(((round * 7) % 100) + 20);
      const killed = Number(process.hrtime.bigint()) / 1e6;
      await owner.kill();
      found.push((await waiting.done).settled - killed);
    }
    return found;
  });

/** @param {string} peer @returns {Promise<number>} ms of a core */
const idle = (peer) =>
  withTwo(peer, 'SQLiteDedupeStore', async (owner, waiter) => {
    const hashes = Array.from({ length: WAITERS }, (_, n) => `job ${n}`);
    const calls = (/** @type {number} */ store, /** @type {string} */ method) => [
      hashes.map((hash) => [store, method, hash]),
    ];
    await owner.remote.run('calls', calls(owner.store, 'register'));
    await waiter.remote.start('calls', calls(waiter.store, 'waitFor')).begun;
    return waiter.remote.run('cpu', CPU_MS);
  });

/** @param {string} peer @returns {Promise<number>} ms: the longest stall of the event loop */
const locked = (peer) =>
  withTwo(peer, 'SQLiteCacheStore', async ({ remote, store, file }) => {
    await remote.call(store, 'set', 'key', 'before', 60);
    const release = await lock(file, 'IMMEDIATE');
    await remote.run('watchLoop');
    const written = remote.begin(store, 'set', 'key', 'value', 60);
    await sleep(LOCK_MS);
    await release();
    await written.done;
    return remote.run('longestStall');
  });

/** @param {string} name @param {number} found @param {number} limit @returns {import('./report.mjs').Verdict} */
const under = (name, found, limit) => ({
  name,
  wanted: `under ${limit} ms`,
  found: `${found.toFixed(1)} ms`,
  reached: found < limit,
});

/** @returns {Promise<import('./report.mjs').Section>} */
export async function waiting() {
  /** @type {Record<string, number>[]} */
  const [middle, worst, taken, slowest, core, stall] = [{}, {}, {}, {}, {}, {}];
  for (const peer of Object.keys(implementations)) {
    const found = await wakes(peer);
    middle[peer] = median(found);
    worst[peer] = Math.max(...found);
    const times = await takeOvers(peer);
    taken[peer] = median(times);
    slowest[peer] = Math.max(...times);
    core[peer] = await idle(peer);
  }
  // With a connection it is the driver that waits.
  stall.ours = await locked('ours');
  const verdicts = Object.keys(implementations).flatMap((peer) => [
    under(`waiter in another process, ${peer}: median`, middle[peer], MEDIAN_MS),
    under(`waiter in another process, ${peer}: worst`, worst[peer], WORST_MS),
    under(`killed owner is replaced, ${peer}: median`, taken[peer], TAKE_OVER_MS),
    under(`${WAITERS} waiters, ${peer}: a core in ${CPU_MS / 1_000} s`, core[peer], BUSY_MS),
  ]);
  return {
    title: 'Waiting',
    about: `How long after \`complete()\` of one process \`waitFor()\` of another answers, of ${ROUNDS} jobs; how long after \`kill -9\` of a job's owner it answers, of ${KILLS}; how much of a core a process takes in ${CPU_MS / 1_000} s in which ${WAITERS} calls of \`waitFor()\` are pending; and how long the event loop stands still at most while another process holds the lock for ${LOCK_MS / 1_000} s and a write waits for it.`,
    unit: 'ms',
    rows: [
      { name: 'a waiter wakes, median', values: middle },
      { name: 'a waiter wakes, worst', values: worst },
      { name: 'a killed owner is replaced, median', values: taken },
      { name: 'a killed owner is replaced, worst', values: slowest },
      { name: `a core, ${WAITERS} waiters`, values: core },
      { name: 'longest stall, lock held elsewhere', values: stall },
    ],
    verdicts: [
      ...verdicts,
      under('longest stall: a lock held by another process', stall.ours, STALL_MS),
    ],
  };
}
