'use strict';

// What a program can see of a store's calls: messages on channels of `node:diagnostics_channel`. A call that is observed has a
// note, in which native code says what becomes of it. So has every call of a store that answers, where it fails, what lets its
// caller go on. Other calls have none, and cost nothing more than the question whether they are observed.

const ANSWERS = require('./answers.js');

// See `binding.js`.
const { channel } =
  process.getBuiltinModule?.('node:diagnostics_channel') ?? require('node:diagnostics_channel');

/** The channels, by the classes' names. */
const CHANNELS = {
  SQLiteCacheStore: channel('comic-vine:sqlite-store:cache'),
  SQLiteDedupeStore: channel('comic-vine:sqlite-store:dedupe'),
  SQLiteRateLimitStore: channel('comic-vine:sqlite-store:rate-limit'),
  SqliteAdaptiveRateLimitStore: channel('comic-vine:sqlite-store:rate-limit'),
};

/**
 * What native code says of a call.
 * @typedef {object} Note
 * @property {string} [type]  of the message; none, if there is nothing to tell
 * @property {string} [result]  more about that
 * @property {string[]} [evicted]  the entries that had to go for it
 */

/** What messages of a type have beside what all have. @type {Record<string, (note: Note, args: any[]) => object>} */
const MEMBERS = {
  miss: ({ result }) => (result === undefined ? {} : { expired: true }),
  wait: ({ result }) => ({ result }),
  allow: (_, [, priority]) => ({ priority }),
  deny: (_, [, priority]) => ({ priority }),
  cooldown: (_, [, until]) => ({ until }),
};

/**
 * The messages of a call that has come to its end.
 * @param {Note} note @param {any[]} args  of the call
 * @param {{ store: object, method: string, durationMs: number }} call
 * @param {object} [failure]  what a message about one has
 */
function messages(note, args, call, failure) {
  const { type, evicted = [] } = note;
  const key = typeof args[0] === 'string' ? args[0] : undefined;
  const told =
    type === undefined ? [] : [{ type, key, ...call, ...MEMBERS[type]?.(note, args), ...failure }];
  return told.concat(evicted.map((gone) => ({ type: 'evict', key: gone, ...call })));
}

/**
 * What tells of the calls on the stores of a class.
 * @typedef {object} Observer
 * @property {import('node:diagnostics_channel').Channel} channel
 * @property {boolean} ignores  whether any store of the class ignores errors
 * @property {(method: string, run: import('./binding.js').Native, wrap: Wrap) => import('./methods.js').Observe} observe
 *   makes what observes the calls of a method
 *
 * @typedef {(run: import('./binding.js').Native, observe?: undefined, note?: Note) => (this: any, ...args: any[]) => any} Wrap
 */

/**
 * @param {keyof typeof CHANNELS} name  of the class
 * @param {(receiver: any) => import('./limits.js') | undefined} stateOf
 * @returns {Observer}
 */
function observerOf(name, stateOf) {
  const { [name]: observers } = CHANNELS;

  /** @type {Observer['observe']} */
  function observe(method, run, wrap) {
    const { [method]: answer } = /** @type {Record<string, any>} */ (ANSWERS);

    return async (receiver, args) => {
      const state = stateOf(receiver);
      /** @type {Note} */
      const note = {};
      const started = performance.now();
      /** @param {object} [failure] */
      const tell = (failure) => {
        if (!observers.hasSubscribers) return;
        const call = { store: receiver, method, durationMs: performance.now() - started };
        for (const message of messages(note, args, call, failure)) observers.publish(message);
      };
      try {
        const refusal = state?.opening?.refusal(receiver);
        if (refusal) {
          note.type = 'error';
          throw refusal.error;
        }
        /** @type {import('./binding.js').Native} */
        const noted = (store, now, ...given) => {
          given.length = 6;
          return run(store, now, ...given, note);
        };
        const value = await wrap(noted, undefined, note).apply(receiver, args);
        tell();
        return value;
      } catch (error) {
        const isFailure = note.type === 'error';
        const ignored = isFailure && state?.ignoresErrors === true && answer !== undefined;
        tell(isFailure ? { error, ignored } : undefined);
        if (ignored) return answer(state, args);
        throw error;
      }
    };
  }

  return { channel: observers, ignores: false, observe };
}

module.exports = { observerOf };
