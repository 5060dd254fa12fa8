// Several threads on one file: nothing is lost, each keeps its order, and the end of one harms nobody.

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { afterEach, describe, expect, it } from 'vitest';
import { startDbInspector } from './support/db-inspector.mjs';
import { isolate } from './support/isolate.mjs';
import { ours } from './support/packages.mjs';
import { randomSource } from './support/seed.mjs';
import { slowly } from './support/slowness.cjs';
import { sleep, soon } from './support/waiting.mjs';

const { ask, child } = createRequire(import.meta.url)('./support/processes.cjs');

const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore, SqliteAdaptiveRateLimitStore } =
  /** @type {Record<string, any>} */ (ours);

const { path, files } = isolate();
const inspector = startDbInspector();

/** @type {any[]} */
let opened = [];
/** @type {Worker[]} */
let workers = [];
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.terminate()));
  for (const store of opened) store.destroy();
  workers = [];
  opened = [];
});

/** @param {any} Store @param {object} [options] */
function open(Store, options) {
  const store = new Store({ database: path('stores.db'), ...options });
  opened.push(store);
  return store;
}

/**
 * A thread of `children/worker.cjs`, ready to go.
 * @param {string} task
 * @param {Record<string, unknown>} [data]
 */
async function start(task, data) {
  const worker = new Worker(child('worker.cjs'), {
    workerData: { task, path: path('stores.db'), ...data },
  });
  workers.push(worker);
  /** @type {(value: any) => void} */
  let give = () => undefined;
  /** @type {(error: any) => void} */
  let refuse = () => undefined;
  const result = new Promise((resolve, reject) => {
    [give, refuse] = [resolve, reject];
  });
  result.catch(() => undefined);
  const ended = new Promise((resolve) => {
    worker.once('exit', resolve);
  });
  worker.on('error', refuse);
  await new Promise((resolve, reject) => {
    worker.on('error', reject);
    worker.on('message', (message) => {
      if (message === 'ready') resolve(undefined);
      else give(message?.result ?? message);
    });
  });
  return { worker, ended, result, go: () => worker.postMessage('go') };
}

/** @param {string} sql @returns {any[][]} */
function rows(sql) {
  const db = new Database(path('stores.db'), { readonly: true });
  const found = /** @type {any[][]} */ (db.prepare(sql).raw().all());
  db.close();
  return found;
}

describe('mixed calls of four threads and the main one', () => {
  const ROUNDS = 150;
  const ids = ['a', 'b', 'c', 'd'];

  it.each(
    /** @type {[string, object][]} */ ([
      ['by default', {}],
      ["with synchronous 'full'", { synchronous: 'full' }],
      ["with journalMode 'delete'", { journalMode: 'delete' }],
    ]),
  )('%s: none is lost, counts are exact, each sees its own in order', async (_title, options) => {
    const random = randomSource('mixed calls');
    const threads = await Promise.all(
      ids.map((id) => start('mixed', { id, rounds: ROUNDS, options })),
    );
    const cache = open(SQLiteCacheStore, options);
    const limits = open(SQLiteRateLimitStore, options);
    const adaptive = open(SqliteAdaptiveRateLimitStore, options);
    for (const { go } of threads) go();

    // Meanwhile, here: what each thread writes only ever grows.
    const last = Object.fromEntries(ids.map((id) => [id, -1]));
    let recorded = 0;
    let isOver = false;
    const results = Promise.all(threads.map(({ result }) => result)).finally(() => {
      isOver = true;
    });
    const pending = [];
    while (!isOver) {
      for (const id of ids) {
        const seen = (await cache.get(`last of ${id}`)) ?? -1;
        expect(seen).toBeGreaterThanOrEqual(last[id]);
        last[id] = seen;
      }
      if (recorded < 500) {
        recorded++;
        pending.push(limits.record('of all'), cache.set('main', recorded, 1_000));
        if (random.below(20) === 0) pending.push(cache.set('large', 'x'.repeat(1_200_000), 1_000));
      }
      if (random.below(3) === 0) await sleep(0);
    }
    expect(await soon(results, 20_000)).toEqual(ids.map(() => []));
    await soon(Promise.all(pending));
    expect(await cache.get('main')).toBe(recorded);
    for (const id of ids) expect(await cache.get(`last of ${id}`)).toBe(ROUNDS - 1);
    expect((await adaptive.getStats()).uniqueResources).toBe(1 + ids.length);
    for (const store of opened) store.destroy();

    expect(files()).toEqual(['stores.db']);
    const count = (/** @type {string} */ where) => rows(`SELECT count(*) FROM ${where}`)[0][0];
    expect(count("rate_limits WHERE resource = 'of all'")).toBe(2 * ids.length * ROUNDS + recorded);
    for (const id of ids) {
      expect(count(`rate_limits WHERE resource = 'of ${id}'`)).toBe(ROUNDS);
      // One in ten was deleted again.
      expect(count(`cache WHERE hash GLOB '${id}:[0-9]*'`)).toBe(ROUNDS - ROUNDS / 10);
    }
    expect(count("rate_limits WHERE priority = 'user'")).toBe((ids.length * ROUNDS) / 2);
    expect(rows('SELECT status, count(*) FROM dedupe_jobs GROUP BY status')).toEqual([
      ['completed', ids.length * ROUNDS],
    ]);
    expect(rows('PRAGMA integrity_check')).toEqual([['ok']]);
  });
});

