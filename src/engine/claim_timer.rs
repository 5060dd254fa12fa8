//! When a store's claims are given up that no `register` has followed: after so much time in which the event loop turned. It is
//! pinged at an interval, and time counts only up to a ping that it answers: one that is busy, or has no processor, loses
//! no claim.

use std::collections::HashMap;
use std::time::Duration;

use super::call::Time;
use crate::core::options::DedupeOptions;

/// How often the loop is pinged at least before a claim is given up, and the bounds of the interval.
const PINGS: f64 = 5.0;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_millis(250);

/// For how long the event loop has turned since a claim was made.
struct Unused {
    turned: Duration,
    counted_to: Time,
}

/// One store's claims.
pub struct ClaimTimer {
    timeout: Duration,
    interval: Duration,
    claims: HashMap<String, Unused>,
    next_ping_at: Option<Time>,
    /// The ping that has not been answered.
    pinged_at: Option<Time>,
}

impl ClaimTimer {
    /// Of a store that has none yet.
    pub fn new(options: &DedupeOptions) -> Self {
        let duration = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(Duration::MAX);
        ClaimTimer {
            timeout: duration(options.claim_timeout_ms),
            interval: duration(options.claim_timeout_ms / PINGS).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            claims: HashMap::new(),
            next_ping_at: None,
            pinged_at: None,
        }
    }

    /// A claim was made.
    pub fn add(&mut self, hash: String, now: Time) {
        self.claims.insert(hash, Unused { turned: Duration::ZERO, counted_to: now });
        self.plan_ping(now);
    }

    /// The claim of a hash, if any, has been used, or is gone; or all.
    pub fn remove(&mut self, hash: Option<&str>) {
        match hash {
            Some(hash) => drop(self.claims.remove(hash)),
            None => self.claims.clear(),
        }
        if self.claims.is_empty() {
            self.next_ping_at = None;
        }
    }

    /// When the event loop is to be pinged next; never without claims, or while a ping is not answered.
    pub fn next_ping_at(&self) -> Option<Time> {
        self.next_ping_at
    }

    /// The event loop has been pinged.
    pub fn on_pinged(&mut self, now: Time) {
        (self.pinged_at, self.next_ping_at) = (Some(now), None);
    }

    /// It has answered; answers the hashes whose claims are to be given up.
    pub fn on_answered(&mut self, now: Time) -> Vec<String> {
        let Some(pinged_at) = self.pinged_at.take() else { return Vec::new() };
        let unused = self.claims.extract_if(|_, claim| {
            claim.turned += pinged_at.saturating_sub(claim.counted_to).min(self.interval);
            claim.counted_to = now;
            claim.turned >= self.timeout
        });
        let unused = unused.map(|(hash, _)| hash).collect();
        self.plan_ping(now);
        unused
    }

    fn plan_ping(&mut self, now: Time) {
        if !self.claims.is_empty() && self.pinged_at.is_none() {
            self.next_ping_at.get_or_insert(now + self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Duration::from_millis(ms)
    }

    fn timer(claim_timeout_ms: f64) -> ClaimTimer {
        ClaimTimer::new(&DedupeOptions { claim_timeout_ms, ..DedupeOptions::default() })
    }

    /// Answers each ping after so long, until a claim is given up; answers when.
    fn run(timer: &mut ClaimTimer, delay: impl Fn(Time) -> Duration) -> (Vec<String>, Time) {
        loop {
            let pinged_at = timer.next_ping_at().unwrap();
            timer.on_pinged(pinged_at);
            assert_eq!(timer.next_ping_at(), None, "one that is not answered is not repeated");
            let now = pinged_at + delay(pinged_at);
            let unused = timer.on_answered(now);
            if !unused.is_empty() {
                return (unused, now);
            }
        }
    }

    #[test]
    fn a_claim_is_given_up_after_its_time_on_a_loop_that_turns() {
        for ms in [1.0, 20.0, 250.0, 20_000.0] {
            let mut timer = timer(ms);
            timer.add("a".to_owned(), at(7));
            let (unused, now) = run(&mut timer, |_| Duration::ZERO);
            assert_eq!(unused, ["a"]);
            let passed = (now - at(7)).as_secs_f64() * 1_000.0;
            assert!(passed >= ms && passed < ms * 1.5 + 5.0, "{ms}: {passed}");
            assert_eq!(timer.next_ping_at(), None, "nothing is pinged without claims");
        }
    }

    #[test]
    fn a_loop_that_does_not_turn_keeps_its_claims() {
        let mut timer = timer(250.0);
        timer.add("a".to_owned(), at(0));
        let (_, now) = run(&mut timer, |pinged_at| if pinged_at < at(100) { at(60_000) } else { Duration::ZERO });
        assert_eq!(now, at(60_000) + at(250), "of a minute counts what an interval is long");
        timer.add("b".to_owned(), now);
        let (_, later) = run(&mut timer, |_| at(400));
        assert_eq!(later - now, 5 * at(450));
    }

    #[test]
    fn a_claim_that_is_used_is_not_given_up() {
        let mut timer = timer(250.0);
        timer.add("a".to_owned(), at(0));
        timer.add("b".to_owned(), at(40));
        timer.on_pinged(at(50));
        timer.remove(Some("a"));
        timer.add("c".to_owned(), at(55));
        assert_eq!(timer.on_answered(at(60)), [""; 0]);
        timer.add("d".to_owned(), at(61));
        let (mut unused, now) = run(&mut timer, |_| Duration::ZERO);
        unused.sort();
        assert_eq!((unused, now), (vec!["b".to_owned(), "c".to_owned()], at(310)));
        timer.remove(None);
        assert_eq!(timer.next_ping_at(), None);
        timer.on_pinged(at(400));
        assert_eq!(timer.on_answered(at(401)), [""; 0]);
        assert_eq!(timer.next_ping_at(), None);
    }

    #[test]
    fn a_claim_without_end_is_never_given_up() {
        let mut timer = timer(f64::INFINITY);
        timer.add("a".to_owned(), at(0));
        for round in 1..1_000 {
            assert_eq!(timer.next_ping_at(), Some(LONGEST_INTERVAL * round));
            timer.on_pinged(LONGEST_INTERVAL * round);
            assert_eq!(timer.on_answered(LONGEST_INTERVAL * round), [""; 0]);
        }
    }
}
