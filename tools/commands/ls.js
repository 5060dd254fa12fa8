'use strict';

const { UsageError, nearest } = require('../command.js');
const { entries, openFile } = require('../inspection/index.js');
const { ORDERS } = require('../inspection/entries.js');
const { table } = require('../terminal/screen.js');
const { bytes, span, things } = require('../terminal/words.js');
const { OPTIONS, listed } = require('./selection.js');

/** @param {import('../inspection/entries.js').Entry} entry @param {number} now */
function expires({ expiresAt, isExpired }, now) {
  if (expiresAt === null) return 'never';
  return isExpired ? `${span(now - expiresAt)} ago` : `in ${span(expiresAt - now)}`;
}

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'ls',
  does: 'lists entries of the cache',
  takes: [],
  options: {
    ...OPTIONS,
    text: { type: 'text', value: 'TEXT', does: 'those with the text in their key or value' },
    sort: {
      type: 'text',
      value: 'ORDER',
      does: `by ${listed(Object.keys(ORDERS))}: key, if it is not said`,
    },
    reverse: { type: 'flag', does: 'the other way round' },
    limit: { type: 'number', value: 'N', does: 'at most so many: 50, if it is not said' },
    skip: { type: 'number', value: 'N', does: 'without the first so many' },
  },
  examples: [
    'ls cache.db',
    'ls cache.db --sort size --reverse --limit 10',
    'ls cache.db --text spider-man',
    'ls cache.db --tag volumes --expired',
  ],
  more: `Keys are mostly hashes. The label is read from the value: a name, a title, an address, or an error of the API.
Options together mean entries that all of them apply to.`,
  run({ path, options, screen, now }) {
    const { sort = 'key', reverse = false, limit = 50, skip = 0, ...selection } = options;
    if (!Object.hasOwn(ORDERS, sort)) {
      const orders = Object.keys(ORDERS);
      throw new UsageError(
        `--sort must be ${listed(orders)}, and is '${sort}'.${nearest(sort, orders)}`,
      );
    }
    const given = { ...selection, sort, descending: reverse, limit, offset: skip, now };
    const told = entries(openFile(path), given);
    const lines = table(
      screen,
      [
        { name: 'key', of: (entry) => entry.key, givesWay: true },
        { name: 'label', of: (entry) => entry.label, givesWay: true },
        { name: 'size', of: (entry) => bytes(entry.bytes), side: 'right' },
        { name: 'age', of: (entry) => span(now - entry.createdAt), side: 'right' },
        {
          name: 'expires',
          of: (entry) => expires(entry, now),
          style: (entry) => (entry.isExpired ? ['dim'] : []),
        },
        { name: 'tags', of: (entry) => entry.tags.join(', '), givesWay: true },
      ],
      told.entries,
    );
    const shown = told.entries.length;
    const which =
      shown === told.total
        ? ''
        : `, ${skip + 1} to ${skip + shown} shown: --limit and --skip show others`;
    const total = `${things(told.total, 'entry', 'entries')}${shown > 0 ? which : ''}`;
    return { json: told, lines: shown > 0 ? [...lines, screen.style(total, 'dim')] : [total] };
  },
};
