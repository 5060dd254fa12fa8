// Random calls on 0.2.0 and on ours under one fake clock. Whatever differs must be one of the named corrections in
// support/expected-differences.mjs. SEED=… repeats a run; REFERENCE_ONLY=1 plays 0.2.0 against itself, without corrections.
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { play } from './support/differential.mjs';
import {
  CorrectedAdaptive,
  CorrectedCache,
  CorrectedDedupe,
  CorrectedRateLimit,
  corrections,
} from './support/expected-differences.mjs';
import { ours, reference } from './support/packages.mjs';
import { SEED } from './support/seed.mjs';

const { values, unserializable, textless } = createRequire(import.meta.url)('./support/values.cjs');

const ROUNDS = Number(process.env.ROUNDS ?? 80);
/** @type {Map<string, number>} */
const tally = new Map();
let calls = 0;

/**
 * @param {Record<string, fc.Arbitrary<any>>} shape
 * @param {{ requiredKeys?: never[] }} [constraints]
 */
const record = (shape, constraints) => fc.record(shape, { noNullPrototype: true, ...constraints });
/**
 * @param {string} method
 * @param {fc.Arbitrary<any>[]} args
 */
const call = (method, ...args) => fc.tuple(...args).map((given) => ({ method, args: given }));
/** @param {[number, fc.Arbitrary<any>][]} choices */
const weighted = (...choices) =>
  fc.oneof(...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })));

const hash = fc.constantFrom('a', 'a', 'a', 'b', 'ü', '');
const resource = fc.constantFrom('r', 'r', 's', 'é');
const value = weighted(
  [9, fc.constantFrom(...values.map((each) => each.value))],
  [3, fc.jsonValue()],
  [1, fc.constantFrom(...unserializable.map((each) => each.value))],
);
const jump = weighted(
  [3, fc.nat(3)],
  [4, fc.nat(2_000)],
  [2, fc.nat(70_000)],
  [1, fc.nat(1_000_000)],
);

/**
 * A round of a store: options and steps.
 * @param {Record<string, fc.Arbitrary<any>>} options
 * @param {fc.Arbitrary<any>} oneCall
 * @param {[number, fc.Arbitrary<any>][]} others
 * @returns {fc.Arbitrary<any>}
 */
const roundOf = (options, oneCall, ...others) =>
  record({
    options: record(options),
    steps: fc.array(
      weighted(
        [24, record({ calls: fc.array(oneCall, { minLength: 1, maxLength: 1 }) })],
        [5, record({ calls: fc.array(oneCall, { minLength: 2, maxLength: 6 }) })],
        [6, record({ advance: jump })],
        [8, record({ approach: fc.nat(), by: fc.integer({ min: -1, max: 1 }) })],
        [1, record({ end: fc.constantFrom('reopen', 'reopen', 'reopen', 'close') })],
        ...others,
      ),
      { minLength: 1, maxLength: 60, size: 'max' },
    ),
  });

const ttl = weighted(
  [4, fc.integer({ min: 1, max: 5_000 }).map((ms) => ms / 1_000)],
  [2, fc.constantFrom(0.0005, 1.0015, 60, 3_600, 1e9, Number.POSITIVE_INFINITY)],
  [1, fc.constantFrom(0, -1, -0)],
);
const cacheRound = roundOf(
  {
    cleanupIntervalMs: fc.constantFrom(undefined, 1_000, 7_777, 1e9),
    maxEntrySizeBytes: fc.constantFrom(
      undefined,
      undefined,
      0,
      12,
      13,
      1_000,
      Number.POSITIVE_INFINITY,
    ),
  },
  weighted(
    [24, call('get', hash)],
    [
      24,
      call(
        'set',
        hash,
        weighted([15, value], [1, fc.constantFrom(...textless.map((each) => each.value))]),
        ttl,
      ),
    ],
    [4, call('delete', hash)],
    [4, call('cleanup')],
    [8, call('getStats')],
    [1, call('clear')],
  ),
);

const timeout = fc.constantFrom(undefined, 0, 1, 50, 2_000, 2_000, 60_000, 60_000);
const renewal = ['register', 'waitFor', 'complete', 'register', 'waitFor'];
const dedupeRound = roundOf(
  {
    jobTimeoutMs: timeout,
    resultTtlMs: fc.constantFrom(undefined, 500, 1e9),
    cleanupIntervalMs: fc.constantFrom(undefined, 0, 1_000, 7_777),
    claimTimeoutMs: fc.constant(0),
  },
  weighted(
    [18, call('waitFor', hash)],
    [18, call('register', hash)],
    [12, call('complete', hash, value)],
    [
      6,
      call(
        'fail',
        hash,
        fc.constantFrom('upstream', '', 'é').map((message) => new RangeError(message)),
      ),
    ],
    [9, call('isInProgress', hash)],
    [9, call('getResult', hash)],
    [6, call('getStats')],
    [3, call('cleanup')],
    [1, call('clear')],
  ),
  // One job after another under one hash, and jobs left from before a restart.
  [2, hash.map((job) => ({ calls: renewal.map((method) => ({ method, args: [job, 'result'] })) }))],
  [3, fc.constant({ end: 'reopen' })],
);

const config = (/** @type {any[]} */ ...limits) =>
  record({
    limit: fc.constantFrom(...limits),
    windowMs: fc.constantFrom(1, 1_000, 1_000, 20_000, 60_000, 3_600_000, 1e16),
  });
