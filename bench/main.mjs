// npm run bench: measures the stores beside others and writes docs/benchmark.md and docs/benchmark.svg. Says how far it is.
// Stopped by Ctrl+C, it writes what it has to target/, as it does with the options below that measure less.
//
//   --quick          3 rounds beside version 0.2.0 and plain JavaScript alone: in under 3 minutes
//   --only <text>    only the cases and sections with that in their names
//   --rounds <n>     15 by default
//   --check          exit code 1 if a target is missed
//   --build <folder> another build of this package, which lies there, as a peer
//
// The files that are measured lie in the directory for temporary ones, or in that of the variable BENCH_DIR.

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
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
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    rounds: { type: 'string' },
    check: { type: 'boolean', default: false },
    build: { type: 'string', default: '' },
  },
});
const previous = fileURLToPath(new URL('../scripts/previous.mjs', import.meta.url));
const rounds = Number(options.rounds ?? (options.quick ? 3 : 15));
/** Whether everything is measured: only then is it written into docs/. */
const isWhole = !options.quick && options.only === '' && options.build === '';
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

if (options.quick) {
  // Those that need no further package and no more setting up.
  const quick = [
    'ours',
    'ours in memory',
    '0.2.0',
    '0.2.0 in memory',
    'hand-written',
    'hand-written in memory',
  ];
  for (const benchmark of cases) {
    benchmark.peers = benchmark.peers.filter((name) => quick.includes(name));
    benchmark.targets = benchmark.targets?.filter(
      ({ peer, than }) => quick.includes(peer) && quick.includes(than),
    );
  }
} else {
  install(
    fileURLToPath(new URL('.', import.meta.url)),
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  );
  if (isWhole) spawnSync(process.execPath, [previous], { stdio: 'inherit' });
}

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

const chosen = cases.filter(isChosen);
const chosenMeasures = options.quick
  ? []
  : Object.entries(measures).filter(([name]) => isChosen({ name }));
const hasBaseline = !options.quick && isChosen({ name: 'baseline' });
const steps = chosen.length + chosenMeasures.length + (hasBaseline ? 1 : 0);
let step = 0;
const begin = performance.now();
/** Says what is measured next. @param {string} name */
function next(name) {
  const minutes = ((performance.now() - begin) / 60_000).toFixed(1);
  step += 1;
  console.log(`[${step}/${steps}] ${name}, after ${minutes} min`);
}

const measured = [];
/** @type {{ sqlite: string, times: Record<string, number> }} */
let inRust = { sqlite: '', times: {} };

/** @returns what there is now */
function results() {
  const sections = [...latencySections(timed, inRust.times), ...measured];
  return { sections, verdicts: sections.flatMap(({ verdicts = [] }) => verdicts) };
}

/** Writes them. @param {string} [about]  what is missing */
async function write(about = '') {
  const isForDocs = isWhole && about === '';
  const folder = new URL(isForDocs ? '../docs/' : '../target/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const { sections } = results();
  const text = report({ sections, machine: await machine(inRust.sqlite), rounds, about });
  const files = ['benchmark.md', 'benchmark.svg'].map((name) => new URL(name, folder));
  writeFileSync(files[0], text);
  writeFileSync(files[1], chart(timed));
  console.log(`\nWritten: ${files.map((file) => relative('', fileURLToPath(file))).join(', ')}`);
}

async function measureAll() {
  for (const benchmark of chosen) {
    next(benchmark.name);
    timed.push(await timeCase(benchmark, rounds));
    print({ name: benchmark.name, values: timed[timed.length - 1].times }, 'µs');
  }
  for (const [name, measure] of chosenMeasures) {
    next(name);
    const section = await measure();
    measured.push(section);
    console.log(section.title);
    for (const row of section.rows) print(row, section.unit);
  }
  if (!hasBaseline) return;
  next('baseline');
  inRust = await baseline();
  for (const [name, us] of Object.entries(inRust.times))
    print({ name, values: { baseline: us } }, 'µs');
}

/** @type {Promise<void> | undefined} */
let stopping;
process.on('SIGINT', () => {
  if (stopping) process.exit(130);
  stopping = write(`Stopped: ${step - 1} of ${steps} measurements were made.`);
  stopping.finally(() => process.exit(130));
});
try {
  await measureAll();
} catch (error) {
  // Child processes are stopped too, and what was asked of them fails.
  await (stopping ?? Promise.reject(error));
}

const { verdicts } = results();
console.log();
for (const { name, wanted, found, reached } of verdicts)
  console.log(`${reached ? 'reached' : 'MISSED '}  ${name}: ${found}, ${wanted}`);
await write();
if (options.check && verdicts.some(({ reached }) => !reached)) process.exitCode = 1;
