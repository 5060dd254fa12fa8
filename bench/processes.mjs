// Four processes that write to one file at the same time.

import { said, start } from './children.mjs';
import { withDirectory } from './directory.mjs';
import { median } from './measure.mjs';
import { open } from './peers.mjs';

const PROCESSES = 4;
const ROUNDS = 3;
const MS = 700;
const peers = ['ours', '0.2.0', '0.2.0 on a connection', 'hand-written'];

/** @param {string} peer @param {number} atOnce @returns {Promise<{ perSecond: number, failures: number }>} */
const write = (peer, atOnce) =>
  withDirectory(async (directory) => {
    await (await open(peer, ['cache'], directory)).close();
    const children = Array.from({ length: PROCESSES }, (_, number) =>
      start('writer', peer, directory, String(number), String(atOnce), String(MS)),
    );
    await Promise.all(children.map(said));
    const found = Promise.all(children.map(said));
    const ended = Promise.all(
      children.map((child) => new Promise((resolve) => child.once('exit', resolve))),
    );
    for (const child of children) child.send('go');
    const results = await found;
    await ended;
    const sum = (/** @type {'perSecond' | 'failures'} */ key) =>
      results.reduce((total, result) => total + result[key], 0);
    return { perSecond: sum('perSecond'), failures: sum('failures') };
  });

/** @returns {Promise<import('./report.mjs').Section>} */
export async function processes() {
  const rows = [];
  for (const atOnce of [1, 100]) {
    /** @type {Record<string, number[]>} */
    const rates = Object.fromEntries(peers.map((peer) => [peer, []]));
    let failures = '';
    for (let round = 0; round < ROUNDS; round++) {
      for (const peer of peers) {
        const result = await write(peer, atOnce);
        rates[peer].push(result.perSecond);
        if (result.failures > 0) failures += ` ${peer}: ${result.failures} calls failed.`;
      }
    }
    rows.push({
      name: `set, 100 B, ${atOnce === 1 ? 'awaited one by one' : '100 at once'}`,
      values: Object.fromEntries(peers.map((peer) => [peer, median(rates[peer])])),
      note: failures.trim() || undefined,
    });
  }
  return {
    title: `${PROCESSES} processes writing one file`,
    about: `Calls per second of all together: the more the better. Median of ${ROUNDS} alternating rounds of ${MS} ms.`,
    unit: 'calls/s',
    rows,
  };
}
