/**
 * Builds the version before this one in `target/previous`, unless it is there: `__test__/31-versions.test.mjs` then runs both
 * on one file. Takes some minutes, and the history of the repository.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { npm } from './npm.mjs';

/** 0.3.0. */
const COMMIT = '2183589';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Where it is. */
export const PREVIOUS = join(root, 'target', 'previous');
/** What is made last. */
const BINDING = join(PREVIOUS, 'lib', 'binding.js');

export const hasPrevious = () => existsSync(BINDING);

function build() {
  if (hasPrevious()) return;
  const archive = spawnSync('git', ['archive', COMMIT], { cwd: root, maxBuffer: 1 << 28 });
  if (archive.status !== 0) {
    console.error(
      `previous: NOT BUILT, so this version is not tested beside it: ${archive.error ?? archive.stderr}`,
    );
    return;
  }
  rmSync(PREVIOUS, { recursive: true, force: true });
  mkdirSync(PREVIOUS, { recursive: true });
  const unpacked = spawnSync('tar', ['-x', '-C', PREVIOUS], { input: archive.stdout });
  if (unpacked.status !== 0) throw unpacked.error ?? new Error(String(unpacked.stderr));
  symlinkSync(join(root, 'node_modules'), join(PREVIOUS, 'node_modules'), 'junction');
  npm(PREVIOUS, `${COMMIT} is not built`, 'run', 'build');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
