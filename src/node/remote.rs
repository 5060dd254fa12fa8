//! A client of a server that speaks SQLite's SQL, passed as `database`: the stores' operations run there, as batches that are
//! promises. One request is under way at a time; what is called meanwhile is gathered into the next. What clients do differently
//! is evened out in `lib/remote-driver.js`.
//!
//! - Before the first request nobody knows whether the tables are there, nor what time it is on the server: calls are put off
//!   until then.
//! - What was not answered is sent again, until its calls' deadlines: see [`Exchange`] for how nothing counts twice.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::environment::{AnswerHandler, Environment, StoreEvents};
use super::napi::env::{Env, Failure, Reference, Result, Type, Value};
use super::realm::Realm;
use crate::core::codec;
use crate::core::error::{Error, Result as CoreResult, StoreKind};
use crate::core::operation::{Changed, Operation, Results, StatementResult};
use crate::core::schema;
use crate::core::value::{Millis, Value as SqlValue};
use crate::engine::batch::{Batch, Completed, Progress};
use crate::engine::call::{Call, Time};
use crate::engine::exchange::{Answered, Exchange, Step};
use crate::engine::executor::{Executor, Refusal, Transaction, TransactionResult};
use crate::engine::scheduler::Scheduler;
use crate::engine::server_clock::ServerClock;
use crate::engine::server_text::{Text, Texts};
use crate::sqlite::background;
use crate::sqlite::clock::{now, system_now};
use crate::sqlite::watch::WatchEvent;

/// The most operations of a request.
const OPERATIONS_AT_MOST: usize = 250;
/// The most bytes, unless one operation alone has more.
const BYTES_AT_MOST: usize = 4 << 20;

/// The most bytes of a value that a server takes: some more, by default, are refused there.
pub const LARGEST_VALUE: usize = 4 << 20;

/// How many requests that were given up may still be under way before no more are sent.
const GIVEN_UP_AT_MOST: usize = 8;

/// How long it is waited before something is sent again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often it is tried to make tables that somebody else makes at the same time.
const PREPARATIONS: u32 = 5;

/// Makes a call, or refuses it.
pub type DeferredCall = Box<dyn FnOnce(Env, CoreResult<()>)>;

/// A call that waits until the tables are there.
pub struct Deferred {
    pub deadline: Option<Time>,
    pub run: DeferredCall,
}

/// Something that is sent until it is answered.
#[derive(Default)]
struct Sending {
    /// The request that is under way.
    ticket: Option<u64>,
    /// When it began, by the system's clock.
    sent_at: Millis,
    attempts: u32,
    /// Whether it may have taken effect on the server.
    was_sent: bool,
    retry_at: Option<Time>,
    /// Why it was not answered.
    reason: Option<String>,
}

struct Running {
    batch: Batch<AnswerHandler, Failure>,
    /// Of the transaction that is under way.
    exchange: Option<Exchange>,
    sending: Sending,
    /// Whether tables were made anew for it.
    mended: bool,
}

/// Making the tables.
struct Preparing {
    sending: Sending,
    /// What makes them; nothing yet if it is looked what is there.
    statements: Vec<String>,
    /// Whose tables are there, and only the server's time is asked for.
    kinds: Vec<StoreKind>,
    asks_time: bool,
    rounds: u32,
    since: Time,
    /// What needs them.
    then: Option<Box<Running>>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Preparing(Box<Preparing>),
    Running(Box<Running>),
}

