'use strict';

// The stores' methods. Each hands its store, the time of the call and its arguments to a native function, which answers
// a promise, or what a promise is to be fulfilled with. Here is what would cost native code a call back into
// JavaScript: the clock, JSON, and promises that are settled already. `Date` may be faked later, so it is looked up
// when it is used.

const resolve = Promise.resolve.bind(Promise);
const reject = Promise.reject.bind(Promise);

// Where a store's object has the handle by which native code knows the store. Found through a `Proxy` or an heir as well.
const handle = Symbol('store');

// Where an object of a limiter has its `Limits`.
const limits = Symbol('limits');

/** @param {any} receiver @returns the store's handle, or, to be told what it is, what has none */
const storeOf = (receiver) => receiver?.[handle] ?? receiver;

/** @typedef {(...storeTimeAndArguments: any[]) => any} Native */

/** Has the native function parse, and deal with what cannot be parsed, where `undefined` has it answer a text. */
const PARSE = true;

module.exports = {
  /**
   * Gives an object what its methods need.
   * @param {object} object
   * @param {unknown} store  its handle
   * @param {import('./limits.js') | undefined} [limitsOfStore]
   */
  attach(object, store, limitsOfStore) {
    Object.defineProperty(object, handle, { value: store });
    if (limitsOfStore) Object.defineProperty(object, limits, { value: limitsOfStore });
  },

  /**
   * A method that answers at once.
   * @param {Native} run
   */
  direct: (run) =>
    ({
      method(first, second) {
        return run(storeOf(this), undefined, first, second);
      },
    }).method,

  /**
   * A method that answers a promise.
   * @param {Native} run
   */
  promised: (run) =>
    ({
      method(first, second) {
        try {
          return resolve(run(storeOf(this), Date.now(), first, second));
        } catch (error) {
          return reject(error);
        }
      },
    }).method,

  /**
   * A method of a limiter, on a resource.
   * @param {Native} run
   */
  limited: (run) =>
    ({
      method(resource, priority) {
        try {
          const now = Date.now();
          const config = this?.[limits]?.of(resource);
          return resolve(
            run(storeOf(this), now, resource, priority, config?.limit, config?.windowMs, config),
          );
        } catch (error) {
          return reject(error);
        }
      },
    }).method,

  /**
   * A method that answers a promise of a value that is stored as JSON.
   * @param {Native} run
   */
  parsed: (run) =>
    ({
      method(hash) {
        try {
          const now = Date.now();
          const answer = run(storeOf(this), now, hash);
          if (typeof answer !== 'string') return resolve(answer);
          let value;
          try {
            value = JSON.parse(answer);
          } catch {
            value = run(storeOf(this), now, hash, PARSE);
          }
          return resolve(value);
        } catch (error) {
          return reject(error);
        }
      },
    }).method,

  /**
   * A method that stores its second argument as JSON.
   * @param {Native} run
   */
  stringified: (run) =>
    ({
      method(hash, value, third) {
        try {
          const now = Date.now();
          let text;
          try {
            text = JSON.stringify(value);
          } catch {
            // The native function tries again, and tells what is wrong.
          }
          return resolve(run(storeOf(this), now, hash, value, third, text));
        } catch (error) {
          return reject(error);
        }
      },
    }).method,
};
