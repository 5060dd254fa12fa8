//! When those who wait for what other connections do poll: at every interval whether the database has changed,
//! and when the first claim or lease among those waited for ends; and when they look whether those whose claims and leases
//! these are still live. Whoever reads the database's version says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::call::Time;
use crate::core::value::Millis;

/// The bounds of the poll interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// Where a poll takes a turn of an event loop, they become rarer when nothing has happened for so long.
const QUIET_AFTER: Duration = Duration::from_millis(250);
const QUIET_INTERVAL: Duration = Duration::from_millis(30);

/// How often the processes of owners are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// One store's interest in changes.
#[derive(Debug)]
pub struct ChangeWatcher {
    interval: Duration,
    /// Whether polls become rarer while nothing happens.
    slows_down: bool,
    is_waiting: bool,
    first_end: Option<Millis>,
    /// When that is, whatever the system's clock is set to meanwhile.
    ends_at: Option<Time>,
    asked_at: Time,
    seen: Option<i64>,
    next_poll_at: Option<Time>,
    owners: Arc<BTreeSet<String>>,
    next_look_at: Option<Time>,
}

impl ChangeWatcher {
    /// Polls at this interval while somebody waits, or more rarely if that `slows_down`.
    pub fn new(interval_ms: Millis, slows_down: bool) -> Self {
        let interval = Duration::try_from_secs_f64(interval_ms / 1000.0).unwrap_or(LONGEST_INTERVAL);
        ChangeWatcher {
            interval: interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            slows_down,
            is_waiting: false,
            first_end: None,
            ends_at: None,
            asked_at: Time::ZERO,
            seen: None,
            next_poll_at: None,
            owners: Arc::default(),
            next_look_at: None,
        }
    }

    /// Somebody has begun to wait, goes on waiting after having polled, or nobody waits any more. The first claim or lease
    /// among those waited for ends at `first_end`, by the system's clock.
    pub fn set_waiting(&mut self, is_waiting: bool, first_end: Option<Millis>, now: Time) {
        if first_end != self.first_end {
            self.ends_at = None;
        }
        (self.is_waiting, self.first_end, self.asked_at) = (is_waiting, first_end, now);
        if !is_waiting {
            self.next_poll_at = None;
        } else if self.next_poll_at.is_none() {
            // What changed before the version was first read may have come after the poll that found nothing: it counts as new.
            self.seen = None;
            self.next_poll_at = Some(self.after(now, self.interval));
        }
    }

    /// The owners of the claims and leases that are waited for, whose processes can be seen.
    pub fn set_owners(&mut self, owners: &Arc<BTreeSet<String>>, now: Time) {
        self.owners = Arc::clone(owners);
        self.next_look_at =
            (!owners.is_empty()).then(|| self.next_look_at.unwrap_or_else(|| self.after(now, LOOK_INTERVAL)));
    }

    /// When to look at owners next; never without any.
    pub fn next_look_at(&self) -> Option<Time> {
        self.next_look_at
    }

    /// Those that are looked at now.
    pub fn on_look(&mut self, now: Time) -> Arc<BTreeSet<String>> {
        self.next_look_at = Some(self.after(now, LOOK_INTERVAL));
        Arc::clone(&self.owners)
    }

    /// Whether somebody waits.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// When to poll next; never while nobody waits.
    pub fn next_poll_at(&self) -> Option<Time> {
        self.next_poll_at
    }

    /// The database was polled: it has this version, or it cannot be told. Answers whether those who wait are to poll.
    pub fn on_polled(&mut self, version: Option<i64>, now: Time, system: Millis) -> bool {
        if !self.is_waiting {
            return false;
        }
        let is_quiet = self.slows_down && now.saturating_sub(self.asked_at) > QUIET_AFTER;
        let interval = if is_quiet { self.interval.max(QUIET_INTERVAL) } else { self.interval };
        self.next_poll_at = Some(self.after(now, interval));
        let has_changed = version.is_some() && version != self.seen;
        self.seen = version.or(self.seen);
        let Some(end) = self.first_end else { return has_changed };
        let left = Duration::try_from_secs_f64((end - system).max(0.0) / 1000.0).unwrap_or(LONGEST_INTERVAL);
        let ends_at = *self.ends_at.get_or_insert(now + left);
        has_changed || end <= system || ends_at <= now
    }

