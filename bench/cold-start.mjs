// How long a process that has just started takes until it has its first answer.

import { hasPrevious } from '../scripts/previous.mjs';
import { run } from './children.mjs';
import { withDirectory } from './directory.mjs';
import { median } from './measure.mjs';
import { open } from './peers.mjs';
import { HOUR_SECONDS, values } from './values.mjs';

const ROUNDS = 15;
/** At most so long, in ms. */
const LIMITS = { load: 10, 'load, open and first get': 15 };
const peers = ['ours', ...(hasPrevious() ? ['0.3.0'] : []), '0.2.0', 'hand-written'];

/** @returns {Promise<import('./report.mjs').Section>} */
export const coldStart = () =>
  withDirectory(async (directory) => {
    for (const name of peers) {
      const { cache, close } = await open(name, ['cache'], directory);
      await cache.set('key-1', values['5 KB'], HOUR_SECONDS);
      await close();
    }
    /** @type {Record<string, Record<string, number>[]>} */
    const runs = Object.fromEntries(peers.map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round++)
      for (const name of peers) runs[name].push(await run('cold-start', name, directory));
    const rows = Object.keys(runs.ours[0]).map((name) => ({
      name,
      values: Object.fromEntries(
        peers.map((peer) => [peer, median(runs[peer].map((times) => times[name]))]),
      ),
    }));
    return {
      title: 'Cold start',
      about: `A fresh process each time, the start of Node.js not counted; the file exists and holds an entry of 5 KB. Median of ${ROUNDS} alternating rounds.`,
      unit: 'ms',
      rows,
      verdicts: Object.entries(LIMITS).map(([name, limit]) => {
        const found = rows.find((row) => row.name === name)?.values.ours ?? Number.NaN;
        return {
          name: `cold start: ${name}`,
          wanted: `under ${limit} ms`,
          found: `${found.toFixed(1)} ms`,
          reached: found < limit,
        };
      }),
    };
  });
