'use strict';
// Calls the four stores at random while calls to the system fail by a seed, with an addon that can do so. Writes what the
// files have to hold.

/** @type {any} */
const binding = require('../../lib/binding.js');
const {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} = require('../..');
const { random } = require('../support/random.cjs');

const { directory, seeds } = JSON.parse(process.argv[2]);

const CLASSES = {
  cache: SQLiteCacheStore,
  dedupe: SQLiteDedupeStore,
  limits: SQLiteRateLimitStore,
  adaptive: SqliteAdaptiveRateLimitStore,
};

/** What has struck, by kind. @type {Record<string, number>} */
const struck = {};

/** @param {string} path @param {number[]} plan */
function faults(path, ...plan) {
  for (const [kind, count] of Object.entries(JSON.parse(binding.faults(path, ...plan)))) {
    struck[kind] = (struck[kind] ?? 0) + count;
  }
}

/** @param {any} error */
function check(error) {
  if (!(error instanceof Error && /^SQLITE_/.test(/** @type {any} */ (error).code))) throw error;
}

/** @param {number} seed */
async function run(seed) {
  const next = random(seed);
  const below = (/** @type {number} */ bound) => Math.floor(next() * bound);
  /** @type {<T>(list: readonly T[]) => T} */
  const one = (list) => list[below(list.length)];
  const path = `${directory}/${seed}.db`;
  const options = {
    database: path,
    journalMode: one(['wal', 'delete']),
    synchronous: one(['normal', 'full']),
    busyTimeoutMs: one([0, 100, 2_000]),
  };
  let refusedOpenings = 0;
  const plan = [seed, one([3, 8, 20, 60]), one([3, 10, 40])];
  /** @type {(name: keyof typeof CLASSES) => any} */
  const open = (name) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return new CLASSES[name](/** @type {any} */ (options));
      } catch (error) {
        check(error);
        refusedOpenings++;
        if (attempt === 3) faults(path);
        if (attempt > 3) throw error;
      }
    }
  };
  const late = below(2) === 0;
  if (!late) faults(path, ...plan);
  const [cache, dedupe] = [open('cache'), open('dedupe')];
  const [limits, adaptive] = [open('limits'), open('adaptive')];
  if (late) faults(path, ...plan);

  /** What each key may hold. @type {Map<string, any[]>} */
  const entries = new Map();
  /** How many requests each resource may have. @type {Map<string, [number, number]>} */
  const requests = new Map();
  /** What may have become of each job. @type {Map<string, string[]>} */
  const jobs = new Map();
  let [calls, acknowledged, refused] = [0, 0, 0];
  /** A call, and what it says of the model: in the order of the calls. @type {[Promise<any>, (answer: any, error: any) => void][]} */
  let made = [];

  const value = () => {
    const kind = next();
    const size = kind < 0.8 ? below(300) : kind < 0.95 ? below(20_000) : below(300_000);
    return { n: calls, pad: `${calls}.`.repeat(size / 4) };
  };
  const act = () => {
    const n = calls++;
    const key = `key ${below(8)}`;
    const acts = [
      () => {
        const stored = value();
        made.push([
          cache.set(key, stored, 1e6),
          (_, error) =>
            entries.set(key, error ? [...(entries.get(key) ?? [null]), stored] : [stored]),
        ]);
      },
      () =>
        made.push([
          cache.get(key),
          (answer, error) => {
            const allowed = entries.get(key) ?? [null];
            const text = JSON.stringify(answer ?? null);
            if (!error && !allowed.some((value) => JSON.stringify(value) === text)) {
              throw new Error(`seed ${seed}: ${key} reads ${text.slice(0, 80)}`);
            }
          },
        ]),
      () => {
        const [store, resource] = one([
          [limits, `plain ${n}`],
          [adaptive, `adaptive ${n}`],
        ]);
        made.push([
          store.record(resource, one(['user', 'background'])),
          (_, error) => requests.set(resource, error ? [0, 1] : [1, 1]),
        ]);
      },
      () => {
        const [store, resource] = one([
          [limits, `plain ${n}`],
          [adaptive, `adaptive ${n}`],
        ]);
        made.push([
          store.acquire(resource, 'user'),
          (answer, error) => {
            const certain = answer ? 1 : 0;
            requests.set(resource, error ? [0, 1] : [certain, certain]);
          },
        ]);
      },
      () => {
        const hash = `hash ${n}`;
        made.push([
          dedupe.register(hash),
          (_, error) => jobs.set(hash, error ? ['none', 'pending'] : ['pending']),
        ]);
        if (below(4) === 0) return;
        const ended = below(3) === 0 ? 'failed' : 'completed';
        made.push([
          ended === 'failed'
            ? dedupe.fail(hash, new Error('failed'))
            : dedupe.complete(hash, value()),
          (_, error) => {
            const before = jobs.get(hash) ?? [];
            const after = before.map((state) => (state === 'none' ? state : ended));
            jobs.set(hash, error ? [...before, ...after] : after);
          },
        ]);
      },
    ];
    one(acts)();
  };
  const settle = async () => {
    const outcomes = await Promise.allSettled(made.map(([promise]) => promise));
    for (const [index, outcome] of outcomes.entries()) {
      const is = outcome.status === 'fulfilled';
      if (is) acknowledged++;
      else {
        check(outcome.reason);
        refused++;
      }
      made[index][1](is ? outcome.value : undefined, is ? undefined : outcome.reason);
    }
    made = [];
  };

  const rounds = 4 + below(12);
  for (let round = 0; round < rounds; round++) {
    for (let count = 1 + below(6); count > 0; count--) act();
    if (below(4) > 0) await settle();
    else await null;
  }
  faults(path);
  await settle();
  // Without faults everything works.
  const before = refused;
  for (let count = 0; count < 20; count++) act();
  await settle();
  if (refused > before) throw new Error(`seed ${seed}: calls are refused without faults`);
  for (const store of [cache, dedupe, limits, adaptive]) await store.close();
  return {
    path,
    acknowledged,
    refused,
    refusedOpenings,
    entries: [...entries],
    requests: [...requests],
    jobs: [...jobs],
  };
}

async function main() {
  const runs = [];
  for (const seed of seeds) runs.push(await run(seed));
  process.stdout.write(JSON.stringify({ runs, struck }));
}

main();
