//! Where a store's operations run: on a database of ours, or on the user's connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::environment::{AnswerHandler, Environment, FlushTarget};
use super::napi::env::{Env, Failure, Result};
use super::user_connection::UserConnection;
use crate::core::operation::{Answer, Operation, Target};
use crate::sqlite::database::{Database, Submitted};
use crate::sqlite::registry::Handle;

/// What a store holds of where its operations run, until it ends.
pub enum BackendHandle {
    /// A database of ours.
    Native(Handle),
    User(Rc<UserConnection>),
}

/// Where operations run.
#[derive(Clone)]
pub enum Backend {
    /// A database of ours.
    Native(Arc<Database>),
    User(Rc<UserConnection>),
}

impl BackendHandle {
    /// Where the operations run.
    pub fn backend(&self) -> Backend {
        match self {
            BackendHandle::Native(handle) => Backend::Native(Arc::clone(handle.database())),
            BackendHandle::User(connection) => Backend::User(Rc::clone(connection)),
        }
    }

    /// Carries out what was called, and lets go. Done when it returns.
    pub fn close(self, environment: &Environment) {
        match self {
            BackendHandle::Native(handle) => handle.close(),
            BackendHandle::User(connection) => connection.drain(environment),
        }
    }
}

impl Backend {
    /// Submits a call; answers what it came to, or nothing if it is queued. `completion` is asked for only then.
    pub fn submit(
        &self,
        environment: &Environment,
        operation: Operation,
        busy_timeout: Duration,
        handler: impl FnOnce() -> AnswerHandler,
    ) -> Option<Result<Answer>> {
        match self {
            Backend::Native(database) => {
                let submitted = database.submit(operation, busy_timeout, || environment.await_answer(handler()));
                match submitted {
                    Submitted::Done(answer) => Some(answer.map_err(Failure::Error)),
                    Submitted::Queued => None,
                }
            }
            Backend::User(connection) => connection.submit(environment, operation, handler),
        }
    }

    /// Whether a read of this target waits for nothing that was called before it.
    pub fn may_read(&self, target: Target<'_>) -> bool {
        match self {
            Backend::Native(database) => database.may_read(target),
            Backend::User(connection) => connection.may_read(target),
        }
    }

    /// Puts an operation that nobody waits for at the end of the queue, for the next flush.
    pub fn enqueue(&self, operation: Operation, busy_timeout: Duration) {
        match self {
            Backend::Native(database) => database.enqueue(operation, None, busy_timeout),
            Backend::User(connection) => connection.enqueue(operation, None),
        }
    }

    /// Whether something is queued that nobody is working on.
    pub fn needs_flush(&self) -> bool {
        match self {
            Backend::Native(database) => database.needs_flush(),
            Backend::User(connection) => connection.needs_flush(),
        }
    }
}

impl FlushTarget for Backend {
    fn address(&self) -> usize {
        match self {
            Backend::Native(database) => Arc::as_ptr(database).addr(),
            Backend::User(connection) => Rc::as_ptr(connection).addr(),
        }
    }

    fn flush(&self, env: Env, environment: &Environment) {
        match self {
            Backend::Native(database) => database.flush(),
            Backend::User(connection) => connection.flush(env, environment),
        }
    }

    fn drain(&self, _env: Env, environment: &Environment) {
        match self {
            Backend::Native(database) => database.drain(),
            Backend::User(connection) => connection.drain(environment),
        }
    }
}
