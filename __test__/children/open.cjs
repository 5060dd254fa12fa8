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

async function main() {
  /** @type {Record<string, unknown>} */
  const answers = {};
  for (const [name, call] of Object.entries(calls)) {
    let store;
    try {
      store = new /** @type {any} */ (stores)[name]({ database: path, ...options });
    } catch (error) {
      answers[name] = { constructor: describe(error) };
      continue;
    }
    const settled = await Promise.allSettled(call(store));
    const [read, write, stats] = settled.map((result) =>
      result.status === 'fulfilled' ? 'resolved' : describe(result.reason),
    );
    store.destroy();
    answers[name] = { constructor: 'made', read, write, stats };
  }
  process.stdout.write(JSON.stringify(answers));
}

main();
