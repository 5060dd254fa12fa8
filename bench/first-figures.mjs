// First figures: awaited calls of the cache store, ours beside version 0.2.0, in one run.
//
//   npm run bench
//
// Both run on a file in the same directory, each in its default durability: 0.2.0 with a rollback journal and
// synchronous FULL (an fsync or more on each commit), ours with a write-ahead log and synchronous NORMAL (a commit
// survives the death of the process; after a power loss the last ones may be missing). A third column shows ours
// with `synchronous: 'full'`, which fsyncs each commit too. Rounds alternate; what is compared are medians.

import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { SQLiteCacheStore as Theirs } from 'sqlite-store-0.2.0';
import { SQLiteCacheStore as Ours } from '../index.mjs';

const ROUNDS = 15;
const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'sqlite-store-bench-'));
const value = { text: 'x'.repeat(89) }; // 100 bytes of JSON

const peers = {
  ours: new Ours({ database: join(directory, 'ours.db') }),
  'ours, full': new Ours({ database: join(directory, 'full.db'), synchronous: 'full' }),
  '0.2.0': new Theirs({ database: join(directory, 'theirs.db') }),
};

const cases = [
  {
    name: 'get, awaited, 100 bytes',
    target: 10,
    calls: { ours: 2000, 'ours, full': 2000, '0.2.0': 500 },
    async run(store, calls) {
      for (let i = 0; i < calls; i++) await store.get(`key-${i % 100}`);
    },
  },
  {
    name: 'set, awaited, 100 bytes',
    target: 30,
    calls: { ours: 500, 'ours, full': 20, '0.2.0': 20 },
    async run(store, calls) {
      for (let i = 0; i < calls; i++) await store.set(`key-${i % 100}`, value, 3600);
    },
  },
  {
    name: 'set, 100 at once',
    target: 150,
    calls: { ours: 1000, 'ours, full': 300, '0.2.0': 100 },
    async run(store, calls) {
      for (let i = 0; i < calls; i += 100) {
        await Promise.all(
          Array.from({ length: 100 }, (_, k) => store.set(`key-${k}`, value, 3600)),
        );
      }
    },
  },
];

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

let reached = true;
const rows = [];
try {
  for (const store of Object.values(peers)) {
    for (let i = 0; i < 100; i++) await store.set(`key-${i}`, value, 3600);
  }
  for (const { name, target, calls, run } of cases) {
    /** @type {Record<string, number[]>} */
    const times = Object.fromEntries(Object.keys(peers).map((peer) => [peer, []]));
    for (let round = -2; round < ROUNDS; round++) {
      for (const [peer, store] of Object.entries(peers)) {
        const start = process.hrtime.bigint();
        await run(store, calls[peer]);
        const microseconds = Number(process.hrtime.bigint() - start) / 1000 / calls[peer];
        if (round >= 0) times[peer].push(microseconds);
      }
    }
    const [ours, full, theirs] = Object.values(times).map(median);
    reached &&= theirs / ours >= target;
    rows.push({
      case: name,
      'ours, µs': ours.toFixed(1),
      'ours full, µs': full.toFixed(1),
      '0.2.0, µs': theirs.toFixed(1),
      '0.2.0 / ours': (theirs / ours).toFixed(1),
      target,
      '0.2.0 / ours full': (theirs / full).toFixed(1),
    });
  }
} finally {
  for (const store of Object.values(peers)) await store.close();
  rmSync(directory, { recursive: true });
}

console.log(
  `${cpus()[0].model}, Node ${process.version}, medians of ${ROUNDS} alternating rounds, per call`,
);
console.table(rows);
console.log(reached ? 'All targets reached.' : 'A target was missed.');
process.exitCode = reached ? 0 : 1;
