//! Carries calls out, and checks that what they come to has the form that it must have.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::calls::{CacheCall, Call, DedupeCall, IsUser, Plan, RateCall, Reserves, Text, Timed};
use super::numbers::OWNERS;
use super::patches::FilePlan;
use super::rows::Script;
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::dedupe::waiters::{Action, Ending, Event, Now, Waiters};
use comic_vine_sqlite_store::core::error::{Error, Result, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, Changed, Field, Operation, Outcome, Wait};
use comic_vine_sqlite_store::core::options::DatabaseOptions;
use comic_vine_sqlite_store::core::options::Reservations;
use comic_vine_sqlite_store::core::rate_limit;
use comic_vine_sqlite_store::core::schema::SchemaConnection;
use comic_vine_sqlite_store::core::{adaptive, cache};
use comic_vine_sqlite_store::engine::executor::Refusal;
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use comic_vine_sqlite_store::sqlite::database::{Database, Recipient, Reply, Submitted};
use comic_vine_sqlite_store::sqlite::divisions::SharedDivisions;
use comic_vine_sqlite_store::sqlite::registry;

pub const KINDS: [StoreKind; 4] = [StoreKind::Cache, StoreKind::Dedupe, StoreKind::Adaptive, StoreKind::RateLimit];

/// More operations than any call on so few rows may take, and events.
const STEPS: usize = 5_000;

/// Nobody else has the file.
const BUSY_TIMEOUT: Duration = Duration::from_millis(50);

/// The latest `Date`, and the longest timer, of JavaScript's.
const LAST_TIME: f64 = 8.64e15;
const LONGEST_TIMER: f64 = 2_147_483_647.0;

/// What operations run on.
enum On {
    Connection(Box<Connection>),
    Database(Arc<Database>),
}

/// A store of each kind.
pub struct Session {
    on: On,
    divisions: Arc<SharedDivisions>,
    job_ids: Cell<u32>,
}

/// Opens a file as four stores do, makes the calls, and closes it.
pub fn on_files(files: &FilePlan, plan: &Plan) {
    let path = files.write();
    let options = DatabaseOptions { journal_mode: Some(files.journal_mode()), ..DatabaseOptions::default() };
    let name = path.to_str().expect("the directory's name is text");
    let mut handles = Vec::new();
    for kind in KINDS {
        match registry::open(name, kind, &options) {
            Ok(handle) => handles.push(handle),
            Err(error) => check_error(&error),
        }
    }
    if let Some(handle) = handles.first() {
        Session::new(On::Database(Arc::clone(handle.database()))).carry_out(plan);
    }
    for handle in handles {
        handle.close();
    }
    remove(&path);
}

pub fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut path = path.as_os_str().to_owned();
        path.push(suffix);
        let _ = std::fs::remove_file(path);
    }
}

impl Session {
    fn new(on: On) -> Self {
        Session { on, divisions: Arc::default(), job_ids: Cell::default() }
    }

    /// In memory, with the tables of stores of some kinds.
    pub fn in_memory(kinds: &[StoreKind], script: &Script) -> Self {
        let mut connection = Connection::open(&Location::Memory).unwrap();
        connection.execute_script(script.before).unwrap();
        for kind in kinds {
            connection.prepare_store(*kind, true).unwrap();
        }
        connection.execute_script(&script.after).unwrap();
        Session::new(On::Connection(Box::new(connection)))
    }

    pub fn carry_out(&self, plan: &Plan) {
        let mut jobs = Jobs { waiters: Waiters::new("store".to_owned(), plan.dedupe), waiting: BTreeSet::new() };
        for (number, timed) in plan.calls.iter().enumerate() {
            match &timed.call {
                Call::Cache(call) => drop(self.run(cache_operation(call, timed.now), timed.waited)),
                Call::Rate(name, call, reserves) => {
                    drop(self.run(rate_operation(plan, name.0, call, *reserves, timed.now), timed.waited));
                }
                Call::Adaptive(name, call, reserves, is_user) => {
                    let operation = self.adaptive_operation(plan, name.0, call, *reserves, *is_user, timed.now);
                    drop(self.run(operation, timed.waited));
                }
                Call::Dedupe(name, call) => self.dedupe(plan, &mut jobs, number as u64, name.0, call, timed),
            }
        }
        if let Some(last) = plan.calls.last() {
            jobs.waiters.close();
            if let Some(operation) = jobs.waiters.give_up() {
                drop(self.run(operation, last.waited));
            }
            self.dispatch(&mut jobs, Event::Closed, last);
        }
        assert!(jobs.waiting.is_empty(), "calls were never answered: {:?}", jobs.waiting);
    }

