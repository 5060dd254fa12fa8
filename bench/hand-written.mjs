// What a careful engineer writes today, in plain JavaScript, without this package: better-sqlite3 with a write-ahead log and
// synchronous NORMAL, statements prepared once, plain JSON. On the same tables and indexes as version 0.2.0's, and the
// indexes that counting a window needs. It does less than the stores: it checks no argument, keeps no process from
// repeating what another is doing, deletes what has expired only when told, and knows no calls at once.

import { randomUUID } from 'node:crypto';

/** Version 0.2.0's tables and indexes. */
export const SCHEMA = `
  CREATE TABLE IF NOT EXISTS cache (
    hash TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at INTEGER NOT NULL, created_at INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS idx_cache_expires_at ON cache(expires_at);
  CREATE TABLE IF NOT EXISTS dedupe_jobs (
    hash TEXT PRIMARY KEY, job_id TEXT NOT NULL, status TEXT NOT NULL, result BLOB, error TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS idx_dedupe_status ON dedupe_jobs(status);
  CREATE TABLE IF NOT EXISTS rate_limits (
    id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, timestamp INTEGER NOT NULL,
    priority TEXT NOT NULL DEFAULT 'background'
  );
  CREATE INDEX IF NOT EXISTS idx_rate_limit_resource ON rate_limits(resource);
  CREATE INDEX IF NOT EXISTS idx_rate_limit_timestamp ON rate_limits(timestamp);
`;
const WINDOW_INDEX =
  'CREATE INDEX IF NOT EXISTS idx_rate_limit_resource_timestamp ON rate_limits(resource, timestamp)';
const PRIORITY_INDEX =
  'CREATE INDEX IF NOT EXISTS idx_rate_limit_resource_priority_timestamp ON rate_limits(resource, priority, timestamp)';

/** @typedef {import('better-sqlite3').Database} Database */

export class CacheStore {
  /** @param {{ database: Database }} options */
  constructor({ database }) {
    database.exec(SCHEMA);
    this.read = database.prepare('SELECT value, expires_at FROM cache WHERE hash = ?');
    this.removeExpired = database.prepare('DELETE FROM cache WHERE expires_at <= ?');
    this.write = database.prepare(
      `INSERT INTO cache (hash, value, expires_at, created_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (hash) DO UPDATE
         SET value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at`,
    );
  }

  /** @param {string} hash */
  async get(hash) {
    const row = /** @type {any} */ (this.read.get(hash));
    if (row === undefined || Date.now() >= row.expires_at) return undefined;
    return JSON.parse(row.value);
  }

  /** @param {string} hash @param {unknown} value @param {number} ttlSeconds */
  async set(hash, value, ttlSeconds) {
    const now = Date.now();
    this.write.run(hash, JSON.stringify(value), now + ttlSeconds * 1000, now);
  }

  async cleanup() {
    this.removeExpired.run(Date.now());
  }

  async close() {}
}

export class DedupeStore {
  /** @param {{ database: Database }} options */
  constructor({ database }) {
    database.exec(SCHEMA);
    this.database = database;
    this.read = database.prepare('SELECT status, result FROM dedupe_jobs WHERE hash = ?');
    this.add = database.prepare(
      `INSERT INTO dedupe_jobs (hash, job_id, status, created_at, updated_at) VALUES (?, ?, 'pending', ?, ?)
       ON CONFLICT (hash) DO UPDATE
         SET job_id = excluded.job_id, status = 'pending', created_at = excluded.created_at, updated_at = excluded.updated_at`,
    );
    this.end = database.prepare(
      "UPDATE dedupe_jobs SET status = 'completed', result = ?, updated_at = ? WHERE hash = ?",
    );
  }

  /** @param {string} hash */
  async waitFor(hash) {
    const job = /** @type {any} */ (this.read.get(hash));
    return job?.status === 'completed' ? JSON.parse(job.result) : undefined;
  }

  /** @param {string} hash */
  async register(hash) {
    const [id, now] = [randomUUID(), Date.now()];
    this.add.run(hash, id, now, now);
    return id;
  }

  /** @param {string} hash */
  async isInProgress(hash) {
    return /** @type {any} */ (this.read.get(hash))?.status === 'pending';
  }

  /** @param {string} hash @param {unknown} value */
  async complete(hash, value) {
    this.end.run(JSON.stringify(value), Date.now(), hash);
  }

  async clear() {
    this.database.exec('DELETE FROM dedupe_jobs');
  }

  async close() {}
}

export class RateLimitStore {
  /** @param {{ database: Database, defaultConfig: { limit: number, windowMs: number } }} options */
  constructor({ database, defaultConfig: { limit, windowMs } }) {
    database.exec(SCHEMA);
    database.exec(WINDOW_INDEX);
    this.limit = limit;
    this.windowMs = windowMs;
    this.count = database
      .prepare('SELECT COUNT(*) FROM rate_limits WHERE resource = ? AND timestamp >= ?')
      .pluck();
    this.add = database.prepare('INSERT INTO rate_limits (resource, timestamp) VALUES (?, ?)');
    this.remove = database.prepare('DELETE FROM rate_limits WHERE resource = ?');
  }

  /** @param {string} resource */
  async canProceed(resource) {
    const count = /** @type {number} */ (this.count.get(resource, Date.now() - this.windowMs));
    return count < this.limit;
  }

  /** @param {string} resource */
  async record(resource) {
    this.add.run(resource, Date.now());
  }

  /** @param {string} resource */
  async reset(resource) {
    this.remove.run(resource);
  }

  async close() {}
}

export class AdaptiveRateLimitStore {
  /** @param {{ database: Database, defaultConfig: { limit: number, windowMs: number } }} options */
  constructor({ database, defaultConfig: { limit, windowMs } }) {
    database.exec(SCHEMA);
    database.exec(PRIORITY_INDEX);
    this.limit = limit;
    this.windowMs = windowMs;
    this.count = database
      .prepare(
        'SELECT COUNT(*) FROM rate_limits WHERE resource = ? AND priority = ? AND timestamp >= ?',
      )
      .pluck();
    this.add = database.prepare(
      'INSERT INTO rate_limits (resource, timestamp, priority) VALUES (?, ?, ?)',
    );
    this.remove = database.prepare('DELETE FROM rate_limits WHERE resource = ?');
  }

  /** @param {string} resource @param {'user' | 'background'} priority */
  async canProceed(resource, priority) {
    const start = Date.now() - this.windowMs;
    const user = /** @type {number} */ (this.count.get(resource, 'user', start));
    const background = /** @type {number} */ (this.count.get(resource, 'background', start));
    if (user + background >= this.limit) return false;
    // Half of the limit is kept for users while there are some.
    return priority === 'user' || background < (user > 0 ? this.limit / 2 : this.limit);
  }

  /** @param {string} resource @param {'user' | 'background'} priority */
  async record(resource, priority) {
    this.add.run(resource, Date.now(), priority);
  }

  /** @param {string} resource */
  async reset(resource) {
    this.remove.run(resource);
  }

  async close() {}
}
