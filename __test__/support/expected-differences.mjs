// 0.2.0 without its faults: each named correction undoes one difference that is intended, as exactly as it can be
// told, so that everything else can be compared strictly. What a correction needs to know of 0.2.0 it reads from its
// connection and its fields. Corrections are counted, by name, when they change something.
import { isDeepStrictEqual } from 'node:util';
import { AdaptiveCapacityCalculator } from '@comic-vine/client';

/**
 * @typedef {import('./differential.mjs').Call} Call
 * @typedef {import('./differential.mjs').Outcome} Outcome
 */

/** Every named correction. */
export const corrections = {
  destroyed: 'every method says that the store has been destroyed',
  textless: 'set of a value without JSON text fails to serialize',
  resultTtl: 'results are served for resultTtlMs',
  waitForDead: 'nobody waits for a job that is past its time',
  registerDead: 'a job past its time can be registered again',
  fresh: 'a job registered again starts anew',
  ownJob: 'a job that is over is ended again only by the store that registered it',
  ownTimeout: 'a timeout ends only the job it was set for',
  givenUp: 'a job of a store that has ended passes on at once',
  asStored: 'waiters get the result as it is stored, each a value of its own',
  deadline: 'waiters wait until the end of the job, not longer',
  noTimeout: 'a job timeout of 0 is none',
  ended: 'without a job timeout, jobs that have ended go when they are no longer served',
  cleanup: 'the cleanup interval removes finished jobs, too',
  clear: 'waiters get undefined on clear',
  close: 'waiters get undefined on close',
  waitNotZero: 'getWaitTime is not 0 while canProceed is false',
  longWait: 'getWaitTime is at most what a timer can wait',
  lastTime: 'resetTime is a valid date',
  waitOverLimit: 'getWaitTime over the limit is the time until a slot is free',
  waitForShare: 'getWaitTime is at most until the next division where a share stands in the way',
  history: 'history survives a restart',
  kept: 'requests are kept as long as the history needs them',
  unused: 'a clean-up forgets resources that nobody uses',
  total: 'all requests together never pass the limit',
  freeSlots: 'users without a share may use any free slot',
  shares: 'shares stay between 0 and the limit, also when it is lowered',
  remaining: 'remaining is never negative',
  metrics: 'getStats has adaptiveMetrics',
};

const LONGEST_WAIT = 2 ** 31 - 1;
const LAST_TIME = 8.64e15;

/** @typedef {{ at: number, priority: string }} Request */

/** @returns {Outcome} */
const resolved = (/** @type {any} */ value) => ({ status: 'resolved', value });

export class Corrected {
  /** @type {string} */
  static destroyed = '';
  closed = false;

  /** @param {{ store: any, options: Record<string, any>, persistent: boolean, tally: Map<string, number> }} context */
  constructor({ store, options, persistent, tally }) {
    this.options = options;
    this.persistent = persistent;
    this.tally = tally;
    this.store = store;
    this.openedAt = Date.now();
  }

  /** @param {any} store */
  opened(store) {
    this.store = store;
    this.closed = false;
    this.openedAt = Date.now();
  }

  /** @param {keyof typeof corrections} name */
  count(name, times = 1) {
    const text = corrections[name];
    if (times > 0) this.tally.set(text, (this.tally.get(text) ?? 0) + times);
  }

  /**
   * @param {Call} call
   * @param {() => Promise<Outcome>} ask  asks 0.2.0
   * @returns {Promise<Outcome>}
   */
  async call(call, ask) {
    if (call.method === 'close') {
      await this.closing();
      this.closed = true;
      return ask();
    }
    if (!this.closed) return this.answer(call, ask);
    const outcome = await ask();
    const { destroyed } = /** @type {typeof Corrected} */ (this.constructor);
    if (outcome.status === 'rejected' && outcome.error.message === destroyed) return outcome;
    this.count('destroyed');
    return { status: 'rejected', error: new Error(destroyed) };
  }

  /**
   * @param {Call} _call
   * @param {() => Promise<Outcome>} ask
   * @returns {Promise<Outcome>}
   */
  answer(_call, ask) {
    return ask();
  }

