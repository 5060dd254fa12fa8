// The timed cases, each with its peers side by side.

import { withDirectory } from './directory.mjs';
import { compare, make } from './measure.mjs';
import { definitions, open } from './peers.mjs';

/** @typedef {import('./cases.mjs').Case} Case */
/** @typedef {{ benchmark: Case, times: Record<string, number> }} Latency  µs per call, by peer */
/** @typedef {import('./report.mjs').Section} Section */

/** How many times longer a full window may take than a small one. */
const FULL_WINDOW_TIMES = 3;

/**
 * @param {Case} benchmark
 * @param {number} rounds
 * @returns {Promise<Latency>}
 */
export const timeCase = (benchmark, rounds) =>
  withDirectory(async (directory) => {
    const { kinds, atOnce = 1, call, prepare, before } = benchmark;
    /** @type {Record<string, import('./peers.mjs').Peer>} */
    const peers = {};
    try {
      for (const name of benchmark.peers) {
        peers[name] = await open(name, kinds, directory);
        await prepare?.(peers[name]);
      }
      const times = await compare({
        peers,
        step: atOnce === 1 ? 3 : atOnce,
        run: (peer, calls) => make(calls, atOnce, (i) => call(peer, i)),
        before,
        rounds,
      });
      return { benchmark, times };
    } finally {
      for (const peer of Object.values(peers)) await peer.close();
    }
  });

/** @param {Latency} timed @returns {import('./report.mjs').Verdict[]} */
const verdictsOf = ({ benchmark: { name, targets = [] }, times }) =>
  targets.map(({ peer, than, times: wanted }) => {
    const found = times[peer] / times[than];
    return {
      name: `${name}: ${peer} / ${than}`,
      wanted: `at least ${wanted}`,
      found: found.toFixed(found < 1 ? 3 : 2),
      reached: found >= wanted,
    };
  });

/** @param {Latency[]} all @returns {import('./report.mjs').Verdict[]} */
function fullWindow(all) {
  const [few, many] = ['50', '100,000'].map(
    (count) =>
      all.find(({ benchmark }) => benchmark.name.startsWith(`canProceed, ${count} `))?.times,
  );
  if (!few || !many) return [];
  const found = many.ours / few.ours;
  return [
    {
      name: 'canProceed: 100,000 / 50 in the window, ours',
      wanted: `at most ${FULL_WINDOW_TIMES}`,
      found: found.toFixed(2),
      reached: found <= FULL_WINDOW_TIMES,
    },
  ];
}

/**
 * Cases with targets, each peer given the same durability.
 * @param {Latency[]} all
 * @param {string} title
 * @param {string} about
 * @param {string[]} peers
 * @returns {Section}
 */
const equalDurability = (all, title, about, peers) => ({
  title,
  about,
  unit: 'µs',
  compared: true,
  rows: all
    .filter(({ benchmark, times }) => benchmark.targets && peers.every((peer) => peer in times))
    .map(({ benchmark, times }) => ({
      name: benchmark.name,
      values: Object.fromEntries(peers.map((peer) => [peer, times[peer]])),
    })),
});

/**
 * @param {Latency[]} all
 * @param {Record<string, number>} baseline  µs, by the name of the case
 * @returns {Section[]}
 */
export function sections(all, baseline) {
  /** @type {Map<string, Section>} */
  const tables = new Map();
  for (const { benchmark, times } of all) {
    const { name, table, note } = benchmark;
    const section = tables.get(table) ?? {
      title: table,
      about: '',
      unit: 'µs',
      compared: true,
      rows: [],
      verdicts: [],
    };
    tables.set(table, section);
    const row = name in baseline ? { ...times, baseline: baseline[name] } : times;
    section.rows.push({ name, values: row, note });
    section.verdicts?.push(...verdictsOf({ benchmark, times }));
  }
  tables.get('Rate limit')?.verdicts?.push(...fullWindow(all));
  const sameConnection = Object.keys(definitions).filter(
    (name) => definitions[name].on === 'connection' && definitions[name].of,
  );
  const sections = [
    ...tables.values(),
    equalDurability(
      all,
      'Equal durability: not flushed',
      'Every peer on a better-sqlite3 connection with the same settings: WAL and NORMAL.',
      sameConnection,
    ),
    equalDurability(
      all,
      'Equal durability: flushed on each commit',
      "Ours with `synchronous: 'full'` beside 0.2.0 with its default, the rollback journal and FULL.",
      ['ours, full', '0.2.0'],
    ),
  ];
  return sections.filter(({ rows }) => rows.length > 0);
}
