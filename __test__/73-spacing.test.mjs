// The unmodified client on limiters that book waits, in several processes: it keeps to all limits although it does not ask again.
// ROUNDS=… makes more rounds.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import { Remote } from './support/remote.mjs';

// This process opens no store, so it may look into a file whenever it likes.
const { connect, OURS_ON_CONNECTIONS, OURS_ON_PATHS } = createRequire(import.meta.url)(
  './support/implementations.cjs',
);

const ROUNDS = Number(process.env.ROUNDS ?? 1);
const PROCESSES = 3;
const EACH = 20;
const INTERVAL_MS = 50;
const [LIMIT, WINDOW_MS] = [10, 2_000];
/** The server's own interval, for what it would answer with HTTP 420. */
const SERVERS_INTERVAL_MS = INTERVAL_MS / 2;

/** @type {import('../examples/demo/fake-api.mjs').FakeApi} */
let api;
let directory = '';
let file = '';
/** @type {Remote[]} */
let remotes = [];
beforeAll(async () => {
  api = await startFakeApi({ latencyMs: 30 });
});
afterAll(() => api.close());
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'spacing-'));
  file = path.join(directory, 'stores.db');
});
afterEach(async () => {
  await Promise.all(remotes.map((remote) => remote.kill()));
  remotes = [];
  rmSync(directory, { recursive: true, force: true });
});

/** How many are closer to the one before than so many ms. @param {number[]} times @param {number} ms */
const closer = (times, ms) => times.slice(1).filter((at, index) => at - times[index] < ms).length;

/** The most in any window. @param {number[]} times */
const fullest = (times) =>
  Math.max(...times.map((end) => times.filter((at) => at <= end && end - at <= WINDOW_MS).length));

describe.each([
  { title: 'on a path', implementation: OURS_ON_PATHS, name: 'SQLiteRateLimitStore' },
  { title: 'on a path', implementation: OURS_ON_PATHS, name: 'SqliteAdaptiveRateLimitStore' },
  { title: 'on connections', implementation: OURS_ON_CONNECTIONS, name: 'SQLiteRateLimitStore' },
])('$name $title', ({ title, implementation, name }) => {
  it.each(Array.from({ length: ROUNDS }, (_, round) => round + 1))(
    'spaces and limits the requests of 3 processes, each sent once: round %i',
    { timeout: 180_000 },
    async (round) => {
      if (implementation.by === 'connection') connect(file).close();
      api.reset();
      remotes = await Promise.all(
        Array.from({ length: PROCESSES }, () => Remote.start(implementation)),
      );
      const counts = await Promise.all(
        remotes.map(async (remote, number) => {
          const rateLimit = await remote.make(name, {
            database: file,
            defaultConfig: { limit: LIMIT, windowMs: WINDOW_MS },
            // The long window has all requests kept, to be looked at.
            sharedConfig: { limit: 1e6, windowMs: 600_000, minIntervalMs: INTERVAL_MS },
            reservationMs: 60_000,
            bookWaits: true,
          });
          const dedupe = await remote.make('SQLiteDedupeStore', { database: file });
          await remote.run(
            'client',
            api.baseUrl(),
            { rateLimit, dedupe },
            { throwOnRateLimit: false, maxWaitTime: 60_000 },
          );
          const ids = Array.from({ length: EACH }, (_, id) => 1 + number * EACH + id);
          // Half of the rounds, requests come while others are under way.
          return remote.run('retrieve', 0, ids, 'background', round % 2 === 0 ? 0 : 3_000);
        }),
      );
      expect(counts).toEqual(Array(PROCESSES).fill({ answered: EACH, errors: {} }));

      const database = new Database(file, { readonly: true });
      const requests = database.prepare('SELECT timestamp FROM rate_limits ORDER BY timestamp');
      const slots = /** @type {number[]} */ (requests.pluck().all());
      const booked = database.prepare('SELECT COUNT(*) FROM rate_limit_reservations').pluck().get();
      database.close();
      const arrivals = api.arrivals();
      expect(new Set(arrivals.map((request) => request.path)).size).toBe(PROCESSES * EACH);
      const times = arrivals.map(({ at }) => at).sort((one, other) => one - other);
      expect({ slots: slots.length, sent: times.length, booked }).toEqual({
        slots: PROCESSES * EACH,
        sent: PROCESSES * EACH,
        booked: 0,
      });
      // What was booked keeps both rules, and nobody has left before.
      expect(closer(slots, INTERVAL_MS)).toBe(0);
      expect(fullest(slots)).toBeLessThanOrEqual(LIMIT);
      const early = times.map((at, index) => at - slots[index]).filter((late) => late < 0);
      expect(early).toEqual([]);
      console.log(
        `spacing, ${name} ${title}: ${closer(times, SERVERS_INTERVAL_MS)} of ${times.length} requests came within ` +
          `${SERVERS_INTERVAL_MS} ms of the one before (HTTP 420)`,
      );
    },
  );
});
