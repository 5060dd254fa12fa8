'use strict';
// Evaluates the package again and again, each time in a context of its own, as a test framework does for every file, and
// uses stores. Tells how many classes are alive after a collection, and how the heap has grown. Needs --expose-gc.

const { readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');
const vm = require('node:vm');

const { evaluations, measuredFrom, database } = JSON.parse(process.argv[2]);
const root = join(__dirname, '..', '..');

/** Evaluates the package in a new context. */
function evaluate() {
  const context = vm.createContext({
    process,
    Buffer,
    console,
    setTimeout,
    clearTimeout,
    setInterval,
    clearInterval,
  });
  /** @type {Map<string, { exports: any }>} */
  const modules = new Map();
  /** @param {string} file */
  function load(file) {
    const known = modules.get(file);
    if (known) return known.exports;
    const module = { exports: {} };
    modules.set(file, module);
    const outer = createRequire(file);
    /** @param {string} name */
    const require = (name) => {
      const resolved = outer.resolve(name);
      return resolved.startsWith(root) && resolved.endsWith('.js') ? load(resolved) : outer(name);
    };
    Object.assign(require, { resolve: outer.resolve, cache: {} });
    const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
    const code = readFileSync(file, 'utf8');
    const run = vm.compileFunction(code, parameters, { filename: file, parsingContext: context });
    run(module.exports, require, module, file, dirname(file));
    return module.exports;
  }
  return load(join(root, 'index.js'));
}

/** @type {WeakRef<object>[]} */
const classes = [];

async function use() {
  const stores = evaluate();
  /** @type {any[]} */
  const opened = [];
  for (const [name, Store] of Object.entries(stores)) {
    if (!name.endsWith('Store')) continue;
    classes.push(new WeakRef(Store));
    opened.push(new Store({ database, cleanupIntervalMs: 60_000 }));
  }
  const [cache, dedupe, limits, adaptive] = opened;
  await cache.set('key', { value: 1 }, 60);
  await cache.get('key');
  await dedupe.registerOrJoin('job');
  const waiting = dedupe.waitFor('job');
  await dedupe.complete('job', 'result');
  await waiting;
  await limits.canProceed('r');
  await limits.getStatus('r');
  await adaptive.record('r', 'user');
  for (const store of opened) await store.close();
}

async function collect() {
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    /** @type {any} */ (globalThis).gc();
  }
  return process.memoryUsage().heapUsed;
}

(async () => {
  let before = 0;
  for (let i = 1; i <= evaluations; i++) {
    await use();
    if (i === measuredFrom) before = await collect();
  }
  const after = await collect();
  const alive = classes.filter((one) => one.deref() !== undefined).length;
  process.stdout.write(JSON.stringify({ made: classes.length, alive, grown: after - before }));
})();
