'use strict';

// Copies a file, in a thread of its own: so that it can be ended amid the copy, and leaves nothing then.

const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const { openFile } = require('./file.js');

/**
 * Copies a file, as it is at one moment, to one that is not there yet and has its name once it is complete.
 * @param {string} path @param {string} target @param {(part: number) => void} onProgress  from 0 to 1
 * @returns {{ done: Promise<void>, end(): Promise<unknown> }}  `end` ends it, and resolves when nothing is left of it
 */
function backUp(path, target, onProgress) {
  const worker = new Worker(__filename, { workerData: { path, target } });
  /** @type {Promise<void>} */
  const done = new Promise((resolve, reject) => {
    worker.on('message', onProgress);
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
  return { done, end: () => worker.terminate() };
}

if (isMainThread) {
  module.exports = { backUp };
} else {
  const { path, target } = workerData;
  openFile(path).backUp(target, (part) => parentPort?.postMessage(part));
}
