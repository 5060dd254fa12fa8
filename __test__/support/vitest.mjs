// What suites run with under Vitest.
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

const { FAKED } = createRequire(import.meta.url)('./harness.cjs');

/** @type {import('./harness.cjs').Clock} */
export const clock = {
  start: (now) => vi.useFakeTimers({ now, toFake: FAKED }),
  stop: () => vi.useRealTimers(),
  set: (now) => vi.setSystemTime(now),
  advance: (ms) => vi.advanceTimersByTime(ms),
  advanceAsync: (ms) => vi.advanceTimersByTimeAsync(ms),
};

export const runner = {
  describe,
  it,
  expect,
  beforeEach,
  afterEach,
  beforeAll,
  afterAll,
  clock,
};
