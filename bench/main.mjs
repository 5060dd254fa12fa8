// npm run bench: see README, "Performance".

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cases, make } from './cases.mjs';
import { compare } from './measure.mjs';
import { open } from './peers.mjs';

const { values: options } = parseArgs({
  options: { only: { type: 'string', default: '' }, rounds: { type: 'string', default: '15' } },
});
const rounds = Number(options.rounds);
/** How long a round of one peer is to take, in µs. */
const ROUND_US = 5_000;

const chosen = cases.filter(({ name }) => name.includes(options.only));

const figures = [];
for (const benchmark of chosen) {
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'sqlite-store-bench-'));
  const peers = Object.fromEntries(
    benchmark.peers.map((name) => [name, open(name, benchmark.kind, directory)]),
  );
  try {
    /** @type {Record<string, number>} */
    const calls = {};
    for (const [name, peer] of Object.entries(peers)) {
      await benchmark.prepare?.(peer);
      await benchmark.before?.(peer);
      const step = benchmark.ofAtOnce ?? 10;
      const start = process.hrtime.bigint();
      await make(benchmark, peer, step);
      const each = Number(process.hrtime.bigint() - start) / 1000 / step;
      calls[name] = step * Math.min(200, Math.max(1, Math.round(ROUND_US / each / step)));
    }
    const times = await compare({
      peers,
      calls: (name) => calls[name],
      run: (peer, count) => make(benchmark, peer, count),
      before: benchmark.before,
      rounds,
    });
    figures.push({ benchmark, times });
    const first = times[benchmark.peers[0]];
    console.log(
      benchmark.name.padEnd(54),
      benchmark.peers
        .map((name, index) => {
          const target = benchmark.targets?.[name];
          const ratio = times[name] / first;
          const mark =
            target === undefined ? '' : ratio >= target ? ` ≥ ${target}` : ` MISSED ${target}`;
          return `${name} ${times[name].toFixed(2)}${index ? ` (${ratio.toFixed(2)}${mark})` : ''}`;
        })
        .join('; '),
    );
  } finally {
    for (const peer of Object.values(peers)) await peer.close();
    rmSync(directory, { recursive: true });
  }
}
