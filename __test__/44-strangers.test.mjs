// Files from strangers: schemas made to harm, and files in which bytes were changed. Nothing crashes, nothing runs past its
// budget, and `process.exit()` returns. `SEED` repeats a run; `STRANGERS` says how many times as many files are tried.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import Database from 'better-sqlite3';
import { describe, expect, it, vi } from 'vitest';
import * as ours from '../index.mjs';
import { isolate } from './support/isolate.mjs';
import { randomSource } from './support/seed.mjs';

const { run } = createRequire(import.meta.url)('./support/processes.cjs');

const TIMES = Number(process.env.STRANGERS ?? 1);
/** For what hangs: what is stopped by its budget takes some seconds on an idle machine. */
const TIMEOUT = 900_000;
vi.setConfig({ testTimeout: TIMEOUT + 60_000 });

const { path } = isolate();

const TABLES = [
  'cache',
  'dedupe_jobs',
  'dedupe_leases',
  'rate_limits',
  'rate_limit_reservations',
  'adaptive_state',
];

/** Rows that a clean-up finds, in more than one step. */
const ROWS = `
  WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1200)
    INSERT INTO cache SELECT 'key ' || n, CAST('"1"' AS BLOB), 1, 1 FROM c;
  INSERT INTO dedupe_jobs SELECT hash, 'job', 'completed', value, NULL, 1, 1, NULL FROM cache;
  INSERT INTO dedupe_leases SELECT hash, 'owner', NULL, 1 FROM cache;
  INSERT INTO rate_limits (resource, timestamp, priority) SELECT 'key ' || (rowid % 50), 1, 'user' FROM cache`;

/** A file with the tables of all stores, and more in its schema. @param {string} name @param {string} sql */
function make(name, sql = '') {
  const file = path(name);
  for (const Store of [
    ours.SQLiteCacheStore,
    ours.SQLiteDedupeStore,
    ours.SqliteAdaptiveRateLimitStore,
  ]) {
    new /** @type {any} */ (Store)({ database: file }).destroy();
  }
  const database = new Database(file);
  database.exec(`${ROWS}; ${sql}`);
  database.close();
  return file;
}

/** What calls on the stores come to, in a process that comes to its end. @param {string} file @param {string} [journalMode] */
async function see(file, journalMode = 'wal') {
  const { code, signal, stdout, stderr } = await run(
    'strangers.cjs',
    { path: file, journalMode },
    { timeout: TIMEOUT },
  );
  expect({ code, signal, stderr: stderr.slice(-500) }).toEqual({
    code: 0,
    signal: null,
    stderr: '',
  });
  return JSON.parse(stdout).seen;
}

const ENDLESS =
  'CREATE VIEW endless AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c; CREATE TABLE junk (x);';

/** @param {string} when @param {string} body @param {string[]} [tables] */
const trigger = (when, body, tables = TABLES) =>
  tables
    .map((table) => `CREATE TRIGGER "${when} ${table}" ${when} ON ${table} BEGIN ${body} END;`)
    .join('\n');

