// Timing: alternating rounds, of which the median counts; and how long the event loop stands still.

import { setImmediate as turn } from 'node:timers/promises';

/** How long a round of one peer is to take, in µs. */
const ROUND_US = 20_000;
/** How long all rounds of a case may take, in µs: where calls are slow there are fewer, but not less than `LEAST_ROUNDS`. */
const CASE_US = 20_000_000;
const LEAST_ROUNDS = 5;
/** From which length of a round, in µs, the calls by which it was found are warm-up enough. */
const SLOW_US = 2_000_000;

/** @param {number[]} numbers */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** @param {() => unknown} work @returns {Promise<number>} µs */
async function time(work) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1000;
}

/**
 * Measures peers side by side: in each round each of them has its turn, so that whatever else the machine does meets all.
 * @template Peer
 * @param {object} options
 * @param {Record<string, Peer>} options.peers
 * @param {number} options.step  a round makes a multiple of so many calls
 * @param {(peer: Peer, calls: number) => unknown} options.run  makes that many calls
 * @param {(peer: Peer) => unknown} [options.before]  what is done before each round, untimed
 * @param {number} options.rounds
 * @returns {Promise<Record<string, number>>} µs per call, by peer
 */
export async function compare({ peers, step, run, before, rounds }) {
  /** @param {Peer} peer @param {number} calls */
  const round = async (peer, calls) => {
    await before?.(peer);
    // What one peer leaves to be done does not count for the next.
    await turn();
    return time(() => run(peer, calls));
  };

  /** @type {Record<string, number>} */
  const calls = {};
  let together = 0;
  for (const [name, peer] of Object.entries(peers)) {
    let count = step;
    let took = await round(peer, count);
    while (took < ROUND_US / 2) {
      count *= 2;
      took = await round(peer, count);
    }
    calls[name] = step * Math.max(1, Math.round((count / step) * (ROUND_US / took)));
    together += (took / count) * calls[name];
  }
  const warmUp = together < SLOW_US ? 2 : 0;
  const counted = Math.min(rounds, Math.max(LEAST_ROUNDS, Math.round(CASE_US / together)));

  /** @type {Record<string, number[]>} */
  const times = Object.fromEntries(Object.keys(peers).map((name) => [name, []]));
  for (let i = -warmUp; i < counted; i++) {
    for (const [name, peer] of Object.entries(peers)) {
      const each = (await round(peer, calls[name])) / calls[name];
      if (i >= 0) times[name].push(each);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]));
}

/**
 * Makes calls, so many at once.
 * @param {number} calls
 * @param {number} atOnce
 * @param {(i: number) => Promise<unknown>} call
 */
export async function make(calls, atOnce, call) {
  if (atOnce === 1) {
    for (let i = 0; i < calls; i++) await call(i);
    return;
  }
  for (let i = 0; i < calls; i += atOnce)
    await Promise.all(Array.from({ length: atOnce }, (_, k) => call(i + k)));
}

/**
 * The longest time for which the event loop stood still, in ms, while something ran: how far apart two of its turns were.
 * @param {() => Promise<unknown>} work
 */
export async function longestStall(work) {
  let longest = 0;
  let last = performance.now();
  let going = true;
  const tick = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (going) setImmediate(tick);
  };
  setImmediate(tick);
  await turn();
  await work();
  await turn();
  going = false;
  return longest;
}
