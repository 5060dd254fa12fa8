//! How far the clock of a server is from that of this system. It is looked at with what is sent anyway.

use std::time::Duration;

use super::call::Time;
use crate::core::value::Millis;

/// The query that asks a server for its time, in ms.
pub const TIME: &str = "SELECT unixepoch('subsec') * 1000 AS c0";

/// How often the server's clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What two looks differ by although no clock has been set, in ms: what was known was not exact, either.
const NOISE_MS: Millis = 20.0;

/// By how much this system's clock goes faster or slower than time passes, between two looks, unless it was set, in ms.
const DRIFT_MS: Millis = 100.0;

/// How often it is looked at first: the quickest answer counts.
const FIRST_LOOKS: u32 = 3;

#[derive(Default)]
pub struct ServerClock {
    /// By how much, and for how long what told so was under way.
    ahead: Option<(Millis, Millis)>,
    /// How often it was looked at.
    looks: u32,
    next_look_at: Time,
    /// How far this system's clock was ahead of the time that has passed when it was looked at last.
    system_ahead: Millis,
}

impl ServerClock {
    /// One of a server whose clock is so far ahead, if that is known.
    pub fn known(ahead: Option<Millis>) -> Self {
        let looks = if ahead.is_some() { FIRST_LOOKS } else { 0 };
        ServerClock { ahead: ahead.map(|ahead| (ahead, 0.0)), looks, ..ServerClock::default() }
    }

    /// How far the server's clock is ahead; nothing before it has been looked at.
    pub fn ahead_ms(&self) -> Millis {
        self.ahead.map_or(0.0, |(ahead, _)| ahead)
    }

    /// Whether it is to be looked at again before it is relied on.
    pub fn is_unsure(&self) -> bool {
        self.looks < FIRST_LOOKS
    }

    /// Whether it is to be looked at, this system's clock being at `system`: also when that has been set since.
    pub fn is_due(&self, now: Time, system: Millis) -> bool {
        now >= self.next_look_at || (system_ahead(now, system) - self.system_ahead).abs() > DRIFT_MS
    }

    /// The server said what time it is, to a request of these times, by the system's clock: the time at some moment between them,
    /// since a request may wait on the server. What is known is corrected by as much as the answer proves it wrong. Where that
    /// is more than the answer leaves open, a clock has been set, and the middle is taken.
    pub fn on_told(&mut self, server: Millis, [sent, received]: [Millis; 2], now: Time) {
        self.next_look_at = now + LOOK_INTERVAL;
        self.system_ahead = system_ahead(now, received);
        // A clock that has been set meanwhile tells nothing.
        if !server.is_finite() || received < sent {
            return;
        }
        let (ahead, took) = ((server - f64::midpoint(sent, received)).round(), received - sent);
        let left_open = took / 2.0;
        self.ahead = Some(match self.ahead {
            Some((known, known_took)) if !(self.is_unsure() && took < known_took) => {
                let wrong_by = (known - ahead).abs() - left_open;
                if wrong_by <= NOISE_MS {
                    (known, known_took)
                } else if wrong_by <= left_open {
                    (known.clamp(ahead - left_open, ahead + left_open).round(), known_took)
                } else {
                    (ahead, took)
                }
            }
            _ => (ahead, took),
        });
        self.looks = self.looks.saturating_add(1);
    }
}

fn system_ahead(now: Time, system: Millis) -> Millis {
    system - now.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_server_when_it_is_sure_to_have_moved() {
        let mut clock = ServerClock::default();
        assert!(clock.is_due(Time::ZERO, 1_000.0));
        clock.on_told(5_000.0, [1_000.0, 1_100.0], Time::ZERO);
        assert_eq!(clock.ahead_ms(), 3_950.0);
        // At first the quickest counts.
        for ([sent, received], ahead) in [([1_060.0, 1_070.0], 3_945.0), ([1_030.0, 1_090.0], 3_945.0)] {
            assert!(clock.is_unsure());
            clock.on_told(5_010.0, [sent, received], Time::ZERO);
            assert_eq!(clock.ahead_ms(), ahead);
        }
        assert!(!clock.is_unsure());
        assert!(!clock.is_due(LOOK_INTERVAL / 2, 6_090.0));
        assert!(clock.is_due(LOOK_INTERVAL / 2, 6_300.0), "this system's clock has been set");
        assert!(clock.is_due(LOOK_INTERVAL / 2, 1_090.0), "and back");
        // Within what a slow answer leaves open.
        clock.on_told(6_000.0, [2_000.0, 2_200.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), 3_945.0);
        // A request that has waited on the server for four seconds shows that it was wrong by 45 ms, and no more.
        clock.on_told(10_000.0, [2_010.0, 6_010.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), 3_990.0);
        // This system's clock has been set an hour ahead.
        clock.on_told(7_000.0, [3_603_000.0, 3_603_010.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), -3_596_005.0);
        // And back, while it was being asked.
        clock.on_told(8_000.0, [3_604_000.0, 4_000.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), -3_596_005.0);
        assert!(!clock.is_due(LOOK_INTERVAL, 4_000.0));
        assert!(clock.is_due(LOOK_INTERVAL * 2, 14_000.0));
    }
}
