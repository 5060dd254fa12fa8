'use strict';

// What is written to: how wide it is, and whether it shows colours. What comes from a file is made harmless first.

const { printable } = require('../inspection/values.js');

/** @typedef {keyof typeof STYLES} Style */
const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };

/** Characters that take two columns (unicode.org/reports/tr11), and those that take none. Two letters make a flag. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|(?![\u{1f1e6}-\u{1f1ff}])\p{Emoji_Presentation}/u;
const NARROW = /\p{Mn}|\p{Me}|\u200b/u;

/** How many columns a text takes. @param {string} text */
function width(text) {
  let columns = 0;
  for (const character of text)
    columns += WIDE.test(character) ? 2 : NARROW.test(character) ? 0 : 1;
  return columns;
}

/** A text in at most so many columns. @param {string} text @param {number} columns */
function shorten(text, columns) {
  if (width(text) <= columns) return text;
  let [kept, taken] = ['', 0];
  for (const character of text) {
    taken += width(character);
    if (taken > columns - 1) break;
    kept += character;
  }
  return columns > 0 ? `${kept}…` : '';
}

/** @param {string} text @param {number} columns @param {'left' | 'right'} [side] */
function pad(text, columns, side = 'left') {
  const blanks = ' '.repeat(Math.max(0, columns - width(text)));
  return side === 'left' ? text + blanks : blanks + text;
}

/** A text in lines of so many columns: only what has no blank may be wider. @param {string} text @param {number} columns @returns {string[]} */
function wrap(text, columns) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1];
    if (line !== '' && width(line) + 1 + width(word) > columns) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

class Screen {
  /**
   * @param {{ isTTY?: boolean, columns?: number }} stream
   * @param {Record<string, string | undefined>} environment
   */
  constructor(stream, environment) {
    const { NO_COLOR, FORCE_COLOR, TERM, COLUMNS } = environment;
    this.isTerminal = stream.isTTY === true;
    /** How many columns there are; any number where it is no terminal. */
    this.columns = this.isTerminal
      ? Number(COLUMNS) || stream.columns || 80
      : Number.POSITIVE_INFINITY;
    const forced = FORCE_COLOR !== undefined && FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
    this.hasColours =
      !NO_COLOR && (forced || (this.isTerminal && TERM !== 'dumb' && FORCE_COLOR === undefined));
  }

  /** @param {string} text @param {Style[]} styles */
  style(text, ...styles) {
    if (!this.hasColours || text === '') return text;
    return `\u001b[${styles.map((style) => STYLES[style]).join(';')}m${text}\u001b[0m`;
  }

  /** A bar of so many columns, filled to a part of one. @param {number} part @param {number} columns @param {Style} colour */
  bar(part, columns, colour) {
    const filled = Math.round(Math.max(0, Math.min(1, part)) * columns);
    // Something is not nothing, and not yet all is not all.
    const cells = part > 0 && part < 1 ? Math.max(1, Math.min(columns - 1, filled)) : filled;
    return this.style('█'.repeat(cells), colour) + this.style('░'.repeat(columns - cells), 'dim');
  }
}

/**
 * A column of a table: its texts are made harmless, and cut where the table would be too wide if it gives way.
 * @typedef {{ name: string, of: (row: any) => string, side?: 'left' | 'right', givesWay?: boolean,
 *   style?: (row: any) => Style[] }} Column
 */

/** The least that is kept of a column that gives way. */
const LEAST = 8;

/**
 * A table that fits the screen: what gives way is cut, and then columns are left out from the right.
 * @param {Screen} screen @param {Column[]} columns @param {any[]} rows @returns {string[]} its lines
 */
function table(screen, columns, rows) {
  const shown = columns.map((column) => {
    const texts = rows.map((row) => printable(column.of(row)));
    return { ...column, texts, width: Math.max(width(column.name), ...texts.map(width)) };
  });
  const total = () => shown.reduce((sum, column) => sum + column.width, 2 * (shown.length - 1));
  for (const column of shown.filter(({ givesWay }) => givesWay).reverse()) {
    column.width = Math.max(
      Math.min(column.width, LEAST),
      column.width - Math.max(0, total() - screen.columns),
    );
  }
  while (shown.length > 1 && total() > screen.columns) shown.pop();
  const cell = (/** @type {string} */ text, /** @type {typeof shown[0]} */ column) => {
    const isLast = column === shown.at(-1) && column.side !== 'right';
    return pad(shorten(text, column.width), isLast ? 0 : column.width, column.side);
  };
  const line = (/** @type {string[]} */ cells) => cells.join('  ').trimEnd();
  return [
    line(shown.map((column) => screen.style(cell(column.name, column), 'bold'))),
    ...rows.map((row, index) =>
      line(
        shown.map((column) =>
          screen.style(cell(column.texts[index], column), ...(column.style?.(row) ?? [])),
        ),
      ),
    ),
  ];
}

/** Facts under names, one a line. @param {Screen} screen @param {[string, string][]} facts @returns {string[]} */
function list(screen, facts) {
  const longest = Math.max(...facts.map(([name]) => width(name)));
  const room = screen.columns - longest - 2;
  return facts.map(
    ([name, text]) =>
      `${screen.style(pad(name, longest), 'dim')}  ${shorten(printable(text), room)}`,
  );
}

/** @typedef {Screen} ScreenType */

module.exports = { Screen, shorten, list, pad, table, width, wrap };
