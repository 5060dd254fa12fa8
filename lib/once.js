'use strict';

// `once`: work is done by one of those who want its result, in however many processes; the others get that.

const refuse = require('./refuse.js');

/**
 * What is to be known before the work is done, which would be for nothing otherwise.
 * @param {unknown} work @param {any} options
 * @returns {{ ttlSeconds: number, tags: string[] | undefined }}
 */
function checked(work, options) {
  if (typeof work !== 'function') refuse('work', 'a function', work);
  if (typeof options !== 'object' || options === null) refuse('options', 'an object', options);
  const { ttlSeconds, tags } = options;
  if (typeof ttlSeconds !== 'number' || Number.isNaN(ttlSeconds)) {
    refuse('ttlSeconds', 'a number of seconds', ttlSeconds);
  }
  if (tags === undefined) return { ttlSeconds, tags };
  if (!Array.isArray(tags)) refuse('tags', 'an array of strings', tags);
  const list = [...tags];
  list.forEach((tag, index) => {
    if (typeof tag !== 'string') refuse(`tags[${index}]`, 'a string', tag);
  });
  return { ttlSeconds, tags: list };
}

/**
 * @param {any} stores
 * @param {string} hash
 * @param {() => unknown} work
 * @param {any} options
 */
module.exports = async function once({ cache, dedupe }, hash, work, options) {
  const { ttlSeconds, tags } = checked(work, options);
  for (;;) {
    const cached = await cache.get(hash);
    if (cached !== undefined) return cached;
    // Not `waitFor` first: it would answer what was done a moment ago, though that has expired or been invalidated since.
    const { isOwner } = await dedupe.registerOrJoin(hash);
    if (isOwner) return own(hash);
    const shared = await dedupe.waitFor(hash);
    if (shared !== undefined) return shared;
    // Nobody is at it any more, or it came to nothing.
  }

  /** @param {string} hash  whose job is the caller's */
  async function own(hash) {
    let value;
    try {
      // It may have been done between the look at the cache and the registration.
      const done = await cache.get(hash);
      if (done !== undefined) {
        await dedupe.complete(hash, done);
        return done;
      }
      value = await work();
    } catch (error) {
      // What went wrong is to be told, and not that it could not be passed on: then others take over.
      await dedupe.fail(hash, error).catch(() => {});
      throw error;
    }
    // In one transaction. Whoever waits gets the value even if it cannot be kept.
    const kept =
      tags === undefined
        ? cache.set(hash, value, ttlSeconds)
        : cache.setWithTags(hash, value, ttlSeconds, tags);
    const ended = dedupe.complete(hash, value);
    const [setting, ending] = await Promise.allSettled([kept, ended]);
    for (const outcome of [setting, ending]) {
      if (outcome.status === 'rejected') {
        if (ending.status === 'rejected') await dedupe.fail(hash, outcome.reason).catch(() => {});
        throw outcome.reason;
      }
    }
    return value;
  }
};
