//! The write-ahead log. SQLite writes each frame of a commit in two calls, the 24 bytes of its header and its page. Here
//! the frames are gathered up to the one that ends the commit, and written at once.
//!
//! What is gathered is written before the call that ends the commit returns, and if that fails, it fails. SQLite
//! tells others of the frames only then. It must not write frames before a commit (`PRAGMA cache_spill = OFF`): those
//! would still be gathered when the transaction is rolled back.

use std::ffi::{c_int, c_void};
use std::slice;

use rusqlite::ffi;

use super::shim::{ShimFile, method, methods, shim};

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
    /// Whether the last frame among them ends a commit.
    ends_commit: bool,
}

// SAFETY: begins with `base`, and `METHODS` are for it.
unsafe impl ShimFile for WalFile {
    fn wrap(_system: &ffi::sqlite3_io_methods) -> Self {
        let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
        WalFile { base, gathered: Vec::new(), start: 0, ends_commit: false }
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
            self.ends_commit = bytes[4..8] != [0; 4];
        } else if self.ends_commit || self.gathered.len() >= MOST_GATHERED_BYTES {
            return self.flush();
        }
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time; `data` has `size` bytes.
    unsafe { shim::<WalFile>(file).write(slice::from_raw_parts(data.cast(), size as usize), offset) }
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
