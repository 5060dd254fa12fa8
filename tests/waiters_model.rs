//! Who waits in a store, and what it owns, beside a model: exhaustively with answers of the test's own, and at random with
//! two stores on one database.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};

use comic_vine_sqlite_store::core::dedupe::rules::renew;
use comic_vine_sqlite_store::core::dedupe::waiters::{Action, Ending, Event, Now, OperationContext, Waiters};
use comic_vine_sqlite_store::core::error::{Error, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, Changed, Operation, Wait};
use comic_vine_sqlite_store::core::options::DedupeOptions;
use comic_vine_sqlite_store::core::options::LEASE_MS;
use comic_vine_sqlite_store::core::statements::Statement;
use comic_vine_sqlite_store::core::value::Millis;
use common::Db;
use proptest::prelude::*;

const JOB: f64 = 6_000.0;
const START: f64 = 1_700_000_000_000.0;

fn options() -> DedupeOptions {
    DedupeOptions { job_timeout_ms: JOB, ..DedupeOptions::default() }
}

fn busy() -> Error {
    Error::Sqlite { code: 5, message: "database is locked".to_owned() }
}

fn failed(message: String) -> Error {
    Error::JobFailed { message, name: None }
}

/// The number of a promise.
type Promise = usize;

struct Running {
    operation: Operation,
    context: OperationContext<Promise, u32>,
    /// When it was called.
    made_at: Millis,
}

/// A store: the waiters, and what was to be done and is not done yet.
struct Store {
    waiters: Waiters<Promise>,
    running: VecDeque<Running>,
    /// The jobs, or none of a claim, whose leases are renewed.
    renewed: HashMap<String, Option<String>>,
    /// The claims that may become unused.
    unused: HashSet<String>,
    /// The ids it gave to jobs.
    ids: HashSet<String>,
    closed: bool,
}

impl Store {
    fn new(name: &str) -> Self {
        Store {
            waiters: Waiters::new(name.to_owned(), options()),
            running: VecDeque::new(),
            renewed: HashMap::new(),
            unused: HashSet::new(),
            ids: HashSet::new(),
            closed: false,
        }
    }
}

/// What a promise is of, and what it was settled with.
#[derive(Debug)]
struct Made {
    store: usize,
    hash: Option<String>,
    is_wait: bool,
    cancelled: bool,
    settled: Option<Result<String, Error>>,
}

struct World {
    stores: Vec<Store>,
    made: Vec<Made>,
    now: Now,
    /// What was last settled.
    latest: Vec<Promise>,
    /// Whether jobs fail in no other way than by being called off.
    aborts: bool,
}

impl World {
    fn new(stores: usize) -> Self {
        let stores = (0..stores).map(|index| Store::new(&format!("store {index}"))).collect();
        World {
            stores,
            made: Vec::new(),
            now: Now { caller: START, system: START },
            latest: Vec::new(),
            aborts: false,
        }
    }

    fn promise(&mut self, store: usize, hash: Option<&str>, is_wait: bool) -> Promise {
        self.made.push(Made { store, hash: hash.map(str::to_owned), is_wait, cancelled: false, settled: None });
        self.made.len() - 1
    }

    fn wait_for(&mut self, store: usize, hash: &str) {
        let number = self.made.len() as u64;
        let waiter = self.promise(store, Some(hash), true);
        let at_once = self.stores[store].running.is_empty();
        self.tell(store, Event::WaitFor { hash: hash.to_owned(), at_once, number: Some(number), waiter });
    }

    /// Ends the last `waitFor` of a store that is not answered yet, early.
    fn cancel(&mut self, store: usize) {
        let open = |made: &Made| made.store == store && made.is_wait && !made.cancelled && made.settled.is_none();
        if let Some(index) = self.made.iter().rposition(open) {
            let hash = self.made[index].hash.clone().unwrap();
            self.made[index].cancelled = true;
            self.tell(store, Event::Cancel { hash, number: index as u64 });
        }
    }

