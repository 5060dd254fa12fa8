//! What all stores share: their part in a database, the way of a call through it, and their end.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::arguments::Arguments;
use super::backend::{Backend, Share};
use super::environment::{self, Environment, Member};
use super::given::Given;
use super::napi::js::{Failure, Js, Reference, Result, Value};
use super::options::{DatabaseOption, Members};
use super::realm::{Realm, Settler};
use crate::core::error::{Error, StoreKind};
use crate::core::operation::{Answer, Operation};
use crate::core::options::DatabaseOptions;
use crate::core::value::Millis;
use crate::sqlite::database::Listener;
use crate::sqlite::registry::{self, CloseBarrier};

/// A store's connection to JavaScript and to its database.
pub struct Store {
    kind: StoreKind,
    realm: Rc<Realm>,
    environment: Rc<Environment>,
    /// Its number in the environment.
    member: Cell<usize>,
    busy_timeout: Duration,
    /// `None` once closed.
    share: RefCell<Option<Share>>,
    /// Until a `close()` that is under way has come to its end.
    closing: RefCell<Option<CloseBarrier>>,
    interval: RefCell<Option<Reference>>,
}

/// A promise that is not settled yet. It keeps the process and the realm alive.
pub struct Pending {
    settler: Settler,
    environment: Rc<Environment>,
    realm: Rc<Realm>,
}

impl Pending {
    /// A pending promise and its other end.
    pub fn new(js: Js, environment: &Rc<Environment>, realm: &Rc<Realm>) -> Result<(Self, Value)> {
        let (settler, promise) = realm.promise(js)?;
        environment.hold(js);
        realm.hold(js);
        Ok((Pending { settler, environment: Rc::clone(environment), realm: Rc::clone(realm) }, promise))
    }

    /// Settles it.
    pub fn settle(self, js: Js, settlement: Result<Value>) {
        self.realm.settle(js, self.settler, settlement);
        self.environment.release(js);
        self.realm.release(js);
    }
}

