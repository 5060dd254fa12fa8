/** What a newer client asks of stores, declared here: ours are assignable (`22-types.test.mjs`). */

import {
  type CacheEntryInfo,
  createSQLiteStores,
  type DedupeJobInfo,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  type SQLiteStores,
} from '@comic-vine/sqlite-store';

interface CacheStore<T = unknown> {
  get(hash: string): Promise<T | undefined>;
  set(hash: string, value: T, ttlSeconds: number): Promise<void>;
  delete(hash: string): Promise<void>;
  clear(scope?: string): Promise<void>;
  setWithTags?(hash: string, value: T, ttlSeconds: number, tags: string[]): Promise<void>;
  invalidateByTag?(tag: string): Promise<number>;
  invalidateByTags?(tags: string[]): Promise<number>;
}

interface ListingCacheStore<T = unknown> extends CacheStore<T> {
  listEntries(
    offset?: number,
    limit?: number,
  ): Promise<
    Array<{
      hash: string;
      expiresAt: number;
      createdAt: number;
      sizeBytes: number;
      tags: string[];
    }>
  >;
}

interface DedupeStore<T = unknown> {
  waitFor(hash: string): Promise<T | undefined>;
  register(hash: string): Promise<string>;
  registerOrJoin?(hash: string): Promise<{ jobId: string; isOwner: boolean }>;
  complete(hash: string, value: T | undefined): Promise<void>;
  fail(hash: string, error: Error): Promise<void>;
  isInProgress(hash: string): Promise<boolean>;
  clear?(scope?: string): Promise<void>;
  listJobs?(
    offset?: number,
    limit?: number,
  ): Promise<
    Array<{
      hash: string;
      jobId: string;
      status: 'pending' | 'completed' | 'failed';
      createdAt: number;
      ownerAlive: boolean;
    }>
  >;
}

export const caches: ListingCacheStore<{ id: number }>[] = [
  new SQLiteCacheStore<{ id: number }>({ zeroTtl: 'forever' }),
];
export const dedupes: DedupeStore[] = [new SQLiteDedupeStore()];

const stores: SQLiteStores<string> = createSQLiteStores<string>({
  database: './comic-vine.db',
  busyTimeoutMs: 1_000,
  cache: { zeroTtl: 'expired', maxEntrySizeBytes: 1 },
  dedupe: { resultTtlMs: 0 },
  rateLimit: { defaultConfig: { limit: 1, windowMs: 1 } },
  adaptiveRateLimit: {},
});
export const client: { cache: CacheStore<string>; dedupe: DedupeStore<string> } = stores;

export async function use(): Promise<void> {
  const removed: number = await stores.cache.invalidateByTags(['a', 'b'] as const);
  const entries: CacheEntryInfo[] = await stores.cache.listEntries(removed, 10);
  const jobs: DedupeJobInfo[] = await stores.dedupe.listJobs();
  await stores.cache.clear(entries[0]?.hash);
  await stores.dedupe.clear(jobs[0]?.jobId);
  await stores.close();
  // @ts-expect-error tags are given
  await stores.cache.setWithTags('key', 'value', 60);
  // @ts-expect-error one database for all
  createSQLiteStores({ cache: { database: './other.db' } });
  // @ts-expect-error one of two words
  new SQLiteCacheStore({ zeroTtl: 'never' });
}
