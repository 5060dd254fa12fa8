// Whatever a caller or a file system comes up with: never a crash, a hang or a synchronous throw from a method, always
// an error that says what was wrong, and a store that goes on working.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isolate } from './support/isolate.mjs';
import { ours, reference } from './support/packages.mjs';
import { randomSource } from './support/seed.mjs';

const { ask, run } = createRequire(import.meta.url)('./support/processes.cjs');

const classes = [
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
];

const { path, files } = isolate();

/** @type {Record<string, [string, number]>} a title and the least number of cases */
const parts = {
  options: ['in every option', 500],
  arguments: ['in every argument', 500],
  receivers: ['as the receiver of a method', 50],
  reentry: ["from the caller's own code within a call", 80],
  limits: ['as the configuration of a resource', 200],
};

describe.each(classes)('%s takes anything', (name) => {
  for (const [part, [title, least]] of Object.entries(parts)) {
    if (part === 'limits' && !name.includes('Rate')) continue;
    it(title, async () => {
      const ended = await run('hostile.cjs', { name, part }, { cwd: dirname(path('x')) });
      // Where it ended, if not by itself.
      const last = ended.stderr.slice(-500);
      expect({ ...ended, stderr: '', stdout: '' }, last).toMatchObject({ code: 0, signal: null });
      const { cases, problems } = JSON.parse(ended.stdout);
      expect(problems).toEqual({});
      expect(cases).toBeGreaterThan(least);
    });
  }
});

/** Everything in the directory, with its contents. Only while nothing in this process has it open. */
function snapshot() {
  return readdirSync(path('.'), { recursive: true, withFileTypes: true })
    .map((entry) => {
      const file = join(entry.parentPath, entry.name);
      const { mode } = entry.isSymbolicLink() ? { mode: 0 } : statSync(file);
      const content = entry.isFile()
        ? createHash('sha256').update(readFileSync(file)).digest('hex')
        : '';
      return `${file} ${mode.toString(8)} ${content}`;
    })
    .sort();
}

/**
 * What all four stores say of a file, each in the same words; with each of several options in turn.
 * @param {string} database
 * @param {{ options?: object[], uid?: number }} [options]
 * @returns {Promise<any[]>}
 */
const openAll = (database, { options = [{}], ...rest } = {}) =>
  ask('open.cjs', { path: database, options }, rest);

/** @param {any} error */
const isClear = (error) =>
  error.isError &&
  error.name === 'SqliteError' &&
  /^SQLITE_[A-Z_]+$/.test(error.code) &&
  error.message.length > 5 &&
  !error.message.includes('internal error');

/** @param {unknown} answer @param {string[]} codes */
function expectRefused(answer, codes) {
  const { opened } = /** @type {any} */ (answer);
  expect(opened, JSON.stringify(answer)).toMatchObject({
    isError: true,
    name: 'SqliteError',
    code: expect.any(String),
  });
  expect(isClear(opened)).toBe(true);
  expect(codes).toContain(opened.code);
}