    fn register(&mut self, store: usize, hash: &str) {
        let waiter = self.promise(store, Some(hash), false);
        let job_id = format!("job {waiter}");
        self.stores[store].ids.insert(job_id.clone());
        self.tell(
            store,
            Event::Register { hash: hash.to_owned(), job_id, tells_owner: waiter.is_multiple_of(2), waiter },
        );
    }

    fn complete(&mut self, store: usize, hash: &str) {
        self.end(store, hash, Ending::Completed(format!("\"{hash}\"").into()));
    }

    fn fail(&mut self, store: usize, hash: &str, name: &str) {
        let error = self.stores[store].waiters.may_wait_for(hash).then_some(1);
        self.end(
            store,
            hash,
            Ending::Failed { message: Some(hash.to_owned()), name: Some(name.to_owned()), error },
        );
    }

    fn end(&mut self, store: usize, hash: &str, ending: Ending<u32>) {
        let waiter = self.promise(store, Some(hash), false);
        self.tell(store, Event::End { hash: hash.to_owned(), ending, waiter });
    }

    fn clear(&mut self, store: usize, scope: &str) {
        let waiter = self.promise(store, None, false);
        self.tell(store, Event::Clear { scope: scope.to_owned(), waiter });
    }

    /// Carries out the store's next operation.
    fn carry_out(&mut self, store: usize, db: &Db) {
        self.answer(store, |operation, waited| Ok(db.run_late(operation, waited)));
    }

    /// Answers the store's next operation.
    fn answer(&mut self, store: usize, answer: impl FnOnce(Operation, Millis) -> Result<Answer, Error>) {
        if let Some(Running { operation, context, made_at }) = self.stores[store].running.pop_front() {
            let answer = answer(operation, self.now.system - made_at);
            self.tell(store, Event::Answered { context, answer });
        }
    }

    fn tell(&mut self, index: usize, event: Event<Promise, u32, Error>) {
        self.latest.clear();
        let store = &mut self.stores[index];
        for action in store.waiters.on_event(event, self.now) {
            match action {
                Action::Run { operation, context } => {
                    let made_at = self.now.system;
                    store.running.push_back(Running { operation, context, made_at });
                }
                Action::Settle { waiter, answer, .. } => {
                    let answer = answer.map(|answer| match answer {
                        Answer::Json { text, .. } => text.to_string(),
                        Answer::Claimed | Answer::Undefined | Answer::Ended { .. } => String::new(),
                        other => format!("{other:?}"),
                    });
                    settle(&mut self.made[waiter], answer);
                    self.latest.push(waiter);
                }
                Action::RejectAll { waiters, error } => {
                    assert_eq!(error, 1);
                    for waiter in waiters {
                        assert!(!self.aborts, "somebody else called it off");
                        let hash = self.made[waiter].hash.clone().unwrap();
                        settle(&mut self.made[waiter], Err(failed(hash)));
                        self.latest.push(waiter);
                    }
                }
                Action::Watch => {}
                Action::Renew { hash, job_id } => {
                    assert!(!store.closed);
                    match &job_id {
                        Some(job_id) => assert!(store.ids.contains(job_id), "{job_id} is another store's"),
                        None => drop(store.unused.insert(hash.clone())),
                    }
                    store.renewed.insert(hash, job_id);
                }
                Action::UseClaim(hash) => drop(store.unused.remove(&hash)),
                Action::EndRenewal(Some(hash)) => {
                    store.renewed.remove(&hash);
                    store.unused.remove(&hash);
                }
                Action::EndRenewal(None) => {
                    store.renewed.clear();
                    store.unused.clear();
                }
            }
        }
        // Whoever is not answered is in a group that is watched, or waits for an operation.
        let open = self.made.iter().any(|made| made.store == index && made.is_wait && made.settled.is_none());
        let (watched, _) = store.waiters.watched();
        assert!(!open || watched || !store.running.is_empty(), "somebody is forgotten");
        assert!(!store.closed || !watched);
        assert!(store.unused.iter().all(|hash| store.renewed.get(hash) == Some(&None)), "a claim is not renewed");
    }