/// Why a request was not answered with results.
struct Refused {
    kind: RefusedFor,
    code: Option<String>,
    message: String,
    /// Which statement was refused.
    index: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum RefusedFor {
    Busy,
    /// It was not sent.
    Unsent,
    /// Nobody knows.
    Lost,
    Failed,
}

impl Refused {
    fn error(&self) -> Error {
        Error::Remote { code: self.code.clone(), message: self.message.clone() }
    }
}

/// A client, shared by all stores that were given it.
pub struct RemoteConnection {
    env: Env,
    client: Reference,
    /// The driver's function that sends.
    send: Reference,
    /// How far this system's clock was ahead of the realm's when the client was first given to a store.
    ahead_of_realm: Millis,
    /// Where the driver keeps what is known of clocks.
    clocks: Reference,
    /// Its number in the environment.
    number: Cell<usize>,
    itself: Weak<Self>,
    /// Itself while something is to be done.
    self_while_busy: RefCell<Option<Rc<Self>>>,
    scheduler: RefCell<Scheduler<AnswerHandler, Failure>>,
    state: RefCell<State>,
    deferred: RefCell<VecDeque<Deferred>>,
    /// The stores whose tables belong to it, and those whose tables may not be there.
    kinds: RefCell<Vec<StoreKind>>,
    unprepared: RefCell<Vec<StoreKind>>,
    /// Whether entries of the cache are counted, as far as is known.
    counts_entries: Arc<AtomicBool>,
    texts: RefCell<Texts>,
    clock: RefCell<ServerClock>,
    last_ticket: Cell<u64>,
    /// How many requests are under way that were given up.
    given_up: Cell<usize>,
    wakes_at: Cell<Option<Time>>,
    /// Whether the tables of a store that was just made are to be made, whoever waits for them.
    is_new: Cell<bool>,
    /// The longest of its stores'.
    busy_timeout: Cell<Duration>,
    request_timeout: Cell<Option<Duration>>,
    change_listeners: RefCell<Vec<usize>>,
}

thread_local! {
    /// The clients that stores of this thread were given.
    static ALL: RefCell<Vec<Weak<RemoteConnection>>> = const { RefCell::new(Vec::new()) };
}

impl RemoteConnection {
    /// The shared state of a client, to which a store's tables belong from now on.
    pub fn open(
        env: Env,
        client: Value,
        kind: StoreKind,
        realm: &Realm,
        busy_timeout: Duration,
        request_timeout: Option<Duration>,
    ) -> Result<Rc<Self>> {
        let is_client =
            |open: &Rc<Self>| env.reference_value(&open.client).is_some_and(|own| env.strict_equals(own, client));
        let known = ALL.with_borrow(|all| all.iter().filter_map(Weak::upgrade).find(is_client));
        let connection = match known {
            Some(connection) => connection,
            None => {
                let connection = Self::new(env, client, realm)?;
                ALL.with_borrow_mut(|all| {
                    all.retain(|connection| connection.strong_count() > 0);
                    all.push(Rc::downgrade(&connection));
                });
                connection
            }
        };
        connection.busy_timeout.set(connection.busy_timeout.get().max(busy_timeout));
        let longest = connection.request_timeout.get().zip(request_timeout).map(|(own, given)| own.max(given));
        connection.request_timeout.set(longest);
        let kinds: &[StoreKind] = match kind {
            StoreKind::Cache => &[StoreKind::Server, StoreKind::Cache, StoreKind::CacheTags],
            StoreKind::Dedupe => &[StoreKind::Server, StoreKind::Dedupe],
            StoreKind::RateLimit => &[StoreKind::Server, StoreKind::RateLimit],
            _ => &[StoreKind::Server, StoreKind::Adaptive],
        };
        kinds.iter().for_each(|kind| connection.add_kind(*kind));
        Ok(connection)
    }

    /// Has the tables of a store, or a part of them, made before the next call.
    pub fn add_kind(&self, kind: StoreKind) {
        if kind == StoreKind::CacheBounds {
            self.counts_entries.store(true, Ordering::Relaxed);
        }
        if !self.kinds.borrow().contains(&kind) {
            self.kinds.borrow_mut().push(kind);
            self.unprepared.borrow_mut().push(kind);
            self.is_new.set(true);
        }
    }

    /// Whether entries of the cache are counted, as far as is known.
    pub fn counts_entries(&self) -> &Arc<AtomicBool> {
        &self.counts_entries
    }

    fn new(env: Env, client: Value, realm: &Realm) -> Result<Rc<Self>> {
        let environment = Environment::current()?;
        let driver = realm.remote_driver(env, client, Environment::answered_function(env)?, system_now())?;
        let clocks = env.get(driver, c"clocks")?;
        let ahead_of_realm = env.as_number(env.get(clocks, c"system")?).unwrap_or(0.0);
        let clock = ServerClock::known(env.as_number(env.get(clocks, c"server")?));
        let clocks = env.create_reference(clocks, true)?;
        let send = env.get(driver, c"run")?;
        let (client, send) = (env.create_reference(client, true)?, env.create_reference(send, true)?);
        let connection = Rc::new_cyclic(|itself| RemoteConnection {
            env,
            client,
            send,
            ahead_of_realm,
            clocks,
            number: Cell::new(0),
            itself: Weak::clone(itself),
            self_while_busy: RefCell::default(),
            scheduler: RefCell::default(),
            state: RefCell::default(),
            deferred: RefCell::default(),
            kinds: RefCell::default(),
            unprepared: RefCell::default(),
            counts_entries: Arc::default(),
            texts: RefCell::default(),
            clock: RefCell::new(clock),
            last_ticket: Cell::new(0),
            given_up: Cell::new(0),
            wakes_at: Cell::new(None),
            is_new: Cell::new(true),
            busy_timeout: Cell::new(Duration::ZERO),
            request_timeout: Cell::new(Some(Duration::ZERO)),
            change_listeners: RefCell::default(),
        });
        let events: Weak<dyn StoreEvents> = Rc::downgrade(&connection) as Weak<dyn StoreEvents>;
        connection.number.set(environment.join(events));
        Ok(connection)
    }

