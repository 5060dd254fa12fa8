/**
 * Persistent stores for the Comic Vine client, in one SQLite file that processes share.
 *
 * All asynchronous methods follow the same rules, which are not repeated at each of them:
 *
 * - They never throw; what goes wrong is a rejection. Its stack names the async functions that await it, unless it is an error
 *   that your driver threw.
 * - A wrong argument rejects with a `TypeError` that names it: `ttlSeconds must be …, got …`.
 * - `hash` and `resource` are any strings without lone surrogates, which UTF-8 does not have. Values may have some. In the
 *   message of an error given to `fail`, other processes read U+FFFD for them.
 * - After `close()` or `destroy()` they reject with an `Error`: `Cache store has been destroyed`, `Dedupe store has been
 *   destroyed` or `Rate limit store has been destroyed`.
 * - A failure of SQLite rejects with a {@link SqliteError}. With `onError: 'ignore'` the calls that clients make do not: see
 *   {@link SQLiteDatabaseOptions.onError}.
 * - What must not run on the JavaScript thread (a flush, a wait for a lock, clean-up, statistics) runs on another one. While
 *   the system refuses the process a thread, such a call rejects with an `Error` whose `code` is
 *   `'SQLITE_STORE_NO_THREAD'`; the next call tries again.
 * - A call sees all calls made before it in the process, awaited or not, by whichever store on the database, as far as they
 *   touch what it touches. A read does not wait for writes to anything else. When the promise of a call that writes
 *   resolves, what it wrote is committed and visible to every process.
 *
 * Constructors throw: a `TypeError` that names the option if an option is invalid, `TypeError: Cannot open database
 * because the directory does not exist: '…'`, an `Error` with the `code` `'SQLITE_STORE_OTHER_COPY'` if another copy of this package
 * has the file open in this process, or a {@link SqliteError} if the file cannot be opened or is not a database.
 *
 * `import` and `require` throw an `Error` if the binary cannot be loaded. The message begins with the cause; the `code` is one of
 * `'SQLITE_STORE_UNSUPPORTED_PLATFORM'`, `'SQLITE_STORE_NOT_INSTALLED'`, `'SQLITE_STORE_WRONG_PLATFORM'`,
 * `'SQLITE_STORE_WRONG_LIBC'`, `'SQLITE_STORE_ADDONS_DISABLED'`, `'SQLITE_STORE_BINARY_DAMAGED'`,
 * `'SQLITE_STORE_BINARY_VERSION'`, `'SQLITE_STORE_BINARY_PATH'`, `'SQLITE_STORE_LIBRARY_MISSING'` and
 * `'SQLITE_STORE_BINARY_REFUSED'`.
 *
 * Times come from `Date.now()` and timers from `setTimeout` and `setInterval` as they are when a call is made, so fake
 * timers work. Timers do not keep the process alive.
 *
 * Timers, and on your own connection the writes of several callers that are made together, run outside of any async context:
 * an `AsyncLocalStorage` of yours has no store there. What a call does at once runs in the context of its caller.
 *
 * Numbers may be extreme, and answers stay valid: `resetTime` is at most the last date of JavaScript (8.64e15 ms), and
 * `getWaitTime` at most 2,147,483,647 ms (24.8 days), the longest that a timer can wait. Clean-up intervals are at most as long,
 * `busyTimeoutMs` and `requestTimeoutMs` count as at most a day, `pollIntervalMs` as at most a minute.
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

export type { CacheRow, CacheTagRow, DedupeRow, RateLimitRow, ServerCooldownRow };

// The client's interfaces ------------------------------------------------------------------------------------------
// Declared here rather than imported, so that these types need no other package. They are the same shapes.

/** What the client needs of a cache. */
export interface CacheStore<T = unknown> {
  get(hash: string): Promise<T | undefined>;
  set(hash: string, value: T, ttlSeconds: number): Promise<void>;
  delete(hash: string): Promise<void>;
  clear(): Promise<void>;
}

/** What the client needs to make one request of several identical ones. */
export interface DedupeStore<T = unknown> {
  waitFor(hash: string): Promise<T | undefined>;
  register(hash: string): Promise<string>;
  complete(hash: string, value: T): Promise<void>;
  fail(hash: string, error: Error): Promise<void>;
  isInProgress(hash: string): Promise<boolean>;
}

/** What the client needs to keep within the API's limits. */
export interface RateLimitStore {
  canProceed(resource: string): Promise<boolean>;
  record(resource: string): Promise<void>;
  getStatus(resource: string): Promise<RateLimitStatus>;
  reset(resource: string): Promise<void>;
  getWaitTime(resource: string): Promise<number>;
}

/** A {@link RateLimitStore} that tells users' requests from background ones. */
export interface AdaptiveRateLimitStore extends RateLimitStore {
  canProceed(resource: string, priority?: RequestPriority): Promise<boolean>;
  record(resource: string, priority?: RequestPriority): Promise<void>;
  getStatus(resource: string): Promise<AdaptiveRateLimitStatus>;
  getWaitTime(resource: string, priority?: RequestPriority): Promise<number>;
}

/** Whether somebody waits for the answer (`'user'`) or not (`'background'`). */
export type RequestPriority = 'user' | 'background';

/** So many requests in any window of that length, and so far apart. */
export interface RateLimitConfig {
  /** Requests per window: a number from 0, `Infinity` allowed. */
  limit: number;
  /** Length of the sliding window in milliseconds: a finite number from 0. */
  windowMs: number;
  /** Shortest time between two requests in milliseconds: a finite number from 0. Default: 0. */
  minIntervalMs?: number | undefined;
}

/** How the adaptive store divides a limit between users and background work. */
export type AdaptiveConfig = {
  /** How far back requests count as recent activity, in milliseconds, more than 0. Default: 900,000 (15 minutes). */
  monitoringWindowMs: number;
  /** Recent user requests from which users get priority, from 0. Default: 10. */
  highActivityThreshold: number;
  /** Recent user requests from which the shares scale with activity, from 0, less than `highActivityThreshold`. Default: 3. */
  moderateActivityThreshold: number;
  /** How long computed shares hold, in milliseconds, more than 0. Default: 30,000. */
  recalculationIntervalMs: number;
  /** Time without a user request after which background work gets the whole limit, in milliseconds, more than 0. Default: 1,800,000 (30 minutes). */
  sustainedInactivityThresholdMs: number;
  /** Whether background work stops while high user activity keeps rising. Default: `true`. */
  backgroundPauseOnIncreasingTrend: boolean;
  /** The most that users' base share is multiplied by, more than 0. Default: 2. */
  maxUserScaling: number;
  /** Requests kept for users when they are few, from 0. Default: 5. */
  minUserReserved: number;
};

// Options ----------------------------------------------------------------------------------------------------------

