// The unmodified client over real HTTP on our stores, in one process and in several. What many processes do at once:
// 71-coordination.test.mjs.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  ComicVine,
  ComicVineGenericRequestError,
  ComicVineObjectNotFoundError,
  ComicVineUnauthorizedError,
} from '@comic-vine/client';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import { startRole } from '../examples/demo/processes.mjs';
import {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '../index.mjs';

const load = createRequire(import.meta.url);
const NO_SUCH_ID = 2_000_000;
const EXACT = { defaultConfig: { limit: 5, windowMs: 60_000 }, reservationMs: 30_000 };

/** @type {import('../examples/demo/fake-api.mjs').FakeApi} */
let api;
/** @type {string} */
let directory;
/** @type {string} */
let database;
/** @type {{ close(): Promise<void> }[]} */
let stores;
/** @type {import('../examples/demo/processes.mjs').Role[]} */
let roles;

beforeEach(async () => {
  api = await startFakeApi({ latencyMs: 20 });
  directory = mkdtempSync(path.join(tmpdir(), 'client-'));
  database = path.join(directory, 'comic-vine.db');
  stores = [];
  roles = [];
});

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(roles.map((role) => role.kill()));
  await Promise.all(stores.map((store) => store.close()));
  await api.close();
  rmSync(directory, { recursive: true, force: true });
});

/**
 * @template {{ close(): Promise<void> }} S
 * @param {S} store
 * @returns {S}
 */
function opened(store) {
  stores.push(store);
  return store;
}
const cacheStore = () => opened(new SQLiteCacheStore({ database }));
const dedupeStore = () => opened(new SQLiteDedupeStore({ database }));
/** @param {ConstructorParameters<typeof SqliteAdaptiveRateLimitStore>[0]} [options] */
const adaptiveStore = (options) =>
  opened(new SqliteAdaptiveRateLimitStore({ database, ...options }));
/** @param {ConstructorParameters<typeof SQLiteRateLimitStore>[0]} [options] */
const plainStore = (options) => opened(new SQLiteRateLimitStore({ database, ...options }));

/**
 * @param {ConstructorParameters<typeof ComicVine>[0]['stores']} stores
 * @param {ConstructorParameters<typeof ComicVine>[0]['client']} [client]
 */
const clientWith = (stores, client) =>
  new ComicVine({ apiKey: 'test', baseUrl: api.baseUrl(), stores, client });

/** @param {Partial<import('../examples/demo/processes.mjs').RoleOptions>} [options] */
async function role(options) {
  const started = await startRole({
    name: `process-${roles.length + 1}`,
    priority: 'user',
    database,
    baseUrl: api.baseUrl(),
    apiKey: 'test',
    limits: {},
    ...options,
  });
  roles.push(started);
  return started;
}

describe('the cache store', () => {
  it('answers the second of two equal requests', async () => {
    const client = clientWith({ cache: cacheStore() });
    const first = await client.issue.retrieve(7);
    const second = await client.issue.retrieve(7);
    expect(first).toMatchObject({ id: 7, name: 'issue 7', dateAdded: '2008-06-06 11:27:37' });
    expect(second).toEqual(first);
    expect(api.count()).toBe(1);
  });

  it('tells apart ids, resources and field lists', async () => {
    const client = clientWith({ cache: cacheStore() });
    await client.issue.retrieve(7);
    await client.issue.retrieve(8);
    await client.character.retrieve(7);
    expect(await client.issue.retrieve(7, { fieldList: ['id'] })).toEqual({ id: 7 });
    expect(api.count()).toBe(4);
  });

  it('answers every page of a list', async () => {
    const client = clientWith({ cache: cacheStore() });
    const ids = async () => {
      const all = [];
      for await (const volume of client.volume.list()) all.push(volume.id);
      return all;
    };
    const first = await ids();
    expect(first).toHaveLength(250);
    expect(api.count()).toBe(3);
    expect(await ids()).toEqual(first);
    expect(api.count()).toBe(3);
  });

  it('answers in another client on the same file, and no longer after clearCache', async () => {
    const one = clientWith({ cache: cacheStore() });
    const other = clientWith({ cache: cacheStore() });
    await one.issue.retrieve(7);
    await other.issue.retrieve(7);
    expect(api.count()).toBe(1);
    await one.clearCache();
    await other.issue.retrieve(7);
    expect(api.count()).toBe(2);
  });

  it('stops answering when the TTL of the client has passed, with the dedupe store beside it', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const client = clientWith(
      { cache: cacheStore(), dedupe: dedupeStore() },
      { defaultCacheTTL: 60 },
    );
    await client.issue.retrieve(7);
    vi.setSystemTime(Date.now() + 59_999);
    await client.issue.retrieve(7);
    expect(api.count()).toBe(1);
    vi.setSystemTime(Date.now() + 1);
    await client.issue.retrieve(7);
    expect(api.count()).toBe(2);
  });
});

