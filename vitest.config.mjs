import { defineConfig } from 'vitest/config';

/** What measures time: runs after everything else, when the machine is quiet. */
const measuring = ['__test__/9-package.test.mjs'];

export default defineConfig({
  test: {
    // One process per file: what a test does to the process (signals, leaks, a crash) stays in its file.
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['__test__/**/*.test.mjs'],
          exclude: measuring,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'quiet', include: measuring, sequence: { groupOrder: 1 } },
      },
    ],
  },
});
