//! The sliding window beside one kept in a list: who may proceed, how long to wait, and that no window ever holds
//! more requests than the limit, whatever the order of calls.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::{HashMap, HashSet};

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Operation, Outcome};
use comic_vine_sqlite_store::core::options::Reservations;
use comic_vine_sqlite_store::core::options::{RateLimitConfig, ResourceConfigs, SharedLimits};
use comic_vine_sqlite_store::core::rate_limit::{self, Call};
use common::{Db, TOLERANCE, Value, boolean, members, number};
use proptest::prelude::*;

const START: i64 = 1_700_000_000_000;
const RESOURCES: [&str; 2] = ["issues", "volumes"];

const STORES: usize = 3;

/// A reserved slot: by whom, since when and until when.
#[derive(Clone, Copy, Debug)]
struct Slot {
    owner: usize,
    since: f64,
    until: f64,
}

impl Slot {
    fn moved_to(self, now: f64) -> Self {
        Slot { since: now, until: now + self.until - self.since, ..self }
    }
}

/// What one resource has seen.
#[derive(Clone, Debug, Default)]
struct Resource {
    /// Requests that are stored.
    requests: Vec<f64>,
    /// Reserved slots. Expired ones stay until somebody else wants a slot.
    slots: Vec<Slot>,
    /// All requests since the last reset.
    history: Vec<f64>,
}

impl Resource {
    /// What a call at `now` goes by: what is stamped later is taken to have come just now.
    fn as_of(&self, now: f64) -> Self {
        let mut seen = self.clone();
        seen.correct(now, now);
        seen
    }

    /// Has what is stamped later than `allowed` come at `now`.
    fn correct(&mut self, now: f64, allowed: f64) {
        self.requests.iter_mut().filter(|at| **at > allowed).for_each(|at| *at = now);
        self.slots.iter_mut().filter(|slot| slot.since > allowed).for_each(|slot| *slot = slot.moved_to(now));
    }

    /// Whether something is stamped later than that.
    fn is_later_than(&self, allowed: f64) -> bool {
        self.requests.iter().chain(self.slots.iter().map(|slot| &slot.since)).any(|at| *at > allowed)
    }

    /// What a call at `now` does that meets it.
    fn meet(&mut self, now: f64) {
        self.correct(now, now + TOLERANCE);
    }

    fn recorded(&self, limit: RateLimitConfig, now: f64) -> usize {
        self.as_of(now).requests.iter().filter(|at| now - **at <= limit.window_ms).count()
    }

    fn reserved(&self, now: f64) -> usize {
        self.as_of(now).slots.iter().filter(|slot| now < slot.until).count()
    }

    fn count(&self, limit: RateLimitConfig, now: f64) -> f64 {
        (self.recorded(limit, now) + self.reserved(now)) as f64
    }

    fn is_free(&self, limit: RateLimitConfig, now: f64) -> bool {
        self.count(limit, now) < limit.limit
    }

    /// How long a request at `now` has to wait: until fewer than the limit are left in the window.
    fn wait(&self, limit: RateLimitConfig, now: f64) -> f64 {
        if limit.limit == 0.0 {
            return limit.window_ms;
        }
        if self.is_free(limit, now) {
            return 0.0;
        }
        let Resource { requests, slots, .. } = self.as_of(now);
        let in_window = requests.into_iter().filter(|at| now - at <= limit.window_ms);
        let reserved = slots.into_iter().map(|slot| slot.until).filter(|until| now < *until);
        let mut ends: Vec<f64> = in_window.map(|at| at + limit.window_ms).chain(reserved).collect();
        ends.sort_by(|one, other| other.total_cmp(one));
        (ends[limit.limit.ceil() as usize - 1] - now).max(1.0)
    }

    fn record(&mut self, now: f64) {
        self.requests.push(now);
        self.history.push(now);
    }

    /// Removes the requests made before the start of a window.
    fn sweep(&mut self, start: f64) {
        self.requests.retain(|at| start <= *at);
    }

    fn expire_reservations(&mut self, now: f64) {
        self.slots.retain(|slot| now < slot.until);
    }

