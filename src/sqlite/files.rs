//! A database's file and the files beside it: which is which, whatever their names, and whose they are.

use std::fs;
use std::path::{Path, PathBuf};

use super::exclusive;

/// What tells one file from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileKey(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] PathBuf);

/// The key of the file at `path`; `None` if there is none.
#[cfg(unix)]
pub fn file_key(path: &Path) -> Option<FileKey> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|metadata| FileKey((metadata.dev(), metadata.ino())))
}

/// The key of the file at `path`; `None` if there is none.
#[cfg(not(unix))]
pub fn file_key(path: &Path) -> Option<FileKey> {
    fs::canonicalize(path).ok().map(FileKey)
}

/// Whether the process has a descriptor of a file.
pub fn has_descriptor(key: &FileKey) -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return false };
    descriptors.flatten().any(|descriptor| file_key(&descriptor.path()).as_ref() == Some(key))
}

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
pub struct Names {
    database: NamedFile,
    sidecars: [NamedFile; 2],
}

/// A name, and the file that had it.
#[derive(Clone, Debug)]
struct NamedFile {
    path: PathBuf,
    key: Option<FileKey>,
}

impl NamedFile {
    fn now(path: PathBuf) -> Self {
        NamedFile { key: file_key(&path), path }
    }

    fn is_as_before(&self) -> bool {
        self.key.is_none() || file_key(&self.path) == self.key
    }
}

/// What has become of the names of a database's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are those of the files still.
    AsBefore,
    /// The database's file has its name, but the log or the WAL-index has lost it: another program has removed it, and no
    /// other process sees what is written to it.
    LogLost,
    /// The database's file itself was removed or replaced. Its log goes on without a name.
    Replaced,
    /// It was replaced, and its log is taken for the new file's by other processes, which have that open: what is written
    /// here would be read as theirs (sqlite.org/howtocorrupt.html, 4.2).
    LogTaken,
}

impl Names {
    /// Of the database at a path, as it is open now.
    pub fn of(database: &Path) -> Self {
        Names {
            database: NamedFile::now(database.to_owned()),
            sidecars: sidecar_paths(database).map(NamedFile::now),
        }
    }

    /// Finds out what has become of them. Where the database was replaced, the names of its log and WAL-index are removed
    /// so that nobody takes them for the new file's; unless somebody has that open and may have done so.
    pub fn look_after(&self) -> Fate {
        if self.database.is_as_before() {
            let are_sidecars_as_before = self.sidecars.iter().all(NamedFile::is_as_before);
            return if are_sidecars_as_before { Fate::AsBefore } else { Fate::LogLost };
        }
        let named = || self.sidecars.iter().filter(|sidecar| sidecar.key.is_some() && sidecar.is_as_before());
        let remove = || named().for_each(|sidecar| drop(fs::remove_file(&sidecar.path)));
        if named().next().is_none() || exclusive::while_unused(&self.database.path, remove) {
            Fate::Replaced
        } else {
            Fate::LogTaken
        }
    }
}
