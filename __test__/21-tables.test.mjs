// The drizzle tables: built when first used, and then what 0.2.0's are.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import Database from 'better-sqlite3';
import * as drizzleEsm from 'drizzle-orm';
import * as betterSqliteEsm from 'drizzle-orm/better-sqlite3';
import * as sqliteCoreEsm from 'drizzle-orm/sqlite-core';
import * as reference from 'sqlite-store-0.2.0';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SQLiteCacheStore } from '../index.mjs';

const require = createRequire(import.meta.url);
const source = fileURLToPath(new URL('../lib/tables.js', import.meta.url));
const modules = fileURLToPath(new URL('../node_modules', import.meta.url));
const names = /** @type {const} */ (['cacheTable', 'dedupeTable', 'rateLimitTable']);
/** What 0.2.0 has not. */
const added = /** @type {const} */ (['cacheTagsTable', 'serverCooldownTable']);
const ALL_AS_JSON = JSON.stringify(
  Object.fromEntries([...names, ...added].sort().map((name) => [name, {}])),
);

/** @type {string} */
let directory;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tables-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/**
 * A copy of the module where only this drizzle-orm, or none, is installed.
 * @param {string} name
 * @param {string} [drizzle]
 */
function install(name, drizzle) {
  const copy = join(directory, name, 'tables.js');
  mkdirSync(join(directory, name, 'node_modules'), { recursive: true });
  if (drizzle) symlinkSync(drizzle, join(directory, name, 'node_modules/drizzle-orm'), 'junction');
  cpSync(source, copy);
  return copy;
}

/**
 * For questions that change what they look at.
 * @param {object} table
 */
const copyOf = (table) =>
  Object.create(Object.getPrototypeOf(table), Object.getOwnPropertyDescriptors(table));

/** @param {any} column */
const describeColumn = (column) => ({
  name: column.name,
  type: column.getSQLType(),
  dataType: column.dataType,
  columnType: column.columnType,
  notNull: column.notNull,
  primary: column.primary,
  autoIncrement: column.autoIncrement,
  hasDefault: column.hasDefault,
  isUnique: column.isUnique,
});

describe('before their first use', () => {
  test('the tables do not load drizzle-orm', () => {
    const script = `
      const tables = require(${JSON.stringify(source)});
      const { cacheTable } = tables;
      if (!cacheTable || typeof { ...tables }.dedupeTable !== 'object') throw new Error('no table');
      console.log(Object.keys(require.cache).filter((path) => path.includes('drizzle')).length);
      cacheTable.hash;
      console.log(Object.keys(require.cache).filter((path) => path.includes('drizzle')).length > 0);
    `;
    expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })).toBe('0\ntrue\n');
  });

  test.each(names)('%s works whatever is asked of it first', (name) => {
    /** @type {((table: any) => unknown)[]} */
    const questions = [
      (table) => Object.keys(table).length,
      (table) => 'timestamp' in table || 'hash' in table,
      (table) => Object.getPrototypeOf(table).constructor.name,
      (table) => Object.getOwnPropertyNames(table).length,
      (table) => drizzleEsm.is(table, sqliteCoreEsm.SQLiteTable),
      (table) => drizzleEsm.isTable(table),
      (table) => Object.isFrozen(Object.freeze(table)),
      (table) => Object.keys({ ...table }).length,
      (table) => Object.isExtensible(table),
      (table) => Reflect.defineProperty(table, 'more', { value: 1 }) && table.more === 1,
      (table) => Reflect.set(table, 'more', 1) && table.more === 1,
      (table) => Reflect.deleteProperty(table, 'nothing'),
    ];
    for (const [index, ask] of questions.entries()) {
      const table = require(install(`first-${name}-${index}`, join(modules, 'drizzle-orm')))[name];
      expect([index, ask(table)]).toEqual([index, ask(copyOf(reference[name]))]);
    }
  });
});

