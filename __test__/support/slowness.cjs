'use strict';
// How many times as slow as a usual machine the one is that runs the tests: SLOWNESS, which `scripts/platforms.sh` sets where
// instructions are emulated. Limits and pauses are that many times as long there.

const SLOWNESS = Number(process.env.SLOWNESS ?? 1);

/** @param {number} milliseconds  on a usual machine */
const slowly = (milliseconds) => milliseconds * SLOWNESS;

module.exports = { slowly };
