// The calls that are timed, and the targets: by how much others must be slower.

import { clientOn } from './api.mjs';
import { HOUR_SECONDS, values } from './values.mjs';

/**
 * @typedef {object} Target
 * @property {string} peer
 * @property {string} than
 * @property {number} times  how many times as long as `than` the peer is to take, at least
 */

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {string} table  the table of the report that it belongs to
 * @property {import('./peers.mjs').Kind[]} kinds
 * @property {string[]} peers  the first is what the others are compared with
 * @property {number} [atOnce]  calls that are made at once
 * @property {(peer: any) => unknown} [prepare]  once, before all rounds
 * @property {(peer: any) => unknown} [before]  before each round
 * @property {(peer: any, i: number) => Promise<unknown>} call
 * @property {string} [note]
 * @property {Target[]} [targets]
 */

const basic = ['ours', 'ours on a connection', '0.2.0', '0.2.0 on a connection', 'hand-written'];
const caches = ['@keyv/sqlite', 'lmdb', 'JSON alone'];
const limiters = [...basic, 'rate-limiter-flexible'];
const flushed = ['ours, full'];
const inMemory = ['ours in memory', '0.2.0 in memory', 'hand-written in memory', 'JSON alone'];

/** @param {string} peer @param {number} times @param {string} [than] @returns {Target} */
const slower = (peer, times, than = 'ours') => ({ peer, than, times });
/** @param {number} theirs @param {number} handWritten */
const onPath = (theirs, handWritten) => [
  slower('0.2.0', theirs),
  slower('hand-written', handWritten),
];
const readsOnConnection = [
  slower('0.2.0 on a connection', 8, 'ours on a connection'),
  slower('hand-written', 0.6, 'ours on a connection'),
];

const writeOnConnection = slower('0.2.0 on a connection', 2, 'ours on a connection');

/** For jobs and issues that no call has named before. */
let next = 1;

/** @param {any} peer @param {unknown} value */
async function fill(peer, value) {
  for (let i = 0; i < 20; i++) await peer.cache.set(`key-${i}`, value, 10 * HOUR_SECONDS);
}

/** @type {Case[]} */
const reads = Object.entries(values).map(([size, value]) => ({
  name: `get hit, ${size}`,
  table: 'Cache: get',
  kinds: ['cache'],
  peers: [...basic, ...caches],
  prepare: (peer) => fill(peer, value),
  call: (peer, i) => peer.cache.get(`key-${i % 20}`),
  targets: { '100 B': [...onPath(15, 1), ...readsOnConnection], '55 KB': onPath(2.5, 1) }[size],
}));

/** @type {Case[]} */
const writes = Object.entries(values).flatMap(([size, value]) => [
  {
    name: `set, ${size}`,
    table: 'Cache: set, awaited one by one',
    kinds: ['cache'],
    peers: [...basic, ...flushed, ...caches],
    call: (peer, i) => peer.cache.set(`key-${i % 20}`, value, HOUR_SECONDS),
    targets: size === '100 B' ? [...onPath(40, 1.5), writeOnConnection] : undefined,
  },
  {
    name: `set, ${size}, 100 at once`,
    table: 'Cache: set, 100 at once',
    kinds: ['cache'],
    peers: [...basic, ...flushed, ...caches],
    atOnce: 100,
    call: (peer, i) => peer.cache.set(`key-${i % 100}`, value, HOUR_SECONDS),
    targets:
      size === '100 B'
        ? [
            ...onPath(200, 8),
            slower('0.2.0 on a connection', 20, 'ours on a connection'),
            slower('hand-written', 6, 'ours on a connection'),
          ]
        : undefined,
  },
]);

/** @type {Case[]} */
const windows = [50, 1_000, 10_000, 100_000].map((count) => ({
  name: `canProceed, ${count.toLocaleString('en')} in the window`,
  table: 'Rate limit',
  kinds: ['rate'],
  peers: limiters,
  call: (peer) => peer.rate.canProceed(`requests-${count}`),
  targets: /** @type {Record<number, Target[]>} */ ({
    50: [...onPath(20, 1.2), ...readsOnConnection],
    10000: onPath(100, 20),
  })[count],
}));

