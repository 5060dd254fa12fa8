'use strict';

// What is left of each resource's limit, and who has used it: by the settings that the limiters have written down.

/** What counts where nothing is written down, as with files of older versions: Comic Vine's own. */
const DEFAULT = { limit: 200, windowMs: 3_600_000 };

/**
 * @typedef {object} Limit
 * @property {string} resource
 * @property {'rate-limit' | 'adaptive'} kind
 * @property {number} limit  may be infinite
 * @property {number} windowMs
 * @property {number} minIntervalMs
 * @property {{ limit: number, windowMs: number, minIntervalMs: number } | null} shared  what limits all resources together
 * @property {number} used  requests in the window
 * @property {number} reserved  slots kept for requests to come
 * @property {number} remaining
 * @property {number} nextFreeAt  when a user's request may be made: now, or later
 * @property {number | null} cooldownUntil
 * @property {'file' | 'arguments' | 'default'} settingsFrom
 * @property {string | null} version  of the package that has written the settings down
 * @property {{ used: number, share: number } | null} users
 * @property {{ used: number, share: number, isPaused: boolean } | null} background
 * @property {string | null} reason  why the limit is divided so
 */

/** @param {unknown} text @returns {import('./file.js').Settings | undefined} */
function parse(text) {
  try {
    const settings = JSON.parse(String(text));
    const { limit, windowMs } = settings;
    return typeof limit === 'number' && typeof windowMs === 'number' ? settings : undefined;
  } catch {
    return undefined;
  }
}

/** What is written down, by resource: one of each kind of limiter. @param {import('./file.js').File} file */
function toldSettings(file) {
  /** @type {Map<string, object[]>} */
  const told = new Map();
  for (const row of file.all('SELECT kind, resource, settings, version FROM store_settings')) {
    const settings = parse(row.settings);
    if (!settings) continue;
    const others = told.get(row.resource) ?? [];
    told.set(row.resource, [...others, { ...row, settings, from: 'file' }]);
  }
  return told;
}

/**
 * The limits of all resources that have requests, settings or a cooldown, by name.
 * @param {import('./file.js').File} file
 * @param {{ now: number, limit?: number | undefined, windowMs?: number | undefined }} options  what counts where nothing is
 *   written down
 * @returns {Limit[]}
 */
function limits(file, { now, limit, windowMs }) {
  const given = limit !== undefined || windowMs !== undefined;
  return file.snapshot(() => {
    const told = toldSettings(file);
    const names = file.all(
      `SELECT resource FROM rate_limits WHERE typeof(resource) = 'text'
      UNION SELECT resource FROM store_settings
      UNION SELECT origin FROM server_cooldowns WHERE cooldown_until > ?
      ORDER BY 1`,
      now,
    );
    return names.flatMap(({ resource }) => {
      const all = told.get(resource) ?? [
        {
          kind: hasPriorities(file, resource) ? 'adaptive' : 'rate-limit',
          settings: { limit: limit ?? DEFAULT.limit, windowMs: windowMs ?? DEFAULT.windowMs },
          version: null,
          from: given ? 'arguments' : 'default',
        },
      ];
      return all.map((one) => limitOf(file, resource, one, now));
    });
  });
}

/** Whether an adaptive store has recorded requests. @param {import('./file.js').File} file @param {string} resource */
function hasPriorities(file, resource) {
  return (
    file.get('SELECT 1 FROM adaptive_state WHERE resource = ?', resource) !== undefined ||
    file.get(
      "SELECT 1 FROM rate_limits WHERE resource = ? AND priority = 'user' LIMIT 1",
      resource,
    ) !== undefined
  );
}

/** @param {import('./file.js').File} file @param {string} resource @param {any} told @param {number} now @returns {Limit} */
function limitOf(file, resource, { kind, settings, version, from }, now) {
  const { limit, windowMs, minIntervalMs = 0, sharedConfig = null } = settings;
  const { remaining, nextAt, adaptive } = file.limit(kind, resource, settings, now);
  const requests = file.get(
    `SELECT COUNT(*) AS used, coalesce(SUM(priority = 'user'), 0) AS users FROM rate_limits
    WHERE resource = ? AND timestamp >= ?`,
    resource,
    now - windowMs,
  );
  const cooldown = file.get(
    'SELECT cooldown_until AS until FROM server_cooldowns WHERE origin = ? AND cooldown_until > ?',
    resource,
    now,
  );
  const used = Number(requests?.used);
  const users = Number(requests?.users);
  return {
    resource,
    kind,
    limit,
    windowMs,
    minIntervalMs,
    shared: sharedConfig,
    used,
    reserved: file.number(
      'SELECT COUNT(*) FROM rate_limit_reservations WHERE resource = ? AND expires_at > ?',
      resource,
      now,
    ),
    remaining,
    nextFreeAt: nextAt,
    cooldownUntil: cooldown?.until ?? null,
    settingsFrom: from,
    version,
    users: adaptive ? { used: users, share: adaptive.userReserved } : null,
    background: adaptive
      ? { used: used - users, share: adaptive.backgroundMax, isPaused: adaptive.backgroundPaused }
      : null,
    reason: adaptive?.reason ?? null,
  };
}

/**
 * The requests of a resource, and the slots that are kept for some, since a time.
 * @param {import('./file.js').File} file @param {string} resource @param {{ since: number, now: number }} options
 * @returns {{ at: number, priority: 'user' | 'background' | null, kind: 'recorded' | 'reserved' }[]}
 */
function timeline(file, resource, { since, now }) {
  const sql = `SELECT timestamp AS at, priority, 'recorded' AS kind FROM rate_limits
      WHERE resource = ?1 AND timestamp >= ?2
    UNION ALL SELECT coalesce(reserved_at, ?3), priority, 'reserved' FROM rate_limit_reservations
      WHERE resource = ?1 AND expires_at > ?3
    ORDER BY at`;
  return /** @type {any} */ (file.all(sql, resource, since, now));
}

module.exports = { DEFAULT, limits, timeline };