    /// Gives up the slot that a store has reserved longest.
    fn release(&mut self, owner: usize) -> bool {
        let reserved = self.slots.iter().enumerate().filter(|(_, slot)| slot.owner == owner);
        let Some((first, _)) = reserved.min_by(|(_, one), (_, other)| one.until.total_cmp(&other.until)) else {
            return false;
        };
        self.slots.remove(first);
        true
    }

    /// The most requests that any window holds.
    fn fullest(&self, limit: RateLimitConfig) -> usize {
        self.history.iter().map(|at| self.recorded_until(limit, *at)).max().unwrap_or(0)
    }

    fn recorded_until(&self, limit: RateLimitConfig, end: f64) -> usize {
        self.history.iter().filter(|at| **at <= end && end - **at <= limit.window_ms).count()
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    CanProceed,
    /// A `canProceed` after which the store stops before it removes what has left the window.
    Look,
    /// It goes on and removes it.
    GoOn,
    WaitTime,
    Status,
    Stats,
    Acquire,
    Record,
    /// Takes a slot, where slots are reserved.
    Reserve,
    /// Records in the slot taken.
    Redeem,
    /// Records where slots are reserved, in one if the store has one.
    RecordAsHolder,
    Lower,
    Raise,
    Reset,
    Clear,
    Cleanup,
}

/// After how long, which store, which resource, what.
type Action = (i64, usize, usize, Act);

/// What lies in the database: requests, and reserved slots.
#[derive(Debug, PartialEq)]
struct Stored {
    requests: Vec<(String, f64)>,
    slots: Vec<(String, String, f64)>,
}

impl Stored {
    fn in_order(mut self) -> Self {
        self.requests.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        let key = |slot: &(String, String, f64)| (slot.0.clone(), slot.1.clone());
        self.slots.sort_by(|one, other| key(one).cmp(&key(other)).then(one.2.total_cmp(&other.2)));
        self
    }

