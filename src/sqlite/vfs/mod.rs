//! A layer over the operating system's VFS (sqlite.org/vfs.html) for databases in WAL mode. Most of what a small commit
//! costs is calls to the operating system, and the layer spares most of them: those that write the log ([`log`]), and
//! those that lock and unlock again ([`locks`]). All else is the system's VFS's own.

#[cfg(feature = "faults")]
pub mod faults;
mod locks;
mod log;
mod others;

use std::ffi::{CStr, c_int, c_void};
use std::mem::size_of;
use std::ptr::{self, NonNull};

use once_cell::sync::Lazy;
use rusqlite::{Connection, ffi};

pub use self::locks::Locks;
use self::locks::Main;
pub use self::log::FRAME_HEADER_BYTES;
use self::log::Log;

/// The VFS's name.
const NAME: &CStr = c"comic-vine-store";

/// The name of the VFS, once it is registered. `None`, for the operating system's own, where it could not be.
pub fn name() -> Option<&'static CStr> {
    static REGISTERED: Lazy<bool> = Lazy::new(register);
    REGISTERED.then_some(NAME)
}

fn register() -> bool {
    // SAFETY: the system's VFS is never unregistered; registers a copy of it, which is leaked, as it must live as long as
    // SQLite. The copy's methods are the original's, which use of it only `pAppData`, the same.
    unsafe {
        let Some(system) = system_vfs().as_ref() else { return false };
        let layer = ffi::sqlite3_vfs {
            szOsFile: system.szOsFile + size_of::<Log>().max(size_of::<Main>()) as c_int,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            xOpen: Some(open),
            ..*system
        };
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(layer)), 0) == ffi::SQLITE_OK
    }
}

/// The operating system's VFS; in tests, with faults in between. Null if SQLite has none.
fn system_vfs() -> *mut ffi::sqlite3_vfs {
    #[cfg(feature = "faults")]
    if let Some(faults) = faults::vfs() {
        return faults;
    }
    // SAFETY: looks it up by no name; it is never unregistered.
    unsafe { ffi::sqlite3_vfs_find(ptr::null()) }
}

/// The operating system's own file, of one that its VFS has opened for the layer.
///
/// # Safety
/// It must be an open file of [`system_vfs`].
unsafe fn system_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    #[cfg(feature = "faults")]
    // SAFETY: by the caller's promise; without the faults' VFS there is nothing behind.
    let file = if faults::vfs().is_some() { unsafe { faults::behind(file) } } else { file };
    file
}

/// The open file of a connection's database, which may be of any VFS.
pub fn main_file(connection: &Connection) -> Option<NonNull<ffi::sqlite3_file>> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the handle is open; the call writes the pointer given.
    let control = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        )
    };
    NonNull::new(file).filter(|_| control == ffi::SQLITE_OK)
}

unsafe extern "C" fn open(
    _layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: what SQLite passes is passed on, to the VFS that the layer was made of; `file` has room for a file of the
    // layer's and the system's file object.
    unsafe {
        let system = system_vfs();
        let Some(open) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        if flags & ffi::SQLITE_OPEN_WAL != 0 {
            open_layered::<Log>(file, |inner| open(system, name, inner, flags, out_flags))
        } else if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            open_layered::<Main>(file, |inner| open(system, name, inner, flags, out_flags))
        } else {
            open(system, name, file, flags, out_flags)
        }
    }
}

/// Makes a file of the layer's in `file`, over one that `open` opens behind it.
///
/// # Safety
/// `file` must have room for an `F` and the system's file object.
unsafe fn open_layered<F: Layered>(
    file: *mut ffi::sqlite3_file,
    open: impl FnOnce(*mut ffi::sqlite3_file) -> c_int,
) -> c_int {
    // SAFETY: by the caller's promise. Without methods, SQLite does not close the file.
    unsafe {
        (*file).pMethods = ptr::null();
        let place = file.cast::<F>();
        let system = place.add(1).cast::<ffi::sqlite3_file>();
        let opened = open(system);
        if opened == ffi::SQLITE_OK {
            place.write(F::over(&*(*system).pMethods));
        }
        opened
    }
}

