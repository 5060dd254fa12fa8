'use strict';

const { vacuum } = require('../changes.js');
const { bytes } = require('../terminal/words.js');

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'vacuum',
  does: 'rebuilds the file, so that what is free in it is given back',
  takes: [],
  options: {},
  examples: ['vacuum cache.db'],
  more: `Others may have the file open; while they read or write in a transaction, it is refused. It needs twice the bytes that are used
on the volume.`,
  async run({ path, progress }) {
    const { freedBytes } = await progress.during('rebuilding', vacuum(path));
    return { json: { freedBytes }, lines: [`${bytes(freedBytes)} given back.`] };
  },
};
