// Numbers and times, in words.

const number = new Intl.NumberFormat('en');
const one = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en', {
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});
const precise = new Intl.DateTimeFormat('en', {
  year: 'numeric',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

export const count = (value: number) => number.format(value);

/** `1 entry`, `2 entries`. */
export const counted = (value: number, single: string, several = `${single}s`) =>
  `${count(value)} ${value === 1 ? single : several}`;

export const timeOfDay = (at: number) => clock.format(at);
export const dateOf = (at: number) => precise.format(at);

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let scaled = value;
  while (scaled >= 1_023.5 && unit < units.length - 1) {
    scaled /= 1_024;
    unit++;
  }
  return `${scaled < 10 ? one.format(scaled) : count(Math.round(scaled))} ${units[unit]}`;
}

const SPANS: [number, string][] = [
  [86_400_000 * 365, 'y'],
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** How long, roughly: `3 min`. */
export function span(ms: number): string {
  for (const [length, unit] of SPANS) {
    if (ms >= length) return `${count(Math.floor(ms / length))} ${unit}`;
  }
  return '0 s';
}

/** What a window is called: `hour`, `15 min`. */
export function windowName(ms: number): string {
  const names: Record<number, string> = {
    1000: 'second',
    60000: 'minute',
    3600000: 'hour',
    86400000: 'day',
  };
  return names[ms] ?? span(ms);
}

/** How long until then, counted down: `0:42`, `1:04:10`. */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  if (hours >= 48) return span(ms);
  const rest = two(seconds % 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** Text from a file, safe to show in a line: no control characters and none that turn the direction. */
export const plain = (text: string) =>
  text.replace(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');

export const shortKey = (key: string) => {
  const text = plain(key);
  return text.length > 24 ? `${text.slice(0, 12)}…${text.slice(-4)}` : text;
};
