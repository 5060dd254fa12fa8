// The suites under Bun's own test runner, on bun:sqlite: bun test ./__test__/bun/suites.mjs
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const elsewhere = createRequire(new URL('../runtimes/package.json', import.meta.url));
// Bun's fake timers have no asynchronous advance.
const FakeTimers = elsewhere('@sinonjs/fake-timers');
const { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } = require(
  `bun:${'test'}`,
);
const stores = require('../../index.js');
const { unserializable } = require('../support/values.cjs');
const sharing = require('../suites/connection-sharing.cjs');
const fakeConnections = require('../suites/fake-connections.cjs');
const states = require('../suites/connection-states.cjs');
const { createHarness, FAKED } = require('../support/harness.cjs');
const { contracts } = require('../suites/index.cjs');
const { connect } = require('../support/drivers.cjs');
const { onConnections } = require('../support/on-connections.cjs');

// What JSON.stringify says of a value is the engine's own.
for (const each of unserializable) {
  try {
    JSON.stringify(each.value);
  } catch (error) {
    each.reason = error instanceof Error ? error.message : error;
  }
}

/** @type {any} */
let clock;
const runner = {
  describe,
  it,
  expect,
  beforeEach,
  afterEach,
  beforeAll,
  afterAll,
  clock: {
    start(/** @type {number} */ now) {
      clock = FakeTimers.install({ now, toFake: FAKED });
    },
    stop: () => clock.uninstall(),
    set: (/** @type {number} */ now) => clock.setSystemTime(now),
    advance: (/** @type {number} */ ms) => clock.tick(ms),
    advanceAsync: (/** @type {number} */ ms) => clock.tickAsync(ms),
  },
};

/** @param {string} path @param {boolean} safeIntegers */
function open(path, safeIntegers) {
  const connection = connect('bun:sqlite', path, { safeIntegers });
  connection.exec('PRAGMA synchronous = OFF');
  return connection;
}

/** @type {[string, Record<string, any>][]} */
const variants = [
  ['bun:sqlite', onConnections(stores, (path) => open(path, false))],
  ['bun:sqlite, safe integers', onConnections(stores, (path) => open(path, true))],
  ['Bun, own connection', stores],
];
for (const [name, variant] of variants) {
  for (const [Store, contract] of Object.entries(contracts)) {
    for (const database of /** @type {const} */ (['path', ':memory:'])) {
      describe(`${Store}, ${name}, ${database}`, () => {
        contract(createHarness(runner, { Store: variant[Store], database }));
      });
    }
  }
}

describe('bun:sqlite, states', () => states(runner, 'bun:sqlite', stores));
describe('bun:sqlite, sharing', () => sharing(runner, 'bun:sqlite', stores));
describe('bun:sqlite, fake connections', () => fakeConnections(runner, 'bun:sqlite', stores));
