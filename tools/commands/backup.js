'use strict';

const { statSync } = require('node:fs');
const { backUp } = require('../inspection/backup.js');
const { printable } = require('../inspection/values.js');
const { bytes } = require('../terminal/words.js');

/** What a process ends with that a signal has ended: 128 and its number. */
const INTERRUPTED = 130;

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'backup',
  does: 'copies the file as it is at one moment, while others write',
  takes: ['TO'],
  options: {},
  examples: ['backup cache.db cache-backup.db'],
  more: `What is copied is one file, without a log. It has its name once it is complete and on the medium. TO must not exist yet.
Ctrl-C ends it, and leaves nothing.`,
  async run({ path, rest: [to], progress }) {
    const copy = backUp(path, to, (part) => progress.show('copying', part));
    const interrupt = async () => {
      await copy.end();
      progress.end();
      process.exit(INTERRUPTED);
    };
    process.once('SIGINT', interrupt);
    try {
      await copy.done;
    } finally {
      process.off('SIGINT', interrupt);
      progress.end();
    }
    const size = statSync(to).size;
    return {
      json: { path: to, bytes: size },
      lines: [`${bytes(size)} copied to ${printable(to)}.`],
    };
  },
};
