/**
 * Compiles consumers of the declaration files: projects in a temporary directory that have this package installed as
 * npm would install it, and nothing else but what they ask for.
 */

import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('../', import.meta.url));
const modules = join(root, 'node_modules');
const DECLARATIONS = ['package.json', 'index.d.ts', 'index.d.mts', 'lib/tables.d.ts'];

const drizzle = join(modules, 'drizzle-orm');
const nextDrizzle = join(modules, 'drizzle-orm-1.0');
const drizzleOf020 = join(modules, 'sqlite-store-0.2.0/node_modules/drizzle-orm');

const compiler = join(modules, 'typescript/bin/tsc');
// The oldest TypeScript at hand, which attw brings along.
const olderCompiler = (() => {
  const attw = createRequire(join(modules, '@arethetypeswrong/core/package.json'));
  return join(dirname(attw.resolve('typescript')), '../bin/tsc');
})();

/** @type {string} */
let directory;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'types-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/**
 * @typedef {object} Project
 * @property {string[]} files of this directory
 * @property {'module' | 'commonjs'} type
 * @property {boolean} [old] against 0.2.0
 * @property {Record<string, string>} [install] further packages, by name
 * @property {object} [options] compiler options
 * @property {string} [tsc]
 */

/**
 * @param {Project} project
 * @returns {Promise<string>} what the compiler complains about
 */
async function compile({ files, type, old, install = {}, options, tsc = compiler }) {
  const project = await mkdtemp(join(directory, 'project-'));
  const store = join(project, 'node_modules/@comic-vine/sqlite-store');
  if (old) {
    await mkdir(dirname(store), { recursive: true });
    await symlink(join(modules, 'sqlite-store-0.2.0'), store, 'junction');
  } else {
    // Copied, for a link would let the compiler find what is installed for development.
    for (const file of DECLARATIONS) await cp(join(root, file), join(store, file));
  }
  for (const [name, path] of Object.entries(install)) {
    await mkdir(dirname(join(project, 'node_modules', name)), { recursive: true });
    await symlink(path, join(project, 'node_modules', name), 'junction');
  }
  for (const file of files)
    await cp(new URL(`./types/${file}`, import.meta.url), join(project, file));
  await writeFile(join(project, 'package.json'), JSON.stringify({ type }));
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    target: 'es2022',
    lib: ['es2022'],
    module: 'nodenext',
    types: [],
    skipLibCheck: false,
    ...options,
  };
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [tsc, '-p', project, '--pretty', 'false'],
      { cwd: project, maxBuffer: 2 ** 26 },
      (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') reject(error);
        else if (error && !stdout) reject(new Error(`tsc: ${stderr}`));
        else resolve(stdout);
      },
    );
  });
}

const client = {
  '@comic-vine/client': join(modules, '@comic-vine/client'),
  '@types/better-sqlite3': join(modules, '@types/better-sqlite3'),
  '@types/node': join(modules, '@types/node'),
};
// drizzle-orm's own declarations need many packages that are not there.
const lenient = { types: ['node'], skipLibCheck: true };

const types = /** @type {const} */ (['module', 'commonjs']);
describe.each(types)('a consumer of type %s', (type) => {
  const limit = 300_000;

  test('written against 0.2.0 compiles against 0.2.0', { timeout: limit }, async () => {
    const install = { ...client, 'drizzle-orm': drizzleOf020 };
    const files = ['consumer.ts', 'tables.ts'];
    expect(await compile({ type, files, old: true, install, options: lenient })).toBe('');
  });

  test('written against 0.2.0 compiles unchanged', { timeout: limit }, async () => {
    const files = ['consumer.ts'];
    expect(await compile({ type, files, install: client, options: { types: ['node'] } })).toBe('');
  });

  test.each([
    ["0.2.0's", drizzleOf020],
    ['the newest', drizzle],
    ['a pre-release of 1.0 of', nextDrizzle],
  ])(
    'of the tables compiles unchanged with %s drizzle-orm',
    { timeout: limit },
    async (_, path) => {
      const install = { ...client, 'drizzle-orm': path };
      const files = ['consumer.ts', 'tables.ts'];
      expect(await compile({ type, files, install, options: lenient })).toBe('');
    },
  );

  test('finds no fault in the declarations with drizzle-orm', { timeout: limit }, async () => {
    const install = { ...client, 'drizzle-orm': drizzle };
    const options = { types: ['node'] };
    const complaints = await compile({ type, files: ['tables.ts'], install, options });
    const ours = complaints
      .split('\n')
      .filter((line) => /^tables\.ts|comic-vine.sqlite-store/.test(line));
    expect(ours).toEqual([]);
  });

  test('needs no other package, no newer lib, no @types', { timeout: limit }, async () => {
    expect(await compile({ type, files: ['additions.ts'] })).toBe('');
  });

  test("written against a newer client's interfaces compiles", { timeout: limit }, async () => {
    expect(await compile({ type, files: ['newer-client.ts'] })).toBe('');
  });

  test('can dispose of the stores if its lib can', { timeout: limit }, async () => {
    const files = ['dispose.ts'];
    const options = { lib: ['es2022', 'esnext.disposable'] };
    expect(await compile({ type, files, options })).toBe('');
    const without = await compile({ type, files });
    expect(without).toContain("Property 'asyncDispose' does not exist");
    expect(without).not.toContain('index.d.');
  });

  test('may use an older compiler', { timeout: limit }, async () => {
    const tsc = olderCompiler;
    expect(require(join(dirname(tsc), '../package.json')).version).toMatch(/^5\./);
    expect(await compile({ type, files: ['additions.ts', 'newer-client.ts'], tsc })).toBe('');
    const install = { ...client, 'drizzle-orm': drizzle };
    expect(await compile({ type, files: ['tables.ts'], install, options: lenient, tsc })).toBe('');
    const options = { lib: ['es2022', 'esnext.disposable'] };
    expect(await compile({ type, files: ['dispose.ts'], options, tsc })).toBe('');
  });
});

test('a bundler’s consumer compiles', { timeout: 300_000 }, async () => {
  const options = { module: 'esnext', moduleResolution: 'bundler', types: ['node'] };
  const files = ['consumer.ts'];
  expect(await compile({ type: 'module', files, install: client, options })).toBe('');
});
