//! What all stores share: their part in a database, the way of a call through it, and their end.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uuid::Uuid;

use super::arguments::Arguments;
use super::backend::{Backend, BackendHandle, Remote};
use super::environment::{self, Environment, StoreEvents};
use super::metrics::{Counted, Metrics, Observed};
use super::napi::env::{Env, Failure, Reference, Result, Type, Value};
use super::napi::loop_time;
use super::options::{DatabaseOption, OptionsReader};
use super::realm::{Realm, Resolver};
use super::remote::{Deferred, DeferredCall, RemoteConnection};
use super::user_connection::UserConnection;
use crate::core::bounds;
use crate::core::cache;
use crate::core::error::{Error, Result as CoreResult, StoreKind};
use crate::core::housekeeping;
use crate::core::operation::{Answer, Operation};
use crate::core::options::DatabaseOptions;
use crate::core::value::Millis;
use crate::sqlite::clock::{now, system_now};
use crate::sqlite::database::LogLossListener;
use crate::sqlite::registry::{self, CloseBarrier};

/// A store's connection to JavaScript and to its database.
pub struct Store {
    kind: StoreKind,
    realm: Rc<Realm>,
    environment: Rc<Environment>,
    /// Its number in the environment.
    id: Cell<usize>,
    busy_timeout: Duration,
    /// `None` once closed.
    handle: RefCell<Option<BackendHandle>>,
    /// Until a `close()` that is under way has come to its end.
    closing: RefCell<Option<CloseBarrier>>,
    interval: RefCell<Option<Reference>>,
    is_remote: bool,
    /// Who does the housekeeping of a server.
    host: String,
    clean_every: Cell<Millis>,
    metrics: Rc<Metrics>,
}

/// Makes a call that was put off, or refuses it; answers what it answers.
pub type MakeCall = Box<dyn FnOnce(Env, CoreResult<()>) -> Result<Value>>;

/// A promise that is not settled yet. It keeps the process and the realm alive.
pub struct Pending {
    resolver: Resolver,
    environment: Rc<Environment>,
    realm: Rc<Realm>,
    /// What is to be noted of the call.
    pub observed: Observed,
}

impl Pending {
    /// A pending promise and its other end.
    pub fn new(env: Env, environment: &Rc<Environment>, realm: &Rc<Realm>) -> Result<(Self, Value)> {
        let (resolver, promise) = realm.promise(env)?;
        environment.hold(env);
        realm.hold(env);
        let (environment, realm) = (Rc::clone(environment), Rc::clone(realm));
        Ok((Pending { resolver, environment, realm, observed: Observed::NOTHING }, promise))
    }

    /// The same, of a user's call.
    pub fn of_call(call: &Arguments, environment: &Rc<Environment>, realm: &Rc<Realm>) -> Result<(Self, Value)> {
        let observed = Observed::later(call.env, call.counted, call.note())?;
        let (pending, promise) = Self::new(call.env, environment, realm)?;
        Ok((Pending { observed, ..pending }, promise))
    }

    pub fn settle(self, env: Env, result: Result<Value>) {
        self.realm.settle(env, self.resolver, result);
        self.environment.release(env);
        self.realm.release(env);
    }
}

/// How long a store that ends waits for a lock to say so to others: they notice without it, later.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

