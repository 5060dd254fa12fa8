/**
 * npm run build: builds the addon for this machine into lib/, with nothing but what comes with Node and Rust, and the
 * dashboard's page, with what is installed.
 *
 *   npm run build -- --target <triple> …   for a platform, with `napi build`, which can compile for others, and its options
 */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildLibrary, environment } from './cargo.mjs';
import { buildDashboard } from './dashboard.mjs';
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

/** Builds the addon if it is missing or outdated. @param {boolean} [always] */
export function build(always) {
  const binary = binaryPath();
  const built = changed(binary);
  if (!always && built >= sourcesChanged(root)) return;
  const why = built ? 'sources are newer than the addon' : 'the addon is not built';
  buildLibrary(always ? 'build' : why, binary, ['--release'], environment());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = process.argv.slice(2);
  if (options.length === 0) {
    build(true);
    buildDashboard(true);
  } else {
    const napi = join(root, 'node_modules/@napi-rs/cli/dist/cli.js');
    const args = ['build', '--platform', '--release', '--output-dir', 'lib', '--no-js'];
    const { status } = spawnSync(
      process.execPath,
      [napi, ...args, '--dts', '../target/binding.d.ts', ...options, '--', '--locked'],
      { cwd: root, env: environment(), stdio: ['ignore', 'inherit', 'inherit'] },
    );
    process.exit(status ?? 1);
  }
}
