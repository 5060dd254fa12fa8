// The dashboard's server: what it answers, whom it refuses, and what it bears.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask, directory, end, start, write } from './support/dashboard.mjs';
import { sleep, soon, until } from './support/waiting.mjs';

const require = createRequire(import.meta.url);
const { serve } = require('../tools/dashboard/server.js');

const usual = join(directory, 'usual.db');
/** @type {Awaited<ReturnType<typeof start>>} */
let reading;
/** @type {Awaited<ReturnType<typeof start>>} */
let writing;

beforeAll(async () => {
  await write('usual', usual);
  [reading, writing] = await Promise.all([
    start({ path: usual }),
    start({ path: usual, write: true }),
  ]);
});
afterAll(end);

/** @param {object} body @param {Record<string, string | undefined>} [headers] */
const purge = (body, headers) =>
  ask(writing.port, '/api/purge', {
    method: 'POST',
    headers: /** @type {any} */ ({
      'content-type': 'application/json',
      authorization: `Bearer ${writing.token}`,
      ...headers,
    }),
    body: JSON.stringify(body),
  });

/**
 * Listens to events.
 * @param {number} port
 */
function listen(port) {
  const told = { text: '', isOpen: true, status: 0, stop() {} };
  const request = httpRequest(
    { host: '127.0.0.1', port, path: '/api/events', agent: false },
    (response) => {
      told.status = response.statusCode ?? 0;
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        told.text += chunk;
      });
      response.on('close', () => {
        told.isOpen = false;
      });
      response.on('error', () => {});
    },
  );
  request.on('error', () => {
    told.isOpen = false;
  });
  request.end();
  told.stop = () => request.destroy();
  return told;
}

const changes = (/** @type {string} */ text) => text.match(/^event: change$/gm)?.length ?? 0;

describe('options', () => {
  test.each([
    [{ path: 1 }, 'path must be a path, got 1'],
    [{ path: 'x', port: 65_536 }, 'port must be an integer from 0 to 65535, got 65536'],
    [{ path: 'x', host: '' }, 'host must be a name or an address, got ""'],
    [{ path: 'x', token: 'short' }, 'token must be 16 to 512 printable ASCII characters'],
    [{ path: 'x', write: 1 }, 'write must be a boolean, got 1'],
  ])('%j is refused', async (options, message) => {
    await expect(serve(/** @type {any} */ (options))).rejects.toThrow(message);
  });

  test('a port in use is told', async () => {
    await expect(serve({ path: usual, port: reading.port })).rejects.toThrow('EADDRINUSE');
  });
});

