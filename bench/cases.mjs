// The calls that are timed, and the targets: by how much others must be slower.

import { hundredAtOnce, oneByOne } from './measure.mjs';

const HOUR_SECONDS = 3600;

/** A value whose JSON text has about so many bytes, like an answer of the API: a list of objects. @param {number} bytes */
export function valueOfSize(bytes) {
  if (bytes < 1000) return { text: 'x'.repeat(bytes - '{"text":""}'.length) };
  const item = {
    id: 4_000,
    name: 'An issue',
    deck: null,
    description: 'About this issue. '.repeat(50),
  };
  const size = JSON.stringify(item).length + 1;
  return {
    results: Array.from({ length: Math.max(1, Math.round(bytes / size)) }, (_, id) => ({
      ...item,
      id,
    })),
  };
}

const values = {
  '100 B': valueOfSize(100),
  '5 KB': valueOfSize(5_000),
  '55 KB': valueOfSize(55_000),
  '1 MB': valueOfSize(1_000_000),
};

/**
 * @typedef {object} Case
 * @property {string} name
 * @property {import('./peers.mjs').Kind} kind
 * @property {string[]} peers
 * @property {number} [ofAtOnce]  calls that are made at once
 * @property {(peer: any) => unknown} [prepare]  once, before all rounds
 * @property {(peer: any) => unknown} [before]  before each round
 * @property {(peer: any, i: number) => Promise<unknown>} call
 * @property {string} [note]
 * @property {Record<string, number>} [targets]  by how much slower than the first peer the others are to be
 */

const onPath = ['ours', '0.2.0', 'hand-written', 'ours on a connection', '0.2.0 on a connection'];
const onConnection = ['ours on a connection', '0.2.0 on a connection', 'hand-written'];
const inMemory = ['ours in memory', '0.2.0 in memory', 'hand-written in memory'];

let next = 0;

/** @param {any} peer @param {unknown} value */
async function fill(peer, value) {
  for (let i = 0; i < 20; i++) await peer.cache.set(`key-${i}`, value, 10 * HOUR_SECONDS);
}

/** @type {Case[]} */
const reads = Object.entries(values).map(([size, value]) => ({
  name: `get hit, ${size}`,
  kind: 'cache',
  peers: onPath,
  prepare: (peer) => fill(peer, value),
  call: (peer, i) => peer.cache.get(`key-${i % 20}`),
  targets: /** @type {any} */ ({
    '100 B': { '0.2.0': 15, 'hand-written': 1 },
    '55 KB': { '0.2.0': 2.5, 'hand-written': 1 },
  })[size],
}));

/** @type {Case[]} */
const writes = Object.entries(values).flatMap(([size, value]) => [
  {
    name: `set, ${size}`,
    kind: 'cache',
    peers: [...onPath, ...(size === '100 B' ? ["ours, synchronous: 'full'"] : [])],
    call: (peer, i) => peer.cache.set(`key-${i % 20}`, value, HOUR_SECONDS),
    targets: size === '100 B' ? { '0.2.0': 40, 'hand-written': 1.5 } : undefined,
  },
  {
    name: `set, ${size}, 100 at once`,
    kind: 'cache',
    peers: [...onPath, ...(size === '100 B' ? ["ours, synchronous: 'full'"] : [])],
    ofAtOnce: 100,
    call: (peer, i) => peer.cache.set(`key-${i % 100}`, value, HOUR_SECONDS),
    targets: size === '100 B' ? { '0.2.0': 200, 'hand-written': 8 } : undefined,
  },
]);

/** @type {Case[]} */
const windows = [50, 1_000, 10_000, 100_000].map((count) => ({
  name: `canProceed, ${count.toLocaleString('en')} in the window`,
  kind: 'rate',
  peers: onPath,
  call: (peer) => peer.rate.canProceed(`requests-${count}`),
  targets: /** @type {any} */ ({
    50: { '0.2.0': 20, 'hand-written': 1.2 },
    10000: { '0.2.0': 100, 'hand-written': 20 },
  })[count],
}));

