//! What the operating system is asked past SQLite: about files, and processes.

pub mod budget;
pub mod copies;
pub mod descriptors;
mod exclusive;
pub mod processes;
pub mod read_only;
pub mod sidecars;
pub mod vfs;
pub mod volume;
