'use strict';

// What ends a wait early: a signal, or time.

const refuse = require('./refuse.js');

/** The longest that a timer can be set to. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * The options that end a wait; throws what is wrong with them, and the reason of a signal that is aborted already.
 * @param {any} options
 * @returns {{ signal?: AbortSignal, maxWaitMs?: number }}
 */
function checked({ signal, maxWaitMs }) {
  const isSignal =
    typeof signal?.aborted === 'boolean' &&
    typeof signal.addEventListener === 'function' &&
    typeof signal.removeEventListener === 'function';
  if (signal !== undefined && !isSignal) refuse('signal', 'an AbortSignal', signal);
  if (maxWaitMs !== undefined && !(typeof maxWaitMs === 'number' && maxWaitMs >= 0)) {
    refuse('maxWaitMs', 'a non-negative number of milliseconds', maxWaitMs);
  }
  if (signal?.aborted) throw signal.reason;
  return { signal, maxWaitMs };
}

/**
 * Has a wait end early.
 * @param {{ signal?: AbortSignal, maxWaitMs?: number }} options
 * @param {(reason: unknown) => void} onAbort
 * @param {() => void} onTimeout
 * @returns {() => void} what is to be called once it has ended
 */
function watch({ signal, maxWaitMs = Number.POSITIVE_INFINITY }, onAbort, onTimeout) {
  const abort = () => onAbort(signal?.reason);
  signal?.addEventListener('abort', abort);
  const timer = maxWaitMs <= LONGEST_TIMEOUT_MS ? setTimeout(onTimeout, maxWaitMs) : undefined;
  return () => {
    signal?.removeEventListener('abort', abort);
    clearTimeout(timer);
  };
}

module.exports = { checked, watch };
