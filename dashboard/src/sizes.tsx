// How large and how old the entries are.

import { useMemo } from 'preact/hooks';
import uPlot from 'uplot';
import type { Sizes } from './answers.ts';
import { FONT, Plot } from './plot.tsx';
import { useData } from './server.ts';
import { colour } from './theme.tsx';
import { bytes, count, counted, span } from './words.ts';

interface Column {
  name: string;
  title: string;
  entries: number;
}

function Histogram({ title, columns }: { title: string; columns: Column[] }) {
  const data = useMemo<uPlot.AlignedData>(
    () => [columns.map((_, index) => index), columns.map(({ entries }) => entries)],
    [columns],
  );
  const most = columns.reduce<Column | undefined>(
    (best, column) => (best && best.entries >= column.entries ? best : column),
    undefined,
  );
  const label = most
    ? `${title}. Most: ${most.title}, ${counted(most.entries, 'entry', 'entries')}`
    : `${title}: none`;
  return (
    <figure class="histogram">
      <figcaption>{title}</figcaption>
      <Plot
        label={label}
        height={112}
        data={data}
        options={() => ({
          legend: { show: false },
          cursor: { show: false },
          padding: [8, 8, 0, 0],
          scales: {
            x: { time: false, range: () => [-0.6, Math.max(0, columns.length - 1) + 0.6] },
            y: { range: (_, __, highest) => [0, Math.max(1, highest * 1.1)] },
          },
          axes: [
            {
              font: FONT,
              stroke: colour('muted'),
              size: 24,
              gap: 4,
              grid: { show: false },
              ticks: { show: false },
              splits: () => columns.map((_, index) => index),
              values: (plot, splits) => {
                // As many names as fit.
                const every = Math.ceil((columns.length * 52) / Math.max(1, plot.width - 40));
                return splits.map((index) => (index % every === 0 ? columns[index].name : ''));
              },
            },
            {
              font: FONT,
              stroke: colour('muted'),
              size: 48,
              gap: 4,
              space: 28,
              incrs: [1, 2, 5]
                .flatMap((step) => Array.from({ length: 8 }, (_, power) => step * 10 ** power))
                .sort((one, other) => one - other),
              grid: { stroke: colour('grid'), width: 1 },
              ticks: { show: false },
              values: (_, splits) => splits.map((split) => count(split)),
            },
          ],
          series: [
            {},
            {
              fill: colour('plot'),
              width: 0,
              points: { show: false },
              paths: uPlot.paths.bars?.({ size: [0.86, 64] }),
            },
          ],
        })}
      />
    </figure>
  );
}

export function SizesAndAges() {
  const { data } = useData<Sizes>('sizes', {});
  const columns = useMemo(
    () => ({
      bySize: (data?.bySize ?? []).map(({ from, to, entries }) => ({
        name: to === null ? `≥${bytes(from)}` : `<${bytes(to)}`,
        title: to === null ? `${bytes(from)} and more` : `${bytes(from)} to ${bytes(to)}`,
        entries,
      })),
      byAge: (data?.byAge ?? []).map(({ from, to, entries }) => ({
        name: to === null ? `≥${span(from)}` : `<${span(to)}`,
        title: to === null ? `${span(from)} and more` : `${span(from)} to ${span(to)}`,
        entries,
      })),
    }),
    [data],
  );
  if (data?.bySize.length === 0) return null;
  if (data === undefined) {
    // So that nothing moves when they come.
    return (
      <div class="histograms">
        <div class="histogram" />
        <div class="histogram" />
      </div>
    );
  }
  return (
    <div class="histograms">
      <Histogram title="Entries by size" columns={columns.bySize} />
      <Histogram title="Entries by age" columns={columns.byAge} />
    </div>
  );
}
