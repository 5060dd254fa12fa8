'use strict';
// Makes the calls of `calls.cjs` on a file until it is killed, and writes the number of each call that has resolved.
// With `close` it makes none, and closes the stores.

const { writeSync } = require('node:fs');
const stores = require('../../index.js');
const { groups, OPTIONS, START } = require('../support/calls.cjs');

const { path, seed, first, options, close } = JSON.parse(process.argv[2]);
let now = START + first;
Date.now = () => now;

// Straight to the pipe: what has been written is with the reader, whatever becomes of this process.
const say = (/** @type {string} */ line) => writeSync(1, `${line}\n`);

/** @type {Record<string, any>} */
const open = Object.fromEntries(
  Object.entries(OPTIONS).map(([name, own]) => [
    name,
    new /** @type {any} */ (stores)[name]({ database: path, ...options, ...own }),
  ]),
);

async function main() {
  if (close) {
    for (const store of Object.values(open)) await store.close();
    return;
  }
  say('ready');
  for (const group of groups(seed, first)) {
    await Promise.all(
      group.map(({ n, store, method, args }) => {
        now = START + n;
        return open[store][method](...args).then(
          () => say(`${n}`),
          (/** @type {any} */ error) => say(`${n} ${error.code} ${error.message}`),
        );
      }),
    );
  }
}

main();
