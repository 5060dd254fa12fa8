/**
 * The binary, and what is said when it does not load: each cause is made to happen in a process of its own, with the package
 * laid as npm installs it.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));
const manifest = require('../package.json');
const { usesMusl } = require('../lib/find-binary.js');
const loadError = require('../lib/load-error.js');

const { platform, arch } = process;
const isLinux = platform === 'linux';
const binaryName = readdirSync(join(root, 'lib')).filter(
  (name) =>
    name.includes(`.${platform}-${arch}`) &&
    (!isLinux || name.includes('musl') === usesMusl(process.execPath)),
)[0];
const target = binaryName.split('.')[1];
const others = readdirSync(join(root, 'npm')).filter((name) => name !== target);
/** Another package's, made with napi-rs too: whatever Node runs this loads it. */
const foreign = (() => {
  const scope = join(root, 'node_modules/@rolldown');
  const [name] = readdirSync(scope).filter((each) => each.startsWith('binding-'));
  const [file] = readdirSync(join(scope, name)).filter((each) => each.endsWith('.node'));
  return join(scope, name, file);
})();

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'loading-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let project = '';
let scope = '';
beforeEach(() => {
  project = mkdtempSync(join(directory, 'project-'));
  scope = join(project, 'node_modules/@comic-vine');
  for (const file of ['package.json', ...manifest.files.filter((name) => name.endsWith('.js'))])
    cpSync(join(root, file), join(scope, 'sqlite-store', file));
  install(target);
});

const folderOf = (/** @type {string} */ name) => join(scope, `sqlite-store-${name}`);
const pathOf = (/** @type {string} */ name) => join(folderOf(name), `sqlite-store.${name}.node`);

/** A platform's package, with this platform's binary. @param {string} name */
function install(name) {
  cpSync(join(root, 'npm', name), folderOf(name), { recursive: true });
  copyFileSync(join(root, 'lib', binaryName), pathOf(name));
}

const remove = (/** @type {string} */ name) => rmSync(folderOf(name), { recursive: true });

const PROGRAM = `
  try {
    const { SQLiteCacheStore } = require('@comic-vine/sqlite-store');
    new SQLiteCacheStore().destroy();
    console.log(JSON.stringify({ loaded: true }));
  } catch ({ name, code, message, cause }) {
    console.log(JSON.stringify({ name, code, message, cause: cause?.message }));
  }
`;

/**
 * What a program in the project gets.
 * @param {{ options?: string[], env?: Record<string, string>, before?: string }} [how]
 */
function load({ options = [], env = {}, before = '' } = {}) {
  const program = join(project, 'program.cjs');
  writeFileSync(program, before + PROGRAM);
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...options, program], {
    cwd: project,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
  expect({ status, signal, stderr: stdout ? '' : stderr }).toEqual({
    status: 0,
    signal: null,
    stderr: '',
  });
  return JSON.parse(stdout);
}

/** A failure. @param {string} code @param {RegExp} message */
const failure = (code, message) => ({
  name: 'Error',
  code: `SQLITE_STORE_${code}`,
  message: expect.stringMatching(message),
});

const CANNOT = '^@comic-vine/sqlite-store cannot load its binary: ';
/** Messages that begin with the cause, in which no blank stands for many. @param {string[]} parts */
const saying = (...parts) => new RegExp(CANNOT + parts.join('.*'), 's');

/** Has another platform's process. @param {Record<string, string>} values */
const pretend = (values) =>
  Object.entries(values)
    .map(([key, value]) => `Object.defineProperty(process, '${key}', { value: '${value}' });`)
    .join('');

describe('a binary', () => {
  test('is loaded from the package of the platform', () => {
    expect(load()).toEqual({ loaded: true });
  });

  test('is found where packages are linked into folders of their own, as pnpm does', () => {
    const store = join(project, 'node_modules/.store/node_modules');
    mkdirSync(store, { recursive: true });
    cpSync(scope, join(store, '@comic-vine'), { recursive: true });
    rmSync(scope, { recursive: true });
    mkdirSync(scope, { recursive: true });
    const link = join(scope, 'sqlite-store');
    symlinkSync(join(store, '@comic-vine/sqlite-store'), link, 'junction');
    expect(load()).toEqual({ loaded: true });
  });

  test('is found by a resolver, where no folder is called node_modules', () => {
    const elsewhere = join(project, 'elsewhere');
    cpSync(join(project, 'node_modules'), elsewhere, { recursive: true });
    rmSync(join(project, 'node_modules'), { recursive: true });
    expect(load({ env: { NODE_PATH: elsewhere } })).toEqual({ loaded: true });
  });

  test('of another package, named for all by the environment, is left alone', () => {
    expect(load({ env: { NAPI_RS_NATIVE_LIBRARY_PATH: foreign } })).toEqual({ loaded: true });
    expect(load({ env: { NAPI_RS_NATIVE_LIBRARY_PATH: '/nowhere.node' } })).toEqual({
      loaded: true,
    });
  });

  test('of this package, named by the environment, is used', () => {
    const moved = join(project, 'moved.node');
    copyFileSync(pathOf(target), moved);
    remove(target);
    expect(load({ env: { NAPI_RS_NATIVE_LIBRARY_PATH: moved } })).toEqual({ loaded: true });
    expect(load({ env: { NAPI_RS_NATIVE_LIBRARY_PATH: 'moved.node' } })).toEqual({ loaded: true });
  });

  test.runIf(isLinux)('is that of the C library which the process uses', () => {
    expect(usesMusl(process.execPath)).toBe(target.endsWith('musl'));
    const program = join(project, 'program');
    writeFileSync(program, `\x7fELF${'\0'.repeat(600)}/lib/ld-musl-x86_64.so.1\0`);
    expect(usesMusl(program)).toBe(true);
  });
});

