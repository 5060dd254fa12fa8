// Where the files lie that are measured.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** `BENCH_DIR` for another file system. */
export const base = process.env.BENCH_DIR ?? tmpdir();

/**
 * Has work done in a directory of its own, which is removed afterwards.
 * @template Result
 * @param {(directory: string) => Promise<Result>} work
 * @returns {Promise<Result>}
 */
export async function withDirectory(work) {
  const directory = mkdtempSync(join(base, 'sqlite-store-bench-'));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