    /// What a call comes to.
    fn run(&self, operation: Operation, waited: f64) -> Result<Answer> {
        let result = match &self.on {
            On::Connection(connection) => run_alone(connection, operation, waited),
            On::Database(database) => run_queued(database, operation),
        };
        match &result {
            Ok(answer) => check(answer),
            Err(error) => check_error(error),
        }
        // A text that is no JSON: the store's object removes the row.
        if let Ok(Answer::Json { text, unreadable: Some(removal) }) = &result
            && serde_json::from_str::<serde_json::Value>(text).is_err()
        {
            drop(self.run(Operation::command([removal.clone()]), waited));
        }
        result
    }

    fn adaptive_operation(
        &self,
        plan: &Plan,
        name: &str,
        call: &RateCall,
        reserves: Reserves,
        is_user: IsUser,
        now: f64,
    ) -> Operation {
        let divisions = self.divisions.clone();
        let priority = is_user.priority();
        let reservations = reservations(plan, reserves);
        let config = plan.adaptive;
        let (limit, shared) = (plan.limits.get(name), plan.limits.shared);
        let one = || adaptive::Call {
            resource: name.to_owned(),
            limit,
            shared,
            config,
            divisions: divisions.clone(),
            now,
        };
        let all =
            || adaptive::CallOnAll { configs: plan.limits.clone(), config, divisions: divisions.clone(), now };
        match call {
            RateCall::CanProceed => adaptive::can_proceed(one(), priority, reservations.as_ref()),
            RateCall::Acquire => adaptive::acquire(one(), priority),
            RateCall::Record => adaptive::record(name, priority, now, reservations.as_ref()),
            RateCall::Status => adaptive::status(one()),
            RateCall::WaitTime => adaptive::wait_time(one(), priority),
            RateCall::Reset => adaptive::reset(name, shared, now, divisions.clone()),
            RateCall::Clear => adaptive::clear(divisions.clone()),
            RateCall::Stats => adaptive::stats(all()),
            RateCall::Cleanup => adaptive::cleanup(all()),
            RateCall::RemoveOldest => adaptive::remove_oldest(all()),
        }
    }

    fn dedupe(&self, plan: &Plan, jobs: &mut Jobs, number: u64, hash: &str, call: &DedupeCall, timed: &Timed) {
        let now = Now { caller: timed.now, system: timed.system_now };
        let rule_call = || jobs.waiters.call(hash, now, None);
        let hash = hash.to_owned();
        let (waiter, ended) = (number, |text: &Text| Ending::Completed(Arc::new(text.0.clone())));
        let event = match call {
            DedupeCall::IsInProgress => return drop(self.run(dedupe::is_in_progress(rule_call()), timed.waited)),
            DedupeCall::Result => return drop(self.run(dedupe::result(rule_call()), timed.waited)),
            DedupeCall::Stats => return drop(self.run(dedupe::stats(&plan.dedupe, timed.now), timed.waited)),
            DedupeCall::Cleanup => {
                let operation = dedupe::cleanup(&plan.dedupe, timed.now, timed.system_now);
                return drop(self.run(operation, timed.waited));
            }
            DedupeCall::Renew => {
                let leases = [(hash.clone(), None), (hash, Some("job".to_owned()))];
                let operation = dedupe::renew("store", plan.dedupe, leases, timed.system_now);
                return drop(self.run(operation, timed.waited));
            }
            DedupeCall::WaitFor => Event::WaitFor { hash, at_once: true, number: Some(number), waiter },
            DedupeCall::Cancel => Event::Cancel { hash, number: number.saturating_sub(1) },
            DedupeCall::Register(tells_owner) => {
                let job_id = format!("job {}", self.job_ids.replace(self.job_ids.get() + 1));
                Event::Register { hash, job_id, tells_owner: tells_owner.0, waiter }
            }
            DedupeCall::Complete(text) => Event::End { hash, ending: ended(text), waiter },
            DedupeCall::Fail(message) => {
                let message = message.map(|message| message.0.to_owned());
                // A message that is the name of an abort calls the request off.
                let ending = Ending::Failed { name: message.clone(), message, error: Some(()) };
                Event::End { hash, ending, waiter }
            }
            DedupeCall::Clear => Event::Clear { scope: String::new(), waiter },
            DedupeCall::Changed => Event::Changed(Changed::Anything),
            DedupeCall::Deadline => Event::Deadline,
            DedupeCall::OwnerEnded(owner) => {
                Event::OwnerEnded(OWNERS[usize::from(*owner) % OWNERS.len()].to_owned())
            }
            DedupeCall::Unused => Event::Unused { hash },
        };
        if matches!(event, Event::WaitFor { .. } | Event::Register { .. } | Event::End { .. } | Event::Clear { .. })
        {
            jobs.waiting.insert(waiter);
        }
        self.dispatch(jobs, event, timed);
    }

