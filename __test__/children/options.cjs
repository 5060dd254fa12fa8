'use strict';
// Makes stores with random options, and calls on them with random arguments. Whatever they are, a constructor makes a store or
// throws an error, a call settles, and what it resolves to can be used. Answers JSON on stdout: the plan that failed, if one
// did, as short as it can be made. The plan under way stands last on stderr, for a crash or a hang.

const { writeSync } = require('node:fs');
const fc = require('fast-check');
const stores = /** @type {any} */ (require('../..'));

const { seed, runs, plans } = JSON.parse(process.argv[2]);

/** Longer than any call takes that waits for nobody, on whatever machine. */
const TIME_LIMIT = 60_000;

const SPANS = {
  busyTimeoutMs: 'span',
  requestTimeoutMs: 'span',
  cleanupIntervalMs: 'span',
};
const LIMITS = {
  defaultConfig: 'limit',
  resourceConfigs: 'map',
  reservationMs: 'span',
};

/** The options and methods of each class, with what they take. @type {Record<string, { options: Record<string, string>, methods: Record<string, string[]> }>} */
const CLASSES = {
  SQLiteCacheStore: {
    options: {
      ...SPANS,
      maxEntrySizeBytes: 'span',
      maxEntries: 'bound',
      maxSizeBytes: 'bound',
      eviction: 'eviction',
    },
    methods: {
      get: ['name'],
      set: ['name', 'value', 'span'],
      delete: ['name'],
      clear: [],
      getStats: [],
      cleanup: [],
    },
  },
  SQLiteDedupeStore: {
    options: {
      ...SPANS,
      jobTimeoutMs: 'span',
      timeoutMs: 'span',
      pollIntervalMs: 'span',
      claimTimeoutMs: 'span',
      resultTtlMs: 'span',
    },
    methods: {
      register: ['name'],
      registerOrJoin: ['name'],
      complete: ['name', 'value'],
      fail: ['name', 'value'],
      isInProgress: ['name'],
      getResult: ['name'],
      waitFor: ['name', 'waiting'],
      clear: [],
      getStats: [],
      cleanup: [],
    },
  },
  SQLiteRateLimitStore: { options: { ...SPANS, ...LIMITS }, methods: {} },
  SqliteAdaptiveRateLimitStore: {
    options: { ...SPANS, ...LIMITS, adaptiveConfig: 'adaptive' },
    methods: {},
  },
};
for (const limiter of [CLASSES.SQLiteRateLimitStore, CLASSES.SqliteAdaptiveRateLimitStore]) {
  limiter.methods = {
    canProceed: ['name', 'priority'],
    acquire: ['name', 'priority'],
    record: ['name', 'priority'],
    getStatus: ['name'],
    getWaitTime: ['name', 'priority'],
    setResourceConfig: ['name', 'limit'],
    getResourceConfig: ['name'],
    reset: ['name'],
    getStats: [],
    clear: [],
    cleanup: [],
  };
}

class Trapped extends Error {}
const refuse = () => {
  throw new Trapped('refused');
};

/** What stands in a plan for a value that JSON has not. @type {Record<string, () => unknown>} */
const STRANGE = {
  undefined: () => undefined,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  '-Infinity': () => Number.NEGATIVE_INFINITY,
  '-0': () => -0,
  symbol: () => Symbol('symbol'),
  BigInt: () => 2n ** 70n,
  function: () => () => 1,
  class: () => class {},
  boxed: () => Object(5),
  date: () => new Date(Number.NaN),
  promise: () => Promise.resolve(1),
  // biome-ignore lint/suspicious/noThenProperty: what comes of one is the question
  thenable: () => ({ then: refuse }),
  error: () => new RangeError('an error'),
  map: () => new Map(/** @type {any} */ ([['a', 5]])),
  buffer: () => Buffer.from('text'),
  surrogate: () => 'a\ud800',
  long: () => 'k'.repeat(100_000),
  'refusing toJSON': () => ({ toJSON: refuse }),
  'refusing primitive': () => ({ [Symbol.toPrimitive]: refuse }),
  'refusing proxy': () => new Proxy({}, { get: refuse, has: refuse, ownKeys: refuse }),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  'detached prototype': () => Object.create(stores.SQLiteCacheStore.prototype),
  store: () => new stores.SQLiteRateLimitStore(),
  aborted: () => AbortSignal.abort('aborted'),
};

