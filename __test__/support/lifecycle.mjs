// What the tests of states, hostile input and threads share: directories, child processes, seeds, time limits.

import { fork, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach } from 'vitest';
import { SEED } from './seed.mjs';

// Taken before a test fakes it.
const realSetTimeout = setTimeout;
const realClearTimeout = clearTimeout;

/** @param {string} name */
export const child = (name) => fileURLToPath(new URL(`../children/${name}`, import.meta.url));

/** A directory of its own for each test of the suite that calls this. */
export function isolate() {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'lifecycle-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    /** @param {string[]} names */
    path: (...names) => join(directory, ...names),
    files: () => readdirSync(directory).sort(),
  };
}

/**
 * @typedef {object} Ended
 * @property {number | null} code
 * @property {NodeJS.Signals | null} signal
 * @property {string} stdout
 * @property {string} stderr
 */

/**
 * Runs a script of `children/` to its end. One that does not come to it is killed: `signal` is then `SIGKILL`.
 * @param {string} name
 * @param {unknown} [input]  what the script finds, as JSON, in `process.argv[2]`
 * @param {{ node?: string[], uid?: number, timeout?: number, cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {Promise<Ended>}
 */
export function run(name, input = {}, { node = [], uid, timeout = 20_000, cwd, env } = {}) {
  return new Promise((resolve, reject) => {
    const started = spawn(process.execPath, [...node, child(name), JSON.stringify(input)], {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    let stdout = '';
    let stderr = '';
    started.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    started.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    const timer = realSetTimeout(() => started.kill('SIGKILL'), timeout);
    started.on('error', reject);
    started.on('close', (code, signal) => {
      realClearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}

/**
 * As `run`, for a script that answers with JSON and is expected to end well.
 * @param {Parameters<typeof run>} parameters
 * @returns {Promise<any>}
 */
export async function ask(...parameters) {
  const { code, signal, stdout, stderr } = await run(...parameters);
  if (code !== 0 || signal !== null) {
    throw new Error(
      `${parameters[0]} ended with ${signal ?? code}\n${JSON.stringify(parameters[1])}\n${stdout}\n${stderr}`,
    );
  }
  return JSON.parse(stdout);
}

/** A process that looks into files, and locks them, with another copy of SQLite: see `children/onlooker.cjs`. */
export function startOnlooker() {
  const started = fork(child('onlooker.cjs'));
  /** @type {((answer: any) => void)[]} */
  const waiting = [];
  started.on('message', (answer) => waiting.shift()?.(answer));
  /** @param {Record<string, unknown>} request */
  const call = (request) =>
    new Promise((resolve, reject) => {
      waiting.push(({ error, result }) => (error ? reject(new Error(error)) : resolve(result)));
      started.send(request);
    });
  afterAll(() => {
    started.kill();
  });
  return {
    /**
     * The rows of a query, each as an array.
     * @param {string} path @param {string} sql @param {unknown[]} parameters
     * @returns {Promise<any[]>}
     */
    rows: (path, sql, ...parameters) => call({ path, sql, parameters }),
    /** @param {string} path @returns {Promise<any>} */
    checkIntegrity: (path) =>
      call({ path, sql: 'PRAGMA integrity_check' }).then(([[text]]) => text),
    /**
     * Takes the file's write lock and gives it back after some time; resolves when it has it.
     * @param {string} path @param {number} milliseconds
     */
    lock: (path, milliseconds) => call({ path, lock: milliseconds }),
  };
}

/**
 * A random source, its seed from the environment variable `SEED` if set. Printed, so that a failure can be repeated.
 * @param {string} name
 */
export function randomSource(name) {
  console.log(`${name}: SEED=${SEED}`);
  // mulberry32
  let state = SEED;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    seed: SEED,
    next,
    /** A whole number from 0 up to, not including, `end`. @param {number} end */
    below: (end) => Math.floor(next() * end),
    /** @template T @param {readonly T[]} list @returns {T} */
    pick: (list) => list[Math.floor(next() * list.length)],
  };
}

/**
 * Rejects when a promise has not settled in time: a hang is a failure of its own, not the runner's time limit.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} [milliseconds]
 * @returns {Promise<T>}
 */
export function soon(promise, milliseconds = 20_000) {
  return new Promise((resolve, reject) => {
    const timer = realSetTimeout(
      () => reject(new Error(`not settled within ${milliseconds} ms`)),
      milliseconds,
    );
    promise.then(resolve, reject).finally(() => realClearTimeout(timer));
  });
}

/** @param {number} milliseconds */
export const sleep = (milliseconds) =>
  new Promise((resolve) => {
    realSetTimeout(resolve, milliseconds);
  });

/** Waits until `condition` holds. @param {() => boolean} condition */
export async function until(condition, milliseconds = 20_000) {
  const end = process.hrtime.bigint() + BigInt(milliseconds) * 1_000_000n;
  while (!condition()) {
    if (process.hrtime.bigint() > end) throw new Error(`not so within ${milliseconds} ms`);
    await sleep(5);
  }
}
