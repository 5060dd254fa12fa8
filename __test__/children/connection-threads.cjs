'use strict';
// Stores on connections of several threads to one file, one of which is terminated amid its calls.

const { once } = require('node:events');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');
const { SQLiteCacheStore, SQLiteDedupeStore } = require('../..');
const { connect } = require('../support/drivers.cjs');

async function inWorker() {
  const { driver, path, name, endless } = workerData;
  const connection = connect(driver, path, { timeout: 20_000 });
  const cache = new SQLiteCacheStore({ database: connection });
  const dedupe = new SQLiteDedupeStore({ database: connection, claimTimeoutMs: 0 });
  for (let n = 0; endless || n < 100; n++) {
    await Promise.all([cache.set(`${name} ${n}`, n, 60), cache.set(`${name} ${n}, too`, n, 60)]);
    if (n === 0) parentPort?.postMessage('started');
  }
  await dedupe.complete('job', { name });
  cache.destroy();
  dedupe.destroy();
  connection.close();
}

async function inMain() {
  const { driver, path } = JSON.parse(process.argv[2]);
  const connection = connect(driver, path, { timeout: 20_000 });
  connection.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF');
  const cache = new SQLiteCacheStore({ database: connection });
  const dedupe = new SQLiteDedupeStore({ database: connection, claimTimeoutMs: 0 });
  await dedupe.register('job');
  const waiter = dedupe.waitFor('job');
  const [finite, endless] = [false, true].map(
    (each) =>
      new Worker(__filename, {
        workerData: { driver, path, name: each ? 'b' : 'a', endless: each },
      }),
  );
  const ended = once(finite, 'exit');
  await once(endless, 'message');
  await endless.terminate();
  const [code] = await ended;
  const result = await waiter;
  const read = [await cache.get('a 0'), await cache.get('a 99, too'), await cache.get('b 0')];
  const { totalItems } = await cache.getStats();
  const [check] = Object.values(connection.prepare('PRAGMA integrity_check').get());
  cache.destroy();
  dedupe.destroy();
  connection.close();
  process.stdout.write(
    JSON.stringify({ code, result, read, enough: totalItems >= 202, even: totalItems % 2, check }),
  );
}

if (isMainThread) inMain();
else inWorker();