  /**
   * What the subject answered, without what 0.2.0 does not have.
   * @param {Call} _call
   * @param {Outcome} outcome
   */
  found(_call, outcome) {
    return outcome;
  }

  async closing() {}
  advancing() {}
  advanced() {}
}

export class CorrectedCache extends Corrected {
  static destroyed = 'Cache store has been destroyed';

  /**
   * @param {Call} call
   * @param {() => Promise<Outcome>} ask
   * @returns {Promise<Outcome>}
   */
  async answer({ method, args }, ask) {
    const outcome = await ask();
    if (
      method !== 'set' ||
      outcome.status !== 'rejected' ||
      outcome.error.code !== 'ERR_INVALID_ARG_TYPE'
    )
      return outcome;
    if (JSON.stringify(args[1]) !== undefined) return outcome;
    this.count('textless');
    return { status: 'rejected', error: new Error(), message: /^Failed to serialize value: ./ };
  }
}

export class CorrectedDedupe extends Corrected {
  static destroyed = 'Dedupe store has been destroyed';
  /** Jobs this store registered. @type {Set<string>} */
  registered = new Set();
  /** Ids of jobs whose store has ended. @type {Set<string>} */
  givenUp = new Set();
  /** When the jobs end that waiters wait for. @type {Map<string, number>} */
  deadlines = new Map();
  inTimers = false;

  /** @param {any} context */
  constructor(context) {
    super(context);
    this.timeout = this.options.jobTimeoutMs ?? 300_000;
    const ttl = this.options.resultTtlMs ?? 1_000;
    this.ttl = this.timeout > 0 ? Math.min(ttl, this.timeout) : ttl;
    this.interval = this.options.cleanupIntervalMs ?? 60_000;
    this.guardTimers();
  }

  /** @param {any} store */
  opened(store) {
    super.opened(store);
    this.registered.clear();
    this.deadlines.clear();
    this.guardTimers();
  }

  /** The timers of 0.2.0 act on whatever job waits when they fire: here only on the one they were set for. */
  guardTimers() {
    const { jobResolvers } = this.store;
    /** For whom timers were set, by the time they fire and the hash. @type {Map<string, unknown[]>} */
    const timers = new Map();
    const key = (/** @type {string} */ hash, /** @type {number} */ at) => `${at} ${hash}`;
    jobResolvers.set = (/** @type {string} */ hash, /** @type {any} */ resolver) => {
      const { resolve } = resolver;
      resolver.resolve = (/** @type {unknown} */ value) => {
        const text = JSON.stringify(value);
        const stored = text === undefined ? undefined : JSON.parse(text);
        if (!isDeepStrictEqual(stored, value)) this.count('asStored');
        resolve(stored);
      };
      const due = key(hash, Date.now() + this.timeout);
      timers.set(due, [...(timers.get(due) ?? []), resolver]);
      return Map.prototype.set.call(jobResolvers, hash, resolver);
    };
    jobResolvers.get = (/** @type {string} */ hash) => {
      const waiting = Map.prototype.get.call(jobResolvers, hash);
      if (!this.inTimers) return waiting;
      const setFor = timers.get(key(hash, Date.now()))?.shift();
      if (waiting && setFor !== waiting) this.count('ownTimeout');
      // Where the job has ended before, `advanced` sees to it.
      return setFor === waiting && this.deadlines.get(hash) === Date.now() ? waiting : undefined;
    };
  }

  /** @param {string} hash */
  row(hash) {
    return this.store.sqlite
      .prepare('SELECT *, CAST(result AS TEXT) AS text FROM dedupe_jobs WHERE hash = ?')
      .get(hash);
  }

  /** Which correction has a pending job be nobody's, if one does. @param {any} row @param {'waitForDead' | 'registerDead'} past */
  deadBy(row, past) {
    if (row?.status !== 'pending') return undefined;
    if (this.timeout > 0 && Date.now() - row.created_at >= this.timeout) return past;
    return this.givenUp.has(row.job_id) ? 'givenUp' : undefined;
  }

