'use strict';

// The stores' classes, of this realm: thin ones, over native functions that there are once, however often this file is
// evaluated. A store's object has the handle of the native store under a symbol, so that a `Proxy` of it, an heir and a
// spy work as with any class.

const Limits = require('./limits.js');
const Line = require('./line.js');
const wrappersOf = require('./methods.js');
const { observerOf } = require('./observing.js');
const Opening = require('./opening.js');
const refuse = require('./refuse.js');
const Tickets = require('./tickets.js');

/** The wrappers of methods that answer no promise. */
const ANSWERS_AT_ONCE = new Set(['direct', 'counts', 'pages']);
/** The methods that end a store. */
const ENDS = new Set(['close', 'destroy']);

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
        hide(this, handle, opened(options, limitsOfStore));
        if (limitsOfStore.ignoresErrors) observer.ignores = true;
        if (limitsOfStore.booksWaits) limitsOfStore.tickets = new Tickets();
        hide(this, limits, limitsOfStore);
      }
    },
  }[name];

  const observer = observerOf(/** @type {any} */ (name), (receiver) => receiver?.[limits]);
  /** @param {any} options @param {Limits} limitsOfStore */
  const native = (options, limitsOfStore) => open(intrinsics.realm, options, limitsOfStore);
  const { run: destroy } = /** @type {any} */ (methods.find((each) => each.name === 'destroy'));
  /** @param {any} receiver @param {unknown} store */
  function replace(receiver, store) {
    destroy(receiver[handle]);
    receiver[handle] = store;
  }

  /** A native store; where errors are ignored, one that stands for it if it cannot be had. @param {any} options @param {Limits} limitsOfStore */
  function opened(options, limitsOfStore) {
    try {
      return native(options, limitsOfStore);
    } catch (error) {
      if (!limitsOfStore.ignoresErrors || !limitsOfStore.isBroken) throw error;
      limitsOfStore.opening = new Opening(options, limitsOfStore, error, native, replace);
      return limitsOfStore.opening.standIn();
    }
  }

  /** @param {any} receiver */
  function storeOf(receiver) {
    const store = receiver?.[handle];
    if (store !== undefined) return store;
    return refuse('this', `an ${name}`, receiver);
  }
  /** @param {any} receiver */
  function lineOf(receiver) {
    const store = storeOf(receiver);
    const { [limits]: limitsOfStore } = receiver;
    limitsOfStore.line ??= new Line(limitsOfStore, store, methods);
    return limitsOfStore.line;
  }

  /** @param {(this: any) => unknown} end */
  const ending = (end) =>
    /** @this {any} */
    function () {
      // It is not opened any more.
      const limitsOfStore = this?.[limits];
      if (limitsOfStore !== undefined) limitsOfStore.opening = undefined;
      return end.call(this);
    };

  const wrappers = wrappersOf(storeOf, (receiver) => receiver[limits], lineOf, observer);
  for (const { name: method, length, wrapper, run } of methods) {
    const wrap = wrappers[wrapper];
    const made = ENDS.has(method)
      ? ending(wrap(run))
      : ANSWERS_AT_ONCE.has(wrapper)
        ? wrap(run)
        : wrap(run, observer.observe(method, run, wrap));
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
