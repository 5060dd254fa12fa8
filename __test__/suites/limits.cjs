'use strict';
// What both limiters promise beside the window of a resource: spacing, a limit over all resources, cooldowns, booked waits,
// waiting for a slot, and lists.

/**
 * @param {import('../support/harness.cjs').Harness} harness
 * @param {string} [priority]  of all requests
 */
module.exports = function limitsContract(harness, priority) {
  const {
    describe,
    ours,
    near,
    shared,
    sharedOurs,
    expect,
    clock,
    open,
    outcomeOf,
    stateOf,
    START,
  } = harness;
  const MINUTE = 60_000;
  const NO_LIMIT = { limit: Number.POSITIVE_INFINITY, windowMs: 0 };

  /** @param {any} store @param {string} [resource] */
  const canProceed = (store, resource = 'r') => store.canProceed(resource, priority);
  /** @param {any} store @param {string} [resource] */
  const acquire = (store, resource = 'r') => store.acquire(resource, priority);
  /** @param {any} store @param {string} [resource] */
  const record = (store, resource = 'r') => store.record(resource, priority);
  /** @param {any} store @param {string} [resource] */
  const waitTime = (store, resource = 'r') => store.getWaitTime(resource, priority);
  /** @param {any} store @param {object} options @param {string} [of] */
  const waiting = (store, options, of = priority) => store.acquire('r', of, options);

  /** A promise, and what fulfils it. */
  function deferred() {
    let resolve = () => {};
    const promise = new Promise((fulfil) => {
      resolve = () => fulfil(undefined);
    });
    return { promise, resolve };
  }

  describe('minIntervalMs', () => {
    ours('keeps requests apart', async () => {
      const store = open({ defaultConfig: { limit: 100, windowMs: MINUTE, minIntervalMs: 1_000 } });
      expect(await acquire(store)).toBe(true);
      expect(await acquire(store)).toBe(false);
      expect(await canProceed(store)).toBe(false);
      expect(await canProceed(store, 'other')).toBe(true);
      expect(await waitTime(store)).toBe(1_000);
      clock.set(START + 999);
      expect(await acquire(store)).toBe(false);
      expect(await waitTime(store)).toBe(1);
      clock.set(START + 1_000);
      expect(await waitTime(store)).toBe(0);
      expect(await canProceed(store)).toBe(true);
      expect(await acquire(store)).toBe(true);
    });

    ours('is told by nextAt, and does not change what remains', async () => {
      const store = open({ defaultConfig: { limit: 100, windowMs: MINUTE, minIntervalMs: 1_000 } });
      expect((await store.getStatus('r')).nextAt).toEqual(new Date(START));
      await acquire(store);
      const { remaining, nextAt } = await store.getStatus('r');
      expect({ remaining, nextAt }).toEqual({ remaining: 99, nextAt: new Date(START + 1_000) });
      const plain = open({ defaultConfig: { limit: 100, windowMs: MINUTE } });
      expect(await plain.getStatus('r')).not.toHaveProperty('nextAt');
    });

    ours('waits for the longer of window and interval', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: 500, minIntervalMs: 1_000 } });
      await acquire(store);
      expect(await waitTime(store)).toBe(1_000);
      const other = open({ defaultConfig: { limit: 1, windowMs: 5_000, minIntervalMs: 1_000 } });
      await acquire(other, 'window');
      expect(await waitTime(other, 'window')).toBe(5_000);
    });

    ours('keeps what is longer ago than the window', async () => {
      const store = open({ defaultConfig: { limit: 5, windowMs: 10, minIntervalMs: 1_000 } });
      await acquire(store);
      clock.set(START + 500);
      await store.cleanup();
      expect(await acquire(store)).toBe(false);
      clock.set(START + 1_001);
      await store.cleanup();
      expect((await store.getStats()).totalRequests).toBe(
        priority === undefined ? 0 : 1, // The adaptive store's history.
      );
    });

    ours('counts a reserved slot from when it was reserved', async () => {
      const store = open({
        defaultConfig: { limit: 100, windowMs: MINUTE, minIntervalMs: 1_000 },
        reservationMs: 200,
      });
      expect(await canProceed(store)).toBe(true);
      clock.set(START + 300);
      expect(await canProceed(store)).toBe(false);
      await record(store);
      clock.set(START + 999);
      expect(await canProceed(store)).toBe(false);
      clock.set(START + 1_000);
      expect(await canProceed(store)).toBe(true);
    });

    ours('is set live', async () => {
      const config = { limit: 100, windowMs: MINUTE };
      const store = open({ defaultConfig: config });
      await acquire(store);
      store.setResourceConfig('r', { ...config, minIntervalMs: 1_000 });
      expect(await acquire(store)).toBe(false);
      store.setResourceConfig('__default__', { ...config, minIntervalMs: 50 });
      expect(store.getResourceConfig('other')).toEqual({ ...config, minIntervalMs: 50 });
      await acquire(store, 'other');
      expect(await waitTime(store, 'other')).toBe(50);
    });

    for (const minIntervalMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, '1', null]) {
      ours(`is not ${String(minIntervalMs)}`, async () => {
        const config = { limit: 1, windowMs: 1, minIntervalMs };
        expect(() => open({ defaultConfig: config })).toThrow(
          /^defaultConfig\.minIntervalMs must be a non-negative, finite number of milliseconds, got /,
        );
        expect(() => open({ sharedConfig: config })).toThrow(
          /^sharedConfig\.minIntervalMs must be /,
        );
        const store = open();
        store.setResourceConfig('r', config);
        await expect(canProceed(store)).rejects.toThrow(
          /^resourceConfigs\.get\('r'\)\.minIntervalMs must be /,
        );
      });
    }
  });

  describe('sharedConfig', () => {
    ours('keeps requests of all resources apart', async () => {
      const store = open({ sharedConfig: { ...NO_LIMIT, minIntervalMs: 1_000 } });
      expect(await acquire(store, 'a')).toBe(true);
      expect(await acquire(store, 'b')).toBe(false);
      expect(await waitTime(store, 'b')).toBe(1_000);
      expect((await store.getStatus('b')).nextAt).toEqual(new Date(START + 1_000));
      clock.set(START + 1_000);
      expect(await acquire(store, 'b')).toBe(true);
      expect(await acquire(store, 'a')).toBe(false);
    });

    ours('limits all resources together', async () => {
      const store = open({ sharedConfig: { limit: 2, windowMs: 1_000 } });
      expect(await acquire(store, 'a')).toBe(true);
      clock.set(START + 100);
      expect(await acquire(store, 'b')).toBe(true);
      expect(await acquire(store, 'c')).toBe(false);
      expect(await canProceed(store, 'c')).toBe(false);
      expect(await waitTime(store, 'c')).toBe(901);
      clock.set(START + 1_001);
      expect(await acquire(store, 'c')).toBe(true);
      expect(await acquire(store, 'a')).toBe(false);
    });

    ours('of 0 lets nothing through', async () => {
      const store = open({ sharedConfig: { limit: 0, windowMs: 1_000 } });
      expect(await acquire(store)).toBe(false);
      expect(await waitTime(store)).toBe(1_000);
    });

    ours('is left alone by reset(), and emptied by clear()', async () => {
      const store = open({ sharedConfig: { ...NO_LIMIT, minIntervalMs: 1_000 } });
      await acquire(store, 'a');
      await store.reset('a');
      expect((await store.getStats()).totalRequests).toBe(0);
      expect(await acquire(store, 'b')).toBe(false);
      clock.set(START + 1_000);
      expect(await acquire(store, 'b')).toBe(true);
      await store.clear();
      expect(await acquire(store, 'a')).toBe(true);
    });

    sharedOurs('holds between stores', async () => {
      const stores = [0, 1].map(() => open({ sharedConfig: { ...NO_LIMIT, minIntervalMs: 100 } }));
      const granted = await Promise.all(stores.map((store, index) => acquire(store, `r${index}`)));
      expect(granted.filter(Boolean)).toHaveLength(1);
    });

    ours('has to have limit and windowMs', () => {
      expect(() => open({ sharedConfig: { minIntervalMs: 1 } })).toThrow(
        'sharedConfig.limit must be a non-negative number, got undefined',
      );
      expect(() => open({ sharedConfig: 5 })).toThrow('sharedConfig must be an object, got 5');
    });
  });

  describe('cooldowns', () => {
    ours('last until their time, and the last one set counts', async () => {
      const store = open();
      expect(await store.getCooldown('server')).toBeUndefined();
      expect(await store.setCooldown('server', START + 1_000)).toBeUndefined();
      expect(await store.getCooldown('server')).toBe(START + 1_000);
      expect(await store.getCooldown('other')).toBeUndefined();
      await store.setCooldown('server', START + 500);
      expect(await store.getCooldown('server')).toBe(START + 500);
      clock.set(START + 500);
      expect(await store.getCooldown('server')).toBeUndefined();
      await store.setCooldown('server', START + 100);
      expect(await store.getCooldown('server')).toBeUndefined();
    });

    ours('are ended by clearCooldown() and clear(), and swept by cleanup()', async () => {
      const store = open();
      await store.setCooldown('a', START + 1_000);
      await store.setCooldown('b', START + 1_000);
      expect(await store.clearCooldown('a')).toBeUndefined();
      expect(await store.getCooldown('a')).toBeUndefined();
      expect(await store.getCooldown('b')).toBe(START + 1_000);
      await store.cleanup();
      expect(await store.getCooldown('b')).toBe(START + 1_000);
      clock.set(START + 1_000);
      await store.cleanup();
      clock.set(START);
      expect(await store.getCooldown('b')).toBeUndefined();
      await store.setCooldown('b', START + 1_000);
      await store.clear();
      expect(await store.getCooldown('b')).toBeUndefined();
    });

    shared('are seen by other stores', async () => {
      const [one, other] = [open(), open()];
      if (one.setCooldown === undefined) return;
      await one.setCooldown('server', START + 1_000);
      expect(await other.getCooldown('server')).toBe(START + 1_000);
    });

    ours('do not stop anybody unless they are honoured', async () => {
      const store = open();
      await store.setCooldown('r', START + 1_000);
      expect(await canProceed(store)).toBe(true);
      expect(await acquire(store)).toBe(true);
      expect(await waitTime(store)).toBe(0);
    });

    ours('count as refusals with honourCooldowns, whatever their key', async () => {
      const store = open({ honourCooldowns: true });
      await store.setCooldown('https://server', START + 1_000);
      expect(await canProceed(store)).toBe(false);
      expect(await acquire(store)).toBe(false);
      expect(await waitTime(store)).toBe(1_000);
      clock.set(START + 1_000);
      expect(await acquire(store)).toBe(true);
    });

    for (const until of [Number.NaN, Number.POSITIVE_INFINITY, '1', undefined, null, 5n]) {
      ours(`do not last until ${String(until)}`, async () => {
        await expect(open().setCooldown('server', until)).rejects.toThrow(
          /^untilMs must be a time in milliseconds, got /,
        );
      });
    }

    ours('are set with a rejection that need not be handled', async () => {
      open().setCooldown(5, 5);
      await expect(open().setCooldown(5, 5)).rejects.toThrow('key must be a string, got 5');
    });
  });

  describe('bookWaits', () => {
    const LIMITS = { defaultConfig: { limit: 2, windowMs: 1_000, minIntervalMs: 100 } };
    const booking = (options = {}) =>
      open({ ...LIMITS, bookWaits: true, reservationMs: 5_000, ...options });

    /** Asks as the client 0.2.0 does: once, and then how long to wait. @param {any} store */
    async function ask(store) {
      return (await canProceed(store)) ? 0 : waitTime(store);
    }

    ours('gives each caller a slot of its own', async () => {
      const store = booking();
      const waits = await Promise.all(Array.from({ length: 5 }, () => ask(store)));
      // A millisecond for the timer.
      expect(waits).toEqual([0, 101, 1_002, 1_102, 2_003]);
    });

    ours('keeps those who come later behind', async () => {
      const store = booking();
      const { promise: due, resolve } = deferred();
      const later = (async () => {
        await due;
        return [await canProceed(store), await acquire(store)];
      })();
      expect(await ask(store)).toBe(0);
      expect(await canProceed(store)).toBe(false);
      expect(await waitTime(store)).toBe(101);
      clock.set(START + 100);
      resolve();
      // The slot is free, and another caller's.
      expect(await later).toEqual([false, false]);
      expect(await canProceed(store)).toBe(true);
    });

    ours('answers the caller that asks again', async () => {
      const store = booking();
      await ask(store);
      expect(await canProceed(store)).toBe(false);
      expect(await waitTime(store)).toBe(101);
      expect(await canProceed(store)).toBe(false);
      clock.set(START + 100);
      expect(await canProceed(store)).toBe(true);
      await record(store);
      expect(await canProceed(store)).toBe(false);
    });

    ours('answers the caller that acquires', async () => {
      const store = booking();
      await ask(store);
      expect(await canProceed(store)).toBe(false);
      expect(await waitTime(store)).toBe(101);
      clock.set(START + 100);
      expect(await acquire(store)).toBe(true);
      expect((await store.getStats()).totalRequests).toBe(1);
      expect(await acquire(store)).toBe(false);
    });

    ours('records a request in the slot that was booked for it', async () => {
      const store = booking();
      await ask(store);
      await record(store);
      const wait = await ask(store);
      clock.set(START + wait + 50);
      await record(store);
      // It was made at START + 100.
      expect(await waitTime(store)).toBe(START + 1_001 - (START + wait + 50) - 1);
    });

    ours('is told the same again, and books once', async () => {
      const store = booking();
      await ask(store);
      expect(await canProceed(store)).toBe(false);
      expect(await waitTime(store)).toBe(101);
      expect(await waitTime(store)).toBe(101);
      expect((await store.getStats()).totalRequests).toBe(0);
    });

    ours('lapses when it is not used', async () => {
      const store = booking({ reservationMs: 200 });
      expect(await acquire(store)).toBe(true);
      expect(await ask(store)).toBe(101);
      clock.set(START + 301);
      expect(await acquire(store)).toBe(true);
    });

    ours('books nothing for who was not refused', async () => {
      const store = booking();
      expect(await waitTime(store)).toBe(0);
      await acquire(store);
      expect(await waitTime(store)).toBe(100);
      clock.set(START + 100);
      expect(await acquire(store)).toBe(true);
    });

    ours('needs reservationMs', () => {
      expect(() => open({ bookWaits: true })).toThrow(
        'bookWaits needs reservationMs, a positive number of milliseconds',
      );
      expect(() => open({ bookWaits: 'yes', reservationMs: 5 })).toThrow(
        "bookWaits must be a boolean, got 'yes'",
      );
    });
  });

  describe('acquire() that waits', () => {
    const LIMITS = { defaultConfig: { limit: 100, windowMs: MINUTE, minIntervalMs: 100 } };

    near(ours)('hands slots out in order', async () => {
      const store = open(LIMITS);
      /** @type {[number, number][]} */
      const granted = [];
      const waits = [0, 1, 2].map(async (index) => {
        expect(await waiting(store, {})).toBe(true);
        granted.push([index, Date.now() - START]);
      });
      await clock.advanceAsync(50);
      expect(await stateOf(Promise.all(waits))).toMatchObject({ status: 'pending' });
      await clock.advanceAsync(300);
      expect(await outcomeOf(Promise.all(waits))).toMatchObject({ status: 'resolved' });
      expect(granted.map(([index]) => index)).toEqual([0, 1, 2]);
      expect(granted.every(([index, at]) => at >= 100 * index)).toBe(true);
    });

    near(ours)('serves users first', async () => {
      const store = open(LIMITS);
      await acquire(store);
      /** @type {string[]} */
      const granted = [];
      const waits = ['background', 'user'].map(async (of) => {
        await waiting(store, {}, of);
        granted.push(of);
      });
      await clock.advanceAsync(500);
      await Promise.all(waits);
      expect(granted).toEqual(['user', 'background']);
    });

    ours('answers false when its time is over', async () => {
      const store = open(LIMITS);
      expect(await waiting(store, { maxWaitMs: 0 })).toBe(true);
      const late = waiting(store, { maxWaitMs: 50 });
      await clock.advanceAsync(50);
      expect(await outcomeOf(late)).toEqual({ status: 'resolved', value: false });
      expect((await store.getStats()).totalRequests).toBe(1);
    });

    ours('rejects when it is aborted, and leaves nothing behind', async () => {
      const store = open(LIMITS);
      await acquire(store);
      const controller = new AbortController();
      const aborted = waiting(store, { signal: controller.signal });
      const next = waiting(store, { maxWaitMs: 10_000 });
      controller.abort(new Error('no more'));
      await expect(aborted).rejects.toThrow('no more');
      await clock.advanceAsync(200);
      expect(await outcomeOf(next)).toEqual({ status: 'resolved', value: true });
      expect((await store.getStats()).totalRequests).toBe(2);
      await expect(waiting(store, { signal: controller.signal })).rejects.toThrow('no more');
    });

    near(ours)('gives back what it acquired for somebody who has stopped waiting', async () => {
      const store = open(LIMITS);
      const controller = new AbortController();
      const aborted = waiting(store, { signal: controller.signal });
      controller.abort(new Error('no more'));
      await expect(aborted).rejects.toThrow('no more');
      await clock.advanceAsync(0);
      expect(await outcomeOf(store.getStats())).toMatchObject({
        value: { totalRequests: 0 },
      });
      expect(await acquire(store)).toBe(true);
    });

    ours('tries again when the resource is forgotten', async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs: MINUTE } });
      await acquire(store);
      const waits = waiting(store, {});
      expect(await stateOf(waits)).toMatchObject({ status: 'pending' });
      await store.reset('r');
      expect(await outcomeOf(waits)).toEqual({ status: 'resolved', value: true });
    });

    near(sharedOurs)('tries again when another store has made room', async () => {
      const [store, other] = [0, 1].map(() =>
        open({ defaultConfig: { limit: 1, windowMs: MINUTE } }),
      );
      await acquire(other);
      const waits = waiting(store, {});
      await stateOf(waits);
      await other.reset('r');
      await clock.advanceAsync(1_000);
      expect(await outcomeOf(waits)).toEqual({ status: 'resolved', value: true });
    });

    for (const end of ['close', 'destroy']) {
      ours(`is refused when the store ends: ${end}()`, async () => {
        const store = open({ defaultConfig: { limit: 1, windowMs: MINUTE } });
        await acquire(store);
        const waits = waiting(store, {});
        await stateOf(waits);
        await store[end]();
        await expect(waits).rejects.toThrow('Rate limit store has been destroyed');
      });
    }

    ours('checks what it is given', async () => {
      const store = open();
      await expect(waiting(store, { maxWaitMs: -1 })).rejects.toThrow(
        'maxWaitMs must be a non-negative number of milliseconds, got -1',
      );
      await expect(waiting(store, { signal: 5 })).rejects.toThrow(
        'signal must be an AbortSignal, got 5',
      );
      await expect(store.acquire('r', 'someone', {})).rejects.toThrow(
        "priority must be 'user' or 'background', got 'someone'",
      );
      await expect(store.acquire(5, priority, {})).rejects.toThrow(
        'resource must be a string, got 5',
      );
    });
  });

  describe('listResources()', () => {
    ours('lists what is in the window, and cooldowns', async () => {
      const config = { limit: 10, windowMs: 1_000 };
      const store = open({ defaultConfig: config });
      expect(await store.listResources()).toEqual([]);
      await record(store, 'b');
      await record(store, 'old');
      clock.set(START + 1_001);
      await record(store, 'b');
      await record(store, 'b');
      await store.setCooldown('a', START + 5_000);
      const listed = await store.listResources();
      expect(listed).toMatchObject([
        { resource: 'a', requestCount: 0, ...config, cooldownUntil: START + 5_000 },
        { resource: 'b', requestCount: 2, ...config },
      ]);
      expect(listed[1]).not.toHaveProperty('cooldownUntil');
      expect('adaptive' in listed[1]).toBe(priority !== undefined);
    });
  });
};
