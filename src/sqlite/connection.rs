//! One SQLite connection: opening it, its schema, and running statements on it.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{
    Connection as Sqlite, ErrorCode, InterruptHandle, OpenFlags, StatementStatus, ToSql, params_from_iter,
};
use smallvec::smallvec;

use super::hardening::harden;
use super::os::budget::Budget;
use super::os::sidecars::{DatabaseFiles, LogState};
use super::os::volume;
use super::wal::wal_index::{State, WalConnection};
use super::wal::{self, shm_locks, wal_file};
use crate::core::codec;
use crate::core::error::{Error, IsBusy, Result, StoreKind};
use crate::core::operation::{BoundStatement, Results, Rows, StatementResult};
use crate::core::options::{JournalMode, Synchronous};
use crate::core::query_cache::QueryCache;
use crate::core::schema::{self, SchemaConnection};
use crate::core::statements::Statement;
use crate::core::value::Value;
use crate::engine::executor::{Refusal, TransactionResult};
use crate::engine::grouping::{group, ungroup};

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
    sqlite: WalConnection,
    is_private: bool,
    /// The file and those beside it, once the connection has read in WAL mode.
    files: Option<DatabaseFiles>,
    query_cache: RefCell<QueryCache>,
    /// The version that its answers are of.
    cached_version: Cell<Option<Version>>,
    /// The state in which `PRAGMA data_version` was last asked for, and what it answered.
    data_version: Cell<Option<(State, i64)>>,
}

/// Refuses to rebuild a database of which so many bytes are used if there is no room for what is written meanwhile.
pub fn check_room(path: &Path, used: u64) -> Result<()> {
    if volume::has_free(path, used.saturating_mul(2)) {
        return Ok(());
    }
    let message = format!(
        "vacuum() needs twice the {used} bytes that are used in '{}' free on its volume, and there are less",
        path.display()
    );
    Err(Error::Refused { code: "SQLITE_STORE_NO_ROOM", message })
}

/// What begins and ends a transaction.
#[derive(Clone, Copy)]
enum Control {
    Begin,
    /// Takes the write lock.
    BeginImmediate,
    Commit,
    Rollback,
}

impl Control {
    const COUNT: usize = 4;

    const fn sql(self) -> &'static str {
        match self {
            Control::Begin => "BEGIN",
            Control::BeginImmediate => "BEGIN IMMEDIATE",
            Control::Commit => "COMMIT",
            Control::Rollback => "ROLLBACK",
        }
    }
}

/// Which version of the database a connection sees: equal only if nothing has been committed in between.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    /// Of a database of its own: how many rows it has changed.
    Private(u64),
    /// Of a file in WAL mode.
    Shared(State),
}

