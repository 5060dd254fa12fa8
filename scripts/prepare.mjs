/**
 * Makes the working copy ready to run: installs the development dependencies and builds the addon, each only if it is
 * missing or outdated. Runs before `npm test`, `npm run demo` and `npm run bench`, so it may be the first command on a
 * fresh clone and uses nothing but what comes with Node.
 */

import { existsSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install, npm } from './npm.mjs';
import { changed, sourcesChanged } from './sources.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const lib = join(root, 'lib');

/** The binary that this platform loads. */
function binaryPath() {
  const { platform, arch } = process;
  let abi = '';
  if (platform === 'win32') abi = '-msvc';
  if (platform === 'linux') {
    const report = /** @type {any} */ (process.report);
    report.excludeNetwork = true;
    abi = report.getReport().header.glibcVersionRuntime ? '-gnu' : '-musl';
  }
  return join(lib, `sqlite-store.${platform}-${arch}${abi}.node`);
}

const [major] = process.versions.node.split('.').map(Number);
if (major < 20) {
  console.error(`prepare: Node 20 or newer is needed, this is ${process.version}`);
  process.exit(1);
}

install(root, '--include=dev');

const binary = binaryPath();
const built = changed(binary);
if (built < sourcesChanged(root)) {
  const start = new Date();
  npm(root, built ? 'sources are newer than the addon' : 'the addon is not built', 'run', 'build');
  if (!existsSync(binary)) {
    console.error(`prepare: the build left no ${binary}`);
    process.exit(1);
  }
  // As old as the start of the build: what is edited during it is newer.
  utimesSync(binary, start, start);
}
