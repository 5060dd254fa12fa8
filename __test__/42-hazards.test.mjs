// What can end a user's day: each as it is reported by users of such stores, in a process of its own. The variable STORES
// has another build of the package tried.

import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { freemem } from 'node:os';
import { describe, expect, it } from 'vitest';
import { isolate } from './support/isolate.mjs';

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
