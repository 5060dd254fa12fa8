'use strict';
// A process whose 0.2.0 store, on its own connection, registers jobs and completes them when told.
// Each line on stdin is a hash; it is registered at once, said so, and completed 100 ms later, which is said too.

const { createInterface } = require('node:readline');
const Database = require('better-sqlite3');

async function main() {
  const { SQLiteDedupeStore } = await import('sqlite-store-0.2.0');
  const connection = new Database(JSON.parse(process.argv[2]).path);
  const store = new SQLiteDedupeStore({ database: connection });
  process.stdout.write('ready\n');
  for await (const hash of createInterface({ input: process.stdin })) {
    await store.register(hash);
    process.stdout.write('registered\n');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await store.complete(hash, { hash });
    process.stdout.write('completed\n');
  }
  await store.close();
  connection.close();
}

main();
