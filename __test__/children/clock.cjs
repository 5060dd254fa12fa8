'use strict';
// Loaded before a program whose time is to stand still: at the milliseconds since 1970 of the environment variable NOW.

const now = Number(process.env.NOW);
Date.now = () => now;