/** @type {Case[]} */
export const cases = [
  ...reads,
  {
    name: 'get miss',
    kind: 'cache',
    peers: onPath,
    call: (peer, i) => peer.cache.get(`no-key-${i % 20}`),
    targets: { '0.2.0': 15, 'hand-written': 1 },
  },
  ...writes,
  {
    name: 'set, 100 B, in memory',
    kind: 'cache',
    peers: inMemory,
    call: (peer, i) => peer.cache.set(`key-${i % 20}`, values['100 B'], HOUR_SECONDS),
    targets: { '0.2.0 in memory': 10, 'hand-written in memory': 1 },
  },
  ...windows,
  {
    name: 'record',
    kind: 'rate',
    peers: [...onPath, "ours, synchronous: 'full'"],
    before: (peer) => peer.rate.reset('recorded'),
    call: (peer) => peer.rate.record('recorded'),
    targets: { '0.2.0': 40, 'hand-written': 1.5 },
  },
  {
    name: 'adaptive canProceed + record',
    kind: 'adaptive',
    peers: onPath,
    before: (peer) => peer.adaptive.reset('recorded'),
    async call(peer, i) {
      const priority = i % 2 ? 'user' : 'background';
      await peer.adaptive.canProceed('recorded', priority);
      await peer.adaptive.record('recorded', priority);
    },
    targets: { '0.2.0': 50, 'hand-written': 1.2 },
  },
  {
    name: 'dedupe waitFor + register + complete',
    kind: 'dedupe',
    peers: onPath,
    before: (peer) => peer.dedupe.clear(),
    async call(peer) {
      const hash = `job-${next++}`;
      await peer.dedupe.waitFor(hash);
      await peer.dedupe.register(hash);
      await peer.dedupe.complete(hash, values['100 B']);
    },
    note: 'ours commits three times: waitFor claims the hash; the others commit twice',
    targets: { '0.2.0': 40, 'hand-written': 0.7 },
  },
  {
    name: 'get hit, 100 B, on the same connection',
    kind: 'cache',
    peers: onConnection,
    prepare: (peer) => fill(peer, values['100 B']),
    call: (peer, i) => peer.cache.get(`key-${i % 20}`),
    targets: { '0.2.0 on a connection': 8, 'hand-written': 0.6 },
  },
  {
    name: 'get miss, on the same connection',
    kind: 'cache',
    peers: onConnection,
    call: (peer, i) => peer.cache.get(`no-key-${i % 20}`),
    targets: { '0.2.0 on a connection': 8, 'hand-written': 0.6 },
  },
  {
    name: 'isInProgress, on the same connection',
    kind: 'dedupe',
    peers: onConnection,
    call: (peer, i) => peer.dedupe.isInProgress(`no-job-${i % 20}`),
    targets: { '0.2.0 on a connection': 8, 'hand-written': 0.6 },
  },
  {
    name: 'canProceed, 50 in the window, on the same connection',
    kind: 'rate',
    peers: onConnection,
    call: (peer) => peer.rate.canProceed('requests-50'),
    targets: { '0.2.0 on a connection': 8, 'hand-written': 0.6 },
  },
  {
    name: 'set, 100 B, on the same connection',
    kind: 'cache',
    peers: onConnection,
    call: (peer, i) => peer.cache.set(`key-${i % 20}`, values['100 B'], HOUR_SECONDS),
    targets: { '0.2.0 on a connection': 2 },
  },
  {
    name: 'register, on the same connection',
    kind: 'dedupe',
    peers: onConnection,
    before: (peer) => peer.dedupe.clear(),
    call: (peer) => peer.dedupe.register(`job-${next++}`),
    targets: { '0.2.0 on a connection': 2 },
  },
  {
    name: 'set, 100 B, 100 at once, on the same connection',
    kind: 'cache',
    peers: onConnection,
    ofAtOnce: 100,
    call: (peer, i) => peer.cache.set(`key-${i % 100}`, values['100 B'], HOUR_SECONDS),
    targets: { '0.2.0 on a connection': 20, 'hand-written': 6 },
  },
  {
    name: 'record, 100 at once, on the same connection',
    kind: 'rate',
    peers: onConnection,
    ofAtOnce: 100,
    before: (peer) => peer.rate.reset('recorded'),
    call: (peer) => peer.rate.record('recorded'),
    targets: { '0.2.0 on a connection': 20, 'hand-written': 6 },
  },
];

/** Makes calls of a case. @param {Case} benchmark @param {any} peer @param {number} calls */
export const make = ({ ofAtOnce, call }, peer, calls) =>
  (ofAtOnce ? hundredAtOnce : oneByOne)(calls, (i) => call(peer, i));
