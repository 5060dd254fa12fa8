// What is published: packed, installed without network, scripts and compiler into an empty project, and used there.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { IN_THE_PAGE } from '../scripts/notices.mjs';
import {
  binary,
  installPackage,
  manifest,
  npmScript,
  root,
  run,
  target,
} from './support/installed.mjs';

const require = createRequire(import.meta.url);

/** @type {Awaited<ReturnType<typeof installPackage>>} */
let installation;
/** @type {string} */
let directory;
/** @type {string} */
let project;
/** @type {NodeJS.ProcessEnv} */
let env;

/**
 * Runs a script in the project the packages are installed in.
 * @param {string} name
 * @param {string} source
 */
async function script(name, source) {
  await writeFile(join(project, name), source);
  const { stdout } = await run(process.execPath, [name], { cwd: project, env });
  return stdout.trim();
}

/** @returns {Promise<{ names: string[], bytes: number }>} the packages in the project, and all their bytes */
async function installed() {
  const names = [];
  let bytes = 0;
  const modules = join(project, 'node_modules');
  for (const path of await readdir(modules, { recursive: true })) {
    const { size } = await stat(join(modules, path));
    bytes += size;
    if (path.endsWith('package.json')) names.push(dirname(path).replaceAll('\\', '/'));
  }
  return { names: names.sort(), bytes };
}

/** @param {string} name */
const read = async (name) =>
  JSON.parse(await readFile(join(project, 'node_modules', name, 'package.json'), 'utf8'));

beforeAll(async () => {
  installation = await installPackage();
  ({ directory, project, env } = installation);
}, 120_000);

afterAll(() => installation?.remove());

const main = manifest.name;
const native = `${main}-${target}`;

describe('the published packages', () => {
  test('are two, and small', async () => {
    const { names, bytes } = await installed();
    expect(names).toEqual([main, native]);
    expect(bytes).toBeLessThan(6_000_000);
  });

  test('depend on nothing but the binaries, which npm picks by platform', async () => {
    const published = await read(main);
    expect(published).not.toHaveProperty('dependencies');
    expect(published).not.toHaveProperty('bundleDependencies');
    expect(published.peerDependenciesMeta).toEqual({ 'drizzle-orm': { optional: true } });
    const platforms = await readdir(join(root, 'npm'));
    expect(platforms).toHaveLength(manifest.napi.targets.length);
    expect(published.optionalDependencies).toEqual(
      Object.fromEntries(platforms.map((name) => [`${main}-${name}`, manifest.version])),
    );
    for (const name of platforms) {
      const { default: description } = await import(`../npm/${name}/package.json`, {
        with: { type: 'json' },
      });
      const [os, cpu, libc] = name.split('-');
      expect(description).toMatchObject({
        name: `${main}-${name}`,
        version: manifest.version,
        os: [os],
        cpu: [cpu],
        files: [`sqlite-store.${name}.node`, 'THIRD-PARTY-NOTICES.md'],
      });
      expect(description.libc).toEqual(
        { gnu: ['glibc'], musl: ['musl'] }[/** @type {'gnu' | 'musl'} */ (libc)],
      );
      expect(description).not.toHaveProperty('dependencies');
    }
  });

  test('have nothing to run at installation', async () => {
    for (const name of [main, native]) {
      const { scripts = {} } = await read(name);
      for (const hook of ['preinstall', 'install', 'postinstall', 'prepare']) {
        expect(scripts).not.toHaveProperty(hook);
      }
      // npm compiles where it finds one.
      expect(existsSync(join(project, 'node_modules', name, 'binding.gyp'))).toBe(false);
    }
    expect(spawnSync('cargo', ['--version'], { env }).error).toMatchObject({ code: 'ENOENT' });
  });

  test('hold what they need and no more', async () => {
    const list = async (/** @type {string} */ folder) => {
      const files = await readdir(folder, { recursive: true });
      return files.map((file) => file.replaceAll('\\', '/')).sort();
    };
    const files = await list(join(project, 'node_modules', main));
    const tools = await list(join(root, 'tools'));
    expect(files).toEqual(
      [
        ...['LICENSE', 'README.md', 'lib', 'package.json', ...manifest.files],
        ...tools.map((file) => `tools/${file}`),
      ].sort(),
    );
    expect(tools.filter((file) => !/^[^.]+$|\.(?:js|css|html|svg)$/.test(file))).toEqual([]);
    expect((await readdir(join(project, 'node_modules', native))).sort()).toEqual(
      ['LICENSE', 'README.md', 'THIRD-PARTY-NOTICES.md', 'package.json', binary].sort(),
    );
  });
});

