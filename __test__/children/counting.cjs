'use strict';
// A writer that counts up, in two entries by turns, until its stdin ends: whoever reads all of them sees a moment by what they
// hold. It says how far it has come when it is asked, by a line.

const { createInterface } = require('node:readline');
const { createSQLiteStores } = require('../..');

const { database, name, journalMode } = JSON.parse(process.argv[2]);

async function main() {
  // Requests stay as long as the test runs.
  const rateLimit = { defaultConfig: { limit: 60, windowMs: 1e9 } };
  const stores = createSQLiteStores({ database, journalMode, busyTimeoutMs: 60_000, rateLimit });
  let n = 0;
  let goes_on = true;
  const lines = createInterface({ input: process.stdin });
  lines.on('line', () => process.stdout.write(`${n}\n`));
  lines.on('close', () => {
    goes_on = false;
  });
  process.stdout.write('ready\n');
  while (goes_on) {
    // One transaction: none is ever ahead of the other.
    const next = n + 1;
    await Promise.all([
      stores.cache.set(`${name} one`, { n: next, pad: 'x'.repeat(500) }, 1e6),
      stores.cache.set(`${name} ${next}`, { n: next }, 1e6),
      stores.rateLimit.record(name),
    ]);
    n = next;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await stores.close();
}

main();
