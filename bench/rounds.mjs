// The timed cases, each with its peers side by side.

import { withDirectory } from './directory.mjs';
import { compare, make } from './measure.mjs';
import { open } from './peers.mjs';

/** @typedef {{ benchmark: import('./cases.mjs').Case, times: Record<string, number> }} Timed */

/**
 * @param {import('./cases.mjs').Case} benchmark
 * @param {number} rounds
 * @returns {Promise<Timed>}
 */
export const timeCase = (benchmark, rounds) =>
  withDirectory(async (directory) => {
    const { kinds, atOnce = 1, call, prepare, before } = benchmark;
    /** @type {Record<string, import('./peers.mjs').Peer>} */
    const peers = {};
    try {
      for (const name of benchmark.peers) {
        peers[name] = await open(name, kinds, directory);
        await prepare?.(peers[name]);
      }
      const times = await compare({
        peers,
        step: atOnce === 1 ? 3 : atOnce,
        run: (peer, calls) => make(calls, atOnce, (i) => call(peer, i)),
        before,
        rounds,
      });
      return { benchmark, times };
    } finally {
      for (const peer of Object.values(peers)) await peer.close();
    }
  });
