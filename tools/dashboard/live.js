'use strict';

// Server-sent events: whoever listens is told that somebody has committed to the file. One look at the file serves all.

const { told } = require('./api.js');
const { Worker } = require('./readers.js');

/** How many may listen. */
const LISTENERS = 64;

/** A listener with so many bytes waiting for it does not listen. */
const LONGEST_BACKLOG = 64 * 1024;

class Live {
  #path;
  #timing;
  /** @type {Set<import('node:http').ServerResponse>} */
  #listeners = new Set();
  /** @type {InstanceType<typeof Worker> | undefined} */
  #worker;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {NodeJS.Timeout | undefined} */
  #heartbeat;
  /** What was last told: an event's data. */
  #told = '';
  #isClosed = false;

  /** @param {string} path @param {{ lookMs: number, heartbeatMs: number }} timing */
  constructor(path, timing) {
    this.#path = path;
    this.#timing = timing;
  }

  get isFull() {
    return this.#isClosed || this.#listeners.size >= LISTENERS;
  }

  /** @param {import('node:http').ServerResponse} response  whose head has been set */
  add(response) {
    this.#listeners.add(response);
    response.on('close', () => {
      this.#listeners.delete(response);
      if (this.#listeners.size === 0) this.#rest();
    });
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
    });
    response.write(`retry: 2000\n\n${this.#told}`);
    if (this.#listeners.size > 1) return;
    this.#heartbeat = setInterval(() => this.#send(': here\n\n'), this.#timing.heartbeatMs);
    this.#look();
  }

  /** Looks at the file, again and again while somebody listens. */
  async #look() {
    this.#worker ??= new Worker();
    const worker = this.#worker;
    const limit = setTimeout(() => worker.end(), 30_000);
    let event;
    try {
      const version = JSON.parse(await worker.ask(this.#path, 'version', null));
      event = `event: change\ndata: ${JSON.stringify({ version })}\n\n`;
    } catch (error) {
      const { code, message } = told(error);
      event = `event: problem\ndata: ${JSON.stringify({ code, message })}\n\n`;
    }
    clearTimeout(limit);
    // Others may have come and gone meanwhile, and have ended it.
    if (this.#worker !== worker) return;
    if (worker.hasEnded) this.#worker = undefined;
    if (event !== this.#told) {
      this.#told = event;
      this.#send(event);
    }
    this.#timer = setTimeout(() => this.#look(), this.#timing.lookMs);
  }

  /** @param {string} text */
  #send(text) {
    for (const listener of this.#listeners) {
      if (listener.writableLength > LONGEST_BACKLOG) listener.destroy();
      else listener.write(text);
    }
  }

  /** Nobody listens. */
  #rest() {
    clearTimeout(this.#timer);
    clearInterval(this.#heartbeat);
    this.#told = '';
    const worker = this.#worker;
    this.#worker = undefined;
    return worker?.end();
  }

  async close() {
    this.#isClosed = true;
    for (const listener of this.#listeners) listener.end();
    this.#listeners.clear();
    await this.#rest();
  }
}

module.exports = { Live };
