/** A consumer of the drizzle tables as they are written against 0.2.0 (`22-types.test.mjs`). */

import {
  type CacheRow,
  cacheTable,
  type DedupeRow,
  dedupeTable,
  type RateLimitRow,
  rateLimitTable,
} from '@comic-vine/sqlite-store';
import {
  count,
  eq,
  getTableColumns,
  getTableName,
  type InferInsertModel,
  type InferSelectModel,
  lt,
  sql,
} from 'drizzle-orm';
import type { drizzle } from 'drizzle-orm/better-sqlite3';
import { alias, getTableConfig, type SQLiteTable } from 'drizzle-orm/sqlite-core';

type Same<A, B> = [A, B] extends [B, A]
  ? 0 extends 1 & A
    ? false
    : 0 extends 1 & B
      ? false
      : true
  : false;
function same<A, B>(_answer: Same<A, B>): void {}

declare const db: ReturnType<typeof drizzle>;

const entries = db.select().from(cacheTable).where(eq(cacheTable.hash, 'hash')).all();
same<(typeof entries)[number], CacheRow>(true);
same<typeof cacheTable.$inferSelect, CacheRow>(true);
same<InferSelectModel<typeof dedupeTable>, DedupeRow>(true);
same<InferSelectModel<typeof rateLimitTable>, RateLimitRow>(true);
const row: InferInsertModel<typeof rateLimitTable> = { resource: 'issues', timestamp: 1 };
db.insert(rateLimitTable).values(row).run();

const failed = db
  .select({ error: dedupeTable.error, n: count() })
  .from(dedupeTable)
  .where(lt(dedupeTable.createdAt, 1))
  .orderBy(dedupeTable.updatedAt)
  .get();
same<typeof failed, { error: string | null; n: number } | undefined>(true);

db.insert(rateLimitTable).values({ resource: 'issues', timestamp: 1 }).run();
db.insert(cacheTable)
  .values({ hash: 'hash', value: '{}', expiresAt: 1, createdAt: 1 })
  .onConflictDoUpdate({ target: cacheTable.hash, set: { value: sql`excluded.value` } })
  .run();
db.update(dedupeTable).set({ status: 'failed' }).where(eq(dedupeTable.jobId, 'id')).run();
db.delete(rateLimitTable).where(eq(rateLimitTable.id, 1)).run();

// @ts-expect-error a row needs a timestamp
db.insert(rateLimitTable).values({ resource: 'issues' });
// @ts-expect-error no such column
cacheTable.size;

const other = alias(cacheTable, 'other');
db.select().from(cacheTable).innerJoin(other, eq(cacheTable.hash, other.hash)).all();
same<ReturnType<typeof getTableName<typeof cacheTable>>, 'cache'>(true);
Object.keys(getTableColumns(rateLimitTable)).includes('timestamp');
const tables: SQLiteTable[] = [cacheTable, dedupeTable, rateLimitTable];
tables.map((table) => getTableConfig(table).name + getTableName(table));
