'use strict';

// Numbers and times as people read them, and as they write them.

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** @param {number} number @returns {string} */
function count(number) {
  if (!Number.isFinite(number)) return 'unlimited';
  return String(Math.round(number * 100) / 100).replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ',');
}

/** A number of things: `1 entry`, `2 entries`. @param {number} number @param {string} one @param {string} [many] */
function things(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** @param {number} number @returns {string} */
function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [value, unit] = [number, 0];
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A span in one unit, of which it has two or more, or a whole number: `42 s`, `1 h`, `90 min`, `2 d`. @param {number} ms */
function span(ms) {
  for (const [unit, size] of /** @type {const} */ ([
    ['d', DAY],
    ['h', HOUR],
    ['min', MINUTE],
    ['s', SECOND],
  ])) {
    const number = ms / size;
    if (Math.abs(number) >= 2 || (number !== 0 && Number.isInteger(number)))
      return `${Math.round(number)} ${unit}`;
  }
  return ms >= SECOND ? '1 s' : `${Math.round(ms)} ms`;
}

/** A span as a clock shows it: `0:42`, `1:02:03`. @param {number} ms */
function clock(ms) {
  const seconds = Math.max(0, Math.ceil(ms / SECOND));
  const two = (/** @type {number} */ number) => String(number).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor((seconds % 3_600) / 60)];
  const rest = two(seconds % 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** @param {number} ms  since 1970 @returns {string} in UTC, to the second */
function time(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : `${date.toISOString().slice(0, 19)}Z`;
}

const UNITS = { ms: 1, s: SECOND, min: MINUTE, m: MINUTE, h: HOUR, d: DAY };

/** What was written as a span: `90s`, `1h`, `500` in ms. @param {string} text @returns {number | undefined} in ms */
function parseSpan(text) {
  const parts = /^(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)?$/.exec(text.trim());
  return parts
    ? Number(parts[1]) * UNITS[/** @type {keyof typeof UNITS} */ (parts[2] ?? 'ms')]
    : undefined;
}

module.exports = { bytes, clock, count, parseSpan, span, things, time };
