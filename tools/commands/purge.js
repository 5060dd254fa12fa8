'use strict';

const { purge } = require('../changes.js');
const { entries, openFile } = require('../inspection/index.js');
const { shorten } = require('../terminal/screen.js');
const { printable } = require('../inspection/values.js');
const { things } = require('../terminal/words.js');
const { OPTIONS, one } = require('./selection.js');

/** How many of what would go are named. */
const NAMED = 10;

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'purge',
  does: 'removes entries of the cache, for all processes',
  takes: ['[KEY]'],
  options: {
    ...OPTIONS,
    all: { type: 'flag', does: 'all of them' },
    'dry-run': { type: 'flag', does: 'tells how many, and removes none' },
  },
  examples: [
    'purge cache.db --expired',
    'purge cache.db --tag volumes --dry-run',
    'purge cache.db 9f86d081884c7d65…',
    'purge cache.db --all',
  ],
  more: `It needs a key or exactly one of --prefix, --tag, --expired and --all, and asks nothing: say --dry-run first. Processes that
have the file open go on, and make the requests again. Jobs and limits stay.`,
  async run({ path, rest: [key], options, screen, progress, now }) {
    const { 'dry-run': isDry = false, ...given } = options;
    const selection = one(key, given);
    if (isDry) {
      const { total, entries: first } = entries(openFile(path), {
        ...selection,
        limit: NAMED,
        now,
      });
      const names = first.map((entry) =>
        shorten(printable(`  ${entry.key}  ${entry.label}`), screen.columns),
      );
      const more = total > first.length ? [`  and ${things(total - first.length, 'other')}`] : [];
      const told = `${things(total, 'entry', 'entries')} would be removed.`;
      return {
        json: { dryRun: true, entries: total, keys: first.map((entry) => entry.key) },
        lines: [told, ...names, ...more],
      };
    }
    const removed = await progress.during('removing', purge(path, selection, { now }));
    return {
      json: { dryRun: false, entries: removed },
      lines: [`${things(removed, 'entry', 'entries')} removed.`],
    };
  },
};
