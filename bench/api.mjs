// The unmodified client on a peer's stores, over HTTP, with a local server that speaks the API from a thread of its own. Loaded
// when there is a case for it.

import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

/** @type {Promise<[string]> | undefined} */
let baseUrl;

/** @param {import('./peers.mjs').Peer} peer */
export async function clientOn({ cache, dedupe, adaptive }) {
  const { ComicVine } = await import('@comic-vine/client');
  if (!baseUrl) {
    const server = new Worker(new URL(import.meta.url));
    server.unref();
    baseUrl = /** @type {Promise<[string]>} */ (once(server, 'message'));
  }
  const stores = { cache, dedupe, rateLimit: adaptive };
  return new ComicVine({ apiKey: 'key', baseUrl: (await baseUrl)[0], stores });
}

if (!isMainThread) {
  const { startFakeApi } = await import('../examples/demo/fake-api.mjs');
  parentPort?.postMessage((await startFakeApi({ latencyMs: 0 })).baseUrl());
}
