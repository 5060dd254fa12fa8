'use strict';
// What SqliteAdaptiveRateLimitStore promises.

const { inspect } = require('node:util');
const { notNames } = require('../support/values.cjs');
const endContract = require('./end.cjs');
const limitsContract = require('./limits.cjs');

/** @param {import('../support/harness.cjs').Harness} harness */
module.exports = function adaptiveContract(harness) {
  const {
    describe,
    it,
    fixed,
    ours,
    near,
    shared,
    sharedFixed,
    expect,
    clock,
    open,
    Store,
    START,
  } = harness;
  const destroyed = 'Rate limit store has been destroyed';
  const MINUTE = 60_000;

  harness.isolate();
  limitsContract(harness, 'user');

  /**
   * @param {any} store
   * @param {'user' | 'background'} priority
   * @param {number} times
   * @param {string} [resource]
   */
  async function record(store, priority, times, resource = 'r') {
    for (let i = 0; i < times; i++) expect(await store.record(resource, priority)).toBeUndefined();
  }

  /**
   * How many requests of a class get through, one after the other.
   * @param {any} store
   * @param {'user' | 'background' | undefined} priority
   */
  async function countThrough(store, priority) {
    for (let through = 0; ; through++) {
      if (!(await store.canProceed('r', priority))) return through;
      await store.record('r', priority);
    }
  }

  /** @param {any} store */
  const adaptiveOf = async (store) => (await store.getStatus('r')).adaptive;

  describe('shares', () => {
    it('start at 30 and 70 of 100', async () => {
      const store = open();
      const status = await store.getStatus('r');
      expect(status).toBeInstanceOf(Object);
      expect(status.adaptive).toBeInstanceOf(Object);
      expect(status.resetTime).toBeInstanceOf(Date);
      expect(status).toStrictEqual({
        remaining: 200,
        resetTime: new Date(START + 3_600_000),
        limit: 200,
        adaptive: {
          userReserved: 60,
          backgroundMax: 140,
          backgroundPaused: false,
          recentUserActivity: 0,
          reason: 'Initial state - default capacity allocation',
        },
      });
    });

    it('keep at least minUserReserved for users', async () => {
      const store = open({ defaultConfig: { limit: 10, windowMs: MINUTE } });
      expect(await adaptiveOf(store)).toMatchObject({ userReserved: 5, backgroundMax: 5 });
      const none = open({
        defaultConfig: { limit: 10, windowMs: MINUTE },
        adaptiveConfig: { minUserReserved: 0 },
      });
      expect(await adaptiveOf(none)).toMatchObject({ userReserved: 3, backgroundMax: 7 });
    });

    it('go to the background while no user was seen', async () => {
      const store = open();
      await record(store, 'background', 1);
      expect(await store.getStatus('r')).toMatchObject({
        remaining: 199,
        adaptive: {
          userReserved: 5,
          backgroundMax: 195,
          backgroundPaused: false,
          recentUserActivity: 0,
          reason: 'No user activity yet - background scale up with minimal user buffer',
        },
      });
    });

    it('with little user activity are as at the start', async () => {
      const store = open();
      await record(store, 'user', 2);
      expect(await adaptiveOf(store)).toStrictEqual({
        userReserved: 60,
        backgroundMax: 140,
        backgroundPaused: false,
        recentUserActivity: 2,
        reason: 'Low user activity (2 requests/15min) - background scale up',
      });
    });

    it('with moderate and increasing user activity grow by the activity and 1.2', async () => {
      const store = open();
      await record(store, 'user', 7);
      // 1 + 7/10, times 1.2 for the trend: 80 * 2.04 is more than 70 of 100.
      expect(await adaptiveOf(store)).toStrictEqual({
        userReserved: 140,
        backgroundMax: 60,
        backgroundPaused: false,
        recentUserActivity: 7,
        reason: 'Moderate user activity - dynamic scaling (2.0x user capacity)',
      });
    });

    it('with moderate and stable user activity grow by the activity', async () => {
      const store = open();
      await record(store, 'user', 2);
      clock.set(START + 6 * MINUTE);
      await record(store, 'user', 2);
      expect(await adaptiveOf(store)).toMatchObject({
        userReserved: 112,
        backgroundMax: 88,
        recentUserActivity: 4,
        reason: 'Moderate user activity - dynamic scaling (1.4x user capacity)',
      });
    });

    it('with moderate and decreasing user activity grow by the activity and 0.8', async () => {
      const store = open();
      await record(store, 'user', 6);
      clock.set(START + 6 * MINUTE);
      const { userReserved, backgroundMax, reason } = await adaptiveOf(store);
      expect(userReserved).toBe(80 * (1.6 * 0.8));
      expect(backgroundMax).toBe(200 - 80 * (1.6 * 0.8));
      expect(reason).toBe('Moderate user activity - dynamic scaling (1.3x user capacity)');
    });

    it('never shrink below 1 by a decreasing trend', async () => {
      const store = open({ adaptiveConfig: { highActivityThreshold: 100 } });
      await record(store, 'user', 3);
      clock.set(START + 6 * MINUTE);
      expect(await adaptiveOf(store)).toMatchObject({
        userReserved: 80,
        backgroundMax: 120,
        reason: 'Moderate user activity - dynamic scaling (1.0x user capacity)',
      });
    });

    it('with high user activity give users the most and pause the background on a surge', async () => {
      const store = open();
      await record(store, 'user', 10);
      expect(await adaptiveOf(store)).toStrictEqual({
        userReserved: 180,
        backgroundMax: 20,
        backgroundPaused: true,
        recentUserActivity: 10,
        reason: 'High user activity (10 requests/15min) - prioritizing users',
      });
    });

    it('with high and stable user activity do not pause the background', async () => {
      const store = open();
      await record(store, 'user', 6);
      clock.set(START + 6 * MINUTE);
      await record(store, 'user', 6);
      expect(await adaptiveOf(store)).toMatchObject({
        userReserved: 180,
        backgroundPaused: false,
        recentUserActivity: 12,
        reason: 'High user activity (12 requests/15min) - prioritizing users',
      });
    });

    it('pause nothing when told so', async () => {
      const store = open({ adaptiveConfig: { backgroundPauseOnIncreasingTrend: false } });
      await record(store, 'user', 10);
      expect(await adaptiveOf(store)).toMatchObject({ backgroundMax: 20, backgroundPaused: false });
    });

    it('grow no further than maxUserScaling', async () => {
      const store = open({ adaptiveConfig: { maxUserScaling: 1.2 } });
      await record(store, 'user', 9);
      expect((await adaptiveOf(store)).userReserved).toBe(80 * (1.2 * 1.2));
      clock.set(START + MINUTE);
      await record(store, 'user', 1);
      expect(await adaptiveOf(store)).toMatchObject({ userReserved: 120, backgroundMax: 80 });
    });

    it('go back to the background once users are quiet', async () => {
      const store = open();
      await record(store, 'user', 3);
      clock.set(START + 15 * MINUTE - 1);
      expect(await adaptiveOf(store)).toMatchObject({ recentUserActivity: 3 });
      clock.set(START + 16 * MINUTE);
      expect(await adaptiveOf(store)).toStrictEqual({
        userReserved: 5,
        backgroundMax: 195,
        backgroundPaused: false,
        recentUserActivity: 0,
        reason: 'Recent zero activity - background scale up with minimal user buffer',
      });
      clock.set(START + 30 * MINUTE);
      expect((await adaptiveOf(store)).userReserved).toBe(5);
      clock.set(START + 31.5 * MINUTE);
      expect(await adaptiveOf(store)).toStrictEqual({
        userReserved: 0,
        backgroundMax: 200,
        backgroundPaused: false,
        recentUserActivity: 0,
        reason: 'Sustained zero activity (31+ min) - full capacity to background',
      });
    });

    it('follow the spans they are given', async () => {
      const store = open({
        adaptiveConfig: {
          monitoringWindowMs: 90_000,
          sustainedInactivityThresholdMs: 100_000,
          recalculationIntervalMs: 1,
        },
      });
      await record(store, 'user', 1);
      expect((await adaptiveOf(store)).reason).toBe(
        'Low user activity (1 requests/1.5min) - background scale up',
      );
      clock.set(START + 89_999);
      expect((await adaptiveOf(store)).recentUserActivity).toBe(1);
      clock.set(START + 90_000);
      expect((await adaptiveOf(store)).reason).toMatch(/^Recent zero activity/);
      clock.set(START + 100_000);
      expect((await adaptiveOf(store)).reason).toMatch(/^Recent zero activity/);
      clock.set(START + 100_001);
      expect((await adaptiveOf(store)).reason).toBe(
        'Sustained zero activity (1+ min) - full capacity to background',
      );
    });

    it('follow the thresholds they are given', async () => {
      const store = open({
        adaptiveConfig: {
          moderateActivityThreshold: 1,
          highActivityThreshold: 2,
          recalculationIntervalMs: 1,
        },
      });
      await record(store, 'user', 1);
      expect((await adaptiveOf(store)).reason).toBe(
        'Moderate user activity - dynamic scaling (1.8x user capacity)',
      );
      await record(store, 'user', 1);
      clock.set(START + 1);
      expect((await adaptiveOf(store)).reason).toBe(
        'High user activity (2 requests/15min) - prioritizing users',
      );
    });

    it('are recalculated every 30 seconds, activity is counted at once', async () => {
      const store = open();
      await adaptiveOf(store);
      await record(store, 'user', 10);
      clock.set(START + 29_999);
      expect(await adaptiveOf(store)).toMatchObject({
        userReserved: 60,
        recentUserActivity: 10,
        reason: 'Initial state - default capacity allocation',
      });
      clock.set(START + 30_000);
      expect(await adaptiveOf(store)).toMatchObject({ userReserved: 180, recentUserActivity: 10 });
    });

    it('are recalculated every recalculationIntervalMs', async () => {
      const store = open({ adaptiveConfig: { recalculationIntervalMs: 500 } });
      await adaptiveOf(store);
      await record(store, 'background', 1);
      clock.set(START + 499);
      expect((await adaptiveOf(store)).reason).toMatch(/^Initial state/);
      clock.set(START + 500);
      expect((await adaptiveOf(store)).reason).toMatch(/^No user activity yet/);
    });

    it('that are never calculated are 30 and 70 of 100', async () => {
      const store = open({
        defaultConfig: { limit: 55, windowMs: MINUTE },
        adaptiveConfig: { recalculationIntervalMs: 1e15 },
      });
      await record(store, 'user', 20);
      expect(await adaptiveOf(store)).toStrictEqual({
        userReserved: 16,
        backgroundMax: 38,
        backgroundPaused: false,
        recentUserActivity: 20,
        reason: 'Default capacity allocation',
      });
    });

    fixed('stay between 0 and the limit', async () => {
      const store = open({ defaultConfig: { limit: 3, windowMs: MINUTE } });
      expect(await store.getStatus('r')).toMatchObject({
        remaining: 3,
        limit: 3,
        adaptive: { userReserved: 3, backgroundMax: 0 },
      });
    });

    it('of one resource do not follow another', async () => {
      const store = open();
      await record(store, 'user', 10, 'busy');
      expect((await store.getStatus('busy')).adaptive.userReserved).toBe(180);
      expect((await store.getStatus('r')).adaptive.userReserved).toBe(60);
    });
  });

  describe('requests', () => {
    const small = { limit: 20, windowMs: MINUTE };

    it('go through up to the share of their class', async () => {
      const users = open({ defaultConfig: small });
      expect(await countThrough(users, 'user')).toBe(6);
      expect(await users.canProceed('r', 'background')).toBe(true);
      expect((await users.getStatus('r')).remaining).toBe(14);
      await users.clear();
      expect(await countThrough(users, 'background')).toBe(14);
      expect(await users.canProceed('r', 'user')).toBe(true);
    });

    it('are of the background unless told otherwise', async () => {
      const store = open({ defaultConfig: small });
      expect(await countThrough(store, undefined)).toBe(14);
      expect(await store.canProceed('r')).toBe(false);
      expect(await store.canProceed('r', 'background')).toBe(false);
      expect(await store.canProceed('r', 'user')).toBe(true);
    });

    it('of the background stop while it is paused', async () => {
      const store = open();
      await record(store, 'user', 10);
      expect(await store.canProceed('r', 'background')).toBe(false);
      expect(await store.canProceed('r', 'user')).toBe(true);
    });

    it('leave after the window', async () => {
      const store = open({
        defaultConfig: small,
        adaptiveConfig: { recalculationIntervalMs: 1e9 },
      });
      await countThrough(store, 'background');
      clock.set(START + MINUTE);
      expect(await store.canProceed('r')).toBe(false);
      clock.set(START + MINUTE + 1);
      expect(await store.canProceed('r')).toBe(true);
    });

    fixed('never pass the limit in all, though shares move', async () => {
      const store = open({
        defaultConfig: small,
        adaptiveConfig: { backgroundPauseOnIncreasingTrend: false, recalculationIntervalMs: 1 },
      });
      let total = await countThrough(store, 'background');
      clock.set(START + 10);
      total += await countThrough(store, 'user');
      clock.set(START + 20);
      total += await countThrough(store, 'user');
      expect(total).toBe(20);
      expect((await store.getStatus('r')).remaining).toBe(0);
    });

    fixed('of users may use any free slot after long quiet', async () => {
      const store = open();
      await record(store, 'user', 1);
      clock.set(START + 45 * MINUTE);
      expect((await adaptiveOf(store)).userReserved).toBe(0);
      expect(await store.canProceed('r', 'user')).toBe(true);
      expect(await store.getWaitTime('r', 'user')).toBe(0);
      await record(store, 'background', 198);
      expect(await store.canProceed('r', 'user')).toBe(true);
      await record(store, 'user', 1);
      expect(await store.canProceed('r', 'user')).toBe(false);
    });

    fixed('are refused by a limit of 0', async () => {
      const store = open({ defaultConfig: { limit: 0, windowMs: MINUTE } });
      expect(await store.canProceed('r', 'user')).toBe(false);
      expect(await store.canProceed('r', 'background')).toBe(false);
      expect((await store.getStatus('r')).remaining).toBe(0);
    });

    fixed('beyond the limit leave nothing, not less', async () => {
      const store = open({ defaultConfig: small });
      await record(store, 'background', 30);
      expect((await store.getStatus('r')).remaining).toBe(0);
    });

    for (const priority of [null, '', 'User', 'foreground', 1, {}, Symbol('s')]) {
      fixed(`are of a known class, not ${inspect(priority)}`, async () => {
        const store = open();
        for (const name of ['canProceed', 'record', 'getWaitTime']) {
          const promise = store[name]('r', priority);
          expect(promise).toBeInstanceOf(Promise);
          const error = await promise.catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^priority must be .+, got ./);
        }
        expect((await store.getStats()).totalRequests).toBe(0);
      });
    }

    for (const resource of notNames) {
      fixed(`are for a string, not ${inspect(resource)}`, async () => {
        const store = open();
        for (const name of ['canProceed', 'record', 'getStatus', 'reset', 'getWaitTime']) {
          const error = await store[name](resource).catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^resource must be .+, got ./);
        }
      });
    }
  });

  describe('a clock that was ahead', () => {
    const DAY = 86_400_000;
    const small = { limit: 20, windowMs: MINUTE };

    for (const [step, ms] of Object.entries({ minute: 60_001, hour: 3_600_000, month: 30 * DAY })) {
      fixed(
        `leaves requests that count for one window from when they are met, a ${step}`,
        async () => {
          const store = open({ defaultConfig: small });
          clock.set(START + ms);
          for (let i = 0; i < 20; i++) await store.record('r', 'user');
          clock.set(START);
          expect(await store.canProceed('r', 'user')).toBe(false);
          expect(await store.getWaitTime('r', 'user')).toBe(MINUTE);
          clock.set(START + MINUTE + 1);
          expect(await store.getWaitTime('r', 'user')).toBe(0);
          expect(await store.canProceed('r', 'user')).toBe(true);
        },
      );
    }

    fixed('leaves no shares that hold until it comes again', async () => {
      const store = open();
      clock.set(START + DAY);
      await store.getStatus('r');
      clock.set(START);
      await record(store, 'user', 12);
      expect(await adaptiveOf(store)).toMatchObject({ userReserved: 180, recentUserActivity: 12 });
    });

    fixed('leaves users who count as active for the monitoring window', async () => {
      const store = open();
      clock.set(START + DAY);
      await record(store, 'user', 12);
      clock.set(START);
      await store.getStatus('r');
      clock.set(START + 16 * MINUTE);
      expect(await adaptiveOf(store)).toMatchObject({ recentUserActivity: 0 });
    });
  });

  describe('resources that nobody uses', () => {
    ours('are forgotten by a clean-up, but not how often users had priority', async () => {
      const store = open();
      for (let i = 0; i < 20; i++) await store.record('r', 'user');
      await store.getStatus('r');
      await store.record('s', 'user');
      clock.set(START + 90 * MINUTE);
      await store.cleanup();
      expect(await store.getStats()).toMatchObject({
        totalRequests: 0,
        uniqueResources: 0,
        adaptiveMetrics: { priorityModeActivations: 1 },
      });
      expect((await adaptiveOf(store)).reason).toBe('Initial state - default capacity allocation');
      await store.clear();
      expect((await store.getStats()).adaptiveMetrics.priorityModeActivations).toBe(0);
    });

    near(ours)('are removed as requests of others come', async () => {
      const store = open({ defaultConfig: { limit: 10, windowMs: 1_000 } });
      for (let i = 0; i < 500; i++) await store.record(`name ${i}`);
      clock.set(START + 31 * MINUTE);
      for (let i = 0; i < 1_000; i++) await store.record('r');
      expect(await store.getStats()).toMatchObject({ totalRequests: 1_000, uniqueResources: 1 });
    });
  });

  describe('a limit lowered live', () => {
    fixed('lowers what remains and both shares at once', async () => {
      const store = open();
      await store.getStatus('r');
      store.setResourceConfig('r', { limit: 10, windowMs: MINUTE });
      expect(await store.getStatus('r')).toMatchObject({
        limit: 10,
        remaining: 10,
        adaptive: { userReserved: 3, backgroundMax: 7 },
      });
    });
  });

  for (const windowMs of [2 ** 31, 2 ** 53, 1e16, 1e300, Number.MAX_VALUE]) {
    fixed(`with a window of ${windowMs} ms has valid answers`, async () => {
      const store = open({ defaultConfig: { limit: 1, windowMs } });
      await store.record('r', 'user');
      expect(await store.canProceed('r', 'user')).toBe(false);
      const { resetTime, remaining } = await store.getStatus('r');
      expect(resetTime.getTime()).toBe(Math.min(START + windowMs, 8.64e15));
      expect(remaining).toBe(0);
      // What a timer can wait.
      expect(await store.getWaitTime('r', 'user')).toBe(2 ** 31 - 1);
      store.setResourceConfig('none', { limit: 0, windowMs });
      expect(await store.getWaitTime('none')).toBe(2 ** 31 - 1);
      await store.cleanup();
      expect((await store.getStats()).totalRequests).toBe(1);
    });
  }

  for (const recalculationIntervalMs of [1e13, 1e300, Number.POSITIVE_INFINITY]) {
    fixed(`with shares that hold for ${recalculationIntervalMs} ms has valid answers`, async () => {
      const defaultConfig = { limit: 1, windowMs: MINUTE };
      const store = open({ defaultConfig, adaptiveConfig: { recalculationIntervalMs } });
      expect((await store.getStatus('r')).adaptive.backgroundMax).toBe(0);
      expect(await store.getWaitTime('r', 'background')).toBe(2 ** 31 - 1);
    });
  }

  describe('getWaitTime', () => {
    const small = { limit: 20, windowMs: MINUTE };

    it('is 0 while there is a slot', async () => {
      const store = open({ defaultConfig: small });
      expect(await store.getWaitTime('r')).toBe(0);
      expect(await store.getWaitTime('r', 'user')).toBe(0);
    });

    it('is that of the oldest request of the class when its share is used', async () => {
      const adaptiveConfig = { recalculationIntervalMs: 10 * MINUTE };
      const store = open({ defaultConfig: small, adaptiveConfig });
      await record(store, 'user', 1);
      clock.set(START + 100);
      await store.getStatus('r');
      await countThrough(store, 'background');
      clock.set(START + 1_100);
      expect(await store.getWaitTime('r', 'background')).toBe(MINUTE - 1_000);
      expect(await store.getWaitTime('r')).toBe(MINUTE - 1_000);
      expect(await store.getWaitTime('r', 'user')).toBe(0);
    });

    fixed('is at most until shares are divided anew when a share alone is used', async () => {
      const store = open({ defaultConfig: { limit: 20, windowMs: 60 * MINUTE } });
      await record(store, 'user', 1);
      clock.set(START + 100);
      await store.getStatus('r');
      await countThrough(store, 'background');
      clock.set(START + 1_100);
      expect(await store.getWaitTime('r', 'background')).toBe(29_000);
      expect(await store.getWaitTime('r', 'user')).toBe(0);
    });

    it('is the window for a limit of 0', async () => {
      const store = open({ defaultConfig: { limit: 0, windowMs: 1_234 } });
      expect(await store.getWaitTime('r')).toBe(1_234);
      expect(await store.getWaitTime('r', 'user')).toBe(1_234);
    });

    it('is the recalculation interval while the background is paused', async () => {
      const store = open({ adaptiveConfig: { recalculationIntervalMs: 7_000 } });
      await record(store, 'user', 10);
      expect(await store.getWaitTime('r', 'background')).toBe(7_000);
    });

    fixed('is never 0 while the way is closed', async () => {
      const store = open({ defaultConfig: { limit: 5, windowMs: 1_000 } });
      // minUserReserved takes the whole limit, so the background has no request to wait for.
      expect(await store.canProceed('r', 'background')).toBe(false);
      expect(await store.getWaitTime('r', 'background')).toBeGreaterThanOrEqual(1);
      for (let i = 0; i < 5; i++) await store.record('r', 'user');
      clock.set(START + 1_000);
      expect(await store.canProceed('r', 'user')).toBe(false);
      expect(await store.getWaitTime('r', 'user')).toBe(1);
    });

    fixed('over the limit is the time until a slot is free', async () => {
      const store = open({ defaultConfig: small });
      for (let i = 0; i < 23; i++) {
        clock.set(START + i * 100);
        await store.record('r', 'user');
      }
      // Initial shares are those of high activity now: 18 of 20 for users, so 6 must leave.
      expect(await store.getWaitTime('r', 'user')).toBe(500 + MINUTE - 2_200);
    });
  });

  describe('options', () => {
    it('threshold order is checked', () => {
      const make = () =>
        open({ adaptiveConfig: { moderateActivityThreshold: 10, highActivityThreshold: 10 } });
      expect(make).toThrow('moderateActivityThreshold must be less than highActivityThreshold');
      expect(make).toThrow(Error);
    });

    fixed('threshold order is explained by the message alone', () => {
      expect(() => open({ adaptiveConfig: { moderateActivityThreshold: 20 } })).toThrow(
        /^moderateActivityThreshold must be less than highActivityThreshold$/,
      );
    });

    it('thresholds may be 0, spans may not', () => {
      open({
        adaptiveConfig: {
          moderateActivityThreshold: 0,
          highActivityThreshold: 0.5,
          minUserReserved: 0,
        },
      });
      for (const option of [
        'monitoringWindowMs',
        'recalculationIntervalMs',
        'sustainedInactivityThresholdMs',
        'maxUserScaling',
      ]) {
        expect(() => open({ adaptiveConfig: { [option]: 0 } })).toThrow(Error);
      }
    });

    const numbers = [
      'monitoringWindowMs',
      'highActivityThreshold',
      'moderateActivityThreshold',
      'recalculationIntervalMs',
      'sustainedInactivityThresholdMs',
      'maxUserScaling',
      'minUserReserved',
    ];
    for (const option of [...numbers, 'backgroundPauseOnIncreasingTrend']) {
      const bad =
        option === 'backgroundPauseOnIncreasingTrend'
          ? [null, 1, 'true']
          : [null, -1, Number.NaN, '5', true];
      for (const value of bad) {
        it(`refuse ${option}: ${String(value)} (${typeof value})`, () => {
          expect(() => open({ adaptiveConfig: { [option]: value } })).toThrow(Error);
        });
        fixed(`name ${option}: ${String(value)} (${typeof value})`, () => {
          const make = () => open({ adaptiveConfig: { [option]: value } });
          expect(make).toThrow(TypeError);
          expect(make).toThrow(new RegExp(`^(adaptiveConfig\\.)?${option} must be .+, got .`));
        });
      }
    }

    for (const config of [
      null,
      5,
      {},
      { limit: Number.NaN, windowMs: 1 },
      { limit: -1, windowMs: 1 },
      { limit: 1, windowMs: Number.POSITIVE_INFINITY },
    ]) {
      fixed(`refuse defaultConfig: ${JSON.stringify(config)}`, () => {
        const make = () => open({ defaultConfig: config });
        expect(make).toThrow(TypeError);
        expect(make).toThrow(/^defaultConfig.* must be .+, got ./);
      });
    }

    fixed('refuse a database that is none', () => {
      const make = () => open({ database: 42 });
      expect(make).toThrow(TypeError);
      expect(make).toThrow(/^database must be .+, got ./);
    });

    it('refuse a path in a directory that does not exist', () => {
      const make = () => open({ database: harness.pathOf('absent/stores.db') });
      expect(make).toThrow(TypeError);
      expect(make).toThrow(/^Cannot open database because the directory does not exist\b/);
    });

    it('may all be left out', async () => {
      for (const options of [
        undefined,
        {},
        { adaptiveConfig: undefined, defaultConfig: undefined, resourceConfigs: undefined },
      ]) {
        const store = new Store(options);
        expect((await store.getStatus('r')).limit).toBe(200);
        expect(store.getResourceConfig('r')).toStrictEqual({ limit: 200, windowMs: 3_600_000 });
        store.destroy();
      }
    });
  });

  describe('configs of resources', () => {
    it('go before the default and are read at each call', async () => {
      const resourceConfigs = new Map([['r', { limit: 50, windowMs: 1_000 }]]);
      const store = open({ resourceConfigs, adaptiveConfig: { recalculationIntervalMs: 1 } });
      expect(await store.getStatus('r')).toMatchObject({
        limit: 50,
        remaining: 50,
        resetTime: new Date(START + 1_000),
        adaptive: { userReserved: 15 },
      });
      resourceConfigs.set('r', { limit: 100, windowMs: 2_000 });
      clock.set(START + 1);
      expect(await store.getStatus('r')).toMatchObject({
        limit: 100,
        remaining: 100,
        resetTime: new Date(START + 2_001),
        adaptive: { userReserved: 30 },
      });
      resourceConfigs.delete('r');
      clock.set(START + 2);
      expect(await store.getStatus('r')).toMatchObject({ limit: 200 });
    });

    it('are set by setResourceConfig', async () => {
      const store = open();
      expect(store.setResourceConfig('r', { limit: 50, windowMs: 1_000 })).toBeUndefined();
      expect(store.getResourceConfig('r')).toStrictEqual({ limit: 50, windowMs: 1_000 });
      expect(await store.getStatus('r')).toMatchObject({ limit: 50 });
      expect(store.getResourceConfig('other')).toStrictEqual({ limit: 200, windowMs: 3_600_000 });
    });

    fixed('that are bad refuse the calls that use them', async () => {
      const store = open();
      store.setResourceConfig('r', { limit: Number.NaN, windowMs: 1 });
      for (const name of ['canProceed', 'getStatus', 'getWaitTime']) {
        const error = await store[name]('r').catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(/ must be .+, got ./);
      }
      expect(await store.canProceed('other')).toBe(true);
    });
  });

  describe('reset and clear', () => {
    for (const [name, call] of /** @type {[string, (store: any) => Promise<void>][]} */ ([
      ['reset', (store) => store.reset('r')],
      ['clear', (store) => store.clear()],
    ])) {
      it(`${name} forgets requests, activity and shares`, async () => {
        const store = open();
        await record(store, 'user', 10);
        await record(store, 'user', 10, 'other');
        expect((await adaptiveOf(store)).userReserved).toBe(180);
        expect(await call(store)).toBeUndefined();
        expect(await store.getStatus('r')).toMatchObject({
          remaining: 200,
          adaptive: {
            userReserved: 60,
            recentUserActivity: 0,
            reason: 'Initial state - default capacity allocation',
          },
        });
        expect((await store.getStats()).totalRequests).toBe(name === 'reset' ? 10 : 0);
      });
    }
  });

  describe('stats', () => {
    it('name the resources without a slot for the background, in order', async () => {
      const store = open({ defaultConfig: { limit: 10, windowMs: MINUTE } });
      await record(store, 'background', 10, 'b');
      await record(store, 'background', 1, 'c');
      await record(store, 'user', 10, 'a');
      const stats = await store.getStats();
      expect(stats).toBeInstanceOf(Object);
      expect(stats.rateLimitedResources).toBeInstanceOf(Array);
      expect(stats).toMatchObject({
        totalRequests: 21,
        uniqueResources: 3,
        rateLimitedResources: ['a', 'b'],
      });
      await store.clear();
      expect(await store.getStats()).toMatchObject({
        totalRequests: 0,
        uniqueResources: 0,
        rateLimitedResources: [],
      });
    });

    fixed('have adaptive metrics', async () => {
      const store = open({
        defaultConfig: { limit: 100, windowMs: 3_600_000 },
        adaptiveConfig: { recalculationIntervalMs: 1 },
      });
      expect((await store.getStats()).adaptiveMetrics).toStrictEqual({
        averageUserActivity: 0,
        backgroundUtilization: 0,
        priorityModeActivations: 0,
      });
      await record(store, 'user', 10, 'busy');
      await record(store, 'background', 19, 'calm');
      for (const resource of ['busy', 'calm']) await store.getStatus(resource);
      const { adaptiveMetrics } = await store.getStats();
      expect(adaptiveMetrics).toBeInstanceOf(Object);
      expect(Object.keys(adaptiveMetrics)).toHaveLength(3);
      expect(adaptiveMetrics.averageUserActivity).toBe(5);
      expect(adaptiveMetrics.priorityModeActivations).toBe(1);
      // 19 of the background's 95 slots on one resource, none of its 10 on the other.
      expect(adaptiveMetrics.backgroundUtilization).toBeCloseTo(19 / 105, 10);
    });

    fixed('count each time a resource enters high activity', async () => {
      const store = open({ adaptiveConfig: { recalculationIntervalMs: 1 } });
      const activations = async () =>
        (await store.getStats()).adaptiveMetrics.priorityModeActivations;
      await record(store, 'user', 10);
      await store.getStatus('r');
      clock.set(START + 1_000);
      await store.getStatus('r');
      expect(await activations()).toBe(1);
      clock.set(START + 20 * MINUTE);
      expect((await adaptiveOf(store)).reason).toMatch(/^Recent zero/);
      expect(await activations()).toBe(1);
      await record(store, 'user', 10);
      clock.set(START + 20 * MINUTE + 1);
      expect((await adaptiveOf(store)).reason).toMatch(/^High/);
      expect(await activations()).toBe(2);
    });

    it('cleanup keeps what is in the window', async () => {
      const store = open({ defaultConfig: { limit: 10, windowMs: 3_600_000 } });
      await record(store, 'user', 2);
      clock.set(START + 3_600_000);
      expect(await store.cleanup()).toBeUndefined();
      expect((await store.getStats()).totalRequests).toBe(2);
      clock.set(START + 3_600_001);
      await store.cleanup();
      expect((await store.getStats()).totalRequests).toBe(0);
    });
  });

  describe('methods', () => {
    it('have the lengths the client looks at', () => {
      expect(Store.prototype.getStatus.length).toBe(1);
    });

    fixed('take a priority by their length', () => {
      expect(Store.prototype.canProceed.length).toBe(2);
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

    fixed('that are not awaited do not see later ones', async () => {
      const store = open({ defaultConfig: { limit: 2, windowMs: 1_000 } });
      await store.record('r', 'user');
      const [stats, , wait] = await Promise.all([
        store.getStats(),
        store.record('r', 'user'),
        store.getWaitTime('r', 'user'),
        store.reset('r'),
      ]);
      expect(stats).toMatchObject({
        totalRequests: 1,
        adaptiveMetrics: { averageUserActivity: 1 },
      });
      expect(wait).toBe(1_000);
    });

    fixed('that are not awaited take effect in their order', async () => {
      const store = open({ defaultConfig: { limit: 20, windowMs: MINUTE } });
      const results = await Promise.all([
        store.getStatus('r'),
        store.record('r', 'user'),
        store.getStatus('r'),
        store.record('r'),
        store.getStats(),
        store.reset('r'),
        store.getStatus('r'),
        store.record('r'),
        store.clear(),
        store.getStats(),
      ]);
      expect([results[0].remaining, results[2].remaining, results[6].remaining]).toStrictEqual([
        20, 19, 20,
      ]);
      expect([
        results[2].adaptive.recentUserActivity,
        results[6].adaptive.recentUserActivity,
      ]).toStrictEqual([1, 0]);
      expect([results[4].totalRequests, results[9].totalRequests]).toStrictEqual([2, 0]);
    });
  });

  describe('after close', () => {
    endContract(harness, {
      open,
      destroyed,
      checked: {
        canProceed: (store) => store.canProceed('r', 'user'),
        record: (store) => store.record('r', 'user'),
        getStatus: (store) => store.getStatus('r'),
        reset: (store) => store.reset('r'),
        getWaitTime: (store) => store.getWaitTime('r', 'user'),
        getStats: (store) => store.getStats(),
        clear: (store) => store.clear(),
      },
      uncheckedBefore: { cleanup: (store) => store.cleanup() },
    });
  });

  describe('a file', () => {
    shared('keeps requests and activity from one store to the next', async () => {
      const store = open();
      await record(store, 'user', 10);
      await store.close();
      clock.set(START + MINUTE);
      const next = open();
      expect(await next.getStatus('r')).toMatchObject({
        remaining: 190,
        adaptive: { userReserved: 180, recentUserActivity: 10 },
      });
    });

    sharedFixed('keeps activity longer than a short window', async () => {
      const options = { defaultConfig: { limit: 20, windowMs: 1_000 } };
      const store = open(options);
      await record(store, 'user', 10);
      clock.set(START + MINUTE);
      expect(await store.getStatus('r')).toMatchObject({
        remaining: 20,
        adaptive: { recentUserActivity: 10 },
      });
      await store.cleanup();
      await store.close();
      const next = open(options);
      expect(await next.getStatus('r')).toMatchObject({
        remaining: 20,
        adaptive: { userReserved: 18, recentUserActivity: 10 },
      });
    });
  });
};
