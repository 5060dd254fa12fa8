// `backup` and `vacuum`: what they make of a file, of memory, of a connection, and beside those who write.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createSQLiteStores,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '../index.mjs';

const { Program } = createRequire(import.meta.url)('./support/processes.cjs');

const ROUNDS = Number(process.env.ROUNDS ?? 30);

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'backup-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const path = (/** @type {string} */ name) => join(directory, name);

/** @type {Record<string, () => { database?: any, release?: () => void }>} */
const databases = {
  'a path': () => ({ database: path('stores.db') }),
  memory: () => ({}),
  'a connection': () => {
    const database = new Database(path('stores.db'));
    return { database, release: () => database.close() };
  },
};

/** What a copy holds, and that it is sound. @param {string} file @param {string} [sql] @returns {any[][]} */
function read(file, sql = 'SELECT hash FROM cache ORDER BY hash') {
  const database = new Database(file, { readonly: true });
  try {
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok');
    return /** @type {any[][]} */ (database.prepare(sql).raw().all());
  } finally {
    database.close();
  }
}

describe.each(Object.entries(databases))('on %s', (kind, open) => {
  /** @type {import('../index.js').SQLiteStores} */
  let stores;
  /** @type {any} */
  let given;
  beforeEach(() => {
    given = open();
    stores = createSQLiteStores({ database: given.database });
  });
  afterEach(async () => {
    await stores.close();
    given.release?.();
  });

  it('a copy has what was called before, of all stores, and can be opened', async () => {
    stores.cache.setWithTags('one', { n: 1 }, 60, ['tag']);
    stores.rateLimit.record('resource');
    stores.dedupe.register('job');
    expect(await stores.backup(path('copy.db'))).toBeUndefined();
    stores.cache.set('two', 2, 60);
    expect(read(path('copy.db'))).toEqual([['one']]);
    const copy = createSQLiteStores({ database: path('copy.db') });
    expect(await copy.cache.get('one')).toEqual({ n: 1 });
    expect(await copy.cache.invalidateByTag('tag')).toBe(1);
    expect((await copy.rateLimit.getStats()).totalRequests).toBe(1);
    expect(await copy.dedupe.isInProgress('job')).toBe(true);
    await copy.close();
    // Nothing else is left.
    const files = ['copy.db', 'stores.db', 'stores.db-shm', 'stores.db-wal'];
    expect(readdirSync(directory).filter((name) => !files.includes(name))).toEqual([]);
  });

  it('tells how far it is', async () => {
    for (let n = 0; n < 40; n++) await stores.cache.set(`key ${n}`, 'x'.repeat(200_000), 60);
    /** @type {any[]} */
    const told = [];
    await stores.backup(path('copy.db'), { onProgress: (progress) => told.push(progress) });
    expect(read(path('copy.db'))).toHaveLength(40);
    if (kind === 'a connection') return expect(told).toEqual([]);
    const last = told.at(-1);
    const [[pages]] = read(path('copy.db'), 'SELECT page_count FROM pragma_page_count');
    expect(last).toEqual({ totalPages: pages, remainingPages: 0 });
    const left = told.map(({ remainingPages }) => remainingPages);
    expect(left).toEqual([...left].sort((one, other) => other - one));
  });

  it('leaves what is there alone, and nothing where it fails', async () => {
    writeFileSync(path('there'), '');
    const before = readdirSync(directory).sort();
    await expect(stores.backup(path('there'))).rejects.toMatchObject({
      code: 'SQLITE_STORE_TARGET_EXISTS',
      message: `path must be one that does not exist yet, and there is '${path('there')}'`,
    });
    await expect(stores.backup(path('none/copy.db'))).rejects.toThrow(
      /^Cannot open database because the directory does not exist: /,
    );
    expect(statSync(path('there')).size).toBe(0);
    const more = ['stores.db-shm', 'stores.db-wal'];
    const after = readdirSync(directory).filter((name) => !more.includes(name));
    expect(after.sort()).toEqual(before.filter((name) => !more.includes(name)));
  });

  it.each([
    [[], /^path must be a file path without NUL characters and lone surrogates, got undefined$/],
    [[''], /^path must be a file path/],
    [['a\0b'], /^path must be a file path/],
    [['\ud800'], /^path must be a file path/],
    [['copy.db', 5], /^options must be an object, got 5$/],
    [['copy.db', { onProgress: 5 }], /^options.onProgress must be a function, got 5$/],
  ])('refuses %j', async (args, message) => {
    const promise = /** @type {any} */ (stores).backup(...args);
    await expect(promise).rejects.toThrow(message);
    await expect(promise).rejects.toThrow(TypeError);
    expect(existsSync('copy.db')).toBe(false);
  });

  it('vacuum gives back what was deleted', async () => {
    const kilobytes = async () => (await stores.cache.getStats()).databaseSizeKB;
    for (let n = 0; n < 50; n++) await stores.cache.set(`key ${n}`, 'x'.repeat(100_000), 60);
    await stores.cache.set('kept', { n: 1 }, 60);
    const full = await kilobytes();
    await stores.cache.clear('key');
    expect(await kilobytes()).toBe(full);
    const { freedBytes } = await stores.vacuum();
    const left = await kilobytes();
    expect(freedBytes).toBeGreaterThan(50 * 100_000);
    expect((full - left) * 1024).toBe(freedBytes);
    expect(await stores.cache.get('kept')).toEqual({ n: 1 });
    expect(await stores.vacuum()).toEqual({ freedBytes: 0 });
    if (kind === 'a path') expect(statSync(path('stores.db')).size).toBe(left * 1024);
  });

  it('every store can', async () => {
    const classes = [
      SQLiteCacheStore,
      SQLiteDedupeStore,
      SQLiteRateLimitStore,
      SqliteAdaptiveRateLimitStore,
    ];
    for (const [index, Store] of classes.entries()) {
      const store = new Store({ database: given.database });
      await store.backup(path(`${index}.db`));
      read(path(`${index}.db`), 'SELECT 1');
      expect(await store.vacuum()).toEqual({ freedBytes: expect.any(Number) });
      await store.close();
      await expect(store.backup(path('closed.db'))).rejects.toThrow('has been destroyed');
      await expect(store.vacuum()).rejects.toThrow('has been destroyed');
    }
  });
});

