// Random options and arguments, in any combination: a constructor makes a store or throws an error, a call settles, and what
// it resolves to can be used. `SEED` repeats a run, `ROUNDS` says how many are tried. A plan that has found something stays
// in `fuzz/findings/calls`, and is tried each time.

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import { SEED } from './support/seed.mjs';

const { run } = createRequire(import.meta.url)('./support/processes.cjs');

const ROUNDS = Number(process.env.ROUNDS ?? 200);
const findings = new URL('../fuzz/findings/calls/', import.meta.url);

it(`${ROUNDS} random plans, and those that have found something`, {
  timeout: 600_000 + ROUNDS * 1_000,
}, async () => {
  console.log(`options: SEED=${SEED}`);
  const plans = readdirSync(findings).map((name) =>
    JSON.parse(readFileSync(new URL(name, findings), 'utf8')),
  );
  const { code, signal, stdout, stderr } = await run('options.cjs', {
    seed: SEED,
    runs: ROUNDS,
    plans,
  });
  // Where it ended, if not by itself.
  const last = stderr.trimEnd().split('\n').at(-1);
  expect({ code, signal }, last).toEqual({ code: 0, signal: null });
  const { plan, error, numRuns } = JSON.parse(stdout);
  expect(error, JSON.stringify(plan)).toBeUndefined();
  expect(numRuns).toBe(ROUNDS + plans.length);
});
