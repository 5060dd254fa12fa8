// The stores on a connection that the application opened. Which drivers: see support/drivers.cjs.
import { createRequire } from 'node:module';
import { describe } from 'vitest';
import * as stores from '../index.mjs';
import { runner } from './support/vitest.mjs';

const require = createRequire(import.meta.url);
const { createHarness } = require('./support/harness.cjs');
const { contracts } = require('./suites/index.cjs');
const { chosen, connect, cutsTexts } = require('./support/drivers.cjs');
const sharing = require('./suites/connection-sharing.cjs');
const fakeConnections = require('./suites/fake-connections.cjs');
const states = require('./suites/connection-states.cjs');
const { onConnections } = require('./support/on-connections.cjs');

for (const name of chosen()) {
  const cuts = cutsTexts(name);
  for (const safeIntegers of [false, true]) {
    const wrapped = onConnections(stores, (path) => {
      const connection = connect(name, path, { safeIntegers });
      // Changes nothing but the time it takes.
      connection.exec('PRAGMA synchronous = OFF');
      return connection;
    });
    for (const [Store, contract] of Object.entries(contracts)) {
      for (const database of /** @type {const} */ (['path', ':memory:'])) {
        describe(`${Store}, ${name}${safeIntegers ? ', safe integers' : ''}, ${database}`, () => {
          const target = { Store: wrapped[Store], database, cutsTexts: cuts };
          contract(createHarness(runner, target));
        });
      }
    }
  }
}

for (const name of chosen()) {
  describe(`${name}, states`, () => states(runner, name, stores));
  describe(`${name}, sharing`, () => sharing(runner, name, stores));
  describe(`${name}, fake connections`, () => fakeConnections(runner, name, stores));
}
