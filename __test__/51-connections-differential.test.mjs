// The comparison of 11-differential.test.mjs, with ours on a better-sqlite3 connection, to a file and in memory.
import { vi } from 'vitest';

vi.mock('./support/packages.mjs', async (original) => {
  const modules = await original();
  const { createRequire } = await import('node:module');
  const require = createRequire(import.meta.url);
  const { connect } = require('./support/drivers.cjs');
  const { onConnections } = require('./support/on-connections.cjs');
  const ours = onConnections(/** @type {any} */ (modules).ours, (path) => {
    const connection = connect('better-sqlite3 12', path);
    // Changes nothing but the time it takes.
    connection.exec('PRAGMA synchronous = OFF');
    return connection;
  });
  return { .../** @type {any} */ (modules), ours };
});

await import('./11-differential.test.mjs');
