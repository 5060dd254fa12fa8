// Waiting in real time, whatever a test fakes.
import { slowly } from './slowness.cjs';

const realSetTimeout = setTimeout;
const realClearTimeout = clearTimeout;

/**
 * Rejects when a promise has not settled in time: a hang is a failure of its own, not the runner's time limit.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} [milliseconds]
 * @returns {Promise<T>}
 */
export function soon(promise, milliseconds = slowly(60_000)) {
  return new Promise((resolve, reject) => {
    const timer = realSetTimeout(
      () => reject(new Error(`not settled within ${milliseconds} ms`)),
      milliseconds,
    );
    promise.then(resolve, reject).finally(() => realClearTimeout(timer));
  });
}

/** @param {number} milliseconds */
export const sleep = (milliseconds) =>
  new Promise((resolve) => {
    realSetTimeout(resolve, milliseconds);
  });

/** Waits until `condition` holds. @param {() => boolean} condition */
export async function until(condition, milliseconds = slowly(60_000)) {
  const end = process.hrtime.bigint() + BigInt(milliseconds) * 1_000_000n;
  while (!condition()) {
    if (process.hrtime.bigint() > end) throw new Error(`not so within ${milliseconds} ms`);
    await sleep(5);
  }
}