describe('without drizzle-orm', () => {
  test.each(names)('%s says what to install, every time it is used', (name) => {
    const tables = require(install(`without-${name}`));
    const { [name]: table, ...others } = tables;
    expect(Object.keys(others)).toHaveLength(added.length + names.length - 1);
    const [column] = Object.keys(reference[name]);
    for (const use of [
      () => table[column],
      () => column in table,
      () => table.$inferSelect,
      () => drizzleEsm.getTableName(table),
      () => sqliteCoreEsm.getTableConfig(table),
      () => Reflect.set(table, 'more', 1),
      () => Object.freeze(table),
      () => table[column],
    ]) {
      expect(use).toThrow(
        new RegExp(`^${name} needs drizzle-orm, .* not installed: npm install drizzle-orm$`),
      );
    }
  });

  test.each(names)('%s can be looked at', async (name) => {
    const tables = require(install(`looked-at-${name}`));
    const table = tables[name];
    expect(await table).toBe(table);
    expect(JSON.stringify({ ...tables })).toBe(ALL_AS_JSON);
    expect(inspect(tables)).toContain(name);
    expect(Object.keys(table)).toEqual([]);
    expect(`${table} ${typeof table.constructor} ${table.nothing}`).toBe(
      '[object Object] function undefined',
    );
    expect(drizzleEsm.is(table, sqliteCoreEsm.SQLiteTable)).toBe(false);
    expect(tables).toEqual(tables);
  });
});

test('the package can be written as JSON, awaited and imported, with drizzle-orm', async () => {
  const tables = require(install('as-json', join(modules, 'drizzle-orm')));
  expect(JSON.stringify(tables)).toBe(ALL_AS_JSON);
  for (const name of names) {
    expect(JSON.stringify(tables[name])).toBe('{}');
    expect(await tables[name]).toBe(tables[name]);
    expect(tables[name]).not.toHaveProperty('then');
  }
  expect(JSON.stringify(require('../index.js'))).toBe(JSON.stringify(tables));
});

test('a drizzle-orm that is there but broken is reported as it is', () => {
  const broken = join(directory, 'broken-drizzle');
  mkdirSync(broken, { recursive: true });
  const { cacheTable } = require(install('broken', broken));
  // An empty directory resolves to nothing: that is "not installed".
  expect(() => cacheTable.hash).toThrow('npm install drizzle-orm');
  mkdirSync(join(broken, 'sqlite-core'));
  writeFileSync(join(broken, 'sqlite-core/index.js'), 'throw new RangeError("broken")');
  expect(() => cacheTable.hash).toThrow(new RangeError('broken'));
});

const builds = {
  'ESM drizzle-orm': {
    drizzle: drizzleEsm,
    core: sqliteCoreEsm,
    open: betterSqliteEsm.drizzle,
  },
  'CommonJS drizzle-orm': {
    drizzle: require('drizzle-orm'),
    core: require('drizzle-orm/sqlite-core'),
    open: require('drizzle-orm/better-sqlite3').drizzle,
  },
};
const v020 = createRequire(join(modules, 'sqlite-store-0.2.0/package.json'));
const sources = {
  'require()': () => require(source),
  "0.2.0's drizzle-orm": () =>
    require(install('old-drizzle', join(modules, 'sqlite-store-0.2.0/node_modules/drizzle-orm'))),
};

