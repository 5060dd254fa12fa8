// Automocking: `vi.mock` without a factory. `jest/mocks.test.cjs` is the same for Jest.
import {
  cacheTable,
  SQLiteCacheStore,
  SqliteAdaptiveRateLimitStore,
} from '@comic-vine/sqlite-store';
import { expect, test, vi } from 'vitest';

// As if drizzle-orm were not installed: the tables are looked at too.
vi.hoisted(() => {
  const Module = /** @type {any} */ (process.getBuiltinModule('node:module'));
  const resolve = Module._resolveFilename;
  Module._resolveFilename = (/** @type {string} */ name, /** @type {any[]} */ ...others) =>
    resolve(name.replace(/^drizzle-orm/, 'drizzle-orm-that-is-not-there'), ...others);
});
vi.mock('@comic-vine/sqlite-store');

test('an automocked store has its methods, which answer what the test says', async () => {
  const store = new SQLiteCacheStore({ database: '/nowhere/at/all.db' });
  expect(vi.isMockFunction(store.get)).toBe(true);
  expect(await store.get('key')).toBe(undefined);
  vi.mocked(store.get).mockResolvedValue('value');
  expect(await store.get('key')).toBe('value');
  expect(store.get).toHaveBeenCalledTimes(2);
  expect(SQLiteCacheStore).toHaveBeenCalledTimes(1);
  expect(vi.isMockFunction(new SqliteAdaptiveRateLimitStore().canProceed)).toBe(true);
});

test('so are the tables, without drizzle-orm', async () => {
  /** @type {any} */
  const actual = await vi.importActual('@comic-vine/sqlite-store');
  expect(() => actual.cacheTable.hash).toThrow('npm install drizzle-orm');
  expect(cacheTable.hash).toBe(undefined);
});