  /**
   * @param {Call} call
   * @param {() => Promise<Outcome>} ask
   * @returns {Promise<Outcome>}
   */
  async answer({ method, args }, ask) {
    const [hash] = args;
    const { sqlite } = this.store;
    const row = typeof hash === 'string' ? this.row(hash) : undefined;
    if (method === 'waitFor') {
      const dead = this.deadBy(row, 'waitForDead');
      if (dead) {
        this.count(dead);
        return resolved(undefined);
      }
      if (row?.status === 'pending' && !this.deadlines.has(hash))
        this.deadlines.set(hash, row.created_at + this.timeout);
      const outcome = await ask();
      if (
        row?.status === 'completed' &&
        Date.now() - row.updated_at >= this.ttl &&
        outcome.value !== undefined
      ) {
        this.count('resultTtl');
        return resolved(undefined);
      }
      return outcome;
    }
    if (method === 'register') {
      const dead = this.deadBy(row, 'registerDead');
      if (dead) {
        sqlite.prepare("UPDATE dedupe_jobs SET status = 'failed' WHERE hash = ?").run(hash);
        this.count(dead);
      }
      const outcome = await ask();
      if (
        row &&
        row.job_id !== outcome.value &&
        (row.created_at !== Date.now() || row.text !== null || row.error !== null)
      ) {
        sqlite
          .prepare(
            'UPDATE dedupe_jobs SET created_at = ?, result = NULL, error = NULL WHERE hash = ?',
          )
          .run(Date.now(), hash);
        this.count('fresh');
      }
      if (row?.job_id !== outcome.value) this.registered.add(hash);
      return outcome;
    }
    if (method === 'isInProgress') {
      const outcome = await ask();
      if (outcome.value !== true || !this.givenUp.has(row.job_id)) return outcome;
      this.count('givenUp');
      return resolved(false);
    }
    if (method === 'complete' || method === 'fail') {
      const foreign = row && row.status !== 'pending' && !this.registered.has(hash);
      if (
        !foreign ||
        (method === 'complete' && (row.status === 'completed' || !isSerializable(args[1])))
      ) {
        const outcome = await ask();
        if (outcome.status === 'resolved') this.deadlines.delete(hash);
        return outcome;
      }
      this.count('ownJob');
      return resolved(undefined);
    }
    if (
      this.timeout === 0 &&
      (method === 'getResult' || method === 'getStats' || method === 'cleanup')
    ) {
      const old = sqlite
        .prepare('SELECT COUNT(*) AS n FROM dedupe_jobs WHERE created_at < ?')
        .get(Date.now()).n;
      this.count('noTimeout', Math.min(old, 1));
      this.store.jobTimeoutMs = Number.POSITIVE_INFINITY;
      const outcome = await ask();
      this.store.jobTimeoutMs = 0;
      if (method === 'cleanup') this.removeEnded(Date.now() - this.ttl);
      return outcome;
    }
    if (method === 'clear') this.settleAll('clear');
    return ask();
  }

  async closing() {
    this.settleAll('close');
    if (!this.store.sqlite.open) return;
    for (const hash of this.registered) {
      const row = this.row(hash);
      if (row?.status === 'pending') this.givenUp.add(row.job_id);
    }
  }

  /** @param {'clear' | 'close'} cause */
  settleAll(cause) {
    for (const { resolve } of this.store.jobResolvers.values()) {
      resolve(undefined);
      this.count(cause);
    }
    this.deadlines.clear();
  }

  /** Removes the jobs that ended before a time, where jobs have no timeout. @param {number} before */
  removeEnded(before) {
    const { changes } = this.store.sqlite
      .prepare("DELETE FROM dedupe_jobs WHERE status <> 'pending' AND updated_at < ?")
      .run(before);
    this.count('ended', changes);
  }

  advancing() {
    this.inTimers = true;
  }