describe('what can be read', () => {
  /** @param {string} path */
  const read = async (path) => {
    const { status, json } = await ask(reading.port, path);
    expect(status, JSON.stringify(json)).toBe(200);
    return json;
  };

  test('about', async () => {
    const { version } = require('../package.json');
    expect(await read('/api/about')).toEqual({ path: usual, isWritable: false, version });
  });

  test('stats', async () => {
    const { cache, jobs, requests } = await read('/api/stats');
    expect(cache).toMatchObject({ entries: 240, tags: 250 });
    expect(jobs).toEqual({ pending: 1, completed: 1, failed: 1 });
    expect(requests).toEqual({ total: 382, resources: 4 });
  });

  test('limits, and when the oldest request leaves', async () => {
    const { limits, now } = await read('/api/limits');
    expect(limits.map((/** @type {any} */ { resource, used }) => [resource, used])).toEqual([
      ['characters', 200],
      ['issues', 143],
      ['search', 6],
      ['volumes', 33],
    ]);
    const [characters] = limits;
    expect(characters).toMatchObject({ limit: 200, remaining: 0, users: { used: 150 } });
    expect(characters.nextFreeAt).toBeGreaterThan(now);
    const { marks } = await read('/api/timeline?resource=characters&since=0');
    const oldest = Math.min(...marks.map((/** @type {any} */ { at }) => at));
    expect(characters.changesAt).toBe(oldest + characters.windowMs + 1);
  });

  test('a timeline, by request and by part', async () => {
    const each = await read('/api/timeline?resource=issues');
    expect(each.total).toBe(143);
    expect(each.marks).toHaveLength(143);
    const since = Math.floor(each.marks[0].at);
    const parts = await read(`/api/timeline?resource=issues&since=${since}&marks=10&parts=12`);
    expect(parts.marks).toBeUndefined();
    expect(parts.parts).toHaveLength(12);
    const sum = (/** @type {string} */ name) =>
      parts.parts.reduce(
        (/** @type {number} */ all, /** @type {any} */ part) => all + part[name],
        0,
      );
    expect([sum('user'), sum('background'), sum('other')]).toEqual([23, 120, 0]);
  });

  test('entries by tag, sorted, page by page', async () => {
    const first = await read('/api/entries?tag=issues&sort=size&descending=true&limit=50');
    const second = await read(
      '/api/entries?tag=issues&sort=size&descending=true&limit=50&offset=50',
    );
    expect([first.total, first.entries.length, second.entries.length]).toEqual([80, 50, 30]);
    const sizes = [...first.entries, ...second.entries].map(({ bytes }) => bytes);
    expect(sizes).toEqual([...sizes].sort((one, other) => other - one));
    expect(new Set([...first.entries, ...second.entries].map(({ key }) => key)).size).toBe(80);
  });

  test('one entry, and one that is not there', async () => {
    const { entries } = await read('/api/entries?limit=1');
    const { entry } = await read(`/api/entry?key=${entries[0].key}`);
    expect(entry).toMatchObject({ ...entries[0], problem: null, isCut: false });
    expect(JSON.parse(entry.text).status_code).toBe(1);
    expect((await read('/api/entry?key=none')).entry).toBeNull();
  });

  test('tags, sizes, jobs and findings', async () => {
    expect((await read('/api/tags?limit=2')).tags).toEqual([
      { tag: 'volumes', entries: 160 },
      { tag: 'issues', entries: 80 },
    ]);
    const { bySize, byAge } = await read('/api/sizes');
    for (const columns of [bySize, byAge]) {
      expect(
        columns.reduce(
          (/** @type {number} */ all, /** @type {any} */ { entries }) => all + entries,
          0,
        ),
      ).toBe(240);
    }
    const { jobs } = await read('/api/jobs');
    expect(jobs.map((/** @type {any} */ { status }) => status).sort()).toEqual([
      'completed',
      'failed',
      'pending',
    ]);
    const { findings } = await read('/api/doctor');
    expect(findings.length).toBeGreaterThan(0);
  });

  test.each([
    ['/api/stats?x=1', 'There is no parameter "x"'],
    ['/api/timeline', 'resource must be given'],
    ['/api/entry?key=a&key=b', 'key must be given once'],
    ['/api/entries?limit=0', 'limit must be an integer from 1 to 1000, got "0"'],
    ['/api/entries?limit=1e3', 'limit must be an integer from 1 to 1000, got "1e3"'],
    ['/api/entries?sort=value', 'sort must be one of key, age, size, expiry, use, got "value"'],
    ['/api/entries?expired=1', 'expired must be true or false, got "1"'],
    [`/api/entries?text=${'x'.repeat(5_000)}`, 'text must have at most 4096 characters, got 5000'],
  ])('%s is refused', async (path, message) => {
    const { status, json } = await ask(reading.port, path);
    expect([status, json.error]).toEqual([400, { code: 'ARGUMENT', message }]);
  });

  test.each([
    ['a file that is not there', () => join(directory, 'secret', 'none.db'), 503, 'ENOENT'],
    [
      'a file that is no database',
      () => {
        const path = join(directory, 'secret.db');
        writeFileSync(path, 'This is no database. '.repeat(100));
        return path;
      },
      500,
      'SQLITE_NOTADB',
    ],
  ])('%s is told without its path', async (_, make, status, code) => {
    const { port } = await start({ path: make() });
    const answer = await ask(port, '/api/stats');
    expect([answer.status, answer.json.error.code]).toEqual([status, code]);
    expect(answer.text).not.toMatch(/secret|\.js|at /);
  });
});

