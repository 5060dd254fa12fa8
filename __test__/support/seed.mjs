// Seeds of random tests, and random numbers from them.
import { createRequire } from 'node:module';

const { random } = createRequire(import.meta.url)('./random.cjs');

/**
 * The seed of every random test: the environment variable `SEED` if set. Otherwise a new one on each run, except under
 * `CI`, where the same one makes what is judged depend on the code alone, as in the Rust tests.
 */
export const SEED = Number(
  process.env.SEED ?? (process.env.CI ? 20_260 : Math.trunc(Math.random() * 1_000_000)),
);

/**
 * A random source, its seed from the environment variable `SEED` if set. Printed, so that a failure can be repeated.
 * @param {string} name
 */
export function randomSource(name) {
  console.log(`${name}: SEED=${SEED}`);
  const next = random(SEED);
  return {
    seed: SEED,
    next,
    /** A whole number from 0 up to, not including, `end`. @param {number} end */
    below: (end) => Math.floor(next() * end),
    /** @template T @param {readonly T[]} list @returns {T} */
    pick: (list) => list[Math.floor(next() * list.length)],
  };
}
