// The pictures of a terminal in docs/tools.md: made of what the commands print of a file that is always the same.
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { picture } from '../../scripts/terminal-picture.mjs';

const require = createRequire(import.meta.url);

const { Screen } = require('../../tools/terminal/screen.js');

const NOW = Date.UTC(2026, 0, 15, 12);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Some requests of a resource: so many, from so many minutes ago to so many. @typedef {[number, number, number]} Requests */

/** @type {{ resource: string, user: Requests, background: Requests }[]} */
const USE = [
  { resource: 'characters', user: [152, 54, 2], background: [48, 58, 40] },
  { resource: 'issues', user: [24, 14, 1], background: [83, 59, 16] },
  { resource: 'search', user: [6, 50, 31], background: [2, 40, 20] },
  { resource: 'volumes', user: [0, 0, 0], background: [31, 57, 4] },
];

const SETTINGS = JSON.stringify({
  limit: 200,
  windowMs: HOUR,
  minIntervalMs: 0,
  honourCooldowns: false,
  adaptiveConfig: {},
});

/** @param {string} path */
async function makeFile(path) {
  const { SqliteAdaptiveRateLimitStore } = require('../../index.js');
  const database = new Database(path);
  const store = new SqliteAdaptiveRateLimitStore({ database });
  await store.close();
  const record = database.prepare(
    'INSERT INTO rate_limits (resource, timestamp, priority) VALUES (?, ?, ?)',
  );
  const tell = database.prepare("INSERT INTO store_settings VALUES ('adaptive', ?, ?, '0.4.0', ?)");
  for (const { resource, ...use } of USE) {
    tell.run(resource, SETTINGS, NOW);
    for (const [priority, [count, from, to]] of Object.entries(use)) {
      for (let n = 0; n < count; n++) {
        const ago = from - ((from - to) * n) / Math.max(1, count - 1);
        record.run(resource, Math.round(NOW - ago * MINUTE), priority);
      }
    }
  }
  database
    .prepare('INSERT INTO server_cooldowns VALUES (?, ?)')
    .run('search', NOW + 4 * MINUTE + 7_000);
  database.close();
}

export const PICTURES = [
  {
    file: 'limits.svg',
    command: 'limits',
    title: 'What is left of each limit, and who has used it',
  },
];

/** @param {typeof PICTURES[0]} picture @returns {Promise<string>} */
export async function draw({ command, title }) {
  const directory = mkdtempSync(join(tmpdir(), 'pictures-'));
  try {
    const path = join(directory, 'cache.db');
    await makeFile(path);
    const screen = new Screen({ isTTY: true, columns: 84 }, {});
    const { run } = require(`../../tools/commands/${command}.js`);
    const { lines } = await run({ path, rest: [], options: {}, screen, now: NOW });
    return picture(title, `npx @comic-vine/sqlite-store ${command} cache.db`, lines.join('\n'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
