// What can end a user's day: each as it is reported by users of such stores, in a process of its own. The variable STORES
// has another build of the package tried.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startDbInspector } from './support/db-inspector.mjs';
import { isolate } from './support/isolate.mjs';
import { ours } from './support/packages.mjs';

const { ask: askChild, child } = createRequire(import.meta.url)('./support/processes.cjs');

const { path } = isolate();

/** @param {string} scenario @param {Record<string, unknown>} [input] @param {{ env?: NodeJS.ProcessEnv, timeout?: number }} [options] */
const ask = async (scenario, input = {}, options = {}) => {
  const database = path('stores.db');
  const seen = await askChild(
    'hazards.cjs',
    { scenario, path: database, ...input },
    { timeout: 60_000, ...options },
  );
  console.log(`${scenario} ${JSON.stringify(input)}: ${JSON.stringify(seen)}`);
  return seen;
};

describe('housekeeping', () => {
  it('on a connection, removes little at once, in turns of the event loop', async () => {
    expect(await ask('cleanupOnConnection')).toEqual({
      megabytesAtOnce: 3,
      turns: true,
      totalItems: 0,
    });
  });
});

describe('leases', () => {
  it('end with their jobs, so that to renew one costs the same beside any number of them', async () => {
    expect(await ask('leases')).toEqual({ leases: 1 });
  });

  it('are renewed of a job that was registered twice at once, and of no store that has ended', async () => {
    expect(await ask('registrations')).toEqual({ isRenewed: true, ends: 0 });
  });

  it.each([
    ['close', false],
    ['destroy', false],
    ['exit', false],
    ['collected', false],
    ['close', true],
    ['destroy', true],
    ['exit', true],
  ])(
    'are given up, with claims, by a store that ends: %s, on a connection: %s',
    async (how, onConnection) => {
      expect(await ask('endWithJobs', { how, onConnection })).toEqual({
        isInProgress: false,
        leases: 0,
        waiter: { value: null },
      });
    },
  );
});

describe.runIf(process.platform === 'linux')('threads that the system refuses', () => {
  it('hold no call up: what is bounded works, the rest is refused, and the next works', async () => {
    const library = path('refuse-threads.so');
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, child('refuse-threads.c'), '-ldl']);
    const flag = path('refuse');
    const env = { ...process.env, LD_PRELOAD: library, REFUSE_THREADS: flag };
    const { refused, allowed, closed } = await ask('refusedThreads', { flag }, { env });
    expect(refused).toEqual({
      set: 'resolved',
      get: 'resolved',
      cleanup: 'SQLITE_STORE_NO_THREAD',
      getStats: 'SQLITE_STORE_NO_THREAD',
      large: 'resolved',
      record: 'resolved',
      canProceed: 'resolved',
      register: 'SQLITE_STORE_NO_THREAD',
      waitFor: 'resolved',
      again: 'resolved',
      waitForAnother: 'SQLITE_STORE_NO_THREAD',
    });
    expect(new Set(Object.values(allowed))).toEqual(new Set(['resolved']));
    expect(closed).toBe('resolved');
  });
});

describe('a store', () => {
  it('that is made while another process has the lock works, though another store ends meanwhile', async () => {
    expect(await ask('madeWhileAnotherEnds')).toEqual({
      register: { value: 'registered' },
      record: { value: 'recorded' },
    });
  });
});

