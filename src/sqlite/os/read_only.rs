//! A VFS that makes, changes and removes no file, whatever SQLite asks of it: for who reads what is not theirs.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use once_cell::sync::Lazy;
use rusqlite::ffi;

use super::vfs::register_copy;

/// The VFS's name.
const NAME: &CStr = c"comic-vine-read-only";

/// The name of the VFS, once it is registered. `None` where it could not be.
pub fn vfs_name() -> Option<&'static CStr> {
    static REGISTERED: Lazy<bool> = Lazy::new(register);
    REGISTERED.then_some(NAME)
}

fn register() -> bool {
    // SAFETY: the system's VFS is never unregistered; the methods below pass on to it.
    unsafe {
        register_copy(ffi::sqlite3_vfs_find(ptr::null()), NAME, |vfs| {
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
        })
    }
}

/// Files that are not temporary are opened to be read, if they are there.
unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    const KEPT: c_int = ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL;
    const WRITING: c_int = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_DELETEONCLOSE;
    let flags = if flags & KEPT == 0 { flags } else { (flags & !WRITING) | ffi::SQLITE_OPEN_READONLY };
    // SAFETY: what SQLite passes is passed on, to the VFS that this one was made of.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        match system.as_ref().and_then(|system| system.xOpen) {
            Some(open) => open(system, name, file, flags, out_flags),
            None => ffi::SQLITE_CANTOPEN,
        }
    }
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char, _sync: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE
}
