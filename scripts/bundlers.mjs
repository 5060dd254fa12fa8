/**
 * Installs the bundlers of __test__/94-bundlers.test.mjs, if they are missing.
 *
 *   node scripts/bundlers.mjs       those of `npm test`: Next.js and esbuild
 *   node scripts/bundlers.mjs all   those of .ci/long too
 */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install } from './npm.mjs';

const folder = fileURLToPath(new URL('../__test__/bundlers', import.meta.url));
const folders = process.argv[2] === 'all' ? [folder, join(folder, 'more')] : [folder];
for (const each of folders)
  install(each, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error');
