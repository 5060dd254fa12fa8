'use strict';

/** Values and what comes back for them: `[name, value, expected]`; `expected` defaults to the value itself. */
const values = [
  ['undefined', undefined],
  ['null', null],
  ['true', true],
  ['false', false],
  ['zero', 0],
  ['minus zero', -0, 0],
  ['the largest safe integer', Number.MAX_SAFE_INTEGER],
  ['a tiny fraction', 5e-324],
  ['NaN', Number.NaN, null],
  ['Infinity', Number.POSITIVE_INFINITY, null],
  ['the empty string', ''],
  ['a string of every escape', '"\\/\b\f\n\r\t\0\u001f\u2028\u2029'],
  ['unicode', 'Ærøskøbing – 東京 – \u{1F9B8}\u200D\u2640\uFE0F'],
  ['a lone high surrogate', 'a\ud800b'],
  ['a lone low surrogate', '\udfff'],
  ['the marker of undefined as a string', '__UNDEFINED__'],
  ['the marker of null as a string', '__NULL__'],
  ['JSON text as a string', '{"a":1}'],
  ['a big string', 'x'.repeat(300_000)],
  ['an empty object', {}],
  ['an empty array', []],
  ['nested values', { a: [1, { b: [null, { c: 'd' }] }], e: { f: {} } }],
  ['a deep array', JSON.parse('['.repeat(500) + ']'.repeat(500))],
  [
    'undefined members',
    { a: undefined, b: [undefined], c: () => 1, d: Symbol('s') },
    { b: [null] },
  ],
  ['NaN members', { a: Number.NaN }, { a: null }],
  ['a sparse array', new Array(3), [null, null, null]],
  ['a date', new Date(0), '1970-01-01T00:00:00.000Z'],
  ['an object with toJSON', { toJSON: () => ({ replaced: true }) }, { replaced: true }],
  ['a map', new Map([['a', 1]]), {}],
  ['a typed array', new Uint8Array([1, 2]), { 0: 1, 1: 2 }],
  ['a boxed string', Object('boxed'), 'boxed'],
  ['a __proto__ member', JSON.parse('{"__proto__":{"a":1}}')],
  ['keys in their order', { b: 1, a: 2, 1: 3 }],
].map(([name, value, ...expected]) => ({
  name: /** @type {string} */ (name),
  value: /** @type {any} */ (value),
  expected: /** @type {any} */ (expected.length > 0 ? expected[0] : value),
}));

/** @type {any} */
const circular = {};
circular.self = circular;

/** Values that cannot be serialized and the reason given after `Failed to serialize …: `. */
const unserializable = [
  { name: 'a circular value', value: circular, reason: 'Converting circular structure to JSON' },
  { name: 'a BigInt', value: 1n, reason: 'Do not know how to serialize a BigInt' },
  { name: 'a nested BigInt', value: { a: [2n] }, reason: 'Do not know how to serialize a BigInt' },
  {
    name: 'a toJSON that throws an error',
    value: {
      toJSON() {
        throw new RangeError('no JSON today');
      },
    },
    reason: 'no JSON today',
  },
  {
    name: 'a toJSON that throws a string',
    value: {
      toJSON() {
        throw 'not an error';
      },
    },
    reason: 'not an error',
  },
];

/** Values for which JSON has no text at all. */
const textless = [
  { name: 'a function', value: () => 1 },
  { name: 'a symbol', value: Symbol('s') },
  { name: 'a toJSON that returns undefined', value: { toJSON: () => undefined } },
];

/** What is not a string. */
/** What is no name of anything: lone surrogates would make several names one. */
const notNames = [
  undefined,
  null,
  0,
  Number.NaN,
  true,
  1n,
  Symbol('s'),
  {},
  ['a'],
  () => 'a',
  'a\ud800',
  '\udfff',
  `${'é'.repeat(200)}\ud800`,
];

module.exports = { values, unserializable, textless, notNames };
