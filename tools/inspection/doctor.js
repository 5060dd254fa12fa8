'use strict';

// Whether a file is healthy: what is looked at, what was found, and what is to be done about it.

const { accessSync, constants, existsSync, lstatSync, statSync, statfsSync } = require('node:fs');
const path = require('node:path');
const { lastingLockersOf, usersOf } = require('./processes.js');
const { journalMode, size } = require('./stats.js');
const { decode } = require('./values.js');

const MIB = 1024 * 1024;
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/**
 * `ok`: looked at, and as it should be. `note`: worth knowing, and nothing to be done about. `warning`: works, and should be
 * seen to. `error`: data are lost or will be, or the file cannot be used.
 * @typedef {{ check: string, level: 'ok' | 'note' | 'warning' | 'error', what: string, remedy: string }} Finding
 * @typedef {(level: Finding['level'], what: string, remedy?: string) => void} Tell
 * @typedef {{ file: import('./file.js').File, now: number, name: string }} Patient
 */

/** @param {number} number @param {string} one @param {string} [many] */
const things = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** The tables and indexes of a database, with their columns. */
const SCHEMA = `SELECT type, name, tbl_name AS of, CASE type
    WHEN 'index' THEN (SELECT group_concat(coalesce(name, '(expression)')) FROM pragma_index_info(m.name, 'main'))
    ELSE (SELECT group_concat(name) FROM pragma_table_info(m.name, 'main')) END AS columns
  FROM main.sqlite_schema m WHERE name NOT LIKE 'sqlite_%' ORDER BY type DESC, name`;

/** What 0.2.0 made: without it no version can use a table. @type {Record<string, string[]>} */
const ESSENTIAL = {
  cache: ['hash', 'value', 'expires_at', 'created_at'],
  dedupe_jobs: ['hash', 'job_id', 'status', 'result', 'error', 'created_at', 'updated_at'],
  rate_limits: ['id', 'resource', 'timestamp'],
};

const BACKUP =
  'Stop its processes, and put a backup in its place. What can be read is saved by `sqlite3 FILE .recover`.';
const REOPEN = 'A store of this version makes it when it opens the file.';
const CLEANUP = 'cleanup() of a store does away with it; stores call it at an interval.';