    /// Tells the waiters of an event, and does what follows from it.
    fn dispatch(&self, jobs: &mut Jobs, event: Event<u64, (), Error>, timed: &Timed) {
        let now = Now { caller: timed.now, system: timed.system_now };
        let mut events = VecDeque::from([event]);
        let mut count = 0;
        while let Some(event) = events.pop_front() {
            count += 1;
            assert!(count < STEPS, "the waiters do not come to an end");
            for action in jobs.waiters.on_event(event, now) {
                match action {
                    Action::Run { operation, context } => {
                        let answer = self.run(operation, timed.waited);
                        events.push_back(Event::Answered { context, answer });
                    }
                    Action::Settle { waiter, answer, .. } => {
                        match &answer {
                            Ok(answer) => check(answer),
                            Err(error) => check_error(error),
                        }
                        jobs.settle(waiter);
                    }
                    Action::RejectAll { waiters, error: () } => {
                        waiters.into_iter().for_each(|waiter| jobs.settle(waiter));
                    }
                    Action::Watch | Action::Renew { .. } | Action::UseClaim(_) | Action::EndRenewal(_) => {}
                }
            }
            let deadline = jobs.waiters.next_deadline();
            assert!(!deadline.is_some_and(f64::is_nan), "no timer can be set for {deadline:?}");
        }
    }
}

/// A dedupe store's calls that are not answered yet.
struct Jobs {
    waiters: Waiters<u64>,
    waiting: BTreeSet<u64>,
}

impl Jobs {
    fn settle(&mut self, waiter: u64) {
        assert!(self.waiting.remove(&waiter), "call {waiter} is answered twice");
    }
}

/// One operation after the other, as a database does that has nothing else to do.
fn run_alone(connection: &Connection, operation: Operation, waited: f64) -> Result<Answer> {
    let mut next = Some(operation);
    let mut answer = None;
    for _ in 0..STEPS {
        let Some(Operation { statements, read_only, completion, .. }) = next.take() else {
            return Ok(answer.expect("an operation that is the last answers"));
        };
        let rows = if read_only {
            connection.read(&statements)
        } else {
            let rows = connection.transact(true, &[&statements]).map_err(Refusal::into_error);
            rows.map(|mut rows| rows.pop().unwrap_or_default())
        };
        let rows = match (rows, answer.take()) {
            (Ok(rows), before) => {
                answer = before;
                rows
            }
            // What follows from an answer is nobody's.
            (Err(error), Some(answer)) => {
                check_error(&error);
                return Ok(answer);
            }
            (Err(error), None) => return Err(error),
        };
        match completion(rows, waited) {
            Outcome::Answer(last) => answer = answer.or(Some(last)),
            Outcome::AnswerThen(first, operation) => {
                answer = answer.or(Some(first));
                next = Some(operation);
            }
            Outcome::Continue(operation) => next = Some(operation),
        }
    }
    panic!("a call does not come to an end");
}

struct Queued(Sender<Result<Answer>>);

