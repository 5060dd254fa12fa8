/**
 * What the drizzle tables hold, without naming drizzle-orm: the row types, and each column's description in the form
 * drizzle's own types take it. `index.d.ts` and `index.d.mts` make the table types from it, each with the build of
 * drizzle-orm (CommonJS, ESM) that its importer sees.
 */

/** A row of `cache`. */
export type CacheRow = {
  hash: string;
  /** What the BLOB holds: a string, which is the value's JSON text, or `'__UNDEFINED__'`. */
  value: unknown;
  /** Milliseconds since the epoch; may be fractional. 0 and `Infinity`: never. */
  expiresAt: number;
  /** Milliseconds since the epoch. */
  createdAt: number;
};

/** A row of `cache_tags`: an entry has a tag. The table is made when an entry is first given one. */
export type CacheTagRow = {
  tag: string;
  /** The entry's. There may be none: other versions remove entries without their tags, until the next clean-up. */
  hash: string;
};

/** A row of `server_cooldowns`. The table is made when a cooldown is first set. */
export type ServerCooldownRow = {
  origin: string;
  /** Milliseconds since the epoch. */
  cooldownUntil: number;
};

/** A row of `dedupe_jobs`, but for `error_name`. */
export type DedupeRow = {
  hash: string;
  jobId: string;
  /** `'pending'`, `'completed'` or `'failed'`. */
  status: string;
  /** What the BLOB holds: a string, which is the result's JSON text, `'__UNDEFINED__'` or `'__NULL__'`. */
  result: unknown;
  /** The message of the error the job failed with. */
  error: string | null;
  /** Milliseconds since the epoch. */
  createdAt: number;
  /** Milliseconds since the epoch. */
  updatedAt: number;
};

/** A row of `rate_limits`, but for `priority`, which {@link rateLimitTable} leaves out, as in 0.2.0. */
export type RateLimitRow = {
  resource: string;
  /** Milliseconds since the epoch. */
  timestamp: number;
  id: number;
};

type Text = {
  dataType: 'string';
  columnType: 'SQLiteText';
  data: string;
  driverParam: string;
  enumValues: [string, ...string[]];
};

type Integer = {
  dataType: 'number';
  columnType: 'SQLiteInteger';
  data: number;
  driverParam: number;
  enumValues: undefined;
};

type JsonBlob = {
  dataType: 'json';
  columnType: 'SQLiteBlobJson';
  data: unknown;
  driverParam: Uint8Array;
  enumValues: undefined;
};

type Column<Table, Name, Type, NotNull, Key = false, Default = false> = Type & {
  name: Name;
  tableName: Table;
  notNull: NotNull;
  hasDefault: Default;
  isPrimaryKey: Key;
  isAutoincrement: false;
  hasRuntimeDefault: false;
  baseColumn: never;
  identity: undefined;
  generated: undefined;
};

export type CacheColumns = {
  hash: Column<'cache', 'hash', Text, true, true>;
  value: Column<'cache', 'value', JsonBlob, true>;
  expiresAt: Column<'cache', 'expires_at', Integer, true>;
  createdAt: Column<'cache', 'created_at', Integer, true>;
};

export type CacheTagColumns = {
  tag: Column<'cache_tags', 'tag', Text, true>;
  hash: Column<'cache_tags', 'hash', Text, true>;
};

export type ServerCooldownColumns = {
  origin: Column<'server_cooldowns', 'origin', Text, true, true>;
  cooldownUntil: Column<'server_cooldowns', 'cooldown_until', Integer, true>;
};

export type DedupeColumns = {
  hash: Column<'dedupe_jobs', 'hash', Text, true, true>;
  jobId: Column<'dedupe_jobs', 'job_id', Text, true>;
  status: Column<'dedupe_jobs', 'status', Text, true>;
  result: Column<'dedupe_jobs', 'result', JsonBlob, false>;
  error: Column<'dedupe_jobs', 'error', Text, false>;
  createdAt: Column<'dedupe_jobs', 'created_at', Integer, true>;
  updatedAt: Column<'dedupe_jobs', 'updated_at', Integer, true>;
};

export type RateLimitColumns = {
  resource: Column<'rate_limits', 'resource', Text, true>;
  timestamp: Column<'rate_limits', 'timestamp', Integer, true>;
  id: Column<'rate_limits', 'id', Integer, true, true, true>;
};
