// `once` of the factory's result: work is done by one of those who want its result, in however many processes.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createSQLiteStores } from '../index.mjs';

const { Program } = createRequire(import.meta.url)('./support/processes.cjs');

const ROUNDS = Number(process.env.ROUNDS ?? 50);
const PROCESSES = 4;
const CALLERS = 5;

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'once-'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(directory, { recursive: true, force: true });
});

/** @type {Record<string, () => { database?: any, release?: () => void }>} */
const databases = {
  'a path': () => ({ database: join(directory, 'stores.db') }),
  memory: () => ({}),
  'a connection': () => {
    const database = new Database(join(directory, 'stores.db'));
    return { database, release: () => database.close() };
  },
};

describe.each(Object.entries(databases))('on %s', (_, open) => {
  /** @type {any} */
  let stores;
  /** @type {(() => void) | undefined} */
  let release;
  beforeEach(() => {
    const { database, release: let_go } = open();
    release = let_go;
    stores = createSQLiteStores({ database });
  });
  afterEach(async () => {
    await stores.close();
    release?.();
  });

  it('callers of one process share the work, and later ones find it in the cache', async () => {
    const work = vi.fn(async () => ({ n: 1 }));
    const ask = () => stores.once('key', work, { ttlSeconds: 60, tags: ['tag'] });
    const answers = await Promise.all(Array.from({ length: 20 }, ask));
    expect(answers).toEqual(Array.from({ length: 20 }, () => ({ n: 1 })));
    expect(new Set(answers).size).toBe(20);
    expect(await ask()).toEqual({ n: 1 });
    expect(work).toHaveBeenCalledTimes(1);
    expect(await stores.cache.get('key')).toEqual({ n: 1 });
    expect(await stores.cache.invalidateByTag('tag')).toBe(1);
    // What has been done a moment ago is no longer wanted.
    expect(await ask()).toEqual({ n: 1 });
    expect(work).toHaveBeenCalledTimes(2);
  });

  it('work that fails fails all who wait for it, and the next does it anew', async () => {
    const failure = new TypeError('failed');
    let fails = true;
    const work = vi.fn(async () => {
      if (fails) throw failure;
      return null;
    });
    const ask = () => stores.once('key', work, { ttlSeconds: 60 });
    const outcomes = await Promise.allSettled([ask(), ask(), ask()]);
    expect(outcomes.map((outcome) => /** @type {any} */ (outcome).reason)).toEqual([
      failure,
      failure,
      failure,
    ]);
    expect(work).toHaveBeenCalledTimes(1);
    fails = false;
    expect(await ask()).toBeNull();
    expect(await ask()).toBeNull();
    expect(work).toHaveBeenCalledTimes(2);
  });

  it('work that was called off is taken over by one of those who wait', async () => {
    const aborted = Object.assign(new Error('called off'), { name: 'AbortError' });
    const work = vi.fn(async () => {
      if (work.mock.calls.length === 1) throw aborted;
      return 'done';
    });
    const ask = () => stores.once('key', work, { ttlSeconds: 60 });
    const outcomes = await Promise.allSettled([ask(), ask(), ask()]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
    ]);
    expect(work).toHaveBeenCalledTimes(2);
  });

  it('work that throws at once, and a result without a JSON form, fail as any', async () => {
    const thrown = () => {
      throw new RangeError('at once');
    };
    await expect(stores.once('key', thrown, { ttlSeconds: 60 })).rejects.toThrow('at once');
    const outcomes = await Promise.allSettled(
      [1, 2].map(() => stores.once('other', () => () => {}, { ttlSeconds: 60 })),
    );
    for (const outcome of outcomes)
      expect(String(/** @type {any} */ (outcome).reason)).toMatch(/Failed to serialize value/);
    // It is nobody's any more.
    expect(await stores.once('other', () => 1, { ttlSeconds: 60 })).toBe(1);
  });

  it('what has been stored meanwhile is not done again', async () => {
    const work = vi.fn();
    const { registerOrJoin } = stores.dedupe;
    stores.dedupe.registerOrJoin = async (/** @type {string} */ hash) => {
      // Another has done it, between the look at the cache and the registration.
      await stores.cache.set(hash, 'stored', 60);
      return registerOrJoin.call(stores.dedupe, hash);
    };
    expect(await stores.once('key', work, { ttlSeconds: 60 })).toBe('stored');
    expect(work).not.toHaveBeenCalled();
    expect(await stores.dedupe.isInProgress('key')).toBe(false);
  });

  it('a value that is too large to be kept goes to all who wait', async () => {
    await stores.close();
    const { database, release: let_go } = open();
    stores = createSQLiteStores({ database, cache: { maxEntrySizeBytes: 10 } });
    const work = vi.fn(async () => 'x'.repeat(100));
    const answers = await Promise.all(
      [1, 2, 3].map(() => stores.once('key', work, { ttlSeconds: 60 })),
    );
    expect(new Set(answers)).toEqual(new Set(['x'.repeat(100)]));
    expect(work).toHaveBeenCalledTimes(1);
    await stores.close();
    let_go?.();
  });

  it.each([
    [['key', 5, { ttlSeconds: 1 }], /^work must be a function, got 5$/],
    [['key', () => {}], /^options must be an object, got undefined$/],
    [['key', () => {}, {}], /^ttlSeconds must be a number of seconds, got undefined$/],
    [['key', () => {}, { ttlSeconds: Number.NaN }], /^ttlSeconds must be a number of seconds/],
    [['key', () => {}, { ttlSeconds: 1, tags: 'tag' }], /^tags must be an array of strings/],
    [['key', () => {}, { ttlSeconds: 1, tags: [5] }], /^tags\[0\] must be a string, got 5$/],
    [[5, () => {}, { ttlSeconds: 1 }], /^hash must be a string, got 5$/],
  ])('refuses %j before any work is done', async (args, message) => {
    const promise = stores.once(...args);
    await expect(promise).rejects.toThrow(message);
    await expect(promise).rejects.toThrow(TypeError);
  });
});

