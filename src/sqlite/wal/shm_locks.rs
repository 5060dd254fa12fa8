//! The locks by which connections share a write-ahead log (sqlite.org/walformat.html, 2.3). To read, a connection locks
//! a *read mark*, shared: it tells checkpoints how much of the log it may need. Two things about that are done
//! differently here, which spares four of the six locking calls of a commit:
//!
//! - A connection that finds no mark at the log's end moves one there, if it gets an exclusive lock on it at once, and
//!   makes do with an older one if not. Here it is mostly told that it does not get it. What it reads is the same; a
//!   checkpoint at that very moment stops earlier.
//! - While the holder of the connection [says so](keep_read_mark), the lock on a mark is not given back when a transaction
//!   ends, for the next one to find. Checkpoints of other processes stop at that mark meanwhile.
//!
//! Where a database has no log, it may not grow without leaving room for a journal: see [`volume`].

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::ptr;

use rusqlite::{Connection, ffi};

use super::super::os::volume;
use super::shim::{ShimFile, fetch, main_file, method, methods, path_of, shim, shm_map, unfetch};

const WRITE_LOCK: c_int = 0;
const CHECKPOINT_LOCK: c_int = 1;
/// The first read mark stands for a database that has all of the log; the others can be moved.
const FIRST_MARK: c_int = 4;
const MOVABLE_MARKS: u32 = 4;

/// How many transactions may read from an older mark before one is moved.
const READS_PER_MOVE: u32 = 64;

const LOCK_SHARED: c_int = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED;
const LOCK_EXCLUSIVE: c_int = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE;
const UNLOCK_SHARED: c_int = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED;
const UNLOCK_EXCLUSIVE: c_int = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE;

/// An open database.
#[repr(C)]
pub struct MainFile {
    base: ffi::sqlite3_file,
    /// Whether the lock on a mark is kept.
    keeps: bool,
    /// The mark that is still locked although SQLite has released it.
    kept: Option<c_int>,
    /// Whether it holds the checkpoint lock, under which marks are for checkpoints to move.
    is_checkpointing: bool,
    /// How often moving a mark was refused since one was locked. Refused all, SQLite needs one moved.
    refused: u32,
    /// How many times a mark was locked since one was moved.
    reads: u32,
    path: Option<PathBuf>,
    /// Whether it has a WAL-index: it is written to by checkpoints alone.
    has_log: bool,
}

// SAFETY: begins with `base`, and both sets of methods are for it.
unsafe impl ShimFile for MainFile {
    fn wrap(system: &ffi::sqlite3_io_methods) -> Self {
        let has_all = system.iVersion >= METHODS.iVersion && system.xShmMap.is_some() && system.xFetch.is_some();
        let methods = if has_all { &raw const METHODS } else { &raw const PLAIN_METHODS };
        let base = ffi::sqlite3_file { pMethods: methods };
        MainFile {
            base,
            keeps: false,
            kept: None,
            is_checkpointing: false,
            refused: 0,
            reads: 0,
            path: None,
            has_log: false,
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xShmMap: Some(map_shm),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch::<MainFile>),
    xUnfetch: Some(unfetch::<MainFile>),
    ..PLAIN_METHODS
};

/// Where the system's file has no shared memory, as on some network file systems: SQLite does without a log there.
static PLAIN_METHODS: ffi::sqlite3_io_methods =
    ffi::sqlite3_io_methods { xWrite: Some(write), ..methods::<MainFile>() };

impl MainFile {
    /// # Safety
    /// `name` must be what SQLite opens the database by.
    pub unsafe fn set_name(&mut self, name: ffi::sqlite3_filename) {
        // SAFETY: by the caller's promise.
        self.path = unsafe { path_of(name) };
    }

    /// Whether bytes up to `end` may be written.
    fn may_grow(&mut self, end: u64) -> bool {
        let Some(path) = self.path.as_deref().filter(|_| !self.has_log) else { return true };
        let grown = end.saturating_sub(volume::size_of(path));
        grown == 0 || volume::room_to_grow(path, grown)
    }

