//! Our own connections: opening files, one database per file and process, the queue in front of it, background
//! commits, checkpoints, and watching for other processes' changes. Knows no Node.

pub mod background;
pub mod backup;
pub mod checkpoints;
pub mod clock;
pub mod codes;
pub mod connection;
pub mod database;
pub mod divisions;
mod hardening;
pub mod inspection;
#[allow(unsafe_code)]
pub mod os;
mod reader;
pub mod registry;
#[allow(unsafe_code)]
mod wal;
pub mod watch;

#[cfg(feature = "faults")]
pub use self::wal::faults;
