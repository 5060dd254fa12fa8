import { defineConfig } from 'vitest/config';
import { slowly } from './__test__/support/slowness.cjs';

export default defineConfig({
  test: {
    include: ['__test__/**/*.test.mjs'],
    // One process per file: what a test does to the process (signals, leaks, a crash) stays in its file.
    pool: 'forks',
    // By default one core is left free, which on two halves the work done. Where processes wait for each other, more
    // files than cores are worth it.
    maxWorkers: 3,
    // For what hangs: a busy machine may take ten times as long as an idle one.
    testTimeout: slowly(120_000),
    hookTimeout: slowly(120_000),
  },
});