/** A prepared statement, as far as these types need to know it. */
export interface SQLiteStatement {
  run(...parameters: never[]): unknown;
  get(...parameters: never[]): unknown;
  all(...parameters: never[]): unknown;
}

/**
 * An open SQLite connection, known by its methods: a `Database` of better-sqlite3, `libsql` or `bun:sqlite`, or a
 * `DatabaseSync` of `node:sqlite`.
 */
export interface SQLiteConnection {
  prepare(sql: string): SQLiteStatement;
  exec(sql: string): unknown;
}

/**
 * A client of a server, known by its methods: that of `@libsql/client`, for a libSQL server (`sqld`) or Turso Cloud. Its `execute`
 * is given `{ sql, args }`, its `batch` a list of these and `'write'` or `'read'`; both answer promises, of what has `rows` and
 * `rowsAffected`. A batch is one transaction. Integers come as numbers or BigInts, not as text.
 */
export interface SQLiteClient {
  execute(statement: { sql: string; args: never[] }): PromiseLike<{ rows: unknown }>;
  batch(
    statements: { sql: string; args: never[] }[],
    mode: 'write' | 'read',
  ): PromiseLike<readonly { rows: unknown }[]>;
}

/** The same in the manner of Cloudflare's D1. */
export interface SQLiteBoundClient {
  prepare(sql: string): { bind(...values: never[]): unknown };
  exec(sql: string): PromiseLike<unknown>;
  batch(statements: never[]): PromiseLike<readonly unknown[]>;
}

/** The options of every store. An option that is `undefined` has its default. */
export interface SQLiteDatabaseOptions {
  /**
   * Where the data is. Default: `':memory:'`.
   *
   * - A path, relative to the working directory: the file is created if it is missing, its directory is not. Stores on
   *   one path, in this process and in others, share the data.
   * - `':memory:'`: a database in memory, private to this store.
   * - An open connection: used, but never closed, by the store. If you close it, calls reject with the driver's error; if
   *   you open it again, as `node:sqlite` can, they work. `journalMode` and `synchronous` do not apply to it, nor does
   *   `busyTimeoutMs`.
   * - A client of a server: used, but never closed, by the store. Stores of several hosts on one server share the data. Times
   *   are the server's. Values of more than 4 MiB are not stored. See docs/scale-out.md.
   */
  database?: string | SQLiteConnection | SQLiteClient | SQLiteBoundClient | undefined;
  /**
   * How long a call may wait for a lock that another process holds before it rejects with `SQLITE_BUSY`, in
   * milliseconds. The event loop is not blocked meanwhile. On a server, of all stores on a client the longest counts.
   * Default: 5000.
   */
  busyTimeoutMs?: number | undefined;
  /**
   * How long a call may take on a server, in milliseconds, more than 0; `Infinity`: as long as it takes. Then it rejects: with
   * `code` `SQLITE_STORE_OUTCOME_UNKNOWN` if it was sent, writes, and may have taken effect, or may yet; otherwise with
   * `SQLITE_STORE_TIMEOUT`. Default: 10,000.
   */
  requestTimeoutMs?: number | undefined;
  /**
   * The file's journal mode. Default: `'wal'`, which adds `-wal` and `-shm` files while the database is open. Where the
   * file system does not support that, the mode that SQLite grants is used. Two stores of one process that ask for
   * different modes of one file are an error.
   */
  journalMode?: 'wal' | 'delete' | undefined;
  /**
   * What a resolved write survives. `'normal'`: the death of the process; with `journalMode: 'wal'` the last writes
   * before a power failure may be lost, the file stays intact. `'full'`: a power failure too, at the price of a disk
   * flush per commit. If one store on a file asks for it, all in the process have it. Default: `'normal'`.
   */
  synchronous?: 'normal' | 'full' | undefined;
  /**
   * What calls do when the store fails: its file, connection or server. Default: `'reject'`.
   *
   * With `'ignore'` a broken store breaks no request. The calls that clients make answer what lets their caller go on:
   *
   * - `get`, `waitFor`, `getResult`, `getCooldown`: `undefined`; `isInProgress`: `false`;
   * - `set`, `setWithTags`, `delete`, `clear`, `complete`, `fail`, `record`, `reset`, `setCooldown`, `clearCooldown`: nothing, which is
   *   also what they have done; `invalidateByTag`, `invalidateByTags`: 0;
   * - `canProceed`, `acquire`: `true`; `getWaitTime`: 0; `getStatus`: the limit, all of which remains;
   * - `register`: an id; `registerOrJoin`: that the caller is the owner.
   *
   * Each error that is ignored is told by the store's channel (`'error'`: {@link SQLiteStoreChannels}) and counted by
   * `getMetrics()`. A constructor that cannot open the database does not throw: the store answers as above, and tries
   * again with a call, at most once a second. Until it is open, arguments are not looked at.
   *
   * Wrong options and arguments, values without a JSON form, a job that has failed, signals, and calls after the end of the
   * store are errors all the same. So are those of other methods: what they are asked for are facts.
   */
  onError?: 'reject' | 'ignore' | undefined;
}

export interface SQLiteCacheStoreOptions extends SQLiteDatabaseOptions {
  /** Time between removals of expired entries, in milliseconds; 0 and `Infinity`: never. Default: 60,000. */
  cleanupIntervalMs?: number | undefined;
  /**
   * Largest entry in bytes, counted on the JSON text in UTF-8. A larger value is not stored, without an error. Default:
   * 5,242,880 (5 MiB). On a server, no value that takes more than 4 MiB as it is stored is kept either.
   */
  maxEntrySizeBytes?: number | undefined;
  /**
   * What a `ttlSeconds` of 0 means: `'expired'`: the entry has expired at once, as in 0.2.0; `'forever'`: it never expires.
   * Default: `'expired'`. Of {@link createSQLiteStores} it is `'forever'`.
   */
  zeroTtl?: 'expired' | 'forever' | undefined;
  /**
   * How many entries the cache holds at most, a whole number from 1; `Infinity`: any number. When `set` or `setWithTags` has
   * resolved, the cache is within this bound and that of `maxSizeBytes`: expired entries are evicted first, then others by
   * `eviction`. What is stored by older versions, by stores without bounds, or by stores with wider ones, counts from the next
   * clean-up or `set` on. Default: `Infinity`.
   */
  maxEntries?: number | undefined;
  /**
   * How many bytes all values take together at most, as they are stored (`length(value)`), a whole number from 1; `Infinity`: any
   * number. A value that alone is larger is not stored, without an error. The file is larger than that. Default: `Infinity`.
   */
  maxSizeBytes?: number | undefined;
  /**
   * Which entries are evicted: `'lru'`: those that were not used for longest, where uses of the last 60 seconds may not count
   * yet; `'fifo'`: those that were stored first. Without a bound nothing is evicted. Default: `'lru'`.
   */
  eviction?: 'lru' | 'fifo' | undefined;
}

