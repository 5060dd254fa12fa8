'use strict';

// A store with `onError: 'ignore'` whose database cannot be opened. It is there, and answers as one that fails. It tries again
// with its calls, at most once a second. Until then it has a database in memory, in which nothing is stored.

/** How long it is before it tries again. */
const PAUSE_MS = 1_000;

module.exports = class Opening {
  #options;
  #open;
  #replace;
  #limits;
  #error;
  #triedAt = performance.now();

  /**
   * @param {any} options  of the store
   * @param {import('./limits.js')} limits
   * @param {unknown} error  with which it was refused
   * @param {(options: any, limits: import('./limits.js')) => unknown} open
   * @param {(receiver: any, store: unknown) => void} replace  has a native store take the place of the one in memory
   */
  constructor(options, limits, error, open, replace) {
    this.#options = options;
    this.#limits = limits;
    this.#error = error;
    this.#open = open;
    this.#replace = replace;
  }

  /** The store in memory. */
  standIn() {
    return this.#open(
      Object.create(this.#options, { database: { value: ':memory:' } }),
      this.#limits,
    );
  }

  /** @param {any} receiver  the store @returns why a call is refused, unless the database is open now */
  refusal(receiver) {
    const limits = this.#limits;
    if (performance.now() - this.#triedAt >= PAUSE_MS) {
      const { map, config } = limits;
      try {
        this.#replace(receiver, this.#open(this.#options, limits));
        limits.opening = undefined;
        return undefined;
      } catch (error) {
        this.#error = error;
      } finally {
        // Set since, perhaps.
        Object.assign(limits, { map, config });
        this.#triedAt = performance.now();
      }
    }
    limits.count('errors');
    return { error: this.#error };
  }
};