    /// The next multiple of the interval, so that all stores that poll as often do so at once.
    fn after(&self, now: Time, interval: Duration) -> Time {
        let passed = now.as_nanos() % interval.as_nanos().max(1);
        now + interval - Duration::from_nanos(u64::try_from(passed).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Duration::from_millis(ms)
    }

    fn waiting(slows_down: bool) -> ChangeWatcher {
        let mut watcher = ChangeWatcher::new(10.0, slows_down);
        watcher.set_waiting(true, None, at(1003));
        watcher
    }

    #[test]
    fn polls_only_while_somebody_waits_and_all_stores_together() {
        let mut watcher = ChangeWatcher::new(10.0, false);
        assert_eq!(watcher.next_poll_at(), None);
        watcher.set_waiting(true, None, at(1003));
        assert_eq!(watcher.next_poll_at(), Some(at(1010)));
        watcher.set_waiting(true, None, at(1009));
        assert_eq!(watcher.next_poll_at(), Some(at(1010)), "who else begins to wait does not put it off");
        watcher.on_polled(Some(1), at(1010), 0.0);
        assert_eq!(watcher.next_poll_at(), Some(at(1020)));
        watcher.set_waiting(false, None, at(1011));
        assert_eq!(watcher.next_poll_at(), None);
        assert!(!watcher.on_polled(Some(2), at(1020), 0.0), "nobody waits");
    }

    #[test]
    fn the_first_version_read_is_new_and_later_ones_if_they_differ() {
        let mut watcher = waiting(false);
        assert!(!watcher.on_polled(None, at(1010), 0.0), "it could not be read");
        assert!(watcher.on_polled(Some(1), at(1020), 0.0));
        assert!(!watcher.on_polled(Some(1), at(1030), 0.0));
        assert!(!watcher.on_polled(None, at(1040), 0.0));
        assert!(watcher.on_polled(Some(2), at(1050), 0.0));
        watcher.set_waiting(false, None, at(1051));
        watcher.set_waiting(true, None, at(1052));
        assert!(watcher.on_polled(Some(2), at(1060), 0.0), "it may have changed since the poll that found nothing");
    }

    #[test]
    fn a_claim_or_lease_that_has_ended_is_looked_at_each_time() {
        let mut watcher = waiting(false);
        watcher.set_waiting(true, Some(5000.0), at(1004));
        watcher.on_polled(Some(1), at(1010), 4000.0);
        assert!(!watcher.on_polled(Some(1), at(1020), 4999.0));
        assert!(watcher.on_polled(Some(1), at(1030), 5000.0));
        assert!(watcher.on_polled(Some(1), at(1040), 5001.0));
    }

    #[test]
    fn a_claim_or_lease_ends_after_its_time_although_the_clock_is_set_back() {
        let mut watcher = waiting(false);
        watcher.set_waiting(true, Some(5000.0), at(1004));
        assert!(watcher.on_polled(Some(1), at(1010), 4000.0), "the first version");
        assert!(!watcher.on_polled(Some(1), at(1020), -60_000.0));
        watcher.set_waiting(true, Some(5000.0), at(1500));
        assert!(!watcher.on_polled(Some(1), at(2009), -59_000.0));
        assert!(watcher.on_polled(Some(1), at(2010), -59_000.0));
        watcher.set_waiting(true, Some(-55_000.0), at(2010));
        assert!(!watcher.on_polled(Some(1), at(2020), -59_000.0));
        assert!(watcher.on_polled(Some(1), at(6020), -80_000.0));
    }

    #[test]
    fn polls_that_take_a_turn_become_rarer_until_something_happens() {
        let mut watcher = waiting(true);
        watcher.on_polled(None, at(1250), 0.0);
        assert_eq!(watcher.next_poll_at(), Some(at(1260)));
        watcher.on_polled(None, at(1260), 0.0);
        assert_eq!(watcher.next_poll_at(), Some(at(1290)));
        watcher.set_waiting(true, None, at(1290));
        watcher.on_polled(None, at(1290), 0.0);
        assert_eq!(watcher.next_poll_at(), Some(at(1300)));
    }

    #[test]
    fn owners_are_looked_at_while_there_are_some() {
        let mut watcher = waiting(false);
        assert_eq!(watcher.next_look_at(), None);
        let owners = Arc::new(BTreeSet::from(["owner".to_owned()]));
        watcher.set_owners(&owners, at(1003));
        watcher.set_owners(&owners, at(1060));
        assert_eq!(watcher.next_look_at(), Some(at(1100)), "who else waits does not put it off");
        assert_eq!(watcher.on_look(at(1101)), owners);
        assert_eq!(watcher.next_look_at(), Some(at(1200)));
        watcher.set_owners(&Arc::default(), at(1102));
        assert_eq!(watcher.next_look_at(), None);
    }

    #[test]
    fn any_interval_is_kept_within_bounds() {
        for (interval_ms, first) in [(0.0, 1), (-5.0, 60_000), (f64::NAN, 60_000), (1e300, 60_000)] {
            let mut watcher = ChangeWatcher::new(interval_ms, false);
            watcher.set_waiting(true, None, Time::ZERO);
            assert_eq!(watcher.next_poll_at(), Some(at(first)), "{interval_ms}");
        }
    }
}