    /// The event loop has turned for `claimTimeoutMs`, and no `register` came.
    fn give_up_unused(&mut self, store: usize) {
        let unused: Vec<String> = self.stores[store].unused.drain().collect();
        for hash in unused {
            self.tell(store, Event::Unused { hash });
        }
    }

    fn close(&mut self, store: usize) {
        self.stores[store].closed = true;
        self.stores[store].renewed.clear();
        self.stores[store].unused.clear();
        self.stores[store].waiters.close();
        self.tell(store, Event::Closed);
    }
}

fn settle(made: &mut Made, answer: Result<String, Error>) {
    let before = made.settled.replace(answer);
    assert!(before.is_none(), "{made:?} was settled before: {before:?}");
}

/// What the world does in the exhaustive test. What an operation answers is picked, whatever it asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Choice {
    WaitFor,
    Register,
    Complete,
    Fail,
    Abort,
    Clear,
    Cancel,
    Wait,
    Claimed,
    Result,
    Rejected,
    /// Registered, ended, or nothing: what the call has when all is well.
    Done,
    /// Registered by another, ended before, or nothing.
    Not,
    Busy,
    Changed,
    /// A claim has not been used for so long that it is given up.
    Unused,
    /// So long that a claim is stale.
    Later,
    /// So long that a job is past its time.
    MuchLater,
}

const CHOICES: [Choice; 18] = [
    Choice::WaitFor,
    Choice::Register,
    Choice::Complete,
    Choice::Fail,
    Choice::Abort,
    Choice::Clear,
    Choice::Cancel,
    Choice::Wait,
    Choice::Claimed,
    Choice::Result,
    Choice::Rejected,
    Choice::Done,
    Choice::Not,
    Choice::Busy,
    Choice::Changed,
    Choice::Unused,
    Choice::Later,
    Choice::MuchLater,
];

/// Whether an operation looks what there is of a hash, rather than changes it.
fn polls(operation: &Operation) -> bool {
    operation.read_only || is(operation, Statement::DedupeAbandon)
}

fn is(operation: &Operation, statement: Statement) -> bool {
    operation.statements[0].statement == statement
}

/// Whether a choice can be, and is not the same as nothing.
fn may_be(world: &World, choice: Choice) -> bool {
    use Choice as C;
    let next = world.stores[0].running.front().map(|next| &next.operation);
    let waits = world.stores[0].waiters.watched().0;
    match choice {
        C::WaitFor | C::Register | C::Complete | C::Fail | C::Abort | C::Clear => true,
        C::Cancel => world.made.iter().any(|made| made.is_wait && !made.cancelled && made.settled.is_none()),
        C::Changed => waits,
        C::Unused => !world.stores[0].unused.is_empty(),
        C::Later | C::MuchLater => next.is_some() || waits,
        C::Wait | C::Claimed | C::Result | C::Rejected => next.is_some_and(polls),
        C::Done | C::Busy => next.is_some(),
        C::Not => next.is_some_and(|next| !polls(next) && !is(next, Statement::DedupeClear)),
    }
}

