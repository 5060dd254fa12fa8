//! A layer over the operating system's VFS (sqlite.org/vfs.html) that writes a commit to the write-ahead log at once.
//! SQLite writes each frame of it in two calls, the 24 bytes of its header and its page, and a commit is some frames:
//! for a small one these calls are most of its cost. Here the frames are gathered up to the one that ends the commit.
//! All other files, and all else about the log, are the operating system's VFS's own.
//!
//! What is gathered is written before the call that ends the commit returns, and if that fails, it fails. SQLite
//! tells others of the frames only then. It must not write frames before a commit (`PRAGMA cache_spill = OFF`): those
//! would still be gathered when the transaction is rolled back.

use std::ffi::{CStr, c_int, c_void};
use std::mem::size_of;
use std::{ptr, slice};

use once_cell::sync::Lazy;
use rusqlite::ffi;

/// The VFS's name.
const NAME: &CStr = c"comic-vine-store";

/// The size of a frame's header (sqlite.org/fileformat2.html, 4.1). No page is that small.
const FRAME_HEADER_BYTES: usize = 24;

/// After how many bytes frames are written though the commit goes on.
const MOST_GATHERED_BYTES: usize = 64 << 10;

/// The name of the VFS, once it is registered. `None`, for the operating system's own, where it could not be.
pub fn name() -> Option<&'static CStr> {
    static REGISTERED: Lazy<bool> = Lazy::new(register);
    REGISTERED.then_some(NAME)
}

fn register() -> bool {
    // SAFETY: finds the default VFS, which is never unregistered, and registers a copy of it, which is leaked, as it
    // must live as long as SQLite. The copy's methods are the original's, which use of it only `pAppData`, the same.
    unsafe {
        let Some(system) = ffi::sqlite3_vfs_find(ptr::null()).as_ref() else { return false };
        let layer = ffi::sqlite3_vfs {
            szOsFile: system.szOsFile + size_of::<Log>() as c_int,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            xOpen: Some(open),
            ..*system
        };
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(layer)), 0) == ffi::SQLITE_OK
    }
}

/// An open write-ahead log. The operating system's own file object comes after it in memory, which SQLite
/// aligns for pointers.
#[repr(C)]
struct Log {
    base: ffi::sqlite3_file,
    /// Frames that are not written yet.
    gathered: Vec<u8>,
    /// Where in the file they belong.
    start: i64,
    /// Whether the last frame among them ends a commit.
    ends_commit: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    // Of the database's file only.
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

impl Log {
    fn system(&mut self) -> *mut ffi::sqlite3_file {
        // SAFETY: SQLite allocated `szOsFile` bytes, so that the system's file object fits behind.
        unsafe { ptr::from_mut(self).add(1).cast() }
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

    fn write_through(&mut self, bytes: &[u8], offset: i64) -> c_int {
        let system = self.system();
        // SAFETY: an open file of the system's VFS; the bytes live through the call.
        unsafe {
            call(system, |methods| methods.xWrite)(system, bytes.as_ptr().cast(), bytes.len() as c_int, offset)
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

/// A method of an open file.
///
/// # Safety
/// `file` must be an open file of the system's VFS, which has all methods of version 1.
unsafe fn call<M>(file: *mut ffi::sqlite3_file, choose: impl FnOnce(&ffi::sqlite3_io_methods) -> Option<M>) -> M {
    // SAFETY: by the caller's promise.
    unsafe { choose(&*(*file).pMethods).unwrap_unchecked() }
}

unsafe extern "C" fn open(
    _layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: what SQLite passes is passed on, to the VFS that the layer was made of; `file` has room for a `Log` and
    // the system's file object.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        let Some(open) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        if flags & ffi::SQLITE_OPEN_WAL == 0 {
            return open(system, name, file, flags, out_flags);
        }
        let log = file.cast::<Log>();
        (*file).pMethods = ptr::null();
        let inner = log.add(1).cast::<ffi::sqlite3_file>();
        let opened = open(system, name, inner, flags, out_flags);
        if opened == ffi::SQLITE_OK {
            let base = ffi::sqlite3_file { pMethods: &raw const METHODS };
            log.write(Log { base, gathered: Vec::new(), start: 0, ends_commit: false });
        }
        opened
    }
}

/// # Safety
/// `file` must be an open [`Log`], used by nobody else through the call.
unsafe fn log<'file>(file: *mut ffi::sqlite3_file) -> &'file mut Log {
    // SAFETY: by the caller's promise.
    unsafe { &mut *file.cast::<Log>() }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time; `data` has `size` bytes.
    unsafe { log(file).write(slice::from_raw_parts(data.cast(), size as usize), offset) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as in `write`; the file is not used any more.
    unsafe {
        let system = log(file).system();
        let closed = call(system, |methods| methods.xClose)(system);
        file.cast::<Log>().drop_in_place();
        closed
    }
}

/// Methods that see the file as if all had been written.
macro_rules! after_flushing {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: as in `write`; the arguments are passed on.
            unsafe {
                let log = log(file);
                let flushed = log.flush();
                if flushed != ffi::SQLITE_OK {
                    return flushed;
                }
                let system = log.system();
                call(system, |methods| methods.$method)(system $(, $argument)*)
            }
        }
    )*};
}

/// Methods that have nothing to do with what is in the file.
macro_rules! passed_on {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: as in `write`; the arguments are passed on.
            unsafe {
                let system = log(file).system();
                call(system, |methods| methods.$method)(system $(, $argument)*)
            }
        }
    )*};
}

after_flushing! {
    read = xRead(into: *mut c_void, size: c_int, offset: i64);
    truncate = xTruncate(size: i64);
    sync = xSync(flags: c_int);
    file_size = xFileSize(size: *mut i64);
}

passed_on! {
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(answer: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
}
