//! A model of the adaptive limiter beside the real statements: a list of requests with their priorities, the slots
//! reserved, what is kept of activity whose requests are removed, and the division that each of several stores goes by. The
//! stores share the database; their clocks may differ and be set back. Only the rule of division itself is the real
//! one. After every act the database has to hold just what the lists do.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use comic_vine_sqlite_store::core::adaptive::{self, Call, CallOnAll, Priority};
use comic_vine_sqlite_store::core::capacity::{self, Activity, Capacity};
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Operation, Outcome};
use comic_vine_sqlite_store::core::options::Reservations;
use comic_vine_sqlite_store::core::options::{AdaptiveConfig, RateLimitConfig, ResourceConfigs, SharedLimits};
use common::{Db, Divisions, TOLERANCE, Value, boolean, members, number};
use proptest::prelude::*;

use Priority::{Background, User};

const START: f64 = 1.7e12;
const MINUTE: i64 = 60_000;
const STORES: usize = 3;
const RESOURCES: [&str; 2] = ["issues", "volumes"];

/// What a call at `now` takes a stamp to be: one that is later is taken as made just now.
fn seen(at: f64, now: f64) -> f64 {
    at.min(now)
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    owner: usize,
    priority: Priority,
    since: f64,
    until: f64,
}

impl Slot {
    fn until(&self, now: f64) -> f64 {
        seen(self.since, now) + (self.until - self.since)
    }
}

/// A division of a limit that may have been lowered since.
fn lowered(capacity: &Capacity, limit: f64) -> Capacity {
    let Capacity { user_reserved, background_max, .. } = *capacity;
    if user_reserved + background_max <= limit {
        return capacity.clone();
    }
    let users = match user_reserved {
        // Of an infinite limit.
        f64::INFINITY => 0.3,
        _ => user_reserved / (user_reserved + background_max),
    };
    let user_reserved = (users * limit).floor();
    Capacity { user_reserved, background_max: limit - user_reserved, ..capacity.clone() }
}

/// What is kept of a resource beside its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Kept {
    last_user_at: Option<f64>,
    last_background_at: Option<f64>,
    is_high: bool,
    activations: f64,
}

/// What follows from a look at a resource.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FollowUp {
    /// Has what is stamped later than the second have come at the first.
    Correct(f64, f64),
    CorrectActivity(f64),
    EnterHigh,
    LeaveHigh,
    KeepActivity,
    DeleteBefore(f64),
}

#[derive(Clone, Debug, Default)]
struct Resource {
    requests: Vec<(f64, Priority)>,
    /// Expired ones stay until somebody gets one.
    slots: Vec<Slot>,
    kept: Option<Kept>,
}

fn is_of(class: Option<Priority>, priority: Priority) -> bool {
    class.is_none_or(|class| class == priority)
}

impl Resource {
    fn requests_of(&self, class: Option<Priority>, now: f64) -> impl Iterator<Item = f64> {
        let of_class = self.requests.iter().filter(move |(_, priority)| is_of(class, *priority));
        of_class.map(move |(at, _)| seen(*at, now))
    }

    /// When what counts at `now`, of one class or both, ceases to count.
    fn ends(&self, class: Option<Priority>, window_ms: f64, now: f64) -> Vec<f64> {
        let recorded = self.requests_of(class, now).filter(move |at| now - at <= window_ms);
        let reserved = self.slots.iter().filter(|slot| is_of(class, slot.priority) && now < slot.until(now));
        recorded.map(|at| at + window_ms).chain(reserved.map(|slot| slot.until(now))).collect()
    }

    fn used(&self, class: Option<Priority>, window_ms: f64, now: f64) -> f64 {
        self.ends(class, window_ms, now).len() as f64
    }

    /// How long until fewer than `limit` are left.
    fn until_left(&self, class: Option<Priority>, limit: RateLimitConfig, now: f64) -> f64 {
        let mut ends = self.ends(class, limit.window_ms, now);
        ends.sort_by(|one, other| other.total_cmp(one));
        (ends[limit.limit.ceil() as usize - 1] - now).max(1.0)
    }

