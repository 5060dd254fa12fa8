/**
 * Programs that are bundled, as users do: with esbuild and Next.js, and with the environment's ALL_BUNDLERS (in .ci/long) with
 * those that docs/bundlers.md names besides. `scripts/bundlers.mjs` installs them.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, '__test__/bundlers');
const manifest = createRequire(import.meta.url)('../package.json');
const freePort = createRequire(import.meta.url)('./support/ports.cjs');
const of = createRequire(join(folder, 'package.json'));
const more = createRequire(join(folder, 'more/package.json'));
const all = Boolean(process.env.ALL_BUNDLERS);

/** Lays the package as npm does. @param {string} modules */
function lay(modules) {
  const store = join(modules, '@comic-vine/sqlite-store');
  rmSync(join(modules, '@comic-vine'), { recursive: true, force: true });
  for (const file of ['package.json', ...manifest.files])
    cpSync(join(root, file), join(store, file), { recursive: true });
  for (const file of readdirSync(join(root, 'lib'))) {
    const [, target, extension] = file.split('.');
    if (extension !== 'node') continue;
    cpSync(join(root, 'npm', target), `${store}-${target}`, { recursive: true });
    cpSync(join(root, 'lib', file), join(`${store}-${target}`, file));
  }
}

/** A bundler's module, imported. @param {NodeJS.Require} from @param {string} name @returns {Promise<any>} */
const load = (from, name) => import(pathToFileURL(from.resolve(name)).href);

let directory = '';
let project = '';
let entry = '';
beforeAll(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'bundlers-')));
  project = join(directory, 'project');
  entry = join(project, 'program.mjs');
  lay(join(project, 'node_modules'));
  cpSync(join(folder, 'program.mjs'), entry);
  for (const name of ['better-sqlite3', 'drizzle-orm'])
    symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name), 'junction');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What a built program prints, run from elsewhere. @param {string} file @param {Record<string, string>} [env] */
function run(file, env) {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [file, join(mkdtempSync(join(directory, 'files-')), 'stores.db')],
    { cwd: directory, encoding: 'utf8', env: { ...process.env, ...env } },
  );
  if (!stdout.startsWith('{')) throw new Error(`${file}: ${stdout}${stderr}`.slice(0, 2_000));
  return JSON.parse(stdout);
}

const works = { value: { works: true }, isInProgress: true };

/** @param {string} name @param {object} [options] @returns {Promise<string>} what esbuild wrote */
async function esbuild(name, options) {
  const { build } = await load(of, 'esbuild');
  const outfile = join(project, 'dist', name);
  const { warnings } = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    external: ['better-sqlite3'],
    outfile,
    logLevel: 'silent',
    ...options,
  });
  expect(warnings).toEqual([]);
  return outfile;
}

describe('esbuild, with the options that 0.2.0 needed', () => {
  test('0.2.0 itself', async () => {
    const alias = { '@comic-vine/sqlite-store': join(root, 'node_modules/sqlite-store-0.2.0') };
    expect(run(await esbuild('old.cjs', { alias }))).toEqual(works);
  });

  test.each([
    ['CommonJS', { format: 'cjs' }, 'cjs'],
    ['an ES module', { format: 'esm' }, 'mjs'],
    ['an ES module, minified', { format: 'esm', minify: true }, 'min.mjs'],
  ])('%s', async (_, options, end) => {
    expect(run(await esbuild(`new.${end}`, options))).toEqual(works);
  });

  test.each(['cjs', 'mjs'])('.%s without node_modules: beside the binary, or told', async (end) => {
    const alone = mkdtempSync(join(directory, 'alone-'));
    mkdirSync(join(alone, 'node_modules'));
    const to = join(alone, `program.${end}`);
    const format = end === 'cjs' ? 'cjs' : 'esm';
    cpSync(await esbuild(`alone.${end}`, { format }), to);
    const better = join(alone, 'node_modules/better-sqlite3');
    symlinkSync(join(root, 'node_modules/better-sqlite3'), better, 'junction');
    if (end === 'cjs') {
      expect(() => run(to)).toThrow(/SQLITE_STORE_NOT_INSTALLED/);
      expect(() => run(to)).toThrow(/Ship node_modules\/@comic-vine\/sqlite-store-/);
    }
    const [binary] = readdirSync(join(root, 'lib')).filter((name) => name.endsWith('.node'));
    cpSync(join(root, 'lib', binary), join(alone, binary));
    expect(run(to)).toEqual(works);
  });

  test('as a package that is not bundled', async () => {
    const external = ['better-sqlite3', '@comic-vine/sqlite-store'];
    expect(run(await esbuild('external.cjs', { external }))).toEqual(works);
  });
});

