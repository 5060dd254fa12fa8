'use strict';
// A process with stores that does what its parent says over the IPC channel: see `support/remote.mjs`. Its input says whose
// stores: see `support/implementations.cjs`.

const { existsSync, openSync, readSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { storesOf } = require('../support/implementations.cjs');

/** Comparable between processes: the clock of the system. In ms. */
const clock = () => Number(process.hrtime.bigint()) / 1e6;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** @type {Record<string, any>} */
let stores = {};
/** @type {any[]} */
const open = [];
/** @type {any[]} */
const clients = [];

/**
 * @typedef {{ status: 'resolved' | 'rejected', value?: any,
 *   error?: { name: string, code?: string, message: string, isError: boolean }, called: number, settled: number }} Outcome
 */

/**
 * @param {[number, string, ...any[]]} call  a store's number, a method, arguments
 * @returns {Promise<Outcome>}
 */
function make([store, method, ...args]) {
  const called = clock();
  return open[store][method](...args).then(
    (/** @type {any} */ value) => ({ status: 'resolved', value, called, settled: clock() }),
    (/** @type {any} */ error) => ({
      status: 'rejected',
      error: {
        name: error.name,
        code: error.code,
        message: error.message,
        isError: error instanceof Error,
      },
      called,
      settled: clock(),
    }),
  );
}

const schedule = existsSync('/proc/thread-self/schedstat')
  ? openSync('/proc/thread-self/schedstat', 'r')
  : undefined;
const read = Buffer.alloc(100);

/**
 * How long this thread has been ready to run while others had the processor, in ms: no fault of the thread's. Known on
 * Linux only. Makes no garbage, whose collection would be measured.
 */
function waited() {
  if (schedule === undefined) return 0;
  const length = readSync(schedule, read, 0, read.length, 0);
  let index = read.indexOf(' ') + 1;
  let nanoseconds = 0;
  for (; index < length && read[index] !== 0x20; index++)
    nanoseconds = nanoseconds * 10 + read[index] - 0x30;
  return nanoseconds / 1e6;
}

/** The time as this thread sees it: it stands still while others have the processor. In ms. */
function ownClock() {
  for (;;) {
    const before = waited();
    const now = clock();
    if (waited() === before) return now - before;
  }
}

let longest = 0;
let turns = 0;
let watching = false;

/** Measures how long the event loop stands still, by the gaps in a chain of timers. */
function watchLoop() {
  [longest, turns] = [0, 0];
  watching = true;
  let last = ownClock();
  const look = () => {
    const now = ownClock();
    longest = Math.max(longest, now - last);
    turns++;
    last = now;
    if (watching) setTimeout(look, 1);
  };
  setTimeout(look, 1);
}

function longestStall() {
  watching = false;
  return longest;
}

/** @type {Record<string, (...args: any[]) => any>} */
const commands = {
  /** Makes stores; answers their numbers and how long that took. */
  make(/** @type {[string, any][]} */ wanted) {
    const start = ownClock();
    const numbers = wanted.map(([name, options]) => open.push(new stores[name](options)) - 1);
    return { numbers, ms: ownClock() - start };
  },
  /** Makes the calls of each group at once, one group a turn or every `pause` ms, without awaiting them meanwhile. */
  async calls(/** @type {[number, string, ...any[]][][]} */ groups, pause = 0) {
    const outcomes = [];
    for (const group of groups) {
      outcomes.push(...group.map(make));
      await (pause > 0 ? sleep(pause) : turn());
    }
    return Promise.all(outcomes);
  },
  watchLoop,
  longestStall,
  /** How many timers in a row have fired since `watchLoop`. */
  turns: () => turns,
  /** Makes an unmodified client on stores, each given by its number; answers the client's. */
  async client(
    /** @type {string} */ baseUrl,
    /** @type {Record<string, number>} */ numbers,
    /** @type {Record<string, any> | undefined} */ client,
  ) {
    const { ComicVine } = await import('@comic-vine/client');
    const own = Object.fromEntries(
      Object.entries(numbers).map(([kind, number]) => [kind, open[number]]),
    );
    return clients.push(new ComicVine({ apiKey: 'test', baseUrl, stores: own, client })) - 1;
  },
  /**
   * Asks a client for issues, all at once, or each after up to `within` ms; answers how many came, and what else was said, how
   * often.
   */
  async retrieve(
    /** @type {number} */ client,
    /** @type {number[]} */ ids,
    /** @type {'user' | 'background' | undefined} */ priority,
    within = 0,
  ) {
    let answered = 0;
    /** @type {Record<string, number>} */
    const errors = {};
    await Promise.all(
      ids.map(async (id, index) => {
        if (within > 0) await sleep((within * index) / ids.length);
        try {
          const issue = await clients[client].issue.retrieve(id, { priority });
          if (issue.id === id && issue.name === `issue ${id}`) answered++;
        } catch (error) {
          // How long to wait differs.
          const message = String(error.message).replace(/\d+ms/, '…');
          errors[message] = (errors[message] ?? 0) + 1;
        }
      }),
    );
    return { answered, errors };
  },
  /**
   * Asks a rate limit store for slots, each at its time: in one step, or as the client does, which records the request
   * once it is answered. Answers how many it got.
   */
  async ask(
    /** @type {number} */ store,
    /** @type {string} */ resource,
    /** @type {{ after: number, priority: string, takes?: number }[]} */ requests,
  ) {
    const granted = await Promise.all(
      requests.map(async ({ after, priority, takes }) => {
        await sleep(after);
        if (takes === undefined) return open[store].acquire(resource, priority);
        const may = await open[store].canProceed(resource, priority);
        if (!may) return false;
        await sleep(takes);
        await open[store].record(resource, priority);
        return true;
      }),
    );
    return granted.filter(Boolean).length;
  },
  /** Stores values one after the other for `ms` ms, with so much other work after each; answers how many. */
  async write(
    /** @type {number} */ store,
    /** @type {number} */ ms,
    /** @type {number} */ size,
    /** @type {number} */ workMs = 0,
  ) {
    const [end, pad] = [clock() + ms, 'x'.repeat(size)];
    let n = 0;
    for (; clock() < end; n++) {
      await open[store].set(`${process.pid} ${n % 100}`, { n, pad }, 60);
      if (workMs > 0) for (const done = clock() + workMs; clock() < done; );
    }
    return n;
  },
  /** The CPU time that this process uses in `ms` ms, in ms. */
  async cpu(/** @type {number} */ ms) {
    const before = process.cpuUsage();
    await sleep(ms);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  },
  async close() {
    await Promise.all(open.map((store) => store.close()));
    process.disconnect();
  },
};

process.on('message', async (/** @type {any} */ { id, command, args }) => {
  const send = (/** @type {any} */ message) => process.connected && process.send?.(message);
  try {
    const answer = commands[command](...args);
    // Whatever the command could do at once is done.
    turn().then(() => send({ id, begun: true }));
    send({ id, answer: await answer });
  } catch (error) {
    send({ id, thrown: error });
  }
});
storesOf(JSON.parse(process.argv[2])).then((loaded) => {
  stores = loaded;
  process.send?.('ready');
});