describe('the dedupe store', () => {
  it('makes one upstream call for each of several items asked for at once', async () => {
    const client = clientWith({
      cache: cacheStore(),
      dedupe: dedupeStore(),
      rateLimit: adaptiveStore(),
    });
    const ids = Array.from({ length: 50 }, (_, i) => (i % 5) + 1);
    const answers = await Promise.all(ids.map((id) => client.issue.retrieve(id)));
    expect(answers.map((issue) => issue.id)).toEqual(ids);
    expect(api.count()).toBe(5);
  });

  it('rejects all that shared a failed request, and lets the next one try again', async () => {
    const client = clientWith({ cache: cacheStore(), dedupe: dedupeStore() });
    api.failNext();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 5 }, () => client.issue.retrieve(7)),
    );
    expect(api.count()).toBe(1);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected' });
      expect(/** @type {PromiseRejectedResult} */ (outcome).reason).toBeInstanceOf(
        ComicVineGenericRequestError,
      );
    }
    await expect(client.issue.retrieve(7)).resolves.toMatchObject({ id: 7 });
    expect(api.count()).toBe(2);
  });
});

describe('errors of the API', () => {
  it('come out as the client’s own errors, are not cached and take no slot', async () => {
    const rateLimit = plainStore({ defaultConfig: { limit: 5, windowMs: 60_000 } });
    const dedupe = dedupeStore();
    const client = clientWith({ cache: cacheStore(), dedupe, rateLimit });
    for (const attempt of [1, 2]) {
      await expect(client.issue.retrieve(NO_SUCH_ID)).rejects.toBeInstanceOf(
        ComicVineObjectNotFoundError,
      );
      expect(api.count()).toBe(attempt);
    }
    expect(await dedupe.getStats()).toMatchObject({ totalJobs: 1, failedJobs: 1, pendingJobs: 0 });
    expect((await rateLimit.getStatus('issue')).remaining).toBe(5);

    const nobody = new ComicVine({ apiKey: '', baseUrl: api.baseUrl(), stores: { dedupe } });
    await expect(nobody.issue.retrieve(1)).rejects.toBeInstanceOf(ComicVineUnauthorizedError);
  });
});

describe('the plain rate limit store', () => {
  it('limits each resource by itself, until the window has moved on', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const client = clientWith({
      rateLimit: plainStore({ defaultConfig: { limit: 2, windowMs: 60_000 } }),
    });
    await client.issue.retrieve(1);
    vi.setSystemTime(Date.now() + 10_000);
    await client.issue.retrieve(2);
    await expect(client.issue.retrieve(3)).rejects.toThrow(
      "Rate limit exceeded for resource 'issue'. Wait 50000ms before retrying.",
    );
    await expect(client.character.retrieve(3)).resolves.toMatchObject({ id: 3 });
    expect(api.count()).toBe(3);
    // A request exactly as old as the window still counts.
    vi.setSystemTime(Date.now() + 50_001);
    await expect(client.issue.retrieve(3)).resolves.toMatchObject({ id: 3 });
  });

  it('does not stand in the way of cached answers', async () => {
    const client = clientWith({
      cache: cacheStore(),
      dedupe: dedupeStore(),
      rateLimit: plainStore({ defaultConfig: { limit: 1, windowMs: 60_000 } }),
    });
    const first = await client.issue.retrieve(1);
    await expect(client.issue.retrieve(2)).rejects.toThrow('Rate limit exceeded');
    expect(await client.issue.retrieve(1)).toEqual(first);
    expect(await client.getRateLimitStatus('issue')).toMatchObject({ limit: 1, remaining: 0 });
    await client.resetRateLimit('issue');
    await expect(client.issue.retrieve(2)).resolves.toMatchObject({ id: 2 });
  });

  it('tells a client that should not throw how long to wait', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    const client = clientWith(
      { rateLimit: plainStore({ defaultConfig: { limit: 1, windowMs: 30_000 } }) },
      { throwOnRateLimit: false },
    );
    await client.issue.retrieve(1);
    vi.setSystemTime(Date.now() + 5_000);
    const second = client.issue.retrieve(2);
    while (vi.getTimerCount() === 0) await delay(1);
    await vi.advanceTimersByTimeAsync(24_999);
    await delay(50);
    expect(api.count()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    await expect(second).resolves.toMatchObject({ id: 2 });
    expect(api.count()).toBe(2);
  });
});

