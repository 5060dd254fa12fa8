//! Registering a VFS (sqlite.org/vfs.html) that does what another one does, except for some methods.

use std::ffi::CStr;
use std::ptr;

use rusqlite::ffi;

/// Registers a copy of a VFS under a name, and not as the default; `change` says how it differs. Its methods are the original's,
/// which use of it only `pAppData`, the same. Answers whether it could: not where there is no VFS.
///
/// # Safety
/// `original` must be null, or a VFS that is never unregistered. What is changed must be right for its files.
pub unsafe fn register_copy(
    original: *const ffi::sqlite3_vfs,
    name: &'static CStr,
    change: impl FnOnce(&mut ffi::sqlite3_vfs),
) -> bool {
    // SAFETY: by the caller's promise.
    let Some(original) = (unsafe { original.as_ref() }) else { return false };
    let mut copy = Box::new(ffi::sqlite3_vfs { pNext: ptr::null_mut(), zName: name.as_ptr(), ..*original });
    change(&mut copy);
    // SAFETY: it is leaked, as it must live as long as SQLite.
    unsafe { ffi::sqlite3_vfs_register(Box::into_raw(copy), 0) == ffi::SQLITE_OK }
}
