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

const LOOPS = 4;

/** Asks for the parent's number: the function by which the system is asked is where the counter stops. */
const mark = () => process.ppid;

const peer = await open(name, kinds, directory);
await prepare?.(peer);
await before?.(peer);
let made = 0;
let marks = 0;
/** @param {number} count */
const some = (count) => make(count, 1, () => call(peer, made++));
// Several loops: what is compiled in the middle of one is compiled once more for the next.
for (let i = 0; i < LOOPS; i++) await some(calls / LOOPS);
if (mark() > 0) marks++;
await some(calls);
if (mark() > 0) marks++;
await peer.close();
console.log(`${made} calls, ${marks} marks`);
