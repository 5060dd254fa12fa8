//! What there is once per environment (the main thread, each worker): the calls whose promises are pending, the
//! databases with something queued, the end-of-stretch flush, and the one thread-safe function through which
//! background threads deliver.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use napi::sys;
use parking_lot::Mutex;
use slab::Slab;

use super::js::{Failure, Js, Reference, Result, Value};
use crate::core::error::{Error, Result as CoreResult};
use crate::core::plan::Answer;
use crate::sqlite::database::{Listener, Recipient, Reply};
use crate::sqlite::registry;
use crate::sqlite::watch::Signal as Notice;

/// What is done with the answer to a queued call, on the JavaScript thread.
pub type Continuation = Box<dyn FnOnce(Js, Result<Answer>)>;

/// A store as its environment sees it.
pub trait Member {
    /// Something is to be looked after.
    fn notice(&self, _js: Js, _notice: Notice) {}
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
    notices: Mutex<Vec<(usize, Notice)>>,
    /// The files whose logs were lost.
    lost_logs: Mutex<Vec<PathBuf>>,
    signalled: AtomicBool,
    signal: Mutex<Option<Signal>>,
}

/// A thread-safe function without a JavaScript function: it only makes a callback run.
#[derive(Clone, Copy)]
struct Signal(sys::napi_threadsafe_function);

// SAFETY: Node-API allows `napi_call_threadsafe_function` from any thread, which is all that other threads do with
// it; the mutex around it keeps them from doing so once the environment has begun to end.
unsafe impl Send for Signal {}

impl Signal {
    /// Does not keep the process alive.
    fn new(js: Js, callback: sys::napi_threadsafe_function_call_js) -> Result<Self> {
        let mut function = ptr::null_mut();
        let name = js.string("@comic-vine/sqlite-store")?;
        // SAFETY: no JavaScript function and no data; the callback takes what it needs from the thread.
        unsafe {
            sys::napi_create_threadsafe_function(
                js.raw(),
                ptr::null_mut(),
                ptr::null_mut(),
                name.raw(),
                0,
                1,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
                callback,
                &mut function,
            );
            sys::napi_unref_threadsafe_function(js.raw(), function);
        }
        Ok(Signal(function))
    }

    /// Has the callback run.
    ///
    /// # Safety
    /// The environment must not have ended.
    unsafe fn raise(self) {
        // SAFETY: by the caller's promise.
        unsafe {
            sys::napi_call_threadsafe_function(
                self.0,
                ptr::null_mut(),
                sys::ThreadsafeFunctionCallMode::nonblocking,
            )
        };
    }
}

impl Mailbox {
    fn raise(&self) {
        // On the environment's own thread whoever runs operations collects the answers afterwards.
        if std::thread::current().id() != self.thread {
            self.signal();
        }
    }

    fn signal(&self) {
        if self.signalled.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(signal) = *self.signal.lock() {
            // SAFETY: the function is valid while it is in `signal`; see `Environment::end`.
            unsafe { signal.raise() };
        }
    }

