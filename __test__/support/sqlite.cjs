'use strict';
// Looks into a database file, or changes it, from a process of its own: a second copy of SQLite in the process of a
// store that has the file open would break its locks. Run as: node sqlite.cjs <path>, with JSON on stdin.
//   { "statements": [["INSERT …", …parameters]] }   parameters { "hex": "…" } are blobs
//   { "dump": true }                                 every table with its columns, indexes and rows
//   { "calls": { "SQLiteCacheStore": [["get", "key"]] } }   calls on 0.2.0's stores on the file, awaited in order
// Answers JSON on stdout.

const Database = require('better-sqlite3');

/** @param {any} db */
function dump(db) {
  const tables = db
    .prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )
    .pluck()
    .all();
  return Object.fromEntries(
    tables.map((/** @type {string} */ table) => {
      const columns = db.pragma(`table_info(${table})`);
      const shown = columns.map(
        (/** @type {any} */ { name }) =>
          `json_array('${name}', typeof("${name}"), CASE typeof("${name}") WHEN 'blob' THEN hex("${name}") ELSE CAST("${name}" AS TEXT) END) AS "${name}"`,
      );
      const indexes = db
        .pragma(`index_list(${table})`)
        .map((/** @type {any} */ { name }) => [
          name,
          db.pragma(`index_info('${name}')`).map((/** @type {any} */ column) => column.name),
        ]);
      const rows = db
        .prepare(`SELECT ${shown.join(', ')} FROM ${table} ORDER BY 1`)
        .raw()
        .all();
      return [
        table,
        {
          columns,
          indexes: Object.fromEntries(indexes),
          rows: rows.map((/** @type {string[]} */ row) => row.map((cell) => JSON.parse(cell))),
        },
      ];
    }),
  );
}

/** @param {string} path @param {Record<string, any[][]>} calls */
async function callAll(path, calls) {
  const stores = await import('sqlite-store-0.2.0');
  const results = [];
  for (const [name, list] of Object.entries(calls)) {
    const store = new /** @type {any} */ (stores)[name]({ database: path });
    for (const [method, ...args] of list) results.push((await store[method](...args)) ?? null);
    await store.close();
  }
  return results;
}

async function main() {
  const path = process.argv[2];
  const input = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  if (input.calls) return callAll(path, input.calls);
  const db = new Database(path);
  for (const [sql, ...parameters] of input.statements ?? []) {
    db.prepare(sql).run(
      ...parameters.map((/** @type {any} */ value) =>
        value?.hex === undefined ? value : Buffer.from(value.hex, 'hex'),
      ),
    );
  }
  const answer = input.dump ? dump(db) : {};
  db.close();
  return answer;
}

main().then((answer) => process.stdout.write(JSON.stringify(answer)));
