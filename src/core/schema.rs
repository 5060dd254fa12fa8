//! DDL and migrations. Tables, columns and indexes are those of 0.2.0 (docs/schema.md);
//! what is added is extra tables and indexes, which 0.2.0 ignores.

use super::error::{Error, Result, StoreKind};
use super::value::Value;

/// What sets up a schema: anything that runs SQL. Implemented by every kind of connection.
pub trait SchemaConnection {
    /// Runs statements that answer no rows.
    fn execute_script(&mut self, sql: &str) -> Result<()>;

    /// Runs a query without parameters that answers one column, `c0`.
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Value>>>;
}

const CACHE_DDL: &str = "
CREATE TABLE IF NOT EXISTS cache (
  hash TEXT PRIMARY KEY,
  value BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_cache_expires_at ON cache(expires_at);
";

// The successor's (`@http-client-toolkit/store-sqlite`), exactly.
const CACHE_TAGS_DDL: &str = "
CREATE TABLE IF NOT EXISTS cache_tags (
  tag TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (tag, hash)
);
CREATE INDEX IF NOT EXISTS idx_cache_tags_tag ON cache_tags(tag);
CREATE INDEX IF NOT EXISTS idx_cache_tags_hash ON cache_tags(hash);
";

// `dedupe_leases` is ours, as is the index on `created_at`, by which a clean-up finds its rows.
// A row of the table with a job is the lease of that job's owner, valid while the row's `job_id` is
// the job's: when 0.2.0 registers the hash again under another id, the lease no longer applies. A row without a
// job is a claim: its owner was told to make the request and has not registered it yet.
const DEDUPE_DDL: &str = "
CREATE TABLE IF NOT EXISTS dedupe_jobs (
  hash TEXT PRIMARY KEY,
  job_id TEXT NOT NULL,
  status TEXT NOT NULL,
  result BLOB,
  error TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_dedupe_status ON dedupe_jobs(status);
CREATE INDEX IF NOT EXISTS idx_dedupe_created_at ON dedupe_jobs(created_at);
CREATE TABLE IF NOT EXISTS dedupe_leases (
  hash TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  job_id TEXT,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
";

const RATE_LIMIT_TABLE_PLAIN: &str = "
CREATE TABLE IF NOT EXISTS rate_limits (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  resource TEXT NOT NULL,
  timestamp INTEGER NOT NULL
);
";

const RATE_LIMIT_TABLE_ADAPTIVE: &str = "
CREATE TABLE IF NOT EXISTS rate_limits (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  resource TEXT NOT NULL,
  timestamp INTEGER NOT NULL,
  priority TEXT NOT NULL DEFAULT 'background'
);
";

// The third index is ours: it counts a window without touching the table. So is the table of slots that a
// `canProceed` reserves for a `record` to come. `server_cooldowns` is that of the newer client's stores.
const RATE_LIMIT_INDEXES: &str = "
CREATE INDEX IF NOT EXISTS idx_rate_limit_resource ON rate_limits(resource);
CREATE INDEX IF NOT EXISTS idx_rate_limit_timestamp ON rate_limits(timestamp);
CREATE INDEX IF NOT EXISTS idx_rate_limit_resource_timestamp ON rate_limits(resource, timestamp);
CREATE TABLE IF NOT EXISTS rate_limit_reservations (
  id INTEGER PRIMARY KEY,
  resource TEXT NOT NULL,
  priority TEXT,
  owner TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  reserved_at INTEGER
);
CREATE INDEX IF NOT EXISTS idx_rate_limit_reservations_resource
  ON rate_limit_reservations(resource, expires_at);
CREATE TABLE IF NOT EXISTS server_cooldowns (origin TEXT PRIMARY KEY, cooldown_until INTEGER NOT NULL);
";

// `adaptive_state` is ours. It keeps what deleting old rows of `rate_limits` would lose: when each class was last
// active, whether the resource is in high-activity mode, and how often it entered it. `adaptive_totals` keeps how often resources
// did that are gone.
const ADAPTIVE_DDL: &str = "
CREATE INDEX IF NOT EXISTS idx_rate_limit_resource_priority_timestamp
  ON rate_limits(resource, priority, timestamp);
CREATE TABLE IF NOT EXISTS adaptive_state (
  resource TEXT PRIMARY KEY,
  last_user_at INTEGER,
  last_background_at INTEGER,
  high_activity INTEGER NOT NULL DEFAULT 0,
  activations INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS adaptive_totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
";

/// A column that older versions' tables lack.
struct AddedColumn {
    table: &'static str,
    name: &'static str,
    definition: &'static str,
}

/// Of the oldest versions of 0.x.
const PRIORITY: AddedColumn =
    AddedColumn { table: "rate_limits", name: "priority", definition: "TEXT DEFAULT 'background'" };

/// When a slot was reserved. NULL in rows of 0.3.0.
const RESERVED_AT: AddedColumn =
    AddedColumn { table: "rate_limit_reservations", name: "reserved_at", definition: "INTEGER" };

/// The name of the error that a job failed with, as `jobId name`: it counts while that is the row's `job_id`, since other
/// versions leave it as it is.
const ERROR_NAME: AddedColumn = AddedColumn { table: "dedupe_jobs", name: "error_name", definition: "TEXT" };

/// The columns that a store's tables may lack.
fn added_columns(kind: StoreKind) -> &'static [AddedColumn] {
    match kind {
        StoreKind::Cache | StoreKind::CacheTags => &[],
        StoreKind::Dedupe => &[ERROR_NAME],
        StoreKind::RateLimit => &[RESERVED_AT],
        StoreKind::Adaptive => &[PRIORITY, RESERVED_AT],
    }
}

impl AddedColumn {
    fn is_there(&self, connection: &mut dyn SchemaConnection) -> Result<bool> {
        let columns = connection.query(&format!("SELECT name AS c0 FROM pragma_table_info('{}')", self.table))?;
        Ok(columns.iter().any(|row| row.first().and_then(Value::text) == Some(self.name)))
    }

    /// Adds it where it is missing and its table there.
    fn add(&self, connection: &mut dyn SchemaConnection) -> Result<()> {
        if self.is_there(connection)? {
            return Ok(());
        }
        let Self { table, name, definition } = self;
        connection.execute_script(&format!("ALTER TABLE {table} ADD COLUMN {name} {definition};"))
    }
}

/// Names that are present once the schema of a store is complete.
fn expected_names(kind: StoreKind) -> &'static [&'static str] {
    match kind {
        StoreKind::Cache => &["cache", "idx_cache_expires_at"],
        StoreKind::CacheTags => &[LATER_TABLE, "idx_cache_tags_tag", "idx_cache_tags_hash"],
        StoreKind::Dedupe => &["dedupe_jobs", "idx_dedupe_status", "idx_dedupe_created_at", "dedupe_leases"],
        StoreKind::RateLimit => &[
            "rate_limits",
            "idx_rate_limit_resource",
            "idx_rate_limit_timestamp",
            "idx_rate_limit_resource_timestamp",
            "rate_limit_reservations",
            "idx_rate_limit_reservations_resource",
            "server_cooldowns",
        ],
        StoreKind::Adaptive => &[
            "rate_limits",
            "idx_rate_limit_resource",
            "idx_rate_limit_timestamp",
            "idx_rate_limit_resource_timestamp",
            "rate_limit_reservations",
            "idx_rate_limit_reservations_resource",
            "server_cooldowns",
            "idx_rate_limit_resource_priority_timestamp",
            "adaptive_state",
            "adaptive_totals",
        ],
    }
}

/// Whether a statement was refused because a table or column of a store is missing, as SQLite says it: another program
/// has dropped it, or it is made when first needed.
pub fn is_missing(message: &str) -> bool {
    let is_ours = |name: &str| {
        [StoreKind::Cache, StoreKind::CacheTags, StoreKind::Dedupe, StoreKind::Adaptive]
            .iter()
            .any(|kind| expected_names(*kind).contains(&name))
    };
    match missing_table(message) {
        Some(name) => is_ours(name),
        None => message.contains("no such column: ") || message.contains(" has no column named "),
    }
}

fn missing_table(message: &str) -> Option<&str> {
    let (_, name) = message.rsplit_once("no such table: ")?;
    Some(name.strip_prefix("main.").unwrap_or(name))
}

/// The table that is not made with a store's.
pub const LATER_TABLE: &str = "cache_tags";

/// The tables, not made with a store's, that a statement was refused for want of.
pub fn made_when_needed(message: &str) -> Option<StoreKind> {
    let kind = StoreKind::CacheTags;
    missing_table(message).is_some_and(|name| expected_names(kind).contains(&name)).then_some(kind)
}

/// Whether a statement was refused for want of such tables.
pub fn lacks_later_table(error: &Error) -> bool {
    matches!(error, Error::Sqlite { message, .. } if made_when_needed(message).is_some())
}

/// Whether the tables and indexes of a store are all there. Only reads, so it never waits for another's lock.
///
/// # Errors
/// What SQLite refuses, for example a file that is not a database.
pub fn is_complete(connection: &mut dyn SchemaConnection, kind: StoreKind) -> Result<bool> {
    // What is no table has no pages of its own: a view, or a table that a module makes up.
    let others = connection.query(
        "SELECT lower(name) AS c0 FROM sqlite_schema WHERE type IN ('table', 'view') AND coalesce(rootpage, 0) < 2",
    )?;
    let is_expected = |row: &&Vec<Value>| {
        row.first().and_then(Value::text).is_some_and(|name| expected_names(kind).contains(&name))
    };
    if let Some([Value::Text(name), ..]) = others.iter().find(is_expected).map(Vec::as_slice) {
        return Err(Error::not_a_table(name));
    }
    let rows = connection.query("SELECT name AS c0 FROM sqlite_schema WHERE type IN ('table', 'index')")?;
    let has = |name: &str| rows.iter().any(|row| row.first().and_then(Value::text) == Some(name));
    if !expected_names(kind).iter().all(|name| has(name)) {
        return Ok(false);
    }
    for column in added_columns(kind) {
        if !column.is_there(connection)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes what is missing of a store's tables, columns and indexes. To be run
/// inside one write transaction: it looks before it alters.
pub fn create(connection: &mut dyn SchemaConnection, kind: StoreKind) -> Result<()> {
    match kind {
        StoreKind::Cache => connection.execute_script(CACHE_DDL),
        StoreKind::CacheTags => connection.execute_script(CACHE_TAGS_DDL),
        StoreKind::Dedupe => {
            connection.execute_script(DEDUPE_DDL)?;
            ERROR_NAME.add(connection)
        }
        StoreKind::RateLimit => {
            connection.execute_script(RATE_LIMIT_TABLE_PLAIN)?;
            connection.execute_script(RATE_LIMIT_INDEXES)?;
            RESERVED_AT.add(connection)
        }
        StoreKind::Adaptive => {
            connection.execute_script(RATE_LIMIT_TABLE_ADAPTIVE)?;
            PRIORITY.add(connection)?;
            connection.execute_script(RATE_LIMIT_INDEXES)?;
            RESERVED_AT.add(connection)?;
            connection.execute_script(ADAPTIVE_DDL)
        }
    }
}
