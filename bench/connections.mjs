// The stores on a connection of the application's: ours beside 0.2.0, in one run.
//
//   node bench/connections.mjs
//
// Both have a better-sqlite3 connection of their own with the same settings, a write-ahead log and synchronous NORMAL,
// to files in the same directory. What differs is what the stores make of it. Rounds alternate; what is compared are
// medians. Ends with exit code 1 if a target is missed. Recording a request has none: there, most of the time of both
// is SQLite's own, as the same INSERT on the bare connection shows.

import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import * as theirs from 'sqlite-store-0.2.0';
import * as ours from '../index.mjs';

const ROUNDS = 15;
const HOUR = 3_600_000;
const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'sqlite-store-bench-'));
const value = { text: 'x'.repeat(89) }; // 100 bytes of JSON
const limits = { defaultConfig: { limit: 1e9, windowMs: HOUR } };

/** @param {string} name */
function connect(name) {
  const connection = new Database(join(directory, name));
  connection.pragma('journal_mode = WAL');
  connection.pragma('synchronous = NORMAL');
  return connection;
}

/** @param {any} stores @param {import('better-sqlite3').Database} database */
const open = (stores, database) => ({
  cache: new stores.SQLiteCacheStore({ database }),
  dedupe: new stores.SQLiteDedupeStore({ database, jobTimeoutMs: HOUR }),
  rate: new stores.SQLiteRateLimitStore({ database, ...limits }),
  connection: database,
});
/** @typedef {ReturnType<typeof open>} Peer */

const peers = {
  ours: open(ours, connect('ours.db')),
  '0.2.0': open(theirs, connect('theirs.db')),
};

/** The least that recording a request takes: 0.2.0's tables, the statement prepared once. */
const bare = open(theirs, connect('bare.db'));
const insert = bare.connection.prepare(
  'INSERT INTO rate_limits (resource, timestamp) VALUES (?, ?)',
);

/** Rows that a round adds are taken away between rounds. @param {Peer} peer */
function restore({ connection }) {
  connection.exec('DELETE FROM rate_limits; DELETE FROM dedupe_jobs');
}

/** @param {number} calls @param {(i: number) => Promise<unknown>} call */
async function awaited(calls, call) {
  for (let i = 0; i < calls; i++) await call(i);
}
/** @param {number} calls @param {(i: number) => Promise<unknown>} call */
async function hundredAtOnce(calls, call) {
  for (let i = 0; i < calls; i += 100)
    await Promise.all(Array.from({ length: 100 }, (_, k) => call(i + k)));
}

/** @type {{ name: string, target?: number, calls: number, run: (peer: Peer, calls: number) => Promise<void>, bare?: (calls: number) => void }[]} */
const cases = [
  {
    name: 'cache get, awaited',
    target: 8,
    calls: 1000,
    run: ({ cache }, calls) => awaited(calls, (i) => cache.get(`key-${i % 100}`)),
  },
  {
    name: 'dedupe isInProgress, awaited',
    target: 8,
    calls: 1000,
    run: ({ dedupe }, calls) => awaited(calls, (i) => dedupe.isInProgress(`job-${i % 100}`)),
  },
  {
    name: 'rate limit canProceed, awaited',
    target: 8,
    calls: 500,
    run: ({ rate }, calls) => awaited(calls, (i) => rate.canProceed(`resource-${i % 10}`)),
  },
  {
    name: 'cache set, awaited',
    target: 2,
    calls: 500,
    run: ({ cache }, calls) => awaited(calls, (i) => cache.set(`key-${i % 100}`, value, 3600)),
  },
  {
    name: 'dedupe register, awaited',
    target: 2,
    calls: 500,
    run: ({ dedupe }, calls) => awaited(calls, (i) => dedupe.register(`new-${i}`)),
  },
  {
    name: 'rate limit record, awaited',
    calls: 500,
    run: ({ rate }, calls) => awaited(calls, (i) => rate.record(`resource-${i % 10}`)),
    bare(calls) {
      for (let i = 0; i < calls; i++) insert.run(`resource-${i % 10}`, Date.now());
    },
  },
  {
    name: 'cache set, 100 at once',
    target: 10,
    calls: 1000,
    run: ({ cache }, calls) =>
      hundredAtOnce(calls, (i) => cache.set(`key-${i % 100}`, value, 3600)),
  },
  {
    name: 'rate limit record, 100 at once',
    calls: 1000,
    run: ({ rate }, calls) => hundredAtOnce(calls, (i) => rate.record(`resource-${i % 10}`)),
  },
];

/** @param {number[]} numbers */
function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

let reached = true;
const rows = [];
try {
  for (const { name, target, calls, run, bare: runBare } of cases) {
    for (const { cache } of Object.values(peers))
      await awaited(100, (i) => cache.set(`key-${i}`, value, 3600));
    /** @type {number[][]} */
    const times = [[], []];
    const bareTimes = [];
    for (let round = -2; round < ROUNDS; round++) {
      for (const [index, peer] of Object.values(peers).entries()) {
        restore(peer);
        const start = process.hrtime.bigint();
        await run(peer, calls);
        const microseconds = Number(process.hrtime.bigint() - start) / 1000 / calls;
        if (round >= 0) times[index].push(microseconds);
      }
      if (!runBare) continue;
      restore(bare);
      const start = process.hrtime.bigint();
      runBare(calls);
      bareTimes.push(Number(process.hrtime.bigint() - start) / 1000 / calls);
    }
    const [mine, other] = times.map(median);
    reached &&= target === undefined || other / mine >= target;
    rows.push({
      case: name,
      'ours, µs': mine.toFixed(1),
      '0.2.0, µs': other.toFixed(1),
      '0.2.0 / ours': (other / mine).toFixed(1),
      target: target ?? '–',
      'bare connection, µs': runBare ? median(bareTimes).toFixed(1) : '–',
    });
  }
} finally {
  for (const { cache, dedupe, rate, connection } of [...Object.values(peers), bare]) {
    for (const store of [cache, dedupe, rate]) await store.close();
    connection.close();
  }
  rmSync(directory, { recursive: true });
}

console.log(
  `${cpus()[0].model}, Node ${process.version}, medians of ${ROUNDS} alternating rounds, per call`,
);
console.table(rows);
console.log(reached ? 'All targets reached.' : 'A target was missed.');
process.exitCode = reached ? 0 : 1;
