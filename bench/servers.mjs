// npm run bench:servers: the stores on a libSQL server beside a loop over its client written by hand, which awaits each call, and
// beside version 0.2.0 on a connection of npm's `libsql`, which is synchronous. Directly, and through a proxy that adds 20 ms to
// each answer. Prints the tables of docs/scale-out.md.
//
//   --stopped only the last part: the server is stopped for longer than calls wait
//   --check   exit code 1 if a target is missed

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  SQLiteCacheStore as CacheOf020,
  SQLiteDedupeStore as DedupeOf020,
} from 'sqlite-store-0.2.0';
import { createSQLiteStores } from '../index.mjs';
import { longestStall, make } from './measure.mjs';
import { readable } from './report.mjs';

const require = createRequire(import.meta.url);
const { connect, program, reset, Server } = require('../__test__/support/servers.cjs');
/** Of the tests' runtimes: npm's `libsql`. */
const runtimes = createRequire(new URL('../__test__/runtimes/package.json', import.meta.url));

/** How long each case runs, at least, in ms, and how many calls it makes at least. */
const CASE_MS = 1_500;
const LEAST_CALLS = 20;
/** How long the server is stopped, in ms: longer than a call waits by default. */
const STOPPED_MS = 12_000;
/** Throughput beside the hand-written loop, 100 at once with 20 ms added. */
const TARGET = 10;

const UNLIMITED = { limit: 1e9, windowMs: 3_600_000 };
const value = { id: 1, name: 'issue 1', description: 'x'.repeat(1_000) };
const text = JSON.stringify(value);

/** @typedef {Record<string, (i: number) => Promise<unknown>>} Calls  by name */

/** @param {any} client @returns {{ calls: Calls, end(): Promise<unknown> }} */
function ours(client) {
  const stores = createSQLiteStores({
    database: client,
    rateLimit: { defaultConfig: UNLIMITED },
    requestTimeoutMs: 60_000,
  });
  const { cache, rateLimit, dedupe } = stores;
  return {
    calls: {
      get: (i) => cache.get(`key ${i % 100}`),
      set: (i) => cache.set(`key ${i % 100}`, value, 3_600),
      acquire: (i) => rateLimit.acquire(`resource ${i % 10}`),
      async 'a round of dedupe'(i) {
        const hash = `job ${i} ${Math.random()}`;
        await dedupe.waitFor(hash);
        await dedupe.register(hash);
        await dedupe.complete(hash, value);
      },
    },
    end: () => stores.close(),
  };
}

/** The least that does the same; it makes each call by itself. @param {any} client */
async function handWritten(client) {
  await client.batch(
    [
      'CREATE TABLE IF NOT EXISTS c (hash TEXT PRIMARY KEY, value TEXT, expires_at INTEGER)',
      'CREATE TABLE IF NOT EXISTS r (resource TEXT, at INTEGER)',
      'CREATE INDEX IF NOT EXISTS r_at ON r (resource, at)',
      'CREATE TABLE IF NOT EXISTS j (hash TEXT PRIMARY KEY, result TEXT)',
    ],
    'write',
  );
  // "A loop that awaits each call": the next begins when the one before has been answered.
  let last = Promise.resolve();
  /** @param {() => Promise<any>} call */
  const inTurn = (call) => {
    const answer = last.then(call);
    last = answer.then(() => {});
    return answer;
  };
  const run = (/** @type {string} */ sql, /** @type {any[]} */ ...args) =>
    inTurn(() => client.execute({ sql, args }));
  /** @type {Calls} */
  const calls = {
    async get(i) {
      const sql = 'SELECT value FROM c WHERE hash = ? AND expires_at > ?';
      const { rows } = await run(sql, `key ${i % 100}`, Date.now());
      return rows.length > 0 ? JSON.parse(rows[0].value) : undefined;
    },
    set: (i) =>
      run(
        'INSERT INTO c VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at',
        `key ${i % 100}`,
        text,
        Date.now() + 3_600_000,
      ),
    acquire: (i) =>
      run(
        'INSERT INTO r SELECT ?1, ?2 WHERE (SELECT COUNT(*) FROM r WHERE resource = ?1 AND at >= ?3) < 1e9',
        `resource ${i % 10}`,
        Date.now(),
        Date.now() - 3_600_000,
      ),
    async 'a round of dedupe'(i) {
      const hash = `job ${i} ${Math.random()}`;
      await run('SELECT result FROM j WHERE hash = ?', hash);
      await run('INSERT OR IGNORE INTO j VALUES (?, NULL)', hash);
      await run('UPDATE j SET result = ? WHERE hash = ?', text, hash);
    },
  };
  return { calls, end: async () => {} };
}

/** @param {string} url */
function of020(url) {
  const Database = runtimes('libsql');
  const connection = new Database(url);
  const cache = new CacheOf020({ database: connection });
  const dedupe = new DedupeOf020({ database: connection });
  /** @type {Calls} */
  const calls = {
    get: (i) => cache.get(`key ${i % 100}`),
    set: (i) => cache.set(`key ${i % 100}`, value, 3_600),
    async 'a round of dedupe'(i) {
      const hash = `job ${i} ${Math.random()}`;
      await dedupe.waitFor(hash);
      await dedupe.register(hash);
      await dedupe.complete(hash, value);
    },
  };
  return {
    calls,
    async end() {
      await cache.close();
      await dedupe.close();
      connection.close();
    },
  };
}

