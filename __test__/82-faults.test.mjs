// Calls to the operating system fail at random, in an addon that is built for this. Every promise settles, what was
// acknowledged is in the file, once, and calls work again when the faults end. `SEED` is the first of the seeds.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAULTS_ADDON } from '../scripts/faults.mjs';
import { SEED } from './support/seed.mjs';

const { ask } = createRequire(import.meta.url)('./support/processes.cjs');

const SEEDS = 100;
/** How many seeds a process takes. */
const AT_ONCE = 25;

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'faults-'));
  console.log(`faults: SEED=${SEED}`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What the cache and the dedupe store keep: a JSON string with JSON in it. @param {any} stored */
const decoded = (stored) => JSON.parse(JSON.parse(String(stored)));

/** @param {any} run  what a seed came to */
function examine(run) {
  const database = new Database(run.path, { readonly: true });
  try {
    const all = (/** @type {string} */ sql) =>
      /** @type {[string, any][]} */ (database.prepare(sql).raw().all());
    expect(database.pragma('integrity_check', { simple: true })).toBe('ok');

    const entries = new Map(all('SELECT hash, value FROM cache'));
    for (const [key, allowed] of run.entries) {
      const found = entries.has(key) ? decoded(entries.get(key)) : null;
      expect(allowed, key).toContainEqual(found);
    }
    const requests = new Map(all('SELECT resource, COUNT(*) FROM rate_limits GROUP BY resource'));
    for (const [resource, [least, most]] of run.requests) {
      const count = requests.get(resource) ?? 0;
      expect(
        count >= least && count <= most,
        `${resource}: ${count}, not ${least} to ${most}`,
      ).toBe(true);
      requests.delete(resource);
    }
    expect([...requests], 'requests that nobody made').toEqual([]);
    const jobs = new Map(all('SELECT hash, status FROM dedupe_jobs'));
    for (const [hash, allowed] of run.jobs) {
      // A store that is closed gives up what is pending.
      const may = allowed.includes('pending') ? [...allowed, 'failed'] : allowed;
      expect(may, hash).toContain(jobs.get(hash) ?? 'none');
    }
  } finally {
    database.close();
  }
}

describe('calls to the system that fail', () => {
  const firsts = Array.from({ length: SEEDS / AT_ONCE }, (_, index) => SEED + index * AT_ONCE);
  it.each(firsts)(
    'lose nothing that was acknowledged, from seed %d on',
    async (first) => {
      const seeds = Array.from({ length: AT_ONCE }, (_, index) => first + index);
      // Nothing is written if a promise never settles.
      const { runs, struck } = await ask(
        'faults.cjs',
        { directory, seeds },
        {
          env: { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: FAULTS_ADDON },
          timeout: 100_000,
        },
      );
      expect(runs).toHaveLength(seeds.length);
      for (const run of runs) examine(run);
      const sum = (/** @type {string} */ of) => runs.reduce((all, run) => all + run[of], 0);
      console.log(
        `${runs.length} seeds: ${sum('acknowledged')} calls acknowledged, ${sum('refused')} refused, ` +
          `${sum('refusedOpenings')} openings refused; struck: ${JSON.stringify(struck)}`,
      );
      expect(sum('refused')).toBeGreaterThan(0);
    },
    120_000,
  );
});
