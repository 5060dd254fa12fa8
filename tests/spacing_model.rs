//! Spaced requests, a limit over all resources, booked waits and cooldowns, beside slots kept in a list: no two slots are closer
//! than an interval, no window holds more than a limit, and nobody waits longer than what is taken before explains.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use comic_vine_sqlite_store::core::bookings::{self, Ticket};
use comic_vine_sqlite_store::core::cooldowns;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Operation};
use comic_vine_sqlite_store::core::options::{RateLimitConfig, Reservations, ResourceConfigs, SharedLimits};
use comic_vine_sqlite_store::core::rate_limit::{self, Call};
use common::{Db, TOLERANCE, boolean, number};
use proptest::prelude::*;

const START: f64 = 1_700_000_000_000.0;
const RESOURCES: [&str; 2] = ["issues", "volumes"];
const STORES: usize = 3;

/// For how long a slot is kept: longer than a test lasts, so that whoever has one uses it.
const KEPT_FOR: f64 = 1e7;

#[derive(Clone, Copy, Debug)]
enum Act {
    Acquire,
    /// Asks whether it may proceed, and sends its request if it may.
    Proceed,
    /// Asks, books if it may not, and sends its request at that time.
    ProceedOrBook,
    /// Records the oldest request of the store whose time has come.
    Record,
    /// The store's process ends. What it has reserved is never recorded.
    Kill,
    Reset,
    Clear,
    Cleanup,
    Cooldown(f64),
}

type Action = (i64, usize, usize, Act);

/// A request that leaves, or is to.
#[derive(Clone, Copy, Debug)]
struct Request {
    on: usize,
    at: f64,
    /// Whether it is recorded, and not only reserved.
    is_recorded: bool,
    /// Whether it counts for its resource: that has not been forgotten since.
    counts: bool,
    /// Whether it counts for the window of all resources.
    counts_for_all: bool,
    /// Whether it counts for the interval of all resources.
    spaces_all: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    request: usize,
    ticket: Option<Ticket>,
}

