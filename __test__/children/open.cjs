'use strict';
// Tries all four stores on a file and tells what each says.

const stores = require('../..');

const { path, options } = JSON.parse(process.argv[2]);

/** @param {any} error */
const describe = (error) => ({
  name: error?.name,
  code: error?.code,
  message: error?.message,
  isError: error instanceof Error,
});

/** @type {Record<string, (store: any) => Promise<unknown>[]>} */
const calls = {
  SQLiteCacheStore: (store) => [store.get('key'), store.set('key', 1, 60), store.getStats()],
  SQLiteDedupeStore: (store) => [store.getResult('key'), store.register('key'), store.getStats()],
  SQLiteRateLimitStore: (store) => [store.getStatus('key'), store.record('key'), store.getStats()],
  SqliteAdaptiveRateLimitStore: (store) => [
    store.getStatus('key'),
    store.record('key', 'user'),
    store.getStats(),
  ],
};

/** @param {string} name @param {any} call @param {object} given */
async function open(name, call, given) {
  let store;
  try {
    store = new /** @type {any} */ (stores)[name]({ database: path, ...given });
  } catch (error) {
    return { opened: describe(error) };
  }
  const settled = await Promise.allSettled(call(store));
  const [read, write, stats] = settled.map((result) =>
    result.status === 'fulfilled' ? 'resolved' : describe(result.reason),
  );
  store.destroy();
  return { opened: 'made', read, write, stats };
}

async function main() {
  const answers = [];
  for (const given of options) {
    for (const [name, call] of Object.entries(calls)) answers.push(await open(name, call, given));
  }
  process.stdout.write(JSON.stringify(answers));
}

main();
