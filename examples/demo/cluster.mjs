/**
 * `npm run demo:cluster`: three hosts, each a process of its own with its own client, share nothing but a libSQL server on
 * loopback. They ask for the same and for different things; then the server is killed and started again while all of them
 * write. What happened is printed and checked: the exit status is 0 only if it is what should have happened.
 */
import { createRequire } from 'node:module';
import { startFakeApi } from './fake-api.mjs';
import { startRole } from './processes.mjs';

const require = createRequire(import.meta.url);
const { pause, program, Server } = require('../../__test__/support/servers.cjs');

if (program === undefined) {
  console.error(
    `There is no libSQL server for ${process.platform}-${process.arch} to show this with.`,
  );
  process.exit(1);
}

const COLUMNS = ['asked', 'from cache', 'shared', 'limited', 'upstream'];
const HOUR_MS = 3_600_000;
const HOSTS = ['host-1', 'host-2', 'host-3'];
const limits = {
  volume: { limit: 10, windowMs: HOUR_MS },
  ...Object.fromEntries(HOSTS.map((name) => [name, { limit: 1e9, windowMs: HOUR_MS }])),
};
/** @type {string[]} */
const problems = [];

/** @param {string} what @param {number} found @param {number} expected */
function check(what, found, expected) {
  if (found !== expected) problems.push(`${what}: ${found}, and ${expected} was expected`);
}

/** @param {string} title @param {(string | number)[]} cells */
const printRow = (title, cells) =>
  console.log(`  ${title.padEnd(24)}${cells.map((cell) => String(cell).padStart(12)).join('')}`);

const server = await Server.start();
const api = await startFakeApi({ latencyMs: 60 });
/** @type {import('./processes.mjs').Role[]} */
let hosts = [];
try {
  await play();
} catch (error) {
  problems.push(String(error));
} finally {
  await Promise.all(hosts.map((host) => host.kill()));
  await api.close();
  await server.stop();
}
for (const problem of problems) console.log(`\nWRONG: ${problem}`);
console.log(
  problems.length > 0
    ? `\n${problems.length} of the checks failed.`
    : '\nEverything was as it should be.',
);
process.exitCode = problems.length > 0 ? 1 : 0;

async function play() {
  console.log(`Three hosts, one libSQL server (${server.url}), upstream a local server`);
  hosts = await Promise.all(
    HOSTS.map((name) =>
      startRole({
        name,
        priority: 'user',
        limiter: 'plain',
        server: server.url,
        baseUrl: api.baseUrl(name),
        apiKey: 'demo',
        limits,
        reservationMs: 30_000,
        patienceMs: 120_000,
      }),
    ),
  );
  await scene(
    'Ten identical requests at once on each host',
    'character',
    () => Array(10).fill(1443),
    {
      upstream: 1,
      limited: 0,
    },
  );
  await scene('The same again: it is in the cache', 'character', () => Array(10).fill(1443), {
    upstream: 0,
    limited: 0,
  });
  await scene(
    'Eight different ones on each, of ten an hour',
    'volume',
    (n) => ids(8, 100 + 10 * n),
    {
      upstream: 10,
      limited: 14,
    },
  );

  console.log('\nThe server is killed and started again, twice, while all hosts write');
  const ends = hosts.map((host) => host.load());
  for (let n = 0; n < 2; n++) {
    await pause(1_500);
    await server.kill();
    await pause(500);
    await server.start();
  }
  await pause(1_500);
  const told = await Promise.all(ends.map((end) => end()));
  printRow('', ['acknowledged', 'kept', 'recorded', 'lost', 'failed']);
  for (const [n, host] of hosts.entries()) {
    const { made, failed } = told[n];
    const { entries, requests } = await host.kept(made);
    printRow(host.name, [made, entries, requests, made - entries, failed]);
    check(`${host.name}: entries that were acknowledged`, entries, made);
    check(`${host.name}: requests that were acknowledged, each once`, requests, made);
    check(`${host.name}: failed calls`, failed, 0);
    if (made === 0) problems.push(`${host.name} wrote nothing`);
  }
  console.log(
    '  Lost: nothing, if all that was acknowledged is kept, and each request was recorded once.',
  );
  await Promise.all(hosts.map((host) => host.stop()));
  hosts = [];
}

/** @param {number} count @param {number} first */
function ids(count, first) {
  return Array.from({ length: count }, (_, n) => first + n);
}

/**
 * All hosts ask at the same time. Which comes first is open: what is checked is their sum.
 * @param {string} title
 * @param {import('./processes.mjs').Resource} resource
 * @param {(host: number) => number[]} idsOf
 * @param {{ upstream: number, limited: number }} expected
 */
async function scene(title, resource, idsOf, expected) {
  console.log(`\n${title}`);
  printRow('', COLUMNS);
  api.reset();
  const outcomes = await Promise.all(
    hosts.map((host, n) => host.ask(resource, idsOf(n), { atOnce: true })),
  );
  const sums = { asked: 0, answered: 0, limited: 0, upstream: 0, other: 0 };
  for (const [n, { asked, fromCache, shared, limited, answered, errors }] of outcomes.entries()) {
    const upstream = api.count({ caller: HOSTS[n] });
    printRow(HOSTS[n], [asked, fromCache, shared, limited, upstream]);
    sums.asked += asked;
    sums.answered += answered;
    sums.limited += limited;
    sums.upstream += upstream;
    sums.other += fromCache + shared;
    problems.push(...errors);
  }
  check(`${title}: upstream`, sums.upstream, expected.upstream);
  check(`${title}: limited`, sums.limited, expected.limited);
  check(`${title}: right answers`, sums.answered, sums.asked - expected.limited);
  check(`${title}: not upstream`, sums.other, sums.asked - expected.upstream - expected.limited);
}
