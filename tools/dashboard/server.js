'use strict';

// The dashboard's server: the page, what it asks about the file, and purges where they are allowed. On loopback unless
// somebody says otherwise.

const { createServer } = require('node:http');
const { resolve: absolute } = require('node:path');
const { Access, Refusal, newToken } = require('./access.js');
const { Parameters, READS, purgeOf, told } = require('./api.js');
const { Live } = require('./live.js');
const { Readers } = require('./readers.js');
const { readStatic } = require('./static-files.js');
const { version } = require('../../package.json');

/** The longest body that is read. */
const LONGEST_BODY = 64 * 1024;

/** How many may be connected. */
const CONNECTIONS = 1_000;

/** @type {Record<string, string>} */
const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'cache-control': 'no-store',
};

/** How long things take. Tests shorten that. */
const TIMING = {
  lookMs: 500,
  heartbeatMs: 15_000,
  headersMs: 10_000,
  requestMs: 20_000,
  checkMs: 2_000,
};

/** @param {string} name @param {string} expected @param {unknown} got @returns {never} */
function refuse(name, expected, got) {
  throw new TypeError(`${name} must be ${expected}, got ${JSON.stringify(got) ?? String(got)}`);
}

/** @param {import('node:http').IncomingMessage} request @returns {Promise<string>} */
function readBody(request) {
  const tooLong = () =>
    new Refusal(413, 'TOO_LONG', `The body must have at most ${LONGEST_BODY} bytes`);
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length'] ?? 0) > LONGEST_BODY) return reject(tooLong());
    /** @type {Buffer[]} */
    const chunks = [];
    let bytes = 0;
    request.on('data', (/** @type {Buffer} */ chunk) => {
      bytes += chunk.length;
      if (bytes <= LONGEST_BODY) {
        chunks.push(chunk);
        return;
      }
      request.pause();
      reject(tooLong());
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString()));
    request.on('error', reject);
  });
}

/** @typedef {{ request: import('node:http').IncomingMessage, response: import('node:http').ServerResponse }} Exchange */

class Dashboard {
  #path;
  #write;
  #files = readStatic();
  #readers;
  #live;
  #server;
  #token;
  /** @type {InstanceType<typeof Access> | undefined} */
  #access;