fn choose(world: &mut World, choice: Choice) {
    use Choice as C;
    const HASH: &str = "hash";
    let now = world.now;
    let settled = |world: &World| world.latest.iter().filter(|made| world.made[**made].is_wait).count();
    match choice {
        C::WaitFor => world.wait_for(0, HASH),
        C::Register => world.register(0, HASH),
        C::Complete => world.complete(0, HASH),
        C::Fail => world.fail(0, HASH, "TimeoutError"),
        C::Abort => world.fail(0, HASH, "AbortError"),
        C::Clear => world.clear(0, ""),
        C::Cancel => world.cancel(0),
        C::Changed => world.tell(0, Event::Changed(Changed::Anything)),
        C::Unused => world.give_up_unused(0),
        C::Later | C::MuchLater => {
            let ms = if choice == C::Later { LEASE_MS } else { JOB };
            world.now = Now { caller: now.caller + ms, system: now.system + ms };
            if world.stores[0].waiters.next_deadline().is_some_and(|deadline| deadline <= world.now.caller) {
                world.tell(0, Event::Deadline);
                // Deadlines that have come are not told again.
                assert!(world.stores[0].waiters.next_deadline().is_none());
            }
        }
        C::Claimed => {
            world.answer(0, |_, _| Ok(Answer::Claimed));
            assert!(settled(world) <= 1, "one claim sends several off");
        }
        _ => world.answer(0, |operation, _| match choice {
            C::Wait => Ok(Answer::Wait(Wait {
                deadline: Some(now.caller + JOB / 2.0),
                expires_at: Some(now.system + LEASE_MS),
                owner: None,
            })),
            C::Result => Ok(Answer::Json { text: "\"hash\"".to_owned().into(), unreadable: None }),
            C::Rejected => Ok(Answer::Rejection(failed("hash".to_owned()))),
            C::Done | C::Not => {
                let done = choice == C::Done;
                match operation.statements[0].statement {
                    Statement::DedupeRegister => {
                        let own = operation.statements[0].values[1].text().unwrap().to_owned();
                        Ok(Answer::Registered {
                            job_id: if done { own } else { "other".to_owned() },
                            created: done,
                        })
                    }
                    Statement::DedupeComplete | Statement::DedupeFail | Statement::DedupeTimeOut => {
                        Ok(Answer::Ended { changed: done })
                    }
                    _ => Ok(Answer::Undefined),
                }
            }
            _ => Err(busy()),
        }),
    }
}

#[test]
fn nobody_is_forgotten_or_answered_twice_whatever_happens() {
    const DEPTH: usize = 6;
    let mut paths = 0;
    // Worlds cannot be copied: each path is walked from the start.
    let mut stack: Vec<Vec<Choice>> = vec![Vec::new()];
    while let Some(path) = stack.pop() {
        let mut world = World::new(1);
        path.iter().for_each(|choice| choose(&mut world, *choice));
        if path.len() < DEPTH {
            for choice in CHOICES.into_iter().filter(|choice| may_be(&world, *choice)) {
                stack.push(path.iter().copied().chain([choice]).collect());
            }
            continue;
        }
        paths += 1;
        world.close(0);
        while !world.stores[0].running.is_empty() {
            world.answer(0, |_, _| Err(busy()));
        }
        let open: Vec<_> = world.made.iter().filter(|made| made.settled.is_none()).collect();
        assert!(open.is_empty(), "{path:?}: {open:?}");
    }
    println!("{paths} paths");
}

#[test]
fn a_wait_that_ends_early_passes_its_claim_on() {
    const HASH: &str = "hash";
    for moment in ["before it is answered", "when it is answered", "in the queue"] {
        let db = Db::memory(StoreKind::Dedupe);
        let mut world = World::new(2);
        let run = |world: &mut World| {
            while !world.stores[0].running.is_empty() {
                world.carry_out(0, &db);
            }
        };
        if moment == "in the queue" {
            world.wait_for(0, HASH);
            run(&mut world);
        }
        world.wait_for(0, HASH);
        let number = world.made.len() as u64 - 1;
        if moment != "before it is answered" {
            run(&mut world);
        }
        world.tell(0, Event::Cancel { hash: HASH.to_owned(), number });
        run(&mut world);
        world.give_up_unused(0);
        run(&mut world);
        assert!(world.made.iter().all(|made| made.settled.is_some()), "{moment}");
        world.wait_for(1, HASH);
        while !world.stores[1].running.is_empty() {
            world.carry_out(1, &db);
        }
        assert!(matches!(&world.made.last().unwrap().settled, Some(Ok(text)) if text.is_empty()), "{moment}");
        assert!(!world.stores[0].waiters.is_waiting());
    }
}

