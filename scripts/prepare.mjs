/**
 * Makes the working copy ready to run: installs the development dependencies, builds the addon and the dashboard's
 * page, each only if it is missing or outdated. Runs before `npm test`, `npm run demo` and `npm run bench`, so it may be the first command on a
 * fresh clone and uses nothing but what comes with Node.
 *
 *   node scripts/prepare.mjs        for all of it
 *   node scripts/prepare.mjs demo   for the demo: of packages only the client, for compiling drivers takes minutes
 *   node scripts/prepare.mjs cluster   the same, and a server with its client
 */

import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.mjs';
import { buildDashboard } from './dashboard.mjs';
import { install, isInstalled } from './npm.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  console.error(`prepare: Node 20 or newer is needed, this is ${process.version}`);
  process.exit(1);
}

const [, , part] = process.argv;
const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
if (part === 'cluster') install(join(root, '__test__/servers'), ...quietly);
if (part !== 'demo' && part !== 'cluster') {
  install(root, '--include=dev');
} else if (!isInstalled(root)) {
  const packages = join(root, 'examples/packages');
  install(packages, ...quietly);
  try {
    // Where Node looks for them from examples/demo, which has to be within this package to name it.
    symlinkSync(join(packages, 'node_modules'), join(root, 'examples/node_modules'), 'junction');
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
}
build();
// Of the packages that the demo installs, none builds it.
if (isInstalled(root)) buildDashboard();