impl Store {
    /// Opens the database that the options name.
    pub fn open(env: Env, kind: StoreKind, realm: Rc<Realm>, reader: &OptionsReader<'_>) -> Result<Self> {
        let options: DatabaseOptions = reader.database_options()?;
        let database = reader.database()?;
        let environment = Environment::current()?;
        let busy_timeout = duration(options.busy_timeout_ms);
        let handle = match database {
            DatabaseOption::Path(path) => {
                let handle = registry::open(&path, kind, &options)?;
                if handle.is_open_elsewhere() {
                    let code = "COMIC_VINE_SQLITE_STORE_FILE_OPEN";
                    environment::warn(env, code, &two_copies(&path));
                }
                let listener: Arc<dyn LogLossListener> = environment.mailbox().clone();
                handle.database().add_listener(Arc::downgrade(&listener));
                BackendHandle::Native(handle)
            }
            DatabaseOption::Memory(database) => BackendHandle::Native(registry::join(&database, kind, &options)?),
            DatabaseOption::Connection(connection) => {
                BackendHandle::User(UserConnection::open(env, connection, kind, &realm)?)
            }
            DatabaseOption::Client(client) => {
                let timeout = options.request_timeout_ms.is_finite().then(|| duration(options.request_timeout_ms));
                let connection = RemoteConnection::open(env, client, kind, &realm, busy_timeout, timeout)?;
                BackendHandle::Remote(Remote { connection, timeout })
            }
        };
        let is_remote = matches!(handle, BackendHandle::Remote(_));
        if is_remote {
            environment.flush_later(env, &handle.backend());
        }
        Ok(Store {
            kind,
            realm,
            environment,
            id: Cell::new(0),
            busy_timeout,
            handle: RefCell::new(Some(handle)),
            closing: RefCell::new(None),
            interval: RefCell::new(None),
            is_remote,
            host: if is_remote { Uuid::new_v4().to_string() } else { String::new() },
            clean_every: Cell::new(0.0),
            metrics: Rc::default(),
        })
    }

    /// Joins the environment, and starts the clean-up timer.
    pub fn join(&self, env: Env, events: Weak<dyn StoreEvents>, clean_every: Millis) -> Result<()> {
        self.joined_as(self.environment.join(events));
        self.start_cleaning(env, clean_every)
    }

    /// Takes the number that the environment gave the store.
    pub fn joined_as(&self, id: usize) {
        self.id.set(id);
    }

    /// Starts the clean-up timer; 0 means none.
    pub fn start_cleaning(&self, env: Env, clean_every: Millis) -> Result<()> {
        self.clean_every.set(clean_every);
        if clean_every > 0.0 {
            let timer =
                self.realm.start_timer(env, Environment::interval_function(env)?, self.id(), clean_every, true)?;
            *self.interval.borrow_mut() = Some(timer);
        }
        Ok(())
    }

    /// What it asks of its server; `None` without one, or after the end. Apart, so that calls elsewhere pay one comparison.
    #[cold]
    #[inline(never)]
    fn of_server<T>(&self, ask: fn(&RemoteConnection) -> T) -> Option<T> {
        match self.handle.borrow().as_ref() {
            Some(BackendHandle::Remote(remote)) => Some(ask(&remote.connection)),
            _ => None,
        }
    }

    /// Whether it is on a server.
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// How far the clock that counts is ahead of the realm's.
    pub fn ahead_ms(&self) -> Millis {
        if self.is_remote { self.of_server(RemoteConnection::ahead_of_realm_ms).unwrap_or(0.0) } else { 0.0 }
    }

    /// The time of what is done now, by the clock that counts.
    pub fn now(&self, env: Env) -> Result<Millis> {
        Ok(self.realm.now(env)? + self.ahead_ms())
    }

    /// The time by which it is told whether others live; of a call that was put off, that at which it was made, as the caller's time is.
    pub fn system_now(&self) -> Millis {
        let ahead = |server: &RemoteConnection| server.ahead_ms() - server.made_ms_ago().floor();
        system_now() + if self.is_remote { self.of_server(ahead).unwrap_or(0.0) } else { 0.0 }
    }

    /// Whether calls wait until the connection is ready; the last of all waits only for other calls.
    pub fn puts_off(&self, is_last: bool) -> bool {
        let waits =
            if is_last { RemoteConnection::has_deferred } else { |server: &RemoteConnection| !server.is_ready() };
        self.is_remote && self.of_server(waits).unwrap_or(false)
    }

