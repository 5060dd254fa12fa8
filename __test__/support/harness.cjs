'use strict';
// What a contract suite gets to work with, the same under Vitest and Jest.

const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

// Taken before any runner fakes it: settlement is observed over real turns of the event loop.
const realSetImmediate = setImmediate;

/** Not every realm has the well-known symbol: Jest's do not. */
const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');

/** The time every test starts at. */
const START = Date.UTC(2026, 0, 1);

/** What a runner fakes of time. Deno's own code needs its `setImmediate`. */
const FAKED = /** @type {const} */ ([
  'Date',
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
]);

/** One real turn of the event loop; everything on the microtask queue has run after it. */
const turn = () => new Promise((resolve) => realSetImmediate(resolve));

const realTime = process.hrtime.bigint.bind(process.hrtime);

/**
 * Where a promise has got to after a few real turns, at least as many as background work may take on an idle machine: for
 * one that is to stay pending.
 * @param {Promise<unknown>} promise
 */
const stateOf = (promise) => settledWithin(promise, 20);

/**
 * Where a promise has got to that is to be settled, however busy the machine.
 * @param {Promise<unknown>} promise
 */
const outcomeOf = (promise) => settledWithin(promise, 10_000);

/**
 * @param {Promise<unknown>} promise
 * @param {number} milliseconds  of real time
 * @returns {Promise<{ status: 'pending' | 'resolved' | 'rejected', value?: any }>}
 */
async function settledWithin(promise, milliseconds) {
  /** @type {{ status: 'pending' | 'resolved' | 'rejected', value?: any }} */
  let state = { status: 'pending' };
  promise.then(
    (value) => {
      state = { status: 'resolved', value };
    },
    (value) => {
      state = { status: 'rejected', value };
    },
  );
  const end = realTime() + BigInt(milliseconds) * 1_000_000n;
  for (let turns = 0; (turns < 5 || realTime() < end) && state.status === 'pending'; turns++) {
    await turn();
  }
  return state;
}

/**
 * @typedef {object} Clock
 * @property {(now: number) => void} start
 * @property {() => void} stop
 * @property {(now: number) => void} set
 * @property {(ms: number) => void} advance
 * @property {(ms: number) => Promise<unknown>} advanceAsync
 *
 * @typedef {object} Runner  a test runner's globals and its fake clock
 * @property {any} describe
 * @property {any} it
 * @property {any} expect
 * @property {any} beforeEach
 * @property {any} afterEach
 * @property {Clock} clock
 *
 * @typedef {object} Target  what a suite runs against
 * @property {new (options?: any) => any} Store
 * @property {'path' | ':memory:'} database
 * @property {boolean} [reference]  0.2.0: cases it gets wrong must fail
 * @property {boolean} [cutsTexts]  a text that is read ends at a NUL
 * @property {boolean} [isFar]  each call takes several turns of the event loop
 * @property {boolean} [isRemote]  on a server, or by its client: the times are the server's, and values are bounded
 */

/**
 * @param {Runner} runner
 * @param {Target} target
 */
function createHarness(
  runner,
  { Store, database, reference = false, cutsTexts = false, isRemote = false, isFar = false },
) {
  const { describe, it, expect, beforeEach, afterEach, clock } = runner;
  let directory = '';
  /** @type {any[]} */
  let opened = [];

  /**
   * A store on the chosen database. With a path, all stores of one test share one file.
   * @param {Record<string, unknown>} [options]
   */
  function open(options) {
    const store = new Store({
      database: database === 'path' ? join(directory, 'stores.db') : database,
      ...options,
    });
    opened.push(store);
    return store;
  }

  /** Fake clock and empty directory around each test; to be called once, inside the suite's own `describe`. */
  function isolate() {
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'contract-'));
      clock.start(START);
    });
    afterEach(() => {
      for (const store of opened) store.destroy();
      opened = [];
      clock.stop();
      rmSync(directory, { recursive: true, force: true });
    });
  }

  return {
    describe,
    it,
    /** A case which 0.2.0 gets wrong. */
    fixed: reference ? it.fails : it,
    /** A case that cannot even be asked of 0.2.0. */
    ours: reference ? it.skip : it,
    /** A case that a server has otherwise. */
    local: isRemote ? it.skip : it,
    /** A case that needs each call to be carried out in a few turns of the event loop. @param {any} as */
    near: (as) => (isFar ? it.skip : as),
    /** A case that needs a second store on the same data. */
    shared: database === 'path' ? it : it.skip,
    sharedOurs: database === 'path' && !reference ? it : it.skip,
    sharedFixed: database !== 'path' ? it.skip : reference ? it.fails : it,
    expect,
    beforeEach,
    afterEach,
    clock,
    open,
    isolate,
    Store,
    START,
    cutsTexts,
    isRemote,
    asyncDispose,
    turn,
    outcomeOf,
    stateOf,
    /** Every call answers a promise, whatever comes of it. @param {unknown[]} answers */
    async expectPromises(answers) {
      for (const answer of answers) expect(answer).toBeInstanceOf(Promise);
      await Promise.allSettled(answers);
    },
    /** @param {string} name */
    pathOf: (name) => join(directory, name),
  };
}

/** @typedef {ReturnType<typeof createHarness>} Harness */

module.exports = { createHarness, FAKED, outcomeOf, START, stateOf, turn };