    /// Whether calls can be made: the tables are there, and the server's time is known.
    pub fn is_ready(&self) -> bool {
        self.unprepared.borrow().is_empty() && self.deferred.borrow().is_empty()
    }

    /// How far the server's clock is ahead of this system's.
    pub fn ahead_ms(&self) -> Millis {
        self.clock.borrow().ahead_ms()
    }

    /// How far it is ahead of the realm's, which may be faked: it goes on as that does.
    pub fn ahead_of_realm_ms(&self) -> Millis {
        self.ahead_of_realm + self.ahead_ms()
    }

    /// The time by the server's clock.
    pub fn server_now(&self) -> Millis {
        system_now() + self.ahead_ms()
    }

    /// Has a call made once calls can be made.
    pub fn defer(&self, deferred: Deferred) {
        self.deferred.borrow_mut().push_back(deferred);
        self.stay();
    }

    /// Whether calls are waiting for the tables.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.borrow().is_empty()
    }

    /// Puts an operation at the end of the queue, for the next flush.
    #[inline(never)]
    pub fn enqueue(&self, operation: Operation, handler: Option<AnswerHandler>, timeout: Option<Duration>) {
        let made_at = now();
        let deadline = timeout.map(|timeout| made_at + timeout);
        self.scheduler.borrow_mut().submit(Call { operation, reply: handler, made_at, deadline });
        self.stay();
    }

    /// Whether something is to be sent, and nothing under way.
    #[inline(never)]
    pub fn needs_flush(&self) -> bool {
        matches!(*self.state.borrow(), State::Idle) && (self.scheduler.borrow().is_ready() || self.is_wanted())
    }

    /// Whether tables are to be made.
    fn is_wanted(&self) -> bool {
        self.is_new.get() || self.has_deferred() || self.scheduler.borrow().has_queued()
    }

    /// Whether nothing that was called is to be carried out any more.
    pub fn is_idle(&self) -> bool {
        matches!(*self.state.borrow(), State::Idle | State::Preparing(_)) && self.scheduler.borrow().is_idle()
    }

    /// Has a store's waiters poll when another store on this connection changes something.
    pub fn add_change_listener(&self, store: usize) {
        self.change_listeners.borrow_mut().push(store);
    }

    /// See [`add_change_listener`](Self::add_change_listener).
    pub fn remove_change_listener(&self, store: usize) {
        self.change_listeners.borrow_mut().retain(|other| *other != store);
    }

    fn notify(&self, changed: &Changed) {
        let Ok(environment) = Environment::current() else { return };
        for store in self.change_listeners.borrow().iter() {
            environment.mailbox().notify(*store, WatchEvent::Changed(changed.clone()));
        }
    }

    /// Lives on while something is to be done.
    fn stay(&self) {
        if self.self_while_busy.borrow().is_none() {
            *self.self_while_busy.borrow_mut() = self.itself.upgrade();
        }
    }

    /// Sends what is queued, if nothing is under way.
    #[inline(never)]
    pub fn flush(&self, env: Env) {
        // It may be the last thing that is to be done.
        let Some(_itself) = self.itself.upgrade() else { return };
        if matches!(*self.state.borrow(), State::Idle) && self.given_up.get() < GIVEN_UP_AT_MOST {
            if !self.unprepared.borrow().is_empty() {
                if self.is_wanted() {
                    self.is_new.set(false);
                    self.prepare(env, None);
                }
            } else {
                let next = self.scheduler.borrow_mut().next_batch_of_independent(OPERATIONS_AT_MOST, BYTES_AT_MOST);
                if let Some(batch) = next {
                    self.advance(
                        env,
                        Running { batch, exchange: None, sending: Sending::default(), mended: false },
                    );
                }
            }
        }
        self.watch_time();
        let is_idle = matches!(*self.state.borrow(), State::Idle) && self.scheduler.borrow().is_idle();
        if is_idle && self.deferred.borrow().is_empty() {
            self.self_while_busy.take();
        }
    }

    /// Runs what is left of a batch, as far as it can be.
    #[inline(never)]
    fn advance(&self, env: Env, mut running: Running) {
        let Running { batch, exchange, sending, .. } = &mut running;
        match batch.run(&mut Sender { connection: self, env, exchange, sending }) {
            Progress::Running => {
                *self.state.borrow_mut() = State::Running(Box::new(running));
                self.stay();
            }
            Progress::Done => self.finish(env, running.batch),
            // Only what was answered is busy.
            Progress::Busy(error) => {
                running.batch.refuse(&error);
                self.finish(env, running.batch);
            }
        }
    }

