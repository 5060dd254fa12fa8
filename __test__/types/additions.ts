/** What is new since 0.2.0 (`22-types.test.mjs`; without drizzle-orm and with every declaration file checked). */

import {
  type AbortSignalLike,
  type AdaptiveConfig,
  type AdaptiveRateLimitStats,
  type CacheRow,
  cacheTable,
  type DedupeRow,
  dedupeTable,
  type RateLimitRow,
  rateLimitTable,
  SQLiteCacheStore,
  type SQLiteCacheStoreOptions,
  type SQLiteConnection,
  type SQLiteDatabaseOptions,
  SQLiteDedupeStore,
  type SQLiteDedupeStoreOptions,
  SQLiteRateLimitStore,
  type SQLiteRateLimitStoreOptions,
  SqliteAdaptiveRateLimitStore,
  type SqliteAdaptiveRateLimitStoreOptions,
  type SqliteError,
} from '@comic-vine/sqlite-store';

const file: SQLiteDatabaseOptions = {
  database: './comic-vine.db',
  busyTimeoutMs: 5000,
  journalMode: 'wal',
  synchronous: 'full',
};
const cache = new SQLiteCacheStore<string>(file);
const dedupe = new SQLiteDedupeStore<string>({
  ...file,
  pollIntervalMs: 10,
  claimTimeoutMs: 0,
  resultTtlMs: 10_000,
});
const limit = new SQLiteRateLimitStore({ ...file, journalMode: 'delete', reservationMs: 1000 });
const adaptive = new SqliteAdaptiveRateLimitStore({
  ...file,
  synchronous: 'normal',
  reservationMs: 0,
});

// A client of a server, as `@libsql/client` and Cloudflare's D1 have it.
interface ResultSet {
  columns: string[];
  rows: { [column: string]: unknown; length: number }[];
  rowsAffected: number;
}
type Statement = string | { sql: string; args?: (string | number | bigint | ArrayBuffer | null)[] };
declare const libsql: {
  execute(statement: Statement): Promise<ResultSet>;
  batch(statements: Statement[], mode?: 'write' | 'read' | 'deferred'): Promise<ResultSet[]>;
  close(): void;
};
declare const d1: {
  prepare(query: string): { bind(...values: unknown[]): { first(): Promise<unknown> } };
  batch<T>(statements: object[]): Promise<{ results: T[] }[]>;
  exec(query: string): Promise<{ count: number }>;
};
new SQLiteCacheStore({ database: libsql, requestTimeoutMs: 1000 });
new SQLiteDedupeStore({ database: d1 });
// @ts-expect-error one method is not enough
new SQLiteCacheStore({ database: { execute: libsql.execute } });

// An option may be what is not set, such as a variable of the environment: with `exactOptionalPropertyTypes` too.
declare const unset: string | undefined;
new SQLiteCacheStore({ database: unset });
type Unset<Options> = { [Key in keyof Options]-?: undefined };
declare const cacheUnset: Unset<SQLiteCacheStoreOptions>;
declare const dedupeUnset: Unset<SQLiteDedupeStoreOptions>;
declare const limitUnset: Unset<SQLiteRateLimitStoreOptions>;
declare const adaptiveUnset: Unset<SqliteAdaptiveRateLimitStoreOptions>;
declare const sharesUnset: Unset<AdaptiveConfig>;
new SQLiteCacheStore(cacheUnset);
new SQLiteDedupeStore(dedupeUnset);
new SQLiteRateLimitStore(limitUnset);
new SqliteAdaptiveRateLimitStore(adaptiveUnset);
new SqliteAdaptiveRateLimitStore({ ...adaptiveUnset, adaptiveConfig: sharesUnset });

// @ts-expect-error not a journal mode of these stores
new SQLiteCacheStore({ journalMode: 'off' });
// @ts-expect-error not an option of this store
new SQLiteCacheStore({ claimTimeoutMs: 1 });

// Connections are known by their methods. These have the shapes of node:sqlite's and bun:sqlite's.
declare class DatabaseSync {
  prepare(sql: string): {
    run(...parameters: (null | number | bigint | string | Uint8Array)[]): { changes: number };
    get(...parameters: (null | number | bigint | string | Uint8Array)[]): unknown;
    all(named: Record<string, string>, ...parameters: string[]): unknown[];
  };
  exec(sql: string): void;
}
declare class BunDatabase {
  prepare<Row, Parameters extends string | string[]>(
    sql: string,
    parameters?: Parameters,
  ): {
    run(...parameters: string[]): { changes: number };
    get(...parameters: string[]): Row | null;
    all(...parameters: string[]): Row[];
  };
  exec(sql: string, ...bindings: string[][]): { changes: number };
}
export function handedIn(node: DatabaseSync, bun: BunDatabase, any: SQLiteConnection): void {
  for (const database of [node, bun, any]) new SQLiteCacheStore({ database });
  // @ts-expect-error not a connection
  new SQLiteCacheStore({ database: { prepare: 1 } });
}

export async function figures(): Promise<number> {
  const { adaptiveMetrics, totalRequests }: AdaptiveRateLimitStats = await adaptive.getStats();
  const { averageUserActivity, backgroundUtilization, priorityModeActivations } = adaptiveMetrics;
  return averageUserActivity + backgroundUtilization + priorityModeActivations + totalRequests;
}

export async function atOnce(): Promise<string | undefined> {
  if ((await limit.acquire('issues')) && (await adaptive.acquire('issues', 'user'))) return;
  // @ts-expect-error the plain store knows no priorities
  await limit.acquire('issues', 'user');
  const { jobId, isOwner } = await dedupe.registerOrJoin('hash');
  return isOwner ? jobId : dedupe.waitFor('hash');
}

export async function early(signal: AbortSignalLike): Promise<void> {
  await dedupe.waitFor('hash', { signal, maxWaitMs: 1_000 });
  await dedupe.waitFor('hash', {});
  // @ts-expect-error not a signal
  await dedupe.waitFor('hash', { signal: 'signal' });
  // @ts-expect-error not a number
  await dedupe.waitFor('hash', { maxWaitMs: '5' });
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && error.name === 'SqliteError'
    ? (error as SqliteError).code
    : undefined;
}

// Without drizzle-orm the rows are known still.
const rows: [CacheRow, DedupeRow, RateLimitRow] = [
  cacheTable.$inferSelect,
  dedupeTable.$inferSelect,
  rateLimitTable.$inferSelect,
];
// @ts-expect-error a string
const hash: number = cacheTable.$inferSelect.hash;

export { cache, dedupe, hash, limit, rows };
