// The requests of a window: one mark each, users and background work apart; where there are too many, how many at a time.

import { useMemo } from 'preact/hooks';
import type uPlot from 'uplot';
import type { Limit, Mark, Part, Timeline as Requests } from './answers.ts';
import { FONT, Plot } from './plot.tsx';
import { useData } from './server.ts';
import { colour } from './theme.tsx';
import { count, counted, timeOfDay, windowName } from './words.ts';

/** The lanes of a kind of limiter, from the top. */
const LANES = {
  adaptive: ['user', 'background'],
  'rate-limit': ['all'],
} as const;

const laneOf = ({ priority }: Mark, kind: Limit['kind']) =>
  kind === 'rate-limit' || priority === 'user' ? 0 : 1;

const colourOf = (lane: number, kind: Limit['kind']) =>
  colour(kind === 'rate-limit' || lane === 0 ? 'user' : 'background');

function drawMarks(plot: uPlot, marks: Mark[], kind: Limit['kind']) {
  const { ctx, bbox } = plot;
  const height = bbox.height / LANES[kind].length;
  const width = Math.max(1, Math.round(1.5 * devicePixelRatio));
  for (const mark of marks) {
    const lane = laneOf(mark, kind);
    const x = Math.round(plot.valToPos(mark.at / 1_000, 'x', true) - width / 2);
    const top = bbox.top + lane * height + height * 0.18;
    ctx.fillStyle = colourOf(lane, kind);
    if (mark.kind === 'recorded') ctx.fillRect(x, top, width, height * 0.64);
    // A place that is kept, not a request yet.
    else ctx.fillRect(x, top + height * 0.42, width, height * 0.22);
  }
}

function drawParts(plot: uPlot, parts: Part[], until: number, kind: Limit['kind']) {
  const { ctx, bbox } = plot;
  const height = bbox.height / LANES[kind].length;
  const counts = (part: Part) =>
    kind === 'rate-limit'
      ? [part.user + part.background + part.other + part.reserved]
      : [part.user, part.background + part.other + part.reserved];
  const most = parts.reduce((all, part) => Math.max(all, ...counts(part)), 1);
  parts.forEach((part, index) => {
    const left = plot.valToPos(part.from / 1_000, 'x', true);
    const right = plot.valToPos((parts[index + 1]?.from ?? until) / 1_000, 'x', true);
    counts(part).forEach((number, lane) => {
      if (number === 0) return;
      const tall = Math.max(1, (number / most) * height * 0.8);
      ctx.fillStyle = colourOf(lane, kind);
      ctx.fillRect(left, bbox.top + (lane + 0.9) * height - tall, Math.max(1, right - left), tall);
    });
  });
}

function draw(plot: uPlot, requests: Requests, kind: Limit['kind']) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = colour('line');
  LANES[kind].forEach((_, lane) => {
    const y = bbox.top + ((lane + 1) * bbox.height) / LANES[kind].length;
    ctx.fillRect(
      bbox.left,
      Math.round(y - devicePixelRatio),
      bbox.width,
      Math.max(1, devicePixelRatio),
    );
  });
  if (requests.marks) drawMarks(plot, requests.marks, kind);
  if (requests.parts) drawParts(plot, requests.parts, requests.now, kind);
  ctx.restore();
}

function labelOf({ marks, total }: Requests, { windowMs, kind }: Limit): string {
  const all = `${counted(total, 'request')} in the last ${windowName(windowMs)}`;
  if (!marks || kind === 'rate-limit') return all;
  const users = marks.filter(({ priority }) => priority === 'user').length;
  return `${all}: ${count(users)} for users, ${count(total - users)} in the background`;
}

export function Timeline({ limit, now }: { limit: Limit; now: number }) {
  const { resource, windowMs, kind } = limit;
  const lanes = LANES[kind];
  // Read anew with each answer about the limits: they come with changes, and when something is due.
  const { data } = useData<Requests>(
    'timeline',
    { resource, since: Math.max(0, now - windowMs) },
    { isLive: false },
  );
  const points = useMemo<uPlot.AlignedData>(
    () => [
      [(data?.since ?? 0) / 1_000, (data?.now ?? 0) / 1_000],
      [null, null],
    ],
    [data],
  );
  const height = 28 + lanes.length * 26;
  if (data === undefined) return <div class="plot" style={{ height: `${height}px` }} />;
  return (
    <figure class="timeline">
      {kind === 'adaptive' && (
        <div class="lanes" aria-hidden="true">
          <span>users</span>
          <span>background</span>
        </div>
      )}
      <Plot
        label={labelOf(data, limit)}
        height={height}
        data={points}
        options={() => ({
          legend: { show: false },
          cursor: { show: false },
          padding: [0, 14, 0, 0],
          scales: {
            x: { range: () => [data.since / 1_000, data.now / 1_000] },
            y: { range: [0, 1] },
          },
          axes: [
            {
              font: FONT,
              stroke: colour('muted'),
              size: 24,
              gap: 4,
              grid: { stroke: colour('grid'), width: 1 },
              ticks: { show: false },
              values: (_, times) => times.map((time) => timeOfDay(time * 1_000)),
            },
            { show: false },
          ],
          series: [{}, { show: false }],
          hooks: { draw: [(plot) => draw(plot, data, kind)] },
        })}
      />
    </figure>
  );
}
