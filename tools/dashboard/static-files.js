'use strict';

// The page's files: all that there are is read once, and nothing else is ever served.

const { readdirSync, readFileSync } = require('node:fs');
const { extname, join } = require('node:path');

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** @returns {Map<string, { type: string, body: Buffer }>} by path */
function readStatic(directory = join(__dirname, 'static')) {
  const files = new Map();
  /** @param {string} folder @param {string} prefix */
  const read = (folder, prefix) => {
    for (const file of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, file.name);
      if (file.isDirectory()) read(path, `${prefix}${file.name}/`);
      const type = TYPES[extname(file.name)];
      if (type) files.set(prefix + file.name, { type, body: readFileSync(path) });
    }
  };
  try {
    read(directory, '/');
  } catch (error) {
    throw new Error('The dashboard is not built: npm run build', { cause: error });
  }
  const page = files.get('/index.html');
  if (page === undefined) throw new Error('The dashboard is not built: npm run build');
  files.set('/', page);
  return files;
}

module.exports = { readStatic };