impl From<rusqlite::Error> for Error {
    #[cold]
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::SqlInputError { error, msg, .. } => {
                Error::Sqlite { code: error.extended_code, message: msg }
            }
            error => match error.sqlite_error() {
                Some(sqlite) if sqlite.code == ErrorCode::OperationInterrupted => Error::interrupt(),
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
            Value::Json(text) => ToSqlOutput::Owned(SqlValue::Blob(codec::encode(text))),
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
        Self::open_as(location, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens a database that is open already, to read from it beside the other connection. It keeps little in memory.
    pub fn open_reader(location: &Location) -> Result<Self> {
        let reader = Self::open_as(location, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.sqlite.execute_batch("PRAGMA cache_size = -256")?;
        // Now the log is open too.
        reader.sqlite.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
        Ok(reader)
    }

    /// Opens a database that is open already, to read the whole of it. Waits for locks for so long.
    pub fn open_to_copy(location: &Location, busy_timeout: Duration) -> Result<Self> {
        let reader = Self::open_as(location, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.wait_for_locks(busy_timeout);
        Ok(reader)
    }

    fn open_as(location: &Location, access: OpenFlags) -> Result<Self> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sqlite = match location {
            Location::Memory => Sqlite::open_in_memory_with_flags(flags)?,
            Location::Temporary => Sqlite::open_with_flags("", flags)?,
            Location::File(path) => match wal::vfs_name() {
                Some(name) => Sqlite::open_with_flags_and_vfs(path, flags, name)?,
                None => Sqlite::open_with_flags(path, flags)?,
            },
        };
        // All of them stay prepared, and `PRAGMA data_version`.
        sqlite.set_prepared_statement_cache_capacity(Statement::ALL.len() + Control::COUNT + 1);
        // The VFS asks for it. What a transaction changes is bounded, and kept in memory until it is committed.
        sqlite.execute_batch("PRAGMA cache_spill = OFF")?;
        // SQLite keeps one plan for all values of a statement. Otherwise it would plan again whenever what was bound is cleared,
        // which takes longer than running it.
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // rusqlite's own default is 5 s; here only a background thread may wait, and it says how long.
        sqlite.busy_timeout(Duration::ZERO)?;
        harden(&sqlite)?;
        Ok(Self::of(sqlite, location))
    }

    fn of(sqlite: Sqlite, location: &Location) -> Self {
        Connection {
            sqlite: sqlite.into(),
            is_private: !matches!(location, Location::File(_)),
            files: None,
            query_cache: RefCell::default(),
            cached_version: Cell::new(None),
            data_version: Cell::new(None),
        }
    }

    /// Runs `work`, which only reads, in the transaction that is open, or one of its own.
    pub fn on_one_state<T>(&self, work: impl FnOnce(&Sqlite) -> Result<T>) -> Result<T> {
        if !self.sqlite.is_autocommit() {
            return work(&self.sqlite);
        }
        self.sqlite.execute_batch("BEGIN")?;
        // Only now it has a state.
        let begun = self.sqlite.query_row("PRAGMA schema_version", [], |_| Ok(())).map_err(Error::from);
        let result = begun.and_then(|()| work(&self.sqlite));
        let ended = self.sqlite.execute_batch("ROLLBACK").map_err(Error::from);
        result.and_then(|value| ended.map(|()| value))
    }

    /// Rebuilds the database, so that what is free in it is given back. Answers how many bytes that was.
    ///
    /// # Errors
    /// `SQLITE_BUSY` while others read or write, and that there is no room for what is written meanwhile.
    pub fn vacuum(&self, path: Option<&Path>) -> Result<u64> {
        let number = |sql: &str| -> Result<u64> {
            let number: i64 = self.sqlite.query_row(sql, [], |row| row.get(0))?;
            Ok(u64::try_from(number).unwrap_or(0))
        };
        let page_size = number("PRAGMA page_size")?;
        let pages = number("PRAGMA page_count")?;
        let used = pages.saturating_sub(number("PRAGMA freelist_count")?) * page_size;
        if let Some(path) = path {
            check_room(path, used)?;
        }
        let budget = self.sqlite.meter().set(Budget::of_schema(u64::MAX));
        let vacuumed = self.sqlite.execute_batch("VACUUM");
        self.sqlite.meter().set(budget);
        vacuumed?;
        // The file is cut when the log has been copied; where others read from that, by a later checkpoint.
        let _ = self.sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(pages.saturating_sub(number("PRAGMA page_count")?) * page_size)
    }

    /// Stops, from any thread, what the connection runs.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.sqlite.get_interrupt_handle()
    }

    /// Opens a database that is open already, to rebuild it. As SQLite has connections by default: what is to be written has any
    /// size, and lies in a file rather than in memory.
    pub fn open_to_vacuum(path: &Path, busy_timeout: Duration) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sqlite = Sqlite::open_with_flags(path, flags)?;
        sqlite.busy_timeout(busy_timeout)?;
        harden(&sqlite)?;
        Ok(Self::of(sqlite, &Location::File(path.to_owned())))
    }

    /// Opens a file that others may have open, to be looked at; `parameters` say how (sqlite.org/uri.html). Temporary tables are
    /// kept in memory.
    pub fn open_to_inspect(path: &Path, parameters: &str, vfs: Option<&CStr>) -> Result<Self> {
        let access = match vfs {
            Some(_) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            None => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let uri = format!("{}?{parameters}", uri_of(path));
        let sqlite = match vfs {
            Some(name) => Sqlite::open_with_flags_and_vfs(uri, flags, name)?,
            None => Sqlite::open_with_flags(uri, flags)?,
        };
        harden(&sqlite)?;
        // The log is whose it is.
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        sqlite.execute_batch("PRAGMA temp_store = MEMORY")?;
        Ok(Self::of(sqlite, &Location::File(path.to_owned())))
    }

    /// Begins a transaction that reads one state, from now on.
    pub fn begin_reading(&self) -> Result<()> {
        self.control(Control::Begin)?;
        Ok(self.sqlite.query_row("PRAGMA schema_version", [], |_| Ok(()))?)
    }

    /// Runs any query; answers the names of its columns, and its rows.
    ///
    /// # Errors
    /// What SQLite refuses, and what would write.
    pub fn query_any(&self, sql: &str, parameters: &[Value]) -> Result<(Vec<String>, Vec<Vec<Value>>)> {
        let mut statement = self.sqlite.prepare_cached(sql)?;
        if !statement.readonly() {
            return Err(Error::Internal("the statement writes".to_owned()));
        }
        self.sqlite.meter().begin();
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            (0..columns.len()).map(|column| Ok(row.get_ref(column)?.into())).collect()
        })?;
        let rows = rows.collect::<rusqlite::Result<_>>()?;
        Ok((columns, rows))
    }

