'use strict';
// Opens a file again and again while the last store on it is being closed, or collected. Needs --expose-gc.

const { readdirSync, readlinkSync } = require('node:fs');
const { SQLiteCacheStore } = require('../..');

const { path } = JSON.parse(process.argv[2]);
const ROUNDS = 100;
const collect = /** @type {any} */ (globalThis).gc;

/** How often the process has the file open. */
const descriptors = () =>
  readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === path;
    } catch {
      return false;
    }
  }).length;

async function main() {
  /** @type {string[]} */
  const warnings = [];
  process.on('warning', (warning) => warnings.push(String(warning)));
  let most = 0;
  let lost = 0;
  for (let round = 0; round < 2 * ROUNDS; round++) {
    const isClosed = round < ROUNDS;
    let closing;
    // In a function of its own, so that no variable is left.
    (() => {
      const store = new SQLiteCacheStore({ database: path });
      for (let index = 0; index < 20; index++)
        void store.set(`${index}`, `${round}`.padEnd(20_000), 60);
      if (isClosed) closing = store.close();
    })();
    if (!isClosed) collect();
    const next = new SQLiteCacheStore({ database: path });
    most = Math.max(most, descriptors());
    if (Number(await next.get('19')) !== round) lost++;
    if (round % 2 === 0) next.destroy();
    else await next.close();
    await closing;
  }
  process.stdout.write(JSON.stringify({ warnings, most, lost }));
}

main();
