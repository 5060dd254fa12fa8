'use strict';

module.exports.contracts = {
  SQLiteCacheStore: require('./cache.cjs'),
  SQLiteDedupeStore: require('./dedupe.cjs'),
  SQLiteRateLimitStore: require('./rate-limit.cjs'),
  SqliteAdaptiveRateLimitStore: require('./adaptive.cjs'),
};