describe('a file', () => {
  it.runIf(process.platform === 'linux').each([
    ['wal', false],
    ['wal', true],
    ['delete', true],
  ])(
    'with many requests is indexed in the background: journal mode %s, adaptive: %s',
    async (journalMode, isAdaptive) => {
      const requests = 300_000;
      expect(await ask('largeFile', { journalMode, isAdaptive, requests })).toEqual({
        constructing: 'short',
        turns: true,
        canProceed: false,
        total: requests + 1,
        indexes: isAdaptive ? 2 : 1,
      });
    },
  );

  it('that is replaced, and open in another process, keeps what that writes', async () => {
    expect(await ask('replacedAndShared')).toEqual({
      sees: 'new',
      firstSees: 'new',
      acknowledged: 300,
      own: ['first', 'second'],
      integrity: 'ok',
    });
  });

  it.each([
    [false, ['before', 'meanwhile']],
    [true, ['after', 'before', 'meanwhile']],
  ])('that is moved keeps its log, moved back: %s', async (back, rows) => {
    expect(await ask('moved', { back })).toEqual({ warnings: [], rows });
  });

  it('whose log is removed under it is opened afresh, and the process is warned', async () => {
    expect(await ask('lostLog', { action: 'write' })).toEqual({
      warnings: ['COMIC_VINE_SQLITE_STORE_LOG_LOST'],
      noticed: 1,
      integrity: 'ok',
      peers: 50,
      sure: 50,
    });
  });

  it('whose log is removed under it is not damaged by a store that closes', async () => {
    expect(await ask('lostLog', { action: 'close' })).toEqual({
      warnings: ['COMIC_VINE_SQLITE_STORE_LOG_LOST'],
      noticed: null,
      integrity: 'ok',
      peers: 50,
      sure: 0,
    });
  });

  it.each([
    ['cache', 4_000],
    ['other', 200_000],
  ])('whose schema holds a deep expression, in table %s, is refused', async (table, terms) => {
    const seen = await ask('deepExpression', { table, terms });
    expect(new Set(Object.values(seen))).toEqual(new Set(['SQLITE_CORRUPT']));
  });
});

describe('two copies of the package', () => {
  const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

  it.skipIf(process.platform === 'win32').each(['first', 'second'])(
    'in one process do not use one file; this one is the %s',
    async (place) => {
      const copy = path('node_modules', 'copy');
      for (const name of ['index.js', 'package.json', 'lib']) {
        cpSync(join(root, name), join(copy, name), { recursive: true });
      }
      mkdirSync(path('files'));
      const [first, second] = place === 'first' ? [root, copy] : [copy, root];
      expect(await askChild('copies.cjs', { first, second, directory: path('files') })).toEqual({
        codes: ['SQLITE_STORE_OTHER_COPY'],
        named: true,
        elsewhere: ['made', 'made'],
        after: 'made',
        value: 1,
        back: 'SQLITE_STORE_OTHER_COPY',
        made: true,
        madeByBoth: 0,
      });
    },
  );
});

describe.runIf(process.platform === 'linux')('a file whose last store is being closed', () => {
  it('is open once, however soon the next store is made', async () => {
    const input = { path: path('stores.db') };
    expect(await askChild('reopened.cjs', input, { node: ['--expose-gc'] })).toEqual({
      warnings: [],
      most: 1,
      lost: 0,
    });
  });
});

const hasMemory = freemem() > 6 * 1024 ** 3;
if (!hasMemory) console.warn('SKIPPED: a value of 540 MB, for which there is too little memory');

describe.runIf(hasMemory)('a value whose text no string can have', () => {
  it('is refused when it is stored', async () => {
    expect(await ask('hugeText', {}, { timeout: 120_000 })).toEqual({
      set: 'SQLITE_TOOBIG',
      get: { value: null },
      complete: 'SQLITE_TOOBIG',
    });
  });
});

describe('a commit', () => {
  it('that took effect and is reported as failed is not made again', async () => {
    expect(await ask('failedCommit')).toEqual({ rejected: 30, rows: 30 });
  });
});

