/**
 * All tests, part by part, up to the first that fails. Says first what it does and how long that will take, then where it is,
 * and of each part how long it took. Uses nothing but what comes with Node.
 */

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { npm } from './npm.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** @param {string} name @param {string[]} args  of a script in this directory */
function script(name, ...args) {
  const path = fileURLToPath(new URL(name, import.meta.url));
  const { status } = spawnSync(process.execPath, [path, ...args], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) process.exit(status || 1);
}

/** @typedef {object} Part
 * @property {string} about
 * @property {number} seconds  on a fresh clone, on two cores
 * @property {() => void} run
 */
/** @type {Record<string, Part>} */
const parts = {
  'install and build': {
    about: 'packages, the addon, other runtimes, a browser; only what is missing or outdated',
    seconds: 420,
    run() {
      // Beside what npm compiles on one core. Whatever comes of it, the part `rust` says.
      spawn('cargo', ['test', '--no-default-features', '--features', 'faults', '--no-run'], {
        cwd: root,
        stdio: 'ignore',
      })
        .on('error', () => {})
        .unref();
      script('prepare.mjs');
      script('runtimes.mjs', 'install');
      script('bundlers.mjs');
      script('chromium.mjs');
    },
  },
  lint: {
    about: 'rustfmt, clippy, biome, tsc',
    seconds: 120,
    run: () => npm(root, 'lint', 'run', 'lint'),
  },
  package: {
    about: 'linters of packages',
    seconds: 20,
    run: () => npm(root, 'package', 'run', 'test:package'),
  },
  rust: {
    about: 'rules, scheduler, files and faults, without Node',
    seconds: 420,
    run: () => npm(root, 'rust', 'run', 'test:rust'),
  },
  jest: {
    about: 'contracts under Jest',
    seconds: 40,
    run: () => npm(root, 'jest', 'run', 'test:jest'),
  },
  vitest: {
    about: 'all else, in the order of the tour in CONTRIBUTING.md',
    seconds: 1_020,
    run: () => npm(root, 'vitest', 'run', 'test:node'),
  },
};

/** How long parts took when they last passed here. */
const TIMES = join(root, 'target', 'test-times.json');
/** @type {Record<string, number>} */
const times = (() => {
  try {
    return JSON.parse(readFileSync(TIMES, 'utf8'));
  } catch {
    return {};
  }
})();
/** What a part will take, in seconds. @param {string} name */
const expected = (name) => times[name] ?? parts[name].seconds;
/** @param {number} seconds */
const readable = (seconds) =>
  seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
/** @param {string[]} names */
const sum = (names) => names.reduce((all, name) => all + expected(name), 0);

const names = Object.keys(parts);
const measured = names.every((name) => name in times);
console.log(`npm test runs ${names.length} parts, up to the first that fails:`);
for (const name of names)
  console.log(
    `  ${name.padEnd(18)} about ${readable(expected(name)).padEnd(7)} ${parts[name].about}`,
  );
console.log(
  `In all about ${readable(sum(names))}, ${measured ? 'as the last time' : `by what a fresh clone takes on 2 cores (here are ${availableParallelism()})`}. ` +
    'For the quick checks while you work, see CONTRIBUTING.md.',
);

let part = '';
let start = 0;
/** `.ci/run` reads it. @param {number} seconds */
const tell = (seconds) => console.log(`part: ${part}, ${Math.round(seconds)} s`);
const took = () => (performance.now() - start) / 1_000;
// Of the part that fails, which ends the process.
process.on('exit', () => {
  if (part) tell(took());
});
for (const [index, name] of names.entries()) {
  console.log(
    `\n[${index + 1}/${names.length}] ${name}: about ${readable(expected(name))}; to the end about ${readable(sum(names.slice(index)))}`,
  );
  [part, start] = [name, performance.now()];
  parts[name].run();
  const seconds = took();
  tell(seconds);
  part = '';
  times[name] = Math.ceil(seconds);
  mkdirSync(join(root, 'target'), { recursive: true });
  writeFileSync(TIMES, JSON.stringify(times));
}
