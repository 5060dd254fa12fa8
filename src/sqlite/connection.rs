//! One SQLite connection: opening it, its schema, and running plans on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection as Sqlite, OpenFlags, ToSql};

use crate::core::error::{Error, Result, StoreKind};
use crate::core::options::{JournalMode, Synchronous};
use crate::core::plan::{PlanRows, Step, StepRows};
use crate::core::schema::{self, SchemaConnection, Statement};
use crate::core::value::Value;

/// Where a database lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In memory, private to one store.
    Memory,
    /// In a temporary file that SQLite makes and removes, private to one store.
    Temporary,
    /// In a file, by absolute path.
    File(PathBuf),
}

/// A connection. Used by one thread at a time: whoever holds it.
pub struct Connection {
    sqlite: Sqlite,
}

impl From<rusqlite::Error> for Error {
    #[cold]
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqlInputError { error, msg, .. } => {
                Error::Sqlite { code: error.extended_code, message: msg }
            }
            error => match error.sqlite_error() {
                Some(sqlite) => Error::Sqlite { code: sqlite.extended_code, message: error.to_string() },
                None => Error::Internal(error.to_string()),
            },
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Owned(SqlValue::Null),
            Value::Integer(integer) => ToSqlOutput::Owned(SqlValue::Integer(*integer)),
            Value::Real(real) => ToSqlOutput::Owned(SqlValue::Real(*real)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(integer) => Value::Integer(integer),
            ValueRef::Real(real) => Value::Real(real),
            // Text that is not UTF-8 stays bytes: nothing of what another program wrote is lost.
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Blob(bytes.to_vec()),
            },
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}

