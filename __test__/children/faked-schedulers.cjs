'use strict';
// Every way to schedule anything is faked, and the fakes never run: what a call needs to finish must not need them.

const { writeSync } = require('node:fs');
const { join } = require('node:path');
const stores = require('../..');

const { directory } = JSON.parse(process.argv[2]);

/** @type {any} */
const scope = globalThis;
const never = () => ({ unref() {}, ref() {} });
for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask']) {
  scope[name] = never;
}
process.nextTick = /** @type {any} */ (never);

/** @param {Record<string, unknown>} options */
async function callAll(options) {
  const cache = new stores.SQLiteCacheStore(options);
  const dedupe = new stores.SQLiteDedupeStore({ ...options, claimTimeoutMs: 50 });
  const limits = new stores.SQLiteRateLimitStore(options);
  const adaptive = new stores.SqliteAdaptiveRateLimitStore(options);
  const unawaited = [cache.set('a', 1, 60), cache.set('b', 'x'.repeat(2_000_000), 60)];
  const answers = [
    await cache.set('c', 3, 60),
    await cache.get('c'),
    await dedupe.register('job').then(() => 'registered'),
    await Promise.all([dedupe.waitFor('job'), dedupe.complete('job', 'result')]),
    // The second is told when the claim of the first has not been used.
    [await dedupe.waitFor('unused'), await dedupe.waitFor('unused')].length,
    await limits.record('r'),
    await limits.canProceed('r'),
    await adaptive.record('r', 'user'),
    (await adaptive.getStats()).totalRequests,
    await cache.cleanup(),
    await cache.delete('a'),
    (await cache.getStats()).totalItems,
    await Promise.all(unawaited),
    await cache.close(),
    await dedupe.close(),
    await limits.close(),
    await adaptive.close(),
  ];
  return answers.map((answer) => answer ?? null);
}

async function main() {
  const answers = {
    wal: await callAll({ database: join(directory, 'wal.db') }),
    full: await callAll({ database: join(directory, 'full.db'), synchronous: 'full' }),
    journal: await callAll({ database: join(directory, 'delete.db'), journalMode: 'delete' }),
  };
  writeSync(1, JSON.stringify(answers));
}

main();
