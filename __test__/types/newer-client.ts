/** What a newer client asks of stores, declared here: ours are assignable (`22-types.test.mjs`). */

import {
  type AbortSignalLike,
  type CacheEntryInfo,
  comicVineLimits,
  createSQLiteStores,
  type DedupeJobInfo,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  type SQLiteStores,
  SqliteAdaptiveRateLimitStore,
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

interface RateLimitStore {
  canProceed(resource: string): Promise<boolean>;
  acquire?(resource: string): Promise<boolean>;
  record(resource: string): Promise<void>;
  getStatus(resource: string): Promise<{ remaining: number; resetTime: Date; limit: number }>;
  reset(resource: string): Promise<void>;
  getWaitTime(resource: string): Promise<number>;
  setResourceConfig?(resource: string, config: { limit: number; windowMs: number }): void;
  setCooldown?(key: string, untilMs: number): Promise<void>;
  getCooldown?(key: string): Promise<number | undefined>;
  clearCooldown?(key: string): Promise<void>;
  clear?(): Promise<void>;
  listResources?(): Promise<
    Array<{ resource: string; requestCount: number; limit: number; windowMs: number }>
  >;
}

interface AdaptiveRateLimitStore extends RateLimitStore {
  canProceed(resource: string, priority?: 'user' | 'background'): Promise<boolean>;
  acquire?(resource: string, priority?: 'user' | 'background'): Promise<boolean>;
  record(resource: string, priority?: 'user' | 'background'): Promise<void>;
  getWaitTime(resource: string, priority?: 'user' | 'background'): Promise<number>;
}

export const limiters: Required<RateLimitStore>[] = [
  new SQLiteRateLimitStore(comicVineLimits()),
  new SqliteAdaptiveRateLimitStore({ ...comicVineLimits({ minIntervalMs: 2_000 }) }),
];
export const adaptiveLimiters: Required<AdaptiveRateLimitStore>[] = [
  new SqliteAdaptiveRateLimitStore({ reservationMs: 1, bookWaits: true, honourCooldowns: true }),
];

export const caches: ListingCacheStore<{ id: number }>[] = [
  new SQLiteCacheStore<{ id: number }>({ zeroTtl: 'forever' }),
  new SQLiteCacheStore<{ id: number }>({ maxEntries: 1, maxSizeBytes: 1, eviction: 'fifo' }),
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

export async function use(signal: AbortSignalLike): Promise<void> {
  const removed: number = await stores.cache.invalidateByTags(['a', 'b'] as const);
  const entries: CacheEntryInfo[] = await stores.cache.listEntries(removed, 10);
  const jobs: DedupeJobInfo[] = await stores.dedupe.listJobs();
  await stores.cache.clear(entries[0]?.hash);
  await stores.dedupe.clear(jobs[0]?.jobId);
  const status = await stores.rateLimit.getStatus('issue');
  const next: Date | undefined = status.nextAt;
  const [listed] = await stores.adaptiveRateLimit.listResources();
  const until: number | undefined = listed?.cooldownUntil ?? next?.getTime();
  const reserved: number | undefined = listed?.adaptive.userReserved ?? until;
  const got: boolean = await stores.rateLimit.acquire('issue', 'user', { signal, maxWaitMs: 5 });
  await stores.rateLimit.acquire('issue', undefined, {});
  await stores.close();
  // @ts-expect-error a number
  await stores.rateLimit.setCooldown('key', new Date());
  // @ts-expect-error one of two words
  await stores.adaptiveRateLimit.acquire('issue', got ? 'someone' : reserved, {});
  // @ts-expect-error tags are given
  await stores.cache.setWithTags('key', 'value', 60);
  // @ts-expect-error one database for all
  createSQLiteStores({ cache: { database: './other.db' } });
  // @ts-expect-error one of two words
  new SQLiteCacheStore({ zeroTtl: 'never' });
  // @ts-expect-error one of two words
  new SQLiteCacheStore({ eviction: 'random' });
}
