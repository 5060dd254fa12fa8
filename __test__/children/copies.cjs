'use strict';
// Two copies of the package, on one file.

const { linkSync, symlinkSync } = require('node:fs');
const { join } = require('node:path');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

const CLASSES = [
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
];
const ROUNDS = 50;

/** What comes of making a store. @param {Record<string, any>} copy @param {string} name @param {string} database */
function attempt(copy, name, database) {
  try {
    new copy[name]({ database }).destroy();
    return 'made';
  } catch (error) {
    return error;
  }
}

/** Opens one file after the other at the same moment as another thread does, and keeps each until both have tried. */
function race() {
  const { copy, directory, gate } = workerData;
  const stores = require(copy);
  const turns = new Int32Array(gate);
  /** Waits until both threads are here. @param {number} count */
  function meet(count) {
    Atomics.add(turns, 0, 1);
    Atomics.notify(turns, 0);
    for (let seen = Atomics.load(turns, 0); seen < 2 * count; seen = Atomics.load(turns, 0)) {
      Atomics.wait(turns, 0, seen);
    }
  }
  const made = [];
  for (let round = 0; round < ROUNDS; round++) {
    const database = join(directory, `${round}.db`);
    meet(2 * round + 1);
    let store;
    try {
      store = new stores.SQLiteCacheStore({ database });
    } catch {
      // The other one has it.
    }
    meet(2 * round + 2);
    made.push(store !== undefined);
    store?.destroy();
  }
  parentPort?.postMessage(made);
}

async function main() {
  const { first, second, directory } = JSON.parse(process.argv[2]);
  const [one, other] = [require(first), require(second)];
  const path = join(directory, 'stores.db');
  const store = new one.SQLiteCacheStore({ database: path });
  await store.set('key', 1, 60);
  symlinkSync(path, join(directory, 'symbolic.db'));
  linkSync(path, join(directory, 'hard.db'));
  const names = ['stores.db', 'symbolic.db', 'hard.db'].map((name) => join(directory, name));
  const refusals = names.flatMap((name) => CLASSES.map((Class) => attempt(other, Class, name)));
  const elsewhere = [':memory:', join(directory, 'other.db')].map((database) =>
    attempt(other, CLASSES[0], database),
  );
  await store.close();
  const after = attempt(other, CLASSES[0], path);
  const kept = new other.SQLiteCacheStore({ database: path });
  const value = await kept.get('key');
  const back = attempt(one, CLASSES[0], path);
  kept.destroy();

  const gate = new SharedArrayBuffer(4);
  const made = await Promise.all(
    [first, second].map((copy) => {
      const worker = new Worker(__filename, { workerData: { copy, directory, gate } });
      return new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
    }),
  );
  const both = made[0].filter(
    (/** @type {boolean} */ is, /** @type {number} */ i) => is && made[1][i],
  );
  process.stdout.write(
    JSON.stringify({
      codes: [...new Set(refusals.map((error) => error.code ?? error))],
      named: [first, second].every((copy) =>
        refusals[0].message?.includes(`'${join(copy, 'lib')}`),
      ),
      elsewhere,
      after,
      value,
      back: back.code ?? back,
      made: made.flat().includes(true),
      madeByBoth: both.length,
    }),
  );
}

if (isMainThread) main();
else race();
