//! The locks by which connections share a write-ahead log (sqlite.org/walformat.html, 2.3). To read, a connection locks
//! a *read mark*, shared: it tells checkpoints how much of the log it may need. Two things about that are done
//! differently here:
//!
//! - A connection that finds no mark at the log's end moves one there, if it gets an exclusive lock on it at once, and
//!   makes do with an older one if not. Here it is mostly told that it does not get it. What it reads is the same; a
//!   checkpoint at that very moment stops earlier.
//! - While the holder of the connection says so ([`Locks::keep_read`]), the lock on a mark is not given back when a
//!   transaction ends, for the next one to find. Checkpoints of other processes stop at that mark meanwhile.
//! - Likewise the write lock ([`Locks::keep_write_if_alone`]), unless another process has the database open.

use std::ffi::c_int;
use std::ptr;

use rusqlite::{Connection, ffi};

use super::others::Others;
use super::{Layered, fetch, layered, main_file, method, methods, shm_map, system_file, unfetch};

const CHECKPOINT_LOCK: c_int = 1;
const WRITE_LOCK: c_int = 0;
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
pub struct Main {
    base: ffi::sqlite3_file,
    /// Whether the lock on a mark is kept.
    keeps: bool,
    /// The lock that is kept: SQLite has given it back, the system has it still.
    kept: Option<c_int>,
    /// Whether the write lock is kept.
    keeps_write: bool,
    /// Whether it is: SQLite has given it back, the system has it still.
    kept_write: bool,
    /// Whether it holds the checkpoint lock, under which marks are for checkpoints to move.
    is_checkpointing: bool,
    /// How often moving a mark was refused since one was locked. Refused all, SQLite needs one moved.
    refused: u32,
    /// How many times a mark was locked since one was moved.
    reads: u32,
}

// SAFETY: begins with `base`, and both sets of methods are for it.
unsafe impl Layered for Main {
    fn over(system: &ffi::sqlite3_io_methods) -> Self {
        let has_all = system.iVersion >= METHODS.iVersion && system.xShmMap.is_some() && system.xFetch.is_some();
        let methods = if has_all { &raw const METHODS } else { &raw const PLAIN_METHODS };
        let base = ffi::sqlite3_file { pMethods: methods };
        Main {
            base,
            keeps: false,
            kept: None,
            keeps_write: false,
            kept_write: false,
            is_checkpointing: false,
            refused: 0,
            reads: 0,
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xShmMap: Some(shm_map::<Main>),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch::<Main>),
    xUnfetch: Some(unfetch::<Main>),
    ..methods::<Main>()
};

/// Where the system's file has no shared memory, as on some network file systems: SQLite does without a log there.
static PLAIN_METHODS: ffi::sqlite3_io_methods = methods::<Main>();

impl Main {
    fn shm_lock(&mut self, first: c_int, count: c_int, flags: c_int) -> c_int {
        let is_mark = count == 1 && first >= FIRST_MARK;
        match flags {
            UNLOCK_EXCLUSIVE if first == WRITE_LOCK && self.keeps_write => {
                self.kept_write = true;
                return ffi::SQLITE_OK;
            }
            LOCK_EXCLUSIVE if first == WRITE_LOCK && std::mem::take(&mut self.kept_write) => {
                return ffi::SQLITE_OK;
            }
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
            self.give_back_mark();
        }
        let done = self.pass_on(first, count, flags);
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
    fn give_back_mark(&mut self) {
        if let Some(mark) = self.kept.take() {
            self.pass_on(mark, 1, UNLOCK_SHARED);
        }
    }

    /// Gives the locks that are kept back to the system.
    fn give_back(&mut self) {
        self.give_back_mark();
        if std::mem::take(&mut self.kept_write) {
            self.pass_on(WRITE_LOCK, 1, UNLOCK_EXCLUSIVE);
        }
    }

    fn pass_on(&mut self, first: c_int, count: c_int, flags: c_int) -> c_int {
        let system = self.system();
        // SAFETY: an open file of the system's VFS; SQLite locks only where that has shared memory.
        unsafe { method(system, |methods| methods.xShmLock)(system, first, count, flags) }
    }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time.
    unsafe { layered::<Main>(file) }.shm_lock(first, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `shm_lock`.
    unsafe {
        let system = layered::<Main>(file).system();
        method(system, |methods| methods.xShmBarrier)(system);
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as in `shm_lock`.
    unsafe {
        let main = layered::<Main>(file);
        main.give_back();
        let system = main.system();
        method(system, |methods| methods.xShmUnmap)(system, delete)
    }
}

/// The locks of a connection.
#[derive(Debug)]
pub struct Locks {
    main: *mut Main,
    others: Option<Others>,
}

// SAFETY: what it points to belongs to the connection and not to a thread; it is used by whoever holds the connection.
unsafe impl Send for Locks {}

impl Locks {
    /// Of a connection through this VFS; `None` for any other.
    ///
    /// # Safety
    /// Must not be used once `connection` is closed, nor while another thread uses it.
    pub unsafe fn of(connection: &Connection) -> Option<Self> {
        let file = main_file(connection)?;
        // SAFETY: an open file.
        let methods = unsafe { file.as_ref() }.pMethods;
        if !ptr::eq(methods, &raw const METHODS) {
            return None;
        }
        let main = file.as_ptr().cast::<Main>();
        // SAFETY: those are the methods of a `Main`.
        let others = unsafe { Others::of(system_file((*main).system()), connection.path()?) };
        Some(Locks { main, others })
    }

    /// Keeps the lock on a mark at the end of transactions from now on.
    pub fn keep_read(&self) {
        // SAFETY: see `of`.
        unsafe { &mut *self.main }.keeps = true;
    }

    /// Keeps the write lock at the end of transactions from now on, unless another process has the file open. That no
    /// other connection of this process has it open is for the caller to know.
    pub fn keep_write_if_alone(&self) {
        // SAFETY: see `of`.
        let main = unsafe { &mut *self.main };
        if !main.keeps_write {
            main.keeps_write = self.others.as_ref().is_some_and(|others| !others.have_it_open());
        }
    }

    /// Whether another process has the file open, or it cannot be told.
    pub fn are_shared(&self) -> bool {
        self.others.as_ref().is_none_or(Others::have_it_open)
    }

    /// Gives the locks back, now and at the end of transactions to come.
    pub fn give_back(&self) {
        // SAFETY: see `of`.
        let main = unsafe { &mut *self.main };
        (main.keeps, main.keeps_write) = (false, false);
        main.give_back();
    }
}
