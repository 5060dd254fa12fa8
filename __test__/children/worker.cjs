'use strict';
// What the threads of the tests do. Says 'ready' once its stores are open, and starts at 'go'.

const { parentPort, workerData } = require('node:worker_threads');
const {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} = require('../..');

const { task, path, id, rounds = 0, options = {} } = workerData;
const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);

const open = (/** @type {any} */ Store, /** @type {object} */ more = {}) =>
  new Store({ database: path, ...options, ...more });

/** @type {Record<string, () => () => Promise<unknown>>} */
const tasks = {
  /** All stores, awaited now and then. Every thread has its own keys and one that all write. */
  mixed() {
    const cache = open(SQLiteCacheStore);
    const dedupe = open(SQLiteDedupeStore);
    const limits = open(SQLiteRateLimitStore);
    const adaptive = open(SqliteAdaptiveRateLimitStore);
    return async () => {
      /** @type {Promise<unknown>[]} */
      const pending = [];
      const faults = [];
      for (let round = 0; round < rounds; round++) {
        pending.push(cache.set(`${id}:${round}`, { id, round }, 1_000));
        pending.push(cache.set(`last of ${id}`, round, 1_000));
        pending.push(cache.set('of all', { id, round }, 1_000));
        pending.push(limits.record('of all'), limits.record(`of ${id}`));
        pending.push(adaptive.record('of all', round % 2 ? 'user' : 'background'));
        pending.push(dedupe.register(`${id}:${round}`), dedupe.complete(`${id}:${round}`, round));
        if (round % 10 === 3) pending.push(cache.delete(`${id}:${round - 1}`));
        if (round % 25 === 7) pending.push(cache.set(`${id}:big`, 'x'.repeat(1_500_000), 1_000));
        if (round % 7 === 0) {
          // Its own calls, in order, whatever the others do.
          const seen = await cache.get(`last of ${id}`);
          if (seen !== round) faults.push(`saw ${seen} instead of ${round}`);
        }
      }
      await Promise.all(pending);
      cache.destroy();
      await Promise.all([dedupe.close(), limits.close()]);
      adaptive.destroy();
      return faults;
    };
  },
  /** Waits for a job of another thread. */
  wait() {
    const dedupe = open(SQLiteDedupeStore);
    return async () => {
      const answers = await Promise.all(
        workerData.hashes.map((/** @type {string} */ hash) =>
          dedupe.waitFor(hash).then(
            (/** @type {any} */ value) => ({ value: value ?? null }),
            (/** @type {any} */ error) => ({ error: error.message }),
          ),
        ),
      );
      await dedupe.close();
      return answers;
    };
  },
  /** Makes a request the way the client does: once among all threads. */
  request() {
    const dedupe = open(SQLiteDedupeStore);
    return async () => {
      let worked = 0;
      const answers = [];
      for (const hash of workerData.hashes) {
        let answer = await dedupe.waitFor(hash);
        if (answer === undefined) {
          await dedupe.register(hash);
          await new Promise((resolve) => setTimeout(resolve, 20));
          worked++;
          answer = `result of ${hash}`;
          await dedupe.complete(hash, answer);
        }
        answers.push(answer);
      }
      await dedupe.close();
      return { worked, answers };
    };
  },
  /** Ends with writes pending. */
  end() {
    const cache = open(SQLiteCacheStore);
    return async () => {
      for (let round = 0; round < rounds; round++) {
        void cache.set(`${id}:${round}`, round, 1_000);
      }
      void cache.set(`${id}:big`, 'x'.repeat(2_000_000), 1_000);
      if (workerData.form === 'process.exit()') process.exit(0);
      if (workerData.form === 'an uncaught exception') {
        setImmediate(() => {
          void cache.set(`${id}:thrown`, 1, 1_000);
          throw new Error('uncaught in the worker');
        });
      }
      if (workerData.form === 'terminate()') {
        port.postMessage('terminate me');
        for (;;);
      }
    };
  },
};

const go = tasks[task]();
port.once('message', () => {
  go().then((result) => {
    port.postMessage({ result });
  });
});
port.postMessage('ready');