    /// Tells a member something.
    pub fn notify(&self, member: usize, notice: Notice) {
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
    /// Makes [`on_turn`] run.
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
        let mailbox = Arc::new(Mailbox {
            thread: std::thread::current().id(),
            answers: Mutex::default(),
            notices: Mutex::default(),
            lost_logs: Mutex::default(),
            signalled: AtomicBool::new(false),
            signal: Mutex::new(None),
        });
        let (signal, turn) = (Signal::new(js, Some(on_signal))?, Signal::new(js, Some(on_turn))?);
        // SAFETY: `on_end` uses no data. The hook is added after the functions were made, and hooks run last-in
        // first-out: it runs while they are still valid.
        unsafe { sys::napi_add_env_cleanup_hook(js.raw(), Some(on_end), ptr::null_mut()) };
        *mailbox.signal.lock() = Some(signal);

        let (deferred, promise) = js.promise()?;
        js.settle(deferred, Ok(js.undefined()));
        // SAFETY: `on_microtask` and `on_exit` use no data.
        let (flush, exit) = unsafe {
            (
                js.function(Some(on_microtask), ptr::null_mut(), "flush")?,
                js.function(Some(on_exit), ptr::null_mut(), "exit")?,
            )
        };
        let then = js.get(promise, c"then")?;
        let schedule_flush = js.call(then, js.get(then, c"bind")?, &[promise, flush])?;

        // `process.exit()` ends the main thread without running cleanup hooks.
        let process = js.get(js.global(), c"process")?;
        if js.is_object(process) {
            // Before listeners that close what stores were given.
            let on = js.get(process, c"prependListener")?;
            js.call(process, on, &[js.string("exit")?, exit])?;
        }

        Ok(Environment {
            mailbox,
            calls: RefCell::default(),
            members: RefCell::default(),
            next_id: Cell::new(1),
            unflushed: RefCell::default(),
            flush_scheduled: Cell::new(false),
            schedule_flush: js.refer(schedule_flush, true)?,
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
        if self.held.replace(self.held.get() + 1) == 0
            && let Some(Signal(function)) = *self.mailbox.signal.lock()
        {
            // SAFETY: on the environment's thread, while the function is valid.
            unsafe { sys::napi_ref_threadsafe_function(js.raw(), function) };
        }
    }

    /// See [`hold`](Self::hold).
    pub fn release(&self, js: Js) {
        let left = self.held.get().saturating_sub(1);
        self.held.set(left);
        if left == 0
            && let Some(Signal(function)) = *self.mailbox.signal.lock()
        {
            // SAFETY: as in `hold`.
            unsafe { sys::napi_unref_threadsafe_function(js.raw(), function) };
        }
    }

    /// Registers what is to be done with an answer; whoever has the reply gives it, once.
    pub fn await_answer(&self, continuation: Continuation) -> Reply {
        let call = self.calls.borrow_mut().insert(continuation);
        Reply::new(self.mailbox.clone(), call)
    }

    /// Has [`on_turn`] run in the next turn of the event loop. By way of `on_signal`: Node takes a signal that comes while
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

    /// A function that makes a store's [`Member::tick`] run, and answers whether it is to run again.
    pub fn ticker(&self, js: Js, member: usize) -> Result<Value> {
        // SAFETY: the data is a number, not an address.
        unsafe { js.function(Some(on_tick), ptr::without_provenance_mut(member), "tick") }
    }

    /// A function that makes a store's [`Member::alarm`] run.
    pub fn alarm(&self, js: Js, member: usize) -> Result<Value> {
        // SAFETY: as in `ticker`.
        unsafe { js.function(Some(on_alarm), ptr::without_provenance_mut(member), "alarm") }
    }

    fn all_members(&self) -> Vec<Rc<dyn Member>> {
        self.members.borrow().values().filter_map(Weak::upgrade).collect()
    }

    fn end(&self) {
        // Waits for a thread that is calling it this moment; later ones find it gone.
        *self.mailbox.signal.lock() = None;
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

/// Runs `body` for the running thread's environment, unless it ends. A panic ends here.
fn enter(env: sys::napi_env, body: impl FnOnce(Js, &Environment)) {
    // A signal that comes while the environment ends has none.
    if env.is_null() {
        return;
    }
    let Some(environment) = Environment::existing() else {
        return;
    };
    // SAFETY: called from callbacks of this environment, on its thread.
    let js = unsafe { Js::new(env) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(js, &environment)));
}

unsafe extern "C" fn on_signal(
    env: sys::napi_env,
    _function: sys::napi_value,
    _context: *mut c_void,
    _data: *mut c_void,
) {
    enter(env, |js, environment| {
        // First: what is signalled from here on calls for another turn.
        environment.mailbox.signalled.store(false, Ordering::SeqCst);
        environment.flush(js);
        if environment.wants_turn.take() {
            // SAFETY: within a callback of the environment.
            unsafe { environment.turn.raise() };
        }
    });
}

unsafe extern "C" fn on_turn(
    env: sys::napi_env,
    _function: sys::napi_value,
    _context: *mut c_void,
    _data: *mut c_void,
) {
    enter(env, |js, environment| {
        environment.take_turn(js);
        environment.flush(js);
    });
}

unsafe extern "C" fn on_microtask(env: sys::napi_env, _info: sys::napi_callback_info) -> sys::napi_value {
    enter(env, |js, environment| environment.flush(js));
    ptr::null_mut()
}

unsafe extern "C" fn on_exit(env: sys::napi_env, _info: sys::napi_callback_info) -> sys::napi_value {
    enter(env, |js, environment| {
        environment.exiting.set(true);
        for member in environment.all_members() {
            member.exit(js);
        }
        environment.take_turn(js);
        environment.flush(js);
        registry::drain_all();
    });
    ptr::null_mut()
}

/// # Safety
/// `env` and `info` must be those of the running callback, whose data is a member's number.
unsafe fn member_of(env: sys::napi_env, info: sys::napi_callback_info) -> usize {
    let mut data = ptr::null_mut();
    // SAFETY: by the caller's promise; only the data is asked for.
    unsafe {
        sys::napi_get_cb_info(env, info, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), &mut data);
    }
    data.addr()
}

unsafe extern "C" fn on_tick(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: `ticker` made the function.
    let member = unsafe { member_of(env, info) };
    let mut again = false;
    enter(env, |js, environment| {
        again = environment.member(member).is_some_and(|member| member.tick(js));
    });
    // SAFETY: as in `enter`.
    unsafe { Js::new(env) }.boolean(again).raw()
}

unsafe extern "C" fn on_alarm(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: `alarm` made the function.
    let member = unsafe { member_of(env, info) };
    enter(env, |js, environment| {
        if let Some(member) = environment.member(member) {
            member.alarm(js);
        }
    });
    ptr::null_mut()
}

unsafe extern "C" fn on_end(_data: *mut c_void) {
    let environment = CURRENT.try_with(|current| current.borrow_mut().take()).ok().flatten();
    if let Some(environment) = environment {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| environment.end()));
    }
}
