'use strict';
// The contract suites without a test runner, for memcheck: those that there are load native code of their own, or do not
// start under it. An argument has the tests run whose titles contain it.

const { inspect } = require('node:util');
const FakeTimers = /** @type {any} */ (require('@sinonjs/fake-timers'));
const { expect } = require('expect');
const stores = /** @type {any} */ (require('..'));
const { createHarness } = require('../__test__/support/harness.cjs');
const { contracts } = require('../__test__/suites/index.cjs');

const wanted = process.argv[2] ?? '';

/** @typedef {{ title: string, before: Function[], after: Function[] }} Block */
/** @type {Block[]} */
const blocks = [];
/** @type {{ title: string, test: Function, within: Block[] }[]} */
const tests = [];

/** @param {string} title @param {() => void} body */
function describe(title, body) {
  blocks.push({ title, before: [], after: [] });
  body();
  blocks.pop();
}

/** @param {string} title @param {Function} test */
function it(title, test) {
  const within = [...blocks];
  tests.push({ title: [...within.map((block) => block.title), title].join(', '), test, within });
}
it.skip = () => {};
/** @param {any[]} cases */
const each = (cases) => (/** @type {string} */ title, /** @type {Function} */ test) =>
  cases.forEach((given, index) => {
    const values = Array.isArray(given) ? given : [given];
    it(`${title} (${index})`, () => test(...values));
  });
it.each = each;
/** @param {any[]} cases */
describe.each = (cases) => (/** @type {string} */ title, /** @type {Function} */ body) =>
  cases.forEach((given, index) => {
    describe(`${title} (${index})`, () => body(...(Array.isArray(given) ? given : [given])));
  });

/** @type {any} */
let clock;
const runner = {
  describe,
  it,
  expect,
  beforeEach: (/** @type {Function} */ act) => blocks.at(-1)?.before.push(act),
  afterEach: (/** @type {Function} */ act) => blocks.at(-1)?.after.push(act),
  clock: {
    start(/** @type {number} */ now) {
      clock = FakeTimers.install({
        now,
        toFake: ['Date', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'],
      });
    },
    stop: () => clock.uninstall(),
    set: (/** @type {number} */ now) => clock.setSystemTime(now),
    advance: (/** @type {number} */ ms) => clock.tick(ms),
    advanceAsync: (/** @type {number} */ ms) => clock.tickAsync(ms),
  },
};

async function main() {
  for (const [name, contract] of Object.entries(contracts)) {
    for (const database of /** @type {const} */ (['path', ':memory:'])) {
      describe(`${name}, ${database}`, () => {
        contract(createHarness(runner, { Store: stores[name], database }));
      });
    }
  }
  let [passed, failed] = [0, 0];
  for (const { title, test, within } of tests) {
    if (!title.includes(wanted)) continue;
    try {
      for (const act of within.flatMap((block) => block.before)) await act();
      await test();
      passed++;
    } catch (error) {
      failed++;
      console.error(`failed: ${title}: ${inspect(error).slice(0, 1_000)}`);
    }
    for (const act of within.flatMap((block) => block.after).reverse()) await act();
  }
  console.log(`contract suites: ${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}

main();
