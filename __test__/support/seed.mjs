/**
 * The seed of every random test: the environment variable `SEED` if set. Otherwise a new one on each run, except under
 * `CI`, where the same one makes what is judged depend on the code alone, as in the Rust tests.
 */
export const SEED = Number(
  process.env.SEED ?? (process.env.CI ? 20_260 : Math.trunc(Math.random() * 1_000_000)),
);