    fn lock(&mut self, first: c_int, count: c_int, flags: c_int) -> c_int {
        let is_mark = count == 1 && first >= FIRST_MARK;
        match flags {
            UNLOCK_SHARED if is_mark && self.keeps => {
                self.kept = Some(first);
                return ffi::SQLITE_OK;
            }
            LOCK_SHARED if is_mark => {
                (self.refused, self.reads) = (0, self.reads.saturating_add(1));
                if self.kept == Some(first) {
                    self.kept = None;
                    return ffi::SQLITE_OK;
                }
            }
            LOCK_EXCLUSIVE
                if is_mark
                    && !self.is_checkpointing
                    && self.refused < MOVABLE_MARKS
                    && self.reads < READS_PER_MOVE =>
            {
                self.refused += 1;
                return ffi::SQLITE_BUSY;
            }
            _ => {}
        }
        // A kept lock must not stand in the way of what is asked for. The write lock is beside it in any transaction.
        if first != WRITE_LOCK && flags & ffi::SQLITE_SHM_LOCK != 0 {
            self.give_back();
        }
        let done = self.forward(first, count, flags);
        if done == ffi::SQLITE_OK {
            match flags {
                LOCK_EXCLUSIVE if first == CHECKPOINT_LOCK => self.is_checkpointing = true,
                UNLOCK_EXCLUSIVE if first == CHECKPOINT_LOCK => self.is_checkpointing = false,
                // Not before: one that others read under is left, and the next one tried.
                LOCK_EXCLUSIVE if is_mark => self.reads = 0,
                _ => {}
            }
        }
        done
    }

    /// Gives the lock on a mark back to the system, if it is kept.
    fn give_back(&mut self) {
        if let Some(mark) = self.kept.take() {
            // As SQLite, which takes no notice of how an unlock ends: the system drops it with the file at the latest.
            let _ = self.forward(mark, 1, UNLOCK_SHARED);
        }
    }

    fn forward(&mut self, first: c_int, count: c_int, flags: c_int) -> c_int {
        let system = self.system();
        // SAFETY: an open file of the system's VFS; SQLite locks only where that has shared memory.
        unsafe { method(system, |methods| methods.xShmLock)(system, first, count, flags) }
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time; what it passes is passed on.
    unsafe {
        let main = shim::<MainFile>(file);
        if !main.may_grow((offset + i64::from(size)) as u64) {
            return ffi::SQLITE_FULL;
        }
        let system = main.system();
        method(system, |methods| methods.xWrite)(system, data, size, offset)
    }
}

unsafe extern "C" fn map_shm(
    file: *mut ffi::sqlite3_file,
    block: c_int,
    size: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    // SAFETY: as in `write`.
    unsafe {
        shim::<MainFile>(file).has_log = true;
        shm_map::<MainFile>(file, block, size, extend, mapped)
    }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time.
    unsafe { shim::<MainFile>(file) }.lock(first, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `shm_lock`.
    unsafe {
        let system = shim::<MainFile>(file).system();
        method(system, |methods| methods.xShmBarrier)(system);
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as in `shm_lock`.
    unsafe {
        let main = shim::<MainFile>(file);
        main.give_back();
        main.has_log = false;
        let system = main.system();
        method(system, |methods| methods.xShmUnmap)(system, delete)
    }
}

/// Keeps the lock on a read mark at the end of transactions from now on; or gives it back, and no longer does. Nothing
/// happens to a connection through another VFS.
pub fn keep_read_mark(connection: &Connection, keeps: bool) {
    let Some(file) = main_file(connection) else { return };
    // SAFETY: the open file of a connection that only this thread uses meanwhile; those methods are a `MainFile`'s.
    unsafe {
        if ptr::eq(file.as_ref().pMethods, &raw const METHODS) {
            let main = shim::<MainFile>(file.as_ptr());
            main.keeps = keeps;
            if !keeps {
                main.give_back();
            }
        }
    }
}
