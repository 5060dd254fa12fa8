// The package as it is published: packed, and installed without network, scripts and compiler into an empty project.
import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { copyFile, cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/**
 * Like `promisify(execFile)`, with all output in the error.
 * @param {string} file
 * @param {string[]} args
 * @param {import('node:child_process').ExecFileOptions} options
 */
export const run = (file, args, options) =>
  execute(file, args, { ...options, encoding: 'utf8' }).catch((error) => {
    error.message += `\n${error.stdout}`;
    throw error;
  });

const require = createRequire(import.meta.url);
export const root = fileURLToPath(new URL('../..', import.meta.url));
/** @type {any} */
export const manifest = require('../../package.json');

const { platform, arch } = process;
const report = /** @type {any} */ (process.report?.getReport());
const abi = { linux: report.header.glibcVersionRuntime ? '-gnu' : '-musl', win32: '-msvc' }[
  platform
];
export const target = `${platform}-${arch}${abi ?? ''}`;
export const binary = `sqlite-store.${target}.node`;

/** npm's script, to be run with Node itself, for the children have no PATH to find npm by. */
export function npmScript() {
  if (process.env.npm_execpath?.endsWith('.js')) return process.env.npm_execpath;
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const script = join(directory, 'node_modules/npm/bin/npm-cli.js');
    if (existsSync(script)) return script;
    const link = join(directory, 'npm');
    if (existsSync(link) && realpathSync(link).endsWith('.js')) return realpathSync(link);
  }
  throw new Error('npm is not on PATH');
}

/**
 * The main package and this platform's, as the release makes them.
 * @param {string} directory
 * @param {(cwd: string, ...args: string[]) => Promise<{ stdout: string }>} npm
 * @returns {Promise<string[]>} the tarballs
 */
async function pack(directory, npm) {
  const stage = join(directory, 'stage');
  for (const file of ['package.json', 'LICENSE', 'README.md', 'npm', ...manifest.files]) {
    await cp(join(root, file), join(stage, file), { recursive: true });
  }
  for (const name of await readdir(join(stage, 'npm'))) {
    // The tool insists on all binaries; only this platform's is looked at.
    const placeholder = join(stage, 'npm', name, `sqlite-store.${name}.node`);
    await writeFile(placeholder, '');
  }
  await copyFile(join(root, 'lib', binary), join(stage, 'npm', target, binary));
  await run(process.execPath, [join(root, 'scripts/notices.mjs'), join(stage, 'npm')], {
    cwd: root,
  });
  await run(
    process.execPath,
    [
      require.resolve('@napi-rs/cli/package.json').replace('package.json', 'dist/cli.js'),
      'pre-publish',
      ...['--cwd', stage, '--npm-dir', 'npm', '--tag-style', 'npm'],
      '--no-gh-release',
      '--skip-optional-publish',
    ],
    { cwd: stage },
  );
  const tarballs = [];
  for (const folder of [stage, join(stage, 'npm', target)]) {
    // The page of the dashboard is built before the tests run: what is staged has no scripts to build it again.
    const options = ['--ignore-scripts', '--json', '--pack-destination', directory];
    const { stdout } = await npm(folder, 'pack', ...options);
    tarballs.push(join(directory, JSON.parse(stdout)[0].filename));
  }
  return tarballs;
}

/** Installs it. `env` has Node on its path, and nothing else. */
export async function installPackage() {
  const directory = realpathSync(await mkdtemp(join(tmpdir(), 'package-')));
  const bin = join(directory, 'bin');
  await mkdir(bin);
  if (platform !== 'win32') await symlink(process.execPath, join(bin, 'node'));
  const { HOME, USERPROFILE, SystemRoot, TEMP, TMPDIR } = process.env;
  /** @type {NodeJS.ProcessEnv} */
  const env = {
    ...{ HOME, USERPROFILE, SystemRoot, TEMP, TMPDIR },
    PATH: bin,
    npm_config_cache: join(directory, 'cache'),
    npm_config_update_notifier: 'false',
  };
  const project = join(directory, 'project');
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{ "private": true }');
  /** @param {string} cwd @param {string[]} args */
  const npm = (cwd, ...args) => run(process.execPath, [npmScript(), ...args], { cwd, env });
  const tarballs = await pack(directory, npm);
  await npm(project, 'install', '--offline', '--ignore-scripts', ...tarballs);
  const remove = () => rm(directory, { recursive: true, force: true });
  return { directory, project, env, remove };
}
