// A directory of its own for each test.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';

/** A directory of its own for each test of the suite that calls this. */
export function isolate() {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'lifecycle-'));
  });
  afterEach(() => {
    // On Windows a program that still has a file open keeps it from being removed.
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  });
  return {
    /** @param {string[]} names */
    path: (...names) => join(directory, ...names),
    files: () => readdirSync(directory).sort(),
  };
}