/// How long a store that ends waits for a lock to say so to others: they notice without it, later.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    /// Opens the database that the options name.
    pub fn open(js: Js, kind: StoreKind, realm: Rc<Realm>, members: &Members<'_>) -> Result<Self> {
        let options: DatabaseOptions = members.database_options()?;
        let database = members.database()?;
        let environment = Environment::current(js)?;
        let share = match database {
            DatabaseOption::Path(path) => {
                let handle = registry::open(&path, kind, &options)?;
                if handle.is_open_elsewhere() {
                    let code = "COMIC_VINE_SQLITE_STORE_FILE_OPEN";
                    environment::warn(js, code, &two_copies(&path));
                }
                let listener: Arc<dyn Listener> = environment.mailbox().clone();
                handle.database().add_listener(Arc::downgrade(&listener));
                Share::Own(handle)
            }
            DatabaseOption::Connection(connection) => Share::Given(Given::open(js, connection, kind, &realm)?),
        };
        // At most a day: it is added to the clock.
        let busy_timeout = Duration::from_secs_f64((options.busy_timeout_ms / 1000.0).min(86_400.0));
        Ok(Store {
            kind,
            realm,
            environment,
            member: Cell::new(0),
            busy_timeout,
            share: RefCell::new(Some(share)),
            closing: RefCell::new(None),
            interval: RefCell::new(None),
        })
    }

    /// Joins the environment, and starts the clean-up timer.
    pub fn join(&self, js: Js, member: Weak<dyn Member>, clean_every: Millis) -> Result<()> {
        self.joined_as(self.environment.join(member));
        self.start_cleaning(js, clean_every)
    }

    /// Takes the number that the environment gave the store.
    pub fn joined_as(&self, member: usize) {
        self.member.set(member);
    }

    /// Starts the clean-up timer; 0 means none.
    pub fn start_cleaning(&self, js: Js, clean_every: Millis) -> Result<()> {
        if clean_every > 0.0 {
            let timer = self.realm.start_timer(js, Environment::ticker(js)?, self.member(), clean_every, true)?;
            *self.interval.borrow_mut() = Some(timer);
        }
        Ok(())
    }

    /// The realm it belongs to.
    pub fn realm(&self) -> &Rc<Realm> {
        &self.realm
    }

    /// The environment it belongs to.
    pub fn environment(&self) -> &Rc<Environment> {
        &self.environment
    }

    /// The store's number in its environment.
    pub fn member(&self) -> usize {
        self.member.get()
    }

    /// Where its operations run.
    ///
    /// # Errors
    /// [`Error::Destroyed`] after the end.
    pub fn backend(&self) -> Result<Backend> {
        let share = self.share.borrow();
        share.as_ref().map(Share::backend).ok_or_else(|| Error::Destroyed(self.kind).into())
    }

    /// The way of a call: checks that the store is open, makes the operation, and answers its answer, or the promise
    /// of it. `make` answers `None` where there is nothing to do.
    ///
    /// # Errors
    /// What the call is refused with at once.
    pub fn call(&self, call: &Arguments, make: impl FnOnce() -> Result<Option<Operation>>) -> Result<Value> {
        if self.share.borrow().is_none() {
            return Err(Error::Destroyed(self.kind).into());
        }
        let operation = make()?;
        // Again: JavaScript of the user's (`toJSON`, a getter) may have ended the store meanwhile.
        let backend = self.backend()?;
        operation.map_or_else(|| Ok(call.js.undefined()), |operation| self.submit(call, &backend, operation))
    }

    fn submit(&self, call: &Arguments, backend: &Backend, operation: Operation) -> Result<Value> {
        let js = call.js;
        let mut promise = None;
        let answer = backend.submit(&self.environment, operation, self.busy_timeout, || {
            match Pending::new(js, &self.environment, &self.realm) {
                Ok((pending, value)) => {
                    promise = Some(value);
                    let backend = backend.clone();
                    Box::new(move |js, answer| {
                        let value = to_value(js, &pending.realm, &pending.environment, Some(&backend), answer);
                        pending.settle(js, value);
                    })
                }
                // Only while the environment ends, when nobody can look at the promise.
                Err(_) => Box::new(|_, _| ()),
            }
        });
        let value = match answer {
            Some(Ok(Answer::Json { text, .. })) if call.takes_text => js.string(&text),
            Some(answer) => self.to_value(js, answer),
            None => Ok(promise.unwrap_or_else(|| js.undefined())),
        };
        if backend.needs_flush() {
            self.environment.flush_later(js, backend);
        }
        value
    }

    /// The JavaScript value of an answer.
    pub fn to_value(&self, js: Js, answer: Result<Answer>) -> Result<Value> {
        to_value(js, &self.realm, &self.environment, self.backend().ok().as_ref(), answer)
    }

    /// Carries out an operation, at once where that may be, and hands its answer on. After the end it is refused.
    pub fn perform(&self, js: Js, operation: Operation, then: impl FnOnce(Js, Result<Answer>) + 'static) {
        let backend = match self.backend() {
            Ok(backend) => backend,
            Err(failure) => return then(js, Err(failure)),
        };
        let mut then = Some(then);
        let answer = backend.submit(&self.environment, operation, self.busy_timeout, || match then.take() {
            Some(then) => Box::new(then),
            None => Box::new(|_, _| ()),
        });
        if let (Some(answer), Some(then)) = (answer, then) {
            then(js, answer);
        }
        if backend.needs_flush() {
            self.environment.flush_later(js, &backend);
        }
    }

    /// Carries out an operation whose answer goes to nobody. Nothing happens after the end.
    pub fn run(&self, js: Js, operation: Operation) {
        self.run_within(js, operation, self.busy_timeout);
    }

    fn run_within(&self, js: Js, operation: Operation, busy_timeout: Duration) {
        let Ok(backend) = self.backend() else { return };
        backend.enqueue(operation, busy_timeout);
        self.environment.flush_later(js, &backend);
    }

    /// Ends the store: what was called before is committed, and if it was the last on its file, the file is closed.
    /// Done when it returns.
    pub fn destroy(&self, js: Js) {
        match self.end(js) {
            Some(share) => share.close(&self.environment),
            None => match self.closing.borrow_mut().take() {
                Some(closing) => closing.wait(),
                None => return,
            },
        }
        self.environment.deliver_all(js);
    }

    /// As [`destroy`](Self::destroy), without keeping the thread: answers a promise.
    pub fn close(&self, js: Js) -> Result<Value> {
        let handle = match self.end(js) {
            Some(Share::Own(handle)) => handle,
            ended => {
                if let Some(share) = ended {
                    share.close(&self.environment);
                }
                return Ok(js.undefined());
            }
        };
        let (pending, promise) = Pending::new(js, &self.environment, &self.realm)?;
        let reply = self.environment.await_answer(Box::new(move |js, _| {
            pending.settle(js, Ok(js.undefined()));
        }));
        let closing = handle.close_in_background(move || reply.deliver(Ok(Answer::Undefined)));
        if closing.has_ended() {
            // On this thread: the system refused another.
            self.environment.deliver_all(js);
        }
        *self.closing.borrow_mut() = Some(closing);
        Ok(promise)
    }

    fn end(&self, js: Js) -> Option<Share> {
        if let Some(timer) = self.interval.borrow_mut().take() {
            self.realm.stop_timer(js, timer);
        }
        self.share.borrow_mut().take()
    }

    /// Carries out the last operation of a store that ends, which nobody waits for. The end does not wait long for it.
    pub fn run_last(&self, js: Js, operation: Operation) {
        self.run_within(js, operation, self.last_patience());
    }

    fn last_patience(&self) -> Duration {
        self.busy_timeout.min(LAST_PATIENCE)
    }

    /// The store's object has been collected: `last` is carried out and its share in the database given back in the
    /// background, and its timer stops when it finds it gone.
    pub fn collected(&self, js: Js, last: Option<Operation>) {
        self.environment.leave(self.member.get());
        if Environment::has_ended() {
            return;
        }
        if let Some(timer) = self.interval.borrow_mut().take() {
            js.drop_reference(timer);
        }
        let Some(share) = self.share.borrow_mut().take() else { return };
        match (&share, last) {
            (Share::Own(handle), Some(last)) => handle.database().run_in_background(last, self.last_patience()),
            (Share::Given(given), Some(last)) => {
                given.enqueue(last, None);
                self.environment.flush_next_turn(&share.backend());
            }
            (_, None) => {}
        }
    }

    /// The environment ends: as [`destroy`](Self::destroy), without JavaScript. `last` is carried out before.
    pub fn shut_down(&self, last: Option<Operation>) {
        if let Some(Share::Own(handle)) = self.share.borrow_mut().take() {
            if let Some(operation) = last {
                handle.database().enqueue(operation, None, self.last_patience());
            }
            handle.close();
        }
    }

    /// Runs a clean-up that nobody waits for; answers whether the store is open.
    pub fn clean(&self, js: Js, make: impl FnOnce(Millis) -> Operation) -> bool {
        if self.backend().is_err() {
            return false;
        }
        if let Ok(now) = self.realm.now(js) {
            self.run(js, make(now));
        }
        true
    }
}

