// `serve` of the command line: it tells where the dashboard is, and ends with Ctrl-C.
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, directory, end, write } from './support/dashboard.mjs';

const program = fileURLToPath(new URL('../tools/cli.js', import.meta.url));
const file = join(directory, 'served.db');

beforeAll(() => write('usual', file), 60_000);
afterAll(end);

/** Runs it to its end. @param {string[]} words */
function run(...words) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...words], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

/** Starts it; answers its first line, and what ends it. @param {string[]} words */
async function start(...words) {
  const child = spawn(process.execPath, [program, 'serve', file, '--port', '0', ...words]);
  const ended = new Promise((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal })),
  );
  const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  const interrupt = () => {
    child.kill('SIGINT');
    return ended;
  };
  return { line: String(value), interrupt };
}

describe('serve', { timeout: 60_000 }, () => {
  it('tells the address, answers there, and ends with Ctrl-C', async () => {
    const { line, interrupt } = await start();
    const port = Number(/^The dashboard is at http:\/\/127\.0\.0\.1:(\d+)\/$/.exec(line)?.[1]);
    expect((await ask(port, '/api/about')).json).toMatchObject({ path: file, isWritable: false });
    expect((await ask(port, '/')).text).toContain('<!doctype html>');
    expect(await interrupt()).toEqual({ code: null, signal: 'SIGINT' });
    await expect(ask(port, '/')).rejects.toThrow('ECONNREFUSED');
  });

  it('has the token in the address where entries may be removed', async () => {
    const { line, interrupt } = await start('--write', '--token', 'a-token-of-24-characters');
    const port = Number(/:(\d+)\/#token=a-token-of-24-characters$/.exec(line)?.[1]);
    expect((await ask(port, '/api/about')).json).toMatchObject({ isWritable: true });
    await interrupt();
  });

  it.each([
    { words: ['serve', `${file}x`], status: 3, told: 'There is no file' },
    { words: ['serve', file, '--port', '70000'], status: 2, told: '--port must be at most 65535' },
    { words: ['serve', file, '--port', '-1'], status: 2, told: '--port' },
    { words: ['serve', file, '--token', 'short'], status: 2, told: '16 to 512' },
    { words: ['serve', file, '--host', 'no such host'], status: 3, told: 'no such host' },
  ])('refuses $words', ({ words, status, told }) => {
    const ended = run(...words);
    expect(ended.stderr).toContain(told);
    expect(ended).toMatchObject({ status, stdout: '' });
  });

  it('says what to do about a port that is taken', async () => {
    const other = createServer();
    await new Promise((resolve) => other.listen(0, '127.0.0.1', () => resolve(undefined)));
    const { port } = /** @type {import('node:net').AddressInfo} */ (other.address());
    const ended = run('serve', file, '--port', String(port));
    other.close();
    expect(ended).toMatchObject({ status: 3, stdout: '' });
    expect(ended.stderr).toContain('--port 0');
  });
});