    fn activity(&self, config: &AdaptiveConfig, now: f64) -> Activity {
        let users_after = |time: f64| self.requests_of(Some(User), now).filter(move |at| *at > time);
        let third = config.monitoring_window_ms / 3.0;
        let last = now - third;
        let kept = self.kept.unwrap_or_default();
        let last_user_at = users_after(f64::NEG_INFINITY).chain(kept.last_user_at.map(|at| seen(at, now)));
        Activity {
            recent_user: users_after(now - config.monitoring_window_ms).count() as f64,
            last_third: users_after(last).count() as f64,
            middle_third: users_after(now - 2.0 * third).filter(|at| *at <= last).count() as f64,
            last_user_at: last_user_at.reduce(f64::max),
            background_seen: self.requests_of(Some(Background), now).next().is_some()
                || kept.last_background_at.is_some(),
        }
    }

    fn follow(&mut self, follow_up: FollowUp) {
        let latest = |class| {
            let of_class = self.requests.iter().filter(|(_, priority)| *priority == class);
            of_class.map(|(at, _)| *at).reduce(f64::max)
        };
        match follow_up {
            FollowUp::Correct(now, allowed) => {
                self.requests.iter_mut().filter(|(at, _)| *at > allowed).for_each(|(at, _)| *at = now);
                for slot in self.slots.iter_mut().filter(|slot| slot.since > allowed) {
                    (slot.since, slot.until) = (now, now + slot.until - slot.since);
                }
            }
            FollowUp::CorrectActivity(now) => {
                if let Some(kept) = &mut self.kept {
                    kept.last_user_at = kept.last_user_at.map(|at| at.min(now));
                    kept.last_background_at = kept.last_background_at.map(|at| at.min(now));
                }
            }
            FollowUp::EnterHigh => {
                let kept = self.kept.get_or_insert_default();
                kept.activations += f64::from(u8::from(!kept.is_high));
                kept.is_high = true;
            }
            FollowUp::LeaveHigh => {
                if let Some(kept) = &mut self.kept {
                    kept.is_high = false;
                }
            }
            FollowUp::KeepActivity => {
                let (last_user_at, last_background_at) = (latest(User), latest(Background));
                let kept = self.kept.get_or_insert_default();
                kept.last_user_at = last_user_at.or(kept.last_user_at);
                kept.last_background_at = last_background_at.or(kept.last_background_at);
            }
            FollowUp::DeleteBefore(time) => self.requests.retain(|(at, _)| time <= *at),
        }
    }

    /// What corrects stamps that a call at `now` finds to be later than it.
    fn correction(&self, now: f64) -> Option<FollowUp> {
        let allowed = now + TOLERANCE;
        let requests = self.requests.iter().map(|(at, _)| *at);
        let mut stamps = requests.chain(self.slots.iter().map(|slot| slot.since));
        stamps.any(|at| at > allowed).then_some(FollowUp::Correct(now, allowed))
    }

    fn expire_reservations(&mut self, now: f64) {
        self.slots.retain(|slot| now < slot.until);
    }

    /// Gives up the slot of a class that a store has reserved longest.
    fn release(&mut self, owner: usize, priority: Priority) -> bool {
        let of_store = |slot: &&Slot| slot.owner == owner && slot.priority == priority;
        let ends = self.slots.iter().filter(of_store).map(|slot| slot.until);
        let Some(first) = ends.reduce(f64::min) else { return false };
        let index = self.slots.iter().position(|slot| of_store(&slot) && slot.until == first);
        self.slots.remove(index.unwrap());
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    CanProceed(Priority),
    WaitTime(Priority),
    Acquire(Priority),
    /// Takes a slot, where slots are reserved.
    Reserve(Priority),
    /// The same two, but the store stops between its look and what it does then.
    LookToAcquire(Priority),
    LookToReserve(Priority),
    /// A `canProceed` that holds none, after which the store stops before it does what follows.
    Look(Priority),
    /// It goes on.
    GoOn,
    Record(Priority),
    /// So many users come at once.
    Users(u32),
    /// Records where slots are reserved, in one if the store has one.
    RecordAsHolder(Priority),
    Status,
    Stats,
    Cleanup,
    Lower,
    Raise,
    /// The store's process starts anew.
    Restart,
    Reset,
    Clear,
}

/// After how long, which store, which resource, what.
type Action = (i64, usize, usize, Act);

/// A resource as a call finds it.
struct View {
    capacity: Capacity,
    user: f64,
    background: f64,
    follow_ups: Vec<FollowUp>,
}

impl View {
    fn class_admits(&self, priority: Priority) -> bool {
        match priority {
            User => self.capacity.user_reserved == 0.0 || self.user < self.capacity.user_reserved,
            Background => !self.capacity.background_paused && self.background < self.capacity.background_max,
        }
    }