/// Two copies of SQLite in one process on one file break each other's locks (sqlite.org/howtocorrupt.html, 2.2.1).
fn two_copies(path: &str) -> String {
    format!(
        "'{path}' is already open in this process, through something else than a store of \
         @comic-vine/sqlite-store. Two copies of SQLite on one file in one process can corrupt it: pass the open \
         connection as `database` instead of the path."
    )
}

/// A value that does not parse reads as absent, and its row is removed.
fn to_value(
    js: Js,
    realm: &Realm,
    environment: &Environment,
    backend: Option<&Backend>,
    answer: Result<Answer>,
) -> Result<Value> {
    Ok(match answer? {
        Answer::Undefined | Answer::Claimed | Answer::Ended { .. } | Answer::Wait(_) => js.undefined(),
        Answer::Null => js.null(),
        Answer::Bool(boolean) => js.boolean(boolean),
        Answer::Number(number) => js.number(number),
        Answer::Text(text) | Answer::Registered { job_id: text, .. } => js.string(&text)?,
        Answer::Record(fields) => realm.record(js, fields)?,
        Answer::Rejection(error) => return Err(error.into()),
        Answer::Json { text, unreadable } => match realm.parse(js, &text) {
            Err(Failure::Thrown(_)) => {
                if let (Some(backend), Some(removal)) = (backend, unreadable) {
                    // Nobody waits for it, so it waits for no lock.
                    backend.enqueue(Operation::command([removal]), Duration::ZERO);
                    environment.flush_later(js, backend);
                }
                js.undefined()
            }
            parsed => parsed?,
        },
    })
}
