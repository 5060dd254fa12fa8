// What the server answers: see docs/tools.md. Times are milliseconds since 1970.

export interface About {
  path: string;
  isWritable: boolean;
  version: string;
}

export interface Stats {
  now: number;
  file: {
    path: string;
    bytes: number;
    logBytes: number;
    freePages: number;
    pageSize: number;
    pageCount: number;
    journalMode: string;
    access: 'shared' | 'alone' | 'copy';
  };
  versions: string[];
  cache: {
    entries: number;
    bytes: number;
    expired: number;
    tags: number;
    counted: { entries: number; bytes: number } | null;
  };
  jobs: { pending: number; completed: number; failed: number };
  requests: { total: number; resources: number };
  cooldowns: number;
}

export interface Limit {
  resource: string;
  kind: 'rate-limit' | 'adaptive';
  /** `null`: there is none. */
  limit: number | null;
  windowMs: number;
  minIntervalMs: number;
  shared: { limit: number | null; windowMs: number } | null;
  used: number;
  remaining: number | null;
  nextFreeAt: number;
  cooldownUntil: number | null;
  settingsFrom: 'file' | 'arguments' | 'default';
  version: string | null;
  users: { used: number; share: number } | null;
  background: { used: number; share: number; isPaused: boolean } | null;
  reason: string | null;
  reserved: number;
  /** When the oldest request leaves the window. */
  changesAt: number | null;
}

export interface Mark {
  at: number;
  priority: 'user' | 'background' | null;
  kind: 'recorded' | 'reserved';
}

export interface Part {
  from: number;
  user: number;
  background: number;
  other: number;
  reserved: number;
}

export interface Timeline {
  since: number;
  now: number;
  total: number;
  marks?: Mark[];
  parts?: Part[];
}

export interface EntryInfo {
  key: string;
  label: string;
  bytes: number;
  createdAt: number;
  expiresAt: number | null;
  isExpired: boolean;
  tags: string[];
}

export type Entry = EntryInfo & { text: string; problem: string | null; isCut: boolean };

export interface Sizes {
  now: number;
  bySize: { from: number; to: number | null; entries: number; bytes: number }[];
  byAge: { from: number; to: number | null; entries: number }[];
}

export interface Job {
  hash: string;
  jobId: string;
  status: 'pending' | 'completed' | 'failed';
  createdAt: number;
  updatedAt: number;
  owner: { alive: boolean | null; pid: number | null } | null;
  leaseUntil: number | null;
  message: string | null;
  errorName: string | null;
}

export interface Finding {
  check: string;
  level: 'ok' | 'note' | 'warning' | 'error';
  what: string;
  remedy: string | null;
}

export type Selection =
  | { key: string }
  | { prefix: string }
  | { tag: string }
  | { expired: true }
  | { all: true };