    #[inline(never)]
    fn finish(&self, env: Env, mut batch: Batch<AnswerHandler, Failure>) {
        let mut completed = batch.complete(now());
        self.scheduler.borrow_mut().end(batch, &mut completed);
        self.deliver(env, completed);
        self.flush(env);
    }

    /// Answers calls.
    #[inline(never)]
    fn deliver(&self, env: Env, completed: Completed<AnswerHandler, Failure>) {
        if let Some(changed) = &completed.changed {
            self.notify(changed);
        }
        for (handler, answer) in completed.answers {
            handler(env, answer);
        }
    }

    /// Refuses what has been queued and is matched, of which nothing was sent.
    #[inline(never)]
    fn refuse_all(&self, env: Env, mut batch: Batch<AnswerHandler, Failure>, error: &Error) {
        batch.refuse(&error.clone().into());
        let completed = batch.complete(now());
        self.deliver(env, completed);
    }

    /// Has a request made.
    fn send<'step>(
        &self,
        env: Env,
        steps: impl IntoIterator<Item = &'step Step<'step>>,
        writes: bool,
        sending: &mut Sending,
    ) -> Result<()> {
        let (texts, values, columns) = (env.array()?, env.array()?, env.array()?);
        for (index, step) in (0..).zip(steps) {
            env.set_element(texts, index, env.string(&step.text.sql)?)?;
            let arguments = env.array()?;
            for (place, parameter) in (0..).zip(&step.text.parameters) {
                let value = match parameter.and_then(|index| step.values.get(index)) {
                    Some(value) => argument(env, value)?,
                    None => env.number(step.bound),
                };
                env.set_element(arguments, place, value)?;
            }
            env.set_element(values, index, arguments)?;
            env.set_element(columns, index, env.number(step.columns as f64))?;
        }
        let ticket = self.last_ticket.get() + 1;
        self.last_ticket.set(ticket);
        let gone = || Error::Internal("the client is gone".to_owned());
        let send = env.reference_value(&self.send).ok_or_else(gone)?;
        let numbers = [env.number(self.number.get() as f64), env.number(ticket as f64), env.boolean(writes)];
        let [number, request, writes] = numbers;
        sending.sent_at = system_now();
        sending.retry_at = None;
        sending.attempts += 1;
        env.call(send, send, &[number, request, writes, texts, values, columns])?;
        sending.ticket = Some(ticket);
        Ok(())
    }

    /// Looks which tables are there, and makes what is missing, for all kinds of which that is not known.
    fn prepare(&self, env: Env, then: Option<Box<Running>>) {
        let preparing = Preparing {
            sending: Sending::default(),
            statements: Vec::new(),
            kinds: Vec::new(),
            asks_time: false,
            rounds: 0,
            since: now(),
            then,
        };
        self.send_preparation(env, Box::new(preparing));
    }

    #[inline(never)]
    fn send_preparation(&self, env: Env, mut preparing: Box<Preparing>) {
        let sql: Vec<(&str, usize)> = if preparing.asks_time {
            vec![(PROBE, 2)]
        } else if preparing.statements.is_empty() {
            vec![(schema::SNAPSHOT, schema::SNAPSHOT_COLUMNS), (PROBE, 2)]
        } else {
            preparing.statements.iter().map(|sql| (sql.as_str(), 0)).collect()
        };
        let step = |(sql, columns): (&str, usize)| Step {
            text: Rc::new(Text { sql: sql.to_owned(), parameters: Vec::new() }),
            values: Vec::new().into(),
            bound: 0.0,
            columns,
        };
        let steps: Vec<Step<'_>> = sql.into_iter().map(step).collect();
        let writes = !preparing.statements.is_empty();
        match self.send(env, &steps, writes, &mut preparing.sending) {
            Ok(()) => {
                *self.state.borrow_mut() = State::Preparing(preparing);
                self.stay();
            }
            Err(failure) => self.end_preparation(env, preparing.then, Err(thrown(env, failure))),
        }
    }

    /// The tables are there, or cannot be made.
    #[inline(never)]
    fn end_preparation(&self, env: Env, then: Option<Box<Running>>, result: CoreResult<()>) {
        *self.state.borrow_mut() = State::Idle;
        if result.is_ok() && !self.unprepared.borrow().is_empty() {
            // Another store was made meanwhile: all wait for its tables.
            return self.prepare(env, then);
        }
        let deferred = self.deferred.take();
        if let Some(mut running) = then {
            match &result {
                Ok(()) => {
                    (running.exchange, running.sending) = (None, Sending::default());
                    self.advance(env, *running);
                }
                Err(error) => {
                    running.batch.refuse(&error.clone().into());
                    self.finish(env, running.batch);
                }
            }
        }
        if let Err(error) = &result {
            // What is queued needs them, too.
            let queued = self.scheduler.borrow_mut().take_all();
            self.refuse_all(env, queued, error);
        }
        for call in deferred {
            (call.run)(env, result.clone());
        }
        if result.is_ok() {
            self.flush(env);
        }
        self.watch_time();
    }

    fn on_prepared(&self, env: Env, mut preparing: Box<Preparing>, answers: Vec<StatementResult>) {
        let received_at = system_now();
        let times = [preparing.sending.sent_at, received_at];
        if !preparing.statements.is_empty() {
            // Made; but by whom, if others do so at the same time, the next look says.
            let rounds = preparing.rounds + 1;
            let next = Preparing { rounds, sending: Sending::default(), statements: Vec::new(), ..*preparing };
            return self.send_preparation(env, Box::new(next));
        }
        if preparing.asks_time {
            if let Some(probe) = answers.first() {
                self.on_told_time(probe.number(0), times);
            }
            return self.on_tables_there(env, preparing);
        }
        let [snapshot, probe] = answers.as_slice() else {
            let message = "the client has answered another number of results than statements".to_owned();
            return self.end_preparation(env, preparing.then, Err(Error::Remote { code: None, message }));
        };
        if probe.first().and_then(|row| row.get(1)) != Some(&SqlValue::Integer(1)) {
            let error = Error::argument(
                "database",
                "a client that answers integers as numbers or as BigInts",
                "one that answers them as text",
            );
            return self.end_preparation(env, preparing.then, Err(error));
        }
        self.on_told_time(probe.number(0), times);
        if schema::has_totals_in(&snapshot.rows) {
            self.counts_entries.store(true, Ordering::Relaxed);
        }
        let kinds = self.unprepared.borrow().clone();
        match schema::plan(&kinds, &snapshot.rows) {
            Ok(statements) if statements.is_empty() => {
                preparing.kinds = kinds;
                self.on_tables_there(env, preparing);
            }
            Ok(_) if preparing.rounds >= PREPARATIONS => {
                let message = "the stores' tables cannot be made".to_owned();
                self.end_preparation(env, preparing.then, Err(Error::Remote { code: None, message }));
            }
            Ok(statements) => {
                (preparing.statements, preparing.sending) = (statements, Sending::default());
                self.send_preparation(env, preparing);
            }
            Err(error) => self.end_preparation(env, preparing.then, Err(error)),
        }
    }

    /// Looks at the server's clock until it is known well enough.
    fn on_tables_there(&self, env: Env, mut preparing: Box<Preparing>) {
        if self.clock.borrow().is_unsure() {
            (preparing.asks_time, preparing.sending) = (true, Sending::default());
            self.send_preparation(env, preparing);
        } else {
            self.unprepared.borrow_mut().retain(|kind| !preparing.kinds.contains(kind));
            self.end_preparation(env, preparing.then, Ok(()));
        }
    }

    fn on_preparation_refused(&self, env: Env, mut preparing: Box<Preparing>, refused: &Refused) {
        let is_late = self.request_timeout.get().is_some_and(|timeout| preparing.since + timeout <= now());
        let is_wanted = self.is_wanted() || preparing.then.is_some();
        match refused.kind {
            _ if is_late || !is_wanted => {
                self.end_preparation(env, preparing.then, Err(refused.error()));
            }
            // Somebody else makes them, too.
            RefusedFor::Failed
                if preparing.rounds < PREPARATIONS
                    && (refused.message.contains("duplicate column name")
                        || refused.message.contains("already exists")) =>
            {
                let rounds = preparing.rounds + 1;
                let next = Preparing { rounds, sending: Sending::default(), statements: Vec::new(), ..*preparing };
                self.send_preparation(env, Box::new(next));
            }
            RefusedFor::Failed => self.end_preparation(env, preparing.then, Err(refused.error())),
            _ => {
                preparing.sending.pause(refused);
                *self.state.borrow_mut() = State::Preparing(preparing);
                self.watch_time();
            }
        }
    }

    fn on_told_time(&self, server: Millis, times: [Millis; 2]) {
        self.clock.borrow_mut().on_told(server, times, now());
        if let Some(clocks) = self.env.reference_value(&self.clocks) {
            // For those who are given the client later.
            let _ = self.env.set(clocks, "server", self.env.number(self.ahead_ms()));
        }
    }

    fn on_answers(&self, env: Env, mut running: Running, answers: Vec<StatementResult>) {
        let times = [running.sending.sent_at, system_now()];
        let Some(mut exchange) = running.exchange.take() else { return self.advance(env, running) };
        let answered = exchange.on_answered(&running.batch.lists(), answers);
        if let Some(server) = exchange.take_server_time() {
            self.on_told_time(server, times);
        }
        let Sending { attempts, was_sent, .. } = running.sending;
        match answered {
            Answered::More => {
                running.exchange = Some(exchange);
                running.sending = Sending { attempts, was_sent, ..Sending::default() };
            }
            Answered::Done(results) => {
                running.batch.take_result(Ok(results));
                running.sending = Sending::default();
            }
        }
        self.advance(env, running);
    }

    fn on_refused(&self, env: Env, mut running: Running, refused: &Refused) {
        let was_sent_before = running.sending.was_sent;
        if refused.kind == RefusedFor::Lost {
            running.sending.was_sent = true;
        }
        match refused.kind {
            RefusedFor::Unsent | RefusedFor::Lost => self.send_again_later(running, refused),
            RefusedFor::Busy => {
                if !was_sent_before {
                    let (now, patience) = (now(), self.busy_timeout.get());
                    running.batch.refuse_if(&refused.error().into(), |call| call.made_at + patience <= now);
                    running.exchange = None;
                    let completed = running.batch.complete(now);
                    self.follow_up(env, completed);
                }
                if running.batch.is_over() {
                    return self.finish(env, running.batch);
                }
                self.send_again_later(running, refused);
            }
            RefusedFor::Failed if was_sent_before && refused.is_logged_already() => {
                if let Some(exchange) = &mut running.exchange {
                    exchange.took_effect_before();
                }
                self.advance(env, running);
            }
            RefusedFor::Failed if !running.mended && schema::is_missing(&refused.message) => {
                running.mended = true;
                *self.unprepared.borrow_mut() = self.kinds.borrow().clone();
                self.prepare(env, Some(Box::new(running)));
            }
            RefusedFor::Failed => {
                let error: Failure = refused.error().into();
                let list = running.exchange.take().zip(refused.index).and_then(|(exchange, step)| {
                    let lengths: Vec<usize> = running.batch.lists().iter().map(|list| list.len()).collect();
                    exchange.list_of(lengths, step)
                });
                let refusal = match (refused.index, list) {
                    (_, Some(list)) => Refusal::UndoneBy(list, error),
                    // Nothing of a batch stands of which a statement was refused.
                    (Some(_), None) => Refusal::Undone(error),
                    (None, None) if refused.is_by_sqlite() => Refusal::Undone(error),
                    (None, None) => Refusal::Unclear(error),
                };
                running.batch.take_result(Err(refusal));
                running.sending = Sending::default();
                let completed = running.batch.complete(now());
                self.follow_up(env, completed);
                self.advance(env, running);
            }
        }
    }

    /// Answers calls of a batch that goes on.
    #[inline(never)]
    fn follow_up(&self, env: Env, mut completed: Completed<AnswerHandler, Failure>) {
        self.scheduler.borrow_mut().follow_up(&mut completed);
        self.deliver(env, completed);
    }

    fn send_again_later(&self, mut running: Running, refused: &Refused) {
        running.sending.pause(refused);
        *self.state.borrow_mut() = State::Running(Box::new(running));
        self.watch_time();
    }

    fn on_request_ended(&self, env: Env, ticket: u64, refused: Option<Refused>, answers: Vec<StatementResult>) {
        let state = self.state.take();
        match (state, refused) {
            (State::Running(mut running), refused) if running.sending.ticket == Some(ticket) => {
                running.sending.ticket = None;
                match refused {
                    None => self.on_answers(env, *running, answers),
                    Some(refused) => self.on_refused(env, *running, &refused),
                }
            }
            (State::Preparing(mut preparing), refused) if preparing.sending.ticket == Some(ticket) => {
                preparing.sending.ticket = None;
                match refused {
                    None => self.on_prepared(env, preparing, answers),
                    Some(refused) => self.on_preparation_refused(env, preparing, &refused),
                }
            }
            (state, _) => {
                *self.state.borrow_mut() = state;
                self.given_up.set(self.given_up.get().saturating_sub(1));
                self.flush(env);
            }
        }
    }

    /// What is due by now.
    fn on_time(&self, env: Env) {
        let Some(_itself) = self.itself.upgrade() else { return };
        self.wakes_at.set(None);
        let now = now();
        let is_late = |deferred: &Deferred| deferred.deadline.is_some_and(|deadline| deadline <= now);
        let (late, left) = self.deferred.take().into_iter().partition::<VecDeque<_>, _>(is_late);
        *self.deferred.borrow_mut() = left;
        let reason = self.reason();
        let unsent = Error::Timeout { after: self.timeout_ms(), outcome_unknown: false, reason: reason.clone() };
        for call in late {
            (call.run)(env, Err(unsent.clone()));
        }
        let queued = self.scheduler.borrow_mut().take_timed_out(&mut Batch::default(), now);
        self.refuse_all(env, queued, &unsent);
        match self.state.take() {
            State::Idle => {}
            State::Running(mut running) => {
                let may_stand = running.sending.was_sent || running.sending.ticket.is_some();
                let late = running.batch.take_late_replies(now);
                let is_due = running.sending.retry_at.is_some_and(|at| at <= now);
                if running.batch.is_late(now) {
                    if running.sending.ticket.is_some() {
                        self.given_up.set(self.given_up.get() + 1);
                    }
                    self.scheduler.borrow_mut().abandon();
                } else if is_due {
                    self.advance(env, *running);
                } else {
                    *self.state.borrow_mut() = State::Running(running);
                }
                for (handler, only_reads) in late {
                    let outcome_unknown = may_stand && !only_reads;
                    let error =
                        Error::Timeout { after: self.timeout_ms(), outcome_unknown, reason: reason.clone() };
                    handler(env, Err(error.into()));
                }
            }
            State::Preparing(preparing) => {
                let is_late = self.request_timeout.get().is_some_and(|timeout| preparing.since + timeout <= now);
                if is_late {
                    if preparing.sending.ticket.is_some() {
                        self.given_up.set(self.given_up.get() + 1);
                    }
                    self.end_preparation(env, preparing.then, Err(unsent));
                } else if preparing.sending.retry_at.is_some_and(|at| at <= now) {
                    self.send_preparation(env, preparing);
                } else {
                    *self.state.borrow_mut() = State::Preparing(preparing);
                }
            }
        }
        self.flush(env);
    }

    fn timeout_ms(&self) -> f64 {
        self.request_timeout.get().map_or(f64::INFINITY, |timeout| timeout.as_secs_f64() * 1000.0)
    }

    /// Why what is under way was not answered when it was sent last.
    fn reason(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Idle => None,
            State::Preparing(preparing) => preparing.sending.reason.clone(),
            State::Running(running) => running.sending.reason.clone(),
        }
    }

    /// Has itself woken for what is due next.
    #[inline(never)]
    fn watch_time(&self) {
        let of_state = match &*self.state.borrow() {
            State::Idle => None,
            State::Preparing(preparing) => {
                let deadline = self.request_timeout.get().map(|timeout| preparing.since + timeout);
                [preparing.sending.retry_at, deadline].into_iter().flatten().min()
            }
            State::Running(running) => {
                [running.sending.retry_at, running.batch.next_deadline()].into_iter().flatten().min()
            }
        };
        let deferred = self.deferred.borrow().iter().filter_map(|call| call.deadline).min();
        let queued = self.scheduler.borrow().next_deadline();
        let Some(next) = [of_state, deferred, queued].into_iter().flatten().min() else { return };
        if self.wakes_at.get().is_some_and(|at| at <= next) {
            return;
        }
        let Ok(environment) = Environment::current() else { return };
        let (mailbox, number) = (Arc::clone(environment.mailbox()), self.number.get());
        let pause = next.saturating_sub(now());
        let woken = background::start(Box::pin(async move {
            tokio::time::sleep(pause).await;
            mailbox.notify(number, WatchEvent::Due);
        }));
        // Without a thread what is due is done with the next call.
        if woken.is_ok() {
            self.wakes_at.set(Some(next));
        }
    }
}

