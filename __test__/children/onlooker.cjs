'use strict';
// Looks into database files, and locks them, with better-sqlite3, over IPC. Every look is a connection of its own.

const Database = require('better-sqlite3');

/** @param {{ path: string, sql?: string, parameters?: any[], lock?: number }} request */
function answer({ path, sql = '', parameters = [], lock }) {
  const db = new Database(path, { fileMustExist: true });
  if (lock !== undefined) {
    db.exec('BEGIN IMMEDIATE');
    setTimeout(() => db.close(), lock);
    return null;
  }
  try {
    return db
      .prepare(sql)
      .raw()
      .all(...parameters);
  } finally {
    db.close();
  }
}

process.on('message', (/** @type {any} */ request) => {
  try {
    process.send?.({ result: answer(request) });
  } catch (error) {
    process.send?.({ error: String(error) });
  }
});
