'use strict';

// Loads the binary, when the program runs: a build of one's own beside this file, or that of the platform's package, which
// npm installs beside this one. No bundler is to follow that, since none can put a binary into a JavaScript file: hence no
// `require` of a package's name. What a bundler has made of this file looks further: see `find-binary.js`.

const NAME = '@comic-vine/sqlite-store';
/** That of package.json, which takes longer to read. `npm version` writes it. */
const VERSION = '0.3.0';

// Not by `require` where there is another way: in what bundlers write as an ES module, that is a function which throws.
const fs = process.getBuiltinModule?.('node:fs') ?? require('node:fs');

/** Under Node's permissions, the question alone may throw. @param {string} path */
function exists(path) {
  try {
    return fs.existsSync(path);
  } catch {
    return false;
  }
}

/**
 * What the binaries that may fit are called, likeliest first. On Linux there is one for each C library, and seldom are both
 * installed: which one the process uses is looked up only where there is musl.
 */
function targets() {
  const { platform, arch, execPath } = process;
  if (platform !== 'linux') return [`${platform}-${arch}${platform === 'win32' ? '-msvc' : ''}`];
  const libcs = [`linux-${arch}-gnu`, `linux-${arch}-musl`];
  const musl = `/lib/ld-musl-${arch === 'x64' ? 'x86_64' : 'aarch64'}.so.1`;
  const isMusl = exists(musl) && require('./find-binary.js').usesMusl(execPath);
  return isMusl ? libcs.reverse() : libcs;
}

/** Whether an ELF file was cut short: one that is ends the process when it is loaded. @param {string} path */
function isCutShort(path) {
  const file = fs.openSync(path, 'r');
  try {
    const bytes = new Uint8Array(64);
    fs.readSync(file, bytes, 0, 64, 0);
    const head = new DataView(bytes.buffer);
    if (head.getUint32(0) !== 0x7f454c46) return false;
    // What comes last is a table: where it begins, how long its lines are, and how many there are.
    const size = head.getUint16(0x3a, true) * head.getUint16(0x3c, true);
    const end = head.getUint32(0x28, true) + size;
    return end > 0 && fs.readSync(file, bytes, 0, 1, end - 1) === 0;
  } finally {
    fs.closeSync(file);
  }
}

/** @type {import('./binding.js').Failure[]} */
const failures = [];

/** @param {string} path  absolute @param {boolean} [isNamed]  by the environment */
function use(path, isNamed) {
  let binding;
  try {
    if (isCutShort(path)) throw new Error('file too short');
    // A bundler's `module` has no such function.
    const load = Reflect.get(module, 'require') ?? require('./find-binary.js').load;
    binding = load.call(module, path);
    if (binding?.version === VERSION) return binding;
    failures.push({ path, isNamed, version: binding?.version ?? '' });
  } catch (error) {
    failures.push({ path, isNamed, error });
  }
  return undefined;
}

/** The binary beside this file, or in a package. @param {string} target @returns {string | undefined} its path */
function find(target) {
  const file = `sqlite-store.${target}.node`;
  const places = (Reflect.get(module, 'paths') ?? []).map(
    (modules) => `${modules}/${NAME}-${target}`,
  );
  if (typeof __dirname === 'string') places.unshift(__dirname);
  const place = places.find((folder) => exists(`${folder}/${file}`));
  return place && `${place}/${file}`;
}

function load() {
  // The variable is meant for all packages that are made with napi-rs: it may well name the binary of another one.
  const named = process.env.NAPI_RS_NATIVE_LIBRARY_PATH;
  let binding = named ? use(require('./find-binary.js').absolute(named), true) : undefined;
  const candidates = targets();
  const searches = [find, (target) => require('./find-binary.js').search(NAME, target)];
  for (const search of searches) {
    for (const target of candidates) {
      if (binding) return binding;
      const path = search(target);
      if (path) binding = use(path);
    }
  }
  if (binding) return binding;
  throw require('./load-error.js')({ name: NAME, version: VERSION, targets: candidates, failures });
}

module.exports = load();