describe('a schema made to harm', () => {
  it.each(['AFTER INSERT', 'BEFORE INSERT', 'AFTER UPDATE', 'BEFORE DELETE'])(
    'with a query that never ends, %s',
    async (when) => {
      const seen = await see(
        make('stores.db', ENDLESS + trigger(when, 'SELECT count(*) FROM endless;')),
      );
      expect(seen.SQLITE_INTERRUPT).toBeGreaterThan(0);
      // Whatever fires no trigger works.
      expect(seen.resolved).toBeGreaterThan(15);
    },
  );

  it.each([
    ['wal', 'AFTER INSERT', 'INSERT INTO junk SELECT randomblob(1000) FROM endless;'],
    ['wal', 'AFTER DELETE', 'INSERT INTO junk SELECT x FROM endless;'],
    ['delete', 'AFTER INSERT', 'INSERT INTO junk SELECT zeroblob(100) FROM endless;'],
  ])('that writes without end, in journal mode %s, %s', async (journalMode, when, body) => {
    const seen = await see(make('stores.db', ENDLESS + trigger(when, body)), journalMode);
    expect(seen.SQLITE_INTERRUPT).toBeGreaterThan(0);
    expect(seen.resolved).toBeGreaterThan(15);
  });

  it('that puts back what is removed', async () => {
    const back = [
      trigger(
        'AFTER DELETE',
        'INSERT INTO cache VALUES (OLD.hash, OLD.value, OLD.expires_at, 1);',
        ['cache'],
      ),
      trigger(
        'AFTER DELETE',
        "INSERT INTO dedupe_jobs VALUES (OLD.hash, 'job', 'completed', NULL, NULL, 1, 1, NULL);",
        ['dedupe_jobs'],
      ),
      trigger(
        'AFTER DELETE',
        "INSERT INTO dedupe_leases VALUES (OLD.hash || 'x', 'owner', NULL, 1);",
        ['dedupe_leases'],
      ),
      trigger(
        'AFTER DELETE',
        "INSERT INTO rate_limits (resource, timestamp) VALUES (OLD.resource || 'x', 1);",
        ['rate_limits'],
      ),
    ];
    expect(await see(make('stores.db', back.join('')))).toEqual({ resolved: 34 });
  });

  it('that sets back what is corrected', async () => {
    const back = trigger(
      'AFTER UPDATE',
      'UPDATE rate_limits SET timestamp = 9e14 WHERE id = NEW.id;',
      ['rate_limits'],
    );
    const seen = await see(make('stores.db', `UPDATE rate_limits SET timestamp = 9e14; ${back}`));
    expect(seen).toEqual({ resolved: 34 });
  });

  it.each(TABLES)('with a view in place of table %s is refused', async (table) => {
    const seen = await see(
      make(
        'stores.db',
        `DROP TABLE ${table}; CREATE VIEW ${table.toUpperCase()} AS SELECT 1 AS hash`,
      ),
    );
    expect(seen['not made: SQLITE_ERROR']).toBeGreaterThan(0);
  });
});

const PAGE = 4_096;

/**
 * Makes a tree of a database endless: its root leads, over a few pages that each lead many times to the next one, to what
 * was the root. There are more ways through it than could ever be gone.
 * @param {string} file @param {string} name  a table or an index
 */
function makeEndless(file, name) {
  const database = new Database(file);
  database.pragma('journal_mode = DELETE');
  const root = /** @type {number} */ (
    database.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').pluck().get(name)
  );
  database.close();
  const levels = 8;
  const before = readFileSync(file);
  const pages = before.length / PAGE;
  const bytes = Buffer.concat([before, Buffer.alloc(levels * PAGE)]);
  // sqlite.org/fileformat.html: the file's length in its header, the kind of a page in its first byte.
  bytes.writeUInt32BE(pages + levels, 28);
  const page = (/** @type {number} */ number) => bytes.subarray((number - 1) * PAGE, number * PAGE);
  const kind = page(root)[0];
  const isTable = kind === 5 || kind === 13;
  page(root).copy(page(pages + levels));
  // An index's interior pages have keys; these have one column, which is NULL.
  const cell = Buffer.from(isTable ? [0, 0, 0, 0, 1] : [0, 0, 0, 0, 2, 2, 0]);
  for (let level = 0; level < levels; level++) {
    const from = page(level === 0 ? root : pages + level).fill(0);
    const to = pages + level + 1;
    cell.writeUInt32BE(to, 0);
    const cells = 200;
    from[0] = isTable ? 5 : 2;
    from.writeUInt16BE(cells, 3);
    from.writeUInt16BE(PAGE - cells * cell.length, 5);
    from.writeUInt32BE(to, 8);
    for (let index = 0; index < cells; index++) {
      const at = PAGE - (index + 1) * cell.length;
      from.writeUInt16BE(at, 12 + index * 2);
      cell.copy(from, at);
    }
  }
  writeFileSync(file, bytes);
}

// What is removed is found again, by the same key.
it('a table whose keys do not go on is not gone through for ever', async () => {
  const file = make(
    'stores.db',
    'DELETE FROM cache; DELETE FROM dedupe_leases; DELETE FROM rate_limit_reservations;',
  );
  const database = new Database(file);
  database.exec(`INSERT INTO cache VALUES ('a', CAST('"1"' AS BLOB), 9e12, 1)`);
  database.close();
  makeEndless(file, 'cache');
  expect((await see(file)).SQLITE_CORRUPT).toBeGreaterThan(0);
});

