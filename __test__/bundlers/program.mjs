// What 94-bundlers.test.mjs builds with bundlers: it uses stores on a path and on a connection, and is written against 0.2.0.
import { SQLiteCacheStore, SQLiteDedupeStore } from '@comic-vine/sqlite-store';
import Database from 'better-sqlite3';

async function main() {
  const cache = new SQLiteCacheStore({ database: process.argv[2] });
  await cache.set('key', { works: true }, 60);
  const connection = new Database(':memory:');
  const dedupe = new SQLiteDedupeStore({ database: connection });
  await dedupe.register('hash');
  const answer = { value: await cache.get('key'), isInProgress: await dedupe.isInProgress('hash') };
  await cache.close();
  await dedupe.close();
  connection.close();
  console.log(JSON.stringify(answer));
}

main().catch((error) => {
  console.log(JSON.stringify({ code: error.code, message: error.message }));
});
