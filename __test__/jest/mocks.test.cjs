'use strict';
// Automocking: `jest.mock` without a factory, with and without drizzle-orm.

const { beforeEach, describe, expect, it, jest } = require('@jest/globals');

describe.each([
  ['with', true],
  ['without', false],
])('%s drizzle-orm', (_, isInstalled) => {
  /** @type {any} */
  let stores;
  beforeEach(() => {
    jest.resetModules();
    jest.doMock('drizzle-orm/sqlite-core', () => {
      if (isInstalled) return jest.requireActual('drizzle-orm/sqlite-core');
      throw Object.assign(new Error("Cannot find module 'drizzle-orm'"), {
        code: 'MODULE_NOT_FOUND',
      });
    });
    jest.doMock('../../index.js');
    stores = require('../../index.js');
  });

  it('an automocked store has its methods, which answer what the test says', async () => {
    const names = Object.keys(stores).filter((name) => name.endsWith('Store'));
    expect(names).toHaveLength(4);
    for (const name of names) {
      const store = new stores[name]({ database: '/nowhere/at/all.db' });
      expect(jest.isMockFunction(store.getStats)).toBe(true);
      expect(await store.getStats()).toBe(undefined);
      store.getStats.mockResolvedValue({ total: 1 });
      expect(await store.getStats()).toEqual({ total: 1 });
      expect(store.getStats).toHaveBeenCalledTimes(2);
      expect(stores[name]).toHaveBeenCalledTimes(1);
    }
  });

  it('the module can be looked at', async () => {
    /** @type {any} */
    const actual = jest.requireActual('../../index.js');
    expect(JSON.stringify(actual)).toBe(
      '{"cacheTable":{},"cacheTagsTable":{},"dedupeTable":{},"rateLimitTable":{},"serverCooldownTable":{}}',
    );
    expect(await actual.cacheTable).toBe(actual.cacheTable);
    if (isInstalled) expect(actual.cacheTable.hash.name).toBe('hash');
    else expect(() => actual.cacheTable.hash).toThrow('npm install drizzle-orm');
  });
});
