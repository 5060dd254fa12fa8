'use strict';

const comicVineLimits = require('./lib/comic-vine-limits.js');
const stores = require('./lib/realm.js');
const { createSQLiteStores } = require('./lib/stores.js');
const tables = require('./lib/tables.js');

// One assignment per name: this form is what lets `import { … }` find the names in a CommonJS module.
exports.SQLiteCacheStore = stores.SQLiteCacheStore;
exports.SQLiteDedupeStore = stores.SQLiteDedupeStore;
exports.SQLiteRateLimitStore = stores.SQLiteRateLimitStore;
exports.SqliteAdaptiveRateLimitStore = stores.SqliteAdaptiveRateLimitStore;
exports.createSQLiteStores = createSQLiteStores;
exports.cacheTable = tables.cacheTable;
exports.cacheTagsTable = tables.cacheTagsTable;
exports.dedupeTable = tables.dedupeTable;
exports.rateLimitTable = tables.rateLimitTable;
exports.comicVineLimits = comicVineLimits;
exports.serverCooldownTable = tables.serverCooldownTable;
