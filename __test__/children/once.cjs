'use strict';
// A process of several that want the result of the same work. Each line on stdin names it: several callers of this process ask
// for it at once. What they got, and how often the work was done here, is one line each. A caller may be told to die at work.

const { createInterface } = require('node:readline');
const { createSQLiteStores } = require('../..');

const { database, callers, ttlSeconds } = JSON.parse(process.argv[2]);

async function main() {
  const stores = createSQLiteStores({ database });
  process.stdout.write('ready\n');
  for await (const line of createInterface({ input: process.stdin })) {
    const { key, fails, dies } = JSON.parse(line);
    let worked = 0;
    const work = async () => {
      worked++;
      if (dies) process.kill(process.pid, 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (fails) throw new TypeError(`no ${key}`);
      return { key, by: process.pid, worked };
    };
    const got = await Promise.all(
      Array.from({ length: callers }, () =>
        stores.once(key, work, { ttlSeconds, tags: ['all'] }).then(
          (/** @type {any} */ value) => JSON.stringify(value),
          (/** @type {any} */ error) => `${error.name}: ${error.message}`,
        ),
      ),
    );
    process.stdout.write(`${JSON.stringify({ worked, got })}\n`);
  }
  await stores.close();
}

main();
