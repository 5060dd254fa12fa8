// What the native binding exports: see `src/node/exports.rs`.

/** A native function: it is called with a store's handle, the time of the call, and arguments. */
export type Native = (...args: unknown[]) => unknown;

/** What a class of stores is made of. */
export interface ClassTable {
  name: string;
  /** `(realm, options, limits)` makes a store; answers its handle. Throws what the constructor throws. */
  open: Native;
  methods: {
    name: string;
    length: number;
    /** Which of the wrappers in `methods.js`. */
    wrapper:
      | 'direct'
      | 'counts'
      | 'pages'
      | 'promised'
      | 'changing'
      | 'handled'
      | 'waiting'
      | 'limited'
      | 'asking'
      | 'booking'
      | 'acquiring'
      | 'recording'
      | 'parsed'
      | 'stringified';
    run: Native;
  }[];
}

export const classes: ClassTable[];

/** A handle of the realm whose intrinsics are given. */
export function createRealm(intrinsics: object): unknown;

/** A handle of a database in memory, which stores take as `database`: they share it. */
export function createMemoryDatabase(): unknown;

/** A value of a row, or a parameter: other numbers than doubles are rounded, and blobs are `Buffer`s. */
export type Cell = null | number | string | Uint8Array;

/** A file looked at from outside: see `src/node/inspection.rs`. What fails throws an error with a `code`. */
export class Inspection {
  constructor(path: string);
  /** Absolute, without links. */
  readonly path: string;
  /** Begins to read one state of it. */
  begin(): 'shared' | 'alone' | 'copy';
  /** Runs a query on that. */
  query(sql: string, parameters: Cell[]): { columns: string[]; rows: Cell[][] };
  /** Runs a query on an empty database that has the tables and indexes of all stores. */
  queryExpected(sql: string): { columns: string[]; rows: Cell[][] };
  /** Copies that to a file that is not there yet; tells which part of it is copied. */
  backUp(target: string, onProgress: (part: number) => void): void;
  /** What a limiter of these options would answer of a resource. */
  limit(isAdaptive: boolean, resource: string, options: object, now: number): InspectedLimit;
  /** Whether the process of a lease's owner lives; `null` where that cannot be seen from here. */
  isOwnerAlive(owner: string): boolean | null;
  /** Ends reading. Answers whether what was read is of one state. */
  end(): boolean;
  /** What differs once somebody has committed. */
  version(): string;
}

/** What remains of a limit. */
export interface InspectedLimit {
  remaining: number;
  resetTime: number;
  limit: number;
  nextAt: number;
  adaptive?: {
    userReserved: number;
    backgroundMax: number;
    backgroundPaused: boolean;
    recentUserActivity: number;
    reason: string;
  };
}

/** What a value is, in words. */
export function describe(value: unknown): string;

/** Faults of the operating system, of builds with the feature `faults`: see `src/node/faults.rs`. */
export function faults(path: string, seed?: number, oneIn?: number, atMost?: number): string;

/** The version of the package that the binary is of. */
export const version: string;

/** A binary that was not used: what `load-error.js` tells the cause from. */
export interface Failure {
  path: string;
  /** Whether the environment names it. */
  isNamed?: boolean | undefined;
  /** What loading it threw. */
  error?: unknown;
  /** Another one than this package's; empty if it is no binary of this package. */
  version?: string;
}
