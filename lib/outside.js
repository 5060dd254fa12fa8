'use strict';

// A place outside of any async context: what runs or begins here sees, and keeps, nothing of any `AsyncLocalStorage`.
// Stores run what several callers asked for together here, and start what lasts: timers, and the native environment. What
// is started within a request would keep that request's data as long as it lasts.

// See `binding.js`.
const { AsyncResource } =
  process.getBuiltinModule?.('node:async_hooks') ?? require('node:async_hooks');

// An async resource has the context in which it was made: in properties with symbols, the context as a whole or each
// storage's value, by the version of Node. They are taken off, and its ids left. Deno hides it: there the context is that in
// which this was loaded.
class Outside extends AsyncResource {
  // What lists open handles asks for this.
  hasRef() {
    return false;
  }
}

const outside = new Outside('@comic-vine/sqlite-store');
const ids = [outside.asyncId(), outside.triggerAsyncId?.()];
for (const key of Object.getOwnPropertySymbols(outside)) {
  if (!ids.includes(Reflect.get(outside, key))) Reflect.deleteProperty(outside, key);
}
// Native code keeps it, but must not keep this realm: its class is Node's own, and so is what answers `hasRef`, which without
// an argument is false.
const { hasOwnProperty: no } = Object.getPrototypeOf(AsyncResource.prototype);
Object.setPrototypeOf(outside, AsyncResource.prototype);
Object.defineProperty(outside, 'hasRef', { value: no });

module.exports = outside;
