/**
 * Builds a second addon, with faults of the operating system (the feature `faults`), unless it is there and up to date.
 * Runs before the tests that load it; nothing else does. A debug build: it shares what `cargo test` and `cargo clippy`
 * have compiled.
 */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildLibrary } from './cargo.mjs';
import { changed, sourcesChanged } from './sources.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Where it is. */
export const FAULTS_ADDON = join(root, 'target', 'faults-addon', 'sqlite-store.node');

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (changed(FAULTS_ADDON) < sourcesChanged(root)) {
    const why = 'the addon with faults is not built, or its sources are newer';
    buildLibrary(why, FAULTS_ADDON, ['--features', 'faults']);
  }
}
