// The cases of the contract suites one by one, to be asked of any store.
import { createRequire } from 'node:module';
import { expect } from 'vitest';
import { clock } from './vitest.mjs';

const require = createRequire(import.meta.url);
const { createHarness } = require('./harness.cjs');
const { contracts } = require('../suites/index.cjs');

/**
 * @typedef {{ run: () => Promise<void>, fails: boolean }} Case  `fails`: the suite expects it to
 */

/**
 * The cases of the suite for a store, by their titles with those of the groups they are in.
 * @param {string} name  the store's
 * @param {Pick<import('./harness.cjs').Target, 'Store' | 'reference'>} target
 * @returns {Map<string, Case>}
 */
export function casesOf(name, target) {
  /** @type {Map<string, Case>} */
  const cases = new Map();
  /** @type {string[]} */
  const groups = [];
  /** @type {(() => unknown)[]} */
  const before = [];
  /** @type {(() => unknown)[]} */
  const after = [];

  const add = (/** @type {boolean} */ fails) => {
    return (/** @type {string} */ title, /** @type {() => unknown} */ body) => {
      const run = async () => {
        for (const hook of before) await hook();
        try {
          await body();
        } finally {
          for (const hook of after) await hook();
        }
      };
      cases.set([...groups, title].join(' '), { run, fails });
    };
  };
  const it = Object.assign(add(false), { fails: add(true), skip: () => {} });
  const describe = (/** @type {string} */ title, /** @type {() => void} */ body) => {
    groups.push(title);
    body();
    groups.pop();
  };
  const runner = {
    describe,
    it,
    expect,
    beforeEach: (/** @type {() => unknown} */ hook) => before.push(hook),
    afterEach: (/** @type {() => unknown} */ hook) => after.push(hook),
    clock,
  };
  contracts[name](createHarness(runner, { ...target, database: 'path' }));
  return cases;
}
