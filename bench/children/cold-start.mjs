// What a process that has just started takes until it has its first answer.
//
//   cold-start.mjs <peer> <directory>

import { open, preload } from '../peers.mjs';

const [name, directory] = process.argv.slice(2);
const start = performance.now();
await preload(name);
const loaded = performance.now();
const { cache, close } = await open(name, ['cache'], directory);
const opened = performance.now();
const value = await cache.get('key-1');
const answered = performance.now();
if (value === undefined) throw new Error('there is no such entry');
process.send?.({
  load: loaded - start,
  open: opened - loaded,
  'first get': answered - opened,
  'load, open and first get': answered - start,
});
await close();
process.disconnect();