#[test]
fn of_those_who_wait_for_what_is_called_off_one_makes_it() {
    const HASH: &str = "hash";
    for (called_off_by, claims) in [(0, true), (1, true), (0, false)] {
        let db = Db::memory(StoreKind::Dedupe);
        let mut world = World::new(3);
        world.aborts = true;
        if !claims {
            let options = DedupeOptions { claim_timeout_ms: 0.0, ..options() };
            world.stores.iter_mut().for_each(|store| store.waiters = Waiters::new("store".to_owned(), options));
        }
        let run = |world: &mut World| {
            while let Some(store) = (0..3).find(|store| !world.stores[*store].running.is_empty()) {
                world.carry_out(store, &db);
            }
        };
        let waiting = |world: &World| -> Vec<usize> {
            (0..world.made.len()).filter(|made| world.made[*made].settled.is_none()).collect()
        };
        world.register(called_off_by, HASH);
        run(&mut world);
        for store in [0, 0, 1, 1, 2] {
            world.wait_for(store, HASH);
            run(&mut world);
        }
        let mut left = waiting(&world);
        assert_eq!(left.len(), 5);
        let mut caller = called_off_by;
        while !left.is_empty() {
            world.fail(caller, HASH, ["AbortError", "CanceledError"][left.len() % 2]);
            run(&mut world);
            for store in 0..3 {
                world.tell(store, Event::Changed(Changed::Anything));
                run(&mut world);
            }
            let next: Vec<usize> = waiting(&world);
            let told: Vec<&Made> =
                left.iter().filter(|made| !next.contains(made)).map(|made| &world.made[*made]).collect();
            assert!(told.iter().all(|made| made.settled == Some(Ok(String::new()))), "{told:?}");
            // Without claims nobody can tell who makes it.
            assert_eq!(told.len(), if claims { 1 } else { 5 }, "{told:?}");
            caller = told[0].store;
            left = next;
            world.register(caller, HASH);
            run(&mut world);
        }
    }
}

#[test]
fn those_who_wait_elsewhere_are_told_the_errors_name() {
    for name in ["TimeoutError", "Error", "two words", "é"] {
        let db = Db::memory(StoreKind::Dedupe);
        let mut world = World::new(2);
        world.register(0, "hash");
        world.carry_out(0, &db);
        world.wait_for(1, "hash");
        world.carry_out(1, &db);
        world.fail(0, "hash", name);
        world.carry_out(0, &db);
        world.tell(1, Event::Changed(Changed::Anything));
        world.carry_out(1, &db);
        let expected = Error::JobFailed { message: "hash".to_owned(), name: Some(name.to_owned()) };
        let answers = world.made.iter().filter(|made| made.is_wait).map(|made| made.settled.clone());
        assert_eq!(answers.collect::<Vec<_>>(), [Some(Err(expected))]);
    }
}

#[test]
fn hashes_with_a_nul_are_not_taken_for_others() {
    let db = Db::memory(StoreKind::Dedupe);
    let mut world = World::new(2);
    let run = |world: &mut World, store: usize| {
        while !world.stores[store].running.is_empty() {
            world.carry_out(store, &db);
        }
    };
    for hash in ["a", "a\0b", "c"] {
        world.register(1, hash);
        run(&mut world, 1);
    }
    for hash in ["a\0b", "c"] {
        world.wait_for(0, hash);
        run(&mut world, 0);
    }
    world.complete(1, "a\0b");
    run(&mut world, 1);
    world.tell(0, Event::Changed(Changed::Anything));
    run(&mut world, 0);
    let answers: Vec<_> = world.made.iter().filter(|made| made.is_wait).map(|made| made.settled.clone()).collect();
    assert_eq!(answers, [Some(Ok("\"a\0b\"".to_owned())), None]);
}

#[test]
fn a_scope_is_cleared_and_nothing_else() {
    let db = Db::memory(StoreKind::Dedupe);
    let mut world = World::new(1);
    let run = |world: &mut World| {
        while !world.stores[0].running.is_empty() {
            world.carry_out(0, &db);
        }
    };
    let hashes = ["a:1", "a:2", "A:1", "b", "a", "é", "a%"];
    for hash in hashes {
        world.register(0, hash);
        run(&mut world);
        world.wait_for(0, hash);
        run(&mut world);
    }
    // A claim, too.
    world.wait_for(0, "a:claimed");
    run(&mut world);
    world.clear(0, "a:");
    run(&mut world);
    let of = |hash: &str| hash.starts_with("a:");
    for made in world.made.iter().filter(|made| made.is_wait) {
        let is_cleared = of(made.hash.as_deref().unwrap());
        assert_eq!(made.settled, is_cleared.then(|| Ok(String::new())), "{made:?}");
    }
    assert!(world.stores[0].renewed.keys().all(|hash| !of(hash)));
    assert_eq!(world.stores[0].renewed.len(), 5);
    let rows = db.rows("SELECT hash FROM dedupe_jobs UNION ALL SELECT hash FROM dedupe_leases");
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| !of(row[0].text().unwrap())));
}

