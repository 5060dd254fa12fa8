'use strict';
// The calls of a process that is killed, and what they make of the file. Both follow from a seed, so the process
// that calls and the one that checks agree on them without a word.

const { random } = require('./random.cjs');

/** The time of call 0; each call is made one millisecond after the one before. */
const START = Date.UTC(2026, 0, 1);

/** The options of the four stores. No timers: what is deleted, and when, follows from the calls. */
const OPTIONS = {
  SQLiteCacheStore: { cleanupIntervalMs: 0 },
  SQLiteDedupeStore: { cleanupIntervalMs: 0, jobTimeoutMs: 700 },
  SQLiteRateLimitStore: { defaultConfig: { limit: 50, windowMs: 400 } },
  SqliteAdaptiveRateLimitStore: {
    defaultConfig: { limit: 50, windowMs: 400 },
    adaptiveConfig: { monitoringWindowMs: 300, sustainedInactivityThresholdMs: 900 },
  },
};
const RATE_SPAN = 400;
const ADAPTIVE_SPAN = 900;

/** After how many requests that it has recorded a limiter removes some that are past its span. */
const REMOVES_EVERY = 100;

/**
 * The text that makes call `n`'s value `size` long and tells it from every other call's.
 * @param {number} n
 * @param {number} size
 */
function padding(n, size) {
  return `${n}.`.repeat(Math.ceil(size / 2)).slice(0, size);
}

/**
 * @typedef {{ n: number, store: keyof typeof OPTIONS, method: string, args: any[] }} Call
 */

/**
 * Groups of calls without end: those of a group are made at once, and awaited before the next group.
 * @param {number} seed
 * @param {number} first  the number of the first call
 * @returns {Generator<Call[], never>}
 */
function* groups(seed, first) {
  const next = random(seed);
  const integer = (/** @type {number} */ below) => Math.floor(next() * below);
  /** @type {<T>(list: readonly T[]) => T} */
  const one = (list) => list[integer(list.length)];
  let n = first;
  /** Jobs that are registered and not ended. @type {string[]} */
  const pending = [];
  const value = () => {
    const kind = next();
    const size = kind < 0.8 ? integer(300) : kind < 0.96 ? integer(8_000) : integer(200_000);
    return { n, pad: padding(n, size) };
  };
  const key = () => `key ${integer(60)}`;
  const resource = () => one(['issues', 'volumes', 'characters']);

  /** @returns {[keyof typeof OPTIONS, string, ...any[]]} */
  const make = () => {
    const kind = next();
    if (kind < 0.36)
      return ['SQLiteCacheStore', 'set', key(), value(), one([-1, 0.05, 0.5, 3_600, 3_600])];
    if (kind < 0.4) return ['SQLiteCacheStore', 'get', key()];
    if (kind < 0.44) return ['SQLiteCacheStore', 'delete', key()];
    if (kind < 0.46) return ['SQLiteCacheStore', 'cleanup'];
    if (kind < 0.465) return ['SQLiteCacheStore', 'clear'];
    if (kind < 0.56) {
      pending.push(`job ${n}`);
      return ['SQLiteDedupeStore', 'register', `job ${n}`];
    }
    if (kind < 0.65 && pending.length > 0) {
      const [hash] = pending.splice(integer(pending.length), 1);
      return kind < 0.63
        ? ['SQLiteDedupeStore', 'complete', hash, value()]
        : ['SQLiteDedupeStore', 'fail', hash, new Error(`refused ${n}`)];
    }
    if (kind < 0.67) return ['SQLiteDedupeStore', 'cleanup'];
    if (kind < 0.673) return ['SQLiteDedupeStore', 'clear'];
    if (kind < 0.81) return ['SQLiteRateLimitStore', 'record', resource()];
    if (kind < 0.82) return ['SQLiteRateLimitStore', 'getStatus', resource()];
    if (kind < 0.825) return ['SQLiteRateLimitStore', 'reset', resource()];
    if (kind < 0.83) return ['SQLiteRateLimitStore', 'cleanup'];
    if (kind < 0.975)
      return [
        'SqliteAdaptiveRateLimitStore',
        'record',
        resource(),
        one(['user', 'background', 'background']),
      ];
    if (kind < 0.985) return ['SqliteAdaptiveRateLimitStore', 'canProceed', resource(), 'user'];
    if (kind < 0.99) return ['SqliteAdaptiveRateLimitStore', 'cleanup'];
    if (kind < 0.998) return ['SqliteAdaptiveRateLimitStore', 'reset', resource()];
    return ['SQLiteRateLimitStore', 'clear'];
  };

  for (;;) {
    const group = [];
    for (let left = next() < 0.2 ? 100 : 1; left > 0; left--, n++) {
      const [store, method, ...args] = make();
      group.push({ n, store, method, args });
    }
    yield group;
  }
}

