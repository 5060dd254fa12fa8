//! A VFS shim (sqlite.org/vfs.html, 2.3): files of ours over files of another VFS, most of whose methods are forwarded.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

/// The open file of a connection's database, which may be of any VFS.
pub fn main_file(connection: &Connection) -> Option<NonNull<ffi::sqlite3_file>> {
    file_of(connection, ffi::SQLITE_FCNTL_FILE_POINTER)
}

/// The open file that a file control of SQLite's answers.
pub fn file_of(connection: &Connection, control: c_int) -> Option<NonNull<ffi::sqlite3_file>> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the handle is open; the call writes the pointer given.
    let found = unsafe {
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), control, (&raw mut file).cast())
    };
    NonNull::new(file).filter(|_| found == ffi::SQLITE_OK)
}

/// A name as SQLite gives it. `None` for a temporary file, and for what is no path here.
///
/// # Safety
/// It must be null, or a string.
pub unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: by the caller's promise.
    let name = unsafe { (!name.is_null()).then(|| CStr::from_ptr(name)) }?;
    #[cfg(unix)]
    let path = {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()))
    };
    #[cfg(not(unix))]
    let path = PathBuf::from(name.to_str().ok()?);
    Some(path)
}

/// Makes a file of ours in `file`, over one that `open` opens behind it, and has it made ready.
///
/// # Safety
/// `file` must have room for an `F` and the system's file object.
pub unsafe fn open_wrapped<F: ShimFile>(
    file: *mut ffi::sqlite3_file,
    open: impl FnOnce(*mut ffi::sqlite3_file) -> c_int,
    make_ready: impl FnOnce(&mut F),
) -> c_int {
    // SAFETY: by the caller's promise. Without methods, SQLite does not close the file.
    unsafe {
        (*file).pMethods = ptr::null();
        let place = file.cast::<F>();
        let system = place.add(1).cast::<ffi::sqlite3_file>();
        let opened = open(system);
        if opened == ffi::SQLITE_OK {
            place.write(F::wrap(&*(*system).pMethods));
            make_ready(&mut *place);
        }
        opened
    }
}

/// A file of ours. The file object of the VFS below comes after it in memory, which SQLite aligns for pointers.
///
/// # Safety
/// It must begin with a `sqlite3_file` whose methods are made for it, and be no larger than the shim's VFS makes room for.
pub unsafe trait ShimFile: Sized {
    /// One over a file of the VFS below that has these methods.
    fn wrap(system: &ffi::sqlite3_io_methods) -> Self;

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
pub unsafe fn shim<'file, F: ShimFile>(file: *mut ffi::sqlite3_file) -> &'file mut F {
    // SAFETY: by the caller's promise.
    unsafe { &mut *file.cast::<F>() }
}

/// A method of an open file.
///
/// # Safety
/// `file` must be an open file of the system's VFS, which has the method.
pub unsafe fn method<M>(
    file: *mut ffi::sqlite3_file,
    choose: impl FnOnce(&ffi::sqlite3_io_methods) -> Option<M>,
) -> M {
    // SAFETY: by the caller's promise.
    unsafe { choose(&*(*file).pMethods).unwrap_unchecked() }
}

/// The methods of a file that leaves everything to the system's file. For others it is what they have in common.
pub const fn methods<F: ShimFile>() -> ffi::sqlite3_io_methods {
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

unsafe extern "C" fn close<F: ShimFile>(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite calls it for an open file, which is not used any more afterwards.
    unsafe {
        let system = shim::<F>(file).system();
        let closed = method(system, |methods| methods.xClose)(system);
        file.cast::<F>().drop_in_place();
        closed
    }
}

/// Methods that do the same to the system's file, after something `first`, unless that fails.
macro_rules! forward {
    (first $first:expr; $($name:ident = $method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        pub unsafe extern "C" fn $name<F: ShimFile>(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: SQLite calls the methods of an open file, from one thread at a time; what it passes is passed on.
            unsafe {
                let file = shim::<F>(file);
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

forward! {
    first F::flush;
    read = xRead(into: *mut c_void, size: c_int, offset: i64);
    truncate = xTruncate(size: i64);
    sync = xSync(flags: c_int);
    file_size = xFileSize(size: *mut i64);
}

forward! {
    first |_| ffi::SQLITE_OK;
    write = xWrite(data: *const c_void, size: c_int, offset: i64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(answer: *mut c_int);
    file_control = xFileControl(operation: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    device_characteristics = xDeviceCharacteristics();
}

forward! {
    first |_| ffi::SQLITE_OK;
    shm_map = xShmMap(block: c_int, size: c_int, extend: c_int, mapped: *mut *mut c_void);
    fetch = xFetch(offset: i64, size: c_int, mapped: *mut *mut c_void);
    unfetch = xUnfetch(offset: i64, mapped: *mut c_void);
}