    /// Has a call made when the connection is ready.
    #[cold]
    #[inline(never)]
    pub fn put_off(&self, env: Env, is_last: bool, make: MakeCall) -> Result<Value> {
        let backend = self.backend()?;
        let Backend::Remote(Remote { connection, timeout }) = &backend else { return Ok(env.undefined()) };
        let made_at = now();
        let deadline = timeout.filter(|_| !is_last).map(|timeout| made_at + timeout);
        let (run, promise): (DeferredCall, Value) = if is_last {
            (Box::new(|env, ready| drop(make(env, ready))), env.undefined())
        } else {
            let (pending, promise) = Pending::new(env, &self.environment, &self.realm)?;
            let run = move |env, ready| {
                let answer = make(env, ready);
                pending.settle(env, answer);
            };
            (Box::new(run), promise)
        };
        connection.defer(Deferred { made_at, deadline, run });
        self.environment.flush_later(env, &backend);
        Ok(promise)
    }

    /// Has entries of the cache counted, from now on, by all stores on the database.
    pub fn keep_totals(&self, env: Env) -> Result<()> {
        let Some(handle) = &*self.handle.borrow() else { return Ok(()) };
        handle.keep_totals()?;
        if self.is_remote {
            self.environment.flush_later(env, &handle.backend());
        }
        Ok(())
    }

    /// What says whether entries of the cache are counted; `None` after the end.
    pub fn counts_entries(&self) -> Option<Arc<AtomicBool>> {
        self.handle.borrow().as_ref().map(|handle| Arc::clone(handle.counts_entries()))
    }

    /// Whether entries of the cache are counted, as far as is known.
    pub fn counts(&self) -> bool {
        let handle = self.handle.borrow();
        handle.as_ref().is_some_and(|handle| handle.counts_entries().load(Ordering::Relaxed))
    }

    /// Has an operation count entries if they are counted.
    pub fn counted(&self, operation: Operation) -> Operation {
        if self.counts() { bounds::counted(operation) } else { operation }
    }

    /// The realm it belongs to.
    pub fn realm(&self) -> &Rc<Realm> {
        &self.realm
    }

    /// The environment it belongs to.
    pub fn environment(&self) -> &Rc<Environment> {
        &self.environment
    }

    /// What has become of its calls.
    pub fn metrics(&self) -> &Rc<Metrics> {
        &self.metrics
    }

    /// The method `getMetrics`.
    pub fn get_metrics(&self, env: Env) -> Result<Value> {
        self.metrics.to_value(env, &self.realm, self.kind)
    }

    /// How long a call may wait for a lock.
    pub fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// The store's number in its environment.
    pub fn id(&self) -> usize {
        self.id.get()
    }

    /// Where its operations run.
    ///
    /// # Errors
    /// [`Error::Destroyed`] after the end.
    pub fn backend(&self) -> Result<Backend> {
        let handle = self.handle.borrow();
        handle.as_ref().map(BackendHandle::backend).ok_or_else(|| Error::Destroyed(self.kind).into())
    }

    /// The way of a call: checks that the store is open, makes the operation, and answers its answer, or the promise
    /// of it. `make` answers `None` where there is nothing to do.
    ///
    /// # Errors
    /// What the call is refused with at once.
    pub fn call(&self, call: &Arguments, make: impl FnOnce() -> Result<Option<Operation>>) -> Result<Value> {
        if self.handle.borrow().is_none() {
            return Err(Error::Destroyed(self.kind).into());
        }
        let operation = match make() {
            Ok(operation) => operation,
            Err(failure) => return Err(self.refused(call, failure)),
        };
        // Again: JavaScript of the user's (`toJSON`, a getter) may have ended the store meanwhile.
        let backend = self.backend()?;
        match operation {
            Some(operation) => self.submit(call, &backend, operation),
            None => {
                self.metrics.skipped(call.env, call.note());
                Ok(call.env.undefined())
            }
        }
    }

