// Running npm from scripts, which may be the first command on a fresh clone: uses nothing but what comes with Node.

import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** npm writes it last, so it also tells a complete installation from an interrupted one. */
const INSTALLED = 'node_modules/.package-lock.json';

/** @param {string} path @returns {number} when the file was last changed; 0 if there is none */
const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/**
 * Runs npm, its output passed on; ends this process with its exit code if it fails.
 * @param {string} folder  where
 * @param {string} why
 * @param {string[]} args
 */
export function npm(folder, why, ...args) {
  const title = `npm ${args.join(' ')}`;
  console.log(`${why}: ${title}`);
  // npm says where it is to the scripts it runs. Started without npm, it is looked up, through a shell for `npm.cmd`.
  const script = process.env.npm_execpath;
  /** @type {import('node:child_process').SpawnSyncOptions} */
  const options = { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] };
  const { status, signal, error } =
    script && existsSync(script) && /\.c?js$/.test(script)
      ? spawnSync(process.execPath, [script, ...args], options)
      : spawnSync(title, { ...options, shell: true });
  if (status === 0) return;
  console.error(`${title} failed: ${error ?? signal ?? `exit code ${status}`}`);
  process.exit(status || 1);
}

/** Whether what a folder's package-lock.json names is installed. @param {string} folder */
export function isInstalled(folder) {
  const installed = changed(join(folder, INSTALLED));
  return installed > 0 && installed >= changed(join(folder, 'package-lock.json'));
}

/**
 * Installs what a folder's package-lock.json names, unless that has been done.
 * @param {string} folder
 * @param {string[]} options  of `npm ci`
 */
export function install(folder, ...options) {
  if (isInstalled(folder)) return;
  const why = changed(join(folder, INSTALLED))
    ? 'package-lock.json is newer than what is installed'
    : 'packages are not installed';
  npm(folder, `${why} in ${folder}`, 'ci', ...options);
}
