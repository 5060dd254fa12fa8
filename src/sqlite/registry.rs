//! One connection per file and process. Files are told apart by device and inode, so two names of one file share a
//! connection, and a path whose file was replaced is opened afresh.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use file_id::{FileId, get_file_id};
use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex};

use super::background;
use super::connection::{Connection, Location};
use super::database::Database;
use super::os::descriptors::has_descriptor;
use super::os::sidecars::sidecar_paths;
use crate::core::error::{Error, Result, StoreKind};
use crate::core::options::{DatabaseOptions, JournalMode};

struct Entry {
    database: Arc<Database>,
    /// Empty where there is no file.
    path: PathBuf,
    /// How many stores use it; 0 while it is being closed.
    users: usize,
}

static OPEN: Lazy<Mutex<Vec<Entry>>> = Lazy::new(Mutex::default);

/// A file has been closed.
static CLOSED: Condvar = Condvar::new();

/// The last use of a database, until it is closed. Whoever opens its file meanwhile waits for that.
struct LastUse(Arc<Database>);

impl Drop for LastUse {
    fn drop(&mut self) {
        self.0.release_claim();
        OPEN.lock().retain(|entry| !Arc::ptr_eq(&entry.database, &self.0));
        CLOSED.notify_all();
    }
}

/// A store's use of a database. Released explicitly or, in the background, when dropped.
pub struct Handle {
    database: Arc<Database>,
    released: bool,
    open_elsewhere: bool,
}

/// A store's end that is under way in the background.
pub struct CloseBarrier(Arc<(Mutex<bool>, Condvar)>);

impl CloseBarrier {
    /// Whether it has come about.
    pub fn has_ended(&self) -> bool {
        *self.0.0.lock()
    }

    /// Waits until it has come about.
    pub fn wait(&self) {
        let (ended, changed) = &*self.0;
        changed.wait_while(&mut ended.lock(), |ended| !*ended);
    }
}

/// Opens the database at `path` for a store, or joins the one this process has open. `":memory:"` and `""` (a
/// temporary file) are private to the store: nobody else is given them.
///
/// # Errors
/// [`Error::MissingDirectory`]; [`Error::Contradiction`] when the file is open in another journal mode; what SQLite
/// refuses. A database that cannot be used is not left open.
pub fn open(path: &str, kind: StoreKind, options: &DatabaseOptions) -> Result<Handle> {
    let name = path.trim();
    let location = match name {
        ":memory:" => Location::Memory,
        "" => Location::Temporary,
        _ => Location::File(absolute(Path::new(name))?),
    };
    let journal_mode = options.journal_mode.unwrap_or(JournalMode::Wal);
    let Location::File(path) = &location else {
        return join(&Database::open(location, journal_mode, options.synchronous)?, kind, options);
    };

    let mut open = OPEN.lock();
    let mut existing = get_file_id(path).ok();
    while is_closing(&open, path, existing) {
        CLOSED.wait(&mut open);
        existing = get_file_id(path).ok();
    }
    if find(&mut open, existing).is_none() {
        detach_from_replaced(&open, path);
    }
    if let Some(entry) = find(&mut open, existing) {
        if options.journal_mode.is_some() && journal_mode != entry.database.journal_mode() {
            return Err(Error::Contradiction(
                "journalMode must be the same for all stores on one file, got another than the file is open with",
            ));
        }
        entry.database.add_store(kind, options.synchronous)?;
        entry.users += 1;
        let database = Arc::clone(&entry.database);
        return Ok(Handle { database, released: false, open_elsewhere: false });
    }

    let open_elsewhere = existing.as_ref().is_some_and(has_descriptor);
    let path = path.clone();
    let database = Database::open(location, journal_mode, options.synchronous)?;
    if let Err(error) = database.add_store(kind, options.synchronous) {
        database.close();
        database.release_claim();
        if existing.is_none() {
            // Nothing is left behind by a store that could not be made.
            let _ = fs::remove_file(&path);
        }
        return Err(error);
    }
    // The file may have been a link to one that did not exist yet.
    let path = resolve(&path);
    open.push(Entry { database: Arc::clone(&database), path, users: 1 });
    Ok(Handle { database, released: false, open_elsewhere })
}

/// A database in memory, for stores to [join](join).
///
/// # Errors
/// What SQLite refuses.
pub fn open_memory() -> Result<Arc<Database>> {
    Database::open(Location::Memory, JournalMode::Wal, DatabaseOptions::default().synchronous)
}

/// Joins a database without a file, which ends with the last store that has joined it.
///
/// # Errors
/// What SQLite refuses.
pub fn join(database: &Arc<Database>, kind: StoreKind, options: &DatabaseOptions) -> Result<Handle> {
    let mut open = OPEN.lock();
    database.add_store(kind, options.synchronous)?;
    match open.iter_mut().find(|entry| Arc::ptr_eq(&entry.database, database)) {
        Some(entry) => entry.users += 1,
        None => open.push(Entry { database: Arc::clone(database), path: PathBuf::new(), users: 1 }),
    }
    Ok(Handle { database: Arc::clone(database), released: false, open_elsewhere: false })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(|error| Error::Internal(error.to_string()))?;
    match path.parent() {
        Some(directory) if !directory.exists() => {
            Err(Error::MissingDirectory(directory.to_string_lossy().into_owned()))
        }
        _ => Ok(resolve(&path)),
    }
}

