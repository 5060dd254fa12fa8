// Whether the file is sound, and what to do if not.

import type { Finding, Stats } from './answers.ts';
import { Ago, Loading, Problem } from './parts.tsx';
import { type Data, useData } from './server.ts';
import { bytes, count, counted, plain } from './words.ts';

const ORDER = { error: 0, warning: 1, note: 2, ok: 3 };
const LEVELS = { error: 'Error', warning: 'Warning', note: 'Note', ok: 'OK' };

const ACCESS = {
  shared: 'beside processes that use it',
  alone: 'no other process has it open',
  copy: 'from a copy: a crash has left a log beside it',
};

function Facts({ stats: { file, versions, requests } }: { stats: Stats }) {
  const facts: [string, string][] = [
    ['File', plain(file.path)],
    ['Size', bytes(file.bytes)],
    ['Log', bytes(file.logBytes)],
    [
      'Free pages',
      `${count(file.freePages)} of ${count(file.pageCount)} (${bytes(file.freePages * file.pageSize)})`,
    ],
    ['Journal mode', String(file.journalMode).toUpperCase()],
    ['Read', ACCESS[file.access] ?? String(file.access)],
    ['Requests recorded', `${count(requests.total)} of ${counted(requests.resources, 'resource')}`],
    [
      'Written by',
      versions.length === 0
        ? 'not recorded'
        : versions.map((version) => `version ${plain(version)}`).join(', '),
    ],
  ];
  return (
    <section aria-labelledby="file-title">
      <h2 id="file-title">File</h2>
      <dl class="facts wide">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="number">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

export function Health({ stats }: { stats: Data<Stats> }) {
  // Not with each change: it reads the whole file.
  const { data, error, isLoading, reload } = useData<{ now: number; findings: Finding[] }>(
    'doctor',
    {},
    { isLive: false },
  );
  const findings = [...(data?.findings ?? [])].sort(
    (one, other) => ORDER[one.level] - ORDER[other.level],
  );
  const wrong = findings.filter(({ level }) => level === 'error' || level === 'warning').length;
  return (
    <>
      <div class="head">
        <h1>Health</h1>
        {data && (
          <p class="summary" role="status">
            {wrong === 0 ? 'Nothing is wrong' : `${counted(wrong, 'finding')} to look at`} ·{' '}
            {counted(findings.length, 'check')}, <Ago at={data.now} /> ago
          </p>
        )}
        <button type="button" onClick={reload} disabled={isLoading}>
          {isLoading ? 'Checking…' : 'Check again'}
        </button>
      </div>
      {error && <Problem error={error} retry={reload} />}
      {data === undefined && !error && <Loading />}
      {data && (
        <table class="findings">
          <thead>
            <tr>
              <th scope="col">Result</th>
              <th scope="col">Check</th>
              <th scope="col">What was found</th>
              <th scope="col">What to do</th>
            </tr>
          </thead>
          <tbody>
            {findings.map(({ check, level, what, remedy }) => (
              <tr key={`${check} ${what}`}>
                <td>
                  <span class={`badge ${level}`}>{LEVELS[level]}</span>
                </td>
                <th scope="row">{plain(check)}</th>
                <td>{plain(what)}</td>
                <td>{remedy ? plain(remedy) : <span class="quiet none">–</span>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {stats.data && <Facts stats={stats.data} />}
      {stats.error && <Problem error={stats.error} retry={stats.reload} />}
    </>
  );
}
