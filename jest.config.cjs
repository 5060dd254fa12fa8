'use strict';

/** @type {import('jest').Config} */
module.exports = {
  roots: ['<rootDir>/__test__/jest'],
  testMatch: ['**/*.test.cjs'],
  testEnvironment: 'node',
  // The sources run as they are: a transform would hide what users' Jest meets.
  transform: {},
};