describe('purges', () => {
  test('count first, remove that many, and nothing else', async () => {
    for (const [selection, expected] of /** @type {const} */ ([
      [{ prefix: '0' }, undefined],
      [{ tag: 'volume:7' }, 1],
      [{ expired: true }, undefined],
    ])) {
      const before = (await ask(reading.port, '/api/stats')).json.cache.entries;
      const { count } = (await purge({ selection, dryRun: true })).json;
      if (expected !== undefined) expect(count).toBe(expected);
      expect((await ask(reading.port, '/api/stats')).json.cache.entries).toBe(before);
      expect((await purge({ selection, dryRun: false })).json).toEqual({ removed: count });
      expect((await ask(reading.port, '/api/stats')).json.cache.entries).toBe(before - count);
    }
    const [{ key }] = (await ask(reading.port, '/api/entries?limit=1')).json.entries;
    expect((await purge({ selection: { key }, dryRun: false })).json).toEqual({ removed: 1 });
    expect((await ask(reading.port, `/api/entry?key=${key}`)).json.entry).toBeNull();
  });

  test.each([
    [{ selection: { all: true } }, 'dryRun must be true or false'],
    [{ selection: {}, dryRun: false }, 'selection must have one of'],
    [{ selection: { all: true, key: 'x' }, dryRun: false }, 'selection must have one of'],
    [{ selection: { prefix: '' }, dryRun: false }, 'selection.prefix must not be empty'],
    [{ selection: { all: 1 }, dryRun: false }, 'selection.all must be true'],
    [{ selection: { key: 1 }, dryRun: false }, 'selection.key must be a string'],
    [{ selection: null, dryRun: false }, 'selection must be an object'],
    [{ selection: { all: true }, dryRun: false, more: 1 }, 'and nothing else'],
    [[], 'The body must be an object'],
  ])('%j is refused', async (body, message) => {
    const { status, json } = await purge(body);
    expect([status, json.error.code]).toEqual([400, 'ARGUMENT']);
    expect(json.error.message).toContain(message);
  });

  test('need --write, the token and a body of JSON', async () => {
    const body = { selection: { all: true }, dryRun: false };
    const options = { method: 'POST', body: JSON.stringify(body) };
    const type = { 'content-type': 'application/json' };
    const statuses = [
      await purge(body, { authorization: '' }),
      await purge(body, { authorization: `Bearer ${'x'.repeat(43)}` }),
      await purge(body, { authorization: `Basic ${writing.token}` }),
      await ask(writing.port, '/api/purge', { ...options, headers: type }),
      await purge(body, { 'content-type': 'text/plain' }),
      await purge(body, { 'content-type': 'application/x-www-form-urlencoded' }),
    ].map(({ status }) => status);
    expect(statuses).toEqual([401, 401, 401, 401, 415, 415]);

    const token = 'a-token-of-the-user';
    const readOnly = await start({ path: usual, token });
    const headers = { ...type, authorization: `Bearer ${token}` };
    const { status, json } = await ask(readOnly.port, '/api/purge', { ...options, headers });
    expect([status, json.error.code]).toEqual([403, 'READ_ONLY']);
    expect((await ask(reading.port, '/api/stats')).json.cache.entries).toBeGreaterThan(0);
  });
});

