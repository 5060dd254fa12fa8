//! Whether another process has a database open. In WAL mode every connection holds a shared lock on the database's file
//! for as long as it is open (sqlite.org/walformat.html, 2.3), and the operating system tells whose locks are in the way
//! of one's own, not counting those of the same process.
//!
//! It is asked about SQLite's own file descriptor: closing another one of the same file would give up all locks that the
//! process has on it (sqlite.org/howtocorrupt.html, 2.2).

#[cfg(unix)]
mod unix {
    use std::ffi::c_int;
    use std::fs;
    use std::mem::{MaybeUninit, size_of};
    use std::os::unix::fs::MetadataExt;

    use rusqlite::ffi;

    /// Where SQLite's VFS for Unix has the descriptor in its `unixFile`: after three pointers. It is made sure of.
    const DESCRIPTOR_OFFSET: usize = 3 * size_of::<usize>();

    /// The bytes of a database's file that are locked to share it (sqlite.org/fileformat2.html#the_lock_byte_page).
    const SHARED_START: libc::off_t = 0x4000_0002;
    const SHARED_BYTES: libc::off_t = 510;

    /// See the module's description.
    #[derive(Debug)]
    pub struct Others(c_int);

    impl Others {
        /// For the file at `path`, which is open as `system`. `None` where its descriptor is not found.
        ///
        /// # Safety
        /// `system` must be an open file of the operating system's VFS. Must not be used once it is closed.
        pub unsafe fn of(system: *mut ffi::sqlite3_file, path: &str) -> Option<Self> {
            let mut found = MaybeUninit::<libc::stat>::uninit();
            // SAFETY: the VFS's file object is larger. Whatever is read there, `fstat` only says whether it is the
            // descriptor of an open file, and fills `found` if it is.
            let (descriptor, found) = unsafe {
                let descriptor = system.cast::<u8>().add(DESCRIPTOR_OFFSET).cast::<c_int>().read();
                if libc::fstat(descriptor, found.as_mut_ptr()) != 0 {
                    return None;
                }
                (descriptor, found.assume_init())
            };
            let expected = fs::metadata(path).ok()?;
            // Their types differ from system to system.
            #[allow(clippy::unnecessary_cast)]
            let is_it = found.st_dev as u64 == expected.dev() && found.st_ino as u64 == expected.ino();
            is_it.then_some(Others(descriptor))
        }

        /// Whether another process has the file open, as far as can be told.
        pub fn have_it_open(&self) -> bool {
            // SAFETY: all zeros is a valid `flock`; the call reads and fills it.
            unsafe {
                let mut lock: libc::flock = std::mem::zeroed();
                lock.l_type = libc::F_WRLCK as libc::c_short;
                lock.l_whence = libc::SEEK_SET as libc::c_short;
                (lock.l_start, lock.l_len) = (SHARED_START, SHARED_BYTES);
                libc::fcntl(self.0, libc::F_GETLK, &raw mut lock) != 0
                    || lock.l_type != libc::F_UNLCK as libc::c_short
            }
        }
    }
}

#[cfg(unix)]
pub use self::unix::Others;

/// Elsewhere it cannot be told.
#[cfg(not(unix))]
#[derive(Debug)]
pub enum Others {}

#[cfg(not(unix))]
impl Others {
    /// Never finds out.
    ///
    /// # Safety
    /// None is needed.
    pub unsafe fn of(_system: *mut rusqlite::ffi::sqlite3_file, _path: &str) -> Option<Self> {
        None
    }

    /// Is never asked.
    pub fn have_it_open(&self) -> bool {
        match *self {}
    }
}
