'use strict';
// Gives a class of stores whatever a caller could give it, and tells what went wrong. In a process of its own, in a
// directory of its own: a crash or a hang then names the case, which stands last on stderr.

const { writeSync } = require('node:fs');
const { types } = require('node:util');
const stores = require('../..');

const { name, part } = JSON.parse(process.argv[2]);
const Store = /** @type {any} */ (stores)[name];

const TIME_LIMIT = 2_000;

/** @type {Record<string, string[]>} */
const problems = {};
let cases = 0;

/** @param {string} group @param {string} text */
function problem(group, text) {
  problems[group] ??= [];
  problems[group].push(text);
}

/** @param {any} value */
function show(value) {
  try {
    if (value instanceof Error) return `${value.name}: ${value.message}`.slice(0, 160);
    return `${typeof value} ${String(value)}`.slice(0, 80);
  } catch {
    return typeof value;
  }
}

/**
 * What becomes of a promise: `['resolved', value]`, `['rejected', error]`, or a fault: not a promise, not in time.
 * @param {() => any} call
 * @returns {Promise<[string, any?]>}
 */
async function outcome(call) {
  let promise;
  try {
    promise = call();
  } catch (error) {
    return ['thrown synchronously', error];
  }
  if (!(promise instanceof Promise)) return ['not a promise', promise];
  /** @type {any} */
  let timer;
  const settled = await Promise.race([
    promise.then(
      // In an array: what a call resolves to is not adopted if it has a `then`.
      (value) => /** @type {[string, any]} */ (['resolved', value]),
      (error) => /** @type {[string, any]} */ (['rejected', error]),
    ),
    new Promise((resolve) => {
      timer = setTimeout(() => resolve(['not settled in time']), TIME_LIMIT);
    }),
  ]);
  clearTimeout(timer);
  return settled;
}

// Values ------------------------------------------------------------------------------------------------------------

class Trapped extends Error {}

const TRAPS = /** @type {(keyof ProxyHandler<any>)[]} */ (Object.getOwnPropertyNames(Reflect));

/** @param {object} target */
function trapped(target) {
  const handler = Object.fromEntries(
    TRAPS.map((trap) => [
      trap,
      () => {
        throw new Trapped(String(trap));
      },
    ]),
  );
  return new Proxy(target, handler);
}

/** What the engine says of a revoked proxy. @param {Error} error */
const isRevoked = (error) => error.message.includes('a proxy that has been revoked');