    /// Takes note of why a call is refused at once.
    #[cold]
    pub fn refused(&self, call: &Arguments, failure: Failure) -> Failure {
        self.metrics.failed(call.env, call.note(), &failure, false);
        failure
    }

    fn submit(&self, call: &Arguments, backend: &Backend, operation: Operation) -> Result<Value> {
        let env = call.env;
        let mut promise = None;
        let answer = backend.submit(&self.environment, operation, self.busy_timeout, || {
            match Pending::of_call(call, &self.environment, &self.realm) {
                Ok((mut pending, value)) => {
                    promise = Some(value);
                    let (backend, ahead, metrics) = (backend.clone(), self.ahead_ms(), Rc::clone(&self.metrics));
                    Box::new(move |env, answer| {
                        let (counted, note) = (pending.observed.counted, pending.observed.take_note(env));
                        metrics.answered(env, counted, note, &answer, false);
                        let may_be_unreadable =
                            counted == Counted::Lookups && matches!(answer, Ok(Answer::Json { .. }));
                        let value =
                            to_value(env, &pending.realm, &pending.environment, Some(&backend), ahead, answer);
                        if may_be_unreadable && is_undefined(env, &value) {
                            metrics.unreadable(env, note);
                        }
                        pending.settle(env, value);
                    })
                }
                // Only while the environment ends, when nobody can await the promise.
                Err(_) => Box::new(|_, _| ()),
            }
        });
        let value = match answer {
            Some(Ok(Answer::Json { text, .. })) if call.takes_text => {
                if call.counted == Counted::Lookups {
                    self.metrics.found(env, call.note());
                }
                env.string(&text)
            }
            Some(answer @ Ok(Answer::Json { .. })) if call.counted == Counted::Lookups => {
                self.parsed_here(call, backend, answer)
            }
            Some(answer) => {
                self.metrics.answered(env, call.counted, call.note(), &answer, false);
                to_value(env, &self.realm, &self.environment, Some(backend), self.ahead_ms(), answer)
            }
            None => Ok(promise.unwrap_or_else(|| env.undefined())),
        };
        if backend.needs_flush() {
            self.environment.flush_later(env, backend);
        }
        value
    }

    /// The value of an entry whose text JavaScript could not parse: it was counted as found when it was answered as text.
    #[cold]
    fn parsed_here(&self, call: &Arguments, backend: &Backend, answer: Result<Answer>) -> Result<Value> {
        let env = call.env;
        let value = to_value(env, &self.realm, &self.environment, Some(backend), self.ahead_ms(), answer);
        if is_undefined(env, &value) {
            self.metrics.unreadable(env, call.note());
        }
        value
    }

    /// The JavaScript value of an answer.
    pub fn to_value(&self, env: Env, answer: Result<Answer>) -> Result<Value> {
        to_value(env, &self.realm, &self.environment, self.backend().ok().as_ref(), self.ahead_ms(), answer)
    }

    /// Carries out an operation, at once where that may be, and hands its answer on. After the end it is refused.
    pub fn perform(&self, env: Env, operation: Operation, then: impl FnOnce(Env, Result<Answer>) + 'static) {
        let backend = match self.backend() {
            Ok(backend) => backend,
            Err(failure) => return then(env, Err(failure)),
        };
        let mut then = Some(then);
        let answer = backend.submit(&self.environment, operation, self.busy_timeout, || match then.take() {
            Some(then) => Box::new(then),
            None => Box::new(|_, _| ()),
        });
        if let (Some(answer), Some(then)) = (answer, then) {
            then(env, answer);
        }
        if backend.needs_flush() {
            self.environment.flush_later(env, &backend);
        }
    }

    /// Carries out an operation whose answer goes to nobody. Nothing happens after the end.
    pub fn run(&self, env: Env, operation: Operation) {
        self.run_within(env, operation, self.busy_timeout);
    }

    fn run_within(&self, env: Env, operation: Operation, busy_timeout: Duration) {
        let Ok(backend) = self.backend() else { return };
        backend.enqueue(operation, busy_timeout);
        self.environment.flush_later(env, &backend);
    }

