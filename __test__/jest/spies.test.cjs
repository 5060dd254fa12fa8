'use strict';
// Spies on the stores' methods.

const { describe, expect, it, jest } = require('@jest/globals');
const stores = require('../../index.js');

/** @type {Record<string, any>} */
const classes = stores;

describe.each(Object.keys(stores).filter((name) => name.endsWith('Store')))('%s', (name) => {
  const methods = Object.getOwnPropertyNames(classes[name].prototype).filter(
    (method) => method !== 'constructor',
  );
  const open = () => new classes[name]({ database: ':memory:' });

  it.each(methods)('a spy sees calls of %s, and lets them through', async (method) => {
    const store = open();
    const spy = jest.spyOn(store, method);
    const answer = store[method]('key', 'user', 1);
    expect(spy).toHaveBeenCalledTimes(1);
    if (answer instanceof Promise) await answer.catch(() => {});
    else await answer;
    spy.mockRestore();
    await store.close();
  });

  it('what is disposed of is closed by the method that is there', async () => {
    const store = open();
    const close = jest.spyOn(store, 'close');
    await store[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
    expect(close).toHaveBeenCalledTimes(1);
  });
});
