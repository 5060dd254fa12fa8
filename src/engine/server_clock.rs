//! How far the clock of a server is from that of this system. It is looked at with what is sent anyway.

use std::time::Duration;

use super::call::Time;
use crate::core::value::Millis;

/// How often the server's clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What two looks differ by although no clock has been set, in ms: what was known was not exact, either.
const NOISE_MS: Millis = 20.0;

#[derive(Default)]
pub struct ServerClock {
    ahead: Option<Millis>,
    next_look_at: Time,
}

impl ServerClock {
    /// One of a server whose clock is so far ahead, if that is known.
    pub fn known(ahead: Option<Millis>) -> Self {
        ServerClock { ahead, ..ServerClock::default() }
    }

    /// How far the server's clock is ahead; nothing before it has been looked at.
    pub fn ahead_ms(&self) -> Millis {
        self.ahead.unwrap_or(0.0)
    }

    /// Whether it is to be looked at.
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.next_look_at
    }

    /// The server said what time it is, to a request of these times, by the system's clock. It is taken for the time in the middle,
    /// unless what is known may be right, too.
    pub fn on_told(&mut self, server: Millis, [sent, received]: [Millis; 2], now: Time) {
        self.next_look_at = now + LOOK_INTERVAL;
        // A clock that has been set meanwhile tells nothing.
        if !server.is_finite() || received < sent {
            return;
        }
        let ahead = (server - f64::midpoint(sent, received)).round();
        let uncertainty = (received - sent) / 2.0 + NOISE_MS;
        if self.ahead.is_none_or(|known| (known - ahead).abs() > uncertainty) {
            self.ahead = Some(ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_server_when_it_is_sure_to_have_moved() {
        let mut clock = ServerClock::default();
        assert!(clock.is_due(Time::ZERO));
        clock.on_told(5_000.0, [1_000.0, 1_100.0], Time::ZERO);
        assert_eq!(clock.ahead_ms(), 3_950.0);
        assert!(!clock.is_due(LOOK_INTERVAL / 2));
        // Within what a slow answer leaves open.
        clock.on_told(6_000.0, [2_000.0, 2_200.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), 3_950.0);
        // This system's clock has been set an hour ahead.
        clock.on_told(7_000.0, [3_603_000.0, 3_603_010.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), -3_596_005.0);
        // And back, while it was being asked.
        clock.on_told(8_000.0, [3_604_000.0, 4_000.0], LOOK_INTERVAL);
        assert_eq!(clock.ahead_ms(), -3_596_005.0);
        assert!(!clock.is_due(LOOK_INTERVAL));
        assert!(clock.is_due(LOOK_INTERVAL * 2));
    }
}