struct Model<'db> {
    db: &'db Db,
    limits: [RateLimitConfig; 2],
    shared: SharedLimits,
    now: f64,
    /// What each store has reserved and not recorded yet.
    pending: Vec<Vec<Pending>>,
    /// The number of each store's process, of which there may be several, one after another.
    generations: [usize; STORES],
    requests: Vec<Request>,
    tickets: u64,
    cooldown: f64,
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, limits: [RateLimitConfig; 2], shared: SharedLimits) -> Self {
        Model {
            db,
            limits,
            shared,
            now: START,
            pending: vec![Vec::new(); STORES],
            generations: [0; STORES],
            requests: Vec::new(),
            tickets: 0,
            cooldown: 0.0,
        }
    }

    fn call(&self, on: usize) -> Call {
        Call { resource: RESOURCES[on].to_owned(), limit: self.limits[on], shared: self.shared, now: self.now }
    }

    fn configs(&self) -> ResourceConfigs {
        let named = vec![(RESOURCES[1].to_owned(), self.limits[1])];
        ResourceConfigs { default: self.limits[0], named, shared: self.shared }
    }

    fn reservations(&self, who: usize) -> Reservations {
        Reservations { owner: format!("store-{who}-{}", self.generations[who]), for_ms: KEPT_FOR }
    }

    /// The requests that count for the interval of a resource, or of all.
    fn spacing(&self, on: Option<usize>) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| match on {
            Some(on) => request.on == on && request.counts,
            None => request.spaces_all,
        })
    }

    /// Those that count for the window.
    fn window(&self, on: Option<usize>) -> impl Iterator<Item = &Request> {
        self.spacing(on).filter(move |request| on.is_some() || request.counts_for_all)
    }

    /// What a request goes by: its resource, and all.
    fn rules(&self, on: usize) -> Vec<(Option<usize>, RateLimitConfig)> {
        let mut rules = vec![(Some(on), self.limits[on])];
        let RateLimitConfig { limit, min_interval_ms, .. } = self.shared.config;
        if limit.is_finite() || min_interval_ms > 0.0 {
            rules.push((None, self.shared.config));
        }
        rules
    }

    fn cooldown(&self) -> f64 {
        if self.shared.honours_cooldowns { self.cooldown } else { 0.0 }
    }

    /// When the first slot is free after all that are taken.
    fn next_slot(&self, on: usize) -> f64 {
        let after = |(on, config): (Option<usize>, RateLimitConfig)| {
            let last = self.spacing(on).map(|request| request.at).reduce(f64::max);
            let spaced = last.map_or(0.0, |last| last + config.min_interval_ms);
            let mut slots: Vec<f64> = self.window(on).map(|request| request.at).collect();
            slots.sort_by(|one, other| other.total_cmp(one));
            let nth = if config.limit.is_finite() { slots.get(config.limit as usize - 1) } else { None };
            spaced.max(nth.map_or(0.0, |nth| nth + config.window_ms + 1.0))
        };
        self.rules(on).into_iter().map(after).fold(self.now.max(self.cooldown()), f64::max)
    }

    /// Whether a request may be made now. What is reserved counts for its window until it is recorded.
    fn is_free(&self, on: usize) -> bool {
        let admits = |(on, config): (Option<usize>, RateLimitConfig)| {
            let is_spaced = config.min_interval_ms == 0.0
                || self.spacing(on).all(|request| request.at + config.min_interval_ms <= self.now);
            let counts = |request: &&Request| !request.is_recorded || self.now - request.at <= config.window_ms;
            is_spaced && (self.window(on).filter(counts).count() as f64) < config.limit
        };
        self.cooldown() <= self.now && self.rules(on).into_iter().all(admits)
    }

    fn take(&mut self, on: usize, at: f64, is_recorded: bool) -> usize {
        self.requests.push(Request { on, at, is_recorded, counts: true, counts_for_all: true, spaces_all: true });
        self.requests.len() - 1
    }

    fn run(&self, operation: Operation) -> Answer {
        self.db.run(operation)
    }

    fn apply(&mut self, (after, who, on, act): Action) {
        self.now += after as f64;
        let reservations = self.reservations(who);
        match act {
            Act::Acquire => {
                let free = self.is_free(on);
                assert_eq!(boolean(self.run(rate_limit::acquire(self.call(on)))), free, "{act:?}");
                if free {
                    self.take(on, self.now, true);
                }
            }
            Act::Proceed | Act::ProceedOrBook => {
                let free = self.is_free(on);
                let answer = self.run(rate_limit::can_proceed(self.call(on), Some(&reservations)));
                assert_eq!(boolean(answer), free, "{act:?}");
                if free {
                    let request = self.take(on, self.now, false);
                    self.pending[who].push(Pending { request, ticket: None });
                    return;
                }
                let wait = number(self.run(rate_limit::wait_time(self.call(on))));
                assert!(wait > 0.0, "refused and yet told not to wait");
                if matches!(act, Act::ProceedOrBook) {
                    self.tickets += 1;
                    let ticket = Ticket::new(&reservations, self.tickets, self.now);
                    let expected = self.next_slot(on);
                    let Answer::Booked(wait) =
                        self.run(rate_limit::book_wait(self.call(on), &reservations, &ticket))
                    else {
                        panic!("not booked");
                    };
                    // A millisecond for the timer.
                    let told = self.now + if wait > 0.0 { wait - 1.0 } else { 0.0 };
                    assert_eq!(told - START, expected - START, "booked");
                    let request = self.take(on, told, false);
                    self.pending[who].push(Pending { request, ticket: Some(ticket) });
                }
            }
            Act::Record => {
                let requests = &self.requests;
                let due = self.pending[who].iter().position(|pending| requests[pending.request].at <= self.now);
                let Some(due) = due else { return };
                let Pending { request, ticket } = self.pending[who].remove(due);
                let on = self.requests[request].on;
                self.requests[request].is_recorded = true;
                self.run(bookings::record(RESOURCES[on], None, self.now, &reservations, ticket.as_ref()));
            }
            Act::Kill => {
                self.pending[who].clear();
                self.generations[who] += 1;
            }
            Act::Reset => {
                self.run(rate_limit::reset(RESOURCES[on], self.shared, self.now));
                let (now, shared) = (self.now, self.shared.config);
                for request in self.requests.iter_mut().filter(|request| request.on == on && request.counts) {
                    let is_kept = shared != RateLimitConfig::NONE && request.at > now - shared.min_interval_ms;
                    request.counts = false;
                    request.counts_for_all &= is_kept && !request.is_recorded;
                    request.spaces_all &= is_kept;
                }
                // Who sends all the same is recorded as it comes.
                self.pending.iter_mut().for_each(|pending| pending.retain(|it| self.requests[it.request].on != on));
            }
            Act::Clear => {
                self.run(rate_limit::clear());
                self.cooldown = 0.0;
                for request in &mut self.requests {
                    (request.counts, request.counts_for_all, request.spaces_all) = (false, false, false);
                }
                self.pending.iter_mut().for_each(Vec::clear);
            }
            Act::Cleanup => {
                self.run(rate_limit::cleanup(self.configs(), self.now));
            }
            Act::Cooldown(length) => {
                self.run(cooldowns::set("https://server", self.now + length));
                self.cooldown = self.now + length;
            }
        }
    }

    /// No two slots are closer than an interval, and no window holds more than a limit.
    fn check_limits(&self, on: Option<usize>, config: RateLimitConfig) {
        let in_order = |requests: &mut dyn Iterator<Item = &Request>| {
            let mut slots: Vec<f64> = requests.map(|request| request.at).collect();
            slots.sort_by(f64::total_cmp);
            slots
        };
        for pair in in_order(&mut self.spacing(on)).windows(2) {
            assert!(pair[1] - pair[0] >= config.min_interval_ms, "{on:?}: {pair:?}");
        }
        let slots = in_order(&mut self.window(on));
        for end in &slots {
            let in_window = slots.iter().filter(|at| **at <= *end && *end - **at <= config.window_ms).count();
            assert!(in_window as f64 <= config.limit, "{on:?}: {in_window} of {}", config.limit);
        }
    }

    fn check(&self) {
        for (on, config) in self.limits.into_iter().enumerate() {
            self.check_limits(Some(on), config);
        }
        self.check_limits(None, self.shared.config);
    }
}

