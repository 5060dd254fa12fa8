'use strict';
// The package is loaded, stores are made, and calls are made within async contexts, as in the requests of a server that
// loads it when it first needs it. Tells in which contexts work was done, and which contexts were kept. Needs --expose-gc.

const { AsyncLocalStorage } = require('node:async_hooks');
const { connect } = require('../support/drivers.cjs');

const { driver, path } = JSON.parse(process.argv[2]);
/** @type {any} */
const scope = globalThis;
const collect = scope.Bun ? () => scope.Bun.gc(true) : scope.gc;
/** @type {AsyncLocalStorage<{ name: string }>} */
const storage = new AsyncLocalStorage();
/** @type {Record<string, WeakRef<object>>} */
const contexts = {};

/** @template T @param {string} name @param {() => T} work @returns {T} */
function within(name, work) {
  const context = { name };
  contexts[name] = new WeakRef(context);
  return storage.run(context, work);
}

/** What was done, and where. @type {Set<string>} */
let seen = new Set();
/** @param {string} what */
const see = (what) => seen.add(`${what}: ${storage.getStore()?.name ?? 'outside'}`);
/** What has been seen since this was last called. */
function taken() {
  const list = [...seen].sort();
  seen = new Set();
  return list;
}

for (const name of ['setTimeout', 'setInterval']) {
  const start = scope[name];
  scope[name] = (/** @type {any[]} */ ...parameters) => {
    see(name);
    return start(...parameters);
  };
}
const { setTimeout: sleep } = require('node:timers/promises');

/** A connection that tells what runs on it. */
function spied() {
  const connection = connect(driver, ':memory:');
  const methods = ['run', 'get', 'all'];
  /** @param {any} statement @param {string} sql */
  function spy(statement, sql) {
    for (const method of methods) {
      const run = statement[method].bind(statement);
      statement[method] = (/** @type {any[]} */ ...parameters) => {
        // Not what the driver is asked about itself.
        const [verb] = /^(INSERT|DELETE|UPDATE|SELECT(?=.+FROM cache WHERE))/.exec(sql) ?? [];
        if (verb) see(verb);
        return run(...parameters);
      };
    }
    return statement;
  }
  return new Proxy(connection, {
    get(target, name) {
      if (name === 'prepare') return (/** @type {string} */ sql) => spy(target.prepare(sql), sql);
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** @type {any[]} */
const open = [];

/**
 * Uses stores on a database. In a function of its own, so that no variable is left.
 * @param {Record<string, any>} stores
 * @param {string} title
 * @param {any} database
 */
async function use(stores, title, database) {
  const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore } = stores;
  const [cache, dedupe, limits] = within(`${title}, make`, () => [
    new SQLiteCacheStore({ database, cleanupIntervalMs: 30 }),
    new SQLiteDedupeStore({ database, cleanupIntervalMs: 0, jobTimeoutMs: 60_000 }),
    new SQLiteRateLimitStore({ database }),
  ]);
  open.push(cache, dedupe, limits);
  const made = taken();
  await Promise.all([
    within(`${title}, first`, () => cache.set('first', 1, 60)),
    within(`${title}, second`, () => cache.set('second', 2, 60)),
    within(`${title}, third`, () => limits.record('r')),
  ]);
  const wrote = taken();
  await within(`${title}, read`, () => cache.get('first'));
  const read = taken();
  await within(`${title}, register`, () => dedupe.register('job'));
  taken();
  const waiting = within(`${title}, wait`, () => dedupe.waitFor('job'));
  // On a connection until a clean-up has run, and the lease has been renewed.
  const least = title === 'connection' ? 3 : 1;
  for (let round = 0; round < 1_000 && seen.size < least; round++) await sleep(10);
  const waited = taken();
  await within(`${title}, complete`, () => dedupe.complete('job', 'done'));
  await waiting;
  taken();
  return { made, wrote, read, waited };
}

async function main() {
  const load = () => require('../..');
  // Bun has no place outside of the context in which a module is loaded.
  const stores = scope.Bun ? load() : within('load', load);
  const told = {
    path: await use(stores, 'path', path),
    memory: await use(stores, 'memory', ':memory:'),
    connection: await use(stores, 'connection', spied()),
  };
  const kept = () => Object.keys(contexts).filter((name) => contexts[name].deref());
  for (let round = 0; round < 200 && kept().length > 0; round++) {
    // Not in the turn in which they were looked at.
    await sleep(10);
    collect();
    await sleep(1);
  }
  process.stdout.write(JSON.stringify({ ...told, kept: kept() }));
  for (const store of open) store.destroy();
}

main();
