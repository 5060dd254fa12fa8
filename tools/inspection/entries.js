'use strict';

// The entries of the cache: which there are, what one holds, and how many a selection has.

const { LABEL_BYTES, decode, label } = require('./values.js');

/**
 * Which entries: those with all of these.
 * @typedef {object} Selection
 * @property {string} [key]  this one
 * @property {string} [prefix]  whose keys begin so
 * @property {string} [tag]  that have this tag
 * @property {string} [text]  with this text in their key or value, in whatever case
 * @property {boolean} [expired]  that have expired; `false`: that have not
 * @property {boolean} [all]  whichever: says that nothing else is meant to be given
 */

/** What entries are sorted by. */
const ORDERS = {
  key: 'c.hash',
  age: 'c.created_at',
  size: 'length(c.value)',
  expiry: 'CASE WHEN c.expires_at = 0 THEN 9e999 ELSE c.expires_at END',
  use: 'coalesce((SELECT used_at FROM cache_use u WHERE u.hash = c.hash), c.created_at)',
};

/** @param {Selection} selection @param {number} now @returns {{ where: string, values: (string | number)[] }} */
function condition({ key, prefix, tag, text, expired }, now) {
  const parts = ["typeof(c.hash) = 'text'"];
  /** @type {(string | number)[]} */
  const values = [];
  const add = (/** @type {string} */ part, /** @type {(string | number)[]} */ ...more) => {
    parts.push(part);
    values.push(...more);
  };
  if (key !== undefined) add('c.hash = ?', key);
  if (prefix) add('c.hash >= ? AND substr(c.hash, 1, length(?)) = ?', prefix, prefix, prefix);
  if (tag !== undefined)
    add('EXISTS (SELECT 1 FROM cache_tags t WHERE t.tag = ? AND t.hash = c.hash)', tag);
  if (text) {
    const lower = text.toLowerCase();
    add('(instr(lower(c.hash), ?) OR instr(lower(CAST(c.value AS TEXT)), ?))', lower, lower);
  }
  if (expired === true) add('c.expires_at <> 0 AND c.expires_at <= ?', now);
  if (expired === false) add('(c.expires_at = 0 OR c.expires_at > ?)', now);
  return { where: parts.join(' AND '), values };
}

/**
 * How many entries a selection has.
 * @param {import('./file.js').File} file @param {Selection} selection @param {number} now  in ms
 * @returns {number}
 */
function count(file, selection, now) {
  const { where, values } = condition(selection, now);
  return file.number(`SELECT COUNT(*) FROM cache c WHERE ${where}`, ...values);
}

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} label  what the value is about, in at most 60 characters
 * @property {number} bytes  of the value, as it is stored
 * @property {number} createdAt  in ms
 * @property {number | null} expiresAt  in ms; `null`: never
 * @property {boolean} isExpired
 * @property {string[]} tags
 */

/** @param {import('./file.js').File} file @param {any} row @param {number} now @returns {Entry} */
function entryOf(file, row, now) {
  const { hash, bytes, beginning, created_at: createdAt, expires_at: expires } = row;
  const expiresAt =
    typeof expires === 'number' && expires !== 0 && Number.isFinite(expires) ? expires : null;
  const tags = file.all('SELECT tag FROM cache_tags WHERE hash = ? ORDER BY tag', hash);
  return {
    key: hash,
    label: label(beginning, bytes),
    bytes,
    createdAt,
    expiresAt,
    isExpired: expiresAt !== null && expiresAt <= now,
    tags: tags.map(({ tag }) => String(tag)),
  };
}

const COLUMNS = `c.hash, c.expires_at, c.created_at, coalesce(length(CAST(c.value AS BLOB)), 0) AS bytes,
  substr(c.value, 1, ${LABEL_BYTES}) AS beginning`;

/**
 * A page of a selection's entries.
 * @param {import('./file.js').File} file
 * @param {Selection & { sort?: keyof typeof ORDERS, descending?: boolean, limit: number, offset?: number, now: number }} options
 * @returns {{ total: number, entries: Entry[] }}
 */
function entries(file, { sort = 'key', descending = false, limit, offset = 0, now, ...selection }) {
  const { where, values } = condition(selection, now);
  const direction = descending ? 'DESC' : 'ASC';
  return file.snapshot(() => ({
    total: count(file, selection, now),
    entries: file
      .all(
        `SELECT ${COLUMNS} FROM cache c WHERE ${where}
        ORDER BY ${ORDERS[sort]} ${direction}, c.hash LIMIT ? OFFSET ?`,
        ...values,
        limit,
        offset,
      )
      .map((row) => entryOf(file, row, now)),
  }));
}

/**
 * One entry with its value; `undefined` if it is not there.
 * @param {import('./file.js').File} file @param {string} key @param {{ now: number }} options
 * @returns {(Entry & { text: string, problem: string | null }) | undefined}
 */
function entry(file, key, { now }) {
  return file.snapshot(() => {
    const row = file.get(`SELECT ${COLUMNS}, c.value FROM cache c WHERE c.hash = ?`, key);
    return row && { ...entryOf(file, row, now), ...decode(row.value) };
  });
}

/**
 * The tags that most entries have.
 * @param {import('./file.js').File} file @param {{ limit: number }} options
 * @returns {{ tag: string, entries: number }[]}
 */
function tags(file, { limit }) {
  const sql = `SELECT t.tag AS tag, COUNT(*) AS entries FROM cache_tags t JOIN cache c ON c.hash = t.hash
    GROUP BY t.tag ORDER BY entries DESC, t.tag LIMIT ?`;
  return /** @type {any} */ (file.all(sql, limit));
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Where the parts begin that entries are counted in: sizes in bytes, ages in ms. */
const SIZES = [0, ...Array.from({ length: 24 }, (_, power) => 64 * 2 ** power)];
const AGES = [0, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY];

/**
 * How many entries there are in each part: from one of the numbers to the next.
 * @param {import('./file.js').File} file @param {number[]} starts  ascending, from 0
 * @param {string} of  SQL @param {number[]} values  its parameters
 */
function histogram(file, starts, of, ...values) {
  const rows = file.all(
    `SELECT (SELECT MAX(value) FROM json_each(?) WHERE value <= of) AS start, COUNT(*) AS entries, SUM(bytes) AS bytes
    FROM (SELECT ${of} AS of, length(value) AS bytes FROM cache) GROUP BY start ORDER BY start`,
    JSON.stringify(starts),
    ...values,
  );
  return rows.map(({ start, entries, bytes }) => ({
    from: Number(start),
    /** `null`: whatever is more. */
    to: starts[starts.indexOf(start) + 1] ?? null,
    entries: Number(entries),
    bytes: Number(bytes),
  }));
}

/**
 * How many entries there are of each size and age.
 * @param {import('./file.js').File} file @param {{ now: number }} options
 */
function sizes(file, { now }) {
  return file.snapshot(() => ({
    bySize: histogram(file, SIZES, 'length(value)'),
    byAge: histogram(file, AGES, 'max(0, ? - created_at)', now),
  }));
}

module.exports = { ORDERS, count, entries, entry, sizes, tags };