/** Those that answer at once, whatever is called before and does not touch what they read. */
const READS = ['get', 'getStatus', 'canProceed'];

/**
 * The last of the acknowledged calls that tells that all writes before it have taken effect: a write. The number before
 * the first if there is none.
 * @param {number} seed
 * @param {number} first
 * @param {Set<number>} acknowledged
 */
function lastWrite(seed, first, acknowledged) {
  const most = Math.max(...acknowledged);
  let last = first - 1;
  for (const group of groups(seed, first)) {
    for (const { n, method } of group) {
      if (n > most) return last;
      if (acknowledged.has(n) && !READS.includes(method)) last = n;
    }
  }
  return last;
}

/**
 * @typedef {Map<string, string>} Rows  the rows of a table by their key, as text
 * @typedef {{ cache: Rows, jobs: Rows, requests: Rows }} State
 */

/** The texts of rows: a column's value never holds the separator. */
const row = (/** @type {unknown[]} */ ...columns) => columns.join('|');
const column = (/** @type {string} */ text, /** @type {number} */ index) => text.split('|')[index];

/**
 * Shows a stored value as `<call>:<length of its padding>`, or says what is wrong with it.
 * @param {Buffer | null} blob
 */
function show(blob) {
  if (blob === null) return '';
  const { n, pad } = JSON.parse(JSON.parse(blob.toString('utf8')));
  return pad === padding(n, pad.length) ? `${n}:${pad.length}` : `${n}: damaged`;
}

/**
 * What lies in a file.
 * @param {any} db  a better-sqlite3 connection
 * @returns {State}
 */
function read(db) {
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all();
  const rows = (/** @type {string} */ table) =>
    tables.includes(table) ? db.prepare(`SELECT * FROM ${table}`).all() : [];
  /** @type {State} */
  const state = { cache: new Map(), jobs: new Map(), requests: new Map() };
  for (const found of rows('cache'))
    state.cache.set(found.hash, row(show(found.value), found.expires_at, found.created_at));
  for (const found of rows('dedupe_jobs')) {
    const { hash, status, result, error, created_at, updated_at } = found;
    state.jobs.set(hash, row(status, show(result), error ?? '', created_at, updated_at));
  }
  for (const { timestamp, resource, priority } of rows('rate_limits')) {
    // No two calls are made at one time: a second row would be a call carried out twice.
    const twice = state.requests.has(`${timestamp}`) ? 'twice' : '';
    state.requests.set(`${timestamp}`, row(resource, priority, twice));
  }
  return state;
}

/** What the calls up to some moment have made of the file. */
class Model {
  /** @param {State} state  what was there before */
  constructor(state) {
    this.cache = new Map(state.cache);
    this.jobs = new Map(state.jobs);
    this.requests = new Map(state.requests);
    /**
     * Rows that are to be deleted and may or may not be there: cleanups delete in steps and reads delete what has
     * expired later. @type {State}
     */
    this.leaving = { cache: new Map(), jobs: new Map(), requests: new Map() };
    /** How many requests each limiter has recorded. */
    this.recorded = { SQLiteRateLimitStore: 0, SqliteAdaptiveRateLimitStore: 0 };
  }

