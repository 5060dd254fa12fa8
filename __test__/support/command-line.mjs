// The command line, run as a process of its own on files that are left in every way, and what it does to them.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { Program } = require('./processes.cjs');
const { version } = require('../../package.json');
const clock = fileURLToPath(new URL('../children/clock.cjs', import.meta.url));

/** When all of them are run: leases are not of a time that is only said. */
export const NOW = Date.now();

/** @typedef {{ code: number | null, signal: string | null, stdout: string, stderr: string }} Ended */

/**
 * Runs a command, or what it is part of.
 * @param {string[]} command @param {import('node:child_process').SpawnOptions & { onText?: (soFar: string) => void }} [options]  `onText`: is told what
 *   has been written to stdout
 * @returns {Promise<Ended>}
 */
export function run([file, ...args], { env, onText, ...options } = {}) {
  const child = spawn(file, args, {
    ...options,
    env: { PATH: process.env.PATH, NOW: String(NOW), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written = { stdout: '', stderr: '' };
  for (const name of /** @type {const} */ (['stdout', 'stderr']))
    child[name]?.setEncoding('utf8').on('data', (text) => {
      written[name] += text;
      if (name === 'stdout') onText?.(written.stdout);
    });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...written }));
  });
}

/** The words that run a program at NOW. @param {string} program @param {string[]} words */
export const at = (program, ...words) => [process.execPath, '--require', clock, program, ...words];

/** A directory for files. */
export class Files {
  path = realpathSync(mkdtempSync(join(tmpdir(), 'command-line-')));
  #count = 0;
  /** By kind. @type {Map<string, Promise<string>>} */
  #made = new Map();
  /** @type {InstanceType<typeof Program>[]} */
  #programs = [];

  constructor() {
    // Others than root are to come in.
    chmodSync(this.path, 0o755);
  }

  /** A path in a directory of its own. @param {string} [name] */
  fresh(name = 'stores.db') {
    const directory = join(this.path, String(++this.#count));
    mkdirSync(directory);
    return join(directory, name);
  }

  /**
   * Starts what makes, or has, a file; resolves once it is ready. See `children/inspected.cjs`.
   * @param {string} as @param {string} path @param {object} [more]
   */
  async start(as, path, more) {
    const program = this.#program(as, path, more);
    this.#programs.push(program);
    if ((await program.line()) !== 'ready') throw new Error(`${as} is not ready`);
    return program;
  }

  /** @param {string} as @param {string} path @param {object} [more] */
  #program(as, path, more) {
    const env = { ...process.env, NOW: String(NOW) };
    return new Program('inspected.cjs', { path, as, ...more }, { env });
  }

  /** A file that was made and left. @param {'closed' | 'older'} as @param {object} [options] of the stores */
  async make(as, options) {
    const kind = JSON.stringify([as, options]);
    const made = this.#made.get(kind) ?? this.#make(as, options);
    this.#made.set(kind, made);
    const path = this.fresh();
    copyFileSync(await made, path);
    return path;
  }

  /** @param {string} as @param {object} [options] */
  async #make(as, options) {
    const path = this.fresh();
    const program = this.#program(as, path, { options });
    program.end();
    await program.done();
    return path;
  }

  /** Ends what was started. */
  async end() {
    for (const program of this.#programs.splice(0)) {
      program.end();
      await program.ended;
    }
  }

  async remove() {
    await this.end();
    rmSync(this.path, { recursive: true, force: true });
  }
}

const SIDECARS = ['', '-wal', '-journal', '-shm'];

/**
 * What would tell that a file was touched: which files there are, their bytes and times. An index of the log has marks of those
 * who read.
 * @param {string} path
 */
export function trace(path) {
  /** @type {Record<string, unknown>} */
  const found = { names: readdirSync(dirname(path)).sort() };
  for (const suffix of SIDECARS) {
    const stat = statSync(path + suffix, { bigint: true, throwIfNoEntry: false });
    if (!stat) continue;
    const sum = () =>
      createHash('sha256')
        .update(readFileSync(path + suffix))
        .digest('hex');
    found[suffix] = {
      mtime: stat.mtimeNs,
      size: stat.size,
      bytes: suffix === '-shm' ? null : sum(),
    };
  }
  return found;
}

/**
 * What was printed, as it is compared: without what differs between machines and runs.
 * @param {string} text @param {string} path  the file's
 */
export function normalise(text, path) {
  return text
    .replace(/\b\d{13}\b/g, (ms) => `NOW ${Number(ms) - NOW}`)
    .replace(/"leaseUntil": NOW -?\d+/g, '"leaseUntil": NOW')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, 'TIME')
    .replaceAll(dirname(path), '/DIRECTORY')
    .replace(/\S+(?=\/copy\.db)/g, '/ELSEWHERE')
    .replace(/(?<=Process |open in |, )\d+ \([^)]*\)/g, 'PID (COMMAND)')
    .replace(/process \d+/g, 'process PID')
    .replace(/"pid": \d+/g, '"pid": "PID"')
    .replace(/\d+ MiB are free on/g, 'N MiB are free on')
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UUID')
    .replaceAll(version, 'VERSION');
}

/** What was typed, printed and answered. @param {string[]} words @param {Ended} ended @param {string} path */
export function transcript(words, { code, signal, stdout, stderr }, path) {
  const shown = words.map((word) => (word === path ? basename(path) : word)).join(' ');
  let printed = normalise(stdout + stderr, path);
  // How wide its columns are depends on the number of a process, and on how long ago it was seen.
  if (words[0] === 'jobs')
    printed = printed.replace(/\d+ m?s left/g, 'SPAN left').replace(/(?<=\S) {2,}/g, '  ');
  return `$ sqlite-store ${normalise(shown, path)}\n${printed}= ${signal ?? code}\n`;
}
