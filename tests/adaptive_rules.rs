//! The adaptive limiter over hours, beside a list of everything that was ever requested: the division has to be the
//! one that this whole history gives, in every store and after every restart, whatever rows are deleted.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use comic_vine_sqlite_store::core::adaptive::{self, Call, CallOnAll, Priority};
use comic_vine_sqlite_store::core::capacity::{self, Activity, Capacity};
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::Outcome;
use comic_vine_sqlite_store::core::options::Reservations;
use comic_vine_sqlite_store::core::options::{AdaptiveConfig, RateLimitConfig, ResourceConfigs, SharedLimits};
use common::{Db, Divisions, TempFile, Value, boolean, members, number};
use proptest::prelude::*;

const START: f64 = 1.7e12;
const MINUTE: i64 = 60_000;
const RESOURCE: &str = "issues";
const STORES: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Act {
    CanProceed(Priority),
    WaitTime(Priority),
    Acquire(Priority),
    /// Takes a slot, where slots are reserved.
    Reserve(Priority),
    /// Records in the slot taken.
    Redeem(Priority),
    Status,
    Stats,
    Cleanup,
    /// The store's process starts anew.
    Restart,
    Reset,
}

/// After how long, which store, what.
type Action = (i64, usize, Act);

#[derive(Clone, Copy)]
struct Slot {
    owner: usize,
    priority: Priority,
    until: f64,
}

