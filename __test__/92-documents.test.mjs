// The documentation (README.md and docs/) is a program: every block of code in it is type-checked and run, with the
// package under its own name and the client's requests answered by the fake API. Where a line says
// `console.log(…); // → text`, that is what must be printed (`…` stands for anything). A comment `<!-- setup: code -->`
// before a block goes in front of it. Tables of options are compared with the types, the schema with that of the stores,
// and every link must lead somewhere.
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFakeApi } from '../examples/demo/fake-api.mjs';
import {
  SQLiteCacheStore,
  SQLiteDedupeStore,
  SQLiteRateLimitStore,
  SqliteAdaptiveRateLimitStore,
} from '../index.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const read = (/** @type {string} */ name) => readFileSync(path.join(ROOT, name), 'utf8');
const README = read('README.md');
const API = read('docs/api.md');
const TYPES = read('index.d.ts');
/** Written by `npm run bench`; only its links are looked at. */
const GENERATED = 'docs/benchmark.md';
const PAGES = readdirSync(path.join(ROOT, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`)
  .filter((name) => name !== GENERATED);
/** Where code and tables of options are checked. */
const DOCUMENTS = ['README.md', ...PAGES];
/** Languages of blocks that are not run: no other may occur, so that no block is passed over silently. */
const NOT_RUN = ['bash', 'dockerfile', 'mermaid', 'rust', 'sql', 'text', 'yaml'];

/**
 * @typedef {object} Block
 * @property {string} page it stands in
 * @property {string} language
 * @property {string} code
 * @property {string} setup
 * @property {number} line of its first line
 * @property {string} heading it stands under
 */

/**
 * @param {string} page
 * @returns {Block[]}
 */
function readBlocks(page) {
  /** @type {Block[]} */
  const blocks = [];
  /** @type {Block | undefined} */
  let open;
  let heading = '';
  let setup = '';
  for (const [index, text] of read(page).split('\n').entries()) {
    const fence = text.match(/^\s*(?:```|~~~)(.*)$/);
    if (open && fence) {
      blocks.push(open);
      open = undefined;
      setup = '';
    } else if (open) {
      open.code += `${text}\n`;
    } else if (fence) {
      const language = fence[1]?.trim() ?? '';
      open = { page, language, code: '', setup, line: index + 2, heading };
    } else {
      heading = text.match(/^#+ (.*)/)?.[1] ?? heading;
      setup = text.match(/^<!-- setup: (.*) -->$/)?.[1] ?? setup;
    }
  }
  if (open) throw new Error(`${page}: the block at line ${open.line} is not closed`);
  return blocks;
}

const blocks = DOCUMENTS.flatMap(readBlocks);
const programs = blocks
  .filter((block) => !NOT_RUN.includes(block.language))
  .map((block) => ({ ...block, ...placeOf(block) }));

/**
 * Where a program goes and how it is started.
 *
 * @param {Block} block
 */
function placeOf({ page, language, code, line }) {
  const extension = { js: /\brequire\(/.test(code) ? 'cjs' : 'mjs', ts: 'mts' }[language];
  const runner = /'vitest'/.test(code) ? 'vitest' : /\bjest\./.test(code) ? 'jest' : 'node';
  const base = runner === 'node' ? 'example' : 'example.test';
  const directory = `${path.basename(page, '.md')}-${line}`;
  return {
    runner,
    directory,
    source: `${directory}/${base}.${extension}`,
    program: `${base}.${extension === 'mts' ? 'mjs' : extension}`,
  };
}

/** @type {Awaited<ReturnType<typeof startFakeApi>>} */
let api;
/** @type {string} */
let project;

beforeAll(async () => {
  api = await startFakeApi({ latencyMs: 5 });
  project = mkdtempSync(path.join(tmpdir(), 'readme-'));
  const modules = path.join(project, 'node_modules');
  mkdirSync(path.join(modules, '@comic-vine'), { recursive: true });
  mkdirSync(path.join(modules, '@types'));
  const link = (/** @type {string} */ name, target = path.join(ROOT, 'node_modules', name)) =>
    symlinkSync(target, path.join(modules, name), 'junction');
  link('@comic-vine/sqlite-store', ROOT);
  for (const name of ['@comic-vine/client', '@types/better-sqlite3', '@types/node']) {
    link(name);
  }
  for (const name of ['better-sqlite3', 'drizzle-orm', 'jest', 'vitest']) link(name);
  const observability = path.join(ROOT, '__test__/observability/node_modules');
  for (const name of ['@opentelemetry', 'prom-client']) link(name, path.join(observability, name));
  link('@libsql', path.join(ROOT, '__test__/servers/node_modules/@libsql'));

  writeFileSync(path.join(project, 'package.json'), JSON.stringify({ private: true, jest: {} }));
  for (const { code, setup, directory, source } of programs) {
    mkdirSync(path.join(project, directory));
    writeFileSync(path.join(project, source), `${setup}\n${code}`);
  }
});

afterAll(async () => {
  await api.close();
  rmSync(project, { recursive: true, force: true });
});

/**
 * @param {string[]} args of Node
 * @param {string} cwd
 * @returns {Promise<{ status: number | null, output: string, stdout: string }>}
 */
async function run(args, cwd) {
  // Proxy settings are how an unmodified client can be pointed at another server than the real one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/proxy|^VITEST|^JEST|^NODE_OPTIONS$|^CI$/i.test(name),
    ),
  );
  const child = spawn(process.execPath, args, {
    cwd,
    env: {
      ...env,
      https_proxy: api.origin,
      COMICVINE_API_KEY: 'test',
      COMIC_VINE_DB_PATH: './from-environment.db',
      NO_COLOR: '1',
    },
  });
  let output = '';
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const status = await new Promise((resolve) => child.once('close', resolve));
  return { status, output, stdout };
}

