//! What the operating system is asked about files, past SQLite.

mod exclusive;
pub mod file_key;
pub mod sidecars;
