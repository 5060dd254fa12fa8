'use strict';
// Objects that stand for a connection, more or less, and things that are none. The same under Vitest and Bun's test runner.

const { argumentsOf } = require('../support/method-arguments.cjs');
const { EventEmitter } = require('node:events');
const { outcomeOf } = require('../support/harness.cjs');
const { connect } = require('../support/drivers.cjs');

const names = [
  'SQLiteCacheStore',
  'SQLiteDedupeStore',
  'SQLiteRateLimitStore',
  'SqliteAdaptiveRateLimitStore',
];

const nothing = () => {};
/** @param {any} answer */
const answering = (answer) => ({
  prepare: () => ({ run: () => answer, get: () => answer, all: () => answer }),
  exec: () => answer,
});
/** @param {any} thrown */
const throwing = (thrown) => () => {
  throw thrown;
};

/**
 * @param {{ describe: any, it: any, expect: any }} runner
 * @param {string} driver
 * @param {Record<string, any>} stores
 */
module.exports = function fakeConnections({ describe, it, expect }, driver, stores) {
  /** Every method with arguments it takes. @param {any} store @returns {[string, () => any][]} */
  const callsOf = (store) =>
    Object.getOwnPropertyNames(Object.getPrototypeOf(store))
      .filter(
        (name) =>
          !/constructor|close|destroy|ResourceConfig|getMetrics|entries|backup|vacuum/.test(name),
      )
      .map((name) => [name, () => store[name](...argumentsOf(name))]);

  describe('objects whose statements do nothing', () => {
    for (const [title, connection] of /** @type {[string, any][]} */ ([
      [
        'with functions',
        { prepare: () => ({ run: nothing, get: nothing, all: nothing }), exec: nothing },
      ],
      ['with no more', Object.assign(Object.create(null), answering(undefined))],
      [
        'with a prototype',
        new (class {
          prepare() {
            return {
              run() {},
              get() {},
              all() {
                return [];
              },
            };
          }
          exec() {}
        })(),
      ],
      ['that are functions', Object.assign(() => {}, answering(undefined))],
      ['that are frozen', Object.freeze(answering(undefined))],
      ['that answer null', answering(null)],
    ])) {
      for (const name of names) {
        it(`${title}: ${name} goes on as on an empty database`, async () => {
          const store = new stores[name]({ database: connection });
          for (const [, call] of callsOf(store))
            expect((await outcomeOf(call())).status).toBe('resolved');
          for (const state of await Promise.all(
            callsOf(store).map(([, call]) => outcomeOf(call())),
          ))
            expect(state.status).toBe('resolved');
          if (name === 'SQLiteCacheStore') expect(await store.get('name')).toBeUndefined();
          if (name === 'SQLiteRateLimitStore') expect(await store.canProceed('name')).toBe(true);
          await store.close();
        });
      }
    }
  });

  describe('objects that answer and throw what no driver does', () => {
    const circular = {};
    Object.assign(circular, { circular });
    /** @type {Record<string, any>} */
    const odd = {
      numbers: answering(42),
      texts: answering('text'),
      BigInts: answering(2n ** 80n),
      symbols: answering(Symbol('s')),
      functions: answering(() => 1),
      'empty objects': answering({}),
      'empty arrays': answering([]),
      'long arrays': answering(new Array(100_000).fill(null)),
      'objects in themselves': answering(circular),
      'columns that throw': answering(
        new Proxy({}, { get: throwing(new RangeError('no column')) }),
      ),
      'columns of every kind': answering({
        c0: Symbol('s'),
        c1: 2n ** 70n,
        c2: new Float64Array(3),
        c3: [],
        c4: () => 1,
        c5: new Date(Number.NaN),
        changes: -1,
      }),
      'blobs without bytes': answering({
        c0: new Uint8Array(0),
        c1: new DataView(new ArrayBuffer(8)),
        changes: 2n,
      }),
      'numbers out of range': answering({
        c0: Number.NaN,
        c1: Number.POSITIVE_INFINITY,
        c2: 1e300,
        changes: -1e300,
      }),
      'rows that are arrays': answering(['a', 'b', 'c']),
      'errors thrown': {
        ...answering(undefined),
        prepare: throwing(new RangeError('no statement')),
      },
      'undefined thrown': { ...answering(undefined), exec: throwing(undefined) },
      'null thrown by statements': {
        ...answering(undefined),
        prepare: () => ({ run: throwing(null), get: throwing(null), all: throwing(null) }),
      },
      'frozen errors thrown by statements': {
        ...answering(undefined),
        prepare: () => {
          const fails = throwing(Object.freeze(new Error('frozen')));
          return { run: fails, get: fails, all: nothing };
        },
      },
      'a transaction flag that throws': Object.defineProperty(
        answering(undefined),
        'inTransaction',
        {
          get: throwing(new Error('no flag')),
        },
      ),
      'a transaction flag of another type': { ...answering(undefined), inTransaction: 'yes' },
      'an open flag of another type': { ...answering(undefined), open: 'yes' },
      'methods that come and go': (() => {
        let turn = 0;
        const connection = /** @type {any} */ (answering(undefined));
        const { exec } = connection;
        return Object.defineProperty(connection, 'exec', {
          get: () => (turn++ % 3 === 2 ? undefined : exec),
        });
      })(),
    };
    for (const [title, connection] of Object.entries(odd)) {
      for (const name of names) {
        it(`${title}: ${name} refuses, or every call comes to an end`, async () => {
          let store;
          try {
            store = new stores[name]({ database: connection });
          } catch (error) {
            if (error !== undefined && error !== null) expect(error).toBeInstanceOf(Error);
            return;
          }
          for (const [, call] of callsOf(store)) {
            const promise = call();
            expect(promise).toBeInstanceOf(Promise);
            expect((await outcomeOf(promise)).status).not.toBe('pending');
          }
          const states = await Promise.all(callsOf(store).map(([, call]) => outcomeOf(call())));
          expect(states.filter(({ status }) => status === 'pending')).toEqual([]);
          store.destroy();
          await store.close();
        });
      }
    }
  });

  describe('connections that call back', () => {
    /**
     * A connection that does something else while it runs a statement.
     * @param {(sql: string) => void} meanwhile
     */
    function meddling(meanwhile) {
      const connection = connect(driver, ':memory:');
      return {
        connection,
        meddler: {
          prepare(/** @type {string} */ sql) {
            const statement = connection.prepare(sql);
            return Object.fromEntries(
              ['run', 'get', 'all'].map((method) => [
                method,
                (/** @type {any[]} */ ...args) => {
                  meanwhile(sql);
                  return statement[method](...args);
                },
              ]),
            );
          },
          exec: (/** @type {string} */ sql) => connection.exec(sql),
          get inTransaction() {
            return connection.inTransaction ?? connection.isTransaction;
          },
          get open() {
            return connection.open;
          },
        },
      };
    }

    it('may call the store while it works', async () => {
      /** @type {Promise<any>[]} */
      const inner = [];
      /** @type {any} */
      let cache;
      let left = 20;
      const { meddler, connection } = meddling((sql) => {
        if (!/INSERT INTO cache/.test(sql) || left-- <= 0) return;
        inner.push(cache.set(`inner ${left}`, left, 60), cache.get('outer 0'));
      });
      cache = new stores.SQLiteCacheStore({ database: meddler });
      await Promise.all(Array.from({ length: 5 }, (_, i) => cache.set(`outer ${i}`, i, 60)));
      await Promise.all(inner);
      while (left > 0) await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(inner);
      expect(Number(connection.prepare('SELECT COUNT(*) AS c0 FROM cache').get().c0)).toBe(25);
      cache.destroy();
    });

    for (const end of ['destroy', 'close']) {
      it(`may ${end} the store while it works`, async () => {
        /** @type {any} */
        let cache;
        let ended = false;
        const { meddler, connection } = meddling((sql) => {
          if (!/INSERT INTO cache/.test(sql) || ended) return;
          ended = true;
          cache[end]();
        });
        cache = new stores.SQLiteCacheStore({ database: meddler });
        const calls = [cache.set('a', 1, 60), cache.set('b', 2, 60), cache.get('a')];
        const states = await Promise.all(calls.map(outcomeOf));
        expect(states.map(({ status }) => status)).not.toContain('pending');
        await expect(cache.get('a')).rejects.toThrow('Cache store has been destroyed');
        expect(Number(connection.prepare('SELECT COUNT(*) AS c0 FROM cache').get().c0)).toBe(2);
      });
    }

    it('may close themselves while they work', async () => {
      let closed = false;
      const { meddler, connection } = meddling((sql) => {
        if (!/INSERT INTO cache/.test(sql) || closed) return;
        closed = true;
        try {
          connection.close();
        } catch {
          // Some drivers refuse.
        }
      });
      const cache = new stores.SQLiteCacheStore({ database: meddler });
      const calls = [cache.set('a', 1, 60), cache.set('b', 2, 60), cache.get('a')];
      for (const { status } of await Promise.all(calls.map(outcomeOf)))
        expect(status).not.toBe('pending');
      cache.destroy();
    });
  });

  describe('what is no connection is refused', () => {
    const connection = connect(driver, ':memory:');
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    /** @type {Record<string, any>} */
    const none = {
      null: null,
      'a number': 42,
      'a boolean': false,
      'a BigInt': 1n,
      'a symbol': Symbol('s'),
      'an object': {},
      'an array': [],
      'an array of connections': [connection],
      'a function': nothing,
      'a map': new Map(),
      'a date': new Date(),
      'a buffer': Buffer.from(':memory:'),
      'a URL': new URL('file:///tmp/stores.db'),
      'a boxed path': Object(':memory:'),
      'a promise of a connection': Promise.resolve(connection),
      'an emitter': new EventEmitter(),
      'a statement': connection.prepare('SELECT 1'),
      'a store': new stores.SQLiteCacheStore(),
      'an options object': { database: connection },
      'only prepare': { prepare: nothing },
      'only exec': { exec: nothing },
      'members that are no functions': { prepare: 1, exec: 'exec' },
      'members that throw': Object.defineProperty({ exec: nothing }, 'prepare', {
        get: throwing(new Error('no')),
      }),
      'a revoked proxy': revoked.proxy,
      'a connection that answers promises': {
        prepare: async () => ({ run: nothing, get: nothing, all: nothing }),
        exec: async () => {},
      },
      'a connection whose statements answer promises': {
        prepare: () => ({ run: async () => {}, get: async () => {}, all: async () => [] }),
        exec: async () => {},
      },
      'a connection that takes callbacks': {
        prepare: () => ({
          run() {
            return this;
          },
          get() {
            return this;
          },
          all() {
            return this;
          },
        }),
        exec() {
          return this;
        },
      },
      'a connection without statements': { prepare: nothing, exec: nothing },
      'a connection of a pool': {
        prepare: () => ({ bind: nothing, step: nothing }),
        exec: nothing,
      },
    };
    for (const [title, database] of Object.entries(none)) {
      for (const name of names) {
        it(`${title}: ${name}`, () => {
          let error;
          try {
            new stores[name]({ database }).destroy();
          } catch (thrown) {
            error = thrown;
          }
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^database must be .+ open .*connection.*, got ./);
        });
      }
    }
  });
};
