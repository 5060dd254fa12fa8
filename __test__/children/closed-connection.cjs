'use strict';
// Closes a connection while stores on it have their clean-up timers, as an application does that ends in the wrong
// order.

const { connect, storesOf } = require('../support/implementations.cjs');

const { implementation, path } = JSON.parse(process.argv[2]);

storesOf({ ...implementation, by: 'path' }).then((stores) => {
  const database = connect(path);
  const open = [
    new stores.SQLiteCacheStore({ database, cleanupIntervalMs: 20 }),
    new stores.SQLiteDedupeStore({ database, cleanupIntervalMs: 20 }),
    new stores.SQLiteRateLimitStore({ database }),
    new stores.SqliteAdaptiveRateLimitStore({ database }),
  ];
  database.close();
  setTimeout(() => {
    for (const store of open) store.destroy();
    process.stdout.write('goes on');
  }, 200);
});
