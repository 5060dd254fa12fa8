/**
 * Runs what can be run under valgrind's memcheck, with few random cases, as all is some thirty times slower there:
 *
 *   node scripts/valgrind.mjs rust [name…]    the binaries of `cargo test`, or those with such a name
 *   node scripts/valgrind.mjs node [title]    the contract suites, or those tests, on the addon of `scripts/faults.mjs`
 *   node scripts/valgrind.mjs                 both
 *
 * The addon is a debug build: its frames have names. Fails if memcheck reports an error, or a test fails.
 */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FAULTS_ADDON } from './faults.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const [part, ...words] = process.argv.slice(2);

const VALGRIND = [
  '--quiet',
  '--error-exitcode=99',
  '--error-limit=no',
  // Without it, a thread that waits in a loop keeps the others from running.
  '--fair-sched=try',
  `--suppressions=${join(root, 'scripts', 'valgrind.supp')}`,
];

/** Enough to go through all there is. */
const FEW = { PROPTEST_CASES: '4', FAULT_SEEDS: '10', RUST_MIN_STACK: String(16 << 20) };

/** What does not run our code. */
const LEFT_OUT = ['architecture'];

/** @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} env */
function run(command, args, env) {
  const { status, signal, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status === 0) return;
  console.error(`valgrind: ${args.join(' ')}: ${error ?? signal ?? `exit code ${status}`}`);
  process.exitCode = 1;
}

/** The programs that `cargo test` runs. */
function testPrograms() {
  const { status, stdout } = spawnSync(
    'cargo',
    'test --no-default-features --features faults --no-run --message-format json'.split(' '),
    { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  if (status !== 0) process.exit(status ?? 1);
  const programs = [];
  for (const line of stdout.split('\n')) {
    if (!line.startsWith('{')) continue;
    const { executable, profile, target } = JSON.parse(line);
    if (!executable || !profile?.test || LEFT_OUT.includes(target.name)) continue;
    if (words.length === 0 || words.some((word) => target.name.includes(word))) {
      programs.push(executable);
    }
  }
  return programs;
}

if (part !== 'node') {
  const leaks = [
    '--leak-check=full',
    '--show-leak-kinds=definite',
    '--errors-for-leak-kinds=definite',
  ];
  for (const program of testPrograms()) {
    console.log(`valgrind: ${program}`);
    run('valgrind', [...VALGRIND, ...leaks, program], FEW);
  }
}
if (part !== 'rust') {
  run(process.execPath, [join(root, 'scripts', 'faults.mjs')], {});
  run(
    'valgrind',
    [
      ...VALGRIND,
      // V8 writes code into memory that it has run.
      '--smc-check=all-non-file',
      process.execPath,
      join(root, 'scripts', 'valgrind-suites.cjs'),
      ...words,
    ],
    { NAPI_RS_NATIVE_LIBRARY_PATH: FAULTS_ADDON },
  );
}
