// The public surface beside 0.2.0's: names, lengths, descriptors, and entry points that agree.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as reference from 'sqlite-store-0.2.0';
import { describe, expect, test } from 'vitest';
import * as ours from '../index.mjs';

const require = createRequire(import.meta.url);
const oursCjs = require('../index.js');
const referenceCjs = require('sqlite-store-0.2.0');
const manifest = require('../package.json');

const classes = /** @type {const} */ ([
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
]);

/** What is ours alone: on every store, and by store, with the lengths. */
const dispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');
const SHARED = { getMetrics: 0, backup: 1, vacuum: 0 };
const LIMITERS = { ...SHARED, listResources: 0, setCooldown: 2, getCooldown: 1, clearCooldown: 1 };
/** @type {Record<string, Record<string, number>>} */
const additions = {
  SQLiteCacheStore: {
    ...SHARED,
    setWithTags: 4,
    invalidateByTag: 1,
    invalidateByTags: 1,
    listEntries: 0,
    entries: 0,
  },
  SQLiteDedupeStore: { ...SHARED, registerOrJoin: 1, listJobs: 0 },
  SQLiteRateLimitStore: { acquire: 1, ...LIMITERS },
  SqliteAdaptiveRateLimitStore: { acquire: 1, ...LIMITERS },
};

/** Where ours is meant to differ: the client passes a priority only to a `canProceed` of length 2. */
const lengths = { SqliteAdaptiveRateLimitStore: { canProceed: 2 } };

const declarations = readFileSync(
  require.resolve('sqlite-store-0.2.0').replace(/\.cjs$/, '.d.cts'),
  'utf8',
);

/**
 * The members of 0.2.0's class that its types declare private.
 * @param {string} name
 */
function privates(name) {
  const body = declarations.split(`declare class ${name}`)[1].split('\n}')[0];
  return new Set(
    [...body.matchAll(/^ {4}private (?:readonly )?(\w+)/gm)].map(([, member]) => member),
  );
}

/** What is exported beside 0.2.0's names. */
const added = ['cacheTagsTable', 'comicVineLimits', 'createSQLiteStores', 'serverCooldownTable'];

test('the export names are 0.2.0’s and what is added, from import and from require', () => {
  expect(Object.keys(reference)).toHaveLength(7);
  expect(Object.keys(referenceCjs).sort()).toEqual(Object.keys(reference).sort());
  const names = [...Object.keys(reference), ...added].sort();
  expect(Object.keys(ours).sort()).toEqual(names);
  expect(Object.keys(oursCjs).sort()).toEqual(names);
});

test('import and require give the same classes and tables, by the package’s name too', async () => {
  /** @type {Record<string, unknown>} */
  const byName = await import(manifest.name);
  expect(Object.keys(byName).sort()).toEqual(Object.keys(ours).sort());
  for (const [name, value] of Object.entries(ours)) {
    expect(oursCjs[name] === value, name).toBe(true);
    expect(byName[name] === value, name).toBe(true);
    expect(require(manifest.name)[name] === value, name).toBe(true);
  }
  const tables = require('../lib/tables.js');
  expect(Object.keys(tables)).toHaveLength(5);
  for (const [name, table] of Object.entries(tables)) {
    expect(oursCjs[name] === table, name).toBe(true);
  }
});