/** @typedef {{ json: any } | { strange: string } | { members: [string, Value][], as: string }} Value */

const strange = fc.constantFrom(...Object.keys(STRANGE)).map((name) => ({ strange: name }));
const json = (/** @type {fc.Arbitrary<any>} */ value) => value.map((made) => ({ json: made }));
const anything = fc.oneof(strange, json(fc.jsonValue({ maxDepth: 2 })));
const number = fc.oneof(
  json(fc.double({ min: 0, noNaN: true, noDefaultInfinity: true })),
  json(fc.integer({ min: 0, max: 100_000 })),
  json(fc.constantFrom(2 ** 31 - 1, 2 ** 31, 8.64e15, 2 ** 53, Number.MAX_VALUE, 5e-324)),
  fc
    .constantFrom('Infinity', 'Infinity', '-Infinity', 'NaN', '-0')
    .map((name) => ({ strange: name })),
);
/** What a clock that somebody has replaced may say. */
const time = fc.oneof(number, json(fc.double({ noNaN: true, noDefaultInfinity: true })));
/** How the members of an object are got at. */
const as = fc.constantFrom('plain', 'getters', 'proxy', 'prototype', 'no prototype', 'frozen');

/** @param {Record<string, string>} shape @returns {fc.Arbitrary<Value>} */
function members(shape) {
  const member = fc
    .constantFrom(...Object.keys(shape))
    .chain((name) =>
      kind(shape[name]).map((value) => /** @type {[string, Value]} */ ([name, value])),
    );
  return fc.record({ members: fc.array(member, { maxLength: 5 }), as });
}

/** Mostly what is taken. @param {string} name @returns {fc.Arbitrary<Value>} */
function kind(name) {
  /** @type {Record<string, () => fc.Arbitrary<Value>>} */
  const kinds = {
    span: () => number,
    bound: () => fc.oneof(number, json(fc.integer({ min: 1, max: 100 }))),
    eviction: () => json(fc.constantFrom('lru', 'fifo')),
    name: () => json(fc.constantFrom('a', 'b', '', '\0', '__proto__', '\u{1F9B8}')),
    priority: () => json(fc.constantFrom('user', 'background')),
    value: () => json(fc.jsonValue({ maxDepth: 2 })),
    limit: () => members({ limit: 'span', windowMs: 'span' }),
    map: () => fc.constant({ strange: 'map' }),
    waiting: () => members({ maxWaitMs: 'span', signal: 'aborted' }),
    aborted: () => fc.constant({ strange: 'aborted' }),
    boolean: () => json(fc.boolean()),
    adaptive: () =>
      members({
        monitoringWindowMs: 'span',
        highActivityThreshold: 'span',
        moderateActivityThreshold: 'span',
        recalculationIntervalMs: 'span',
        sustainedInactivityThresholdMs: 'span',
        backgroundPauseOnIncreasingTrend: 'boolean',
        maxUserScaling: 'span',
        minUserReserved: 'span',
      }),
  };
  return fc.oneof({ weight: 7, arbitrary: kinds[name]() }, { weight: 1, arbitrary: anything });
}

const plan = fc.constantFrom(...Object.keys(CLASSES)).chain((name) => {
  const { options, methods } = CLASSES[name];
  const call = fc.constantFrom(...Object.keys(methods)).chain((method) =>
    fc.record({
      method: fc.constant(method),
      given: fc.tuple(...methods[method].map(kind)),
      now: fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: time }),
    }),
  );
  return fc.record({
    name: fc.constant(name),
    options: members(options),
    calls: fc.array(call, { maxLength: 8 }),
  });
});

