/** For compilers that know `Symbol.asyncDispose` (`22-types.test.mjs`). */

import {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '@comic-vine/sqlite-store';

export async function block(): Promise<number | undefined> {
  await using cache = new SQLiteCacheStore<number>();
  await using dedupe = new SQLiteDedupeStore<number>();
  await using limit = new SQLiteRateLimitStore();
  await using adaptive = new SqliteAdaptiveRateLimitStore();
  const disposables: AsyncDisposable[] = [cache, dedupe, limit, adaptive];
  const disposed: Promise<void> = cache[Symbol.asyncDispose]();
  await disposed;
  return disposables.length;
}
