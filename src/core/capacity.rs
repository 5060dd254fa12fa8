//! How a limit is divided between users and background work, from recent activity (docs/api.md, "Adaptive
//! rate limiting"). Numbers and texts are those of the client's own calculator, corrected where it exceeds the
//! limit.

use super::options::AdaptiveConfig;
use super::value::Millis;

/// What the history of a resource says about its activity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// User requests within the monitoring window.
    pub recent_user: f64,
    /// User requests within the last third of it.
    pub last_third: f64,
    /// User requests within the middle third of it.
    pub middle_third: f64,
    /// When the last user request was made, however long ago.
    pub last_user_at: Option<Millis>,
    /// Whether a background request was ever made.
    pub background_seen: bool,
}

/// A division of a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// How many requests users may make in a window.
    pub user_reserved: f64,
    /// How many requests background work may make in a window.
    pub background_max: f64,
    /// Whether background work has to wait whatever its share.
    pub background_paused: bool,
    /// Whether users have priority now.
    pub high_activity: bool,
    /// Why, in words.
    pub reason: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Trend {
    None,
    Increasing,
    Decreasing,
    Stable,
}

impl Activity {
    fn trend(&self) -> Trend {
        if self.last_third == 0.0 && self.middle_third == 0.0 {
            Trend::None
        } else if self.last_third > self.middle_third * 1.5 {
            Trend::Increasing
        } else if self.last_third < self.middle_third * 0.5 {
            Trend::Decreasing
        } else {
            Trend::Stable
        }
    }
}

impl Capacity {
    /// Users get `user_reserved`, background work the rest; neither less than nothing nor more than the limit.
    fn divide(limit: f64, user_reserved: f64, reason: String) -> Self {
        if limit.is_infinite() {
            // There is nothing to divide.
            return Capacity {
                user_reserved: limit,
                background_max: limit,
                background_paused: false,
                high_activity: false,
                reason,
            };
        }
        Capacity {
            user_reserved: user_reserved.max(0.0).min(limit),
            background_max: (limit - user_reserved).max(0.0).min(limit),
            background_paused: false,
            high_activity: false,
            reason,
        }
    }

    /// The limit may have been lowered since the division: both shares shrink alike, so that together they stay within it.
    pub fn lower_to(&mut self, limit: f64) {
        let whole = self.user_reserved + self.background_max;
        if whole > limit && limit.is_finite() {
            self.user_reserved = if whole.is_finite() {
                (self.user_reserved / whole * limit).floor()
            } else {
                (limit * 0.3).floor()
            };
            self.background_max = limit - self.user_reserved;
        }
    }

    /// The division of a resource that has none computed while one is not yet due.
    pub fn initial(limit: f64) -> Self {
        Capacity {
            background_max: (limit * 0.7).floor(),
            ..Self::divide(limit, (limit * 0.3).floor(), "Default capacity allocation".to_owned())
        }
    }
}

/// A number as JavaScript writes it, as in the texts of 0.2.0.
fn number_text(number: f64) -> String {
    ryu_js::Buffer::new().format(number).to_owned()
}