/** @type {Record<string, (patient: Patient, tell: Tell) => void>} */
const CHECKS = {
  integrity({ file }, tell) {
    const lines = file
      .all('PRAGMA main.integrity_check(10)')
      .map((row) => String(Object.values(row)[0]));
    if (lines.length === 1 && lines[0] === 'ok')
      return tell('ok', 'Every page and index is sound.');
    for (const line of lines) tell('error', `The file is damaged: ${line}.`, BACKUP);
  },

  schema({ file }, tell) {
    const expected = file.allExpected(SCHEMA);
    const found = new Map(file.all(SCHEMA).map((row) => [String(row.name), row]));
    const tables = expected.filter(({ type }) => type === 'table');
    const others = tables.filter(
      ({ name }) => found.has(name) && found.get(name)?.type !== 'table',
    );
    for (const { name } of others)
      tell(
        'error',
        `${name} is a ${found.get(name)?.type}, where a table of the stores belongs.`,
        'Rename or drop it.',
      );
    const there = tables.filter(({ name }) => found.get(name)?.type === 'table');
    if (there.length === 0)
      tell(
        'warning',
        'The file has no table of the stores.',
        'Look whether it is the right file. A store makes its tables.',
      );
    for (const { name, columns } of there) {
      const has = String(found.get(name)?.columns).split(',');
      const missing = String(columns)
        .split(',')
        .filter((column) => !has.includes(column));
      const essential = (ESSENTIAL[name] ?? []).filter((column) => !has.includes(column));
      if (essential.length > 0)
        tell(
          'error',
          `The table ${name} has no column ${essential.join(', ')}.`,
          `It is another program's: rename or drop it.`,
        );
      else if (missing.length > 0)
        tell('note', `The table ${name} has no column ${missing.join(', ')} yet.`, REOPEN);
    }
    for (const { name, of, columns } of expected.filter(({ type }) => type === 'index')) {
      if (!there.some((table) => table.name === of)) continue;
      const index = found.get(name);
      if (!index) missingIndex(name, of, there, tell);
      else if (index.of !== of || index.columns !== columns)
        tell(
          'warning',
          `The index ${name} is on ${index.of}(${index.columns}) instead of ${of}(${columns}).`,
          `Drop it. ${REOPEN}`,
        );
    }
    if (others.length === 0 && there.length > 0)
      tell('ok', `${things(there.length, 'table')} of the stores.`);
  },

  triggers({ file }, tell) {
    const found = file.all(
      `SELECT name, tbl_name AS of FROM main.sqlite_schema WHERE type = 'trigger'
      AND tbl_name IN (${file.allExpected("SELECT name FROM sqlite_schema WHERE type = 'table'").map(({ name }) => `'${name}'`)})`,
    );
    for (const { name, of } of found)
      tell(
        'warning',
        `The trigger ${name} runs with each change of ${of}.`,
        'The stores make none: drop it unless it is yours.',
      );
    if (found.length === 0) tell('ok', 'No trigger is on a table of the stores.');
  },

  encoding({ file }, tell) {
    const encoding = String(Object.values(file.get('PRAGMA encoding') ?? {})[0]);
    if (encoding === 'UTF-8') return tell('ok', 'Texts are stored as UTF-8.');
    tell(
      'note',
      `Texts are stored as ${encoding}.`,
      'It works, and takes more room. A new file has UTF-8.',
    );
  },

  journal({ file }, tell) {
    const hasLog = existsSync(`${file.path}-wal`);
    if (existsSync(`${file.path}-journal`) && file.access === 'copy') {
      return tell(
        'warning',
        'A process died amid a transaction: its journal is to be rolled back.',
        'The next to open the file does that. Never remove the -journal.',
      );
    }
    if (hasLog && file.access === 'copy') {
      return tell(
        'warning',
        'A write-ahead log lies beside the file without its index: the system went down, or the files were copied.',
        'The next to open the file carries it out. Never remove the -wal, and copy files with the command backup.',
      );
    }
    if (journalMode(file) === 'wal') return tell('ok', 'The journal mode is WAL.');
    tell(
      'note',
      'The journal mode is delete: readers and writers wait for each other.',
      'A store without the option journalMode sets WAL.',
    );
  },

  log({ file, name }, tell) {
    const [log, database] = [size(`${file.path}-wal`), size(file.path)];
    if (log <= Math.max(128 * MIB, database))
      return tell('ok', `The write-ahead log has ${(log / MIB).toFixed(1)} MiB.`);
    tell(
      'warning',
      `The write-ahead log of ${name} has ${Math.round(log / MIB)} MiB, and the file ${Math.round(database / MIB)} MiB.`,
      'Somebody reads all the time, or for very long: see "locks". It shrinks once nobody does.',
    );
  },

  locks({ file }, tell) {
    const lockers = lastingLockersOf(file.path);
    for (const { pid, does, command } of lockers) {
      const what = does === 'writes' ? 'keeps others from writing' : 'has been reading';
      const why =
        does === 'writes'
          ? 'A transaction of it is open.'
          : 'The log cannot be begun anew meanwhile.';
      tell(
        'warning',
        `Process ${pid} (${command}) ${what} for some time.`,
        `${why} Have it end its transaction, or stop it.`,
      );
    }
    const users = usersOf(file.path).map(({ pid, command }) => `${pid} (${command})`);
    if (users.length > 0) tell('note', `The file is open in ${users.join(', ')}.`);
    if (lockers.length === 0) tell('ok', 'No process holds a lock for long.');
  },

  files({ file, name }, tell) {
    const before = tell;
    let isFine = true;
    const note = (/** @type {Parameters<Tell>} */ ...told) => {
      isFine = false;
      before(...told);
    };
    for (const [what, of] of [
      ['file', file.path],
      ['directory', path.dirname(file.path)],
      ['log', `${file.path}-wal`],
      ['index of the log', `${file.path}-shm`],
    ]) {
      if (!existsSync(of)) continue;
      if (!isWritable(of))
        note(
          'warning',
          `The ${what} cannot be written by this user: ${of}.`,
          'Give the user of the stores the right to.',
        );
      const [owner, expected] = [statSync(of).uid, statSync(file.path).uid];
      if (what !== 'directory' && owner !== expected)
        note(
          'warning',
          `The ${what} belongs to user ${owner}, and the file to ${expected}.`,
          'Give it to the same user: chown.',
        );
    }
    const { nlink } = statSync(file.path);
    if (nlink > 1)
      note(
        'warning',
        `The file has ${nlink} names (hard links).`,
        'By each name SQLite looks for another log, so that commits are lost: keep one name.',
      );
    if (lstatSync(name).isSymbolicLink()) note('note', `${name} is a link to ${file.path}.`);
    if (isFine) tell('ok', 'The file and those beside it can be written, and have one owner.');
  },

  volume({ file }, tell) {
    const { type, bavail, bsize } = statfsSync(file.path);
    const [network, free] = [NETWORK.get(type), bavail * bsize];
    if (network)
      tell(
        'error',
        `The file lies on a network file system (${network}): locks and shared memory do not work between machines there.`,
        'Move it to a local disk. Several machines share a server: docs/scale-out.md.',
      );
    if (free < 16 * MIB)
      tell(
        'error',
        `${Math.floor(free / MIB)} MiB are free on the volume.`,
        'Make room: writes fail without.',
      );
    else if (free < size(file.path))
      tell(
        'warning',
        `${Math.floor(free / MIB)} MiB are free on the volume, less than the file has.`,
        'Make room: vacuum and a large log need it.',
      );
    else if (!network) tell('ok', `${Math.floor(free / MIB)} MiB are free on a local volume.`);
  },

  room({ file }, tell) {
    const pragma = (/** @type {string} */ name) => file.number(`PRAGMA ${name}`);
    const [free, all] = [pragma('freelist_count'), pragma('page_count')];
    const bytes = free * pragma('page_size');
    if (bytes < 16 * MIB || free < all / 2)
      return tell('ok', `${things(free, 'page is', 'pages are')} free in the file.`);
    tell(
      'warning',
      `${Math.floor((100 * free) / all)} % of the file are free: ${Math.round(bytes / MIB)} MiB.`,
      'The command vacuum gives them back.',
    );
  },

  values({ file }, tell) {
    // SQLite's own parser is stricter about depth: what it refuses is looked at again.
    const rows =
      file.all(`SELECT hash, value FROM (SELECT hash, value, CAST(value AS TEXT) AS text FROM cache)
      WHERE NOT json_valid(text) OR (json_type(text) = 'text' AND NOT json_valid(json_extract(text, '$'))) LIMIT 1000`);
    const wrong = rows
      .filter(({ value }) => decode(value).problem !== null)
      .map(({ hash }) => String(hash));
    if (wrong.length === 0) return tell('ok', 'All values of the cache can be read.');
    tell(
      'warning',
      `${things(wrong.length, 'value is', 'values are')} no JSON: ${wrong.slice(0, 3).join(', ')}${wrong.length > 3 ? ', …' : ''}.`,
      'A store reads such an entry as absent, and removes it. purge KEY does, too.',
    );
  },

  times({ file, now }, tell) {
    const late = [
      ['cache', 'created_at', 'entries of the cache were stored'],
      ['dedupe_jobs', 'created_at', 'jobs were registered'],
      ['rate_limits', 'timestamp', 'requests were made'],
    ].filter(([table]) => hasTable(file, table));
    let isFine = true;
    for (const [table, column, what] of late) {
      const found = file.number(
        `SELECT COUNT(*) FROM main.${table} WHERE ${column} > ? OR typeof(${column}) NOT IN ('integer', 'real')`,
        now + MINUTE,
      );
      if (found === 0) continue;
      isFine = false;
      tell(
        'warning',
        `${found} ${what} later than now, or at no time: a clock was ahead, or is behind.`,
        'Look at the clocks of all machines. Stores correct such times when they meet them.',
      );
    }
    const cooldown = file.number(
      'SELECT COUNT(*) FROM server_cooldowns WHERE cooldown_until > ?',
      now + DAY,
    );
    if (cooldown > 0) {
      isFine = false;
      tell(
        'warning',
        `${things(cooldown, 'cooldown lasts', 'cooldowns last')} for more than a day.`,
        'clearCooldown(key) of a limiter ends it.',
      );
    }
    if (isFine) tell('ok', 'No time lies ahead.');
  },

  jobs({ file, now }, tell) {
    const pending = file.all(`SELECT j.hash, j.created_at, l.owner, l.expires_at FROM dedupe_jobs j
      LEFT JOIN dedupe_leases l ON l.hash = j.hash AND l.job_id = j.job_id WHERE j.status = 'pending'`);
    const dead = pending.filter(
      ({ owner }) => owner !== null && file.isOwnerAlive(String(owner)) === false,
    );
    const old = pending.filter(
      (job) => !dead.includes(job) && job.created_at < now - DAY && !(job.expires_at > now),
    );
    if (dead.length > 0)
      tell(
        'warning',
        `${things(dead.length, 'pending job has', 'pending jobs have')} an owner that is dead.`,
        `The next to wait for it takes it over. ${CLEANUP}`,
      );
    if (old.length > 0)
      tell(
        'warning',
        `${things(old.length, 'job is', 'jobs are')} pending for more than a day, and nobody renews a lease.`,
        CLEANUP,
      );
    if (dead.length + old.length === 0)
      tell('ok', `${things(pending.length, 'job is', 'jobs are')} pending.`);
  },

  leases({ file, now }, tell) {
    const found = file.number(
      `SELECT COUNT(*) FROM dedupe_leases l WHERE l.expires_at < ? AND NOT EXISTS
        (SELECT 1 FROM dedupe_jobs j WHERE j.hash = l.hash AND j.job_id = l.job_id)`,
      now - MINUTE,
    );
    if (found > 0)
      tell('note', `${things(found, 'lease is', 'leases are')} of no job any more.`, CLEANUP);
    else tell('ok', 'Every lease is of a job or claim.');
  },

  tags({ file }, tell) {
    const found = file.number(
      'SELECT COUNT(*) FROM cache_tags t WHERE NOT EXISTS (SELECT 1 FROM cache c WHERE c.hash = t.hash)',
    );
    if (found > 0)
      tell(
        'note',
        `${things(found, 'tag is', 'tags are')} of an entry that is gone: older versions leave them.`,
        CLEANUP,
      );
    else tell('ok', 'Every tag is of an entry.');
  },

  totals({ file }, tell) {
    const told = file.get('SELECT entries, bytes FROM cache_totals WHERE id = 1');
    if (!told) return tell('ok', 'The cache has no bounds.');
    const counted = file.get(
      'SELECT COUNT(*) AS entries, coalesce(SUM(length(value)), 0) AS bytes FROM cache',
    );
    if (told.entries === counted?.entries && told.bytes === counted?.bytes)
      return tell(
        'ok',
        `The totals of the cache are right: ${things(Number(told.entries), 'entry', 'entries')}.`,
      );
    tell(
      'warning',
      `The totals say ${told.entries} entries and ${told.bytes} bytes, and there are ${counted?.entries} and ${counted?.bytes}.`,
      'A version that does not count writes to the file. The next clean-up of a store with bounds corrects them.',
    );
  },

  versions({ file }, tell) {
    const own = require('../../package.json').version;
    const told = file
      .all('SELECT DISTINCT version FROM store_settings')
      .map(({ version }) => String(version));
    const newer = told.filter((version) => version.localeCompare(own, 'en', { numeric: true }) > 0);
    if (newer.length > 0)
      tell(
        'note',
        `Version ${newer.join(', ')} has written to the file, and this is ${own}.`,
        'Use the newer one to look at it.',
      );
    else
      tell(
        'ok',
        told.length > 0
          ? `Version ${told.join(', ')} has written to it.`
          : 'No version has said that it was here.',
      );
  },
};

