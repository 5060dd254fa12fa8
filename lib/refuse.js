'use strict';

// How arguments are refused.

const { describe } = require('./binding.js');

/** @param {string} name @param {string} expected @param {unknown} value @returns {never} */
module.exports = function refuse(name, expected, value) {
  throw new TypeError(`${name} must be ${expected}, got ${describe(value)}`);
};
