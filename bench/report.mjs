// docs/benchmark.md.

import { definition as baseline } from './baseline.mjs';
import { definitions, durabilities } from './peers.mjs';

/**
 * @typedef {object} Section  a table: each row by peer
 * @property {string} title
 * @property {string} about
 * @property {string} unit
 * @property {boolean} [compared]  whether ratios to the first peer are shown
 * @property {{ name: string, values: Record<string, number>, note?: string }[]} rows
 * @property {Verdict[]} [verdicts]
 */
/** @typedef {{ name: string, wanted: string, found: string, reached: boolean }} Verdict */

const peers = { ...definitions, baseline };

/** @param {number} value */
export function readable(value) {
  if (value < 1) return value.toFixed(2);
  if (value < 100) return value.toFixed(1);
  return Math.round(value).toLocaleString('en');
}

/** @param {string[]} head @param {string[][]} rows */
const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** How many columns of figures fit on a page. */
const COLUMNS = 7;

/** Peers are rows, each with its durability; unless there are so many cases that these have to be. @param {Section} section */
function tableOf({ unit, compared, rows }) {
  const names = Object.keys(peers).filter((peer) => rows.some(({ values }) => peer in values));
  const [base] = names;
  const cell = (/** @type {Record<string, number>} */ values, /** @type {string} */ peer) => {
    const value = values[peer];
    if (value === undefined) return '';
    const ratio = compared && peer !== base ? ` (${readable(value / values[base])})` : '';
    return readable(value) + ratio;
  };
  if (rows.length > COLUMNS)
    return table(
      ['', ...names.map((peer) => `${peer}, ${unit}`)],
      rows.map(({ name, values }) => [name, ...names.map((peer) => cell(values, peer))]),
    );
  return table(
    ['', 'durability', ...rows.map(({ name }) => `${name}, ${unit}`)],
    names.map((peer) => [
      peer,
      peers[peer].durability,
      ...rows.map(({ values }) => cell(values, peer)),
    ]),
  );
}

/** @param {Verdict[]} verdicts */
const targets = (verdicts) =>
  table(
    ['target', 'wanted', 'found', ''],
    verdicts.map(({ name, wanted, found, reached }) => [
      name,
      wanted,
      found,
      reached ? 'reached' : '**missed**',
    ]),
  );

/**
 * @param {object} options
 * @param {Section[]} options.sections
 * @param {[string, string][]} options.machine
 * @param {number} options.rounds
 * @param {string} options.about  what is missing
 */
export function report({ sections, machine, rounds, about }) {
  const shown = Object.keys(peers).filter((peer) =>
    sections.some(({ rows }) => rows.some(({ values }) => peer in values)),
  );
  const parts = [
    '# Benchmark',
    `Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}; do not edit.`,
    about,
    '![µs per call, ours beside others](benchmark.svg)',
    '## How it was measured',
    `All figures are of one run. Peers take turns: each round gives every peer about 20 ms of calls, after a turn of the event loop, and what counts is the median of ${rounds} rounds (at least 5, where calls are slow). In brackets is the ratio to the first peer of the table. Other work of the machine meets all peers alike, so ratios say more than times. Each peer has a file of its own in one directory.`,
    table(
      ['', 'what it is'],
      shown.map((peer) => [peer, peers[peer].what]),
    ),
    'Durability is what is certain once a write has resolved:',
    table(['durability', 'meaning'], Object.entries(durabilities)),
    table(['machine', ''], machine),
    '## Targets',
    'Ratios are of times: 15 means that the other takes 15 times as long.',
    targets(sections.flatMap(({ verdicts = [] }) => verdicts)),
    ...sections.flatMap((section) => [
      `## ${section.title}`,
      section.about,
      section.rows.length > 0 ? tableOf(section) : '',
      ...section.rows.flatMap(({ name, note }) => (note ? [`${name}: ${note}`] : [])),
    ]),
  ];
  return `${parts.filter(Boolean).join('\n\n')}\n`;
}
