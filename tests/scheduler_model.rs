//! The scheduler, in front of a connection that ends its transactions when the test says so, or fails: every answer is the
//! one that carrying all out one by one gives, in call order, without what was refused.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::time::Duration;

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::bookings::{self, Ticket};
use comic_vine_sqlite_store::core::cooldowns;
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::{Error, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, BoundStatement, Cost, Operation, Outcome};
use comic_vine_sqlite_store::core::options::Reservations;
use comic_vine_sqlite_store::core::options::{AdaptiveConfig, DedupeOptions, RateLimitConfig, SharedLimits};
use comic_vine_sqlite_store::core::rate_limit::{self};
use comic_vine_sqlite_store::core::{cache, value::Millis};
use comic_vine_sqlite_store::engine::batch::{Batch, Completed, Progress};
use comic_vine_sqlite_store::engine::call::{AtOnce, Call, Time, run_at_once};
use comic_vine_sqlite_store::engine::executor::{Executor, Refusal, Transaction, TransactionResult};
use comic_vine_sqlite_store::engine::scheduler::Scheduler;
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use proptest::prelude::*;

use common::{Db, Divisions};

const KINDS: [StoreKind; 4] = [StoreKind::Cache, StoreKind::CacheTags, StoreKind::Dedupe, StoreKind::Adaptive];

/// Which call is made, on which of a few keys.
#[derive(Clone, Copy, Debug)]
struct Made {
    kind: u8,
    key: u8,
    /// Picks among priorities and times to live.
    choice: bool,
}

#[derive(Clone, Debug)]
enum Action {
    Make(Made),
    /// The clock goes on.
    Wait(u32),
    /// The next batch begins, of so many operations at most.
    Begin(usize),
    /// The same, past what may go on, as far as what comes later has nothing to do with it.
    BeginIndependent(usize),
    /// The transaction that is under way ends.
    End(End),
    /// What waits for a lock has waited long enough, if it has.
    GiveUp,
    /// What waits for a lock is queued again.
    PutBack,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Committed,
    Busy,
    Undone,
    /// Reported as failed, and it took effect.
    Applied,
    /// Reported as failed, and it did not.
    Lost,
}

/// The stores of one side: what makes operations of calls.
#[derive(Default)]
struct Stores {
    divisions: Divisions,
}

