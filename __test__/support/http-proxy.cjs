'use strict';
// A way to a server that takes its time, counts what passes, and loses some of it.

const { createServer, request, Agent } = require('node:http');
const { once } = require('node:events');
const { pause } = require('./servers.cjs');

/**
 * What becomes of a request: it never reaches the server, its answer is lost, or neither.
 * @typedef {'request' | 'answer' | undefined} Lost
 */

class HttpProxy {
  #server;
  #agent = new Agent({ keepAlive: true });
  /** How many requests have come. */
  count = 0;
  /** How long an answer takes more, in ms. */
  delay = 0;
  /** Says what is lost. @type {() => Lost} */
  lose = () => undefined;

  /** @param {number} port  of the server */
  constructor(port) {
    this.#server = createServer((incoming, outgoing) => {
      this.#pass(port, incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  /** @param {number} port */
  static async start(port) {
    const proxy = new HttpProxy(port);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url() {
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.#server.address());
    return `http://127.0.0.1:${port}`;
  }

  /**
   * @param {number} port
   * @param {import('node:http').IncomingMessage} incoming
   * @param {import('node:http').ServerResponse} outgoing
   */
  async #pass(port, incoming, outgoing) {
    this.count++;
    const lost = this.lose();
    /** @type {Buffer[]} */
    const body = [];
    for await (const chunk of incoming) body.push(chunk);
    if (lost === 'request') return outgoing.destroy();
    if (this.delay > 0) await pause(this.delay);
    const { method, url: path } = incoming;
    const headers = { ...incoming.headers, host: `127.0.0.1:${port}` };
    const sent = request({ port, host: '127.0.0.1', method, path, headers, agent: this.#agent });
    sent.end(Buffer.concat(body));
    const [answer] = await once(sent, 'response');
    /** @type {Buffer[]} */
    const answered = [];
    for await (const chunk of answer) answered.push(chunk);
    if (lost === 'answer') return outgoing.destroy();
    outgoing.writeHead(answer.statusCode, answer.headers);
    outgoing.end(Buffer.concat(answered));
  }

  async stop() {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

module.exports = { HttpProxy };