describe('deduplication across threads', () => {
  it('those who wait in other threads wake when the job ends', async () => {
    const owner = open(SQLiteDedupeStore);
    const hashes = ['completed', 'failed', 'cleared'];
    for (const hash of hashes) await owner.register(hash);
    const threads = await Promise.all([1, 2, 3].map(() => start('wait', { hashes })));
    for (const { go } of threads) go();
    await sleep(slowly(100));
    void owner.complete('completed', { of: 'the main thread' });
    await owner.fail('failed', new RangeError('no luck'));
    await sleep(slowly(150));
    await owner.clear();
    for (const { result } of threads) {
      expect(await soon(result)).toEqual([
        { value: { of: 'the main thread' } },
        { error: 'no luck' },
        { value: null },
      ]);
    }
  });

  it('the main thread wakes when a worker ends the job', async () => {
    const store = open(SQLiteDedupeStore);
    const worker = await start('request', { hashes: ['job'] });
    worker.go();
    for (let look = 0; look < 500 && !(await store.isInProgress('job')); look++) await sleep(2);
    expect(await soon(store.waitFor('job'))).toBe('result of job');
  });

  it('a request is made once among all threads', async () => {
    const hashes = Array.from({ length: 10 }, (_, index) => `job ${index}`);
    const threads = await Promise.all([1, 2, 3, 4].map(() => start('request', { hashes })));
    for (const { go } of threads) go();
    const results = await soon(Promise.all(threads.map(({ result }) => result)), slowly(15_000));
    for (const { answers } of results) {
      expect(answers).toEqual(hashes.map((hash) => `result of ${hash}`));
    }
    const worked = results.reduce((sum, result) => sum + result.worked, 0);
    expect(worked).toBe(hashes.length);
  });

  it('a job whose thread was terminated is taken over', async () => {
    const store = open(SQLiteDedupeStore);
    const worker = await start('request', { hashes: ['job'] });
    worker.go();
    for (let look = 0; look < 500 && !(await store.isInProgress('job')); look++) await sleep(1);
    await worker.worker.terminate();
    // Either it was quick enough to complete, or nobody renews its lease any more.
    const answer = await soon(store.waitFor('job'), slowly(10_000));
    expect([undefined, 'result of job']).toContain(answer);
  });
});

describe('a thread that ends with writes pending', () => {
  it.each([
    ['the natural end', 0],
    ['process.exit()', 0],
    ['an uncaught exception', 1],
    ['terminate()', 1],
  ])('%s commits them', async (form, code) => {
    // With and without another store on the file.
    for (const id of ['alone', 'accompanied']) {
      const sidecar = id === 'alone' ? undefined : open(SQLiteCacheStore);
      const { worker, ended, result, go } = await start('end', { id, form, rounds: 300 });
      go();
      if (form === 'terminate()') {
        await soon(result);
        await worker.terminate();
      }
      expect(await soon(ended)).toBe(code);
      const expected = 301 + (form === 'an uncaught exception' ? 1 : 0);
      const count = await inspector.rows(
        path('stores.db'),
        'SELECT count(*) FROM cache WHERE hash GLOB ?',
        `${id}:*`,
      );
      expect(count, id).toEqual([[expected]]);
      if (sidecar) {
        expect((await sidecar.get(`${id}:big`)).length).toBe(2_000_000);
        await sidecar.set('afterwards', 1, 60);
        sidecar.destroy();
      }
      expect(files()).toEqual(['stores.db']);
    }
  });
});

it(
  'fifty threads terminated at any moment: the main one goes on, the file stays whole',
  async () => {
    const random = randomSource('fifty threads terminated');
    const answer = await ask('terminate.cjs', {
      path: path('stores.db'),
      form: 'mixed',
      times: 50,
      // From before its stores are open to well within its calls.
      random: Array.from({ length: 50 }, () => random.next() ** 2 * 120),
    });
    expect(answer.recorded).toBeGreaterThanOrEqual(100);
    expect(answer.counted).toBe(answer.recorded);
    expect(answer.last).toBe(answer.recorded);
    expect(answer.job).toBe('done');
    expect(await inspector.checkIntegrity(path('stores.db'))).toBe('ok');
    expect(files()).toEqual(['stores.db']);
    // They were indeed at it.
    expect(
      rows("SELECT count(*) FROM rate_limits WHERE resource = 'of the workers'")[0][0],
    ).toBeGreaterThan(100);
  },
  slowly(60_000),
);

it('a store works in threads that come and go, with the same module in each', async () => {
  const store = open(SQLiteCacheStore);
  for (let round = 0; round < 5; round++) {
    const { go, ended } = await start('end', {
      id: `${round}`,
      form: 'the natural end',
      rounds: 1,
    });
    void store.set('main', round, 60);
    go();
    await soon(ended);
    expect(await store.get(`${round}:0`)).toBe(0);
    expect(await store.get('main')).toBe(round);
  }
});