describe.each([
  ['import', ours, reference],
  ['require', oursCjs, referenceCjs],
])('by %s', (_, /** @type {any} */ mine, /** @type {any} */ theirs) => {
  describe.each(classes)('%s', (name) => {
    const Mine = mine[name];
    const Theirs = theirs[name];
    const hidden = privates(name);
    const methods = Object.getOwnPropertyNames(Theirs.prototype).filter(
      (method) => !hidden.has(method),
    );

    test('has the name, the length and the statics', () => {
      expect(Mine.name).toBe(Theirs.name);
      expect(Mine.length).toBe(Theirs.length);
      expect(Object.getOwnPropertyNames(Mine).sort()).toEqual(
        Object.getOwnPropertyNames(Theirs).sort(),
      );
      expect(Object.getOwnPropertySymbols(Mine)).toEqual([]);
      expect(Mine.prototype.constructor).toBe(Mine);
    });

    test('has the methods, on the prototype itself', () => {
      expect(methods).toContain('constructor');
      expect(methods).toContain('close');
      expect(Object.getOwnPropertyNames(Mine.prototype).sort()).toEqual(
        [...methods, ...Object.keys(additions[name])].sort(),
      );
      expect(Object.keys(Mine.prototype)).toEqual([]);
      const symbols = Object.getOwnPropertySymbols(Mine.prototype);
      expect(symbols).toEqual([dispose]);
      for (const symbol of symbols) {
        expect(Object.getOwnPropertyDescriptor(Mine.prototype, symbol)?.enumerable).toBe(false);
      }
    });

    test('can be disposed of', async () => {
      const store = new Mine();
      const disposed = store[dispose]();
      expect(disposed).toBeInstanceOf(Promise);
      expect(await disposed).toBe(undefined);
      await expect(store.getStats()).rejects.toThrow(/ store has been destroyed$/);
    });

    test.each(methods.filter((method) => method !== 'constructor'))('%s', (method) => {
      const own = Object.getOwnPropertyDescriptor(Mine.prototype, method);
      const expected = Object.getOwnPropertyDescriptor(Theirs.prototype, method);
      expect(typeof own?.value).toBe('function');
      expect(own?.value.name).toBe(method);
      expect(own?.value.length).toBe(
        /** @type {any} */ (lengths)[name]?.[method] ?? expected?.value.length,
      );
      // So that a spy can replace it and put it back.
      expect({ ...own, value: 0 }).toEqual({ ...expected, value: 0 });
    });

    test('rejects what is called on something else', async () => {
      const synchronous = [
        'constructor',
        'destroy',
        'getMetrics',
        'getResourceConfig',
        'setResourceConfig',
        // An iterator, whose first step rejects.
        'entries',
      ];
      const names = Object.getOwnPropertyNames(Mine.prototype);
      for (const method of names.filter((each) => !synchronous.includes(each))) {
        for (const receiver of [undefined, null, 5, {}]) {
          const answer = Mine.prototype[method].call(receiver, 'a', 'b', {});
          expect(answer, method).toBeInstanceOf(Promise);
          await expect(answer, method).rejects.toThrow(`this must be an ${name}, got `);
        }
      }
    });

    test('has the lengths of what is added', () => {
      for (const [method, length] of Object.entries(additions[name])) {
        expect(Mine.prototype[method].length).toBe(length);
      }
    });

    test('is a class: not callable, and to be extended', async () => {
      expect(() => Mine()).toThrow(TypeError);
      class Extended extends Mine {
        get own() {
          return 'own';
        }
        async getStats() {
          return { ...(await super.getStats()), extended: true };
        }
      }
      const store = new Extended();
      try {
        expect(store).toBeInstanceOf(Extended);
        expect(store).toBeInstanceOf(Mine);
        expect(store.own).toBe('own');
        expect(await store.getStats()).toMatchObject({ extended: true });
      } finally {
        await store.close();
      }
    });
  });

  test('canProceed has the length by which the client tells the stores apart', () => {
    expect(mine.SQLiteRateLimitStore.prototype.canProceed.length).toBe(1);
    expect(mine.SqliteAdaptiveRateLimitStore.prototype.canProceed.length).toBe(2);
  });
});

test('main, module, types and exports agree, and what they name is there', () => {
  const { import: esm, require: cjs } = manifest.exports['.'];
  expect(manifest.main).toBe(cjs.default);
  expect(manifest.module).toBe(esm.default);
  expect(manifest.types).toBe(cjs.types);
  for (const path of [cjs.default, cjs.types, esm.default, esm.types]) {
    expect(manifest.files).toContain(path.replace('./', ''));
    expect(existsSync(new URL(`../${path}`, import.meta.url)), path).toBe(true);
  }
  expect(require(`${manifest.name}/package.json`)).toBe(manifest);
});