/// The server's time, and an integer.
const PROBE: &str = "SELECT unixepoch('subsec') * 1000 AS c0, 1 AS c1";

impl Sending {
    /// It is to be sent again, after a pause that grows and that others do not take, too.
    #[inline(never)]
    fn pause(&mut self, refused: &Refused) {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(10)).min(LONGEST_PAUSE);
        let part = (Uuid::new_v4().as_u128() % 1_000) as f64 / 1_000.0;
        self.retry_at = Some(now() + longest.mul_f64(0.5 + part / 2.0));
        self.reason = Some(refused.message.clone());
    }
}

impl Refused {
    /// What took effect when it was sent before.
    fn is_logged_already(&self) -> bool {
        self.message.contains("UNIQUE constraint failed: request_log.id")
    }

    fn is_by_sqlite(&self) -> bool {
        self.code.as_ref().is_some_and(|code| code.starts_with("SQLITE_"))
    }
}

fn argument(env: Env, value: &SqlValue) -> Result<Value> {
    match value {
        SqlValue::Null => Ok(env.null()),
        SqlValue::Integer(integer) => Ok(env.number(*integer as f64)),
        SqlValue::Real(real) => Ok(env.number(*real)),
        SqlValue::Text(text) => env.string(text),
        SqlValue::Blob(bytes) => env.buffer(bytes),
        SqlValue::Json(text) => env.buffer(&codec::encode(text)),
    }
}

