//! What there is once per environment (the main thread, each worker): the calls whose promises are pending, the
//! databases with something queued, the end-of-stretch flush, and the one thread-safe function through which
//! background threads deliver.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use parking_lot::Mutex;
use slab::Slab;

use super::napi::env::{Env, Failure, Reference, Result, Value};
use super::napi::function::{ARGUMENTS, Callable, Returned};
use super::napi::wake_handle::{WakeHandle, at_end};
use crate::core::error::{Error, Result as CoreResult};
use crate::core::operation::Answer;
use crate::sqlite::database::{LogLossListener, Recipient, Reply};
use crate::sqlite::registry;
use crate::sqlite::watch::WatchEvent;

/// What is done with the answer to a queued call, on the JavaScript thread.
pub type AnswerHandler = Box<dyn FnOnce(Env, Result<Answer>)>;

/// A store as its environment sees it.
pub trait StoreEvents {
    /// Something has happened that concerns the store.
    fn on_event(&self, _env: Env, _event: WatchEvent) {}
    /// The process ends: what others are to know is to be submitted.
    fn exit(&self, _env: Env) {}
    /// The environment ends: commit, close, forget.
    fn shut_down(&self);
    /// The store's clean-up timer fired; whether it is to fire again.
    fn on_interval(&self, _env: Env) -> bool {
        false
    }
    /// A deadline of the store's has come.
    fn on_deadline(&self, _env: Env) {}
    /// A request has ended: its number, why it was refused, and what was answered.
    fn on_answered(&self, _env: Env, _ended: [Value; 3]) {}
}

/// A queue of operations that is carried out at the end of a stretch of JavaScript.
pub trait FlushTarget {
    /// What tells one queue from another.
    fn address(&self) -> usize;
    /// Carries out what is queued, or has it carried out.
    fn flush(&self, env: Env, environment: &Environment);
    /// Carries out what is queued. Done when it returns.
    fn drain(&self, env: Env, environment: &Environment);
}

/// Deliveries from any thread to one environment.
pub struct Mailbox {
    thread: ThreadId,
    answers: Mutex<Vec<(usize, CoreResult<Answer>)>>,
    /// What stores are to be told.
    events: Mutex<Vec<(usize, WatchEvent)>>,
    /// The files whose logs were lost.
    lost_logs: Mutex<Vec<PathBuf>>,
    wake_pending: AtomicBool,
    wake_handle: WakeHandle,
}

impl Mailbox {
    fn wake_if_elsewhere(&self) {
        // On the environment's own thread whoever runs operations collects the answers afterwards.
        if std::thread::current().id() != self.thread {
            self.wake();
        }
    }

    fn wake(&self) {
        if !self.wake_pending.swap(true, Ordering::SeqCst) {
            self.wake_handle.wake();
        }
    }

    /// Tells a store something.
    pub fn notify(&self, store: usize, event: WatchEvent) {
        let mut events = self.events.lock();
        if !events.contains(&(store, event.clone())) {
            events.push((store, event));
        }
        drop(events);
        self.wake_if_elsewhere();
    }
}

impl Recipient for Mailbox {
    fn deliver(&self, call: usize, answer: CoreResult<Answer>) {
        self.answers.lock().push((call, answer));
        self.wake_if_elsewhere();
    }
}

impl LogLossListener for Mailbox {
    fn log_lost(&self, path: &Path) {
        self.lost_logs.lock().push(path.to_owned());
        self.wake();
    }
}

pub struct Environment {
    mailbox: Arc<Mailbox>,
    calls: RefCell<Slab<AnswerHandler>>,
    stores: RefCell<HashMap<usize, Weak<dyn StoreEvents>>>,
    next_id: Cell<usize>,
    unflushed: RefCell<Vec<Box<dyn FlushTarget>>>,
    flush_scheduled: Cell<bool>,
    /// A function that has `flush` run as a microtask, whatever is faked: `then` of a promise that is settled.
    schedule_flush: Reference,
    /// What is to be carried out in the next turn of the event loop.
    next_turn: RefCell<Vec<Box<dyn FlushTarget>>>,
    /// Has the next turn taken.
    turn: WakeHandle,
    wants_turn: Cell<bool>,
    /// Whether the event loop has turned to this, rather than a microtask.
    in_turn: Cell<bool>,
    /// How many promises keep the process alive.
    held: Cell<usize>,
    exiting: Cell<bool>,
}

