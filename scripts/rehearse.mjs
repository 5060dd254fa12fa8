/**
 * Rehearses a release: what release.yml does after the binaries are built, with a registry of its own on this machine, which asks
 * npm's for all else. Then installs the new version from it with npm, pnpm, yarn and bun: into an empty project, and into one that
 * has 0.2.0 and goes back to it. Prints what was published and installed, with sizes; exits with 1 if anything failed.
 *
 * Binaries of other platforms are those that scripts/platforms.sh has built; where there is none, an empty file stands in, so that
 * its package is there, as it will be. Nobody here installs that one.
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { install } from './npm.mjs';

const freePort = createRequire(import.meta.url)('../__test__/support/ports.cjs');
const root = fileURLToPath(new URL('..', import.meta.url));
const tools = join(root, '__test__/release');
const folder = join(root, 'target/rehearsal');
const source = join(folder, 'source');
const NAME = '@comic-vine/sqlite-store';
const OLD = '0.2.0';

/** Where scripts/platforms.sh leaves the binary of a target. @type {Record<string, string>} */
const ELSEWHERE = {
  'linux-arm64-gnu': 'aarch64-unknown-linux-gnu/release/libcomic_vine_sqlite_store.so',
  'win32-x64-msvc': 'x86_64-pc-windows-gnu/release/comic_vine_sqlite_store.dll',
};

const kilobytes = (/** @type {number} */ bytes) =>
  `${Math.ceil(bytes / 1_024).toLocaleString('en')} KB`;

/**
 * Runs a program to its end; what it printed.
 * @param {string} cwd @param {NodeJS.ProcessEnv} env @param {string} program @param {string[]} args
 */
function run(cwd, env, program, ...args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status === 0) return stdout;
  throw new Error(
    `${program} ${args.join(' ')} in ${cwd}: ${error ?? `exit code ${status}`}\n${stdout}\n${stderr}`,
  );
}