/** @param {Value} value @returns {any} */
function make(value) {
  if ('json' in value) return value.json;
  if ('strange' in value) return STRANGE[value.strange]();
  const entries = value.members.map(([name, member]) => [name, make(member)]);
  const object = Object.fromEntries(entries);
  switch (value.as) {
    case 'getters':
      return Object.defineProperties(
        {},
        Object.fromEntries(entries.map(([name, member]) => [name, { get: () => member }])),
      );
    case 'proxy':
      return new Proxy(object, {});
    case 'prototype':
      return Object.create(object);
    case 'no prototype':
      return Object.assign(Object.create(null), object);
    case 'frozen':
      return Object.freeze(object);
    default:
      return object;
  }
}

/** Fails if an error is none, or says that this package is wrong. @param {any} error @param {string} what */
function checkError(error, what) {
  if (error === 'aborted' || error instanceof Trapped) return;
  if (!(error instanceof Error)) throw new Error(`${what}: no error: ${typeof error}`);
  if (/internal error|panic/.test(error.message)) throw new Error(`${what}: ${error.message}`);
}

/** Fails if an answer has a number or date that is none. @param {any} answer @param {string} what */
function checkAnswer(answer, what) {
  if (typeof answer === 'number' && !(answer >= 0)) throw new Error(`${what}: ${answer}`);
  if (answer instanceof Date && Number.isNaN(answer.getTime())) throw new Error(`${what}: no date`);
  if (typeof answer === 'object' && answer !== null) {
    for (const [name, member] of Object.entries(answer)) checkAnswer(member, `${what}: ${name}`);
  }
}

/** Methods whose answers are the store's own, not the caller's values. */
const OWN_ANSWERS = ['getStats', 'getStatus', 'getWaitTime'];

const { now: realNow } = Date;

/** @param {any} plan */
async function carryOut({ name, options, calls }) {
  writeSync(2, `${JSON.stringify({ name, options, calls })}\n`);
  let store;
  try {
    store = new stores[name](make(options));
  } catch (error) {
    checkError(error, 'the constructor');
    return;
  }
  try {
    const pending = [];
    for (const { method, given, now } of calls) {
      const values = given.map(make);
      if (now) {
        const time = make(now);
        Date.now = () => /** @type {any} */ (time);
      }
      try {
        // Two methods answer at once.
        const isDirect = method.endsWith('ResourceConfig');
        const answer = store[method](...values);
        if (isDirect) continue;
        if (!(answer instanceof Promise)) throw new Error(`${method}: no promise`);
        const settled = answer.then(
          (value) => {
            if (OWN_ANSWERS.includes(method)) checkAnswer(value, method);
          },
          (error) => {
            // What was given to `fail` comes out as it was.
            if (method !== 'waitFor') checkError(error, method);
          },
        );
        pending.push(settled);
        // It may wait for as long as a job takes.
        if (method !== 'waitFor') await inTime(settled, method);
      } catch (error) {
        if (!method.endsWith('ResourceConfig')) throw error;
        checkError(error, method);
      } finally {
        Date.now = realNow;
      }
    }
    store.destroy();
    await inTime(Promise.all(pending), 'what was called before the end');
  } finally {
    store.destroy();
  }
}

/** @param {Promise<unknown>} promise @param {string} what */
async function inTime(promise, what) {
  /** @type {any} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not settled in time`)), TIME_LIMIT);
  });
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function main() {
  const property = fc.asyncProperty(plan, carryOut);
  const examples = plans.map((/** @type {any} */ made) => [made]);
  const { failed, counterexample, errorInstance, numRuns } = await fc.check(property, {
    seed,
    numRuns: runs + examples.length,
    examples,
  });
  const found = failed
    ? { plan: counterexample?.[0], error: String(errorInstance) }
    : { plan: undefined, error: undefined };
  writeSync(1, JSON.stringify({ ...found, numRuns }));
}

main();
