'use strict';
// Looks into database files, changes and locks them, over IPC: see `support/db-inspector.mjs`. In a process of its own, since
// a second copy of SQLite in the process of a store that has the file open would break its locks.

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

/** A parameter; `{ hex }` stands for a blob. @param {any} value */
const parameter = (value) => (value?.hex === undefined ? value : Buffer.from(value.hex, 'hex'));

/** What can be asked, each on a connection of its own. @type {Record<string, (db: any, ...args: any[]) => any>} */
const questions = {
  rows: (db, sql, parameters) =>
    db
      .prepare(sql)
      .raw()
      .all(...parameters),
  /** Runs statements, each with its parameters. */
  change(db, statements) {
    for (const [sql, ...parameters] of statements)
      db.prepare(sql).run(...parameters.map(parameter));
  },
  /** Every table with its columns, indexes and rows. */
  dump,
};

/** @param {string} question @param {string} path @param {any[]} args */
async function answer(question, path, args) {
  // Calls on 0.2.0's stores on the file, awaited in order.
  if (question === 'calls') return callAll(path, args[0]);
  const db = new Database(path, { fileMustExist: question !== 'change' });
  if (question === 'lock') {
    db.exec('BEGIN IMMEDIATE');
    setTimeout(() => db.close(), args[0]);
    return undefined;
  }
  try {
    return questions[question](db, ...args);
  } finally {
    db.close();
  }
}

process.on('message', async (/** @type {any} */ { question, path, args }) => {
  try {
    process.send?.({ result: await answer(question, path, args) });
  } catch (error) {
    process.send?.({ error: String(error) });
  }
});
