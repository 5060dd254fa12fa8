'use strict';
// A file is removed or replaced while a store has it open, and opened anew. In a process of its own: where this goes
// wrong, shared memory is truncated under a store and the process dies of SIGBUS.

const { execFileSync } = require('node:child_process');
const {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} = require('node:fs');
const { join } = require('node:path');
const { SQLiteCacheStore } = require('../..');

const { directory, how, first, second, heavy, lastFirst } = JSON.parse(process.argv[2]);
const real = join(directory, 'real', 'stores.db');

/** Reads from outside: closing a descriptor of an open database here would drop its locks. */
const hash = () => execFileSync('sha256sum', [real], { encoding: 'utf8' }).slice(0, 64);

async function main() {
  mkdirSync(join(directory, 'real'));
  writeFileSync(real, '');
  symlinkSync(join(directory, 'real'), join(directory, 'directory-link'));
  symlinkSync(real, join(directory, 'link.db'));
  process.chdir(directory);
  /** @type {Record<string, string>} */
  const paths = {
    real,
    symlink: join(directory, 'link.db'),
    'directory symlink': join(directory, 'directory-link', 'stores.db'),
    relative: 'real/stores.db',
    roundabout: `${directory}/real/../real/./stores.db`,
  };

  const old = new SQLiteCacheStore({ database: paths[first] });
  await old.set('old', 'of the old file', 60);
  if (how === 'unlink') {
    rmSync(real);
  } else {
    const other = join(directory, 'real', 'other.db');
    const store = new SQLiteCacheStore({ database: other });
    await store.set('replacement', 'of the new file', 60);
    await store.close();
    renameSync(other, real);
  }
  // Enough for a checkpoint.
  if (heavy) {
    const before = how === 'unlink' ? '' : hash();
    for (let index = 0; index < 12; index++) await old.set(`${index}`, 'x'.repeat(1_000_000), 60);
    if (how !== 'unlink' && hash() !== before) throw new Error('the new file has changed');
  }
  const anew = new SQLiteCacheStore({ database: paths[second] });
  /** @type {Record<string, unknown>} */
  const seen = {
    newSeesOld: (await anew.get('old')) ?? null,
    newSeesReplacement: (await anew.get('replacement')) ?? null,
  };
  await anew.set('new', 1, 60);
  await old.set('later', 2, 60);
  await anew.set('big', 'x'.repeat(2_000_000), 60);
  Object.assign(seen, {
    oldKeepsOld: (await old.get('old')) ?? null,
    oldSeesNew: (await old.get('new')) ?? null,
    oldSeesLater: (await old.get('later')) ?? null,
    newSeesNew: (await anew.get('new')) ?? null,
    newSeesLater: (await anew.get('later')) ?? null,
  });
  const [ends, stays] = lastFirst ? [anew, old] : [old, anew];
  ends.destroy();
  await stays.set('after the other has ended', 3, 60);
  seen.goesOn = (await stays.get('after the other has ended')) ?? null;
  stays.destroy();
  seen.files = readdirSync(join(directory, 'real'));
  return seen;
}

main().then((seen) => process.stdout.write(JSON.stringify(seen)));
