// How long the event loop stands still at most while the stores work.

import { setImmediate as turn } from 'node:timers/promises';
import { cases } from './cases.mjs';
import { withDirectory } from './directory.mjs';
import { longestStall, make, median } from './measure.mjs';
import { connect, fileOf, open } from './peers.mjs';
import { HOUR_SECONDS, values } from './values.mjs';

const LIMIT_MS = 10;
const RUNS = 11;
const WORK_MS = 150;
const EXPIRED = 100_000;
const LIVE = 20;
const TAGGED = 40_000;

/**
 * Makes calls of a case, the event loop having a turn after each, or after each so many at once.
 * @param {import('./cases.mjs').Case} benchmark
 * @param {any} peer
 * @param {number} ms
 */
async function work({ atOnce = 1, call }, peer, ms) {
  const end = performance.now() + ms;
  for (let i = 0; i === 0 || performance.now() < end; i += atOnce) {
    await make(atOnce, atOnce, (k) => call(peer, i + k));
    await turn();
  }
}

/**
 * The longest stall while calls of a case are made, of each peer.
 * @param {import('./cases.mjs').Case} benchmark
 * @param {string[]} names
 * @returns {Promise<Record<string, number>>} ms
 */
const stallsOf = (benchmark, names) =>
  withDirectory(async (directory) => {
    /** @type {Record<string, { peer: any, found: number[] }>} */
    const peers = {};
    try {
      for (const name of names) {
        const peer = await open(name, benchmark.kinds, directory);
        peers[name] = { peer, found: [] };
        await benchmark.prepare?.(peer);
        // Compiling the calls is no stall of the stores'.
        await work(benchmark, peer, WORK_MS / 3);
      }
      for (let i = 0; i < RUNS; i++) {
        for (const { peer, found } of Object.values(peers)) {
          await benchmark.before?.(peer);
          await turn();
          found.push(await longestStall(() => work(benchmark, peer, WORK_MS)));
        }
      }
      return Object.fromEntries(
        Object.entries(peers).map(([name, { found }]) => [name, median(found)]),
      );
    } finally {
      for (const { peer } of Object.values(peers)) await peer.close();
    }
  });

/** @param {string} name @param {number} ms @returns {import('./report.mjs').Verdict} */
const under = (name, ms) => ({
  name: `longest stall: ${name}`,
  wanted: `under ${LIMIT_MS} ms`,
  found: `${ms.toFixed(1)} ms`,
  reached: ms < LIMIT_MS,
});

/** Whether it is the values that are serialized in one go what stalls the event loop. @param {{ values: Record<string, number> }} row */
const isJson = ({ values: { ours, 'JSON alone': json = 0 } }) =>
  ours >= LIMIT_MS && json > ours / 2;

/** @param {string} title @param {{ name: string, ms: number }[]} found */
function worst(title, found) {
  const { name, ms } = found.reduce((a, b) => (a.ms > b.ms ? a : b), { name: 'none', ms: 0 });
  return under(`${title}: most in ${name}`, ms);
}

/** @returns {Promise<import('./report.mjs').Section>} */
export async function stalls() {
  const rows = [];
  for (const benchmark of cases.filter(({ peers }) => peers.includes('ours'))) {
    const names = ['ours', 'JSON alone'].filter((name) => benchmark.peers.includes(name));
    rows.push({ name: benchmark.name, values: await stallsOf(benchmark, names) });
  }
  return {
    title: 'Longest stall of the event loop',
    about: `How far apart two turns of the event loop were at most while calls were made for ${WORK_MS} ms, with a turn after each call (or after each 100 at once). Median of ${RUNS} alternating runs. Where a value is large and 100 are given at once, most of it is JSON, in the caller's own call: there, what comes beyond it counts.`,
    unit: 'ms',
    rows,
    verdicts: [
      worst(
        'any case',
        rows
          .filter((row) => !isJson(row))
          .map(({ name, values: { ours } }) => ({ name, ms: ours })),
      ),
      worst(
        'where most of it is JSON, beyond that',
        rows.filter(isJson).map(({ name, values: { ours, 'JSON alone': json } }) => ({
          name,
          ms: Math.max(0, ours - json),
        })),
      ),
    ],
  };
}