/// How many operations it takes to have this many hashes waited for end one by one: here, and elsewhere.
fn operations_for(hashes: usize) -> (usize, usize) {
    let db = Db::memory(StoreKind::Dedupe);
    let end = |world: &mut World, hash: usize| {
        world.complete(1, &format!("hash {hash}"));
        world.carry_out(1, &db);
    };
    let run = |world: &mut World, event| {
        world.tell(0, event);
        let mut operations = 0;
        while !world.stores[0].running.is_empty() {
            world.carry_out(0, &db);
            operations += 1;
        }
        operations
    };
    let ends = [true, false].map(|here| {
        let mut world = World::new(2);
        for hash in 0..hashes {
            world.register(1, &format!("hash {hash}"));
            world.carry_out(1, &db);
            world.wait_for(0, &format!("hash {hash}"));
            world.carry_out(0, &db);
        }
        let operations = (0..hashes).map(|hash| {
            end(&mut world, hash);
            let changed = Changed::Hashes(vec![format!("hash {hash}")]);
            let operations = run(&mut world, Event::Changed(if here { changed } else { Changed::Anything }));
            let waiting = world.made.iter().filter(|made| made.is_wait && made.settled.is_none()).count();
            assert_eq!(waiting, hashes - hash - 1);
            operations
        });
        operations.sum()
    });
    ends.into()
}

#[test]
fn polls_grow_with_what_ends_and_not_with_what_is_waited_for() {
    assert_eq!(operations_for(10), (10, 19));
    // The last that is waited for is polled alone.
    assert_eq!(operations_for(200), (200, 399));
}

#[derive(Clone, Copy, Debug)]
enum Act {
    WaitFor,
    Register,
    Complete,
    Fail,
    Abort,
    /// Of one hash.
    Clear,
    /// The next operation of the store is carried out, or refused.
    Step,
    Refuse,
    Changed,
    Renew,
    Unused,
    Cancel,
    Close,
    Pass(u16),
}

fn acts() -> impl Strategy<Value = Vec<(usize, u8, Act)>> {
    let act = prop_oneof![
        5 => Just(Act::WaitFor),
        3 => Just(Act::Register),
        3 => Just(Act::Complete),
        2 => Just(Act::Fail),
        2 => Just(Act::Abort),
        1 => Just(Act::Clear),
        14 => Just(Act::Step),
        1 => Just(Act::Refuse),
        3 => Just(Act::Changed),
        1 => Just(Act::Renew),
        2 => Just(Act::Unused),
        2 => Just(Act::Cancel),
        2 => prop::sample::select(vec![1, 60, 130, 260, 1_000, 3_000, 4_100]).prop_map(Act::Pass),
    ];
    let last = prop_oneof![60 => act, 1 => Just(Act::Close)];
    prop::collection::vec((0..2usize, 0..2u8, last), 1..120)
}

/// Who was told to make a request, and until when nobody else may be.
#[derive(Default)]
struct Grants(HashMap<String, (usize, f64)>);