/** What waiting calls need of an `AbortSignal`. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** What ends {@link SQLiteDedupeStore.waitFor}, or an `acquire` that waits, early. */
export interface WaitForOptions {
  /** Rejects with the signal's reason when it is aborted. Default: none. */
  signal?: AbortSignalLike | undefined;
  /**
   * How long to wait at most, in milliseconds by the timers of JavaScript; 2,147,483,648 and more, and `Infinity`: as long as
   * it takes. Default: `Infinity`.
   */
  maxWaitMs?: number | undefined;
}

export interface SQLiteDedupeStoreOptions extends SQLiteDatabaseOptions {
  /**
   * Age at which a job that has not ended counts as dead, in milliseconds; 0 and `Infinity`: never. Those who wait for
   * it then get `undefined`. Default: 300,000 (5 minutes).
   */
  jobTimeoutMs?: number | undefined;
  /** Older name of `jobTimeoutMs`; if both are given, this one counts. */
  timeoutMs?: number | undefined;
  /** Time between removals of outdated jobs, in milliseconds; 0 and `Infinity`: never. Default: 60,000. */
  cleanupIntervalMs?: number | undefined;
  /**
   * How often to check jobs of other processes while somebody waits for one, in milliseconds. On a connection
   * it is at least 30 when nothing has happened for a quarter of a second. On a server it is 100 by default, and what is asked is
   * one query for all that is waited for. Default: 10.
   */
  pollIntervalMs?: number | undefined;
  /**
   * How long `waitFor` on a hash without a job holds the right to register one, if no `register` comes, in milliseconds of
   * real time in which the event loop turns; 0: no claims. See {@link SQLiteDedupeStore.waitFor}. Default: 250.
   */
  claimTimeoutMs?: number | undefined;
  /**
   * How long a completed job's result is served, in milliseconds, never longer than a `jobTimeoutMs` other than 0.
   * Default: 1,000.
   */
  resultTtlMs?: number | undefined;
}

/** What both limiters take. */
export interface RateLimiterOptions extends SQLiteDatabaseOptions {
  /** Limits by resource. The Map is used as it is: later changes to it count. Default: empty. */
  resourceConfigs?: Map<string, RateLimitConfig> | undefined;
  /**
   * How long a `canProceed` that resolves to `true` reserves the slot it found, until `record` takes it, in milliseconds; 0:
   * not at all. With it, callers that ask before they record cannot pass the limit together. Where requests are spaced
   * (`minIntervalMs`, `sharedConfig`, `bookWaits`) a request counts from when its slot was taken, not from its `record`.
   * Default: 0.
   */
  reservationMs?: number | undefined;
  /**
   * A limit over the requests of all resources together, and how far apart they are: `{ limit: Infinity, windowMs: 0,
   * minIntervalMs: 1000 }` is one request a second. It is read once. Default: none.
   */
  sharedConfig?: RateLimitConfig | undefined;
  /**
   * Whether a cooldown counts as a refusal, whoever has set it and under whatever key, for every resource. Default: `false`.
   */
  honourCooldowns?: boolean | undefined;
  /**
   * Whether `getWaitTime`, asked after a refusal, books the next free slot for its caller, who may send when that time is over.
   * For the client 0.2.0 with `throwOnRateLimit: false`, which does not ask again; needs `reservationMs`. A caller is known by
   * its async context. Default: `false`.
   */
  bookWaits?: boolean | undefined;
}

export interface SQLiteRateLimitStoreOptions extends RateLimiterOptions {
  /** The limit of resources without one of their own. Default: 60 requests in 60,000 ms. */
  defaultConfig?: RateLimitConfig | undefined;
}

export interface SqliteAdaptiveRateLimitStoreOptions extends RateLimiterOptions {
  /** The limit of resources without one of their own. Default: 200 requests in 3,600,000 ms (1 hour). */
  defaultConfig?: RateLimitConfig | undefined;
  /** How a limit is divided; what is left out has the default given at {@link AdaptiveConfig}. */
  adaptiveConfig?: { [Key in keyof AdaptiveConfig]?: AdaptiveConfig[Key] | undefined } | undefined;
}

// What methods resolve to ------------------------------------------------------------------------------------------

export type CacheStats = {
  /** Entries in the file, expired ones included. */
  totalItems: number;
  /** Entries that have expired and are not removed yet. */
  expiredItems: number;
  /** Size of the database in KiB, rounded. */
  databaseSizeKB: number;
};

/** An entry of the cache, as {@link SQLiteCacheStore.listEntries} has it. */
export type CacheEntryInfo = {
  hash: string;
  /** When it expires, in milliseconds since the epoch; 0: never. May be fractional. */
  expiresAt: number;
  /** When it was stored, in milliseconds since the epoch. */
  createdAt: number;
  /** What its value takes in the file, in bytes. */
  sizeBytes: number;
  /** Its tags, in the order of their bytes. */
  tags: Array<string>;
};

/** A job, as {@link SQLiteDedupeStore.listJobs} has it. */
export type DedupeJobInfo = {
  hash: string;
  jobId: string;
  status: 'pending' | 'completed' | 'failed';
  /** When it was registered, in milliseconds since the epoch. */
  createdAt: number;
  /**
   * Whether the job is pending and the store that registered it lives: it renews its lease and, where that can be seen, its
   * process is there. A pending job of 0.2.0, which has no lease, counts as owned until it is as old as `jobTimeoutMs`.
   */
  ownerAlive: boolean;
};

export type DedupeStats = {
  /** Jobs in the file. */
  totalJobs: number;
  pendingJobs: number;
  completedJobs: number;
  failedJobs: number;
  /** Jobs older than `jobTimeoutMs`, whatever their status. */
  expiredJobs: number;
};

export type RateLimitStatus = {
  /** Requests that may still be made now. */
  remaining: number;
  /** Now plus `windowMs`, at most the last valid `Date`. */
  resetTime: Date;
  /** The resource's `limit`. */
  limit: number;
  /**
   * When the next request may be made: now, or later. Only where more than a window limits the resource: `minIntervalMs`,
   * `sharedConfig`, `honourCooldowns` or `bookWaits`. `remaining` does not count these.
   */
  nextAt?: Date;
};

export type AdaptiveRateLimitStatus = {
  /** Requests that may still be made now, users' and background ones together; never negative. */
  remaining: number;
  /** Now plus `windowMs`, at most the last valid `Date`. */
  resetTime: Date;
  /** The resource's `limit`. */
  limit: number;
  /** As in {@link RateLimitStatus}, as far as shares leave room. */
  nextAt?: Date;
  /** How the limit is divided now. Always there; optional because it is so in the client's interface. */
  adaptive?: AdaptiveDivision;
};

