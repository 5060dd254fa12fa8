// The stores on a connection that the application opened. Which drivers: see connections/drivers.cjs.
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import * as stores from '../index.mjs';
import { clock } from './support/clock.mjs';

const require = createRequire(import.meta.url);
const { createKit } = require('./support/kit.cjs');
const { contracts } = require('./contract/index.cjs');
const { chosen, connect } = require('./connections/drivers.cjs');
const sharing = require('./connections/sharing.cjs');
const standIns = require('./connections/stand-ins.cjs');
const states = require('./connections/states.cjs');
const { onConnections } = require('./connections/wrap.cjs');

const runner = {
  describe,
  it,
  expect,
  beforeEach,
  afterEach,
  beforeAll,
  afterAll,
  clock,
};

for (const name of chosen()) {
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
          contract(createKit(runner, { Store: wrapped[Store], database }));
        });
      }
    }
  }
}

for (const name of chosen()) {
  describe(`${name}, states`, () => states(runner, name, stores));
  describe(`${name}, sharing`, () => sharing(runner, name, stores));
  describe(`${name}, stand-ins`, () => standIns(runner, name, stores));
}
