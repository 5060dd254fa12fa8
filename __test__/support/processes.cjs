'use strict';
// The one way to run a program of `children/` in a process of its own, under whatever test runner. Each finds its input,
// as JSON, in `process.argv[2]`.

const { spawn } = require('node:child_process');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { slowly } = require('./slowness.cjs');

// Taken before a test fakes them.
const startTimer = setTimeout;
const stopTimer = clearTimeout;

/** @param {string} name */
const child = (name) => join(__dirname, '../children', name);

/**
 * @typedef {object} Ended
 * @property {number | null} code
 * @property {NodeJS.Signals | null} signal
 * @property {string} stdout
 * @property {string} stderr
 *
 * @typedef {object} Options
 * @property {string[]} [node]  flags of Node's
 * @property {string[]} [under]  a command that runs the one after it
 * @property {boolean} [ipc]  whether there is a channel for messages
 * @property {number} [uid]
 * @property {string} [cwd]
 * @property {NodeJS.ProcessEnv} [env]
 * @property {number} [timeout]  after how many ms it is killed
 */

/** A running program. Its stdin is open until `end` is called. */
class Program {
  #title;
  #process;
  /** When it has ended, and what it has written. @type {Promise<Ended>} */
  ended;
  /** What it writes to stdout, line by line. @type {AsyncIterator<string>} */
  #lines;

  /**
   * @param {string} name
   * @param {unknown} [input]
   * @param {Options} [options]
   */
  constructor(
    name,
    input = {},
    { node = [], under = [], ipc = false, uid, cwd, env, timeout } = {},
  ) {
    this.#title = `${name} ${JSON.stringify(input)}`;
    const command = [...under, process.execPath, ...node, child(name), JSON.stringify(input)];
    const started = spawn(command[0], command.slice(1), {
      cwd,
      env,
      stdio: ['pipe', 'pipe', 'pipe', ...(ipc ? /** @type {const} */ (['ipc']) : [])],
      // `advanced`: undefined and Infinity arrive as they are.
      ...(ipc ? { serialization: /** @type {const} */ ('advanced') } : {}),
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    this.#process = /** @type {import('node:child_process').ChildProcessWithoutNullStreams} */ (
      started
    );
    // What is written to one that has ended by itself is of no interest.
    this.#process.stdin.on('error', () => {});
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
    this.ended = this.#gather(timeout);
    // Whoever started it looks at it later.
    this.ended.catch(() => {});
  }

  /** @param {number | undefined} timeout @returns {Promise<Ended>} */
  #gather(timeout) {
    let stdout = '';
    let stderr = '';
    this.#process.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    this.#process.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    const timer = timeout && startTimer(() => this.kill(), timeout);
    return new Promise((resolve, reject) => {
      this.#process.on('error', reject);
      this.#process.on('close', (code, signal) => {
        if (timer) stopTimer(timer);
        resolve({ code, signal, stdout, stderr });
      });
    });
  }

  get process() {
    return this.#process;
  }

  /** The next line that it writes; rejects if it ends without one. */
  async line() {
    const { value, done } = await this.#lines.next();
    if (!done) return value;
    throw await this.#failure();
  }

  /** Sends a line. @param {string} text */
  write(text) {
    this.#process.stdin.write(`${text}\n`);
  }

  /** Closes its stdin. */
  end() {
    this.#process.stdin.end();
  }

  /** Ends it at once, as `kill -9` does, unless it has ended. */
  kill() {
    this.#process.kill('SIGKILL');
    return this.ended;
  }

  /** Waits for its end, which has to be a good one; answers what it has written. */
  async done() {
    const { code, signal, stdout } = await this.ended;
    if (code === 0 && signal === null) return stdout;
    throw await this.#failure();
  }

  async #failure() {
    const { code, signal, stdout, stderr } = await this.ended;
    return new Error(`${this.#title} ended with ${signal ?? code}\n${stdout}\n${stderr}`);
  }
}

/**
 * Runs a program to its end. One that does not come to it is killed: `signal` is then `SIGKILL`.
 * @param {string} name
 * @param {unknown} [input]
 * @param {Options} [options]
 */
function run(name, input = {}, options = {}) {
  const program = new Program(name, input, { timeout: slowly(60_000), ...options });
  program.end();
  return program.ended;
}

/**
 * As `run`, for a program that answers with JSON and is expected to end well.
 * @param {string} name
 * @param {unknown} [input]
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
async function ask(name, input = {}, options = {}) {
  const program = new Program(name, input, { timeout: slowly(60_000), ...options });
  program.end();
  return JSON.parse(await program.done());
}

module.exports = { ask, child, Program, run };