  /**
   * @param {Call} call
   * @param {boolean} acknowledged
   */
  apply({ n, store, method, args: [name, value, ...rest] }, acknowledged) {
    const now = START + n;
    switch (`${store}.${method}`) {
      case 'SQLiteCacheStore.set': {
        const expires = rest[0] <= 0 ? now : now + rest[0] * 1_000;
        this.put('cache', name, row(`${value.n}:${value.pad.length}`, expires, now));
        break;
      }
      case 'SQLiteCacheStore.delete':
        this.drop('cache', (key) => key === name, true);
        break;
      case 'SQLiteCacheStore.clear':
        this.drop('cache', () => true, true);
        break;
      case 'SQLiteCacheStore.get':
        this.drop('cache', (key, text) => key === name && now >= Number(column(text, 1)), false);
        break;
      case 'SQLiteCacheStore.cleanup':
        this.drop('cache', (_, text) => Number(column(text, 1)) < now, acknowledged);
        break;
      case 'SQLiteDedupeStore.register':
        this.put('jobs', name, row('pending', '', '', now, now));
        break;
      case 'SQLiteDedupeStore.complete':
      case 'SQLiteDedupeStore.fail': {
        const job = this.jobs.get(name);
        // Cleared or cleaned up meanwhile.
        if (job === undefined) break;
        const created = column(job, 3);
        const ended =
          method === 'complete'
            ? row('completed', `${value.n}:${value.pad.length}`, '', created, now)
            : row('failed', '', value.message, created, now);
        this.put('jobs', name, ended);
        break;
      }
      case 'SQLiteDedupeStore.clear':
        this.drop('jobs', () => true, true);
        break;
      case 'SQLiteDedupeStore.cleanup':
        this.drop('jobs', (_, text) => Number(column(text, 3)) < now - 700, acknowledged);
        break;
      case 'SQLiteRateLimitStore.record':
      case 'SqliteAdaptiveRateLimitStore.record':
        this.put('requests', `${now}`, row(name, value ?? 'background', ''));
        if (++this.recorded[store] % REMOVES_EVERY === 0) {
          const span = store === 'SQLiteRateLimitStore' ? RATE_SPAN : ADAPTIVE_SPAN;
          this.drop('requests', (at) => Number(at) < now - span, false);
        }
        break;
      case 'SQLiteRateLimitStore.getStatus':
        this.drop(
          'requests',
          (at, text) => Number(at) < now - RATE_SPAN && column(text, 0) === name,
          false,
        );
        break;
      case 'SqliteAdaptiveRateLimitStore.canProceed':
        this.drop(
          'requests',
          (at, text) => Number(at) < now - ADAPTIVE_SPAN && column(text, 0) === name,
          false,
        );
        break;
      case 'SQLiteRateLimitStore.reset':
      case 'SqliteAdaptiveRateLimitStore.reset':
        this.drop('requests', (_, text) => column(text, 0) === name, true);
        break;
      case 'SQLiteRateLimitStore.cleanup':
        this.drop('requests', (at) => Number(at) < now - RATE_SPAN, acknowledged);
        break;
      case 'SqliteAdaptiveRateLimitStore.cleanup':
        this.drop('requests', (at) => Number(at) < now - ADAPTIVE_SPAN, acknowledged);
        break;
      case 'SQLiteRateLimitStore.clear':
        this.drop('requests', () => true, true);
        break;
      default:
        throw new Error(`${store}.${method}`);
    }
  }

  /**
   * @param {keyof State} table
   * @param {string} key
   * @param {string} text
   */
  put(table, key, text) {
    this.leaving[table].delete(key);
    this[table].set(key, text);
  }

  /**
   * @param {keyof State} table
   * @param {(key: string, text: string) => boolean} matches
   * @param {boolean} surely  whether the rows are gone, or only may be
   */
  drop(table, matches, surely) {
    for (const [key, text] of this[table]) {
      if (!matches(key, text)) continue;
      this[table].delete(key);
      if (!surely) this.leaving[table].set(key, text);
    }
    if (!surely) return;
    for (const [key, text] of this.leaving[table])
      if (matches(key, text)) this.leaving[table].delete(key);
  }

  /**
   * How a file differs from what it should hold; the empty list if not.
   * @param {State} found
   */
  differences(found) {
    const told = [];
    for (const table of /** @type {const} */ (['cache', 'jobs', 'requests'])) {
      const leaving = this.leaving[table];
      for (const [key, text] of this[table])
        if (found[table].get(key) !== text)
          told.push(`${table} ${key}: ${text} expected, ${found[table].get(key)} found`);
      for (const [key, text] of found[table])
        if (!this[table].has(key) && leaving.get(key) !== text)
          told.push(`${table} ${key}: ${text} found, none expected`);
    }
    return told;
  }
}

module.exports = { groups, lastWrite, Model, OPTIONS, read, START };
