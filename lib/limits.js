'use strict';

// The configuration of limits by resource, live: what is in the given `Map` and objects counts when a call is made, as
// in 0.2.0. Native code checks it, and sets its members when a store is made.

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
  /** Who asks, where waits are booked. @type {import('./tickets.js') | undefined} */
  tickets = undefined;
  /** Who waits for a slot, once somebody has. @type {import('./line.js') | undefined} */
  line = undefined;

  /** @param {string} resource @returns its configuration */
  of(resource) {
    return this.map?.get(resource) || this.config;
  }

  /**
   * Calls a native function on a resource. It is told the limit of a window alone; where there is more, or less, it reads the
   * whole configuration.
   * @param {import('./binding.js').Native} run @param {unknown} store @param {number} now
   * @param {string} resource @param {unknown} priority @param {unknown} [caller]
   */
  call(run, store, now, resource, priority, caller) {
    const config = this.of(resource);
    const limit = config?.minIntervalMs === undefined ? config?.limit : undefined;
    return run(store, now, resource, priority, limit, config?.windowMs, config, caller);
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
