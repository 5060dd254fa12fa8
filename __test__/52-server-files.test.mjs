// The contracts of the four stores on a file, through the client of a server: the same path, and no server.
import { createRequire } from 'node:module';
import { vi } from 'vitest';
import * as stores from '../index.mjs';
import { runner } from './support/vitest.mjs';

const require = createRequire(import.meta.url);
const { onConnections } = require('./support/on-connections.cjs');
const onClients = require('./suites/on-clients.cjs');
const { connect } = require('./support/servers.cjs');

const wrapped = onConnections(stores, (path) => {
  const client = connect(path === ':memory:' ? path : `file:${path}`);
  // Changes nothing but the time it takes.
  client.execute('PRAGMA synchronous = OFF');
  return client;
});
onClients(runner, vi, wrapped, 'a file', { cutsTexts: true });
