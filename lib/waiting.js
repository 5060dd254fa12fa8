'use strict';

// `waitFor` with what ends it early. The native function knows a wait by its number. It gives up what one that has ended early
// would be given: its place among those who wait, or a claim.

const { checked, watch } = require('./ending.js');

/** Has the native function end a wait early. */
const CANCEL = true;

let waits = 0;

/**
 * @param {import('./binding.js').Native} run
 * @param {unknown} store
 * @param {unknown} hash
 * @param {unknown} options
 */
module.exports = function wait(run, store, hash, options) {
  const ending = checked(options);
  const number = ++waits;
  const waiting = /** @type {Promise<unknown>} */ (run(store, Date.now(), hash, number));
  return new Promise((resolve, reject) => {
    /** @param {(value: any) => void} settle @param {unknown} value */
    function end(settle, value) {
      unwatch();
      settle(value);
    }
    /** @param {(value: any) => void} settle @param {unknown} value */
    function endEarly(settle, value) {
      run(store, undefined, hash, number, CANCEL);
      end(settle, value);
    }
    const unwatch = watch(
      ending,
      (reason) => endEarly(reject, reason),
      () => endEarly(resolve, undefined),
    );
    waiting.then(
      (value) => end(resolve, value),
      (error) => end(reject, error),
    );
  });
};
