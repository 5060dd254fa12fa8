//! Making sure that nobody has a database's file open, while something is done that they must not see. Every connection in
//! WAL mode holds a shared lock on it for as long as it is open (sqlite.org/walformat.html, 2.3), and none begins without.

use std::path::Path;

/// Runs `work` while nobody can lock the database at a path, if nobody has it locked now, or if there is none. Answers
/// whether it has.
#[cfg(unix)]
pub fn while_unused(database: &Path, work: impl FnOnce()) -> bool {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::descriptors::has_descriptor;

    /// The bytes that are locked to use the file (sqlite.org/fileformat2.html#the_lock_byte_page).
    const FIRST_BYTE: libc::off_t = 0x4000_0000;
    const BYTES: libc::off_t = 512;

    let Ok(key) = file_id::get_file_id(database) else {
        work();
        return true;
    };
    // To close another descriptor of the file would drop this process's locks (sqlite.org/howtocorrupt.html, 2.2).
    if has_descriptor(&key) {
        return false;
    }
    let Ok(file) = File::options().read(true).write(true).open(database) else { return false };
    // SAFETY: all zeros is a valid `flock`; the descriptor is open, and the call reads what it is given.
    let locked = unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        (lock.l_start, lock.l_len) = (FIRST_BYTE, BYTES);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) == 0
    };
    if locked {
        work();
    }
    // The lock goes with the descriptor.
    locked
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
pub fn while_unused(_database: &Path, _work: impl FnOnce()) -> bool {
    false
}
