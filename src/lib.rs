//! `@comic-vine/sqlite-store`: persistent stores for the Comic Vine client, on SQLite, shared between processes.
//!
//! Data flows one way: a JavaScript value becomes a checked option or argument ([`binding`]), a rule makes an
//! operation of it ([`core`]), a connection runs the operation's statements ([`sqlite`]), the operation's rule turns
//! the rows into an answer, and the binding makes a JavaScript value of that. Lower layers never call up.
//!
//! Reads run at once on the JavaScript thread. Writes made in one stretch of JavaScript are committed as one
//! transaction at its end: there, if that is cheap, otherwise on a background thread. The JavaScript thread never
//! waits for a lock or an fsync.

#[cfg(feature = "node")]
pub mod binding;
pub mod core;
pub mod sqlite;