describe('the adaptive rate limit store', () => {
  it('gets the priority of every request from the client', async () => {
    const rateLimit = adaptiveStore();
    const client = clientWith({ rateLimit });
    await client.character.retrieve(1, { priority: 'user' });
    await client.character.retrieve(2, { priority: 'user' });
    await client.character.retrieve(3, { priority: 'background' });
    await client.character.retrieve(4);
    await client.character.list({ priority: 'user' });
    expect((await rateLimit.getStatus('character')).adaptive?.recentUserActivity).toBe(2);
    await rateLimit.close();

    const file = new Database(database, { readonly: true });
    const rows = file.prepare('SELECT resource, priority FROM rate_limits ORDER BY id').raw().all();
    file.close();
    expect(rows).toEqual([
      ['character', 'user'],
      ['character', 'user'],
      ['character', 'background'],
      ['character', 'background'],
      // What the client calls every request of a list.
      ['unknown', 'user'],
    ]);
  });

  it('limits background requests while users still pass', async () => {
    const client = clientWith({
      rateLimit: adaptiveStore({
        defaultConfig: { limit: 10, windowMs: 60_000 },
        adaptiveConfig: { minUserReserved: 3 },
      }),
    });
    for (let id = 1; id <= 7; id += 1) await client.issue.retrieve(id);
    await expect(client.issue.retrieve(8)).rejects.toThrow('Rate limit exceeded');
    for (let id = 8; id <= 10; id += 1) await client.issue.retrieve(id, { priority: 'user' });
    expect(api.count()).toBe(10);
    await expect(client.issue.retrieve(11, { priority: 'user' })).rejects.toThrow(
      'Rate limit exceeded',
    );
    expect(api.count()).toBe(10);
  });
});

describe('a limiter with reservations', () => {
  it.each([
    ['plain', () => plainStore(EXACT)],
    ['adaptive', () => adaptiveStore({ ...EXACT, adaptiveConfig: { minUserReserved: 0 } })],
  ])('keeps the limit when requests are made at once: %s', async (_, makeStore) => {
    const rateLimit = makeStore();
    const client = clientWith({ cache: cacheStore(), dedupe: dedupeStore(), rateLimit });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => client.issue.retrieve(i + 1, { priority: 'user' })),
    );
    const answered = outcomes.filter(({ status }) => status === 'fulfilled').length;
    expect(api.count()).toBe(answered);
    // What the client was told is what was there: none too many, and no slot was left empty.
    expect(answered).toBe(rateLimit instanceof SQLiteRateLimitStore ? 5 : 1);
  });
});

describe('a connection of the user’s own', () => {
  it('serves all stores, and stays open', async () => {
    const connection = new Database(database);
    const client = clientWith({
      cache: opened(new SQLiteCacheStore({ database: connection })),
      dedupe: opened(new SQLiteDedupeStore({ database: connection })),
      rateLimit: opened(new SqliteAdaptiveRateLimitStore({ database: connection })),
    });
    const answers = await Promise.all([1, 1, 1, 2].map((id) => client.issue.retrieve(id)));
    expect(answers.map((issue) => issue.id)).toEqual([1, 1, 1, 2]);
    expect(api.count()).toBe(2);
    await Promise.all(stores.map((store) => store.close()));
    const count = (/** @type {string} */ table) =>
      connection.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
    expect(['cache', 'dedupe_jobs', 'rate_limits'].map(count)).toEqual([2, 2, 2]);
    connection.close();
  });
});