struct Model<'db> {
    db: &'db Db,
    limit: RateLimitConfig,
    config: AdaptiveConfig,
    reserve_for: f64,
    now: f64,
    stores: [Divisions; STORES],
    /// The division that each store goes by, and since when.
    divided: [Option<(Capacity, f64)>; STORES],
    history: Vec<(f64, Priority)>,
    /// Expired slots stay until somebody gets one.
    slots: Vec<Slot>,
    high_activity: bool,
    activations: usize,
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, limit: RateLimitConfig, config: AdaptiveConfig, reserve_for: f64) -> Self {
        db.run(adaptive::clear(Divisions::default()));
        Model {
            db,
            limit,
            config,
            reserve_for,
            now: START,
            stores: Default::default(),
            divided: Default::default(),
            history: Vec::new(),
            slots: Vec::new(),
            high_activity: false,
            activations: 0,
        }
    }

    fn call(&self, store: usize) -> Call {
        Call {
            resource: RESOURCE.to_owned(),
            limit: self.limit,
            shared: SharedLimits::NONE,
            config: self.config,
            divisions: self.stores[store].clone(),
            now: self.now,
        }
    }

    fn on_all(&self, store: usize) -> CallOnAll {
        let configs = ResourceConfigs { default: self.limit, named: Vec::new(), shared: SharedLimits::NONE };
        CallOnAll { configs, config: self.config, divisions: self.stores[store].clone(), now: self.now }
    }

    fn users_after(&self, time: f64) -> impl Iterator<Item = f64> {
        let users = self.history.iter().filter(|(_, priority)| *priority == Priority::User);
        users.map(|(at, _)| *at).filter(move |at| *at > time)
    }

    fn activity(&self) -> Activity {
        let third = self.config.monitoring_window_ms / 3.0;
        let last = self.now - third;
        Activity {
            recent_user: self.users_after(self.now - self.config.monitoring_window_ms).count() as f64,
            last_third: self.users_after(last).count() as f64,
            middle_third: self.users_after(self.now - 2.0 * third).filter(|at| *at <= last).count() as f64,
            last_user_at: self.users_after(f64::NEG_INFINITY).reduce(f64::max),
            background_seen: self.history.iter().any(|(_, priority)| *priority == Priority::Background),
        }
    }

    /// The division a store goes by now: a new one if its last is too old.
    fn divide(&mut self, store: usize) -> Capacity {
        if let Some((capacity, at)) = &self.divided[store]
            && self.now - at < self.config.recalculation_interval_ms
        {
            return capacity.clone();
        }
        let capacity = capacity::divide(&self.config, self.limit.limit, &self.activity(), self.now);
        self.activations += usize::from(capacity.high_activity && !self.high_activity);
        self.high_activity = capacity.high_activity;
        self.divided[store] = Some((capacity.clone(), self.now));
        capacity
    }

    /// Requests in the window at `time`, and reserved slots then, of one class or both.
    fn used(&self, class: Option<Priority>, time: f64) -> f64 {
        let is_of = |priority: Priority| class.is_none_or(|class| class == priority);
        let in_window = |(at, priority): &&(f64, Priority)| is_of(*priority) && time - at <= self.limit.window_ms;
        let is_reserved = |slot: &&Slot| is_of(slot.priority) && time < slot.until;
        (self.history.iter().filter(in_window).count() + self.slots.iter().filter(is_reserved).count()) as f64
    }

    fn admits(&self, capacity: &Capacity, priority: Priority, time: f64) -> bool {
        let used = self.used(Some(priority), time);
        let class_admits = match priority {
            Priority::User => capacity.user_reserved == 0.0 || used < capacity.user_reserved,
            Priority::Background => !capacity.background_paused && used < capacity.background_max,
        };
        class_admits && self.used(None, time) < self.limit.limit
    }

    fn apply(&mut self, (after, store, act): Action) {
        self.now += after as f64;
        let now = self.now;
        let slots = Reservations { owner: format!("store-{store}"), for_ms: self.reserve_for };
        match act {
            Act::CanProceed(priority) => {
                let capacity = self.divide(store);
                let answer = self.db.run(adaptive::can_proceed(self.call(store), priority, None));
                assert_eq!(boolean(answer), self.admits(&capacity, priority, now), "{capacity:?}");
            }
            Act::WaitTime(priority) => self.check_wait(store, priority),
            Act::Acquire(priority) => {
                let capacity = self.divide(store);
                let free = self.admits(&capacity, priority, now);
                assert_eq!(
                    boolean(self.db.run(adaptive::acquire(self.call(store), priority))),
                    free,
                    "{capacity:?}"
                );
                if free {
                    self.slots.retain(|slot| now < slot.until);
                    self.history.push((now, priority));
                    self.check_rows();
                } else {
                    self.check_wait(store, priority);
                }
            }
            Act::Reserve(priority) => {
                let capacity = self.divide(store);
                let free = self.admits(&capacity, priority, now);
                let answer = self.db.run(adaptive::can_proceed(self.call(store), priority, Some(&slots)));
                assert_eq!(boolean(answer), free, "{capacity:?}");
                if free {
                    self.slots.retain(|slot| now < slot.until);
                    self.slots.push(Slot { owner: store, priority, until: now + self.reserve_for });
                }
            }
            Act::Redeem(priority) => {
                // Slots are in the order of their ends.
                let reserved = |slot: &Slot| slot.owner == store && slot.priority == priority;
                if let Some(first) = self.slots.iter().position(reserved) {
                    self.slots.remove(first);
                    self.db.run(adaptive::record(RESOURCE, priority, now, Some(&slots)));
                    self.history.push((now, priority));
                }
            }
            Act::Status => self.check_status(store),
            Act::Stats => self.check_stats(store),
            Act::Cleanup => {
                self.db.run(adaptive::cleanup(self.on_all(store)));
                self.slots.retain(|slot| now < slot.until);
                self.check_rows();
                if self.kept() == 0 && self.slots.is_empty() {
                    (self.history, self.high_activity) = (Vec::new(), false);
                }
            }
            Act::Restart => {
                self.stores[store] = Divisions::default();
                self.divided[store] = None;
            }
            Act::Reset => {
                self.db.run(adaptive::reset(RESOURCE, SharedLimits::NONE, self.now, self.stores[store].clone()));
                self.divided[store] = None;
                (self.history, self.slots) = (Vec::new(), Vec::new());
                (self.high_activity, self.activations) = (false, 0);
            }
        }
        let activations = self.db.number(
            "SELECT (SELECT COALESCE(SUM(activations), 0) FROM adaptive_state)
                + (SELECT COALESCE(SUM(value), 0) FROM adaptive_totals)",
        );
        assert_eq!(activations, self.activations as f64);
    }

    /// How many requests a span needs.
    fn kept(&self) -> usize {
        let config = &self.config;
        let spans = config.monitoring_window_ms.max(config.sustained_inactivity_threshold_ms);
        let kept_for = self.limit.window_ms.max(spans);
        self.history.iter().filter(|(at, _)| self.now - at <= kept_for).count()
    }

    /// Nothing is kept that no span needs.
    fn check_rows(&self) {
        assert_eq!(self.db.number("SELECT COUNT(*) FROM rate_limits"), self.kept() as f64);
    }

    fn check_wait(&mut self, store: usize, priority: Priority) {
        let answer = |model: &Self| number(model.db.run(adaptive::wait_time(model.call(store), priority)));
        if self.limit.limit == 0.0 {
            assert_eq!(answer(self), self.limit.window_ms);
            return;
        }
        let (now, capacity) = (self.now, self.divide(store));
        let wait = answer(self);
        assert_eq!(wait == 0.0, self.admits(&capacity, priority, now), "{wait} {capacity:?}");
        let divided_at = self.divided[store].as_ref().map_or(0.0, |(_, at)| *at);
        let until_divided = (divided_at + self.config.recalculation_interval_ms - now).max(1.0);
        let is_full = self.used(None, now) >= self.limit.limit;
        if wait > 0.0 {
            assert!(wait >= 1.0, "{wait}");
            assert!(is_full || wait <= until_divided, "{wait} {until_divided}");
            let is_divided = until_divided <= wait;
            assert!(is_divided || self.admits(&capacity, priority, now + wait + 1.0), "{wait} {capacity:?}");
            assert!(!self.admits(&capacity, priority, now + wait - 1.0), "{wait} {capacity:?}");
        }
    }

    fn check_status(&mut self, store: usize) {
        let (now, limit, capacity) = (self.now, self.limit.limit, self.divide(store));
        let (user, background) = (self.used(Some(Priority::User), now), self.used(Some(Priority::Background), now));
        let mut status = members(self.db.run(adaptive::status(self.call(store))));
        let remaining = (capacity.user_reserved - user + capacity.background_max - background).max(0.0);
        let difference = status.number("remaining") - remaining;
        assert!(difference.abs() < 1e-9 || limit.is_infinite(), "{difference}");
        assert_eq!(status.number("limit"), limit);
        assert_eq!(status.number("resetTime"), now + self.limit.window_ms);
        let mut adaptive = status.record("adaptive");
        let shares = [adaptive.number("userReserved"), adaptive.number("backgroundMax")];
        assert!(shares.iter().all(|share| (0.0..=limit).contains(share)), "{shares:?}");
        assert_eq!(shares, [capacity.user_reserved, capacity.background_max]);
        assert_eq!(adaptive.boolean("backgroundPaused"), capacity.background_paused);
        assert_eq!(adaptive.number("recentUserActivity"), self.activity().recent_user);
        assert_eq!(adaptive.text("reason"), capacity.reason);
    }

    fn check_stats(&mut self, store: usize) {
        let total = self.db.number("SELECT COUNT(*) FROM rate_limits");
        let capacity = (total > 0.0).then(|| self.divide(store));
        let limited = capacity.as_ref().is_some_and(|it| !self.admits(it, Priority::Background, self.now));
        let background = self.used(Some(Priority::Background), self.now);
        let mut stats = members(self.db.run(adaptive::stats(self.on_all(store))));
        assert_eq!(stats.number("totalRequests"), total);
        assert_eq!(stats.number("uniqueResources"), if total > 0.0 { 1.0 } else { 0.0 });
        assert_eq!(stats.list("rateLimitedResources").len(), usize::from(limited));
        let mut metrics = stats.record("adaptiveMetrics");
        assert_eq!(metrics.number("averageUserActivity"), self.activity().recent_user);
        assert_eq!(metrics.number("priorityModeActivations"), self.activations as f64);
        let utilization = match capacity {
            Some(capacity) if capacity.background_max > 0.0 => (background / capacity.background_max).min(1.0),
            _ => 0.0,
        };
        assert_eq!(metrics.number("backgroundUtilization"), utilization);
    }

    /// The most requests that any window holds.
    fn fullest(&self) -> usize {
        let until = |end: f64| {
            let in_window = |(at, _): &&(f64, Priority)| *at <= end && end - at <= self.limit.window_ms;
            self.history.iter().filter(in_window).count()
        };
        self.history.iter().map(|(at, _)| until(*at)).max().unwrap_or(0)
    }
}

