'use strict';

// Why the binary could not be loaded, in words: the cause first, then what to do about it.

const fs = process.getBuiltinModule?.('node:fs') ?? require('node:fs');
const { createRequire } = process.getBuiltinModule?.('node:module') ?? require('node:module');
const { dirname, join } = process.getBuiltinModule?.('node:path') ?? require('node:path');

const { isItself, places, usesMusl } = require('./find-binary.js');

const SUPPORTED = [
  'darwin-arm64',
  'darwin-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-arm64-msvc',
  'win32-x64-msvc',
];

const LIBCS = { gnu: 'glibc', musl: 'musl' };

/**
 * What systems say of a file that needs another C library: glibc of a newer version, glibc of musl, musl of glibc.
 */
const WRONG_LIBC =
  /GLIBC_[\d.]+.* not found|libc\.musl|libc\.so|ld-musl|ld-linux|Error relocating|symbol not found/;

/** What systems say of a file that needs a library which is not there: glibc, musl, macOS, Windows and Wine. */
const LIBRARY_MISSING =
  /cannot open shared object file: No such file|No such file.*\(needed by|Library not loaded|module could not be found|Module not found/;

/** @param {string} file @returns {string | undefined} whose programs it is one of, as `platform-arch` says it; `''` if of none */
function platformOf(file) {
  let head;
  try {
    head = fs.readFileSync(file).subarray(0, 1_024);
  } catch {
    return undefined;
  }
  if (head.length < 64) return '';
  const magic = head.readUInt32BE(0);
  if (magic === 0x7f454c46) {
    const machine = head.readUInt16LE(0x12);
    return `linux-${{ 62: 'x64', 183: 'arm64' }[machine] ?? machine}`;
  }
  if (magic === 0xcffaedfe) {
    const machine = head.readUInt32LE(4);
    return `darwin-${{ 16777223: 'x64', 16777228: 'arm64' }[machine] ?? machine}`;
  }
  if (magic >>> 16 === 0x4d5a) {
    const header = head.readUInt32LE(0x3c);
    const machine = header + 6 < head.length ? head.readUInt16LE(header + 4) : undefined;
    return `win32-${{ 34404: 'x64', 43620: 'arm64' }[`${machine}`] ?? machine}`;
  }
  return '';
}

/** The ends of names of packages that are installed and have a binary. @param {string} name */
function installed(name) {
  const found = new Set();
  for (const place of places()) {
    /** @type {string[]} */
    let roots = [];
    try {
      roots = createRequire(place).resolve.paths(name) ?? [];
    } catch {
      // No path of a file.
    }
    for (const root of roots) {
      const directory = dirname(join(root, name));
      const prefix = name.slice(name.indexOf('/') + 1);
      let files = /** @type {string[]} */ ([]);
      try {
        files = fs.readdirSync(directory);
      } catch {
        // There is none.
      }
      for (const file of files) {
        const end = file.slice(prefix.length + 1);
        if (file.startsWith(`${prefix}-`) && SUPPORTED.includes(end)) found.add(end);
      }
    }
  }
  return [...found];
}

/** @param {string} target @returns {[string, string | undefined]} platform and architecture, and the C library */
function partsOf(target) {
  const [platform, arch, abi] = target.split('-');
  return [`${platform}-${arch}`, LIBCS[abi]];
}

/** The one of several targets that fits. @param {string[]} targets */
function exactly([first, second]) {
  const isMusl = usesMusl(process.execPath);
  if (!second || isMusl === undefined) return first;
  return isMusl === first.endsWith('musl') ? first : second;
}

/**
 * @param {object} attempt
 * @param {string} attempt.name  of this package
 * @param {string} attempt.version
 * @param {string[]} attempt.targets
 * @param {import('./binding.js').Failure[]} attempt.failures
 * @returns {Error & { code: string }}
 */
module.exports = function loadError({ name, version, targets, failures }) {
  const target = exactly(targets);
  const [machine, libc] = partsOf(target);
  const install = `Run npm install again where the program runs, without --omit=optional`;

  /** @param {string} code @param {string} cause @param {string} remedy @param {unknown} [error] */
  function make(code, cause, remedy, error) {
    const message = `${name} cannot load its binary: ${cause}. ${remedy}.`;
    const made = error === undefined ? new Error(message) : new Error(message, { cause: error });
    return Object.assign(made, { code: `SQLITE_STORE_${code}` });
  }

  /** @param {import('./binding.js').Failure} failure */
  function ofFile({ path: file, error, version: other }) {
    const platform = platformOf(file);
    const { message = `${error}` } = /** @type {any} */ (error ?? {});
    const again = `Delete node_modules and run npm install again`;
    if (platform === '') {
      return make('BINARY_DAMAGED', `${file} is damaged`, again, error);
    }
    if (other !== undefined) {
      return make(
        'BINARY_VERSION',
        other === ''
          ? `${file} is not a binary of ${name} ${version}`
          : `${file} is of version ${other}, and not of ${version}`,
        `${again}, so that ${name} and ${name}-${target} have the same version`,
      );
    }
    if (platform !== undefined && platform !== machine) {
      return make(
        'WRONG_PLATFORM',
        `${file} is for ${platform}, and this is ${machine}`,
        install,
        error,
      );
    }
    if (WRONG_LIBC.test(message)) {
      return make(
        'WRONG_LIBC',
        `${file} needs another C library than this system has (${message})`,
        `${install}; binaries for glibc need version 2.17 or newer`,
        error,
      );
    }
    if (
      /file too short|invalid ELF|ELF (?:file|load)|file data|valid Win32|mach-o|truncated|malformed/i.test(
        message,
      )
    ) {
      return make('BINARY_DAMAGED', `${file} is damaged (${message})`, again, error);
    }
    if (platform !== undefined && LIBRARY_MISSING.test(message)) {
      return make(
        'LIBRARY_MISSING',
        `${file} needs a library that this system does not have (${message})`,
        platform.startsWith('win32')
          ? 'Use Windows 10 or newer, which has all of them'
          : 'Install it',
        error,
      );
    }
    return make(
      'BINARY_REFUSED',
      `the system does not load ${file} (${message})`,
      `Make sure that the file may be read, and that its volume is not mounted noexec`,
      error,
    );
  }

  function ofNone() {
    if (!SUPPORTED.includes(target)) {
      return make(
        'UNSUPPORTED_PLATFORM',
        `there is none for ${machine}`,
        `There are binaries for ${SUPPORTED.join(', ')}`,
      );
    }
    const others = installed(name);
    const otherLibc = others.find((each) => partsOf(each)[0] === machine);
    if (otherLibc) {
      return make(
        'WRONG_LIBC',
        `${name}-${otherLibc} is installed, for ${partsOf(otherLibc)[1]}, and this process uses ${libc}`,
        `${install}, so that npm picks ${name}-${target}`,
      );
    }
    if (others.length > 0) {
      return make(
        'WRONG_PLATFORM',
        `packages were installed on another platform (${others.join(', ')}), and this is ${target}`,
        `${install}, so that npm picks ${name}-${target}`,
      );
    }
    if (!isItself) {
      return make(
        'NOT_INSTALLED',
        `${name}-${target} is not in node_modules of the bundled program, nor is sqlite-store.${target}.node beside it`,
        `Ship node_modules/${name}-${target} with the program: a bundler cannot put a binary into its output`,
      );
    }
    return make(
      'NOT_INSTALLED',
      `${name}-${target} is not installed. It is an optional dependency, and was left out`,
      `${install}. If package-lock.json was made on another platform, delete it and node_modules before`,
    );
  }

  function ofPermissions() {
    const isUnread =
      process.permission !== undefined &&
      places().some(
        (place) => !process.permission.has('fs.read', dirname(dirname(dirname(place)))),
      );
    const isOff = failures.some(({ error }) =>
      ['ERR_DLOPEN_DISABLED', 'ERR_ACCESS_DENIED'].includes(/** @type {any} */ (error)?.code),
    );
    if (!isOff && !(isUnread && failures.length === 0)) return undefined;
    const error = failures.find((failure) => failure.error)?.error;
    const options = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ');
    return process.permission === undefined || options.includes('--no-addons')
      ? make(
          'ADDONS_DISABLED',
          'Node.js was started with --no-addons',
          'Start it without that option (see also NODE_OPTIONS)',
          error,
        )
      : make(
          'ADDONS_DISABLED',
          'Node.js was started with --permission',
          'Add --allow-addons, and --allow-fs-read for node_modules',
          error,
        );
  }

  const off = ofPermissions();
  if (off) return off;
  // One for another C library is there by mistake.
  const own = failures.find(({ path, isNamed }) => {
    const isOther = targets.some((each) => each !== target && path.endsWith(`.${each}.node`));
    return !isNamed && !isOther;
  });
  if (own) return ofFile(own);
  const named = failures.find(({ isNamed }) => isNamed);
  if (!named) return ofNone();
  const why = ofFile(named);
  return make(
    'BINARY_PATH',
    `NAPI_RS_NATIVE_LIBRARY_PATH names ${named.path}, which is not usable`,
    `${why.message} Unset the variable, which other packages use too. Then: ${ofNone().message}`.replace(
      /\.$/,
      '',
    ),
    named.error,
  );
};