    fn admits(&self, priority: Priority, limit: f64) -> bool {
        self.class_admits(priority) && self.user + self.background < limit
    }

    fn share(&self, priority: Priority) -> f64 {
        match priority {
            User => self.capacity.user_reserved,
            Background => self.capacity.background_max,
        }
    }
}

/// What a store is about to do.
enum Pending {
    TakeSlot(Admission, Outcome),
    Follow { on: usize, follow_ups: Vec<FollowUp>, operation: Operation },
}

/// A call that found a slot and is about to take it.
struct Admission {
    on: usize,
    priority: Priority,
    now: f64,
    limit: RateLimitConfig,
    /// How many requests of its class may be made; users may use any slot where they have no share.
    share: f64,
    follow_ups: Vec<FollowUp>,
    reserves: bool,
}

/// What lies in the database, in order: requests, reserved slots, what is kept of resources.
#[derive(Debug, PartialEq)]
struct Stored {
    requests: Vec<(String, String, f64)>,
    slots: Vec<(String, String, String, f64)>,
    kept: Vec<(String, Kept)>,
    activations: f64,
}

impl Stored {
    fn in_order(mut self) -> Self {
        let by_text = |one: &str, other: &str| one.cmp(other);
        self.requests.sort_by(|a, b| by_text(&a.0, &b.0).then(by_text(&a.1, &b.1)).then(a.2.total_cmp(&b.2)));
        self.slots.sort_by(|a, b| {
            by_text(&a.0, &b.0).then(by_text(&a.1, &b.1)).then(by_text(&a.2, &b.2)).then(a.3.total_cmp(&b.3))
        });
        self.kept.sort_by(|a, b| by_text(&a.0, &b.0));
        self
    }