/// Divides `limit` by what `activity` says at `now`.
pub fn divide(config: &AdaptiveConfig, limit: f64, activity: &Activity, now: Millis) -> Capacity {
    let recent = activity.recent_user;
    let trend = activity.trend();
    let minutes = number_text(config.monitoring_window_ms / 60_000.0);
    let recent_text = number_text(recent);

    if recent >= config.high_activity_threshold {
        let users = (limit * 0.9).min((limit * 0.5 * config.max_user_scaling).floor());
        let reason = format!("High user activity ({recent_text} requests/{minutes}min) - prioritizing users");
        let paused = config.background_pause_on_increasing_trend && trend == Trend::Increasing;
        return Capacity {
            background_paused: paused,
            high_activity: true,
            ..Capacity::divide(limit, users, reason)
        };
    }

    if recent >= config.moderate_activity_threshold {
        let scaled = config.max_user_scaling.min(1.0 + recent / config.high_activity_threshold);
        let factor = match trend {
            Trend::Increasing => scaled * 1.2,
            Trend::Decreasing => scaled * 0.8,
            Trend::None | Trend::Stable => scaled,
        }
        .max(1.0);
        let users = (limit * 0.7).min((limit * 0.4).floor() * factor);
        let factor = ryu_js::Buffer::new().format_to_fixed(factor, 1).to_owned();
        let reason = format!("Moderate user activity - dynamic scaling ({factor}x user capacity)");
        return Capacity::divide(limit, users, reason);
    }

    let base = (limit * 0.3).floor().max(config.min_user_reserved);
    if recent > 0.0 {
        let reason = format!("Low user activity ({recent_text} requests/{minutes}min) - background scale up");
        return Capacity::divide(limit, base, reason);
    }

    let Some(last_user_at) = activity.last_user_at else {
        return if activity.background_seen {
            let reason = "No user activity yet - background scale up with minimal user buffer";
            Capacity::divide(limit, config.min_user_reserved, reason.to_owned())
        } else {
            Capacity::divide(limit, base, "Initial state - default capacity allocation".to_owned())
        };
    };
    let idle = now - last_user_at;
    if idle > config.sustained_inactivity_threshold_ms {
        let idle_minutes = number_text((idle / 60_000.0).floor());
        let reason = format!("Sustained zero activity ({idle_minutes}+ min) - full capacity to background");
        return Capacity::divide(limit, 0.0, reason);
    }
    let reason = "Recent zero activity - background scale up with minimal user buffer";
    Capacity::divide(limit, config.min_user_reserved, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn active(recent: f64, last_third: f64, middle_third: f64) -> Activity {
        Activity { recent_user: recent, last_third, middle_third, last_user_at: Some(0.0), background_seen: true }
    }

    #[test]
    fn each_branch_divides_as_documented() {
        let config = AdaptiveConfig::default();
        let shares = |activity: &Activity, now| {
            let capacity = divide(&config, 200.0, activity, now);
            (capacity.user_reserved, capacity.background_max, capacity.background_paused)
        };
        assert_eq!(shares(&Activity::default(), 0.0), (60.0, 140.0, false));
        assert_eq!(shares(&Activity { background_seen: true, ..Activity::default() }, 0.0), (5.0, 195.0, false));
        assert_eq!(shares(&active(0.0, 0.0, 0.0), 1_800_000.0), (5.0, 195.0, false));
        assert_eq!(shares(&active(0.0, 0.0, 0.0), 1_800_001.0), (0.0, 200.0, false));
        assert_eq!(shares(&active(2.0, 2.0, 0.0), 0.0), (60.0, 140.0, false));
        assert_eq!(shares(&active(5.0, 2.0, 2.0), 0.0), (120.0, 80.0, false));
        assert_eq!(shares(&active(12.0, 4.0, 4.0), 0.0), (180.0, 20.0, false));
        assert_eq!(shares(&active(12.0, 8.0, 4.0), 0.0), (180.0, 20.0, true));
    }

    proptest! {
        #[test]
        fn shares_stay_within_the_limit(
            limit in 0u32..500, recent in 0u32..30, last in 0u32..30, middle in 0u32..30,
            idle in 0.0f64..1e7, seen: bool, reserved in 0.0f64..50.0, scaling in 0.1f64..5.0,
        ) {
            let config = AdaptiveConfig { min_user_reserved: reserved, max_user_scaling: scaling, ..Default::default() };
            let activity = Activity {
                recent_user: f64::from(recent), last_third: f64::from(last), middle_third: f64::from(middle),
                last_user_at: Some(0.0), background_seen: seen,
            };
            let limit = f64::from(limit);
            let capacity = divide(&config, limit, &activity, idle);
            prop_assert!((0.0..=limit).contains(&capacity.user_reserved));
            prop_assert!((0.0..=limit).contains(&capacity.background_max));
            prop_assert!(capacity.user_reserved + capacity.background_max <= limit + 1e-9);
        }
    }
}