    /// Runs statements in order, in the transaction that is open.
    pub fn run_open(&self, statements: &[BoundStatement]) -> Result<Results> {
        Ok(self.run(&[statements])?.pop().unwrap_or_default())
    }

    /// Opens a file that exists, reads from it, and closes it: the last to do so tidies up.
    pub fn open_and_close(path: &Path) {
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
    pub fn configure(
        &mut self,
        journal_mode: JournalMode,
        synchronous: Synchronous,
        has_waited: bool,
    ) -> Result<()> {
        let mode = match journal_mode {
            JournalMode::Wal => "wal",
            JournalMode::Delete => "delete",
        };
        if let Err(error) = self.sqlite.set_journal_mode(mode).map_err(Error::from)
            && error.is_busy()
        {
            let current = self.journal_mode()?;
            if journal_mode == JournalMode::Wal && current != mode && !has_waited {
                return Err(error);
            }
        }
        self.set_synchronous(synchronous)?;
        // Checkpoints run on a background thread.
        Ok(self.sqlite.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;")?)
    }

    /// How often SQLite has prepared the stores' statements anew (sqlite.org/c3ref/c_stmtstatus_counter.html).
    pub fn preparations_anew(&self) -> Result<i32> {
        let count = |statement: &Statement| {
            Ok(self.sqlite.prepare_cached(statement.sql())?.get_status(StatementStatus::RePrepare))
        };
        Statement::ALL.iter().map(count).sum()
    }

    /// How much of the write-ahead log is in use; 0 where there is none.
    pub fn log_bytes(&self) -> u64 {
        self.sqlite.state().map_or(0, |state| state.log_bytes())
    }

    /// Whether the next commit begins the write-ahead log anew, which is flushed then even with `synchronous` normal: all of
    /// it, if there is any, has been checkpointed, by whichever process.
    pub fn next_commit_syncs(&self) -> bool {
        self.sqlite.is_checkpointed()
    }

    /// Keeps the lock that reading takes, from the next transaction on, so that one soon after is quicker; or gives it back.
    /// Meanwhile checkpoints of other processes do not get past what was read.
    pub fn keep_read_mark(&self, keeps: bool) {
        shm_locks::keep_read_mark(&self.sqlite, keeps);
    }

    /// The file and those beside it, if it is in WAL mode.
    pub fn files(&self) -> Option<&DatabaseFiles> {
        self.files.as_ref()
    }

    /// What has become of the log of a file in WAL mode.
    pub fn log_state(&self) -> LogState {
        self.files.as_ref().map_or(LogState::Sound, DatabaseFiles::log_state)
    }

    /// See [`DatabaseFiles::detach`].
    pub fn detach_from_replaced(&self) {
        if let Some(files) = &self.files {
            files.detach();
        }
    }

    /// Closes the connection, whose log is lost, and leaves the log as it is: neither checkpointed nor removed.
    pub fn abandon(self) {
        // Cannot fail on an open connection.
        let _ = self.sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        let files = self.files.clone();
        drop(self);
        if let Some(files) = files {
            files.remove_index();
        }
    }

    /// Copies the write-ahead log into the database as far as other processes' reading and writing allow, so that
    /// the next write starts the log anew. If the log has grown large because others went on writing meanwhile,
    /// holds them up for a moment.
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

    /// Whether there is a write-ahead log.
    pub fn has_log(&self) -> bool {
        self.sqlite.has_header()
    }

    /// Checkpoints the log, and cuts it where nobody reads from it: what it took of the volume is free again, and the next
    /// commit begins it anew. Answers whether a commit that was refused for want of room may be tried once more.
    pub fn make_room(&self) -> bool {
        let checkpoint = || self.sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let has_made_room = self.has_log() && self.log_state() == LogState::Sound && checkpoint().is_ok();
        if has_made_room {
            wal_file::room_is_made(&self.sqlite);
        }
        has_made_room
    }

    /// Sets when commits are flushed.
    pub fn set_synchronous(&self, synchronous: Synchronous) -> Result<()> {
        let level = match synchronous {
            Synchronous::Normal => "PRAGMA synchronous = NORMAL",
            Synchronous::Full => "PRAGMA synchronous = FULL",
        };
        Ok(self.sqlite.execute_batch(level)?)
    }

    /// What each statement may take from now on.
    pub fn set_budget(&self, budget: Budget) {
        self.sqlite.meter().set(budget);
    }

    /// Whether a statement was ever stopped because it took more than it may.
    pub fn has_stopped(&self) -> bool {
        self.sqlite.meter().has_stopped()
    }

    /// Whether the journal is a write-ahead log.
    pub fn is_wal(&self) -> bool {
        self.journal_mode().is_ok_and(|mode| mode == "wal")
    }

    fn journal_mode(&self) -> Result<String> {
        Ok(self.sqlite.query_row("PRAGMA journal_mode", [], |row| row.get(0))?)
    }

    /// A number that changes whenever another connection has changed the database
    /// (sqlite.org/pragma.html#pragma_data_version). SQLite is asked only if there was a commit since.
    pub fn data_version(&self) -> Result<i64> {
        // First: what is committed meanwhile is told the next time.
        let state = self.sqlite.state();
        if let (Some(state), Some((of, version))) = (state, self.data_version.get())
            && of == state
        {
            return Ok(version);
        }
        let version = self.sqlite.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        self.data_version.set(state.map(|state| (state, version)));
        Ok(version)
    }

    /// How long the next statements may wait for a lock.
    pub fn wait_for_locks(&self, at_most: Duration) {
        // Cannot fail on an open connection.
        let _ = self.sqlite.busy_timeout(at_most);
    }

    /// Runs lists of statements in order, in the transaction that is open, if any.
    fn run(&self, lists: &[&[BoundStatement]]) -> Result<Vec<Results>> {
        if let [[bound]] = lists {
            return Ok(vec![smallvec![self.run_statement(bound)?]]);
        }
        let groups = group(lists);
        let rows = groups.iter().map(|group| self.execute(group.statement, group.values()));
        Ok(ungroup(lists, &groups, rows.collect::<Result<_>>()?))
    }

    fn run_statement(&self, bound: &BoundStatement) -> Result<StatementResult> {
        self.execute(bound.statement, &bound.values)
    }

    fn execute<'values>(
        &self,
        statement: Statement,
        values: impl IntoIterator<Item = &'values Value>,
    ) -> Result<StatementResult> {
        let mut prepared = match self.sqlite.prepare_cached(statement.sql()).map_err(Error::from) {
            Ok(prepared) => prepared,
            Err(error) if statement.may_lack_table() && schema::lacks_later_table(&error) => {
                return Ok(StatementResult::default());
            }
            Err(error) => return Err(error),
        };
        self.sqlite.meter().begin();
        let columns = statement.columns();
        let before = if columns == 0 { self.sqlite.total_changes() } else { 0 };
        for (index, value) in values.into_iter().enumerate() {
            prepared.raw_bind_parameter(index + 1, value)?;
        }
        let mut found = Rows::new();
        let mut rows = prepared.raw_query();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(columns);
            for column in 0..columns {
                values.push(Value::from(row.get_ref(column)?));
            }
            found.push(values);
        }
        drop(rows);
        let changes = if columns == 0 { self.sqlite.changes() } else { 0 };
        let has_fired = columns == 0 && self.sqlite.total_changes() > before + changes;
        Ok(StatementResult { rows: found, changes, has_fired })
    }

