//! When the leases of a store's pending jobs are renewed: at every interval, all in one operation, as long as there are some.

use std::collections::HashMap;

use super::call::Time;
use crate::core::dedupe::rules::{self, LEASE_RENEWAL};
use crate::core::operation::Operation;
use crate::core::value::Millis;

/// One store's pending jobs.
#[derive(Debug)]
pub struct LeaseHeartbeat {
    owner: String,
    /// The jobs, by hash.
    jobs: HashMap<String, String>,
    next_at: Option<Time>,
}

impl LeaseHeartbeat {
    /// Of a store that has none yet.
    pub fn new(owner: String) -> Self {
        LeaseHeartbeat { owner, jobs: HashMap::new(), next_at: None }
    }

    /// The lease of this job is renewed from now on. It has just begun.
    pub fn add(&mut self, hash: String, job_id: String, now: Time) {
        self.jobs.insert(hash, job_id);
        self.next_at.get_or_insert(now + LEASE_RENEWAL);
    }

    /// The store's job for a hash, if any, has ended; or all jobs.
    pub fn remove(&mut self, hash: Option<&str>) {
        match hash {
            Some(hash) => drop(self.jobs.remove(hash)),
            None => self.jobs.clear(),
        }
        if self.jobs.is_empty() {
            self.next_at = None;
        }
    }

    /// When leases are to be renewed next; never without jobs.
    pub fn next_at(&self) -> Option<Time> {
        self.next_at
    }

    /// The leases are being renewed.
    pub fn on_beat(&mut self, now: Time) {
        self.next_at = (!self.jobs.is_empty()).then(|| now + LEASE_RENEWAL);
    }

    /// The operation that renews the leases of all jobs.
    pub fn renewal(&self, system: Millis) -> Operation {
        rules::renew(&self.owner, &self.jobs, system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_from_the_first_job_to_the_last() {
        let at = |factor| LEASE_RENEWAL * factor;
        let mut heartbeat = LeaseHeartbeat::new("owner".to_owned());
        assert_eq!(heartbeat.next_at(), None);
        heartbeat.add("a".to_owned(), "1".to_owned(), at(1));
        heartbeat.add("b".to_owned(), "2".to_owned(), at(1) + LEASE_RENEWAL / 2);
        assert_eq!(heartbeat.next_at(), Some(at(2)), "a lease outlasts several intervals");
        assert_eq!(heartbeat.renewal(0.0).statements.len(), 2);
        heartbeat.on_beat(at(2));
        assert_eq!(heartbeat.next_at(), Some(at(3)));
        heartbeat.remove(Some("a"));
        heartbeat.remove(Some("a"));
        assert_eq!(heartbeat.next_at(), Some(at(3)));
        heartbeat.remove(None);
        assert_eq!(heartbeat.next_at(), None);
        heartbeat.on_beat(at(3));
        assert_eq!(heartbeat.next_at(), None);
    }
}
