'use strict';

// What a process does that the dashboard starts: it reads the file, or changes it once. The server itself never opens the
// file. A system forgets a process's locks on a file with the first handle that is closed, so that reading beside a store in
// one process would take the store's; and a read that is under way cannot be ended, but its process can.

const { rmSync } = require('node:fs');
const { openFile } = require('../inspection/file.js');
const inspection = require('../inspection/index.js');

/** A value's text of more characters than that is cut: a browser would not show it. */
const LONGEST_TEXT = 16 * 1024 * 1024;

/**
 * The requests of a window: each of them, or how many there were in each part of it where they are too many to be told apart.
 * @param {any} file @param {{ resource: string, since: number, marks: number, parts: number }} wanted @param {number} now
 */
function timeline(file, { resource, since, marks, parts }, now) {
  const all = inspection.timeline(file, resource, { since, now });
  const answer = { since, now, total: all.length };
  if (all.length <= marks) return { ...answer, marks: all };
  const width = Math.max(1, (now - since) / parts);
  const counts = Array.from({ length: parts }, (_, index) => ({
    from: since + index * width,
    user: 0,
    background: 0,
    other: 0,
    reserved: 0,
  }));
  for (const { at, priority, kind } of all) {
    const part = counts[Math.max(0, Math.min(parts - 1, Math.floor((at - since) / width)))];
    part[kind === 'reserved' ? 'reserved' : (priority ?? 'other')]++;
  }
  return { ...answer, parts: counts };
}

/**
 * The limits, and when the oldest request of each leaves its window: whoever shows them need not ask before.
 * @param {any} file @param {object} wanted @param {number} now
 */
function limits(file, wanted, now) {
  const all = inspection.limits(file, { ...wanted, now });
  const oldest = (/** @type {{ resource: string, windowMs: number }} */ { resource, windowMs }) =>
    file.get(
      'SELECT min(timestamp) AS at FROM rate_limits WHERE resource = ? AND timestamp >= ?',
      resource,
      now - windowMs,
    )?.at ?? null;
  return {
    now,
    limits: all.map((/** @type {any} */ limit) => {
      const at = oldest(limit);
      return { ...limit, changesAt: at === null ? null : at + limit.windowMs + 1 };
    }),
  };
}

/** @param {any} file @param {string} key @param {number} now */
function entry(file, key, now) {
  const found = inspection.entry(file, key, { now });
  if (found === undefined) return null;
  const isCut = found.text.length > LONGEST_TEXT;
  return { ...found, text: isCut ? found.text.slice(0, LONGEST_TEXT) : found.text, isCut };
}

/** What can be read, by name. @type {Record<string, (file: any, wanted: any, now: number) => unknown>} */
const reads = {
  version: (file) => file.version(),
  stats: (file, _, now) => ({ now, ...inspection.stats(file, now) }),
  limits,
  timeline,
  entries: (file, wanted, now) => ({ now, ...inspection.entries(file, { ...wanted, now }) }),
  entry: (file, { key }, now) => ({ now, entry: entry(file, key, now) }),
  tags: (file, wanted) => ({ tags: inspection.tags(file, wanted) }),
  sizes: (file, _, now) => ({ now, ...inspection.sizes(file, { now }) }),
  jobs: (file, _, now) => ({ now, jobs: inspection.jobs(file) }),
  doctor: (file, _, now) => ({ now, ...inspection.doctor(file, { now }) }),
  count: (file, selection, now) => ({ count: inspection.count(file, selection, now) }),
};

/** What looks at the files, too, and begins to read by itself. */
const OF_FILES = ['version', 'doctor'];

/** @param {string} path @param {string} name @param {any} wanted */
async function answer(path, name, wanted) {
  const now = Date.now();
  if (name === 'purge') {
    return { removed: await require('../changes.js').purge(path, wanted, { now }) };
  }
  const file = openFile(path);
  const read = () => reads[name](file, wanted, now);
  return OF_FILES.includes(name) ? read() : file.snapshot(read);
}

/** @param {{ id: number, path: string, name: string, wanted: unknown }} question */
async function reply({ id, path, name, wanted }) {
  /** @type {{ id: number, json?: string, error?: { code: string, message: string } }} */
  const message = { id };
  try {
    // As text, which the server only passes on.
    message.json = JSON.stringify(await answer(path, name, wanted));
  } catch (error) {
    message.error = { code: String(error?.code ?? ''), message: String(error?.message ?? error) };
  }
  process.send?.(message);
}

// A signal from the keyboard goes to all processes of a terminal: the server says when these end.
process.on('SIGINT', () => {});
// The server has ended, perhaps without a word: what it gave for copies goes, too.
process.on('disconnect', () => {
  rmSync(process.argv[2], { recursive: true, force: true });
  process.exit();
});
process.on('message', reply);
