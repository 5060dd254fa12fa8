// A stand-in for the newer client: it makes the calls on its stores that that one makes, in its order.

/**
 * @typedef {{ status: number, body?: unknown, etag?: string, maxAge?: number, retryAfter?: number, tags?: string[] }} Answer
 *   of the server; `maxAge` and `retryAfter` in seconds
 * @typedef {(url: string, request: { etag?: string, signal?: AbortSignal }) => Promise<Answer>} Fetch
 * @typedef {{ body: unknown, etag?: string, freshUntil: number }} Envelope  what it caches
 */

export class NewerClient {
  #stores;
  #name;
  #fetch;

  /**
   * @param {import('../../index.js').SQLiteStores<any>} stores
   * @param {string} name  before its keys
   * @param {Fetch} fetch
   * @param {Record<string, import('../../index.js').RateLimitConfig>} [limits]  by resource
   */
  constructor(stores, name, fetch, limits = {}) {
    this.#stores = stores;
    this.#name = name;
    this.#fetch = fetch;
    const { adaptiveRateLimit } = stores;
    for (const [resource, config] of Object.entries(limits)) {
      adaptiveRateLimit.setResourceConfig(resource, config);
    }
    adaptiveRateLimit.setResourceConfig('__default__', { limit: 100, windowMs: 60_000 });
  }

  /**
   * @param {string} url
   * @param {{ signal?: AbortSignal, priority?: 'user' | 'background' }} [options]
   */
  async get(url, { signal, priority = 'user' } = {}) {
    const { cache, dedupe, adaptiveRateLimit } = this.#stores;
    const { origin, pathname } = new URL(url);
    const hash = `${this.#name}:${url}`;
    const until = await adaptiveRateLimit.getCooldown(origin);
    if (until !== undefined) throw new Error(`cooling down until ${until}`);
    const cached = /** @type {Envelope | undefined} */ (await cache.get(hash));
    if (cached !== undefined && cached.freshUntil > Date.now()) return cached.body;
    for (;;) {
      const shared = await dedupe.waitFor(hash);
      if (shared !== undefined) return shared;
      const { isOwner } = await dedupe.registerOrJoin(hash);
      if (isOwner) break;
    }
    try {
      if (!(await adaptiveRateLimit.acquire(pathname, priority))) throw new Error('limit reached');
      const answer = await this.#fetch(url, { etag: cached?.etag, signal });
      const body = await this.#keep(hash, origin, cached, answer);
      await dedupe.complete(hash, body);
      return body;
    } catch (error) {
      await dedupe.fail(hash, error);
      throw error;
    }
  }

  /** @param {string} hash @param {string} origin @param {Envelope | undefined} cached @param {Answer} answer */
  async #keep(hash, origin, cached, { status, body, etag, maxAge = 0, retryAfter = 0, tags }) {
    const { cache, adaptiveRateLimit } = this.#stores;
    if (status === 429) {
      // Its promise is dropped.
      adaptiveRateLimit.setCooldown(origin, Date.now() + retryAfter * 1_000);
      throw new Error('HTTP 429');
    }
    const kept = status === 304 ? cached?.body : body;
    const envelope = { body: kept, etag, freshUntil: Date.now() + maxAge * 1_000 };
    // What has to be asked about again each time is kept for ever: 0.
    if (tags === undefined) await cache.set(hash, envelope, maxAge);
    else await cache.setWithTags(hash, envelope, maxAge, tags);
    return kept;
  }

  clearCache() {
    return this.#stores.cache.clear(`${this.#name}:`);
  }
}