describe('Next.js', () => {
  const next = () => of.resolve('next/dist/bin/next');
  beforeAll(() => lay(join(folder, 'node_modules')));
  afterAll(() => {
    rmSync(join(folder, '.next'), { recursive: true, force: true });
    rmSync(join(folder, 'node_modules/@comic-vine'), { recursive: true, force: true });
  });

  /** @param {Record<string, string>} env @param {string[]} options */
  function build(env, ...options) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [next(), 'build', ...options], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1', ...env, NODE_ENV: 'production' },
    });
    expect({ status, output: status === 0 ? '' : stdout + stderr }).toEqual({
      status: 0,
      output: '',
    });
  }

  /** What a server answers. @param {string} cwd @param {(port: number) => string[]} args */
  async function visit(cwd, args) {
    const port = await freePort();
    const database = join(mkdtempSync(join(directory, 'files-')), 'stores.db');
    const server = spawn(process.execPath, args(port), {
      cwd,
      env: {
        ...process.env,
        NODE_ENV: 'production',
        NEXT_TELEMETRY_DISABLED: '1',
        DATABASE: database,
        PORT: `${port}`,
        HOSTNAME: '127.0.0.1',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [server.stdout, server.stderr])
      stream.on('data', (chunk) => {
        output += chunk;
      });
    const end = once(server, 'exit');
    try {
      const answers = [];
      while (answers.length < 2) {
        if (server.exitCode !== null) throw new Error(output);
        const response = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
        // It does not listen yet.
        if (!response) await new Promise((resolve) => setTimeout(resolve, 100));
        else answers.push(/visits: (\d+)/.exec(await response.text())?.[1] ?? output);
      }
      return answers;
    } finally {
      server.kill();
      await end;
    }
  }

  const limit = { timeout: 600_000 };

  test('without any setting', limit, async () => {
    build({});
    expect(await visit(folder, (port) => [next(), 'start', '-p', `${port}`])).toEqual(['1', '2']);
  });

  test.runIf(all)("with output: 'standalone', moved", limit, async () => {
    build({ STANDALONE: '1' });
    const moved = join(directory, 'standalone');
    cpSync(join(folder, '.next/standalone'), moved, { recursive: true, verbatimSymlinks: true });
    expect(await visit(moved, () => ['server.js'])).toEqual(['1', '2']);
  });

  test.runIf(all)('with webpack', limit, async () => {
    build({}, '--webpack');
    expect(await visit(folder, (port) => [next(), 'start', '-p', `${port}`])).toEqual(['1', '2']);
  });
});

/** Builders, each as users have it, with nothing said of this package. @type {Record<string, (out: string) => Promise<void>>} */
const others = {
  async rollup(out) {
    const { rollup } = await load(more, 'rollup');
    const plugin = async (/** @type {string} */ name, options = {}) =>
      (await load(more, `@rollup/plugin-${name}`)).default(options);
    const plugins = [
      await plugin('node-resolve', { preferBuiltins: true }),
      await plugin('commonjs'),
      await plugin('json'),
    ];
    const bundle = await rollup({ input: entry, plugins, external: ['better-sqlite3'] });
    await bundle.write({ file: out, format: 'es', inlineDynamicImports: true });
  },
  async rolldown(out) {
    const { rolldown } = await load(more, 'rolldown');
    const bundle = await rolldown({ input: entry, platform: 'node', external: ['better-sqlite3'] });
    await bundle.write({ file: out, format: 'esm' });
  },
  async webpack(out) {
    const { default: webpack } = await load(more, 'webpack');
    await new Promise((resolve, reject) => {
      const options = {
        mode: 'production',
        target: 'node',
        context: project,
        entry,
        externals: { 'better-sqlite3': 'module better-sqlite3' },
        output: { path: project, filename: 'dist/webpack.mjs', module: true },
        experiments: { outputModule: true },
      };
      webpack(options, (/** @type {any} */ error, /** @type {any} */ stats) => {
        if (error || stats.hasErrors()) reject(error ?? new Error(stats.toString()));
        else resolve(undefined);
      });
    });
    cpSync(join(project, 'dist/webpack.mjs'), out);
  },
  'Vite SSR': (out) => vite(out, {}),
  'Vite SSR, with all packages in the output': (out) =>
    vite(out, { noExternal: true, external: ['better-sqlite3'] }),
  tsup: (out) => tsup(out, {}),
  'tsup, with the package in the output': (out) =>
    tsup(out, { noExternal: ['@comic-vine/sqlite-store'] }),
};

/** @param {string} out @param {object} ssr */
async function vite(out, ssr) {
  const { build } = await load(more, 'vite');
  const outDir = join(project, 'dist/vite');
  await build({
    root: project,
    configFile: false,
    logLevel: 'error',
    ssr,
    build: { ssr: entry, outDir, emptyOutDir: true },
  });
  cpSync(join(outDir, readdirSync(outDir)[0]), out);
}

/** @param {string} out @param {object} options */
async function tsup(out, options) {
  const outDir = join(project, 'dist/tsup');
  const cli = join(folder, 'more/node_modules/tsup/dist/cli-default.js');
  // What is in `dependencies` is external.
  const dependencies = { '@comic-vine/sqlite-store': '*', 'better-sqlite3': '*' };
  const description = JSON.stringify({ dependencies, tsup: options });
  writeFileSync(join(project, 'package.json'), description);
  const args = [cli, 'program.mjs', '--format', 'esm', '--out-dir', outDir, '--clean'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: project,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stdout + stderr);
  cpSync(join(outDir, readdirSync(outDir)[0]), out);
}

test.runIf(all).each(Object.entries(others))('%s', { timeout: 300_000 }, async (name, build) => {
  const out = join(project, 'out', `${name.replace(/\W+/g, '-')}.mjs`);
  await build(out);
  expect(run(out)).toEqual(works);
});
