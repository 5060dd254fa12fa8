/**
 * `npm run demo`: two web servers, a worker and a maintenance job, each a process of its own with its own client, share
 * one database file. A few scenes are played against a local server that counts what goes upstream, or, with
 * COMICVINE_API_KEY set, against the real API. What happened is printed and checked: the exit status is 0 only if it
 * is what should have happened.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startFakeApi } from './fake-api.mjs';
import { startRole } from './processes.mjs';

/**
 * @typedef {ReturnType<typeof ask>} Step
 * @typedef {Record<keyof typeof COLUMNS, number>} Counts
 */
const COLUMNS = {
  asked: 'asked',
  fromCache: 'from cache',
  shared: 'shared',
  limited: 'limited',
  upstream: 'upstream',
  failed: 'failed',
};

// Small limits, so that a few requests reach them and the real API is spared. Of the 10 volumes and the 10 teams an hour,
// 3 are set aside for users as long as few users are active: the worker gets 7.
const HOUR_MS = 3_600_000;
const realKey = process.env.COMICVINE_API_KEY;
const directory = await mkdtemp(path.join(tmpdir(), 'comic-vine-demo-'));
const common = {
  database: path.join(directory, 'comic-vine.db'),
  apiKey: realKey ?? 'demo',
  pauseMs: realKey ? 1000 : 0,
  patienceMs: realKey ? 120_000 : 15_000,
  limits: {
    volume: { limit: 10, windowMs: HOUR_MS },
    team: { limit: 10, windowMs: HOUR_MS },
    publisher: { limit: 3, windowMs: HOUR_MS },
  },
  adaptiveConfig: { minUserReserved: 3, moderateActivityThreshold: 9 },
  reservationMs: 30_000,
};
/** @type {import('./processes.mjs').RoleOptions[]} */
const ROLES = [
  { ...common, name: 'web-1', priority: 'user' },
  { ...common, name: 'web-2', priority: 'user' },
  { ...common, name: 'worker', priority: 'background' },
  { ...common, name: 'maintenance', priority: 'background', limiter: 'plain' },
];

const api = realKey ? undefined : await startFakeApi({ latencyMs: 60 });
/** @type {Map<string, import('./processes.mjs').Role>} */
const running = new Map();
/** @type {string[]} */
const problems = [];
let answers = 0;

try {
  await play();
} catch (error) {
  problems.push(String(error));
} finally {
  await Promise.all([...running.values()].map((role) => role.kill()));
  await api?.close();
  await rm(directory, { recursive: true, force: true });
}
for (const problem of problems) console.log(`\nWRONG: ${problem}`);
if (problems.length > 0) {
  console.log(`\n${problems.length} of the checks failed.`);
  process.exitCode = 1;
} else if (realKey) {
  console.log('\nEverything that can be known of the real API was as it should be.');
} else {
  console.log('\nEverything was as it should be.');
}

async function play() {
  const upstream = api ? 'a local server' : 'the Comic Vine API';
  console.log(`Four processes, one file (comic-vine.db), upstream ${upstream}`);
  printRow('', Object.values(COLUMNS));
  await startAll();

  // These exist in the real API too.
  const [spiderMan, batman, superman, wonderWoman] = [1443, 1699, 1807, 2048];
  const issue = 719442;
  const volumes = [796, 2127, 2133, 2839, 3092, 3331, 3790, 4937, 5398];
  const oneMoreVolume = 6474;
  const publishers = [10, 31, 101, 485];
  const teams = [3173, 3806, 31812, 37736, 31810, 42487, 50163, 53452];

  await scene('Two web servers ask for overlapping sets', [
    ask('web-1', 'character', [spiderMan, batman], { upstream: 2 }),
    ask('web-2', 'character', [batman, superman], { fromCache: 1, upstream: 1 }),
    ask('web-1', 'character', [spiderMan, superman], { fromCache: 2 }),
  ]);
  await sceneAtOnce('10 identical requests at once in one process', { upstream: 1 }, [
    ask('web-1', 'issue', Array(10).fill(issue)),
  ]);
  await sceneAtOnce('5 identical requests at once in each of three processes', { upstream: 1 }, [
    ask('web-1', 'character', Array(5).fill(wonderWoman)),
    ask('web-2', 'character', Array(5).fill(wonderWoman)),
    ask('worker', 'character', Array(5).fill(wonderWoman)),
  ]);
  await sceneAtOnce(
    '4 different ones at once in each of two, for 3 slots',
    { upstream: 3, limited: 5 },
    [ask('web-1', 'team', teams.slice(0, 4)), ask('web-2', 'team', teams.slice(4))],
  );
  await scene('The worker uses up its share of the volumes; users still pass', [
    ask('worker', 'volume', volumes.slice(0, 8), { upstream: 7, limited: 1 }),
    ask('web-1', 'volume', volumes.slice(7, 8), { upstream: 1 }),
    ask('web-2', 'volume', volumes.slice(7, 9), { fromCache: 1, upstream: 1 }),
    ask('worker', 'volume', [oneMoreVolume], { limited: 1 }),
  ]);
  await scene('A maintenance job with the plain limiter: 3 publishers an hour', [
    ask('maintenance', 'publisher', publishers, { upstream: 3, limited: 1 }),
  ]);

  const before = await role('web-1').stats();
  await role('worker').kill();
  running.delete('worker');
  await stopAll();
  const files = await readdir(directory);
  await startAll();
  const after = await role('web-1').stats();

  await scene('Restart: the worker killed, the others closed, four new processes', [
    ask('web-1', 'character', [spiderMan, batman, superman, wonderWoman], { fromCache: 4 }),
    ask('web-2', 'volume', volumes, { fromCache: 9 }),
    ask('worker', 'volume', [...volumes, oneMoreVolume], { fromCache: 9, limited: 1 }),
    ask('maintenance', 'publisher', publishers, { fromCache: 3, limited: 1 }),
  ]);
  await stopAll();
  if (answers === 0) problems.push('no request was answered');

  console.log();
  printRow('What the restart kept', ['before', 'after']);
  checkKept('answers in the cache', before.cached, after.cached, 20);
  checkKept('requests in the limiters’ history', before.requests, after.requests, 20);
  checkKept('volumes left in this hour', before.remaining.volume, after.remaining.volume, 1);
  checkKept('jobs still pending', before.pendingJobs, after.pendingJobs, 0);
  console.log(`Files while nothing ran: ${files.join(', ')}`);
  check('files while nothing ran', files.join(), 'comic-vine.db');
}