describe('what is said', () => {
  test('if there is none for the platform', () => {
    const before = pretend({ platform: 'freebsd' });
    const answer = load({ before });
    expect(answer).toEqual(failure('UNSUPPORTED_PLATFORM', saying('there is none for freebsd-')));
    const [, list] = /There are binaries for (.*)\.$/.exec(answer.message) ?? [];
    expect(list.split(', ')).toEqual(readdirSync(join(root, 'npm')).sort());
    expect(load({ before: pretend({ arch: 'riscv64' }) })).toEqual(
      failure('UNSUPPORTED_PLATFORM', saying(`there is none for ${platform}-riscv64`)),
    );
  });

  test('if optional dependencies were left out', () => {
    remove(target);
    expect(load()).toEqual(
      failure(
        'NOT_INSTALLED',
        saying(`@comic-vine/sqlite-store-${target}`, 'is not installed', 'without --omit=optional'),
      ),
    );
  });

  test('if packages were installed on another platform', () => {
    remove(target);
    const other = others.find((name) => !name.startsWith(`${platform}-${arch}`));
    install(`${other}`);
    expect(load()).toEqual(
      failure('WRONG_PLATFORM', saying('packages were installed on another', `${other}`, target)),
    );
  });

  test.runIf(isLinux)('if packages were installed for another C library', () => {
    remove(target);
    const other = `${others.find((name) => name.startsWith(`linux-${arch}`))}`;
    mkdirSync(folderOf(other));
    expect(load()).toEqual(
      failure(
        'WRONG_LIBC',
        saying(`@comic-vine/sqlite-store-${other} is installed`, 'npm install again'),
      ),
    );
  });

  test.runIf(isLinux)('if the binary needs another C library, or what is not there', () => {
    const source = join(project, 'empty.c');
    writeFileSync(source, '');
    /** A binary that needs a library by its name. @param {string} library */
    function needs(library) {
      const path = join(project, library);
      const shared = ['-shared', '-o', path, `-Wl,-soname,${library}`, source];
      execFileSync('cc', shared);
      const options = ['-shared', '-Wl,--no-as-needed', '-o', pathOf(target), source, path];
      execFileSync('cc', options);
      rmSync(path);
    }
    needs('libc.musl-x86_64.so.1');
    expect(load()).toEqual({
      ...failure('WRONG_LIBC', saying('.* needs another C library', 'libc.musl')),
      cause: expect.stringContaining('libc.musl'),
    });
    needs('libnothing.so.1');
    expect(load()).toEqual({
      ...failure('LIBRARY_MISSING', saying('.* needs a library', 'libnothing', 'Install it')),
      cause: expect.stringContaining('libnothing'),
    });
    writeFileSync(source, 'extern int nothing; int *something = &nothing;');
    execFileSync('cc', ['-shared', '-fPIC', '-o', pathOf(target), source]);
    expect(load()).toEqual({
      ...failure('BINARY_REFUSED', saying('the system does not load', 'noexec')),
      cause: expect.stringContaining('undefined symbol: nothing'),
    });
  });

  test.each([
    ['x.so.1: cannot open shared object file: No such file or directory', 'LIBRARY_MISSING'],
    ['x.so.1: cannot open shared object file: Too many open files', 'BINARY_REFUSED'],
    [
      'Error loading shared library x.so.1: No such file or directory (needed by y.node)',
      'LIBRARY_MISSING',
    ],
    ['Error loading shared library y.node: Operation not permitted', 'BINARY_REFUSED'],
    ['dlopen(y.node, 0x0001): Library not loaded: @rpath/x.dylib', 'LIBRARY_MISSING'],
    ['The specified module could not be found.', 'LIBRARY_MISSING'],
  ])('of which a system says: %s', (message, code) => {
    const failures = [{ path: pathOf(target), error: new Error(message) }];
    const error = loadError({ name: 'x', version: '1', targets: [target], failures });
    expect(error.code).toBe(`SQLITE_STORE_${code}`);
  });

  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';

  test('with --permission', () => {
    const options = [permission, '--no-warnings'];
    const said = failure('ADDONS_DISABLED', saying('Node.js was started with --permission'));
    expect(load({ options: [...options, '--allow-fs-read=*'] })).toMatchObject(said);
    expect(load({ options: [...options, '--allow-fs-read=*', '--allow-addons'] })).toEqual({
      loaded: true,
    });
    const all = [join(project, '*')].map((path) => `--allow-fs-read=${path}`);
    expect(load({ options: [...options, '--allow-addons', ...all] })).toEqual({ loaded: true });
    const some = [join(scope, 'sqlite-store', '*'), join(project, 'program.cjs')];
    const read = some.map((path) => `--allow-fs-read=${path}`);
    expect(load({ options: [...options, '--allow-addons', ...read] })).toMatchObject(said);
  });

  test('with --no-addons', () => {
    const said = failure('ADDONS_DISABLED', saying('Node.js was started with --no-addons'));
    expect(load({ options: ['--no-addons'] })).toMatchObject(said);
    expect(load({ env: { NODE_OPTIONS: '--no-addons' } })).toMatchObject(said);
    const options = ['--no-addons', permission, '--no-warnings', '--allow-fs-read=*'];
    expect(load({ options })).toMatchObject(said);
  });

  test.each(
    /** @type {[string, () => void][]} */ ([
      ['empty', () => writeFileSync(pathOf(target), '')],
      ['a pointer to a large file', () => writeFileSync(pathOf(target), 'version https://git-lfs')],
      ['of zeros', () => writeFileSync(pathOf(target), Buffer.alloc(1_000_000))],
      ['cut in half', () => cut((size) => size / 2)],
      ['cut after its head', () => cut(() => 4_096)],
      // Elsewhere it may do.
      ...(isLinux ? [['short of a byte', () => cut((size) => size - 1)]] : []),
    ]),
  )('if the file is %s', (_, damage) => {
    damage();
    expect(load()).toMatchObject(
      failure('BINARY_DAMAGED', saying('.* is damaged', 'Delete node_modules')),
    );
  });

  const statOf = (/** @type {string} */ name) => readFileSync(pathOf(name)).length;
  function cut(/** @type {(size: number) => number} */ to) {
    truncateSync(pathOf(target), Math.floor(to(statOf(target))));
  }

  test.runIf(isLinux)('if the file is for another processor', () => {
    const bytes = readFileSync(pathOf(target));
    bytes.writeUInt16LE(arch === 'x64' ? 183 : 62, 0x12);
    writeFileSync(pathOf(target), bytes);
    expect(load()).toMatchObject(failure('WRONG_PLATFORM', saying('.* is for linux-', 'this is')));
  });

  test('if the file is of another version, or another package', () => {
    const loader = join(scope, 'sqlite-store/lib/binding.js');
    const text = readFileSync(loader, 'utf8').replace(/VERSION = '.*'/, "VERSION = '9.9.9'");
    writeFileSync(loader, text);
    expect(load()).toEqual(
      failure('BINARY_VERSION', saying(`.* is of version ${manifest.version}, and not of 9.9.9`)),
    );
    copyFileSync(foreign, pathOf(target));
    expect(load()).toEqual(
      failure('BINARY_VERSION', saying('.* is not a binary of @comic-vine/sqlite-store')),
    );
  });

  test.each([
    ['of another package', foreign, 'is not a binary of @comic-vine/sqlite-store'],
    ['that is not there', join(tmpdir(), 'nowhere.node'), 'nowhere.node'],
  ])('if the environment names a file %s, and none else is there', (_, file, why) => {
    remove(target);
    expect(load({ env: { NAPI_RS_NATIVE_LIBRARY_PATH: file } })).toMatchObject(
      failure(
        'BINARY_PATH',
        saying('NAPI_RS_NATIVE_LIBRARY_PATH names', why, 'Unset the variable', 'is not installed'),
      ),
    );
  });

  test('is each in the documentation', () => {
    const text = readFileSync(join(root, 'lib/load-error.js'), 'utf8');
    const codes = new Set(text.match(/(?<=make\(\s*')[A-Z_]+/g));
    expect(codes.size).toBe(10);
    const documented = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8');
    const missing = [...codes].filter((code) => !documented.includes(`\`SQLITE_STORE_${code}\``));
    expect(missing).toEqual([]);
  });
});

test('the version is one, wherever it stands', () => {
  const { version } = manifest;
  expect(readFileSync(join(root, 'lib/binding.js'), 'utf8')).toContain(`VERSION = '${version}'`);
  for (const file of ['Cargo.toml', 'Cargo.lock']) {
    expect(readFileSync(join(root, file), 'utf8')).toContain(
      `name = "comic-vine-sqlite-store"\nversion = "${version}"`,
    );
  }
  // `npm version` writes it everywhere.
  const copy = join(project, 'copy');
  for (const file of ['Cargo.toml', 'Cargo.lock', 'lib/binding.js', 'scripts/version.mjs'])
    cpSync(join(root, file), join(copy, file));
  writeFileSync(join(copy, 'package.json'), JSON.stringify({ version: '1.2.3-beta.4' }));
  execFileSync(process.execPath, [join(copy, 'scripts/version.mjs')]);
  for (const file of ['Cargo.toml', 'Cargo.lock', 'lib/binding.js']) {
    const text = readFileSync(join(copy, file), 'utf8');
    expect(text.split('1.2.3-beta.4')).toHaveLength(2);
    expect(text.replace('1.2.3-beta.4', version)).toBe(readFileSync(join(root, file), 'utf8'));
  }
});
