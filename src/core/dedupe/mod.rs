//! Deduplication: what may be done with a hash ([`rules`]), and who waits for one in a store ([`waiters`]).

pub mod owner;
pub mod rules;
pub mod waiters;
