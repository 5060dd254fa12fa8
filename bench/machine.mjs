// What the figures were measured on.

import { readFileSync, statfsSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { base } from './directory.mjs';

const load = createRequire(import.meta.url);

/** The types of file system that are common, by the number that the kernel gives them. */
const FILE_SYSTEMS = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'XFS'],
  [0x9123683e, 'Btrfs'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlayfs'],
  [0x2fc12fc1, 'ZFS'],
  [0x1a, 'APFS'],
]);

/** @param {string} name */
const version = (name) => {
  const paths = load.resolve.paths(name) ?? [];
  for (const path of paths) {
    try {
      return JSON.parse(readFileSync(`${path}/${name}/package.json`, 'utf8')).version;
    } catch {}
  }
  return 'not installed';
};

/** @param {string} ours  the version of SQLite in this package @returns {Promise<[string, string][]>} what, and which */
export async function machine(ours) {
  const { type } = statfsSync(base);
  const { default: Database } = await import('better-sqlite3');
  const sqliteOf = (/** @type {any} */ connection) =>
    connection.prepare('SELECT sqlite_version() AS version').get().version;
  const theirs = new Database(':memory:');
  const betterSqlite = sqliteOf(theirs);
  theirs.close();
  const packages = [
    'sqlite-store-0.2.0',
    '@comic-vine/client',
    'better-sqlite3',
    'keyv',
    '@keyv/sqlite',
    'lmdb',
    'rate-limiter-flexible',
  ].map((name) => `${name} ${version(name)}`);
  return [
    ['CPU', `${os.cpus()[0].model.trim()}, ${os.cpus().length} cores`],
    ['memory', `${(os.totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['system', `${os.type()} ${os.release()}, ${os.arch()}`],
    ['file system', `${FILE_SYSTEMS.get(type) ?? `type 0x${type.toString(16)}`}`],
    ['Node.js', process.version],
    ['SQLite in this package', ours],
    ['SQLite in better-sqlite3', betterSqlite],
    ['packages', packages.join(', ')],
  ];
}
