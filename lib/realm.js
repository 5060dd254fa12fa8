'use strict';

// The stores, made of this realm's own intrinsics. A native binding belongs to the realm that loaded it first,
// while a test framework evaluates this file anew in a context of its own for every test file. What is faked
// later (Date, timers) is looked up when it is used, as a store written in JavaScript would.

const binding = require('./binding.js');
const define = require('./classes.js');
const driver = require('./driver.js');
const outside = require('./outside.js');
const remoteDriver = require('./remote-driver.js');

// A promise has the context in which it was made.
const settled = outside.runInAsyncScope(() => Promise.resolve());

const intrinsics = {
  now: () => Date.now(),
  date: (time) => new Date(time),
  parse: (text) => JSON.parse(text),
  stringify: (value) => JSON.stringify(value),
  Object,
  Array,
  Error,
  TypeError,
  Promise,
  pending() {
    const parts = [];
    parts[0] = new Promise((resolve, reject) => {
      parts[1] = resolve;
      parts[2] = reject;
    });
    return parts;
  },
  // A promise that a pending one is to follow. It is rejected in a reaction of its own, after the pending one has begun to
  // follow: what the engine then finds by the promises is the stack of those who await. Who succeeds pays nothing for it.
  rejected(error) {
    const reject = () => {
      Error.captureStackTrace?.(error, reject);
      throw error;
    };
    return settled.then(() => {}).then(reject);
  },
  startInterval(callback, number, milliseconds) {
    const again = () => {
      if (!callback(number)) clearInterval(timer);
    };
    const timer = outside.runInAsyncScope(() => setInterval(again, milliseconds));
    return hold(timer);
  },
  startTimeout(callback, number, milliseconds) {
    return hold(outside.runInAsyncScope(() => setTimeout(() => callback(number), milliseconds)));
  },
  stopTimer({ timer }) {
    clearTimeout(timer);
  },
  driver,
  remoteDriver,
  outside,
  /** @type {unknown} */
  realm: undefined,
};
intrinsics.realm = outside.runInAsyncScope(binding.createRealm, undefined, intrinsics);

// No timer of a store keeps the process alive. A timer may be a number (fake timers), which native code cannot
// hold on to.
function hold(timer) {
  timer?.unref?.();
  return { timer };
}

for (const table of binding.classes) exports[table.name] = define(table, intrinsics);