/** @param {fc.Arbitrary<any>} limit */
const limits = (limit) => ({
  defaultConfig: limit,
  resourceConfigs: fc.array(fc.tuple(resource, limit), { maxLength: 3, size: 'max' }),
});
/** @param {fc.Arbitrary<any>} limit @returns {[number, fc.Arbitrary<any>]} */
const reconfigure = (limit) => [
  1,
  record({ configure: resource, config: limit, inMap: fc.boolean() }),
];

const plain = config(0, 0.5, 1, 2, 2.5, 5, 5, 60, Number.POSITIVE_INFINITY);
const rateLimitRound = roundOf(
  limits(plain),
  weighted(
    [20, call('canProceed', resource)],
    [32, call('record', resource)],
    [12, call('getStatus', resource)],
    [20, call('getWaitTime', resource)],
    [8, call('getStats')],
    [4, call('cleanup')],
    [2, call('reset', resource)],
    [1, call('clear')],
  ),
  reconfigure(plain),
);

// An infinite limit cannot be divided: 0.2.0 computes with NaN.
const divided = config(0, 1, 2.5, 3, 8, 20, 20, 33, 200);
const priority = fc.constantFrom('user', 'user', 'background', undefined);
const adaptiveRound = roundOf(
  {
    ...limits(divided),
    adaptiveConfig: record(
      {
        monitoringWindowMs: fc.constantFrom(1_000, 9_000, 90_000, 100_000, 900_000),
        highActivityThreshold: fc.constantFrom(4, 6.5, 10),
        moderateActivityThreshold: fc.constantFrom(0, 2, 3),
        recalculationIntervalMs: fc.constantFrom(1, 1, 500, 30_000, 1e15),
        sustainedInactivityThresholdMs: fc.constantFrom(1, 2_000, 100_000, 1_800_000),
        maxUserScaling: fc.constantFrom(0.5, 1, 1.3, 2, 3),
        minUserReserved: fc.constantFrom(0, 1, 2.5, 5),
        backgroundPauseOnIncreasingTrend: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
  },
  weighted(
    [20, call('canProceed', resource, priority)],
    [40, call('record', resource, priority)],
    [20, call('getStatus', resource)],
    [20, call('getWaitTime', resource, priority)],
    [8, call('getStats')],
    [4, call('cleanup')],
    [2, call('reset', resource)],
    [1, call('clear')],
  ),
  reconfigure(divided),
);

/**
 * Without clean-ups that are made at once with other calls: what those see of a resource that is forgotten is not settled.
 * @param {any} round
 */
const awaitingCleanups = ({ steps, ...round }) => ({
  ...round,
  steps: steps.map((/** @type {any} */ step) => {
    if (!(step.calls?.length > 1)) return step;
    const calls = step.calls.filter((/** @type {any} */ { method }) => method !== 'cleanup');
    return { ...step, calls };
  }),
});

/** @type {[string, fc.Arbitrary<any>, any][]} */
const stores = [
  ['SQLiteCacheStore', cacheRound, CorrectedCache],
  ['SQLiteDedupeStore', dedupeRound, CorrectedDedupe],
  ['SQLiteRateLimitStore', rateLimitRound, CorrectedRateLimit],
  ['SqliteAdaptiveRateLimitStore', adaptiveRound.map(awaitingCleanups), CorrectedAdaptive],
];

for (const database of /** @type {const} */ (['path', ':memory:'])) {
  describe(`random calls, ${database}, seed ${SEED}`, () => {
    for (const [name, rounds, Corrected] of stores) {
      it(`${name} answers as 0.2.0 does`, {
        timeout: 300_000 * Math.max(1, ROUNDS / 80),
      }, async () => {
        // What never settles is waited for once, not at every step of the search for a short example.
        let seconds = 5;
        await fc.assert(
          fc.asyncProperty(rounds, async (round) => {
            try {
              calls += await play({
                Reference: reference[name],
                Subject: (ours ?? reference)[name],
                Corrected: ours && Corrected,
                database,
                round,
                tally,
                seconds,
                bursts: ours !== undefined,
              });
            } catch (error) {
              seconds = 0.1;
              throw error;
            }
          }),
          { seed: SEED, numRuns: database === 'path' ? ROUNDS : 2 * ROUNDS },
        );
      });
    }
  });
}

describe('the comparison', () => {
  it('finds a planted fault', async () => {
    class Faulty extends reference.SQLiteRateLimitStore {
      /** @param {string} resource */
      async getWaitTime(resource) {
        const wait = await super.getWaitTime(resource);
        return wait > 0 && wait < 1_000 && wait % 2 === 1 ? wait + 1 : wait;
      }
    }
    const property = fc.asyncProperty(rateLimitRound, async (round) => {
      await play({
        Reference: reference.SQLiteRateLimitStore,
        Subject: Faulty,
        Corrected: undefined,
        database: ':memory:',
        round,
        tally: new Map(),
        bursts: false,
      });
    });
    const { failed, counterexample } = await fc.check(property, { seed: SEED, numRuns: 500 });
    expect(failed).toBe(true);
    expect(counterexample?.[0].steps.length).toBeLessThan(8);
  });

  it('made 20,000 calls and needed every correction', () => {
    if (process.env.ROUNDS) return;
    expect(calls).toBeGreaterThanOrEqual(20_000);
    if (ours) expect([...tally.keys()].sort()).toStrictEqual(Object.values(corrections).sort());
  });
});

afterAll(() => {
  console.log(
    `SEED=${SEED}: ${calls} calls\n${[...tally].map(([name, times]) => `${String(times).padStart(6)}  ${name}`).join('\n')}`,
  );
});