  advanced() {
    this.inTimers = false;
    if (this.closed) return;
    const { sqlite, jobResolvers, jobPromises } = this.store;
    for (const [hash, deadline] of this.deadlines) {
      if (this.timeout === 0 || deadline > Date.now()) continue;
      this.deadlines.delete(hash);
      const resolver = jobResolvers.get(hash);
      if (!resolver) continue;
      jobResolvers.delete(hash);
      jobPromises.delete(hash);
      sqlite
        .prepare(
          "UPDATE dedupe_jobs SET status = 'failed', error = 'Job timed out', updated_at = ? WHERE hash = ? AND status = 'pending'",
        )
        .run(deadline, hash);
      resolver.resolve(undefined);
      this.count('deadline');
    }
    const ticks = this.interval > 0 ? Math.floor((Date.now() - this.openedAt) / this.interval) : 0;
    if (ticks === 0) return;
    const tick = this.openedAt + ticks * this.interval;
    if (this.timeout === 0) return this.removeEnded(tick - this.ttl);
    const before = tick - this.timeout;
    const { changes } = sqlite
      .prepare("DELETE FROM dedupe_jobs WHERE status <> 'pending' AND created_at < ?")
      .run(before);
    this.count('cleanup', changes);
  }
}

/** @param {unknown} value */
function isSerializable(value) {
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

export class CorrectedRateLimit extends Corrected {
  static destroyed = 'Rate limit store has been destroyed';
  /** @param {string} resource */
  configOf(resource) {
    return this.store.getResourceConfig(resource);
  }

  /**
   * The times of the requests in a resource's window, in order.
   * @param {string} resource
   * @returns {number[]}
   */
  inWindow(resource) {
    const requests = this.store.sqlite.prepare(
      'SELECT timestamp FROM rate_limits WHERE resource = ? AND timestamp >= ? ORDER BY timestamp',
    );
    return requests.pluck().all(resource, Date.now() - this.configOf(resource).windowMs);
  }

  /**
   * How long until fewer than `limit` of these times are in the window, at least 1 ms.
   * @param {number[]} times
   * @param {number} limit
   * @param {number} windowMs
   */
  untilBelow(times, limit, windowMs) {
    return Math.max(1, times[times.length - Math.ceil(limit)] + windowMs - Date.now());
  }

  /**
   * @param {Call} call
   * @param {() => Promise<Outcome>} ask
   */
  async call(call, ask) {
    const outcome = await super.call(call, ask);
    const { status, value } = outcome;
    if (status !== 'resolved') return outcome;
    if (call.method === 'getWaitTime' && value > LONGEST_WAIT) {
      this.count('longWait');
      return resolved(LONGEST_WAIT);
    }
    if (call.method === 'getStatus' && Number.isNaN(value.resetTime.getTime())) {
      this.count('lastTime');
      return resolved({ ...value, resetTime: new Date(LAST_TIME) });
    }
    return outcome;
  }

  /**
   * @param {number} told  what 0.2.0 answers
   * @param {number} expected
   * @param {boolean} over  whether more than the limit was used
   */
  waitTime(told, expected, over) {
    if (told === expected) return;
    if (told === 0) this.count('waitNotZero');
    else if (over) this.count('waitOverLimit');
    else throw new Error(`no reason for a wait of ${expected} ms instead of ${told} ms`);
  }

  /**
   * @param {Call} call
   * @param {() => Promise<Outcome>} ask
   * @returns {Promise<Outcome>}
   */
  async answer(call, ask) {
    const outcome = await ask();
    const [resource] = call.args;
    if (call.method !== 'getWaitTime') return outcome;
    const { limit, windowMs } = this.configOf(resource);
    const times = this.inWindow(resource);
    if (limit === 0 || times.length < limit) return outcome;
    const expected = this.untilBelow(times, limit, windowMs);
    this.waitTime(outcome.value, expected, times.length > limit);
    return resolved(expected);
  }
}

export class CorrectedAdaptive extends CorrectedRateLimit {
  /** When a store has been opened on a file that had requests before. */
  restarted = false;
  /** Whether requests have been kept for the history alone: a longer window may count them later. */
  held = false;
  /** Requests by resource, as long as they are kept. @type {Map<string, Request[]>} */
  requests = new Map();
  /** Requests by resource, since it was last reset. @type {Map<string, Request[]>} */
  history = new Map();

  /** @param {any} context */
  constructor(context) {
    super(context);
    this.calculator = new AdaptiveCapacityCalculator(this.options.adaptiveConfig);
  }

  /** @param {any} store */
  opened(store) {
    super.opened(store);
    this.restarted = this.persistent;
    if (this.persistent) return;
    this.requests.clear();
    this.history.clear();
  }

  /** @param {Call} call */
  note({ method, args: [resource, priority = 'background'] }) {
    for (const requests of [this.requests, this.history]) {
      if (method === 'record')
        requests.set(resource, [...(requests.get(resource) ?? []), { at: Date.now(), priority }]);
      if (method === 'reset') requests.delete(resource);
      if (method === 'clear') requests.clear();
    }
  }

  /**
   * The times of the requests in a resource's window, in order.
   * @param {string} resource
   * @param {string} [priority]
   */
  inWindow(resource, priority) {
    const start = Date.now() - this.configOf(resource).windowMs;
    const requests = (this.requests.get(resource) ?? []).filter(({ at }) => at >= start);
    return requests
      .filter((request) => priority === undefined || request.priority === priority)
      .map(({ at }) => at);
  }

  /**
   * Gives 0.2.0 the history that it lost in a restart.
   * @param {string} resource
   */
  restoreHistory(resource) {
    if (!this.restarted) return;
    const { activityMetrics, sqlite } = this.store;
    const times = (/** @type {string} */ priority) =>
      (this.history.get(resource) ?? [])
        .filter((request) => request.priority === priority)
        .map(({ at }) => at);
    const known = activityMetrics.get(resource) ?? {
      recentUserRequests: sqlite
        .prepare(
          "SELECT timestamp FROM rate_limits WHERE resource = ? AND priority = 'user' AND timestamp >= ?",
        )
        .pluck()
        .all(resource, Date.now() - this.calculator.config.monitoringWindowMs),
      recentBackgroundRequests: sqlite
        .prepare(
          "SELECT timestamp FROM rate_limits WHERE resource = ? AND priority = 'background' AND timestamp >= ?",
        )
        .pluck()
        .all(resource, Date.now() - this.calculator.config.monitoringWindowMs),
    };
    const full = {
      recentUserRequests: times('user'),
      recentBackgroundRequests: times('background'),
      userActivityTrend: 'none',
    };
    const digest = (
      /** @type {typeof full} */ { recentUserRequests: user, recentBackgroundRequests: background },
    ) =>
      `${this.calculator.getRecentActivity(user)} ${this.calculator.calculateActivityTrend(user)} ${Math.max(...user)} ${background.length > 0}`;
    if (digest(full) === digest(known)) return;
    activityMetrics.set(resource, full);
    this.count('history');
  }

  /**
   * Gives 0.2.0 the requests back that it deleted and a longer window now has in it.
   * @param {string} resource
   */
  restoreRequests(resource) {
    const start = Date.now() - this.configOf(resource).windowMs;
    const { sqlite } = this.store;
    const stored = sqlite
      .prepare('SELECT COUNT(*) FROM rate_limits WHERE resource = ? AND timestamp >= ?')
      .pluck()
      .get(resource, start);
    const requests = (this.requests.get(resource) ?? []).filter(({ at }) => at >= start);
    if (stored === requests.length) return;
    this.count('kept');
    sqlite.prepare('DELETE FROM rate_limits WHERE resource = ?').run(resource);
    const insert = sqlite.prepare(
      'INSERT INTO rate_limits (resource, timestamp, priority) VALUES (?, ?, ?)',
    );
    for (const { at, priority } of requests) insert.run(resource, at, priority);
  }

  /**
   * The shares 0.2.0 uses at this moment, kept between 0 and the limit: the one they divide, and the one that
   * holds now.
   * @param {string} resource
   */
  sharesOf(resource) {
    const { limit } = this.configOf(resource);
    const told = this.store.cachedCapacity.get(resource) ?? {
      userReserved: Math.floor(limit * 0.3),
      backgroundMax: Math.floor(limit * 0.7),
      backgroundPaused: false,
    };
    const divided = told.userReserved + told.backgroundMax;
    const clamp = (/** @type {number} */ share) => Math.min(Math.max(share, 0), divided);
    let [user, background] = [told.userReserved, told.backgroundMax].map(clamp);
    if (user + background > limit) {
      user = Math.floor((user / (user + background)) * limit);
      background = limit - user;
    }
    return { ...told, user, background };
  }

  /** How long until the shares are divided anew. @param {string} resource */
  untilDivided(resource) {
    const dividedAt = this.store.lastCapacityUpdate.get(resource) ?? 0;
    return Math.max(1, dividedAt + this.calculator.config.recalculationIntervalMs - Date.now());
  }

  /**
   * @param {string} resource
   * @param {string} priority
   */
  isFree(resource, priority) {
    const { user, background, backgroundPaused } = this.sharesOf(resource);
    const used = this.inWindow(resource, priority).length;
    const ofClass =
      priority === 'user' ? user === 0 || used < user : !backgroundPaused && used < background;
    return ofClass && this.inWindow(resource).length < this.configOf(resource).limit;
  }

  /** How long requests are kept for the history. @param {string} resource */
  spanOf(resource) {
    const { monitoringWindowMs, sustainedInactivityThresholdMs } = this.calculator.config;
    return Math.max(
      this.configOf(resource).windowMs,
      monitoringWindowMs,
      sustainedInactivityThresholdMs,
    );
  }

  /** What is old is gone, and whatever is kept of resources that nobody uses. */
  cleaned() {
    for (const name of [...this.requests.keys()]) this.drop(name);
    const { activityMetrics } = this.store;
    for (const name of new Set([...this.history.keys(), ...activityMetrics.keys()])) {
      if (this.requests.has(name)) continue;
      this.count('unused');
      this.history.delete(name);
      activityMetrics.delete(name);
    }
  }

  /** @param {string} resource */
  drop(resource) {
    if (this.spanOf(resource) > this.configOf(resource).windowMs) this.held = true;
    const kept = (this.requests.get(resource) ?? []).filter(
      ({ at }) => at >= Date.now() - this.spanOf(resource),
    );
    if (kept.length > 0) this.requests.set(resource, kept);
    else this.requests.delete(resource);
  }

  /**
   * @param {Call} call
   * @param {() => Promise<Outcome>} ask
   * @returns {Promise<Outcome>}
   */
  async answer(call, ask) {
    const { method, args } = call;
    const [resource, priority = 'background'] = args;
    if (typeof resource === 'string' && method !== 'reset') {
      this.restoreHistory(resource);
      this.restoreRequests(resource);
    }
    this.note(call);
    if (method === 'getStats') return this.stats(ask);
    if (method === 'cleanup') this.cleaned();
    if (typeof resource !== 'string' || method === 'reset') return ask();
    const outcome = await ask();
    if (method === 'record') return outcome;
    const { limit, windowMs } = this.configOf(resource);
    const paused = priority === 'background' && this.sharesOf(resource).backgroundPaused;
    if (
      method === 'getStatus' ||
      (method === 'canProceed' && !paused) ||
      (method === 'getWaitTime' && limit !== 0 && !paused)
    )
      this.drop(resource);
    if (method === 'getStatus') return this.status(resource, outcome);
    if (method === 'getWaitTime')
      return limit === 0 ? outcome : this.wait(resource, priority, windowMs, outcome);
    const free = this.isFree(resource, priority);
    if (free !== outcome.value) {
      const { user, background, userReserved, backgroundMax } = this.sharesOf(resource);
      // What was divided for a lower limit holds until it is divided anew.
      const narrowed = priority === 'user' ? user < userReserved : background < backgroundMax;
      if (free && user === 0 && priority === 'user') this.count('freeSlots');
      else if (!free && this.inWindow(resource).length >= limit) this.count('total');
      else if (!free && narrowed) this.count('shares');
      else throw new Error('no reason for another answer');
    }
    return resolved(free);
  }

  /**
   * @param {string} resource
   * @param {Outcome} outcome
   */
  status(resource, outcome) {
    const { user, background } = this.sharesOf(resource);
    const { value } = outcome;
    const expected = {
      ...value,
      remaining: Math.max(
        0,
        user -
          this.inWindow(resource, 'user').length +
          (background - this.inWindow(resource, 'background').length),
      ),
      adaptive: { ...value.adaptive, userReserved: user, backgroundMax: background },
    };
    const corrected =
      value.adaptive.userReserved !== user || value.adaptive.backgroundMax !== background;
    if (corrected) this.count('shares');
    if (value.remaining < 0) this.count('remaining');
    else if (value.remaining !== expected.remaining && !corrected)
      throw new Error(
        `no reason for ${expected.remaining} remaining instead of ${value.remaining}`,
      );
    return resolved(expected);
  }

  /**
   * @param {string} resource
   * @param {string} priority
   * @param {number} windowMs
   * @param {Outcome} outcome
   */
  wait(resource, priority, windowMs, outcome) {
    const { user, background, backgroundPaused } = this.sharesOf(resource);
    const { limit } = this.configOf(resource);
    if (this.isFree(resource, priority)) {
      if (outcome.value !== 0) this.count('freeSlots');
      return resolved(0);
    }
    const untilDivided = this.untilDivided(resource);
    const [all, ofClass] = [this.inWindow(resource), this.inWindow(resource, priority)];
    const share = priority === 'user' ? user : background;
    const waits = [];
    // No request that leaves makes a slot in a share of nothing; only other shares can.
    if (priority === 'background' && (backgroundPaused || share === 0)) waits.push(untilDivided);
    else {
      if (share > 0 && ofClass.length >= share)
        waits.push(this.untilBelow(ofClass, share, windowMs));
      if (all.length >= limit) waits.push(this.untilBelow(all, limit, windowMs));
      else waits.splice(0, waits.length, Math.min(...waits, untilDivided));
    }
    const expected = Math.max(...waits);
    if (expected === untilDivided && expected < outcome.value) this.count('waitForShare');
    else this.waitTime(outcome.value, expected, ofClass.length > share || all.length >= limit);
    return resolved(expected);
  }

  /** @param {() => Promise<Outcome>} ask */
  async stats(ask) {
    const names = [...this.requests.keys()].sort();
    for (const name of names) {
      this.restoreHistory(name);
      this.restoreRequests(name);
    }
    const total = names.reduce((sum, name) => sum + (this.requests.get(name)?.length ?? 0), 0);
    const outcome = await ask();
    const { value } = outcome;
    // Requests that only the history still needs: 0.2.0 has deleted them and does not look at their resource.
    const known = new Set(
      this.store.sqlite.prepare('SELECT DISTINCT resource FROM rate_limits').pluck().all(),
    );
    for (const name of names) if (!known.has(name)) await this.store.getStatus(name);
    const limited = names.filter((name) => !this.isFree(name, 'background'));
    this.activity =
      names.reduce((sum, name) => sum + this.recentUsers(name), 0) / (names.length || 1);
    for (const name of names) this.drop(name);
    if (total !== value.totalRequests || names.length !== value.uniqueResources) {
      if (total < value.totalRequests || !this.held)
        throw new Error(`no reason for ${total} requests instead of ${value.totalRequests}`);
      this.count('kept');
    }
    return resolved({
      totalRequests: total,
      uniqueResources: names.length,
      rateLimitedResources: limited,
    });
  }

  /** @param {string} resource */
  recentUsers(resource) {
    return this.calculator.getRecentActivity(
      (this.history.get(resource) ?? [])
        .filter(({ priority }) => priority === 'user')
        .map(({ at }) => at),
    );
  }

  /**
   * @param {Call} call
   * @param {Outcome} outcome
   */
  found({ method }, outcome) {
    if (method !== 'getStats' || outcome.status !== 'resolved') return outcome;
    const { adaptiveMetrics, ...rest } = outcome.value;
    const { averageUserActivity, backgroundUtilization, priorityModeActivations, ...others } =
      adaptiveMetrics;
    const right =
      backgroundUtilization >= 0 &&
      backgroundUtilization <= 1 &&
      Number.isInteger(priorityModeActivations) &&
      Object.keys(others).length === 0;
    if (!right || typeof averageUserActivity !== 'number')
      throw new Error(`wrong metrics: ${JSON.stringify(adaptiveMetrics)}`);
    this.count('metrics');
    return { ...outcome, value: rest };
  }
}