describe.each([{}, { synchronous: 'full' }, { journalMode: 'delete' }])(
  'tables that another program drops, %o',
  (options) => {
    const inspector = startDbInspector();
    const TABLES = ['cache', 'dedupe_jobs', 'dedupe_leases', 'rate_limits'];
    const all = [...TABLES, 'rate_limit_reservations', 'adaptive_state'].map((name) => [
      `DROP TABLE ${name}`,
    ]);
    const plain = [
      ['DROP TABLE rate_limits'],
      ['CREATE TABLE rate_limits (id INTEGER PRIMARY KEY, resource TEXT, timestamp INTEGER)'],
    ];

    /** @param {(stores: any) => Promise<void>} test */
    async function withStores(test) {
      const make = (/** @type {string} */ name) =>
        new /** @type {any} */ (ours)[name]({
          database: path('stores.db'),
          busyTimeoutMs: 2_000,
          reservationMs: 60_000,
          ...options,
        });
      const stores = {
        cache: make('SQLiteCacheStore'),
        dedupe: make('SQLiteDedupeStore'),
        limits: make('SQLiteRateLimitStore'),
        adaptive: make('SqliteAdaptiveRateLimitStore'),
      };
      try {
        await test(stores);
      } finally {
        for (const store of Object.values(stores)) store.destroy();
      }
    }

    it('are made anew by the next call', () =>
      withStores(async ({ cache, dedupe, limits, adaptive }) => {
        /** @type {[() => Promise<unknown>, unknown][]} */
        const calls = [
          [() => cache.get('key'), undefined],
          [() => cache.set('key', 1, 60), undefined],
          [() => cache.getStats(), expect.objectContaining({ totalItems: 0 })],
          [() => cache.cleanup(), undefined],
          [() => dedupe.waitFor('job'), undefined],
          [() => dedupe.register('job'), expect.any(String)],
          [() => dedupe.complete('job', 1), undefined],
          [() => dedupe.isInProgress('job'), false],
          [() => dedupe.getStats(), expect.objectContaining({ totalJobs: 0 })],
          ...[limits, adaptive].flatMap((store) => [
            /** @type {[() => Promise<unknown>, unknown]} */ ([() => store.canProceed('r'), true]),
            /** @type {[() => Promise<unknown>, unknown]} */ ([() => store.acquire('r'), true]),
            /** @type {[() => Promise<unknown>, unknown]} */ ([() => store.record('r'), undefined]),
            /** @type {[() => Promise<unknown>, unknown]} */ ([() => store.getWaitTime('r'), 0]),
            /** @type {[() => Promise<unknown>, unknown]} */ ([() => store.reset('r'), undefined]),
          ]),
          // Several in one transaction: none is lost, none is made twice.
          [
            () =>
              Promise.all([cache.set('a', 1, 60), limits.record('a'), limits.record('a')]).then(
                () => limits.getStats(),
              ),
            expect.objectContaining({ totalRequests: 2 }),
          ],
        ];
        for (const [index, [call, expected]] of calls.entries()) {
          await inspector.change(path('stores.db'), ...all);
          expect([index, await call()]).toEqual([index, expected]);
        }
        for (const call of [() => adaptive.acquire('r', 'user'), () => adaptive.getStatus('r')]) {
          await inspector.change(path('stores.db'), ...plain);
          await call();
        }
        expect(await inspector.checkIntegrity(path('stores.db'))).toBe('ok');
      }));

    it('and that cannot be made are told of, and others work', () =>
      withStores(async ({ cache, limits }) => {
        await inspector.change(
          path('stores.db'),
          ['DROP TABLE cache'],
          ['CREATE VIEW cache AS SELECT 1 AS hash, 2 AS value'],
        );
        const started = performance.now();
        await expect(cache.set('key', 1, 60)).rejects.toMatchObject({ name: 'SqliteError' });
        await expect(cache.get('key')).rejects.toMatchObject({ name: 'SqliteError' });
        expect(await limits.acquire('r')).toBe(true);
        expect(performance.now() - started).toBeLessThan(1_500);
        await inspector.change(path('stores.db'), ['DROP VIEW cache']);
        await cache.set('key', 1, 60);
        expect(await cache.get('key')).toBe(1);
      }));

    it('are not made for the sake of one that is not ours', () =>
      withStores(async ({ cache }) => {
        await inspector.change(path('stores.db'), [
          'CREATE TRIGGER t AFTER INSERT ON cache BEGIN INSERT INTO audit VALUES (1); END',
        ]);
        await expect(cache.set('key', 1, 60)).rejects.toThrow('no such table: main.audit');
      }));
  },
);
