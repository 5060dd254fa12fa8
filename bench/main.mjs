// npm run bench: measures the stores beside others and writes docs/benchmark.md and docs/benchmark.svg.
//
//   --only <text>    only the cases and sections with that in their names; writes nothing
//   --rounds <n>     15 by default
//   --check          exit code 1 if a target is missed
//   --build <folder> another build of this package, which lies there, as a peer; writes nothing
//
// The files that are measured lie in the directory for temporary ones, or in that of the variable BENCH_DIR.

import { mkdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { install } from '../scripts/npm.mjs';
import { baseline } from './baseline.mjs';
import { cases } from './cases.mjs';
import { chart } from './chart.mjs';
import { coldStart } from './cold-start.mjs';
import { cleanup, invalidation, stalls } from './event-loop-delay.mjs';
import { instructions } from './instructions.mjs';
import { sections as latencySections, timeCase } from './latency.mjs';
import { machine } from './machine.mjs';
import { addBuild, buildOf } from './peers.mjs';
import { processes } from './processes.mjs';
import { reads } from './reads.mjs';
import { readable, report } from './report.mjs';
import { disk, memory } from './space.mjs';
import { waiting } from './waiting.mjs';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '15' },
    check: { type: 'boolean', default: false },
    build: { type: 'string', default: '' },
  },
});
const rounds = Number(options.rounds);
const isChosen = ({ name = '' }) => name.includes(options.only);
const measures = {
  stalls,
  cleanup,
  invalidation,
  processes,
  'cold start': coldStart,
  memory,
  disk,
  waiting,
  reads,
  instructions,
};

install(
  fileURLToPath(new URL('.', import.meta.url)),
  '--no-audit',
  '--no-fund',
  '--loglevel=error',
);

/** @param {{ name: string, values: Record<string, number> }} row @param {string} unit */
function print({ name, values }, unit) {
  const [[, first]] = Object.entries(values);
  const shown = Object.entries(values).map(
    ([peer, value], index) =>
      `${peer} ${readable(value)}${index ? ` (${readable(value / first)})` : ''}`,
  );
  console.log(`${name}, ${unit}: ${shown.join('; ')}`);
}

const timed = [];
if (options.build !== '') {
  addBuild(resolve(options.build));
  for (const benchmark of cases) {
    const ours = benchmark.peers.filter((name) => name === 'ours' || name === 'ours in memory');
    benchmark.peers = [...benchmark.peers, ...ours.map(buildOf)];
  }
}
for (const benchmark of cases.filter(isChosen)) {
  timed.push(await timeCase(benchmark, rounds));
  print({ name: benchmark.name, values: timed[timed.length - 1].times }, 'µs');
}
const measured = [];
for (const [name, measure] of Object.entries(measures)) {
  if (!isChosen({ name })) continue;
  const section = await measure();
  measured.push(section);
  console.log(section.title);
  for (const row of section.rows) print(row, section.unit);
}
const inRust = isChosen({ name: 'baseline' }) ? await baseline() : { sqlite: '', times: {} };
for (const [name, us] of Object.entries(inRust.times))
  print({ name, values: { baseline: us } }, 'µs');

const sections = [...latencySections(timed, inRust.times), ...measured];
const verdicts = sections.flatMap(({ verdicts = [] }) => verdicts);
console.log();
for (const { name, wanted, found, reached } of verdicts)
  console.log(`${reached ? 'reached' : 'MISSED '}  ${name}: ${found}, ${wanted}`);

if (options.only === '' && options.build === '') {
  const docs = new URL('../docs/', import.meta.url);
  mkdirSync(docs, { recursive: true });
  const text = report({ sections, machine: await machine(inRust.sqlite), rounds });
  writeFileSync(new URL('benchmark.md', docs), text);
  writeFileSync(new URL('benchmark.svg', docs), chart(timed));
  console.log('\nWritten: docs/benchmark.md, docs/benchmark.svg');
}
if (options.check && verdicts.some(({ reached }) => !reached)) process.exitCode = 1;
