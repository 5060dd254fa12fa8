'use strict';

// A database's file, looked at from outside, beside whoever has it open and without a trace. The process is not to have the
// file open otherwise: no store, and not in another thread.

const { Inspection } = require('../../lib/binding.js');

/** How often one state is tried to be read of a file that somebody else opens and closes meanwhile. */
const ATTEMPTS = 10;

/**
 * What a limiter's settings are, as `store_settings` has them: see docs/schema.md.
 * @typedef {{ limit: number, windowMs: number, minIntervalMs?: number, sharedConfig?: object, honourCooldowns?: boolean,
 *   adaptiveConfig?: object }} Settings
 */

/** @param {{ columns: string[], rows: unknown[][] }} answer @returns {Record<string, any>[]} */
function objects({ columns, rows }) {
  return rows.map((row) => Object.fromEntries(row.map((value, index) => [columns[index], value])));
}

class InspectedFile {
  #inspection;
  /** How deep within `snapshot`. */
  #depth = 0;
  /** @type {'shared' | 'alone' | 'copy' | undefined} */
  #access;

  /** @param {string} path */
  constructor(path) {
    this.#inspection = new Inspection(path);
  }

  /** Where the file is: absolute, without links. @returns {string} */
  get path() {
    return this.#inspection.path;
  }

  /**
   * How it was read last: beside processes that may write, without locks since nobody had it open, or from a private copy
   * since a crash has left what would first have to be carried out.
   */
  get access() {
    return this.#access ?? this.snapshot(() => this.#access);
  }

  /**
   * Everything `work` reads is of one state. It may be called more than once.
   * @template T @param {() => T} work @returns {T}
   */
  snapshot(work) {
    if (this.#depth > 0) return work();
    for (let attempt = 1; ; attempt++) {
      this.#access = this.#inspection.begin();
      const outcome = this.#run(work);
      if (this.#inspection.end() || attempt === ATTEMPTS) return outcome();
    }
  }

  /** @template T @param {() => T} work @returns {() => T} what answers, or throws, what it did */
  #run(work) {
    this.#depth++;
    try {
      const result = work();
      return () => result;
    } catch (error) {
      return () => {
        throw error;
      };
    } finally {
      this.#depth--;
    }
  }

  /**
   * Copies it to a file that is not there yet, which has its name once it is complete.
   * @param {string} target @param {(part: number) => void} onProgress  from 0 to 1
   */
  backUp(target, onProgress) {
    this.snapshot(() => this.#inspection.backUp(target, onProgress));
  }

  /** The rows of a query. @param {string} sql @param {import('../../lib/binding.js').Cell[]} parameters @returns {Record<string, any>[]} */
  all(sql, ...parameters) {
    return this.snapshot(() => objects(this.#inspection.query(sql, parameters)));
  }

  /** What a query would answer on an empty database with the tables of all stores. @param {string} sql */
  allExpected(sql) {
    return objects(this.#inspection.queryExpected(sql));
  }

  /** The first of them. @param {string} sql @param {import('../../lib/binding.js').Cell[]} parameters @returns {Record<string, any> | undefined} */
  get(sql, ...parameters) {
    return this.all(sql, ...parameters)[0];
  }

  /** The first number of what a query or pragma answers; 0 where there is none. @param {string} sql @param {import('../../lib/binding.js').Cell[]} parameters */
  number(sql, ...parameters) {
    return Number(Object.values(this.get(sql, ...parameters) ?? {})[0] ?? 0);
  }

  /**
   * What a limiter with these settings would answer, by the stores' own rules.
   * @param {'rate-limit' | 'adaptive'} kind @param {string} resource @param {Settings} settings @param {number} now  in ms
   * @returns {import('../../lib/binding.js').InspectedLimit}
   */
  limit(kind, resource, settings, now) {
    const { limit, windowMs, minIntervalMs, ...others } = settings;
    const options = { ...others, defaultConfig: { limit, windowMs, minIntervalMs } };
    return this.snapshot(() => this.#inspection.limit(kind === 'adaptive', resource, options, now));
  }

  /** Whether the process of a lease's owner lives: `null` where that cannot be told. @param {string} owner */
  isOwnerAlive(owner) {
    return this.#inspection.isOwnerAlive(owner);
  }

  /** What differs once somebody has committed. */
  version() {
    return this.#inspection.version();
  }
}

/**
 * @param {string} path
 * @returns an object that reads the file; nothing is open between its calls
 * @throws an error with a `code`: `ENOENT`, `EACCES`, `EISDIR`, and with the first thing that is read, those of SQLite
 */
function openFile(path) {
  return new InspectedFile(path);
}

/** @typedef {InspectedFile} File */

module.exports = { openFile };
