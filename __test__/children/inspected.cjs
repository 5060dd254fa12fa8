'use strict';
// Makes a file for the command line to look into, as somebody left or leaves it. Where that needs a process, it says 'ready',
// and stays until its stdin ends. What is in the file is the same each time: times are those of NOW.

const Database = require('better-sqlite3');
const stores = require('../../index.js');

const MINUTE = 60_000;
const { path, as, isIdle = false, options = {} } = JSON.parse(process.argv[2]);
const start = Number(process.env.NOW);

/** Has calls happen so many ms before NOW. @param {number} ms */
function ago(ms) {
  Date.now = () => start - ms;
}

const issue = (/** @type {string} */ name) => ({
  status_code: 1,
  error: 'OK',
  results: { name, resource_type: 'issue', description: 'It begins. '.repeat(20) },
});
const list = {
  status_code: 1,
  results: [{ name: 'Saga', resource_type: 'volume' }, { name: 'Paper Girls' }],
};
const cooldown = { limit: 200, windowMs: 60 * MINUTE };

/** Stores of 0.2.0 or of ours, with what both can do. @param {any} kinds */
async function fill(kinds) {
  const cache = new kinds.SQLiteCacheStore({ database: path, cleanupIntervalMs: 0, ...options });
  const dedupe = new kinds.SQLiteDedupeStore({ database: path, cleanupIntervalMs: 0, ...options });
  const limiter = new kinds.SQLiteRateLimitStore({
    database: path,
    ...options,
    defaultConfig: { limit: 5, windowMs: MINUTE },
  });
  const adaptive = new kinds.SqliteAdaptiveRateLimitStore({
    database: path,
    ...options,
    defaultConfig: cooldown,
  });
  ago(3 * 24 * 60 * MINUTE);
  await cache.set('issue:1', issue('The Amazing Spider-Man #1'), 24 * 60 * 60);
  ago(90 * MINUTE);
  await cache.set('issue:2', issue('進撃の巨人 🦸 第一話'), 24 * 60 * 60);
  await cache.set('volumes', list, 2 * 60 * 60);
  ago(5_000);
  await cache.set('missing', { status_code: 101, error: 'Object Not Found', results: [] }, 60);
  await cache.set('plain', 'text', Number.POSITIVE_INFINITY);
  ago(10_000);
  await dedupe.register('done');
  await dedupe.complete('done', { name: 'done' });
  await dedupe.register('broken');
  await dedupe.fail('broken', new RangeError('The server does not answer'));
  ago(2_000);
  // Its lease is renewed each second.
  if (!isIdle) await dedupe.register('under way');
  for (const before of [30_000, 20_000, 4_000]) {
    ago(before);
    await limiter.record('issues');
  }
  for (const priority of ['user', 'user', 'background']) {
    ago(40 * MINUTE);
    await adaptive.record('search', priority);
  }
  ago(0);
  return { cache, dedupe, limiter, adaptive };
}

/** What 0.2.0 cannot do. @param {Awaited<ReturnType<typeof fill>>} filled */
async function fillMore({ cache, limiter }) {
  await cache.setWithTags('issue:3', issue('Saga #1'), 600, ['issue', 'volume 18166']);
  await limiter.setCooldown('characters', start + 90_000);
}

/** Until the end of stdin. */
const told = () => new Promise((resolve) => process.stdin.on('end', resolve).resume());
const ready = () => process.stdout.write('ready\n');

/** @type {Record<string, () => Promise<void>>} */
const WAYS = {
  async closed() {
    const filled = await fill(stores);
    await fillMore(filled);
    for (const store of Object.values(filled)) await store.close();
  },
  /** Whoever kills it has a file that a killed process has left. */
  async open() {
    const filled = await fill(stores);
    await fillMore(filled);
    ready();
    await told();
    for (const store of Object.values(filled)) await store.close();
  },
  async older() {
    const filled = await fill(await import('sqlite-store-0.2.0'));
    for (const store of Object.values(filled)) await store.close();
  },
  /** Says what `issue:3` is, whenever it is asked. */
  async reader() {
    const cache = new stores.SQLiteCacheStore({ database: path, cleanupIntervalMs: 0, ...options });
    await cache.get('issue:3');
    ready();
    for await (const line of require('node:readline').createInterface({ input: process.stdin }))
      process.stdout.write(`${JSON.stringify((await cache.get(line)) ?? null)}\n`);
    await cache.close();
  },
  async writing() {
    const cache = new stores.SQLiteCacheStore({ database: path, cleanupIntervalMs: 0 });
    let goesOn = true;
    told().then(() => {
      goesOn = false;
    });
    for (let n = 0; goesOn; n++) {
      // Both or none: a state between them would show.
      await Promise.all([
        cache.set(`a${n % 50}`, 'x'.repeat(n % 3_000), 600),
        cache.set(`b${n % 50}`, n, 600),
      ]);
      if (n === 50) ready();
    }
    await cache.close();
  },
  /** Has the file to itself. */
  async exclusive() {
    const db = new Database(path);
    db.pragma('journal_mode = delete');
    db.exec('BEGIN EXCLUSIVE');
    ready();
    await told();
    db.close();
  },
  /** Has been reading, or writing, since it said so. */
  async transaction() {
    const db = new Database(path);
    db.exec(options.begin);
    db.prepare('SELECT COUNT(*) FROM cache').get();
    ready();
    await told();
    db.close();
  },
};

ago(0);
WAYS[as]();
