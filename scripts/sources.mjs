// When the addon's sources were last changed: uses nothing but what comes with Node.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const SOURCES = [
  'src',
  'Cargo.toml',
  'Cargo.lock',
  'build.rs',
  '.cargo',
  'rust-toolchain.toml',
  'scripts/cargo.mjs',
];

/**
 * @param {string} path
 * @returns {number} when the file was last changed, for a directory the newest in it; 0 if there is none
 */
export function changed(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  // The directory's own time counts too: it is what a deleted file changes.
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => changed(join(path, name))));
}

/** @param {string} root @returns {number} when what the addon is built of was last changed */
export const sourcesChanged = (root) =>
  Math.max(...SOURCES.map((name) => changed(join(root, name))));
