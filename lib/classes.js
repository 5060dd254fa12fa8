'use strict';

// The stores' classes, of this realm: thin ones, over native functions that there are once, however often this file is
// evaluated. A store's object has the handle of the native store under a symbol, so that a `Proxy` of it, an heir and a
// spy work as with any class.

const { describe } = require('./binding.js');
const Limits = require('./limits.js');
const Line = require('./line.js');
const wrappersOf = require('./methods.js');
const Tickets = require('./tickets.js');

/** @param {object} object @param {PropertyKey} key @param {unknown} value */
function hide(object, key, value) {
  Object.defineProperty(object, key, { value, writable: true, configurable: true });
}

/**
 * @param {import('./binding.js').ClassTable} table
 * @param {{ realm: unknown }} intrinsics  with the realm's handle; they live as long as the class
 */
module.exports = function define({ name, open, methods }, intrinsics) {
  const handle = Symbol('store');
  const limits = Symbol('limits');

  const Store = {
    [name]: class {
      constructor(options = undefined) {
        const limitsOfStore = new Limits();
        hide(this, handle, open(intrinsics.realm, options, limitsOfStore));
        if (limitsOfStore.booksWaits) limitsOfStore.tickets = new Tickets();
        hide(this, limits, limitsOfStore);
      }
    },
  }[name];

  /** @param {any} receiver */
  function storeOf(receiver) {
    const store = receiver?.[handle];
    if (store !== undefined) return store;
    throw new TypeError(`this must be an ${name}, got ${describe(receiver)}`);
  }
  /** @param {any} receiver */
  function lineOf(receiver) {
    const store = storeOf(receiver);
    const { [limits]: limitsOfStore } = receiver;
    limitsOfStore.line ??= new Line(limitsOfStore, store, methods);
    return limitsOfStore.line;
  }

  const wrappers = wrappersOf(storeOf, (receiver) => receiver[limits], lineOf);
  for (const { name: method, length, wrapper, run } of methods) {
    const made = wrappers[wrapper](run);
    Object.defineProperties(made, { name: { value: method }, length: { value: length } });
    hide(Store.prototype, method, made);
  }
  const asyncDispose = Symbol.asyncDispose ?? Symbol.for('nodejs.asyncDispose');
  /** @this {any} */
  function close() {
    return this.close();
  }
  hide(Store.prototype, asyncDispose, close);
  return Store;
};
