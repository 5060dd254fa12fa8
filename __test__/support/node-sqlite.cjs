'use strict';
// What the suites ask of better-sqlite3, by the SQLite in Node 22.16 and newer: for platforms on which better-sqlite3 can neither be
// compiled nor downloaded. `scripts/platforms.sh` puts it in that package's place.

const { DatabaseSync } = /** @type {any} */ (process).getBuiltinModule('node:sqlite');

const SQLITE_BUSY = 5;

/** better-sqlite3 answers a blob as a Buffer. @param {Record<string, unknown>} row */
const withBuffers = (row) =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value) : value,
    ]),
  );

/** better-sqlite3 names a lock that is taken. @template T @param {() => T} work @returns {T} */
function named(work) {
  try {
    return work();
  } catch (/** @type {any} */ error) {
    if ((error.errcode & 0xff) === SQLITE_BUSY) error.code = 'SQLITE_BUSY';
    throw error;
  }
}

class Statement {
  #statement;
  /** What is answered of a row. @type {(row: Record<string, unknown>) => unknown} */
  #answer = (row) => row;

  /** @param {any} statement */
  constructor(statement) {
    this.#statement = statement;
  }

  raw() {
    this.#answer = Object.values;
    return this;
  }

  pluck() {
    this.#answer = (row) => Object.values(row)[0];
    return this;
  }

  /** @param {any[]} parameters */
  run(...parameters) {
    return named(() => this.#statement.run(...parameters));
  }

  /** @param {any[]} parameters */
  get(...parameters) {
    const row = named(() => this.#statement.get(...parameters));
    return row && this.#answer(withBuffers(row));
  }

  /** @param {any[]} parameters */
  all(...parameters) {
    /** @type {any[]} */
    const rows = named(() => this.#statement.all(...parameters));
    return rows.map((row) => this.#answer(withBuffers(row)));
  }
}

module.exports = class Database {
  #database;

  /** @param {string} path @param {{ readonly?: boolean, timeout?: number }} [options] */
  constructor(path, { readonly = false, timeout = 5_000 } = {}) {
    this.#database = new DatabaseSync(path, { readOnly: readonly, timeout });
  }

  /** @param {string} sql */
  prepare(sql) {
    return new Statement(this.#database.prepare(sql));
  }

  /** @param {string} sql */
  exec(sql) {
    named(() => this.#database.exec(sql));
  }

  /** @param {string} sql @param {{ simple?: boolean }} [options] */
  pragma(sql, { simple = false } = {}) {
    const statement = this.prepare(`PRAGMA ${sql}`);
    return simple ? statement.pluck().get() : statement.all();
  }

  close() {
    this.#database.close();
  }
};
