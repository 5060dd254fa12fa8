// The command line in use: what is written wrong, what is not to reach a terminal, how it looks there, and what it changes.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { at, Files, NOW, run, trace } from './support/command-line.mjs';

const { width } = createRequire(import.meta.url)('../tools/terminal/screen.js');
const program = fileURLToPath(new URL('../tools/cli.js', import.meta.url));
const files = new Files();
afterEach(() => files.end());
afterAll(() => files.remove());

/** @param {string[]} words @param {object} [options] */
const cli = (words, options) => run(at(program, ...words), options);

/** What a command has printed, which has ended well. @param {string[]} words @param {object} [options] */
async function printed(words, options) {
  const { code, signal, stdout, stderr } = await cli(words, options);
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
  return stdout;
}

/** @param {string[]} words */
const json = async (...words) => JSON.parse(await printed([...words, '--json']));

/** Asks or changes a file. @param {string} path @param {string} sql @param {any[]} values @returns {any} */
function ask(path, sql, ...values) {
  const db = new Database(path);
  try {
    const statement = db.prepare(sql);
    return statement.reader ? statement.raw().all(...values) : statement.run(...values);
  } finally {
    db.close();
  }
}

describe('what is written wrong', () => {
  test.each([
    [['stat', 'a.db'], 'Did you mean stats?'],
    [['lis', 'a.db'], "There is no command 'lis'."],
    [['ls'], 'ls needs a file: npx @comic-vine/sqlite-store ls FILE [options]'],
    [['get', 'a.db'], 'get needs KEY'],
    [['stats', 'a.db', 'b'], "stats takes no 'b'"],
    [['ls', 'a.db', '--prefx', 'a'], 'ls has no option --prefx. Did you mean --prefix?'],
    [['ls', 'a.db', '-x'], 'ls has no option -x'],
    [['ls', 'a.db', '--prefix'], '--prefix needs a value: --prefix TEXT'],
    [['ls', 'a.db', '--json=1'], "--json takes no value, and was given '1'"],
    [['ls', 'a.db', '--limit', 'ten'], "--limit must be a whole number, and is 'ten'"],
    [['ls', 'a.db', '--sort', 'sise'], "and is 'sise'. Did you mean size?"],
    [['limits', 'a.db', '--window', '1 year'], '--window must be a span of time such as 90s'],
    [['purge', 'a.db'], 'purge needs exactly one of KEY, --prefix, --tag, --expired or --all'],
    [['purge', 'a.db', 'key', '--all'], 'and KEY and --all were given'],
    [
      ['purge', 'a.db', '--tag', 'a', '--expired', '--dry-run'],
      'and --tag and --expired were given',
    ],
    [['purge', 'a.db', '--prefix', ''], '--prefix must not be empty'],
    [['help', 'stat'], 'Did you mean stats?'],
    [['st\u001b[31m\nats'], "There is no command 'st\ufffd[31m\ufffdats'."],
  ])('%j is explained', async (words, message) => {
    const [name, ...rest] = words;
    const [{ code, stdout, stderr }, told] = await Promise.all([
      cli(words),
      cli(name === 'help' ? [...words, '--json'] : [name, '--json', ...rest]),
    ]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('error: ');
    expect(stderr).toContain(message);
    expect(stderr.split('\n')).toHaveLength(2);
    expect({ ...told, stderr: JSON.parse(told.stderr) }).toMatchObject({
      code: 2,
      stdout: '',
      stderr: { error: { code: 'USAGE', message: expect.stringContaining(message) } },
    });
  });

  test('without a command all are listed; help teaches each', async () => {
    const { code, stdout } = await cli([]);
    expect(code).toBe(2);
    const names = [...stdout.matchAll(/^ {2}(\w+) {2,}/gm)].map(([, name]) => name);
    expect(names).toHaveLength(10);
    expect(await printed(['--help'])).toBe(stdout);
    for (const name of names) {
      const [help, same] = await Promise.all([printed([name, '--help']), printed(['help', name])]);
      expect(same).toBe(help);
      expect(help).toMatch(/Examples:\n {2}npx @comic-vine\/sqlite-store/);
      for (const line of help.split('\n')) expect(width(line)).toBeLessThanOrEqual(130);
    }
    expect(await printed(['--version'])).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test('a key that begins with hyphens comes after two of them', async () => {
    const path = await files.make('closed');
    ask(path, "UPDATE cache SET hash = '--all' WHERE hash = 'plain'");
    expect(await printed(['get', path, '--raw', '--', '--all'])).toBe('"text"\n');
  });
});

test('a missing file stays missing', async () => {
  const path = files.fresh();
  for (const words of [
    ['purge', path, '--all'],
    ['vacuum', path],
    ['stats', path],
  ])
    expect(await cli(words)).toMatchObject({ code: 3, stderr: expect.stringContaining('no file') });
  expect(readdirSync(dirname(path))).toEqual([]);
});

test('whoever reads no further ends it quietly', async () => {
  const path = await files.make('closed');
  const db = new Database(path);
  const insert = db.prepare('INSERT INTO cache VALUES (?, \'"1"\', 0, 0)');
  db.transaction(() => {
    for (let n = 0; n < 20_000; n++) insert.run(`key ${n}`);
  })();
  db.close();
  const command = at(program, 'ls', path, '--limit', '20000').map((word) => `'${word}'`);
  const { stdout, stderr } = spawnSync('sh', ['-c', `${command.join(' ')} | head -1`], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, NOW: String(NOW) },
  });
  expect(stdout).toMatch(/^key +label/);
  expect(stderr).toBe('');
});

describe('what anybody has written', () => {
  const hostile = `\u001b]0;title\u0007\u001b[2J\u009b31m\u202eabc\u2066\nnext\r\u200b\u2028line`;

  test('never reaches a terminal as it is', async () => {
    const path = await files.make('closed');
    const value = JSON.stringify(JSON.stringify({ results: { name: hostile }, more: hostile }));
    ask(path, 'INSERT INTO cache VALUES (?, ?, 0, 0)', hostile, value);
    ask(path, 'INSERT INTO cache VALUES (?, ?, 0, 0)', `${hostile}2`, hostile);
    ask(path, 'INSERT INTO cache_tags VALUES (?, ?)', hostile, hostile);
    ask(
      path,
      "UPDATE dedupe_jobs SET hash = ? || hash, error = ?, error_name = job_id || ' ' || ?",
      ...[hostile, hostile, hostile],
    );
    ask(path, 'UPDATE rate_limits SET resource = ?', hostile);
    ask(
      path,
      "UPDATE store_settings SET resource = ?, version = ? WHERE kind = 'adaptive'",
      hostile,
      hostile,
    );
    ask(path, 'UPDATE server_cooldowns SET origin = ?', `${hostile}3`);
    ask(path, `CREATE TRIGGER "${hostile}" AFTER DELETE ON cache BEGIN SELECT 1; END`);
    const commands = [
      ...['stats', 'limits', 'ls', 'jobs', 'doctor'].map((name) => [name, path]),
      ...[hostile, `${hostile}2`, `${hostile}4`].map((key) => ['get', path, key]),
      ['purge', path, '--all', '--dry-run'],
      ['ls', path, '--prefix', '\u001b'],
      ['purge', path, '\u001b[1m', '--dry-run'],
      ['limits', path, '\u001b[1m'],
      ['backup', path, `${dirname(path)}/\u001b[1m/a.db`],
      ['backup', path, `${dirname(path)}/\u001b[1m.db`],
      ['stats', `${path}\u001b[1m`],
      ['ls', path, '--sort', '\u001b[1m'],
      ['ls', path, '--\u001b[1m'],
    ];
    for (const words of commands) {
      const both = await Promise.all([cli(words), cli([...words, '--json'])]);
      for (const { stdout, stderr } of both) {
        expect([words, stdout + stderr]).not.toEqual([words, '']);
        expect(stdout + stderr).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      }
    }
    // It is there all the same, in a form that can be read.
    const [first] = (await json('ls', path, '--prefix', '\u001b')).entries;
    expect(first).toMatchObject({ key: hostile, tags: [hostile] });
    const lines = (await printed(['ls', path])).trimEnd().split('\n');
    expect(lines).toHaveLength(1 + 8 + 1);
    expect(lines.filter((line) => line.startsWith('\ufffd]0;title\ufffd'))).toHaveLength(2);
  });

  test('lines up, however wide its characters are', async () => {
    const path = await files.make('closed');
    // As terminals have them: unicode.org/reports/tr11.
    const widths = {
      進撃の巨人: 10,
      한국어: 6,
      ﾊﾝｶｸ: 4,
      e\u0301te\u0301: 3,
      plain: 5,
      '🦸 Hero': 7,
      '⚡⭐✨': 6,
      '🌡 ☎ ♥': 5,
      𠮷: 2,
      '🇯🇵 Japan': 8,
    };
    for (const name of Object.keys(widths))
      ask(path, 'INSERT INTO cache VALUES (?, ?, 0, 0)', `w ${name}`, JSON.stringify({ name }));
    const [head, ...lines] = (await printed(['ls', path, '--prefix', 'w'])).split('\n');
    for (const [name, columns] of Object.entries(widths)) {
      const line = lines.find((one) => one.startsWith(`w ${name} `)) ?? '';
      const [before] = line.split(/\d+ B/);
      // Twice the name, and blanks for the rest.
      const blanks = before.replaceAll(name, '').length;
      const size = /\d+ B/.exec(line)?.[0].length ?? 0;
      expect([name, 2 * columns + blanks + size]).toEqual([name, head.indexOf('size') + 4]);
    }
  });
});

describe('what is changed', () => {
  /** Files with enough to select from. */
  async function filled() {
    const path = await files.make('closed');
    ask(
      path,
      "INSERT INTO cache SELECT 'issue:' || hash, value, expires_at, created_at FROM cache",
    );
    ask(path, "INSERT INTO cache_tags SELECT tag, 'issue:' || hash FROM cache_tags");
    ask(path, "INSERT INTO cache_tags VALUES ('issue', 'gone')");
    return path;
  }
  const keys = (/** @type {string} */ path) =>
    ask(path, 'SELECT hash FROM cache ORDER BY hash').flat();

  test.each([
    ['a key', ['issue:2']],
    ['a key that is not there', ['nothing']],
    ['a prefix', ['--prefix', 'issue:']],
    ['a prefix with what LIKE and GLOB know', ['--prefix', 'issue%']],
    ['a tag', ['--tag', 'issue']],
    ['the expired', ['--expired']],
    ['all', ['--all']],
  ])('purge removes %s: as many as a dry run says', async (_, selection) => {
    const path = await filled();
    const before = trace(path);
    const all = keys(path);
    const dry = await json('purge', path, ...selection, '--dry-run');
    expect(trace(path)).toEqual(before);
    expect(dry.keys).toHaveLength(Math.min(10, dry.entries));
    const run = await json('purge', path, ...selection);
    expect(run).toEqual({ dryRun: false, entries: dry.entries });
    const left = keys(path);
    expect(all.length - left.length).toBe(dry.entries);
    if (dry.entries <= 10) expect(all.filter((key) => !left.includes(key))).toEqual(dry.keys);
    expect(readdirSync(dirname(path))).toEqual(['stores.db']);
    // Jobs and limits stay.
    expect(
      ask(path, 'SELECT (SELECT COUNT(*) FROM dedupe_jobs), (SELECT COUNT(*) FROM rate_limits)'),
    ).toEqual([[3, 6]]);
  });

  test('a process that has the file open sees it at once', async () => {
    const path = await files.make('closed');
    const reader = await files.start('reader', path);
    reader.write('issue:3');
    expect(await reader.line()).toContain('Saga #1');
    expect(await json('purge', path, '--tag', 'issue')).toMatchObject({ entries: 1 });
    reader.write('issue:3');
    expect(await reader.line()).toBe('null');
  });

  test.each(['wal', 'delete'])('a file whose journal mode is %s keeps it', async (journalMode) => {
    const path = await files.make('closed', { journalMode });
    const mode = () => ask(path, 'PRAGMA journal_mode');
    expect(mode()).toEqual([[journalMode]]);
    expect((await json('stats', path)).file.journalMode).toBe(journalMode);
    await printed(['purge', path, '--expired']);
    expect(mode()).toEqual([[journalMode]]);
    const text = 'x'.repeat(1_000_000);
    ask(path, "INSERT INTO cache VALUES ('large', ?, 0, 0)", JSON.stringify(text));
    await printed(['purge', path, 'large']);
    const { bytes } = (await json('stats', path)).file;
    const { freedBytes } = await json('vacuum', path);
    expect(freedBytes).toBeGreaterThan(900_000);
    expect((await json('stats', path)).file).toMatchObject({
      bytes: bytes - freedBytes,
      freePages: 0,
    });
    expect(mode()).toEqual([[journalMode]]);
    expect(readdirSync(dirname(path))).toEqual(['stores.db']);
  });

  test('a backup beside a writer is complete, and is never written over what is there', async () => {
    const path = files.fresh();
    const writer = await files.start('writing', path);
    const target = files.fresh('copy.db');
    const told = await json('backup', path, target);
    // What reads beside it, too, is of one state.
    for (const words of [['stats'], ['ls', '--sort', 'size'], ['limits'], ['jobs'], ['doctor']])
      expect(await cli([words[0], path, ...words.slice(1)])).toMatchObject({ stderr: '', code: 0 });
    expect(ask(target, 'PRAGMA integrity_check')).toEqual([['ok']]);
    expect(ask(target, 'SELECT COUNT(*) FROM cache')[0][0]).toBeGreaterThanOrEqual(100);
    expect(readdirSync(dirname(target))).toEqual(['copy.db']);
    expect(told.path).toBe(target);
    const before = trace(target);
    for (const other of [target, dirname(target), '/proc/no/such.db', path]) {
      const ended = await cli(['backup', path, other]);
      expect(ended).toMatchObject({ code: 3, stdout: '' });
      expect(ended.stderr).toMatch(/^error: [^\n]+\n$/);
    }
    expect(trace(target)).toEqual(before);
    writer.end();
    await writer.done();
  });

  test('a backup that is interrupted leaves nothing', async () => {
    const path = files.fresh();
    const database = new Database(path);
    database.exec('CREATE TABLE filler (bytes BLOB)');
    for (let n = 0; n < 300; n++) database.exec('INSERT INTO filler VALUES (zeroblob(1000000))');
    database.close();
    const target = files.fresh('copy.db');
    const child = spawn(process.execPath, [program, 'backup', path, target]);
    const ended = new Promise((resolve) =>
      child.on('close', (code, signal) => resolve({ code, signal })),
    );
    while (readdirSync(dirname(target)).length === 0 && child.exitCode === null) await sleep(1);
    child.kill('SIGINT');
    expect(await ended).toEqual({ code: 130, signal: null });
    expect(readdirSync(dirname(target))).toEqual([]);
  });
});

test('the stores load nothing of the tools', () => {
  const entry = fileURLToPath(new URL('../index.js', import.meta.url));
  const code = `require(${JSON.stringify(entry)});
    console.log(Object.keys(require.cache).map((path) => path.split(/[\\\\/]/).at(-2)).join(' '))`;
  const { stdout } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  const folders = new Set(stdout.trim().split(' '));
  expect(folders).toContain('lib');
  for (const name of ['tools', 'commands', 'inspection', 'terminal', 'dashboard'])
    expect(folders).not.toContain(name);
});

const hasScript = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0;
if (!hasScript)
  process.stderr.write('SKIPPED: without script of util-linux nothing is tried on a terminal\n');

describe.skipIf(!hasScript)('on a terminal', () => {
  const ESC = '\u001b';

  /** @param {string[]} words @param {number} columns @param {NodeJS.ProcessEnv} [env] */
  async function onTerminal(words, columns, env = {}) {
    const command = at(program, ...words)
      .map((word) => `'${word}'`)
      .join(' ');
    const { stdout } = await run(
      ['script', '-qec', `stty cols ${columns} rows 50; ${command}`, '/dev/null'],
      { env: { TERM: 'xterm-256color', ...env } },
    );
    return stdout.replaceAll('\r\n', '\n');
  }
  const COLOURS = new RegExp(`${ESC}\\[[\\d;]*m`, 'g');
  const plain = (/** @type {string} */ text) =>
    text
      .replace(COLOURS, '')
      .replace(/ +$/gm, '')
      .replace(/\d+ MiB are free/, 'N MiB are free');

  test.each([40, 100])(
    'nothing is wider than its %i columns, in colour or not',
    async (columns) => {
      const path = await files.make('closed');
      const key = 'f'.repeat(64);
      ask(
        path,
        'INSERT INTO cache VALUES (?, ?, 0, 0)',
        key,
        JSON.stringify({ name: '進撃の巨人'.repeat(9) }),
      );
      for (const [name, ...more] of [
        ['stats'],
        ['limits'],
        ['ls'],
        ['jobs'],
        ['doctor'],
        ['purge', '--all', '--dry-run'],
      ]) {
        // One after the other: doctor tells who else has the file open.
        const inColour = await onTerminal([name, path, ...more], columns);
        const without = await onTerminal([name, path, ...more], columns, { NO_COLOR: '1' });
        expect([name, inColour.includes(`${ESC}[`)]).toEqual([name, name !== 'purge']);
        expect([name, without.includes(ESC)]).toEqual([name, false]);
        expect(plain(inColour)).toBe(plain(without));
        // A path without blanks has a line of its own.
        const lines = without.split('\n').filter((line) => !/^\s+\S+$/.test(line));
        for (const line of lines)
          expect([name, line, width(line) <= columns]).toEqual([name, line, true]);
      }
    },
  );

  test('errors are red, and words forced into colour', async () => {
    expect(await onTerminal(['stat'], 80)).toContain(`${ESC}[31;1merror${ESC}[0m: `);
    const path = await files.make('closed');
    expect(await printed(['ls', path], { env: { FORCE_COLOR: '1' } })).toContain(`${ESC}[1mkey`);
    expect(await printed(['ls', path], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).not.toContain(
      ESC,
    );
    expect(await onTerminal(['ls', path], 80, { TERM: 'dumb' })).not.toContain(ESC);
  });

  test('what is under way is shown on a line that goes', async () => {
    const path = await files.make('closed');
    const other = await files.start('transaction', path, { options: { begin: 'BEGIN IMMEDIATE' } });
    const command = [process.execPath, program, 'vacuum', path].map((word) => `'${word}'`);
    const { code, stdout } = await run(['script', '-qec', command.join(' '), '/dev/null'], {
      env: { TERM: 'xterm' },
      onText: (soFar) => soFar.includes('rebuilding') && other.end(),
    });
    expect(code).toBe(0);
    const lines = stdout.split(`\r${ESC}[2K`);
    expect(lines.length).toBeGreaterThan(2);
    expect(lines.shift()).toBe('');
    expect(lines.pop()).toMatch(/^\d+ B given back\.\r\n$/);
    expect(lines.pop()).toMatch(/^rebuilding, \d+ m?s$/);
  });
});
