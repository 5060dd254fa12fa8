// docs/benchmark.svg: bars on a logarithmic scale, readable on light and on dark pages.

import { readable } from './report.mjs';

const CASES = [
  'get hit, 100 B',
  'get hit, 55 KB',
  'set, 100 B',
  'set, 100 B, 100 at once',
  'canProceed, 50 in the window',
  'canProceed, 10,000 in the window',
  'record',
  'adaptive canProceed + record',
  'dedupe waitFor + register + complete',
  'client, cached',
];
const PEERS = ['ours', 'hand-written', '0.2.0', '@keyv/sqlite', 'lmdb', 'rate-limiter-flexible'];

const WIDTH = 820;
const LEFT = 170;
const RIGHT = 120;
const TOP = 76;
const BAR = 12;
const PITCH = 15;
const HEADING = 23;

const STYLE = `
  text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .case { font-weight: 600 }
  .quiet { fill: #59636e }
  .grid { stroke: #d1d9e0 }
  .bar { fill: #8c959f }
  .ours { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .quiet { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .bar { fill: #656c76 }
    .ours { fill: #f0883e }
  }`;

/** @param {string} text */
const encode = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {string} [kind]
 * @param {'start' | 'middle' | 'end'} [anchor]
 */
const text = (x, y, content, kind = '', anchor = 'start') =>
  `<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${encode(content)}</text>`;

/** @param {import('./latency.mjs').Latency[]} all */
export function chart(all) {
  const shown = CASES.flatMap((name) => {
    const found = all.find(({ benchmark }) => benchmark.name === name);
    return found ? [found] : [];
  }).map(({ benchmark, times }) => ({
    name: benchmark.name,
    bars: PEERS.filter((peer) => peer in times).map((peer) => ({ peer, us: times[peer] })),
  }));

  const shownTimes = shown.flatMap(({ bars }) => bars.map(({ us }) => us));
  const least = 10 ** Math.floor(Math.log10(Math.min(...shownTimes)) - 0.3);
  const most = Math.max(...shownTimes);
  const scale = (WIDTH - LEFT - RIGHT) / Math.log10(most / least);
  const x = (/** @type {number} */ us) => LEFT + Math.log10(us / least) * scale;

  const parts = [];
  let y = TOP;
  for (const { name, bars } of shown) {
    y += HEADING;
    parts.push(text(LEFT, y - 7, name, 'case'));
    for (const { peer, us } of bars) {
      const width = Math.max(1, x(us) - LEFT).toFixed(1);
      const kind = peer === 'ours' ? 'bar ours' : 'bar';
      const ratio = peer === 'ours' ? '' : ` · ${readable(us / bars[0].us)}×`;
      parts.push(
        text(LEFT - 8, y + BAR - 2, peer, '', 'end'),
        `<rect x="${LEFT}" y="${y}" width="${width}" height="${BAR}" rx="2" class="${kind}"/>`,
        text(Number((x(us) + 6).toFixed(1)), y + BAR - 2, `${readable(us)} µs${ratio}`, 'quiet'),
      );
      y += PITCH;
    }
  }
  const height = y + 14;

  const grid = [];
  for (let us = least; us <= most; us *= 10) {
    const at = x(us).toFixed(1);
    grid.push(
      `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${height - 10}" class="grid"/>`,
      text(
        Number(at),
        TOP - 6,
        `${us < 1 ? us.toFixed(1) : us.toLocaleString('en')} µs`,
        'quiet',
        'middle',
      ),
    );
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
<title>µs per call, ours beside others</title>
<style>${STYLE}
</style>
${text(12, 22, 'Time per call: shorter is faster, on a logarithmic scale', 'title')}
${text(12, 42, 'Version 0.2.0 and lmdb flush writes to the disk; the others, with their settings here, do not.', 'quiet')}
${[...grid, ...parts].join('\n')}
</svg>
`;
}
