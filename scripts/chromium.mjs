// Installs Debian's Chromium for the tests of the dashboard's page, where that can be done without asking: in CI, as root, by
// apt. Elsewhere the tests say that they are skipped. Uses nothing but what comes with Node.

import { spawnSync } from 'node:child_process';
import { findChromium } from '../__test__/support/chromium.mjs';

/** @param {string[]} args */
const apt = (...args) =>
  spawnSync('apt-get', args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  }).status === 0;

if (findChromium() === undefined && process.env.CI && process.getuid?.() === 0) {
  console.log('there is no Chromium: apt-get install chromium');
  const isInstalled =
    apt('update', '-qq') && apt('install', '-qq', '-y', '--no-install-recommends', 'chromium');
  if (!isInstalled)
    console.error('Chromium could not be installed: the dashboard is not tested in a browser');
}
