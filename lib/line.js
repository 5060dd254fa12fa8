'use strict';

// Those who wait for a slot of a limiter: `acquire` with a signal or a longest wait. They stand in a line by resource, users
// before background work. Its head tries; when it is refused, the line waits for as long as the limiter says, and tries again.
// Other processes may free slots, so it tries each second at least.

const { checked, watch } = require('./ending.js');
const refuse = require('./refuse.js');

/** How long a line waits at most before it tries again. */
const LONGEST_PAUSE_MS = 1_000;

/** Has the native function give back what was acquired for somebody who has stopped waiting. */
const GIVE_BACK = true;

/** Tells the native function that this is one attempt of several: what they come to is counted here. */
const ATTEMPT = false;

/** In the order in which they are served. */
const PRIORITIES = /** @type {const} */ (['user', 'background']);

/**
 * @typedef {object} Waiter
 * @property {(hasSlot: boolean) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {object | undefined} note  where native code says why an attempt failed
 * @property {boolean} hasFailed  an attempt has not got a slot for it
 * @property {boolean} isTrying  an attempt is made for it that has not ended
 * @property {boolean} isAborted
 * @property {boolean} isLate  its time is over
 */

/**
 * @typedef {object} Queue  those who wait for a resource
 * @property {Record<'user' | 'background', Waiter[]>} waiters
 * @property {boolean} isTrying
 * @property {boolean} isChanged  something has happened since it began to try
 * @property {any} timer
 */

class Line {
  /** @type {Map<string, Queue>} */
  #queues = new Map();
  #limits;
  #store;
  #acquire;
  #waitTime;
  /** Whether users and background work have shares, so that one may have a slot where the other has none. */
  #hasShares;

  /**
   * @param {import('./limits.js')} limits
   * @param {unknown} store
   * @param {import('./binding.js').ClassTable['methods']} methods
   */
  constructor(limits, store, methods) {
    /** @param {string} name */
    const native = (name) => /** @type {any} */ (methods.find((method) => method.name === name));
    this.#limits = limits;
    this.#store = store;
    this.#acquire = native('acquire').run;
    this.#waitTime = native('getWaitTime').run;
    this.#hasShares = native('canProceed').length > 1;
  }

  /**
   * Waits for a slot.
   * @param {string} resource
   * @param {unknown} priority
   * @param {object} options
   * @param {object} [note]
   * @returns {Promise<boolean>}
   */
  acquire(resource, priority, options, note) {
    const ending = checked(options);
    if (typeof resource !== 'string') refuse('resource', 'a string', resource);
    const given = priority ?? 'background';
    const of =
      PRIORITIES.find((known) => known === given) ??
      refuse('priority', "'user' or 'background'", priority);
    let queue = this.#queues.get(resource);
    if (queue === undefined) {
      const waiters = { user: [], background: [] };
      queue = { waiters, isTrying: false, isChanged: false, timer: undefined };
      this.#queues.set(resource, queue);
    }
    const { [of]: waiters } = queue.waiters;
    return new Promise((resolve, reject) => {
      /** @type {Waiter} */
      const waiter = {
        resolve: (hasSlot) => {
          leave();
          this.#limits.count(hasSlot ? 'allowed' : 'denied');
          if (waiter.hasFailed) this.#limits.count('waited');
          if (note) Object.assign(note, { type: hasSlot ? 'allow' : 'deny' });
          resolve(hasSlot);
        },
        reject(error) {
          leave();
          reject(error);
        },
        note,
        hasFailed: false,
        isTrying: false,
        isAborted: false,
        isLate: false,
      };
      const leave = () => {
        unwatch();
        const at = waiters.indexOf(waiter);
        if (at >= 0) waiters.splice(at, 1);
      };
      const unwatch = watch(
        ending,
        (reason) => {
          waiter.isAborted = true;
          waiter.reject(reason);
          this.#retry(resource);
        },
        () => {
          waiter.isLate = true;
          if (!waiter.isTrying) waiter.resolve(false);
          this.#retry(resource);
        },
      );
      waiters.push(waiter);
      this.#retry(resource);
    });
  }