    /// How many requests and slots, of one class or both, count at a time.
    fn count(&self, on: usize, class: Option<Priority>, window_ms: f64, now: f64) -> f64 {
        let is_meant = |resource: &str, priority: &str| {
            resource == RESOURCES[on] && class.is_none_or(|class| class.as_str() == priority)
        };
        let recorded = self.requests.iter().filter(|(of, class, at)| is_meant(of, class) && now - window_ms <= *at);
        let reserved = self.slots.iter().filter(|(of, class, _, until)| is_meant(of, class) && now < *until);
        (recorded.count() + reserved.count()) as f64
    }
}

struct Model<'db> {
    db: &'db Db,
    limits: [RateLimitConfig; 2],
    config: AdaptiveConfig,
    reserve_for: f64,
    /// The world's time, and how far the stores' clocks are ahead of it.
    now: f64,
    ahead: [i64; STORES],
    latest: f64,
    /// How often resources entered high-activity mode that are gone.
    activations: f64,
    stores: [Divisions; STORES],
    /// The division that each store goes by for each resource, and since when.
    divided: [[Option<(Capacity, f64)>; 2]; STORES],
    resources: [Resource; 2],
    pending: [Option<Pending>; STORES],
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, limits: [RateLimitConfig; 2], config: AdaptiveConfig, reserve_for: f64) -> Self {
        db.run(adaptive::clear(Divisions::default()));
        Model {
            db,
            limits,
            config,
            reserve_for,
            now: START,
            ahead: [0; STORES],
            latest: START,
            activations: 0.0,
            stores: Default::default(),
            divided: Default::default(),
            resources: Default::default(),
            pending: Default::default(),
        }
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
            config: self.config,
            divisions: self.stores[who].clone(),
            now: self.time(who),
        }
    }

    fn on_all(&self, who: usize) -> CallOnAll {
        let named = vec![(RESOURCES[1].to_owned(), self.limits[1])];
        let configs = ResourceConfigs { default: self.limits[0], named, shared: SharedLimits::NONE };
        CallOnAll { configs, config: self.config, divisions: self.stores[who].clone(), now: self.time(who) }
    }

    fn keep_from(&self, on: usize, now: f64) -> f64 {
        let spans = self.config.monitoring_window_ms.max(self.config.sustained_inactivity_threshold_ms);
        now - spans.max(self.limits[on].window_ms)
    }

    /// What a call of a store finds. Its division is a new one if the last is too old.
    fn view(&mut self, who: usize, on: usize) -> View {
        let (now, limit, resource) = (self.time(who), self.limits[on], &self.resources[on]);
        let mut follow_ups: Vec<FollowUp> = resource.correction(now).into_iter().collect();
        let divided = &mut self.divided[who][on];
        let holds = |at: f64| at <= now + TOLERANCE && now - seen(at, now) < self.config.recalculation_interval_ms;
        let capacity = match divided {
            Some((capacity, at)) if holds(*at) => lowered(capacity, limit.limit),
            _ => {
                let kept = resource.kept.unwrap_or_default();
                let mut times = [kept.last_user_at, kept.last_background_at].into_iter().flatten();
                if times.any(|at| at > now + TOLERANCE) {
                    follow_ups.push(FollowUp::CorrectActivity(now));
                }
                let activity = resource.activity(&self.config, now);
                let capacity = capacity::divide(&self.config, limit.limit, &activity, now);
                match (resource.kept.unwrap_or_default().is_high, capacity.high_activity) {
                    (false, true) => follow_ups.push(FollowUp::EnterHigh),
                    (true, false) => follow_ups.push(FollowUp::LeaveHigh),
                    _ => {}
                }
                *divided = Some((capacity.clone(), now));
                capacity
            }
        };
        let keep_from = self.keep_from(on, now);
        let resource = &self.resources[on];
        if resource.requests.iter().any(|(at, _)| *at < keep_from) {
            follow_ups.extend([FollowUp::KeepActivity, FollowUp::DeleteBefore(keep_from)]);
        }
        View {
            capacity,
            user: resource.used(Some(User), limit.window_ms, now),
            background: resource.used(Some(Background), limit.window_ms, now),
            follow_ups,
        }
    }

    fn follow(&mut self, on: usize, follow_ups: &[FollowUp]) {
        for follow_up in follow_ups {
            self.resources[on].follow(*follow_up);
        }
    }

    fn stored(&self) -> Stored {
        let text = |value: &Value| value.text().unwrap().to_owned();
        let time = |value: &Value| value.number().unwrap();
        let requests = self.db.rows("SELECT resource, priority, timestamp FROM rate_limits");
        let slots = self.db.rows("SELECT resource, priority, owner, expires_at FROM rate_limit_reservations");
        let kept = self.db.rows(
            "SELECT resource, last_user_at, last_background_at, high_activity, activations FROM adaptive_state",
        );
        let kept_of = |row: &Vec<Value>| Kept {
            last_user_at: row[1].number(),
            last_background_at: row[2].number(),
            is_high: time(&row[3]) != 0.0,
            activations: time(&row[4]),
        };
        Stored {
            requests: requests.iter().map(|row| (text(&row[0]), text(&row[1]), time(&row[2]))).collect(),
            slots: slots.iter().map(|row| (text(&row[0]), text(&row[1]), text(&row[2]), time(&row[3]))).collect(),
            kept: kept.iter().map(|row| (text(&row[0]), kept_of(row))).collect(),
            activations: self.db.number("SELECT COALESCE(SUM(value), 0) FROM adaptive_totals"),
        }
        .in_order()
    }

    fn expected(&self) -> Stored {
        let activations = self.activations;
        let mut expected = Stored { requests: Vec::new(), slots: Vec::new(), kept: Vec::new(), activations };
        for (resource, name) in self.resources.iter().zip(RESOURCES) {
            let request = |(at, priority): &(f64, Priority)| (name.to_owned(), priority.as_str().to_owned(), *at);
            expected.requests.extend(resource.requests.iter().map(request));
            let slot = |slot: &Slot| {
                let Slot { owner, priority, until, .. } = *slot;
                (name.to_owned(), priority.as_str().to_owned(), format!("store-{owner}"), until)
            };
            expected.slots.extend(resource.slots.iter().map(slot));
            expected.kept.extend(resource.kept.map(|kept| (name.to_owned(), kept)));
        }
        expected.in_order()
    }

    fn apply(&mut self, (after, who, on, act): Action) {
        self.now += after as f64;
        let now = self.time(who);
        self.latest = self.latest.max(now);
        let slots = Reservations { owner: format!("store-{who}"), for_ms: self.reserve_for };
        match act {
            Act::CanProceed(priority) => {
                self.can_proceed(who, on, priority);
            }
            Act::WaitTime(priority) => self.check_wait(who, on, priority),
            Act::Acquire(priority) => {
                self.look(who, on, priority, false);
                self.go_on(who);
            }
            Act::Reserve(priority) => {
                self.look(who, on, priority, true);
                self.go_on(who);
            }
            Act::LookToAcquire(priority) => self.look(who, on, priority, false),
            Act::LookToReserve(priority) => self.look(who, on, priority, true),
            Act::Look(priority) => {
                self.go_on(who);
                let (follow_ups, outcome) = self.find(who, on, priority);
                self.pending[who] = match outcome {
                    Outcome::AnswerThen(_, operation) => Some(Pending::Follow { on, follow_ups, operation }),
                    _ => {
                        assert!(follow_ups.is_empty(), "{follow_ups:?}");
                        None
                    }
                };
            }
            Act::GoOn => self.go_on(who),
            Act::Record(priority) => {
                self.db.run(adaptive::record(RESOURCES[on], priority, now, None));
                self.resources[on].requests.push((now, priority));
            }
            Act::Users(count) => {
                for _ in 0..count {
                    self.db.run(adaptive::record(RESOURCES[on], User, now, None));
                    self.resources[on].requests.push((now, User));
                }
            }
            Act::RecordAsHolder(priority) => {
                self.db.run(adaptive::record(RESOURCES[on], priority, now, Some(&slots)));
                self.resources[on].release(who, priority);
                self.resources[on].requests.push((now, priority));
            }
            Act::Status => self.check_status(who, on),
            Act::Stats => self.check_stats(who),
            Act::Cleanup => self.check_cleanup(who),
            Act::Lower => self.limits[on].limit = (self.limits[on].limit / 2.0).floor(),
            Act::Raise => self.limits[on].limit += 5.0,
            Act::Restart => {
                self.stores[who] = Divisions::default();
                self.divided[who] = Default::default();
            }
            Act::Reset => {
                self.db.run(adaptive::reset(RESOURCES[on], SharedLimits::NONE, self.now, self.stores[who].clone()));
                self.divided[who][on] = None;
                self.resources[on] = Resource::default();
            }
            Act::Clear => {
                self.db.run(adaptive::clear(self.stores[who].clone()));
                self.divided[who] = Default::default();
                self.resources = Default::default();
                self.activations = 0.0;
            }
        }
        assert_eq!(self.stored(), self.expected(), "after {act:?} of {who} at {now}");
    }

    /// A `canProceed` that holds no slot, up to its answer, and what follows.
    fn find(&mut self, who: usize, on: usize, priority: Priority) -> (Vec<FollowUp>, Outcome) {
        let View { capacity, mut follow_ups, user, background } = self.view(who, on);
        if priority == Background && capacity.background_paused {
            // Nothing is removed then.
            let removes =
                |follow_up: &FollowUp| matches!(follow_up, FollowUp::KeepActivity | FollowUp::DeleteBefore(_));
            follow_ups.retain(|follow_up| !removes(follow_up));
        }
        let outcome = self.db.step(adaptive::can_proceed(self.call(who, on), priority, None));
        let (Outcome::Answer(Answer::Bool(answer)) | Outcome::AnswerThen(Answer::Bool(answer), _)) = outcome else {
            panic!("it answers");
        };
        let view = View { capacity, follow_ups: Vec::new(), user, background };
        assert_eq!(answer, view.admits(priority, self.limits[on].limit), "{:?}", view.capacity);
        (follow_ups, outcome)
    }

    fn can_proceed(&mut self, who: usize, on: usize, priority: Priority) -> bool {
        let (follow_ups, outcome) = self.find(who, on, priority);
        self.follow(on, &follow_ups);
        boolean(self.db.go_on(outcome))
    }

    /// An `acquire`, or a `canProceed` that reserves a slot, up to where it takes the slot that it found.
    fn look(&mut self, who: usize, on: usize, priority: Priority, reserves: bool) {
        // One thing at a time.
        self.go_on(who);
        let (now, limit, view) = (self.time(who), self.limits[on], self.view(who, on));
        let slots = Reservations { owner: format!("store-{who}"), for_ms: self.reserve_for };
        let call = self.call(who, on);
        let outcome = self.db.step(match reserves {
            true => adaptive::can_proceed(call, priority, Some(&slots)),
            false => adaptive::acquire(call, priority),
        });
        let found = view.admits(priority, limit.limit);
        match outcome {
            outcome @ Outcome::Continue(_) => {
                assert!(found, "{:?}", view.capacity);
                let share = match view.share(priority) {
                    0.0 => f64::INFINITY,
                    share => share,
                };
                let follow_ups = view.follow_ups;
                let admission = Admission { on, priority, now, limit, share, follow_ups, reserves };
                self.pending[who] = Some(Pending::TakeSlot(admission, outcome));
            }
            outcome => {
                assert!(!found, "{:?}", view.capacity);
                assert!(!boolean(self.db.go_on(outcome)));
                self.follow(on, &view.follow_ups);
            }
        }
    }

    fn go_on(&mut self, who: usize) {
        let (admission, outcome) = match self.pending[who].take() {
            Some(Pending::TakeSlot(admission, outcome)) => (admission, outcome),
            Some(Pending::Follow { on, follow_ups, operation }) => {
                self.db.run(operation);
                return self.follow(on, &follow_ups);
            }
            None => return,
        };
        let Admission { on, priority, now, limit, share, follow_ups, reserves } = admission;
        let correction = self.resources[on].correction(now);
        let answer = boolean(self.db.go_on(outcome));
        self.follow(on, &follow_ups);
        let (resource, window_ms) = (&mut self.resources[on], limit.window_ms);
        resource.expire_reservations(now);
        let (all, of_class) = (None, Some(priority));
        let is_free =
            resource.used(all, window_ms, now) < limit.limit && resource.used(of_class, window_ms, now) < share;
        assert_eq!(answer, is_free, "{priority:?} at {now}, {share} of {limit:?}");
        if is_free && reserves {
            resource.slots.push(Slot { owner: who, priority, since: now, until: now + self.reserve_for });
        } else if is_free {
            resource.requests.push((now, priority));
        }
        self.follow(on, correction.as_slice());
        if answer {
            // Whatever the clock shows: as counted at that time, no window has more than the limit.
            let stored = self.stored();
            assert!(stored.count(on, all, window_ms, now) <= limit.limit.ceil(), "{limit:?} at {now}: {stored:?}");
            assert!(stored.count(on, of_class, window_ms, now) <= share.ceil(), "{share} at {now}: {stored:?}");
        }
    }

    /// How long a request has to wait; where the share of its class stands in its way, at most until the next division.
    fn wait(&self, view: &View, who: usize, on: usize, priority: Priority, now: f64) -> f64 {
        let (limit, resource) = (self.limits[on], &self.resources[on]);
        if view.admits(priority, limit.limit) {
            return 0.0;
        }
        let share = view.share(priority);
        let divided_at = self.divided[who][on].as_ref().map_or(0.0, |(_, at)| *at);
        let until_divided = (seen(divided_at, now) + self.config.recalculation_interval_ms - now).max(1.0);
        let class_blocks = !view.class_admits(priority);
        if class_blocks && (share == 0.0 || priority == Background && view.capacity.background_paused) {
            return until_divided;
        }
        let of_class = class_blocks
            .then(|| resource.until_left(Some(priority), RateLimitConfig { limit: share, ..limit }, now));
        let total_blocks = view.user + view.background >= limit.limit;
        if !total_blocks {
            return of_class.unwrap().min(until_divided);
        }
        let of_all = total_blocks.then(|| resource.until_left(None, limit, now));
        of_class.into_iter().chain(of_all).reduce(f64::max).unwrap()
    }

    fn check_wait(&mut self, who: usize, on: usize, priority: Priority) {
        let (now, limit) = (self.time(who), self.limits[on]);
        let answer = |model: &Self| number(model.db.run(adaptive::wait_time(model.call(who, on), priority)));
        if limit.limit == 0.0 {
            // It is not even looked at.
            assert_eq!(answer(self), limit.window_ms);
            return;
        }
        let view = self.view(who, on);
        let wait = answer(self);
        assert!(wait.is_finite() && wait >= 0.0, "{wait}");
        assert_eq!(wait, self.wait(&view, who, on, priority, now), "{:?}", view.capacity);
        let longest = limit.window_ms.max(self.reserve_for).max(self.config.recalculation_interval_ms);
        assert!(wait <= longest, "{wait}");
        self.follow(on, &view.follow_ups);
        let may = self.can_proceed(who, on, priority);
        assert_eq!(wait == 0.0, may, "{wait} {:?}", view.capacity);
    }

    fn check_status(&mut self, who: usize, on: usize) {
        let (now, limit) = (self.time(who), self.limits[on]);
        let recent_user = self.resources[on].activity(&self.config, now).recent_user;
        let view = self.view(who, on);
        let mut status = members(self.db.run(adaptive::status(self.call(who, on))));
        self.follow(on, &view.follow_ups);
        let View { capacity, user, background, .. } = view;
        let remaining = status.number("remaining");
        assert!((0.0..=limit.limit).contains(&remaining), "{remaining}");
        let expected = (capacity.user_reserved - user) + (capacity.background_max - background);
        assert_eq!(remaining, expected.max(0.0), "{capacity:?}");
        assert_eq!(status.number("resetTime"), now + limit.window_ms);
        assert_eq!(status.number("limit"), limit.limit);
        let mut adaptive = status.record("adaptive");
        let shares = [adaptive.number("userReserved"), adaptive.number("backgroundMax")];
        assert!(shares.iter().all(|share| (0.0..=limit.limit).contains(share)), "{shares:?}");
        assert_eq!(shares, [capacity.user_reserved, capacity.background_max]);
        assert_eq!(adaptive.boolean("backgroundPaused"), capacity.background_paused);
        assert_eq!(adaptive.number("recentUserActivity"), recent_user);
        assert_eq!(adaptive.text("reason"), capacity.reason);
    }

    fn check_stats(&mut self, who: usize) {
        let (now, before) = (self.time(who), self.stored());
        let (mut limited, mut unique, mut recent, mut used, mut share) = (Vec::new(), 0.0, 0.0, 0.0, 0.0);
        let mut follow_ups: [Vec<FollowUp>; 2] = Default::default();
        for on in 0..2 {
            if before.requests.iter().all(|(of, ..)| of != RESOURCES[on]) {
                continue;
            }
            recent += self.resources[on].activity(&self.config, now).recent_user;
            let view = self.view(who, on);
            if !view.admits(Background, self.limits[on].limit) {
                limited.push(RESOURCES[on]);
            }
            unique += 1.0;
            used += view.background;
            share += view.capacity.background_max;
            follow_ups[on] = view.follow_ups;
        }
        let mut stats = members(self.db.run(adaptive::stats(self.on_all(who))));
        for (on, follow_ups) in follow_ups.iter().enumerate() {
            self.follow(on, follow_ups);
        }
        assert_eq!(stats.number("totalRequests"), before.requests.len() as f64);
        assert_eq!(stats.number("uniqueResources"), unique);
        assert_eq!(stats.list("rateLimitedResources"), limited);
        let mut metrics = stats.record("adaptiveMetrics");
        let part = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        assert_eq!(metrics.number("averageUserActivity"), part(recent, unique));
        let utilization = metrics.number("backgroundUtilization");
        assert!((0.0..=1.0).contains(&utilization), "{utilization}");
        assert_eq!(utilization, part(used, share).min(1.0));
        // What it has just seen counts already.
        let stored = self.stored();
        let activations = stored.activations + stored.kept.iter().map(|(_, kept)| kept.activations).sum::<f64>();
        assert_eq!(metrics.number("priorityModeActivations"), activations);
    }

    fn check_cleanup(&mut self, who: usize) {
        let (now, before) = (self.time(who), self.stored());
        self.db.run(adaptive::cleanup(self.on_all(who)));
        for on in 0..2 {
            let keep_from = self.keep_from(on, now);
            self.follow(on, &[FollowUp::Correct(now, now + TOLERANCE)]);
            // What is not old tells itself when it was made.
            if self.resources[on].requests.iter().any(|(at, _)| *at < keep_from) {
                self.follow(on, &[FollowUp::KeepActivity, FollowUp::DeleteBefore(keep_from)]);
            }
            self.resources[on].expire_reservations(now);
            let is_old = |divided: &mut (_, f64)| divided.1 <= now - self.config.recalculation_interval_ms;
            self.divided[who][on].take_if(is_old);
            let Resource { requests, slots, kept } = &mut self.resources[on];
            let before = now - self.config.monitoring_window_ms.max(self.config.sustained_inactivity_threshold_ms);
            let is_unused = |kept: &mut Kept| {
                let times = [kept.last_user_at, kept.last_background_at];
                requests.is_empty() && slots.is_empty() && times.into_iter().flatten().all(|at| at < before)
            };
            self.activations += kept.take_if(is_unused).map_or(0.0, |kept| kept.activations);
        }
        let after = self.stored();
        for request in &before.requests {
            let on = RESOURCES.iter().position(|name| *name == request.0).unwrap();
            let serves = (self.keep_from(on, now)..=now).contains(&request.2);
            assert!(!serves || after.requests.contains(request), "{request:?} at {now}");
        }
        for slot in &before.slots {
            let is_reserved = now < slot.3 && slot.3 <= now + self.reserve_for;
            assert!(!is_reserved || after.slots.contains(slot), "{slot:?} at {now}");
        }
    }

    /// Once all clocks are past all that they ever showed, whoever comes gets a slot, and no request is left.
    fn settle(mut self) {
        for who in 0..STORES {
            self.apply((0, who, 0, Act::GoOn));
        }
        let longest = (0..2).map(|on| self.now - self.keep_from(on, self.now)).fold(self.reserve_for, f64::max);
        let behind = -self.ahead.into_iter().min().unwrap();
        let longest = longest.max(self.config.recalculation_interval_ms);
        self.now = self.latest + longest + behind as f64 + 1.0;
        for who in 0..STORES {
            for on in 0..2 {
                self.apply((0, who, on, Act::WaitTime(User)));
                self.apply((0, who, on, Act::WaitTime(Background)));
                assert_eq!(self.can_proceed(who, on, User), self.limits[on].limit > 0.0);
                self.apply((0, who, on, Act::Status));
            }
        }
        self.apply((0, 0, 0, Act::Cleanup));
        let Stored { requests, slots, kept, .. } = self.stored();
        assert!(requests.is_empty() && slots.is_empty() && kept.is_empty(), "{requests:?} {slots:?} {kept:?}");
    }
}

