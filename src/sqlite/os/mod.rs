//! What the operating system is asked about files, past SQLite.

pub mod budget;
pub mod descriptors;
mod exclusive;
pub mod sidecars;
pub mod volume;
