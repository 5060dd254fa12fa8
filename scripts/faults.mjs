/**
 * Builds a second addon, with faults of the operating system (the feature `faults`), unless it is there and up to date.
 * Runs before the tests that load it; nothing else does. A debug build: it shares what `cargo test` and `cargo clippy`
 * have compiled.
 */

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { changed, sourcesChanged } from './sources.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Where it is. */
export const FAULTS_ADDON = join(root, 'target', 'faults-addon', 'sqlite-store.node');

/** @param {string} messages  cargo's, a line of JSON each @returns {string | undefined} the library it made */
function library(messages) {
  for (const line of messages.split('\n')) {
    if (!line.startsWith('{')) continue;
    const { reason, target, filenames } = JSON.parse(line);
    if (reason === 'compiler-artifact' && target.kind.includes('cdylib')) {
      return filenames.find((name) => /\.(so|dylib|dll)$/.test(name));
    }
  }
  return undefined;
}

function build() {
  if (changed(FAULTS_ADDON) >= sourcesChanged(root)) return;
  const start = new Date();
  const args = [
    'build',
    '--lib',
    '--features',
    'faults',
    '--message-format',
    'json-render-diagnostics',
  ];
  console.log(
    `the addon with faults is not built, or its sources are newer: cargo ${args.join(' ')}`,
  );
  const { status, error, stdout } = spawnSync('cargo', args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  const built = status === 0 ? library(stdout) : undefined;
  if (!built) {
    console.error(`faults: the build failed: ${error ?? `exit code ${status}`}`);
    process.exit(status || 1);
  }
  mkdirSync(dirname(FAULTS_ADDON), { recursive: true });
  copyFileSync(built, FAULTS_ADDON);
  // As old as the start of the build: what is edited during it is newer.
  utimesSync(FAULTS_ADDON, start, start);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