/** Starts a registry that is empty but for what it fetches. */
async function startRegistry() {
  const url = `http://127.0.0.1:${await freePort()}/`;
  const upstream = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
  const rules = { access: '$all', publish: '$all', unpublish: '$all' };
  const config = join(folder, 'verdaccio.json');
  writeFileSync(
    config,
    JSON.stringify({
      storage: join(folder, 'storage'),
      auth: { htpasswd: { file: join(folder, 'htpasswd') } },
      uplinks: { npmjs: { url: upstream, timeout: '60s' } },
      packages: {
        [`${NAME}-*`]: rules,
        '**': { ...rules, proxy: 'npmjs' },
      },
      max_body_size: '100mb',
      log: { type: 'stdout', level: 'warn' },
    }),
  );
  const child = spawn(
    process.execPath,
    [join(tools, 'node_modules/verdaccio/bin/verdaccio'), '--config', config, '--listen', url],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  for (let attempt = 0; ; attempt++) {
    if (child.exitCode !== null) throw new Error('the registry has ended');
    try {
      if ((await fetch(`${url}-/ping`)).ok) break;
    } catch {
      // Not yet.
    }
    if (attempt > 600) throw new Error('the registry does not answer');
    await sleep(100);
  }
  return { url, stop: () => child.kill() };
}

/** A clone of what is committed, in which a version can be made. */
function cloneSource() {
  run(folder, {}, 'git', 'clone', '--quiet', root, source);
  symlinkSync(join(root, 'node_modules'), join(source, 'node_modules'), 'junction');
  for (const [key, value] of [
    ['user.name', 'Rehearsal'],
    ['user.email', 'rehearsal@localhost'],
  ])
    run(source, {}, 'git', 'config', key, value);
}

/** The binaries, where release.yml has them by then; the platforms that have none. */
function placeBinaries() {
  const artifacts = join(source, 'artifacts');
  const stood = [];
  for (const platform of readdirSync(join(source, 'npm'))) {
    const name = `sqlite-store.${platform}.node`;
    const place = join(artifacts, `binding-${platform}`);
    mkdirSync(place, { recursive: true });
    const elsewhere = join(root, 'target/platforms/build', ELSEWHERE[platform] ?? 'none');
    const built = [join(source, 'lib', name), elsewhere].find(existsSync);
    if (built) copyFileSync(built, join(place, name));
    else {
      stood.push(platform);
      writeFileSync(join(place, name), '');
    }
  }
  return stood;
}

/** Makes a version as release.yml says. @param {string[]} kind */
function makeVersion(...kind) {
  run(source, {}, 'npm', 'version', ...kind);
  run(source, {}, 'git', 'diff', '--exit-code');
  const { version } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  return version;
}

/** Publishes a version as release.yml does. @param {string} version @param {string} url */
function publish(version, url) {
  // Logged in; anybody is.
  const login = join(folder, 'npmrc');
  writeFileSync(login, `${url.slice('http:'.length)}:_authToken=anybody\n`);
  const tag = (version.split('-')[1] ?? 'latest').split('.')[0];
  const env = { npm_config_registry: url, NPM_CONFIG_TAG: tag, npm_config_userconfig: login };
  const napi = join(source, 'node_modules/.bin/napi');
  run(source, env, napi, 'artifacts', '--output-dir', 'artifacts', '--npm-dir', 'npm');
  run(source, env, process.execPath, 'scripts/notices.mjs', 'npm');
  run(source, env, 'npm', 'run', 'test:package');
  run(
    source,
    env,
    napi,
    'pre-publish',
    '--npm-dir',
    'npm',
    '--tag-style',
    'npm',
    '--no-gh-release',
  );
  run(source, env, 'npm', 'publish');
  run(source, {}, 'git', 'checkout', '--quiet', '--', '.');
}

/** What a project asks for, in both kinds of modules: it keeps a file, and says what was in it. */
const PROGRAM = `
const { SQLiteCacheStore, SQLiteDedupeStore, SQLiteRateLimitStore } = require('${NAME}');
(async () => {
  const options = { database: './store.db' };
  const cache = new SQLiteCacheStore(options);
  const limiter = new SQLiteRateLimitStore({ ...options, defaultConfig: { limit: 100, windowMs: 3600000 } });
  const dedupe = new SQLiteDedupeStore(options);
  const runs = (await cache.get('runs')) ?? [];
  runs.push('createSQLiteStores' in require('${NAME}') ? 'new' : 'old');
  await cache.set('runs', runs, 3600);
  await limiter.record('issues');
  await dedupe.register('job');
  await dedupe.complete('job', 1);
  const { remaining, limit } = await limiter.getStatus('issues');
  console.log(JSON.stringify({ runs, requests: limit - remaining }));
  for (const store of [cache, limiter, dedupe]) await store.close();
})();
`;
const MODULE = `
import { SQLiteCacheStore } from '${NAME}';
const cache = new SQLiteCacheStore({ database: ':memory:' });
await cache.set('key', { stored: true }, 60);
console.log(JSON.stringify(await cache.get('key')));
await cache.close();
`;

/**
 * What installs: how to add packages to a project, and what runs programs there.
 * @typedef {{ add: string[], node?: string[], files?: Record<string, string>, libc?: boolean, upgrades?: boolean }} Manager
 * @param {string} url
 * @returns {Record<string, Manager>}
 */
function managers(url) {
  const bun = join(tools, `node_modules/@oven/bun-${process.platform}-${process.arch}/bin/bun`);
  const yarn = join(tools, 'node_modules/@yarnpkg/cli-dist/bin/yarn.js');
  const berry = (/** @type {string} */ linker) => ({
    add: [process.execPath, yarn, 'add'],
    files: {
      'yarn.lock': '',
      '.yarnrc.yml': [
        `npmRegistryServer: "${url}"`,
        'unsafeHttpWhitelist: ["127.0.0.1"]',
        `nodeLinker: ${linker}`,
        'pnpEnableEsmLoader: true',
        'enableScripts: false',
        'enableTelemetry: false',
        // By default it takes nothing that was published in the last days.
        'npmMinimalAgeGate: 0',
        '',
      ].join('\n'),
    },
  });
  return {
    npm: { add: ['npm', 'install', '--ignore-scripts', '--no-audit', '--no-fund'] },
    pnpm: { add: [join(tools, 'node_modules/.bin/pnpm'), 'add', '--ignore-scripts'] },
    'yarn 1': {
      add: [
        process.execPath,
        join(tools, 'node_modules/yarn/bin/yarn.js'),
        'add',
        '--ignore-scripts',
      ],
      libc: false,
    },
    'yarn 4': berry('node-modules'),
    // Of which nothing is written to node_modules; 0.2.0's driver would have to be compiled into its archive.
    'yarn 4, Plug’n’Play': {
      ...berry('pnp'),
      node: [process.execPath, '--require', './.pnp.cjs', '--loader', './.pnp.loader.mjs'],
      upgrades: false,
    },
    bun: {
      add: [bun, 'add', '--ignore-scripts'],
      node: [bun],
      // Bun does not load better-sqlite3: 0.2.0 is installed, and run by Node.
    },
  };
}

/** Puts the driver of 0.2.0 where its install script would have: compiled once, for this clone. @param {string} project */
function placeDriver(project) {
  const own = createRequire(join(root, 'package.json'));
  const store = realpathSync(join(project, 'node_modules', NAME));
  const there = join(
    createRequire(join(store, 'x.js')).resolve('better-sqlite3/package.json'),
    '..',
  );
  const versions = [
    own('better-sqlite3/package.json'),
    createRequire(join(there, 'x.js'))('./package.json'),
  ];
  if (versions[0].version !== versions[1].version)
    throw new Error(
      `better-sqlite3 is ${versions.map(({ version }) => version).join(' here and ')} there`,
    );
  const built = 'build/Release/better_sqlite3.node';
  mkdirSync(join(there, 'build/Release'), { recursive: true });
  copyFileSync(join(own.resolve('better-sqlite3/package.json'), '..', built), join(there, built));
}

/** @param {string} name @param {Manager} manager @param {string} url */
function tryManager(name, manager, url) {
  /** @param {string} part */
  function start(part) {
    const project = join(folder, 'projects', `${name} ${part}`.replace(/\W+/g, '-'));
    mkdirSync(project, { recursive: true });
    const files = {
      'package.json': '{"name":"project","version":"1.0.0","private":true}',
      '.npmrc': `registry=${url}\n`,
      'program.cjs': PROGRAM,
      'module.mjs': MODULE,
      ...manager.files,
    };
    for (const [file, text] of Object.entries(files)) writeFileSync(join(project, file), text);
    return project;
  }
  // Where they keep what they fetched.
  const env = { npm_config_registry: url, HOME: join(folder, 'home') };
  const add = (/** @type {string} */ project, /** @type {string[]} */ ...packages) =>
    run(project, env, manager.add[0] ?? '', ...manager.add.slice(1), ...packages);
  /** @param {string} project @param {string} script @param {string[]} [command] */
  function answer(project, script, command = [process.execPath]) {
    const printed = run(project, {}, command[0] ?? '', ...command.slice(1), script);
    return JSON.parse(printed.trim().split('\n').at(-1) ?? '');
  }
  /** @param {unknown} actual @param {unknown} expected */
  function expect(actual, expected) {
    const [one, other] = [actual, expected].map((value) => JSON.stringify(value));
    if (one !== other) throw new Error(`${name}: expected ${other}, got ${one}`);
  }

  const empty = start('empty');
  const began = performance.now();
  add(empty, NAME);
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  expect(answer(empty, 'program.cjs', manager.node), { runs: ['new'], requests: 1 });
  expect(answer(empty, 'program.cjs', manager.node), { runs: ['new', 'new'], requests: 2 });
  expect(answer(empty, 'module.mjs', manager.node), { stored: true });
  const scope = join(empty, 'node_modules/@comic-vine');
  // Not everywhere in the project. Yarn 1 does not know `libc`, so it takes those for glibc and for musl.
  const installed = existsSync(scope) ? readdirSync(scope).length : 0;
  if (installed > (manager.libc === false ? 3 : 2))
    throw new Error(`${name}: more binaries than fit`);
  console.log(`${name}: installed in ${seconds} s; runs as CommonJS and as a module`);

  if (manager.upgrades === false) return;
  const project = start('upgrade');
  add(project, `${NAME}@${OLD}`);
  placeDriver(project);
  expect(answer(project, 'program.cjs'), { runs: ['old'], requests: 1 });
  add(project, `${NAME}@latest`);
  expect(answer(project, 'program.cjs', manager.node), { runs: ['old', 'new'], requests: 2 });
  add(project, `${NAME}@${OLD}`);
  placeDriver(project);
  expect(answer(project, 'program.cjs'), { runs: ['old', 'new', 'old'], requests: 3 });
  console.log(`${name}: from ${OLD} to this version and back, on one file`);
}

install(tools, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
cloneSource();
const version = makeVersion('minor');
run(source, { CARGO_TARGET_DIR: join(root, 'target') }, 'npm', 'run', 'build');
const stood = placeBinaries();
const registry = await startRegistry();
let failed = 0;
try {
  publish(version, registry.url);
  // The binaries are of the version before: nobody loads these.
  const beta = makeVersion('prepatch', '--preid', 'beta');
  publish(beta, registry.url);
  /** @type {any} */
  const published = await (await fetch(`${registry.url}${NAME.replace('/', '%2f')}`)).json();
  const tags = JSON.stringify(published['dist-tags']);
  if (published['dist-tags'].latest !== version || published['dist-tags'].beta !== beta)
    throw new Error(`the tags are ${tags}`);
  console.log(`published ${version} and ${beta}: ${tags}`);
  for (const name of Object.keys(published.versions[version].optionalDependencies).concat(NAME)) {
    /** @type {any} */
    const one = await (await fetch(`${registry.url}${name.replace('/', '%2f')}`)).json();
    const { dist } = one.versions[version];
    const packed = Buffer.from(await (await fetch(dist.tarball)).arrayBuffer());
    const note = stood.some((platform) => name.endsWith(platform)) ? ' (without its binary)' : '';
    console.log(
      `  ${name}: ${kilobytes(packed.length)}, ${kilobytes(gunzipSync(packed).length)} unpacked${note}`,
    );
  }
  for (const [name, manager] of Object.entries(managers(registry.url))) {
    try {
      tryManager(name, manager, registry.url);
    } catch (error) {
      failed += 1;
      console.error(`FAILED ${name}: ${error.message}`);
    }
  }
} finally {
  registry.stop();
}
process.exitCode = failed > 0 ? 1 : 0;