/** @param {string} name */
const bin = (name) => path.join(ROOT, 'node_modules', name);

describe('the blocks of code', () => {
  it('are either run or of a language that says why not', () => {
    const languages = new Set(blocks.map((block) => block.language));
    expect([...languages].filter((language) => !NOT_RUN.includes(language)).sort()).toEqual([
      'js',
      'ts',
    ]);
    const fences = DOCUMENTS.flatMap((page) => read(page).match(/^```(js|ts)$/gm) ?? []);
    expect(fences).toHaveLength(programs.length);
    expect(programs.length).toBeGreaterThanOrEqual(20);
  });

  it('pass the type checker', { timeout: 120_000 }, async () => {
    writeFileSync(
      path.join(project, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          module: 'nodenext',
          target: 'es2022',
          strict: true,
          skipLibCheck: true,
          noEmitOnError: false,
          rewriteRelativeImportExtensions: true,
          types: ['node'],
        },
        files: programs.filter(({ language }) => language === 'ts').map(({ source }) => source),
      }),
    );
    const { status, output } = await run(
      [bin('typescript/bin/tsc'), '-p', 'tsconfig.json'],
      project,
    );
    expect(status, output).toBe(0);
  });

  const COMMANDS = {
    node: (/** @type {string} */ program) => [program],
    vitest: (/** @type {string} */ program) => [
      bin('vitest/vitest.mjs'),
      'run',
      '--root',
      '.',
      program,
    ],
    jest: (/** @type {string} */ program) => [
      bin('jest/bin/jest.js'),
      '--rootDir=.',
      '--testMatch=**/*.test.cjs',
      program,
    ],
  };

  it.each(programs)(
    'run: $page, $heading (line $line)',
    { timeout: 300_000 },
    async ({ code, directory, program, runner }) => {
      const command = COMMANDS[/** @type {keyof typeof COMMANDS} */ (runner)](program);
      const { status, output, stdout } = await run(command, path.join(project, directory));
      expect(status, output).toBe(0);
      expect(output).not.toMatch(/warning/i);
      if (runner !== 'node') return;
      const promised = [...code.matchAll(/console\.log\(.*\/\/ → (.*)$/gm)].map(
        ([, text = '']) => text,
      );
      expect(code.match(/console\.log\(/g) ?? []).toHaveLength(promised.length);
      const pattern = promised
        .map((text) => text.split('…').map(escapeRegExp).join('.*'))
        .join('\n');
      expect(stdout.trimEnd()).toMatch(new RegExp(`^${pattern}$`));
    },
  );
});

describe('the reference', () => {
  it('names every method of every store', () => {
    const missing = [];
    for (const Store of [
      SQLiteCacheStore,
      SQLiteDedupeStore,
      SQLiteRateLimitStore,
      SqliteAdaptiveRateLimitStore,
    ]) {
      const start = API.indexOf(`\n## ${Store.name}\n`);
      expect(start, Store.name).toBeGreaterThan(0);
      const end = API.indexOf('\n## ', start + 1);
      const section = API.slice(start, end < 0 ? undefined : end);
      // The adaptive store's section refers to the plain store's for what is the same.
      const described =
        Store === SqliteAdaptiveRateLimitStore ? SQLiteRateLimitStore.prototype : {};
      for (const method of Object.getOwnPropertyNames(Store.prototype)) {
        if (method === 'constructor' || method in described) continue;
        if (!section.includes(`\`${method}(`)) missing.push(`${Store.name}.${method}`);
      }
    }
    expect(missing).toEqual([]);
  });

  it('shows the schema that the stores make', async () => {
    const database = path.join(project, 'schema.db');
    const stores = [
      new SqliteAdaptiveRateLimitStore({ database }),
      new SQLiteRateLimitStore({ database }),
      new SQLiteDedupeStore({ database }),
      new SQLiteCacheStore({ database, maxEntries: 10 }),
    ];
    // Made when first needed.
    await /** @type {any} */ (stores[3]).setWithTags('key', 1, 60, ['tag']);
    await Promise.all(stores.map((store) => store.close()));
    const file = new Database(database, { readonly: true });
    const made = file
      .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
      .pluck()
      .all();
    file.close();

    const shown = [...read('docs/schema.md').matchAll(/<!-- schema -->\s*```sql\n(.*?)```/gs)]
      .map(([, sql = '']) => sql.replace(/--.*$/gm, ''))
      .join('')
      .split(';')
      .filter((statement) => statement.trim());
    const tidy = (/** @type {string} */ sql) =>
      sql
        .replace(/\s+/g, ' ')
        .replace(/ (?=[,)])/g, '')
        .trim();
    expect(shown.map(tidy).sort()).toEqual(made.map((sql) => tidy(String(sql))).sort());
  });
});