/** @param {string} name @param {string} of @param {Record<string, any>[]} there @param {Tell} tell */
function missingIndex(name, of, there, tell) {
  const isOld = [
    'idx_cache_expires_at',
    'idx_dedupe_status',
    'idx_rate_limit_resource',
    'idx_rate_limit_timestamp',
  ];
  // The bounds' own index is made with their tables.
  if (name === 'idx_cache_length' && !there.some((table) => table.name === 'cache_totals')) return;
  if (name.includes('priority') && !there.some((table) => table.name === 'adaptive_state')) return;
  const what = `The index ${name} of ${of} is missing`;
  if (isOld.includes(name))
    tell('warning', `${what}: somebody has dropped it, and calls take longer.`, REOPEN);
  else tell('note', `${what}: an older version made the file.`, REOPEN);
}

/** @param {import('./file.js').File} file @param {string} name */
function hasTable(file, name) {
  return (
    file.number("SELECT COUNT(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?", name) >
    0
  );
}

/** @param {string} of */
function isWritable(of) {
  try {
    accessSync(of, constants.W_OK);
    // Root may write anything: what is told is what the mode says to others.
    return (statSync(of).mode & 0o222) !== 0;
  } catch {
    return false;
  }
}

/** File systems of other machines, by the numbers of statfs(2). */
const NETWORK = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x61756673, 'AUFS'],
]);