/** @param {number[]} sorted @param {number} share */
const quantile = (sorted, share) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

/** @param {(i: number) => Promise<unknown>} call @param {number} atOnce */
async function measure(call, atOnce) {
  await make(atOnce, atOnce, call);
  /** @type {number[]} */
  const times = [];
  const timed = async (/** @type {number} */ i) => {
    const start = performance.now();
    await call(i);
    times.push(performance.now() - start);
  };
  const start = performance.now();
  let made = 0;
  const stall = await longestStall(async () => {
    while (made < LEAST_CALLS || performance.now() - start < CASE_MS) {
      await make(atOnce, atOnce, timed);
      made += atOnce;
    }
  });
  const perSecond = (made / (performance.now() - start)) * 1_000;
  times.sort((one, other) => one - other);
  return { perSecond, p50: quantile(times, 0.5), p99: quantile(times, 0.99), stall };
}

/** The server is stopped for longer than calls wait for it. How long the event loop stands still meanwhile. */
async function measureStopped() {
  const idle = await longestStall(() => sleep(STOPPED_MS));
  const client = connect(server.url);
  const stores = createSQLiteStores({ database: client, rateLimit: { defaultConfig: UNLIMITED } });
  const { cache, rateLimit } = stores;
  const calls = () =>
    Array.from({ length: 100 }, (_, i) => [
      cache.get(`key ${i}`),
      cache.set(`key ${i}`, value, 60),
      rateLimit.acquire('resource'),
    ]).flat();
  for (let round = 0; round < 10; round++) await Promise.all(calls());
  server.signal('SIGSTOP');
  const start = performance.now();
  /** @type {Record<string, number>} */
  const codes = {};
  let slowest = 0;
  const refused = (/** @type {any} */ error) => {
    codes[error.code] = (codes[error.code] ?? 0) + 1;
    slowest = Math.max(slowest, performance.now() - start);
  };
  const stall = await longestStall(async () => {
    for (const call of calls()) call.catch(refused);
    await sleep(STOPPED_MS);
    server.signal('SIGCONT');
  });
  await cache.set('key', value, 60);
  console.log(
    `\nStopped for ${STOPPED_MS / 1_000} s with 300 calls under way: ${JSON.stringify(codes)} within ${readable(slowest)} ms; ` +
      `longest stall of the event loop ${readable(stall)} ms, of an idle one ${readable(idle)} ms`,
  );
  await stores.close();
  client.close();
}

if (program === undefined) throw new Error('there is no libSQL server for this platform');
const server = await Server.start();
const DELAY_MS = 20;
const ONLY_STOPPED = process.argv.includes('--stopped');
const proxy = spawn(
  process.execPath,
  [
    fileURLToPath(new URL('children/http-proxy.cjs', import.meta.url)),
    String(server.port),
    String(DELAY_MS),
  ],
  { stdio: ['pipe', 'pipe', 'inherit'] },
);
const [written] = await once(proxy.stdout, 'data');
const proxyUrl = String(written).trim();
const direct = connect(server.url);
/** @type {Record<string, number>} */
const throughput = {};
try {
  for (const delay of ONLY_STOPPED ? [] : [0, DELAY_MS]) {
    const url = delay === 0 ? server.url : proxyUrl;
    console.log(
      `\n${delay === 0 ? 'Directly' : `${delay} ms added to each answer`}:\n\n| call, at once | | calls per second | p50, ms | p99, ms | longest stall of the event loop, ms |\n| --- | --- | --- | --- | --- | --- |`,
    );
    for (const [peer, open] of Object.entries({
      ours: (/** @type {any} */ client) => ours(client),
      'hand-written': (/** @type {any} */ client) => handWritten(client),
      '0.2.0': () => of020(url),
    })) {
      await reset(direct);
      const client = connect(url);
      const { calls, end } = await open(client);
      for (const [name, call] of Object.entries(calls)) {
        for (const atOnce of [1, 100]) {
          const { perSecond, p50, p99, stall } = await measure(call, atOnce);
          throughput[`${peer} ${name} ${atOnce} ${delay}`] = perSecond;
          console.log(
            `| ${name}, ${atOnce} | ${peer} | ${readable(perSecond)} | ${readable(p50)} | ${readable(p99)} | ${readable(stall)} |`,
          );
        }
      }
      await end();
      client.close();
      await sleep(50);
    }
  }
  await measureStopped();
} finally {
  direct.close();
  proxy.kill();
  await server.stop();
}
console.log();
for (const name of ONLY_STOPPED ? [] : ['get', 'set', 'acquire', 'a round of dedupe']) {
  const ratio = throughput[`ours ${name} 100 20`] / throughput[`hand-written ${name} 100 20`];
  const reached = ratio >= TARGET;
  console.log(
    `${reached ? 'reached' : 'MISSED '}  ${name}, 100 at once, 20 ms: ${readable(ratio)} times the hand-written loop, at least ${TARGET}`,
  );
  if (!reached && process.argv.includes('--check')) process.exitCode = 1;
}
