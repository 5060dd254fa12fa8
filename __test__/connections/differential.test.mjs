// The comparison of ../3-differential.test.mjs, with ours on a better-sqlite3 connection, to a file and in memory.
import { vi } from 'vitest';

vi.mock('../support/modules.mjs', async (original) => {
  const modules = await original();
  const { createRequire } = await import('node:module');
  const require = createRequire(import.meta.url);
  const { connect } = require('./drivers.cjs');
  const { onConnections } = require('./wrap.cjs');
  const ours = onConnections(/** @type {any} */ (modules).ours, (path) => {
    const connection = connect('better-sqlite3 12', path);
    // Changes nothing but the time it takes.
    connection.exec('PRAGMA synchronous = OFF');
    return connection;
  });
  return { .../** @type {any} */ (modules), ours };
});

await import('../3-differential.test.mjs');
