'use strict';

// What a file holds, as plain data: for the command line and the dashboard alike.

const { doctor } = require('./doctor.js');
const { count, entries, entry, sizes, tags } = require('./entries.js');
const { openFile } = require('./file.js');
const { jobs } = require('./jobs.js');
const { limits, timeline } = require('./limits.js');
const { stats } = require('./stats.js');

module.exports = {
  count,
  doctor,
  entries,
  entry,
  jobs,
  limits,
  openFile,
  sizes,
  stats,
  tags,
  timeline,
};
