//! Which file is which, whatever their names.

use std::fs;
use std::path::Path;
#[cfg(not(unix))]
use std::path::PathBuf;

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
