'use strict';
// What stores leave behind: run with --detectLeaks and with --detectOpenHandles, on two versions of Jest, by
// scripts/runtimes.mjs.

const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { afterAll, beforeAll, describe, expect, it } = require('@jest/globals');
const stores = require('../../index.js');

const names = Object.keys(stores).filter((name) => name.endsWith('Store'));
/** @type {Record<string, any>} */
const classes = stores;

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'realms-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const open = (/** @type {string} */ name) =>
  new classes[name]({ database: join(directory, `${name}.db`) });

it('there are four', () => expect(names).toHaveLength(4));

describe.each(names)('%s', (name) => {
  const methods = Object.getOwnPropertyNames(classes[name].prototype).filter(
    (method) => method !== 'constructor',
  );

  it('is used and closed', async () => {
    const store = open(name);
    /** @type {unknown[]} */
    const errors = [];
    for (const method of methods) {
      if (method === 'close' || method === 'destroy' || method === 'waitFor') continue;
      await Promise.resolve(store[method]('key', 'user', 1)).catch((error) => errors.push(error));
    }
    // Once: a matcher that is called often enough is compiled by V8, and its code keeps the realm until a later collection.
    expect(errors.filter((error) => !(error instanceof Error))).toEqual([]);
    await store.close();
  });

  it('a proxy and a subclass have its methods', async () => {
    class Heir extends classes[name] {
      getStats() {
        return super.getStats().then((/** @type {any} */ stats) => ({ ...stats, own: true }));
      }
    }
    const heir = new /** @type {any} */ (Heir)({ database: ':memory:' });
    expect(heir).toBeInstanceOf(classes[name]);
    expect(await heir.getStats()).toMatchObject({ own: true });
    await heir.close();
    const store = open(name);
    expect(await new Proxy(store, {}).getStats()).toEqual(await store.getStats());
    await store[Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose')]();
    await expect(store.getStats()).rejects.toThrow('has been destroyed');
  });
});
