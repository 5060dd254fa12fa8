// How many instructions a call takes: a figure that is the same on any machine, whatever else that does, where times
// are not. Counted by valgrind, which runs a process as if it had one processor.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PEERS = ['ours', 'hand-written'];

/**
 * By the names of the cases: how many calls warm up, and how many are counted. Reads are compiled for good after 15,000.
 * Among the writes that are counted are to be whole rounds from one checkpoint to the next: ours come every 16 MiB of the
 * log, which is about 3,500 calls of `set`, and SQLite's own every 4 MB.
 */
const CALLS = {
  'get hit, 100 B': 15_000,
  'get miss': 15_000,
  'set, 100 B': 7_000,
  'canProceed, 50 in the window': 15_000,
  record: 7_000,
  'dedupe waitFor + register + complete': 3_000,
};

/** All compiling and collecting is done by the JavaScript thread, when as much has been called and allocated. */
const NODE_FLAGS = [
  '--single-threaded',
  '--predictable',
  '--predictable-gc-schedule',
  '--random-seed=1',
  '--hash-seed=1',
];
const VALGRIND_FLAGS = [
  '--tool=callgrind',
  '--fair-sched=try',
  // What `process.ppid` calls.
  '--dump-before=uv_os_getppid',
];

const child = fileURLToPath(new URL('children/instructions.mjs', import.meta.url));

/** In memory if that can be had: what the disk does takes none of the process's instructions, but time. */
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/**
 * @param {string} program
 * @param {string[]} args
 * @param {Record<string, string>} [env]
 */
function run(program, args, env) {
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const { status, signal, error, stdout, stderr } = spawnSync(program, args, {
    env: { ...inherited, ...env },
    encoding: 'utf8',
  });
  if (status !== 0)
    throw new Error(`${program} ${args.join(' ')} failed: ${error ?? signal ?? stderr}`);
  return stdout;
}

/** @param {string} program */
function versionOf(program) {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** @param {string} directory @returns {string} the library with the clock that goes by how often it is looked at */
function compileClock(directory) {
  const source = fileURLToPath(new URL('children/clock.rs', import.meta.url));
  const library = join(directory, 'clock.so');
  const options = ['--edition=2024', '--crate-type=cdylib', '-O', '-C', 'panic=abort'];
  run('rustc', [...options, '-o', library, source]);
  return library;
}

/**
 * @template Result
 * @param {(directory: string) => Result} work
 */
function withDirectory(work) {
  const directory = mkdtempSync(join(base, 'sqlite-store-bench-'));
  try {
    return work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/**
 * @param {string} peer
 * @param {string} name  of the case
 * @param {number} calls
 * @param {string} shared  where the clock and the file with requests that have been seen are
 */
const count = (peer, name, calls, shared) =>
  withDirectory((directory) => {
    copyFileSync(join(shared, 'seeded.db'), join(directory, 'seeded.db'));
    const counts = join(directory, 'counts');
    run(
      'valgrind',
      [
        ...VALGRIND_FLAGS,
        `--callgrind-out-file=${counts}`,
        process.execPath,
        ...NODE_FLAGS,
        child,
        peer,
        name,
        directory,
        String(calls),
      ],
      { LD_PRELOAD: join(shared, 'clock.so'), UV_THREADPOOL_SIZE: '1' },
    );
    // Of all threads, from the first mark to the second.
    const total = readFileSync(`${counts}.2`, 'utf8').match(/^totals: (\d+)$/m)?.[1];
    return Number(total) / calls;
  });

/** @returns {Promise<import('./report.mjs').Section>} */
export async function instructions() {
  const section = { title: 'Instructions per call', unit: 'instructions', compared: true };
  const valgrind = versionOf('valgrind');
  if (!valgrind || !versionOf('rustc')) {
    const about = `**Not measured**: needs \`valgrind\` and \`rustc\`, and there is no \`${valgrind ? 'rustc' : 'valgrind'}\`.`;
    console.error(`instructions: ${about}`);
    return { ...section, about, rows: [] };
  }
  const rows = withDirectory((shared) => {
    const clock = compileClock(shared);
    // Makes the file with the requests, by the same clock.
    run(process.execPath, [child, PEERS[1], 'record', shared, '0'], { LD_PRELOAD: clock });
    return Object.entries(CALLS).map(([name, calls]) => ({
      name,
      values: Object.fromEntries(PEERS.map((peer) => [peer, count(peer, name, calls, shared)])),
    }));
  });
  return {
    ...section,
    about: `What the whole process executes per call, all its threads together, counted by ${valgrind}: \`valgrind ${VALGRIND_FLAGS.join(' ')}\`, for both peers with \`node ${NODE_FLAGS.join(' ')}\` and \`UV_THREADPOOL_SIZE=1\`. As many calls before warm up; among those that are counted are checkpoints. The figures differ by less than 1 % from run to run, on a busy machine too, for which time goes by how often a process looks at the clock: each look takes 10 µs, and timers do not fire. The system's own instructions are not counted, so what a call spends in reading, writing and locking files shows in the times above and not here.`,
    rows,
  };
}
