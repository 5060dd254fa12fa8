//! The clocks: one that never goes back, for waiting, and the system's, for what others read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use once_cell::sync::Lazy;

use crate::core::value::Millis;
use crate::engine::call::Time;

/// The time since the process first asked.
pub fn now() -> Time {
    static ORIGIN: Lazy<Instant> = Lazy::new(Instant::now);
    ORIGIN.elapsed()
}

/// The system's time, in ms since 1970.
pub fn system_now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| (since.as_micros() / 1000) as f64)
}