/** How a limit is divided between users and background work. */
export type AdaptiveDivision = {
  /** The users' share, in requests per window, from 0 to `limit`. */
  userReserved: number;
  /** The share of background work, in requests per window, from 0 to `limit`. */
  backgroundMax: number;
  /** Whether background work is stopped. */
  backgroundPaused: boolean;
  /** User requests within `monitoringWindowMs`. */
  recentUserActivity: number;
  /** Why the shares are what they are, for people. */
  reason: string;
};

/** A resource that has requests in its window, or a key that has a cooldown. */
export type RateLimitedResource = {
  /** Its name, or the key of the cooldown. */
  resource: string;
  /** Requests recorded in the window. */
  requestCount: number;
  /** The resource's `limit`. */
  limit: number;
  /** The resource's `windowMs`. */
  windowMs: number;
  /** Until when the cooldown under this name lasts, in milliseconds since 1970; not there without one. */
  cooldownUntil?: number;
};

/** The same, with how the limit is divided. */
export type AdaptiveRateLimitedResource = RateLimitedResource & { adaptive: AdaptiveDivision };

export type RateLimitStats = {
  /** Requests in the file. */
  totalRequests: number;
  /** Resources that have requests in the file. */
  uniqueResources: number;
  /** Those of them whose next (for the adaptive store: background) request may not proceed. */
  rateLimitedResources: Array<string>;
};

export type AdaptiveRateLimitStats = RateLimitStats & {
  adaptiveMetrics: {
    /** User requests within `monitoringWindowMs`, mean over the resources. */
    averageUserActivity: number;
    /** Background requests in the window, as a part (0 to 1) of the background shares. */
    backgroundUtilization: number;
    /** How many times a resource has come to high user activity. */
    priorityModeActivations: number;
  };
};

/** What a failure of SQLite looks like. (A type only: test `error.name` or `error.code`.) */
export interface SqliteError extends Error {
  name: 'SqliteError';
  /** SQLite's extended result code by name: `'SQLITE_BUSY'`, `'SQLITE_FULL'`, `'SQLITE_NOTADB'`, … */
  code: string;
}

// What a program can see ---------------------------------------------------------------------------------------------

/** What all messages have. */
interface StoreMessage<Store> {
  /** The `hash`, resource, scope, tag or key of the call; `undefined` if it has none. Of `'evict'`, the entry that had to go. */
  key: string | undefined;
  /** The store that was called. */
  store: Store;
  /** The method that was called. */
  method: string;
  /** How long the call took until it was answered, in milliseconds. */
  durationMs: number;
}

/** A call has failed, and not because of its caller. */
interface ErrorMessage {
  type: 'error';
  /** What the call rejected with, or would have. */
  error: unknown;
  /** Whether it was answered all the same: see `onError`. */
  ignored: boolean;
}

/** What the channel `comic-vine:sqlite-store:cache` tells. */
export type CacheMessage = StoreMessage<SQLiteCacheStore> &
  (
    | { /** An entry was found. */ type: 'hit' }
    | {
        /** None was found. */
        type: 'miss';
        /** Whether there was one that had expired. */
        expired?: true;
      }
    | { /** A value was stored. */ type: 'set' }
    | { /** A value was not stored, since it is too large. */ type: 'skip' }
    | { /** An entry had to go, so that the cache keeps its bounds. */ type: 'evict' }
    | ErrorMessage
  );

/** What the channel `comic-vine:sqlite-store:dedupe` tells. */
export type DedupeMessage = StoreMessage<SQLiteDedupeStore> &
  (
    | { /** `waitFor` had the result of another at once. */ type: 'hit' }
    | { /** `waitFor` had nothing to wait for, and no claim was to be had. */ type: 'miss' }
    | {
        /**
         * The caller is to do the work: it has a claim (`waitFor`), or a job is its own (`register`, `registerOrJoin`). Who claims
         * and then registers is told twice, with another `method`.
         */
        type: 'claim';
      }
    | {
        /** `waitFor` has waited for another. */
        type: 'wait';
        /** What it got: a value, the failure of the job, or nothing. */
        result: 'value' | 'failure' | 'none';
      }
    | {
        /** `waitFor` has waited for another, who has died, given up or timed out; the caller is to do the work. */
        type: 'take-over';
      }
    | ErrorMessage
  );

/** What the channel `comic-vine:sqlite-store:rate-limit` tells. */
export type RateLimitMessage = StoreMessage<SQLiteRateLimitStore | SqliteAdaptiveRateLimitStore> &
  (
    | {
        /** Whether `canProceed` or `acquire` said yes. */
        type: 'allow' | 'deny';
        /** As it was given. */
        priority: RequestPriority | undefined;
      }
    | {
        /** A cooldown was set. */
        type: 'cooldown';
        /** Until when, in milliseconds since 1970. */
        until: number;
      }
    | ErrorMessage
  );

/**
 * The channels of `node:diagnostics_channel`, and what they tell. Subscribe to them by name. A message is published when its call
 * is answered, in the async context of the caller. Calls cost nothing while nobody subscribes to their channel. (A type only.)
 */
export interface SQLiteStoreChannels {
  'comic-vine:sqlite-store:cache': CacheMessage;
  'comic-vine:sqlite-store:dedupe': DedupeMessage;
  'comic-vine:sqlite-store:rate-limit': RateLimitMessage;
}

/** What a cache store has counted since it was made. */
export type CacheMetrics = {
  /** `get` that found an entry. */
  hits: number;
  /** `get` that found none. */
  misses: number;
  /** Those of them that found one that had expired. */
  expired: number;
  /** Values that were stored. */
  sets: number;
  /** Values that were not, since they are too large. */
  skipped: number;
  /** Entries that had to go, so that the cache keeps its bounds. */
  evictions: number;
  /** Calls that have failed, ignored or not, and not because of their callers. */
  errors: number;
};

/** What a dedupe store has counted since it was made. */
export type DedupeMetrics = {
  /** Jobs that were registered, and were the caller's own. */
  owned: number;
  /** `waitFor` that got what another has come to: a value or a failure. */
  shared: number;
  /** `waitFor` that had to wait. */
  waited: number;
  /** Those of them that were then to do the work, since the other has died, given up or timed out. */
  takenOver: number;
  /** Jobs that somebody here waited for until `jobTimeoutMs` were over. */
  timedOut: number;
  /** Calls that have failed, ignored or not, and not because of their callers. */
  errors: number;
};

/** What a limiter has counted since it was made. */
export type RateLimitMetrics = {
  /** `canProceed` and `acquire` that said yes. */
  allowed: number;
  /** Those that said no. */
  denied: number;
  /** `acquire` that had to wait, and have come to an answer. */
  waited: number;
  /** Cooldowns that were set. */
  cooldowns: number;
  /** Calls that have failed, ignored or not, and not because of their callers. */
  errors: number;
};

