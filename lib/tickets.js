'use strict';

// Who asks a limiter, for those that book waits. The client 0.2.0 asks, waits for as long as it is told, and sends the request
// without asking again; then it records it. What it booked is its own: another caller that asks meanwhile must not be given
// that slot. So a caller is known by its async context, in which it goes on after each of these calls.

// See `binding.js`.
const { AsyncLocalStorage } =
  process.getBuiltinModule?.('node:async_hooks') ?? require('node:async_hooks');

/**
 * A caller of a store. Each call that tells something new makes another: a context that was left before sees the old one.
 * @typedef {{ number: number, hasWaited: boolean }} Caller
 */

/** The callers of all stores, in a context. @type {import('node:async_hooks').AsyncLocalStorage<Map<Tickets, Caller>>} */
const callers = new AsyncLocalStorage();

let last = 0;

class Tickets {
  /** The caller in this context. */
  #caller() {
    return callers.getStore()?.get(this);
  }

  /** @param {Caller} caller */
  #enter(caller) {
    callers.enterWith(new Map(callers.getStore()).set(this, caller));
    return caller.number;
  }

  /** @returns the number of one that asks whether it may proceed: a new one's, unless it has waited */
  ask() {
    const caller = this.#caller();
    return caller?.hasWaited ? caller.number : this.#enter({ number: ++last, hasWaited: false });
  }

  /** @returns the number of one that asks how long to wait */
  wait() {
    const caller = this.#caller();
    return caller && this.#enter({ ...caller, hasWaited: true });
  }

  /** @returns the number of one that records its request */
  record() {
    return this.#caller()?.number;
  }
}

module.exports = Tickets;