/** @typedef {Map<string, string>} Defaults of options by name, '' where the types state none */

/** @returns {Map<string, Defaults>} the options that the types declare, by the type that holds them */
function readTypes() {
  const found = new Map();
  const types =
    /^export (?:interface (\w+Options)(?: extends (\w+))? |type (AdaptiveConfig) = )\{(.*?)^\}/gms;
  for (const [, options, base, config, body = ''] of TYPES.matchAll(types)) {
    // Those of all stores are not in the tables of each.
    const defaults = new Map(base === 'SQLiteDatabaseOptions' ? [] : found.get(base));
    for (const [, comment = '', name] of body.matchAll(/\/\*\*(.*?)\*\/\s+(\w+)\??: /gs)) {
      const text = comment.replace(/\s*\n\s*\*\s*/g, ' ').trim();
      defaults.set(name, plain(text.match(/Default: (.*?)(?=[.,] |\.$)/)?.[1] ?? ''));
    }
    found.set(options ?? config, defaults);
  }
  // What only others extend has no table.
  found.delete('RateLimiterOptions');
  return found;
}

/**
 * The tables of options of a page: their first column is headed `option…`, and a comment `<!-- options: Type -->` stands
 * before them.
 *
 * @param {string} text
 * @returns {{ type: string | undefined, defaults: Defaults }[]}
 */
function readTables(text) {
  return [...text.matchAll(/(?:^<!-- options: (\w+) -->\n\n)?((?:^\|.*\n)+)/gm)]
    .map(([, type, table = '']) => {
      const [head = [], , ...rows] = table.trim().split('\n').map(cells);
      const column = head.indexOf('default');
      const defaults = new Map(rows.map((row) => [plain(row[0]), plain(row[column])]));
      return { type, head, defaults };
    })
    .filter(({ type, head }) => type || /^option\b/.test(head[0] ?? ''));
}

/** @param {string} row */
const cells = (row) =>
  row
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());

