'use strict';

// How much a file holds, and of what.

const { existsSync, statSync } = require('node:fs');

/** @param {string} path @returns {number} its size in bytes; 0 if it is not there */
function size(path) {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * Without locks, only what had a log is read: a rollback journal leaves no trace in the file. A file without a page has none.
 * @param {import('./file.js').File} file @returns {'wal' | 'delete'}
 */
function journalMode(file) {
  if (existsSync(`${file.path}-wal`)) return 'wal';
  return file.access === 'alone' && size(file.path) > 0 ? 'wal' : 'delete';
}

/**
 * @param {import('./file.js').File} file
 * @param {number} now  in ms
 */
function stats(file, now) {
  return file.snapshot(() => {
    const jobs = (/** @type {string} */ status) =>
      file.number('SELECT COUNT(*) FROM dedupe_jobs WHERE status = ?', status);
    const bounds = file.get('SELECT entries, bytes FROM cache_totals WHERE id = 1');
    return {
      file: {
        path: file.path,
        bytes: size(file.path),
        logBytes: size(`${file.path}-wal`),
        pageSize: file.number('PRAGMA page_size'),
        pageCount: file.number('PRAGMA page_count'),
        freePages: file.number('PRAGMA freelist_count'),
        journalMode: journalMode(file),
        access: file.access,
      },
      versions: file
        .all('SELECT DISTINCT version FROM store_settings ORDER BY version')
        .map(({ version }) => String(version)),
      cache: {
        entries: file.number('SELECT COUNT(*) FROM cache'),
        bytes: file.number('SELECT SUM(length(value)) FROM cache'),
        expired: file.number(
          'SELECT COUNT(*) FROM cache WHERE expires_at <> 0 AND expires_at <= ?',
          now,
        ),
        tags: file.number('SELECT COUNT(DISTINCT tag) FROM cache_tags'),
        /** What a store with bounds has counted, if one was ever given some. */
        counted: bounds ? { entries: Number(bounds.entries), bytes: Number(bounds.bytes) } : null,
      },
      jobs: { pending: jobs('pending'), completed: jobs('completed'), failed: jobs('failed') },
      requests: {
        total: file.number('SELECT COUNT(*) FROM rate_limits'),
        resources: file.number('SELECT COUNT(DISTINCT resource) FROM rate_limits'),
      },
      cooldowns: file.number('SELECT COUNT(*) FROM server_cooldowns WHERE cooldown_until > ?', now),
    };
  });
}

module.exports = { journalMode, size, stats };
