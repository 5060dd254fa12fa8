//! Where a store's operations run: on a database of ours, or on a connection that the user handed in.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::environment::{Continuation, Environment, Queue};
use super::given::Given;
use super::napi::js::{Failure, Js, Result};
use crate::core::operation::{Answer, Operation, Target};
use crate::sqlite::database::{Database, Submitted};
use crate::sqlite::registry::Handle;

/// A store's share in where its operations run.
pub enum Share {
    /// A database of ours.
    Own(Handle),
    /// A connection of the user's.
    Given(Rc<Given>),
}

/// Where operations run.
#[derive(Clone)]
pub enum Backend {
    /// A database of ours.
    Own(Arc<Database>),
    /// A connection of the user's.
    Given(Rc<Given>),
}

impl Share {
    /// Where the operations run.
    pub fn backend(&self) -> Backend {
        match self {
            Share::Own(handle) => Backend::Own(Arc::clone(handle.database())),
            Share::Given(given) => Backend::Given(Rc::clone(given)),
        }
    }

    /// Carries out what was called, and gives the share back. Done when it returns.
    pub fn close(self, environment: &Environment) {
        match self {
            Share::Own(handle) => handle.close(),
            Share::Given(given) => given.drain(environment),
        }
    }
}

impl Backend {
    /// Hands in a call; answers what it came to, or nothing if it is queued. `continuation` is asked for only then.
    pub fn submit(
        &self,
        environment: &Environment,
        operation: Operation,
        busy_timeout: Duration,
        continuation: impl FnOnce() -> Continuation,
    ) -> Option<Result<Answer>> {
        match self {
            Backend::Own(database) => {
                let submitted =
                    database.submit(operation, busy_timeout, || environment.await_answer(continuation()));
                match submitted {
                    Submitted::Done(answer) => Some(answer.map_err(Failure::Error)),
                    Submitted::Queued => None,
                }
            }
            Backend::Given(given) => given.submit(environment, operation, continuation),
        }
    }

    /// Whether a read of this target waits for nothing that was called before it.
    pub fn may_read(&self, target: Target<'_>) -> bool {
        match self {
            Backend::Own(database) => database.may_read(target),
            Backend::Given(given) => given.may_read(target),
        }
    }

    /// Puts an operation that nobody waits for at the end of the queue, for the next flush.
    pub fn enqueue(&self, operation: Operation, busy_timeout: Duration) {
        match self {
            Backend::Own(database) => database.enqueue(operation, None, busy_timeout),
            Backend::Given(given) => given.enqueue(operation, None),
        }
    }

    /// Whether something is queued that nobody is working on.
    pub fn needs_flush(&self) -> bool {
        match self {
            Backend::Own(database) => database.needs_flush(),
            Backend::Given(given) => given.needs_flush(),
        }
    }
}

impl Queue for Backend {
    fn address(&self) -> usize {
        match self {
            Backend::Own(database) => Arc::as_ptr(database).addr(),
            Backend::Given(given) => Rc::as_ptr(given).addr(),
        }
    }

    fn flush(&self, js: Js, environment: &Environment) {
        match self {
            Backend::Own(database) => database.flush(),
            Backend::Given(given) => given.flush(js, environment),
        }
    }

    fn drain(&self, _js: Js, environment: &Environment) {
        match self {
            Backend::Own(database) => database.drain(),
            Backend::Given(given) => given.drain(environment),
        }
    }
}