  /** @param {{ path: string, token: string, write: boolean, timing: typeof TIMING }} options */
  constructor({ path, token, write, timing }) {
    this.#path = path;
    this.#write = write;
    this.#token = token;
    this.#readers = new Readers(path);
    this.#live = new Live(path, timing);
    this.#server = createServer(
      {
        headersTimeout: timing.headersMs,
        requestTimeout: timing.requestMs,
        connectionsCheckingInterval: timing.checkMs,
        keepAliveTimeout: 5_000,
        maxHeaderSize: 16 * 1024,
      },
      (request, response) => this.#answer({ request, response }),
    );
    this.#server.maxConnections = CONNECTIONS;
    // Whoever neither sends nor takes anything.
    this.#server.setTimeout(60_000);
  }

  /** @param {string} host @param {number} port @returns {Promise<string>} the URL */
  async listen(host, port) {
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port }, () => resolve(undefined));
    });
    const address = /** @type {import('node:net').AddressInfo} */ (this.#server.address());
    this.#access = new Access({ token: this.#token, host, address: address.address });
    const isEverywhere = address.address === '0.0.0.0' || address.address === '::';
    const name = isEverywhere ? require('node:os').hostname() : host;
    const needsToken = this.#write || this.#access.isClosed;
    // In the fragment, which no request carries.
    const fragment = needsToken ? `#token=${encodeURIComponent(this.#token)}` : '';
    return `http://${name.includes(':') ? `[${name}]` : name}:${address.port}/${fragment}`;
  }

  async close() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    await Promise.all([this.#live.close(), this.#readers.close()]);
    this.#server.closeAllConnections();
    await closed;
  }

  /** @param {Exchange} exchange */
  async #answer(exchange) {
    const { request, response } = exchange;
    response.on('error', () => {});
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    try {
      await this.#route(exchange);
    } catch (error) {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const { status, code, message, headers } = told(error);
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
      // What is still being sent is not read, and the connection of no further use.
      if (!request.complete) this.#cut(exchange);
      this.#send(exchange, status, JSON.stringify({ error: { code, message } }));
    }
  }

  /** Ends a connection soon: not before the answer may have been read. @param {Exchange} exchange */
  #cut({ request, response }) {
    response.setHeader('connection', 'close');
    response.on('finish', () => setTimeout(() => request.socket.destroy(), 1_000).unref());
  }

  /** @param {Exchange} exchange */
  async #route(exchange) {
    const { request } = exchange;
    const { url = '' } = request;
    const [encoded, ...query] = url.split('?');
    let path;
    try {
      path = decodeURIComponent(encoded);
    } catch {
      throw new Refusal(400, 'PATH', 'The path cannot be decoded');
    }
    const access = /** @type {InstanceType<typeof Access>} */ (this.#access);
    access.checkSource(request, path === '/');
    const file = this.#files.get(path);
    if (file !== undefined) {
      this.#checkMethod(request, 'GET, HEAD');
      this.#send(exchange, 200, file.body, file.type);
      return;
    }
    if (!path.startsWith('/api/')) throw new Refusal(404, 'PATH', 'There is nothing of that name');
    const name = path.slice('/api/'.length);
    const parameters = new URLSearchParams(query.join('?'));
    if (name === 'purge') return this.#purge(exchange);
    const isRead = Object.hasOwn(READS, name);
    if (!isRead && name !== 'about' && name !== 'events') {
      throw new Refusal(404, 'PATH', 'There is nothing of that name');
    }
    this.#checkMethod(request, 'GET, HEAD');
    access.checkToken(request, false);
    if (isRead) return this.#read(exchange, name, parameters);
    new Parameters(parameters, []);
    if (name === 'events') return this.#listen(exchange);
    this.#send(
      exchange,
      200,
      JSON.stringify({ path: this.#path, isWritable: this.#write, version }),
    );
  }

  /** @param {import('node:http').IncomingMessage} request @param {string} allowed */
  #checkMethod({ method = '' }, allowed) {
    if (allowed.split(', ').includes(method)) return;
    throw new Refusal(405, 'METHOD', `Only ${allowed} can be used here`, { allow: allowed });
  }

  /** @param {Exchange} exchange @param {string} name @param {URLSearchParams} given */
  async #read(exchange, name, given) {
    const { parameters, wanted } = READS[name];
    const arguments_ = wanted(new Parameters(given, parameters));
    this.#send(exchange, 200, await this.#wait(exchange, name, arguments_));
  }

  /** What is read, unless whoever asked goes away. @param {Exchange} exchange @param {string} name @param {unknown} wanted */
  #wait({ response }, name, wanted) {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    return this.#readers.read(name, wanted, gone.signal);
  }

  /** @param {Exchange} exchange */
  #listen({ request, response }) {
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    if (this.#live.isFull) throw new Refusal(503, 'BUSY', 'Too many pages are open');
    request.socket.setTimeout(0);
    request.socket.setNoDelay(true);
    this.#live.add(response);
  }

  /** @param {Exchange} exchange */
  async #purge(exchange) {
    const { request } = exchange;
    this.#checkMethod(request, 'POST');
    /** @type {InstanceType<typeof Access>} */ (this.#access).checkToken(request, true);
    if (!this.#write) {
      throw new Refusal(
        403,
        'READ_ONLY',
        'This dashboard only reads: start it with --write to purge',
      );
    }
    if (!/^application\/json\s*(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
      throw new Refusal(415, 'TYPE', 'The body must be application/json');
    }
    const { selection, dryRun } = purgeOf(await readBody(request));
    const answer = dryRun
      ? this.#wait(exchange, 'count', selection)
      : this.#readers.purge(selection);
    this.#send(exchange, 200, await answer);
  }

  /** @param {Exchange} exchange @param {number} status @param {string | Buffer} body @param {string} [type] */
  #send({ response }, status, body, type = 'application/json; charset=utf-8') {
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }
}

/**
 * Serves the dashboard of a file.
 * @param {object} options
 * @param {string} options.path  of the file
 * @param {number} [options.port]  0 for any that is free, which is the default
 * @param {string} [options.host]  default: 127.0.0.1
 * @param {string} [options.token]  what who writes, or asks from another machine, has to know; default: a random one
 * @param {boolean} [options.write]  whether entries can be purged
 * @param {Partial<typeof TIMING>} [options.timing]
 * @returns {Promise<{ url: string, close(): Promise<void> }>} once it can be asked; the URL has the token in its fragment where it is needed
 */
async function serve({ path, port = 0, host = '127.0.0.1', token, write = false, timing }) {
  if (typeof path !== 'string' || path === '') refuse('path', 'a path', path);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    refuse('port', 'an integer from 0 to 65535', port);
  }
  if (typeof host !== 'string' || host === '') refuse('host', 'a name or an address', host);
  if (token !== undefined && !(typeof token === 'string' && /^[\x21-\x7e]{16,512}$/.test(token))) {
    throw new TypeError('token must be 16 to 512 printable ASCII characters without blanks');
  }
  if (typeof write !== 'boolean') refuse('write', 'a boolean', write);
  const dashboard = new Dashboard({
    path: absolute(path),
    token: token ?? newToken(),
    write,
    timing: { ...TIMING, ...timing },
  });
  const url = await dashboard.listen(host, port);
  return { url, close: () => dashboard.close() };
}

module.exports = { serve };
