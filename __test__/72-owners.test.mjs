// Who is gone is told by its process, where that can be seen, and by its lease elsewhere. Linux, where `/proc` shows
// processes.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Remote } from './support/remote.mjs';

const { connect, OURS_ON_CONNECTIONS, OURS_ON_PATHS } = createRequire(import.meta.url)(
  './support/implementations.cjs',
);

// This process opens no store, so it may look into a file whenever it likes.
let directory = '';
let file = '';
/** @type {Remote[]} */
let remotes = [];
/** @type {import('node:child_process').ChildProcess[]} */
let children = [];
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'owners-'));
  file = path.join(directory, 'stores.db');
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(remotes.map((remote) => remote.kill()));
  [remotes, children] = [[], []];
  rmSync(directory, { recursive: true, force: true });
});

/** @template T @param {(db: import('better-sqlite3').Database) => T} work */
function look(work) {
  const db = new Database(file);
  try {
    return work(db);
  } finally {
    db.close();
  }
}
const lease = () =>
  /** @type {{ owner: string, expires_at: number }} */ (
    look((db) => db.prepare("SELECT * FROM dedupe_leases WHERE hash = 'job'").get())
  );

/** When a process began. @param {number | string} pid */
const startOf = (pid) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[19];

describe.skipIf(process.platform !== 'linux').each([
  ['on a path', OURS_ON_PATHS, {}],
  ["on a path, journalMode 'delete'", OURS_ON_PATHS, { journalMode: 'delete' }],
  ['on connections', OURS_ON_CONNECTIONS, {}],
])('%s', (_title, implementation, options) => {
  /** @param {Record<string, unknown>} [own] */
  async function start(own) {
    if (implementation.by === 'connection') connect(file).close();
    const remote = await Remote.start(implementation);
    remotes.push(remote);
    const store = await remote.make('SQLiteDedupeStore', { database: file, ...options, ...own });
    return {
      remote,
      /** @param {string} method @param {any[]} values */
      call: (method, ...values) => remote.call(store, method, 'job', ...values),
      waitFor: () => remote.begin(store, 'waitFor', 'job'),
    };
  }

  /** Has somebody wait for a job of this owner, whose lease is valid for a minute. @param {(own: string[]) => string} of */
  async function waitForJobOf(of) {
    const waiter = await start();
    await waiter.call('register');
    const { owner } = lease();
    look((db) => {
      db.prepare("UPDATE dedupe_leases SET owner = ?, job_id = 'planted', expires_at = ?").run(
        of(owner.split(' ')),
        Date.now() + 60_000,
      );
      db.exec("UPDATE dedupe_jobs SET job_id = 'planted'");
    });
    return waiter.waitFor();
  }

  /** @param {Promise<any>} done */
  const isPending = async (done, ms = 1_000) =>
    (await Promise.race([done.then(() => false), sleep(ms, true)])) === true;

  it.each(['register', 'waitFor'])(
    'who is killed after %s is noticed long before its lease ends',
    async (method) => {
      // Not given up by itself.
      const [owner, waiter] = [await start({ claimTimeoutMs: 60_000 }), await start()];
      await owner.call(method);
      const waiting = waiter.waitFor();
      expect(await isPending(waiting.done, 300)).toBe(true);
      const left = lease().expires_at - Date.now();
      const killed = Number(process.hrtime.bigint()) / 1e6;
      await owner.remote.kill();
      const { value, settled } = await waiting.done;
      expect(value).toBeUndefined();
      console.log(
        `taken over ${(settled - killed).toFixed(0)} ms after the end, ${left} ms before that of the lease`,
      );
      expect(settled - killed).toBeLessThan(left / 2);
      await waiter.call('register');
      await waiter.call('complete', 'made again');
      expect(await waiter.call('getResult')).toBe('made again');
    },
  );

  it('who is stopped keeps its job until its lease ends', async () => {
    const [owner, waiter] = [await start(), await start()];
    await owner.call('register');
    const waiting = waiter.waitFor();
    await waiting.begun;
    process.kill(owner.remote.pid, 'SIGSTOP');
    try {
      await sleep(50);
      look((db) => db.prepare('UPDATE dedupe_leases SET expires_at = ?').run(Date.now() + 2_000));
      const { expires_at } = lease();
      expect((await waiting.done).value).toBeUndefined();
      expect(Date.now()).toBeGreaterThanOrEqual(expires_at);
    } finally {
      process.kill(owner.remote.pid, 'SIGCONT');
    }
  });

  it('whose clock was ahead keeps its job for as long as a lease, and no longer', async () => {
    const { done } = await waitForJobOf(() => 'one that does not parse');
    const length = implementation.by === 'connection' ? 15_000 : 4_000;
    await expect
      .poll(() => lease().expires_at - Date.now(), { timeout: 10_000 })
      .toBeLessThanOrEqual(length);
    expect(await isPending(done, 200)).toBe(true);
    if (implementation.by !== 'connection') expect((await done).value).toBeUndefined();
  });

  it('who had an id that another has now is gone', async () => {
    const { done } = await waitForJobOf(([uuid, boot, namespace]) =>
      [uuid, boot, namespace, process.pid, Number(startOf('self')) - 1].join(' '),
    );
    expect((await done).value).toBeUndefined();
  });

  it('a zombie is gone', async () => {
    const child = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const pid = String((await once(child.stdout, 'data'))[0]).trim();
    while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await sleep(5);
    const { done } = await waitForJobOf(([uuid, boot, namespace]) =>
      [uuid, boot, namespace, pid, startOf(pid)].join(' '),
    );
    expect((await done).value).toBeUndefined();
  });

  it.each(
    /** @type {[string, (own: string[]) => (string | number)[]][]} */ ([
      ['of another boot', ([uuid, , ...rest]) => [uuid, 'another-boot', ...rest]],
      ['in another namespace', ([uuid, boot, , ...rest]) => [uuid, boot, 1, ...rest]],
      ['of another version', ([uuid]) => [uuid]],
      ['that says more', (own) => [...own, 'more']],
      ['that lives', ([uuid, boot, space]) => [uuid, boot, space, process.pid, startOf('self')]],
    ]),
  )('an owner %s is judged by its lease', async (_title, of) => {
    // Of those that do not say who they are, a process that is gone.
    const gone = spawnSync('true').pid;
    const { done } = await waitForJobOf((own) =>
      of([...own.slice(0, 3), String(gone), own[4]]).join(' '),
    );
    expect(await isPending(done)).toBe(true);
    look((db) => db.exec('UPDATE dedupe_leases SET expires_at = 1'));
    expect((await done).value).toBeUndefined();
  });

  const unshare = ['--user', '--map-root-user', '--pid', '--fork', '--mount-proc'];
  const isAllowed = spawnSync('unshare', [...unshare, 'true']).status === 0;
  if (!isAllowed) console.warn('SKIPPED: unshare is not allowed here');
  it.skipIf(!isAllowed)('who lives in another namespace of processes keeps its job', async () => {
    const waiter = await start();
    const program = `const { SQLiteDedupeStore } = require(${JSON.stringify(path.resolve('index.js'))});
      const store = new SQLiteDedupeStore(${JSON.stringify({ database: file, ...options })});
      store.register('job').then(() => { console.log('registered'); setInterval(() => {}, 1000); });`;
    const child = spawn('unshare', [...unshare, '--kill-child', process.execPath, '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    await once(child.stdout, 'data');
    const [, boot, namespace] = lease().owner.split(' ');
    expect(boot).toBe(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
    expect(readlinkSync('/proc/self/ns/pid')).not.toBe(`pid:[${namespace}]`);
    const { done } = waiter.waitFor();
    expect(await isPending(done, 2_000)).toBe(true);
  });
});