fn interval() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), (1..60i64).prop_map(|interval| interval as f64)]
}

fn config() -> impl Strategy<Value = RateLimitConfig> {
    let window = (prop_oneof![Just(f64::INFINITY), (1..6i64).prop_map(|limit| limit as f64)], 1..300i64);
    (window, interval()).prop_map(|((limit, window_ms), min_interval_ms)| RateLimitConfig {
        limit,
        window_ms: window_ms as f64,
        min_interval_ms,
    })
}

fn shared() -> impl Strategy<Value = SharedLimits> {
    (prop_oneof![Just(RateLimitConfig::NONE), config()], any::<bool>())
        .prop_map(|(config, honours_cooldowns)| SharedLimits { config, honours_cooldowns, books_waits: true })
}

fn limits() -> impl Strategy<Value = ([RateLimitConfig; 2], SharedLimits)> {
    ([config(), config()], shared())
}

fn actions(acts: &'static [Act]) -> impl Strategy<Value = Vec<Action>> {
    let after = prop_oneof![4 => 0..20i64, 2 => 0..200i64, 1 => Just(0)];
    prop::collection::vec((after, 0..STORES, 0..2usize, prop::sample::select(acts)), 1..80)
}

#[test]
fn slots_are_as_far_apart_as_they_have_to_be() {
    use Act as A;
    const ACTS: &[Act] = &[
        A::Acquire,
        A::Proceed,
        A::ProceedOrBook,
        A::ProceedOrBook,
        A::Record,
        A::Record,
        A::Record,
        A::Cleanup,
        A::Reset,
        A::Clear,
        A::Cooldown(50.0),
        A::Kill,
    ];
    let acts = ACTS;
    proptest!(common::random(250), |((limits, shared) in limits(), actions in actions(acts))| {
        let db = Db::memory(StoreKind::RateLimit);
        let mut model = Model::new(&db, limits, shared);
        for action in actions {
            model.apply(action);
        }
        model.check();
    });
}

