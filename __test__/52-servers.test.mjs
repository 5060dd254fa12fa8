// The contracts of the four stores on a server, and on a file through the server's client.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import * as stores from '../index.mjs';
import { runner } from './support/vitest.mjs';

const require = createRequire(import.meta.url);
const { createHarness } = require('./support/harness.cjs');
const { onConnections } = require('./support/on-connections.cjs');
const { contracts } = require('./suites/index.cjs');
const { connect, program, reset, Server } = require('./support/servers.cjs');

/** What the client itself uses is not faked. */
const faked = ['Date', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'];
const ofServer = {
  ...runner,
  clock: {
    ...runner.clock,
    start: (/** @type {number} */ now) => vi.useFakeTimers({ now, toFake: /** @type {any} */ (faked) }),
  },
};

/** @param {Record<string, any>} wrapped @param {string} where */
function contractsOf(wrapped, where) {
  for (const [Store, contract] of Object.entries(contracts)) {
    describe(`${Store}, ${where}`, () => {
      const target = { Store: wrapped[Store], database: /** @type {const} */ ('path'), isRemote: true };
      contract(createHarness(ofServer, { ...target, cutsTexts: where === 'a file' }));
    });
  }
}

contractsOf(
  onConnections(stores, (path) => connect(`file:${path}`)),
  'a file',
);

if (program === undefined) {
  console.error('52-servers: SKIPPED: there is no libSQL server for this platform');
  describe.skip('a server', () => it('is there', () => expect(program).toBeDefined()));
} else {
  /** @type {import('./support/servers.cjs').Server} */
  let server;
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server.stop());
  /** A client of a server that is empty when it is first asked. The path stands for it. @param {string} path */
  function empty(path) {
    writeFileSync(path, '');
    const client = connect(server.url);
    const ready = reset(client);
    return {
      execute: (/** @type {any} */ statement) => ready.then(() => client.execute(statement)),
      batch: (/** @type {any} */ list, /** @type {any} */ mode) =>
        ready.then(() => client.batch(list, mode)),
      close: () => client.close(),
    };
  }
  contractsOf(onConnections(stores, empty), 'a server');
}
