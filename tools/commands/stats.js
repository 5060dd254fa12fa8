'use strict';

const { openFile, stats } = require('../inspection/index.js');
const { list } = require('../terminal/screen.js');
const { bytes, count, things } = require('../terminal/words.js');

/** What is said of how a file was read. */
const ACCESS = {
  shared: 'beside those who may have it open',
  alone: 'alone: nobody has it open',
  copy: 'from a copy: a crash has left what is carried out first when a store opens the file',
};

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'stats',
  does: 'tells how much a file holds: entries, jobs, requests, bytes',
  takes: [],
  options: {},
  examples: ['stats cache.db', 'stats cache.db --json'],
  run({ path, screen, now }) {
    const told = stats(openFile(path), now);
    const { file, cache, jobs, requests, versions, cooldowns } = told;
    const entries = [
      things(cache.entries, 'entry', 'entries'),
      `${count(cache.expired)} expired`,
      bytes(cache.bytes),
      things(cache.tags, 'tag'),
    ];
    return {
      json: told,
      lines: list(screen, [
        ['file', file.path],
        [
          'size',
          `${bytes(file.bytes)}, ${things(file.pageCount, 'page')} of ${bytes(file.pageSize)}, ${count(file.freePages)} free`,
        ],
        [
          'write-ahead log',
          file.journalMode === 'wal' ? bytes(file.logBytes) : 'none: the journal mode is delete',
        ],
        ['read', ACCESS[file.access]],
        ['versions', versions.join(', ') || 'not recorded'],
        ['cache', entries.join(', ')],
        [
          'jobs',
          `${count(jobs.pending)} pending, ${count(jobs.completed)} completed, ${count(jobs.failed)} failed`,
        ],
        ['requests', `${count(requests.total)} of ${things(requests.resources, 'resource')}`],
        ['cooldowns', count(cooldowns)],
      ]),
    };
  },
};
