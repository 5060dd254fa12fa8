// The command line as it is published: what each command tells of files in every state, and that it leaves no trace.
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { at, Files, run, trace, transcript } from './support/command-line.mjs';
import { installPackage } from './support/installed.mjs';

const isLinux = process.platform === 'linux';

/** @type {Awaited<ReturnType<typeof installPackage>>} */
let installed;
/** @type {string} */
let program;
const files = new Files();
beforeAll(async () => {
  installed = await installPackage();
  chmodSync(installed.directory, 0o755);
  program = join(installed.project, 'node_modules/@comic-vine/sqlite-store/tools/cli.js');
}, 120_000);
afterAll(async () => {
  await files.remove();
  await installed.remove();
});

/** @param {string[]} words @param {object} [options] */
const cli = (words, options) => run(at(program, ...words), options);

/** Those that change nothing. @param {string} path @returns {string[][]} */
const reading = (path) => [
  ['stats', path],
  ['limits', path],
  ['ls', path],
  ['get', path, 'issue:2'],
  ['jobs', path],
  ['doctor', path],
  ['purge', path, '--dry-run', '--expired'],
  ['backup', path, files.fresh('copy.db')],
];

/**
 * Runs commands one after the other, each of which leaves everything as it was; answers what they have printed.
 * @param {string} path @param {string[][]} commands @param {object} [options]
 */
async function look(path, commands = reading(path), options = {}) {
  let printed = '';
  const before = trace(path);
  for (const words of commands) {
    const ended = await cli(words, options);
    expect([words[0], trace(path)]).toEqual([words[0], before]);
    printed += `${transcript(words, ended, path)}\n`;
  }
  return printed;
}

/** @param {string} printed @param {string} name */
async function compare(printed, name) {
  // What is told of processes and volumes is Linux's.
  if (isLinux)
    await expect(printed).toMatchFileSnapshot(`./__snapshots__/command-line/${name}.txt`);
}

describe('what reads a file leaves no trace, and tells of one', () => {
  test('of 0.2.0', async () => {
    const path = await files.make('older');
    await compare(await look(path), 'older');
  });

  test('that nobody has open', async () => {
    const path = await files.make('closed');
    await compare(await look(path), 'closed');
    await compare(
      await look(
        path,
        reading(path).map((words) => [...words, '--json']),
      ),
      'closed-json',
    );
  });

  test('that a writer and a reader have open', async () => {
    const path = files.fresh();
    await files.start('open', path, { isIdle: true });
    await files.start('reader', path);
    await compare(await look(path), 'open');
    await files.end();
  });

  test('that a killed process has left, with its log', async () => {
    const path = files.fresh();
    const owner = await files.start('open', path);
    await owner.kill();
    await compare(await look(path), 'killed');
    rmSync(`${path}-shm`);
    await compare(await look(path), 'killed-without-index');
  });

  test('that is damaged', async () => {
    const path = await files.make('closed');
    // What lies at the beginning of the page where entries of the cache begin.
    const db = new Database(path);
    const page = Number(
      db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'cache'").pluck().get(),
    );
    db.close();
    const bytes = readFileSync(path);
    bytes.fill(0xa5, 4096 * (page - 1), 4096 * (page - 1) + 100);
    writeFileSync(path, bytes);
    await compare(await look(path), 'damaged');
  });

  test('that is no database', async () => {
    const path = files.fresh();
    writeFileSync(path, 'Once upon a time. '.repeat(500));
    await compare(await look(path), 'no-database');
  });

  test('that is empty', async () => {
    const path = files.fresh();
    writeFileSync(path, '');
    await compare(await look(path), 'empty');
  });

  test('that is not there', async () => {
    const path = files.fresh();
    await compare(await look(path), 'missing');
    writeFileSync(`${dirname(path)}/store.db`, '');
    expect((await cli(['stats', path])).stderr).toContain('Did you mean store.db?');
  });

  test('that may only be read', async () => {
    const path = await files.make('closed');
    chmodSync(path, 0o444);
    chmodSync(dirname(path), 0o555);
    // Modes do not bind root.
    const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    const commands = reading(path);
    const target = commands.at(-1)?.at(-1) ?? '';
    chmodSync(dirname(target), 0o777);
    await compare(await look(path, commands, user), 'read-only');
    const ended = await cli(['purge', path, '--expired'], user);
    expect(ended.code).toBe(3);
    expect(ended.stdout).toBe('');
    chmodSync(dirname(path), 0o755);
  });

  test('that somebody has to itself', async () => {
    const path = await files.make('older');
    await files.start('exclusive', path);
    const before = trace(path);
    const commands = [
      ...reading(path).filter(([name]) => name !== 'doctor'),
      ['ls', path, '--json'],
      ['purge', path, '--all'],
      ['vacuum', path],
    ];
    // Each waits for the lock.
    const ended = await Promise.all(commands.map((words) => cli(words)));
    // It tells who has the file open: these have ended.
    commands.push(['doctor', path]);
    ended.push(await cli(['doctor', path]));
    expect(trace(path)).toEqual(before);
    await compare(
      commands.map((words, index) => transcript(words, ended[index], path)).join('\n'),
      'locked',
    );
    await files.end();
  });
});
