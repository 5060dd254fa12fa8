//! `@comic-vine/sqlite-store`: persistent stores for the Comic Vine client, on SQLite, shared between processes.
//!
//! Data flows one way. A JavaScript value becomes a checked option or argument ([`node`]), and a rule makes an operation
//! of it ([`core`]). A scheduler decides when that runs and in which transaction ([`engine`]), and a connection runs its
//! statements ([`sqlite`], or one of the user's). The operation's rule turns the rows into an answer, and that becomes a
//! JavaScript value. Lower layers never name higher ones: `tests/architecture.rs`.
//!
//! Bounded reads run at once on the JavaScript thread. Writes made in one stretch of JavaScript are committed as one
//! transaction at its end: there, if that is cheap, otherwise on a background thread. On a database opened by path, no
//! method has the JavaScript thread wait for a lock or an fsync; `docs/architecture.md` says what else may.

#![deny(unsafe_code)]

pub mod core;
pub mod engine;
#[cfg(feature = "node")]
pub mod node;
pub mod sqlite;
