// Small volumes, and a limit on the size of files, in processes of their own. The variable STORES has another build of the
// package tried.

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { isolate } from './support/isolate.mjs';

const { ask } = createRequire(import.meta.url)('./support/processes.cjs');

const { path } = isolate();

/** A command that runs another one in a namespace where a volume of this size is mounted. @param {string} size @param {string} at */
const onVolume = (size, at) => [
  ...['unshare', '-Urm', 'sh', '-c', 'mount -t tmpfs -o "size=$0" none "$1" && shift && exec "$@"'],
  ...[size, at],
];

const mayMount =
  spawnSync('unshare', ['-Urm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0;
if (!mayMount) console.warn('SKIPPED: volumes cannot be mounted here, so none is filled');

/**
 * @param {string} scenario
 * @param {string} journalMode
 * @param {object} input
 * @param {string[]} under
 */
async function see(scenario, journalMode, input, under) {
  const options = { under, timeout: 100_000 };
  const seen = await ask(
    'volumes.cjs',
    { scenario, journalMode, path: path('stores.db'), ...input },
    options,
  );
  console.log(`${scenario} ${JSON.stringify(input)}: ${JSON.stringify(seen)}`);
  return seen;
}

const FULL = { code: 'SQLITE_FULL', message: 'database or disk is full' };

const ways = [
  ['cache', 'delete'],
  ['cache', 'clear'],
  ['cache', 'cleanup'],
  ['large', 'delete'],
  ['large', 'cleanup'],
  ['dedupe', 'clear'],
  ['dedupe', 'cleanup'],
  ['rates', 'clear'],
  ['rates', 'cleanup'],
  ['adaptive', 'clear'],
  ['adaptive', 'cleanup'],
];

describe.each(['wal', 'delete'])('in journal mode %s', (journalMode) => {
  describe.runIf(mayMount)('a small volume', () => {
    const under = (size = '2m') => onVolume(size, path('.'));

    it.each(['2m', '4m', '8m'])(
      'of %s takes any number of writes of what it has room for',
      async (size) => {
        expect(await see('overwrite', journalMode, { count: 4_000 }, under(size))).toEqual({
          resolved: 4_000,
          atOnce: { resolved: 4_000 },
          last: '3999',
          leavesReserve: true,
          again: 1_000,
        });
      },
    );

    it.each(ways)('that was filled by store %s is emptied by %s', async (kind, empty) => {
      expect(await see('fill', journalMode, { kind, empty }, under())).toEqual({
        filled: true,
        refused: FULL,
        emptied: { resolved: 1 },
        isEmpty: true,
        again: true,
        next: 1_000,
      });
    });

    it('that others filled refuses writes until there is room', async () => {
      expect(await see('other', journalMode, {}, under('8m'))).toEqual({
        refused: { resolved: 0, ...FULL },
        atOnce: ['SQLITE_FULL: database or disk is full'],
        read: 1_000,
        elsewhere: { thrown: FULL.code, message: FULL.message },
        freed: { resolved: 5 },
        again: 1_000,
      });
    });
  });

  describe.runIf(process.platform === 'linux')('a limit of 2 MB on the size of files', () => {
    // In blocks of 512 bytes.
    const under = ['sh', '-c', 'ulimit -f 4096 && exec "$0" "$@"'];

    // A journal is no longer than what is written.
    it.runIf(journalMode === 'wal')('holds up no writes of what there is room for', async () => {
      expect(await see('overwrite', journalMode, { count: 4_000 }, under)).toMatchObject({
        resolved: 4_000,
        atOnce: { resolved: 4_000 },
        again: 1_000,
      });
    });

    it.each(['delete', 'clear', 'cleanup'])('that was met can be left by %s', async (empty) => {
      expect(await see('fill', journalMode, { kind: 'cache', empty }, under)).toMatchObject({
        refused: { code: journalMode === 'wal' ? 'SQLITE_FULL' : 'SQLITE_IOERR_WRITE' },
        emptied: { resolved: 1 },
        isEmpty: true,
        again: true,
        next: 1_000,
      });
    });
  });
});
