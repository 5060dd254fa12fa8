/**
 * What is said of the licences of others whose code is in the binaries, or in the dashboard's page: THIRD-PARTY-NOTICES.md.
 *
 *   node scripts/notices.mjs            writes it
 *   node scripts/notices.mjs <folder>   copies it and LICENSE into each package in the folder, before they are published
 */

import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const FILE = join(root, 'THIRD-PARTY-NOTICES.md');

const HEAD = `# Third-party notices

The binaries of this package, and the page of its dashboard, contain code of others, under the licences below. Written by \`node scripts/notices.mjs\`; do not edit.

## SQLite

The authors of SQLite have dedicated its code to the public domain: https://www.sqlite.org/copyright.html

## The Rust standard library

Copyright (c) The Rust Project contributors. MIT or Apache-2.0, at your choice; here under MIT, whose text is that of the crates below.
`;

/** Of several licences to choose from, the one whose text is shorter. @param {string[]} names  of files */
const choose = (names) => {
  const texts = names.filter((name) => /^(?:licen[cs]e|copying|unlicense)/i.test(name)).sort();
  const mit = texts.find((name) => /mit/i.test(name));
  const notices = names.filter((name) => /^notice/i.test(name)).sort();
  return [...(mit ? [mit] : texts.slice(0, 1)), ...notices];
};

/**
 * The packages of what a normal build of the addon, for any platform, links in: no build scripts, no macros, no tests.
 * @param {any} metadata  cargo's
 */
function linked({ packages, resolve }) {
  const byId = new Map(packages.map((/** @type {any} */ each) => [each.id, each]));
  const nodes = new Map(resolve.nodes.map((/** @type {any} */ node) => [node.id, node]));
  const found = new Set();
  const visit = (/** @type {string} */ id) => {
    const isMacro = byId
      .get(id)
      .targets.some((/** @type {any} */ { kind }) => kind.includes('proc-macro'));
    if (found.has(id) || isMacro) return;
    found.add(id);
    for (const { pkg, dep_kinds } of nodes.get(id).deps)
      if (dep_kinds.some((/** @type {any} */ { kind }) => kind === null)) visit(pkg);
  };
  visit(resolve.root);
  found.delete(resolve.root);
  return [...found].map((id) => byId.get(id));
}

/** The packages that are linked in for a platform. @param {string} target */
function linkedFor(target) {
  const { status, stdout, stderr, error } = spawnSync(
    'cargo',
    ['metadata', '--format-version', '1', '--locked', '--filter-platform', target],
    { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  if (status !== 0) throw new Error(`cargo metadata: ${error ?? stderr}`);
  return linked(JSON.parse(stdout));
}

/** MIT's text without a copyright: that of this package, which is under MIT too. */
const MIT = readFileSync(join(root, 'LICENSE'), 'utf8').split('\n\n').slice(2).join('\n\n').trim();

/** @param {any} metadata  of a package, by cargo @returns {string} its licence's text */
function textOf({ name, license, authors, manifest_path }) {
  const folder = dirname(manifest_path);
  const files = choose(readdirSync(folder));
  if (files.length === 0) {
    if (!license.includes('MIT')) throw new Error(`${name} has no text of its licence, ${license}`);
    return `Copyright (c) ${authors.join(', ') || `the authors of ${name}`}\n\n${MIT}`;
  }
  const texts = files.map((file) => readFileSync(join(folder, file), 'utf8').trim());
  return texts
    .join('\n\n')
    .replaceAll('\r', '')
    .replace(/[ \t]+$/gm, '');
}

/** What the dashboard's page is built with, of npm's packages. */
export const IN_THE_PAGE = ['preact', 'uplot'];

/** @param {string} name @returns a package of npm's, as cargo describes one */
function installed(name) {
  const manifest_path = join(root, 'node_modules', name, 'package.json');
  const { version, license, author } = JSON.parse(readFileSync(manifest_path, 'utf8'));
  return { id: `npm ${name}`, name, version, license, authors: [author].flat(), manifest_path };
}

/** @returns {string} */
export function notices() {
  const { targets } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).napi;
  const packages = new Map(
    [...targets.flatMap(linkedFor), ...IN_THE_PAGE.map(installed)].map((each) => [each.id, each]),
  );
  /** Packages by the text of their licences. @type {Map<string, string[]>} */
  const users = new Map();
  for (const each of packages.values()) {
    const text = textOf(each);
    const title = `${each.name} ${each.version} (${each.license})`;
    users.set(text, [...(users.get(text) ?? []), title]);
  }
  const sections = [...users]
    .map(([text, titles]) => `## ${titles.sort().join(', ')}\n\n\`\`\`text\n${text}\n\`\`\`\n`)
    .sort();
  return [HEAD, ...sections].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder] = process.argv.slice(2);
  if (!folder) writeFileSync(FILE, notices());
  else
    for (const name of readdirSync(folder))
      for (const file of [FILE, join(root, 'LICENSE')])
        copyFileSync(file, join(folder, name, file.slice(root.length)));
}
