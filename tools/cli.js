#!/usr/bin/env node
'use strict';

// The command line: what was written is read, the command is run, and what it has to say is written. See docs/tools.md.

const { readdirSync } = require('node:fs');
const path = require('node:path');
const { EXIT, PROGRAM, UsageError, columns, help, nearest, parse } = require('./command.js');
const { printable, printableJson } = require('./inspection/values.js');
const { Screen, shorten } = require('./terminal/screen.js');
const { Progress } = require('./terminal/progress.js');

/** In the order in which they are explained. */
const NAMES = [
  'stats',
  'limits',
  'ls',
  'get',
  'purge',
  'jobs',
  'doctor',
  'vacuum',
  'backup',
  'serve',
];

/** @param {string} name @returns {import('./command.js').Command} */
const load = (name) => require(`./commands/${name}.js`);

/** @returns {string[]} */
function overview() {
  return [
    `${PROGRAM} COMMAND FILE [options]`,
    '',
    'Looks into the file of the stores of @comic-vine/sqlite-store, beside the processes that have it open.',
    '',
    'Commands:',
    ...columns(NAMES.map((name) => [name, load(name).does])),
    '',
    'purge, vacuum, and serve --write change the file. No other command changes a byte of it.',
    '',
    `${PROGRAM} COMMAND --help  explains a command, with examples.`,
    `${PROGRAM} --version       tells the version.`,
    '',
    'Exit codes: 0 fine; 1 doctor has found something, or there is no such entry; 2 written wrong; 3 the file could not be',
    'read or changed.',
  ];
}

/** What is to be done about some errors. @type {Record<string, string>} */
const REMEDIES = {
  SQLITE_BUSY:
    'Another process has the file to itself. Try again; doctor tells which one has a lock.',
  SQLITE_NOTADB: 'It is no database of SQLite, or its beginning is damaged.',
  SQLITE_CORRUPT: 'doctor tells how much is damaged.',
  EADDRINUSE:
    'Another program listens there: say another --port, or --port 0 for any that is free.',
  SQLITE_READONLY: 'Its permissions, or those of its directory, do not let it be changed.',
};

/** The file beside a missing one that was meant, if one is near. @param {string} file */
function neighbour(file) {
  try {
    return nearest(path.basename(file), readdirSync(path.dirname(file)));
  } catch {
    return '';
  }
}

/** @param {any} error @param {string | undefined} file */
function explain(error, file) {
  if (error.code === 'ENOENT' && file !== undefined)
    return `There is no file '${file}'.${neighbour(file)}`;
  const remedy = Object.entries(REMEDIES).find(([code]) =>
    String(error.code).startsWith(code),
  )?.[1];
  return remedy && !error.message.includes(remedy) ? `${error.message}. ${remedy}` : error.message;
}

/** @param {string[]} words @returns {Promise<number>} the exit code */
async function main(words) {
  const screen = new Screen(process.stdout, process.env);
  const errors = new Screen(process.stderr, process.env);
  const wantsJson = words.includes('--json');
  const print = (/** @type {string[]} */ lines) => process.stdout.write(`${lines.join('\n')}\n`);
  /** @type {string | undefined} */
  let given;
  try {
    const [name, ...others] = words;
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
      const about = name === 'help' ? others[0] : undefined;
      if (about !== undefined && !NAMES.includes(about)) throw unknown(about);
      print(about === undefined ? overview() : help(load(about)));
      return name === undefined ? EXIT.usage : EXIT.fine;
    }
    if (name === '--version' || name === '-v') {
      print([require('../package.json').version]);
      return EXIT.fine;
    }
    if (!NAMES.includes(name)) throw unknown(name);
    const command = load(name);
    const { file, rest, options } = parse(command, others);
    const { json, help: wantsHelp, ...chosen } = options;
    given = file;
    if (wantsHelp) {
      print(help(command));
      return EXIT.fine;
    }
    const progress = new Progress(process.stderr, errors);
    const call = { path: String(file), rest, options: chosen, screen, progress, now: Date.now() };
    const told = await command.run(call);
    print(json ? [printableJson(JSON.stringify(told.json, null, 2))] : told.lines);
    return told.code ?? EXIT.fine;
  } catch (error) {
    const told = printable(explain(error, given));
    process.stderr.write(
      wantsJson
        ? `${JSON.stringify({ error: { code: error.code ?? null, message: told } })}\n`
        : `${errors.style('error', 'red', 'bold')}: ${told}\n`,
    );
    if (!(error instanceof UsageError) && error.code === undefined) throw error;
    return error instanceof UsageError ? EXIT.usage : EXIT.file;
  }
}

/** @param {string} name */
function unknown(name) {
  return new UsageError(
    `There is no command '${shorten(name, 40)}'.${nearest(name, NAMES)} --help lists them.`,
  );
}

// Whoever reads no further, as `head`, has what it wanted.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error) => {
    if (/** @type {any} */ (error).code !== 'EPIPE') throw error;
    process.exit();
  });

main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
