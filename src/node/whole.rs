//! What a store does with the whole of its database: `backup()` and `vacuum()`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::arguments::Arguments;
use super::backend::Backend;
use super::environment::Environment;
use super::metrics::Counted;
use super::napi::env::{Env, Failure, Persistent, Reference, Result, Type, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use super::store::{Pending, Store};
use crate::core::error::Error;
use crate::core::operation::{Answer, Field};
use crate::sqlite::backup::CopyProgress;
use crate::sqlite::database::{Reply, Task};

/// The method `backup`.
pub fn back_up(store: &Store, call: &Arguments) -> Result<Value> {
    let env = call.env;
    store.backend()?;
    let path = PathBuf::from(options::path(env, call.get(0), "path")?);
    let given = (env.type_of(call.get(1)) != Type::Undefined).then_some(call.get(1));
    let on_progress = OptionsReader::of(env, given, format_args!("options"))?.function(c"onProgress")?;
    match store.backend()? {
        Backend::Remote(_) => Err(on_server("backup()")),
        Backend::User(connection) => at_once(store, call, || {
            connection.drain(store.environment());
            connection.back_up(&path)?;
            Ok(env.undefined())
        }),
        Backend::Native(_) => {
            let Some(on_progress) = on_progress else {
                return begin(store, call, Task::BackUp(path, Box::new(|_| true)), |_, answer| answer);
            };
            let teller = Teller::new(env, store, on_progress)?;
            let goes_on = teller.begin();
            begin(store, call, Task::BackUp(path, goes_on), move |env, answer| teller.end(env).and(answer))
        }
    }
}

/// The method `vacuum`.
pub fn vacuum(store: &Store, call: &Arguments) -> Result<Value> {
    match store.backend()? {
        Backend::Remote(_) => Err(on_server("vacuum()")),
        Backend::User(connection) => at_once(store, call, || {
            connection.drain(store.environment());
            let freed = connection.vacuum()?;
            store.to_value(call.env, Ok(Answer::Record(vec![("freedBytes", Field::Number(freed))])))
        }),
        Backend::Native(_) => begin(store, call, Task::Vacuum, |_, answer| answer),
    }
}

#[cold]
fn on_server(method: &str) -> Failure {
    let message = format!("{method} needs a file: on a server, use the server's own means");
    Error::Refused { code: "SQLITE_STORE_ON_SERVER", message }.into()
}

/// On the user's connection.
fn at_once(store: &Store, call: &Arguments, work: impl FnOnce() -> Result<Value>) -> Result<Value> {
    work().inspect_err(|failure| store.metrics().failed(call.env, call.note(), failure, true))
}

/// Has a task done in the background; answers the promise of its end.
fn begin(
    store: &Store,
    call: &Arguments,
    task: Task,
    end: impl FnOnce(Env, Result<Answer>) -> Result<Answer> + 'static,
) -> Result<Value> {
    let env = call.env;
    let backend = store.backend()?;
    let Backend::Native(database) = &backend else { return Ok(env.undefined()) };
    let (mut pending, promise) = Pending::of_call(call, store.environment(), store.realm())?;
    let (realm, metrics) = (Rc::clone(store.realm()), Rc::clone(store.metrics()));
    let reply = store.environment().await_answer(Box::new(move |env, answer| {
        let answer = end(env, answer);
        metrics.answered(env, Counted::Failures, pending.observed.take_note(env), &answer, false);
        let value = answer.and_then(|answer| match answer {
            Answer::Record(fields) => realm.record(env, fields, 0.0),
            _ => Ok(env.undefined()),
        });
        pending.settle(env, value);
    }));
    database.begin_task(task, reply, store.busy_timeout());
    store.environment().flush_later(env, &backend);
    Ok(promise)
}

/// What passes on from the thread that copies to the one of JavaScript how far the copy is. Of what comes while JavaScript is
/// busy, it hears the last.
#[derive(Default)]
struct Shared {
    latest: Mutex<Option<CopyProgress>>,
    is_refused: AtomicBool,
}

/// By what JavaScript is woken, once. The last time when the copy has ended.
#[derive(Default)]
struct Wake(Mutex<Option<Reply>>);

impl Wake {
    fn wake(&self) {
        if let Some(reply) = self.0.lock().take() {
            reply.deliver(Ok(Answer::Undefined));
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Tells a function of the user's how far a copy is.
struct Teller {
    realm: Rc<Realm>,
    environment: Rc<Environment>,
    on_progress: RefCell<Option<Reference>>,
    shared: Arc<Shared>,
    told: RefCell<Option<CopyProgress>>,
    thrown: RefCell<Option<Persistent>>,
}

impl Teller {
    fn new(env: Env, store: &Store, on_progress: Value) -> Result<Rc<Self>> {
        Ok(Rc::new(Teller {
            realm: Rc::clone(store.realm()),
            environment: Rc::clone(store.environment()),
            on_progress: RefCell::new(Some(env.create_reference(on_progress, true)?)),
            shared: Arc::default(),
            told: RefCell::default(),
            thrown: RefCell::default(),
        }))
    }

    /// What the thread that copies asks.
    fn begin(self: &Rc<Self>) -> Box<dyn Fn(CopyProgress) -> bool + Send + Sync> {
        let (shared, wake) = (Arc::clone(&self.shared), Arc::new(Wake::default()));
        self.await_wake(&Arc::downgrade(&wake));
        Box::new(move |progress| {
            *shared.latest.lock() = Some(progress);
            wake.wake();
            !shared.is_refused.load(Ordering::Relaxed)
        })
    }

    fn await_wake(self: &Rc<Self>, wake: &Weak<Wake>) {
        let Some(alive) = wake.upgrade() else { return };
        let (teller, wake) = (Rc::clone(self), wake.clone());
        let reply = self.environment.await_answer(Box::new(move |env, _| {
            teller.tell(env);
            teller.await_wake(&wake);
            // What has come since: if the copy has ended, nobody wakes any more.
            teller.tell(env);
        }));
        *alive.0.lock() = Some(reply);
    }

    fn tell(&self, env: Env) {
        let latest = *self.shared.latest.lock();
        if latest == *self.told.borrow() || self.thrown.borrow().is_some() {
            return;
        }
        *self.told.borrow_mut() = latest;
        let function = self.on_progress.borrow().as_ref().and_then(|function| env.reference_value(function));
        let (Some(CopyProgress { total_pages, remaining_pages }), Some(function)) = (latest, function) else {
            return;
        };
        let fields = vec![
            ("totalPages", Field::Number(total_pages as f64)),
            ("remainingPages", Field::Number(remaining_pages as f64)),
        ];
        let told = self.realm.record(env, fields, 0.0);
        if let Err(Failure::Thrown(thrown)) = told.and_then(|record| env.call(env.undefined(), function, &[record]))
        {
            *self.thrown.borrow_mut() = env.keep(thrown).ok();
            self.shared.is_refused.store(true, Ordering::Relaxed);
        }
    }

    /// The copy has ended. An error if the user's function has thrown one.
    fn end(&self, env: Env) -> Result<Answer> {
        self.tell(env);
        if let Some(function) = self.on_progress.borrow_mut().take() {
            env.drop_reference(function);
        }
        match self.thrown.borrow_mut().take().and_then(|thrown| env.take(thrown)) {
            Some(thrown) => Err(Failure::Thrown(thrown)),
            None => Ok(Answer::Undefined),
        }
    }
}
