'use strict';

// What a store's object keeps in JavaScript. Of a limiter, the configuration of limits by resource, live: what is in the given
// `Map` and objects counts when a call is made, as in 0.2.0. Native code checks it, and sets its members when a store is made.

/** @typedef {{ limit: number, windowMs: number, minIntervalMs?: number }} Config */

/** The name under which the newer client sets the default. */
const DEFAULT = '__default__';

module.exports = class Limits {
  /** The option `resourceConfigs`. @type {Map<string, Config> | undefined} */
  map = undefined;
  /** The option `defaultConfig`, or what counts without it. @type {Config | undefined} */
  config = undefined;
  /** The option `bookWaits`. @type {boolean | undefined} */
  booksWaits = undefined;
  /** The option `onError`. @type {boolean | undefined} */
  ignoresErrors = undefined;
  /** Whether it was the database that refused to be opened. @type {boolean | undefined} */
  isBroken = undefined;
  /** How it is opened, as long as it could not be. @type {import('./opening.js') | undefined} */
  opening = undefined;
  /** What JavaScript counts. @type {Record<string, number> | undefined} */
  counts = undefined;
  /** Who asks, where waits are booked. @type {import('./tickets.js') | undefined} */
  tickets = undefined;
  /** Who waits for a slot, once somebody has. @type {import('./line.js') | undefined} */
  line = undefined;

  /** @param {string} name */
  count(name) {
    this.counts ??= {};
    this.counts[name] = (this.counts[name] ?? 0) + 1;
  }

  /** @param {string} resource @returns its configuration */
  of(resource) {
    return this.map?.get(resource) || this.config;
  }

  /**
   * Calls a native function on a resource. It is told the limit of a window alone; where there is more, or less, it reads the
   * whole configuration.
   * @param {import('./binding.js').Native} run @param {unknown} store @param {number} now
   * @param {string} resource @param {unknown} priority @param {unknown} [caller] @param {unknown} [note]
   */
  call(run, store, now, resource, priority, caller, note) {
    const config = this.of(resource);
    const limit = config?.minIntervalMs === undefined ? config?.limit : undefined;
    const windowMs = config?.windowMs;
    if (note === undefined) {
      return run(store, now, resource, priority, limit, windowMs, config, caller);
    }
    return run(store, now, resource, priority, limit, windowMs, config, caller, note);
  }

  /** @returns the default, and the resources with a configuration of their own, each followed by that */
  all() {
    /** @type {any[]} */
    const list = [this.config];
    this.map?.forEach((config, resource) => {
      if (config) list.push(resource, config);
    });
    return list;
  }

  /** @param {string} resource @param {Config} config */
  set(resource, config) {
    if (resource === DEFAULT) {
      this.config = config;
      return;
    }
    this.map ??= new Map();
    this.map.set(resource, config);
  }
};