/// What JavaScript threw, as an error that outlives the callback.
fn thrown(env: Env, failure: Failure) -> Error {
    match failure {
        Failure::Error(error) => error,
        Failure::Thrown(thrown) => {
            let message = env.get(thrown, c"message").ok().and_then(|message| env.as_string(message));
            Error::Remote { code: None, message: message.unwrap_or_else(|| env.describe(thrown)) }
        }
    }
}

/// Sends the transactions of a batch.
struct Sender<'running> {
    connection: &'running RemoteConnection,
    env: Env,
    exchange: &'running mut Option<Exchange>,
    sending: &'running mut Sending,
}

impl Executor for Sender<'_> {
    type Error = Failure;

    fn run(&mut self, transaction: Transaction<'_>) -> Option<TransactionResult<Failure>> {
        let Transaction { lists, writes } = transaction;
        if lists.iter().all(|list| list.is_empty()) {
            return Some(Ok(lists.iter().map(|_| Results::new()).collect()));
        }
        let connection = self.connection;
        let new = || Exchange::new(Uuid::new_v4().simple().to_string(), connection.server_now());
        let exchange = self.exchange.get_or_insert_with(new);
        let asks_time = connection.clock.borrow().is_due(now());
        let steps = exchange.steps(lists, &mut connection.texts.borrow_mut(), asks_time);
        match connection.send(self.env, &steps, writes, self.sending) {
            Ok(()) => None,
            Err(failure) => Some(Err(Refusal::Unclear(thrown(self.env, failure).into()))),
        }
    }
}

