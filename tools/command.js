'use strict';

// What commands are made of: their arguments and options, the errors of wrong ones, and help.

const { parseArgs } = require('node:util');
const { parseSpan } = require('./terminal/words.js');

/** What the program ends with: docs/tools.md, "Exit codes". */
const EXIT = { fine: 0, found: 1, usage: 2, file: 3 };

/** A command or option that was written wrong. */
class UsageError extends Error {
  code = 'USAGE';
}

/**
 * An option: a word that takes a text, a whole number or a span of time, or stands alone.
 * @typedef {{ type: 'text' | 'number' | 'span' | 'flag', value?: string, does: string }} Option
 * @typedef {{ path: string, rest: string[], options: Record<string, any>, screen: import('./terminal/screen.js').ScreenType,
 *   progress: import('./terminal/progress.js').ProgressType, now: number }} Call
 * @typedef {{ json: unknown, lines: string[], code?: number }} Told  what a command has to say, in both forms
 * @typedef {object} Command
 * @property {string} name
 * @property {string} does  in a line
 * @property {string[]} takes  what comes after the file: a name in brackets may be left out
 * @property {Record<string, Option>} options
 * @property {string[]} examples  without the program's name
 * @property {string} [more]  of its help
 * @property {(call: Call) => Told | Promise<Told>} run
 */

/** How many characters have to be changed to make one word of another. @param {string} one @param {string} other */
function distance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const change = row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1);
      next[j] = Math.min(change, row[j] + 1, next[j - 1] + 1);
    }
    row = next;
  }
  return row[other.length];
}

/** The word that was meant, if one is near, as a question. @param {string} word @param {string[]} words */
function nearest(word, words) {
  const [best] = words
    .map((other) => ({ other, far: other.startsWith(word) && word ? 0 : distance(word, other) }))
    .sort((one, two) => one.far - two.far);
  return best && best.far <= Math.max(1, Math.floor(word.length / 3))
    ? ` Did you mean ${best.other}?`
    : '';
}

/** Those of every command. @type {Record<string, Option>} */
const COMMON = {
  json: { type: 'flag', does: 'tells it as one JSON document' },
  help: { type: 'flag', does: 'explains the command' },
};

/** @param {string} name @param {Option} option @param {string | boolean} given */
function readValue(name, option, given) {
  if (typeof given === 'boolean' || option.type === 'text') return given;
  const number =
    option.type === 'span' ? parseSpan(given) : /^\d+$/.test(given) ? Number(given) : undefined;
  if (number !== undefined && Number.isSafeInteger(Math.round(number))) return number;
  const expected =
    option.type === 'span' ? 'a span of time such as 90s, 15min or 1h' : 'a whole number';
  throw new UsageError(`--${name} must be ${expected}, and is '${given}'`);
}

/**
 * Reads what was written after a command's name.
 * @param {Command} command @param {string[]} words
 * @returns {{ file: string | undefined, rest: string[], options: Record<string, any> }}
 */
function parse(command, words) {
  const known = { ...command.options, ...COMMON };
  const { tokens } = parseArgs({
    args: words,
    options: Object.fromEntries(
      Object.entries(known).map(([name, { type }]) => [
        name,
        { type: /** @type {'boolean' | 'string'} */ (type === 'flag' ? 'boolean' : 'string') },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  /** @type {string[]} */
  const positionals = [];
  /** @type {Record<string, any>} */
  const options = {};
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const option = known[name === 'h' ? 'help' : name];
    if (!option || (rawName.startsWith('--') ? name === 'h' : name !== 'h')) {
      const names = Object.keys(known).map((one) => `--${one}`);
      throw new UsageError(`${command.name} has no option ${rawName}.${nearest(rawName, names)}`);
    }
    if (option.type === 'flag' && value !== undefined)
      throw new UsageError(`--${name} takes no value, and was given '${value}'`);
    if (option.type !== 'flag' && value === undefined)
      throw new UsageError(`--${name} needs a value: --${name} ${option.value}`);
    options[name === 'h' ? 'help' : name] = readValue(name, option, value ?? true);
  }
  const [file, ...rest] = positionals;
  if (options.help) return { file, rest, options };
  const needed = command.takes.filter((name) => !name.startsWith('['));
  if (file === undefined) throw new UsageError(`${command.name} needs a file: ${usage(command)}`);
  if (rest.length < needed.length)
    throw new UsageError(`${command.name} needs ${needed[rest.length]}: ${usage(command)}`);
  if (rest.length > command.takes.length)
    throw new UsageError(
      `${command.name} takes no '${rest[command.takes.length]}': ${usage(command)}`,
    );
  return { file, rest, options };
}

const PROGRAM = 'npx @comic-vine/sqlite-store';

/** @param {Command} command */
function usage({ name, takes, options }) {
  const hasOptions = Object.keys(options).length > 0;
  return [PROGRAM, name, 'FILE', ...takes, hasOptions ? '[options]' : ''].filter(Boolean).join(' ');
}

/** @param {Record<string, Option>} options @returns {[string, string][]} */
function explained(options) {
  return Object.entries(options).map(([name, { value, does }]) => [
    `--${name}${value ? ` ${value}` : ''}`,
    does,
  ]);
}

/** Two columns. @param {[string, string][]} pairs */
function columns(pairs) {
  const longest = Math.max(...pairs.map(([first]) => first.length));
  return pairs.map(([first, second]) => `  ${first.padEnd(longest)}  ${second}`);
}

/** The help of a command. @param {Command} command @returns {string[]} */
function help(command) {
  return [
    `${usage(command)}`,
    '',
    `${command.does[0].toUpperCase()}${command.does.slice(1)}.`,
    ...(command.more ? ['', ...command.more.split('\n')] : []),
    '',
    'Options:',
    ...columns(explained({ ...command.options, ...COMMON })),
    '',
    'Examples:',
    ...command.examples.map((example) => `  ${PROGRAM} ${example}`),
  ];
}

module.exports = { EXIT, PROGRAM, UsageError, columns, help, nearest, parse };
