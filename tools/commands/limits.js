'use strict';

const { UsageError, nearest } = require('../command.js');
const { limits, openFile } = require('../inspection/index.js');
const { printable } = require('../inspection/values.js');
const { shorten, pad, width, wrap } = require('../terminal/screen.js');
const { clock, count, span } = require('../terminal/words.js');

/** How many columns a bar has at most, and at least: otherwise there is none. */
const BAR = { most: 24, least: 6 };

/** How many columns are the least for a name beside what is left: otherwise it has a line of its own. */
const NAME = 8;

/** @param {import('../inspection/limits.js').Limit} limit @param {number} now */
function next({ nextFreeAt, cooldownUntil }, now) {
  if (cooldownUntil !== null && cooldownUntil > nextFreeAt)
    return `cooldown, ${clock(cooldownUntil - now)}`;
  return nextFreeAt > now ? `in ${clock(nextFreeAt - now)}` : 'now';
}

/** Who has used it. @param {import('../inspection/limits.js').Limit} limit */
function use({ windowMs, used, reserved, users, background, minIntervalMs }) {
  const parts = [`${count(used)} used within ${span(windowMs)}`];
  if (reserved > 0) parts.push(`${count(reserved)} reserved`);
  if (users && background) {
    parts.push(`users ${count(users.used)} of ${count(users.share)}`);
    const paused = background.isPaused ? ', paused' : '';
    parts.push(`background ${count(background.used)} of ${count(background.share)}${paused}`);
  }
  if (minIntervalMs > 0) parts.push(`${span(minIntervalMs)} apart`);
  return parts.join(', ');
}

/** What is said where a request may be made at once. */
const FREE = 'next now';

/** What is said of a limit that leaves this part of it. @param {number} part @returns {'green' | 'yellow' | 'red'} */
function colour(part) {
  if (part <= 0) return 'red';
  return part < 0.25 ? 'yellow' : 'green';
}

/**
 * The lines of some limits: name, bar, what is left and when, and below who has used it and why.
 * @param {import('../inspection/limits.js').Limit[]} found
 * @param {import('../terminal/screen.js').ScreenType} screen @param {number} now
 */
function draw(found, screen, now) {
  const texts = found.map((limit) => ({
    limit,
    name: printable(limit.resource),
    left: `${count(limit.remaining)} of ${count(limit.limit)} left`,
    next: `next ${next(limit, now)}`,
  }));
  const widest = (/** @type {string[]} */ all) => Math.max(0, ...all.map(width));
  const [left, after] = [
    widest(texts.map((text) => text.left)),
    widest(texts.map((text) => text.next)),
  ];
  const room = screen.columns - left - after - 4;
  const longest = widest(texts.map(({ name }) => name));
  const names = Math.min(longest, 32, room);
  const isNarrow = room < Math.min(longest, NAME);
  const bar = Math.min(BAR.most, room - names - 2);
  return texts.flatMap(({ limit, name, ...text }) => {
    const part = limit.limit > 0 ? limit.remaining / limit.limit : 0;
    const style = colour(Number.isNaN(part) ? 1 : part);
    const nextStyle = text.next === FREE ? 'green' : style === 'red' ? 'red' : 'yellow';
    const more = [use(limit), limit.reason ?? ''].filter(Boolean);
    const below = more.map((line) =>
      screen.style(shorten(`  ${printable(line)}`, screen.columns), 'dim'),
    );
    if (isNarrow) {
      return [
        screen.style(shorten(name, screen.columns), 'bold'),
        screen.style(shorten(`  ${text.left}, ${text.next}`, screen.columns), nextStyle),
        ...below,
      ];
    }
    const first = [screen.style(pad(shorten(name, names), names), 'bold')];
    if (bar >= BAR.least) first.push(screen.bar(Number.isNaN(part) ? 1 : part, bar, style));
    first.push(pad(text.left, left, 'right'), screen.style(text.next, nextStyle));
    return [first.join('  '), ...below];
  });
}

/** Where settings are from, if not from the file. */
const SOURCES = {
  file: '',
  arguments: 'The limits are those given: the file has none.',
  default:
    'The limits are taken to be 200 an hour: the file has none. Say --limit and --window where they are others.',
};

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'limits',
  does: 'tells what is left of each limit, when the next request may be made, and who has used it',
  takes: ['[RESOURCE]'],
  options: {
    limit: {
      type: 'number',
      value: 'N',
      does: 'requests in a window, where the file does not say it',
    },
    window: { type: 'span', value: 'SPAN', does: 'the length of the window: 1h, 90s, or ms' },
  },
  examples: ['limits cache.db', 'limits cache.db issues', 'limits old.db --limit 200 --window 1h'],
  more: `A store of this version writes its limits into the file when it records a request. "users" and "background" are the
shares of a SqliteAdaptiveRateLimitStore, with the reason why the limit is divided so.`,
  run({ path, rest: [resource], options, screen, now }) {
    const all = limits(openFile(path), { now, limit: options.limit, windowMs: options.window });
    const found = resource === undefined ? all : all.filter((limit) => limit.resource === resource);
    if (resource !== undefined && found.length === 0) {
      const names = all.map((limit) => limit.resource);
      throw new UsageError(`The file has no resource '${resource}'.${nearest(resource, names)}`);
    }
    const notes = Object.entries(SOURCES)
      .filter(([from, note]) => note && found.some(({ settingsFrom }) => settingsFrom === from))
      .flatMap(([, note]) => wrap(note, screen.columns));
    const lines = found.length > 0 ? draw(found, screen, now) : ['No requests are recorded.'];
    return { json: found, lines: [...lines, ...notes] };
  },
};
