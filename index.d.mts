/**
 * The types for `import`: those of `index.d.ts`, but for the tables, which are made of drizzle-orm's ESM types here (its
 * CommonJS types are others to the compiler).
 *
 * @packageDocumentation
 */

import type {
  CacheColumns,
  CacheRow,
  CacheTagColumns,
  CacheTagRow,
  DedupeColumns,
  DedupeRow,
  RateLimitColumns,
  RateLimitRow,
  ServerCooldownColumns,
  ServerCooldownRow,
} from './lib/tables.js';

export * from './index.js';

// Declarations of this module's own take precedence over those that `export *` brings. See `index.d.ts` for the why.

// @ts-ignore: does not resolve without drizzle-orm
type DrizzleColumn<Config> = import('drizzle-orm/sqlite-core').SQLiteColumn<Config, object>;
// @ts-ignore: does not resolve without drizzle-orm
type DrizzleTable<Config> = import('drizzle-orm/sqlite-core').SQLiteTableWithColumns<Config>;

type Table<Name, Columns, Row> = string extends keyof DrizzleColumn<unknown>
  ? { readonly $inferSelect: Row }
  : DrizzleTable<{
      name: Name;
      schema: undefined;
      columns: { [Key in keyof Columns]: DrizzleColumn<Columns[Key]> };
      dialect: 'sqlite';
      isAlias: false;
    }>;

/**
 * The table `cache` for drizzle-orm. Like the others, it loads drizzle-orm when it is first used, and throws an
 * `Error` that says what to install if that is missing.
 */
export declare const cacheTable: Table<'cache', CacheColumns, CacheRow>;

/** The table `cache_tags` for drizzle-orm. The file has it once an entry has been given a tag. */
export declare const cacheTagsTable: Table<'cache_tags', CacheTagColumns, CacheTagRow>;

/** The table `server_cooldowns` for drizzle-orm. The file has it once a cooldown has been set. */
export declare const serverCooldownTable: Table<
  'server_cooldowns',
  ServerCooldownColumns,
  ServerCooldownRow
>;

/** The table `dedupe_jobs` for drizzle-orm, without the column `error_name`. */
export declare const dedupeTable: Table<'dedupe_jobs', DedupeColumns, DedupeRow>;

/** The table `rate_limits` for drizzle-orm, without its column `priority`. */
export declare const rateLimitTable: Table<'rate_limits', RateLimitColumns, RateLimitRow>;
