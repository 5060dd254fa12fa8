// The CommonJS entry holds the one copy, so that `import` and `require` give the same classes.
export {
  cacheTable,
  cacheTagsTable,
  comicVineLimits,
  createSQLiteStores,
  dedupeTable,
  rateLimitTable,
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
  serverCooldownTable,
} from './index.js';