describe('a tree without end', () => {
  // Those that SQLite counts by, and the others in the long run: each takes the budgets of several calls.
  const counted = ['idx_cache_expires_at', 'idx_rate_limit_timestamp'];
  const others = [
    'cache',
    'sqlite_autoindex_cache_1',
    'dedupe_jobs',
    'idx_dedupe_created_at',
    'dedupe_leases',
    'rate_limits',
    'idx_rate_limit_resource',
    'idx_rate_limit_resource_timestamp',
    'rate_limit_reservations',
    'adaptive_state',
  ];
  it.each(TIMES > 1 ? [...counted, ...others] : counted)(
    '%s ends no process, and all calls come to an end',
    async (name) => {
      const file = make('stores.db');
      makeEndless(file, name);
      const seen = await see(file);
      expect((seen.SQLITE_CORRUPT ?? 0) + (seen.SQLITE_INTERRUPT ?? 0)).toBeGreaterThan(0);
      expect(seen.resolved).toBeGreaterThan(15);
    },
  );

  it('of which an index is to be built is refused', async () => {
    // Small: the constructor builds it.
    const rows = TABLES.map((table) => `DELETE FROM ${table};`).join('');
    const one = `INSERT INTO cache VALUES ('a', x'31', 1, 1);`;
    const file = make('stores.db', `${rows} DROP INDEX idx_cache_expires_at; ${one} VACUUM;`);
    makeEndless(file, 'cache');
    const seen = await see(file);
    expect(seen['not made: SQLITE_INTERRUPT']).toBe(1);
    expect(seen.resolved).toBeGreaterThan(15);
  });
});

describe('random files', () => {
  it(`${20 * TIMES} schemas end no process and are left in time`, {
    timeout: 1_000_000 * TIMES,
  }, async () => {
    const random = randomSource('schemas made to harm');
    const bodies = [
      'SELECT count(*) FROM endless;',
      'INSERT INTO junk SELECT x FROM endless LIMIT 100000;',
      'DELETE FROM junk;',
      'DELETE FROM rate_limits;',
      'UPDATE cache SET expires_at = 1;',
      "INSERT OR REPLACE INTO cache VALUES ('again', x'00', 1, 1);",
      "SELECT RAISE(ABORT, 'no');",
      'SELECT RAISE(IGNORE);',
      "SELECT RAISE(ROLLBACK, 'no');",
      "SELECT load_extension('x');",
      "SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab' LIKE '%a%a%a%a%a%a%a%a%a%a%c';",
      "INSERT INTO dedupe_leases VALUES (hex(randomblob(8)), '', NULL, 1);",
      'INSERT INTO rate_limits (resource, timestamp) VALUES (hex(randomblob(8)), 1);',
    ];
    const extras = [
      '',
      'CREATE INDEX more ON cache (length(value), hash);',
      'CREATE UNIQUE INDEX one ON rate_limits (resource) WHERE timestamp > 1;',
      'DROP INDEX idx_cache_expires_at; CREATE INDEX idx_cache_expires_at ON junk (x);',
      'DROP TABLE adaptive_state; CREATE TABLE adaptive_state (x);',
      'ALTER TABLE cache ADD COLUMN more GENERATED ALWAYS AS (hash || hash) VIRTUAL;',
      'ALTER TABLE cache RENAME COLUMN value TO other;',
    ];
    for (let index = 0; index < 20 * TIMES; index++) {
      let sql = ENDLESS + random.pick(extras);
      for (let count = 1 + random.below(3); count > 0; count--) {
        const [table, when] = [random.pick(TABLES), random.pick(['INSERT', 'UPDATE', 'DELETE'])];
        const time = random.pick(['AFTER', 'BEFORE']);
        sql += `CREATE TRIGGER "t${index} ${count}" ${time} ${when} ON ${table} BEGIN ${random.pick(bodies)} END;`;
      }
      let file;
      try {
        file = make(`${index}.db`, sql);
      } catch (error) {
        throw new Error(`${sql}: ${error}`);
      }
      await see(file, random.pick(['wal', 'delete'])).catch((error) => {
        throw new Error(`schema ${index}, ${sql}: ${error.message}`);
      });
    }
  });

  it(`${40 * TIMES} files with changed bytes end no process and are left in time`, {
    timeout: 1_000_000 * TIMES,
  }, async () => {
    const random = randomSource('files with changed bytes');
    const original = make('original.db');
    for (let index = 0; index < 40 * TIMES; index++) {
      const file = path(`${index}.db`);
      copyFileSync(original, file);
      const bytes = readFileSync(file);
      for (let count = 1 + random.below(20); count > 0; count--) {
        // Most of what matters is at the beginning of a page.
        const page = random.below(bytes.length / 4_096) * 4_096;
        bytes[page + random.below(random.pick([16, 128, 4_096]))] = random.below(256);
      }
      writeFileSync(file, bytes);
      await see(file, random.pick(['wal', 'delete'])).catch((error) => {
        throw new Error(`file ${index}: ${error.message}`);
      });
    }
  });
});
