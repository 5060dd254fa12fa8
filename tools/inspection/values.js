'use strict';

// Values as they lie in a file (docs/schema.md, "Values"), and what they are called for people: keys are hashes.

/** How much of a value is read for its label, in bytes. */
const LABEL_BYTES = 16 * 1024;

/** How many characters a label has at most. */
const LABEL_LENGTH = 60;

/**
 * The JSON text of a stored value: a column has a JSON string of it, or the text itself.
 * @param {Uint8Array | string | number | null} stored
 * @returns {{ text: string, problem: string | null }}  why no store could read it
 */
function decode(stored) {
  if (stored === null || typeof stored === 'number')
    return { text: String(stored), problem: 'The value is no text' };
  const outer = typeof stored === 'string' ? stored : Buffer.from(stored).toString();
  try {
    const inner = JSON.parse(outer);
    if (typeof inner !== 'string') return { text: outer, problem: null };
    if (inner === '__UNDEFINED__' || inner === '__NULL__') return { text: inner, problem: null };
    JSON.parse(inner);
    return { text: inner, problem: null };
  } catch (error) {
    return { text: outer, problem: `The value is no JSON: ${error.message}` };
  }
}

/** What moves a cursor or hides what follows. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** What is shown of a text of anybody's: on one line, and harmless. @param {string} text */
function printable(text) {
  return text.replace(UNPRINTABLE, '\u{fffd}');
}

/** A JSON text in which such characters are escaped: only lines' ends stay, which are between values. @param {string} text */
function printableJson(text) {
  const escaped = (/** @type {string} */ unit) =>
    `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return text.replace(UNPRINTABLE, (character) =>
    character === '\n' ? character : character.split('').map(escaped).join(''),
  );
}

/**
 * What a response is called, by what the ComicVine API has in it: the name of what it is about, or its status.
 * @param {any} value
 */
function nameOf(value) {
  if (typeof value !== 'object' || value === null) return '';
  const { status_code: status, error, results } = value;
  if (typeof status === 'number' && status !== 1) return `status ${status}: ${error ?? ''}`;
  if (Array.isArray(results)) {
    const [first] = results;
    const type = first?.resource_type ?? '';
    const count = `${results.length} ${type ? `${type} ` : ''}${results.length === 1 ? 'result' : 'results'}`;
    return nameOfThing(first) ? `${count}: ${nameOfThing(first)}` : count;
  }
  return nameOfThing(results ?? value);
}

/** @param {any} thing */
function nameOfThing(thing) {
  if (typeof thing !== 'object' || thing === null) return '';
  const { name, title, api_detail_url: url, resource_type: type } = thing;
  for (const text of [name, title, url, type]) if (typeof text === 'string' && text) return text;
  return '';
}

/** What the beginning of a text says that is too long to be parsed. @param {string} text */
function nameInBeginning(text) {
  const string = /"(?:name|title|api_detail_url|resource_type)"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(
    text,
  )?.[1];
  try {
    return string === undefined ? '' : String(JSON.parse(string));
  } catch {
    return '';
  }
}

/**
 * A label of a value, given the first bytes of what is stored and how many there are.
 * @param {Uint8Array | string | number | null} beginning @param {number} bytes
 */
function label(beginning, bytes) {
  let name = '';
  if (bytes <= LABEL_BYTES) {
    const { text, problem } = decode(beginning);
    if (!problem && text.startsWith('{')) name = nameOf(JSON.parse(text));
  } else if (beginning !== null && typeof beginning !== 'number') {
    const text = typeof beginning === 'string' ? beginning : Buffer.from(beginning).toString();
    name = nameInBeginning(text.startsWith('"') ? text.replace(/\\(["\\])/g, '$1') : text);
  }
  const characters = [...printable(name)];
  return characters.length > LABEL_LENGTH
    ? `${characters.slice(0, LABEL_LENGTH - 1).join('')}…`
    : characters.join('');
}

module.exports = { LABEL_BYTES, decode, label, printable, printableJson };
