import { configDefaults, defineConfig } from 'vitest/config';

/** What measures time, or fills the machine by itself: runs after everything else, one file at a time. */
const measuring = [
  '__test__/9-package.test.mjs',
  '__test__/11-crash.test.mjs',
  '__test__/12-soak.test.mjs',
  '__test__/13-processes.test.mjs',
  '__test__/15-coordination.test.mjs',
  '__test__/16-corrections.test.mjs',
];

export default defineConfig({
  test: {
    // One process per file: what a test does to the process (signals, leaks, a crash) stays in its file.
    pool: 'forks',
    // By default one core is left free, which on two halves the work done.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['__test__/**/*.test.mjs'],
          exclude: [...configDefaults.exclude, ...measuring],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'quiet',
          include: measuring,
          sequence: { groupOrder: 1 },
          fileParallelism: false,
        },
      },
    ],
  },
});
