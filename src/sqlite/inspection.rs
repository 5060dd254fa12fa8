//! A database looked at from outside, beside whoever has it open, without a trace: no byte and no time of its files changes, and
//! none comes to be. It may be of any version, damaged, or left by a crash.
//!
//! A process is not to have the file open otherwise: what is read here of it is opened and closed, and a system that forgets a
//! process's locks with the first file it closes would forget those of a store (sqlite.org/howtocorrupt.html, 2.2).

use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::backup::{self, CopyProgress};
use super::connection::{Connection, Location};
use super::os::budget::Budget;
use super::os::read_only;
use super::os::sidecars::sidecar_paths;
use crate::core::error::{Error, Result, StoreKind};
use crate::core::operation::{Answer, Operation, Outcome};
use crate::core::schema::{self, SchemaConnection};
use crate::core::value::Value;

/// For how long a lock is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is tried to read a file that others open and close meanwhile.
const ATTEMPTS: usize = 20;

/// How a database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// With the locks that everybody takes: others may write.
    Shared,
    /// Without locks: nobody has it open, and to take one would make files.
    Alone,
    /// From a copy of it: a crash has left a journal or log that is to be carried out first.
    Copy,
}

impl Access {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Shared => "shared",
            Access::Alone => "alone",
            Access::Copy => "copy",
        }
    }
}

/// What has been read of one state of a database.
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// The files of a database, as far as a change of it shows in them.
#[derive(Hash, PartialEq)]
struct Stamp([Option<FileStamp>; 4]);

#[derive(Hash, PartialEq)]
struct FileStamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// The beginning of a database's file: what says that it is one, and in which journal mode.
const HEADER_BYTES: usize = 20;

/// The beginning of a WAL-index: both copies of its header, in which each commit is counted.
const INDEX_BYTES: u64 = 96;

/// A view of a file from outside.
pub struct Inspection {
    path: PathBuf,
    /// While a state is being read.
    open: Option<OpenState>,
}

struct OpenState {
    connection: Connection,
    access: Access,
    /// How the files were before.
    stamp: Stamp,
    /// Removed after the connection is closed.
    _copy: Option<TemporaryDirectory>,
}

