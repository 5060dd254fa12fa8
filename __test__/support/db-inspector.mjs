// Looks into database files, changes and locks them, with another copy of SQLite in another process.
import { createRequire } from 'node:module';
import { afterAll } from 'vitest';

const { Program } = createRequire(import.meta.url)('./processes.cjs');

/** A process for the suite that calls this. */
export function startDbInspector() {
  const program = new Program('db-inspector.cjs', {}, { ipc: true });
  /** @type {((answer: any) => void)[]} */
  const waiting = [];
  program.process.on('message', (/** @type {any} */ answer) => waiting.shift()?.(answer));
  /** @param {string} question @param {string} path @param {any[]} args @returns {Promise<any>} */
  const ask = (question, path, ...args) =>
    new Promise((resolve, reject) => {
      waiting.push(({ error, result }) => (error ? reject(new Error(error)) : resolve(result)));
      program.process.send({ question, path, args });
    });
  afterAll(() => program.kill());
  return {
    /**
     * The rows of a query, each as an array.
     * @param {string} path @param {string} sql @param {unknown[]} parameters
     * @returns {Promise<any[]>}
     */
    rows: (path, sql, ...parameters) => ask('rows', path, sql, parameters),
    /** @param {string} path @returns {Promise<string>} */
    checkIntegrity: (path) =>
      ask('rows', path, 'PRAGMA integrity_check', []).then(([[text]]) => text),
    /** Runs statements, each with its parameters. @param {string} path @param {any[][]} statements */
    change: (path, ...statements) => ask('change', path, statements),
    /** Every table with its columns, indexes and rows. @param {string} path */
    dump: (path) => ask('dump', path),
    /** What calls on 0.2.0's stores answer. @param {string} path @param {Record<string, any[][]>} calls */
    calls: (path, calls) => ask('calls', path, calls),
    /**
     * Takes the file's write lock and gives it back after some time; resolves when it has it.
     * @param {string} path @param {number} milliseconds
     */
    lock: (path, milliseconds) => ask('lock', path, milliseconds),
  };
}
