'use strict';

// `waitFor` with what ends it early: a signal, or time. The native function knows a wait by its number. It gives up what one
// that has ended early would be given: its place among those who wait, or a claim.

const { describe } = require('./binding.js');

/** Has the native function end a wait early. */
const CANCEL = true;

/** The longest that a timer can be set to. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

let waits = 0;

/** @param {string} name @param {string} expected @param {unknown} value @returns {never} */
function refuse(name, expected, value) {
  throw new TypeError(`${name} must be ${expected}, got ${describe(value)}`);
}

/** @param {any} options @returns {import('../index.js').WaitForOptions} */
function checked(options) {
  const { signal, maxWaitMs } = options;
  const isSignal =
    typeof signal?.aborted === 'boolean' &&
    typeof signal.addEventListener === 'function' &&
    typeof signal.removeEventListener === 'function';
  if (signal !== undefined && !isSignal) refuse('signal', 'an AbortSignal', signal);
  if (maxWaitMs !== undefined && !(typeof maxWaitMs === 'number' && maxWaitMs >= 0)) {
    refuse('maxWaitMs', 'a non-negative number of milliseconds', maxWaitMs);
  }
  return { signal, maxWaitMs };
}

/**
 * @param {import('./binding.js').Native} run
 * @param {unknown} store
 * @param {unknown} hash
 * @param {unknown} options
 */
module.exports = function wait(run, store, hash, options) {
  const { signal, maxWaitMs = Number.POSITIVE_INFINITY } = checked(options);
  if (signal?.aborted) throw signal.reason;
  const number = ++waits;
  const waiting = /** @type {Promise<unknown>} */ (run(store, Date.now(), hash, number));
  return new Promise((resolve, reject) => {
    /** @type {any} */
    let timer;
    /** @param {(value: any) => void} settle @param {unknown} value */
    function end(settle, value) {
      signal?.removeEventListener('abort', abort);
      clearTimeout(timer);
      settle(value);
    }
    /** @param {(value: any) => void} settle @param {unknown} value */
    function endEarly(settle, value) {
      run(store, undefined, hash, number, CANCEL);
      end(settle, value);
    }
    const abort = () => endEarly(reject, signal?.reason);
    waiting.then(
      (value) => end(resolve, value),
      (error) => end(reject, error),
    );
    signal?.addEventListener('abort', abort);
    if (maxWaitMs <= LONGEST_TIMEOUT_MS) {
      timer = setTimeout(() => endEarly(resolve, undefined), maxWaitMs);
    }
  });
};
