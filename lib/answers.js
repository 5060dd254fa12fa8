'use strict';

// What calls of a store with `onError: 'ignore'` answer where it fails: what lets a request go on, as if there were no store.
// Methods that are not here reject: what they are asked for are facts.

// See `binding.js`. Loaded when it is needed: no other part takes as long to load.
const randomUUID = () =>
  (process.getBuiltinModule?.('node:crypto') ?? require('node:crypto')).randomUUID();

/** The last time that a `Date` can tell. */
const LAST_TIME = 8.64e15;

const nothing = () => undefined;
const none = () => 0;
const yes = () => true;

module.exports = {
  get: nothing,
  set: nothing,
  setWithTags: nothing,
  delete: nothing,
  clear: nothing,
  invalidateByTag: none,
  invalidateByTags: none,

  waitFor: nothing,
  register: randomUUID,
  registerOrJoin: () => ({ jobId: randomUUID(), isOwner: true }),
  complete: nothing,
  fail: nothing,
  isInProgress: () => false,
  getResult: nothing,

  canProceed: yes,
  acquire: yes,
  record: nothing,
  reset: nothing,
  getWaitTime: none,
  setCooldown: nothing,
  getCooldown: nothing,
  clearCooldown: nothing,

  /** @param {import('./limits.js')} limits @param {any[]} args */
  getStatus(limits, [resource]) {
    const { limit = 0, windowMs = 0 } = limits.of(resource) ?? {};
    const resetTime = new Date(Math.min(Date.now() + windowMs, LAST_TIME));
    return { remaining: limit, resetTime, limit };
  },
};
