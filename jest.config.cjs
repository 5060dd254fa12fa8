'use strict';

/** @type {import('jest').Config} */
module.exports = {
  roots: ['<rootDir>/__test__/jest'],
  testMatch: ['**/*.test.cjs'],
  testEnvironment: 'node',
  verbose: false,
  // The sources run as they are: a transform would hide what users' Jest meets.
  transform: {},
  // The tests take what they need from @jest/globals, which is typed; the injected `jest` would clash with it.
  injectGlobals: false,
};
