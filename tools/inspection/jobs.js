'use strict';

// Deduplicated requests: which are under way, whose they are, and what has become of the others.

const { printable } = require('./values.js');

/**
 * @typedef {object} Job
 * @property {string} hash
 * @property {string} jobId
 * @property {string} status  `pending`, `completed` or `failed`
 * @property {number} createdAt  in ms
 * @property {number} updatedAt  in ms
 * @property {{ alive: boolean | null, pid: number | null } | null} owner  of a pending job; `alive` is `null` where that
 *   cannot be seen from here
 * @property {number | null} leaseUntil  in ms; 0: its owner has given it up
 * @property {string | null} message  of the error it failed with
 * @property {string | null} errorName
 */

/**
 * The jobs: pending ones first, the latest first.
 * @param {import('./file.js').File} file
 * @returns {Job[]}
 */
function jobs(file) {
  const rows =
    file.all(`SELECT j.hash, j.job_id, j.status, j.created_at, j.updated_at, j.error, j.error_name,
      l.owner, l.expires_at FROM dedupe_jobs j
    LEFT JOIN dedupe_leases l ON l.hash = j.hash AND l.job_id = j.job_id AND j.status = 'pending'
    ORDER BY j.status = 'pending' DESC, j.created_at DESC, j.hash`);
  return rows.map((row) => ({
    hash: String(row.hash),
    jobId: String(row.job_id),
    status: String(row.status),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    owner: row.owner === null ? null : ownerOf(file, String(row.owner)),
    leaseUntil: row.expires_at,
    message: row.error === null ? null : printable(String(row.error)),
    errorName: errorName(row),
  }));
}

/** See docs/schema.md, "Additions". @param {import('./file.js').File} file @param {string} owner */
function ownerOf(file, owner) {
  const pid = Number(owner.split(' ')[3]);
  return { alive: file.isOwnerAlive(owner), pid: Number.isInteger(pid) && pid > 0 ? pid : null };
}

/** @param {Record<string, any>} row */
function errorName({ job_id: jobId, error_name: told }) {
  const start = `${jobId} `;
  return typeof told === 'string' && told.startsWith(start)
    ? printable(told.slice(start.length))
    : null;
}

module.exports = { jobs };