fn limits() -> impl Strategy<Value = [RateLimitConfig; 2]> {
    let limit = prop_oneof![
        12 => (1..20u32).prop_map(f64::from),
        1 => Just(0.0),
        1 => Just(7.5),
        1 => Just(f64::INFINITY),
    ];
    let window_ms = prop::sample::select(vec![1_000.0, 60_000.0, 600_000.0, 3_600_000.0]);
    let one = (limit, window_ms).prop_map(|(limit, window_ms)| RateLimitConfig::new(limit, window_ms));
    [one.clone(), one]
}

/// Spans whose ends steps of time meet.
const EDGES: &[i64] = &[1_000, 20_000, 30_000, MINUTE, 5 * MINUTE];

fn reservations() -> impl Strategy<Value = i64> {
    prop_oneof![1..100_000i64, prop::sample::select(EDGES)]
}

fn forward() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        5 => 0..2_000i64,
        2 => 0..MINUTE,
        1 => 0..10 * MINUTE,
        1 => 0..70 * MINUTE,
        3 => prop::sample::select(EDGES),
    ]
}

fn actions(after: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<Action>> {
    let priority = || prop_oneof![3 => Just(User), 2 => Just(Background)];
    let act = prop_oneof![
        8 => priority().prop_map(Act::Acquire),
        3 => priority().prop_map(Act::Record),
        3 => (3..12u32).prop_map(Act::Users),
        2 => priority().prop_map(Act::CanProceed),
        3 => priority().prop_map(Act::WaitTime),
        3 => priority().prop_map(Act::Reserve),
        2 => priority().prop_map(Act::LookToAcquire),
        1 => priority().prop_map(Act::LookToReserve),
        3 => priority().prop_map(Act::Look),
        2 => Just(Act::GoOn),
        2 => priority().prop_map(Act::RecordAsHolder),
        2 => Just(Act::Status),
        2 => Just(Act::Stats),
        1 => Just(Act::Cleanup),
        1 => Just(Act::Restart),
        1 => prop::sample::select(vec![Act::Lower, Act::Raise, Act::Reset, Act::Clear]),
    ];
    // Mostly the same resource: its requests are to be many.
    let on = (0..5usize).prop_map(|on| on / 4);
    prop::collection::vec((after, 0..STORES, on, act), 1..80)
}

#[test]
fn every_answer_is_that_of_lists() {
    let db = Db::memory(StoreKind::Adaptive);
    let actions = actions(forward());
    proptest!(common::random(150), |(
        limits in limits(), config in common::adaptive_configs(), reserve_for in reservations(), actions in actions,
    )| {
        let mut model = Model::new(&db, limits, config, reserve_for as f64);
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}

#[test]
fn every_answer_is_that_of_lists_when_time_goes_back() {
    let db = Db::memory(StoreKind::Adaptive);
    let actions = actions(common::back_and_forth(forward()));
    proptest!(common::random(250), |(
        limits in limits(), config in common::adaptive_configs(), reserve_for in reservations(),
        ahead in common::clocks(), actions in actions,
    )| {
        let mut model = Model::new(&db, limits, config, reserve_for as f64);
        model.ahead = ahead;
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}