/** What is looked at without reading the file as a database: of one that cannot be read, too. */
const OUTSIDE = ['locks', 'files', 'volume'];

/** What is to be done about one, by the beginning of the error's code. */
const UNREADABLE = [
  {
    code: 'SQLITE_BUSY',
    remedy:
      'Another process has it to itself: see "locks". Have it end its transaction, or stop it.',
  },
  {
    code: 'SQLITE_NOTADB',
    remedy:
      'It is no database of SQLite, or its beginning is damaged. Look whether it is the right file.',
  },
];

/**
 * Examines a file.
 * @param {import('./file.js').File} file
 * @param {{ now: number, name?: string }} options  `name`: by which it was given
 * @returns {{ findings: Finding[] }}
 */
function doctor(file, { now, name = file.path }) {
  /** @type {Finding[]} */
  const findings = [];
  /** @param {string} check @param {() => void} look */
  const run = (check, look) => {
    try {
      look();
    } catch (error) {
      const { remedy } = UNREADABLE.find(({ code }) => String(error.code).startsWith(code)) ?? {};
      findings.push({ check, level: 'error', what: `${error.message}.`, remedy: remedy ?? BACKUP });
    }
  };
  /** @param {string} check */
  const examine = (check) => {
    const tell = (/** @type {Finding['level']} */ level, /** @type {string} */ what, remedy = '') =>
      void findings.push({ check, level, what, remedy });
    CHECKS[check]({ file, now, name }, tell);
  };
  run('file', () => file.snapshot(() => {}));
  const canRead = findings.length === 0;
  for (const check of Object.keys(CHECKS)) {
    if (OUTSIDE.includes(check)) run(check, () => examine(check));
    else if (canRead) run(check, () => file.snapshot(() => examine(check)));
  }
  return { findings };
}

module.exports = { doctor };