    /// Runs statements that only read, all on one state of the database: from the query cache where that has what SQLite
    /// would answer.
    pub fn read(&self, statements: &[BoundStatement]) -> Result<Results> {
        if let [bound] = statements {
            let rows = if QueryCache::is_cacheable(bound.statement) {
                self.read_cached(bound)?
            } else {
                self.run_statement(bound)?
            };
            return Ok(smallvec![rows]);
        }
        Ok(self.transact(false, &[statements]).map_err(Refusal::into_error)?.pop().unwrap_or_default())
    }

    /// Whether statements that only read would be answered by the query cache now.
    pub fn has_cached(&self, statements: &[BoundStatement]) -> bool {
        let is_current = self.cached_version.get().is_some_and(|cached| self.version() == Some(cached));
        is_current && statements.iter().all(|bound| self.query_cache.borrow_mut().get(bound).is_some())
    }

    fn read_cached(&self, bound: &BoundStatement) -> Result<StatementResult> {
        let Some(version) = self.version() else {
            return self.run_statement(bound);
        };
        if self.cached_version.replace(Some(version)) != Some(version) {
            self.query_cache.borrow_mut().clear();
        }
        if let Some(rows) = self.query_cache.borrow_mut().get(bound) {
            return Ok(rows);
        }
        let mut rows = self.run_statement(bound)?;
        // Otherwise what was read may be of either version.
        if self.version() == Some(version) {
            self.query_cache.borrow_mut().insert(bound, &mut rows);
        }
        Ok(rows)
    }

