'use strict';

// The processes that read the file for the server: several, so that no read waits for a long one, and few. What nobody waits
// for any more is not begun, or ended with its process.

const { fork } = require('node:child_process');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

/** How many reads go on at the same time. */
const PROCESSES = 3;

/** How many different reads may wait. */
const LONGEST_QUEUE = 256;

/** How long a read may take. */
const LONGEST_READ_MS = 60_000;

/** How long a read goes on that nobody waits for: to end a process costs more than to let a short read end. */
const GRACE_MS = 250;

/** How long a process is kept that has nothing to do. */
const IDLE_MS = 30_000;

/** @param {string} code @param {string} message */
const failure = (code, message) => Object.assign(new Error(message), { code });

/** A process, which does one thing at a time. */
class Worker {
  #child;
  #directory;
  #next = 0;
  /** @type {{ id: number, resolve(json: string): void, reject(error: Error): void } | undefined} */
  #asked;
  hasEnded = false;

  constructor() {
    // A copy that reading needs is put there, and goes with the process, however that ends.
    this.#directory = mkdtempSync(join(tmpdir(), 'comic-vine-dashboard-'));
    const [TMPDIR, TMP, TEMP] = Array(3).fill(this.#directory);
    this.#child = fork(join(__dirname, 'process.js'), [this.#directory], {
      execArgv: [],
      env: { ...process.env, TMPDIR, TMP, TEMP },
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (/** @type {any} */ { id, json, error }) => {
      const asked = this.#asked;
      if (asked === undefined || asked.id !== id) return;
      this.#asked = undefined;
      if (error) asked.reject(failure(error.code, error.message));
      else asked.resolve(json);
    });
    this.#child.on('error', () => this.#ended());
    this.#child.on('exit', () => this.#ended());
  }

  #ended() {
    if (this.hasEnded) return;
    this.hasEnded = true;
    rmSync(this.#directory, { recursive: true, force: true });
    this.#asked?.reject(failure('ENDED', 'The process that read the file has ended'));
    this.#asked = undefined;
  }

  /** @param {string} path @param {string} name @param {unknown} wanted @returns {Promise<string>} the answer's JSON text */
  ask(path, name, wanted) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      if (this.hasEnded) return reject(failure('ENDED', 'The process that reads has ended'));
      this.#asked = { id, resolve, reject };
      this.#child.send({ id, path, name, wanted }, (error) => error && this.end());
    });
  }

  /** @returns {Promise<void>} that it has ended */
  end() {
    if (this.hasEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.once('error', () => resolve());
      this.#child.kill('SIGKILL');
    });
  }
}

/**
 * @typedef {object} Read
 * @property {string} key
 * @property {string} name
 * @property {unknown} wanted
 * @property {Set<{ resolve(json: string): void, reject(error: unknown): void }>} waiters
 * @property {Worker} [worker]  once it has begun
 * @property {NodeJS.Timeout} [grace]
 */

class Readers {
  #path;
  /** @type {Set<Worker>} */
  #workers = new Set();
  /** Those that do nothing, and since when a timer ends them. @type {Map<Worker, NodeJS.Timeout>} */
  #idle = new Map();
  /** Those that have not begun. @type {Map<string, Read>} */
  #queue = new Map();
  /** Changes follow one another. @type {Promise<unknown>} */
  #changes = Promise.resolve();
  #isClosed = false;

  /** @param {string} path */
  constructor(path) {
    this.#path = path;
  }

  /**
   * Reads. Equal reads that have not begun are one.
   * @param {string} name @param {unknown} wanted
   * @param {AbortSignal} [signal]  when nobody waits for it any more
   * @returns {Promise<string>} JSON text
   */
  read(name, wanted, signal) {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(failure('ENDED', 'The dashboard has ended'));
      const key = `${name} ${JSON.stringify(wanted)}`;
      let read = this.#queue.get(key);
      if (read === undefined) {
        if (this.#queue.size >= LONGEST_QUEUE) {
          return reject(failure('BUSY', 'Too many reads are waiting'));
        }
        read = { key, name, wanted, waiters: new Set() };
        this.#queue.set(key, read);
      }
      const waiter = { resolve, reject };
      const joined = read;
      joined.waiters.add(waiter);
      signal?.addEventListener('abort', () => this.#leave(joined, waiter), { once: true });
      this.#begin();
    });
  }

  /** @param {Read} read @param {{ resolve(json: string): void, reject(error: unknown): void }} waiter */
  #leave(read, waiter) {
    if (!read.waiters.delete(waiter)) return;
    waiter.reject(failure('ABORTED', 'Nobody waits for this'));
    if (read.waiters.size > 0) return;
    if (read.worker === undefined) this.#queue.delete(read.key);
    else read.grace = setTimeout(() => read.worker?.end(), GRACE_MS);
  }

  #begin() {
    for (const read of this.#queue.values()) {
      const worker = this.#take();
      if (worker === undefined) return;
      this.#queue.delete(read.key);
      read.worker = worker;
      this.#run(read, worker);
    }
  }

  /** @returns {Worker | undefined} one that does nothing */
  #take() {
    for (const [worker, timer] of this.#idle) {
      clearTimeout(timer);
      this.#idle.delete(worker);
      if (!worker.hasEnded) return worker;
      this.#workers.delete(worker);
    }
    if (this.#workers.size >= PROCESSES) return undefined;
    const worker = new Worker();
    this.#workers.add(worker);
    return worker;
  }

  /** @param {Read} read @param {Worker} worker */
  async #run(read, worker) {
    const { name, wanted, waiters } = read;
    let isLate = false;
    const limit = setTimeout(() => {
      isLate = true;
      worker.end();
    }, LONGEST_READ_MS);
    try {
      const json = await worker.ask(this.#path, name, wanted);
      for (const { resolve } of waiters) resolve(json);
    } catch (error) {
      const told = isLate ? failure('TIMEOUT', 'Reading the file took too long') : error;
      for (const { reject } of waiters) reject(told);
    }
    waiters.clear();
    clearTimeout(limit);
    clearTimeout(read.grace);
    this.#put(worker);
    if (!this.#isClosed) this.#begin();
  }

  /** @param {Worker} worker  that has done what it was asked */
  #put(worker) {
    if (worker.hasEnded || this.#isClosed) {
      worker.end();
      this.#workers.delete(worker);
      return;
    }
    const timer = setTimeout(() => {
      this.#idle.delete(worker);
      this.#workers.delete(worker);
      worker.end();
    }, IDLE_MS);
    timer.unref();
    this.#idle.set(worker, timer);
  }

  /** Removes what is selected, in a process of its own, to the end: nobody ends that half-way. @param {unknown} selection */
  purge(selection) {
    if (this.#isClosed) return Promise.reject(failure('ENDED', 'The dashboard has ended'));
    const purged = this.#changes.then(async () => {
      const worker = new Worker();
      try {
        return await worker.ask(this.#path, 'purge', selection);
      } finally {
        await worker.end();
      }
    });
    this.#changes = purged.catch(() => {});
    return purged;
  }

  /** Ends all reads, and waits for changes. */
  async close() {
    this.#isClosed = true;
    for (const { waiters } of this.#queue.values()) {
      for (const { reject } of waiters) reject(failure('ENDED', 'The dashboard has ended'));
    }
    this.#queue.clear();
    for (const timer of this.#idle.values()) clearTimeout(timer);
    await Promise.all([this.#changes, ...[...this.#workers].map((worker) => worker.end())]);
  }
}

module.exports = { Readers, Worker };