    /// Ends the store: what was called before is committed, and if it was the last on its file, the file is closed.
    /// Done when it returns.
    pub fn destroy(&self, env: Env) {
        match self.end(env) {
            Some(handle) => handle.close(env, &self.environment),
            None => match self.closing.borrow_mut().take() {
                Some(closing) => closing.wait(),
                None => return,
            },
        }
        self.environment.deliver_all(env);
    }

    /// As [`destroy`](Self::destroy), without keeping the thread: answers a promise.
    pub fn close(&self, env: Env) -> Result<Value> {
        let handle = match self.end(env) {
            Some(BackendHandle::Native(handle)) => handle,
            Some(BackendHandle::Remote(remote)) => return self.close_remote(env, remote),
            ended => {
                if let Some(handle) = ended {
                    handle.close(env, &self.environment);
                }
                return Ok(env.undefined());
            }
        };
        let (pending, promise) = Pending::new(env, &self.environment, &self.realm)?;
        let reply = self.environment.await_answer(Box::new(move |env, _| {
            pending.settle(env, Ok(env.undefined()));
        }));
        let closing = handle.close_in_background(move || reply.deliver(Ok(Answer::Undefined)));
        if closing.has_ended() {
            // On this thread: the system refused another.
            self.environment.deliver_all(env);
        }
        *self.closing.borrow_mut() = Some(closing);
        Ok(promise)
    }

    /// Answers a promise that what was called before has been carried out, or its time is over.
    fn close_remote(&self, env: Env, remote: Remote) -> Result<Value> {
        if remote.connection.is_idle() {
            return Ok(env.undefined());
        }
        let (pending, promise) = Pending::new(env, &self.environment, &self.realm)?;
        let handler = Box::new(move |env: Env, _: Result<Answer>| pending.settle(env, Ok(env.undefined())));
        remote.connection.enqueue(Operation::nothing(), Some(handler), remote.timeout);
        remote.connection.flush(env);
        Ok(promise)
    }

    fn end(&self, env: Env) -> Option<BackendHandle> {
        if let Some(timer) = self.interval.borrow_mut().take() {
            self.realm.stop_timer(env, timer);
        }
        self.handle.borrow_mut().take()
    }

    /// Carries out the last operation of a store that ends, which nobody waits for. The end does not wait long for it.
    pub fn run_last(&self, env: Env, operation: Operation) {
        self.run_within(env, operation, self.last_timeout());
    }

    fn last_timeout(&self) -> Duration {
        self.busy_timeout.min(LAST_TIMEOUT)
    }

    /// The store's object has been collected: `last` is carried out and its use of the database ended in the
    /// background, and its timer stops when it finds it gone.
    pub fn collected(&self, env: Env, last: Option<Operation>) {
        self.environment.leave(self.id.get());
        if Environment::has_ended() {
            return;
        }
        if let Some(timer) = self.interval.borrow_mut().take() {
            env.drop_reference(timer);
        }
        let Some(handle) = self.handle.borrow_mut().take() else { return };
        match (&handle, last) {
            (BackendHandle::Native(handle), Some(last)) => {
                handle.database().run_in_background(last, None, self.last_timeout())
            }
            (BackendHandle::User(connection), Some(last)) => {
                connection.enqueue(last, None);
                self.environment.flush_next_turn(&handle.backend());
            }
            (BackendHandle::Remote(remote), last) => {
                if let Some(last) = last {
                    remote.connection.enqueue(last, None, remote.timeout);
                }
                self.environment.flush_next_turn(&handle.backend());
            }
            (_, None) => {}
        }
    }

    /// The environment ends: as [`destroy`](Self::destroy), without JavaScript. `last` is carried out before.
    pub fn shut_down(&self, last: Option<Operation>) {
        if let Some(BackendHandle::Native(handle)) = self.handle.borrow_mut().take() {
            if let Some(operation) = last {
                handle.database().enqueue(operation, None, self.last_timeout());
            }
            handle.close();
        }
    }

