'use strict';
// Makes a file for the dashboard to show, or writes to one: a process of its own, so that drivers do not meet in one.
//
//   node dashboard-file.cjs <form> <path>

const [, , form, path] = process.argv;

const MINUTE = 60_000;
const now = Date.now();

/** Has what `work` does happen at another time. @param {number} at @param {() => Promise<unknown>} work */
async function at(at, work) {
  const real = Date.now;
  Date.now = () => at;
  try {
    return await work();
  } finally {
    Date.now = real;
  }
}

/** A generator of numbers from 0 to 1: the same each time. @param {number} state */
const random = (state) => () => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 32;
};

/** @param {string} name @param {number} id */
const envelope = (name, id) => ({
  status_code: 1,
  error: 'OK',
  number_of_total_results: 1,
  results: {
    id,
    name,
    api_detail_url: `https://comicvine.gamespot.com/api/volume/4050-${id}/`,
    description: `<p>${'All about it. '.repeat(id % 97)}</p>`,
    issues: Array.from({ length: id % 40 }, (_, index) => ({
      id: index,
      issue_number: `${index + 1}`,
    })),
  },
});

/** @type {Record<string, () => Promise<void>>} */
const forms = {
  /** What a client leaves that has been at work for an hour. */
  async usual() {
    const { SQLiteCacheStore, SQLiteDedupeStore, SqliteAdaptiveRateLimitStore } = require('../..');
    const next = random(7);
    const limiter = new SqliteAdaptiveRateLimitStore({ database: path });
    const requests = [];
    /** @param {string} resource @param {'user' | 'background'} priority @param {number} count @param {number} from @param {number} to */
    const plan = (resource, priority, count, from, to) => {
      for (let index = 0; index < count; index++) {
        requests.push({
          resource,
          priority,
          at: now - to * MINUTE - next() * (from - to) * MINUTE,
        });
      }
    };
    plan('issues', 'background', 120, 59, 20);
    plan('issues', 'user', 23, 18, 0);
    plan('volumes', 'background', 31, 55, 1);
    plan('volumes', 'user', 2, 50, 10);
    plan('characters', 'user', 150, 58, 5);
    plan('characters', 'background', 50, 58, 44);
    plan('search', 'user', 6, 40, 3);
    requests.sort((one, other) => one.at - other.at);
    for (const request of requests) {
      await at(Math.floor(request.at), () => limiter.record(request.resource, request.priority));
    }
    await limiter.setCooldown('search', now + 4 * MINUTE + 10_000);
    await limiter.close();

    const cache = new SQLiteCacheStore({ database: path });
    const { createHash } = require('node:crypto');
    const titles = [
      'Saga',
      'Monstress',
      'Paper Girls',
      'Bone',
      'Hellboy',
      'Sandman',
      'Invincible',
      'Fables',
    ];
    for (let id = 1; id <= 240; id++) {
      const title = titles[id % titles.length];
      const key = createHash('sha256').update(`volume ${id}`).digest('hex');
      const tags = [
        `volume:${id}`,
        id % 3 === 0 ? 'issues' : 'volumes',
        `title:${title.toLowerCase()}`,
      ];
      const created = now - Math.floor(next() ** 3 * 20 * 24 * 60 * MINUTE);
      const ttl = (now - created) / 1_000 + (next() - 0.1) * 86_400;
      await at(created, () =>
        cache.setWithTags(key, envelope(`${title} ${id}`, id), id % 11 ? ttl : 1e9, tags),
      );
    }
    await cache.close();

    const dedupe = new SQLiteDedupeStore({ database: path });
    const hash = (/** @type {string} */ text) => createHash('sha256').update(text).digest('hex');
    await at(now - 6 * MINUTE, async () => {
      await dedupe.register(hash('failed'));
      await dedupe.fail(hash('failed'), new RangeError('Request failed with status code 502'));
    });
    await at(now - 2 * MINUTE, async () => {
      await dedupe.register(hash('completed'));
      await dedupe.complete(hash('completed'), { id: 1 });
    });
    await dedupe.register(hash('pending'));
    // Killed, so that its job stays as one whose owner is dead.
    process.kill(process.pid, 'SIGKILL');
  },

  /** A great many. */
  async large() {
    await empty();
    const Database = require('better-sqlite3');
    const database = new Database(path);
    const entry = database.prepare('INSERT INTO cache VALUES (?, ?, ?, ?)');
    const tag = database.prepare('INSERT INTO cache_tags VALUES (?, ?)');
    const request = database.prepare(
      'INSERT INTO rate_limits (resource, timestamp, priority) VALUES (?, ?, ?)',
    );
    const next = random(11);
    database.transaction(() => {
      for (let index = 0; index < 100_000; index++) {
        const key = index.toString(16).padStart(64, '0');
        const text = JSON.stringify({
          name: `Entry ${index}`,
          text: 'x'.repeat(Math.floor(next() ** 4 * 400)),
        });
        entry.run(
          key,
          Buffer.from(JSON.stringify(text)),
          now + 60 * MINUTE + index,
          now - index * 1_000,
        );
        if (index % 100 === 0) tag.run('hundredth', key);
      }
      for (let index = 0; index < 50_000; index++) {
        request.run(
          'issues',
          now - Math.floor(next() * 59 * MINUTE),
          index % 3 ? 'background' : 'user',
        );
      }
    })();
    database.close();
  },

  /** Names and values that a page is not to take for more than text. */
  async hostile() {
    const { SQLiteCacheStore, SQLiteDedupeStore, SqliteAdaptiveRateLimitStore } = require('../..');
    const script = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
    const limiter = new SqliteAdaptiveRateLimitStore({ database: path });
    await limiter.record(script, 'user');
    await limiter.close();
    const cache = new SQLiteCacheStore({ database: path });
    await cache.setWithTags(script, { name: script, [script]: [script] }, 1_000, [script]);
    await cache.set('long', { name: 'long', text: 'x'.repeat(5_000_000) }, 1_000);
    await cache.set(
      'many',
      { name: 'many', list: Array.from({ length: 300_000 }, (_, index) => index) },
      1_000,
    );
    await cache.set('\u202egnp.exe\u0000\n', 1, 1_000);
    await cache.close();
    const dedupe = new SQLiteDedupeStore({ database: path });
    await dedupe.register(script);
    await dedupe.fail(script, new Error(script));
    await dedupe.close();
    const Database = require('better-sqlite3');
    const database = new Database(path);
    const entry = database.prepare('INSERT INTO cache VALUES (?, ?, ?, ?)');
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    entry.run('deep', Buffer.from(JSON.stringify(deep)), now + MINUTE, now);
    entry.run('broken', Buffer.from('{"a":'), now + MINUTE, now);
    database.close();
  },

  empty,

  /** Makes one request, stores one entry. */
  async write() {
    const { SQLiteCacheStore, SqliteAdaptiveRateLimitStore } = require('../..');
    const limiter = new SqliteAdaptiveRateLimitStore({ database: path });
    await limiter.record('issues', 'user');
    await limiter.close();
    const cache = new SQLiteCacheStore({ database: path });
    await cache.setWithTags('written', { name: 'Written meanwhile' }, 1_000, ['meanwhile']);
    await cache.close();
  },
};

async function empty() {
  const { SQLiteCacheStore, SqliteAdaptiveRateLimitStore } = require('../..');
  const limiter = new SqliteAdaptiveRateLimitStore({ database: path });
  await limiter.record('issues', 'user');
  await limiter.clear();
  await limiter.close();
  const cache = new SQLiteCacheStore({ database: path });
  await cache.setWithTags('key', 1, 1_000, ['tag']);
  await cache.clear();
  await cache.close();
}

forms[form]();
