// The README is a program: every block of code in it is type-checked and run, with the package under its own name and
// the client's requests answered by the fake API. Where a line says `console.log(…); // → text`, that is what must be
// printed (`…` stands for anything). A comment `<!-- setup: code -->` before a block goes in front of it.
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
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
const README = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
/** Languages of blocks that are not run: no other may occur, so that no block is passed over silently. */
const NOT_RUN = ['bash', 'dockerfile', 'sql', 'yaml'];

/**
 * @typedef {object} Block
 * @property {string} language
 * @property {string} code
 * @property {string} setup
 * @property {number} line of its first line
 * @property {string} heading it stands under
 */

/** @returns {Block[]} */
function readBlocks() {
  /** @type {Block[]} */
  const blocks = [];
  /** @type {Block | undefined} */
  let open;
  let heading = '';
  let setup = '';
  for (const [index, text] of README.split('\n').entries()) {
    const fence = text.match(/^\s*(?:```|~~~)(.*)$/);
    if (open && fence) {
      blocks.push(open);
      open = undefined;
      setup = '';
    } else if (open) {
      open.code += `${text}\n`;
    } else if (fence) {
      open = { language: fence[1]?.trim() ?? '', code: '', setup, line: index + 2, heading };
    } else {
      heading = text.match(/^#+ (.*)/)?.[1] ?? heading;
      setup = text.match(/^<!-- setup: (.*) -->$/)?.[1] ?? setup;
    }
  }
  if (open) throw new Error(`the block at line ${open.line} is not closed`);
  return blocks;
}

const blocks = readBlocks();
const programs = blocks
  .filter((block) => !NOT_RUN.includes(block.language))
  .map((block) => ({ ...block, ...placeOf(block) }));

/**
 * Where a program goes and how it is started.
 *
 * @param {Block} block
 */
function placeOf({ language, code, line }) {
  const extension = { js: /\brequire\(/.test(code) ? 'cjs' : 'mjs', ts: 'mts' }[language];
  const runner = /'vitest'/.test(code) ? 'vitest' : /\bjest\./.test(code) ? 'jest' : 'node';
  const base = runner === 'node' ? 'example' : 'example.test';
  const directory = `line-${line}`;
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
      COMIC_VINE_API_KEY: 'test',
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

describe('the blocks of the README', () => {
  it('are either run or of a language that says why not', () => {
    const languages = new Set(blocks.map((block) => block.language));
    expect([...languages].filter((language) => !NOT_RUN.includes(language)).sort()).toEqual([
      'js',
      'ts',
    ]);
    expect(README.match(/^```(js|ts)$/gm)).toHaveLength(programs.length);
    expect(programs.length).toBeGreaterThanOrEqual(15);
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
    'run: $heading (line $line)',
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

describe('the reference in the README', () => {
  it('names every method of every store', () => {
    const missing = [];
    for (const Store of [
      SQLiteCacheStore,
      SQLiteDedupeStore,
      SQLiteRateLimitStore,
      SqliteAdaptiveRateLimitStore,
    ]) {
      const start = README.indexOf(`\n### ${Store.name}\n`);
      expect(start, Store.name).toBeGreaterThan(0);
      const section = README.slice(start, README.indexOf('\n### ', start + 1));
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

  it('names every option', () => {
    const types = readFileSync(path.join(ROOT, 'index.d.ts'), 'utf8');
    const names = [];
    for (const [, body = ''] of types.matchAll(/interface \w+Options[^{]*\{(.*?)^\}/gms)) {
      for (const [, option] of body.matchAll(/^ {2}(\w+)\?:/gm)) names.push(option);
    }
    expect(names).toContain('synchronous');
    for (const [, option] of (
      types.match(/type AdaptiveConfig = \{(.*?)^\}/ms)?.[1] ?? ''
    ).matchAll(/^ {2}(\w+):/gm)) {
      names.push(option);
    }
    expect(names).toContain('minUserReserved');
    expect(names.filter((name) => !README.includes(`\`${name}\``))).toEqual([]);
  });

  it('shows the schema that the stores make', async () => {
    const database = path.join(project, 'schema.db');
    const stores = [
      new SqliteAdaptiveRateLimitStore({ database }),
      new SQLiteRateLimitStore({ database }),
      new SQLiteDedupeStore({ database }),
      new SQLiteCacheStore({ database }),
    ];
    await Promise.all(stores.map((store) => store.close()));
    const file = new Database(database, { readonly: true });
    const made = file
      .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
      .pluck()
      .all();
    file.close();

    const shown = [...README.matchAll(/<!-- schema -->\s*```sql\n(.*?)```/gs)]
      .map(([, sql = '']) => sql.replace(/--.*$/gm, ''))
      .join('')
      .split(';')
      .filter((statement) => statement.trim());
    const tidy = (/** @type {string} */ sql) => sql.replace(/\s+/g, ' ').trim();
    expect(shown.map(tidy).sort()).toEqual(made.map((sql) => tidy(String(sql))).sort());
  });
});

describe('links', () => {
  it.each(['README.md', 'CHANGELOG.md'])('in %s lead somewhere', (name) => {
    const text = readFileSync(path.join(ROOT, name), 'utf8');
    const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/ /g, '-'),
    );
    const broken = [...text.matchAll(/\]\(([^)]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !target.startsWith('https://'))
      .filter((target) =>
        target.startsWith('#')
          ? !anchors.includes(target.slice(1))
          : !existsSync(path.join(ROOT, target)),
      );
    expect(broken).toEqual([]);
  });
});

/** @param {string} text */
function escapeRegExp(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
