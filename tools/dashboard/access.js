'use strict';

// Who may ask the dashboard what. A browser sends requests to it on behalf of any page that is open in it: the names that a
// page can have itself called by (`Host`), and the page that asks (`Origin`, `Sec-Fetch-Site`), tell it from ours.

const { createHash, randomBytes, timingSafeEqual } = require('node:crypto');
const { BlockList, isIP } = require('node:net');
const { hostname } = require('node:os');

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether only this machine reaches an address. @param {string} address */
function isLoopback(address) {
  const family = isIP(address);
  return family !== 0 && loopback.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** A secret of 256 bits. */
const newToken = () => randomBytes(32).toString('base64url');

/** @param {string} text */
const digest = (text) => createHash('sha256').update(text).digest();

/** A refusal: an HTTP status, a code for programs and a sentence for people. */
class Refusal extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {Record<string, string>} [headers] */
  constructor(status, code, message, headers = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

class Access {
  #token;
  #isLoopback;
  #names;

  /** @param {{ token: string, host: string, address: string }} bound  `host` as it was asked for, `address` as it came to be */
  constructor({ token, host, address }) {
    this.#token = digest(token);
    this.#isLoopback = isLoopback(address);
    this.#names = new Set(['localhost', host.toLowerCase()]);
    // Whoever listens everywhere is called by the machine's name, too.
    if (!this.#isLoopback) this.#names.add(hostname().toLowerCase());
  }

  /** Whether reading needs the token. */
  get isClosed() {
    return !this.#isLoopback;
  }

  /** Refuses what another page may have sent. @param {import('node:http').IncomingMessage} request @param {boolean} isPage */
  checkSource({ headers, method }, isPage) {
    const { host = '', origin } = headers;
    if (!this.#isOurs(host)) {
      throw new Refusal(403, 'HOST', 'This dashboard is not to be reached by that name');
    }
    if (origin !== undefined && origin !== `http://${host}`) {
      throw new Refusal(403, 'ORIGIN', 'Another site may not ask this');
    }
    const {
      'sec-fetch-site': site,
      'sec-fetch-mode': mode,
      'sec-fetch-dest': destination,
    } = headers;
    const isNavigation = isPage && mode === 'navigate' && destination === 'document';
    const isOwn =
      site === undefined || site === 'same-origin' || (site === 'none' && method === 'GET');
    if (!isOwn && !isNavigation) throw new Refusal(403, 'ORIGIN', 'Another site may not ask this');
  }

  /**
   * Names can be given to this machine's address by anybody: only those that are ours. An address cannot, so that any is right.
   * @param {string} host  with a port, or without
   */
  #isOurs(host) {
    const [, bracketed, plain] = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/i.exec(host) ?? [];
    const name = (bracketed ?? plain ?? '').toLowerCase();
    if (this.#names.has(name)) return true;
    return isIP(name) !== 0 && (isLoopback(name) || !this.#isLoopback);
  }

  /**
   * Refuses who has not the token.
   * @param {import('node:http').IncomingMessage} request @param {boolean} isWrite
   */
  checkToken({ headers }, isWrite) {
    const { authorization } = headers;
    const given = /^Bearer ([\x21-\x7e]{1,512})$/.exec(authorization ?? '')?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), this.#token)) return;
    if (authorization === undefined && this.#isLoopback && !isWrite) return;
    const message =
      authorization === undefined ? 'This needs the token' : 'This is not the right token';
    throw new Refusal(401, 'TOKEN', message, { 'www-authenticate': 'Bearer' });
  }
}

module.exports = { Access, Refusal, isLoopback, newToken };
