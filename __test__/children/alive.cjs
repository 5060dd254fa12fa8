'use strict';
// Does what is asked for and then nothing: the process ends when nothing keeps it alive.

const { writeSync } = require('node:fs');
const stores = require('../..');

const { path, form } = JSON.parse(process.argv[2]);

/** @param {unknown} value */
const answer = (value) => writeSync(1, JSON.stringify(value));

/** @type {Record<string, () => Promise<void>>} */
const forms = {
  async idle() {
    const all = [
      new stores.SQLiteCacheStore({ database: path, cleanupIntervalMs: 50 }),
      new stores.SQLiteDedupeStore({ database: path, cleanupIntervalMs: 50 }),
      new stores.SQLiteRateLimitStore({ database: path }),
      new stores.SqliteAdaptiveRateLimitStore({ database: path }),
      new stores.SQLiteCacheStore(),
    ];
    const [cache, dedupe] = /** @type {any[]} */ (all);
    await cache.set('key', 1, 1_000);
    await dedupe.register('a pending job');
    await dedupe.waitFor('nobody has this job');
    answer(await cache.get('key'));
  },
  async 'a waitFor that times out'() {
    const store = new stores.SQLiteDedupeStore({ database: path, jobTimeoutMs: 300 });
    await store.register('job');
    answer({ answer: (await store.waitFor('job')) ?? 'undefined' });
  },
  async 'a waitFor on the job of another process'() {
    const store = new stores.SQLiteDedupeStore({ database: path });
    answer({ answer: await store.waitFor('job') });
  },
  async 'a write that waits for a lock'() {
    const store = new stores.SQLiteCacheStore({ database: path });
    await store.set('key', 'written', 1_000);
    answer({ answer: await store.get('key') });
  },
  async 'close()'() {
    const store = new stores.SQLiteCacheStore({ database: path });
    void store.set('key', 'x'.repeat(2_000_000), 1_000);
    await store.close();
    answer({ answer: 'closed' });
  },
};

forms[form]();