/** @param {object} target */
function revoked(target) {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** Every member, of any name, throws when it is read. */
const throwing = new Proxy(
  {},
  {
    get() {
      throw new Trapped('get');
    },
  },
);

/** @type {any} */
const circular = {};
circular.self = circular;

const refuse = () => {
  throw new Trapped('refused');
};

const map = new Map();

/** @type {[string, any][]} */
const values = [
  ['undefined', undefined],
  ['null', null],
  ['true', true],
  ['false', false],
  ['0', 0],
  ['-0', -0],
  ['1', 1],
  ['a fraction', 0.5],
  ['the smallest number', 5e-324],
  ['-1', -1],
  ['2^31', 2 ** 31],
  ['2^53', 2 ** 53],
  ['-2^63', -(2 ** 63)],
  ['1e308', 1e308],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['a BigInt', 1n],
  ['a huge BigInt', 2n ** 2_000n],
  ['the empty string', ''],
  ['a blank', ' '],
  ['a string', 'text'],
  ['a number in a string', '12'],
  ['SQL', "'; DROP TABLE cache; --"],
  ['a name of Object.prototype', '__proto__'],
  ['NUL', '\0'],
  ['NUL within', 'a\0b'],
  ['a lone high surrogate', 'a\ud800'],
  ['a lone low surrogate', '\udc00a'],
  ['a surrogate pair', '\u{1F9B8}'],
  ['a string at the edge of a short one', '\u00e9'.repeat(79)],
  ['a string of 1 MB', 'k'.repeat(1_000_000)],
  ['a symbol', Symbol('symbol')],
  ['a well-known symbol', Symbol.iterator],
  ['a function', () => 1],
  ['a class', class {}],
  ['an object', {}],
  ['an object without a prototype', Object.create(null)],
  ['an array', []],
  ['a sparse array', new Array(1_000)],
  ['a boxed string', Object('text')],
  ['a boxed number', Object(5)],
  ['a date', new Date(0)],
  ['an invalid date', new Date(Number.NaN)],
  ['a Map', map],
  ['a typed array', new Float64Array([1])],
  ['a buffer', Buffer.from('text')],
  ['a shared buffer', new SharedArrayBuffer(8)],
  ['a promise', Promise.resolve(1)],
  // biome-ignore lint/suspicious/noThenProperty: what comes of one is the question
  ['a thenable', { then: (/** @type {any} */ resolve) => resolve(1) }],
  // biome-ignore lint/suspicious/noThenProperty: what comes of one is the question
  ['a thenable that never resolves a second time', { then() {} }],
  ['an error', new RangeError('an error')],
  ['an error without a message', Object.create(Error.prototype)],
  ['something like an error', { name: 'Error', message: 'like an error', stack: '' }],
  ['an error whose message is no string', { message: { toString: refuse } }],
  ['an error whose message is a symbol', { message: Symbol('message') }],
  ['an aggregate error', new AggregateError([1], 'several')],
  ['a circular object', circular],
  ['a deep object', JSON.parse(`${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`)],
  ['a toJSON that throws', { toJSON: refuse }],
  ['a toJSON that is no function', { toJSON: 5 }],
  ['a toJSON that answers undefined', { toJSON: () => undefined }],
  ['a valueOf that throws', { valueOf: refuse, toString: refuse, [Symbol.toPrimitive]: refuse }],
  ['an object that is a string', { toString: () => 'text', valueOf: () => 'text' }],
  ['an object that is a number', { valueOf: () => 5, [Symbol.toPrimitive]: () => 5 }],
  ['members that throw', throwing],
  ['traps that throw', trapped({})],
  ['an array with traps that throw', trapped([])],
  ['a function with traps that throw', trapped(() => 1)],
  ['a revoked proxy', revoked({})],
  ['a revoked function', revoked(() => 1)],
  ['a store', new stores.SQLiteCacheStore()],
  ['the class itself', Store],
  ['the global object', globalThis],
];

// What is accepted --------------------------------------------------------------------------------------------------
// true: has to work. false: has to be refused by name. undefined: either.

/** @typedef {(value: any) => boolean | undefined} Accepts */

/** @type {Accepts} */
const nonNegative = (value) => value === undefined || (typeof value === 'number' && value >= 0);
/** @type {Accepts} */
const positive = (value) => value === undefined || (typeof value === 'number' && value > 0);
/** @type {Accepts} */
const nullable = (value) => value === null || nonNegative(value);
/** @param {unknown[]} list @returns {Accepts} */
const oneOf =
  (...list) =>
  (value) =>
    list.includes(value);

/**
 * Objects are asked for their members, so what those throw comes through.
 * @param {any} value
 */
const isObject = (value) =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

/** Members of a limit, without which it is no limit. @type {Accepts} */
const limit = (value) => typeof value === 'number' && value >= 0;
/** @type {Accepts} */
const windowMs = (value) => typeof value === 'number' && value >= 0 && Number.isFinite(value);

/** A bound of the cache. @type {Accepts} */
const bound = (value) =>
  value === undefined ||
  (typeof value === 'number' && value >= 1 && (value === Infinity || Number.isInteger(value)));

/** @type {Record<string, Accepts>} */
const databaseOptions = {
  database: (value) => {
    if (value === undefined) return true;
    if (typeof value !== 'string' || value.includes('\0') || !isWellFormed(value)) return false;
    return value.length > 1_000 || value.includes('/') ? undefined : true;
  },
  busyTimeoutMs: nonNegative,
  requestTimeoutMs: positive,
  journalMode: oneOf(undefined, 'wal', 'delete'),
  synchronous: oneOf(undefined, 'normal', 'full'),
  onError: oneOf(undefined, 'reject', 'ignore'),
};

/** @type {Record<string, Accepts>} */
const rateOptions = {
  // The objects of the table are not limits.
  defaultConfig: (value) => value === undefined,
  'defaultConfig.limit': limit,
  'defaultConfig.windowMs': windowMs,
  // A Map is known by its methods.
  resourceConfigs: (value) => value === undefined || value === map,
  reservationMs: nonNegative,
};

/** @type {Record<string, Record<string, Accepts>>} */
const options = {
  SQLiteCacheStore: {
    ...databaseOptions,
    cleanupIntervalMs: nonNegative,
    maxEntrySizeBytes: nonNegative,
    zeroTtl: oneOf(undefined, 'expired', 'forever'),
    maxEntries: bound,
    maxSizeBytes: bound,
    eviction: oneOf(undefined, 'lru', 'fifo'),
  },
  SQLiteDedupeStore: {
    ...databaseOptions,
    jobTimeoutMs: nullable,
    timeoutMs: nullable,
    cleanupIntervalMs: nonNegative,
    pollIntervalMs: nonNegative,
    claimTimeoutMs: nonNegative,
    resultTtlMs: nonNegative,
  },
  SQLiteRateLimitStore: { ...databaseOptions, ...rateOptions },
  SqliteAdaptiveRateLimitStore: {
    ...databaseOptions,
    ...rateOptions,
    adaptiveConfig: (value) => value === undefined || (isObject(value) ? undefined : false),
    'adaptiveConfig.monitoringWindowMs': positive,
    // One of the two may contradict the other.
    'adaptiveConfig.highActivityThreshold': (value) => nonNegative(value) && undefined,
    'adaptiveConfig.moderateActivityThreshold': (value) => nonNegative(value) && undefined,
    'adaptiveConfig.recalculationIntervalMs': positive,
    'adaptiveConfig.sustainedInactivityThresholdMs': positive,
    'adaptiveConfig.backgroundPauseOnIncreasingTrend': oneOf(undefined, true, false),
    'adaptiveConfig.maxUserScaling': positive,
    'adaptiveConfig.minUserReserved': nonNegative,
  },
};

/** Lone surrogates would make several names one. @param {string} value */
const isWellFormed = (value) => !/\p{Surrogate}/u.test(value);
/** @type {Accepts} */
const text = (value) => typeof value === 'string' && isWellFormed(value);
/** @type {Accepts} */
const serializable = (value) => {
  if (value === undefined) return true;
  try {
    return typeof JSON.stringify(value) === 'string';
  } catch {
    return false;
  }
};
/** @type {Accepts} */
const seconds = (value) => typeof value === 'number' && !Number.isNaN(value);
/** @type {Accepts} */
const priority = oneOf(undefined, 'user', 'background');
/** What is no object has no member that could throw. @type {Accepts} */
const failure = (value) => (isObject(value) ? undefined : true);
/** @type {Accepts} */
const ignored = () => true;
/** @type {Accepts} */
const scope = (value) => value === undefined || text(value);
/** @type {Accepts} */
const whole = (value) =>
  value === undefined ||
  value === Number.POSITIVE_INFINITY ||
  (Number.isInteger(value) && /** @type {number} */ (value) >= 0);
/** What an array has is asked of it. @type {Accepts} */
const tags = (value) => {
  if (types.isProxy(value)) return undefined;
  return Array.isArray(value) && Array.from(value).every((tag) => text(tag) === true);
};

/** Names of arguments with what is accepted and a good value. @type {Record<string, [Accepts, any, RegExp?]>} */
const parameters = {
  hash: [text, 'hash'],
  resource: [text, 'resource'],
  value: [serializable, 'value', /^Failed to serialize value: /],
  result: [serializable, 'result', /^Failed to serialize result: /],
  ttlSeconds: [seconds, 60],
  priority: [priority, 'user'],
  error: [failure, new Error('failed')],
  ignored: [ignored, undefined],
  scope: [scope, 'scope'],
  tag: [text, 'tag'],
  tags: [tags, ['tag'], /^tags(\[\d+\])? must be /],
  offset: [whole, 0],
  limit: [whole, 1],
};

const rateMethods = {
  canProceed: ['resource'],
  acquire: ['resource'],
  record: ['resource'],
  getStatus: ['resource'],
  reset: ['resource'],
  getWaitTime: ['resource'],
  getStats: ['ignored'],
  clear: ['ignored'],
  cleanup: ['ignored'],
};

/** @type {Record<string, Record<string, string[]>>} */
const methods = {
  SQLiteCacheStore: {
    get: ['hash'],
    set: ['hash', 'value', 'ttlSeconds'],
    setWithTags: ['hash', 'value', 'ttlSeconds', 'tags'],
    invalidateByTag: ['tag'],
    invalidateByTags: ['tags'],
    listEntries: ['offset', 'limit'],
    delete: ['hash'],
    clear: ['scope'],
    getStats: ['ignored'],
    cleanup: ['ignored'],
  },
  SQLiteDedupeStore: {
    waitFor: ['hash'],
    register: ['hash'],
    registerOrJoin: ['hash'],
    complete: ['hash', 'result'],
    fail: ['hash', 'error'],
    isInProgress: ['hash'],
    getResult: ['hash'],
    getStats: ['ignored'],
    listJobs: ['offset', 'limit'],
    clear: ['scope'],
    cleanup: ['ignored'],
  },
  SQLiteRateLimitStore: rateMethods,
  SqliteAdaptiveRateLimitStore: {
    ...rateMethods,
    canProceed: ['resource', 'priority'],
    acquire: ['resource', 'priority'],
    record: ['resource', 'priority'],
    getWaitTime: ['resource', 'priority'],
  },
};

// Does it still work? -----------------------------------------------------------------------------------------------

let trips = 0;

/** Whether a store still does what it is for. @type {Record<string, (store: any) => Promise<boolean>>} */
const roundTrips = {
  async SQLiteCacheStore(store) {
    const key = `round trip ${trips++}`;
    await store.set(key, '', 1_000);
    const [value, { totalItems }] = [await store.get(key), await store.getStats()];
    await store.delete(key);
    // A store with a small maxEntrySizeBytes stores nothing.
    return value === '' || (value === undefined && totalItems === 0);
  },
  async SQLiteDedupeStore(store) {
    const key = `round trip ${trips++}`;
    const { completedJobs } = await store.getStats();
    await store.register(key);
    await store.complete(key, 'result');
    return (await store.getStats()).completedJobs === completedJobs + 1;
  },
  async SQLiteRateLimitStore(store) {
    const resource = `round trip ${trips++}`;
    await store.clear();
    await store.record(resource);
    return (await store.getStats()).totalRequests === 1;
  },
  async SqliteAdaptiveRateLimitStore(store) {
    const resource = `round trip ${trips++}`;
    await store.clear();
    await store.record(resource, 'user');
    const { remaining } = await store.getStatus(resource);
    return (await store.getStats()).totalRequests === 1 && remaining >= 0;
  },
};

/** @param {string} group @param {string} title @param {any} store */
async function checkRoundTrip(group, title, store) {
  const [state, value] = await outcome(() => roundTrips[name](store));
  if (state !== 'resolved' || value !== true) {
    problem(group, `${title}: the round trip afterwards: ${state} ${show(value)}`);
  }
}

/** @param {string} title */
function start(title) {
  cases++;
  writeSync(2, `${title}\n`);
}

// Parts -------------------------------------------------------------------------------------------------------------

/** @param {string} path @param {any} value */
function nested(path, value) {
  const [outer, inner] = path.split('.');
  if (inner === undefined) return { [outer]: value };
  const rest = outer === 'defaultConfig' ? { limit: 5, windowMs: 1_000 } : {};
  return { [outer]: { ...rest, [inner]: value } };
}

/**
 * @param {string} group
 * @param {string} title
 * @param {any} given  the whole options
 * @param {boolean | undefined} accepted
 * @param {string} mentioned  what the message has to name
 */
async function construct(group, title, given, accepted, mentioned) {
  start(`${group}: ${title}`);
  let store;
  try {
    store = new Store(given);
  } catch (error) {
    if (error instanceof Trapped || (error instanceof TypeError && isRevoked(error))) return;
    if (accepted === true) problem(group, `${title}: ${show(error)}`);
    if (accepted === undefined && error instanceof Error) return;
    if (!(error instanceof TypeError) || !error.message.includes(mentioned)) {
      problem(group, `${title}: no TypeError that names it: ${show(error)}`);
    }
    return;
  }
  if (accepted === false) problem(group, `${title}: accepted`);
  await checkRoundTrip(group, title, store);
  store.destroy();
}

async function tryOptions() {
  for (const [title, value] of values) {
    const accepted = value === undefined || (isObject(value) ? undefined : false);
    // An object may have a member by an option's name: the global object has none of ours.
    await construct('options', title, value, accepted, 'options');
  }
  for (const [option, accepts] of Object.entries(options[name])) {
    for (const [title, value] of values) {
      await construct(option, title, nested(option, value), accepts(value), option);
    }
    const given = nested(option, undefined);
    const [outer, inner = outer] = option.split('.');
    Object.defineProperty(inner === outer ? given : given[outer], inner, { get: refuse });
    await construct(option, 'a getter that throws', given, false, option);
  }
}

async function tryArguments() {
  let store = new Store();
  for (const [method, names] of Object.entries(methods[name])) {
    for (const [index, argument] of names.entries()) {
      const [accepts, , pattern] = parameters[argument];
      const group = `${method}(${argument})`;
      for (const [title, value] of values) {
        start(`${group}: ${title}`);
        const given = names.map((other, position) =>
          position === index ? value : parameters[other][1],
        );
        const [state, result] = await outcome(() => store[method](...given));
        const accepted = accepts(value);
        if (state !== 'resolved' && state !== 'rejected') {
          problem(group, `${title}: ${state} ${show(result)}`);
          store = new Store();
        } else if (accepted === true && state === 'rejected') {
          problem(group, `${title}: ${show(result)}`);
        } else if (accepted === false && state === 'resolved') {
          problem(group, `${title}: accepted`);
        } else if (accepted === false && !(result instanceof Trapped)) {
          const named = pattern
            ? result instanceof Error && pattern.test(result.message)
            : result instanceof TypeError && result.message.startsWith(`${argument} must be `);
          if (!named) problem(group, `${title}: not named: ${show(result)}`);
        }
        await checkRoundTrip(group, title, store);
      }
    }
  }
  // Keys that differ only where strings end early elsewhere.
  if (name === 'SQLiteCacheStore') {
    const keys = [
      'a',
      'a\0',
      'a\0b',
      'a\0c',
      '',
      ' ',
      'A',
      'k'.repeat(1_000_000),
      'k'.repeat(999_999),
    ];
    for (const [index, key] of keys.entries()) await store.set(key, index, 60);
    for (const [index, key] of keys.entries()) {
      start(`keys: ${show(key)}`);
      const value = await store.get(key);
      if (value !== index) problem('keys', `${JSON.stringify(key).slice(0, 20)}: ${value}`);
    }
  }
  store.destroy();
}

async function tryReceivers() {
  const store = new Store();
  const group = 'receivers';
  const other =
    name === 'SQLiteCacheStore' ? new stores.SQLiteDedupeStore() : new stores.SQLiteCacheStore();
  for (const [method, names] of Object.entries(methods[name])) {
    const given = names.map((argument) => parameters[argument][1]);
    for (const [title, receiver, works] of /** @type {[string, any, boolean][]} */ ([
      ['nothing', undefined, false],
      ['a number', 5, false],
      ['an object', {}, false],
      ['the prototype', Store.prototype, false],
      ['another store', other, false],
      ['an object made like one', Object.create(Store.prototype), false],
      ['traps that throw', trapped({}), false],
      // As any class written in JavaScript would have it.
      ['a proxy of a store', new Proxy(store, {}), true],
      ['an heir of a store', Object.create(store), true],
    ])) {
      start(`${method} on ${title}`);
      const [state, result] = await outcome(() => store[method].call(receiver, ...given));
      const expected = works ? 'resolved' : 'rejected';
      if (state !== expected) problem(group, `${method} on ${title}: ${state} ${show(result)}`);
    }
  }
  await checkRoundTrip(group, 'afterwards', store);
  store.destroy();
}

/** Where the caller's code runs within a call: gives the calls, in which `act` runs. */
/** @type {Record<string, Record<string, (store: any, act: () => unknown, given: any) => Promise<unknown>>>} */
const inlets = {
  SQLiteCacheStore: {
    'toJSON of a value': (store, act) => store.set('key', { toJSON: act }, 60),
    'a getter of a value': (store, act) =>
      store.set(
        'key',
        {
          get member() {
            return act();
          },
        },
        60,
      ),
    'a proxy as a value': (store, act) =>
      store.set(
        'key',
        new Proxy(
          { a: 1 },
          {
            ownKeys(target) {
              act();
              return Object.keys(target);
            },
          },
        ),
        60,
      ),
  },
  SQLiteDedupeStore: {
    'toJSON of a result': (store, act) => {
      void store.register('key');
      return store.complete('key', { toJSON: act });
    },
    'the message of an error': (store, act) => {
      void store.register('key');
      return store.fail('key', {
        get message() {
          return String(act());
        },
      });
    },
    'then of a result that is waited for': (store, act) => {
      void store.register('key');
      const waiting = store.waitFor('key').catch(() => undefined);
      const result = {
        // biome-ignore lint/suspicious/noThenProperty: what comes of one is the question
        get then() {
          act();
          return undefined;
        },
      };
      return store.complete('key', result).then(() => waiting);
    },
  },
};

/** @param {string} member */
const configGetter = (member) => (/** @type {any} */ store, /** @type {any} */ act) => {
  const config = {
    limit: 5,
    windowMs: 1_000,
    get [member]() {
      return act();
    },
  };
  store.setResourceConfig('key', config);
  return store.canProceed('key');
};

/** @type {Record<string, (store: any, act: () => unknown, given: any) => Promise<unknown>>} */
const limitInlets = {
  'get of resourceConfigs': (store, act, { map }) => {
    map.get = () => act();
    return store.canProceed('key').finally(() => delete map.get);
  },
  'forEach of resourceConfigs': (store, act, { map }) => {
    map.forEach = (/** @type {any} */ callback) => {
      act();
      callback(undefined, undefined);
      callback({ limit: 1, windowMs: 1 }, Symbol('key'));
      callback({ limit: 1, windowMs: 1 }, 'key');
    };
    return store.getStats().finally(() => delete map.forEach);
  },
  'set of resourceConfigs': async (store, act, { map }) => {
    map.set = () => act();
    store.setResourceConfig('key', { limit: 1, windowMs: 1 });
    delete map.set;
  },
  'limit of a configuration': configGetter('limit'),
  'windowMs of a configuration': configGetter('windowMs'),
};
inlets.SQLiteRateLimitStore = limitInlets;
inlets.SqliteAdaptiveRateLimitStore = limitInlets;
/** @type {typeof limitInlets} */
const everyInlet = {
  ...inlets[name],
  'Date.now()'(store, act) {
    const { now } = Date;
    Date.now = () => {
      Date.now = now;
      act();
      return now();
    };
    return store.getStats().finally(() => {
      Date.now = now;
    });
  },
};

/** What the caller's code does there. `ends`: the store is over afterwards. */
/** @type {Record<string, { act: (store: any, again: () => any) => unknown, ends?: boolean }>} */
const acts = {
  'calls every method': {
    act(store) {
      for (const [method, names] of Object.entries(methods[name])) {
        const given = names.map((argument) => parameters[argument][1]);
        // Of a clear() in the middle nothing is expected but that the call settles.
        store[method](...given).catch(() => undefined);
      }
      return 1;
    },
  },
  'makes and ends another store': {
    act() {
      const store = new Store();
      roundTrips[name](store).catch(() => undefined);
      store.destroy();
      return 1;
    },
  },
  'throws an error': { act: refuse },
  'throws undefined': {
    act() {
      throw undefined;
    },
  },
  'throws a symbol': {
    act() {
      throw Symbol('thrown');
    },
  },
  'throws a proxy': {
    act() {
      throw trapped({});
    },
  },
  'calls itself until the stack is full': { act: (_store, again) => again() },
  'answers a symbol': { act: () => Symbol('answer') },
  'answers a proxy': { act: () => trapped({}) },
  destroys: {
    act(store) {
      store.destroy();
      return 1;
    },
    ends: true,
  },
  closes: {
    act(store) {
      void store.close();
      return 1;
    },
    ends: true,
  },
  'destroys, and makes the file anew': {
    act(store) {
      store.destroy();
      const { rmSync } = require('node:fs');
      rmSync('reentry.db', { force: true });
      new Store({ database: 'reentry.db' }).destroy();
      return 1;
    },
    ends: true,
  },
};

async function tryReentry() {
  for (const [inlet, call] of Object.entries(everyInlet)) {
    for (const [title, { act, ends }] of Object.entries(acts)) {
      for (const database of [':memory:', 'reentry.db']) {
        start(`${inlet} ${title} (${database})`);
        const map = new Map();
        const given = name.includes('Rate') ? { resourceConfigs: map } : {};
        const store = new Store({ database, ...given });
        let depth = 0;
        let calls = 0;
        const again = () => {
          // Deeper than any stack; where a turn lies between, there is no stack to fill.
          if (calls++ > (depth > 0 ? 20_000 : 200)) return 1;
          depth++;
          try {
            call(store, () => again(), { map }).catch(() => undefined);
          } finally {
            depth--;
          }
          return 1;
        };
        let isWithin = false;
        const once = () => {
          if (isWithin) return 1;
          isWithin = true;
          return act(store, again);
        };
        const [state, result] = await outcome(() => call(store, once, { map }));
        if (state !== 'resolved' && state !== 'rejected') {
          problem(inlet, `${title} (${database}): ${state} ${show(result)}`);
        } else if (show(result).includes('internal error')) {
          problem(inlet, `${title} (${database}): ${show(result)}`);
        }
        if (ends) {
          const method = Object.keys(methods[name])[0];
          const [after, error] = await outcome(() => store[method]('key'));
          if (after !== 'rejected' || !/ store has been destroyed$/.test(error.message)) {
            problem(inlet, `${title} (${database}): afterwards ${after} ${show(error)}`);
          }
        } else {
          for (const member of ['get', 'set', 'forEach']) delete (/** @type {any} */ (map)[member]);
          store.setResourceConfig?.('key', { limit: 5, windowMs: 1_000 });
          await checkRoundTrip(inlet, `${title} (${database})`, store);
        }
        store.destroy();
        // The file is not harmed, and not held.
        const next = new Store({ database });
        await checkRoundTrip(inlet, `${title} (${database}), a new store`, next);
        next.destroy();
      }
    }
  }
  for (const answer of [
    undefined,
    null,
    Number.NaN,
    Infinity,
    'now',
    {},
    1n,
    Symbol('now'),
    trapped({}),
  ]) {
    start(`Date.now() answers ${show(answer)}`);
    const store = new Store();
    const { now } = Date;
    for (const [method, names] of Object.entries(methods[name])) {
      const given = names.map((argument) => parameters[argument][1]);
      const [state, result] = await outcome(() => {
        Date.now = /** @type {any} */ (() => answer);
        try {
          return store[method](...given);
        } finally {
          Date.now = now;
        }
      });
      if (state !== 'resolved' && state !== 'rejected') {
        problem('Date.now()', `${show(answer)} in ${method}: ${state} ${show(result)}`);
      }
    }
    await checkRoundTrip('Date.now()', show(answer), store);
    store.destroy();
  }
}

async function tryLimits() {
  const group = 'configurations';
  for (const [title, value] of values) {
    for (const [kind, config, valid] of /** @type {[string, any, boolean | undefined][]} */ ([
      // What is falsy counts as none.
      ['the whole', value, isObject(value) ? undefined : !value],
      ['limit', { limit: value, windowMs: 1_000 }, limit(value)],
      ['windowMs', { limit: 5, windowMs: value }, windowMs(value)],
    ])) {
      const store = new Store();
      start(`${group}: ${kind}: ${title}`);
      try {
        const answer = store.setResourceConfig('key', config);
        if (answer !== undefined) problem(group, `${kind}: ${title}: answered ${show(answer)}`);
        store.getResourceConfig('key');
        // As a resource, too.
        store.setResourceConfig(value, { limit: 1, windowMs: 1 });
        store.getResourceConfig(value);
      } catch (error) {
        problem(group, `${kind}: ${title}: thrown synchronously ${show(error)}`);
      }
      for (const method of ['canProceed', 'getStatus', 'getWaitTime', 'getStats', 'cleanup']) {
        const [state, result] = await outcome(() => store[method]('key'));
        const isRefused =
          state === 'rejected' &&
          (result instanceof Trapped ||
            (result instanceof TypeError &&
              (isRevoked(result) ||
                /^resourceConfigs\.get\('key'\)(\.| must be )/.test(result.message))));
        const isRight =
          valid === undefined
            ? state === 'resolved' || isRefused
            : valid
              ? state === 'resolved'
              : isRefused;
        if (!isRight) problem(group, `${kind}: ${title}: ${method}: ${state} ${show(result)}`);
      }
      store.setResourceConfig('key', { limit: 5, windowMs: 1_000 });
      await checkRoundTrip(group, `${kind}: ${title}`, store);
      store.destroy();
    }
  }
}

/** @type {Record<string, () => Promise<void>>} */
const parts = {
  options: tryOptions,
  arguments: tryArguments,
  receivers: tryReceivers,
  reentry: tryReentry,
  limits: tryLimits,
};

process.on('unhandledRejection', (error) => problem('unhandled rejections', show(error)));
parts[part]().then(
  () => {
    writeSync(1, JSON.stringify({ cases, problems }));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
