// The CommonJS entry holds the one copy, so that `import` and `require` give the same classes.
export {
  cacheTable,
  comicVineLimits,
  dedupeTable,
  rateLimitTable,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from './index.js';
