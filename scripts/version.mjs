/**
 * Writes package.json's version where else it stands: `npm version` runs it. What is built and loaded has to have the same one.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));

/** Each with what stands before the version. */
const PLACES = {
  'Cargo.toml': /^\[package\]\nname = "comic-vine-sqlite-store"\nversion = "/m,
  'Cargo.lock': /^name = "comic-vine-sqlite-store"\nversion = "/m,
  'lib/binding.js': /^const VERSION = '/m,
};

for (const [name, before] of Object.entries(PLACES)) {
  const path = fileURLToPath(new URL(name, root));
  const text = readFileSync(path, 'utf8');
  const found = before.exec(text);
  if (!found) throw new Error(`version: ${name} has none`);
  const start = found.index + found[0].length;
  const end = start + text.slice(start).search(/['"]/);
  writeFileSync(path, text.slice(0, start) + version + text.slice(end));
}