describe.each(Object.entries(sources))('the tables, %s', (sourceName, load) => {
  const available =
    sourceName === 'require()'
      ? builds
      : {
          "0.2.0's CommonJS drizzle-orm": {
            drizzle: v020('drizzle-orm'),
            core: v020('drizzle-orm/sqlite-core'),
            open: v020('drizzle-orm/better-sqlite3').drizzle,
          },
        };

  describe.each(Object.entries(available))('used with %s', (_, { drizzle, core, open }) => {
    const { eq, is, sql, count } = drizzle;
    /** @type {any} */
    let tables;
    /** @type {string} */
    let file;
    /** @type {any} */
    let db;

    beforeAll(() => {
      tables = load();
    });

    beforeEach(async () => {
      file = join(mkdtempSync(join(directory, 'file-')), 'stores.db');
      const cache = new reference.SQLiteCacheStore({ database: file });
      await cache.set('one', { id: 1, name: 'Æ' }, 60);
      await cache.set('two', undefined, 60);
      await cache.close();
      const dedupe = new reference.SQLiteDedupeStore({ database: file });
      await dedupe.register('pending');
      await dedupe.register('failed');
      await dedupe.fail('failed', new Error('no luck'));
      await dedupe.register('done');
      await dedupe.complete('done', [1]);
      await dedupe.close();
      const limits = new reference.SqliteAdaptiveRateLimitStore({ database: file });
      await limits.record('issues', 'user');
      await limits.record('issues');
      await limits.close();
      const connection = new Database(file);
      db = open(connection);
      return () => connection.close();
    });

    test('are tables, described as 0.2.0’s', () => {
      for (const name of names) {
        expect(is(tables[name], core.SQLiteTable)).toBe(true);
        expect(is(tables[name], drizzle.Table)).toBe(true);
        const ours = core.getTableConfig(tables[name]);
        const theirs = core.getTableConfig(reference[name]);
        expect(ours.name).toBe(theirs.name);
        expect(ours.columns.map(describeColumn)).toEqual(theirs.columns.map(describeColumn));
        expect(Object.keys(drizzle.getTableColumns(tables[name]))).toEqual(
          Object.keys(drizzle.getTableColumns(reference[name])),
        );
        for (const column of Object.values(drizzle.getTableColumns(tables[name]))) {
          expect(/** @type {any} */ (column).table).toBe(tables[name]);
        }
      }
    });

    test('are those of newer clients, too', async () => {
      const { cacheTagsTable, serverCooldownTable } = tables;
      const made = new Database(join(directory, `${file.replaceAll('/', '-')}.db`));
      const cache = new SQLiteCacheStore({ database: made });
      await cache.setWithTags('key', 1, 60, ['b', 'a']);
      await cache.close();
      made.exec(
        'CREATE TABLE IF NOT EXISTS server_cooldowns (origin TEXT PRIMARY KEY, cooldown_until INTEGER NOT NULL)',
      );
      const newer = open(made);
      expect(newer.select().from(cacheTagsTable).orderBy(cacheTagsTable.tag).all()).toEqual([
        { tag: 'a', hash: 'key' },
        { tag: 'b', hash: 'key' },
      ]);
      newer.insert(serverCooldownTable).values({ origin: 'o', cooldownUntil: 5 }).run();
      expect(newer.select().from(serverCooldownTable).all()).toEqual([
        { origin: 'o', cooldownUntil: 5 },
      ]);
      for (const table of [cacheTagsTable, serverCooldownTable]) {
        const { name, columns, primaryKeys, indexes } = core.getTableConfig(table);
        const described = columns.map((/** @type {any} */ column) => [
          column.name,
          column.getSQLType().toUpperCase(),
          Number(column.notNull && !column.primary),
        ]);
        const info = /** @type {any[]} */ (made.pragma(`table_info(${name})`));
        expect(described).toEqual(info.map((column) => [column.name, column.type, column.notnull]));
        const keys = primaryKeys.flatMap((/** @type {any} */ key) => key.columns);
        const primary = [...keys, ...columns.filter((/** @type {any} */ { primary }) => primary)];
        expect(primary.map(({ name }) => name).sort()).toEqual(
          info
            .filter(({ pk }) => pk)
            .map((column) => column.name)
            .sort(),
        );
        const named = made
          .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql > '' AND tbl_name = ?",
          )
          .pluck()
          .all(name);
        expect(indexes.map((/** @type {any} */ index) => index.config.name).sort()).toEqual(
          named.sort(),
        );
      }
      made.close();
    });

    test('read what 0.2.0 wrote, as its own tables do', () => {
      for (const name of names) {
        const rows = db.select().from(tables[name]).all();
        expect(rows.length).toBeGreaterThan(1);
        expect(rows).toEqual(db.select().from(reference[name]).all());
      }
      const { cacheTable, dedupeTable } = tables;
      const [one] = db.select().from(cacheTable).where(eq(cacheTable.hash, 'one')).all();
      expect(JSON.parse(one.value)).toEqual({ id: 1, name: 'Æ' });
      expect(
        db
          .select({ status: dedupeTable.status, n: count() })
          .from(dedupeTable)
          .groupBy(dedupeTable.status)
          .orderBy(dedupeTable.status)
          .all(),
      ).toEqual([
        { status: 'completed', n: 1 },
        { status: 'failed', n: 1 },
        { status: 'pending', n: 1 },
      ]);
    });

    test('insert, update and delete', () => {
      const { cacheTable, rateLimitTable } = tables;
      db.insert(rateLimitTable).values({ resource: 'volumes', timestamp: 5 }).run();
      expect(
        db.select().from(rateLimitTable).where(eq(rateLimitTable.resource, 'volumes')).all(),
      ).toEqual([{ resource: 'volumes', timestamp: 5, id: 3 }]);

      const row = { hash: 'one', value: '{}', expiresAt: 9, createdAt: 8 };
      db.insert(cacheTable)
        .values(row)
        .onConflictDoUpdate({ target: cacheTable.hash, set: { value: sql`excluded.value` } })
        .run();
      expect(db.select().from(cacheTable).where(eq(cacheTable.hash, 'one')).get()).toMatchObject({
        value: '{}',
      });
      expect(db.update(cacheTable).set({ expiresAt: 1 }).run().changes).toBe(2);
      expect(
        db.delete(cacheTable).where(eq(cacheTable.expiresAt, 1)).returning().all(),
      ).toHaveLength(2);
    });

    test('can be aliased, joined and given as a schema', () => {
      const { cacheTable, dedupeTable } = tables;
      const other = core.alias(cacheTable, 'other');
      const joined = db
        .select()
        .from(cacheTable)
        .innerJoin(other, eq(cacheTable.hash, other.hash))
        .leftJoin(dedupeTable, eq(dedupeTable.hash, cacheTable.hash))
        .all();
      expect(joined).toHaveLength(2);
      expect(joined[0]).toMatchObject({ cache: joined[0].other, dedupe_jobs: null });

      const connection = new Database(file);
      const withSchema = open(connection, { schema: tables });
      expect(withSchema.query.cacheTable.findFirst().sync()).toEqual(
        db.select().from(cacheTable).get(),
      );
      connection.close();
    });
  });
});