impl Connection {
    /// Opens a database.
    ///
    /// # Errors
    /// What SQLite refuses, for example a directory or a file without permission.
    pub fn open(location: &Location) -> Result<Self> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sqlite = match location {
            Location::Memory => Sqlite::open_in_memory_with_flags(flags)?,
            Location::Temporary => Sqlite::open_with_flags("", flags)?,
            Location::File(path) => Sqlite::open_with_flags(path, flags)?,
        };
        // rusqlite's own default is 5 s; here only a background thread may wait, and it says how long.
        sqlite.busy_timeout(Duration::ZERO)?;
        sqlite.set_prepared_statement_cache_capacity(Statement::ALL.len() + 8);
        Ok(Connection { sqlite })
    }

    /// Opens a file that exists, reads from it, and closes it: the last to do so tidies up.
    pub fn visit(path: &Path) {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if let Ok(sqlite) = Sqlite::open_with_flags(path, flags) {
            let _ = sqlite.query_row("PRAGMA schema_version", [], |_| Ok(()));
        }
    }

    /// Sets what belongs to a connection to a file. WAL where SQLite grants it: a read-only medium or a network file
    /// system goes on in the mode the file has. So does one that another process keeps in its mode, by holding a
    /// lock, or by having it open where the write-ahead log is to go; the former only if the caller `has_waited`.
    ///
    /// # Errors
    /// `SQLITE_BUSY` while another process has the file to itself.
    pub fn configure(&self, journal_mode: JournalMode, synchronous: Synchronous, has_waited: bool) -> Result<()> {
        let mode = match journal_mode {
            JournalMode::Wal => "wal",
            JournalMode::Delete => "delete",
        };
        if let Err(error) = self.pragma_text("journal_mode", Some(mode))
            && error.is_busy()
        {
            let current = self.pragma_text("journal_mode", None)?;
            if journal_mode == JournalMode::Wal && current != mode && !has_waited {
                return Err(error);
            }
        }
        self.set_synchronous(synchronous)?;
        // Checkpoints run on a background thread.
        Ok(self.sqlite.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;")?)
    }

    /// Copies the write-ahead log into the database as far as other processes' reading and writing allow, so that
    /// the next write starts the log anew. If the log has grown large because others went on writing meanwhile,
    /// holds them up for a moment.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn checkpoint(&self) -> Result<()> {
        const LARGE_PAGES: i64 = 16_384;
        let checkpoint = |sql: &str| self.sqlite.query_row(sql, [], |row| row.get::<_, i64>(1));
        if checkpoint("PRAGMA wal_checkpoint(PASSIVE)")? > LARGE_PAGES {
            self.wait_for_locks(Duration::from_millis(100));
            let restarted = checkpoint("PRAGMA wal_checkpoint(RESTART)");
            self.wait_for_locks(Duration::ZERO);
            restarted?;
        }
        Ok(())
    }

    /// Sets when commits are flushed.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn set_synchronous(&self, synchronous: Synchronous) -> Result<()> {
        let level = match synchronous {
            Synchronous::Normal => "PRAGMA synchronous = NORMAL",
            Synchronous::Full => "PRAGMA synchronous = FULL",
        };
        Ok(self.sqlite.execute_batch(level)?)
    }

    /// Whether the journal is a write-ahead log.
    pub fn is_wal(&self) -> bool {
        self.pragma_text("journal_mode", None).is_ok_and(|mode| mode == "wal")
    }

    fn pragma_text(&self, name: &str, value: Option<&str>) -> Result<String> {
        let sql = match value {
            Some(value) => format!("PRAGMA {name} = {value}"),
            None => format!("PRAGMA {name}"),
        };
        Ok(self.sqlite.query_row(&sql, [], |row| row.get(0))?)
    }

    /// A number that changes whenever another connection has changed the database
    /// (sqlite.org/pragma.html#pragma_data_version).
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn data_version(&self) -> Result<i64> {
        let mut statement = self.sqlite.prepare_cached("PRAGMA data_version")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// How long the next statements may wait for a lock.
    pub fn wait_for_locks(&self, at_most: Duration) {
        // Cannot fail on an open connection.
        let _ = self.sqlite.busy_timeout(at_most);
    }

    /// Runs the steps of a plan in order, in the transaction that is open, if any.
    ///
    /// # Errors
    /// What SQLite refuses. What the steps before the failing one did stands until the caller rolls back.
    pub fn run(&self, steps: &[Step]) -> Result<PlanRows> {
        steps.iter().map(|step| self.run_step(step)).collect()
    }

    fn run_step(&self, step: &Step) -> Result<StepRows> {
        let mut statement = self.sqlite.prepare_cached(step.statement.sql())?;
        for (index, value) in step.values.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value)?;
        }
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(Value::from(row.get_ref(column)?));
            }
            found.push(values);
        }
        drop(rows);
        let changes = if columns == 0 { self.sqlite.changes() } else { 0 };
        Ok(StepRows { rows: found, changes })
    }

    /// Runs a plan that only reads, all its steps on one state of the database.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn read(&self, steps: &[Step]) -> Result<PlanRows> {
        if steps.len() < 2 {
            return self.run(steps);
        }
        self.begin(false)?;
        let rows = self.run(steps);
        self.end(rows)
    }

    /// Opens a transaction; a writing one takes the write lock at once, so that nothing after it can be refused
    /// for want of a lock.
    ///
    /// # Errors
    /// `SQLITE_BUSY` when another connection has the lock.
    pub fn begin(&self, write: bool) -> Result<()> {
        self.control(if write { "BEGIN IMMEDIATE" } else { "BEGIN" })
    }

    /// Commits if all went well, otherwise rolls back.
    ///
    /// # Errors
    /// The error in `result`, or what SQLite says to the commit; either way nothing of the transaction stands.
    pub fn end<T>(&self, result: Result<T>) -> Result<T> {
        let result = result.and_then(|value| self.control("COMMIT").map(|()| value));
        // Some failures have rolled back already (sqlite.org/lang_transaction.html).
        if result.is_err() && !self.sqlite.is_autocommit() {
            self.control("ROLLBACK")?;
        }
        result
    }

    fn control(&self, sql: &str) -> Result<()> {
        let mut statement = self.sqlite.prepare_cached(sql)?;
        statement.raw_execute()?;
        Ok(())
    }

    /// Makes the tables and indexes of a store where they are missing.
    ///
    /// # Errors
    /// What SQLite refuses: `SQLITE_BUSY` while another process writes, `SQLITE_NOTADB`, `SQLITE_READONLY`.
    pub fn prepare_store(&mut self, kind: StoreKind) -> Result<()> {
        if schema::is_complete(self, kind)? {
            return Ok(());
        }
        self.begin(true)?;
        let created = schema::create(self, kind);
        self.end(created)
    }
}

impl SchemaConnection for Connection {
    fn execute_script(&mut self, sql: &str) -> Result<()> {
        Ok(self.sqlite.execute_batch(sql)?)
    }

    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let mut statement = self.sqlite.prepare(sql)?;
        let columns = statement.column_count();
        let rows =
            statement.query_map([], |row| (0..columns).map(|column| Ok(row.get_ref(column)?.into())).collect())?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
