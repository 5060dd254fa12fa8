//! The files beside a database's: by which names, and whose they are.

use std::fs;
use std::path::{Path, PathBuf};

use file_id::{FileId, get_file_id};

use super::exclusive;

/// The paths of a database's write-ahead log and WAL-index.
pub fn sidecar_paths(database: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    })
}

/// The files of a database in WAL mode, by the names they had when it was opened.
#[derive(Clone, Debug)]
pub struct DatabaseFiles {
    database: NamedFile,
    sidecars: [NamedFile; 2],
}

/// A name, and the file that had it.
#[derive(Clone, Debug)]
struct NamedFile {
    path: PathBuf,
    id: Option<FileId>,
}

impl NamedFile {
    fn now(path: PathBuf) -> Self {
        NamedFile { id: get_file_id(&path).ok(), path }
    }

    fn is_unchanged(&self) -> bool {
        self.id.is_none() || get_file_id(&self.path).ok() == self.id
    }
}

/// What has become of the log of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It is the database's still, by its name or, where the file was moved or removed, without one.
    Sound,
    /// Another program has removed it: nobody else sees what is written to it.
    Lost,
    /// The file was replaced, and the log is taken for the new file's by other processes, which have that open: what is
    /// written here would be read as theirs (sqlite.org/howtocorrupt.html, 4.2).
    Taken,
}

impl DatabaseFiles {
    /// Of the database at a path, as it is open now.
    pub fn of(database: &Path) -> Self {
        DatabaseFiles {
            database: NamedFile::now(database.to_owned()),
            sidecars: sidecar_paths(database).map(NamedFile::now),
        }
    }

    /// Whether all of them have their names.
    pub fn are_unchanged(&self) -> bool {
        self.database.is_unchanged() && self.sidecars.iter().all(NamedFile::is_unchanged)
    }

    /// What has become of the log.
    pub fn log_state(&self) -> LogState {
        if self.database.is_unchanged() {
            let is_lost = !self.sidecars.iter().all(NamedFile::is_unchanged);
            return if is_lost { LogState::Lost } else { LogState::Sound };
        }
        // A file that was moved may come back, and finds its log where that was.
        let is_replaced = self.database.path.exists();
        if is_replaced
            && self.named_sidecars().next().is_some()
            && !exclusive::while_unused(&self.database.path, || ())
        {
            LogState::Taken
        } else {
            LogState::Sound
        }
    }

    /// Where the file was removed or replaced, has its log and WAL-index go on without names, so that a new file does not
    /// find them: it would replay the log, and truncating the shared memory would kill the process. Not if somebody has the
    /// new file open: by then they are its own.
    pub fn detach(&self) {
        if !self.database.is_unchanged() {
            let remove = || self.named_sidecars().for_each(|sidecar| drop(fs::remove_file(&sidecar.path)));
            exclusive::while_unused(&self.database.path, remove);
        }
    }

    /// The WAL-index of a log that is lost describes no other log.
    pub fn remove_index(&self) {
        let [log, index] = &self.sidecars;
        if !log.is_unchanged() && index.id.is_some() && index.is_unchanged() {
            let _ = fs::remove_file(&index.path);
        }
    }

    fn named_sidecars(&self) -> impl Iterator<Item = &NamedFile> {
        self.sidecars.iter().filter(|sidecar| sidecar.id.is_some() && sidecar.is_unchanged())
    }
}
