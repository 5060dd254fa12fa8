//! Deduplication: what may be done with a hash ([`rules`]), and who waits for one in a store ([`waiters`]).

pub mod rules;
pub mod waiters;
