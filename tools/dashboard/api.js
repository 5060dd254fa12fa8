'use strict';

// What can be asked under /api, and how its parameters are to look. Each is described in docs/tools.md.

const { Refusal } = require('./access.js');

/** A key, tag or prefix of more characters than that is not asked for. */
const LONGEST_TEXT = 4_096;

/** @param {string} message @returns {never} */
function refuse(message) {
  throw new Refusal(400, 'ARGUMENT', message);
}

/** The parameters of one request. */
class Parameters {
  #values;

  /** @param {URLSearchParams} values @param {string[]} known */
  constructor(values, known) {
    this.#values = values;
    for (const name of values.keys()) {
      if (!known.includes(name))
        refuse(`There is no parameter ${JSON.stringify(name.slice(0, 40))}`);
      if (values.getAll(name).length > 1) refuse(`${name} must be given once`);
    }
  }

  /** @param {string} name @returns {string | undefined} */
  text(name) {
    const value = this.#values.get(name);
    if (value !== null && value.length > LONGEST_TEXT) {
      refuse(`${name} must have at most ${LONGEST_TEXT} characters, got ${value.length}`);
    }
    return value ?? undefined;
  }

  /** @param {string} name @returns {string} */
  required(name) {
    return this.text(name) ?? refuse(`${name} must be given`);
  }

  /** @template {number | undefined} D @param {string} name @param {number} least @param {number} most @param {D} otherwise @returns {number | D} */
  integer(name, least, most, otherwise) {
    const value = this.text(name);
    if (value === undefined) return otherwise;
    const number = /^-?\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (number >= least && number <= most) return number;
    return refuse(
      `${name} must be an integer from ${least} to ${most}, got ${JSON.stringify(value.slice(0, 40))}`,
    );
  }

  /** @param {string} name @returns {boolean | undefined} */
  flag(name) {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (value === 'true' || value === 'false') return value === 'true';
    return refuse(`${name} must be true or false, got ${JSON.stringify(value.slice(0, 40))}`);
  }

  /** @param {string} name @param {string[]} choices  the first of which is meant when nothing is said */
  choice(name, choices) {
    const value = this.text(name) ?? choices[0];
    if (choices.includes(value)) return value;
    return refuse(
      `${name} must be one of ${choices.join(', ')}, got ${JSON.stringify(value.slice(0, 40))}`,
    );
  }
}

const LATEST = Number.MAX_SAFE_INTEGER;

/**
 * What can be read, by path: the parameters, and what they come to.
 * @type {Record<string, { parameters: string[], wanted(given: Parameters): unknown }>}
 */
const READS = {
  stats: { parameters: [], wanted: () => null },
  limits: {
    parameters: ['limit', 'windowMs'],
    wanted: (given) => ({
      limit: given.integer('limit', 1, LATEST, undefined),
      windowMs: given.integer('windowMs', 1, LATEST, undefined),
    }),
  },
  timeline: {
    parameters: ['resource', 'since', 'marks', 'parts'],
    wanted: (given) => ({
      resource: given.required('resource'),
      since: given.integer('since', 0, LATEST, 0),
      marks: given.integer('marks', 0, 10_000, 2_000),
      parts: given.integer('parts', 1, 2_000, 360),
    }),
  },
  entries: {
    parameters: ['prefix', 'tag', 'text', 'expired', 'sort', 'descending', 'limit', 'offset'],
    wanted: (given) => ({
      prefix: given.text('prefix'),
      tag: given.text('tag'),
      text: given.text('text'),
      expired: given.flag('expired'),
      sort: given.choice('sort', ['key', 'age', 'size', 'expiry', 'use']),
      descending: given.flag('descending'),
      limit: given.integer('limit', 1, 1_000, 100),
      offset: given.integer('offset', 0, LATEST, 0),
    }),
  },
  entry: { parameters: ['key'], wanted: (given) => ({ key: given.required('key') }) },
  tags: {
    parameters: ['limit'],
    wanted: (given) => ({ limit: given.integer('limit', 1, 10_000, 500) }),
  },
  sizes: { parameters: [], wanted: () => null },
  jobs: { parameters: [], wanted: () => null },
  doctor: { parameters: [], wanted: () => null },
};

/** @param {unknown} value @returns {value is Record<string, unknown>} */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** @param {unknown} selection  what is to be removed: one of `key`, `prefix`, `tag`, `expired` and `all` */
function checkSelection(selection) {
  if (!isObject(selection)) return refuse('selection must be an object');
  const [[name, value] = ['', undefined], ...others] = Object.entries(selection);
  if (others.length > 0 || !['key', 'prefix', 'tag', 'expired', 'all'].includes(name)) {
    refuse('selection must have one of key, prefix, tag, expired and all, and nothing else');
  }
  if (name === 'expired' || name === 'all') {
    if (value !== true) refuse(`selection.${name} must be true`);
  } else if (typeof value !== 'string' || value.length > LONGEST_TEXT) {
    refuse(`selection.${name} must be a string of at most ${LONGEST_TEXT} characters`);
  } else if (name === 'prefix' && value === '') {
    refuse('selection.prefix must not be empty: that would be all');
  }
  return selection;
}

/** @param {string} body @returns {{ selection: Record<string, unknown>, dryRun: boolean }} */
function purgeOf(body) {
  let asked;
  try {
    asked = JSON.parse(body);
  } catch {
    refuse('The body must be JSON');
  }
  if (!isObject(asked)) return refuse('The body must be an object');
  const { selection, dryRun, ...others } = asked;
  if (Object.keys(others).length > 0)
    refuse('The body must have selection and dryRun, and nothing else');
  // Not left out: whoever forgets it is not to lose anything.
  if (typeof dryRun !== 'boolean') return refuse('dryRun must be true or false');
  return { selection: checkSelection(selection), dryRun };
}

/** What went wrong with the file, for people: no path and no code's innards. @type {[RegExp, number, string][]} */
const FAILURES = [
  [/^SQLITE_BUSY|^SQLITE_LOCKED/, 503, 'Another process has the file to itself. Try again.'],
  [/^SQLITE_NOTADB/, 500, 'This file is not a SQLite database.'],
  [/^SQLITE_CORRUPT/, 500, 'The file is damaged. Health says more.'],
  [/^ENOENT|^SQLITE_CANTOPEN/, 503, 'The file is not there, or cannot be opened.'],
  [/^EACCES|^EPERM|^SQLITE_PERM|^SQLITE_AUTH/, 503, 'The file may not be read by this user.'],
  [/^SQLITE_READONLY/, 503, 'The file may not be written by this user.'],
  [/^SQLITE_FULL|^ENOSPC/, 503, 'The disk is full.'],
  [/^TIMEOUT/, 504, 'Reading the file took too long.'],
  [/^BUSY/, 503, 'Too many reads are waiting. Try again.'],
  [/^ENDED|^ABORTED/, 503, 'Reading was ended. Try again.'],
];

/** @param {any} error @returns {InstanceType<typeof Refusal>} */
function told(error) {
  if (error instanceof Refusal) return error;
  const code = String(error?.code ?? '');
  const [, status, message] = FAILURES.find(([pattern]) => pattern.test(code)) ?? [
    undefined,
    500,
    'The file could not be read.',
  ];
  return new Refusal(status, /^[A-Z_]{1,40}$/.test(code) ? code : 'FAILED', message);
}

module.exports = { Parameters, READS, purgeOf, told };
