//! A copy of a database, made beside those who write. It is of one state, in which the database is read from the first page to
//! the last. It has its name once it is complete and on the medium, and never before.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection as Sqlite, OpenFlags};
use uuid::Uuid;

use super::connection::Connection;
use crate::core::error::{Error, Result};

/// How many pages are copied before it is asked whether to go on: 2 MB.
const PAGES_AT_ONCE: i32 = 512;

/// How long to wait where another connection of the process keeps the source for a moment.
const PAUSE: Duration = Duration::from_millis(1);

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    pub total_pages: u64,
    pub remaining_pages: u64,
}

/// A file that is written beside its place, and removed unless it takes that.
pub struct Draft {
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// One for a file that does not exist yet.
    ///
    /// # Errors
    /// [`Error::MissingDirectory`], or that there is something of that name.
    pub fn new(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target).map_err(|error| Error::Internal(error.to_string()))?;
        let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(exists(&target));
        };
        if !directory.is_dir() {
            return Err(Error::MissingDirectory(directory.to_string_lossy().into_owned()));
        }
        if fs::symlink_metadata(&target).is_ok() {
            return Err(exists(&target));
        }
        let mut draft = name.to_owned();
        draft.push(format!(".{}.tmp", Uuid::new_v4()));
        Ok(Draft { path: directory.join(draft), target })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file take its place, once it is on the medium. What has come there meanwhile stays.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn publish(self) -> Result<()> {
        let refused = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => exists(&self.target),
            _ => failed(&self.target, &error),
        };
        // Writable: there are systems that flush no other.
        let file = File::options().read(true).write(true).open(&self.path).map_err(refused)?;
        file.sync_all().map_err(refused)?;
        drop(file);
        match fs::hard_link(&self.path, &self.target) {
            // The other name goes with the draft.
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(refused(error)),
            // There are file systems without links.
            Err(_) if fs::symlink_metadata(&self.target).is_ok() => return Err(exists(&self.target)),
            Err(_) => fs::rename(&self.path, &self.target).map_err(refused)?,
        }
        // The name, too. Some systems open no directories.
        if let Some(Ok(directory)) = self.target.parent().map(File::open) {
            directory.sync_all().map_err(refused)?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing is there if it has taken its place by another name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cold]
fn exists(target: &Path) -> Error {
    let message = format!("path must be one that does not exist yet, and there is '{}'", target.display());
    Error::Refused { code: "SQLITE_STORE_TARGET_EXISTS", message }
}

#[cold]
fn failed(target: &Path, error: &std::io::Error) -> Error {
    let message = format!("The copy '{}' cannot be written: {error}", target.display());
    Error::Refused { code: "SQLITE_STORE_COPY_FAILED", message }
}

/// Why a copy or `vacuum()` has not come to its end: the last store on the database was closed.
#[cold]
pub fn closed() -> Error {
    let message = "The database was closed meanwhile".to_owned();
    Error::Refused { code: "SQLITE_STORE_CLOSED", message }
}

/// Copies what a connection reads to a file. `goes_on` is asked again and again, and told how far it is.
///
/// # Errors
/// What SQLite or the system refuses, and that it was not to go on. There is no file then.
pub fn copy(source: &Connection, target: &Path, goes_on: impl Fn(CopyProgress) -> bool) -> Result<()> {
    let draft = Draft::new(target)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Sqlite::open_with_flags(draft.path(), flags)?;
    // Nobody else knows it, and it is flushed as a whole.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    source.on_one_state(|sqlite| {
        let backup = Backup::new(sqlite, &mut copy)?;
        loop {
            let step = backup.step(PAGES_AT_ONCE)?;
            let progress = backup.progress();
            let pages = |number: i32| u64::try_from(number).unwrap_or(0);
            let progress =
                CopyProgress { total_pages: pages(progress.pagecount), remaining_pages: pages(progress.remaining) };
            if !goes_on(progress) {
                return Err(closed());
            }
            match step {
                StepResult::Done => return Ok(()),
                StepResult::Busy | StepResult::Locked => std::thread::sleep(PAUSE),
                _ => {}
            }
        }
    })?;
    copy.close().map_err(|(_, error)| error)?;
    draft.publish()
}
