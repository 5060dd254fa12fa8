/**
 * Starts the client processes of the demo (`role.mjs`) and talks to them.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} RoleOptions
 * @property {string} name
 * @property {'user' | 'background'} [priority] sent with every request
 * @property {'adaptive' | 'plain'} [limiter]
 * @property {string} [database] a file
 * @property {string} [server] the URL of a server, in place of a file
 * @property {string} [baseUrl] default: the real API
 * @property {string} apiKey
 * @property {Record<string, { limit: number, windowMs: number }>} limits by resource
 * @property {Record<string, number | boolean>} [adaptiveConfig]
 * @property {number} [reservationMs] of the limiter
 * @property {number} [pauseMs] between requests made one after the other
 * @property {number} [patienceMs] how long an answer of the process may take
 *
 * @typedef {'issue' | 'character' | 'volume' | 'publisher' | 'team'} Resource
 *
 * @typedef {object} Outcome What became of the requests of one scene
 * @property {number} asked
 * @property {number} fromCache
 * @property {number} shared answered by a request that somebody else had already made
 * @property {number} limited
 * @property {number} failed
 * @property {number} answered requests that got the item they asked for
 * @property {string[]} errors the distinct messages of the failed ones
 *
 * @typedef {object} Role
 * @property {string} name
 * @property {(resource: Resource, ids: number[], how?: { atOnce?: boolean }) => Promise<Outcome>} ask
 * @property {() => Promise<Kept>} stats
 * @property {() => () => Promise<{ made: number, failed: number }>} load stores and records until what it answers is called
 * @property {(made: number) => Promise<{ entries: number, requests: number }>} kept how much of that is there
 * @property {() => Promise<void>} stop closes the stores and ends the process
 * @property {() => Promise<void>} kill ends the process as a crash would
 *
 * @typedef {object} Kept
 * @property {number} cached
 * @property {number} requests
 * @property {number} pendingJobs
 * @property {Record<string, number>} remaining slots left, by resource
 */

const ROLE = fileURLToPath(new URL('./role.mjs', import.meta.url));

/**
 * Starts a process and resolves when its stores are open.
 *
 * @param {RoleOptions} options
 * @returns {Promise<Role>}
 */
export async function startRole(options) {
  const { name, patienceMs = 15_000 } = options;
  const child = fork(ROLE, [], {
    env: { ...process.env, COMIC_VINE_ROLE: JSON.stringify(options) },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));

  /** @returns {Promise<any>} */
  const reply = () =>
    new Promise((resolve, reject) => {
      const settle = (/** @type {() => void} */ how) => {
        clearTimeout(timer);
        child.off('message', onMessage);
        child.off('exit', onExit);
        how();
      };
      const onMessage = (/** @type {unknown} */ message) => settle(() => resolve(message));
      const onExit = () => settle(() => reject(new Error(`${name} ended early`)));
      const onTimeout = () =>
        settle(() => reject(new Error(`${name} gave no answer in ${patienceMs} ms`)));
      const timer = setTimeout(onTimeout, patienceMs);
      child.once('message', onMessage);
      child.once('exit', onExit);
    });
  const call = (/** @type {object} */ message) => {
    const answer = reply();
    child.send(message);
    return answer;
  };

  await reply();
  return {
    name,
    ask: (resource, ids, { atOnce = false } = {}) => call({ do: 'ask', resource, ids, atOnce }),
    stats: () => call({ do: 'stats' }),
    load: () => {
      const loaded = call({ do: 'load' });
      return async () => {
        child.send({ do: 'endLoad' });
        return loaded;
      };
    },
    kept: (made) => call({ do: 'kept', made }),
    stop: async () => {
      await call({ do: 'stop' });
      child.disconnect();
      await ended;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