    /// How many requests and slots of a resource count at `now`.
    fn count(&self, on: usize, limit: RateLimitConfig, now: f64) -> f64 {
        let counts = |at: f64| now - limit.window_ms <= at;
        let recorded = self.requests.iter().filter(|(of, at)| of == RESOURCES[on] && counts(*at)).count();
        let reserved = self.slots.iter().filter(|(of, _, until)| of == RESOURCES[on] && now < *until).count();
        (recorded + reserved) as f64
    }
}

/// What a look found to be done.
struct Found {
    on: usize,
    now: f64,
    corrects: bool,
    /// The start of the window, if something has left it.
    sweeps: Option<f64>,
    operation: Operation,
}

struct Model<'db> {
    db: &'db Db,
    limits: [RateLimitConfig; 2],
    reserve_for: f64,
    /// The world's time, and how far the stores' clocks are ahead of it.
    now: f64,
    ahead: [i64; STORES],
    resources: [Resource; 2],
    /// What each store has found to be done and not done yet, of which resource and when.
    found: [Option<Found>; STORES],
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, limits: [RateLimitConfig; 2], reserve_for: f64) -> Self {
        db.run(rate_limit::clear());
        Model {
            db,
            limits,
            reserve_for,
            now: START as f64,
            ahead: [0; STORES],
            resources: Default::default(),
            found: Default::default(),
        }
    }

    fn configs(&self) -> ResourceConfigs {
        let named = vec![(RESOURCES[1].to_owned(), self.limits[1])];
        ResourceConfigs { default: self.limits[0], named, shared: SharedLimits::NONE }
    }

    /// The time by a store's clock.
    fn time(&self, who: usize) -> f64 {
        self.now + self.ahead[who] as f64
    }

    fn call(&self, who: usize, on: usize) -> Call {
        Call {
            resource: RESOURCES[on].to_owned(),
            limit: self.limits[on],
            shared: SharedLimits::NONE,
            now: self.time(who),
        }
    }

    fn stored(&self) -> Stored {
        let text = |value: &Value| value.text().unwrap().to_owned();
        let requests = self.db.rows("SELECT resource, timestamp FROM rate_limits");
        let slots = self.db.rows("SELECT resource, owner, expires_at FROM rate_limit_reservations");
        Stored {
            requests: requests.iter().map(|row| (text(&row[0]), row[1].number().unwrap())).collect(),
            slots: slots.iter().map(|row| (text(&row[0]), text(&row[1]), row[2].number().unwrap())).collect(),
        }
        .in_order()
    }

    fn expected(&self) -> Stored {
        let mut expected = Stored { requests: Vec::new(), slots: Vec::new() };
        for (resource, name) in self.resources.iter().zip(RESOURCES) {
            expected.requests.extend(resource.requests.iter().map(|at| (name.to_owned(), *at)));
            let slot = |slot: &Slot| (name.to_owned(), format!("store-{}", slot.owner), slot.until);
            expected.slots.extend(resource.slots.iter().map(slot));
        }
        expected.in_order()
    }

    fn apply(&mut self, (after, who, on, act): Action) {
        self.now += after as f64;
        let (now, limit, resource) = (self.time(who), self.limits[on], &self.resources[on]);
        let start = now - limit.window_ms;
        let free = resource.is_free(limit, now);
        let slots = Reservations { owner: format!("store-{who}"), for_ms: self.reserve_for };
        let before = self.stored();
        match act {
            Act::CanProceed => {
                let answer = self.db.run(rate_limit::can_proceed(self.call(who, on), None));
                assert_eq!(boolean(answer), free);
                self.resources[on].meet(now);
                self.resources[on].sweep(start);
            }
            Act::Look => {
                let corrects = resource.is_later_than(now + TOLERANCE);
                let old = resource.requests.iter().any(|at| *at < start);
                let follows = old || corrects;
                match self.db.step(rate_limit::can_proceed(self.call(who, on), None)) {
                    Outcome::Answer(answer) => assert_eq!((boolean(answer), false), (free, follows)),
                    Outcome::AnswerThen(answer, operation) => {
                        assert_eq!((boolean(answer), true), (free, follows));
                        let sweeps = old.then_some(start);
                        self.found[who] = Some(Found { on, now, corrects, sweeps, operation });
                    }
                    Outcome::Continue(_) => panic!("it answers"),
                }
            }
            Act::GoOn => {
                if let Some(Found { on, now, corrects, sweeps, operation }) = self.found[who].take() {
                    self.db.run(operation);
                    if corrects {
                        self.resources[on].meet(now);
                    }
                    sweeps.into_iter().for_each(|start| self.resources[on].sweep(start));
                }
            }
            Act::WaitTime => self.check_wait(who, on),
            Act::Status => {
                let mut status = members(self.db.run(rate_limit::status(self.call(who, on))));
                let remaining = (limit.limit - resource.count(limit, now)).max(0.0);
                let answered = status.number("remaining");
                assert_eq!(answered, remaining);
                assert_eq!(remaining > 0.0, free);
                assert!((0.0..=limit.limit).contains(&answered), "{answered}");
                assert_eq!(status.number("resetTime"), now + limit.window_ms);
                assert_eq!(status.number("limit"), limit.limit);
                self.resources[on].meet(now);
                self.resources[on].sweep(start);
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
                let names: HashSet<&str> = before.requests.iter().map(|(of, _)| of.as_str()).collect();
                assert_eq!(stats.number("totalRequests"), before.requests.len() as f64);
                assert_eq!(stats.number("uniqueResources"), names.len() as f64);
                for (resource, limit) in self.resources.iter_mut().zip(self.limits) {
                    // One of which only slots are known is not looked at.
                    if !resource.requests.is_empty() {
                        resource.meet(now);
                    }
                    resource.sweep(now - limit.window_ms);
                }
            }
            Act::Acquire => {
                assert_eq!(boolean(self.db.run(rate_limit::acquire(self.call(who, on)))), free);
                self.admit(who, on, free, |resource| resource.record(now));
            }
            Act::Record => {
                self.db.run(rate_limit::record(RESOURCES[on].to_owned(), now, None));
                self.resources[on].record(now);
            }
            Act::Reserve => {
                let answer = self.db.run(rate_limit::can_proceed(self.call(who, on), Some(&slots)));
                assert_eq!(boolean(answer), free);
                let until = now + self.reserve_for;
                self.admit(who, on, free, |resource| resource.slots.push(Slot { owner: who, since: now, until }));
            }
            Act::Redeem => {
                if self.resources[on].release(who) {
                    self.db.run(rate_limit::record(RESOURCES[on].to_owned(), now, Some(&slots)));
                    self.resources[on].record(now);
                }
            }
            Act::RecordAsHolder => {
                self.resources[on].release(who);
                self.db.run(rate_limit::record(RESOURCES[on].to_owned(), now, Some(&slots)));
                self.resources[on].record(now);
            }
            Act::Lower => self.limits[on].limit = (limit.limit / 2.0).floor(),
            Act::Raise => self.limits[on].limit += 2.0,
            Act::Reset => {
                self.db.run(rate_limit::reset(RESOURCES[on], SharedLimits::NONE, self.now));
                self.resources[on] = Resource::default();
            }
            Act::Clear => {
                self.db.run(rate_limit::clear());
                self.resources = Default::default();
            }
            Act::Cleanup => {
                self.db.run(rate_limit::cleanup(self.configs(), now));
                let mut kept = 0;
                for (resource, limit) in self.resources.iter_mut().zip(self.limits) {
                    resource.meet(now);
                    resource.sweep(now - limit.window_ms);
                    resource.expire_reservations(now);
                    kept += resource.recorded(limit, now);
                }
                assert_eq!(self.db.number("SELECT COUNT(*) FROM rate_limits"), kept as f64);
                let reserved: usize = self.resources.iter().map(|resource| resource.slots.len()).sum();
                assert_eq!(self.db.number("SELECT COUNT(*) FROM rate_limit_reservations"), reserved as f64);
                self.cleanup_spares_what_counts(now, &before);
            }
        }
        let stored = self.stored();
        assert_eq!(stored, self.expected(), "after {act:?} of {who} at {now}");
    }

    /// A request was recorded or a slot taken, if there was one.
    fn admit(&mut self, who: usize, on: usize, free: bool, change: impl FnOnce(&mut Resource)) {
        let (now, limit, resource) = (self.time(who), self.limits[on], &mut self.resources[on]);
        let meets = resource.is_later_than(now + TOLERANCE);
        resource.sweep(now - limit.window_ms);
        resource.expire_reservations(now);
        if free {
            change(resource);
            // Whatever the clock shows: as counted at that time, no window has more than the limit.
            let count = self.stored().count(on, limit, now);
            assert!(count <= limit.limit.ceil(), "{count} of {limit:?} at {now}");
        }
        if meets {
            self.resources[on].meet(now);
        }
    }

    fn cleanup_spares_what_counts(&self, now: f64, before: &Stored) {
        let after = self.stored();
        for (resource, at) in &before.requests {
            let on = RESOURCES.iter().position(|name| name == resource).unwrap();
            let counts = (now - self.limits[on].window_ms..=now).contains(at);
            assert!(!counts || after.requests.contains(&(resource.clone(), *at)), "{at} at {now}");
        }
        for slot in &before.slots {
            let is_reserved = now < slot.2 && slot.2 <= now + self.reserve_for;
            assert!(!is_reserved || after.slots.contains(slot), "{slot:?} at {now}");
        }
    }

    /// 0 exactly if a request may be made now; otherwise a slot is free when it is over, and not before.
    fn check_wait(&mut self, who: usize, on: usize) {
        let (now, limit, resource) = (self.time(who), self.limits[on], &self.resources[on]);
        let wait = number(self.db.run(rate_limit::wait_time(self.call(who, on))));
        assert!(wait.is_finite() && wait >= 0.0, "{wait}");
        assert_eq!(wait, resource.wait(limit, now));
        if limit.limit == 0.0 {
            assert_eq!(wait, limit.window_ms);
            return;
        }
        assert_eq!(wait == 0.0, resource.is_free(limit, now), "{wait}");
        if wait > 0.0 {
            assert!(wait >= 1.0, "{wait}");
            let longest = limit.window_ms.max(self.reserve_for);
            assert!(wait <= longest.max(1.0), "{wait}");
            self.resources[on].meet(now);
            // What is later by less is taken as made at each time that is asked about.
            if !self.resources[on].is_later_than(now) {
                assert!(self.resources[on].is_free(limit, now + wait + 1.0), "{wait}");
                assert!(!self.resources[on].is_free(limit, now + wait - 1.0), "{wait}");
            }
        }
        self.resources[on].meet(now);
        let may = boolean(self.db.run(rate_limit::can_proceed(self.call(who, on), None)));
        assert_eq!(wait == 0.0, may, "{wait}");
        self.resources[on].sweep(now - limit.window_ms);
    }

    /// Once all clocks are past all that was stored, whoever comes gets a slot, and nothing is left.
    fn settle(mut self) {
        let Stored { requests, slots } = self.stored();
        let longest = self.limits[0].window_ms.max(self.limits[1].window_ms);
        let ends = requests.iter().map(|(_, at)| at + longest).chain(slots.iter().map(|slot| slot.2));
        let behind = -self.ahead.into_iter().min().unwrap();
        self.now = ends.fold(self.now, f64::max).ceil() + behind as f64 + 1.0;
        for who in 0..STORES {
            for on in 0..2 {
                self.apply((0, who, on, Act::WaitTime));
                self.apply((0, who, on, Act::CanProceed));
                let limit = self.limits[on];
                assert_eq!(self.resources[on].is_free(limit, self.time(who)), limit.limit > 0.0);
            }
        }
        self.apply((0, 0, 0, Act::Cleanup));
        assert_eq!(self.stored(), Stored { requests: Vec::new(), slots: Vec::new() });
    }
}

