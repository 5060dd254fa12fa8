'use strict';
// A way to a server that takes its time, in a process of its own: what waits synchronously does not hold it up. Its arguments are
// the server's port and the delay in ms; it writes its URL.

const { HttpProxy } = require('../../__test__/support/http-proxy.cjs');

const [, , port, delay] = process.argv;
HttpProxy.start(Number(port)).then((proxy) => {
  proxy.delay = Number(delay);
  console.log(proxy.url);
});
// Its parent has ended.
process.stdin.on('end', () => process.exit()).resume();