    /// The version of the database as the last commit left it; `None` where that cannot be told without a lock.
    fn version(&self) -> Option<Version> {
        if self.is_private {
            return Some(Version::Private(self.sqlite.total_changes()));
        }
        self.sqlite.state().map(Version::Shared)
    }

    /// Runs lists of statements in order, as one transaction. If it writes it takes the write lock at once, so that nothing in it can
    /// be refused for want of a lock.
    ///
    /// # Errors
    /// `SQLITE_BUSY` when another connection has the lock, and whatever SQLite says to a statement or to the commit: see
    /// [`Refusal`].
    pub fn transact(&self, writes: bool, lists: &[&[BoundStatement]]) -> TransactionResult<Error> {
        let _undone = UndoneOnPanic(self);
        let before = self.version();
        let changes = self.sqlite.total_changes();
        let rows = match lists {
            // A single statement is a transaction by itself.
            [list] if list.len() < 2 => self.run(lists).map_err(|error| self.refused_commit(error))?,
            _ => {
                self.control(if writes { Control::BeginImmediate } else { Control::Begin })
                    .map_err(|error| refused(error, Refusal::Undone))?;
                self.end(self.run(lists))?
            }
        };
        if writes {
            let changed = self.sqlite.total_changes() > changes;
            self.apply_writes(before, changed, lists.iter().copied().flatten().zip(rows.iter().flatten()));
        }
        Ok(rows)
    }

