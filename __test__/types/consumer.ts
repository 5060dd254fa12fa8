/**
 * A consumer as they are written against 0.2.0. It compiles against 0.2.0 and, unchanged, against this package
 * (`22-types.test.mjs`).
 */

import ComicVine, {
  type AdaptiveConfig as ClientAdaptiveConfig,
  type AdaptiveRateLimitStore as ClientAdaptiveRateLimitStore,
  type CacheStore as ClientCacheStore,
  type DedupeStore as ClientDedupeStore,
  type RateLimitConfig as ClientRateLimitConfig,
  type RateLimitStore as ClientRateLimitStore,
  type RequestPriority as ClientRequestPriority,
} from '@comic-vine/client';
import {
  type AdaptiveConfig,
  type AdaptiveRateLimitStore,
  type CacheRow,
  type CacheStore,
  type DedupeRow,
  type DedupeStore,
  type RateLimitConfig,
  type RateLimitRow,
  type RateLimitStore,
  type RequestPriority,
  SQLiteCacheStore,
  type SQLiteCacheStoreOptions,
  SQLiteDedupeStore,
  type SQLiteDedupeStoreOptions,
  SQLiteRateLimitStore,
  type SQLiteRateLimitStoreOptions,
  SqliteAdaptiveRateLimitStore,
  type SqliteAdaptiveRateLimitStoreOptions,
} from '@comic-vine/sqlite-store';
import Database from 'better-sqlite3';

/** Both ways, and neither is `any`. */
type Same<A, B> = [A, B] extends [B, A]
  ? 0 extends 1 & A
    ? false
    : 0 extends 1 & B
      ? false
      : true
  : false;
function same<A, B>(_answer: Same<A, B>): void {}

// Construction ----------------------------------------------------------------

const handle = new Database(':memory:');
const cacheOptions: SQLiteCacheStoreOptions = {
  database: handle,
  cleanupIntervalMs: 60_000,
  maxEntrySizeBytes: 5 * 1024 * 1024,
};
const dedupeOptions: SQLiteDedupeStoreOptions = {
  database: './dedupe.db',
  jobTimeoutMs: 300_000,
  timeoutMs: 300_000,
  cleanupIntervalMs: 60_000,
};
const limitOptions: SQLiteRateLimitStoreOptions = {
  database: ':memory:',
  defaultConfig: { limit: 100, windowMs: 60_000 },
  resourceConfigs: new Map([['issues', { limit: 50, windowMs: 60_000 }]]),
};
const adaptiveOptions: SqliteAdaptiveRateLimitStoreOptions = {
  database: process.env.COMIC_VINE_DB_PATH ?? ':memory:',
  defaultConfig: { limit: 200, windowMs: 3_600_000 },
  resourceConfigs: new Map(),
  adaptiveConfig: {
    monitoringWindowMs: 15 * 60 * 1000,
    highActivityThreshold: 10,
    moderateActivityThreshold: 3,
    recalculationIntervalMs: 30_000,
    sustainedInactivityThresholdMs: undefined,
    backgroundPauseOnIncreasingTrend: true,
    maxUserScaling: 2.0,
    minUserReserved: 5,
  },
};

interface Issue {
  id: number;
  name: string | null;
}

const cache = new SQLiteCacheStore<Issue>(cacheOptions);
const anything = new SQLiteCacheStore();
const dedupe = new SQLiteDedupeStore<Issue>(dedupeOptions);
const limit = new SQLiteRateLimitStore(limitOptions);
const adaptive = new SqliteAdaptiveRateLimitStore(adaptiveOptions);
new SQLiteDedupeStore({});
new SQLiteRateLimitStore();
new SqliteAdaptiveRateLimitStore({ adaptiveConfig: {} });

// @ts-expect-error a database is a path or a connection
new SQLiteCacheStore({ database: 1 });
// @ts-expect-error not an option
new SQLiteCacheStore({ ttl: 1 });
// @ts-expect-error the class has a type parameter for its values
cache.set('hash', { id: 'one', name: null }, 60);

// In the client ----------------------------------------------------------------

new ComicVine({
  apiKey: 'your-api-key',
  stores: {
    cache: new SQLiteCacheStore({ database: handle }),
    dedupe: new SQLiteDedupeStore({ database: handle }),
    rateLimit: new SqliteAdaptiveRateLimitStore({ database: handle }),
  },
});
new ComicVine({ apiKey: 'your-api-key', stores: { rateLimit: limit } });

// Methods ------------------------------------------------------------------------

export async function useCache(): Promise<void> {
  await cache.set('hash', { id: 1, name: 'one' }, 60);
  const issue = await cache.get('hash');
  same<typeof issue, Issue | undefined>(true);
  const unknown = await anything.get('hash');
  // @ts-expect-error unknown until it is looked at
  unknown.id;
  await cache.delete('hash');
  await cache.clear();
  const stats = await cache.getStats();
  same<typeof stats, { totalItems: number; expiredItems: number; databaseSizeKB: number }>(true);
  const figures: Record<string, number> = stats;
  await cache.cleanup();
  await cache.close();
  cache.destroy();
  void figures;
}

