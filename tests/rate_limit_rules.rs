//! The sliding window beside one kept in a list: who may proceed, how long to wait, and that no window ever holds
//! more requests than the limit, whatever the order of calls.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::HashMap;

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::options::{RateLimitConfig, ResourceConfigs};
use comic_vine_sqlite_store::core::rate_limit::{self, Call, Ids, Reservations};
use common::{Db, boolean, members, number};
use proptest::prelude::*;

const START: i64 = 1_000_000;
const RESOURCES: [&str; 2] = ["issues", "volumes"];

/// What one resource has seen.
#[derive(Default)]
struct Resource {
    requests: Vec<f64>,
    /// Places held: by whom and until when. Lapsed ones stay until somebody else wants a place.
    places: Vec<(usize, f64)>,
}

impl Resource {
    fn recorded(&self, limit: RateLimitConfig, now: f64) -> usize {
        self.requests.iter().filter(|at| now - **at <= limit.window_ms).count()
    }

    fn held(&self, now: f64) -> usize {
        self.places.iter().filter(|(_, until)| now < *until).count()
    }

    fn count(&self, limit: RateLimitConfig, now: f64) -> f64 {
        (self.recorded(limit, now) + self.held(now)) as f64
    }

    fn is_free(&self, limit: RateLimitConfig, now: f64) -> bool {
        self.count(limit, now) < limit.limit
    }

    fn lapse(&mut self, now: f64) {
        self.places.retain(|(_, until)| now < *until);
    }

    /// Gives up the place that a store has held longest.
    fn release(&mut self, owner: usize) -> bool {
        let held = self.places.iter().enumerate().filter(|(_, (who, _))| *who == owner);
        let Some((first, _)) = held.min_by(|(_, one), (_, other)| one.1.total_cmp(&other.1)) else { return false };
        self.places.remove(first);
        true
    }

    /// The most requests that any window holds.
    fn fullest(&self, limit: RateLimitConfig) -> usize {
        self.requests.iter().map(|at| self.recorded_until(limit, *at)).max().unwrap_or(0)
    }

