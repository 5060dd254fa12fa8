'use strict';

// Which processes have a file open, and which locks of SQLite's they hold, as Linux shows it. Elsewhere nothing is known.

const { readdirSync, readFileSync, readlinkSync, statSync } = require('node:fs');
const { printable } = require('./values.js');

/** Of a WAL-index (sqlite.org/walformat.html, 2.3.1): the byte that who writes has locked, and those of who reads. */
const WRITES_LOG = 120;
const READS_LOG = { from: 123, to: 127 };

/** Of a database in another mode (sqlite.org/src/file/src/os.h): the bytes that who is about to write has locked. */
const WRITES_FILE = { from: 0x40000000, to: 0x40000001 };

/** @template T @param {() => T} read @param {T} otherwise @returns {T} */
function tried(read, otherwise) {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** @param {string} path */
function fileOf(path) {
  return tried(() => {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev} ${ino}`;
  }, undefined);
}

/** What runs in a process. @param {number} pid */
function commandOf(pid) {
  const line = tried(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'), '');
  return printable(line.split('\0').filter(Boolean).join(' ')).slice(0, 100);
}

/**
 * The processes that have the file open, other than this one.
 * @param {string} path @returns {{ pid: number, command: string }[]}
 */
function usersOf(path) {
  const wanted = fileOf(path);
  const pids = tried(() => readdirSync('/proc'), [])
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
  const has = (/** @type {number} */ pid) =>
    tried(() => readdirSync(`/proc/${pid}/fd`), []).some((descriptor) => {
      const link = `/proc/${pid}/fd/${descriptor}`;
      return tried(() => readlinkSync(link), '') === path && fileOf(link) === wanted;
    });
  return wanted === undefined
    ? []
    : pids.filter(has).map((pid) => ({ pid, command: commandOf(pid) }));
}

/** The locks on a file. @param {string} path @returns {{ pid: number, isExclusive: boolean, from: number, to: number }[]} */
function locksOn(path) {
  const inode = tried(() => String(statSync(path, { bigint: true }).ino), '');
  const lines = tried(() => readFileSync('/proc/locks', 'utf8'), '').split('\n');
  return lines.flatMap((line) => {
    // For example: `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 120 120`. Those who wait have an arrow.
    const parts =
      /^\d+: (?:POSIX|OFDLCK)\s+\S+\s+(READ|WRITE)\s+(-?\d+)\s+\w+:\w+:(\d+)\s+(\d+)\s+(\d+|EOF)/.exec(
        line,
      );
    if (!parts || parts[3] !== inode) return [];
    const [, mode, pid, , from, to] = parts;
    return [
      {
        pid: Number(pid),
        isExclusive: mode === 'WRITE',
        from: Number(from),
        to: to === 'EOF' ? Number.POSITIVE_INFINITY : Number(to),
      },
    ];
  });
}

/**
 * Who holds locks now: as somebody who writes, or who reads from the log.
 * @param {string} path
 * @returns {{ pid: number, does: 'writes' | 'reads' }[]}
 */
function lockersOf(path) {
  const covers = (
    /** @type {{ from: number, to: number }} */ lock,
    /** @type {{ from: number, to: number }} */ range,
  ) => lock.from <= range.to && lock.to >= range.from;
  const ofLog = locksOn(`${path}-shm`).flatMap((lock) => {
    if (lock.isExclusive && covers(lock, { from: WRITES_LOG, to: WRITES_LOG }))
      return [{ ...lock, does: 'writes' }];
    return !lock.isExclusive && covers(lock, READS_LOG) ? [{ ...lock, does: 'reads' }] : [];
  });
  const ofFile = locksOn(path)
    .filter((lock) => lock.isExclusive && covers(lock, WRITES_FILE))
    .map((lock) => ({ ...lock, does: 'writes' }));
  return /** @type {any} */ ([...ofLog, ...ofFile].map(({ pid, does }) => ({ pid, does })));
}

/** @param {number} ms */
function pause(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/**
 * Who has held the same lock for a while: each of some looks saw it.
 * @param {string} path
 * @returns {{ pid: number, does: 'writes' | 'reads', command: string }[]}
 */
function lastingLockersOf(path) {
  const keyOf = (/** @type {{ pid: number, does: string }} */ { pid, does }) => `${pid} ${does}`;
  let lasting = lockersOf(path);
  for (let look = 0; look < 4 && lasting.length > 0; look++) {
    pause(75);
    const again = new Set(lockersOf(path).map(keyOf));
    lasting = lasting.filter((lock) => again.has(keyOf(lock)));
  }
  const found = new Map(
    lasting.map((lock) => [keyOf(lock), { ...lock, command: commandOf(lock.pid) }]),
  );
  return [...found.values()].filter(({ pid }) => pid !== process.pid);
}

module.exports = { lastingLockersOf, usersOf };
