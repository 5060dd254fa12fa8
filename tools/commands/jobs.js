'use strict';

const { jobs, openFile } = require('../inspection/index.js');
const { table } = require('../terminal/screen.js');
const { span, things } = require('../terminal/words.js');

/** @param {import('../inspection/jobs.js').Job} job */
function owner({ status, owner: of, leaseUntil }) {
  if (status !== 'pending') return '';
  if (!of) return leaseUntil === null ? 'none, or of 0.2.0' : 'unknown';
  const process = of.pid === null ? '' : `process ${of.pid}, `;
  return process + (of.alive === null ? 'not to be seen from here' : of.alive ? 'alive' : 'dead');
}

/** @param {import('../inspection/jobs.js').Job} job @param {number} now */
function lease({ leaseUntil }, now) {
  if (leaseUntil === null) return '';
  if (leaseUntil === 0) return 'given up';
  return leaseUntil > now ? `${span(leaseUntil - now)} left` : `over for ${span(now - leaseUntil)}`;
}

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'jobs',
  does: 'lists deduplicated requests: those under way with their owners, and how others have ended',
  takes: [],
  options: {},
  examples: ['jobs cache.db', 'jobs cache.db --json'],
  more: 'A pending job whose owner is dead is taken over by the next process that waits for it.',
  run({ path, screen, now }) {
    const all = jobs(openFile(path));
    const lines = table(
      screen,
      [
        { name: 'hash', of: (job) => job.hash, givesWay: true },
        {
          name: 'status',
          of: (job) => job.status,
          style: (job) => (job.status === 'failed' ? ['red'] : []),
        },
        { name: 'since', of: (job) => span(now - job.updatedAt), side: 'right' },
        {
          name: 'owner',
          of: owner,
          style: (job) => (job.owner?.alive === false ? ['yellow'] : []),
        },
        { name: 'lease', of: (job) => lease(job, now) },
        {
          name: 'error',
          of: ({ errorName, message }) => [errorName, message].filter(Boolean).join(': '),
          givesWay: true,
        },
      ],
      all,
    );
    return { json: all, lines: all.length > 0 ? lines : [`${things(0, 'job')}.`] };
  },
};