fn limits() -> impl Strategy<Value = RateLimitConfig> {
    let limit = prop_oneof![
        12 => (1..30u32).prop_map(f64::from),
        1 => Just(0.0),
        1 => Just(7.5),
        1 => Just(f64::INFINITY),
    ];
    let window_ms = prop::sample::select(vec![1_000.0, 60_000.0, 600_000.0, 3_600_000.0]);
    (limit, window_ms).prop_map(|(limit, window_ms)| RateLimitConfig::new(limit, window_ms))
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let after = prop_oneof![
        4 => 0..2_000i64,
        3 => 0..MINUTE,
        2 => 0..10 * MINUTE,
        1 => 0..70 * MINUTE,
        // To the boundaries of the spans below.
        3 => prop::sample::select(vec![1_000, 20_000, 30_000, MINUTE, 5 * MINUTE]),
    ];
    let priority = || prop_oneof![Just(Priority::User), Just(Priority::Background)];
    let act = prop_oneof![
        8 => priority().prop_map(Act::Acquire),
        2 => priority().prop_map(Act::CanProceed),
        3 => priority().prop_map(Act::WaitTime),
        2 => priority().prop_map(Act::Reserve),
        2 => priority().prop_map(Act::Redeem),
        2 => Just(Act::Status),
        2 => Just(Act::Stats),
        1 => Just(Act::Cleanup),
        1 => Just(Act::Restart),
        1 => prop::sample::select(vec![Act::Status, Act::Status, Act::Reset]),
    ];
    prop::collection::vec((after, 0..STORES, act), 1..80)
}