describe('what is not a database', () => {
  const random = randomSource('what is not a database');
  const bytes = (/** @type {number} */ length) =>
    Buffer.from(Array.from({ length }, () => random.below(256)));
  const magic = Buffer.from('SQLite format 3\0');

  /** @type {[string, () => Buffer][]} */
  const contents = [
    // A file of one byte counts as empty with SQLite.
    ...[2, 16, 99, 512, 4_097, 100_000].map(
      (length) =>
        /** @type {[string, () => Buffer]} */ ([`${length} random bytes`, () => bytes(length)]),
    ),
    ['text', () => Buffer.from('Not a database.\n'.repeat(1_000))],
    ['the magic alone', () => magic],
    ['the magic, then random bytes', () => Buffer.concat([magic, bytes(8_000)])],
    ['the magic, then zeros', () => Buffer.concat([magic, Buffer.alloc(8_000)])],
    ['a compressed file', () => Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), bytes(5_000)])],
  ];

  it.each(contents)('%s', async (_title, make) => {
    writeFileSync(path('stores.db'), make());
    const before = snapshot();
    const options = [{}, { journalMode: 'delete' }, { synchronous: 'full' }];
    const answers = await openAll(path('stores.db'), { options });
    expect(answers).toHaveLength(options.length * classes.length);
    for (const answer of answers) expectRefused(answer, ['SQLITE_NOTADB', 'SQLITE_CORRUPT']);
    expect(snapshot()).toEqual(before);
  });

  it('a directory', async () => {
    mkdirSync(path('stores.db'));
    const before = snapshot();
    for (const answer of await openAll(path('stores.db'))) {
      expectRefused(answer, ['SQLITE_CANTOPEN', 'SQLITE_CANTOPEN_ISDIR']);
    }
    expect(snapshot()).toEqual(before);
  });

  it('a path below a file', async () => {
    writeFileSync(path('file'), 'text');
    const before = snapshot();
    for (const { opened } of await openAll(path('file', 'stores.db'))) {
      expect(opened.isError).toBe(true);
      expect(opened.code ?? opened.message).toMatch(
        /^SQLITE_CANTOPEN|the directory does not exist: '.+'$/,
      );
    }
    expect(snapshot()).toEqual(before);
  });

  it('a path in a directory that is missing', async () => {
    for (const { opened } of await openAll(path('missing', 'stores.db'))) {
      expect(opened).toMatchObject({
        name: 'TypeError',
        message: `Cannot open database because the directory does not exist: '${path('missing')}'`,
      });
    }
    expect(files()).toEqual([]);
  });

  it('a path with NUL', async () => {
    for (const database of [path('a\0b.db'), '\0', `${path('a.db')}\0`]) {
      for (const { opened } of await openAll(database)) {
        expect(opened.name).toBe('TypeError');
        expect(opened.message).toMatch(/^database must be /);
      }
    }
    expect(files()).toEqual([]);
  });

  it('a name that is too long', async () => {
    for (const answer of await openAll(path('n'.repeat(300)))) {
      expectRefused(answer, ['SQLITE_CANTOPEN', 'SQLITE_CANTOPEN_FULLPATH', 'SQLITE_IOERR']);
    }
    expect(files()).toEqual([]);
  });

  it('a loop of symbolic links', async () => {
    symlinkSync(path('one.db'), path('other.db'));
    symlinkSync(path('other.db'), path('one.db'));
    for (const answer of await openAll(path('one.db'))) {
      expectRefused(answer, ['SQLITE_CANTOPEN', 'SQLITE_CANTOPEN_SYMLINK']);
    }
    expect(files()).toEqual(['one.db', 'other.db']);
  });

  it('a named pipe', async () => {
    execFileSync('mkfifo', [path('pipe.db')]);
    for (const { opened } of await openAll(path('pipe.db'))) {
      expect(isClear(opened), JSON.stringify(opened)).toBe(true);
    }
    expect(files()).toEqual(['pipe.db']);
  });

  it('a socket', async () => {
    const server = createServer();
    await new Promise((resolve) => server.listen(path('socket.db'), () => resolve(undefined)));
    for (const answer of await openAll(path('socket.db'))) {
      expectRefused(answer, ['SQLITE_CANTOPEN']);
    }
    expect(files()).toEqual(['socket.db']);
    await new Promise((resolve) => server.close(resolve));
  });
});

// Permissions do not bind root.
const uid = process.getuid?.() === 0 ? 65_534 : undefined;

