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
 * @param {(receiver: any, resource: string) => { limit: number, windowMs: number } | undefined} limitOf
 * @typedef {(this: any, ...args: any[]) => any} Method
 * @returns {Record<import('./binding.js').ClassTable['methods'][0]['wrapper'], (run: import('./binding.js').Native) => Method>}
 */
module.exports = (storeOf, limitOf) => ({
  /** One that answers at once. */
  direct: (run) =>
    function (first, second) {
      return run(storeOf(this), undefined, first, second);
    },

  /** One that answers a promise. */
  promised: (run) =>
    function (first, second) {
      try {
        return resolve(run(storeOf(this), Date.now(), first, second));
      } catch (error) {
        return reject(error);
      }
    },

  /** One that answers a promise, and may be ended early. */
  waiting: (run) =>
    function (hash, options) {
      try {
        const store = storeOf(this);
        // 0.2.0 takes whatever else comes there, such as an index.
        if (typeof options === 'object' && options !== null) return wait(run, store, hash, options);
        return resolve(run(store, Date.now(), hash));
      } catch (error) {
        return reject(error);
      }
    },

  /** One of a limiter, on a resource. */
  limited: (run) =>
    function (resource, priority) {
      try {
        const store = storeOf(this);
        const now = Date.now();
        const config = limitOf(this, resource);
        return resolve(
          run(store, now, resource, priority, config?.limit, config?.windowMs, config),
        );
      } catch (error) {
        return reject(error);
      }
    },

  /** One that answers a promise of a value that is stored as JSON. */
  parsed: (run) =>
    function (hash) {
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
  stringified: (run) =>
    function (hash, value, third, fourth) {
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
});