/** @type {Case[]} */
export const cases = [
  ...reads,
  {
    name: 'get miss',
    table: 'Cache: get',
    kinds: ['cache'],
    peers: [...basic, '@keyv/sqlite', 'lmdb'],
    call: (peer, i) => peer.cache.get(`no-key-${i % 20}`),
    targets: [...onPath(15, 1), ...readsOnConnection],
  },
  ...writes,
  {
    name: 'set, 100 B, in memory',
    table: 'Cache: in memory',
    kinds: ['cache'],
    peers: inMemory,
    call: (peer, i) => peer.cache.set(`key-${i % 20}`, values['100 B'], HOUR_SECONDS),
    targets: [
      slower('0.2.0 in memory', 10, 'ours in memory'),
      slower('hand-written in memory', 1, 'ours in memory'),
    ],
  },
  ...windows,
  {
    name: 'record',
    table: 'Rate limit',
    kinds: ['rate'],
    peers: [...limiters, ...flushed],
    before: (peer) => peer.rate.reset('recorded'),
    call: (peer) => peer.rate.record('recorded'),
    targets: [...onPath(40, 1.5), writeOnConnection],
  },
  {
    name: 'record, 100 at once',
    table: 'Rate limit',
    kinds: ['rate'],
    peers: [...limiters, ...flushed],
    atOnce: 100,
    before: (peer) => peer.rate.reset('recorded'),
    call: (peer) => peer.rate.record('recorded'),
  },
  {
    name: 'adaptive canProceed + record',
    table: 'Adaptive rate limit',
    kinds: ['adaptive'],
    peers: [...basic, ...flushed],
    before: (peer) => peer.adaptive.reset('recorded'),
    async call(peer, i) {
      const priority = i % 2 ? 'user' : 'background';
      await peer.adaptive.canProceed('recorded', priority);
      await peer.adaptive.record('recorded', priority);
    },
    targets: [...onPath(50, 1.2), writeOnConnection],
  },
  {
    name: 'dedupe waitFor + register + complete',
    table: 'Dedupe',
    kinds: ['dedupe'],
    peers: [...basic, ...flushed],
    before: (peer) => peer.dedupe.clear(),
    async call(peer) {
      const hash = `job-${next++}`;
      await peer.dedupe.waitFor(hash);
      await peer.dedupe.register(hash);
      await peer.dedupe.complete(hash, values['100 B']);
    },
    note: 'Ours commits three times: `waitFor` claims the hash. The others commit twice.',
    targets: [...onPath(40, 0.7), writeOnConnection],
  },
  {
    name: 'dedupe register',
    table: 'Dedupe',
    kinds: ['dedupe'],
    peers: basic,
    before: (peer) => peer.dedupe.clear(),
    call: (peer) => peer.dedupe.register(`job-${next++}`),
    targets: [writeOnConnection],
  },
  {
    name: 'dedupe isInProgress',
    table: 'Dedupe',
    kinds: ['dedupe'],
    peers: basic,
    call: (peer, i) => peer.dedupe.isInProgress(`no-job-${i % 20}`),
    targets: readsOnConnection,
  },
  {
    name: 'client, from upstream to stored',
    table: 'Through the client',
    kinds: ['cache', 'dedupe', 'adaptive'],
    peers: basic,
    async prepare(peer) {
      peer.client = await clientOn(peer);
    },
    call: (peer) => peer.client.issue.retrieve(next++),
    note: 'One `issue.retrieve()` over HTTP to a local server in another thread: six calls of the stores.',
  },
  {
    name: 'client, cached',
    table: 'Through the client',
    kinds: ['cache', 'dedupe', 'adaptive'],
    peers: basic,
    async prepare(peer) {
      peer.client = await clientOn(peer);
      for (let id = 1; id <= 20; id++) await peer.client.issue.retrieve(id);
    },
    call: (peer, i) => peer.client.issue.retrieve(1 + (i % 20)),
  },
];