describe.skipIf(process.platform === 'win32')('without permission', () => {
  beforeEach(() => {
    chmodSync(path('.'), 0o755);
    mkdirSync(path('open'));
    chmodSync(path('open'), 0o777);
  });

  /** A file with all tables, in the journal mode that 0.2.0 leaves. @param {string} file */
  async function makeOld(file) {
    const stores = classes.map((name) => {
      const Store = /** @type {any} */ (reference)[name];
      return new Store({ database: file });
    });
    await stores[0].set('key', 'old', 1_000);
    for (const store of stores) await store.close();
  }

  /** The same as ours leaves it. @param {string} file */
  async function makeOurs(file) {
    const stores = classes.map((name) => new /** @type {any} */ (ours)[name]({ database: file }));
    await stores[0].set('key', 'ours', 1_000);
    for (const store of stores) store.destroy();
  }

  it('a file that may not be read', async () => {
    await makeOld(path('open', 'stores.db'));
    chmodSync(path('open', 'stores.db'), 0o000);
    const before = snapshot();
    for (const answer of await openAll(path('open', 'stores.db'), { uid })) {
      expectRefused(answer, ['SQLITE_CANTOPEN']);
    }
    expect(snapshot()).toEqual(before);
  });

  it('a directory that may not be entered', async () => {
    mkdirSync(path('closed'));
    await makeOld(path('closed', 'stores.db'));
    chmodSync(path('closed'), 0o600);
    for (const { opened } of await openAll(path('closed', 'stores.db'), { uid })) {
      expect(opened.isError).toBe(true);
      expect(opened.code ?? opened.message).toMatch(
        /^SQLITE_CANTOPEN|the directory does not exist: '.+'$/,
      );
    }
    chmodSync(path('closed'), 0o700);
  });

  it('a new file in a read-only directory', async () => {
    mkdirSync(path('read-only'));
    chmodSync(path('read-only'), 0o555);
    for (const answer of await openAll(path('read-only', 'stores.db'), { uid })) {
      expectRefused(answer, ['SQLITE_CANTOPEN', 'SQLITE_READONLY_DIRECTORY']);
    }
    expect(readdirSync(path('read-only'))).toEqual([]);
  });

  it('an empty file that may only be read', async () => {
    writeFileSync(path('open', 'stores.db'), '');
    chmodSync(path('open', 'stores.db'), 0o444);
    const before = snapshot();
    for (const answer of await openAll(path('open', 'stores.db'), { uid })) {
      expectRefused(answer, ['SQLITE_READONLY', 'SQLITE_CANTOPEN']);
    }
    expect(snapshot()).toEqual(before);
  });

  it.each([
    ['of 0.2.0', makeOld],
    ['of ours', makeOurs],
  ])('a file %s that may only be read: reads go on, writes are refused', async (_title, make) => {
    await make(path('open', 'stores.db'));
    chmodSync(path('open', 'stores.db'), 0o444);
    const before = snapshot();
    for (const answer of await openAll(path('open', 'stores.db'), { uid })) {
      // Read where the tables are complete, refused with a code where they are not.
      if (answer.opened !== 'made') {
        expectRefused(answer, ['SQLITE_READONLY', 'SQLITE_CANTOPEN', 'SQLITE_READONLY_CANTINIT']);
        continue;
      }
      expect(answer.read).toBe('resolved');
      expect(answer.stats).toBe('resolved');
      expect(answer.write.code).toMatch(/^SQLITE_READONLY/);
      expect(isClear(answer.write)).toBe(true);
    }
    // SQLite keeps its own files beside a database in WAL mode, and cannot remove them without writing.
    const isOfSqlite = (/** @type {string} */ entry) => /stores\.db-(wal|shm) /.test(entry);
    expect(snapshot().filter((entry) => !isOfSqlite(entry))).toEqual(before);
  });

  it.each([
    ['of 0.2.0', makeOld],
    ['of ours', makeOurs],
  ])('a file %s in a directory that may only be read', async (_title, make) => {
    mkdirSync(path('directory'));
    await make(path('directory', 'stores.db'));
    chmodSync(path('directory', 'stores.db'), 0o666);
    chmodSync(path('directory'), 0o555);
    const before = snapshot();
    for (const answer of await openAll(path('directory', 'stores.db'), { uid })) {
      if (answer.opened !== 'made') {
        expect(isClear(answer.opened), JSON.stringify(answer)).toBe(true);
        continue;
      }
      for (const call of [answer.read, answer.write, answer.stats]) {
        expect(call === 'resolved' || isClear(call), JSON.stringify(answer)).toBe(true);
      }
      // There is nowhere to put a journal.
      expect(answer.write).not.toBe('resolved');
    }
    expect(snapshot()).toEqual(before);
    chmodSync(path('directory'), 0o755);
  });

  it('a complete file of ours that may only be read still answers', async () => {
    await makeOurs(path('open', 'stores.db'));
    chmodSync(path('open', 'stores.db'), 0o444);
    const [cache] = await openAll(path('open', 'stores.db'), { uid });
    expect(cache).toMatchObject({ opened: 'made', read: 'resolved', stats: 'resolved' });
  });
});