impl World {
    /// What was settled last: at most one store is told to make a request at a time.
    fn check_grants(&self, grants: &mut Grants) {
        for promise in &self.latest {
            let Made { store, hash, is_wait, cancelled, settled } = &self.made[*promise];
            let (Some(hash), true) = (hash, *is_wait && !cancelled) else { continue };
            match settled {
                Some(Ok(text)) if text.is_empty() && !self.stores[*store].closed => {
                    if let Some((other, until)) = grants.0.get(hash) {
                        assert!(
                            *until <= self.now.system,
                            "store {store} is told to make {hash}, as store {other} was"
                        );
                    }
                    grants.0.insert(hash.clone(), (*store, self.now.system + LEASE_MS / 2.0));
                }
                Some(Ok(text)) => assert!(text.is_empty() || *text == format!("\"{hash}\"")),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(common::random(1_500))]

    #[test]
    fn stores_on_one_database_tell_one_at_a_time(acts in acts()) {
        let db = Db::memory(StoreKind::Dedupe);
        let mut world = World::new(2);
        let mut grants = Grants::default();
        for (store, hash, act) in acts {
            let hash = format!("hash {hash}");
            if world.stores[store].closed {
                continue;
            }
            world.latest.clear();
            match act {
                Act::WaitFor => world.wait_for(store, &hash),
                Act::Register => world.register(store, &hash),
                Act::Complete => world.complete(store, &hash),
                Act::Fail => world.fail(store, &hash, "Error"),
                Act::Abort => world.fail(store, &hash, "CanceledError"),
                Act::Clear => world.clear(store, &hash),
                Act::Step | Act::Refuse => {
                    let next = world.stores[store].running.front();
                    let next = next.map(|next| next.operation.statements[0].statement);
                    let refused = matches!(act, Act::Refuse);
                    world.answer(store, |operation, waited| if refused { Err(busy()) } else { Ok(db.run_late(operation, waited)) });
                    // Whoever ends a job, or gives up a claim, makes room for another.
                    let ends = [Statement::DedupeComplete, Statement::DedupeFail, Statement::DedupeTimeOut, Statement::DedupeGiveUpClaim];
                    if next.is_some_and(|next| ends.contains(&next)) {
                        grants.0.clear();
                    }
                    // Those who waited for what is cleared are told so, all of them; and everybody may make it.
                    if next == Some(Statement::DedupeFrom) {
                        grants.0.clear();
                        world.latest.clear();
                    }
                    // A job that another registers takes the place of a claim.
                    if next == Some(Statement::DedupeRegister) {
                        grants.0.retain(|_, (granted, _)| *granted == store);
                    }
                }
                Act::Changed => world.tell(store, Event::Changed(Changed::Anything)),
                Act::Renew => {
                    let Store { renewed, .. } = &world.stores[store];
                    let name = format!("store {store}");
                    let leases = renewed.iter().map(|(hash, job_id)| (hash.clone(), job_id.clone()));
                    db.run(renew(&name, options(), leases, world.now.system));
                }
                Act::Cancel => world.cancel(store),
                Act::Unused => world.give_up_unused(store),
                Act::Close => {
                    if let Some(operation) = world.stores[store].waiters.give_up() {
                        db.run(operation);
                    }
                    grants.0.clear();
                    world.close(store);
                }
                Act::Pass(ms) => {
                    let Now { caller, system } = world.now;
                    world.now = Now { caller: caller + f64::from(ms), system: system + f64::from(ms) };
                    for store in 0..2 {
                        let next = world.stores[store].waiters.next_deadline();
                        if next.is_some_and(|deadline| deadline <= world.now.caller) {
                            world.tell(store, Event::Deadline);
                        }
                    }
                }
            }
            world.check_grants(&mut grants);
        }
        // In the end, whoever is left to wait is answered: claims and leases run out.
        for _ in 0..60 {
            world.now = Now { caller: world.now.caller + JOB, system: world.now.system + LEASE_MS };
            for store in 0..2 {
                let next = world.stores[store].waiters.next_deadline();
                let event = if next.is_some_and(|at| at <= world.now.caller) { Event::Deadline } else { Event::Changed(Changed::Anything) };
                world.tell(store, event);
                while !world.stores[store].running.is_empty() {
                    world.carry_out(store, &db);
                }
            }
        }
        let open: Vec<_> = world.made.iter().filter(|made| made.settled.is_none()).collect();
        prop_assert!(open.is_empty(), "{:?}", open);
    }
}
