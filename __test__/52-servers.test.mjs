// The contracts of the four stores on a server.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, vi } from 'vitest';
import * as stores from '../index.mjs';
import { runner } from './support/vitest.mjs';

const require = createRequire(import.meta.url);
const { onConnections } = require('./support/on-connections.cjs');
const onClients = require('./suites/on-clients.cjs');
const { connect, program, reset, Server } = require('./support/servers.cjs');

if (program === undefined) {
  console.error('52-servers: SKIPPED: there is no libSQL server for this platform');
}
describe.skipIf(program === undefined)('a server', () => {
  /** @type {InstanceType<typeof Server>} */
  let server;
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server.stop());

  /** A client of a server that is empty when it is first asked. The path stands for it. @param {string} path */
  function empty(path) {
    if (path === ':memory:') return connect(path);
    writeFileSync(path, '');
    const client = connect(server.url);
    const ready = reset(client);
    // Of stores that have ended by then.
    ready.catch(() => {});
    return {
      execute: (/** @type {any} */ statement) => ready.then(() => client.execute(statement)),
      batch: (/** @type {any} */ list, /** @type {any} */ mode) =>
        ready.then(() => client.batch(list, mode)),
      close: () => client.close(),
    };
  }
  // On a loaded machine some calls take longer than they may by default.
  const patient = onConnections(stores, empty, { requestTimeoutMs: 60_000 });
  onClients(runner, vi, patient, 'a server', { isFar: true });
});