describe('a damaged database', () => {
  // Made once: some hundred pages, with every table.
  let whole = '';
  beforeAll(() => {
    whole = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
    return () => execFileSync('rm', ['-r', whole]);
  });

  beforeEach(async () => {
    const source = join(whole, 'stores.db');
    if (!readdirSync(whole).includes('stores.db')) {
      const [cache, dedupe, limits, adaptive] = classes.map(
        (name) => new /** @type {any} */ (ours)[name]({ database: source }),
      );
      for (let index = 0; index < 400; index++) {
        void cache.set(`key ${index}`, 'x'.repeat(2_000), 1_000_000);
        void dedupe.register(`job ${index}`);
        void limits.record(`resource ${index % 7}`);
        void adaptive.record(`resource ${index % 5}`, 'user');
      }
      for (const store of [cache, dedupe, limits, adaptive]) await store.close();
    }
    copyFileSync(source, path('stores.db'));
  });

  /**
   * No crash and no lie: what cannot be read or written is told by a code.
   * @param {string[]} codes
   * @param {boolean} [everywhere]  whether nothing can work
   */
  async function expectTold(codes, everywhere = false) {
    const answers = await openAll(path('stores.db'));
    let told = 0;
    for (const { opened, read, write, stats } of answers) {
      for (const call of [opened, read, write, stats]) {
        if (call === 'made' || call === 'resolved' || call === undefined) continue;
        expect(isClear(call), JSON.stringify(answers)).toBe(true);
        expect(codes, JSON.stringify(call)).toContain(call.code);
        told++;
      }
      if (everywhere) expect(opened).not.toBe('made');
    }
    expect(told, JSON.stringify(answers)).toBeGreaterThan(0);
    expect(files()).toEqual(['stores.db']);
  }

  /** @param {number} position @param {Buffer} content */
  function overwrite(position, content) {
    const file = openSync(path('stores.db'), 'r+');
    writeSync(file, content, 0, content.length, position);
    closeSync(file);
  }

  const CORRUPT = ['SQLITE_CORRUPT', 'SQLITE_CORRUPT_INDEX', 'SQLITE_IOERR_SHORT_READ'];

  it.each([
    ['in half', 0.5, 0],
    ['within a page', 0.4, 123],
    ['to its first page', 0, 4_096],
  ])('cut %s', async (_title, part, more) => {
    const { size } = statSync(path('stores.db'));
    truncateSync(path('stores.db'), Math.floor((size * part) / 4_096) * 4_096 + more);
    await expectTold(CORRUPT);
  });

  it('cut within its header', async () => {
    truncateSync(path('stores.db'), 60);
    const before = snapshot();
    await expectTold(['SQLITE_NOTADB', ...CORRUPT], true);
    expect(snapshot()).toEqual(before);
  });

  it('with random bytes for the schema', async () => {
    const random = randomSource('with random bytes for the schema');
    overwrite(100, Buffer.from(Array.from({ length: 3_996 }, () => random.below(256))));
    const before = snapshot();
    await expectTold(['SQLITE_CORRUPT', 'SQLITE_ERROR', 'SQLITE_NOTADB'], true);
    expect(snapshot()).toEqual(before);
  });

  it.each([
    ['zeros', () => Buffer.alloc(4_096)],
    ['ones', () => Buffer.alloc(4_096, 0xff)],
    ['text', () => Buffer.alloc(4_096, 'not a page ')],
  ])('with %s for every other page', async (_title, content) => {
    const { size } = statSync(path('stores.db'));
    for (let page = 1; page < size / 4_096; page += 2) overwrite(page * 4_096, content());
    await expectTold(CORRUPT);
  });

  it('with a random byte changed here and there, whatever comes of it', async () => {
    const random = randomSource('with a random byte changed');
    const { size } = statSync(path('stores.db'));
    const source = path('source.db');
    copyFileSync(path('stores.db'), source);
    for (let round = 0; round < 5; round++) {
      cpSync(source, path('stores.db'));
      for (let change = 0; change < 200; change++) {
        overwrite(100 + random.below(size - 100), Buffer.from([random.below(256)]));
      }
      for (const { opened, read, write, stats } of await openAll(path('stores.db'))) {
        for (const call of [opened, read, write, stats]) {
          const isFine = call === 'made' || call === 'resolved' || call === undefined;
          expect(isFine || isClear(call), JSON.stringify(call)).toBe(true);
        }
      }
      expect(files()).toEqual(['source.db', 'stores.db']);
    }
  });

  it('with tables of other columns: refused, and left as they are', async () => {
    writeFileSync(path('stores.db'), '');
    const db = new Database(path('stores.db'));
    db.exec(
      'CREATE TABLE cache (a); CREATE TABLE dedupe_jobs (a); CREATE VIEW rate_limits AS SELECT 1 AS a',
    );
    db.close();
    for (const { opened, read, write, stats } of await openAll(path('stores.db'))) {
      const calls = [opened, read, write, stats].filter(
        (call) => call !== undefined && call !== 'made' && call !== 'resolved',
      );
      expect(calls.length).toBeGreaterThan(0);
      for (const call of calls) expect(isClear(call), JSON.stringify(call)).toBe(true);
    }
    const after = new Database(path('stores.db'));
    const schema = after.prepare('SELECT name, sql FROM sqlite_schema').raw().all();
    after.close();
    expect(schema).toContainEqual(['cache', 'CREATE TABLE cache (a)']);
    expect(schema).toContainEqual(['dedupe_jobs', 'CREATE TABLE dedupe_jobs (a)']);
  });

  it('that is whole works', async () => {
    for (const answer of await openAll(path('stores.db'))) {
      expect(answer).toEqual({
        opened: 'made',
        read: 'resolved',
        write: 'resolved',
        stats: 'resolved',
      });
    }
  });
});