/// Windows that steps of time meet the ends of.
const EDGES: &[i64] = &[1, 2, 7, 50];

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
    let window_ms = prop_oneof![
        6 => (1..300u32).prop_map(f64::from),
        3 => prop::sample::select(EDGES).prop_map(|ms| ms as f64),
        1 => Just(0.0),
        1 => Just(99.5),
    ];
    let one = (limit, window_ms).prop_map(|(limit, window_ms)| RateLimitConfig::new(limit, window_ms));
    [one.clone(), one]
}

fn reservations() -> impl Strategy<Value = i64> {
    prop_oneof![1..200i64, prop::sample::select(EDGES)]
}

fn forward() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![3 => 0..3i64, 2 => 0..100i64, 1 => 100..400i64, 1 => prop::sample::select(EDGES)]
}

fn actions(after: impl Strategy<Value = i64>, acts: Vec<Act>) -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec((after, 0..STORES, 0..2usize, prop::sample::select(acts)), 1..60)
}

fn all_acts() -> Vec<Act> {
    use Act::{
        Acquire, CanProceed, Cleanup, Clear, GoOn, Look, Lower, Raise, Record, RecordAsHolder, Redeem, Reserve,
        Reset, Stats, Status, WaitTime,
    };
    let mut acts = [WaitTime, Acquire, Record, Reserve, Redeem].repeat(2);
    acts.extend([CanProceed, Look, GoOn, Status, Stats, RecordAsHolder, Lower, Raise, Reset, Clear, Cleanup]);
    acts
}