/// The path without symbolic links, as far as it exists: SQLite resolves them too, and puts `-wal` and `-shm`
/// beside the file itself.
fn resolve(path: &Path) -> PathBuf {
    if cfg!(windows) {
        // There it would become a path of another form.
        return path.to_owned();
    }
    let mut path = path.to_owned();
    // A link may lead to a file that does not exist yet; as many as SQLite follows.
    for _ in 0..100 {
        if let Ok(resolved) = fs::canonicalize(&path) {
            return resolved;
        }
        let Some(directory) = path.parent().and_then(|directory| fs::canonicalize(directory).ok()) else {
            return path;
        };
        match (fs::read_link(&path), path.file_name()) {
            (Ok(target), _) => path = directory.join(target),
            (Err(_), Some(name)) => return directory.join(name),
            (Err(_), None) => return path,
        }
    }
    path
}

/// The entry of a file: of what its connection has open now, which changes when a file is opened afresh.
fn find(open: &mut [Entry], id: Option<FileId>) -> Option<&mut Entry> {
    open.iter_mut().find(|entry| id.is_some() && entry.database.file_id() == id)
}

/// Whether a file is being closed, or one that had its name.
fn is_closing(open: &[Entry], path: &Path, id: Option<FileId>) -> bool {
    let is_same = |entry: &Entry| entry.path == path || (id.is_some() && entry.database.file_id() == id);
    open.iter().any(|entry| entry.users == 0 && is_same(entry))
}

/// When the file at `path` was removed or replaced while this process has the old one open, the `-wal` and `-shm`
/// beside it are the old one's, which goes on with them by descriptor. A new database must not find them. Where another
/// process has the new file open, they are its own by now: the stores that have the old file open go on with the new one.
fn detach_from_replaced(open: &[Entry], path: &Path) {
    for entry in open.iter().filter(|entry| entry.path == path) {
        entry.database.detach_from_replaced();
    }
}

/// Two processes that close a file at the same moment each see the other, and neither removes `-wal` and `-shm`
/// then. Opening and closing once more does.
fn remove_left_sidecars(path: &Path) {
    for attempt in 1..=3 {
        if !sidecar_paths(path).iter().any(|sidecar| sidecar.exists()) {
            return;
        }
        // Processes that wait alike would meet again.
        let pause = attempt * 2 + u64::from(std::process::id() % 7);
        std::thread::sleep(Duration::from_millis(pause));
        Connection::open_and_close(path);
    }
}

impl Handle {
    /// Whether the process had the file open already, through something else than a store. On Linux only; elsewhere
    /// it cannot be told.
    pub fn is_open_elsewhere(&self) -> bool {
        self.open_elsewhere
    }

    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Ends the use; answers the last one if nobody else uses the database, to be closed.
    fn release(&mut self) -> Option<LastUse> {
        if std::mem::replace(&mut self.released, true) {
            return None;
        }
        let mut open = OPEN.lock();
        let entry = open.iter_mut().find(|entry| Arc::ptr_eq(&entry.database, &self.database))?;
        entry.users -= 1;
        if entry.users > 0 {
            return None;
        }
        drop(open);
        Some(LastUse(Arc::clone(&self.database)))
    }

    /// Carries out what was called, and closes the database if this was its last store. Done when it returns.
    pub fn close(self) {
        self.close_if_last();
    }

    /// As [`close`](Self::close); answers the last use if the database was closed.
    fn close_if_last(mut self) -> Option<LastUse> {
        // First, while others may still join: whoever comes later waits for the end.
        self.database.drain();
        let last = self.release()?;
        last.0.close();
        Some(last)
    }

    /// As [`close`](Self::close), in the background; `done` is called at the end, from there. The answer lets a
    /// thread wait for the end.
    pub fn close_in_background(self, done: impl FnOnce() + Send + 'static) -> CloseBarrier {
        let closing = CloseBarrier(Arc::default());
        let latch = closing.0.clone();
        run_in_background_or_here(move || {
            let last = self.close_if_last();
            if let Some(LastUse(closed)) = &last
                && let Location::File(path) = closed.location()
            {
                remove_left_sidecars(path);
            }
            drop(last);
            done();
            *latch.0.lock() = true;
            latch.1.notify_all();
        });
        closing
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(last) = self.release() {
            run_in_background_or_here(move || last.0.close());
        }
    }
}

/// Runs what ends a store in the background or, if the system refuses a thread, here: it cannot be left undone.
fn run_in_background_or_here(work: impl FnOnce() + Send + 'static) {
    if let Err(work) = background::run(work) {
        work();
    }
}

/// Carries out everything queued for any file, on this thread: for the end of the process.
pub fn drain_all() {
    let databases: Vec<_> = OPEN.lock().iter().map(|entry| Arc::clone(&entry.database)).collect();
    for database in databases {
        database.drain();
    }
}