/** Which entries {@link SQLiteCacheStore.entries} goes through. */
export interface CacheEntriesOptions {
  /** Those whose hashes begin with it, by their bytes. Default: `''`, all. */
  prefix?: string | undefined;
  /** Those that have the tag. Default: none. */
  tag?: string | undefined;
  /** Whether those count that have expired and are not removed yet. Default: `false`. */
  expired?: boolean | undefined;
}

/** How far a backup is. */
export type BackupProgress = {
  totalPages: number;
  remainingPages: number;
};

/** The options of `backup`. */
export interface BackupOptions {
  /**
   * Is called now and then with how far it is, the last time at its end. What it throws ends the backup, which rejects with that.
   * Is not called on your own connection. Default: none.
   */
  onProgress?: ((progress: BackupProgress) => void) | undefined;
}

/** What every store can do with the whole of its database. */
interface WholeDatabase {
  /**
   * Copies the whole database, what all stores and your own tables have in it, to a file, while others go on reading and writing.
   * The copy is of one state, which has what was called before. It has its name once it is complete and flushed; until then there
   * is a `.tmp` beside it. Resolves when that is done.
   *
   * It runs on another thread, in one read transaction: in WAL mode that holds nobody up, but the log grows meanwhile. With
   * `journalMode: 'delete'` others wait with their writes. The end of the last store on the database ends it: it rejects with
   * the `code` `'SQLITE_STORE_CLOSED'`, and there is no copy.
   *
   * On your own connection it is `VACUUM INTO`, on the JavaScript thread; within a transaction it rejects
   * (`'SQLITE_STORE_IN_TRANSACTION'`). On a server it rejects (`'SQLITE_STORE_ON_SERVER'`).
   *
   * Rejects if there is anything at `path` (`'SQLITE_STORE_TARGET_EXISTS'`), with a `TypeError` if its directory does not exist, and
   * if the copy cannot be written (`'SQLITE_STORE_COPY_FAILED'`, or a {@link SqliteError}).
   */
  backup(path: string, options?: BackupOptions): Promise<void>;

  /**
   * Rebuilds the database, which gives the file system back what deleted entries leave free in the file. Resolves to how many
   * bytes that is. Where others read from the log at that moment, the file is cut by a later checkpoint.
   *
   * It is one exclusive transaction, on another thread: writes of this and other processes wait for it, and reject with
   * `SQLITE_BUSY` after their own `busyTimeoutMs`; it waits for theirs for as long as this store's. It needs twice the bytes that
   * are used in the file free on its volume, and rejects otherwise (`'SQLITE_STORE_NO_ROOM'`). The end of the last store on the database ends
   * it (`'SQLITE_STORE_CLOSED'`).
   *
   * On your own connection it runs on the JavaScript thread; within a transaction it rejects
   * (`'SQLITE_STORE_IN_TRANSACTION'`). On a server it rejects (`'SQLITE_STORE_ON_SERVER'`).
   */
  vacuum(): Promise<{ freedBytes: number }>;
}

// Stores -----------------------------------------------------------------------------------------------------------

// `[Symbol.asyncDispose]` exists for those whose `lib` (or @types/node) knows the symbol; for others this is `{}`, so
// that these types compile with any `lib` and declare nothing globally.
type AsyncDisposeKey = SymbolConstructor extends { readonly asyncDispose: infer Key extends symbol }
  ? Key
  : never;

/** Closes the store at the end of the block: `await using store = new SQLiteCacheStore(…)`. */
type AsyncClosable = {
  /** Same as `close()`. */
  [Key in AsyncDisposeKey]: () => Promise<void>;
};

/**
 * A cache whose entries expire, in the table `cache`.
 *
 * Values are stored as JSON: what `JSON.parse(JSON.stringify(value))` makes of a value is what comes back, and
 * `undefined` can be stored.
 */
export declare class SQLiteCacheStore<T = unknown> implements CacheStore<T> {
  constructor(options?: SQLiteCacheStoreOptions);

  /**
   * Resolves to the value stored under `hash`, or to `undefined` if there is none or it has expired. An entry that has
   * expired or cannot be read is deleted.
   */
  get(hash: string): Promise<T | undefined>;

  /**
   * Stores `value` for `ttlSeconds` seconds, in place of what was there. With `Infinity` it never expires; with less than 0 it
   * has expired at once, with 0 too unless `zeroTtl` says otherwise. The entry keeps its tags. Tags that outlive their entry,
   * since it has expired or other versions have removed it, go with the next clean-up; until then a new entry of that hash has
   * them. Resolves when it is committed and the cache is within its bounds, and also when the value is larger than
   * `maxEntrySizeBytes` or `maxSizeBytes` and therefore not stored.
   *
   * Rejects with `Failed to serialize value: …` if `value` has no JSON form: circular, a BigInt, a function, a symbol,
   * or a `toJSON` that throws. With `SQLITE_TOOBIG` if its JSON text has more than 536,870,888 bytes of UTF-8.
   */
  set(hash: string, value: T, ttlSeconds: number): Promise<void>;

  /**
   * Stores `value` as {@link set} does and gives the entry exactly these tags, each once, in one transaction. A value that is
   * larger than `maxEntrySizeBytes` or `maxSizeBytes` leaves the entry and its tags as they were.
   *
   * Tags are any strings without lone surrogates. Rejects as `set` does, and with a `TypeError` if `tags` is no array of strings.
   */
  setWithTags(
    hash: string,
    value: T,
    ttlSeconds: number,
    tags: ReadonlyArray<string>,
  ): Promise<void>;

  /**
   * Removes the entries that have the tag, and resolves to how many of them had not expired. {@link invalidateByTags} says
   * how.
   */
  invalidateByTag(tag: string): Promise<number>;

  /**
   * Removes the entries that have any of the tags, and resolves to how many of them had not expired: each entry counts once.
   *
   * It runs in the background in transactions of at most 500 entries, so that it holds nobody up for long, however many they are;
   * on your own connection, too, but on the JavaScript thread. What is called after it on this cache in this process waits for
   * it. Entries that other processes store meanwhile may stay. If it rejects, some may have been removed. Rejects with a
   * `TypeError` if `tags` is no array of strings.
   */
  invalidateByTags(tags: ReadonlyArray<string>): Promise<number>;

  /** Removes the entry and its tags, if there is one. Resolves when that is committed. */
  delete(hash: string): Promise<void>;

  /**
   * Removes the entries whose hashes begin with `scope`, by their bytes: there are no wildcards, and case counts. All, if it is
   * `''` or `undefined`. Resolves when that is committed. With a scope it runs in steps, as {@link invalidateByTags} does.
   */
  clear(scope?: string): Promise<void>;

