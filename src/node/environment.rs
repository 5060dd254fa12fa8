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

use super::napi::function::{ARGUMENTS, Callable};
use super::napi::js::{Failure, Js, Reference, Result, Type, Value};
use super::napi::signal::{Signal, at_end};
use crate::core::error::{Error, Result as CoreResult};
use crate::core::operation::Answer;
use crate::sqlite::database::{Listener, Recipient, Reply};
use crate::sqlite::registry;
use crate::sqlite::watch::WatchEvent;

/// What is done with the answer to a queued call, on the JavaScript thread.
pub type Continuation = Box<dyn FnOnce(Js, Result<Answer>)>;

/// A store as its environment sees it.
pub trait Member {
    /// Something is to be looked after.
    fn notice(&self, _js: Js, _notice: WatchEvent) {}
    /// The process ends: what others are to know is to be handed in.
    fn exit(&self, _js: Js) {}
    /// The environment ends: commit, close, forget.
    fn shut_down(&self);
    /// The store's clean-up timer fired; whether it is to fire again.
    fn tick(&self, _js: Js) -> bool {
        false
    }
    /// A deadline of the store's has come.
    fn alarm(&self, _js: Js) {}
}

/// A queue of operations that is carried out at the end of a stretch of JavaScript.
pub trait Queue {
    /// What tells one queue from another.
    fn address(&self) -> usize;
    /// Carries out what is queued, or has it carried out.
    fn flush(&self, js: Js, environment: &Environment);
    /// Carries out what is queued. Done when it returns.
    fn drain(&self, js: Js, environment: &Environment);
}

/// Deliveries from any thread to one environment.
pub struct Mailbox {
    thread: ThreadId,
    answers: Mutex<Vec<(usize, CoreResult<Answer>)>>,
    /// What members are to look after.
    notices: Mutex<Vec<(usize, WatchEvent)>>,
    /// The files whose logs were lost.
    lost_logs: Mutex<Vec<PathBuf>>,
    signalled: AtomicBool,
    signal: Signal,
}

impl Mailbox {
    fn raise(&self) {
        // On the environment's own thread whoever runs operations collects the answers afterwards.
        if std::thread::current().id() != self.thread {
            self.signal();
        }
    }

    fn signal(&self) {
        if !self.signalled.swap(true, Ordering::SeqCst) {
            self.signal.raise();
        }
    }

    /// Tells a member something.
    pub fn notify(&self, member: usize, notice: WatchEvent) {
        let mut notices = self.notices.lock();
        if !notices.contains(&(member, notice)) {
            notices.push((member, notice));
        }
        drop(notices);
        self.raise();
    }
}

impl Recipient for Mailbox {
    fn deliver(&self, call: usize, answer: CoreResult<Answer>) {
        self.answers.lock().push((call, answer));
        self.raise();
    }
}

impl Listener for Mailbox {
    fn log_lost(&self, path: &Path) {
        self.lost_logs.lock().push(path.to_owned());
        self.signal();
    }
}

/// See the module's description.
pub struct Environment {
    mailbox: Arc<Mailbox>,
    calls: RefCell<Slab<Continuation>>,
    members: RefCell<HashMap<usize, Weak<dyn Member>>>,
    next_id: Cell<usize>,
    unflushed: RefCell<Vec<Box<dyn Queue>>>,
    flush_scheduled: Cell<bool>,
    /// A function that has `flush` run as a microtask, whatever is faked: `then` of a promise that is settled.
    schedule_flush: Reference,
    /// What is to be carried out in the next turn of the event loop.
    resting: RefCell<Vec<Box<dyn Queue>>>,
    /// Has the next turn taken.
    turn: Signal,
    wants_turn: Cell<bool>,
    /// How many promises keep the process alive.
    held: Cell<usize>,
    exiting: Cell<bool>,
}

thread_local! {
    // Node runs one environment on a thread.
    static CURRENT: RefCell<Option<Rc<Environment>>> = const { RefCell::new(None) };
}