impl Inspection {
    /// Of the file at a path.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let found = fs::canonicalize(path).map_err(|error| refused(path, &error))?;
        File::open(&found).map_err(|error| refused(path, &error))?;
        if found.is_dir() {
            return Err(refused(path, &ErrorKind::IsADirectory.into()));
        }
        Ok(Inspection { path: found, open: None })
    }

    /// Where the file is, by its own name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to read one state of the database. What tables and columns it lacks are there, and empty.
    ///
    /// # Errors
    /// What SQLite or the system refuses: it is no database, or damaged, or another process has it to itself for long.
    pub fn begin(&mut self) -> Result<Access> {
        self.open = None;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_open() {
                Ok(Some(open)) => {
                    let access = open.access;
                    self.open = Some(open);
                    return Ok(access);
                }
                Err(error) if attempt == ATTEMPTS || !cannot_be_opened(&error) => return Err(error),
                Ok(None) if attempt == ATTEMPTS => return Err(unsteady(&self.path)),
                // Somebody opens or closes it just now.
                Ok(None) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// `None`: the files have changed meanwhile.
    fn try_open(&self) -> Result<Option<OpenState>> {
        let stamp = Stamp::of(&self.path);
        let (access, parameters) = match self.journal() {
            Journal::None => (Access::Alone, "immutable=1"),
            Journal::Log => (Access::Shared, "readonly_shm=1"),
            Journal::Rollback => (Access::Shared, ""),
            Journal::LeftLog => return self.open_copy(stamp),
        };
        match self.open_in_place(parameters) {
            Err(error) if is_left_journal(&error) => self.open_copy(stamp),
            Err(error) => Err(error),
            Ok(connection) => {
                let open = OpenState { connection, access, stamp, _copy: None };
                Ok(open.is_of_one_state(&self.path).then_some(open))
            }
        }
    }

    fn open_in_place(&self, parameters: &str) -> Result<Connection> {
        let connection = Connection::open_to_inspect(&self.path, parameters, read_only::vfs_name())?;
        begin(connection, fs::metadata(&self.path).map_or(0, |file| file.len()))
    }

    fn open_copy(&self, stamp: Stamp) -> Result<Option<OpenState>> {
        let directory = TemporaryDirectory::new()?;
        let copy = directory.0.join("copy");
        let copied = |from: &Path, to: &Path| match fs::copy(from, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            copied => copied.map(drop).map_err(|error| refused(from, &error)),
        };
        copied(&self.path, &copy)?;
        for (from, to) in [(log_path(&self.path), log_path(&copy)), (journal_path(&self.path), journal_path(&copy))]
        {
            copied(&from, &to)?;
        }
        if Stamp::of(&self.path) != stamp {
            return Ok(None);
        }
        let connection = Connection::open_to_inspect(&copy, "mode=rw", None)?;
        let connection = begin(connection, fs::metadata(&copy).map_or(0, |file| file.len()))?;
        Ok(Some(OpenState { connection, access: Access::Copy, stamp, _copy: Some(directory) }))
    }

    /// What is beside the file.
    fn journal(&self) -> Journal {
        let header = self.beginning_of_file();
        let size = |path: &Path| fs::metadata(path).map(|file| file.len()).ok();
        let [log, index] = sidecar_paths(&self.path);
        let is_wal = header.is_some_and(|header| header[18] == 2 || header[19] == 2);
        match (size(&log), size(&index)) {
            // SQLite takes a log beside an empty file for another's.
            _ if size(&self.path) == Some(0) => Journal::None,
            (Some(_), Some(_)) => Journal::Log,
            (Some(1..), None) => Journal::LeftLog,
            _ if is_wal => Journal::None,
            _ => Journal::Rollback,
        }
    }

    fn beginning_of_file(&self) -> Option<[u8; HEADER_BYTES]> {
        let mut header = [0; HEADER_BYTES];
        File::open(&self.path).ok()?.read_exact(&mut header).ok()?;
        Some(header)
    }

    /// Runs a query on the state that is read.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn query(&self, sql: &str, parameters: &[Value]) -> Result<Rows> {
        let (columns, rows) = self.state()?.connection.query_any(sql, parameters)?;
        Ok(Rows { columns, rows })
    }

    /// What an operation that reads answers, at the time of its call. What would follow from it is left out.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn answer(&self, mut operation: Operation) -> Result<Answer> {
        let connection = &self.state()?.connection;
        loop {
            let rows = connection.run_open(&operation.statements)?;
            match (operation.completion)(rows, 0.0) {
                Outcome::Answer(answer) | Outcome::AnswerThen(answer, _) => return Ok(answer),
                Outcome::Continue(next) => operation = next,
            }
        }
    }

    /// Copies the state that is read to a file that is not there yet. `goes_on` is asked again and again, and told how far that is.
    ///
    /// # Errors
    /// As [`backup::copy`], and that somebody has opened the file that was read alone.
    pub fn back_up(&self, target: &Path, goes_on: impl Fn(CopyProgress) -> bool) -> Result<()> {
        let state = self.state()?;
        let copied = backup::copy(&state.connection, target, |progress| {
            goes_on(progress) && state.is_of_one_state(&self.path)
        });
        if state.is_of_one_state(&self.path) { copied } else { Err(unsteady(&self.path)) }
    }

    fn state(&self) -> Result<&OpenState> {
        self.open.as_ref().ok_or_else(|| Error::Internal("no state of the file is being read".to_owned()))
    }

    /// Ends reading. Answers whether what was read is of one state: if not, it has to be read again.
    pub fn end(&mut self) -> bool {
        self.open.take().is_none_or(|open| open.is_of_one_state(&self.path))
    }

    /// What differs once somebody has committed. To be asked while no state is read.
    pub fn version(&self) -> String {
        let [_, index] = sidecar_paths(&self.path);
        let mut commits = Vec::new();
        // Where it cannot be read, the other files say it.
        let _ = File::open(index).and_then(|index| index.take(INDEX_BYTES).read_to_end(&mut commits));
        let mut hasher = DefaultHasher::new();
        (Stamp::of(&self.path), commits).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// What says how a database is to be read.
enum Journal {
    /// Nothing: nobody has it open.
    None,
    /// A write-ahead log, and the index that its users share, or shared.
    Log,
    /// A log alone: it was copied so, or the system has gone down.
    LeftLog,
    /// A rollback journal, or none.
    Rollback,
}

impl OpenState {
    fn is_of_one_state(&self, path: &Path) -> bool {
        self.access != Access::Alone || Stamp::of(path) == self.stamp
    }
}

impl Stamp {
    fn of(path: &Path) -> Self {
        let [log, index] = sidecar_paths(path);
        let stamp = |path: &Path| fs::metadata(path).ok().map(|file| FileStamp::of(&file));
        Stamp([stamp(path), stamp(&log), stamp(&index).map(FileStamp::without_time), stamp(&journal_path(path))])
    }
}

impl FileStamp {
    fn of(file: &Metadata) -> Self {
        FileStamp { bytes: file.len(), modified: file.modified().ok() }
    }

    /// Memory that is mapped says nothing by its time.
    fn without_time(self) -> Self {
        FileStamp { modified: None, ..self }
    }
}

/// Runs a query on an empty database that has the tables and indexes of all stores.
///
/// # Errors
/// What SQLite refuses.
pub fn query_expected(sql: &str) -> Result<Rows> {
    let mut connection = Connection::open(&Location::Memory)?;
    for kind in [
        StoreKind::Cache,
        StoreKind::CacheTags,
        StoreKind::CacheBounds,
        StoreKind::Dedupe,
        StoreKind::RateLimit,
        StoreKind::Adaptive,
    ] {
        connection.prepare_store(kind, true)?;
    }
    let (columns, rows) = connection.query_any(sql, &[])?;
    Ok(Rows { columns, rows })
}

/// Begins a transaction on a connection to a file of so many bytes, and makes what the database lacks.
fn begin(mut connection: Connection, bytes: u64) -> Result<Connection> {
    connection.wait_for_locks(BUSY_TIMEOUT);
    connection.set_budget(Budget::of_schema(bytes));
    connection.begin_reading()?;
    let stand_ins = schema::stand_ins(&mut connection)?;
    connection.execute_script(&stand_ins)?;
    Ok(connection)
}

/// `SQLITE_CANTOPEN`: a file beside the database may just have gone.
fn cannot_be_opened(error: &Error) -> bool {
    matches!(error, Error::Sqlite { code, .. } if code & 0xff == 14)
}

/// `SQLITE_READONLY_ROLLBACK`, and `SQLITE_READONLY_RECOVERY`: only who may write carries out what a crash has left.
fn is_left_journal(error: &Error) -> bool {
    matches!(error, Error::Sqlite { code: 776 | 264, .. })
}

fn log_path(database: &Path) -> PathBuf {
    let [log, _] = sidecar_paths(database);
    log
}

fn journal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-journal");
    PathBuf::from(name)
}

#[cold]
fn refused(path: &Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::NotFound => "ENOENT",
        ErrorKind::PermissionDenied => "EACCES",
        ErrorKind::IsADirectory => "EISDIR",
        _ => "SQLITE_CANTOPEN",
    };
    Error::Refused { code, message: format!("'{}' cannot be read: {error}", path.display()) }
}

#[cold]
fn unsteady(path: &Path) -> Error {
    let message =
        format!("'{}' is opened and closed all the time, and could not be read in between", path.display());
    Error::Refused { code: "SQLITE_BUSY", message }
}

/// A directory that only this user may look into, removed with all that is in it.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("comic-vine-{}", Uuid::new_v4()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|error| refused(&path, &error))?;
        Ok(TemporaryDirectory(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
