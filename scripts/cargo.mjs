// Building the library with cargo: uses nothing but what comes with Node and Rust.

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, renameSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What stands for folders of this machine in what is built. Of several that fit, the compiler takes the last. */
const FOLDERS = {
  [homedir()]: '/home',
  [process.env.CARGO_HOME ?? `${homedir()}/.cargo`]: '/cargo',
  [root.slice(0, -1)]: '/sqlite-store',
};

/** The environment, with flags of the compiler for what is published. */
export function environment() {
  const flags = Object.entries(FOLDERS).map(([from, to]) => `--remap-path-prefix=${from}=${to}`);
  const given = (process.env.RUSTFLAGS ?? '').split(' ').filter(Boolean);
  // No path of this machine is in what is made. A flag in RUSTFLAGS cannot have a blank.
  const usable = flags.filter((flag) => !flag.includes(' '));
  // Windows does not bring Visual C++'s runtime, and Node.js does not need it.
  if (process.platform === 'win32') usable.push('-Ctarget-feature=+crt-static');
  const RUSTFLAGS = [...given, ...usable].join(' ');
  return { ...process.env, RUSTFLAGS };
}

/** @param {string} messages  cargo's, a line of JSON each @returns {string | undefined} the library it made */
function library(messages) {
  for (const line of messages.split('\n')) {
    if (!line.startsWith('{')) continue;
    const { reason, target, filenames } = JSON.parse(line);
    if (reason === 'compiler-artifact' && target.kind.includes('cdylib')) {
      return filenames.find((/** @type {string} */ name) => /\.(so|dylib|dll)$/.test(name));
    }
  }
  return undefined;
}

/**
 * Builds the library and copies it; ends this process if that fails.
 * @param {string} why
 * @param {string} to
 * @param {string[]} options  of `cargo build`
 * @param {NodeJS.ProcessEnv} [env]
 */
export function buildLibrary(why, to, options, env = process.env) {
  const start = new Date();
  const locked = process.env.CI ? ['--locked'] : [];
  const args = ['build', '--lib', ...options, ...locked];
  console.log(`${why}: cargo ${args.join(' ')}`);
  const { status, error, stdout } = spawnSync(
    'cargo',
    [...args, '--message-format', 'json-render-diagnostics'],
    { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  const built = status === 0 ? library(stdout) : undefined;
  if (!built) {
    console.error(`the build failed: ${error ?? `exit code ${status}`}`);
    process.exit(status || 1);
  }
  mkdirSync(dirname(to), { recursive: true });
  // By another name first: a process that has the old one loaded would end if that were written over.
  const temporary = `${to}.${process.pid}`;
  copyFileSync(built, temporary);
  // As old as the start of the build: what is edited during it is newer.
  utimesSync(temporary, start, start);
  renameSync(temporary, to);
}
