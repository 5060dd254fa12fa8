'use strict';

const { UsageError } = require('../command.js');
const { openFile } = require('../inspection/index.js');

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'serve',
  does: 'shows the file in a browser, live',
  takes: [],
  options: {
    port: {
      type: 'number',
      value: 'N',
      does: 'the port: 4150, if it is not said; 0: any that is free',
    },
    host: {
      type: 'text',
      value: 'ADDRESS',
      does: 'the address to listen at: 127.0.0.1, if it is not said',
    },
    token: {
      type: 'text',
      value: 'TEXT',
      does: 'what a browser has to know: made anew, if it is not said',
    },
    write: { type: 'flag', does: 'lets the page remove entries' },
  },
  examples: ['serve cache.db', 'serve cache.db --port 8080 --write'],
  more: `It listens on this machine alone, and changes nothing, unless told otherwise. It ends with Ctrl-C. See docs/tools.md for what
--host exposes.`,
  async run({ path, options }) {
    const { port = 4150, host = '127.0.0.1', token, write = false } = options;
    if (token !== undefined && !/^[\x21-\x7e]{16,512}$/.test(token))
      throw new UsageError('--token must be 16 to 512 printable ASCII characters without blanks');
    if (port > 65_535) throw new UsageError(`--port must be at most 65535, and is ${port}`);
    // What cannot be read is told here rather than in a browser.
    openFile(path).snapshot(() => {});
    const { url } = await require('../dashboard/server.js').serve({
      path,
      port,
      host,
      token,
      write,
    });
    return { json: { url }, lines: [`The dashboard is at ${url}`, 'It ends with Ctrl-C.'] };
  },
};