    fn recorded_until(&self, limit: RateLimitConfig, end: f64) -> usize {
        self.requests.iter().filter(|at| **at <= end && end - **at <= limit.window_ms).count()
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    CanProceed,
    WaitTime,
    Status,
    Stats,
    Acquire,
    Record,
    /// Takes a place, where places are held.
    Reserve,
    /// Records in the place taken.
    Redeem,
    Reset,
    Cleanup,
}

/// After how long, which store, which resource, what.
type Action = (i64, usize, usize, Act);

struct Model<'db> {
    db: &'db Db,
    limits: [RateLimitConfig; 2],
    reserve_for: f64,
    now: f64,
    resources: [Resource; 2],
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, limits: [RateLimitConfig; 2], reserve_for: f64) -> Self {
        db.run(rate_limit::clear());
        Model { db, limits, reserve_for, now: START as f64, resources: Default::default() }
    }

    fn configs(&self) -> ResourceConfigs {
        let named = vec![(RESOURCES[1].to_owned(), self.limits[1])];
        ResourceConfigs { default: self.limits[0], named }
    }

    fn call(&self, on: usize) -> Call {
        Call { resource: RESOURCES[on].to_owned(), limit: self.limits[on], now: self.now }
    }

    fn apply(&mut self, (after, who, on, act): Action) {
        self.now += after as f64;
        let (now, limit, resource) = (self.now, self.limits[on], &self.resources[on]);
        let free = resource.is_free(limit, now);
        let places = Reservations { owner: format!("store-{who}"), for_ms: self.reserve_for };
        match act {
            Act::CanProceed => {
                let answer = self.db.run(rate_limit::can_proceed(self.call(on), None));
                assert_eq!(boolean(answer), free);
            }
            Act::WaitTime => self.check_wait(on),
            Act::Status => {
                let mut status = members(self.db.run(rate_limit::status(self.call(on))));
                let remaining = (limit.limit - resource.count(limit, now)).max(0.0);
                assert_eq!(status.number("remaining"), remaining);
                assert_eq!(remaining > 0.0, free);
                assert_eq!(status.number("resetTime"), now + limit.window_ms);
                assert_eq!(status.number("limit"), limit.limit);
            }
            Act::Stats => {
                let limited = |on: &usize| {
                    let resource = &self.resources[*on];
                    let named = !self.db.rows(&rows_of(*on)).is_empty();
                    named && !resource.is_free(self.limits[*on], now)
                };
                let expected: Vec<&str> = (0..2).filter(limited).map(|on| RESOURCES[on]).collect();
                let mut stats = members(self.db.run(rate_limit::stats(self.configs(), now)));
                assert_eq!(stats.list("rateLimitedResources"), expected);
            }
            Act::Acquire => {
                assert_eq!(boolean(self.db.run(rate_limit::acquire(&self.call(on)))), free);
                let resource = &mut self.resources[on];
                resource.lapse(now);
                resource.requests.extend(free.then_some(now));
            }
            Act::Record => {
                self.db.run(rate_limit::record(RESOURCES[on].to_owned(), now, None));
                self.resources[on].requests.push(now);
            }
            Act::Reserve => {
                let answer = self.db.run(rate_limit::can_proceed(self.call(on), Some(&places)));
                assert_eq!(boolean(answer), free);
                let resource = &mut self.resources[on];
                resource.lapse(now);
                resource.places.extend(free.then_some((who, now + self.reserve_for)));
            }
            Act::Redeem => {
                if self.resources[on].release(who) {
                    self.db.run(rate_limit::record(RESOURCES[on].to_owned(), now, Some(&places)));
                    self.resources[on].requests.push(now);
                }
            }
            Act::Reset => {
                self.db.run(rate_limit::reset(RESOURCES[on]));
                self.resources[on] = Resource::default();
            }
            Act::Cleanup => {
                self.db.run(rate_limit::cleanup(self.configs(), now));
                let mut kept = 0;
                for (resource, limit) in self.resources.iter_mut().zip(self.limits) {
                    resource.lapse(now);
                    kept += resource.recorded(limit, now);
                }
                assert_eq!(self.db.number("SELECT COUNT(*) FROM rate_limits"), kept as f64);
                let held: usize = self.resources.iter().map(|resource| resource.places.len()).sum();
                assert_eq!(self.db.number("SELECT COUNT(*) FROM rate_limit_reservations"), held as f64);
            }
        }
    }

    /// 0 exactly if a request may be made now; otherwise a place is free when it is over, and not before.
    fn check_wait(&self, on: usize) {
        let (now, limit, resource) = (self.now, self.limits[on], &self.resources[on]);
        let wait = number(self.db.run(rate_limit::wait_time(self.call(on))));
        if limit.limit == 0.0 {
            assert_eq!(wait, limit.window_ms);
            return;
        }
        assert_eq!(wait == 0.0, resource.is_free(limit, now), "{wait}");
        if wait > 0.0 {
            assert!(wait >= 1.0, "{wait}");
            assert!(resource.is_free(limit, now + wait + 1.0), "{wait}");
            assert!(!resource.is_free(limit, now + wait - 1.0), "{wait}");
        }
    }
}

fn rows_of(on: usize) -> String {
    format!("SELECT 1 FROM rate_limits WHERE resource = '{}'", RESOURCES[on])
}

fn limits() -> impl Strategy<Value = [RateLimitConfig; 2]> {
    let limit = prop_oneof![
        8 => (1..6u32).prop_map(f64::from),
        1 => Just(0.0),
        1 => Just(2.5),
        1 => Just(f64::INFINITY),
    ];
    let window_ms = prop_oneof![8 => (1..300u32).prop_map(f64::from), 1 => Just(0.0), 1 => Just(99.5)];
    let one = (limit, window_ms).prop_map(|(limit, window_ms)| RateLimitConfig { limit, window_ms });
    [one.clone(), one]
}

