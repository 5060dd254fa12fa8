// Makes so many calls of a case, and as many again, for their instructions to be counted.
//
//   instructions.mjs <peer> <case> <directory> <calls>

import { cases } from '../cases.mjs';
import { make } from '../measure.mjs';
import { open } from '../peers.mjs';

const [name, title, directory, count] = process.argv.slice(2);
const calls = Number(count);
const benchmark = cases.find((one) => one.name === title);
if (!benchmark) throw new Error(`there is no case ${title}`);
const { kinds, prepare, before, call } = benchmark;

/** Asks for the parent's number: the function by which the system is asked is where the counter stops. */
const mark = () => process.ppid;

const peer = await open(name, kinds, directory);
await prepare?.(peer);
await before?.(peer);
let made = 0;
let marks = 0;
for (const _ of ['warm-up', 'counted']) {
  await make(calls, 1, () => call(peer, made++));
  if (mark() > 0) marks++;
}
await peer.close();
console.log(`${made} calls, ${marks} marks`);