describe('callers in several processes', () => {
  /** @type {any[]} */
  let programs = [];
  afterEach(async () => {
    await Promise.all(programs.map((program) => program.kill()));
  });

  /** @param {number} ttlSeconds */
  async function start(ttlSeconds) {
    const database = join(directory, 'stores.db');
    programs = Array.from(
      { length: PROCESSES },
      () => new Program('once.cjs', { database, callers: CALLERS, ttlSeconds }),
    );
    for (const program of programs) expect(await program.line()).toBe('ready');
  }
  /** @param {object} wanted @param {any[]} [of] */
  async function round(wanted, of = programs) {
    for (const program of of) program.write(JSON.stringify(wanted));
    const lines = await Promise.all(of.map((program) => program.line()));
    const answers = lines.map((line) => JSON.parse(line));
    return {
      worked: answers.reduce((sum, { worked }) => sum + worked, 0),
      got: answers.flatMap(({ got }) => got),
    };
  }

  it(`${PROCESSES * CALLERS} callers, one call of the work, ${ROUNDS} times`, async () => {
    await start(1_000);
    for (let n = 0; n < ROUNDS; n++) {
      const { worked, got } = await round({ key: `key ${n}` });
      expect([n, worked, new Set(got).size, got.length]).toEqual([n, 1, 1, PROCESSES * CALLERS]);
    }
  });

  it(`the same of an entry that has just expired, ${ROUNDS} times`, async () => {
    await start(1_000);
    const database = new Database(join(directory, 'stores.db'));
    const expire = database.prepare("UPDATE cache SET expires_at = 1 WHERE hash = 'key'");
    for (let n = 0; n < ROUNDS; n++) {
      const { worked, got } = await round({ key: 'key' });
      expect([n, worked, new Set(got).size, got.length]).toEqual([n, 1, 1, PROCESSES * CALLERS]);
      // As if time had passed, while what was done still is served to those who wait for it.
      expect(expire.run().changes).toBe(1);
    }
    database.close();
  });

  it('all get the error of the one whose work fails', async () => {
    await start(1_000);
    const { worked, got } = await round({ key: 'key', fails: true });
    // Who comes when it has failed does it anew.
    expect(worked).toBeGreaterThan(0);
    expect(new Set(got)).toEqual(new Set(['TypeError: no key']));
  });

  it('another does the work of one that dies', async () => {
    await start(1_000);
    const [first, ...others] = programs;
    first.write(JSON.stringify({ key: 'key', dies: true }));
    expect((await first.ended).signal).toBe('SIGKILL');
    const { worked, got } = await round({ key: 'key' }, others);
    expect([worked, new Set(got).size, got.length]).toEqual([1, 1, 3 * CALLERS]);
  });
});
