'use strict';

// The stores' methods. Each hands its store, the time of the call and its arguments to a native function, which answers
// a promise, or what a promise is to be fulfilled with, or throws. Here is what would cost native code a call back into
// JavaScript: the clock, JSON, and promises that are settled already. `Date` may be faked later, so it is looked up
// when it is used.

const wait = require('./waiting.js');

const resolve = Promise.resolve.bind(Promise);
const reject = Promise.reject.bind(Promise);

/** Has the native function parse, and deal with what cannot be parsed, where `undefined` has it answer a text. */
const PARSE = true;

/**
 * What makes methods of native functions.
 * @param {(receiver: any) => unknown} storeOf  finds the store's handle in what a method is called on
 * @param {(receiver: any) => import('./limits.js')} limitsOf
 * @param {(receiver: any) => import('./line.js')} lineOf
 * @param {import('./observing.js').Observer} observer
 * @typedef {(this: any, ...args: any[]) => any} Method
 * @typedef {import('./binding.js').Native} Native
 * @typedef {(receiver: any, args: any[]) => Promise<unknown>} Observe  makes a call, and tells what becomes of it
 * @returns {Record<import('./binding.js').ClassTable['methods'][0]['wrapper'], (run: Native, observe?: Observe, note?: object) => Method>}
 */
module.exports = (storeOf, limitsOf, lineOf, observer) => {
  const { channel } = observer;

  /** Whether a call is to be observed, by a method that can be. @param {Observe | undefined} observe @returns {observe is Observe} */
  const isObserved = (observe) =>
    observe !== undefined && (channel.hasSubscribers || observer.ignores);

  /**
   * One of a limiter, on a resource.
   * @param {Native} run @param {Observe | undefined} observe @param {(tickets: import('./tickets.js')) => unknown} callerOf
   */
  const limited = (run, observe, callerOf) =>
    /** @this {any} @param {string} resource @param {unknown} priority */
    function (resource, priority) {
      if (isObserved(observe)) return observe(this, [resource, priority]);
      try {
        const store = storeOf(this);
        const now = Date.now();
        const limits = limitsOf(this);
        const caller = limits.tickets && callerOf(limits.tickets);
        return resolve(limits.call(run, store, now, resource, priority, caller));
      } catch (error) {
        return reject(error);
      }
    };

  /** One that answers a promise. @param {Native} run @param {Observe} [observe] */
  const promised = (run, observe) =>
    /** @this {any} @param {unknown} first @param {unknown} second */
    function (first, second) {
      if (isObserved(observe)) return observe(this, [first, second]);
      try {
        return resolve(run(storeOf(this), Date.now(), first, second));
      } catch (error) {
        return reject(error);
      }
    };

  return {
    /** One that answers at once. */
    direct: (run) =>
      function (first, second) {
        const answer = run(storeOf(this), undefined, first, second);
        limitsOf(this).line?.retry();
        return answer;
      },

    /** One that goes through a list, by pages. */
    pages: (run) =>
      async function* (options) {
        const store = storeOf(this);
        const { opening } = limitsOf(this);
        const refusal = opening?.refusal(this);
        if (refusal) throw refusal.error;
        // As it is now.
        const given = typeof options === 'object' && options !== null ? { ...options } : options;
        let after;
        for (;;) {
          const page = /** @type {any[]} */ (await run(store, Date.now(), given, after));
          if (page.length === 0) return;
          yield* page;
          after = page[page.length - 1].hash;
        }
      },

    /** One that answers counts at once. */
    counts: (run) =>
      function () {
        const counts = /** @type {Record<string, number>} */ (run(storeOf(this)));
        const own = limitsOf(this).counts ?? {};
        for (const name of Object.keys(own)) counts[name] += own[name];
        return counts;
      },

    promised,

    /** One that answers a promise, after which those who wait for a slot try again. */
    changing: (run, observe) =>
      function (first, second) {
        if (isObserved(observe)) return observe(this, [first, second]);
        try {
          const answer = resolve(run(storeOf(this), Date.now(), first, second));
          limitsOf(this).line?.retry();
          return answer;
        } catch (error) {
          return reject(error);
        }
      },

    /** One that answers a promise, whose rejection need not be handled: the newer client drops it. */
    handled(run, observe) {
      const promise = promised(run, observe);
      return function (first, second) {
        const answer = promise.call(this, first, second);
        answer.catch(() => {});
        return answer;
      };
    },

    /** One that answers a promise, and may be ended early. */
    waiting: (run, observe) =>
      function (hash, options) {
        if (isObserved(observe)) return observe(this, [hash, options]);
        try {
          const store = storeOf(this);
          // 0.2.0 takes whatever else comes there, such as an index.
          if (typeof options === 'object' && options !== null) {
            return wait(run, store, hash, options);
          }
          return resolve(run(store, Date.now(), hash));
        } catch (error) {
          return reject(error);
        }
      },

    /** One of a limiter, on a resource. */
    limited: (run, observe) => limited(run, observe, () => undefined),

    /** One whose refusal may be followed by a booking. */
    asking: (run, observe) => limited(run, observe, (tickets) => tickets.ask()),

    /** One that books a slot if it may. */
    booking: (run, observe) => limited(run, observe, (tickets) => tickets.wait()),

    /** One that takes a slot, and waits for it if it is told for how long. */
    acquiring(run, observe, note) {
      const acquire = limited(run, undefined, (tickets) => tickets.ask());
      return function (resource, priority, options) {
        if (isObserved(observe)) return observe(this, [resource, priority, options]);
        if (typeof options !== 'object' || options === null) {
          return acquire.call(this, resource, priority);
        }
        try {
          storeOf(this);
          return lineOf(this).acquire(resource, priority, options, note);
        } catch (error) {
          return reject(error);
        }
      };
    },

    /** One that records a request. */
    recording: (run, observe) =>
      function (resource, priority) {
        if (isObserved(observe)) return observe(this, [resource, priority]);
        try {
          const store = storeOf(this);
          const now = Date.now();
          const { tickets } = limitsOf(this);
          if (tickets === undefined) return resolve(run(store, now, resource, priority));
          const none = undefined;
          const caller = tickets.record();
          return resolve(run(store, now, resource, priority, none, none, none, caller));
        } catch (error) {
          return reject(error);
        }
      },

    /** One that answers a promise of a value that is stored as JSON. */
    parsed: (run, observe) =>
      function (hash) {
        if (isObserved(observe)) return observe(this, [hash]);
        try {
          const store = storeOf(this);
          const now = Date.now();
          const answer = run(store, now, hash);
          if (typeof answer !== 'string') return resolve(answer);
          let value;
          try {
            value = JSON.parse(answer);
          } catch {
            value = run(store, now, hash, PARSE);
          }
          return resolve(value);
        } catch (error) {
          return reject(error);
        }
      },

    /** One that stores its second argument as JSON. */
    stringified: (run, observe) =>
      function (hash, value, third, fourth) {
        if (isObserved(observe)) return observe(this, [hash, value, third, fourth]);
        try {
          const store = storeOf(this);
          const now = Date.now();
          let text;
          try {
            text = JSON.stringify(value);
          } catch {
            // The native function tries again, and tells what is wrong.
          }
          return resolve(run(store, now, hash, value, third, text, fourth));
        } catch (error) {
          return reject(error);
        }
      },
  };
};
