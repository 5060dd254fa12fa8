'use strict';
// Stores on a file from a stranger: every method is called, and the process ended by `process.exit()` with calls pending.
// Answers JSON on stdout: what the calls came to, and how long the slowest took. The variable STORES has another build of
// the package loaded.

const { writeSync } = require('node:fs');
const {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} = require(process.env.STORES ?? '../..');

const { path, journalMode } = JSON.parse(process.argv[2]);

const options = {
  database: path,
  journalMode,
  cleanupIntervalMs: 0,
  defaultConfig: { limit: 5, windowMs: 1_000 },
};
/** @type {any[]} */
const calls = [
  [
    SQLiteCacheStore,
    [
      (/** @type {any} */ store) => store.set('a', { a: 1 }, 100),
      (/** @type {any} */ store) => store.get('a'),
      (/** @type {any} */ store) => store.get('stale'),
      (/** @type {any} */ store) => store.cleanup(),
      (/** @type {any} */ store) => store.getStats(),
      (/** @type {any} */ store) => store.delete('a'),
      (/** @type {any} */ store) => store.clear(),
    ],
  ],
  [
    SQLiteDedupeStore,
    [
      (/** @type {any} */ store) => store.register('a'),
      (/** @type {any} */ store) => store.complete('a', 1),
      (/** @type {any} */ store) => store.fail('b', new Error('b')),
      (/** @type {any} */ store) => store.isInProgress('a'),
      (/** @type {any} */ store) => store.getResult('a'),
      (/** @type {any} */ store) => store.waitFor('c'),
      (/** @type {any} */ store) => store.cleanup(),
      (/** @type {any} */ store) => store.getStats(),
      (/** @type {any} */ store) => store.clear(),
    ],
  ],
  ...[SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore].map((Store) => [
    Store,
    [
      (/** @type {any} */ store) => store.canProceed('a', 'user'),
      (/** @type {any} */ store) => store.record('a', 'user'),
      (/** @type {any} */ store) => store.acquire('a', 'user'),
      (/** @type {any} */ store) => store.getStatus('a'),
      (/** @type {any} */ store) => store.getWaitTime('a', 'user'),
      (/** @type {any} */ store) => store.cleanup?.(),
      (/** @type {any} */ store) => store.getStats(),
      (/** @type {any} */ store) => store.reset('a'),
      (/** @type {any} */ store) => store.clear(),
    ],
  ]),
];

/** How many calls, and constructors, came to what. @type {Record<string, number>} */
const seen = {};
let slowest = 0;
const note = (/** @type {string} */ what) => {
  seen[what] = (seen[what] ?? 0) + 1;
};

async function main() {
  const pending = [];
  for (const [Store, methods] of calls) {
    let store;
    try {
      store = new Store(options);
    } catch (error) {
      note(`not made: ${/** @type {any} */ (error).code ?? error}`);
      continue;
    }
    for (const method of methods) {
      const start = performance.now();
      try {
        await method(store);
        note('resolved');
      } catch (error) {
        note(/** @type {any} */ (error).code ?? `${error}`);
      }
      slowest = Math.max(slowest, performance.now() - start);
    }
    pending.push(() => methods.forEach((method) => void method(store).catch(() => {})));
  }
  writeSync(1, JSON.stringify({ seen, slowest: Math.round(slowest) }));
  for (const call of pending) call();
  process.exit();
}

main();