  /** Has all try again: what they wait for may have changed. */
  retry() {
    for (const resource of this.#queues.keys()) this.#retry(resource);
  }

  /** @param {string} resource */
  #retry(resource) {
    const queue = this.#queues.get(resource);
    if (queue === undefined) return;
    queue.isChanged = true;
    if (!queue.isTrying) this.#serve(resource, queue);
  }

  /** @param {Queue} queue @returns {['user' | 'background', Waiter][]} those whose turn it is */
  #heads({ waiters }) {
    /** @type {['user' | 'background', Waiter][]} */
    const heads = [];
    for (const priority of PRIORITIES) {
      const [waiter] = waiters[priority];
      if (waiter !== undefined) heads.push([priority, waiter]);
    }
    return this.#hasShares ? heads : heads.slice(0, 1);
  }

  /**
   * Tries for the heads until none gets a slot, and then waits.
   * @param {string} resource @param {Queue} queue
   */
  async #serve(resource, queue) {
    queue.isTrying = true;
    clearTimeout(queue.timer);
    for (;;) {
      queue.isChanged = false;
      const heads = this.#heads(queue);
      if (heads.length === 0) {
        this.#queues.delete(resource);
        return;
      }
      if (await this.#try(resource, queue, heads)) continue;
      if (queue.isChanged) continue;
      const pause = await this.#pause(resource, this.#heads(queue));
      if (queue.isChanged) continue;
      queue.timer = setTimeout(() => this.#serve(resource, queue), pause);
      queue.isTrying = false;
      return;
    }
  }

  /**
   * Tries for each of these at the same time, so that users come first.
   * @param {string} resource @param {Queue} queue @param {['user' | 'background', Waiter][]} heads
   * @returns whether one is served
   */
  async #try(resource, queue, heads) {
    const now = Date.now();
    const attempts = heads.map(async ([priority, waiter]) => {
      waiter.isTrying = true;
      try {
        const hasSlot = await this.#limits.call(
          this.#acquire,
          this.#store,
          now,
          resource,
          priority,
          ATTEMPT,
          waiter.note,
        );
        if (!hasSlot) waiter.hasFailed = true;
        return hasSlot;
      } catch (error) {
        waiter.reject(error);
        return undefined;
      } finally {
        waiter.isTrying = false;
      }
    });
    const answers = await Promise.all(attempts);
    heads.forEach(([priority, waiter], index) => {
      if (answers[index] === true) this.#grant(resource, queue, priority, waiter, now);
      else if (answers[index] === false && waiter.isLate) waiter.resolve(false);
    });
    return answers.some((answer) => answer !== false);
  }

  /**
   * Gives a slot to whom it was acquired for or, if that one has been aborted, to the next in the line; there is none: back.
   * @param {string} resource @param {Queue} queue @param {'user' | 'background'} priority @param {Waiter} waiter @param {number} at
   */
  #grant(resource, queue, priority, waiter, at) {
    const heir = waiter.isAborted ? queue.waiters[priority][0] : waiter;
    if (heir !== undefined) return heir.resolve(true);
    const none = undefined;
    try {
      const given = this.#acquire(this.#store, at, resource, priority, none, none, none, GIVE_BACK);
      Promise.resolve(given).catch(() => {});
    } catch {
      // The store has ended: the slot is one of a caller that has died.
    }
  }

  /**
   * How long until the first of these may have a slot.
   * @param {string} resource @param {['user' | 'background', Waiter][]} heads
   */
  async #pause(resource, heads) {
    try {
      const now = Date.now();
      const waits = heads.map(([priority]) =>
        this.#limits.call(this.#waitTime, this.#store, now, resource, priority),
      );
      const times = /** @type {number[]} */ (await Promise.all(waits));
      return Math.max(1, Math.min(LONGEST_PAUSE_MS, ...times));
    } catch {
      // The next attempt tells what is wrong.
      return 1;
    }
  }
}

module.exports = Line;
