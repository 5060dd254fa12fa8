// What the newer client does with the stores of `createSQLiteStores`: by a stand-in that makes its calls, in its order.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createSQLiteStores } from '../index.mjs';
import { isolate } from './support/isolate.mjs';
import { NewerClient } from './support/newer-client.mjs';
import { Remote } from './support/remote.mjs';

const { path } = isolate();
const ORIGIN = 'https://server.example';
const ISSUE = `${ORIGIN}/issue/1`;

/** @type {import('../index.js').SQLiteStores<any>[]} */
let opened = [];
/** @type {{ url: string, etag: string | undefined }[]} */
let asked = [];
beforeEach(() => {
  asked = [];
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(opened.map((stores) => stores.close()));
  opened = [];
});

function open() {
  const stores = createSQLiteStores({ database: path('stores.db') });
  opened.push(stores);
  return stores;
}

/**
 * A client with stores of its own on the file.
 * @param {import('./support/newer-client.mjs').Fetch} answer
 * @param {string} [name]
 */
function client(answer, name = 'client') {
  const stores = open();
  /** @type {import('./support/newer-client.mjs').Fetch} */
  const fetch = (url, request) => {
    asked.push({ url, etag: request.etag });
    return answer(url, request);
  };
  return { stores, client: new NewerClient(stores, name, fetch) };
}

it('a response is cached, and shared by those who ask at once', async () => {
  const { client: one } = client(async (url) => ({ status: 200, body: { url }, maxAge: 60 }));
  const { client: other } = client(async (url) => ({ status: 200, body: { url }, maxAge: 60 }));
  const bodies = await Promise.all([one.get(ISSUE), one.get(ISSUE), other.get(ISSUE)]);
  expect(bodies).toEqual(Array(3).fill({ url: ISSUE }));
  expect(await other.get(ISSUE)).toEqual({ url: ISSUE });
  expect(asked).toHaveLength(1);
});

it('what has a tag is asked for again once that is invalidated', async () => {
  const tags = { [ISSUE]: ['issue', 'volume'], [`${ORIGIN}/volume/2`]: ['volume'] };
  const { stores, client: one } = client(async (url) => ({
    status: 200,
    body: url,
    maxAge: 60,
    tags: tags[url],
  }));
  const ask = () => Promise.all(Object.keys(tags).map((url) => one.get(url)));
  await ask();
  expect(await stores.cache.invalidateByTag('issue')).toBe(1);
  // Results are served for a second to whoever asks late.
  await stores.dedupe.clear();
  await ask();
  expect(asked).toHaveLength(3);
  expect(await stores.cache.invalidateByTags(['issue', 'volume'])).toBe(2);
  expect(await stores.cache.invalidateByTag('volume')).toBe(0);
});

it('what must be asked about each time is kept for ever, and confirmed by its ETag', async () => {
  const { stores, client: one } = client(async (_url, { etag }) =>
    etag === '"1"' ? { status: 304, etag } : { status: 200, body: 'body', etag: '"1"' },
  );
  expect(await one.get(ISSUE)).toBe('body');
  await stores.dedupe.clear();
  await stores.cache.cleanup();
  expect(await stores.cache.listEntries()).toMatchObject([{ expiresAt: 0 }]);
  expect(await one.get(ISSUE)).toBe('body');
  expect(asked.map(({ etag }) => etag)).toEqual([undefined, '"1"']);
});

it('HTTP 429 stops all clients until its time is over', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const { client: refused } = client(async () => ({ status: 429, retryAfter: 10 }));
  const { client: other } = client(async () => ({ status: 200, body: 'body', maxAge: 60 }));
  await expect(refused.get(ISSUE)).rejects.toThrow('HTTP 429');
  const until = Date.now() + 10_000;
  await expect(other.get(`${ORIGIN}/issue/2`)).rejects.toThrow(`cooling down until ${until}`);
  expect(asked).toHaveLength(1);
  vi.setSystemTime(until);
  expect(await other.get(`${ORIGIN}/issue/2`)).toBe('body');
});

it('an abort is the affair of who aborts: somebody else who waits makes the request', async () => {
  /** @type {import('./support/newer-client.mjs').Fetch} */
  const answer = (_url, { signal }) =>
    signal
      ? new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        })
      : Promise.resolve({ status: 200, body: 'body', maxAge: 60 });
  const [{ client: one }, { client: other }] = [client(answer), client(answer)];
  const controller = new AbortController();
  const aborted = one.get(ISSUE, { signal: controller.signal });
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  const others = [one.get(ISSUE), other.get(ISSUE), other.get(ISSUE)];
  controller.abort();
  await expect(aborted).rejects.toThrow(/abort/);
  expect(await Promise.all(others)).toEqual(Array(3).fill('body'));
  expect(asked).toHaveLength(2);
});

it('an error reaches all who wait for it', async () => {
  let fail = (/** @type {Error} */ _error) => {};
  const { client: one } = client(
    () =>
      new Promise((_, reject) => {
        fail = reject;
      }),
  );
  const waiting = [one.get(ISSUE), one.get(ISSUE)];
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  fail(new RangeError('no'));
  expect(await Promise.allSettled(waiting)).toMatchObject(
    Array(2).fill({ status: 'rejected', reason: { name: 'RangeError', message: 'no' } }),
  );
});

it('two clients on one file clear their own entries', async () => {
  const answer = async () => ({ status: 200, body: 'body', maxAge: 60 });
  const one = client(answer, 'one%_');
  const other = client(answer, 'one');
  await one.client.get(ISSUE);
  await other.client.get(ISSUE);
  await one.client.clearCache();
  expect((await one.stores.cache.listEntries()).map(({ hash }) => hash)).toEqual([`one:${ISSUE}`]);
});

it('limits are kept, by resource', async () => {
  const { stores } = client(async () => ({ status: 200, body: 'body', maxAge: 60 }));
  const limited = new NewerClient(stores, 'limited', async () => ({ status: 200, body: 'body' }), {
    '/issue/1': { limit: 0, windowMs: 1_000 },
  });
  await expect(limited.get(ISSUE)).rejects.toThrow('limit reached');
  expect(await limited.get(`${ORIGIN}/issue/2`)).toBe('body');
  expect(await stores.adaptiveRateLimit.listResources()).toMatchObject([
    { resource: '/issue/2', requestCount: 1, limit: 100, windowMs: 60_000 },
  ]);
});

it('the request of a process that is killed is made by another', { timeout: 60_000 }, async () => {
  const { stores, client: one } = client(async () => ({ status: 200, body: 'body', maxAge: 60 }));
  const remote = await Remote.start();
  try {
    const dedupe = await remote.make('SQLiteDedupeStore', { database: path('stores.db') });
    await remote.call(dedupe, 'register', `client:${ISSUE}`);
    const waiting = one.get(ISSUE);
    await vi.waitFor(async () =>
      expect(await stores.dedupe.listJobs()).toMatchObject([
        { status: 'pending', ownerAlive: true },
      ]),
    );
    expect(asked).toHaveLength(0);
    await remote.kill();
    expect(await waiting).toBe('body');
  } finally {
    await remote.kill();
  }
});
