// The published packages: packed as the release makes them, and installed without network, scripts and compiler into an
// empty project.
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
const run = (file, args, options) =>
  execute(file, args, { ...options, encoding: 'utf8' }).catch((error) => {
    error.message += `\n${error.stdout}`;
    throw error;
  });

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL('../..', import.meta.url));
const manifest = require('../../package.json');

const { platform, arch } = process;
const report = /** @type {any} */ (process.report?.getReport());
const abi = { linux: report.header.glibcVersionRuntime ? '-gnu' : '-musl', win32: '-msvc' }[
  platform
];
const target = `${platform}-${arch}${abi ?? ''}`;

/** This platform's addon: a file in `lib`, and the package that has it. */
export const binary = `sqlite-store.${target}.node`;
export const native = `${manifest.name}-${target}`;

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

/** A project that has nothing but the packages. */
class Project {
  /** @param {string} directory */
  constructor(directory) {
    /** Whatever belongs to it. */
    this.directory = directory;
    this.path = join(directory, 'project');
    /** What the packages were packed from, before they had their binaries' names. */
    this.stage = join(directory, 'stage');
    const { HOME, USERPROFILE, SystemRoot, TEMP, TMPDIR } = process.env;
    /** @type {NodeJS.ProcessEnv} */
    this.env = {
      ...{ HOME, USERPROFILE, SystemRoot, TEMP, TMPDIR },
      PATH: join(directory, 'bin'),
      npm_config_cache: join(directory, 'cache'),
      npm_config_update_notifier: 'false',
    };
  }

  /** @param {string} cwd @param {string[]} args */
  npm(cwd, ...args) {
    return run(process.execPath, [npmScript(), ...args], { cwd, env: this.env });
  }

  /** Runs a script in it, and answers what it has written. @param {string} name @param {string} source */
  async script(name, source) {
    await writeFile(join(this.path, name), source);
    const { stdout } = await run(process.execPath, [name], { cwd: this.path, env: this.env });
    return stdout.trim();
  }

  remove() {
    return rm(this.directory, { recursive: true, force: true });
  }
}

/**
 * The main package and this platform's, as the release makes them.
 * @param {Project} project
 * @returns {Promise<string[]>} the tarballs
 */
async function pack(project) {
  const { stage, directory } = project;
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
    // What is built is there: what builds it before a release is not among what is packed.
    const options = ['--json', '--ignore-scripts', '--pack-destination', directory];
    const { stdout } = await project.npm(folder, 'pack', ...options);
    tarballs.push(join(directory, JSON.parse(stdout)[0].filename));
  }
  return tarballs;
}

/** Packs and installs them. */
export async function install() {
  const project = new Project(realpathSync(await mkdtemp(join(tmpdir(), 'package-'))));
  await mkdir(join(project.directory, 'bin'));
  if (platform !== 'win32') await symlink(process.execPath, join(project.directory, 'bin', 'node'));
  await mkdir(project.path);
  await writeFile(join(project.path, 'package.json'), '{ "private": true }');
  await project.npm(
    project.path,
    'install',
    '--offline',
    '--ignore-scripts',
    ...(await pack(project)),
  );
  return project;
}
