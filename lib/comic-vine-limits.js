'use strict';

// Comic Vine's own two rules, as options of a limiter: so many requests an hour for each resource, and a second between any two
// ("velocity detection", answered with HTTP 420).

module.exports = function comicVineLimits({
  limit = 200,
  windowMs = 3_600_000,
  minIntervalMs = 1_000,
} = {}) {
  return {
    defaultConfig: { limit, windowMs },
    sharedConfig: { limit: Number.POSITIVE_INFINITY, windowMs: 0, minIntervalMs },
  };
};
