'use strict';

const { EXIT } = require('../command.js');
const { doctor, openFile } = require('../inspection/index.js');
const { printable } = require('../inspection/values.js');
const { wrap } = require('../terminal/screen.js');

/** @type {Record<string, { mark: string, style: 'green' | 'cyan' | 'yellow' | 'red' }>} */
const LEVELS = {
  error: { mark: 'error', style: 'red' },
  warning: { mark: 'warning', style: 'yellow' },
  note: { mark: 'note', style: 'cyan' },
  ok: { mark: 'ok', style: 'green' },
};

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'doctor',
  does: 'examines the file and its surroundings, and says what to do about what it finds',
  takes: [],
  options: {},
  examples: ['doctor cache.db', 'doctor cache.db --json'],
  more: `It looks at the pages and indexes, the tables, the log, locks, permissions, the volume, and at what the stores have written. The
exit code is 1 if there is a warning or an error.`,
  run({ path, screen, now }) {
    const { findings } = doctor(openFile(path), { now, name: path });
    const order = Object.keys(LEVELS);
    const sorted = [...findings].sort(
      (one, other) => order.indexOf(one.level) - order.indexOf(other.level),
    );
    const room = Math.max(20, screen.columns - 9);
    const lines = sorted.flatMap(({ check, level, what, remedy }) => {
      const { mark, style } = LEVELS[level];
      const [first, ...others] = wrap(printable(`${check}: ${what}`), room);
      const after = remedy
        ? wrap(printable(remedy), room).map((line) => screen.style(line, 'dim'))
        : [];
      return [
        `${screen.style(mark.padEnd(7), style)}  ${first}`,
        ...[...others, ...after].map((line) => `${' '.repeat(9)}${line}`),
      ];
    });
    const isFine = findings.every(({ level }) => level === 'ok' || level === 'note');
    return { json: { findings }, lines, code: isFine ? EXIT.fine : EXIT.found };
  },
};
