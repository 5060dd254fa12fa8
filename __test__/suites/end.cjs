'use strict';
// The contract of the end of a store, the same for all four.

/**
 * @typedef {Record<string, (store: any) => Promise<any>>} Calls  by their methods' names
 *
 * @param {import('../support/harness.cjs').Harness} harness
 * @param {object} of
 * @param {(options?: Record<string, unknown>) => any} of.open
 * @param {string} of.destroyed  what calls are refused with
 * @param {Calls} of.checked  calls that 0.2.0 refuses, too
 * @param {Calls} of.uncheckedBefore  calls that it does not refuse
 */
module.exports = function endContract(
  { it, fixed, expect, asyncDispose },
  { open, destroyed, checked, uncheckedBefore },
) {
  for (const [test, calls] of /** @type {const} */ ([
    [it, checked],
    [fixed, uncheckedBefore],
  ])) {
    for (const [name, call] of Object.entries(calls)) {
      test(`${name} is refused`, async () => {
        for (const end of ['close', 'destroy']) {
          const store = open();
          await store[end]();
          const error = await call(store).catch((/** @type {any} */ e) => e);
          expect(error).toBeInstanceOf(Error);
          expect(error.name).toBe('Error');
          expect(error.message).toBe(destroyed);
        }
      });
    }
  }

  it('closing again does nothing', async () => {
    const store = open();
    expect(await store.close()).toBeUndefined();
    expect(await store.close()).toBeUndefined();
    expect(store.destroy()).toBeUndefined();
    expect(store.destroy()).toBeUndefined();
    await store.close();
  });

  fixed('Symbol.asyncDispose closes', async () => {
    const store = open();
    const disposed = store[asyncDispose]();
    expect(disposed).toBeInstanceOf(Promise);
    expect(await disposed).toBeUndefined();
    const [call] = Object.values(checked);
    await expect(call(store)).rejects.toThrow(destroyed);
    await store[asyncDispose]();
  });
};
