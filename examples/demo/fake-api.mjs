/**
 * A local HTTP server that speaks the shape of the Comic Vine API: the same paths, the same response envelope, the
 * same error codes. It counts what reaches it, by caller and by path, so that the demo and the tests can say what went
 * upstream without asking the client.
 *
 * The client hashes the path and the query of a request, not the host; so a caller can be named in the user part of
 * the base URL (`http://web-1@127.0.0.1:1234/api/`) and still share its cache with the others.
 */
import http from 'node:http';
// Not the global one: tests that use this server fake the global timers.
import { setTimeout as delay } from 'node:timers/promises';

/** The resources a demo needs: detail path, list path and the number in front of an id. */
const RESOURCES = [
  { detail: 'character', list: 'characters', type: 4005 },
  { detail: 'issue', list: 'issues', type: 4000 },
  { detail: 'publisher', list: 'publishers', type: 4010 },
  { detail: 'team', list: 'teams', type: 4060 },
  { detail: 'volume', list: 'volumes', type: 4050 },
];
const LAST_ID = 1_000_000;
const LIST_TOTAL = 250;
const MAX_PAGE = 100;

const STATUS = {
  ok: [1, 'OK'],
  invalidKey: [100, 'Invalid API Key'],
  notFound: [101, 'Object Not Found'],
  urlFormat: [102, 'Error in URL Format'],
};

/**
 * @typedef {object} FakeApi
 * @property {string} origin `http://127.0.0.1:<port>`
 * @property {(caller?: string) => string} baseUrl what to give the client as `baseUrl`
 * @property {(where?: { caller?: string, path?: string }) => number} count requests seen since the last `reset`
 * @property {() => { path: string, at: number }[]} arrivals when each request since the last `reset` came, in ms since 1970
 * @property {() => void} reset forgets the requests seen so far
 * @property {() => void} failNext answers the next request with HTTP 503
 * @property {() => void} hangNext leaves the next request without an answer
 * @property {() => Promise<void>} close
 */

/**
 * @param {{ latencyMs?: number }} [options]
 * @returns {Promise<FakeApi>}
 */
export async function startFakeApi({ latencyMs = 20 } = {}) {
  /** @type {{ caller: string, path: string, at: number }[]} */
  let seen = [];
  /** @type {'fail' | 'hang' | undefined} */
  let next;

  const server = http.createServer(async (request, response) => {
    // A client that was pointed here as its proxy sends the whole URL, not only the path.
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    const path = url.pathname.replace(/\/$/, '');
    const at = performance.timeOrigin + performance.now();
    seen.push({ caller: callerOf(request), path, at });
    const how = next;
    next = undefined;
    if (how === 'hang') return;
    await delay(latencyMs);
    const { code, body } =
      how === 'fail'
        ? { code: 503, body: { message: 'Service Unavailable' } }
        : answer(path, url.searchParams);
    response.writeHead(code, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  });
  // A client that was busy for long finds its connections as it left them.
  server.keepAliveTimeout = 0;
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(undefined));
  });
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());

  return {
    origin: `http://127.0.0.1:${port}`,
    baseUrl: (caller) => `http://${caller ? `${caller}@` : ''}127.0.0.1:${port}/api/`,
    count: ({ caller, path } = {}) =>
      seen.filter(
        (request) =>
          (caller === undefined || request.caller === caller) &&
          (path === undefined || request.path === path),
      ).length,
    arrivals: () => seen.map(({ path, at }) => ({ path, at })),
    reset: () => {
      seen = [];
    },
    failNext: () => {
      next = 'fail';
    },
    hangNext: () => {
      next = 'hang';
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** @param {http.IncomingMessage} request */
function callerOf(request) {
  const [, encoded = ''] = (request.headers.authorization ?? '').split(' ');
  return Buffer.from(encoded, 'base64').toString().split(':')[0] ?? '';
}

/**
 * @param {string} path
 * @param {URLSearchParams} query
 */
function answer(path, query) {
  if (!query.get('api_key')) {
    return { code: 401, body: envelope(STATUS.invalidKey, []) };
  }
  const [, name, key] = path.match(/^\/api\/([^/]+)(?:\/([^/]+))?$/) ?? [];
  const resource = RESOURCES.find((r) => (key ? r.detail : r.list) === name);
  if (!resource) return { code: 200, body: envelope(STATUS.urlFormat, []) };
  return { code: 200, body: key ? one(resource, key, query) : page(resource, query) };
}

/**
 * @param {typeof RESOURCES[number]} resource
 * @param {string} key `<type>-<id>`
 * @param {URLSearchParams} query
 */
function one(resource, key, query) {
  const [type, id] = key.split('-').map(Number);
  if (type !== resource.type || !id || id > LAST_ID) {
    return envelope(STATUS.notFound, []);
  }
  return envelope(STATUS.ok, item(resource, id, query), { limit: 1, page: 1, total: 1 });
}

/**
 * @param {typeof RESOURCES[number]} resource
 * @param {URLSearchParams} query
 */
function page(resource, query) {
  const limit = Math.min(Number(query.get('limit') ?? MAX_PAGE), MAX_PAGE);
  const offset = Number(query.get('offset') ?? 0);
  const length = Math.max(0, Math.min(limit, LIST_TOTAL - offset));
  const items = Array.from({ length }, (_, i) => item(resource, offset + i + 1, query));
  return envelope(STATUS.ok, items, { limit, offset, page: length, total: LIST_TOTAL });
}

/**
 * @param {typeof RESOURCES[number]} resource
 * @param {number} id
 * @param {URLSearchParams} query
 */
function item(resource, id, query) {
  const whole = {
    api_detail_url: `https://comicvine.gamespot.com/api/${resource.detail}/${resource.type}-${id}/`,
    date_added: '2008-06-06 11:27:37',
    description: `<p>About ${resource.detail} ${id}.</p>`,
    id,
    name: `${resource.detail} ${id}`,
  };
  const fields = query.get('field_list')?.split(',');
  if (!fields) return whole;
  return Object.fromEntries(Object.entries(whole).filter(([name]) => fields.includes(name)));
}

/**
 * @param {(number | string)[]} status
 * @param {unknown} results
 * @param {{ limit?: number, offset?: number, page?: number, total?: number }} [counts]
 */
function envelope(
  [status_code, error],
  results,
  { limit = 0, offset = 0, page = 0, total = 0 } = {},
) {
  return {
    error,
    limit,
    offset,
    number_of_page_results: page,
    number_of_total_results: total,
    status_code,
    results,
  };
}
