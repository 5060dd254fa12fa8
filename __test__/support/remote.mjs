// The parent's side of `children/remote.cjs` and `children/lock.cjs`.
import { once } from 'node:events';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { OURS_ON_PATHS } = require('./implementations.cjs');
const { Program } = require('./processes.cjs');

/**
 * @typedef {import('../children/remote.cjs').Outcome} Outcome
 * @typedef {[number, string, ...any[]]} Call  a store's number, a method, arguments
 */

/** A process with stores. */
export class Remote {
  #program;
  #last = 0;
  /** @type {Map<number, { begun: () => void, resolve: (answer: any) => void, reject: (error: unknown) => void }>} */
  #waiting = new Map();

  /** @param {import('./implementations.cjs').Implementation} [implementation]  whose stores */
  static async start(implementation = OURS_ON_PATHS) {
    const program = new Program('remote.cjs', implementation, { ipc: true });
    await once(program.process, 'message');
    return new Remote(program);
  }

  /** @param {InstanceType<typeof Program>} program */
  constructor(program) {
    this.#program = program;
    program.process.on('message', (/** @type {any} */ { id, begun, answer, thrown }) => {
      const waiting = this.#waiting.get(id);
      if (begun || !waiting) return waiting?.begun();
      this.#waiting.delete(id);
      waiting.begun();
      if (thrown) waiting.reject(thrown);
      else waiting.resolve(answer);
    });
    program.ended.then(({ code, signal, stderr }) => {
      const error = new Error(`the process ended with ${code ?? signal}\n${stderr}`);
      for (const { begun, reject } of this.#waiting.values()) {
        begun();
        reject(error);
      }
    });
  }

  /**
   * Has the process do something: `begun` when it is doing it, `done` when it has.
   * @param {string} command
   * @param {any[]} args
   * @returns {{ begun: Promise<void>, done: Promise<any> }}
   */
  start(command, ...args) {
    const id = ++this.#last;
    /** @type {() => void} */
    let begin = () => {};
    /** @type {Promise<void>} */
    const begun = new Promise((resolve) => {
      begin = resolve;
    });
    const done = new Promise((resolve, reject) => {
      this.#waiting.set(id, { begun: begin, resolve, reject });
    });
    // Whoever asked looks at it later, or never if the process is killed.
    done.catch(() => {});
    this.#program.process.send?.({ id, command, args });
    return { begun, done };
  }

  /**
   * @param {string} command
   * @param {any[]} args
   */
  run(command, ...args) {
    return this.start(command, ...args).done;
  }

  /**
   * Makes one store; answers its number.
   * @param {string} name
   * @param {Record<string, any>} options
   * @returns {Promise<number>}
   */
  async make(name, options) {
    return (await this.run('make', [[name, options]])).numbers[0];
  }

  /**
   * Makes a call; `begun` when it has been made.
   * @param {Call} call
   * @returns {{ begun: Promise<void>, done: Promise<Outcome> }}
   */
  begin(...call) {
    const { begun, done } = this.start('calls', [[call]]);
    const one = done.then(([outcome]) => outcome);
    one.catch(() => {});
    return { begun, done: one };
  }

  /**
   * Makes a call and answers its outcome.
   * @param {Call} call
   * @returns {Promise<Outcome>}
   */
  outcome(...call) {
    return this.begin(...call).done;
  }

  /**
   * Makes a call that has to succeed and answers its value.
   * @param {Call} call
   */
  async call(...call) {
    const { status, value, error } = await this.outcome(...call);
    if (status === 'rejected') throw new Error(`${call[1]}: ${error?.code} ${error?.message}`);
    return value;
  }

  /** Closes the stores and lets the process end. */
  async close() {
    if (!this.#program.process.connected) return;
    this.start('close');
    await this.#program.ended;
  }

  /** Its number. */
  get pid() {
    return /** @type {number} */ (this.#program.process.pid);
  }

  /** Ends the process at once, as `kill -9` does. */
  async kill() {
    await this.#program.kill();
  }
}

/**
 * Takes a file's write lock in a process of its own; answers what releases it.
 * @param {string} path
 * @param {'IMMEDIATE' | 'EXCLUSIVE'} kind
 * @param {string} [journalMode]
 */
export async function lock(path, kind, journalMode) {
  const program = new Program('lock.cjs', { path, kind, journalMode });
  await program.line();
  return async () => {
    program.end();
    await program.ended;
  };
}
