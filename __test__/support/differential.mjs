// Plays one round of calls on two stores under one fake clock and compares them after each step.
import { deepStrictEqual } from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, isDeepStrictEqual } from 'node:util';
import { vi } from 'vitest';

const { START, turn } = createRequire(import.meta.url)('./harness.cjs');
const realNow = process.hrtime.bigint.bind(process.hrtime);

/**
 * @typedef {{ method: string, args: any[] }} Call
 * @typedef {{ status: 'pending' | 'resolved' | 'rejected', value?: any, error?: any, message?: RegExp }} Outcome
 *
 * @typedef {{ calls: Call[] }
 *   | { advance: number }
 *   | { approach: number, by: number }
 *   | { configure: string, config: { limit: number, windowMs: number }, inMap: boolean }
 *   | { end: 'reopen' | 'close' }} Step
 *
 * @typedef {{ options: Record<string, any>, steps: Step[] }} Round
 */

/**
 * @param {Promise<unknown>} promise
 * @returns {Outcome}
 */
function track(promise) {
  /** @type {Outcome} */
  const outcome = { status: 'pending' };
  promise.then(
    (value) => Object.assign(outcome, { status: 'resolved', value }),
    (error) => Object.assign(outcome, { status: 'rejected', error }),
  );
  return outcome;
}

/**
 * Lets the event loop turn for real until something holds; false if it does not within some turns or time.
 * @param {() => boolean} holds
 * @param {{ turns?: number, seconds?: number }} within
 */
async function until(holds, { turns = Number.POSITIVE_INFINITY, seconds }) {
  const end = realNow() + BigInt((seconds ?? 5) * 1e9);
  for (let n = 0; !holds(); n++) {
    if (n >= turns || realNow() > end) return false;
    await turn();
  }
  return true;
}

/** One of the two stores. */
class Side {
  /** @type {any} */
  store;
  /** Job ids are random: they are compared by the order in which they were first seen. @type {Map<string, number>} */
  ids = new Map();

  /** @param {() => any} make */
  constructor(make) {
    this.make = make;
  }

  open() {
    this.store = this.make();
  }

  /** @param {Call} call */
  start({ method, args }) {
    return track(this.store[method](...args));
  }

  /**
   * @param {Call} call
   * @param {Outcome} outcome
   */
  compared({ method }, outcome) {
    if (method !== 'register' || outcome.status !== 'resolved') return outcome;
    if (!this.ids.has(outcome.value)) this.ids.set(outcome.value, this.ids.size);
    return { status: outcome.status, value: `job ${this.ids.get(outcome.value)}` };
  }
}

/**
 * @param {Outcome} expected
 * @param {Outcome} actual
 * @param {Set<unknown>} given  errors passed in, which have to come out as they are
 */
function same(expected, actual, given) {
  if (expected.status !== actual.status) return false;
  if (expected.status !== 'rejected') return isDeepStrictEqual(expected.value, actual.value);
  if (given.has(expected.error)) return expected.error === actual.error;
  const message = actual.error?.message;
  return (
    expected.error?.constructor?.name === actual.error?.constructor?.name &&
    (expected.message ? expected.message.test(message) : expected.error?.message === message)
  );
}

/**
 * @param {object} game
 * @param {new (options?: any) => any} game.Reference
 * @param {new (options?: any) => any} game.Subject
 * @param {(new (context: any) => import('./expected-differences.mjs').Corrected) | undefined} game.Corrected
 *   answers for the reference without its named faults; undefined: as it is
 * @param {'path' | ':memory:'} game.database
 * @param {Round} game.round
 * @param {Map<string, number>} game.tally  how often each correction applied
 * @param {number} [game.seconds]  how long to wait for what should settle
 * @param {boolean} game.bursts  whether the subject gets the calls of a step at once, not one after the other
 * @returns {Promise<number>} the number of calls made
 */