/** A name or a default without its layout, digit separators and explanation: `` `900000` (15 min) `` is `900000`. */
const plain = (cell = '') =>
  cell
    .replace(/ \(.*\)$/, '')
    .replace(/`/g, '')
    .replace(/(?<=\d),(?=\d{3})/g, '')
    .trim();

/**
 * @param {string} text of a page
 * @returns {string[]} what its tables of options say otherwise than the types
 */
function differences(text) {
  return readTables(text).flatMap(({ type = '', defaults }) => {
    const declared = types.get(type);
    if (!declared) return [`a table of options is of no type: ${[...defaults.keys()]}`];
    return [...new Set([...declared.keys(), ...defaults.keys()])]
      .filter((name) => declared.get(name) !== defaults.get(name))
      .map((name) => `${type}.${name}: ${declared.get(name)}, not ${defaults.get(name)}`);
  });
}

const types = readTypes();

describe('the tables of options', () => {
  it('are there once for each type', () => {
    const shown = DOCUMENTS.flatMap((page) => readTables(read(page)).map(({ type }) => type));
    expect(shown.sort()).toEqual([...types.keys()].sort());
    const count = [...types.values()].reduce((sum, { size }) => sum + size, 0);
    expect(count).toBe(47);
  });

  it.each(DOCUMENTS)('in %s say what the types say', (page) => {
    expect(differences(read(page))).toEqual([]);
  });

  it.each([
    ['an option left out', /^\| `pollIntervalMs`.*\n/m, '', 1],
    ['an option that is not there', '`maxEntrySizeBytes`', '`maxEntrySize`', 2],
    ['another default', '`5000`', '`500`', 1],
    ['another default in words', '60 requests in 60,000 ms', '100 requests in 60,000 ms', 1],
    ['a default where there is none', /(`adaptiveConfig` +\| `object` +\| )/, '$1`{}`', 1],
    ['a table of no type', '<!-- options: AdaptiveConfig -->', '', 1],
  ])('would not pass with %s', (_, from, to, count) => {
    expect(README).toMatch(from);
    expect(differences(README.replace(from, to))).toHaveLength(count);
  });
});

describe('links', () => {
  const HOSTS = [
    'github.com',
    'keepachangelog.com',
    'orm.drizzle.team',
    'semver.org',
    'www.sqlite.org',
  ];
  const linking = [
    ...DOCUMENTS,
    GENERATED,
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
  ].filter((name) => existsSync(path.join(ROOT, name)));

  /** @param {string} text */
  const withoutCode = (text) => text.replace(/^\s*(```|~~~).*\n[\s\S]*?^\s*\1.*$/gm, '');

  /** @param {string} text @returns {string[]} */
  const linksOf = (text) => [
    ...[...withoutCode(text).matchAll(/\]\(([^)\s]+)[^)]*\)/g)].map(([, target = '']) => target),
    ...[...withoutCode(text).matchAll(/^\[[^\]]+\]: (\S+)/gm)].map(([, target = '']) => target),
  ];

  /**
   * What GitHub makes of the headings: https://github.com/gjtorikian/html-pipeline, its filter for tables of contents.
   *
   * @param {string} text
   */
  function anchorsOf(text) {
    const seen = new Map();
    return [...withoutCode(text).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => {
      const slug = heading
        .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .trim()
        .toLowerCase()
        .replace(/[^\p{L}\p{M}\p{N}\p{Pc}\s-]/gu, '')
        .replace(/ /g, '-');
      const before = seen.get(slug) ?? 0;
      seen.set(slug, before + 1);
      return before ? `${slug}-${before}` : slug;
    });
  }

  /**
   * @param {string} page
   * @param {string} target
   * @returns {string | undefined} what is wrong with the link
   */
  function problemOf(page, target) {
    if (/^[a-z]+:/i.test(target)) {
      if (!URL.canParse(target)) return 'not a URL';
      const { protocol, host } = new URL(target);
      return protocol === 'https:' && HOSTS.includes(host) ? undefined : 'not an allowed host';
    }
    const [file = '', anchor] = target.split('#');
    const name = file ? path.posix.join(path.posix.dirname(page), file) : page;
    // npm and GitHub follow relative links within the repository only.
    if (name.startsWith('..') || file.startsWith('/')) return 'leaves the repository';
    if (!existsSync(path.join(ROOT, name))) return 'no such file';
    if (anchor !== undefined && !anchorsOf(read(name)).includes(anchor)) return 'no such heading';
  }

  it.each(linking)('in %s lead somewhere', (page) => {
    const broken = linksOf(read(page))
      .map((target) => ({ target, problem: problemOf(page, target) }))
      .filter(({ problem }) => problem);
    expect(broken).toEqual([]);
  });

  it.each([
    ['#no-such-heading', 'no such heading'],
    ['docs/api.md#no-such-heading', 'no such heading'],
    ['docs/no-such-page.md', 'no such file'],
    ['../outside.md', 'leaves the repository'],
    ['http://github.com/', 'not an allowed host'],
    ['https://example.com/', 'not an allowed host'],
    ['https://', 'not a URL'],
  ])('to %s would not pass', (target, problem) => {
    expect(problemOf('README.md', target)).toBe(problem);
  });

  it('from the README lead to every page', () => {
    expect(linksOf(README)).toEqual(expect.arrayContaining([...PAGES, GENERATED]));
  });

  it('of the README work on npmjs.com, which reads relative ones from the repository', () => {
    const { repository } = JSON.parse(read('package.json'));
    expect(repository.url).toMatch(/^git\+https:\/\/github\.com\/[\w-]+\/[\w-]+\.git$/);
    // The package is the repository's root: with a `directory` npm would look for docs/ in there.
    expect(repository).not.toHaveProperty('directory');
  });
});

it('the README is short enough to be read', () => {
  expect(README.trimEnd().split('\n').length).toBeLessThanOrEqual(300);
});

/** @param {string} text */
function escapeRegExp(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