test('the tables, used with a pre-release of drizzle-orm 1.0', async () => {
  const { cacheTable, dedupeTable, rateLimitTable } = require(
    install('next-drizzle', join(modules, 'drizzle-orm-1.0')),
  );
  const { eq, is, getColumns, getTableName } = require('drizzle-orm-1.0');
  const { alias, getTableConfig, SQLiteTable } = require('drizzle-orm-1.0/sqlite-core');
  const { drizzle } = require('drizzle-orm-1.0/better-sqlite3');
  for (const [table, name] of [
    [cacheTable, 'cache'],
    [dedupeTable, 'dedupe_jobs'],
    [rateLimitTable, 'rate_limits'],
  ]) {
    expect(is(table, SQLiteTable)).toBe(true);
    expect(getTableName(table)).toBe(name);
    const { columns } = getTableConfig(table);
    expect(columns.map((/** @type {any} */ column) => column.table === table)).not.toContain(false);
    expect(Object.keys(getColumns(table))).toHaveLength(columns.length);
  }

  const file = join(directory, 'next.db');
  const cache = new reference.SQLiteCacheStore({ database: file });
  await cache.set('one', { id: 1, name: 'Æ' }, 60);
  await cache.close();
  const limits = new reference.SQLiteRateLimitStore({ database: file });
  await limits.record('issues');
  await limits.close();
  const dedupe = new reference.SQLiteDedupeStore({ database: file });
  await dedupe.close();
  const client = new Database(file);
  const db = drizzle({ client });
  const [one] = db.select().from(cacheTable).where(eq(cacheTable.hash, 'one')).all();
  expect(JSON.parse(one.value)).toEqual({ id: 1, name: 'Æ' });
  /** @type {any} */
  const other = alias(cacheTable, 'other');
  expect(
    db
      .select()
      .from(cacheTable)
      .innerJoin(other, eq(cacheTable.hash, other.hash))
      .leftJoin(dedupeTable, eq(dedupeTable.hash, cacheTable.hash))
      .all(),
  ).toEqual([{ cache: one, other: one, dedupe_jobs: null }]);
  db.insert(rateLimitTable).values({ resource: 'volumes', timestamp: 5 }).run();
  expect(db.select({ resource: rateLimitTable.resource }).from(rateLimitTable).all()).toEqual([
    { resource: 'issues' },
    { resource: 'volumes' },
  ]);
  expect(db.update(cacheTable).set({ expiresAt: 1 }).run().changes).toBe(1);
  expect(db.delete(cacheTable).where(eq(cacheTable.expiresAt, 1)).returning().all()).toEqual([
    { ...one, expiresAt: 1 },
  ]);
  client.close();
});
