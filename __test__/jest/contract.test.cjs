'use strict';
// The contract suites under Jest, which evaluates each test file in a realm of its own and fakes more than Vitest does.

const { afterEach, beforeEach, describe, expect, it, jest: fake } = require('@jest/globals');
const stores = require('../../index.js');
const { createHarness } = require('../support/harness.cjs');
const { contracts } = require('../suites/index.cjs');

const runner = {
  describe,
  it,
  expect,
  beforeEach,
  afterEach,
  clock: {
    start: (/** @type {number} */ now) => fake.useFakeTimers({ now }),
    stop: () => fake.useRealTimers(),
    set: (/** @type {number} */ now) => fake.setSystemTime(now),
    advance: (/** @type {number} */ ms) => fake.advanceTimersByTime(ms),
    advanceAsync: (/** @type {number} */ ms) => fake.advanceTimersByTimeAsync(ms),
  },
};

for (const [name, contract] of Object.entries(contracts)) {
  for (const database of /** @type {const} */ (['path', ':memory:'])) {
    describe(`${name}, ${database}`, () => {
      contract(createHarness(runner, { Store: stores[name], database }));
    });
  }
}
