//! A client of a server that speaks SQLite's SQL, passed as `database`: the stores' operations run there, as batches that are
//! promises. One request is under way at a time; what is called meanwhile is gathered into the next. What clients do differently
//! is evened out in `lib/remote-driver.js`.
//!
//! - Before the first request nobody knows whether the tables are there, nor what time it is on the server: calls are put off
//!   until then.
//! - What was not answered is sent again, until its calls' deadlines: see [`Exchange`] for how nothing counts twice.

mod deadlines;
mod sending;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uuid::Uuid;

use self::sending::Sending;
use self::wire::{KnownClocks, Refused, RefusedFor, Wire};
use super::environment::{AnswerHandler, Environment, StoreEvents};
use super::napi::env::{Env, Failure, Result, Value};
use super::realm::Realm;
use crate::core::error::{Error, Result as CoreResult, StoreKind};
use crate::core::operation::{Changed, Operation, Results, StatementResult};
use crate::core::schema;
use crate::core::value::Millis;
use crate::engine::batch::{Batch, Completed, Progress};
use crate::engine::call::{Call, Time, ms_between};
use crate::engine::exchange::{Answered, Exchange, Step};
use crate::engine::executor::{Executor, Refusal, Transaction, TransactionResult};
use crate::engine::scheduler::Scheduler;
use crate::engine::server_clock::ServerClock;
use crate::engine::server_preparation::{Next, Preparation};
use crate::engine::server_text::Texts;
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

/// Makes a call, or refuses it.
pub type DeferredCall = Box<dyn FnOnce(Env, CoreResult<()>)>;