impl StoreEvents for RemoteConnection {
    fn on_event(&self, env: Env, event: WatchEvent) {
        if event == WatchEvent::Due {
            self.on_time(env);
        }
    }

    fn on_answered(&self, env: Env, [ticket, failure, answers]: [Value; 3]) {
        let Some(_itself) = self.itself.upgrade() else { return };
        let ticket = env.as_number(ticket).unwrap_or(0.0) as u64;
        let (refused, answers) = if env.type_of(failure) == Type::Undefined {
            match read_answers(env, answers) {
                Ok(answers) => (None, answers),
                Err(failure) => {
                    let message = thrown(env, failure).to_string();
                    (Some(Refused { kind: RefusedFor::Failed, code: None, message, index: None }), Vec::new())
                }
            }
        } else {
            (Some(read_refusal(env, failure)), Vec::new())
        };
        self.on_request_ended(env, ticket, refused, answers);
    }

    fn shut_down(&self) {
        self.deferred.take();
        self.state.take();
        self.self_while_busy.take();
    }
}

fn read_answers(env: Env, answers: Value) -> Result<Vec<StatementResult>> {
    let row = |row: Value| -> Result<Vec<SqlValue>> {
        let columns = env.array_length(row)?;
        (0..columns).map(|index| Ok(env.to_sql(env.element(row, index)?))).collect()
    };
    let answer = |answer: Value| -> Result<StatementResult> {
        let rows = env.get(answer, c"rows")?;
        let count = env.array_length(rows)?;
        let rows = (0..count).map(|index| row(env.element(rows, index)?)).collect::<Result<_>>()?;
        let changes = env.as_number(env.get(answer, c"changes")?).unwrap_or(0.0) as u64;
        Ok(StatementResult { rows, changes, ..StatementResult::default() })
    };
    (0..env.array_length(answers)?).map(|index| answer(env.element(answers, index)?)).collect()
}

fn read_refusal(env: Env, failure: Value) -> Refused {
    let text = |name| env.get(failure, name).ok().and_then(|value| env.as_string(value));
    let kind = match text(c"kind").as_deref() {
        Some("busy") => RefusedFor::Busy,
        Some("unsent") => RefusedFor::Unsent,
        Some("lost") => RefusedFor::Lost,
        _ => RefusedFor::Failed,
    };
    let index = env.get(failure, c"index").ok().and_then(|index| env.as_number(index)).map(|index| index as usize);
    Refused { kind, code: text(c"code"), message: text(c"message").unwrap_or_default(), index }
}

impl Drop for RemoteConnection {
    fn drop(&mut self) {
        if Environment::has_ended() {
            return;
        }
        if let Ok(environment) = Environment::current() {
            environment.leave(self.number.get());
        }
        for reference in [&mut self.client, &mut self.send, &mut self.clocks] {
            self.env.drop_reference(std::mem::replace(reference, Reference::NONE));
        }
    }
}
