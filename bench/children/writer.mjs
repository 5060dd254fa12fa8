// One of several processes that write to one file: sets entries for a while, so many at once.
//
//   writer.mjs <peer> <directory> <number> <calls at once> <ms>

import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { make } from '../measure.mjs';
import { open } from '../peers.mjs';
import { HOUR_SECONDS, values } from '../values.mjs';

const [name, directory, number, atOnce, ms] = process.argv.slice(2);
const { cache, close } = await open(name, ['cache'], directory);
process.send?.('ready');
await once(process, 'message');

const batch = Math.max(10, Number(atOnce));
const start = performance.now();
const end = start + Number(ms);
let calls = 0;
let failures = 0;
while (performance.now() < end) {
  await make(batch, Number(atOnce), async (i) => {
    try {
      await cache.set(`key-${number}-${i}`, values['100 B'], HOUR_SECONDS);
      calls++;
    } catch {
      failures++;
    }
  });
  await turn();
}
process.send?.({ perSecond: (calls * 1000) / (performance.now() - start), failures });
await close();
process.disconnect();