    /// Runs a clean-up that nobody waits for; answers whether the store is open.
    pub fn clean(&self, env: Env, make: impl FnOnce(Millis) -> Operation) -> bool {
        if self.backend().is_err() {
            return false;
        }
        if let Ok(now) = self.now(env) {
            let operation = make(now);
            self.run(env, if self.is_remote { self.on_one_host(self.kind, operation) } else { operation });
        }
        true
    }

    /// Housekeeping of a server, which is done by one host until that has not done so for two of its intervals.
    pub fn on_one_host(&self, kind: StoreKind, operation: Operation) -> Operation {
        let name = match kind {
            StoreKind::Cache | StoreKind::CacheTags | StoreKind::Server => "cache",
            StoreKind::CacheBounds => "cache bounds",
            StoreKind::Dedupe => "dedupe",
            StoreKind::RateLimit => "rate limit",
            StoreKind::Adaptive => "adaptive rate limit",
        };
        let now = self.system_now();
        let until = now + 2.0 * self.clean_every.get() + LEASE_MARGIN_MS;
        housekeeping::on_one_host(name, &self.host, [now, until], operation)
    }
}

/// What a host may be late by.
const LEASE_MARGIN_MS: Millis = 30_000.0;

/// At most a day: it is added to the clock.
fn duration(ms: Millis) -> Duration {
    Duration::from_secs_f64((ms / 1000.0).min(86_400.0))
}

/// Two copies of SQLite in one process on one file break each other's locks (sqlite.org/howtocorrupt.html, 2.2.1).
fn two_copies(path: &str) -> String {
    format!(
        "'{path}' is already open in this process, through something else than a store of \
         @comic-vine/sqlite-store. Two copies of SQLite on one file in one process can corrupt it: pass the open \
         connection as `database` instead of the path."
    )
}

fn is_undefined(env: Env, value: &Result<Value>) -> bool {
    value.as_ref().is_ok_and(|value| env.type_of(*value) == Type::Undefined)
}

/// A value that does not parse reads as absent, and its row is removed.
fn to_value(
    env: Env,
    realm: &Realm,
    environment: &Environment,
    backend: Option<&Backend>,
    ahead: Millis,
    answer: Result<Answer>,
) -> Result<Value> {
    Ok(match answer? {
        Answer::Undefined
        | Answer::Expired
        | Answer::Evicted(_)
        | Answer::Claimed
        | Answer::Ended { .. }
        | Answer::Renewed { .. }
        | Answer::Wait(_)
        | Answer::Polled(_) => env.undefined(),
        Answer::Null => env.null(),
        Answer::Bool(boolean) => env.boolean(boolean),
        Answer::Number(number) => env.number(number),
        Answer::Time(time) => env.number(time - ahead),
        Answer::Booked(wait) => {
            loop_time::update(env);
            env.number(wait)
        }
        Answer::Text(text) | Answer::Registered { job_id: text, .. } => env.string(&text)?,
        Answer::Record(fields) => realm.record(env, fields, ahead)?,
        Answer::Records(records) => realm.records(env, records, ahead)?,
        Answer::Rejection(error) => return Err(error.into()),
        Answer::Json { text, unreadable } => match realm.parse(env, &text) {
            Err(Failure::Thrown(_)) => {
                if let (Some(backend), Some(removal)) = (backend, unreadable) {
                    let removal = cache::remove_unreadable(removal);
                    let counts = backend.counts_entries().load(Ordering::Relaxed);
                    // Nobody waits for it, so it waits for no lock.
                    backend.enqueue(if counts { bounds::counted(removal) } else { removal }, Duration::ZERO);
                    environment.flush_later(env, backend);
                }
                env.undefined()
            }
            parsed => parsed?,
        },
    })
}