  /**
   * Resolves to the entries that have not expired, the newest first: at most `limit` (default 50), after the first `offset`
   * (default 0). Rejects with a `TypeError` if one of them is neither a whole number from 0 nor `Infinity`. Looks at all entries.
   */
  listEntries(offset?: number, limit?: number): Promise<Array<CacheEntryInfo>>;

  /**
   * Goes through the entries in the order of the bytes of their hashes, some at a time, in the background. It holds no snapshot
   * and nobody up: an entry that is there all the while is told once, one that is stored or removed meanwhile may be told or not.
   * The first step rejects with a `TypeError` if an option is wrong. `onError` does not count.
   */
  entries(options?: CacheEntriesOptions): AsyncIterableIterator<CacheEntryInfo>;

  /** Resolves to figures about the cache. */
  getStats(): Promise<CacheStats>;

  /** Returns what this store has counted since it was made, in this process. Also after its end. */
  getMetrics(): CacheMetrics;

  /**
   * Removes expired entries now, those that a clock that was ahead has stored, unless they never expire, and tags of entries that
   * are gone. Resolves when that is committed.
   */
  cleanup(): Promise<void>;

  /**
   * Commits what was called before, stops the timers and lets go of the file; the last store on a file leaves no `-wal`
   * and `-shm`. Your own connection stays open. Resolves when that is done; may be called again. Never
   * rejects because the store is closed already.
   */
  close(): Promise<void>;

  /** The same as {@link close}, done when it returns. */
  destroy(): void;
}
export interface SQLiteCacheStore<T = unknown> extends AsyncClosable, WholeDatabase {}

/**
 * Makes one request of several identical ones, in any number of processes, through the table `dedupe_jobs`.
 *
 * Who finds nobody at work on a hash registers a job, does the work, and then completes or fails the job; the others
 * wait for the result.
 */
export declare class SQLiteDedupeStore<T = unknown> implements DedupeStore<T> {
  constructor(options?: SQLiteDedupeStoreOptions);

  /**
   * Waits for the job of `hash`, if one is pending, here or in another process, and resolves to its result. Resolves to
   * the result at once if the job was completed within `resultTtlMs`.
   *
   * Resolves to `undefined` if the caller should do the work: there is no job, it failed before this call, or it died
   * (`jobTimeoutMs`), or the store was closed or cleared meanwhile. Of several callers that wait for a job that dies, one
   * gets `undefined`; the others go on waiting for it. Unless the store was closed or cleared, the caller also holds a
   * claim on the hash: other calls wait for its `register` and then for its job. The store gives the claim up if no
   * `register` comes for `claimTimeoutMs` in which the event loop turns.
   *
   * Each caller gets a value of its own, as it is stored: a `Date`, for example, is a string. A result of `null` goes to
   * those who wait when the job ends; a later call finds it as if there were no job.
   *
   * Rejects if the job fails while it is waited for: with what was given to {@link fail} to the same store, elsewhere
   * with an `Error` of the same message and name. Not if that says that the request was called off: see {@link fail}.
   *
   * `options` end it early. When `signal` is aborted it rejects with the signal's reason. When `maxWaitMs` are over it resolves
   * to `undefined`, **without** a claim: to do the work then, call {@link registerOrJoin}, which says whether somebody else is
   * at it. A claim that the caller would have got passes to the next who waits. Rejects with a `TypeError` if a member has a
   * wrong type. What is no object is ignored.
   */
  waitFor(hash: string, options?: WaitForOptions): Promise<T | undefined>;

  /** Registers a job for `hash` and resolves to its id; if one is pending, to that one's id. */
  register(hash: string): Promise<string>;

  /**
   * Registers a job for `hash` or joins the one that is pending, in one step, and resolves to its id and to whether the
   * caller registered it: it is then to do the work. Who joined calls {@link waitFor}.
   */
  registerOrJoin(hash: string): Promise<{ jobId: string; isOwner: boolean }>;

  /**
   * Ends the job of `hash` with `value`: the job this store registered, or a pending one if it registered none. Without
   * such a job nothing happens. Resolves when it is committed.
   *
   * Rejects with `Failed to serialize result: …` if `value` has no JSON form, and with `SQLITE_TOOBIG` if its JSON text has
   * more than 536,870,888 bytes of UTF-8.
   */
  complete(hash: string, value: T | undefined): Promise<void>;

  /**
   * Ends the job of `hash`, found as in {@link complete}, with `error`. Resolves when it is committed.
   *
   * An error whose `name` is `'AbortError'` or `'CanceledError'` is the affair of the caller who called the request off: of those
   * who wait for it, in any process, one gets `undefined` and the claim, and the others go on waiting. (With `claimTimeoutMs: 0`
   * all get `undefined`. Processes with 0.2.0 or 0.3.0 reject.) A `TimeoutError` is like any other.
   */
  fail(hash: string, error: Error): Promise<void>;

  /** Resolves to whether a job of `hash` is pending and alive: its store has not ended, nor its process died. */
  isInProgress(hash: string): Promise<boolean>;

  /**
   * Resolves to the result of the completed job of `hash`, or to `undefined` if there is none, it is not completed, or
   * it is older than `jobTimeoutMs`.
   */
  getResult(hash: string): Promise<T | undefined>;

  /** Resolves to figures about the jobs. */
  getStats(): Promise<DedupeStats>;

  /** Returns what this store has counted since it was made, in this process. Also after its end. */
  getMetrics(): DedupeMetrics;

  /**
   * Removes jobs older than `jobTimeoutMs`, whatever their status. If that is 0 it removes those that have ended and are
   * no longer served (`resultTtlMs`). Resolves when that is committed.
   */
  cleanup(): Promise<void>;

  /**
   * Removes the jobs whose hashes begin with `scope`, by their bytes; those who wait for them get `undefined`. All, if it is `''`
   * or `undefined`. Resolves when that is committed.
   */
  clear(scope?: string): Promise<void>;

  /**
   * Resolves to the jobs in the file, the newest first: at most `limit` (default 50), after the first `offset` (default 0).
   * Rejects with a `TypeError` if one of them is neither a whole number from 0 nor `Infinity`.
   */
  listJobs(offset?: number, limit?: number): Promise<Array<DedupeJobInfo>>;

  /**
   * Commits what was called before, settles those who wait with `undefined`, gives up the jobs that this store has
   * pending so that others take over at once, stops the timers and lets go of the file; the last store on a file leaves
   * no `-wal` and `-shm`. Your own connection stays open. Resolves when that is done; may be called again.
   */
  close(): Promise<void>;

  /** The same as {@link close}, done when it returns. */
  destroy(): void;
}
export interface SQLiteDedupeStore<T = unknown> extends AsyncClosable, WholeDatabase {}