/** @param {string} name @returns {Promise<{ stall: number, took: number }>} ms */
const cleanUp = (name) =>
  withDirectory(async (directory) => {
    const { cache: first, close: closeFirst } = await open(name, ['cache'], directory);
    for (let i = 0; i < LIVE; i++) await first.set(`key-${i}`, values['100 B'], HOUR_SECONDS);
    await closeFirst();
    const connection = await connect(fileOf(name, directory));
    const insert = connection.prepare(
      'INSERT INTO cache (hash, value, expires_at, created_at) VALUES (?, ?, 1, 0)',
    );
    const value = Buffer.from(JSON.stringify(JSON.stringify(values['100 B'])));
    connection.transaction(() => {
      for (let i = 0; i < EXPIRED; i++) insert.run(`expired-${i}`, value);
    })();
    if (name === '0.2.0') connection.pragma('journal_mode = DELETE');
    connection.close();

    const { cache, close } = await open(name, ['cache'], directory);
    for (let i = 0; i < LIVE; i++) await cache.get(`key-${i}`);
    const start = performance.now();
    const stall = await longestStall(async () => {
      let done = false;
      const cleaned = cache.cleanup().finally(() => {
        done = true;
      });
      for (let i = 0; !done; i++) {
        await cache.get(`key-${i % LIVE}`);
        await turn();
      }
      await cleaned;
    });
    const took = performance.now() - start;
    await close();
    return { stall, took };
  });

/** @returns {Promise<import('./report.mjs').Section>} */
export async function cleanup() {
  const peers = ['ours', '0.2.0', '0.2.0 on a connection', 'hand-written'];
  /** @type {Record<string, { stall: number, took: number }[]>} */
  const runs = Object.fromEntries(peers.map((name) => [name, []]));
  for (let round = 0; round < 3; round++)
    for (const name of peers) runs[name].push(await cleanUp(name));
  const of = (/** @type {'stall' | 'took'} */ key) =>
    Object.fromEntries(peers.map((name) => [name, median(runs[name].map((found) => found[key]))]));
  const stall = of('stall');
  const name = `cleanup of ${EXPIRED.toLocaleString('en')} expired entries`;
  return {
    title: `Clean-up of ${EXPIRED.toLocaleString('en')} expired entries while others are read`,
    about: 'Entries of 100 B. Median of 3 alternating rounds.',
    unit: 'ms',
    rows: [
      { name: 'longest stall of the event loop', values: stall },
      { name: 'the clean-up as a whole', values: of('took') },
    ],
    verdicts: [under(name, stall.ours)],
  };
}

/** @returns {Promise<{ stall: number, took: number }>} ms */
const invalidate = () =>
  withDirectory(async (directory) => {
    const { cache, close } = await open('ours', ['cache'], directory);
    for (let i = 0; i < TAGGED; i += 1_000) {
      const set = (/** @type {number} */ k) =>
        cache.setWithTags(`key-${k}`, values['100 B'], HOUR_SECONDS, ['all', `some-${k % 10}`]);
      await Promise.all(Array.from({ length: 1_000 }, (_, k) => set(i + k)));
    }
    const start = performance.now();
    const stall = await longestStall(async () => {
      let removed;
      const invalidated = cache.invalidateByTag('all').then((/** @type {number} */ count) => {
        removed = count;
      });
      while (removed === undefined) await turn();
      await invalidated;
      if (removed !== TAGGED) throw new Error(`${removed} entries were invalidated`);
    });
    const took = performance.now() - start;
    await close();
    return { stall, took };
  });

/** @returns {Promise<import('./report.mjs').Section>} */
export async function invalidation() {
  const runs = [];
  for (let round = 0; round < 3; round++) runs.push(await invalidate());
  const of = (/** @type {'stall' | 'took'} */ key) => ({
    ours: median(runs.map((run) => run[key])),
  });
  const stall = of('stall');
  const name = `${TAGGED.toLocaleString('en')} entries with one tag, invalidated`;
  return {
    title: name,
    about: 'Entries of 100 B with two tags each. Median of 3 rounds.',
    unit: 'ms',
    rows: [
      { name: 'longest stall of the event loop', values: stall },
      { name: 'the invalidation as a whole', values: of('took') },
    ],
    verdicts: [under(name, stall.ours)],
  };
}