describe('CommonJS', () => {
  it('runs the CommonJS client on the CommonJS stores', async () => {
    const CommonJsClient = load('@comic-vine/client');
    const ours = load('../index.js');
    const client = new CommonJsClient({
      apiKey: 'test',
      baseUrl: api.baseUrl(),
      stores: {
        cache: opened(new ours.SQLiteCacheStore({ database })),
        dedupe: opened(new ours.SQLiteDedupeStore({ database })),
        rateLimit: opened(new ours.SqliteAdaptiveRateLimitStore({ database })),
      },
    });
    const answers = await Promise.all([1, 1, 2].map((id) => client.issue.retrieve(id)));
    expect(answers.map((/** @type {{ id: number }} */ issue) => issue.id)).toEqual([1, 1, 2]);
    await client.issue.retrieve(2);
    expect(api.count()).toBe(2);
  });
});

describe('several processes on one file', { timeout: 30_000 }, () => {
  it('share what one of them has fetched', async () => {
    const one = await role();
    const other = await role();
    expect(await one.ask('issue', [1, 2])).toMatchObject({ answered: 2, fromCache: 0 });
    expect(await other.ask('issue', [1, 2, 3])).toMatchObject({ answered: 3, fromCache: 2 });
    expect(api.count()).toBe(3);
  });

  it('are held to one limit together', async () => {
    const limits = { issue: { limit: 3, windowMs: 3_600_000 } };
    const one = await role({ limiter: 'plain', limits });
    const other = await role({ limiter: 'plain', limits });
    expect(await one.ask('issue', [1, 2])).toMatchObject({ answered: 2, limited: 0 });
    expect(await other.ask('issue', [3, 4])).toMatchObject({ answered: 1, limited: 1 });
    expect(await one.ask('issue', [5])).toMatchObject({ limited: 1 });
    expect(api.count()).toBe(3);
  });

  it('go on when the one that fetches for all is killed', async () => {
    const [one, other, third] = await Promise.all([role(), role(), role()]);
    api.hangNext();
    const lost = one.ask('issue', [7]).catch(() => undefined);
    while (api.count() === 0) await delay(1);
    const answers = [other, third].map((each) => each.ask('issue', [7, 7], { atOnce: true }));
    await delay(100);
    expect(api.count()).toBe(1);
    const killed = Date.now();
    await one.kill();
    await lost;
    expect(await Promise.all(answers)).toMatchObject([{ answered: 2 }, { answered: 2 }]);
    // The lease is valid for 4 s; the job timeout is 5 min.
    expect(Date.now() - killed).toBeLessThan(20_000);
    expect(api.count()).toBe(2);
  });

  it('find after a restart what was there before, also when the last ones were killed', async () => {
    const limits = { issue: { limit: 3, windowMs: 3_600_000 } };
    const one = await role({ limiter: 'plain', limits });
    const other = await role({ limiter: 'plain', limits });
    await one.ask('issue', [1, 2]);
    await other.ask('issue', [3]);
    await Promise.all([one.kill(), other.kill()]);

    const next = await role({ limiter: 'plain', limits });
    expect(await next.ask('issue', [1, 2, 3])).toMatchObject({ answered: 3, fromCache: 3 });
    expect(await next.ask('issue', [4])).toMatchObject({ limited: 1 });
    expect(api.count()).toBe(3);
  });
});

it('the demo shows it', { timeout: 60_000 }, async () => {
  const { COMICVINE_API_KEY: _, ...env } = process.env;
  const demo = spawn(
    process.execPath,
    [fileURLToPath(new URL('../examples/demo/main.mjs', import.meta.url))],
    { env },
  );
  let output = '';
  for (const stream of [demo.stdout, demo.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const status = await new Promise((resolve) => demo.once('close', resolve));
  expect(status, output).toBe(0);
  expect(output).toContain('Everything was as it should be.');
});
