'use strict';

/**
 * The drizzle-orm tables, for reading the stores' files with drizzle.
 *
 * drizzle-orm is an optional peer dependency. Each table is therefore a Proxy that builds itself the first time it is
 * looked at: importing this package neither needs drizzle-orm nor pays for loading it.
 */

/**
 * @param {string} name the name the table is exported under
 * @returns {any} `drizzle-orm/sqlite-core`
 */
function requireDrizzle(name) {
  try {
    return require('drizzle-orm/sqlite-core');
  } catch (cause) {
    if (/** @type {any} */ (cause)?.code !== 'MODULE_NOT_FOUND') throw cause;
    throw new Error(
      `${name} needs drizzle-orm, an optional peer dependency that is not installed: npm install drizzle-orm`,
      { cause },
    );
  }
}

/** @type {(keyof ProxyHandler<object>)[]} every operation that can tell an empty object from a table */
const TRAPS = [
  'get',
  'set',
  'has',
  'ownKeys',
  'getOwnPropertyDescriptor',
  'defineProperty',
  'deleteProperty',
  'getPrototypeOf',
  'setPrototypeOf',
  'isExtensible',
  'preventExtensions',
];

/**
 * @param {string} name the name the table is exported under
 * @param {(drizzle: any) => any} build
 */
function lazyTable(name, build) {
  const target = {};
  /** @type {any} */
  const handler = {};
  const proxy = new Proxy(target, handler);

  // The target becomes the table, rather than forwarding to one: the proxy invariants compare each answer with the
  // target, and with a separate table `Object.freeze`, for one, would break them.
  function become() {
    const table = build(requireDrizzle(name));
    const columns = Object.values(table).filter((member) => member?.table === table);
    Object.setPrototypeOf(target, Object.getPrototypeOf(table));
    Object.defineProperties(target, Object.getOwnPropertyDescriptors(table));
    for (const column of columns) column.table = proxy;
    for (const trap of TRAPS) delete handler[trap];
  }

  for (const trap of TRAPS) {
    handler[trap] = (/** @type {any[]} */ ...args) => {
      become();
      return /** @type {any} */ (Reflect)[trap](...args);
    };
  }
  return proxy;
}

exports.cacheTable = lazyTable('cacheTable', ({ sqliteTable, text, integer, blob }) =>
  sqliteTable('cache', {
    hash: text('hash').primaryKey(),
    value: blob('value', { mode: 'json' }).notNull(),
    expiresAt: integer('expires_at').notNull(),
    createdAt: integer('created_at').notNull(),
  }),
);

exports.cacheTagsTable = lazyTable('cacheTagsTable', ({ sqliteTable, text, primaryKey, index }) =>
  sqliteTable(
    'cache_tags',
    { tag: text('tag').notNull(), hash: text('hash').notNull() },
    (/** @type {any} */ { tag, hash }) => [
      primaryKey({ columns: [tag, hash] }),
      index('idx_cache_tags_tag').on(tag),
      index('idx_cache_tags_hash').on(hash),
    ],
  ),
);

exports.serverCooldownTable = lazyTable('serverCooldownTable', ({ sqliteTable, text, integer }) =>
  sqliteTable('server_cooldowns', {
    origin: text('origin').primaryKey(),
    cooldownUntil: integer('cooldown_until').notNull(),
  }),
);

exports.dedupeTable = lazyTable('dedupeTable', ({ sqliteTable, text, integer, blob }) =>
  sqliteTable('dedupe_jobs', {
    hash: text('hash').primaryKey(),
    jobId: text('job_id').notNull(),
    status: text('status').notNull(),
    result: blob('result', { mode: 'json' }),
    error: text('error'),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
  }),
);

// Without `priority`, as in 0.2.0: an insert through this table leaves it to the column's default, and works on a
// legacy file that has no such column.
exports.rateLimitTable = lazyTable('rateLimitTable', ({ sqliteTable, text, integer }) =>
  sqliteTable('rate_limits', {
    resource: text('resource').notNull(),
    timestamp: integer('timestamp').notNull(),
    id: integer('id').primaryKey({ autoIncrement: true }),
  }),
);
