'use strict';

/**
 * The drizzle-orm tables, for reading the stores' files with drizzle.
 *
 * drizzle-orm is an optional peer dependency. Each table is therefore a Proxy that builds itself the first time it is
 * looked at: importing this package neither needs drizzle-orm nor pays for loading it.
 */

/** What `require` says of a module that is not there, Node's and what bundlers make of it. @param {any} error */
const isMissing = (error) =>
  error?.code === 'MODULE_NOT_FOUND' ||
  /^(?:Dynamic require|Could not resolve|require is not defined)/.test(`${error?.message}`);

/** @typedef {(keyof ProxyHandler<object>)} Trap */

/** Every operation that can tell an empty object from a table. @type {Trap[]} */
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

/** Those by which an object is only looked at: by `await`, `JSON.stringify`, a test framework's automocking and such. */
const LOOKS = ['ownKeys', 'getOwnPropertyDescriptor', 'getPrototypeOf', 'isExtensible'];

/**
 * Whether an operation is of no use without drizzle-orm. To others a table without it is an empty object.
 * @param {string[]} columns
 * @param {Trap} trap
 * @param {PropertyKey} key
 */
function needsDrizzle(columns, trap, key) {
  if (LOOKS.includes(trap)) return false;
  if (trap !== 'get' && trap !== 'has') return true;
  if (typeof key === 'symbol') return Symbol.keyFor(key)?.startsWith('drizzle:') ?? false;
  return columns.includes(`${String(key)}`) || /^(?:_|getSQL|\$infer.*)$/.test(String(key));
}

/**
 * @param {string} name the name the table is exported under
 * @param {string} sqlName
 * @param {Record<string, (drizzle: any) => any>} columns
 * @param {(drizzle: any, columns: any) => any[]} [more] its keys of several columns, and its indexes
 */
function lazyTable(name, sqlName, columns, more = () => []) {
  const target = {};
  /** @type {any} */
  const handler = {};
  const proxy = new Proxy(target, handler);

  // The target becomes the table, rather than forwarding to one: the proxy invariants compare each answer with the
  // target, and with a separate table `Object.freeze`, for one, would break them.
  /** @returns {Error | undefined} what is wrong if drizzle-orm is not installed */
  function become() {
    let drizzle;
    try {
      drizzle = require('drizzle-orm/sqlite-core');
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      return new Error(
        `${name} needs drizzle-orm, an optional peer dependency that is not installed: npm install drizzle-orm`,
        { cause },
      );
    }
    const built = Object.entries(columns).map(([key, build]) => [key, build(drizzle)]);
    const add = (/** @type {any} */ table) => more(drizzle, table);
    const table = drizzle.sqliteTable(sqlName, Object.fromEntries(built), add);
    const own = Object.values(table).filter((member) => member?.table === table);
    // A column knows its table: without this, JSON would go round in circles.
    const toJSON = { value: () => ({}), configurable: true, writable: true };
    Object.setPrototypeOf(target, Object.create(Object.getPrototypeOf(table), { toJSON }));
    Object.defineProperties(target, Object.getOwnPropertyDescriptors(table));
    for (const column of own) column.table = proxy;
    for (const trap of TRAPS) delete handler[trap];
    return undefined;
  }

  for (const trap of TRAPS) {
    handler[trap] = (/** @type {any[]} */ ...args) => {
      const missing = become();
      if (missing && needsDrizzle(Object.keys(columns), trap, args[1])) throw missing;
      return /** @type {any} */ (Reflect)[trap](...args);
    };
  }
  return proxy;
}

exports.cacheTable = lazyTable('cacheTable', 'cache', {
  hash: ({ text }) => text('hash').primaryKey(),
  value: ({ blob }) => blob('value', { mode: 'json' }).notNull(),
  expiresAt: ({ integer }) => integer('expires_at').notNull(),
  createdAt: ({ integer }) => integer('created_at').notNull(),
});

exports.cacheTagsTable = lazyTable(
  'cacheTagsTable',
  'cache_tags',
  {
    tag: ({ text }) => text('tag').notNull(),
    hash: ({ text }) => text('hash').notNull(),
  },
  ({ primaryKey, index }, { tag, hash }) => [
    primaryKey({ columns: [tag, hash] }),
    index('idx_cache_tags_tag').on(tag),
    index('idx_cache_tags_hash').on(hash),
  ],
);

exports.dedupeTable = lazyTable('dedupeTable', 'dedupe_jobs', {
  hash: ({ text }) => text('hash').primaryKey(),
  jobId: ({ text }) => text('job_id').notNull(),
  status: ({ text }) => text('status').notNull(),
  result: ({ blob }) => blob('result', { mode: 'json' }),
  error: ({ text }) => text('error'),
  createdAt: ({ integer }) => integer('created_at').notNull(),
  updatedAt: ({ integer }) => integer('updated_at').notNull(),
});

// Without `priority`, as in 0.2.0: an insert through this table leaves it to the column's default, and works on a
// legacy file that has no such column.
exports.rateLimitTable = lazyTable('rateLimitTable', 'rate_limits', {
  resource: ({ text }) => text('resource').notNull(),
  timestamp: ({ integer }) => integer('timestamp').notNull(),
  id: ({ integer }) => integer('id').primaryKey({ autoIncrement: true }),
});

exports.serverCooldownTable = lazyTable('serverCooldownTable', 'server_cooldowns', {
  origin: ({ text }) => text('origin').primaryKey(),
  cooldownUntil: ({ integer }) => integer('cooldown_until').notNull(),
});
