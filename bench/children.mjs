// Child processes that measure, each the file of its name in bench/children.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/**
 * Starts one; it says by messages what it found.
 * @param {string} script
 * @param {...string} args
 */
export const start = (script, ...args) =>
  fork(fileURLToPath(new URL(`children/${script}.mjs`, import.meta.url)), args, {
    execArgv: ['--expose-gc'],
  });

/**
 * What one says next.
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<any>}
 */
export async function said(child) {
  const left = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${child.spawnargs.slice(2).join(' ')} ended early: ${code ?? signal}`);
  });
  const [message] = await Promise.race([once(child, 'message'), left]);
  left.catch(() => {});
  return message;
}

/**
 * Runs one to its end.
 * @param {string} script
 * @param {...string} args
 */
export async function run(script, ...args) {
  const child = start(script, ...args);
  const end = once(child, 'exit');
  const message = await said(child);
  await end;
  return message;
}