/// A call that waits until the tables are there.
pub struct Deferred {
    pub made_at: Time,
    /// Until when it may wait; without one, as long as it takes.
    pub deadline: Option<Time>,
    pub run: DeferredCall,
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
    preparation: Preparation,
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

/// A client, shared by all stores that were given it.
pub struct RemoteConnection {
    wire: Wire,
    /// How far this system's clock was ahead of the realm's when the client was first given to a store.
    ahead_of_realm: Millis,
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
    /// How many requests are under way that were given up.
    given_up: Cell<usize>,
    wakes_at: Cell<Option<Time>>,
    /// Whether the tables of a store that was just made are to be made, whoever waits for them.
    is_new: Cell<bool>,
    /// When the call that is being made was made first, if it was put off.
    put_off_at: Cell<Option<Time>>,
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
        let is_to_it = |open: &Rc<Self>| open.wire.is_to(client);
        let known = ALL.with_borrow(|all| all.iter().filter_map(Weak::upgrade).find(is_to_it));
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
        let (wire, KnownClocks { ahead_of_realm, server_ahead }) = Wire::new(env, client, realm)?;
        let connection = Rc::new_cyclic(|itself| RemoteConnection {
            wire,
            ahead_of_realm,
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
            clock: RefCell::new(ServerClock::known(server_ahead)),
            given_up: Cell::new(0),
            wakes_at: Cell::new(None),
            is_new: Cell::new(true),
            put_off_at: Cell::new(None),
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

    /// How long ago the call was made that was put off and is made now; 0 of any other.
    pub fn made_ms_ago(&self) -> Millis {
        self.put_off_at.get().map_or(0.0, |at| ms_between(at, now()))
    }

    /// Whether calls are waiting for the tables.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.borrow().is_empty()
    }

    /// Puts an operation at the end of the queue, for the next flush.
    #[inline(never)]
    pub fn enqueue(&self, operation: Operation, handler: Option<AnswerHandler>, timeout: Option<Duration>) {
        let made_at = self.put_off_at.get().unwrap_or_else(now);
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
        match batch.run(&mut Sender { connection: self, exchange, sending }, now()) {
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

    /// Refuses all that was queued, of which nothing was sent.
    #[inline(never)]
    fn refuse_all(&self, env: Env, mut batch: Batch<AnswerHandler, Failure>, error: &Error) {
        batch.refuse(&error.clone().into());
        let completed = batch.complete(now());
        self.deliver(env, completed);
    }

    /// Has a request made.
    fn send<'step>(
        &self,
        steps: impl IntoIterator<Item = &'step Step<'step>>,
        writes: bool,
        sending: &mut Sending,
    ) -> CoreResult<()> {
        sending.begin();
        sending.ticket = Some(self.wire.send(self.number.get(), steps, writes)?);
        Ok(())
    }

    /// Looks which tables are there, and makes what is missing, for all kinds of which that is not known.
    fn prepare(&self, env: Env, then: Option<Box<Running>>) {
        let (sending, preparation) = (Sending::default(), Preparation::default());
        self.send_preparation(env, Box::new(Preparing { sending, preparation, since: now(), then }));
    }

    #[inline(never)]
    fn send_preparation(&self, env: Env, mut preparing: Box<Preparing>) {
        let Preparing { sending, preparation, .. } = &mut *preparing;
        match self.send(&preparation.steps(), preparation.writes(), sending) {
            Ok(()) => {
                *self.state.borrow_mut() = State::Preparing(preparing);
                self.stay();
            }
            Err(error) => self.end_preparation(env, preparing.then, Err(error)),
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
        for Deferred { made_at, run, .. } in deferred {
            self.put_off_at.set(Some(made_at));
            run(env, result.clone());
        }
        self.put_off_at.set(None);
        if result.is_ok() {
            self.flush(env);
        }
        self.watch_time();
    }

    fn on_prepared(&self, env: Env, mut preparing: Box<Preparing>, answers: &[StatementResult]) {
        let times = preparing.sending.times();
        let kinds = self.unprepared.borrow().clone();
        let mut clock = self.clock.borrow_mut();
        let next = preparing.preparation.on_answered(answers, &kinds, &mut clock, times, now());
        drop(clock);
        self.wire.keep_clock(self.ahead_ms());
        match next {
            Ok(Next::Send) => {
                preparing.sending = Sending::default();
                self.send_preparation(env, preparing);
            }
            Ok(Next::SendLater(reason)) => self.prepare_later(env, preparing, reason),
            Ok(Next::Done(kinds)) => {
                if preparing.preparation.has_totals() {
                    self.counts_entries.store(true, Ordering::Relaxed);
                }
                self.unprepared.borrow_mut().retain(|kind| !kinds.contains(kind));
                self.end_preparation(env, preparing.then, Ok(()));
            }
            Err(error) => self.end_preparation(env, preparing.then, Err(error)),
        }
    }

    fn on_preparation_refused(&self, env: Env, mut preparing: Box<Preparing>, refused: &Refused) {
        if refused.kind != RefusedFor::Failed {
            self.prepare_later(env, preparing, refused.error());
        } else if self.goes_on(&preparing) && preparing.preparation.goes_on_after(&refused.message) {
            preparing.sending = Sending::default();
            self.send_preparation(env, preparing);
        } else {
            self.end_preparation(env, preparing.then, Err(refused.error()));
        }
    }

    /// When all who waited for a preparation at its begin have been refused, so that it is given up.
    fn deadline_of(&self, preparing: &Preparing) -> Option<Time> {
        Some(preparing.since + self.request_timeout.get()?)
    }

    /// Whether somebody still waits for a preparation.
    fn goes_on(&self, preparing: &Preparing) -> bool {
        self.is_wanted() || preparing.then.is_some()
    }

    /// Sends it again after a pause, for this reason, while somebody waits for it.
    #[inline(never)]
    fn prepare_later(&self, env: Env, mut preparing: Box<Preparing>, reason: Error) {
        if !self.goes_on(&preparing) {
            return self.end_preparation(env, preparing.then, Err(reason));
        }
        preparing.sending.pause(&reason);
        *self.state.borrow_mut() = State::Preparing(preparing);
        self.watch_time();
    }

    fn on_answers(&self, env: Env, mut running: Running, answers: Vec<StatementResult>) {
        let times = running.sending.times();
        let Some(mut exchange) = running.exchange.take() else { return self.advance(env, running) };
        let answered = exchange.on_answered(&running.batch.lists(), answers);
        if let Some(server) = exchange.take_server_time() {
            self.clock.borrow_mut().on_told(server, times, now());
            self.wire.keep_clock(self.ahead_ms());
        }
        match answered {
            Answered::More => {
                running.exchange = Some(exchange);
                running.sending = running.sending.following();
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
        running.sending.pause(&refused.error());
        *self.state.borrow_mut() = State::Running(Box::new(running));
        self.watch_time();
    }

    fn on_request_ended(&self, env: Env, ticket: u64, ended: std::result::Result<Vec<StatementResult>, Refused>) {
        match self.state.take() {
            State::Running(mut running) if running.sending.ticket == Some(ticket) => {
                running.sending.ticket = None;
                match ended {
                    Ok(answers) => self.on_answers(env, *running, answers),
                    Err(refused) => self.on_refused(env, *running, &refused),
                }
            }
            State::Preparing(mut preparing) if preparing.sending.ticket == Some(ticket) => {
                preparing.sending.ticket = None;
                match ended {
                    Ok(answers) => self.on_prepared(env, preparing, &answers),
                    Err(refused) => self.on_preparation_refused(env, preparing, &refused),
                }
            }
            state => {
                *self.state.borrow_mut() = state;
                self.given_up.set(self.given_up.get().saturating_sub(1));
                self.flush(env);
            }
        }
    }
}

/// Sends the transactions of a batch.
struct Sender<'running> {
    connection: &'running RemoteConnection,
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
        let asks_time = connection.clock.borrow().is_due(now(), system_now());
        let steps = exchange.steps(lists, &mut connection.texts.borrow_mut(), asks_time);
        match connection.send(&steps, writes, self.sending) {
            Ok(()) => None,
            Err(error) => Some(Err(Refusal::Unclear(error.into()))),
        }
    }
}

impl StoreEvents for RemoteConnection {
    fn on_event(&self, env: Env, event: WatchEvent) {
        if event == WatchEvent::Due {
            self.on_time(env);
        }
    }

    fn on_answered(&self, env: Env, answer: [Value; 3]) {
        let Some(_itself) = self.itself.upgrade() else { return };
        let (ticket, ended) = wire::read_answer(env, answer);
        self.on_request_ended(env, ticket, ended);
    }

    fn shut_down(&self) {
        self.deferred.take();
        self.state.take();
        self.self_while_busy.take();
    }
}

impl Drop for RemoteConnection {
    fn drop(&mut self) {
        if Environment::has_ended() {
            return;
        }
        if let Ok(environment) = Environment::current() {
            environment.leave(self.number.get());
        }
        self.wire.release();
    }
}
