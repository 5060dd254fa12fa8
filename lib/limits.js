'use strict';

// The configuration of limits by resource, live: what is in the given `Map` and objects counts when a call is made, as
// in 0.2.0. Native code checks it.

/** @typedef {{ limit: number, windowMs: number }} Config */

module.exports = class Limits {
  /**
   * @param {Map<string, Config> | undefined} map  the option `resourceConfigs`
   * @param {Config} config  the option `defaultConfig`, or what counts without it
   */
  constructor(map, config) {
    this.map = map;
    this.config = config;
  }

  /** @param {string} resource @returns its configuration */
  of(resource) {
    return this.map?.get(resource) || this.config;
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
    this.map ??= new Map();
    this.map.set(resource, config);
  }
};