    /// Applies to the query cache what this connection has committed since version `before`. Without it the cache would be
    /// cleared, as it is when somebody else has committed meanwhile.
    fn apply_writes<'a>(
        &self,
        before: Option<Version>,
        changed: bool,
        written: impl Iterator<Item = (&'a BoundStatement, &'a StatementResult)>,
    ) {
        let after = self.version();
        let is_alone = match (before, after) {
            (Some(Version::Private(_)), Some(Version::Private(_))) => true,
            // This connection has committed something, and there was one commit.
            (Some(Version::Shared(before)), Some(Version::Shared(after))) => changed && after.follows(&before),
            _ => false,
        };
        if is_alone {
            let mut cache = self.query_cache.borrow_mut();
            if self.cached_version.get() != before {
                cache.clear();
            }
            written.for_each(|(bound, rows)| cache.apply_write(bound, rows));
            self.cached_version.set(after);
        }
    }

    /// Commits if all went well, otherwise rolls back.
    fn end<T>(&self, result: Result<T>) -> Result<T, Refusal<Error>> {
        let result = match result {
            Ok(value) => self.control(Control::Commit).map(|()| value).map_err(|error| self.refused_commit(error)),
            // Each by itself could take as long.
            Err(error) if error.is_interrupt() => Err(Refusal::Unclear(error)),
            Err(error) => Err(refused(error, Refusal::Undone)),
        };
        // Some failures have rolled back already (sqlite.org/lang_transaction.html).
        if result.is_err() && !self.sqlite.is_autocommit() {
            self.control(Control::Rollback).map_err(Refusal::Unclear)?;
        }
        result
    }

    /// What a commit was refused for. One whose frames could not be written to the log has not taken effect: nobody is told
    /// of them, and the next ones are written over them.
    fn refused_commit(&self, error: Error) -> Refusal<Error> {
        let is_undone = self.has_log() && error.is_full();
        refused(error, if is_undone { Refusal::Undone } else { Refusal::Unclear })
    }

    fn control(&self, control: Control) -> Result<()> {
        Ok(self.sqlite.prepare_cached(control.sql())?.raw_execute().map(drop)?)
    }

    /// Makes the tables and indexes of a store where they are missing. Answers whether it has: not where an index may have
    /// many rows, unless that `may_take_long`.
    ///
    /// # Errors
    /// What SQLite refuses: `SQLITE_BUSY` while another process writes, `SQLITE_NOTADB`, `SQLITE_READONLY`.
    pub fn prepare_store(&mut self, kind: StoreKind, may_take_long: bool) -> Result<bool> {
        let is_complete = schema::is_complete(self, kind)?;
        // It has read. Before anything that may be refused.
        self.find_log();
        if !is_complete {
            if !may_take_long && self.is_large()? && !self.sqlite.is_readonly("main")? {
                return Ok(false);
            }
            match self.create_schema(kind) {
                Err(error) if error.is_full() && self.make_room() => self.create_schema(kind)?,
                created => created?,
            }
            self.find_log();
        }
        Ok(true)
    }

    fn is_large(&self) -> Result<bool> {
        const LARGE_PAGES: u64 = 64;
        Ok(self.number_of("PRAGMA page_count")? > LARGE_PAGES)
    }

    fn number_of(&self, pragma: &str) -> Result<u64> {
        let number: i64 = self.sqlite.query_row(pragma, [], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    }

    fn create_schema(&mut self, kind: StoreKind) -> Result<()> {
        self.control(Control::BeginImmediate)?;
        let before = self.sqlite.meter().set(Budget::BOUNDED);
        let created = self.number_of("PRAGMA page_count").and_then(|pages| {
            let page_size = self.number_of("PRAGMA page_size")?;
            self.set_budget(Budget::of_schema(pages.saturating_mul(page_size)));
            schema::create(self, kind)
        });
        self.sqlite.meter().set(before);
        self.end(created).map_err(Refusal::into_error)
    }

    /// Finds the WAL-index of a file in WAL mode, if that is mapped by now, and what belongs to it.
    fn find_log(&mut self) {
        if !self.is_private && !self.sqlite.has_header() && self.is_wal() {
            self.sqlite.find_header();
            self.files = self.sqlite.path().map(|path| DatabaseFiles::of(Path::new(path)));
        }
    }
}

/// A path as a URI of SQLite's (sqlite.org/uri.html).
fn uri_of(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    #[cfg(windows)]
    let path = {
        uri.push('/');
        PathBuf::from(path.to_string_lossy().trim_start_matches(r"\\?\").replace('\\', "/"))
    };
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'/' | b':' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// A refusal for want of a lock, which left nothing, or another.
pub(super) fn refused(error: Error, other: fn(Error) -> Refusal<Error>) -> Refusal<Error> {
    if error.is_busy() { Refusal::Busy(error) } else { other(error) }
}

/// Rolls back what a panic leaves open, and with it another's turn to write.
struct UndoneOnPanic<'connection>(&'connection Connection);

impl Drop for UndoneOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.0.sqlite.is_autocommit() {
            let _ = self.0.control(Control::Rollback);
        }
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
