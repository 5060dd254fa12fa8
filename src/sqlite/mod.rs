//! Our own connections: opening files, one connection per file and process, the queue in front of it, background
//! commits, checkpoints, and watching for other processes' changes. Knows no Node.

#![deny(unsafe_code)]

pub mod background;
pub mod checkpoints;
pub mod codes;
pub mod connection;
pub mod database;
#[allow(unsafe_code)]
mod exclusive;
pub mod files;
pub mod registry;
pub mod statements;
#[allow(unsafe_code)]
mod vfs;
#[allow(unsafe_code)]
mod wal_index;
pub mod watch;

#[cfg(feature = "faults")]
pub use self::vfs::faults;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. A panic under a lock leaves data that is whole (every critical section here is a few assignments
/// or ends in a rollback), so poisoning is passed over.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