impl Stores {
    fn operation(&self, id: usize, Made { kind, key, choice }: Made, now: Millis) -> Operation {
        let name = format!("key {}", key % 3);
        let limit = RateLimitConfig::new(3.0, 1_000.0);
        let interval = RateLimitConfig { min_interval_ms: 20.0, ..RateLimitConfig::NONE };
        let shared = SharedLimits { config: interval, honours_cooldowns: true, books_waits: false };
        let plain = || rate_limit::Call {
            resource: format!("plain {name}"),
            limit,
            shared: if id.is_multiple_of(3) { shared } else { SharedLimits::NONE },
            now,
        };
        let config = AdaptiveConfig {
            recalculation_interval_ms: 100.0,
            monitoring_window_ms: 1_000.0,
            sustained_inactivity_threshold_ms: 2_000.0,
            high_activity_threshold: 4.0,
            moderate_activity_threshold: 2.0,
            ..AdaptiveConfig::default()
        };
        let adaptive = || adaptive::Call {
            resource: name.clone(),
            limit: RateLimitConfig { limit: 10.0, ..limit },
            shared: SharedLimits::NONE,
            config,
            divisions: self.divisions.clone(),
            now,
        };
        let priority = if choice { Priority::User } else { Priority::Background };
        let reservations = Reservations { owner: "store".to_owned(), for_ms: 200.0 };
        let ticket = Ticket::new(&reservations, u64::from(key), 0.0);
        let options = DedupeOptions { job_timeout_ms: 500.0, ..DedupeOptions::default() };
        let dedupe = || dedupe::Call {
            hash: name.clone(),
            owner: format!("owner {choice}"),
            options,
            now,
            system_now: now,
            waiting_since: None,
        };
        match kind {
            0 | 1 => cache::get(name, now),
            2 => cache::set(name, id.to_string(), if choice { 0.2 } else { 60.0 }, now),
            // Expired from the start, always at the same time.
            3 if choice => cache::set(name, id.to_string(), (999_000.0 - now) / 1_000.0, now),
            3 => cache::delete(name),
            4 if choice => cache::clear(),
            4 | 5 => cache::stats(now),
            6 => rate_limit::record(plain().resource, now, choice.then_some(&reservations)),
            7 => rate_limit::can_proceed(plain(), choice.then_some(&reservations)),
            8 => rate_limit::acquire(plain()),
            9 => rate_limit::status(plain()),
            10 if choice => rate_limit::reset(&plain().resource, plain().shared, now),
            10 | 11 => rate_limit::wait_time(plain()),
            12 => adaptive::record(&name, priority, now, None),
            13 => adaptive::can_proceed(adaptive(), priority, None),
            14 => adaptive::acquire(adaptive(), priority),
            15 => adaptive::status(adaptive()),
            16 => adaptive::wait_time(adaptive(), priority),
            17 if choice => adaptive::reset(&name, SharedLimits::NONE, now, self.divisions.clone()),
            17 | 18 => dedupe::wait_for(dedupe()),
            19 => dedupe::register(dedupe(), format!("job {id}")),
            20 => dedupe::complete(&dedupe(), id.to_string(), None),
            21 => dedupe::fail(&dedupe(), Some(id.to_string()), choice.then(|| "AbortError".to_owned()), None),
            22 => dedupe::is_in_progress(dedupe()),
            23 => dedupe::result(dedupe()),
            24 => dedupe::stats(&options, now),
            25 => dedupe::wait_for_in_turn(dedupe()),
            // Whether a `set` keeps the tags of an entry that has expired is left open: these do not expire.
            26 | 27 => {
                let tags = ["both", if choice { "one" } else { "other" }].map(str::to_owned);
                cache::set_with_tags(format!("tagged {name}"), id.to_string(), 60.0, tags, now)
            }
            28 if choice => cache::clear_scope("tagged key 1"),
            28 => cache::list(0.0, 10.0, now),
            29 => cache::invalidate([if choice { "both" } else { "one" }.to_owned()], now),
            30 if choice => cache::get(format!("tagged {name}"), now),
            30 => cache::set(format!("tagged {name}"), id.to_string(), 60.0, now),
            31 => dedupe::time_out(&dedupe()),
            32 if choice => cooldowns::set(&name, now + 30.0),
            32 => cooldowns::clear(&name),
            33 => cooldowns::get(&name, now),
            34 => rate_limit::book_wait(plain(), &reservations, &ticket),
            35 => bookings::proceed(
                &ticket,
                &reservations,
                now,
                rate_limit::can_proceed(plain(), Some(&reservations)),
            ),
            _ => bookings::record(&plain().resource, None, now, &reservations, choice.then_some(&ticket)),
        }
    }
}

/// A connection whose transactions end later.
struct Later {
    connection: Connection,
    under_way: Option<(Vec<Vec<BoundStatement>>, bool)>,
}

impl Executor for Later {
    type Error = Error;

    fn run(&mut self, Transaction { lists, writes }: Transaction<'_>) -> Option<TransactionResult<Error>> {
        assert!(self.under_way.is_none(), "two transactions at a time");
        self.under_way = Some((lists.iter().map(|list| list.to_vec()).collect(), writes));
        None
    }
}

impl Later {
    fn end(&mut self, end: End) -> TransactionResult<Error> {
        let (lists, writes) = self.under_way.take().unwrap();
        let lists: Vec<&[BoundStatement]> = lists.iter().map(Vec::as_slice).collect();
        let run = || self.connection.transact(writes, &lists);
        let refused = || Error::Internal(format!("{end:?}"));
        match end {
            End::Committed => run(),
            End::Busy => Err(Refusal::Busy(refused())),
            End::Undone => Err(Refusal::Undone(refused())),
            End::Lost => Err(Refusal::Unclear(refused())),
            End::Applied => {
                run().unwrap();
                Err(Refusal::Unclear(refused()))
            }
        }
    }
}

