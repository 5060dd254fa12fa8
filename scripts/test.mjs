/**
 * All tests, part by part, up to the first that fails; says how long each took. Uses nothing but what comes with Node.
 */

import { spawn, spawnSync } from 'node:child_process';
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

/** @type {Record<string, () => void>} */
const parts = {
  'install and build'() {
    // Beside what npm compiles on one core. Whatever comes of it, the part `rust` says.
    spawn('cargo', ['test', '--no-default-features', '--features', 'faults', '--no-run'], {
      cwd: root,
      stdio: 'ignore',
    })
      .on('error', () => {})
      .unref();
    script('prepare.mjs');
    script('runtimes.mjs', 'install');
  },
  lint: () => npm(root, 'lint', 'run', 'lint'),
  package: () => npm(root, 'package', 'run', 'test:package'),
  rust: () => npm(root, 'rust', 'run', 'test:rust'),
  jest: () => npm(root, 'jest', 'run', 'test:jest'),
  vitest: () => npm(root, 'vitest', 'run', 'test:node'),
};

let part = '';
let start = 0;
/** `.ci/run` reads it. */
const tell = () =>
  console.log(`part: ${part}, ${Math.round((performance.now() - start) / 1_000)} s`);
// Also of the part that fails, which ends the process.
process.on('exit', tell);
for (const [name, run] of Object.entries(parts)) {
  if (part) tell();
  [part, start] = [name, performance.now()];
  run();
}
