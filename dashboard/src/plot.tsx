// A plot, as wide as there is room, drawn again when its data or the colours change.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useTheme } from './theme.tsx';

export const FONT = '11px system-ui, sans-serif';

export function Plot({
  label,
  height,
  data,
  options,
}: {
  /** What it shows, for those who do not see it. */
  label: string;
  height: number;
  data: uPlot.AlignedData;
  /** Asked anew for each theme. */
  options: () => Omit<uPlot.Options, 'width' | 'height'>;
}) {
  const place = useRef<HTMLDivElement>(null);
  const theme = useTheme();

  // The options follow from the theme and the data.
  useEffect(() => {
    const element = place.current as HTMLDivElement;
    const width = () => Math.max(120, element.clientWidth);
    const plot = new uPlot({ ...options(), width: width(), height }, data, element);
    // Not at once: a change of size within the observer's own turn is an error.
    let frame = 0;
    const observer = new ResizeObserver(() => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        if (plot.width !== width()) plot.setSize({ width: width(), height });
      });
    });
    observer.observe(element);
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
      plot.destroy();
    };
  }, [theme, data, height]);

  return (
    <div ref={place} class="plot" role="img" aria-label={label} style={{ height: `${height}px` }} />
  );
}
