//! Node-API, as far as the stores need it, and the only place here that may do what the compiler cannot check. Everything
//! runs on the JavaScript thread of its environment, except for waking it by a [`wake_handle`].
//!
//! napi-rs's own class methods lock a process-wide table of borrows on every call, and its deferreds make a thread-safe
//! function each; both cost more than a whole cached read. So functions and promises are made of the same Node-API calls
//! directly.

pub mod env;
pub mod function;
pub mod handle;
pub mod loop_time;
pub mod wake_handle;
