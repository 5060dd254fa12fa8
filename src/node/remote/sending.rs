//! A request that is sent until it is answered.

use std::time::Duration;

use uuid::Uuid;

use crate::core::error::Error;
use crate::core::value::Millis;
use crate::engine::call::Time;
use crate::sqlite::clock::{now, system_now};

/// How long it is waited before something is sent again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Sending {
    /// The request that is under way.
    pub ticket: Option<u64>,
    /// When it began, by the system's clock.
    sent_at: Millis,
    attempts: u32,
    /// Whether it may have taken effect on the server.
    pub was_sent: bool,
    pub retry_at: Option<Time>,
    /// Why it was not answered.
    pub reason: Option<String>,
}

impl Sending {
    /// What follows it, and has failed as often.
    pub fn following(&self) -> Self {
        Sending { attempts: self.attempts, was_sent: self.was_sent, ..Sending::default() }
    }

    /// It is being sent.
    pub fn begin(&mut self) {
        self.sent_at = system_now();
        self.retry_at = None;
        self.attempts += 1;
    }

    /// When it was sent, and now, by the system's clock.
    pub fn times(&self) -> [Millis; 2] {
        [self.sent_at, system_now()]
    }

    /// It is to be sent again for this reason, after a pause that grows and that others do not take, too.
    #[inline(never)]
    pub fn pause(&mut self, reason: &Error) {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(10)).min(LONGEST_PAUSE);
        let part = (Uuid::new_v4().as_u128() % 1_000) as f64 / 1_000.0;
        self.retry_at = Some(now() + longest.mul_f64(0.5 + part / 2.0));
        self.reason = Some(reason.to_string());
    }
}
