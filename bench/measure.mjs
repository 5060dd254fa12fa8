// Timing: alternating rounds, of which the median counts.

/** @param {number[]} numbers */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/**
 * Measures peers side by side: in each round each of them has its turn, so that whatever else the machine does meets all.
 * @template Peer
 * @param {object} options
 * @param {Record<string, Peer>} options.peers
 * @param {(name: string) => number} options.calls  how many calls make a round, for a peer
 * @param {(peer: Peer, calls: number) => unknown} options.run  makes that many calls
 * @param {(peer: Peer) => unknown} [options.before]  what is done before each round, untimed
 * @param {number} options.rounds
 * @param {number} [options.warmUp]  rounds that do not count
 * @returns {Promise<Record<string, number>>} µs per call, by peer
 */
export async function compare({ peers, calls, run, before, rounds, warmUp = 3 }) {
  /** @type {Record<string, number[]>} */
  const times = Object.fromEntries(Object.keys(peers).map((name) => [name, []]));
  for (let round = -warmUp; round < rounds; round++) {
    for (const [name, peer] of Object.entries(peers)) {
      await before?.(peer);
      const count = calls(name);
      const start = process.hrtime.bigint();
      await run(peer, count);
      const microseconds = Number(process.hrtime.bigint() - start) / 1000 / count;
      if (round >= 0) times[name].push(microseconds);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]));
}

/** Calls one after the other. @param {number} calls @param {(i: number) => Promise<unknown>} call */
export async function oneByOne(calls, call) {
  for (let i = 0; i < calls; i++) await call(i);
}

/** Calls a hundred at once. @param {number} calls @param {(i: number) => Promise<unknown>} call */
export async function hundredAtOnce(calls, call) {
  for (let i = 0; i < calls; i += 100)
    await Promise.all(Array.from({ length: 100 }, (_, k) => call(i + k)));
}

/**
 * The longest time for which the event loop stood still, in ms, while something ran: how late a timer came that is due
 * at every turn.
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
  await work();
  await new Promise((resolve) => setImmediate(resolve));
  going = false;
  return longest;
}
