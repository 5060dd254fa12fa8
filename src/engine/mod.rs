//! When operations run, in which transaction, and what follows from them: a state machine. Whatever may be waited for, a
//! lock, a thread, a server, is the business of an [`Executor`](executor::Executor); time is an argument.

#![forbid(unsafe_code)]

pub mod batch;
pub mod call;
pub mod change_watcher;
pub mod claim_timer;
pub mod exchange;
pub mod executor;
pub mod grouping;
pub mod lease_heartbeat;
pub mod parameters;
pub mod scheduler;
pub mod server_clock;
pub mod server_preparation;
pub mod server_text;
pub mod write_set;