describe('on a connection', () => {
  it('both are refused within a transaction', async () => {
    const connection = new Database(path('stores.db'));
    const cache = new SQLiteCacheStore({ database: connection });
    connection.exec('BEGIN');
    const refusal = { code: 'SQLITE_STORE_IN_TRANSACTION' };
    await expect(cache.backup(path('copy.db'))).rejects.toMatchObject(refusal);
    await expect(cache.vacuum()).rejects.toMatchObject(refusal);
    expect(connection.inTransaction).toBe(true);
    connection.exec('ROLLBACK');
    await cache.backup(path("it's a copy.db"));
    read(path("it's a copy.db"));
    await cache.close();
    connection.close();
    expect(readdirSync(directory).sort()).toEqual(["it's a copy.db", 'stores.db']);
  });
});

describe('the end of the store', () => {
  it('ends a copy, which leaves nothing', async () => {
    const cache = new SQLiteCacheStore({ database: path('stores.db') });
    for (let n = 0; n < 100; n++) cache.set(`key ${n}`, 'x'.repeat(400_000), 60);
    await cache.get('key 0');
    /** @type {Promise<unknown> | undefined} */
    let closed;
    const backup = cache.backup(path('copy.db'), {
      onProgress() {
        closed ??= cache.close();
      },
    });
    const outcome = await backup.then(
      () => 'done',
      ({ code }) => code,
    );
    await closed;
    // It may have been quicker.
    expect(['done', 'SQLITE_STORE_CLOSED']).toContain(outcome);
    const copied = outcome === 'done' ? ['copy.db'] : [];
    expect(readdirSync(directory).sort()).toEqual([...copied, 'stores.db']);
  });

  it('a function that throws ends a copy with what it throws', async () => {
    const cache = new SQLiteCacheStore({ database: path('stores.db') });
    for (let n = 0; n < 20; n++) await cache.set(`key ${n}`, 'x'.repeat(400_000), 60);
    const thrown = new RangeError('enough');
    const onProgress = () => {
      throw thrown;
    };
    await expect(cache.backup(path('copy.db'), { onProgress })).rejects.toBe(thrown);
    await cache.close();
  });
});

