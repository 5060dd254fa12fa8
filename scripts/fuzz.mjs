/**
 * Runs the fuzz targets one after the other, each for FUZZ_SECONDS (default 300), or those that are named. What they start
 * from grows in `fuzz/corpus`. Installs cargo-fuzz in `target/tools` if it is missing and, with apt, clang, by which SQLite
 * tells where an input has got to, too.
 *
 * An input that finds something is left in `fuzz/artifacts`. With the mended code it belongs in `fuzz/findings`, in the folder
 * of its target, where `cargo test` tries it each time.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tools = join(root, 'target', 'tools');
const seconds = Number(process.env.FUZZ_SECONDS ?? 300);
const targets = process.argv.length > 2 ? process.argv.slice(2) : ['values', 'options', 'files'];

const env = {
  ...process.env,
  PATH: `${join(tools, 'bin')}${delimiter}${process.env.PATH}`,
  // Sanitizers are options of unstable Rust.
  RUSTC_BOOTSTRAP: '1',
};

/** @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} [more] */
function run(command, args, more = {}) {
  const { status } = spawnSync(command, args, {
    cwd: root,
    env: { ...env, ...more },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return status === 0;
}

/** @param {string} command */
const has = (command) => spawnSync(command, ['--version'], { env }).status === 0;

if (!existsSync(join(tools, 'bin', 'cargo-fuzz')) && !has('cargo-fuzz')) {
  if (!run('cargo', ['install', '--locked', '--root', tools, 'cargo-fuzz'])) process.exit(1);
}
if (!has('clang')) run('apt-get', ['install', '--yes', '--no-install-recommends', 'clang']);
const compiler = has('clang')
  ? {
      CC: 'clang',
      CFLAGS: '-fsanitize=fuzzer-no-link,address -fno-omit-frame-pointer -g1',
    }
  : {};
if (!('CC' in compiler)) console.error('fuzz: without clang, SQLite is run and not looked into');

for (const target of targets) {
  const corpus = join(root, 'fuzz', 'corpus', target);
  mkdirSync(corpus, { recursive: true });
  const args = [
    `-max_total_time=${seconds}`,
    // Statements may take all of their budgets, and take ten times as long here.
    '-timeout=600',
    '-rss_limit_mb=6000',
    '-max_len=1024',
    '-len_control=0',
    '-print_final_stats=1',
  ];
  console.log(`fuzz: ${target}, ${seconds} s`);
  const found = !run(
    'cargo',
    ['fuzz', 'run', '--fuzz-dir', 'fuzz', target, corpus, '--', ...args],
    compiler,
  );
  if (found) {
    console.error(`fuzz: ${target} found something, or was not built`);
    process.exitCode = 1;
  }
}