/// What became of a call.
#[derive(Default)]
struct Fate {
    made: Option<(Made, Millis)>,
    /// How many of its operations were carried out.
    carried_out: usize,
    /// Whether it may be refused: it failed alone, or nobody knows.
    may_be_refused: bool,
    answer: Option<Result<String, Error>>,
    /// How many ms after the call it was carried out.
    waited: Millis,
}

struct World {
    scheduler: Scheduler<usize, Error>,
    later: Later,
    batch: Option<Batch<usize, Error>>,
    stores: Stores,
    fates: Vec<Fate>,
    now: u64,
}

impl World {
    fn new() -> Self {
        World {
            scheduler: Scheduler::default(),
            later: Later { connection: common::open(&Location::Memory, &KINDS), under_way: None },
            batch: None,
            stores: Stores::default(),
            fates: Vec::new(),
            now: 1_000_000,
        }
    }

    fn make(&mut self, made: Made) {
        let (id, now) = (self.fates.len(), self.now as Millis);
        self.fates.push(Fate { made: Some((made, now)), ..Fate::default() });
        let operation = self.stores.operation(id, made, now);
        // As the executors do: a read is carried out at once if nothing is before it that it could see.
        let made_at = self.time();
        let fate = &mut self.fates[id];
        let run = |operation: &Operation| {
            let at_once = operation.read_only && operation.cost == Cost::Bounded;
            (at_once && operation.statements.iter().all(|bound| self.scheduler.may_read(bound.target()))).then(
                || {
                    fate.carried_out += 1;
                    self.later.connection.read(&operation.statements)
                },
            )
        };
        let deadline = Some(made_at + Duration::from_millis(300));
        match run_at_once(operation, || Time::ZERO, run) {
            AtOnce::Answered(answer, next) => {
                fate.answer = Some(answer.map(shown));
                if let Some(operation) = next {
                    self.scheduler.submit(Call { operation, reply: None, made_at, deadline });
                }
            }
            AtOnce::Queue(operation) => {
                self.scheduler.submit(Call { operation, reply: Some(id), made_at, deadline })
            }
        }
    }