thread_local! {
    // Node runs one environment on a thread.
    static CURRENT: RefCell<Option<Rc<Environment>>> = const { RefCell::new(None) };
}

impl Environment {
    /// The running thread's environment.
    pub fn current() -> Result<Rc<Self>> {
        Self::existing().ok_or_else(|| Error::Internal("the environment has ended".to_owned()).into())
    }

    /// Starts the running thread's environment, unless it has been. `outside` is the place outside of any async context
    /// (see `lib/outside.js`), where this is to be called.
    pub fn start_once(env: Env, outside: Value) -> Result<()> {
        if Self::has_ended() {
            let environment = Rc::new(Self::start(env, outside)?);
            CURRENT.with(|current| *current.borrow_mut() = Some(environment));
        }
        Ok(())
    }

    fn existing() -> Option<Rc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Whether the running thread's environment has ended, or never began.
    pub fn has_ended() -> bool {
        Self::existing().is_none()
    }

    fn start(env: Env, outside: Value) -> Result<Self> {
        // With `node:async_hooks` it stands for both wake handles, and says whether something is awaited.
        let resource = env.object()?;
        env.set(resource, "hasRef", env.function("hasRef", &HAS_REF)?)?;
        let mailbox = Arc::new(Mailbox {
            thread: std::thread::current().id(),
            answers: Mutex::default(),
            events: Mutex::default(),
            lost_logs: Mutex::default(),
            wake_pending: AtomicBool::new(false),
            wake_handle: WakeHandle::new(env, resource, on_wake)?,
        });
        let turn = WakeHandle::new(env, resource, on_turn)?;

        let (deferred, promise) = env.promise()?;
        env.settle(deferred, Ok(env.undefined()));
        let then = env.get(promise, c"then")?;
        // What several callers asked for belongs to none of them.
        let flush = env.call(outside, env.get(outside, c"bind")?, &[env.function("flush", &FLUSH)?])?;
        let schedule_flush = env.call(then, env.get(then, c"bind")?, &[promise, flush])?;

        // `process.exit()` ends the main thread without running cleanup hooks.
        let process = env.get(env.global(), c"process")?;
        if env.is_object(process) {
            // Before listeners that close what stores were given.
            let on = env.get(process, c"prependListener")?;
            env.call(process, on, &[env.string("exit")?, env.function("exit", &EXIT)?])?;
        }

        let schedule_flush = env.create_reference(schedule_flush, true)?;
        // After the wake handles were made: it ends them. And last: it must not be asked for twice.
        at_end(env, on_end)?;

        Ok(Environment {
            mailbox,
            calls: RefCell::default(),
            stores: RefCell::default(),
            next_id: Cell::new(1),
            unflushed: RefCell::default(),
            flush_scheduled: Cell::new(false),
            schedule_flush,
            next_turn: RefCell::default(),
            turn,
            wants_turn: Cell::new(false),
            in_turn: Cell::new(false),
            held: Cell::new(0),
            exiting: Cell::new(false),
        })
    }

    /// Where other threads deliver.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    fn new_id(&self) -> usize {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    /// Registers a store; answers its number.
    pub fn join(&self, store: Weak<dyn StoreEvents>) -> usize {
        let id = self.new_id();
        self.stores.borrow_mut().insert(id, store);
        id
    }

    /// Forgets a store.
    pub fn leave(&self, store: usize) {
        self.stores.borrow_mut().remove(&store);
    }

    /// Keeps the process alive until [`release`](Self::release) is called as often.
    pub fn hold(&self, env: Env) {
        if self.held.replace(self.held.get() + 1) == 0 {
            // Only while the environment ends it can fail.
            let _ = self.mailbox.wake_handle.keep_alive(env, true);
        }
    }

    /// See [`hold`](Self::hold).
    pub fn release(&self, env: Env) {
        let left = self.held.get().saturating_sub(1);
        self.held.set(left);
        if left == 0 {
            let _ = self.mailbox.wake_handle.keep_alive(env, false);
        }
    }