fn actions(acts: Vec<Act>) -> impl Strategy<Value = Vec<Action>> {
    let after = prop_oneof![3 => 0..3i64, 2 => 0..100i64, 1 => 100..400i64];
    prop::collection::vec((after, 0..3usize, 0..2usize, prop::sample::select(acts)), 1..60)
}

#[test]
fn every_answer_is_that_of_a_window_kept_in_a_list() {
    use Act::{Acquire, CanProceed, Cleanup, Record, Redeem, Reserve, Reset, Stats, Status, WaitTime};
    let db = Db::memory(StoreKind::RateLimit);
    let acts = vec![
        CanProceed, WaitTime, WaitTime, Status, Stats, Acquire, Acquire, Record, Record, Reserve, Redeem, Reset,
        Cleanup,
    ];
    proptest!(common::random(600), |(limits in limits(), reserve_for in 1..200u32, actions in actions(acts))| {
        let mut model = Model::new(&db, limits, f64::from(reserve_for));
        for action in actions {
            model.apply(action);
        }
    });
}

#[test]
fn no_window_holds_more_than_the_limit() {
    use Act::{Acquire, Cleanup, Redeem, Reserve, Status, WaitTime};
    let db = Db::memory(StoreKind::RateLimit);
    let acts = vec![Acquire, Acquire, Reserve, Reserve, Redeem, Redeem, WaitTime, Status, Cleanup];
    proptest!(common::random(400), |(limits in limits(), reserve_for in 1..200u32, actions in actions(acts))| {
        let mut model = Model::new(&db, limits, f64::from(reserve_for));
        for action in actions {
            model.apply(action);
            for (resource, limit) in model.resources.iter().zip(limits) {
                assert!(resource.fullest(limit) as f64 <= limit.limit.ceil(), "{limit:?}: {:?}", resource.requests);
                assert!(resource.count(limit, model.now) <= limit.limit.ceil(), "{limit:?}");
            }
        }
    });
}

#[test]
fn waiting_as_long_as_told_is_enough() {
    let db = Db::memory(StoreKind::RateLimit);
    proptest!(common::random(100), |(limit in 1..6u32, window in 1..300u32, pauses in prop::collection::vec(0..80i64, 1..40))| {
        let limit = RateLimitConfig { limit: f64::from(limit), window_ms: f64::from(window) };
        let mut model = Model::new(&db, [limit; 2], 0.0);
        for pause in pauses {
            model.now += pause as f64;
            let wait = number(db.run(rate_limit::wait_time(model.call(0))));
            model.now += if wait > 0.0 { wait + 1.0 } else { 0.0 };
            assert!(boolean(db.run(rate_limit::acquire(&model.call(0)))), "after {wait}");
        }
    });
}

#[test]
fn a_limit_lowered_later_counts_from_then_on() {
    let db = Db::memory(StoreKind::RateLimit);
    let mut call = Call {
        resource: "issues".to_owned(),
        limit: RateLimitConfig { limit: 10.0, window_ms: 1_000.0 },
        now: START as f64,
    };
    for _ in 0..10 {
        assert!(boolean(db.run(rate_limit::acquire(&call))));
        call.now += 10.0;
    }
    call.limit.limit = 3.0;
    assert!(!boolean(db.run(rate_limit::can_proceed(call.clone(), None))));
    // Made at 0, 10, …, 90; two are left once the one made at 70 is out of the window. It is 100 now.
    assert_eq!(number(db.run(rate_limit::wait_time(call.clone()))), 970.0);
    assert_eq!(members(db.run(rate_limit::status(call))).number("remaining"), 0.0);
}