describe('events', () => {
  test('tell what another process writes, once for all who listen', async () => {
    const { port } = await start({ path: usual, timing: { lookMs: 50 } });
    const listeners = [listen(port), listen(port), listen(port)];
    await until(() => listeners.every(({ text }) => changes(text) > 0));
    const before = listeners.map(({ text }) => changes(text));
    await write('write', usual);
    await until(() => listeners.every(({ text }, index) => changes(text) > before[index]));
    const [{ text }, ...others] = listeners;
    expect(text).toMatch(/^event: change\ndata: {"version":"\w+"}$/m);
    // Who comes later is told at once how it stands.
    const late = listen(port);
    await until(() => changes(late.text) > 0);
    for (const each of [...others, late]) each.stop();
  });

  test('beat, so that a connection is known to be there', async () => {
    const { port } = await start({ path: usual, timing: { heartbeatMs: 20 } });
    const listener = listen(port);
    await until(() => (listener.text.match(/^: here$/gm)?.length ?? 0) >= 3);
    listener.stop();
  });

  test('tell that the file is gone, and that it is back', async () => {
    const path = join(directory, 'moved.db');
    await write('empty', path);
    const { port } = await start({ path, timing: { lookMs: 50 } });
    const listener = listen(port);
    await until(() => changes(listener.text) > 0);
    renameSync(path, `${path}-elsewhere`);
    await until(() => listener.text.includes('event: problem'));
    expect(listener.text).not.toContain('moved.db');
    renameSync(`${path}-elsewhere`, path);
    await until(() => /problem[\s\S]*event: change/.test(listener.text));
    listener.stop();
  });

  test('are for so many at once; whoever goes makes room', async () => {
    const { port } = await start({ path: usual });
    const listeners = Array.from({ length: 70 }, () => listen(port));
    await until(() => listeners.every(({ status }) => status > 0));
    const refused = listeners.filter(({ status }) => status === 503);
    expect([refused.length, listeners.filter(({ status }) => status === 200).length]).toEqual([
      6, 64,
    ]);
    for (const each of listeners.slice(0, 64)) each.stop();
    for (let isServed = false; !isServed; ) {
      const next = listen(port);
      await until(() => next.status > 0);
      isServed = next.status === 200;
      next.stop();
    }
    for (const each of listeners) each.stop();
  });
});

