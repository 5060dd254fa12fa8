'use strict';

// Which processes have a file open, and which locks of SQLite's they hold, as Linux shows it. Elsewhere nothing is known.

const {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
} = require('node:fs');
const { printable } = require('./values.js');

/** Of a WAL-index (sqlite.org/walformat.html, 2.3.1): the byte that who writes has locked, and those of who reads. */
const WRITES_LOG = 120;
const READS_LOG = { from: 123, to: 127 };

/** Of it, too: where it tells what was committed, and where to each of those who read what of it they see. */
const COMMITTED = { at: 0, bytes: 48 };
const SEEN = { at: 100, bytes: 4 };

/** Of a database in another mode (sqlite.org/src/file/src/os.h): the bytes that who is about to write has locked. */
const WRITES_FILE = { from: 0x40000000, to: 0x40000001 };

/** Of the database (sqlite.org/fileformat.html, 1.3): what differs after each commit. */
const CHANGES = { at: 24, bytes: 4 };

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
 * Some bytes of a file. Closing it takes the locks away that this process has on it: it is to have none.
 * @param {string} path @param {{ at: number, bytes: number }} part
 */
function bytesOf(path, { at, bytes }) {
  return tried(() => {
    const descriptor = openSync(path, 'r');
    try {
      const found = Buffer.alloc(bytes);
      readSync(descriptor, found, 0, bytes, at);
      return found.toString('hex');
    } finally {
      closeSync(descriptor);
    }
  }, '');
}

/**
 * Who holds locks now, as somebody who writes, or who reads from the log. `at` stays while it is one transaction.
 * @param {string} path
 * @returns {{ pid: number, does: 'writes' | 'reads', at: string }[]}
 */
function lockersOf(path) {
  const covers = (
    /** @type {{ from: number, to: number }} */ lock,
    /** @type {{ from: number, to: number }} */ range,
  ) => lock.from <= range.to && lock.to >= range.from;
  const index = `${path}-shm`;
  const ofLog = locksOn(index).flatMap((lock) => {
    if (lock.isExclusive && covers(lock, { from: WRITES_LOG, to: WRITES_LOG }))
      return [{ ...lock, does: 'writes', at: bytesOf(index, COMMITTED) }];
    if (lock.isExclusive || !covers(lock, READS_LOG)) return [];
    const at = SEEN.at + SEEN.bytes * (lock.from - READS_LOG.from);
    return [{ ...lock, does: 'reads', at: `${lock.from} ${bytesOf(index, { ...SEEN, at })}` }];
  });
  const ofFile = locksOn(path)
    .filter((lock) => lock.isExclusive && covers(lock, WRITES_FILE))
    .map((lock) => ({ ...lock, does: 'writes', at: bytesOf(path, CHANGES) }));
  return /** @type {any} */ ([...ofLog, ...ofFile].map(({ pid, does, at }) => ({ pid, does, at })));
}

/** @param {number} ms */
function pause(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** How often it is looked who has locks, and how long after each other, in ms. */
const LOOKS = 20;
const BETWEEN = 15;

/**
 * Who has been in the same transaction for a while: each of many looks saw it. This process is not to have the file open.
 * @param {string} path
 * @returns {{ pid: number, does: 'writes' | 'reads', command: string }[]}
 */
function lastingLockersOf(path) {
  const keyOf = (/** @type {ReturnType<typeof lockersOf>[0]} */ { pid, does, at }) =>
    `${pid} ${does} ${at}`;
  let lasting = lockersOf(path);
  for (let look = 1; look < LOOKS && lasting.length > 0; look++) {
    pause(BETWEEN);
    const again = new Set(lockersOf(path).map(keyOf));
    lasting = lasting.filter((lock) => again.has(keyOf(lock)));
  }
  // Who writes to a log reads from it, too.
  const does = new Map(lasting.map((lock) => [lock.pid, lock.does]));
  for (const lock of lasting) if (lock.does === 'writes') does.set(lock.pid, lock.does);
  does.delete(process.pid);
  return [...does].map(([pid, what]) => ({ pid, does: what, command: commandOf(pid) }));
}

module.exports = { lastingLockersOf, usersOf };
