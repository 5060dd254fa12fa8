// Builds the dashboard's page, if that is missing or outdated: before tests, and before the package is packed.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { changed } from './sources.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = ['dashboard', 'package-lock.json', 'scripts/dashboard.mjs'];

/** When the page was built: its oldest file; 0 if there is none. */
function builtAt() {
  const folder = join(root, 'tools/dashboard/static');
  try {
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    return files.includes('index.html')
      ? Math.min(...files.map((name) => changed(join(folder, name))))
      : 0;
  } catch {
    return 0;
  }
}

/** @param {boolean} [always] */
export function buildDashboard(always) {
  const sources = Math.max(...SOURCES.map((name) => changed(join(root, name))));
  if (!always && builtAt() >= sources) return;
  const vite = join(root, 'node_modules/vite/bin/vite.js');
  const { status, signal } = spawnSync(
    process.execPath,
    [vite, 'build', '--config', 'dashboard/vite.config.mjs', 'dashboard'],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  if (status === 0) return;
  console.error(`the dashboard's page could not be built: ${signal ?? `exit code ${status}`}`);
  process.exit(status || 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) buildDashboard();
