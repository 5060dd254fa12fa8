/**
 * Makes the working copy ready to run: installs the development dependencies and builds the addon, each only if it is
 * missing or outdated. Runs before `npm test`, `npm run demo` and `npm run bench`, so it may be the first command on a
 * fresh clone and uses nothing but what comes with Node.
 */

import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { install, npm } from './npm.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const lib = join(root, 'lib');

const SOURCES = ['src', 'Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo', 'rust-toolchain.toml'];

/**
 * @param {string} path
 * @returns {number} when the file was last changed, for a directory the newest in it; 0 if there is none
 */
function changed(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  // The directory's own time counts too: it is what a deleted file changes.
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => changed(join(path, name))));
}

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
const built = existsSync(join(lib, 'binding.js')) ? changed(binary) : 0;
if (built < Math.max(...SOURCES.map((name) => changed(join(root, name))))) {
  const start = new Date();
  npm(root, built ? 'sources are newer than the addon' : 'the addon is not built', 'run', 'build');
  if (!existsSync(binary)) {
    console.error(`prepare: the build left no ${binary}`);
    process.exit(1);
  }
  // As old as the start of the build: what is edited during it is newer.
  utimesSync(binary, start, start);
}
