//! What we do to SQLite's write-ahead log, and read of it: a VFS shim that writes a commit's frames at once
//! ([`wal_file`]) and locks less ([`shm_locks`]), and reading the WAL-index without a lock ([`wal_index`]).

#[cfg(feature = "faults")]
pub mod faults;
mod shim;
pub mod shm_locks;
pub mod wal_file;
pub mod wal_index;

use std::ffi::{CStr, c_int};
use std::mem::size_of;
use std::ptr;

use once_cell::sync::Lazy;
use rusqlite::ffi;

use self::shim::open_wrapped;
use self::shm_locks::MainFile;
use self::wal_file::WalFile;
use super::os::vfs::register_copy;

/// The VFS's name.
const NAME: &CStr = c"comic-vine-store";

/// The name of the VFS, once it is registered. `None`, for the operating system's own, where it could not be.
pub fn vfs_name() -> Option<&'static CStr> {
    static REGISTERED: Lazy<bool> = Lazy::new(register);
    REGISTERED.then_some(NAME)
}

fn register() -> bool {
    // SAFETY: the system's VFS is never unregistered; `open` passes on to it, and makes files of these two in the room after its own.
    unsafe {
        register_copy(system_vfs(), NAME, |vfs| {
            vfs.szOsFile += size_of::<WalFile>().max(size_of::<MainFile>()) as c_int;
            vfs.xOpen = Some(open);
        })
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

unsafe extern "C" fn open(
    _shim: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: what SQLite passes is passed on, to the VFS that the shim was made of; `file` has room for a file of ours
    // and the system's file object.
    unsafe {
        let system = system_vfs();
        let Some(open) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        let open_inner = |inner| open(system, name, inner, flags, out_flags);
        if flags & ffi::SQLITE_OPEN_WAL != 0 {
            open_wrapped::<WalFile>(file, open_inner, |log| log.set_name(name))
        } else if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            open_wrapped::<MainFile>(file, open_inner, |main| main.set_name(name))
        } else {
            open(system, name, file, flags, out_flags)
        }
    }
}