#[test]
fn a_cleanup_of_any_size_leaves_what_counts() {
    let db = Db::memory(StoreKind::RateLimit);
    let limit = RateLimitConfig { limit: 60.0, window_ms: 1_000.0 };
    let of_resource: HashMap<&str, i64> = [("issues", 1_700), ("volumes", 499), ("people", 500)].into();
    for (resource, count) in &of_resource {
        db.execute(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count} + 9)
             INSERT INTO rate_limits (resource, timestamp)
               SELECT '{resource}', CASE WHEN i < {count} THEN i ELSE 5000 + i - {count} END FROM n"
        ));
    }
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
         INSERT INTO rate_limit_reservations (resource, owner, expires_at) SELECT 'issues', 'x', 5100 + i FROM n",
    );
    let configs = ResourceConfigs { default: limit, named: Vec::new() };
    db.run(rate_limit::cleanup(configs, 6_004.0));
    assert_eq!(db.number("SELECT COUNT(*) FROM rate_limits"), 18.0);
    assert_eq!(db.number("SELECT MIN(timestamp) FROM rate_limits"), 5_004.0);
    assert_eq!(db.number("SELECT MIN(expires_at) FROM rate_limit_reservations"), 6_005.0);
    assert_eq!(db.number("SELECT COUNT(*) FROM rate_limit_reservations"), 296.0);
}

/// What SQLite keeps of the highest id is not written with each request, whatever else gives ids: version 0.2.0,
/// `acquire`, statements of many rows.
#[test]
fn ids_are_reserved_ahead_of_requests() {
    const MOST_UNTIL_RESERVED: usize = 1_000;
    let db = Db::memory(StoreKind::RateLimit);
    let ids = Ids::default();
    let highest = || db.number("SELECT COALESCE(MAX(id), 0) FROM rate_limits");
    let given = || db.number("SELECT seq FROM sqlite_sequence WHERE name = 'rate_limits'");
    let record = |times: usize| {
        for _ in 0..times {
            let id = highest() + 1.0;
            db.run(ids.look_after(rate_limit::record("issues".to_owned(), START as f64, None)));
            assert_eq!(highest(), id);
        }
    };
    let expect_reserved = || {
        let mut written = 0;
        for _ in 0..3 * MOST_UNTIL_RESERVED {
            let before = given();
            record(1);
            assert!(highest() < before, "{} of {before}", highest());
            written += usize::from(given() != before);
        }
        assert!(written <= 3, "{written}");
    };
    record(1);
    expect_reserved();
    for _ in 0..3 {
        let before = given();
        db.execute("INSERT INTO rate_limits (resource, timestamp) VALUES ('issues', 0), ('issues', 0)");
        assert_eq!([highest(), given()], [before + 2.0; 2]);
        record(MOST_UNTIL_RESERVED);
        expect_reserved();
    }
    let of_issues = db.number("SELECT COUNT(*) FROM rate_limits WHERE resource = 'issues'");
    assert_eq!(of_issues, (1 + 4 * 3_000 + 3 * (2 + 1_000)) as f64);
    assert_eq!(db.number("SELECT COUNT(*) FROM rate_limits"), of_issues);
    db.run(rate_limit::clear());
    expect_reserved();
}

/// A table that another program made, of which SQLite keeps no highest id.
#[test]
fn ids_need_not_be_reserved() {
    let db = Db::memory(StoreKind::Cache);
    db.execute(
        "CREATE TABLE rate_limits (id INTEGER PRIMARY KEY, resource TEXT NOT NULL, timestamp INTEGER NOT NULL)",
    );
    let ids = Ids::default();
    for id in 1..=2_500 {
        db.run(ids.look_after(rate_limit::record("issues".to_owned(), START as f64, None)));
        assert_eq!(db.number("SELECT MAX(id) FROM rate_limits"), f64::from(id));
    }
    assert_eq!(db.number("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'"), 0.0);
}
