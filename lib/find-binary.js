'use strict';

// Finding the binary where `binding.js` does not: from what a bundler has made of it, and where packages do not lie in folders
// called node_modules. None of this is loaded where the package was simply installed.

const fs = process.getBuiltinModule?.('node:fs') ?? require('node:fs');
const { createRequire } = process.getBuiltinModule?.('node:module') ?? require('node:module');
const { basename, dirname, join, resolve } =
  process.getBuiltinModule?.('node:path') ?? require('node:path');

/** @param {string} path */
exports.absolute = (path) => resolve(path);

/** Loads a module by its path. @param {string} path */
exports.load = (path) => createRequire(path)(path);

/** Under Node's permissions, the question alone may throw. @param {string} path */
function exists(path) {
  try {
    return fs.existsSync(path);
  } catch {
    return false;
  }
}

/**
 * @param {string} path  of a program
 * @returns {boolean | undefined} whether it uses musl as its C library: that library's loader is named early in it
 */
exports.usesMusl = (path) => {
  try {
    const file = fs.openSync(path, 'r');
    const head = Buffer.alloc(4_096);
    fs.readSync(file, head, 0, head.length, 0);
    fs.closeSync(file);
    return head.includes('/ld-musl-');
  } catch {
    return undefined;
  }
};

/** Whether this package is as it was installed, and not bundled. */
const isItself =
  typeof __filename === 'string' && basename(__filename) === 'find-binary.js' && exists(__filename);
exports.isItself = isItself;

/** Where is looked from: this file; if it is bundled the output, the program, and the working directory. */
exports.places = () =>
  isItself
    ? [__filename]
    : [
        ...(typeof __filename === 'string' ? [resolve(__filename)] : []),
        ...(process.argv[1] ? [resolve(process.argv[1])] : []),
        join(process.cwd(), 'index.js'),
      ];

/** @param {string} name  of this package @param {string} target @returns {string | undefined} the binary's path */
exports.search = (name, target) => {
  for (const place of exports.places()) {
    const beside = join(dirname(place), `sqlite-store.${target}.node`);
    if (exists(beside)) return beside;
    try {
      const from = createRequire(place);
      try {
        return from.resolve(`${name}-${target}`);
      } catch {
        // Where a program finds only what its own package.json names (pnpm, Yarn), this package finds its own.
        return createRequire(from.resolve(`${name}/package.json`)).resolve(`${name}-${target}`);
      }
    } catch {
      // Not from there.
    }
  }
  return undefined;
};