    /// Registers what is to be done with an answer; whoever has the reply gives it, once.
    pub fn await_answer(&self, handler: AnswerHandler) -> Reply {
        let call = self.calls.borrow_mut().insert(handler);
        Reply::new(self.mailbox.clone(), call)
    }

    /// Has the next turn of the event loop taken. By way of `on_wake`: Node takes a wake-up that comes while
    /// it attends to the same one, and to the JavaScript that follows from it, in the same turn.
    fn ask_for_turn(&self) {
        self.wants_turn.set(true);
        self.mailbox.wake();
    }

    /// Another turn has come.
    fn take_turn(&self, env: Env) {
        let next_turn = self.next_turn.take();
        next_turn.iter().for_each(|queue| queue.flush(env, self));
    }

    /// Has a queue carried out in the next turn of the event loop.
    pub fn flush_next_turn(&self, queue: &(impl FlushTarget + Clone + 'static)) {
        add(&mut self.next_turn.borrow_mut(), queue);
        self.ask_for_turn();
    }

    /// Has a queue carried out at the end of the running stretch of JavaScript.
    pub fn flush_later(&self, env: Env, queue: &(impl FlushTarget + Clone + 'static)) {
        add(&mut self.unflushed.borrow_mut(), queue);
        if self.exiting.get() {
            // No microtask runs any more.
            self.flush(env);
            queue.drain(env, self);
            self.deliver_all(env);
        } else if !self.flush_scheduled.get() {
            self.flush_scheduled.set(self.schedule(env).is_ok());
        }
    }

    fn schedule(&self, env: Env) -> Result<()> {
        let ended = || Error::Internal("the environment has ended".to_owned());
        env.call(env.undefined(), env.reference_value(&self.schedule_flush).ok_or_else(ended)?, &[]).map(drop)
    }

    fn flush(&self, env: Env) {
        self.flush_scheduled.set(false);
        // Taken first: what runs may add others.
        let queues = self.unflushed.take();
        queues.iter().for_each(|queue| queue.flush(env, self));
        self.deliver_all(env);
    }

    /// Hands the answers that have come to the calls they belong to, in order, and tells stores what has happened.
    pub fn deliver_all(&self, env: Env) {
        self.mailbox.wake_pending.store(false, Ordering::SeqCst);
        loop {
            for path in std::mem::take(&mut *self.mailbox.lost_logs.lock()) {
                warn(env, "COMIC_VINE_SQLITE_STORE_LOG_LOST", &log_lost(&path));
            }
            let answers = std::mem::take(&mut *self.mailbox.answers.lock());
            // A ping asks for a turn of the event loop.
            let is_due = |(_, event): &mut (_, _)| self.in_turn.get() || *event != WatchEvent::Ping;
            let events: Vec<_> = self.mailbox.events.lock().extract_if(.., is_due).collect();
            if answers.is_empty() && events.is_empty() {
                return;
            }
            for (call, answer) in answers {
                let handler = self.calls.borrow_mut().try_remove(call);
                if let Some(handler) = handler {
                    handler(env, answer.map_err(Failure::Error));
                }
            }
            for (id, event) in events {
                if let Some(store) = self.store(id) {
                    store.on_event(env, event);
                }
            }
        }
    }

    fn store(&self, id: usize) -> Option<Rc<dyn StoreEvents>> {
        self.stores.borrow().get(&id).and_then(Weak::upgrade)
    }

    /// The store whose number JavaScript tells.
    fn numbered(&self, env: Env, number: Value) -> Option<Rc<dyn StoreEvents>> {
        self.store(env.as_number(number)? as usize)
    }

    /// A function that has the [`StoreEvents::on_interval`] run of the store whose number it is given; whether it is to run again.
    pub fn interval_function(env: Env) -> Result<Value> {
        env.function("onInterval", &ON_INTERVAL)
    }

    /// A function that has the [`StoreEvents::on_deadline`] run of the store whose number it is given.
    pub fn deadline_function(env: Env) -> Result<Value> {
        env.function("onDeadline", &ON_DEADLINE)
    }

    /// A function that tells a connection to a server, by its number, what has come of a request.
    pub fn answered_function(env: Env) -> Result<Value> {
        env.function("onAnswered", &ON_ANSWERED)
    }

    fn all_stores(&self) -> Vec<Rc<dyn StoreEvents>> {
        self.stores.borrow().values().filter_map(Weak::upgrade).collect()
    }

    fn end(&self) {
        self.mailbox.wake_handle.end();
        self.turn.end();
        let stores: Vec<_> = self.stores.borrow_mut().drain().filter_map(|(_, store)| store.upgrade()).collect();
        for store in stores {
            store.shut_down();
        }
        self.unflushed.borrow_mut().clear();
        self.next_turn.borrow_mut().clear();
        self.calls.borrow_mut().clear();
    }
}

/// Has the process emit a warning. Failures are ignored.
pub fn warn(env: Env, code: &str, message: &str) {
    let warn = || -> Result<()> {
        let process = env.get(env.global(), c"process")?;
        let emit = env.get(process, c"emitWarning")?;
        env.call(process, emit, &[env.string(message)?, env.string("Warning")?, env.string(code)?]).map(drop)
    };
    let _ = warn();
}

fn log_lost(path: &Path) -> String {
    format!(
        "The write-ahead log of '{}' was removed by another program, or replaced with the file, while this process had it \
         open: up to a second of writes may be lost, or all since the last checkpoint if it was removed by hand. The file has \
         been opened afresh. To read an open database with `fs` \
         in the same process drops its locks, after which others may remove its log.",
        path.display()
    )
}

/// Adds a queue to those that are to be carried out.
fn add(queues: &mut Vec<Box<dyn FlushTarget>>, queue: &(impl FlushTarget + Clone + 'static)) {
    if !queues.iter().any(|other| other.address() == queue.address()) {
        queues.push(Box::new(queue.clone()));
    }
}

/// A native function of an environment's.
struct Hook(fn(Env, &Environment, &[Value; ARGUMENTS]) -> Value);

impl Callable for Hook {
    fn call(&self, env: Env, arguments: &[Value; ARGUMENTS], _: Option<Value>) -> Returned {
        let environment = Environment::existing();
        Ok(environment.map_or_else(|| env.undefined(), |environment| (self.0)(env, &environment, arguments)))
    }
}

static HAS_REF: Hook = Hook(|env, environment, _| env.boolean(environment.held.get() > 0));

static FLUSH: Hook = Hook(|env, environment, _| {
    environment.flush(env);
    env.undefined()
});

static EXIT: Hook = Hook(|env, environment, _| {
    environment.exiting.set(true);
    for store in environment.all_stores() {
        store.exit(env);
    }
    environment.take_turn(env);
    environment.flush(env);
    registry::drain_all();
    env.undefined()
});

static ON_INTERVAL: Hook = Hook(|env, environment, [store, ..]| {
    env.boolean(environment.numbered(env, *store).is_some_and(|store| store.on_interval(env)))
});

static ON_ANSWERED: Hook = Hook(|env, environment, [connection, ticket, failure, answers, ..]| {
    if let Some(connection) = environment.numbered(env, *connection) {
        connection.on_answered(env, [*ticket, *failure, *answers]);
        environment.deliver_all(env);
    }
    env.undefined()
});

static ON_DEADLINE: Hook = Hook(|env, environment, [store, ..]| {
    if let Some(store) = environment.numbered(env, *store) {
        store.on_deadline(env);
    }
    env.undefined()
});

fn on_wake(env: Env) {
    let Some(environment) = Environment::existing() else { return };
    // First: whatever wakes from here on calls for another turn.
    environment.mailbox.wake_pending.store(false, Ordering::SeqCst);
    environment.in_turn.set(true);
    environment.flush(env);
    environment.in_turn.set(false);
    if environment.wants_turn.take() {
        environment.turn.wake();
    }
}

fn on_turn(env: Env) {
    let Some(environment) = Environment::existing() else { return };
    environment.take_turn(env);
    environment.flush(env);
}

fn on_end() {
    if let Some(environment) = CURRENT.try_with(|current| current.borrow_mut().take()).ok().flatten() {
        environment.end();
    }
}
