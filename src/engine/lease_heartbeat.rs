//! When a store's leases are renewed, of pending jobs and claims: at every interval, all in one operation, as long as there are
//! some.

use std::collections::HashMap;
use std::time::Duration;

use super::call::Time;
use crate::core::dedupe::rules::{self, LEASE_RENEWAL};
use crate::core::operation::Operation;
use crate::core::options::DedupeOptions;
use crate::core::value::Millis;

/// Added to a time, it does not overflow.
const FOREVER: Duration = Duration::from_secs(1 << 40);

/// One store's pending jobs and claims.
#[derive(Debug)]
pub struct LeaseHeartbeat {
    owner: String,
    options: DedupeOptions,
    /// By hash the job, or none of a claim, and until when its lease is renewed.
    leases: HashMap<String, (Option<String>, Time)>,
    next_at: Option<Time>,
}

impl LeaseHeartbeat {
    /// Of a store that has none yet.
    pub fn new(owner: String, options: DedupeOptions) -> Self {
        LeaseHeartbeat { owner, options, leases: HashMap::new(), next_at: None }
    }

    /// The lease of this job, or the claim, is renewed from now on. It has just begun.
    pub fn add(&mut self, hash: String, job_id: Option<String>, now: Time) {
        self.leases.insert(hash, (job_id, now + longest_renewal(&self.options)));
        self.next_at.get_or_insert(now + LEASE_RENEWAL);
    }

    /// The store's job for a hash, or its claim, if any, has ended; or all have.
    pub fn remove(&mut self, hash: Option<&str>) {
        match hash {
            Some(hash) => drop(self.leases.remove(hash)),
            None => self.leases.clear(),
        }
        if self.leases.is_empty() {
            self.next_at = None;
        }
    }

    /// The lease of this job, or the claim, could not be renewed; answers whether it still was to be.
    pub fn remove_lost(&mut self, hash: &str, job_id: Option<&str>) -> bool {
        let is_known = self.leases.get(hash).is_some_and(|(known, _)| known.as_deref() == job_id);
        if is_known {
            self.remove(Some(hash));
        }
        is_known
    }

    /// When leases are to be renewed next; never without any.
    pub fn next_at(&self) -> Option<Time> {
        self.next_at
    }

    /// The leases are being renewed; answers those that no longer are, by hash and job.
    pub fn on_beat(&mut self, now: Time) -> Vec<(String, Option<String>)> {
        let late = self.leases.extract_if(|_, (_, until)| *until <= now);
        let late = late.map(|(hash, (job_id, _))| (hash, job_id)).collect();
        self.next_at = (!self.leases.is_empty()).then(|| now + LEASE_RENEWAL);
        late
    }

    /// The operation that renews all leases, if there are some.
    pub fn renewal(&self, system: Millis) -> Option<Operation> {
        let leases = self.leases.iter().map(|(hash, (id, _))| (hash.clone(), id.clone()));
        (!self.leases.is_empty()).then(|| rules::renew(&self.owner, self.options, leases, system))
    }
}

/// For how long a lease is renewed that is never ended: a hung owner does not keep it for ever.
fn longest_renewal(options: &DedupeOptions) -> Duration {
    let ms = if options.job_timeout_ms > 0.0 { options.job_timeout_ms } else { rules::LONGEST_RENEWAL_MS };
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_from_the_first_job_to_the_last() {
        let at = |factor| LEASE_RENEWAL * factor;
        let mut heartbeat = LeaseHeartbeat::new("owner".to_owned(), DedupeOptions::default());
        assert_eq!(heartbeat.next_at(), None);
        heartbeat.add("a".to_owned(), Some("1".to_owned()), at(1));
        heartbeat.add("b".to_owned(), None, at(1) + LEASE_RENEWAL / 2);
        assert_eq!(heartbeat.next_at(), Some(at(2)), "a lease outlasts several intervals");
        assert_eq!(heartbeat.renewal(0.0).map(|renewal| renewal.statements.len()), Some(2));
        heartbeat.on_beat(at(2));
        assert_eq!(heartbeat.next_at(), Some(at(3)));
        heartbeat.remove(Some("a"));
        heartbeat.remove(Some("a"));
        assert_eq!(heartbeat.next_at(), Some(at(3)));
        heartbeat.remove(None);
        assert_eq!(heartbeat.next_at(), None);
        heartbeat.on_beat(at(3));
        assert_eq!(heartbeat.next_at(), None);
        assert!(heartbeat.renewal(0.0).is_none());
    }

    #[test]
    fn the_lease_of_a_job_that_is_never_ended_runs_out() {
        for (job_timeout_ms, beats) in [(2_500.0, 3), (0.0, 300)] {
            let options = DedupeOptions { job_timeout_ms, ..DedupeOptions::default() };
            let mut heartbeat = LeaseHeartbeat::new("owner".to_owned(), options);
            heartbeat.add("a".to_owned(), Some("1".to_owned()), Time::ZERO);
            for beat in 1..beats {
                assert_eq!(heartbeat.on_beat(LEASE_RENEWAL * beat), []);
            }
            assert_eq!(heartbeat.on_beat(LEASE_RENEWAL * beats), [("a".to_owned(), Some("1".to_owned()))]);
            assert_eq!(heartbeat.next_at(), None);
        }
    }

    #[test]
    fn a_job_that_was_lost_is_not_taken_for_a_later_one() {
        let mut heartbeat = LeaseHeartbeat::new("owner".to_owned(), DedupeOptions::default());
        heartbeat.add("a".to_owned(), None, Time::ZERO);
        heartbeat.add("a".to_owned(), Some("1".to_owned()), Time::ZERO);
        heartbeat.add("a".to_owned(), Some("2".to_owned()), Time::ZERO);
        assert!(!heartbeat.remove_lost("a", None));
        assert!(!heartbeat.remove_lost("a", Some("1")));
        assert!(heartbeat.remove_lost("a", Some("2")));
        assert!(!heartbeat.remove_lost("a", Some("2")));
    }
}