/** Counts requests per resource in a sliding window, in the table `rate_limits`. */
export declare class SQLiteRateLimitStore implements RateLimitStore {
  constructor(options?: SQLiteRateLimitStoreOptions);

  /**
   * Resolves to whether fewer than `limit` requests were recorded within the window. With `reservationMs`, `true` also
   * reserves a slot.
   *
   * Like every method that needs the resource's limit, it rejects with a `TypeError` if `resourceConfigs` holds an
   * invalid one.
   */
  canProceed(resource: string): Promise<boolean>;

  /**
   * Records a request made now if it may proceed, in one step that no other process can come between, and resolves to
   * whether it did: {@link canProceed} and {@link record} in one.
   */
  acquire(resource: string): Promise<boolean>;

  /**
   * Waits for its turn, and resolves to `true` once a request is recorded. Those who wait in this store for a resource are served
   * in order, users before background work; between stores and processes whoever asks first once a slot is free. It tries again
   * when a slot should be free, and each second.
   *
   * `options` end it early: it waits without end if they have no member. When `signal` is aborted it rejects with the signal's
   * reason; when `maxWaitMs` are over it resolves to `false`. It leaves nothing behind: a slot that it would have got passes on.
   * Rejects if the store ends. It keeps the process alive.
   */
  acquire(
    resource: string,
    priority: RequestPriority | undefined,
    options: WaitForOptions,
  ): Promise<boolean>;

  /** Records a request made now, in the slot reserved for it if there is one. Resolves when it is committed. */
  record(resource: string): Promise<void>;

  /** Resolves to the state of the resource's window. */
  getStatus(resource: string): Promise<RateLimitStatus>;

  /**
   * Forgets the resource's requests. Where `sharedConfig` has an interval, the next request of any resource still keeps it.
   * Resolves when that is committed.
   */
  reset(resource: string): Promise<void>;

  /**
   * Resolves to the milliseconds until a request may proceed: 0 if it may now; `windowMs` if `limit` is 0. The longest of what
   * the window, the interval, the shared limit and cooldowns ask for. With `bookWaits`, asked after a refusal, books the slot.
   */
  getWaitTime(resource: string): Promise<number>;

  /**
   * Sets the resource's limit, or with `'__default__'` that of resources without one of their own, from the next call on. Does
   * not throw: the calls that use an invalid limit reject.
   */
  setResourceConfig(resource: string, config: RateLimitConfig): void;

  /** Returns the limit that counts for the resource: its own or the default. */
  getResourceConfig(resource: string): RateLimitConfig;

  /** Resolves to the resources that have requests in their windows or a cooldown, by name. */
  listResources(): Promise<RateLimitedResource[]>;

  /**
   * Sets a cooldown: until when, in milliseconds since 1970, a server is not to be asked. The last one set under a key counts.
   * `canProceed` and `acquire` look at it only with `honourCooldowns`. Resolves when it is committed. Its rejection need not be
   * handled.
   */
  setCooldown(key: string, untilMs: number): Promise<void>;

  /** Resolves to until when the cooldown under the key lasts, in milliseconds since 1970; to `undefined` without one, or when it is over. */
  getCooldown(key: string): Promise<number | undefined>;

  /** Ends a cooldown. Resolves when that is committed. */
  clearCooldown(key: string): Promise<void>;

  /** Resolves to figures over all resources. Resources count as limited by their windows alone. */
  getStats(): Promise<RateLimitStats>;

  /** Returns what this store has counted since it was made, in this process. Also after its end. */
  getMetrics(): RateLimitMetrics;

  /** Forgets the requests of all resources, and all cooldowns. Resolves when that is committed. */
  clear(): Promise<void>;

  /**
   * Removes requests that have left their window, and cooldowns that are over. Some requests are removed with each hundredth
   * one, too. Resolves when that is committed.
   */
  cleanup(): Promise<void>;

  /**
   * Commits what was called before and lets go of the file; the last store on a file leaves no `-wal` and `-shm`. Your own
   * connection stays open. Resolves when that is done; may be called again.
   */
  close(): Promise<void>;

  /** The same as {@link close}, done when it returns. */
  destroy(): void;
}
export interface SQLiteRateLimitStore extends AsyncClosable, WholeDatabase {}

/**
 * Counts requests per resource and priority in a sliding window, in the table `rate_limits`, and divides the limit
 * between users and background work by how active users have been lately. The two together never pass the limit.
 */
export declare class SqliteAdaptiveRateLimitStore implements AdaptiveRateLimitStore {
  /** Throws `moderateActivityThreshold must be less than highActivityThreshold` if it is not. */
  constructor(options?: SqliteAdaptiveRateLimitStoreOptions);

  /**
   * Resolves to whether a request of that priority may proceed: its share and the limit have room, and background work
   * is not stopped. A user request that has no share may use any free slot. With `reservationMs`, `true` also reserves a
   * slot. Default priority: `'background'`.
   *
   * Like every method that needs the resource's limit, it rejects with a `TypeError` if `resourceConfigs` holds an
   * invalid one.
   */
  canProceed(resource: string, priority?: RequestPriority): Promise<boolean>;

  /**
   * Records a request made now if it may proceed, in one step that no other process can come between, and resolves to
   * whether it did: {@link canProceed} and {@link record} in one. Default priority: `'background'`.
   */
  acquire(resource: string, priority?: RequestPriority): Promise<boolean>;

  /**
   * Waits for its turn, and resolves to `true` once a request is recorded. Those who wait in this store for a resource are served
   * in order, users before background work, which goes on where only the users' share is used up; between stores and processes
   * whoever asks first once a slot is free. It tries again when a slot should be free, and each second.
   *
   * `options` end it early: it waits without end if they have no member. When `signal` is aborted it rejects with the signal's
   * reason; when `maxWaitMs` are over it resolves to `false`. It leaves nothing behind: a slot that it would have got passes on.
   * Rejects if the store ends. It keeps the process alive.
   */
  acquire(
    resource: string,
    priority: RequestPriority | undefined,
    options: WaitForOptions,
  ): Promise<boolean>;

  /**
   * Records a request made now, in the slot reserved for it if there is one. Default priority: `'background'`. Resolves when
   * it is committed.
   */
  record(resource: string, priority?: RequestPriority): Promise<void>;

  /** Resolves to the state of the resource's window and how its limit is divided. */
  getStatus(resource: string): Promise<AdaptiveRateLimitStatus>;

  /**
   * Forgets the resource's requests and activity. Where `sharedConfig` has an interval, the next request of any resource still
   * keeps it. Resolves when that is committed.
   */
  reset(resource: string): Promise<void>;

