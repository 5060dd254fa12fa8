//! How much room a volume has. A commit that makes a database grow leaves some: for the checkpoint that is to come, and for
//! what makes room again, since to remove anything takes room first, in a log or a journal.

use std::path::Path;

/// What is left free on a volume by whatever makes a database grow.
const RESERVE_BYTES: u64 = 256 << 10;

/// By how much a file may grow at most before one looks again.
const MOST_UNSEEN_BYTES: u64 = 4 << 20;

/// Bytes that may be written to a log before it is looked again whether there is room.
pub type Allowance = u64;

/// Whether there is room for a commit that writes the log of a database up to `log_bytes`, after which the database has
/// `database_bytes`: the checkpoint fits, and the reserve is left. `None`: there is not. What cannot be told is allowed.
pub fn room_for_commit(database: &Path, log: &Path, log_bytes: u64, database_bytes: u64) -> Option<Allowance> {
    let Some(free) = free_bytes(log) else { return Some(MOST_UNSEEN_BYTES) };
    let size = size_of(database);
    let largest = largest_file();
    if database_bytes > size.max(largest) {
        return None;
    }
    let may_grow = largest.saturating_sub(database_bytes);
    // What others write meanwhile is not seen, nor how much of what is written makes the database grow.
    let taken = log_bytes.saturating_sub(size_of(log)) + database_bytes.saturating_sub(size);
    let spare = free.checked_sub(taken + RESERVE_BYTES)?;
    Some((spare / 4).min(free / 8).min(may_grow / 4).min(MOST_UNSEEN_BYTES))
}

/// Whether a volume has so many bytes left. What cannot be told is taken for enough.
pub fn has_free(file: &Path, bytes: u64) -> bool {
    free_bytes(file).is_none_or(|free| free >= bytes)
}

/// Whether a database may grow by so much, without a log.
pub fn room_to_grow(database: &Path, by: u64) -> bool {
    free_bytes(database).is_none_or(|free| free >= by + RESERVE_BYTES)
}

/// The size of a database as it is; its file is not opened, since to close it would drop the locks that are on it.
pub fn size_of(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

#[cfg(unix)]
fn free_bytes(file: &Path) -> Option<u64> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    let name = CString::new(file.as_os_str().as_bytes()).ok()?;
    // SAFETY: all zeros is a valid `statvfs`; the name ends with NUL, and the call writes what it is given.
    let volume = unsafe {
        let mut volume: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(name.as_ptr(), &raw mut volume) == 0).then_some(volume)?
    };
    #[allow(clippy::useless_conversion, reason = "of another type on other systems")]
    Some(u64::from(volume.f_bavail).saturating_mul(u64::from(volume.f_frsize)))
}

/// The size that no file of this process may pass (`RLIMIT_FSIZE`).
#[cfg(unix)]
fn largest_file() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes what it is given.
    let is_known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) == 0 };
    if is_known { limit.rlim_cur } else { u64::MAX }
}

/// There SQLite alone says when a volume is full.
#[cfg(not(unix))]
fn free_bytes(_file: &Path) -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn largest_file() -> u64 {
    u64::MAX
}
