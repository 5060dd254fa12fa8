'use strict';

// A connection that the application opened, as the binding uses it. Known by behaviour, not by class: `prepare(sql)`
// answers an object with `run`, `get` and `all` that answer at once, and `exec(sql)` runs statements. All else that
// drivers do differently is evened out here: how parameters are passed, what stands for no row, how rows look, and how
// a driver tells that the connection is closed or in a transaction.

const COLUMNS = Array.from({ length: 32 }, (_, i) => `c${i}`);
const SAVEPOINT = 'sqlite_store';

/** @param {any} value */
const isObject = (value) =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

/**
 * A row as the list of its columns. It is one already where the application asked its driver for that.
 * @param {any} row
 * @param {number} columns
 * @returns {any[]}
 */
function list(row, columns) {
  if (Array.isArray(row)) return row;
  const values = [];
  for (let i = 0; i < columns; i++) values.push(row[COLUMNS[i]]);
  return values;
}

/**
 * A statement, as the binding has it known.
 * @typedef {object} Statement
 * @property {number} size  how many values it is given
 * @property {string | undefined} laterTable  a table that may not be there yet
 * @property {any} nothing  what it answers where that is not there
 * @property {() => (values: any[]) => any} prepare
 * @property {(values: any[]) => any} [run]  what `prepare` has made, if it has been asked
 */

/**
 * @param {any} connection
 * @returns what the binding calls; if this is no connection whose statements answer at once, whether they answer promises
 */
