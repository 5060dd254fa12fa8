'use strict';
// The contracts of the four stores, on clients of a server: what such a client uses itself is not faked.

const { createHarness } = require('../support/harness.cjs');
const { contracts } = require('./index.cjs');

/**
 * @param {any} runner @param {any} vi @param {Record<string, any>} stores  wrapped, so that paths stand for clients
 * @param {string} where @param {{ isFar?: boolean, cutsTexts?: boolean }} target
 */
module.exports = function onClients(runner, vi, stores, where, target) {
  const toFake = ['Date', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'];
  const start = (/** @type {number} */ now) => vi.useFakeTimers({ now, toFake });
  const faking = { ...runner, clock: { ...runner.clock, start } };
  for (const [name, contract] of Object.entries(contracts)) {
    runner.describe(`${name}, ${where}`, () => {
      const own = { Store: stores[name], database: /** @type {const} */ ('path'), isRemote: true };
      contract(createHarness(faking, { ...own, ...target }));
    });
  }
};
