//! DDL and migrations. Tables, columns and indexes are those of 0.2.0 (docs/schema.md);
//! what is added is extra tables and indexes, which 0.2.0 ignores.

use super::error::{Error, Result, StoreKind};
use super::statements::Statement;
use super::value::Value;

/// What sets up a schema: anything that runs SQL. Implemented by every kind of connection.
pub trait SchemaConnection {
    /// Runs statements that answer no rows.
    fn execute_script(&mut self, sql: &str) -> Result<()>;

    /// Runs a query without parameters that answers one column, `c0`.
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Value>>>;

    /// The names of tables and indexes.
    fn names(&mut self) -> Result<Vec<String>> {
        self.query("SELECT name AS c0 FROM sqlite_schema WHERE type IN ('table', 'index')").map(texts)
    }

    /// The names, in lower case, of what is no table and has no pages of its own: a view, or a table that a module makes up.
    fn names_of_others(&mut self) -> Result<Vec<String>> {
        let sql = "SELECT lower(name) AS c0 FROM sqlite_schema WHERE type IN ('table', 'view') AND coalesce(rootpage, 0) < 2";
        self.query(sql).map(texts)
    }

    /// The columns of a table; none if it is not there.
    fn columns(&mut self, table: &str) -> Result<Vec<String>> {
        self.query(&format!("SELECT name AS c0 FROM pragma_table_info('{table}')")).map(texts)
    }
}

