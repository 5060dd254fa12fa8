'use strict';
// A process with the stores of a version: makes the calls that it reads, one a line, and tells what came of each.

const { createInterface } = require('node:readline');

const { version, path, previous } = JSON.parse(process.argv[2]);

/** @returns {Promise<any>} */
const load = async () => {
  if (version === '0.2.0') return import('sqlite-store-0.2.0');
  return require(version === '0.3.0' ? previous : '../..');
};

async function main() {
  const { SQLiteCacheStore, SQLiteDedupeStore } = await load();
  const options = version === 'ours' ? { zeroTtl: 'forever' } : {};
  /** @type {Record<string, any>} */
  const stores = {
    cache: new SQLiteCacheStore({ database: path, cleanupIntervalMs: 1e9, ...options }),
    dedupe: new SQLiteDedupeStore({ database: path }),
  };
  process.stdout.write('ready\n');
  for await (const line of createInterface({ input: process.stdin })) {
    const { store, method, args } = JSON.parse(line);
    if (method === 'fail') args[1] = Object.assign(new Error(args[1].message), args[1]);
    /** @type {{ value?: any, error?: string }} */
    const answer = await stores[store][method](...args).then(
      (/** @type {any} */ value) => ({ value }),
      (/** @type {Error} */ error) => ({ error: String(error) }),
    );
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  for (const store of Object.values(stores)) await store.close();
}

main();
