// The fake clock of a suite under Vitest.
import { vi } from 'vitest';

/** @type {import('./harness.cjs').Clock} */
export const clock = {
  start: (now) => vi.useFakeTimers({ now }),
  stop: () => vi.useRealTimers(),
  set: (now) => vi.setSystemTime(now),
  advance: (ms) => vi.advanceTimersByTime(ms),
  advanceAsync: (ms) => vi.advanceTimersByTimeAsync(ms),
};
