// The baseline, measured in Rust: `cargo bench` on benches/baseline.rs, whose figures go by the names of the cases.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withDirectory } from './directory.mjs';

export const definition = {
  what: 'the statements of the same calls through rusqlite in a Rust loop, by `cargo bench`, after the others; where ours is faster, it need not ask SQLite at all',
  durability: 'WAL, NORMAL',
};

const root = fileURLToPath(new URL('..', import.meta.url));

/** @returns {Promise<{ sqlite: string, times: Record<string, number> }>} the version of SQLite; µs, by the name of the case */
export const baseline = () =>
  withDirectory(async (directory) => {
    const { status, error, stdout, stderr } = spawnSync(
      'cargo',
      ['bench', '--no-default-features', '--bench', 'baseline', '--', '--quiet', '--noplot'],
      {
        cwd: root,
        env: { ...process.env, CRITERION_HOME: directory },
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    if (status !== 0) throw new Error(`cargo bench failed: ${error ?? stderr}`);
    const read = (/** @type {string[]} */ ...path) =>
      JSON.parse(readFileSync(join(directory, ...path), 'utf8'));
    const times = Object.fromEntries(
      readdirSync(directory)
        .filter((name) => name !== 'report')
        .map((name) => [
          read(name, 'new', 'benchmark.json').full_id,
          read(name, 'new', 'estimates.json').median.point_estimate / 1000,
        ]),
    );
    return { sqlite: stdout.match(/^SQLite (\S+)$/m)?.[1] ?? 'unknown', times };
  });
