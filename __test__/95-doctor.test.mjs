// What the command `doctor` finds: each fault that is planted, with what is to be done about it, and nothing on sound files.
import {
  chmodSync,
  copyFileSync,
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { at, Files, NOW, run, trace } from './support/command-line.mjs';

const program = fileURLToPath(new URL('../tools/cli.js', import.meta.url));
const isLinux = process.platform === 'linux';
const files = new Files();
afterEach(() => files.end());
afterAll(() => files.remove());

/** Changes a file. @param {string} path @param {string[]} statements */
function change(path, ...statements) {
  const db = new Database(path);
  for (const sql of statements) db.exec(sql);
  db.close();
}

/**
 * What is found that is not as it should be. A trace is left nowhere.
 * @param {string} path
 * @returns {Promise<{ check: string, level: string, what: string, remedy: string }[]>}
 */
async function examine(path) {
  const before = trace(path);
  const { code, stdout, stderr } = await run(at(program, 'doctor', path, '--json'));
  expect(stderr).toBe('');
  expect(trace(path)).toEqual(before);
  const found = JSON.parse(stdout).findings.filter(
    (/** @type {any} */ { level }) => level !== 'ok',
  );
  const isFine = found.every((/** @type {any} */ { level }) => level === 'note');
  expect(code).toBe(isFine ? 0 : 1);
  return found;
}

/** A file without what a closed store leaves: a job that nobody has ended. @param {object} [options] */
async function sound(options) {
  const path = await files.make('closed', options);
  change(
    path,
    "DELETE FROM dedupe_leases WHERE hash = 'under way'",
    "DELETE FROM dedupe_jobs WHERE hash = 'under way'",
  );
  return path;
}

/** Fills the first page of a table with what is no page. @param {string} path @param {string} table */
function damage(path, table) {
  const db = new Database(path);
  const page = Number(
    db.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').pluck().get(table),
  );
  db.close();
  const bytes = readFileSync(path);
  bytes.fill(0xa5, 4096 * (page - 1), 4096 * page);
  writeFileSync(path, bytes);
}

/** Has a table made anew, by what is done to the text that made it. @param {string} path @param {string} table @param {string} columns */
const replace = (path, table, columns) =>
  change(path, `DROP TABLE ${table}`, `CREATE TABLE ${table} (${columns})`);

/**
 * The faults: what is done to a sound file, which check finds it at which level, and something that is said.
 * @type {[name: string, plant: (path: string) => void | Promise<void>, check: string, level: string, said: RegExp][]}
 */
const FAULTS = [
  ['a damaged page', (path) => damage(path, 'cache'), 'integrity', 'error', /malformed|damaged/],
  [
    'no database',
    (path) => writeFileSync(path, 'text '.repeat(1000)),
    'file',
    'error',
    /not a database/,
  ],
  ['no table', (path) => writeFileSync(path, ''), 'schema', 'warning', /no table of the stores/],
  [
    "a view in a table's place",
    (path) => change(path, 'ALTER TABLE cache RENAME TO c', 'CREATE VIEW cache AS SELECT * FROM c'),
    'schema',
    'error',
    /cache is a view/,
  ],
  [
    'a table without an essential column',
    (path) => replace(path, 'cache', 'hash TEXT PRIMARY KEY, value BLOB, created_at INTEGER'),
    'schema',
    'error',
    /no column expires_at/,
  ],
  [
    'a dropped index',
    (path) => change(path, 'DROP INDEX idx_cache_expires_at'),
    'schema',
    'warning',
    /idx_cache_expires_at of cache is missing/,
  ],
  [
    'an index of a later version that is missing',
    (path) => change(path, 'DROP INDEX idx_dedupe_created_at'),
    'schema',
    'note',
    /idx_dedupe_created_at/,
  ],
  [
    'an index with other columns',
    (path) =>
      change(
        path,
        'DROP INDEX idx_dedupe_status',
        'CREATE INDEX idx_dedupe_status ON dedupe_jobs(hash, status)',
      ),
    'schema',
    'warning',
    /dedupe_jobs\(hash,status\) instead of dedupe_jobs\(status\)/,
  ],
  [
    'a trigger',
    (path) => change(path, 'CREATE TRIGGER own AFTER INSERT ON rate_limits BEGIN SELECT 1; END'),
    'triggers',
    'warning',
    /own runs with each change of rate_limits/,
  ],
  [
    'a file that cannot be written',
    (path) => chmodSync(path, 0o444),
    'files',
    'warning',
    /file cannot be written/,
  ],
  ['two names', (path) => linkSync(path, `${path}-other`), 'files', 'warning', /2 names/],
  [
    'a value that is no JSON',
    (path) => change(path, "UPDATE cache SET value = '{' WHERE hash = 'plain'"),
    'values',
    'warning',
    /1 value is no JSON: plain/,
  ],
  [
    'a value whose text is none',
    (path) => change(path, `UPDATE cache SET value = '"{"' WHERE hash = 'plain'`),
    'values',
    'warning',
    /plain/,
  ],
  [
    'times ahead',
    (path) => change(path, `UPDATE rate_limits SET timestamp = ${NOW + 3_600_000}`),
    'times',
    'warning',
    /6 requests were made later than now/,
  ],
  [
    'a cooldown of days',
    (path) => change(path, `UPDATE server_cooldowns SET cooldown_until = ${NOW * 2}`),
    'times',
    'warning',
    /1 cooldown lasts for more than a day/,
  ],
  [
    'a job that nobody goes on with',
    (path) =>
      change(
        path,
        `UPDATE dedupe_jobs SET status = 'pending', created_at = ${NOW - 2 * 86_400_000}`,
        'DELETE FROM dedupe_leases',
      ),
    'jobs',
    'warning',
    /2 jobs are pending for more than a day/,
  ],
  [
    'a lease of a job that is gone',
    (path) => change(path, 'DELETE FROM dedupe_jobs'),
    'leases',
    'note',
    /2 leases are of no job/,
  ],
  [
    'a tag of an entry that is gone',
    (path) => change(path, "INSERT INTO cache_tags VALUES ('issue', 'gone')"),
    'tags',
    'note',
    /1 tag is of an entry that is gone/,
  ],
  [
    'a newer version',
    (path) => change(path, "UPDATE store_settings SET version = '100.0.0'"),
    'versions',
    'note',
    /Version 100\.0\.0 has written/,
  ],
  [
    'many free pages',
    (path) =>
      change(
        path,
        `INSERT INTO cache VALUES ('large', zeroblob(${40 * 1024 * 1024}), 0, 0)`,
        "DELETE FROM cache WHERE hash = 'large'",
      ),
    'room',
    'warning',
    /9\d % of the file are free/,
  ],
];

describe('doctor finds', () => {
  test.each(FAULTS)('%s', async (_, plant, check, level, said) => {
    const path = await sound();
    await plant(path);
    const found = await examine(path);
    expect(found).toContainEqual({
      check,
      level,
      what: expect.stringMatching(said),
      remedy: expect.stringMatching(/\w.*[.:]/),
    });
    // No other check is wrong about it, but where nothing can be read.
    if (check !== 'integrity')
      expect(
        found.filter((finding) => finding.check !== check && finding.level !== 'note'),
      ).toEqual([]);
  });

  test('totals that are wrong', async () => {
    const path = await sound({ maxEntries: 100 });
    expect(await examine(path)).toEqual([]);
    change(path, 'UPDATE cache_totals SET entries = entries + 1');
    expect(await examine(path)).toMatchObject([
      {
        check: 'totals',
        level: 'warning',
        what: expect.stringMatching(/7 entries .* 6 /),
        remedy: expect.stringContaining('.'),
      },
    ]);
  });

  test('texts in UTF-16, which are no fault', async () => {
    const path = files.fresh();
    change(path, "PRAGMA encoding = 'UTF-16le'", 'CREATE TABLE own (a)');
    const store = await files.start('open', path, { isIdle: true });
    store.end();
    await store.done();
    const found = await examine(path);
    expect(found).toMatchObject([
      {
        check: 'encoding',
        level: 'note',
        what: expect.stringContaining('UTF-16le'),
        remedy: expect.stringContaining('.'),
      },
    ]);
  });

  test('a journal that is to be rolled back', async () => {
    const path = await sound({ journalMode: 'delete' });
    const db = new Database(path);
    // A cache of few pages: changes are in the file before they are committed.
    db.pragma('cache_size = 2');
    db.pragma('cache_spill = 2');
    db.exec('BEGIN; UPDATE cache SET value = zeroblob(30000)');
    copyFileSync(path, `${path}.died`);
    copyFileSync(`${path}-journal`, `${path}.died-journal`);
    db.exec('ROLLBACK');
    db.close();
    renameSync(`${path}.died`, path);
    renameSync(`${path}.died-journal`, `${path}-journal`);
    const found = await examine(path);
    expect(found).toMatchObject([
      {
        check: 'journal',
        level: 'warning',
        what: expect.stringContaining('rolled back'),
        remedy: expect.stringContaining('Never remove the -journal'),
      },
    ]);
  });

  test('a log without its index, and a job whose owner is dead', async () => {
    const path = files.fresh();
    await (await files.start('open', path)).kill();
    rmSync(`${path}-shm`);
    expect(await examine(path)).toMatchObject([
      {
        check: 'journal',
        level: 'warning',
        what: expect.stringContaining('without its index'),
        remedy: expect.stringContaining('Never remove the -wal'),
      },
      {
        check: 'jobs',
        level: 'warning',
        what: '1 pending job has an owner that is dead.',
        remedy: expect.stringContaining('takes it over'),
      },
    ]);
  });

  test.runIf(isLinux).each([
    { who: 'reads', mode: 'wal', begin: 'BEGIN', said: 'has been reading' },
    { who: 'writes', mode: 'wal', begin: 'BEGIN IMMEDIATE', said: 'keeps others from writing' },
    { who: 'writes', mode: 'delete', begin: 'BEGIN IMMEDIATE', said: 'keeps others from writing' },
  ])('who $who for long, in journal mode $mode', async ({ begin, mode, said }) => {
    const path = await sound({ journalMode: mode });
    const program = await files.start('transaction', path, { options: { begin } });
    const found = await examine(path);
    expect(found.filter(({ level }) => level !== 'note')).toMatchObject([
      {
        check: 'locks',
        level: 'warning',
        what: expect.stringContaining(`Process ${program.process.pid} (`),
        remedy: expect.stringContaining('end its transaction'),
      },
    ]);
    expect(found.find(({ level }) => level === 'warning')?.what).toContain(said);
    expect(found.some(({ level, what }) => level === 'note' && what.includes('is open in'))).toBe(
      true,
    );
  });
});

describe('doctor finds nothing wrong', () => {
  const faults = async (/** @type {string} */ path) =>
    (await examine(path)).filter(({ level }) => level !== 'note');

  test('with a file of 0.2.0', async () => {
    expect(await faults(await files.make('older'))).toEqual([]);
  });

  test.each([
    { name: 'of ours', options: {} },
    { name: 'in journal mode delete', options: { journalMode: 'delete' } },
    { name: 'with bounds', options: { maxEntries: 4, maxSizeBytes: 10_000 } },
  ])('with a file $name, open or closed', async ({ options }) => {
    const path = files.fresh();
    const owner = await files.start('open', path, { isIdle: true, options });
    await files.start('reader', path, { options });
    expect(await faults(path)).toEqual([]);
    await files.end();
    await owner.ended;
    expect(await examine(path)).toEqual(
      options.journalMode === 'delete'
        ? [expect.objectContaining({ check: 'journal', level: 'note' })]
        : [],
    );
  });

  test('while somebody writes without pause', async () => {
    const path = files.fresh();
    await files.start('writing', path);
    for (let n = 0; n < 3; n++) {
      const { code, stdout } = await run(at(program, 'doctor', path, '--json'));
      const wrong = JSON.parse(stdout).findings.filter(
        (/** @type {any} */ { level }) => !['ok', 'note'].includes(level),
      );
      expect({ code, wrong }).toEqual({ code: 0, wrong: [] });
    }
  });
});