describe('licences and paths', () => {
  test('what the page of the dashboard is built with is named', async () => {
    const folder = join(root, 'dashboard/src');
    const sources = await Promise.all(
      (await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')),
    );
    const imports = [...sources.join('\n').matchAll(/(?:from|import) '([^'.][^']*)'/g)];
    const packages = new Set(imports.map(([, name]) => name.split('/')[0]));
    expect([...packages].sort()).toEqual(IN_THE_PAGE);
  });

  test('each package has the licence, and the notices of those whose code is in it', async () => {
    const licence = await readFile(join(root, 'LICENSE'), 'utf8');
    const notices = await readFile(join(root, 'THIRD-PARTY-NOTICES.md'), 'utf8');
    for (const name of [main, native]) {
      const file = (/** @type {string} */ path) =>
        readFile(join(project, 'node_modules', name, path), 'utf8');
      expect(await file('LICENSE')).toBe(licence);
      expect(await file('THIRD-PARTY-NOTICES.md')).toBe(notices);
      expect(await read(name)).toMatchObject({ license: 'MIT' });
    }
    for (const name of await readdir(join(directory, 'stage/npm'))) {
      expect(await readFile(join(directory, 'stage/npm', name, 'LICENSE'), 'utf8')).toBe(licence);
    }
    const release = await readFile(join(root, '.github/workflows/release.yml'), 'utf8');
    expect(release).toMatch(/notices\.mjs npm[\s\S]*napi pre-publish/);
  });

  test('the notices are of what is linked in now: node scripts/notices.mjs', async () => {
    const notices = await readFile(join(root, 'THIRD-PARTY-NOTICES.md'), 'utf8');
    const { notices: generate } = await import('../scripts/notices.mjs');
    expect(generate()).toBe(notices);
    expect(notices).toContain('rusqlite');
    expect(notices).not.toMatch(/syn \d|napi-derive|proptest|criterion/);
  });

  test('the workflows use nothing whose content may change', async () => {
    const folder = join(root, '.github/workflows');
    for (const name of await readdir(folder)) {
      const text = await readFile(join(folder, name), 'utf8');
      const used = [...text.matchAll(/uses: (.*)/g)].map(([, action]) => action);
      expect(used.length).toBeGreaterThan(0);
      for (const action of used) expect(action).toMatch(/@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
    }
  });

  test('no path of this machine is in the binary', async () => {
    const bytes = await readFile(join(root, 'lib', binary), 'latin1');
    const home = homedir();
    for (const path of [
      root,
      join(home, '.cargo'),
      join(home, '.rustup'),
      process.env.CARGO_HOME,
    ]) {
      if (path) expect([path, bytes.includes(path)]).toEqual([path, false]);
    }
    // What stands for them: the paths of files are in messages of panics.
    expect(bytes).toMatch(/\/cargo\/registry|\/sqlite-store\/src|src\/\w+\/\w+\.rs/);
  });
});

describe('installed', () => {
  const use = `
    const database = process.cwd() + '/stores.db';
    const store = new SQLiteCacheStore({ database });
    const before = await store.get('key');
    await store.set('key', { from: import_or_require }, 60);
    const value = await store.get('key');
    await store.close();
    console.log(JSON.stringify({ before, value, files: readdirSync('.').filter((name) => name.startsWith('stores.db')) }));
  `;

  test('it works from ESM and from CommonJS, on one file', async () => {
    const esm = await script(
      'use.mjs',
      `import { readdirSync } from 'node:fs';
       import { SQLiteCacheStore } from '${main}';
       const import_or_require = 'import';
       ${use}`,
    );
    expect(JSON.parse(esm)).toEqual({ value: { from: 'import' }, files: ['stores.db'] });
    const cjs = await script(
      'use.cjs',
      `const { readdirSync } = require('node:fs');
       const { SQLiteCacheStore } = require('${main}');
       const import_or_require = 'require';
       (async () => { ${use} })();`,
    );
    expect(JSON.parse(cjs)).toEqual({
      before: { from: 'import' },
      value: { from: 'require' },
      files: ['stores.db'],
    });
  });

  test('the classes are the same from both', async () => {
    const answer = await script(
      'same.mjs',
      `import { createRequire } from 'node:module';
       import * as esm from '${main}';
       const cjs = createRequire(import.meta.url)('${main}');
       console.log(Object.keys(esm).every((name) => esm[name] === cjs[name]), Object.keys(esm).length);`,
    );
    expect(answer).toBe('true 11');
  });

  test('a table says what to install', async () => {
    const answer = await script(
      'table.cjs',
      `try { require('${main}').cacheTable.hash } catch (error) { console.log(error.message) }`,
    );
    expect(answer).toMatch(/npm install drizzle-orm$/);
  });

  test('npm takes it beside drizzle-orm, old, new and to come', async () => {
    const { satisfies } = createRequire(npmScript())('semver');
    const { peerDependencies } = await read(main);
    // As npm asks: nothing of the kind "but pre-releases too".
    const isTaken = (/** @type {string} */ version) =>
      satisfies(version, peerDependencies['drizzle-orm'], true);
    const modules = join(root, 'node_modules');
    for (const folder of [
      'sqlite-store-0.2.0/node_modules/drizzle-orm',
      'drizzle-orm',
      'drizzle-orm-1.0',
    ]) {
      const { version } = require(join(modules, folder, 'package.json'));
      expect([version, isTaken(version)]).toEqual([version, true]);
    }
    expect(isTaken('1.0.0')).toBe(true);
    expect(isTaken('0.32.0')).toBe(false);
  });

  test('require loads nothing but files of its own', async () => {
    // How long it takes: npm run bench.
    const answer = await script(
      'loads.cjs',
      `require('${main}');
       // With the package of the platform's binary, which has its name in front.
       const own = require('node:path').dirname(require.resolve('${main}'));
       const files = Object.keys(require.cache).filter((file) => file !== __filename);
       console.log(files.length > 1, files.filter((file) => !file.startsWith(own)).length);`,
    );
    expect(answer).toBe('true 0');
  });
});
