'use strict';

// The configuration of limits by resource, live: what is in the given `Map` and objects counts when a call is made, as
// in 0.2.0. Native code checks it, and sets both members when a store is made.

/** @typedef {{ limit: number, windowMs: number }} Config */

module.exports = class Limits {
  /** The option `resourceConfigs`. @type {Map<string, Config> | undefined} */
  map = undefined;
  /** The option `defaultConfig`, or what counts without it. @type {Config | undefined} */
  config = undefined;

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