describe('beside writers', () => {
  /** @type {any[]} */
  let programs = [];
  afterEach(async () => {
    await Promise.all(programs.map((program) => program.kill()));
  });

  it.each([
    ['wal', ROUNDS],
    ['delete', Math.ceil(ROUNDS / 10)],
  ])('%s: %d copies are sound, and hold all up to a moment', async (journalMode, rounds) => {
    const database = path('stores.db');
    const names = ['a', 'b'];
    programs = [];
    for (const name of names) {
      const program = new Program('counting.cjs', { database, name, journalMode });
      programs.push(program);
      expect(await program.line()).toBe('ready');
    }
    const stores = createSQLiteStores({
      database,
      journalMode: /** @type {'wal'} */ (journalMode),
      busyTimeoutMs: 60_000,
      rateLimit: { defaultConfig: { limit: 60, windowMs: 1e9 } },
    });
    const counts = () =>
      Promise.all(
        programs.map(async (program) => {
          program.write('');
          return Number(await program.line());
        }),
      );
    while ((await counts()).includes(0));
    for (let round = 0; round < rounds; round++) {
      const before = await counts();
      const copy = path('copy.db');
      await stores.backup(copy, round % 2 === 0 ? undefined : { onProgress() {} });
      const after = await counts();
      for (const [index, name] of names.entries()) {
        const [[one]] = read(copy, `SELECT value FROM cache WHERE hash = '${name} one'`);
        const { n } = JSON.parse(JSON.parse(String(one)));
        expect(n).toBeGreaterThanOrEqual(before[index]);
        expect(n).toBeLessThanOrEqual(after[index] + 1);
        const rows = `SELECT COUNT(*), MAX(CAST(substr(hash, 3) AS INTEGER)) FROM cache
          WHERE hash LIKE '${name} %' AND hash <> '${name} one'`;
        expect(read(copy, rows)).toEqual([[n, n]]);
        const requests = `SELECT COUNT(*) FROM rate_limits WHERE resource = '${name}'`;
        expect(read(copy, requests)).toEqual([[n]]);
      }
      for (const end of ['', '-wal', '-shm']) rmSync(copy + end, { force: true });
    }
    await stores.close();
    const copies = readdirSync(directory).filter((name) => name.includes('copy'));
    expect(copies).toEqual([]);
    for (const program of programs) program.end();
    await Promise.all(programs.map((program) => program.done()));
    read(database);
  });

  it('vacuum keeps what they write', async () => {
    const database = path('stores.db');
    const program = new Program('counting.cjs', { database, name: 'a', journalMode: 'wal' });
    programs = [program];
    expect(await program.line()).toBe('ready');
    const stores = createSQLiteStores({ database, busyTimeoutMs: 60_000 });
    for (let n = 0; n < 20; n++) await stores.cache.set(`key ${n}`, 'x'.repeat(100_000), 60);
    await stores.cache.clear('key');
    const [own] = await Promise.all([stores.vacuum(), stores.cache.set('own', 1, 60)]);
    expect(own.freedBytes).toBeGreaterThan(1_000_000);
    expect(await stores.cache.get('own')).toBe(1);
    program.write('');
    const n = Number(await program.line());
    program.end();
    await program.done();
    await stores.close();
    const sql = "SELECT COUNT(*) FROM cache WHERE hash LIKE 'a %' AND hash <> 'a one'";
    expect(read(database, sql)[0][0]).toBeGreaterThanOrEqual(n);
  });
});

const mounts =
  process.platform === 'linux' &&
  process.getuid?.() === 0 &&
  spawnSync('unshare', ['--mount', 'true']).status === 0;

describe.skipIf(!mounts)('on a small volume', () => {
  it('vacuum says that there is no room', () => {
    mkdirSync(path('volume'));
    const program = `
      const { SQLiteCacheStore } = require(${JSON.stringify(join(import.meta.dirname, '..'))});
      (async () => {
        const cache = new SQLiteCacheStore({ database: process.argv[2] + '/stores.db' });
        for (let n = 0; n < 30; n++) await cache.set('key ' + n, 'x'.repeat(100000), 60);
        const error = await cache.vacuum().catch((error) => error);
        console.log(error.code, error.message.replace(/\\d+ bytes/, 'n bytes'));
        await cache.close();
      })();`;
    writeFileSync(path('program.cjs'), program);
    const script = `mount -t tmpfs -o size=9m none "$1" && "$2" "$3" "$1"`;
    const { stdout, stderr } = spawnSync(
      'unshare',
      ['--mount', 'sh', '-c', script, 'sh', path('volume'), process.execPath, path('program.cjs')],
      { encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    expect(stdout).toBe(
      `SQLITE_STORE_NO_ROOM vacuum() needs twice the n bytes that are used in '${path('volume')}/stores.db' ` +
        'free on its volume, and there are less\n',
    );
  });
});

it('a copy may be put in the place of the file', async () => {
  const stores = createSQLiteStores({ database: path('stores.db') });
  await stores.cache.set('key', 1, 60);
  await stores.backup(path('copy.db'));
  await stores.cache.set('key', 2, 60);
  await stores.close();
  copyFileSync(path('copy.db'), path('stores.db'));
  const restored = createSQLiteStores({ database: path('stores.db') });
  expect(await restored.cache.get('key')).toBe(1);
  await restored.close();
});