/**
 * The requests that one process makes, and the counts they should lead to; what is not named should be 0.
 *
 * @param {string} role
 * @param {import('./processes.mjs').Resource} resource
 * @param {number[]} ids
 * @param {Partial<Counts>} [gives]
 */
function ask(role, resource, ids, gives) {
  return { role, resource, ids, gives };
}

/**
 * Plays the steps one after the other and checks each.
 *
 * @param {string} title
 * @param {Step[]} steps
 */
async function scene(title, steps) {
  console.log(`\n${title}`);
  for (const step of steps) {
    const { counts, answered } = await playStep(step, false);
    if (realKey) continue;
    const expected = { asked: step.ids.length, ...step.gives };
    for (const column of columns()) {
      check(`${title}: ${step.role}, ${COLUMNS[column]}`, counts[column], expected[column] ?? 0);
    }
    check(`${title}: ${step.role}, right answers`, answered, counts.asked - counts.limited);
  }
}

/**
 * Plays the steps at the same time and checks their sum: which process comes first is open, and one that comes late may
 * find in the cache what it would have shared.
 *
 * @param {string} title
 * @param {{ upstream: number, limited?: number }} expected
 * @param {Step[]} steps
 */
async function sceneAtOnce(title, { upstream, limited = 0 }, steps) {
  console.log(`\n${title}`);
  const played = await Promise.all(steps.map((step) => playStep(step, true)));
  if (realKey) return;
  const sum = (/** @type {keyof Counts} */ column) =>
    played.reduce((total, { counts }) => total + counts[column], 0);
  const answered = played.reduce((total, step) => total + step.answered, 0);
  const asked = sum('asked');
  check(`${title}: upstream`, sum('upstream'), upstream);
  check(`${title}: limited`, sum('limited'), limited);
  check(`${title}: not upstream`, sum('shared') + sum('fromCache'), asked - upstream - limited);
  check(`${title}: right answers`, answered, asked - limited);
}

/**
 * @param {Step} step
 * @param {boolean} atOnce
 */
async function playStep(step, atOnce) {
  const earlier = api?.count({ caller: step.role }) ?? 0;
  const { answered, errors, ...outcome } = await role(step.role).ask(step.resource, step.ids, {
    atOnce,
  });
  const { asked, fromCache, shared, limited, failed } = outcome;
  // The real API tells nothing: there, what was neither answered here nor held back must have gone upstream.
  const upstream = api
    ? api.count({ caller: step.role }) - earlier
    : asked - fromCache - shared - limited;
  const counts = { ...outcome, upstream };
  printRow(
    `  ${step.role.padEnd(12)} ${step.resource}`,
    columns().map((column) => counts[column]),
  );
  for (const error of errors) console.log(`    ${error}`);
  if (api) check(`${step.role} failed requests`, failed, 0);
  answers += answered;
  return { counts, answered };
}

/**
 * @param {string} what
 * @param {number} before
 * @param {number} after
 * @param {number} expected known only of the local server
 */
function checkKept(what, before, after, expected) {
  printRow(`  ${what}`, [before, after]);
  check(`${what} before the restart`, before, realKey ? before : expected);
  check(`${what} after the restart`, after, before);
}

/**
 * @param {string} what
 * @param {unknown} actual
 * @param {unknown} expected
 */
function check(what, actual, expected) {
  if (actual !== expected) problems.push(`${what}: ${actual}, should be ${expected}`);
}

/**
 * @param {string} label
 * @param {(string | number)[]} cells
 */
function printRow(label, cells) {
  console.log(label.padEnd(36) + cells.map((cell) => String(cell).padStart(11)).join(''));
}

function columns() {
  return /** @type {(keyof Counts)[]} */ (Object.keys(COLUMNS));
}

/** @param {string} name */
function role(name) {
  const found = running.get(name);
  if (!found) throw new Error(`no process plays ${name}`);
  return found;
}

async function startAll() {
  await Promise.all(
    ROLES.map(async (options) => {
      running.set(
        options.name,
        await startRole({ ...options, baseUrl: api?.baseUrl(options.name) }),
      );
    }),
  );
}

/** One after the other: of two that close at the same moment, each may take the other for the last one. */
async function stopAll() {
  for (const each of running.values()) await each.stop();
  running.clear();
}
