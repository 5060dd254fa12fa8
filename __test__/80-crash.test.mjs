// What a store has acknowledged is in the file, whenever the process is killed.
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SEED } from './support/seed.mjs';

const require = createRequire(import.meta.url);
const { groups, lastWrite, Model, read } = require('./support/calls.cjs');
const { Program } = require('./support/processes.cjs');
const { random } = require('./support/random.cjs');

/** How often a process is killed on one file, and on how many files at once. */
const ROUNDS = 5;
const LANES = 2;
const FILES = 5;

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'crash-'));
  console.log(`crash: SEED=${SEED}`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/**
 * Has a process call until it is killed `delay` ms after it was started or, if `ready`, has opened the stores.
 * @param {Record<string, unknown>} input
 * @param {{ delay: number, ready: boolean }} when
 * @returns {Promise<string[]>} what it wrote, by lines
 */
async function kill(input, { delay, ready }) {
  const program = new Program('killed.cjs', input);
  if (ready) await program.line();
  setTimeout(() => program.kill(), delay);
  const { signal, stdout, stderr } = await program.ended;
  if (signal !== 'SIGKILL' || stderr !== '')
    throw new Error(`the process ended by itself (${signal}): ${stderr}`);
  // Without the last piece, which is empty or a line that was cut off.
  return stdout.split('\n').slice(0, -1);
}

/** @param {Record<string, unknown>} input */
const close = (input) => new Program('killed.cjs', { ...input, close: true }).done();

/**
 * Reads a copy of a database: opening the file itself would recover it, which is left to the stores.
 * @param {string} file
 */
function look(file) {
  const copy = `${file}-copy`;
  for (const sidecar of ['', '-wal', '-journal', '-shm']) rmSync(copy + sidecar, { force: true });
  for (const sidecar of ['', '-wal', '-journal'])
    if (existsSync(file + sidecar)) copyFileSync(file + sidecar, copy + sidecar);
  const db = new Database(copy);
  try {
    return { integrity: db.pragma('integrity_check', { simple: true }), state: read(db) };
  } finally {
    db.close();
  }
}

/**
 * Carries out the calls that were acknowledged and as many of those that may have been made after them as it takes to
 * come to what was found.
 * @param {{ seed: number, first: number, before: any, found: any, acknowledged: Set<number> }} round
 * @returns {{ differences: string[], unacknowledged: number }}
 */
function replay({ seed, first, before, found, acknowledged }) {
  const model = new Model(before);
  const last = lastWrite(seed, first, acknowledged);
  // To be reported: the least by which the file differs from what it may hold.
  let differences = last < first ? model.differences(found) : undefined;
  if (differences?.length === 0) return { differences, unacknowledged: 0 };
  for (const group of groups(seed, first)) {
    let complete = true;
    for (const call of group) {
      model.apply(call, acknowledged.has(call.n));
      complete &&= acknowledged.has(call.n);
      if (call.n < last) continue;
      const told = model.differences(found);
      if (told.length === 0) return { differences: told, unacknowledged: call.n - last };
      if (!differences || told.length < differences.length) differences = told;
    }
    // The next group is only begun when this one is acknowledged.
    if (!complete) return { differences: differences ?? ['nothing was called'], unacknowledged: 0 };
  }
  throw new Error('groups end');
}

/**
 * Kills process after process on one file. Each goes on with what the one before left.
 * @param {string} name
 * @param {Record<string, string>} options
 * @param {number} seed
 */
async function series(name, options, seed) {
  const next = random(seed);
  const file = path.join(directory, name);
  const told = { killed: 0, acknowledged: 0, unacknowledged: 0 };
  let before = { cache: new Map(), jobs: new Map(), requests: new Map() };
  let first = 0;
  const input = () => ({ path: file, seed: seed + told.killed, first, options });
  for (; told.killed < ROUNDS; told.killed++, first += 1_000_000) {
    // Mostly in the midst of calls, sometimes while the process starts and opens the file.
    const ready = next() < 0.9;
    // Mostly early, where files are made and grow, sometimes after much has been written and removed again.
    const when = { ready, delay: next() * (next() < 0.75 ? 100 : 1_000) };
    const lines = await kill(input(), when);
    const context = `SEED=${SEED}, ${name}, round ${told.killed}, seed ${seed + told.killed}`;
    expect(
      lines.filter((line) => !/^(ready|\d+)$/.test(line)),
      context,
    ).toEqual([]);
    const acknowledged = new Set(lines.filter((line) => line !== 'ready').map(Number));

    const { integrity, state: found } = look(file);
    expect(integrity, context).toBe('ok');
    const outcome = replay({ seed: seed + told.killed, first, before, found, acknowledged });
    expect(outcome.differences, context).toEqual([]);
    told.acknowledged += acknowledged.size;
    told.unacknowledged += outcome.unacknowledged;
    before = found;
  }
  // Opened and closed once more, the file holds the same and nothing else is left of it.
  await close(input());
  const { integrity, state } = look(file);
  expect(integrity).toBe('ok');
  expect(state).toEqual(before);
  for (const sidecar of ['-wal', '-shm']) expect(existsSync(file + sidecar), sidecar).toBe(false);
  return told;
}

describe('awaited writes survive kill -9 at random moments', () => {
  const modes = ['wal', 'delete'].flatMap((journalMode) =>
    ['normal', 'full'].map((synchronous) => ({ journalMode, synchronous })),
  );
  it.each(modes)(
    'with journalMode $journalMode and synchronous $synchronous',
    {
      timeout: 120_000,
    },
    async (options) => {
      const mode = `${options.journalMode}-${options.synchronous}`;
      const seed = SEED * 1_000 + modes.indexOf(options) * 100;
      const lanes = Array.from({ length: LANES }, async (_, lane) => {
        const told = [];
        for (let index = 0; index < FILES; index++)
          told.push(
            await series(`${mode}-${lane}-${index}.db`, options, seed + lane * 50 + index * ROUNDS),
          );
        return told;
      });
      const told = (await Promise.all(lanes)).flat();
      const sum = (/** @type {'killed' | 'acknowledged' | 'unacknowledged'} */ figure) =>
        told.reduce((total, one) => total + one[figure], 0);
      console.log(
        `crash, ${mode}: ${sum('killed')} processes killed, ${sum('acknowledged')} calls acknowledged, ${sum('unacknowledged')} more found`,
      );
      expect(sum('killed')).toBe(LANES * FILES * ROUNDS);
      // The processes were killed at work, not before it; on a busy machine many of them before their first call ended.
      expect(sum('acknowledged')).toBeGreaterThan(20);
    },
  );
});