#[test]
fn hours_of_requests_are_divided_as_their_whole_history_says() {
    let db = Db::memory(StoreKind::Adaptive);
    proptest!(common::random(250), |(
        limit in limits(), config in common::adaptive_configs(), reserve_for in 1..100_000u32, actions in actions(),
    )| {
        let mut model = Model::new(&db, limit, config, f64::from(reserve_for));
        for action in actions {
            model.apply(action);
            assert!(model.fullest() as f64 <= limit.limit.ceil(), "{:?}", model.history);
            assert!(model.used(None, model.now) <= limit.limit.ceil());
        }
        // However long nobody came: whoever comes gets any slot that is not used.
        let idle = config.monitoring_window_ms.max(config.sustained_inactivity_threshold_ms) as i64;
        for _ in 0..5 {
            model.apply((idle / 4 + MINUTE, 0, Act::Acquire(Priority::Background)));
        }
        for store in 0..STORES {
            model.divided[store] = None;
            model.stores[store] = Divisions::default();
            let free = model.used(None, model.now) < limit.limit;
            let answer = db.run(adaptive::can_proceed(model.call(store), Priority::User, None));
            assert_eq!(boolean(answer), free);
        }
    });
}

fn usual(db: &Db) -> Model<'_> {
    Model::new(db, RateLimitConfig::ADAPTIVE_DEFAULT, AdaptiveConfig::default(), 0.0)
}