/// A file of the layer's. The operating system's own file object comes after it in memory, which SQLite aligns for
/// pointers.
///
/// # Safety
/// It must begin with a `sqlite3_file` whose methods are made for it, and be no larger than `register` makes room for.
unsafe trait Layered: Sized {
    /// One over a file of the system's that has these methods.
    fn over(system: &ffi::sqlite3_io_methods) -> Self;

    /// Has the system's file be as SQLite left this one.
    fn flush(&mut self) -> c_int {
        ffi::SQLITE_OK
    }

    /// The operating system's file.
    fn system(&mut self) -> *mut ffi::sqlite3_file {
        // SAFETY: SQLite allocated `szOsFile` bytes, so that the system's file object fits behind.
        unsafe { ptr::from_mut(self).add(1).cast() }
    }
}

/// # Safety
/// `file` must be an open `F`, used by nobody else through the call.
unsafe fn layered<'file, F: Layered>(file: *mut ffi::sqlite3_file) -> &'file mut F {
    // SAFETY: by the caller's promise.
    unsafe { &mut *file.cast::<F>() }
}

/// A method of an open file.
///
/// # Safety
/// `file` must be an open file of the system's VFS, which has the method.
unsafe fn method<M>(file: *mut ffi::sqlite3_file, choose: impl FnOnce(&ffi::sqlite3_io_methods) -> Option<M>) -> M {
    // SAFETY: by the caller's promise.
    unsafe { choose(&*(*file).pMethods).unwrap_unchecked() }
}

/// The methods of a file that leaves everything to the system's file. For others it is what they have in common.
const fn methods<F: Layered>() -> ffi::sqlite3_io_methods {
    ffi::sqlite3_io_methods {
        iVersion: 1,
        xClose: Some(close::<F>),
        xRead: Some(read::<F>),
        xWrite: Some(write::<F>),
        xTruncate: Some(truncate::<F>),
        xSync: Some(sync::<F>),
        xFileSize: Some(file_size::<F>),
        xLock: Some(lock::<F>),
        xUnlock: Some(unlock::<F>),
        xCheckReservedLock: Some(check_reserved_lock::<F>),
        xFileControl: Some(file_control::<F>),
        xSectorSize: Some(sector_size::<F>),
        xDeviceCharacteristics: Some(device_characteristics::<F>),
        // Of the database's file only, where that has shared memory.
        xShmMap: None,
        xShmLock: None,
        xShmBarrier: None,
        xShmUnmap: None,
        xFetch: None,
        xUnfetch: None,
    }
}

unsafe extern "C" fn close<F: Layered>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite calls it for an open file, which is not used any more afterwards.
    unsafe {
        let system = layered::<F>(file).system();
        let closed = method(system, |methods| methods.xClose)(system);
        file.cast::<F>().drop_in_place();
        closed
    }
}

/// Methods that do the same to the system's file, after something `first`, unless that fails.
macro_rules! passed_on {
    (first $first:expr; $($name:ident = $method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name<F: Layered>(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: SQLite calls the methods of an open file, from one thread at a time; what it passes is passed on.
            unsafe {
                let file = layered::<F>(file);
                let first: fn(&mut F) -> c_int = $first;
                let done = first(file);
                if done != ffi::SQLITE_OK {
                    return done;
                }
                let system = file.system();
                method(system, |methods| methods.$method)(system $(, $argument)*)
            }
        }
    )*};
}

passed_on! {
    first F::flush;
    read = xRead(into: *mut c_void, size: c_int, offset: i64);
    truncate = xTruncate(size: i64);
    sync = xSync(flags: c_int);
    file_size = xFileSize(size: *mut i64);
}

passed_on! {
    first |_| ffi::SQLITE_OK;
    write = xWrite(data: *const c_void, size: c_int, offset: i64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(answer: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
    shm_map = xShmMap(block: c_int, size: c_int, extend: c_int, mapped: *mut *mut c_void);
    fetch = xFetch(offset: i64, size: c_int, mapped: *mut *mut c_void);
    unfetch = xUnfetch(offset: i64, mapped: *mut c_void);
}
