/**
 * Draws what a command prints on a terminal, with its colours, as an SVG: the pictures of docs/tools.md.
 *
 *   node scripts/terminal-picture.mjs   draws them: `__test__/95-picture.test.mjs` says whether they are what is printed now
 */

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const CELL = { width: 8.4, height: 19 };
const EDGE = 16;

/** The colours of the codes that tools/terminal/screen.js writes, by the theme of whoever looks. */
const COLOURS = {
  31: 'red',
  32: 'green',
  33: 'yellow',
  36: 'cyan',
};

const STYLE = `
    .paper { fill: #ffffff; stroke: #d0d0d0 }
    text { fill: #1f2328; font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre }
    .bold { font-weight: 600 }
    .dim { fill: #656d76 }
    .red { fill: #b3261e } .green { fill: #1a7f37 } .yellow { fill: #8a5a00 } .cyan { fill: #0a6c86 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #16181d; stroke: #33363d }
      text { fill: #e6e6e6 }
      .dim { fill: #9aa0a6 }
      .red { fill: #ff8a80 } .green { fill: #6fdd8b } .yellow { fill: #f0b95a } .cyan { fill: #67d4ee }
    }
  `;

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);

/** The parts of a line that look alike. @param {string} line @returns {{ text: string, classes: string[] }[]} */
function parts(line) {
  /** @type {string[]} */
  let classes = [];
  const found = [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what colours a terminal begins with one
  for (const part of line.split(/(\u001b\[[\d;]*m)/)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the same
    const codes = /^\u001b\[([\d;]*)m$/.exec(part)?.[1];
    if (codes === undefined) {
      if (part !== '') found.push({ text: part, classes });
    } else {
      const names = codes
        .split(';')
        .map((code) => ({ 1: 'bold', 2: 'dim', ...COLOURS })[code] ?? '');
      classes = names.filter(Boolean);
    }
  }
  return found;
}

/**
 * @param {string} title  what the picture shows, for those who do not see it
 * @param {string} command  what was written
 * @param {string} printed  with the codes of colours
 * @returns {string}
 */
export function picture(title, command, printed) {
  const lines = [`\u001b[2m$\u001b[0m ${command}`, ...printed.trimEnd().split('\n')];
  const length = (/** @type {string} */ line) =>
    parts(line).reduce((sum, { text }) => sum + [...text].length, 0);
  const width = Math.ceil(2 * EDGE + CELL.width * Math.max(...lines.map(length)));
  const height = 2 * EDGE + CELL.height * lines.length;
  const drawn = lines.map((line, index) => {
    let column = 0;
    const y = EDGE + CELL.height * index + 14;
    const texts = parts(line).map(({ text, classes }) => {
      const x = EDGE + CELL.width * column;
      const columns = [...text].length;
      column += columns;
      const name = classes.length > 0 ? ` class="${classes.join(' ')}"` : '';
      // As wide as on a terminal, whatever the font.
      const wide = `textLength="${(columns * CELL.width).toFixed(1)}"`;
      return `<text${name} x="${x.toFixed(1)}" y="${y}" ${wide}>${escaped(text)}</text>`;
    });
    return texts.map((text) => `  ${text}\n`).join('');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">
  <title>${escaped(title)}</title>
  <style>${STYLE}</style>
  <rect class="paper" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
${drawn.join('')}</svg>
`;
}

async function drawAll() {
  const { PICTURES, draw } = await import('../__test__/support/pictures.mjs');
  for (const one of PICTURES)
    writeFileSync(new URL(`../docs/images/${one.file}`, import.meta.url), await draw(one));
}

// Not awaited: what draws them imports this file.
if (process.argv[1] === fileURLToPath(import.meta.url)) drawAll();
