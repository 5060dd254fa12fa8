'use strict';
// What SQLiteCacheStore promises.

const { inspect } = require('node:util');
const { notNames, textless, unserializable, values } = require('../support/values.cjs');
const endContract = require('./end.cjs');

/** @param {import('../support/harness.cjs').Harness} harness */
module.exports = function cacheContract(harness) {
  const {
    describe,
    it,
    fixed,
    ours,
    shared,
    sharedFixed,
    sharedOurs,
    local,
    near,
    isRemote,
    expect,
    clock,
    open,
    Store,
    START,
    cutsTexts,
    turn,
  } = harness;
  const destroyed = 'Cache store has been destroyed';
  const MIB = 1024 * 1024;

  harness.isolate();

  describe('values', () => {
    for (const { name, value, expected } of values) {
      it(`come back from ${name}`, async () => {
        const store = open();
        await store.set('key', value, 60);
        expect(await store.get('key')).toStrictEqual(expected);
        expect((await store.getStats()).totalItems).toBe(1);
      });
    }

    it('belong to the realm of the caller', async () => {
      const store = open();
      await store.set('key', { list: [1], object: {} }, 60);
      const value = await store.get('key');
      expect(value).toBeInstanceOf(Object);
      expect(value.object).toBeInstanceOf(Object);
      expect(value.list).toBeInstanceOf(Array);
    });

    it('are copies', async () => {
      const store = open();
      const value = { list: [1] };
      await store.set('key', value, 60);
      value.list.push(2);
      const first = await store.get('key');
      first.list.push(3);
      expect(await store.get('key')).toStrictEqual({ list: [1] });
    });

    it('are serialized when set is called', async () => {
      const store = open();
      const value = { list: [1] };
      const written = store.set('key', value, 60);
      value.list.push(2);
      await written;
      expect(await store.get('key')).toStrictEqual({ list: [1] });
    });

    for (const { name, value, reason } of unserializable) {
      it(`refuse ${name} and keep what was there`, async () => {
        const store = open();
        await store.set('key', 'before', 60);
        const error = await store.set('key', value, 60).catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(Error);
        expect(error.name).toBe('Error');
        expect(error.message.startsWith(`Failed to serialize value: ${reason}`)).toBe(true);
        expect(await store.get('key')).toBe('before');
      });
    }

    for (const { name, value } of textless) {
      fixed(`refuse ${name}`, async () => {
        const store = open();
        const error = await store.set('key', value, 60).catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(Error);
        expect(error.message).toMatch(/^Failed to serialize value: ./);
        expect((await store.getStats()).totalItems).toBe(0);
      });
    }
  });

  describe('keys', () => {
    const keys = [
      '',
      ' ',
      'a',
      'A',
      'a\0b',
      'a\0c',
      "'; DROP TABLE cache; --",
      '%',
      '_',
      'é',
      'e\u0301',
      '\u{1F9B8}',
      '__proto__',
      '0',
      'k'.repeat(100_000),
    ];

    it('are exact', async () => {
      const store = open();
      await Promise.all(keys.map((key, index) => store.set(key, index, 60)));
      expect(await Promise.all(keys.map((key) => store.get(key)))).toStrictEqual(
        keys.map((_, index) => index),
      );
      expect((await store.getStats()).totalItems).toBe(keys.length);
    });

    it('that are not there read as undefined', async () => {
      expect(await open().get('absent')).toBeUndefined();
    });

    for (const key of notNames) {
      fixed(`must be strings, not ${inspect(key)}`, async () => {
        const store = open();
        for (const call of [
          () => store.get(key),
          () => store.set(key, 1, 60),
          () => store.delete(key),
        ]) {
          const promise = call();
          expect(promise).toBeInstanceOf(Promise);
          const error = await promise.catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^hash must be .+, got ./);
        }
      });
    }
  });

  describe('time to live', () => {
    it('ends on the millisecond', async () => {
      const store = open();
      await store.set('key', 'value', 10);
      clock.set(START + 9_999);
      expect(await store.get('key')).toBe('value');
      clock.set(START + 10_000);
      expect(await store.get('key')).toBeUndefined();
    });

    it('may be a fraction', async () => {
      const store = open();
      await store.set('key', 'value', 0.0025);
      clock.set(START + 2);
      expect(await store.get('key')).toBe('value');
      clock.set(START + 3);
      expect(await store.get('key')).toBeUndefined();
    });

    for (const ttl of [0, -0, -1, -1e300, Number.NEGATIVE_INFINITY]) {
      it(`of ${ttl} has ended at once`, async () => {
        const store = open();
        await store.set('key', 'value', ttl);
        expect((await store.getStats()).totalItems).toBe(1);
        expect(await store.get('key')).toBeUndefined();
        expect((await store.getStats()).totalItems).toBe(0);
      });
    }

    for (const ttl of [1e9, 1e300, Number.POSITIVE_INFINITY]) {
      it(`of ${ttl} does not end soon`, async () => {
        const store = open({ cleanupIntervalMs: 1e9 });
        await store.set('key', 'value', ttl);
        clock.set(START + 20 * 365 * 86_400_000);
        expect(await store.get('key')).toBe('value');
        await store.cleanup();
        expect(await store.get('key')).toBe('value');
      });
    }

    for (const ttl of [Number.NaN, undefined, null, '60', {}, 60n]) {
      fixed(`must be a number, not ${inspect(ttl)}`, async () => {
        const store = open();
        const error = await store.set('key', 'value', ttl).catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(/^ttlSeconds must be .+, got ./);
        expect((await store.getStats()).totalItems).toBe(0);
      });
    }

    it('starts anew with each set', async () => {
      const store = open();
      await store.set('longer', 1, 1);
      await store.set('longer', 2, 100);
      await store.set('shorter', 1, 100);
      await store.set('shorter', 2, 1);
      clock.set(START + 1_000);
      expect(await store.get('longer')).toBe(2);
      expect(await store.get('shorter')).toBeUndefined();
    });

    ours('counts from the call, whatever a toJSON stores meanwhile', async () => {
      const store = open();
      let inner;
      const toJSON = () => {
        clock.set(START + 5_000);
        inner = store.set('inner', 1, 10);
        return 'outer';
      };
      await store.set('outer', { toJSON }, 10);
      await inner;
      clock.set(START + 10_000);
      expect(await store.get('outer')).toBeUndefined();
      clock.set(START + 14_999);
      expect(await store.get('inner')).toBe(1);
      clock.set(START + 15_000);
      expect(await store.get('inner')).toBeUndefined();
    });

    it('follows a clock that is set back', async () => {
      const store = open();
      await store.set('key', 'value', 10);
      clock.set(START - 60_000);
      expect(await store.get('key')).toBe('value');
    });
  });

  describe('maxEntrySizeBytes', () => {
    it('counts the JSON text in UTF-8', async () => {
      const store = open({ maxEntrySizeBytes: 10 });
      const sizes = {
        ascii: '12345678',
        ascii1: '123456789',
        latin: 'éééé',
        latin1: 'ééééé',
        emoji: '\u{1F9B8}\u{1F9B8}',
        emoji1: '\u{1F9B8}\u{1F9B8}a',
        escape: '\n\n\n\n',
        escape1: '\n\n\n\na',
        surrogate: '\ud800',
        surrogate1: '\ud800aaa',
      };
      for (const [key, value] of Object.entries(sizes)) await store.set(key, value, 60);
      for (const [key, value] of Object.entries(sizes)) {
        expect([key, await store.get(key)]).toStrictEqual([
          key,
          key.endsWith('1') ? undefined : value,
        ]);
      }
    });

    it('counts undefined as its 13-byte marker', async () => {
      const small = open({ maxEntrySizeBytes: 12 });
      await small.set('key', undefined, 60);
      expect((await small.getStats()).totalItems).toBe(0);
      const enough = open({ maxEntrySizeBytes: 13 });
      await enough.set('key', undefined, 60);
      expect((await enough.getStats()).totalItems).toBe(1);
    });

    local('is 5 MiB by default', async () => {
      const store = open();
      await store.set('fits', 'x'.repeat(5 * MIB - 2), 60);
      await store.set('does not', 'x'.repeat(5 * MIB - 1), 60);
      expect((await store.get('fits')).length).toBe(5 * MIB - 2);
      expect(await store.get('does not')).toBeUndefined();
    });

    it('keeps the earlier value of a key', async () => {
      const store = open({ maxEntrySizeBytes: 10 });
      await store.set('key', 'old', 60);
      expect(await store.set('key', 'too long for it', 60)).toBeUndefined();
      expect(await store.get('key')).toBe('old');
    });

    it('of 0 keeps nothing, of Infinity everything', async () => {
      const none = open({ maxEntrySizeBytes: 0 });
      await none.set('key', 1, 60);
      expect(await none.get('key')).toBeUndefined();
      const all = open({ maxEntrySizeBytes: Number.POSITIVE_INFINITY });
      const bytes = (isRemote ? 3 : 6) * MIB;
      await all.set('key', 'x'.repeat(bytes), 60);
      expect((await all.get('key')).length).toBe(bytes);
    });
  });

  describe('delete and clear', () => {
    it('delete removes one entry', async () => {
      const store = open();
      await store.set('a', 1, 60);
      await store.set('b', 2, 60);
      expect(await store.delete('a')).toBeUndefined();
      expect(await store.get('a')).toBeUndefined();
      expect(await store.get('b')).toBe(2);
      await expect(store.delete('a')).resolves.toBeUndefined();
    });

    it('clear removes all entries', async () => {
      const store = open();
      for (let i = 0; i < 20; i++) await store.set(`key-${i}`, i, 60);
      expect(await store.clear()).toBeUndefined();
      expect((await store.getStats()).totalItems).toBe(0);
      expect(await store.get('key-3')).toBeUndefined();
      await store.set('key-3', 'again', 60);
      expect(await store.get('key-3')).toBe('again');
    });
  });

  describe('clear of a scope', () => {
    const names = [
      '',
      'a',
      'a:',
      'a:1',
      'A:1',
      'ab',
      'a%',
      'a%1',
      'a_',
      'a_1',
      'é',
      'é1',
      ...(cutsTexts ? [] : ['ée\0']),
      'e\u0301',
      '🦸',
      '🦸1',
    ];
    for (const scope of [...names, 'x', '%', '_', '\u{10ffff}']) {
      ours(`removes what begins with ${inspect(scope)}`, async () => {
        const store = open();
        await Promise.all(names.map((name) => store.set(name, name, 60)));
        await store.setWithTags('a:tagged', 1, 60, ['tag']);
        expect(await store.clear(scope)).toBeUndefined();
        const left = [...names, 'a:tagged'].filter((name) => !name.startsWith(scope));
        const entries = await store.listEntries();
        expect(entries.map((/** @type {any} */ { hash }) => hash).sort()).toEqual(left.sort());
      });
    }

    (cutsTexts ? it : it.skip)('rejects where a hash is cut', async () => {
      const store = open();
      await store.set('a:\0', 1, 60);
      await expect(store.clear('a')).rejects.toThrow('malformed');
      expect(await store.get('a:\0')).toBe(1);
    });

    ours('spares what is stored next, and takes the tags along', async () => {
      const store = open();
      for (let i = 0; i < 1_200; i++) store.setWithTags(`a:${i}`, i, 60, ['tag']);
      const [, , read, gone] = await Promise.all([
        store.clear('a:'),
        store.set('a:1', 'anew', 60),
        store.get('a:1'),
        store.get('a:1199'),
      ]);
      expect([read, gone]).toEqual(['anew', undefined]);
      expect(await store.listEntries()).toEqual([
        expect.objectContaining({ hash: 'a:1', tags: [] }),
      ]);
    });

    ours('is all without one', async () => {
      const store = open();
      for (const scope of [undefined, '']) {
        await store.setWithTags('a', 1, 60, ['tag']);
        await store.clear(scope);
        expect(await store.listEntries()).toEqual([]);
      }
    });
  });

  describe('tags', () => {
    ours('are exactly those given, each once', async () => {
      const store = open();
      const tagsOf = async () => (await store.listEntries())[0].tags;
      expect(await store.setWithTags('key', { n: 1 }, 60, ['b', 'a', 'b', ''])).toBeUndefined();
      expect(await store.get('key')).toStrictEqual({ n: 1 });
      expect(await tagsOf()).toEqual(['', 'a', 'b']);
      await store.setWithTags('key', 2, 60, ['c']);
      expect(await tagsOf()).toEqual(['c']);
      await store.set('key', 3, 60);
      expect([await store.get('key'), await tagsOf()]).toEqual([3, ['c']]);
      await store.setWithTags('key', 4, 60, []);
      expect([await store.get('key'), await tagsOf()]).toEqual([4, []]);
    });

    ours('stay with the entry when a value is too large', async () => {
      const store = open({ maxEntrySizeBytes: 10 });
      await store.setWithTags('key', 'old', 60, ['a']);
      expect(await store.setWithTags('key', 'too long for it', 60, ['b'])).toBeUndefined();
      await store.setWithTags('other', 'too long for it', 60, ['b']);
      const entries = await store.listEntries();
      expect(entries).toEqual([expect.objectContaining({ hash: 'key', tags: ['a'] })]);
      expect(await store.get('key')).toBe('old');
    });

    ours('invalidate the entries that have one, or any', async () => {
      const store = open();
      await store.setWithTags('one', 1, 60, ['a', 'both', 'A%']);
      await store.setWithTags('two', 2, 60, ['b', 'both']);
      await store.setWithTags('three', 3, Number.POSITIVE_INFINITY, ['c\0']);
      await store.set('four', 4, 60);
      expect(await store.invalidateByTag('A')).toBe(0);
      expect(await store.invalidateByTag('c')).toBe(0);
      expect(await store.invalidateByTags([])).toBe(0);
      expect(await store.invalidateByTags(['both', 'a', 'b', 'none', 'a'])).toBe(2);
      expect(
        await Promise.all(['one', 'two', 'three', 'four'].map((key) => store.get(key))),
      ).toEqual([undefined, undefined, 3, 4]);
      expect(await store.invalidateByTag('c\0')).toBe(1);
      expect(await store.invalidateByTag('both')).toBe(0);
    });

    ours('go with their entries', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      const ends = [
        () => store.delete('key'),
        () => store.clear(),
        () => store.clear('k'),
        () => store.invalidateByTag('other'),
        async () => {
          clock.set(START + 2_000);
          expect(await store.get('key')).toBeUndefined();
          clock.set(START);
        },
        async () => {
          clock.set(START + 2_000);
          await store.cleanup();
          clock.set(START);
        },
      ];
      for (const end of ends) {
        await store.setWithTags('key', 1, 1, ['tag', 'other']);
        await end();
        await store.set('key', 2, 60);
        expect([String(end), await store.invalidateByTag('tag')]).toEqual([String(end), 0]);
        expect(await store.get('key')).toBe(2);
      }
    });

    ours('count entries that have not expired, in great numbers', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      const written = Array.from({ length: 2_000 }, (_, i) =>
        store.setWithTags(`key ${i}`, i, i < 300 ? 1 : 60, i % 2 ? ['all', 'odd'] : ['all']),
      );
      await Promise.all(written);
      clock.set(START + 1_000);
      const tags = ['odd', ...Array.from({ length: 500 }, (_, i) => `no ${i}`)];
      expect(await store.invalidateByTags(tags)).toBe(850);
      expect(await store.invalidateByTag('all')).toBe(850);
      expect((await store.getStats()).totalItems).toBe(0);
    });

    ours('take effect in the order of the calls', async () => {
      const store = open();
      const results = await Promise.all([
        store.setWithTags('key', 1, 60, ['a']),
        store.invalidateByTag('a'),
        store.get('key'),
        store.setWithTags('key', 2, 60, ['b']),
        store.invalidateByTag('a'),
        store.get('key'),
        store.invalidateByTags(['a', 'b']),
        store.set('key', 3, 60),
        store.get('key'),
        store.invalidateByTag('b'),
      ]);
      expect(results).toEqual([undefined, 1, undefined, undefined, 0, 2, 1, undefined, 3, 0]);
    });

    for (const tags of [
      undefined,
      null,
      'a',
      {},
      [1],
      ['a', undefined],
      ['\ud800'],
      new Set(['a']),
    ]) {
      ours(`must be strings, not ${inspect(tags)}`, async () => {
        const store = open();
        for (const call of [
          () => store.setWithTags('key', 1, 60, tags),
          () => store.invalidateByTags(tags),
        ]) {
          const promise = call();
          expect(promise).toBeInstanceOf(Promise);
          const error = await promise.catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(/^tags(\[\d\])? must be .+, got ./);
        }
        expect((await store.getStats()).totalItems).toBe(0);
      });
    }
  });

  describe('all entries, by pages', () => {
    /** @param {any} store @param {any} [options] */
    const gather = async (store, options) => {
      const found = [];
      for await (const entry of store.entries(options)) found.push(entry);
      return found;
    };
    /** @param {any} store @param {any} [options] */
    const hashes = async (store, options) => (await gather(store, options)).map(({ hash }) => hash);

    ours('are told in the order of their hashes, as a list tells them', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      expect(await gather(store)).toStrictEqual([]);
      await store.set('b', 'x'.repeat(10), 60);
      await store.setWithTags('a', 'é', Number.POSITIVE_INFINITY, ['t', 's']);
      await store.set('A', 1, 60);
      await store.setWithTags('stale', 1, 1, ['t']);
      clock.set(START + 2_000);
      const entry = {
        hash: 'b',
        expiresAt: START + 60_000,
        createdAt: START,
        sizeBytes: 16,
        tags: [],
      };
      const tagged = { ...entry, hash: 'a', expiresAt: 0, sizeBytes: 8, tags: ['s', 't'] };
      const upper = { ...entry, hash: 'A', sizeBytes: 3 };
      const stale = { ...upper, hash: 'stale', expiresAt: START + 1_000, tags: ['t'] };
      expect(await gather(store)).toStrictEqual([upper, tagged, entry]);
      expect(await gather(store, { expired: true })).toStrictEqual([upper, tagged, entry, stale]);
      expect(await gather(store, { tag: 't' })).toStrictEqual([tagged]);
      expect(await gather(store, { tag: 't', expired: true })).toStrictEqual([tagged, stale]);
      expect(await gather(store, { tag: 'nobody has' })).toStrictEqual([]);
      expect(await gather(store, { tag: 't', prefix: 's' })).toStrictEqual([]);
    });

    ours('come each once, however many they are, while others are stored and removed', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      const name = (/** @type {number} */ n) => `key:${String(n).padStart(4, '0')}`;
      const all = Array.from({ length: 350 }, (_, n) => name(n));
      await Promise.all(all.map((hash) => store.setWithTags(hash, 1, 60, ['all'])));
      await store.set('kez', 1, 60);
      await store.set('Key:', 1, 60);
      for (const options of [{ prefix: 'key:' }, { tag: 'all' }, { tag: 'all', prefix: 'key' }]) {
        expect(await hashes(store, options)).toStrictEqual(all);
      }
      expect(await hashes(store)).toHaveLength(352);
      expect(await hashes(store, { prefix: 'key:01' })).toStrictEqual(all.slice(100, 200));
      const found = [];
      for await (const { hash } of store.entries({ prefix: 'key:' })) {
        found.push(hash);
        if (found.length % 50 === 0) await store.delete(hash);
        if (hash === name(10)) await store.set('key:0010 and more', 1, 60);
      }
      expect(found.filter((hash) => !hash.includes('more'))).toStrictEqual(all);
      expect(new Set(found).size).toBe(found.length);
    });

    ours('of which none is left on a page are passed over', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      const stale = Array.from({ length: 250 }, (_, n) => store.set(`a ${n}`, 1, 1));
      await Promise.all([...stale, store.set('b', 1, 60)]);
      clock.set(START + 2_000);
      expect(await hashes(store)).toStrictEqual(['b']);
    });

    ours('may be left', async () => {
      const store = open();
      await Promise.all(['a', 'b'].map((hash) => store.set(hash, 1, 60)));
      for await (const { hash } of store.entries()) {
        expect(hash).toBe('a');
        break;
      }
      const iterator = store.entries();
      expect(iterator[Symbol.asyncIterator]()).toBe(iterator);
      await store.close();
      await expect(iterator.next()).rejects.toThrow(destroyed);
    });

    for (const [options, message] of /** @type {[any, RegExp][]} */ ([
      [5, /^options must be an object, got 5$/],
      [null, /^options must be an object, got null$/],
      [{ prefix: 5 }, /^options.prefix must be a string, got 5$/],
      [{ tag: null }, /^options.tag must be a string, got null$/],
      [{ expired: 1 }, /^options.expired must be a boolean, got 1$/],
    ])) {
      ours(`are not told with ${inspect(options)}`, async () => {
        const error = await open()
          .entries(options)
          .next()
          .catch((/** @type {unknown} */ e) => e);
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(message);
      });
    }
  });

  describe('a list', () => {
    ours('has what lives, the newest first', async () => {
      const store = open({ cleanupIntervalMs: 0 });
      await store.set('old', 'x'.repeat(10), 60);
      clock.set(START + 1_000);
      await store.setWithTags('new', 'é', Number.POSITIVE_INFINITY, ['t', 's']);
      await store.set('expired', 1, 1);
      clock.set(START + 2_000);
      const [newest, oldest] = [
        { hash: 'new', expiresAt: 0, createdAt: START + 1_000, sizeBytes: 8, tags: ['s', 't'] },
        { hash: 'old', expiresAt: START + 60_000, createdAt: START, sizeBytes: 16, tags: [] },
      ];
      const list = await store.listEntries();
      expect(list).toStrictEqual([newest, oldest]);
      expect(list).toBeInstanceOf(Array);
      expect(list[0]).toBeInstanceOf(Object);
      expect(await store.listEntries(1)).toStrictEqual([oldest]);
      expect(await store.listEntries(undefined, 1)).toStrictEqual([newest]);
      expect(await store.listEntries(0, 0)).toStrictEqual([]);
      expect(await store.listEntries(2, Number.POSITIVE_INFINITY)).toStrictEqual([]);
    });

    ours('has fifty at most by default', async () => {
      const store = open();
      for (let i = 0; i < 60; i++) store.setWithTags(`key ${i}`, i, 60, ['a', 'b']);
      expect(await store.listEntries()).toHaveLength(50);
      expect(await store.listEntries(50)).toHaveLength(10);
      expect(await store.listEntries(0, Number.POSITIVE_INFINITY)).toHaveLength(60);
    });

    for (const value of [-1, 0.5, Number.NaN, '1', null, {}]) {
      ours(`begins and ends by whole numbers, not ${inspect(value)}`, async () => {
        const store = open();
        for (const [name, call] of Object.entries({
          offset: () => store.listEntries(value),
          limit: () => store.listEntries(0, value),
        })) {
          const error = await call().catch((/** @type {unknown} */ e) => e);
          expect(error).toBeInstanceOf(TypeError);
          expect(error.message).toMatch(new RegExp(`^${name} must be .+, got .`));
        }
      });
    }
  });

  describe('zeroTtl', () => {
    ours('forever keeps what is stored for 0 seconds', async () => {
      const store = open({ zeroTtl: 'forever' });
      for (const ttl of [0, -0]) {
        await store.set(`plain ${ttl}`, 1, ttl);
        await store.setWithTags(`tagged ${ttl}`, 1, ttl, ['a']);
      }
      await store.set('below', 1, -1);
      clock.set(START + 20 * 365 * 86_400_000);
      await store.cleanup();
      expect(await store.get('below')).toBeUndefined();
      const list = await store.listEntries();
      expect(list.map((/** @type {any} */ { expiresAt }) => expiresAt)).toEqual([0, 0]);
      expect(await store.get('plain 0')).toBe(1);
      expect(await store.invalidateByTag('a')).toBe(1);
    });

    ours('is that they have expired by default', async () => {
      for (const options of [{}, { zeroTtl: undefined }, { zeroTtl: 'expired' }]) {
        const store = open(options);
        await store.setWithTags('key', 1, 0, ['a']);
        expect(await store.get('key')).toBeUndefined();
      }
    });

    (isRemote ? it.skip : ours)(
      'has entries expire at once, too, at the beginning of time',
      async () => {
        const store = open();
        clock.set(0);
        await store.set('key', 1, 0);
        expect(await store.get('key')).toBeUndefined();
        await store.set('key', 1, -5);
        await store.cleanup();
        expect((await store.getStats()).totalItems).toBe(0);
      },
    );

    for (const value of [null, '', 'never', 0, true]) {
      ours(`is one of two words, not ${inspect(value)}`, () => {
        expect(() => open({ zeroTtl: value })).toThrow(
          /^zeroTtl must be 'expired' or 'forever', got ./,
        );
      });
    }
  });

  describe('bounds', () => {
    /** @param {any} store @returns {Promise<string[]>} */
    const hashes = async (store) =>
      (await store.listEntries(0, 1_000)).map((/** @type {any} */ entry) => entry.hash).sort();
    /** @param {any} store @returns {Promise<number>} */
    const bytes = async (store) =>
      (await store.listEntries(0, 1_000)).reduce(
        (/** @type {number} */ sum, /** @type {any} */ entry) => sum + entry.sizeBytes,
        0,
      );

    ours('of maxEntries evict what was not used for longest', async () => {
      const store = open({ maxEntries: 3 });
      for (const key of ['one', 'two', 'three']) await store.set(key, key, 60);
      expect(await store.get('one')).toBe('one');
      await store.set('four', 'four', 60);
      expect(await hashes(store)).toEqual(['four', 'one', 'three']);
      // Written again, it is the newest. One was used before four was stored.
      await store.set('three', 'again', 60);
      await store.set('five', 'five', 60);
      expect(await hashes(store)).toEqual(['five', 'four', 'three']);
      expect((await store.getStats()).totalItems).toBe(3);
    });

    ours("with eviction: 'fifo' evict what was stored first", async () => {
      const store = open({ maxEntries: 3, eviction: 'fifo' });
      for (const key of ['one', 'two', 'three']) await store.set(key, key, 60);
      expect(await store.get('one')).toBe('one');
      await store.set('four', 'four', 60);
      expect(await hashes(store)).toEqual(['four', 'three', 'two']);
    });

    ours('of maxSizeBytes hold for the values together', async () => {
      const store = open({ maxSizeBytes: 100 });
      // A text of n characters takes n + 6 bytes: its quotes, which are escaped within a JSON string.
      for (const key of ['a', 'b', 'c', 'd']) await store.set(key, 'x'.repeat(19), 60);
      expect(await bytes(store)).toBe(100);
      await store.set('e', '', 60);
      expect(await hashes(store)).toEqual(['b', 'c', 'd', 'e']);
      // It takes the place of its own old value first.
      await store.set('b', 'x'.repeat(39), 60);
      expect(await hashes(store)).toEqual(['b', 'd', 'e']);
      await store.set('f', 'x'.repeat(94), 60);
      expect(await hashes(store)).toEqual(['f']);
      expect(await bytes(store)).toBe(100);
    });

    ours('skip a value above maxSizeBytes', async () => {
      const store = open({ maxSizeBytes: 100 });
      await store.setWithTags('key', 'small', 60, ['tag']);
      await store.set('other', 'small', 60);
      expect(await store.set('key', 'x'.repeat(95), 60)).toBeUndefined();
      expect(await store.setWithTags('key', 'x'.repeat(95), 60, [])).toBeUndefined();
      expect(await store.get('key')).toBe('small');
      expect(await hashes(store)).toEqual(['key', 'other']);
      expect(await store.invalidateByTag('tag')).toBe(1);
    });

    ours('evict what has expired first', async () => {
      const store = open({ maxEntries: 3 });
      await store.set('old', 1, 3_600);
      await store.set('short', 1, 1);
      await store.set('forever', 1, Number.POSITIVE_INFINITY);
      clock.advance(2_000);
      await store.set('new', 1, 60);
      expect(await hashes(store)).toEqual(['forever', 'new', 'old']);
      expect((await store.getStats()).totalItems).toBe(3);
    });

    ours('take the tags of what is evicted', async () => {
      const store = open({ maxEntries: 1 });
      await store.setWithTags('one', 1, 60, ['tag', 'other']);
      await store.setWithTags('two', 2, 60, ['tag']);
      expect(await store.invalidateByTags(['tag', 'other'])).toBe(1);
      await store.set('one', 1, 60);
      expect((await store.listEntries())[0].tags).toEqual([]);
    });

    ours('have room again for what is removed', async () => {
      const store = open({ maxEntries: 4 });
      const fill = async () => {
        for (const key of ['a', 'b', 'bb', 'c']) await store.setWithTags(key, key, 60, [key]);
      };
      const removals = [
        () => store.delete('a'),
        () => store.clear('b'),
        () => store.clear(),
        () => store.invalidateByTag('c'),
      ];
      for (const remove of removals) {
        await fill();
        await remove();
        const left = await hashes(store);
        for (let n = left.length; n < 4; n++) await store.set(`new ${n}`, n, 60);
        const all = await hashes(store);
        expect(left.every((key) => all.includes(key))).toBe(true);
        expect(all.length).toBe(4);
        await store.set('one more', 1, 60);
        expect((await hashes(store)).length).toBe(4);
        await store.clear();
      }
    });

    ours('hold for calls that are not awaited', async () => {
      const store = open({ maxEntries: 10, maxSizeBytes: 10_000 });
      await Promise.all(
        Array.from({ length: 300 }, (_, n) => store.set(`key ${n}`, 'x'.repeat(n * 4), 60)),
      );
      const left = await hashes(store);
      expect(left).toContain('key 299');
      expect(left.length).toBe(8);
      expect(await bytes(store)).toBeLessThanOrEqual(10_000);
    });

    sharedOurs('are kept by who has them, whatever others store', async () => {
      const wide = open();
      const narrow = open({ maxEntries: 5 });
      await Promise.all(Array.from({ length: 1_300 }, (_, n) => wide.set(`key ${n}`, n, 60)));
      expect((await wide.getStats()).totalItems).toBe(1_300);
      await narrow.set('new', 1, 60);
      expect(await hashes(wide)).toEqual(['key 1296', 'key 1297', 'key 1298', 'key 1299', 'new']);
      await wide.set('more', 1, 60);
      expect((await wide.getStats()).totalItems).toBe(6);
      await narrow.cleanup();
      expect((await wide.getStats()).totalItems).toBe(5);
    });

    sharedOurs('count uses after a minute at most', async () => {
      const reader = open({ maxEntries: 2 });
      await reader.set('one', 1, 3_600);
      clock.advance(1);
      await reader.set('two', 2, 3_600);
      clock.advance(60_000);
      expect(await reader.get('one')).toBe(1);
      await clock.advanceAsync(60_000);
      // What was called before has been carried out, here and on a server.
      await reader.listEntries();
      const writer = open({ maxEntries: 2 });
      await writer.set('three', 3, 3_600);
      expect(await hashes(writer)).toEqual(['one', 'three']);
    });

    sharedOurs('count uses when the store is closed', async () => {
      const reader = open({ maxEntries: 2 });
      await reader.set('one', 1, 3_600);
      await reader.set('two', 2, 3_600);
      expect(await reader.get('one')).toBe(1);
      await reader.close();
      const writer = open({ maxEntries: 2 });
      await writer.set('three', 3, 3_600);
      expect(await hashes(writer)).toEqual(['one', 'three']);
    });

    ours('are checked', () => {
      const wrong = [
        [
          { maxEntries: 0 },
          'maxEntries must be a whole number of entries from 1, or Infinity, got 0',
        ],
        [
          { maxEntries: 1.5 },
          'maxEntries must be a whole number of entries from 1, or Infinity, got 1.5',
        ],
        [
          { maxSizeBytes: '1 MB' },
          "maxSizeBytes must be a whole number of bytes from 1, or Infinity, got '1 MB'",
        ],
        [{ eviction: 'random' }, "eviction must be 'lru' or 'fifo', got 'random'"],
      ];
      for (const [options, message] of wrong) {
        expect(() => open(/** @type {any} */ (options))).toThrow(new TypeError(String(message)));
      }
    });
  });

  describe('stats', () => {
    it('count entries and those past their time', async () => {
      const store = open();
      await store.set('short', 1, 1);
      await store.set('long', 1, 100);
      clock.set(START + 1_000);
      expect(await store.getStats()).toMatchObject({ totalItems: 2, expiredItems: 0 });
      clock.set(START + 1_001);
      const stats = await store.getStats();
      expect(stats).toBeInstanceOf(Object);
      expect(Object.keys(stats).sort()).toStrictEqual([
        'databaseSizeKB',
        'expiredItems',
        'totalItems',
      ]);
      expect(stats).toMatchObject({ totalItems: 2, expiredItems: 1 });
    });

    near(it)('give the size of the database in KB', async () => {
      const store = open();
      const before = (await store.getStats()).databaseSizeKB;
      await store.set('key', 'x'.repeat(100 * 1024), 60);
      const after = (await store.getStats()).databaseSizeKB;
      expect(Number.isInteger(before) && before > 0).toBe(true);
      expect(after - before).toBeGreaterThanOrEqual(96);
      expect(after - before).toBeLessThanOrEqual(120);
    });
  });

  describe('cleanup', () => {
    it('removes what is past its time and nothing else', async () => {
      const store = open();
      await store.set('short', 1, 1);
      await store.set('long', 1, 100);
      clock.set(START + 1_001);
      expect(await store.cleanup()).toBeUndefined();
      expect(await store.getStats()).toMatchObject({ totalItems: 1, expiredItems: 0 });
      expect(await store.get('long')).toBe(1);
    });

    it('runs every minute by default', async () => {
      const store = open();
      await store.set('key', 1, 1);
      await clock.advanceAsync(59_999);
      expect((await store.getStats()).totalItems).toBe(1);
      await clock.advanceAsync(1);
      expect((await store.getStats()).totalItems).toBe(0);
    });

    fixed('removes what a clock that was ahead has stored, unless it never expires', async () => {
      const store = open();
      clock.set(START + 86_400_000);
      await store.set('later', 1, 60);
      await store.set('for ever', 2, Number.POSITIVE_INFINITY);
      clock.set(START + 1_000);
      await store.set('now', 3, 60);
      clock.set(START);
      expect(await store.get('later')).toBe(1);
      await store.cleanup();
      expect(await store.get('later')).toBeUndefined();
      expect(await store.get('for ever')).toBe(2);
      expect(await store.get('now')).toBe(3);
    });

    fixed('removes it by the interval, too, once the clock was set back', async () => {
      const store = open({ cleanupIntervalMs: 5_000 });
      clock.set(START + 86_400_000);
      await store.set('later', 1, 60);
      clock.advance(5_000);
      expect(await store.get('later')).toBe(1);
      clock.set(START);
      clock.advance(5_000);
      expect((await store.getStats()).totalItems).toBe(0);
    });

    it('runs every cleanupIntervalMs', async () => {
      const store = open({ cleanupIntervalMs: 5_000 });
      for (let round = 1; round <= 3; round++) {
        await store.set('key', round, 1);
        await clock.advanceAsync(4_999);
        expect((await store.getStats()).totalItems).toBe(1);
        await clock.advanceAsync(1);
        expect((await store.getStats()).totalItems).toBe(0);
      }
    });

    it('runs when the clock is advanced synchronously', async () => {
      const store = open({ cleanupIntervalMs: 5_000 });
      await store.set('key', 1, 1);
      clock.advance(5_000);
      await turn();
      expect((await store.getStats()).totalItems).toBe(0);
    });

    for (const [test, interval] of /** @type {const} */ ([
      [ours, 0], // an interval of 0 would hang the fake clock under 0.2.0
      [it, Number.POSITIVE_INFINITY],
      [fixed, 2 ** 31],
      [fixed, 1e15],
    ])) {
      test(`with an interval of ${interval} does not run`, async () => {
        const store = open({ cleanupIntervalMs: interval });
        await store.set('key', 1, 0.001);
        await clock.advanceAsync(50);
        expect(await store.getStats()).toMatchObject({ totalItems: 1, expiredItems: 1 });
      });
    }
  });

  describe('calls that are not awaited', () => {
    fixed('take effect in their order', async () => {
      const store = open();
      const results = await Promise.all([
        store.get('key'),
        store.set('key', 1, 60),
        store.get('key'),
        store.set('key', 2, 60),
        store.get('key'),
        store.delete('key'),
        store.get('key'),
        store.set('key', 3, 60),
        store.clear(),
        store.get('key'),
      ]);
      expect(results).toStrictEqual([
        undefined,
        undefined,
        1,
        undefined,
        2,
        undefined,
        undefined,
        undefined,
        undefined,
        undefined,
      ]);
    });

    fixed('take effect in their order, however large', async () => {
      const store = open({ maxEntrySizeBytes: 700_000 });
      // As many in UTF-16, and in UTF-8, of either kind.
      const large = (/** @type {number} */ n) =>
        n + (n % 2 ? 'é'.repeat(300_000) : '🦸'.repeat(150_000));
      const written = Array.from({ length: 30 }, (_, n) => store.set(`key ${n}`, large(n), 60));
      const [, last, , deleted, , small, stats] = await Promise.all([
        store.set('key 0', 'é'.repeat(350_001), 60),
        store.get('key 29'),
        store.delete('key 28'),
        store.get('key 28'),
        store.set('key 29', 'small', 60),
        store.get('key 29'),
        store.getStats(),
        ...written,
      ]);
      expect(last === large(29)).toBe(true);
      expect([deleted, small, stats.totalItems]).toStrictEqual([undefined, 'small', 29]);
      for (let n = 0; n < 28; n++) expect((await store.get(`key ${n}`)) === large(n)).toBe(true);
    });

    fixed('take effect in their order around an expired entry', async () => {
      const store = open();
      await store.set('key', 'old', 1);
      clock.set(START + 1_001);
      const [old, , stats, fresh] = await Promise.all([
        store.get('key'),
        store.set('key', 'new', 60),
        store.getStats(),
        store.get('key'),
      ]);
      expect([old, fresh]).toStrictEqual([undefined, 'new']);
      expect(stats).toMatchObject({ totalItems: 1, expiredItems: 0 });
      expect(await store.get('key')).toBe('new');
    });

    fixed('leave an entry that was stored anew, with the same expiry', async () => {
      const store = open();
      await store.set('key', 'old', 0);
      await Promise.all([store.delete('other'), store.get('key'), store.set('key', 'new', 0)]);
      expect((await store.getStats()).totalItems).toBe(1);
    });

    it('do not disturb each other when one fails', async () => {
      const store = open();
      const results = await Promise.allSettled([
        store.set('a', 1, 60),
        store.set('b', 1n, 60),
        store.set('c', 3, 60),
        store.get('a'),
        store.get('b'),
        store.get('c'),
      ]);
      expect(results.map(({ status }) => status)).toStrictEqual([
        'fulfilled',
        'rejected',
        'fulfilled',
        'fulfilled',
        'fulfilled',
        'fulfilled',
      ]);
      expect(results.slice(3).map((result) => /** @type {any} */ (result).value)).toStrictEqual([
        1,
        undefined,
        3,
      ]);
    });

    it('are all done, in a great number', async () => {
      const store = open();
      const n = 200;
      await Promise.all(Array.from({ length: n }, (_, i) => store.set(`key-${i % 100}`, i, 60)));
      const read = await Promise.all(Array.from({ length: 100 }, (_, i) => store.get(`key-${i}`)));
      expect(read).toStrictEqual(Array.from({ length: 100 }, (_, i) => i + 100));
    });
  });

  describe('the constructor', () => {
    it('needs no options', async () => {
      const [one, other] = [new Store(), new Store({})];
      await one.set('key', 1, 60);
      expect(await one.get('key')).toBe(1);
      expect(await other.get('key')).toBeUndefined();
      one.destroy();
      other.destroy();
    });

    it('takes undefined for the default', async () => {
      const store = open({ cleanupIntervalMs: undefined, maxEntrySizeBytes: undefined });
      await store.set('key', 1, 1);
      await clock.advanceAsync(60_000);
      expect((await store.getStats()).totalItems).toBe(0);
    });

    for (const option of ['cleanupIntervalMs', 'maxEntrySizeBytes']) {
      for (const value of [
        Number.NaN,
        -1,
        Number.NEGATIVE_INFINITY,
        null,
        '5',
        true,
        {},
        [],
        1n,
        Symbol('s'),
      ]) {
        fixed(
          `refuses ${option}: ${Array.isArray(value) ? '[]' : String(value)} (${typeof value})`,
          () => {
            const error = thrownBy(() => open({ [option]: value }));
            expect(error).toBeInstanceOf(TypeError);
            expect(error.message).toMatch(new RegExp(`^${option} must be .+, got .`));
          },
        );
      }
    }

    for (const value of [null, 42, true, Symbol('s'), {}, { prepare: 1, exec: 2 }]) {
      fixed(`refuses database: ${JSON.stringify(value) ?? String(value)}`, () => {
        const error = thrownBy(() => open({ database: value }));
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(/^database must be .+, got ./);
      });
    }

    it('refuses a path in a directory that does not exist', () => {
      const error = thrownBy(() => open({ database: harness.pathOf('absent/stores.db') }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^Cannot open database because the directory does not exist\b/);
    });

    /** @param {() => unknown} make */
    function thrownBy(make) {
      try {
        make();
      } catch (error) {
        return /** @type {Error} */ (error);
      }
      throw new Error('nothing was thrown');
    }
  });

  describe('methods', () => {
    it('return promises', async () => {
      const store = open();
      await harness.expectPromises(
        [
          store.set('key', 1, 60),
          store.get('key'),
          store.getStats(),
          store.cleanup(),
          store.delete('key'),
          store.clear(),
          store.setWithTags?.('key', 1, 60, []),
          store.invalidateByTag?.('tag'),
          store.invalidateByTags?.([]),
          store.listEntries?.(),
          store.close(),
        ].filter((promise) => promise !== undefined),
      );
    });
  });

  describe('after close', () => {
    endContract(harness, {
      open,
      destroyed,
      checked: {
        get: (store) => store.get('key'),
        set: (store) => store.set('key', 1, 60),
        delete: (store) => store.delete('key'),
        clear: (store) => store.clear(),
      },
      uncheckedBefore: {
        getStats: (store) => store.getStats(),
        cleanup: (store) => store.cleanup(),
        setWithTags: (store) => store.setWithTags('key', 1, 60, ['tag']),
        invalidateByTag: (store) => store.invalidateByTag('tag'),
        invalidateByTags: (store) => store.invalidateByTags(['tag']),
        listEntries: (store) => store.listEntries(),
      },
    });

    it('no cleanup runs', async () => {
      const store = open({ cleanupIntervalMs: 1_000 });
      const other = open({ cleanupIntervalMs: 1_000_000 });
      await other.set('key', 1, 0.5);
      await store.close();
      await clock.advanceAsync(5_000);
      expect((await other.getStats()).totalItems).toBe(1);
    });

    fixed('what was called before is done', async () => {
      const store = open();
      const calls = [store.set('key', 1, 60), store.get('key'), store.getStats()];
      store.destroy();
      const [, read, stats] = await Promise.all(calls);
      expect(read).toBe(1);
      expect(stats.totalItems).toBe(1);
      await expect(store.get('key')).rejects.toThrow(destroyed);
    });
  });

  describe('a file', () => {
    shared('keeps entries from one store to the next', async () => {
      const store = open();
      await store.set('key', { kept: true }, 60);
      await store.set('short', 1, 1);
      await store.close();
      clock.set(START + 1_000);
      const next = open();
      expect(await next.get('key')).toStrictEqual({ kept: true });
      expect(await next.get('short')).toBeUndefined();
    });

    shared('is shared by the stores on it', async () => {
      const [one, other] = [open(), open()];
      await one.set('key', 1, 60);
      expect(await other.get('key')).toBe(1);
      await other.delete('key');
      expect(await one.get('key')).toBeUndefined();
      await one.close();
      await other.set('key', 2, 60);
      expect(await other.get('key')).toBe(2);
    });

    sharedFixed('sees calls on its stores in their order', async () => {
      const [one, other] = [open(), open()];
      const pending = [
        one.set('key', 1, 60),
        other.get('key'),
        other.set('key', 2, 60),
        one.get('key'),
        one.close(),
        other.get('key'),
      ];
      expect(await Promise.all(pending)).toStrictEqual([undefined, 1, undefined, 2, undefined, 2]);
    });
  });
};
