//! The write-ahead log. SQLite writes each frame of a commit in two calls, the 24 bytes of its header and its page. Here
//! the frames are gathered up to the one that ends the commit, and written at once.
//!
//! What is gathered is written before the call that ends the commit returns, and if that fails, it fails. SQLite
//! tells others of the frames only then. It must not write frames before a commit (`PRAGMA cache_spill = OFF`): those
//! would still be gathered when the transaction is rolled back.
//!
//! A commit that leaves too little room on the volume is refused with `SQLITE_FULL` before its last frame is written: see
//! [`volume`] and [`make_room`](super::super::connection::Connection::make_room).

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::{ptr, slice};

use rusqlite::{Connection, ffi};

use super::super::os::volume;
use super::shim::{ShimFile, file_of, method, methods, path_of, shim};

/// The size of a frame's header (sqlite.org/fileformat2.html, 4.1). No page is that small.
pub const FRAME_HEADER_BYTES: usize = 24;

/// After how many bytes frames are written though the commit goes on.
const MOST_GATHERED_BYTES: usize = 64 << 10;

/// An open write-ahead log.
#[repr(C)]
pub struct WalFile {
    base: ffi::sqlite3_file,
    /// Frames that are not written yet.
    gathered: Vec<u8>,
    /// Where in the file they belong.
    start: i64,
    /// How many pages the database has after the commit, if the last frame among them ends one; otherwise 0.
    pages: u32,
    /// The database and its log.
    paths: Option<[PathBuf; 2]>,
    /// How much may be written before it is looked again whether there is room.
    allowance: volume::Allowance,
    /// Whether the frames are the first of the log.
    is_first: bool,
    /// Whether as much has been checkpointed as can be.
    has_made_room: bool,
}

// SAFETY: begins with `base`, and `METHODS` are for it.
unsafe impl ShimFile for WalFile {
    fn wrap(_system: &ffi::sqlite3_io_methods) -> Self {
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        WalFile {
            base,
            gathered: Vec::new(),
            start: 0,
            pages: 0,
            paths: None,
            allowance: 0,
            is_first: false,
            has_made_room: false,
        }
    }

    /// Writes what has been gathered.
    fn flush(&mut self) -> c_int {
        if self.gathered.is_empty() {
            return ffi::SQLITE_OK;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let done = self.write_through(&gathered, self.start);
        // Room for the next.
        self.gathered = gathered;
        self.gathered.clear();
        done
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods { xWrite: Some(write), ..methods::<WalFile>() };

impl WalFile {
    /// # Safety
    /// `name` must be what SQLite opens the log by.
    pub unsafe fn set_name(&mut self, name: ffi::sqlite3_filename) {
        // SAFETY: by the caller's promise, SQLite finds the database's name from it; both are strings.
        self.paths = unsafe { path_of(ffi::sqlite3_filename_database(name)).zip(path_of(name)) }.map(Into::into);
    }

    /// Whether what is gathered leaves room for a checkpoint, given the size of a page. A commit that does not is to come
    /// first in the log; then it is refused only if the database grows.
    fn has_room(&mut self, page_bytes: usize) -> bool {
        let taken = self.gathered.len() as u64;
        if let Some(left) = self.allowance.checked_sub(taken) {
            self.allowance = left;
            return true;
        }
        let Some([database, log]) = &self.paths else { return true };
        let (size, log_bytes) = (volume::size_of(database), self.start as u64 + taken);
        let (database_bytes, may_go_on) = match u64::from(self.pages) * page_bytes as u64 {
            // The commit goes on: the database may grow by all that is in the log.
            0 => (size + log_bytes, self.is_first),
            bytes => (bytes, bytes <= size && (self.is_first || self.has_made_room)),
        };
        let found = volume::room_for_commit(database, log, log_bytes, database_bytes);
        self.allowance = found.unwrap_or(0);
        found.is_some() || may_go_on
    }

    fn write_through(&mut self, bytes: &[u8], offset: i64) -> c_int {
        let system = self.system();
        // SAFETY: an open file of the system's VFS; the bytes live through the call.
        unsafe {
            method(system, |methods| methods.xWrite)(system, bytes.as_ptr().cast(), bytes.len() as c_int, offset)
        }
    }

    fn write(&mut self, bytes: &[u8], offset: i64) -> c_int {
        let continues = !self.gathered.is_empty() && offset == self.start + self.gathered.len() as i64;
        let is_header = bytes.len() == FRAME_HEADER_BYTES;
        if !continues {
            let flushed = self.flush();
            self.is_first |= offset == 0;
            if flushed != ffi::SQLITE_OK || !is_header {
                return if flushed == ffi::SQLITE_OK { self.write_through(bytes, offset) } else { flushed };
            }
            self.start = offset;
        }
        if self.gathered.try_reserve(bytes.len()).is_err() {
            self.gathered.clear();
            return ffi::SQLITE_NOMEM;
        }
        self.gathered.extend_from_slice(bytes);
        if is_header {
            // The size of the database after the commit; 0 in all other frames.
            self.pages = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        } else if self.pages > 0 || self.gathered.len() >= MOST_GATHERED_BYTES {
            if !self.has_room(bytes.len()) {
                self.gathered.clear();
                return ffi::SQLITE_FULL;
            }
            if self.pages > 0 {
                (self.is_first, self.has_made_room) = (false, false);
            }
            return self.flush();
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time; `data` has `size` bytes.
    unsafe { shim::<WalFile>(file).write(slice::from_raw_parts(data.cast(), size as usize), offset) }
}

/// Has the log of a connection take the next commit although little room is left, as long as the database does not grow.
/// Nothing happens to a connection through another VFS, or without a log.
pub fn room_is_made(connection: &Connection) {
    let Some(file) = file_of(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER) else { return };
    // SAFETY: the open file of a connection that only this thread uses meanwhile; those methods are a `WalFile`'s.
    unsafe {
        if ptr::eq(file.as_ref().pMethods, &raw const METHODS) {
            shim::<WalFile>(file.as_ptr()).has_made_room = true;
        }
    }
}

#[cfg(test)]
mod tests {
    /// The shim relies on how SQLite writes its log. With another version, read again what `wal.c` does in
    /// `walWriteOneFrame`, `walWriteToLog`, `sqlite3WalFrames`, `sqlite3WalUndo`, `walRestartHdr` and `walCheckpoint`: that a
    /// frame's header and its page are two writes one after the other, that the header of the last one says how large the
    /// database is, that nothing reads frames of its own before, and that no frame is written before a commit where the
    /// cache does not spill. [`shm_locks`](super::super::shm_locks) and [`wal_index`](super::super::wal_index) rely on
    /// `walTryBeginRead`, `walRestartLog`, `walUnlockShared` and `walIndexWriteHdr`: see `docs/sqlite-internals.md`.
    #[test]
    fn the_bundled_version_is_one_whose_log_was_read() {
        assert_eq!(rusqlite::version(), "3.54.1");
    }
}