fn texts(rows: Vec<Vec<Value>>) -> Vec<String> {
    rows.into_iter().filter_map(|row| row.first().and_then(Value::text).map(str::to_owned)).collect()
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

// What bounds need. `cache_use` says of each entry when it was last used, as far as that is noted; the index on the size has all
// that is counted. Entries that were there before were last used when they were created.
const CACHE_BOUNDS_DDL: &str = "
CREATE TABLE IF NOT EXISTS cache_use (hash TEXT PRIMARY KEY, used_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idx_cache_use_used_at ON cache_use(used_at);
CREATE INDEX IF NOT EXISTS idx_cache_length ON cache(length(value));
CREATE TABLE IF NOT EXISTS cache_totals (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL
);
INSERT OR IGNORE INTO cache_use (hash, used_at)
  SELECT hash, CASE WHEN typeof(created_at) IN ('integer', 'real') AND abs(created_at) < 8700000000000000
    THEN created_at ELSE 0 END
  FROM cache;
INSERT OR IGNORE INTO cache_totals (id, entries, bytes)
  SELECT 1, COUNT(1), COALESCE(SUM(length(value)), 0) FROM cache;
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

// Written by the limiters, and read by who looks from outside.
const STORE_SETTINGS_DDL: &str = "
CREATE TABLE IF NOT EXISTS store_settings (
  kind TEXT,
  resource TEXT,
  settings TEXT NOT NULL,
  version TEXT NOT NULL,
  written_at INTEGER NOT NULL,
  PRIMARY KEY (kind, resource)
) WITHOUT ROWID;
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

// On servers alone. `request_log` has the ids of what was sent and must not count twice; `host_leases` says who does the
// housekeeping.
const SERVER_DDL: &str = "
CREATE TABLE IF NOT EXISTS request_log (id TEXT PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS host_leases (
  name TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  expires_at INTEGER NOT NULL
);
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
        StoreKind::Cache | StoreKind::CacheTags | StoreKind::CacheBounds | StoreKind::Server => &[],
        StoreKind::Dedupe => &[ERROR_NAME],
        StoreKind::RateLimit => &[RESERVED_AT],
        StoreKind::Adaptive => &[PRIORITY, RESERVED_AT],
    }
}

impl AddedColumn {
    fn is_there(&self, connection: &mut dyn SchemaConnection) -> Result<bool> {
        Ok(connection.columns(self.table)?.iter().any(|column| column == self.name))
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
        StoreKind::CacheBounds => &["cache_use", "idx_cache_use_used_at", "idx_cache_length", TOTALS_TABLE],
        StoreKind::Dedupe => &["dedupe_jobs", "idx_dedupe_status", "idx_dedupe_created_at", "dedupe_leases"],
        StoreKind::RateLimit => &[
            "rate_limits",
            "idx_rate_limit_resource",
            "idx_rate_limit_timestamp",
            "idx_rate_limit_resource_timestamp",
            "rate_limit_reservations",
            "idx_rate_limit_reservations_resource",
            "server_cooldowns",
            "store_settings",
        ],
        StoreKind::Adaptive => &[
            "rate_limits",
            "idx_rate_limit_resource",
            "idx_rate_limit_timestamp",
            "idx_rate_limit_resource_timestamp",
            "rate_limit_reservations",
            "idx_rate_limit_reservations_resource",
            "server_cooldowns",
            "store_settings",
            "idx_rate_limit_resource_priority_timestamp",
            "adaptive_state",
            "adaptive_totals",
        ],
        StoreKind::Server => &["request_log", "host_leases"],
    }
}

/// Whether a statement was refused because a table or column of a store is missing, as SQLite says it: another program
/// has dropped it, or it is made when first needed.
pub fn is_missing(message: &str) -> bool {
    let is_ours = |name: &str| {
        let kinds = [
            StoreKind::Cache,
            StoreKind::CacheTags,
            StoreKind::CacheBounds,
            StoreKind::Dedupe,
            StoreKind::Adaptive,
            StoreKind::Server,
        ];
        kinds.iter().any(|kind| expected_names(*kind).contains(&name))
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

/// The table that is there where entries are counted.
pub const TOTALS_TABLE: &str = "cache_totals";

/// The tables, not made with a store's, that a statement was refused for want of.
pub fn made_when_needed(message: &str) -> Option<StoreKind> {
    let name = missing_table(message)?;
    let kinds = [StoreKind::CacheTags, StoreKind::CacheBounds];
    kinds.into_iter().find(|kind| expected_names(*kind).contains(&name))
}

/// Whether entries are counted: a store has, or had, bounds.
pub fn has_totals(connection: &mut dyn SchemaConnection) -> Result<bool> {
    Ok(!connection.query(Statement::CacheIsCounted.sql())?.is_empty())
}

/// The same, given the rows of [`SNAPSHOT`].
pub fn has_totals_in(snapshot: &[Vec<Value>]) -> bool {
    Planned { snapshot, script: String::new() }
        .rows()
        .any(|(kind, name, ..)| kind == "table" && name == TOTALS_TABLE)
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
    let others = connection.names_of_others()?;
    if let Some(name) = others.iter().find(|name| expected_names(kind).contains(&name.as_str())) {
        return Err(Error::not_a_table(name));
    }
    let names = connection.names()?;
    let has = |name: &str| names.iter().any(|other| other == name);
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
        StoreKind::CacheBounds => connection.execute_script(CACHE_BOUNDS_DDL),
        StoreKind::Dedupe => {
            connection.execute_script(DEDUPE_DDL)?;
            ERROR_NAME.add(connection)
        }
        StoreKind::RateLimit => {
            connection.execute_script(RATE_LIMIT_TABLE_PLAIN)?;
            connection.execute_script(RATE_LIMIT_INDEXES)?;
            connection.execute_script(STORE_SETTINGS_DDL)?;
            RESERVED_AT.add(connection)
        }
        StoreKind::Adaptive => {
            connection.execute_script(RATE_LIMIT_TABLE_ADAPTIVE)?;
            PRIORITY.add(connection)?;
            connection.execute_script(RATE_LIMIT_INDEXES)?;
            connection.execute_script(STORE_SETTINGS_DDL)?;
            RESERVED_AT.add(connection)?;
            connection.execute_script(ADAPTIVE_DDL)
        }
        StoreKind::Server => connection.execute_script(SERVER_DDL),
    }
}

/// The statements that make, as temporary ones and empty, the tables and columns that a database lacks: so that queries may name
/// all of them, whichever version made it.
///
/// # Errors
/// What SQLite refuses.
pub fn stand_ins(connection: &mut dyn SchemaConnection) -> Result<String> {
    const CREATE: &str = "CREATE TABLE IF NOT EXISTS ";
    let scripts = [
        CACHE_DDL,
        CACHE_TAGS_DDL,
        CACHE_BOUNDS_DDL,
        DEDUPE_DDL,
        RATE_LIMIT_TABLE_ADAPTIVE,
        RATE_LIMIT_INDEXES,
        STORE_SETTINGS_DDL,
        ADAPTIVE_DDL,
    ];
    let mut there = connection.names()?;
    there.extend(connection.names_of_others()?);
    let is_there = |name: &str| there.iter().any(|other| other.eq_ignore_ascii_case(name));
    let mut script = String::new();
    for table in scripts.iter().flat_map(|script| script.split(';')) {
        let Some(definition) = table.trim().strip_prefix(CREATE) else { continue };
        if definition.split([' ', '(']).next().is_some_and(|name| !is_there(name)) {
            script.push_str(&format!("CREATE TEMP TABLE {definition};\n"));
        }
    }
    for column in [PRIORITY, RESERVED_AT, ERROR_NAME] {
        let AddedColumn { table, name, definition } = column;
        if !is_there(table) {
            if !script.contains(&format!("  {name} ")) {
                script.push_str(&format!("ALTER TABLE temp.{table} ADD COLUMN {name} {definition};\n"));
            }
        } else if !column.is_there(connection)? {
            let default = definition.split_once("DEFAULT ").map_or("NULL", |(_, default)| default);
            script.push_str(&format!(
                "CREATE TEMP VIEW {table} AS SELECT *, {default} AS {name} FROM main.{table};\n"
            ));
        }
    }
    Ok(script)
}

/// The query that answers all that [`plan`] is to know, in its [`COLUMNS`](SNAPSHOT_COLUMNS): the type, name and first page of
/// what there is, and, of each table, a column.
pub const SNAPSHOT: &str = "SELECT m.type AS c0, m.name AS c1, coalesce(m.rootpage, 0) AS c2, p.name AS c3
    FROM sqlite_schema m LEFT JOIN pragma_table_info(m.name) p ON m.type = 'table' AND coalesce(m.rootpage, 0) > 1
    WHERE m.type IN ('table', 'index', 'view')";

/// The statement that makes the first table of [`StoreKind::Server`]. It changes nothing if the table is there.
pub fn first_on_servers() -> &'static str {
    SERVER_DDL.split(';').next().unwrap_or_default().trim()
}

/// How many columns [`SNAPSHOT`] has.
pub const SNAPSHOT_COLUMNS: usize = 4;

/// The statements that make what is missing of the tables of these kinds, given the rows of [`SNAPSHOT`]: for a connection that
/// answers later. To be run as one transaction.
///
/// # Errors
/// As [`is_complete`].
pub fn plan(kinds: &[StoreKind], snapshot: &[Vec<Value>]) -> Result<Vec<String>> {
    let mut planned = Planned { snapshot, script: String::new() };
    for kind in kinds {
        if !is_complete(&mut planned, *kind)? {
            create(&mut planned, *kind)?;
        }
    }
    let statements = planned.script.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    Ok(statements.map(str::to_owned).collect())
}

/// A connection that has not run what it was given yet.
struct Planned<'snapshot> {
    snapshot: &'snapshot [Vec<Value>],
    script: String,
}

