'use strict';

const { openFile } = require('../inspection/index.js');
const { printable } = require('../inspection/values.js');
const { bytes } = require('../terminal/words.js');
const { statSync } = require('node:fs');

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'backup',
  does: 'copies the file as it is at one moment, while others write',
  takes: ['TO'],
  options: {},
  examples: ['backup cache.db cache-backup.db'],
  more: `What is copied is one file, without a log. It has its name once it is complete and on the medium. TO must not exist yet.`,
  run({ path, rest: [to], progress }) {
    openFile(path).backUp(to, (part) => progress.show('copying', part));
    progress.end();
    const size = statSync(to).size;
    return {
      json: { path: to, bytes: size },
      lines: [`${bytes(size)} copied to ${printable(to)}.`],
    };
  },
};
