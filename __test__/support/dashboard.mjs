// The dashboard's server, files for it to show, and requests to it that no `fetch` would send.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const { serve } = require('../../tools/dashboard/server.js');

const child = fileURLToPath(new URL('../children/dashboard-file.cjs', import.meta.url));

/** A directory for one file of tests. */
export const directory = mkdtempSync(join(tmpdir(), 'comic-vine-dashboard-test-'));

/** Has another process make a file, or write to it: see `children/dashboard-file.cjs`. @param {string} form @param {string} path */
export function write(form, path) {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [child, form, path], (error, _, stderr) => {
      // One form ends by a signal.
      if (error && (form !== 'usual' || stderr !== ''))
        reject(new Error(`${form}: ${error.message}\n${stderr}`));
      else resolve(path);
    });
  });
}

/** @type {{ close(): Promise<void> }[]} */
const served = [];

/** @param {Parameters<typeof serve>[0]} options */
export async function start(options) {
  const dashboard = await serve(options);
  served.push(dashboard);
  const url = new URL(dashboard.url);
  const token = /^#token=(.+)$/.exec(url.hash)?.[1];
  return { ...dashboard, origin: url.origin, port: Number(url.port), token };
}

/** Ends all, and removes the files. */
export async function end() {
  await Promise.all(served.splice(0).map((dashboard) => dashboard.close()));
  rmSync(directory, { recursive: true, force: true });
}

/**
 * Asks on loopback, exactly so.
 * @param {number} port
 * @param {string} path
 * @param {{ method?: string, headers?: Record<string, string>, body?: string | Buffer }} [options]
 * @returns {Promise<{ status: number, headers: import('node:http').IncomingHttpHeaders, text: string, json: any }>}
 */
export function ask(port, path, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, path, method, headers, agent: false },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('error', reject);
        response.on('end', () => {
          const isJson =
            response.headers['content-type']?.startsWith('application/json') && text !== '';
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            json: isJson ? JSON.parse(text) : undefined,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