  /**
   * Resolves to the milliseconds until a request of that priority may proceed: 0 if it may now; `windowMs` if `limit` is
   * 0. Where only the share of the priority is used up, at most the time until shares are divided anew
   * (`recalculationIntervalMs`). The longest of that and what the interval, the shared limit and cooldowns ask for. With
   * `bookWaits`, asked after a refusal, books the slot, unless only new shares can make one. Default priority: `'background'`.
   */
  getWaitTime(resource: string, priority?: RequestPriority): Promise<number>;

  /**
   * Sets the resource's limit, or with `'__default__'` that of resources without one of their own, from the next call on. Does
   * not throw: the calls that use an invalid limit reject.
   */
  setResourceConfig(resource: string, config: RateLimitConfig): void;

  /** Returns the limit that counts for the resource: its own or the default. */
  getResourceConfig(resource: string): RateLimitConfig;

  /** Resolves to the resources that have requests in their windows or a cooldown, by name, and how their limits are divided. */
  listResources(): Promise<AdaptiveRateLimitedResource[]>;

  /**
   * Sets a cooldown: until when, in milliseconds since 1970, a server is not to be asked. The last one set under a key counts.
   * `canProceed` and `acquire` look at it only with `honourCooldowns`. Resolves when it is committed. Its rejection need not be
   * handled.
   */
  setCooldown(key: string, untilMs: number): Promise<void>;

  /** Resolves to until when the cooldown under the key lasts, in milliseconds since 1970; to `undefined` without one, or when it is over. */
  getCooldown(key: string): Promise<number | undefined>;

  /** Ends a cooldown. Resolves when that is committed. */
  clearCooldown(key: string): Promise<void>;

  /** Resolves to figures over all resources, with those about users and background work. Spacing does not count. */
  getStats(): Promise<AdaptiveRateLimitStats>;

  /** Returns what this store has counted since it was made, in this process. Also after its end. */
  getMetrics(): RateLimitMetrics;

  /** Forgets the requests and activity of all resources, and all cooldowns. Resolves when that is committed. */
  clear(): Promise<void>;

  /**
   * Removes requests that neither the window nor the activity needs any more, and cooldowns that are over, and forgets resources
   * that nobody has used for as long. Calls made before it has resolved may still answer by what is forgotten. Resolves when that is committed.
   */
  cleanup(): Promise<void>;

  /**
   * Commits what was called before and lets go of the file; the last store on a file leaves no `-wal` and `-shm`. Your own
   * connection stays open. Resolves when that is done; may be called again.
   */
  close(): Promise<void>;

  /** The same as {@link close}, done when it returns. */
  destroy(): void;
}
export interface SqliteAdaptiveRateLimitStore extends AsyncClosable, WholeDatabase {}

/** The options of a limiter for Comic Vine's own rules. */
export interface ComicVineLimits {
  /** Requests per resource in `windowMs`. */
  defaultConfig: { limit: number; windowMs: number };
  /** The time between any two requests. */
  sharedConfig: { limit: number; windowMs: number; minIntervalMs: number };
}

/**
 * Comic Vine's two rules as options of a limiter: `limit` requests (default: 200) in `windowMs` milliseconds (default:
 * 3,600,000) for each resource, and `minIntervalMs` milliseconds (default: 1,000) between any two requests. The constructor of the
 * limiter checks them.
 */
export declare function comicVineLimits(options?: {
  limit?: number | undefined;
  windowMs?: number | undefined;
  minIntervalMs?: number | undefined;
}): ComicVineLimits;

// All four ---------------------------------------------------------------------------------------------------------

/** The options of a database, which its stores have together. */
type OfDatabase = Exclude<keyof SQLiteDatabaseOptions, 'onError'>;

/** The options of {@link createSQLiteStores}: those of every store, and of each what is its own. */
export type SQLiteStoresOptions = SQLiteDatabaseOptions & {
  /** Of these, `zeroTtl` is `'forever'` if it is left out. */
  cache?: Omit<SQLiteCacheStoreOptions, OfDatabase> | undefined;
  dedupe?: Omit<SQLiteDedupeStoreOptions, OfDatabase> | undefined;
  rateLimit?: Omit<SQLiteRateLimitStoreOptions, OfDatabase> | undefined;
  adaptiveRateLimit?: Omit<SqliteAdaptiveRateLimitStoreOptions, OfDatabase> | undefined;
};

/** For how long {@link SQLiteStores.once} keeps a result, and with which tags. */
export interface OnceOptions {
  /** As in {@link SQLiteCacheStore.set}. */
  ttlSeconds: number;
  /** As in {@link SQLiteCacheStore.setWithTags}. Default: those that the entry has. */
  tags?: ReadonlyArray<string> | undefined;
}

/** The four stores on one database. Use one of the two limiters for a resource. */
export interface SQLiteStores<T = unknown> extends AsyncClosable, WholeDatabase {
  readonly cache: SQLiteCacheStore<T>;
  readonly dedupe: SQLiteDedupeStore<T>;
  readonly rateLimit: SQLiteRateLimitStore;
  readonly adaptiveRateLimit: SqliteAdaptiveRateLimitStore;

  /**
   * Resolves to what is cached under `hash` or, if there is nothing, to what `work` comes to, which is then cached. Of all callers
   * that ask for the same hash at a time, in all processes, one does its work; the others wait for that. If it throws, or its
   * promise rejects, all of them reject with that (in other processes with an `Error` of the same message and name), nothing is
   * cached, and the next caller does its own. If the process dies, or the error is an `AbortError` or `CanceledError`, one of those
   * who wait does the work.
   *
   * Who does the work gets its result as it is, the others what JSON makes of it. `undefined` is no result: those who wait do
   * the work themselves, one after the other.
   *
   * Rejects with a `TypeError` before any work is done if an argument is wrong. If the result cannot be stored it rejects with
   * that; those who wait get the result.
   */
  once<R extends T = T>(
    hash: string,
    work: () => R | PromiseLike<R>,
    options: OnceOptions,
  ): Promise<R>;

  /** Closes all four. Resolves when that is done; may be called again. Your own connection stays open. */
  close(): Promise<void>;
}

/**
 * Makes the four stores on one database: a path, your open connection or, unlike with the classes, one database in memory for
 * all four (`':memory:'`, the default). An option of a database in a store's own options does not count.
 *
 * `onError` is that of all stores which have none in their own options. `backup` and `vacuum` are those of the cache.
 *
 * Throws what the constructors throw, and a `TypeError` if an options object is none. If one store cannot be made, none is left
 * open.
 */
export declare function createSQLiteStores<T = unknown>(
  options?: SQLiteStoresOptions,
): SQLiteStores<T>;

// drizzle-orm tables -----------------------------------------------------------------------------------------------
// drizzle-orm is an optional peer dependency. Its classes have protected members, so nothing but its own types is
// accepted by its functions: they are imported, and where the import does not resolve (it is then an error type, of
// which `keyof` is every key) each table has a plain type that still knows its rows.

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