impl Recipient for Queued {
    fn deliver(&self, _call: usize, answer: Result<Answer>) {
        // Twice would fail.
        self.0.send(answer).expect("somebody waits for the answer");
    }
}

fn run_queued(database: &Arc<Database>, operation: Operation) -> Result<Answer> {
    let mut queued: Option<Receiver<Result<Answer>>> = None;
    let submitted = database.submit(operation, BUSY_TIMEOUT, || {
        let (sender, receiver) = channel();
        queued = Some(receiver);
        Reply::new(Arc::new(Queued(sender)), 0)
    });
    match submitted {
        Submitted::Done(answer) => answer,
        Submitted::Queued => {
            database.flush();
            database.drain();
            queued.expect("it is queued").recv().expect("every call is answered")
        }
    }
}

fn cache_operation(call: &CacheCall, now: f64) -> Operation {
    match call {
        CacheCall::Get(name) => cache::get(name.0, now),
        CacheCall::Set(name, text, ttl_seconds) => cache::set(name.0, text.0.as_str(), ttl_seconds.0, now),
        CacheCall::Delete(name) => cache::delete(name.0),
        CacheCall::Clear => cache::clear(),
        CacheCall::Stats => cache::stats(now),
        CacheCall::Cleanup => cache::cleanup(now),
        CacheCall::RemoveExpired => cache::remove_expired(now),
    }
}

fn reservations(plan: &Plan, reserves: Reserves) -> Option<Reservations> {
    reserves.0.then(|| Reservations { owner: "store".to_owned(), for_ms: plan.reservation_ms })
}

fn rate_operation(plan: &Plan, name: &str, call: &RateCall, reserves: Reserves, now: f64) -> Operation {
    let reservations = reservations(plan, reserves);
    let one = || rate_limit::Call {
        resource: name.to_owned(),
        limit: plan.limits.get(name),
        shared: plan.limits.shared,
        now,
    };
    match call {
        RateCall::CanProceed => rate_limit::can_proceed(one(), reservations.as_ref()),
        RateCall::Acquire => rate_limit::acquire(one()),
        RateCall::Record => rate_limit::record(name.to_owned(), now, reservations.as_ref()),
        RateCall::Status => rate_limit::status(one()),
        RateCall::WaitTime => rate_limit::wait_time(one()),
        RateCall::Reset => rate_limit::reset(name, plan.limits.shared, now),
        RateCall::Clear => rate_limit::clear(),
        RateCall::Stats => rate_limit::stats(plan.limits.clone(), now),
        RateCall::Cleanup => rate_limit::cleanup(plan.limits.clone(), now),
        RateCall::RemoveOldest => rate_limit::remove_oldest(plan.limits.clone(), now),
    }
}

/// What calls resolve to can be used as it is.
fn check(answer: &Answer) {
    match answer {
        Answer::Number(wait) => {
            assert!((0.0..=LONGEST_TIMER).contains(wait), "no time to wait: {wait}");
        }
        Answer::Record(fields) => fields.iter().for_each(check_field),
        Answer::Wait(wait) => check_wait(wait),
        Answer::Polled(polled) => polled.iter().filter_map(|(_, wait)| wait.as_ref()).for_each(check_wait),
        Answer::Rejection(error) => check_error(error),
        _ => {}
    }
}

fn check_field((name, field): &(&'static str, Field)) {
    match field {
        Field::Number(number) | Field::Stamp(number) => {
            assert!(*number >= 0.0, "{name} is {number}");
            assert!(
                number.is_finite() || matches!(*name, "limit" | "remaining" | "userReserved" | "backgroundMax")
            );
        }
        Field::Time(time) => assert!(time.abs() <= LAST_TIME, "{name} is no date: {time}"),
        Field::Record(fields) => fields.iter().for_each(check_field),
        Field::Bool(_) | Field::Text(_) | Field::List(_) => {}
    }
}

fn check_wait(Wait { deadline, expires_at, .. }: &Wait) {
    for time in [deadline, expires_at].into_iter().flatten() {
        assert!(!time.is_nan());
    }
}

/// Errors that say that this package is wrong are a fault.
fn check_error(error: &Error) {
    assert!(!matches!(error, Error::Internal(_) | Error::NoThread), "{error}");
}
