'use strict';
// What SQLiteRateLimitStore promises.

const { inspect } = require('node:util');
const { notNames } = require('../support/values.cjs');
const endContract = require('./end.cjs');
const limitsContract = require('./limits.cjs');

/** @param {import('../support/harness.cjs').Harness} harness */
module.exports = function rateLimitContract(harness) {
  const { describe, it, fixed, ours, near, shared, expect, clock, open, Store, START } = harness;
  const destroyed = 'Rate limit store has been destroyed';

  harness.isolate();
  limitsContract(harness);

  /**
   * @param {any} store
   * @param {string} resource
   * @param {number} times
   */
  async function record(store, resource, times) {
    for (let i = 0; i < times; i++) expect(await store.record(resource)).toBeUndefined();
  }

  describe('the window', () => {
    it('lets limit requests through', async () => {
      const store = open({ defaultConfig: { limit: 3, windowMs: 1_000 } });
      for (let i = 0; i < 3; i++) {
        expect(await store.canProceed('r')).toBe(true);
        await store.record('r');
      }
      expect(await store.canProceed('r')).toBe(false);
      expect(await store.canProceed('other')).toBe(true);
    });

    it('slides, and a request counts to its last millisecond', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      await store.record('r');
      clock.set(START + 400);
      await store.record('r');
      clock.set(START + 1_000);
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + 1_001);
      expect(await store.canProceed('r')).toBe(true);
      await store.record('r');
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + 1_400);
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + 1_401);
      expect(await store.canProceed('r')).toBe(true);
    });

    it('of 0 ms is the present millisecond', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: 0 } });
      await store.record('r');
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + 1);
      expect(await store.canProceed('r')).toBe(true);
    });

    it('is 60 requests in 60,000 ms by default', async () => {
      const store = open();
      await record(store, 'r', 59);
      expect(await store.canProceed('r')).toBe(true);
      await store.record('r');
      expect(await store.canProceed('r')).toBe(false);
      expect(store.getResourceConfig('r')).toStrictEqual({ limit: 60, windowMs: 60_000 });
      clock.set(START + 60_000);
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + 60_001);
      expect(await store.canProceed('r')).toBe(true);
    });

    for (const [limit, allowed] of [
      [0, 0],
      [0.5, 1],
      [1, 1],
      [2.5, 3],
    ]) {
      it(`with a limit of ${limit} lets ${allowed} through`, async () => {
        const store = open({ defaultConfig: { limit, windowMs: 1_000 } });
        let through = 0;
        for (let i = 0; i < 5; i++) {
          if (!(await store.canProceed('r'))) continue;
          await store.record('r');
          through++;
        }
        expect(through).toBe(allowed);
      });
    }

    it('with a limit of Infinity never closes', async () => {
      const store = open({ defaultConfig: { limit: Number.POSITIVE_INFINITY, windowMs: 1_000 } });
      await record(store, 'r', 20);
      expect(await store.canProceed('r')).toBe(true);
      expect(await store.getWaitTime('r')).toBe(0);
      expect(await store.getStatus('r')).toMatchObject({
        limit: Number.POSITIVE_INFINITY,
        remaining: Number.POSITIVE_INFINITY,
      });
    });

    it('counts requests that nobody asked for', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      await record(store, 'r', 5);
      expect(await store.canProceed('r')).toBe(false);
      expect(await store.getStatus('r')).toMatchObject({ remaining: 0, limit: 2 });
    });
  });

  describe('getStatus', () => {
    it('tells what remains and when all of it is back', async () => {
      const store = open({ defaultConfig: { limit: 3, windowMs: 1_000 } });
      await store.record('r');
      clock.set(START + 250);
      const status = await store.getStatus('r');
      expect(status).toBeInstanceOf(Object);
      expect(status.resetTime).toBeInstanceOf(Date);
      expect(status).toStrictEqual({ remaining: 2, resetTime: new Date(START + 1_250), limit: 3 });
      expect(await store.getStatus('other')).toMatchObject({ remaining: 3 });
    });

    it('may leave a fraction', async () => {
      const store = open({ defaultConfig: { limit: 1.5, windowMs: 1_000 } });
      await store.record('r');
      expect((await store.getStatus('r')).remaining).toBe(0.5);
    });
  });

  for (const windowMs of [2 ** 31, 2 ** 53, 1e16, 1e300, Number.MAX_VALUE]) {
    fixed(`with a window of ${windowMs} ms has valid answers`, async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs } });
      await store.record('r');
      expect(await store.canProceed('r')).toBe(false);
      const { resetTime, remaining } = await store.getStatus('r');
      expect(resetTime.getTime()).toBe(Math.min(START + windowMs, 8.64e15));
      expect(remaining).toBe(0);
      // What a timer can wait.
      expect(await store.getWaitTime('r')).toBe(2 ** 31 - 1);
      store.setResourceConfig('none', { limit: 0, windowMs });
      expect(await store.getWaitTime('none')).toBe(2 ** 31 - 1);
      await store.cleanup();
      expect((await store.getStats()).totalRequests).toBe(1);
    });
  }

  describe('getWaitTime', () => {
    it('is 0 below the limit and the oldest request at it', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      expect(await store.getWaitTime('r')).toBe(0);
      await store.record('r');
      expect(await store.getWaitTime('r')).toBe(0);
      clock.set(START + 300);
      await store.record('r');
      expect(await store.getWaitTime('r')).toBe(700);
      clock.set(START + 999);
      expect(await store.getWaitTime('r')).toBe(1);
      clock.set(START + 1_001);
      expect(await store.getWaitTime('r')).toBe(0);
    });

    it('is the window for a limit of 0', async () => {
      expect(await open({ defaultConfig: { limit: 0, windowMs: 1_234 } }).getWaitTime('r')).toBe(
        1_234,
      );
    });

    fixed('is never 0 while the window is closed', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: 1_000 } });
      await store.record('r');
      clock.set(START + 1_000);
      expect(await store.canProceed('r')).toBe(false);
      expect(await store.getWaitTime('r')).toBe(1);
    });

    fixed('over the limit is the time until a slot is free', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      for (let i = 0; i < 4; i++) {
        clock.set(START + i * 100);
        await store.record('r');
      }
      expect(await store.getWaitTime('r')).toBe(900);
    });
  });

  describe('requests of a clock that was ahead', () => {
    const DAY = 86_400_000;
    const options = { defaultConfig: { limit: 1, windowMs: 60_000 } };

    for (const [step, ms] of Object.entries({ minute: 60_001, hour: 3_600_000, month: 30 * DAY })) {
      fixed(`count for one window from when they are met, a ${step}`, async () => {
        const store = open(options);
        clock.set(START + ms);
        await store.record('r');
        clock.set(START);
        expect(await store.canProceed('r')).toBe(false);
        expect(await store.getWaitTime('r')).toBe(60_000);
        clock.set(START + 60_000);
        expect(await store.canProceed('r')).toBe(false);
        clock.set(START + 60_001);
        expect(await store.getWaitTime('r')).toBe(0);
        expect(await store.canProceed('r')).toBe(true);
      });
    }

    fixed('count for one window from a clean-up', async () => {
      const store = open(options);
      clock.set(START + DAY);
      await store.record('r');
      clock.set(START);
      await store.cleanup();
      clock.set(START + 60_001);
      expect(await store.canProceed('r')).toBe(true);
    });

    fixed('are read as made now if it is by less than a second', async () => {
      const store = open(options);
      clock.set(START + 1_000);
      await store.record('r');
      clock.set(START);
      expect(await store.getWaitTime('r')).toBe(60_000);
      clock.set(START + 61_000);
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + 61_001);
      expect(await store.canProceed('r')).toBe(true);
    });

    ours('with places that are reserved are reserved for their time', async () => {
      const store = open({ ...options, reservationMs: 5_000 });
      clock.set(START + DAY);
      expect(await store.canProceed('r')).toBe(true);
      clock.set(START);
      expect(await store.canProceed('r')).toBe(false);
      expect(await store.getWaitTime('r')).toBe(5_000);
      clock.set(START + 5_001);
      expect(await store.canProceed('r')).toBe(true);
    });

    ours('are met by acquire, too', async () => {
      const store = open(options);
      clock.set(START + DAY);
      expect(await store.acquire('r')).toBe(true);
      clock.set(START);
      expect(await store.acquire('r')).toBe(false);
      clock.set(START + 60_001);
      expect(await store.acquire('r')).toBe(true);
    });
  });

  describe('resources that are not met again', () => {
    near(ours)('are removed as requests of others come', async () => {
      const store = open({ defaultConfig: { limit: 10, windowMs: 1_000 } });
      for (let i = 0; i < 500; i++) await store.record(`name ${i}`);
      clock.set(START + 2_000);
      for (let i = 0; i < 1_000; i++) await store.record('r');
      expect(await store.getStats()).toMatchObject({ totalRequests: 1_000, uniqueResources: 1 });
    });
  });

  describe('configs of resources', () => {
    const tight = { limit: 1, windowMs: 100 };

    it('go before the default', async () => {
      const store = open({
        defaultConfig: { limit: 5, windowMs: 1_000 },
        resourceConfigs: new Map([['tight', tight]]),
      });
      for (const resource of ['tight', 'plain']) await store.record(resource);
      expect(await store.canProceed('tight')).toBe(false);
      expect(await store.canProceed('plain')).toBe(true);
      expect(store.getResourceConfig('tight')).toStrictEqual(tight);
      expect(store.getResourceConfig('plain')).toStrictEqual({ limit: 5, windowMs: 1_000 });
      clock.set(START + 101);
      expect(await store.canProceed('tight')).toBe(true);
    });

    it('are read from the map at each call', async () => {
      const resourceConfigs = new Map();
      const store = open({ resourceConfigs });
      await record(store, 'r', 2);
      expect(await store.canProceed('r')).toBe(true);
      resourceConfigs.set('r', { limit: 2, windowMs: 1_000 });
      expect(await store.canProceed('r')).toBe(false);
      expect(await store.getStatus('r')).toMatchObject({
        limit: 2,
        resetTime: new Date(START + 1_000),
      });
      resourceConfigs.get('r').limit = 3;
      expect(await store.canProceed('r')).toBe(true);
      resourceConfigs.delete('r');
      expect(store.getResourceConfig('r')).toStrictEqual({ limit: 60, windowMs: 60_000 });
      expect((await store.getStatus('r')).limit).toBe(60);
    });

    it('that are not in the map are the default, live as well', async () => {
      const defaultConfig = { limit: 5, windowMs: 1_000 };
      const store = open({ defaultConfig });
      expect(store.getResourceConfig('r')).toBe(defaultConfig);
      await store.record('r');
      expect(await store.canProceed('r')).toBe(true);
      defaultConfig.limit = 1;
      expect(await store.canProceed('r')).toBe(false);
    });

    it('may come from anything like a map', async () => {
      const entries = new Map([['r', tight]]);
      /** @type {Pick<Map<string, typeof tight>, 'get' | 'set' | 'forEach'>} */
      const like = {
        get: (key) => entries.get(key),
        set: () => entries,
        forEach: (each) => entries.forEach(each),
      };
      const store = open({ resourceConfigs: like });
      await store.record('r');
      expect(await store.canProceed('r')).toBe(false);
    });

    it('are set by setResourceConfig', async () => {
      const store = open();
      await record(store, 'r', 2);
      expect(store.setResourceConfig('r', { limit: 2, windowMs: 1_000 })).toBeUndefined();
      expect(await store.canProceed('r')).toBe(false);
      expect(store.getResourceConfig('r')).toStrictEqual({ limit: 2, windowMs: 1_000 });
      store.setResourceConfig('r', { limit: 3, windowMs: 1_000 });
      expect(await store.canProceed('r')).toBe(true);
      expect(store.getResourceConfig('other')).toStrictEqual({ limit: 60, windowMs: 60_000 });
    });

    for (const config of [
      null,
      5,
      'x',
      {},
      { limit: Number.NaN, windowMs: 1 },
      { limit: -1, windowMs: 1 },
      { limit: '5', windowMs: 1 },
      { limit: 1 },
      { limit: 1, windowMs: -1 },
      { limit: 1, windowMs: Number.POSITIVE_INFINITY },
      { limit: 1, windowMs: Number.NaN },
    ]) {
      const text = JSON.stringify(config, (_, value) =>
        typeof value === 'number' ? String(value) : value,
      );
      // A missing config (null) means the default one to 0.2.0.
      if (config !== null) {
        fixed(`that are bad refuse the calls that use them: ${text}`, async () => {
          const store = open();
          await store.record('fine');
          store.setResourceConfig('r', config);
          for (const call of [
            () => store.canProceed('r'),
            () => store.getStatus('r'),
            () => store.getWaitTime('r'),
          ]) {
            const promise = call();
            expect(promise).toBeInstanceOf(Promise);
            const error = await promise.catch((/** @type {unknown} */ e) => e);
            expect(error).toBeInstanceOf(TypeError);
            expect(error.message).toMatch(/ must be .+, got ./);
          }
          expect(await store.canProceed('fine')).toBe(true);
        });
      }

      fixed(`that are bad are refused as the default: ${text}`, () => {
        expect(() => open({ defaultConfig: config })).toThrow(TypeError);
        expect(() => open({ defaultConfig: config })).toThrow(/^defaultConfig.* must be .+, got ./);
      });
    }

    for (const value of [null, 5, {}, [], { get() {} }]) {
      fixed(`are refused as ${JSON.stringify(value)}`, () => {
        expect(() => open({ resourceConfigs: value })).toThrow(TypeError);
        expect(() => open({ resourceConfigs: value })).toThrow(
          /^resourceConfigs must be .+, got ./,
        );
      });
    }
  });

  describe('reset and clear', () => {
    it('reset forgets one resource', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: 1_000 } });
      await store.record('a');
      await store.record('b');
      expect(await store.reset('a')).toBeUndefined();
      expect(await store.canProceed('a')).toBe(true);
      expect(await store.canProceed('b')).toBe(false);
    });

    it('clear forgets all', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: 1_000 } });
      await store.record('a');
      await store.record('b');
      expect(await store.clear()).toBeUndefined();
      expect(await store.canProceed('a')).toBe(true);
      expect(await store.getStats()).toStrictEqual({
        totalRequests: 0,
        uniqueResources: 0,
        rateLimitedResources: [],
      });
    });
  });

  describe('stats', () => {
    it('name the resources at their limit, in order', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      for (const resource of ['b', 'c', 'a', 'b', 'a', 'é']) await store.record(resource);
      const stats = await store.getStats();
      expect(stats).toBeInstanceOf(Object);
      expect(stats.rateLimitedResources).toBeInstanceOf(Array);
      expect(stats).toStrictEqual({
        totalRequests: 6,
        uniqueResources: 4,
        rateLimitedResources: ['a', 'b'],
      });
    });

    it('count requests until a look at their resource or a cleanup drops them', async () => {
      const store = open({
        defaultConfig: { limit: 1, windowMs: 1_000 },
        resourceConfigs: new Map([['slow', { limit: 1, windowMs: 5_000 }]]),
      });
      for (const resource of ['a', 'b', 'slow']) await store.record(resource);
      clock.set(START + 1_001);
      await store.canProceed('a');
      expect(await store.getStats()).toStrictEqual({
        totalRequests: 2,
        uniqueResources: 2,
        rateLimitedResources: ['slow'],
      });
      clock.set(START + 1_002);
      expect(await store.getStats()).toMatchObject({ totalRequests: 1, uniqueResources: 1 });
    });

    it('cleanup drops what has left its window', async () => {
      const store = open({
        defaultConfig: { limit: 1, windowMs: 1_000 },
        resourceConfigs: new Map([['slow', { limit: 1, windowMs: 5_000 }]]),
      });
      for (const resource of ['a', 'b', 'slow']) await store.record(resource);
      clock.set(START + 1_000);
      await store.cleanup();
      expect((await store.getStats()).totalRequests).toBe(3);
      clock.set(START + 1_001);
      expect(await store.cleanup()).toBeUndefined();
      expect(await store.getStats()).toMatchObject({
        totalRequests: 1,
        uniqueResources: 1,
        rateLimitedResources: ['slow'],
      });
    });
  });

  describe('methods', () => {
    it('have the lengths the client looks at', () => {
      expect(open().canProceed.length).toBe(1);
    });

    it('take no priority', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: 1_000 } });
      await store.record('r', 'user');
      expect(await store.canProceed('r', 'user')).toBe(false);
      expect(await store.getWaitTime('r', 'user')).toBe(1_000);
    });

    it('return promises', async () => {
      const store = open();
      await harness.expectPromises([
        store.canProceed('r'),
        store.record('r'),
        store.getStatus('r'),
        store.reset('r'),
        store.getWaitTime('r'),
        store.getStats(),
        store.cleanup(),
        store.clear(),
        store.close(),
      ]);
    });

    for (const resource of notNames) {
      fixed(`take a string, not ${inspect(resource)}`, async () => {
        const store = open();
        for (const name of ['canProceed', 'record', 'getStatus', 'reset', 'getWaitTime']) {
          const error = await store[name](resource).catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^resource must be .+, got ./);
        }
      });
    }

    fixed('that are not awaited do not see later ones', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      const [, stats, , wait] = await Promise.all([
        store.record('r'),
        store.getStats(),
        store.record('r'),
        store.getWaitTime('r'),
        store.clear(),
      ]);
      expect(stats).toStrictEqual({
        totalRequests: 1,
        uniqueResources: 1,
        rateLimitedResources: [],
      });
      expect(wait).toBe(1_000);
    });

    fixed('that are not awaited take effect in their order', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      const results = await Promise.all([
        store.canProceed('r'),
        store.record('r'),
        store.getStatus('r'),
        store.record('r'),
        store.canProceed('r'),
        store.getWaitTime('r'),
        store.reset('r'),
        store.canProceed('r'),
        store.record('r'),
        store.getStats(),
        store.clear(),
        store.getStats(),
      ]);
      expect(results[2]).toMatchObject({ remaining: 1 });
      expect([results[0], results[4], results[5], results[7]]).toStrictEqual([
        true,
        false,
        1_000,
        true,
      ]);
      expect([results[9], results[11]]).toMatchObject([{ totalRequests: 1 }, { totalRequests: 0 }]);
    });
  });

  describe('the constructor', () => {
    it('needs no options', async () => {
      const [one, other] = [new Store(), new Store({})];
      await record(one, 'r', 60);
      expect(await one.canProceed('r')).toBe(false);
      expect(await other.canProceed('r')).toBe(true);
      one.destroy();
      other.destroy();
    });

    fixed('refuses a database that is none', () => {
      expect(() => open({ database: 42 })).toThrow(TypeError);
      expect(() => open({ database: 42 })).toThrow(/^database must be .+, got ./);
    });

    it('refuses a path in a directory that does not exist', () => {
      const make = () => open({ database: harness.pathOf('absent/stores.db') });
      expect(make).toThrow(TypeError);
      expect(make).toThrow(/^Cannot open database because the directory does not exist\b/);
    });
  });

  describe('after close', () => {
    endContract(harness, {
      open,
      destroyed,
      checked: {
        canProceed: (store) => store.canProceed('r'),
        record: (store) => store.record('r'),
        getStatus: (store) => store.getStatus('r'),
        reset: (store) => store.reset('r'),
        getWaitTime: (store) => store.getWaitTime('r'),
        getStats: (store) => store.getStats(),
        clear: (store) => store.clear(),
      },
      uncheckedBefore: { cleanup: (store) => store.cleanup() },
    });

    it('configs can still be read and set', async () => {
      const store = open();
      await store.close();
      store.setResourceConfig('r', { limit: 1, windowMs: 2 });
      expect(store.getResourceConfig('r')).toStrictEqual({ limit: 1, windowMs: 2 });
    });
  });

  describe('a file', () => {
    shared('keeps requests from one store to the next', async () => {
      const options = { defaultConfig: { limit: 2, windowMs: 1_000 } };
      const store = open(options);
      await record(store, 'r', 2);
      await store.close();
      clock.set(START + 500);
      const next = open(options);
      expect(await next.canProceed('r')).toBe(false);
      expect(await next.getWaitTime('r')).toBe(500);
    });

    shared('is shared by the stores on it', async () => {
      const options = { defaultConfig: { limit: 2, windowMs: 1_000 } };
      const [one, other] = [open(options), open(options)];
      await one.record('r');
      await other.record('r');
      expect(await one.canProceed('r')).toBe(false);
      expect(await other.canProceed('r')).toBe(false);
    });
  });
};
