'use strict';

// How far something is that takes its time: one line on a terminal, which goes when it has ended, and nothing elsewhere.

const { span } = require('./words.js');

/** How often the line is drawn, in ms. */
const INTERVAL = 100;

/** What is soon over shows nothing, in ms. */
const SOON = 300;

class Progress {
  #begun = 0;
  #drawn = 0;

  /**
   * @param {{ write(text: string): unknown }} stream
   * @param {import('./screen.js').ScreenType} screen  of that stream
   */
  constructor(stream, screen) {
    this.stream = stream;
    this.screen = screen;
  }

  /** @param {string} what @param {number} [part]  from 0 to 1, if that is known */
  show(what, part) {
    const now = Date.now();
    this.#begun ||= now;
    if (!this.screen.isTerminal || now - this.#begun < SOON || now - this.#drawn < INTERVAL) return;
    this.#drawn = now;
    const bar =
      part === undefined
        ? ''
        : `${this.screen.bar(part, 20, 'cyan')} ${Math.floor(part * 100)} %  `;
    this.stream.write(`\r\u001b[2K${bar}${what}, ${span(now - this.#begun)}`);
  }

  end() {
    if (this.#drawn) this.stream.write('\r\u001b[2K');
    this.#begun = 0;
    this.#drawn = 0;
  }

  /**
   * Shows that something is under way until it has ended.
   * @template T @param {string} what @param {Promise<T>} work @returns {Promise<T>}
   */
  async during(what, work) {
    const timer = setInterval(() => this.show(what), INTERVAL);
    this.show(what);
    try {
      return await work;
    } finally {
      clearInterval(timer);
      this.end();
    }
  }
}

/** @typedef {Progress} ProgressType */

module.exports = { Progress };