export async function useDedupe(error: Error): Promise<Issue | undefined> {
  const waited = await dedupe.waitFor('hash');
  same<typeof waited, Issue | undefined>(true);
  const id: string = await dedupe.register('hash');
  if (await dedupe.isInProgress('hash')) await dedupe.fail('hash', error);
  await dedupe.complete('hash', { id: 1, name: id });
  await dedupe.complete('hash', undefined);
  const stats = await dedupe.getStats();
  same<
    typeof stats,
    {
      totalJobs: number;
      pendingJobs: number;
      completedJobs: number;
      failedJobs: number;
      expiredJobs: number;
    }
  >(true);
  await dedupe.cleanup();
  await dedupe.clear();
  const result = await dedupe.getResult('hash');
  await dedupe.close();
  dedupe.destroy();
  return result;
}

export async function useLimit(config: RateLimitConfig): Promise<number> {
  limit.setResourceConfig('volumes', config);
  const { limit: most, windowMs }: RateLimitConfig = limit.getResourceConfig('volumes');
  if (await limit.canProceed('volumes')) await limit.record('volumes');
  // @ts-expect-error the plain store knows no priorities
  await limit.canProceed('volumes', 'user');
  const status = await limit.getStatus('volumes');
  same<typeof status, { remaining: number; resetTime: Date; limit: number }>(true);
  const { totalRequests, uniqueResources, rateLimitedResources } = await limit.getStats();
  const names: string[] = rateLimitedResources;
  await limit.reset('volumes');
  await limit.clear();
  await limit.cleanup();
  await limit.close();
  limit.destroy();
  return most + windowMs + totalRequests + uniqueResources + names.length;
}

export async function useAdaptive(priority: RequestPriority): Promise<number> {
  adaptive.setResourceConfig('videos', { limit: 50, windowMs: 3_600_000 });
  const config: RateLimitConfig = adaptive.getResourceConfig('videos');
  if (await adaptive.canProceed('videos', priority)) await adaptive.record('videos', 'user');
  await adaptive.canProceed('videos');
  await adaptive.record('videos');
  // @ts-expect-error not a priority
  await adaptive.record('videos', 'urgent');
  const status = await adaptive.getStatus('videos');
  console.log(status.adaptive?.reason.length, status.adaptive?.backgroundPaused === true);
  same<
    typeof status,
    {
      remaining: number;
      resetTime: Date;
      limit: number;
      adaptive?: {
        userReserved: number;
        backgroundMax: number;
        backgroundPaused: boolean;
        recentUserActivity: number;
        reason: string;
      };
    }
  >(true);
  const stats: {
    totalRequests: number;
    uniqueResources: number;
    rateLimitedResources: Array<string>;
  } = await adaptive.getStats();
  const wait: number = await adaptive.getWaitTime('videos', priority);
  await adaptive.reset('videos');
  await adaptive.clear();
  await adaptive.cleanup();
  await adaptive.close();
  adaptive.destroy();
  return wait + stats.totalRequests + config.limit;
}

// Types ----------------------------------------------------------------------------

same<RequestPriority, ClientRequestPriority>(true);
same<RateLimitConfig, ClientRateLimitConfig>(true);
same<AdaptiveConfig, ClientAdaptiveConfig>(true);
same<CacheStore<Issue>, ClientCacheStore<Issue>>(true);
same<DedupeStore<Issue>, ClientDedupeStore<Issue>>(true);
same<RateLimitStore, ClientRateLimitStore>(true);
same<AdaptiveRateLimitStore, ClientAdaptiveRateLimitStore>(true);

same<CacheRow, { hash: string; value: unknown; expiresAt: number; createdAt: number }>(true);
same<
  DedupeRow,
  {
    hash: string;
    jobId: string;
    status: string;
    result: unknown;
    error: string | null;
    createdAt: number;
    updatedAt: number;
  }
>(true);
same<RateLimitRow, { resource: string; timestamp: number; id: number }>(true);

const stores: [
  ClientCacheStore<Issue>,
  ClientCacheStore,
  ClientDedupeStore<Issue>,
  ClientRateLimitStore,
  ClientAdaptiveRateLimitStore,
  ClientRateLimitStore,
] = [cache, anything, dedupe, limit, adaptive, adaptive];
void stores;

// Inheritance --------------------------------------------------------------------------

export class CountingCache<T> extends SQLiteCacheStore<T> {
  hits = 0;
  constructor(options: SQLiteCacheStoreOptions = {}) {
    super({ ...options, cleanupIntervalMs: options.cleanupIntervalMs ?? 1000 });
  }
  override async get(hash: string): Promise<T | undefined> {
    const value = await super.get(hash);
    if (value !== undefined) this.hits++;
    return value;
  }
}

export class PatientLimit extends SqliteAdaptiveRateLimitStore implements AdaptiveRateLimitStore {
  override async getWaitTime(
    resource: string,
    priority: RequestPriority = 'background',
  ): Promise<number> {
    return (await super.getWaitTime(resource, priority)) + 1;
  }
}

export interface MyOptions extends SQLiteRateLimitStoreOptions {
  name: string;
}