impl Planned<'_> {
    /// The type, name, first page and column of what there is.
    fn rows(&self) -> impl Iterator<Item = (&str, &str, f64, Option<&str>)> {
        self.snapshot.iter().filter_map(|row| match row.as_slice() {
            [kind, name, page, column] => Some((kind.text()?, name.text()?, page.number()?, column.text())),
            _ => None,
        })
    }

    /// The columns that a table is made with.
    fn planned_columns(&self, table: &str) -> Vec<String> {
        let start = format!("CREATE TABLE IF NOT EXISTS {table} (");
        let definition = self.script.split(';').find_map(|statement| statement.trim().strip_prefix(start.as_str()));
        let columns = definition.into_iter().flat_map(|columns| columns.split(','));
        columns.filter_map(|column| column.split_whitespace().next().map(str::to_owned)).collect()
    }
}

impl SchemaConnection for Planned<'_> {
    fn execute_script(&mut self, sql: &str) -> Result<()> {
        self.script.push_str(sql);
        Ok(())
    }

    /// Nothing is asked beside what the snapshot has.
    fn query(&mut self, _sql: &str) -> Result<Vec<Vec<Value>>> {
        Ok(Vec::new())
    }

    fn names(&mut self) -> Result<Vec<String>> {
        Ok(self.rows().filter(|(kind, ..)| *kind != "view").map(|(_, name, ..)| name.to_owned()).collect())
    }

    fn names_of_others(&mut self) -> Result<Vec<String>> {
        let others = self.rows().filter(|(kind, _, page, _)| *kind != "index" && *page < 2.0);
        Ok(others.map(|(_, name, ..)| name.to_ascii_lowercase()).collect())
    }

    fn columns(&mut self, table: &str) -> Result<Vec<String>> {
        let columns = self.rows().filter(|(_, name, ..)| *name == table).filter_map(|(.., column)| column);
        let columns: Vec<String> = columns.map(str::to_owned).collect();
        Ok(if columns.is_empty() { self.planned_columns(table) } else { columns })
    }
}
