/**
 * Tests the stores under the runtimes that they are made for, and on connections of drivers that the developer's Node may not
 * have: node:sqlite and better-sqlite3 13 need Node 22, bun:sqlite needs Bun. They are npm packages, of __test__/runtimes; there
 * are Nodes for Linux on x64 alone. So is an older Jest: under that and the newer one, what stores leave behind.
 *
 *   node scripts/runtimes.mjs            installs them if they are missing, and runs the suites under each
 *   node scripts/runtimes.mjs install    only installs them
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install } from './npm.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, '__test__/runtimes');

/**
 * @typedef {object} Suite
 * @property {string} title
 * @property {string} [program]  absent where there is none for this platform
 * @property {string[]} args
 * @property {Record<string, string>} [env]
 * @property {RegExp} [unwanted]  what its output must not have
 */

/**
 * Runs a suite, and passes its output on when it has ended: several run side by side.
 * @param {Suite} suite
 * @returns {Promise<boolean>} whether all tests passed
 */
async function run({ title, program, args, env, unwanted }) {
  if (!program) {
    console.error(`runtimes: ${title}: there is none for this platform`);
    return false;
  }
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  /** @type {Buffer[]} */
  const output = [];
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => output.push(chunk));
  const [status, signal] = await once(child, 'close');
  const text = Buffer.concat(output).toString();
  console.log(`runtimes: ${title}\n${text}`);
  const told = unwanted?.exec(text)?.[0];
  if (status === 0 && told === undefined) return true;
  console.error(`runtimes: ${title} failed: ${told ?? signal ?? `exit code ${status}`}`);
  return false;
}

/** The majors of Node, beside the developer's own, that the stores are tested under. */
const NODES = [22, 24, 26];

/** A Node that is installed as a package. @param {number} major */
function packagedNode(major) {
  const path = join(folder, `node_modules/node-${major}/bin/node`);
  return existsSync(path) && spawnSync(path, ['--version']).status === 0 ? path : undefined;
}

/** A Node of at least 22.13: this one, or the one that is installed as a package. */
function newerNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 13) ? process.execPath : packagedNode(22);
}

/**
 * A runtime of the packages of a scope: the main package's own program is a stub until its install script has run.
 * @param {string} scope @param {string} program  its path in a package
 */
function scoped(scope, program) {
  const packages = join(folder, 'node_modules', scope);
  const end = process.platform === 'win32' ? '.exe' : '';
  return (existsSync(packages) ? readdirSync(packages) : [])
    .map((name) => join(packages, name, `${program}${end}`))
    .find((path) => existsSync(path) && spawnSync(path, ['--version']).status === 0);
}

// None of the packages needs its scripts, and some refuse an older Node than the one they are run with.
const more = ['servers', 'observability'].map((name) => join(root, '__test__', name));
for (const packages of [folder, ...more])
  install(packages, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error');
if (process.argv[2] !== 'install') {
  const node = newerNode();
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const separator = process.platform === 'win32' ? ';' : ':';
  /** @type {Suite[]} */
  const suites = ['node:sqlite', 'better-sqlite3 13', 'better-sqlite3-multiple-ciphers'].map(
    (driver) => ({
      title: `Node 22 or newer: ${driver}`,
      program: node,
      args: [vitest, 'run', '__test__/50-connections.test.mjs'],
      // Child processes of the tests find the same Node.
      env: { DRIVERS: driver, PATH: `${dirname(node ?? '')}${separator}${process.env.PATH}` },
    }),
  );
  const contracts = ['run', '__test__/10-contract.test.mjs', '-t', 'ours'];
  for (const major of NODES) {
    const program = packagedNode(major);
    if (program) suites.push({ title: `Node ${major}`, program, args: [vitest, ...contracts] });
    else console.error(`runtimes: Node ${major} is skipped: there is no package for this platform`);
  }
  suites.push(
    {
      title: 'Deno',
      program: scoped('@deno', 'deno'),
      args: ['run', '--allow-all', vitest, ...contracts],
    },
    {
      title: 'Bun: bun:sqlite, and its own connections',
      program: scoped('@oven', 'bin/bun'),
      args: ['test', './__test__/bun/suites.mjs'],
    },
  );
  for (const [name, home] of [
    ['Jest', root],
    ['Jest 29', folder],
  ]) {
    const jest = join(home, 'node_modules/jest/bin/jest.js');
    suites.push(
      {
        title: `${name}: --detectLeaks`,
        program: process.execPath,
        args: [jest, '--detectLeaks', 'realms'],
      },
      {
        title: `${name}: --detectOpenHandles`,
        program: process.execPath,
        args: [jest, '--detectOpenHandles', 'realms', 'spies'],
        unwanted: /detected the following .*open handle/,
      },
    );
  }
  const queue = suites.values();
  const worker = async () => {
    for (const suite of queue) if (!(await run(suite))) process.exitCode = 1;
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}
