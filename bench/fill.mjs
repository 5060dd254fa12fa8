// Many entries in a cache.

import { make } from './measure.mjs';
import { HOUR_SECONDS, values } from './values.mjs';

/**
 * @param {any} cache
 * @param {number} count
 * @param {keyof typeof values} size
 */
export async function fillMany(cache, count, size) {
  await make(count, Math.min(count, 100), (i) => cache.set(`key-${i}`, values[size], HOUR_SECONDS));
}