describe('who may ask', () => {
  test('listens on loopback, and says the token only in the fragment', async () => {
    expect(reading.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    expect(writing.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{43}$/);
    const other = await start({ path: usual, write: true });
    expect(other.token).not.toBe(writing.token);
  });

  test.each([
    '127.0.0.1',
    'localhost',
    'LOCALHOST',
    'localhost:80',
    '127.0.0.1:1',
    '[::1]',
    '[::1]:80',
    '127.1.2.3',
  ])('Host %s is this machine', async (host) => {
    expect((await ask(reading.port, '/api/about', { headers: { host } })).status).toBe(200);
  });

  test.each([
    'evil.example',
    'evil.example:80',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '10.0.0.1',
    '192.168.1.1:80',
    '2130706433',
    '0x7f.1',
    'localhost@evil.example',
    'localhost/evil',
    '[::ffff:10.0.0.1]',
  ])('Host %j is not', async (host) => {
    for (const path of ['/', '/api/about', '/api/stats', '/none']) {
      const { status, json } = await ask(reading.port, path, { headers: { host } });
      expect([path, status, json.error.code]).toEqual([path, 403, 'HOST']);
    }
  });

  test('no Host at all is refused', async () => {
    const socket = connect(reading.port, '127.0.0.1');
    socket.end('GET /api/about HTTP/1.0\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += chunk;
    expect(text).toMatch(/^HTTP\/1\.1 403 /);
  });

  test.each([
    'http://evil.example',
    'null',
    'https://127.0.0.1',
    'http://127.0.0.1:1',
    'http://localhost',
  ])('Origin %s is another site', async (origin) => {
    const { status, json } = await ask(reading.port, '/api/about', { headers: { origin } });
    expect([status, json.error.code]).toEqual([403, 'ORIGIN']);
    expect((await purge({ selection: { all: true }, dryRun: true }, { origin })).status).toBe(403);
  });

  test('our own page may ask', async () => {
    const headers = { origin: writing.origin, 'sec-fetch-site': 'same-origin' };
    expect((await purge({ selection: { all: true }, dryRun: true }, headers)).status).toBe(200);
  });

  test('what a browser says of other sites counts, save for a link to the page', async () => {
    const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    const cases = /** @type {[string, Record<string, string>, number][]} */ ([
      ['/api/about', { 'sec-fetch-site': 'cross-site' }, 403],
      ['/api/about', { 'sec-fetch-site': 'same-site' }, 403],
      ['/api/about', { 'sec-fetch-site': 'cross-site', ...navigation }, 403],
      ['/api/about', { 'sec-fetch-site': 'none', ...navigation }, 200],
      ['/', { 'sec-fetch-site': 'cross-site', ...navigation }, 200],
      ['/', { 'sec-fetch-site': 'cross-site', ...navigation, 'sec-fetch-dest': 'iframe' }, 403],
      ['/', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 403],
    ]);
    for (const [path, headers, status] of cases) {
      expect([path, headers, (await ask(reading.port, path, { headers })).status]).toEqual([
        path,
        headers,
        status,
      ]);
    }
    const written = { 'sec-fetch-site': 'none' };
    expect((await purge({ selection: { all: true }, dryRun: true }, written)).status).toBe(403);
  });

  test('a wrong token is refused even where none is needed', async () => {
    const headers = { authorization: 'Bearer wrong-token-of-somebody' };
    expect((await ask(reading.port, '/api/about', { headers })).status).toBe(401);
  });

  test('beyond loopback all reading needs the token, and the page itself does not', async () => {
    const open = await start({ path: usual, host: '0.0.0.0' });
    expect(open.url).toMatch(/#token=[\w-]{43}$/);
    const headers = { authorization: `Bearer ${open.token}` };
    for (const name of [
      'about',
      'stats',
      'limits',
      'entries',
      'tags',
      'sizes',
      'jobs',
      'doctor',
      'events',
    ]) {
      const answer = await ask(open.port, `/api/${name}`);
      expect([name, answer.status, answer.json.error.code]).toEqual([name, 401, 'TOKEN']);
    }
    expect((await ask(open.port, '/')).status).toBe(200);
    expect((await ask(open.port, '/api/stats', { headers })).status).toBe(200);
    // An address is nobody's name; a name that is not this machine's is.
    expect(
      (await ask(open.port, '/api/stats', { headers: { ...headers, host: '10.1.2.3' } })).status,
    ).toBe(200);
    expect((await ask(open.port, '/', { headers: { host: 'evil.example' } })).status).toBe(403);
    // Not in the address that is asked: it would be in logs.
    expect((await ask(open.port, `/api/about?token=${open.token}`)).status).toBe(401);
  });
});

describe('what is served', () => {
  test('every answer has the headers that keep browsers strict', async () => {
    const answers = await Promise.all([
      ask(reading.port, '/'),
      ask(reading.port, '/icon.svg'),
      ask(reading.port, '/api/about'),
      ask(reading.port, '/none'),
      ask(reading.port, '/', {
        method: 'OPTIONS',
        headers: { 'access-control-request-method': 'POST' },
      }),
      ask(reading.port, '/', { headers: { host: 'evil.example' } }),
    ]);
    for (const { headers } of answers) {
      const policy = headers['content-security-policy'];
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toMatch(/unsafe|\*|https?:/);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'cross-origin-resource-policy': 'same-origin',
      });
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
    }
  });

  test('the page and what it names, at most 150 KB compressed', async () => {
    const { gzipSync } = require('node:zlib');
    const page = await ask(reading.port, '/');
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(page.text).not.toMatch(/https?:|<script(?![^>]* src=)|<style| on\w+=/);
    const names = [...page.text.matchAll(/(?:src|href)="\.(\/[^"]+)"/g)].map(([, name]) => name);
    expect(names.length).toBeGreaterThanOrEqual(3);
    let bytes = gzipSync(page.text).length;
    for (const name of names) {
      const { status, text } = await ask(reading.port, name);
      expect([name, status]).toEqual([name, 200]);
      bytes += gzipSync(text).length;
    }
    expect(bytes).toBeLessThan(150_000);
  });

  test.each([
    '/../package.json',
    '/../../package.json',
    '/..%2fserver.js',
    '/%2e%2e/server.js',
    '/%2e%2e%2f%2e%2e%2fpackage.json',
    '/%252e%252e%252fserver.js',
    '/..\\server.js',
    '/assets',
    '/assets/',
    '/assets/..',
    '/assets/../index.html',
    '//etc/passwd',
    '/etc/passwd',
    '/index.html%00.js',
    '/server.js',
    '/static/index.html',
    '/INDEX.HTML',
    '/api',
    '/api/',
    '/api/constructor',
    '/api/__proto__',
    '/api/toString',
    '/api/version',
    '/api/count',
    '/api/../index.html',
    '/api/stats/',
    'http://127.0.0.1/index.html',
    '*',
  ])('%s is nothing', async (path) => {
    const { status, json } = await ask(reading.port, path);
    expect([status, json.error.code]).toEqual([404, 'PATH']);
  });

  test('a path is decoded once, and has to be one', async () => {
    expect((await ask(reading.port, '/%69ndex.html')).status).toBe(200);
    expect((await ask(reading.port, '/%2569ndex.html')).status).toBe(404);
    expect((await ask(reading.port, '/%ff')).status).toBe(400);
    expect((await ask(reading.port, '/%')).status).toBe(400);
  });

  test.each([
    ['POST', '/', 'GET, HEAD'],
    ['PUT', '/index.html', 'GET, HEAD'],
    ['DELETE', '/api/entries', 'GET, HEAD'],
    ['POST', '/api/stats', 'GET, HEAD'],
    ['OPTIONS', '/api/purge', 'POST'],
    ['GET', '/api/purge', 'POST'],
    ['TRACE', '/api/about', 'GET, HEAD'],
  ])('%s %s is refused', async (method, path, allow) => {
    const { status, headers } = await ask(reading.port, path, { method });
    expect([status, headers.allow]).toEqual([405, allow]);
  });

  test('HEAD has no body', async () => {
    for (const path of ['/', '/api/about', '/api/stats', '/api/events']) {
      const { status, text } = await ask(reading.port, path, { method: 'HEAD' });
      expect([path, status, text]).toEqual([path, 200, '']);
    }
  });
});

describe('what it bears', () => {
  /** Sends 100 MB, as far as it is let. @param {Record<string, string>} headers */
  const sendMuch = (headers) =>
    new Promise((resolve) => {
      const total = 100 * 1024 * 1024;
      const chunk = Buffer.alloc(64 * 1024, 'x');
      let sent = 0;
      let status = 0;
      const request = httpRequest({
        host: '127.0.0.1',
        port: writing.port,
        path: '/api/purge',
        method: 'POST',
        agent: false,
        headers: {
          'content-type': 'application/json',
          authorization: `Bearer ${writing.token}`,
          ...headers,
        },
      });
      request.on('response', (response) => {
        status = response.statusCode ?? 0;
        response.resume();
      });
      request.on('error', () => {});
      request.on('close', () => resolve({ status, sent }));
      const more = () => {
        while (sent < total && !request.destroyed) {
          sent += chunk.length;
          if (!request.write(chunk)) {
            request.once('drain', more);
            return;
          }
        }
        request.end();
      };
      more();
    });

  test.each([
    ['that says so', { 'content-length': String(100 * 1024 * 1024) }],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])('a body of 100 MB %s is cut off', async (_, headers) => {
    const { status, sent } = await soon(sendMuch(headers));
    expect(status).toBe(413);
    // What the system takes in between.
    expect(sent).toBeLessThan(30 * 1024 * 1024);
  });

  test('a body at the bound is read, a byte more is not', async () => {
    const body = JSON.stringify({ selection: { key: 'x' }, dryRun: true });
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${writing.token}`,
    };
    const send = (/** @type {number} */ bytes) =>
      ask(writing.port, '/api/purge', { method: 'POST', headers, body: body.padEnd(bytes, ' ') });
    expect((await send(64 * 1024)).status).toBe(200);
    expect((await send(64 * 1024 + 1)).status).toBe(413);
  });

  test('a body that is no JSON', async () => {
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${writing.token}`,
    };
    for (const body of ['', '{', '['.repeat(60_000), '\xff']) {
      const { status } = await ask(writing.port, '/api/purge', { method: 'POST', headers, body });
      expect(status).toBe(400);
    }
  });

  test('headers without end', async () => {
    const { status } = await ask(reading.port, '/', { headers: { long: 'x'.repeat(20_000) } });
    expect(status).toBe(431);
  });

  test('slow clients are cut off, and nobody waits for them', async () => {
    const { port, token } = await start({
      path: usual,
      write: true,
      timing: { headersMs: 300, requestMs: 600, checkMs: 50 },
    });
    const head = `POST /api/purge HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n`;
    const slow = ['GET / HTTP/1.1\r\nHost: local', head].map((start) => {
      const socket = connect(port, '127.0.0.1');
      const state = { isClosed: false };
      socket.on('error', () => {});
      socket.on('close', () => {
        state.isClosed = true;
        clearInterval(timer);
      });
      socket.resume();
      socket.write(start);
      const timer = setInterval(() => socket.write('x'), 50);
      return state;
    });
    expect((await ask(port, '/api/about')).status).toBe(200);
    await until(() => slow.every(({ isClosed }) => isClosed));
  });

  test('500 connections at once, each of which is answered', async () => {
    const sockets = await Promise.all(
      Array.from(
        { length: 500 },
        () =>
          /** @type {Promise<import('node:net').Socket>} */ (
            new Promise((resolve, reject) => {
              const socket = connect(reading.port, '127.0.0.1');
              socket.once('connect', () => resolve(socket)).once('error', reject);
            })
          ),
      ),
    );
    // All are open.
    expect((await ask(reading.port, '/api/stats')).status).toBe(200);
    const answers = sockets.map(async (socket) => {
      socket.write('GET /api/limits HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      let text = '';
      for await (const chunk of socket) text += chunk;
      return text.slice(0, 15);
    });
    expect(new Set(await soon(Promise.all(answers)))).toEqual(new Set(['HTTP/1.1 200 OK']));
  });

  test('connections that are reset at any moment', async () => {
    for (let index = 0; index < 100; index++) {
      const socket = connect(reading.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(
        'GET /api/entries HTTP/1.1\r\nHost: localhost\r\n\r\n'.slice(0, 1 + ((index * 7) % 60)),
      );
      if (index % 2) await sleep(index % 5);
      socket.resetAndDestroy();
    }
    expect((await ask(reading.port, '/api/stats')).status).toBe(200);
  });

  // A pipe that nobody writes to is a file whose reading does not end.
  test.skipIf(process.platform === 'win32')(
    'reads without end: others go on, and what nobody waits for is ended',
    async () => {
      const link = join(directory, 'link.db');
      const pointTo = (/** @type {string} */ target) => {
        rmSync(link, { force: true });
        symlinkSync(target, link);
      };
      pointTo(usual);
      const { port } = await start({ path: link });
      /** @type {number[]} */
      const pipes = [];
      /** Asks what is not answered, and waits until that is being read. @param {string} path */
      const begin = async (path) => {
        const pipe = join(directory, `pipe-${pipes.length}`);
        execFileSync('mkfifo', [pipe]);
        pointTo(pipe);
        const request = httpRequest({ host: '127.0.0.1', port, path, agent: false });
        request.on('error', () => {});
        request.on('response', () => {
          throw new Error('a read without end has been answered');
        });
        request.end();
        await until(() => {
          try {
            pipes.push(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK));
            return true;
          } catch (error) {
            // Nobody reads it yet.
            if (error.code !== 'ENXIO') throw error;
            return false;
          }
        });
        pointTo(usual);
        return request;
      };
      const endless = [await begin('/api/stats'), await begin('/api/jobs')];
      expect((await ask(port, '/api/about')).status).toBe(200);
      expect((await soon(ask(port, '/api/limits'))).status).toBe(200);
      endless.push(await begin('/api/tags'));
      // All processes are at it: there is none for this until some are ended, which a read would be after a minute, too.
      const waiting = ask(port, '/api/limits');
      for (const request of endless) request.destroy();
      expect((await soon(waiting, 30_000)).status).toBe(200);
      for (const pipe of pipes) closeSync(pipe);
    },
  );
});

test('close() ends what listens and reads, and leaves nothing that keeps the process', () => {
  const script = `
    const { get } = require('node:http');
    const { serve } = require(${JSON.stringify(require.resolve('../tools/dashboard/server.js'))});
    serve({ path: ${JSON.stringify(usual)} }).then(async ({ url, close }) => {
      const ended = new Promise((resolve) => {
        get(url + 'api/events', (response) => response.once('data', () => {
          get(url + 'api/doctor').on('error', () => {}).on('response', (other) => other.resume().on('error', () => {}));
          response.resume().on('close', resolve).on('error', () => {});
          setTimeout(close, 50);
        }));
      });
      await ended;
      console.log('ended');
    });`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect([stdout, stderr, status]).toEqual(['ended\n', '', 0]);
});
