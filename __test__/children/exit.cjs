'use strict';
// Ends in the form asked for, with calls pending.

const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore } = require('../..');

const { path, form, options, size, count } = JSON.parse(process.argv[2]);

/** @type {any} */
let cache;
/** @type {any} */
let dedupe;
/** @type {any} */
let limits;

function open() {
  cache = new SQLiteCacheStore({ database: path, ...options });
  dedupe = new SQLiteDedupeStore({ database: path, ...options });
  limits = new SQLiteRateLimitStore({ database: path, ...options });
}

function write() {
  for (let index = 0; index < count; index++) {
    void cache.set(`key ${index}`, 'x'.repeat(size), 1_000);
    void limits.record('resource');
  }
  void dedupe.register('job');
  void dedupe.complete('job', 'result');
  void cache.delete('key 0');
}

/** @type {Record<string, () => void>} */
const forms = {
  'the natural end'() {
    open();
    write();
  },
  'process.exit()'() {
    open();
    write();
    process.exit(3);
  },
  'process.exit() in a promise'() {
    open();
    Promise.resolve().then(() => {
      write();
      process.exit(3);
    });
  },
  'process.exit() once the writes are under way'() {
    open();
    write();
    setImmediate(() => process.exit(3));
  },
  'an uncaught exception'() {
    open();
    write();
    throw new Error('uncaught here');
  },
  'an unhandled rejection'() {
    open();
    write();
    void Promise.reject(new Error('unhandled here'));
  },
  'an exit listener added before the stores'() {
    process.on('exit', write);
    open();
  },
  'an exit listener added after the stores'() {
    open();
    process.on('exit', write);
  },
  'a beforeExit listener'() {
    open();
    process.once('beforeExit', write);
  },
  'a signal handler'() {
    open();
    process.on('SIGTERM', () => process.exit(3));
    setInterval(() => undefined, 1_000);
    write();
    process.kill(process.pid, 'SIGTERM');
  },
  'close() that nobody awaits'() {
    open();
    write();
    void cache.close();
    void dedupe.close();
    void limits.close();
    process.exit(3);
  },
};

forms[form]();