#[test]
fn every_answer_is_that_of_a_window_kept_in_a_list() {
    let db = Db::memory(StoreKind::RateLimit);
    let actions = actions(forward(), all_acts());
    proptest!(common::random(600), |(limits in limits(), reserve_for in reservations(), actions in actions)| {
        let mut model = Model::new(&db, limits, reserve_for as f64);
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}

#[test]
fn every_answer_is_that_of_a_window_kept_in_a_list_when_time_goes_back() {
    let db = Db::memory(StoreKind::RateLimit);
    let actions = actions(common::back_and_forth(forward()), all_acts());
    proptest!(common::random(400), |(
        limits in limits(), reserve_for in reservations(), ahead in common::clocks(), actions in actions,
    )| {
        let mut model = Model::new(&db, limits, reserve_for as f64);
        model.ahead = ahead;
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}

#[test]
fn no_window_holds_more_than_the_limit() {
    use Act::{Acquire, Cleanup, Redeem, Reserve, Status, WaitTime};
    let db = Db::memory(StoreKind::RateLimit);
    let acts = vec![Acquire, Acquire, Reserve, Reserve, Redeem, Redeem, WaitTime, Status, Cleanup];
    proptest!(common::random(400), |(limits in limits(), reserve_for in reservations(), actions in actions(forward(), acts))| {
        let mut model = Model::new(&db, limits, reserve_for as f64);
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
        let limit = RateLimitConfig::new(f64::from(limit), f64::from(window));
        let mut model = Model::new(&db, [limit; 2], 0.0);
        for pause in pauses {
            model.now += pause as f64;
            let wait = number(db.run(rate_limit::wait_time(model.call(0, 0))));
            model.now += if wait > 0.0 { wait + 1.0 } else { 0.0 };
            assert!(boolean(db.run(rate_limit::acquire(model.call(0, 0)))), "after {wait}");
        }
    });
}

#[test]
fn a_limit_lowered_later_counts_from_then_on() {
    let db = Db::memory(StoreKind::RateLimit);
    let mut call = Call {
        resource: "issues".to_owned(),
        limit: RateLimitConfig::new(10.0, 1_000.0),
        shared: SharedLimits::NONE,
        now: START as f64,
    };
    for _ in 0..10 {
        assert!(boolean(db.run(rate_limit::acquire(call.clone()))));
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
    let limit = RateLimitConfig::new(60.0, 1_000.0);
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
    let configs = ResourceConfigs { default: limit, named: Vec::new(), shared: SharedLimits::NONE };
    db.run(rate_limit::cleanup(configs, 6_004.0));
    assert_eq!(db.number("SELECT COUNT(*) FROM rate_limits"), 18.0);
    assert_eq!(db.number("SELECT MIN(timestamp) FROM rate_limits"), 5_004.0);
    assert_eq!(db.number("SELECT MIN(expires_at) FROM rate_limit_reservations"), 6_005.0);
    assert_eq!(db.number("SELECT COUNT(*) FROM rate_limit_reservations"), 296.0);
}

/// `id` is AUTOINCREMENT, which forbids it (sqlite.org/autoinc.html).
#[test]
fn no_id_is_given_twice() {
    let db = Db::memory(StoreKind::RateLimit);
    let record = || {
        db.run(rate_limit::record("issues".to_owned(), START as f64, None));
        db.number("SELECT MAX(id) FROM rate_limits")
    };
    assert_eq!([record(), record()], [1.0, 2.0]);
    db.run(rate_limit::clear());
    assert_eq!(record(), 3.0);
    db.run(rate_limit::reset("issues", SharedLimits::NONE, 0.0));
    assert_eq!(record(), 4.0);
}

#[test]
fn a_slot_reserved_late_is_reserved_for_as_long() {
    let spaced = SharedLimits { config: RateLimitConfig::new(5.0, 60_000.0), ..SharedLimits::NONE };
    for shared in [SharedLimits::NONE, spaced] {
        // A short wait does not count.
        for (waited, late) in [(0.0, 0.0), (999.0, 0.0), (2_000.5, 2_000.0), (20_000.0, 20_000.0)] {
            let db = Db::memory(StoreKind::RateLimit);
            let limit = RateLimitConfig::new(5.0, 60_000.0);
            let call = Call { resource: "issues".to_owned(), limit, shared, now: START as f64 };
            let reservations = Reservations { owner: "store".to_owned(), for_ms: 1_000.0 };
            assert!(boolean(db.run_late(rate_limit::can_proceed(call, Some(&reservations)), waited)));
            let rows = db.rows("SELECT reserved_at, expires_at FROM rate_limit_reservations");
            let [reserved_at, expires_at] = [START as f64, START as f64 + late + 1_000.0].map(Value::from);
            assert_eq!(rows, [[reserved_at, expires_at]], "{waited} ms waited, {shared:?}");
        }
    }
}
