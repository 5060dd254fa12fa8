// The contract suites under Vitest: ours on a path and in memory, and 0.2.0 where it is right.
import { createRequire } from 'node:module';
import { describe } from 'vitest';
import { ours, reference } from './support/packages.mjs';
import { runner } from './support/vitest.mjs';

const require = createRequire(import.meta.url);
const { createHarness } = require('./support/harness.cjs');
const { contracts } = require('./suites/index.cjs');

for (const [name, contract] of Object.entries(contracts)) {
  for (const database of /** @type {const} */ (['path', ':memory:'])) {
    for (const [version, stores] of Object.entries({ ours, '0.2.0': reference })) {
      if (!stores) continue;
      describe(`${name}, ${version}, ${database}`, () => {
        contract(
          createHarness(runner, { Store: stores[name], database, reference: stores === reference }),
        );
      });
    }
  }
}
