/**
 * One process of the demo: the unmodified client on our stores, all in one database file or on one server. `processes.mjs`
 * forks it and sends it requests to make; it answers with what became of them.
 */
import { createRequire } from 'node:module';
import { ComicVine } from '@comic-vine/client';
import {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '@comic-vine/sqlite-store';

/** The stores count what they answered; the client sees nothing but the stores. */
class CountingCache extends SQLiteCacheStore {
  hits = 0;
  /** @param {string} hash */
  async get(hash) {
    const value = await super.get(hash);
    if (value !== undefined) this.hits += 1;
    return value;
  }
}

class CountingDedupe extends SQLiteDedupeStore {
  hits = 0;
  /** @param {string} hash */
  async waitFor(hash) {
    const value = await super.waitFor(hash);
    if (value !== undefined) this.hits += 1;
    return value;
  }
}

/** @param {string} url @returns {any} a client of a server */
function connect(url) {
  return createRequire(import.meta.url)('../../__test__/support/servers.cjs').connect(url);
}

let loading = false;

/** @param {import('./processes.mjs').RoleOptions} options */
function playRole({
  name,
  priority,
  limiter,
  database: file,
  server,
  baseUrl,
  apiKey,
  limits,
  adaptiveConfig,
  reservationMs,
  pauseMs = 0,
}) {
  const database = server === undefined ? file : connect(server);
  // A server that starts again is waited for.
  const requestTimeoutMs = 60_000;
  const cache = new CountingCache({ database, requestTimeoutMs });
  const dedupe = new CountingDedupe({ database, requestTimeoutMs });
  const limiting = {
    database,
    requestTimeoutMs,
    resourceConfigs: new Map(Object.entries(limits)),
    reservationMs,
  };
  const rateLimit =
    limiter === 'plain'
      ? new SQLiteRateLimitStore(limiting)
      : new SqliteAdaptiveRateLimitStore({ ...limiting, adaptiveConfig });
  const client = new ComicVine({ apiKey, baseUrl, stores: { cache, dedupe, rateLimit } });

  const actions = {
    /** @param {{ resource: import('./processes.mjs').Resource, ids: number[], atOnce: boolean }} message */
    async ask({ resource, ids, atOnce }) {
      cache.hits = 0;
      dedupe.hits = 0;
      const outcome = { asked: ids.length, limited: 0, failed: 0, answered: 0 };
      const errors = new Set();
      // The resources differ in what they answer, not in how they are asked.
      const items = /** @type {typeof client.issue} */ (client[resource]);
      const retrieve = async (/** @type {number} */ id) => {
        try {
          const item = await items.retrieve(id, { priority });
          if (item.id === id) outcome.answered += 1;
        } catch (error) {
          const { message } = /** @type {Error} */ (error);
          if (message.includes('Rate limit exceeded')) {
            outcome.limited += 1;
          } else {
            outcome.failed += 1;
            errors.add(`${name}: ${message}`);
          }
        }
      };
      if (atOnce) {
        await Promise.all(ids.map(retrieve));
      } else {
        for (const id of ids) {
          const { hits } = cache;
          await retrieve(id);
          if (cache.hits === hits) await new Promise((resolve) => setTimeout(resolve, pauseMs));
        }
      }
      return { ...outcome, errors: [...errors], fromCache: cache.hits, shared: dedupe.hits };
    },
    /**
     * Stores an entry and records a request, one pair after the other, until it is told to end; answers how many were
     * acknowledged.
     */
    async load() {
      let made = 0;
      let failed = 0;
      for (loading = true; loading; ) {
        try {
          await Promise.all([cache.set(`${name} ${made}`, made, 3_600), rateLimit.record(name)]);
          made += 1;
        } catch {
          failed += 1;
        }
      }
      return { made, failed };
    },
    async endLoad() {
      loading = false;
    },
    /** How many of them are there. @param {{ made: number }} message */
    async kept({ made }) {
      const keys = Array.from({ length: made }, (_, n) => `${name} ${n}`);
      const values = await Promise.all(keys.map((key) => cache.get(key)));
      const { remaining, limit } = await rateLimit.getStatus(name);
      return {
        entries: values.filter((value, n) => value === n).length,
        requests: limit - remaining,
      };
    },
    async stats() {
      /** @type {Record<string, number>} */
      const remaining = {};
      for (const resource of Object.keys(limits)) {
        remaining[resource] = (await rateLimit.getStatus(resource)).remaining;
      }
      return {
        cached: (await cache.getStats()).totalItems,
        requests: (await rateLimit.getStats()).totalRequests,
        pendingJobs: (await dedupe.getStats()).pendingJobs,
        remaining,
      };
    },
    async stop() {
      await Promise.all([cache.close(), dedupe.close(), rateLimit.close()]);
      return {};
    },
  };
  process.on('message', async (/** @type {any} */ message) => {
    const answer = await actions[/** @type {keyof typeof actions} */ (message.do)](message);
    if (answer !== undefined) process.send?.(answer);
  });
  process.send?.({ ready: true });
}

playRole(JSON.parse(process.env.COMIC_VINE_ROLE ?? '{}'));
