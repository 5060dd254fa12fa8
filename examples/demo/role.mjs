/**
 * One process of the demo: the unmodified client on our stores, all in one database file. `processes.mjs` forks it and
 * sends it requests to make; it answers with what became of them.
 */
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

/** @param {import('./processes.mjs').RoleOptions} options */
function playRole({
  name,
  priority,
  limiter,
  database,
  baseUrl,
  apiKey,
  limits,
  adaptiveConfig,
  reservationMs,
  pauseMs = 0,
}) {
  const cache = new CountingCache({ database });
  const dedupe = new CountingDedupe({ database });
  const limiting = { database, resourceConfigs: new Map(Object.entries(limits)), reservationMs };
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
    process.send?.(await actions[/** @type {keyof typeof actions} */ (message.do)](message));
  });
  process.send?.({ ready: true });
}

playRole(JSON.parse(process.env.COMIC_VINE_ROLE ?? '{}'));