impl Environment {
    /// The running thread's environment, made when first asked for.
    pub fn current(js: Js) -> Result<Rc<Self>> {
        if let Some(environment) = Self::existing() {
            return Ok(environment);
        }
        let environment = Rc::new(Self::start(js)?);
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&environment)));
        Ok(environment)
    }

    fn existing() -> Option<Rc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Whether the running thread's environment has ended, or never began.
    pub fn has_ended() -> bool {
        Self::existing().is_none()
    }

    fn start(js: Js) -> Result<Self> {
        // With `node:async_hooks` it stands for both signals, and says whether something is awaited.
        let resource = js.object()?;
        js.set(resource, "hasRef", js.function("hasRef", &HAS_REF)?)?;
        let mailbox = Arc::new(Mailbox {
            thread: std::thread::current().id(),
            answers: Mutex::default(),
            notices: Mutex::default(),
            lost_logs: Mutex::default(),
            signalled: AtomicBool::new(false),
            signal: Signal::new(js, resource, on_signal)?,
        });
        let turn = Signal::new(js, resource, on_turn)?;
        forget_stored(js, resource)?;

        let (deferred, promise) = js.promise()?;
        js.settle(deferred, Ok(js.undefined()));
        forget_stored(js, promise)?;
        let then = js.get(promise, c"then")?;
        let flush = js.function("flush", &FLUSH)?;
        let schedule_flush = js.call(then, js.get(then, c"bind")?, &[promise, flush])?;

        // `process.exit()` ends the main thread without running cleanup hooks.
        let process = js.get(js.global(), c"process")?;
        if js.is_object(process) {
            // Before listeners that close what stores were given.
            let on = js.get(process, c"prependListener")?;
            js.call(process, on, &[js.string("exit")?, js.function("exit", &EXIT)?])?;
        }

        let schedule_flush = js.refer(schedule_flush, true)?;
        // After the signals were made: it ends them. And last: it must not be asked for twice.
        at_end(js, on_end)?;

        Ok(Environment {
            mailbox,
            calls: RefCell::default(),
            members: RefCell::default(),
            next_id: Cell::new(1),
            unflushed: RefCell::default(),
            flush_scheduled: Cell::new(false),
            schedule_flush,
            resting: RefCell::default(),
            turn,
            wants_turn: Cell::new(false),
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
    pub fn join(&self, member: Weak<dyn Member>) -> usize {
        let id = self.new_id();
        self.members.borrow_mut().insert(id, member);
        id
    }

    /// Forgets a store.
    pub fn leave(&self, member: usize) {
        self.members.borrow_mut().remove(&member);
    }

    /// Keeps the process alive until [`release`](Self::release) is called as often.
    pub fn hold(&self, js: Js) {
        if self.held.replace(self.held.get() + 1) == 0 {
            // Only while the environment ends it can fail.
            let _ = self.mailbox.signal.keep_alive(js, true);
        }
    }

    /// See [`hold`](Self::hold).
    pub fn release(&self, js: Js) {
        let left = self.held.get().saturating_sub(1);
        self.held.set(left);
        if left == 0 {
            let _ = self.mailbox.signal.keep_alive(js, false);
        }
    }

    /// Registers what is to be done with an answer; whoever has the reply gives it, once.
    pub fn await_answer(&self, continuation: Continuation) -> Reply {
        let call = self.calls.borrow_mut().insert(continuation);
        Reply::new(self.mailbox.clone(), call)
    }

    /// Has the next turn of the event loop taken. By way of `on_signal`: Node takes a signal that comes while
    /// it attends to the same one, and to the JavaScript that follows from it, in the same turn.
    fn ask_for_turn(&self) {
        self.wants_turn.set(true);
        self.mailbox.signal();
    }

    /// Another turn has come.
    fn take_turn(&self, js: Js) {
        let resting = self.resting.take();
        resting.iter().for_each(|queue| queue.flush(js, self));
    }

    /// Has a queue carried out in the next turn of the event loop.
    pub fn flush_next_turn(&self, queue: &(impl Queue + Clone + 'static)) {
        add(&mut self.resting.borrow_mut(), queue);
        self.ask_for_turn();
    }

    /// Has a queue carried out at the end of the running stretch of JavaScript.
    pub fn flush_later(&self, js: Js, queue: &(impl Queue + Clone + 'static)) {
        add(&mut self.unflushed.borrow_mut(), queue);
        if self.exiting.get() {
            // No microtask runs any more.
            self.flush(js);
            queue.drain(js, self);
            self.deliver_all(js);
        } else if !self.flush_scheduled.get() {
            self.flush_scheduled.set(self.schedule(js).is_ok());
        }
    }

    fn schedule(&self, js: Js) -> Result<()> {
        let ended = || Error::Internal("the environment has ended".to_owned());
        js.call(js.undefined(), js.deref(&self.schedule_flush).ok_or_else(ended)?, &[]).map(drop)
    }

    fn flush(&self, js: Js) {
        self.flush_scheduled.set(false);
        // Taken first: what runs may add others.
        let queues = self.unflushed.take();
        queues.iter().for_each(|queue| queue.flush(js, self));
        self.deliver_all(js);
    }

    /// Hands the answers that have come to the calls they belong to, in order, and has members look again.
    pub fn deliver_all(&self, js: Js) {
        self.mailbox.signalled.store(false, Ordering::SeqCst);
        loop {
            for path in std::mem::take(&mut *self.mailbox.lost_logs.lock()) {
                warn(js, "COMIC_VINE_SQLITE_STORE_LOG_LOST", &log_lost(&path));
            }
            let answers = std::mem::take(&mut *self.mailbox.answers.lock());
            let notices = std::mem::take(&mut *self.mailbox.notices.lock());
            if answers.is_empty() && notices.is_empty() {
                return;
            }
            for (call, answer) in answers {
                let continuation = self.calls.borrow_mut().try_remove(call);
                if let Some(continuation) = continuation {
                    continuation(js, answer.map_err(Failure::Error));
                }
            }
            for (id, notice) in notices {
                if let Some(member) = self.member(id) {
                    member.notice(js, notice);
                }
            }
        }
    }

    fn member(&self, id: usize) -> Option<Rc<dyn Member>> {
        self.members.borrow().get(&id).and_then(Weak::upgrade)
    }

    /// The store whose number JavaScript tells.
    fn numbered(&self, js: Js, number: Value) -> Option<Rc<dyn Member>> {
        self.member(js.as_number(number)? as usize)
    }

    /// A function that has the [`Member::tick`] run of the store whose number it is given; whether it is to run again.
    pub fn ticker(js: Js) -> Result<Value> {
        js.function("tick", &TICK)
    }

    /// A function that has the [`Member::alarm`] run of the store whose number it is given.
    pub fn alarm(js: Js) -> Result<Value> {
        js.function("alarm", &ALARM)
    }

    fn all_members(&self) -> Vec<Rc<dyn Member>> {
        self.members.borrow().values().filter_map(Weak::upgrade).collect()
    }

    fn end(&self) {
        self.mailbox.signal.end();
        self.turn.end();
        let members: Vec<_> =
            self.members.borrow_mut().drain().filter_map(|(_, member)| member.upgrade()).collect();
        for member in members {
            member.shut_down();
        }
        self.unflushed.borrow_mut().clear();
        self.resting.borrow_mut().clear();
        self.calls.borrow_mut().clear();
    }
}

/// Has the process emit a warning. One that cannot be given is not given.
pub fn warn(js: Js, code: &str, message: &str) {
    let warn = || -> Result<()> {
        let process = js.get(js.global(), c"process")?;
        let emit = js.get(process, c"emitWarning")?;
        js.call(process, emit, &[js.string(message)?, js.string("Warning")?, js.string(code)?]).map(drop)
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
fn add(queues: &mut Vec<Box<dyn Queue>>, queue: &(impl Queue + Clone + 'static)) {
    if !queues.iter().any(|other| other.address() == queue.address()) {
        queues.push(Box::new(queue.clone()));
    }
}

/// A native function of an environment's.
struct Hook(fn(Js, &Environment, &[Value; ARGUMENTS]) -> Value);

impl Callable for Hook {
    fn call(&self, js: Js, arguments: &[Value; ARGUMENTS]) -> std::result::Result<Value, Value> {
        let environment = Environment::existing();
        Ok(environment.map_or_else(|| js.undefined(), |environment| (self.0)(js, &environment, arguments)))
    }
}

/// Takes off an object that lives as long as the environment what an `AsyncLocalStorage` gave it: what is stored where the
/// first store is made, which would live as long.
fn forget_stored(js: Js, object: Value) -> Result<()> {
    let reflect = js.get(js.global(), c"Reflect")?;
    let keys = js.call(reflect, js.get(reflect, c"ownKeys")?, &[object])?;
    for index in 0..js.array_length(keys)? {
        let key = js.element(keys, index)?;
        if js.type_of(key) == Type::Symbol {
            js.call(reflect, js.get(reflect, c"deleteProperty")?, &[object, key])?;
        }
    }
    Ok(())
}

static HAS_REF: Hook = Hook(|js, environment, _| js.boolean(environment.held.get() > 0));

static FLUSH: Hook = Hook(|js, environment, _| {
    environment.flush(js);
    js.undefined()
});

static EXIT: Hook = Hook(|js, environment, _| {
    environment.exiting.set(true);
    for member in environment.all_members() {
        member.exit(js);
    }
    environment.take_turn(js);
    environment.flush(js);
    registry::drain_all();
    js.undefined()
});

static TICK: Hook = Hook(|js, environment, [member, ..]| {
    js.boolean(environment.numbered(js, *member).is_some_and(|member| member.tick(js)))
});

static ALARM: Hook = Hook(|js, environment, [member, ..]| {
    if let Some(member) = environment.numbered(js, *member) {
        member.alarm(js);
    }
    js.undefined()
});

fn on_signal(js: Js) {
    let Some(environment) = Environment::existing() else { return };
    // First: what is signalled from here on calls for another turn.
    environment.mailbox.signalled.store(false, Ordering::SeqCst);
    environment.flush(js);
    if environment.wants_turn.take() {
        environment.turn.raise();
    }
}

fn on_turn(js: Js) {
    let Some(environment) = Environment::existing() else { return };
    environment.take_turn(js);
    environment.flush(js);
}

fn on_end() {
    if let Some(environment) = CURRENT.try_with(|current| current.borrow_mut().take()).ok().flatten() {
        environment.end();
    }
}
