// The two packages that are compared. REFERENCE_ONLY=1 proves the suites against 0.2.0 alone, without a build of ours.
import * as reference from 'sqlite-store-0.2.0';

/** @type {Record<string, any>} */
const published = reference;
const ours = process.env.REFERENCE_ONLY ? undefined : await import('../../index.mjs');

export { ours, published as reference };
