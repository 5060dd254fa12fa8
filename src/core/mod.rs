//! The rules of the four stores, as data and pure functions.
//!
//! An [`Operation`](operation::Operation) is a list of statements of the closed set in [`statements`], with their values,
//! and a function that turns the rows they gave into an [`Outcome`](operation::Outcome). Nothing here knows a
//! connection, a clock, a thread or Node: time comes in as an argument, so `cargo test --no-default-features`
//! tests every rule alone, and the same rules serve every kind of connection.

#![forbid(unsafe_code)]

pub mod adaptive;
pub mod bookings;
pub mod bounds;
pub mod cache;
pub mod capacity;
pub mod codec;
pub mod cooldowns;
pub mod dedupe;
pub mod error;
pub mod housekeeping;
pub mod operation;
pub mod options;
pub mod query_cache;
pub mod rate_limit;
pub mod schema;
pub mod settings;
pub mod spacing;
pub mod stamps;
pub mod statements;
pub mod value;