#[test]
fn a_user_gets_in_after_31_idle_minutes() {
    let db = Db::memory(StoreKind::Adaptive);
    let mut model = usual(&db);
    for _ in 0..20 {
        model.apply((1_000, 0, Act::Acquire(Priority::User)));
    }
    for _ in 0..31 {
        model.apply((MINUTE, 1, Act::Acquire(Priority::Background)));
    }
    for store in 0..STORES {
        model.apply((0, store, Act::Status));
        let capacity = model.divide(store);
        assert_eq!((capacity.user_reserved, capacity.background_max), (0.0, 200.0));
        let before = model.history.len();
        model.apply((0, store, Act::Acquire(Priority::User)));
        assert_eq!(model.history.len(), before + 1);
    }
}

#[test]
fn history_survives_deletion_and_restart() {
    let file = TempFile::new();
    let limit = RateLimitConfig::new(50.0, 1_000.0);
    let config = AdaptiveConfig::default();
    let shared = SharedLimits::NONE;
    let call =
        |now| Call { resource: RESOURCE.to_owned(), limit, shared, config, divisions: Divisions::default(), now };
    let reason = |db: &Db, now| members(db.run(adaptive::status(call(now)))).record("adaptive").text("reason");
    {
        let db = Db::file(&file, StoreKind::Adaptive);
        for second in 0..12 {
            let now = START + f64::from(second) * 1_000.0;
            assert!(boolean(db.run(adaptive::acquire(call(now), Priority::User))));
        }
        assert!(reason(&db, START + 12_000.0).starts_with("High user activity (12 requests/15min)"));
    }
    {
        // The rows count although they have left the window.
        let db = Db::file(&file, StoreKind::Adaptive);
        assert!(reason(&db, START + 60_000.0).starts_with("High user activity (12 requests/15min)"));
        let day = START + 86_400_000.0;
        assert_eq!(reason(&db, day), "Sustained zero activity (1439+ min) - full capacity to background");
        assert_eq!(db.number("SELECT COUNT(*) FROM rate_limits"), 0.0);
    }
    let db = Db::file(&file, StoreKind::Adaptive);
    let week = START + 7.0 * 86_400_000.0;
    assert_eq!(reason(&db, week), "Sustained zero activity (10079+ min) - full capacity to background");
    assert_eq!(db.number("SELECT SUM(activations) FROM adaptive_state"), 1.0);
}

#[test]
fn it_is_remembered_that_only_background_work_was_seen() {
    let db = Db::memory(StoreKind::Adaptive);
    let mut model = usual(&db);
    model.apply((0, 0, Act::Acquire(Priority::Background)));
    let reason = |model: &mut Model| {
        model.apply((0, 1, Act::Restart));
        model.apply((0, 1, Act::Status));
        model.divide(1).reason
    };
    model.apply((120 * MINUTE, 0, Act::CanProceed(Priority::User)));
    assert_eq!(reason(&mut model), "No user activity yet - background scale up with minimal user buffer");
    model.apply((0, 0, Act::Cleanup));
    assert_eq!(reason(&mut model), "Initial state - default capacity allocation", "nobody has used it for so long");
}

#[test]
fn a_request_belongs_to_one_third_of_the_monitoring_window() {
    let db = Db::memory(StoreKind::Adaptive);
    for after in [-1, 0, 1] {
        for third in [5 * MINUTE, 10 * MINUTE, 15 * MINUTE] {
            let mut model = usual(&db);
            for _ in 0..4 {
                model.apply((0, 0, Act::Acquire(Priority::User)));
            }
            model.apply((third + after, 1, Act::Status));
        }
    }
}

#[test]
fn shares_stay_within_a_limit_that_was_lowered() {
    let db = Db::memory(StoreKind::Adaptive);
    let mut model = usual(&db);
    model.apply((0, 0, Act::Status));
    model.limit.limit = 10.0;
    let mut status = members(db.run(adaptive::status(model.call(0))));
    assert_eq!(status.number("limit"), 10.0);
    let mut adaptive = status.record("adaptive");
    assert_eq!([adaptive.number("userReserved"), adaptive.number("backgroundMax")], [3.0, 7.0]);
    assert_eq!(status.number("remaining"), 10.0);
    let admitted = |priority| boolean(db.run(adaptive::acquire(model.call(0), priority)));
    let requests = [Priority::User, Priority::Background].into_iter().cycle().take(20);
    assert_eq!(requests.filter(|priority| admitted(*priority)).count(), 10);
}

