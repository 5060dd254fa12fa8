// Requests that are made once for all who want them: who makes each, and how it has ended.

import type { Job } from './answers.ts';
import { Ago, Countdown, Empty, Loading, Problem } from './parts.tsx';
import { useClock, useData } from './server.ts';
import { count, plain, shortKey } from './words.ts';

/** So many are drawn. */
const MOST = 500;

const ORDER = { pending: 0, failed: 1, completed: 2 };

function Owner({ job: { owner, status } }: { job: Job }) {
  if (status !== 'pending' || owner === null) return <span class="quiet none">–</span>;
  const process = owner.pid === null ? 'process' : `process ${owner.pid}`;
  if (owner.alive === false) return <span class="badge warning">{process} is dead</span>;
  return (
    <span>
      {process}
      {owner.alive === null && <span class="quiet">, elsewhere</span>}
    </span>
  );
}

function Lease({ job: { leaseUntil, status } }: { job: Job }) {
  const now = useClock();
  if (status !== 'pending' || leaseUntil === null) return <span class="quiet none">–</span>;
  return leaseUntil <= now ? (
    <span class="badge warning">over</span>
  ) : (
    <Countdown to={leaseUntil} />
  );
}

const dueAt = ({ now, jobs }: { now: number; jobs: Job[] }) =>
  Math.min(...jobs.map(({ leaseUntil }) => leaseUntil ?? 0).filter((at) => at > now));

export function Jobs() {
  const { data, error, reload } = useData<{ now: number; jobs: Job[] }>('jobs', {}, { dueAt });
  if (data === undefined) return error ? <Problem error={error} retry={reload} /> : <Loading />;
  const jobs = [...data.jobs].sort((one, other) => ORDER[one.status] - ORDER[other.status]);
  const number = (status: Job['status']) => jobs.filter((job) => job.status === status).length;
  return (
    <>
      <div class="head">
        <h1>Jobs</h1>
        <p class="summary">
          <strong class="number">{count(number('pending'))}</strong> pending ·{' '}
          <span class="number">{count(number('failed'))}</span> failed ·{' '}
          <span class="number">{count(number('completed'))}</span> completed
        </p>
      </div>
      {error && <Problem error={error} retry={reload} />}
      {jobs.length === 0 ? (
        <Empty>
          <p>There are no jobs.</p>
          <p class="quiet">A request that several want at once is one job while it is made.</p>
        </Empty>
      ) : (
        <table class="jobs">
          <thead>
            <tr>
              <th scope="col">Job</th>
              <th scope="col">Status</th>
              <th scope="col">Owner</th>
              <th scope="col" class="right">
                Lease left
              </th>
              <th scope="col" class="right">
                Begun
              </th>
              <th scope="col">What went wrong</th>
            </tr>
          </thead>
          <tbody>
            {jobs.slice(0, MOST).map((job) => (
              <tr key={job.hash}>
                <th scope="row">
                  <code title={plain(job.hash)}>{shortKey(job.hash)}</code>
                </th>
                <td>
                  <span class={`badge ${job.status}`}>{job.status}</span>
                </td>
                <td>
                  <Owner job={job} />
                </td>
                <td class="right number" data-name="lease">
                  <Lease job={job} />
                </td>
                <td class="right" data-name="begun">
                  <Ago at={job.createdAt} /> ago
                </td>
                <td class="message">
                  {job.message === null ? (
                    <span class="quiet none">–</span>
                  ) : (
                    plain(
                      `${job.errorName ? `${job.errorName}: ` : ''}${job.message}`.slice(0, 500),
                    )
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {jobs.length > MOST && <p class="quiet">{count(jobs.length - MOST)} more are not shown.</p>}
    </>
  );
}
