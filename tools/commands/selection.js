'use strict';

// Which entries of the cache a command is about, as it is written.

const { UsageError } = require('../command.js');

/** @type {Record<string, import('../command.js').Option>} */
const OPTIONS = {
  prefix: { type: 'text', value: 'TEXT', does: 'those whose keys begin so' },
  tag: { type: 'text', value: 'TAG', does: 'those that have the tag' },
  expired: { type: 'flag', does: 'those that have expired' },
};

/** @param {string[]} names  of what was given @returns {string} */
function listed(names) {
  return names.length > 1
    ? `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`
    : (names[0] ?? '');
}

/**
 * Exactly one of a key and these options.
 * @param {string | undefined} key @param {Record<string, any>} options
 * @returns {import('../inspection/entries.js').Selection}
 */
function one(key, { prefix, tag, expired, all }) {
  const given = Object.entries({ key, prefix, tag, expired, all }).filter(
    ([, value]) => value !== undefined,
  );
  const names = ['KEY', '--prefix', '--tag', '--expired', '--all'];
  if (given.length !== 1) {
    const found = given.map(([name]) => (name === 'key' ? 'KEY' : `--${name}`));
    const came = given.length === 0 ? 'none was given' : `${found.join(' and ')} were given`;
    throw new UsageError(`purge needs exactly one of ${listed(names)}, and ${came}`);
  }
  for (const [name, value] of given)
    if (value === '')
      throw new UsageError(`--${name} must not be empty: --all removes all entries`);
  return Object.fromEntries(given);
}

module.exports = { OPTIONS, listed, one };
