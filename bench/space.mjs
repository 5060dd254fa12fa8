// What stores and entries take, of memory and on the disk.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './children.mjs';
import { withDirectory } from './directory.mjs';
import { fillMany } from './fill.mjs';
import { median } from './measure.mjs';
import { open } from './peers.mjs';

const ROUNDS = 3;
const ENTRIES = 10_000;
const MEMORY_PEERS = ['ours', 'ours on a connection', '0.2.0 on a connection', 'hand-written'];
const DISK_PEERS = ['ours', '0.2.0 on a connection', 'hand-written', '@keyv/sqlite', 'lmdb'];

/** @returns {Promise<import('./report.mjs').Section>} */
export async function memory() {
  /** @type {Record<string, Record<string, number>[]>} */
  const runs = Object.fromEntries(MEMORY_PEERS.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++)
    for (const name of MEMORY_PEERS)
      runs[name].push(await withDirectory((directory) => run('memory', name, directory)));
  return {
    title: 'Memory',
    about: `By how much the resident set of a process grows, after a garbage collection. Median of ${ROUNDS} processes each.`,
    unit: 'KB',
    rows: Object.keys(runs.ours[0]).map((row) => ({
      name: row,
      values: Object.fromEntries(
        MEMORY_PEERS.map((peer) => [peer, median(runs[peer].map((found) => found[row]))]),
      ),
    })),
  };
}

/** @param {string} directory @returns {number} bytes of all files in it */
const sizeOf = (directory) =>
  readdirSync(directory, { recursive: true })
    .map((name) => statSync(join(directory, String(name))))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);

/** @returns {Promise<import('./report.mjs').Section>} */
export async function disk() {
  const sizes = /** @type {const} */ (['100 B', '5 KB']);
  const rows = [];
  for (const size of sizes) {
    /** @type {Record<string, number>} */
    const found = {};
    for (const peer of DISK_PEERS)
      found[peer] = await withDirectory(async (directory) => {
        const { cache, close } = await open(peer, ['cache'], directory);
        await fillMany(cache, ENTRIES, size);
        await close();
        return sizeOf(directory) / 1024;
      });
    rows.push({ name: `${ENTRIES.toLocaleString('en')} entries of ${size}`, values: found });
  }
  return {
    title: 'Size on disk',
    about:
      'After the stores have been closed. Version 0.2.0 makes the same file on a path, but takes longer to fill it.',
    unit: 'KB',
    rows,
  };
}