export async function play({
  seconds,
  Reference,
  Subject,
  Corrected,
  database,
  round,
  tally,
  bursts,
}) {
  const directory = database === 'path' ? mkdtempSync(join(tmpdir(), 'differential-')) : '';
  vi.useFakeTimers({ now: START });
  /** Each side has its own live map of configurations. @type {Map<string, any>[]} */
  const maps = [];
  const sideOf = (/** @type {new (options?: any) => any} */ Store, /** @type {string} */ name) => {
    const { resourceConfigs, ...rest } = round.options;
    const map = new Map(resourceConfigs);
    if (resourceConfigs) maps.push(map);
    const options = {
      ...rest,
      database: directory ? join(directory, name) : database,
      ...(resourceConfigs && { resourceConfigs: map }),
    };
    return new Side(() => new Store(options));
  };
  const [reference, subject] = [sideOf(Reference, 'reference.db'), sideOf(Subject, 'subject.db')];
  /** @type {string[]} */
  const history = [];
  /** @type {{ call: Call, expected: Outcome, actual: Outcome }[]} */
  let waiting = [];
  /** @type {Set<unknown>} */
  const given = new Set();
  /** Moments at which something happens to what was called before. @type {number[]} */
  let moments = [];
  let calls = 0;
  // No more than some hundred runs of the cleanup interval in one step.
  const reach = 200 * (round.options.cleanupIntervalMs || 60_000);

  /** @type {import('./expected-differences.mjs').Corrected | undefined} */
  let corrected;
  /** What setResourceConfig was told: a new store need not know it. @type {Map<string, { limit: number, windowMs: number }>} */
  const configured = new Map();
  const open = () => {
    for (const side of [reference, subject]) {
      side.open();
      // Changes nothing but the time it takes.
      side.store.sqlite?.pragma('synchronous = OFF');
      for (const [resource, config] of configured)
        side.store.setResourceConfig(resource, { ...config });
    }
    corrected?.opened(reference.store);
  };
  open();
  if (Corrected)
    corrected = new Corrected({
      store: reference.store,
      options: round.options,
      persistent: database === 'path',
      tally,
    });

  const fail = (
    /** @type {Call} */ call,
    /** @type {Outcome} */ expected,
    /** @type {Outcome} */ actual,
  ) => {
    const told = `${Corrected?.name ?? 'reference'} and subject differ in ${show(call)} at ${Date.now() - START} ms on ${database} with ${show(round.options)} after\n${history.slice(-25).join('\n')}\n`;
    if (expected.status === 'resolved' && actual.status === 'resolved')
      deepStrictEqual(actual.value, expected.value, told + show({ expected, actual }));
    throw new Error(`${told}expected ${show(expected)}, got ${show(actual)}`);
  };

  /** @param {Call} call */
  async function ask(call) {
    const outcome = reference.start(call);
    await until(
      () => outcome.status !== 'pending',
      call.method === 'waitFor' ? { turns: 3 } : { seconds },
    );
    return outcome;
  }

  /** @param {Call[]} group */
  async function callAll(group) {
    for (const call of group) if (call.method === 'fail') given.add(call.args[1]);
    const started = bursts ? group.map((call) => subject.start(call)) : [];
    const pairs = [];
    for (const [index, call] of group.entries()) {
      history.push(
        `${Date.now() - START} ms: ${show(call)}${bursts && group.length > 1 ? ` (${index + 1} of ${group.length} at once)` : ''}`,
      );
      const expected = corrected ? await corrected.call(call, () => ask(call)) : await ask(call);
      pairs.push({ call, expected, actual: started[index] ?? subject.start(call) });
      if (!bursts)
        await until(
          () => pairs[index].actual.status !== 'pending',
          call.method === 'waitFor' ? { turns: 3 } : {},
        );
      calls++;
      moments.push(
        ...momentsAfter(call, round.options)
          .filter(Number.isFinite)
          .map((span) => Date.now() + span),
      );
    }
    for (const pair of pairs) {
      const { call, actual } = pair;
      if (call.method === 'waitFor') waiting.push(pair);
      else if (!(await until(() => actual.status !== 'pending', { seconds })))
        fail(call, pair.expected, actual);
      else {
        const expected = reference.compared(call, pair.expected);
        const found = corrected
          ? corrected.found(call, subject.compared(call, actual))
          : subject.compared(call, actual);
        if (!same(expected, found, given)) fail(call, expected, found);
      }
    }
    await compareWaiting();
  }

  async function compareWaiting() {
    for (const { call, expected, actual } of waiting) {
      // What the reference still waits for, the subject may not have settled either.
      const within = expected.status === 'pending' ? { turns: 3 } : { seconds };
      if (!(await until(() => same(expected, actual, given), within))) fail(call, expected, actual);
    }
    waiting = waiting.filter(({ expected }) => expected.status === 'pending');
  }

  /** @param {number} ms */
  async function advance(ms) {
    history.push(`${Date.now() - START} ms: advance ${ms} ms`);
    corrected?.advancing();
    vi.advanceTimersByTime(ms);
    for (let n = 0; n < 3; n++) await turn();
    corrected?.advanced();
    await compareWaiting();
  }

  try {
    for (const step of round.steps) {
      if ('calls' in step) {
        for (const stretch of bursts ? stretches(step.calls) : [step.calls]) await callAll(stretch);
      } else if ('advance' in step) {
        await advance(Math.min(step.advance, reach));
      } else if ('approach' in step) {
        moments = [
          ...new Set(
            moments.filter(
              (moment) => moment + step.by > Date.now() && moment < Date.now() + reach,
            ),
          ),
        ].slice(-40);
        if (moments.length > 0)
          await advance(moments[step.approach % moments.length] + step.by - Date.now());
      } else if ('configure' in step) {
        history.push(`${Date.now() - START} ms: ${show(step)}`);
        const config = () => ({ ...step.config });
        if (step.inMap) for (const map of maps) map.set(step.configure, config());
        else
          for (const { store } of [reference, subject])
            store.setResourceConfig(step.configure, config());
        for (const { store } of [reference, subject])
          deepStrictEqual(store.getResourceConfig(step.configure), step.config);
        if (!step.inMap) configured.set(step.configure, config());
      } else {
        await callAll([{ method: 'close', args: [] }]);
        waiting = [];
        if (step.end === 'reopen') open();
      }
    }
    return calls;
  } finally {
    for (const { store } of [reference, subject]) store.destroy();
    await turn();
    vi.useRealTimers();
    if (directory) rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Divides calls made at once where the order shows in another way than by awaiting each: stats may still count what a
 * read drops in passing, and a waiter that comes with the end of a job gets what those get that came before (in 0.2.0, too).
 * @param {Call[]} calls
 */
function stretches(calls) {
  /** @type {Call[][]} */
  const parts = [[]];
  for (const call of calls) {
    const last = parts[parts.length - 1];
    const dropped =
      call.method === 'getStats' &&
      last.some(({ method }) => /^(get|canProceed|isIn)/.test(method));
    const ended =
      call.method === 'waitFor' &&
      last.some(
        ({ method, args }) => ['complete', 'fail'].includes(method) && args[0] === call.args[0],
      );
    if (dropped || ended) parts.push([call]);
    else last.push(call);
  }
  return parts;
}

/**
 * Spans after a call at whose end something changes.
 * @param {Call} call
 * @param {Record<string, any>} options
 * @returns {number[]}
 */
function momentsAfter({ method, args }, options) {
  if (method === 'set') return [args[2] * 1_000];
  if (method === 'register' || method === 'waitFor') return [options.jobTimeoutMs ?? 300_000];
  if (method === 'complete')
    return [Math.min(options.resultTtlMs ?? 1_000, options.jobTimeoutMs || 300_000)];
  if (method !== 'record') return [];
  const config = new Map(options.resourceConfigs).get(args[0]) ?? options.defaultConfig;
  const {
    monitoringWindowMs = 0,
    sustainedInactivityThresholdMs = 0,
    recalculationIntervalMs = 0,
  } = options.adaptiveConfig ?? {};
  return [
    config.windowMs,
    monitoringWindowMs,
    monitoringWindowMs / 3,
    (monitoringWindowMs * 2) / 3,
    sustainedInactivityThresholdMs,
    recalculationIntervalMs,
  ].map(Math.floor);
}

/** @param {unknown} value */
const show = (value) =>
  inspect(value, {
    depth: 8,
    breakLength: Number.POSITIVE_INFINITY,
    maxStringLength: 60,
    maxArrayLength: 20,
  });