/// Nobody waits longer than what was taken by clocks that agree explains: at most as many spans as slots, and the tolerance.
#[test]
fn a_wait_is_bounded_when_time_goes_back() {
    let steps = prop_oneof![
        6 => (0..100i64).prop_map(|step| step as f64),
        1 => prop::sample::select(vec![60e3, -60e3, 3_600e3, -3_600e3, 30.0 * 86_400e3, -30.0 * 86_400e3]),
    ];
    let acts = prop::sample::select(vec![Act::Acquire, Act::Proceed, Act::ProceedOrBook, Act::Record]);
    let actions = prop::collection::vec((steps, 0..STORES, 0..2usize, acts), 1..80);
    proptest!(common::random(250), |((limits, shared) in limits(), actions in actions)| {
        let db = Db::memory(StoreKind::RateLimit);
        let shared = SharedLimits { honours_cooldowns: false, ..shared };
        let mut model = Model::new(&db, limits, shared);
        for (step, who, on, act) in actions {
            model.now += step;
            let reservations = model.reservations(who);
            match act {
                Act::Acquire => drop(db.run(rate_limit::acquire(model.call(on)))),
                Act::Record => drop(db.run(bookings::record(RESOURCES[on], None, model.now, &reservations, None))),
                _ => {
                    model.tickets += 1;
                    let ticket = Ticket::new(&reservations, model.tickets, model.now);
                    if !boolean(db.run(rate_limit::can_proceed(model.call(on), Some(&reservations))))
                        && matches!(act, Act::ProceedOrBook)
                    {
                        db.run(rate_limit::book_wait(model.call(on), &reservations, &ticket));
                    }
                }
            }
            // The first call that meets what is later than it may be has corrected it.
            let now = model.now;
            let ahead = db.rows(&format!(
                "SELECT MAX(timestamp) - {now:.0} FROM rate_limits WHERE resource = '{}'", RESOURCES[on]
            ));
            let ahead = ahead[0][0].number().unwrap_or(0.0);
            // One that only records looks at nothing.
            let looks = !matches!(act, Act::Record);
            prop_assert!(!looks || ahead <= TOLERANCE, "{ahead} ms later than now");
            let span = limits[on].span_ms().max(shared.config.span_ms());
            let taken = db.number("SELECT COUNT(*) FROM rate_limit_reservations") + 1.0;
            let bound = taken * (span + TOLERANCE + 1.0);
            let wait = number(db.run(rate_limit::wait_time(model.call(on))));
            prop_assert!(wait <= bound + KEPT_FOR, "{wait} of at most {bound}");
            let booked = db.rows(&format!(
                "SELECT MAX(reserved_at) - {now:.0} FROM rate_limit_reservations WHERE instr(owner, '@') AND resource = '{}'",
                RESOURCES[on]
            ));
            let booked = booked[0][0].number().unwrap_or(0.0);
            prop_assert!(!looks || booked <= bound, "booked {booked} ms ahead, of at most {bound}");
        }
    });
}

#[test]
fn a_slot_booked_late_is_kept_for_as_long() {
    let limit = RateLimitConfig::new(1.0, 10_000.0);
    let call = |now: f64| Call {
        resource: RESOURCES[0].to_owned(),
        limit,
        shared: SharedLimits { books_waits: true, ..SharedLimits::NONE },
        now,
    };
    let reservations = Reservations { owner: "store".to_owned(), for_ms: 3_000.0 };
    // When a booking is made late, and when it is taken late.
    for (booked, taken) in [(0.0, 0.0), (4_000.0, 0.0), (0.0, 4_000.0), (4_000.0, 5_000.0)] {
        let db = Db::memory(StoreKind::RateLimit);
        assert!(boolean(db.run(rate_limit::acquire(call(START)))));
        let ticket = Ticket::new(&reservations, 1, START);
        let book = rate_limit::book_wait(call(START), &reservations, &ticket);
        assert!(matches!(db.run_late(book, booked), Answer::Booked(wait) if wait > 10_000.0));
        let expires_at = || db.number("SELECT MAX(expires_at) FROM rate_limit_reservations") - START;
        let slot = 10_001.0;
        assert_eq!(expires_at(), slot + booked + 3_000.0);
        let due = START + slot;
        let otherwise = rate_limit::can_proceed(call(due), Some(&reservations));
        assert!(boolean(db.run_late(bookings::proceed(&ticket, &reservations, due, otherwise), taken)));
        assert_eq!(expires_at(), slot + f64::max(booked, taken) + 3_000.0);
    }
}