module.exports = function driver(connection) {
  /** The statements, by number. @type {Statement[]} */
  const statements = [];

  // As one array: better-sqlite3 and what follows it, and the one form in which libsql takes a lone `Buffer`. Or one by
  // one: node:sqlite, which takes an array for names.
  let inArray = true;
  /** @param {any} statement @param {any[]} values */
  const get = (statement, values) => (inArray ? statement.get(values) : statement.get(...values));
  /** @param {any} statement @param {any[]} values */
  const all = (statement, values) => (inArray ? statement.all(values) : statement.all(...values));
  /** @param {any} statement @param {any[]} values */
  const run = (statement, values) => (inArray ? statement.run(values) : statement.run(...values));

  const PROBE = 'SELECT ? AS c0, ? AS c1';
  /** @param {any} row */
  const isProbed = (row) => isObject(row) && list(row, 2).join() === 'one,two';

  /** Whether a statement answers promises. */
  let answersLater = false;
  /** Whether an answer comes later. Nobody waits for it. @param {any} answer */
  function isPromise(answer) {
    if (!isObject(answer) || typeof answer.then !== 'function') return false;
    answersLater = true;
    answer.then(undefined, () => {});
    return true;
  }

  function understands() {
    const statement = connection.prepare(PROBE);
    if (!isObject(statement) || isPromise(statement)) return false;
    if (!['run', 'get', 'all'].every((name) => typeof statement[name] === 'function')) return false;
    return [true, false].some((form) => {
      inArray = form;
      try {
        const row = get(statement, ['one', 'two']);
        // Stand-ins answer nothing.
        return !isPromise(row) && (!isObject(row) || isProbed(row));
      } catch {
        return false;
      }
    });
  }
  if (!understands()) return answersLater;

  /** Whether `raw(true)` has a statement answer rows as lists, which is quicker. In Bun, `raw` is something else. */
  function hasLists() {
    try {
      const statement = connection.prepare(PROBE);
      if (typeof statement.raw !== 'function' || statement.raw(true) !== statement) return false;
      const row = get(statement, ['one', 'two']);
      return Array.isArray(row) && isProbed(row);
    } catch {
      return false;
    }
  }
  const inLists = hasLists();

  let probe = connection.prepare(PROBE);
  /**
   * Whether the connection is not the one that the statements were prepared on: the application has closed and opened
   * it again, as node:sqlite allows, or has replaced what lies behind it.
   */
  function isReopened() {
    try {
      get(probe, ['one', 'two']);
      return false;
    } catch {
      try {
        probe = connection.prepare(PROBE);
        get(probe, ['one', 'two']);
        return true;
      } catch {
        return false;
      }
    }
  }

  /** Whether a statement was refused since a table is not there. @param {string | undefined} table @param {any} error */
  function lacks(table, error) {
    if (table === undefined) return false;
    const message = String(error?.message ?? error);
    return [`no such table: ${table}`, `no such table: main.${table}`].some((text) =>
      message.includes(text),
    );
  }

  /** Runs a statement. @param {number} number @param {any[]} values */
  function perform(number, values) {
    const statement = statements[number];
    try {
      statement.run ??= statement.prepare();
      return statement.run(values);
    } catch (error) {
      if (lacks(statement.laterTable, error)) return statement.nothing;
      if (!isReopened()) throw error;
      statements.forEach((other) => {
        other.run = undefined;
      });
      statement.run = statement.prepare();
      return statement.run(values);
    }
  }

  /** Whether the application holds a transaction open; `undefined` if the driver does not say. */
  function inTransaction() {
    if (typeof connection.inTransaction === 'boolean') return connection.inTransaction;
    if (typeof connection.isTransaction === 'boolean') return connection.isTransaction;
    return undefined;
  }

  /**
   * Throws what the driver says if the application has closed the connection. Some drivers' statements go on working
   * then, and some abort the process when asked anything else.
   */
  function check() {
    let isOpen = connection.open;
    if (isOpen === true) return;
    if (typeof isOpen !== 'boolean') isOpen = connection.isOpen;
    if (isOpen === true) return;
    if (isOpen === false) {
      connection.prepare('SELECT 1');
      throw new Error('the connection is closed');
    }
    // A driver without either says so here.
    inTransaction();
  }

  return {
    /** Whether the application holds a transaction open, as far as the driver says. */
    isInTransaction() {
      try {
        check();
        return inTransaction() === true;
      } catch {
        return false;
      }
    },

    /** @param {string} sql */
    exec(sql) {
      connection.exec(sql);
    },

    /**
     * The rows of a query without parameters.
     * @param {string} sql
     * @param {number} columns
     */
    query(sql, columns) {
      check();
      const rows = all(connection.prepare(sql), []);
      return Array.isArray(rows) ? rows.map((row) => list(row, columns)) : [];
    },

    /**
     * Has a statement known by a number. It is prepared when it is first run.
     * @param {number} number
     * @param {string} sql
     * @param {number} columns how many columns its rows have; 0 if it answers none
     * @param {boolean} hasManyRows
     * @param {number} size how many values it is given
     * @param {number[]} order which of them stands for each `?`
     * @param {number} blob which of them is text to be bound as a BLOB; -1 if none is
     * @param {string | undefined} laterTable a table that may not be there yet: the statement finds nothing then
     */
    prepare(number, sql, columns, hasManyRows, size, order, blob, laterTable) {
      const inOrder = order.length === size && order.every((value, index) => value === index);
      /** @param {any[]} values */
      const parameters = (values) => {
        if (blob >= 0) values[blob] = Buffer.from(values[blob]);
        return inOrder ? values : order.map((index) => values[index]);
      };
      const prepare = () => {
        const statement = connection.prepare(sql);
        if (inLists && columns > 0) statement.raw(true);
        if (hasManyRows) {
          return (/** @type {any[]} */ values) => {
            const rows = all(statement, parameters(values));
            return Array.isArray(rows) ? rows.map((row) => list(row, columns)) : [];
          };
        }
        if (columns > 0) {
          return (/** @type {any[]} */ values) => {
            const row = get(statement, parameters(values));
            return isObject(row) ? list(row, columns) : undefined;
          };
        }
        return (/** @type {any[]} */ values) =>
          Number(run(statement, parameters(values))?.changes ?? 0);
      };
      const none = columns > 0 ? undefined : 0;
      statements[number] = { size, laterTable, nothing: hasManyRows ? [] : none, prepare };
    },

    /**
     * Runs one statement on an open connection; answers how many rows it changed, its row, or its rows.
     * @param {number} number
     * @param {...any} values
     */
    runOne(number, ...values) {
      check();
      return perform(number, values);
    },

    /**
     * Runs statements in order; answers as much for each.
     * @param {...any} numbersAndValues each statement's number, and its values
     */
    runAll(...numbersAndValues) {
      const answers = [];
      for (let at = 0; at < numbersAndValues.length; ) {
        const number = numbersAndValues[at];
        const { size } = statements[number];
        answers.push(perform(number, numbersAndValues.slice(at + 1, at + 1 + size)));
        at += 1 + size;
      }
      return answers;
    },

    /**
     * Begins a transaction or, within the application's, a savepoint. Answers whether it is a transaction.
     */
    begin() {
      check();
      const isOpen = inTransaction();
      if (isOpen !== true) {
        try {
          connection.exec('BEGIN IMMEDIATE');
          return true;
        } catch (error) {
          // A driver that does not say whether a transaction is open.
          if (isOpen === false || !String(error).includes('within a transaction')) throw error;
        }
      }
      connection.exec(`SAVEPOINT ${SAVEPOINT}`);
      return false;
    },

    /**
     * Begins a transaction that reads. Answers whether it did: not within the application's, nor while the application
     * steps through rows, where some drivers refuse.
     */
    beginRead() {
      check();
      if (inTransaction() === true) return false;
      try {
        connection.exec('BEGIN');
        return true;
      } catch {
        return false;
      }
    },

    /**
     * Ends what `begin` or `beginRead` began: keeps what was done since, or undoes it.
     * @param {boolean} isTransaction what `begin` answered
     * @param {boolean} keep
     */
    end(isTransaction, keep) {
      if (isTransaction) connection.exec(keep ? 'COMMIT' : 'ROLLBACK');
      else {
        if (!keep) connection.exec(`ROLLBACK TO ${SAVEPOINT}`);
        connection.exec(`RELEASE ${SAVEPOINT}`);
      }
    },
  };
};
