// The program of docs/scale-out.md that moves the data of a file to a server, and back.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSQLiteStores } from '../index.mjs';

const require = createRequire(import.meta.url);
const { connect, program, Server } = require('./support/servers.cjs');
const root = fileURLToPath(new URL('..', import.meta.url));

/** The first block of code under a heading of the page. @param {string} heading */
function codeUnder(heading) {
  const page = readFileSync(join(root, 'docs/scale-out.md'), 'utf8');
  const code = page.split(`\n## ${heading}\n`)[1]?.match(/```js\n(.*?)```/s)?.[1];
  if (code === undefined) throw new Error(`docs/scale-out.md has no program under ${heading}`);
  return code;
}

if (program === undefined) {
  console.error('54-moving: SKIPPED: there is no libSQL server for this platform');
}
describe.skipIf(program === undefined)('the data of a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'moving-'));
  const script = join(directory, 'move.mjs');
  /** @type {InstanceType<typeof Server>} */
  let server;
  beforeAll(async () => {
    server = await Server.start();
    writeFileSync(script, codeUnder('Moving the data of a file to a server, and back'));
    for (const [name, target] of [
      ['@libsql/client', '__test__/servers/node_modules/@libsql/client'],
      ['@comic-vine/sqlite-store', '.'],
    ]) {
      const link = join(directory, 'node_modules', /** @type {string} */ (name));
      mkdirSync(join(link, '..'), { recursive: true });
      symlinkSync(join(root, /** @type {string} */ (target)), link);
    }
  });
  afterAll(async () => {
    await server.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  /** @param {string} from @param {string} to */
  async function move(from, to) {
    const env = { ...process.env, FROM_URL: from, TO_URL: to };
    const { stdout } = await promisify(execFile)(process.execPath, [script], { env });
    expect(stdout.trim()).toBe('done');
  }

  /** All rows of all tables whose data is moved, as a file has them. @param {string} url */
  async function content(url) {
    const client = connect(url);
    const tables = ['cache', 'cache_tags', 'dedupe_jobs', 'rate_limits', 'server_cooldowns'];
    /** @type {Record<string, unknown>} */
    const rows = {};
    for (const table of tables) {
      rows[table] = (await client.execute(`SELECT * FROM ${table} ORDER BY 1, 2`)).rows.map(
        (/** @type {any} */ row) => JSON.stringify(Object.values(row).map(shown)),
      );
    }
    client.close();
    return rows;
  }
  /** @param {unknown} value */
  const shown = (value) =>
    value instanceof ArrayBuffer ? Buffer.from(value).toString() : String(value);

  it('is moved to a server, and back to another file', { timeout: 120_000 }, async () => {
    const [first, second] = ['first', 'second'].map((name) => `file:${join(directory, name)}.db`);
    const stores = createSQLiteStores({ database: connect(/** @type {string} */ (first)) });
    for (let n = 0; n < 120; n++) {
      await stores.cache.setWithTags(`key ${n}`, { n, text: 'é'.repeat(n) }, n % 3 ? 3_600.5 : 0, [
        `tag ${n % 7}`,
      ]);
      await stores.rateLimit.record(`resource ${n % 5}`);
    }
    await stores.rateLimit.setCooldown('origin', Date.now() + 3_600_000);
    await stores.dedupe.register('job');
    await stores.dedupe.complete('job', { done: true });
    await stores.close();
    const before = await content(/** @type {string} */ (first));
    expect(before.cache).toHaveLength(120);
    expect(JSON.stringify(before.cache)).toContain('Infinity');

    await move(/** @type {string} */ (first), server.url);
    const client = connect(server.url);
    const there = createSQLiteStores({ database: client });
    expect(await there.cache.get('key 0')).toEqual({ n: 0, text: '' });
    expect((await there.rateLimit.getStatus('resource 1')).remaining).toBeLessThan(100);
    await there.close();
    client.close();

    await move(server.url, /** @type {string} */ (second));
    expect(await content(/** @type {string} */ (second))).toEqual(before);
  });
});
