'use strict';
// Arguments that each method of the stores takes, for tests that call them all.

/** @type {Record<string, unknown[]>} */
const own = {
  setWithTags: ['name', 'value', 60, ['tag']],
  invalidateByTags: [['tag']],
  listEntries: [],
  listJobs: [],
  setCooldown: ['name', 1],
  // Refused, so that nothing is written.
  backup: ['/'],
  entries: [],
};

/** @param {string} method @returns {unknown[]} */
function argumentsOf(method) {
  const takesPriority = /canProceed|acquire|record|getWaitTime/.test(method);
  return own[method] ?? ['name', takesPriority ? 'user' : 'value', 60];
}

module.exports = { argumentsOf };
