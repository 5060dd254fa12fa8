'use strict';

// A client of a server, as the binding uses it. Known by behaviour: `execute({ sql, args })` and `batch(statements, mode)`
// answer promises of what has `rows`, and `rowsAffected`. All else that clients do differently is evened out here: how values
// look, and how a client tells what went wrong. What is like Cloudflare's D1 has `prepare` and `batch`.

const COLUMNS = Array.from({ length: 32 }, (_, i) => `c${i}`);

/** Nothing was sent: there was nobody to send it to. */
const UNSENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);
/** What a client says when it has lost its server, or when that could not be asked. */
const LOST = new Set([
  'HRANA_WEBSOCKET_ERROR',
  'HRANA_CLOSED_ERROR',
  'STREAM_EXPIRED',
  'EPIPE',
  'ECONNRESET',
  'ECONNABORTED',
  'ETIMEDOUT',
]);
/** What a proxy, or a server that begins or ends, answers. */
const LOST_STATUS = new Set([408, 429, 500, 502, 503, 504]);

/** @param {any} error @returns an error, its causes, and what it stands for */
function* within(error, depth = 0) {
  if (typeof error !== 'object' || error === null || depth > 5) return;
  yield error;
  if (Array.isArray(error.errors)) for (const one of error.errors) yield* within(one, depth + 1);
  yield* within(error.cause, depth + 1);
}

/**
 * What the binding is told of a failure.
 * @param {any} error
 * @returns {{ kind: 'busy' | 'unsent' | 'lost' | 'failed', code?: string, message: string, index?: number }}
 */
function describeFailure(error) {
  const all = [...within(error)];
  const code = typeof error?.code === 'string' ? error.code : undefined;
  let message = String(error?.message ?? error);
  // The client writes its code before what the server said, once for each error that it has made of another.
  while (code !== undefined && message.startsWith(`${code}: `)) {
    message = message.slice(code.length + 2);
  }
  const extended = typeof error?.extendedCode === 'string' ? error.extendedCode : code;
  const failure = {
    code: extended === 'SQLITE_UNKNOWN' ? 'SQLITE_ERROR' : extended,
    message,
    index: typeof error?.statementIndex === 'number' ? error.statementIndex : undefined,
  };
  const isBusy =
    code?.startsWith('SQLITE_BUSY') || /database (table )?is locked|SQLITE_BUSY/.test(message);
  if (isBusy) return { ...failure, kind: 'busy', code: code ?? 'SQLITE_BUSY' };
  if (code?.startsWith('SQLITE_')) return { ...failure, kind: 'failed' };
  const has = (/** @type {Set<string>} */ codes) =>
    all.some((one) => typeof one.code === 'string' && codes.has(one.code));
  const reason = all.at(-1)?.message || message;
  if (has(UNSENT) && !has(LOST)) return { kind: 'unsent', message: reason };
  const status = all.find((one) => typeof one.status === 'number')?.status;
  const isLost =
    has(LOST) ||
    LOST_STATUS.has(status) ||
    all.some((one) => String(one.code).startsWith('UND_ERR_')) ||
    /fetch failed|socket hang up|terminated|network/i.test(message);
  return isLost ? { kind: 'lost', message: reason } : { ...failure, kind: 'failed' };
}

/** A value as the binding reads it. @param {any} value */
function received(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  // D1's.
  if (Array.isArray(value)) return Uint8Array.from(value);
  return value;
}

/** @param {any} rows @param {number} count  of columns @returns {any[][]} */
function listed(rows, count) {
  if (!Array.isArray(rows) || count === 0) return [];
  return rows.map((row) => COLUMNS.slice(0, count).map((name) => received(row?.[name])));
}

/** An integer that is sent as one: a client may take a number for a double. @param {any} value */
const integer = (value) => (Number.isSafeInteger(value) ? BigInt(value) : value);

/**
 * @typedef {{ sql: string, args: any[] }} Statement
 * @typedef {(statements: Statement[], writes: boolean) => PromiseLike<any>} Send  answers what each statement has come to
 */

/** @param {any} client @returns {Send} */
function sender(client) {
  if (typeof client.execute === 'function') {
    return async (statements, writes) => {
      const prepared = statements.map(({ sql, args }) => ({ sql, args: args.map(integer) }));
      const [first, ...more] = prepared;
      if (more.length === 0) return [await client.execute(first)];
      return client.batch(prepared, writes ? 'write' : 'read');
    };
  }
  return (statements) =>
    client.batch(
      statements.map(({ sql, args }) => {
        const statement = client.prepare(sql);
        return args.length === 0 ? statement : statement.bind(...args);
      }),
    );
}

/**
 * What is known of clocks, by client: all stores on one are to go on together, also one that is made after others have ended.
 * @typedef {object} Clocks
 * @property {number} system  how far the system's was ahead of `Date`'s, which may be faked, when the first store was made
 * @property {number | undefined} server  how far the server's is ahead of the system's: the binding sets it
 * @type {WeakMap<object, Clocks>}
 */
const clocksOf = new WeakMap();

/** @param {object} client @param {number} system  its time @returns {Clocks} */
function clocks(client, system) {
  const difference = Math.round(system - Date.now());
  // They are read one after the other.
  const first = { system: Math.abs(difference) <= 5 ? 0 : difference, server: undefined };
  const known = clocksOf.get(client) ?? first;
  clocksOf.set(client, known);
  return known;
}

/**
 * @param {any} client
 * @param {(number: number, ticket: number, failure: unknown, answers: unknown) => void} settle  the binding's
 * @param {number} system  the time by the system's clock
 */
module.exports = function remoteDriver(client, settle, system) {
  const send = sender(client);

  /** @param {any} answer @param {number} columns */
  function read(answer, columns) {
    const rows = answer?.rows ?? answer?.results;
    if (!Array.isArray(rows)) {
      throw new TypeError(
        'database must be a client whose execute() and batch() answer promises of { rows, rowsAffected }',
      );
    }
    const changes = Number(answer.rowsAffected ?? answer.meta?.changes ?? 0);
    return { rows: listed(rows, columns), changes };
  }

  /**
   * Sends statements, and tells the binding what has come of them.
   * @param {number} number  the connection's
   * @param {number} ticket  the request's
   * @param {boolean} writes
   * @param {string[]} texts
   * @param {any[][]} values  of each
   * @param {number[]} columns  how many each answers
   */
  async function run(number, ticket, writes, texts, values, columns) {
    let answers;
    try {
      const statements = texts.map((sql, index) => ({ sql, args: values[index] }));
      const answered = await send(statements, writes);
      answers = texts.map((_, index) => read(answered?.[index], columns[index]));
    } catch (error) {
      settle(number, ticket, describeFailure(error), undefined);
      return;
    }
    settle(number, ticket, undefined, answers);
  }

  return { clocks: clocks(client, system), run };
};