#[test]
fn an_activation_is_counted_once_however_many_see_it() {
    let db = Db::memory(StoreKind::Adaptive);
    let mut model = usual(&db);
    for round in 1..4 {
        for _ in 0..10 {
            db.run(adaptive::record(RESOURCE, Priority::User, model.now, None));
        }
        // Several processes look before one of them has written down what it saw.
        let looks: Vec<Outcome> = (0..5)
            .map(|_| {
                model.stores[0] = Divisions::default();
                db.step(adaptive::status(model.call(0)))
            })
            .collect();
        model.stores[0] = Divisions::default();
        let mut stats = members(db.run(adaptive::stats(model.on_all(0))));
        assert_eq!(stats.record("adaptiveMetrics").number("priorityModeActivations"), f64::from(round));
        for look in looks {
            db.go_on(look);
        }
        model.stores[0] = Divisions::default();
        db.run(adaptive::status(model.call(0)));
        assert_eq!(db.number("SELECT activations FROM adaptive_state"), f64::from(round));
        model.now += 3_600_000.0;
        model.stores[0] = Divisions::default();
        db.run(adaptive::status(model.call(0)));
        assert_eq!(db.number("SELECT high_activity FROM adaptive_state"), 0.0);
    }
}

#[test]
fn those_who_look_at_once_share_what_is_left() {
    let db = Db::memory(StoreKind::Adaptive);
    let slots = |store: usize| Reservations { owner: format!("store-{store}"), for_ms: 10_000.0 };
    for priority in [Priority::User, Priority::Background] {
        for taken in 0..8usize {
            for holding in [0..0, 0..10, 0..5] {
                // 20: 6 for users and 14 for background work at first.
                let limit = RateLimitConfig::new(20.0, 3_600_000.0);
                let mut model = Model::new(&db, limit, AdaptiveConfig::default(), 0.0);
                model.apply((0, 0, Act::Status));
                let capacity = model.divide(0);
                for _ in 0..taken {
                    model.apply((0, 0, Act::Acquire(priority)));
                }
                let share = match priority {
                    Priority::User => capacity.user_reserved,
                    Priority::Background => capacity.background_max,
                };
                let left = (share as usize).saturating_sub(taken);
                let looks: Vec<Outcome> = (0..10)
                    .map(|store| {
                        let call = model.call(0);
                        db.step(match holding.contains(&store) {
                            true => adaptive::can_proceed(call, priority, Some(&slots(store))),
                            false => adaptive::acquire(call, priority),
                        })
                    })
                    .collect();
                let got = looks.into_iter().map(|look| boolean(db.go_on(look)));
                assert_eq!(got.filter(|got| *got).count(), left.min(10), "{priority:?}, {taken} taken");
            }
        }
    }
}

#[test]
fn a_slot_reserved_late_is_reserved_for_as_long() {
    let spaced = SharedLimits { config: RateLimitConfig::new(20.0, 60_000.0), ..SharedLimits::NONE };
    for shared in [SharedLimits::NONE, spaced] {
        let db = Db::memory(StoreKind::Adaptive);
        let model = Model::new(&db, RateLimitConfig::new(20.0, 60_000.0), AdaptiveConfig::default(), 0.0);
        let call = Call { shared, ..model.call(0) };
        let reservations = Reservations { owner: "store".to_owned(), for_ms: 1_000.0 };
        let reserve = adaptive::can_proceed(call, Priority::User, Some(&reservations));
        assert!(boolean(db.run_late(reserve, 2_000.0)));
        let rows = db.rows("SELECT reserved_at, expires_at FROM rate_limit_reservations");
        assert_eq!(rows, [[model.now, model.now + 3_000.0].map(Value::from)], "{shared:?}");
    }
}