    fn begin(&mut self, at_most: usize, independent: bool) {
        if self.later.under_way.is_some() {
            return;
        }
        if self.batch.is_none() {
            self.batch = if independent {
                self.scheduler.next_batch_of_independent(at_most, 10_000)
            } else {
                self.scheduler.next_batch_beside_reads(at_most, 10_000)
            };
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        let Some(mut batch) = self.batch.take() else { return };
        for call in batch.calls().filter_map(|call| call.reply) {
            let (_, made_at) = self.fates[call].made.unwrap();
            self.fates[call].waited = self.now as Millis - made_at;
        }
        let now = self.time();
        match batch.run(&mut self.later, now) {
            Progress::Done => {
                let mut completion = batch.complete(self.time());
                self.scheduler.end(batch, &mut completion);
                self.take(completion);
            }
            Progress::Running => self.batch = Some(batch),
            Progress::Busy(error) => panic!("{error:?}"),
        }
    }

    fn end(&mut self, end: End) {
        let Some((lists, _)) = &self.later.under_way else { return };
        let batch = self.batch.as_mut().unwrap();
        let calls: Vec<Option<usize>> = batch.calls().take(lists.len()).map(|call| call.reply).collect();
        // What follows from answers that were given fails unseen.
        let end = if calls.iter().any(Option::is_none) { End::Committed } else { end };
        if matches!(end, End::Committed | End::Applied) {
            calls.iter().flatten().for_each(|call| self.fates[*call].carried_out += 1);
        }
        if matches!(end, End::Applied | End::Lost) || (end == End::Undone && calls.len() == 1) {
            calls.iter().flatten().for_each(|call| self.fates[*call].may_be_refused = true);
        }
        let result = self.later.end(end);
        if batch.take_result(result).is_none() {
            self.go_on();
        }
    }

    fn give_up(&mut self) {
        if self.later.under_way.is_some() {
            return;
        }
        let Some(batch) = &mut self.batch else { return };
        // What follows from answers that were given is refused unseen.
        if batch.calls().chain(self.scheduler.queued()).any(|call| call.reply.is_none()) {
            return;
        }
        let now = Duration::from_millis(self.now);
        let mut late = self.scheduler.take_timed_out(batch, now);
        late.calls().flat_map(|call| call.reply).for_each(|call| self.fates[call].may_be_refused = true);
        late.refuse(&Error::Internal("late".to_owned()));
        for mut completion in [batch.complete(now), late.complete(now)] {
            self.scheduler.follow_up(&mut completion);
            self.take(completion);
        }
    }

    fn put_back(&mut self) {
        if self.later.under_way.is_none()
            && let Some(mut batch) = self.batch.take()
        {
            let mut completion = batch.complete(self.time());
            self.scheduler.end(batch, &mut completion);
            self.take(completion);
        }
    }

    fn time(&self) -> Time {
        Duration::from_millis(self.now)
    }

    fn take(&mut self, completion: Completed<usize, Error>) {
        for (call, answer) in completion.answers {
            let before = self.fates[call].answer.replace(answer.map(shown));
            assert!(before.is_none(), "call {call} is answered twice");
        }
    }

    fn finish(&mut self) {
        while self.batch.is_some() || !self.scheduler.is_idle() {
            self.begin(usize::MAX, false);
            self.end(End::Committed);
        }
    }
}

/// As the caller sees it: whether an expired entry was still there when it was read depends on when that was.
fn shown(answer: Answer) -> String {
    let answer = if matches!(answer, Answer::Expired) { Answer::Undefined } else { answer };
    format!("{answer:?}")
}

/// Carries out what was carried out, one by one, and compares.
fn compare(fates: &[Fate]) -> Result<(), TestCaseError> {
    let db = Db::with(&KINDS);
    let stores = Stores::default();
    for (id, Fate { made, carried_out, answer, may_be_refused, waited }) in fates.iter().enumerate() {
        let (made, now) = made.unwrap();
        let answer = answer.as_ref();
        prop_assert!(answer.is_some(), "call {} was not answered", id);
        match answer.unwrap() {
            Ok(answer) => {
                let expected = shown(db.run_late(stores.operation(id, made, now), *waited));
                prop_assert_eq!(answer, &expected, "call {}, {:?}", id, made);
            }
            Err(error) => {
                prop_assert!(may_be_refused, "call {}, {:?}, was refused: {}", id, made, error);
                let mut operation = Some(stores.operation(id, made, now));
                for _ in 0..*carried_out {
                    let Some(next) = operation else { break };
                    operation = match db.step_late(next, *waited) {
                        Outcome::Continue(next) => Some(next),
                        _ => None,
                    };
                }
            }
        }
    }
    Ok(())
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let kinds = prop_oneof![1 => 0..6u8, 2 => 0..37u8];
    let make = (kinds, any::<u8>(), any::<bool>())
        .prop_map(|(kind, key, choice)| Action::Make(Made { kind, key, choice }));
    let end = prop_oneof![
        12 => Just(End::Committed),
        1 => Just(End::Busy),
        2 => Just(End::Undone),
        1 => Just(End::Applied),
        1 => Just(End::Lost),
    ];
    let action = prop_oneof![
        10 => make,
        2 => prop::sample::select(vec![1, 50, 99, 100, 250, 1_000]).prop_map(Action::Wait),
        3 => prop::sample::select(vec![1, 3, usize::MAX]).prop_map(Action::Begin),
        3 => prop::sample::select(vec![1, 3, usize::MAX]).prop_map(Action::BeginIndependent),
        5 => end.prop_map(Action::End),
        1 => Just(Action::GiveUp),
        1 => Just(Action::PutBack),
    ];
    prop::collection::vec(action, 1..160)
}

proptest! {
    #![proptest_config(common::random(3_000))]

    #[test]
    fn answers_as_carrying_all_out_one_by_one(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            match action {
                Action::Make(made) => world.make(made),
                Action::Wait(ms) => world.now += u64::from(ms),
                Action::Begin(at_most) => world.begin(at_most, false),
                Action::BeginIndependent(at_most) => world.begin(at_most, true),
                Action::End(end) => world.end(end),
                Action::GiveUp => world.give_up(),
                Action::PutBack => world.put_back(),
            }
        }
        world.finish();
        compare(&world.fates)?;
    }
}
