'use strict';
// What SQLiteDedupeStore promises. Claims are turned off where they are not the subject, as 0.2.0 has none.

const { inspect } = require('node:util');
const { notNames, unserializable, values } = require('../support/values.cjs');
const endContract = require('./end.cjs');

/** @param {import('../support/harness.cjs').Harness} harness */
module.exports = function dedupeContract(harness) {
  const {
    describe,
    it,
    fixed,
    ours,
    near,
    shared,
    sharedFixed,
    sharedOurs,
    expect,
    clock,
    START,
    Store,
    outcomeOf,
    stateOf,
    turn,
  } = harness;
  const destroyed = 'Dedupe store has been destroyed';
  const pending = { status: 'pending' };
  const nothing = { status: 'resolved', value: undefined };

  /** @param {Record<string, unknown>} [options] */
  const open = (options) => harness.open({ claimTimeoutMs: 0, ...options });
  /** @param {() => unknown} make */
  const thrownBy = (make) => {
    try {
      make();
    } catch (error) {
      return /** @type {Error} */ (error);
    }
    throw new Error('nothing was thrown');
  };

  harness.isolate();

  describe('a job', () => {
    it('is registered once while it is pending', async () => {
      const store = open();
      const id = await store.register('job');
      expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect(await store.register('job')).toBe(id);
      expect(await store.register('other')).not.toBe(id);
      expect(await store.isInProgress('job')).toBe(true);
      expect(await store.isInProgress('absent')).toBe(false);
    });

    it('has no result while it is pending', async () => {
      const store = open();
      await store.register('job');
      expect(await store.getResult('job')).toBeUndefined();
      expect(await store.getResult('absent')).toBeUndefined();
    });

    it('is over when completed', async () => {
      const store = open();
      const id = await store.register('job');
      expect(await store.complete('job', { done: true })).toBeUndefined();
      expect(await store.isInProgress('job')).toBe(false);
      expect(await store.getResult('job')).toStrictEqual({ done: true });
      expect(await store.waitFor('job')).toStrictEqual({ done: true });
      expect(await store.register('job')).not.toBe(id);
      expect(await store.isInProgress('job')).toBe(true);
      expect(await store.getResult('job')).toBeUndefined();
    });

    it('is over when failed', async () => {
      const store = open();
      const id = await store.register('job');
      expect(await store.fail('job', new Error('no'))).toBeUndefined();
      expect(await store.isInProgress('job')).toBe(false);
      expect(await store.getResult('job')).toBeUndefined();
      expect(await store.waitFor('job')).toBeUndefined();
      expect(await store.register('job')).not.toBe(id);
      expect(await store.isInProgress('job')).toBe(true);
    });

    it('keeps its first result', async () => {
      const store = open();
      await store.register('job');
      await store.complete('job', 'first');
      await store.complete('job', 'second');
      expect(await store.getResult('job')).toBe('first');
    });

    it('that nobody registered cannot end', async () => {
      const store = open();
      await store.complete('job', 1);
      await store.fail('job', new Error('no'));
      expect((await store.getStats()).totalJobs).toBe(0);
      expect(await store.getResult('job')).toBeUndefined();
    });

    fixed('registered again starts anew', async () => {
      const store = open({ jobTimeoutMs: 1_000 });
      await store.register('job');
      await store.complete('job', 'old');
      clock.set(START + 900);
      await store.register('job');
      clock.set(START + 1_899);
      expect(await store.isInProgress('job')).toBe(true);
      await store.complete('job', undefined);
      expect(await store.getResult('job')).toBeUndefined();
      expect((await store.getStats()).completedJobs).toBe(1);
    });

    for (const hash of notNames) {
      fixed(`is named by a string, not ${inspect(hash)}`, async () => {
        const store = open();
        const calls = [
          () => store.waitFor(hash),
          () => store.register(hash),
          () => store.complete(hash, 1),
          () => store.fail(hash, new Error('no')),
          () => store.isInProgress(hash),
          () => store.getResult(hash),
        ];
        for (const call of calls) {
          const promise = call();
          expect(promise).toBeInstanceOf(Promise);
          const error = await promise.catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^hash must be .+, got ./);
        }
      });
    }
  });

  describe('results', () => {
    for (const { name, value, expected } of values) {
      it(`come back from ${name}`, async () => {
        const store = open();
        await store.register('job');
        await store.complete('job', value);
        expect(await store.getResult('job')).toStrictEqual(expected);
        // A job completed with null reads as null, but a later waitFor cannot tell it from no job.
        expect(await store.waitFor('job')).toStrictEqual(value === null ? undefined : expected);
      });
    }

    it('belong to the realm of the caller', async () => {
      const store = open();
      await store.register('job');
      await store.complete('job', { list: [1] });
      for (const result of [await store.getResult('job'), await store.waitFor('job')]) {
        expect(result).toBeInstanceOf(Object);
        expect(result.list).toBeInstanceOf(Array);
      }
    });

    for (const { name, value, reason } of unserializable) {
      it(`refuse ${name} and leave the job pending`, async () => {
        const store = open();
        await store.register('job');
        const waiter = store.waitFor('job');
        const error = await store.complete('job', value).catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(Error);
        expect(error.name).toBe('Error');
        expect(error.message.startsWith(`Failed to serialize result: ${reason}`)).toBe(true);
        expect(await store.isInProgress('job')).toBe(true);
        expect(await stateOf(waiter)).toStrictEqual(pending);
      });
    }

    fixed('are served to waiters for a second', async () => {
      const store = open();
      await store.register('job');
      clock.set(START + 5_000);
      await store.complete('job', 'result');
      clock.set(START + 5_999);
      expect(await store.waitFor('job')).toBe('result');
      clock.set(START + 6_001);
      expect(await store.waitFor('job')).toBeUndefined();
    });

    it('can be looked up until the job timeout', async () => {
      const store = open({ jobTimeoutMs: 60_000 });
      await store.register('job');
      clock.set(START + 5_000);
      await store.complete('job', 'result');
      clock.set(START + 60_000);
      expect(await store.getResult('job')).toBe('result');
      clock.set(START + 60_001);
      expect(await store.getResult('job')).toBeUndefined();
      expect((await store.getStats()).totalJobs).toBe(0);
    });

    fixed('are served for resultTtlMs', async () => {
      const store = open({ resultTtlMs: 500 });
      await store.register('job');
      await store.complete('job', 'result');
      clock.set(START + 499);
      expect(await store.waitFor('job')).toBe('result');
      clock.set(START + 501);
      expect(await store.waitFor('job')).toBeUndefined();
    });

    fixed('are never served longer than the job timeout', async () => {
      const store = open({ jobTimeoutMs: 1_000, resultTtlMs: 60_000, cleanupIntervalMs: 0 });
      await store.register('job');
      await store.complete('job', 'result');
      clock.set(START + 999);
      expect(await store.waitFor('job')).toBe('result');
      clock.set(START + 1_001);
      expect(await store.waitFor('job')).toBeUndefined();
    });
  });

  describe('waiters', () => {
    it('get undefined at once without a job', async () => {
      expect(await outcomeOf(open().waitFor('absent'))).toStrictEqual(nothing);
    });

    for (const value of [{ a: [1] }, 'text', 0, false, null, undefined]) {
      it(`get the result ${JSON.stringify(value)}, all of them`, async () => {
        const store = open();
        await store.register('job');
        const waiters = [];
        for (let i = 0; i < 3; i++) {
          waiters.push(store.waitFor('job'));
          expect(waiters[i]).toBeInstanceOf(Promise);
          expect(await stateOf(waiters[i])).toStrictEqual(pending);
        }
        await store.complete('job', value);
        expect(await Promise.all(waiters)).toStrictEqual([value, value, value]);
      });
    }

    fixed('get values of their own, as they are stored', async () => {
      const store = open();
      await store.register('job');
      const waiters = [];
      for (let i = 0; i < 2; i++) {
        waiters.push(store.waitFor('job'));
        expect(await stateOf(waiters[i])).toStrictEqual(pending);
      }
      await store.complete('job', { at: new Date(START), none: undefined });
      const [one, other] = await Promise.all(waiters);
      expect(one).toStrictEqual({ at: new Date(START).toJSON() });
      expect(other).toStrictEqual(one);
      expect(other).not.toBe(one);
    });

    sharedOurs('get null in any store, and who comes later does not', async () => {
      const [owner, other] = [open(), open()];
      await owner.register('job');
      const waiters = [owner.waitFor('job'), other.waitFor('job')];
      for (const waiter of waiters) expect(await stateOf(waiter)).toStrictEqual(pending);
      await owner.complete('job', null);
      for (const waiter of waiters)
        expect(await outcomeOf(waiter)).toStrictEqual({ status: 'resolved', value: null });
      expect(await outcomeOf(other.waitFor('job'))).toStrictEqual(nothing);
    });

    it('get the error of a failed job, all of them', async () => {
      const store = open();
      await store.register('job');
      const error = new RangeError('upstream');
      const waiters = [];
      for (let i = 0; i < 2; i++) {
        waiters.push(store.waitFor('job').catch((/** @type {unknown} */ e) => e));
        await turn();
      }
      await store.fail('job', error);
      expect(await Promise.all(waiters)).toStrictEqual([error, error]);
      expect(await waiters[0]).toBe(error);
      expect(await waiters[0]).toBeInstanceOf(Error);
    });

    fixed('that came in one stretch are all served', async () => {
      const store = open();
      await store.register('job');
      const waiters = [store.waitFor('job'), store.waitFor('job'), store.waitFor('job')];
      await turn();
      await store.complete('job', 'result');
      for (const waiter of waiters)
        expect(await outcomeOf(waiter)).toStrictEqual({ status: 'resolved', value: 'result' });
    });

    it('of one job do not see another', async () => {
      const store = open();
      await store.register('a');
      await store.register('b');
      const [a, b] = [store.waitFor('a'), store.waitFor('b')];
      await turn();
      await store.complete('b', 'b');
      expect(await outcomeOf(b)).toStrictEqual({ status: 'resolved', value: 'b' });
      expect(await stateOf(a)).toStrictEqual(pending);
    });

    it('get undefined when the job times out', async () => {
      const store = open({ jobTimeoutMs: 1_000 });
      await store.register('job');
      const waiter = store.waitFor('job');
      await turn();
      await clock.advanceAsync(999);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await clock.advanceAsync(1);
      expect(await outcomeOf(waiter)).toStrictEqual(nothing);
      expect(await store.isInProgress('job')).toBe(false);
    });

    fixed('make the request one at a time when the job times out', async () => {
      // Claims are in real time, of which a busy machine takes more.
      const store = open({ jobTimeoutMs: 1_000, claimTimeoutMs: 60_000 });
      await store.register('job');
      /** @type {number[]} */
      const told = [];
      const waiters = [];
      for (let index = 0; index < 10; index++) {
        const waiter = store.waitFor('job').then((/** @type {unknown} */ value) => {
          if (value === undefined) told.push(index);
          return value;
        });
        waiters.push(waiter);
        await turn();
      }
      await clock.advanceAsync(1_000);
      await outcomeOf(Promise.any(waiters));
      await stateOf(waiters[told[0] === 0 ? 1 : 0]);
      expect(told).toHaveLength(1);
      await store.register('job');
      await store.complete('job', 'made once');
      waiters.splice(told[0], 1);
      expect(await Promise.all(waiters)).toStrictEqual(
        Array.from({ length: 9 }, () => 'made once'),
      );
    });

    it('get undefined after five minutes by default', async () => {
      const store = open();
      await store.register('job');
      const waiter = store.waitFor('job');
      await turn();
      await clock.advanceAsync(299_999);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await clock.advanceAsync(1);
      expect(await outcomeOf(waiter)).toStrictEqual(nothing);
    });

    fixed('that came late are not kept past the end of the job', async () => {
      const store = open({ jobTimeoutMs: 1_000 });
      await store.register('job');
      await clock.advanceAsync(600);
      const waiter = store.waitFor('job');
      await turn();
      await clock.advanceAsync(399);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await clock.advanceAsync(1);
      expect(await outcomeOf(waiter)).toStrictEqual(nothing);
    });

    fixed('do not wait for a dead job', async () => {
      const store = open({ jobTimeoutMs: 1_000 });
      const id = await store.register('job');
      clock.set(START + 1_000);
      expect(await outcomeOf(store.waitFor('job'))).toStrictEqual(nothing);
      expect(await store.register('job')).not.toBe(id);
    });

    fixed('get undefined on clear', async () => {
      const store = open();
      await store.register('job');
      const waiter = store.waitFor('job');
      await turn();
      await store.clear();
      expect(await outcomeOf(waiter)).toStrictEqual(nothing);
    });

    for (const end of ['close', 'destroy']) {
      fixed(`get undefined on ${end}`, async () => {
        const store = open();
        await store.register('job');
        const waiters = [store.waitFor('job'), store.waitFor('job')];
        await turn();
        await store[end]();
        expect(await outcomeOf(waiters[0])).toStrictEqual(nothing);
        expect(await outcomeOf(waiters[1])).toStrictEqual(nothing);
      });
    }
  });

  describe('timeouts', () => {
    // Longer than a timer can wait.
    for (const days of [30, 1e6]) {
      ours(`may be ${days} days`, async () => {
        const timeout = days * 86_400_000;
        const store = open({ jobTimeoutMs: timeout, resultTtlMs: timeout, cleanupIntervalMs: 0 });
        await store.register('job');
        const waiting = store.waitFor('job');
        await turn();
        await clock.advanceAsync(26 * 86_400_000);
        expect(await stateOf(waiting)).toEqual({ status: 'pending' });
        await clock.advanceAsync(3 * 86_400_000);
        expect(await stateOf(waiting)).toEqual({ status: 'pending' });
        if (days === 30) {
          await clock.advanceAsync(86_400_000);
          expect((await outcomeOf(waiting)).value).toBeUndefined();
        } else {
          await store.complete('job', 'done');
          expect(await waiting).toBe('done');
          clock.advance(timeout - 30 * 86_400_000);
          expect(await store.getResult('job')).toBe('done');
        }
      });
    }

    /**
     * The first whole millisecond at which a job is no longer in progress.
     * @param {Record<string, unknown>} options
     * @param {number} expected
     */
    async function expectTimeout(options, expected) {
      const store = open({ cleanupIntervalMs: 0, ...options });
      await store.register('job');
      clock.set(START + expected - 1);
      expect(await store.isInProgress('job')).toBe(true);
      clock.set(START + expected);
      expect(await store.isInProgress('job')).toBe(false);
      expect((await store.getStats()).totalJobs).toBe(0);
      clock.set(START);
    }

    it('are five minutes by default', () => expectTimeout({}, 300_000));
    it('are jobTimeoutMs', () => expectTimeout({ jobTimeoutMs: 1_234 }, 1_234));
    it('are timeoutMs, its older name', () => expectTimeout({ timeoutMs: 1_234 }, 1_234));
    it('prefer the older name', () =>
      expectTimeout({ timeoutMs: 1_000, jobTimeoutMs: 2_000 }, 1_000));
    it('pass over null', async () => {
      await expectTimeout({ timeoutMs: null, jobTimeoutMs: 2_000 }, 2_000);
      await expectTimeout({ timeoutMs: null, jobTimeoutMs: null }, 300_000);
    });

    near(fixed)('of 0 never come', async () => {
      const store = open({ jobTimeoutMs: 0 });
      await store.register('job');
      await store.register('done');
      await store.complete('done', 1);
      const waiter = store.waitFor('job');
      await clock.advanceAsync(5_000);
      expect(await store.getResult('done')).toBe(1);
      await clock.advanceAsync(86_400_000);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      expect((await store.getStats()).expiredJobs).toBe(0);
      await store.complete('job', 'at last');
      expect(await waiter).toBe('at last');
    });

    fixed('of 0 outlive a cleanup', async () => {
      const store = open({ jobTimeoutMs: 0 });
      await store.register('job');
      clock.set(START + 86_400_000);
      await store.cleanup();
      expect(await store.isInProgress('job')).toBe(true);
    });

    fixed('of 0 have what has ended removed when it is no longer served', async () => {
      const store = open({ jobTimeoutMs: 0, resultTtlMs: 500 });
      for (const job of ['pending', 'done', 'failed']) await store.register(job);
      await store.complete('done', 1);
      await store.fail('failed', new Error('no'));
      clock.set(START + 500);
      await store.cleanup();
      expect((await store.getStats()).totalJobs).toBe(3);
      clock.set(START + 501);
      await store.cleanup();
      expect((await store.getStats()).totalJobs).toBe(1);
      expect(await store.isInProgress('pending')).toBe(true);
    });

    near(it)('of 0 leave waiters waiting', async () => {
      const store = open({ jobTimeoutMs: 0 });
      await store.register('job');
      const waiter = store.waitFor('job');
      await turn();
      await clock.advanceAsync(86_400_000);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await store.complete('job', 'at last');
      expect(await waiter).toBe('at last');
    });

    fixed('of Infinity and of more than a timer can hold do not come early', async () => {
      for (const jobTimeoutMs of [2 ** 31, Number.POSITIVE_INFINITY]) {
        const store = open({ jobTimeoutMs });
        await store.register(`job ${jobTimeoutMs}`);
        const waiter = store.waitFor(`job ${jobTimeoutMs}`);
        await turn();
        await clock.advanceAsync(3_600_000);
        expect(await stateOf(waiter)).toStrictEqual(pending);
        expect(await store.isInProgress(`job ${jobTimeoutMs}`)).toBe(true);
      }
    });
  });

  describe('ending a job', () => {
    sharedFixed('does not touch the newer job of another store, however often', async () => {
      const [slow, next] = [open({ jobTimeoutMs: 1_000 }), open({ jobTimeoutMs: 1_000 })];
      await slow.register('job');
      clock.set(START + 1_001);
      await next.register('job');
      const waiter = next.waitFor('job');
      await turn();
      await slow.complete('job', 'stale');
      await slow.fail('job', new Error('stale'));
      expect(await next.isInProgress('job')).toBe(true);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await next.complete('job', 'fresh');
      expect(await waiter).toBe('fresh');
      expect(await slow.getResult('job')).toBe('fresh');
    });

    sharedFixed('by its timeout does not touch a newer one', async () => {
      const [slow, next] = [open({ jobTimeoutMs: 1_000 }), open({ jobTimeoutMs: 1_000 })];
      await slow.register('job');
      const waiter = slow.waitFor('job');
      await turn();
      await clock.advanceAsync(500);
      await next.complete('job', 'helped');
      // 0.2.0's does not hear of it.
      await stateOf(waiter);
      await next.register('job');
      await clock.advanceAsync(999);
      expect(await next.getStats()).toMatchObject({ pendingJobs: 1, failedJobs: 0 });
    });

    shared('is open to a store that registered none', async () => {
      const [owner, helper] = [open(), open()];
      await owner.register('job');
      await helper.complete('job', 'helped');
      expect(await owner.isInProgress('job')).toBe(false);
      expect(await owner.getResult('job')).toBe('helped');
    });

    sharedFixed('of a job that is over is left to its owner', async () => {
      const [owner, helper] = [open(), open()];
      await owner.register('job');
      await owner.complete('job', 'result');
      await helper.fail('job', new Error('no'));
      expect(await owner.getResult('job')).toBe('result');
    });
  });

  describe('stats', () => {
    it('count jobs by state', async () => {
      const store = open({ jobTimeoutMs: 1_000, cleanupIntervalMs: 0 });
      for (const job of ['a', 'b', 'c', 'd', 'e', 'f']) await store.register(job);
      await store.complete('a', 1);
      await store.complete('b', undefined);
      await store.fail('c', new Error('no'));
      const stats = await store.getStats();
      expect(stats).toBeInstanceOf(Object);
      expect(stats).toStrictEqual({
        totalJobs: 6,
        pendingJobs: 3,
        completedJobs: 2,
        failedJobs: 1,
        expiredJobs: 0,
      });
      clock.set(START + 1_000);
      expect(await store.getStats()).toMatchObject({ totalJobs: 6, expiredJobs: 0 });
      clock.set(START + 1_001);
      expect(await store.getStats()).toMatchObject({ totalJobs: 6, expiredJobs: 6 });
    });
  });

  describe('cleanup', () => {
    it('removes jobs past their timeout, whatever their state', async () => {
      const store = open({ jobTimeoutMs: 1_000, cleanupIntervalMs: 0 });
      for (const job of ['a', 'b', 'c']) await store.register(job);
      await store.complete('a', 1);
      await store.fail('b', new Error('no'));
      clock.set(START + 999);
      await store.register('d');
      await store.cleanup();
      expect((await store.getStats()).totalJobs).toBe(4);
      clock.set(START + 1_001);
      expect(await store.cleanup()).toBeUndefined();
      expect(await store.getStats()).toMatchObject({ totalJobs: 1, pendingJobs: 1 });
    });

    it('runs every minute by default', async () => {
      const store = open({ jobTimeoutMs: 10_000 });
      await store.register('job');
      await clock.advanceAsync(59_999);
      expect((await store.getStats()).totalJobs).toBe(1);
      await clock.advanceAsync(1);
      expect((await store.getStats()).totalJobs).toBe(0);
    });

    it('runs every cleanupIntervalMs', async () => {
      const store = open({ jobTimeoutMs: 10_000, cleanupIntervalMs: 4_000 });
      await store.register('job');
      await clock.advanceAsync(11_999);
      expect((await store.getStats()).totalJobs).toBe(1);
      await clock.advanceAsync(1);
      expect((await store.getStats()).totalJobs).toBe(0);
    });

    fixed('removes finished jobs, too', async () => {
      const store = open({ jobTimeoutMs: 10_000, cleanupIntervalMs: 4_000 });
      await store.register('a');
      await store.complete('a', 1);
      await store.register('b');
      await store.fail('b', new Error('no'));
      await clock.advanceAsync(12_000);
      expect((await store.getStats()).totalJobs).toBe(0);
    });

    it('with an interval of 0 does not run', async () => {
      const store = open({ jobTimeoutMs: 1_000, cleanupIntervalMs: 0 });
      await store.register('job');
      await clock.advanceAsync(3_600_000);
      expect((await store.getStats()).totalJobs).toBe(1);
    });

    it('clear removes all jobs', async () => {
      const store = open();
      const id = await store.register('a');
      await store.register('b');
      await store.complete('b', 1);
      expect(await store.clear()).toBeUndefined();
      expect((await store.getStats()).totalJobs).toBe(0);
      expect(await store.isInProgress('a')).toBe(false);
      expect(await store.register('a')).not.toBe(id);
    });
  });

  describe('claims', () => {
    fixed('make the second waiter wait for the job of the first', async () => {
      const store = harness.open();
      expect(await outcomeOf(store.waitFor('job'))).toStrictEqual(nothing);
      const second = store.waitFor('job');
      expect(await stateOf(second)).toStrictEqual(pending);
      await store.register('job');
      expect(await stateOf(second)).toStrictEqual(pending);
      await store.complete('job', 'shared');
      expect(await second).toBe('shared');
    });

    fixed('pass to the next waiter when they run out', async () => {
      const store = harness.open({ claimTimeoutMs: 500 });
      expect(await store.waitFor('job')).toBeUndefined();
      const [second, third] = [store.waitFor('job'), store.waitFor('job')];
      expect(await stateOf(second)).toStrictEqual(pending);
      expect(await second).toBeUndefined();
      await store.register('job');
      expect(await stateOf(third)).toStrictEqual(pending);
      await store.complete('job', 'shared');
      expect(await third).toBe('shared');
    });

    fixed('are kept while the event loop is busy', async () => {
      const block = (/** @type {number} */ ms) =>
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      const store = harness.open({ claimTimeoutMs: 1_000 });
      expect(await store.waitFor('job')).toBeUndefined();
      const second = store.waitFor('job');
      block(1_500);
      // The loop turns a few times only, however slow the machine.
      expect(await stateOf(second)).toStrictEqual(pending);
      await store.register('job');
      await store.complete('job', 'shared');
      expect(await second).toBe('shared');
    });

    fixed('pass on after complete or fail without register', async () => {
      const store = harness.open({ claimTimeoutMs: 100 });
      expect(await store.waitFor('job')).toBeUndefined();
      await store.complete('job', 'of nobody');
      const second = store.waitFor('job');
      expect(await stateOf(second)).toStrictEqual(pending);
      expect(await outcomeOf(second)).toStrictEqual(nothing);
      await store.fail('job', new Error('of nobody'));
      expect(await outcomeOf(store.waitFor('job'))).toStrictEqual(nothing);
    });

    fixed('let identical requests at once make one upstream call', async () => {
      const store = harness.open();
      let upstream = 0;
      async function request() {
        const shared = await store.waitFor('job');
        if (shared !== undefined) return shared;
        await store.register('job');
        await turn();
        const result = `call ${++upstream}`;
        await store.complete('job', result);
        return result;
      }
      expect(await Promise.all(Array.from({ length: 20 }, request))).toStrictEqual(
        Array(20).fill('call 1'),
      );
      expect(upstream).toBe(1);
    });

    fixed('end with the store', async () => {
      const store = harness.open({ claimTimeoutMs: 60_000 });
      expect(await store.waitFor('job')).toBeUndefined();
      const second = store.waitFor('job');
      expect(await stateOf(second)).toStrictEqual(pending);
      await store.close();
      expect(await outcomeOf(second)).toStrictEqual(nothing);
    });

    it('are off at 0', async () => {
      const store = open();
      for (let i = 0; i < 3; i++)
        expect(await outcomeOf(store.waitFor('job'))).toStrictEqual(nothing);
    });
  });

  describe('waiting that ends early', () => {
    const { getEventListeners } = require('node:events');
    const claimed = { claimTimeoutMs: 60_000 };
    /** @param {AbortSignal} signal */
    const listeners = (signal) => getEventListeners(signal, 'abort').length;
    const reason = new RangeError('no longer needed');
    const rejected = { status: 'rejected', value: reason };

    ours('rejects with the reason of a signal, and the others go on', async () => {
      const store = open();
      await store.register('job');
      const { signal, abort } = controller();
      const waiters = [store.waitFor('job', { signal }), store.waitFor('job')];
      for (const waiter of waiters) expect(await stateOf(waiter)).toStrictEqual(pending);
      expect(listeners(signal)).toBe(1);
      abort();
      expect(await outcomeOf(waiters[0])).toMatchObject(rejected);
      expect(listeners(signal)).toBe(0);
      expect(await stateOf(waiters[1])).toStrictEqual(pending);
      await store.complete('job', 'result');
      expect(await waiters[1]).toBe('result');
    });

    ours('does not begin with a signal that has been aborted', async () => {
      const store = harness.open(claimed);
      const { signal, abort } = controller();
      abort();
      expect(await outcomeOf(store.waitFor('job', { signal }))).toMatchObject(rejected);
      expect(listeners(signal)).toBe(0);
      expect(await outcomeOf(store.waitFor('job'))).toStrictEqual(nothing);
    });

    ours('passes a claim on that was just given', async () => {
      const store = harness.open(claimed);
      for (const turns of [0, 1]) {
        const { signal, abort } = controller();
        const first = store.waitFor(`job ${turns}`, { signal });
        first.catch(() => {});
        const second = store.waitFor(`job ${turns}`);
        if (turns) await null;
        abort();
        const { status } = await outcomeOf(first);
        // Later it may have been told first, and the claim is its own.
        if (!turns) expect(status).toBe('rejected');
        if (status === 'rejected') expect(await outcomeOf(second)).toStrictEqual(nothing);
      }
    });

    ours('passes its place on', async () => {
      const store = harness.open({ claimTimeoutMs: 300 });
      expect(await store.waitFor('job')).toBeUndefined();
      const { signal, abort } = controller();
      const [second, third] = [store.waitFor('job', { signal }), store.waitFor('job')];
      expect(await stateOf(second)).toStrictEqual(pending);
      abort();
      expect(await outcomeOf(second)).toMatchObject(rejected);
      expect(await outcomeOf(third)).toStrictEqual(nothing);
    });

    ours('resolves to undefined when maxWaitMs is over, without a claim', async () => {
      const store = harness.open(claimed);
      await store.register('job');
      const waiter = store.waitFor('job', { maxWaitMs: 500 });
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await clock.advanceAsync(499);
      expect(await stateOf(waiter)).toStrictEqual(pending);
      await clock.advanceAsync(1);
      expect(await outcomeOf(waiter)).toStrictEqual(nothing);
      expect(await store.isInProgress('job')).toBe(true);
      await store.fail('job', new Error('failed'));
      // Nobody holds a claim.
      expect(await outcomeOf(store.waitFor('job'))).toStrictEqual(nothing);
    });

    ours('leaves no listener and no timer when the job ends', async () => {
      const store = open();
      for (const end of ['complete', 'fail', 'close']) {
        if (end !== 'close') await store.register(end);
        else await store.register('job');
        const { signal } = controller();
        const waiter = store.waitFor(end === 'close' ? 'job' : end, { signal, maxWaitMs: 1_000 });
        expect(await stateOf(waiter)).toStrictEqual(pending);
        if (end === 'close') await store.close();
        else await store[end](end, new Error('failed'));
        expect((await outcomeOf(waiter)).status).not.toBe('pending');
        expect(listeners(signal)).toBe(0);
        await clock.advanceAsync(1_000);
      }
    });

    ours('waits for ever beyond what a timer can be set to', async () => {
      const store = open();
      await store.register('job');
      const waiters = [2 ** 31, Number.POSITIVE_INFINITY].map((maxWaitMs) =>
        store.waitFor('job', { maxWaitMs, signal: undefined }),
      );
      await clock.advanceAsync(10);
      for (const waiter of waiters) expect(await stateOf(waiter)).toStrictEqual(pending);
      await store.complete('job', 1);
      expect(await Promise.all(waiters)).toStrictEqual([1, 1]);
    });

    ours('refuses what it cannot be told by', async () => {
      const store = harness.open(claimed);
      for (const [options, name] of /** @type {[any, string][]} */ ([
        ...[null, 5, {}, { aborted: false }].map((signal) => [{ signal }, 'signal']),
        ...[null, -1, Number.NaN, '5', 1n].map((maxWaitMs) => [{ maxWaitMs }, 'maxWaitMs']),
      ])) {
        const { status, value: error } = await outcomeOf(store.waitFor('job', options));
        expect(status).toBe('rejected');
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(new RegExp(`^${name} must be .+, got .`));
      }
      for (const options of [{}, null, 5, 'signal', true]) {
        const hash = `with ${String(options)}`;
        expect(await outcomeOf(store.waitFor(hash, options))).toStrictEqual(nothing);
      }
    });

    function controller() {
      const made = new AbortController();
      return { signal: made.signal, abort: () => made.abort(reason) };
    }
  });

  describe('what is called off', () => {
    const open = (/** @type {object} */ options) =>
      harness.open({ claimTimeoutMs: 250, ...options });
    const errorNamed = (/** @type {string} */ name) => Object.assign(new Error('gone'), { name });
    for (const name of ['AbortError', 'CanceledError']) {
      ours(`has one waiter make the request, and the others wait for that: ${name}`, async () => {
        const store = open({});
        await store.register('job');
        const [first, second, third] = [1, 2, 3].map(() => store.waitFor('job'));
        await store.fail('job', errorNamed(name));
        expect(await first).toBeUndefined();
        expect((await stateOf(second)).status).toBe('pending');
        await store.register('job');
        await store.fail('job', errorNamed(name));
        expect(await second).toBeUndefined();
        expect((await stateOf(third)).status).toBe('pending');
        await store.register('job');
        await store.complete('job', 'done');
        expect(await third).toBe('done');
      });
    }

    ours('rejects whoever waits where the error is of another name', async () => {
      const store = open({});
      for (const name of ['TimeoutError', 'Error', 'aborterror', '']) {
        await store.register('job');
        const waiter = store.waitFor('job');
        waiter.catch(() => {});
        const error = errorNamed(name);
        await store.fail('job', error);
        expect(await waiter.catch((/** @type {unknown} */ e) => e)).toBe(error);
      }
    });

    ours('is so for the error of a signal', async () => {
      const store = open({});
      await store.register('job');
      const waiter = store.waitFor('job');
      await store.fail('job', AbortSignal.abort().reason);
      expect(await waiter).toBeUndefined();
    });

    for (const error of ['AbortError', undefined, null, 5, { reason: 1 }]) {
      ours(`is no error, or one of its own: ${inspect(error)}`, async () => {
        const store = open({});
        await store.register('job');
        const waiter = store.waitFor('job');
        waiter.catch(() => {});
        await store.fail('job', error);
        const told = await waiter.then(
          () => 'resolved',
          (/** @type {unknown} */ reason) => [reason],
        );
        expect(told).toEqual([error]);
        expect(told[0]).toBe(error);
      });
    }

    sharedOurs('keeps the names of errors from store to store', async () => {
      const [one, other] = [open({}), open({})];
      await one.register('job');
      const waiter = other.waitFor('job');
      waiter.catch(() => {});
      await one.fail('job', errorNamed('TimeoutError'));
      const error = await waiter.catch((/** @type {unknown} */ e) => e);
      expect(error).toBeInstanceOf(Error);
      expect([error.name, error.message]).toEqual(['TimeoutError', 'gone']);
      await one.register('job');
      const next = other.waitFor('job');
      await one.fail('job', errorNamed('AbortError'));
      expect(await next).toBeUndefined();
    });
  });

  describe('clear of a scope', () => {
    ours('removes what begins with it, and tells who waits', async () => {
      const store = open();
      const names = ['a:1', 'a:2', 'A:1', 'a%', 'b', 'é:1'];
      for (const name of names) await store.register(name);
      const waiters = names.map((name) => store.waitFor(name));
      expect(await store.clear('a:')).toBeUndefined();
      expect(await Promise.all(waiters.slice(0, 2))).toEqual([undefined, undefined]);
      for (const waiter of waiters.slice(2)) expect((await stateOf(waiter)).status).toBe('pending');
      const left = (await store.listJobs()).map((/** @type {any} */ { hash }) => hash);
      expect(left.sort()).toEqual(['A:1', 'a%', 'b', 'é:1'].sort());
      await store.clear('é');
      await store.clear('%');
      expect(await store.listJobs()).toHaveLength(3);
      await store.clear('');
      expect(await store.listJobs()).toEqual([]);
    });

    ours('spares what is registered next', async () => {
      const store = open();
      await store.register('a:1');
      const [, id] = await Promise.all([store.clear('a:'), store.register('a:1')]);
      await store.complete('a:1', 1);
      expect(await store.getResult('a:1')).toBe(1);
      expect(await store.listJobs()).toEqual([expect.objectContaining({ jobId: id })]);
    });

    ours('is named by a string', async () => {
      const error = await open()
        .clear(5)
        .catch((/** @type {unknown} */ e) => e);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe('scope must be a string, got 5');
    });
  });

  describe('a list', () => {
    ours('has the jobs, the newest first, and whether their owners live', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      const first = await store.register('first');
      await store.complete('first', 1);
      clock.set(START + 1_000);
      const second = await store.register('second');
      const third = await store.register('third');
      await store.fail('third', new Error('failed'));
      const jobs = [
        {
          hash: 'second',
          jobId: second,
          status: 'pending',
          createdAt: START + 1_000,
          ownerAlive: true,
        },
        {
          hash: 'third',
          jobId: third,
          status: 'failed',
          createdAt: START + 1_000,
          ownerAlive: false,
        },
        {
          hash: 'first',
          jobId: first,
          status: 'completed',
          createdAt: START,
          ownerAlive: false,
        },
      ];
      expect(await store.listJobs()).toStrictEqual(jobs);
      expect(await store.listJobs(1, 1)).toStrictEqual([jobs[1]]);
      expect(await store.listJobs(3)).toStrictEqual([]);
    });

    sharedOurs('knows of an owner that has ended', async () => {
      const [one, other] = [open(), open()];
      await one.register('job');
      expect((await other.listJobs())[0].ownerAlive).toBe(true);
      await one.close();
      expect(await other.listJobs()).toEqual([
        expect.objectContaining({ hash: 'job', status: 'pending', ownerAlive: false }),
      ]);
    });

    ours('begins and ends by whole numbers', async () => {
      for (const [offset, limit] of [
        [-1, 1],
        [0, 0.5],
        ['0', 1],
      ]) {
        const error = await open()
          .listJobs(offset, limit)
          .catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(TypeError);
      }
    });
  });

  describe('calls that are not awaited', () => {
    fixed('take effect in their order, however large', async () => {
      const store = open();
      const jobs = Array.from({ length: 20 }, (_, n) => ({ hash: `job ${n}`, n }));
      await Promise.all(jobs.map(({ hash }) => store.register(hash)));
      const waited = store.waitFor('job 19');
      const result = (/** @type {number} */ n) => ({ n, text: 'é'.repeat(300_000) });
      const ended = jobs.map(({ hash, n }) => store.complete(hash, result(n)));
      const results = jobs.map(({ hash }) => store.getResult(hash));
      const id = store.register('job 0');
      expect(await Promise.all(results)).toStrictEqual(jobs.map(({ n }) => result(n)));
      expect(await waited).toStrictEqual(result(19));
      expect(await store.isInProgress('job 0')).toBe(true);
      expect(await store.register('job 0')).toBe(await id);
      await Promise.all(ended);
    });

    fixed('take effect in their order', async () => {
      const store = open();
      const [, id, again, busy, waited, , over, result, next, stats] = await Promise.all([
        store.fail('job', new Error('too early')),
        store.register('job'),
        store.register('job'),
        store.isInProgress('job'),
        store.waitFor('job'),
        store.complete('job', 'done'),
        store.isInProgress('job'),
        store.getResult('job'),
        store.register('job'),
        store.getStats(),
      ]);
      expect(again).toBe(id);
      expect(next).not.toBe(id);
      expect([busy, waited, over, result]).toStrictEqual([true, 'done', false, 'done']);
      expect(stats).toMatchObject({
        totalJobs: 1,
        pendingJobs: 1,
        completedJobs: 0,
        failedJobs: 0,
      });
    });

    fixed('end the job that was registered last', async () => {
      const store = open();
      await store.register('job');
      await Promise.all([
        store.complete('job', 'first'),
        store.register('job'),
        store.fail('job', new Error('no')),
      ]);
      expect(await store.getStats()).toMatchObject({ totalJobs: 1, pendingJobs: 0, failedJobs: 1 });
      expect(await store.getResult('job')).toBeUndefined();
    });
  });

  describe('the constructor', () => {
    it('needs no options', async () => {
      const [one, other] = [new Store(), new Store({})];
      await one.register('job');
      expect(await one.isInProgress('job')).toBe(true);
      expect(await other.isInProgress('job')).toBe(false);
      one.destroy();
      other.destroy();
    });

    for (const option of [
      'jobTimeoutMs',
      'timeoutMs',
      'cleanupIntervalMs',
      'claimTimeoutMs',
      'resultTtlMs',
      'pollIntervalMs',
    ]) {
      for (const value of [Number.NaN, -1, '5', true, {}, 1n]) {
        fixed(`refuses ${option}: ${String(value)} (${typeof value})`, () => {
          const error = thrownBy(() => open({ [option]: value }));
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(new RegExp(`^${option} must be .+, got .`));
        });
      }
    }

    fixed('refuses a database that is none', () => {
      const error = thrownBy(() => open({ database: 42 }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^database must be .+, got ./);
    });

    it('refuses a path in a directory that does not exist', () => {
      const error = thrownBy(() => open({ database: harness.pathOf('absent/stores.db') }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^Cannot open database because the directory does not exist\b/);
    });
  });

  describe('methods', () => {
    it('return promises', async () => {
      const store = open();
      await harness.expectPromises([
        store.register('job'),
        store.isInProgress('job'),
        store.waitFor('absent'),
        store.complete('job', 1),
        store.fail('job', new Error('no')),
        store.getResult('job'),
        store.getStats(),
        store.cleanup(),
        store.clear(),
        store.close(),
      ]);
    });
  });

  describe('after close', () => {
    endContract(harness, {
      open,
      destroyed,
      checked: {
        waitFor: (store) => store.waitFor('job'),
        register: (store) => store.register('job'),
        complete: (store) => store.complete('job', 1),
        fail: (store) => store.fail('job', new Error('no')),
        isInProgress: (store) => store.isInProgress('job'),
      },
      uncheckedBefore: {
        getResult: (store) => store.getResult('job'),
        getStats: (store) => store.getStats(),
        cleanup: (store) => store.cleanup(),
        clear: (store) => store.clear(),
        listJobs: (store) => store.listJobs(),
      },
    });
  });

  describe('a file', () => {
    shared('keeps jobs from one store to the next', async () => {
      const store = open();
      await store.register('open');
      await store.register('done');
      await store.complete('done', [1]);
      await store.close();
      const next = open();
      expect(await next.getStats()).toMatchObject({ pendingJobs: 1, completedJobs: 1 });
      expect(await next.getResult('done')).toStrictEqual([1]);
      expect(await next.waitFor('done')).toStrictEqual([1]);
    });

    sharedFixed('passes the jobs of a store that ends on at once', async () => {
      for (const end of ['close', 'destroy']) {
        const store = open();
        const id = await store.register('job');
        await store[end]();
        const next = open();
        expect(await next.isInProgress('job')).toBe(false);
        expect(await next.waitFor('job')).toBeUndefined();
        expect(await next.register('job')).not.toBe(id);
        await next.clear();
      }
    });

    shared('lets a store end what an earlier one began', async () => {
      const store = open();
      await store.register('job');
      await store.close();
      const next = open();
      await next.complete('job', 'after all');
      expect(await next.getResult('job')).toBe('after all');
    });
  });
};
