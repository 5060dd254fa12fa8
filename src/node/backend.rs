//! Where a store's operations run: on a database of ours, on the user's connection, or on a server.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::environment::{AnswerHandler, Environment, FlushTarget};
use super::napi::env::{Env, Failure, Result};
use super::remote::RemoteConnection;
use super::user_connection::UserConnection;
use crate::core::error::StoreKind;
use crate::core::operation::{Answer, Operation, Target};
use crate::core::options::Synchronous;
use crate::sqlite::database::{Database, Submitted};
use crate::sqlite::registry::Handle;

/// What a store holds of where its operations run, until it ends.
pub enum BackendHandle {
    /// A database of ours.
    Native(Handle),
    User(Rc<UserConnection>),
    Remote(Remote),
}

/// A server, and for how long a store's calls may take there.
#[derive(Clone)]
pub struct Remote {
    pub connection: Rc<RemoteConnection>,
    pub timeout: Option<Duration>,
}

/// Where operations run.
#[derive(Clone)]
pub enum Backend {
    /// A database of ours.
    Native(Arc<Database>),
    User(Rc<UserConnection>),
    Remote(Remote),
}

impl BackendHandle {
    /// Where the operations run.
    pub fn backend(&self) -> Backend {
        match self {
            BackendHandle::Native(handle) => Backend::Native(Arc::clone(handle.database())),
            BackendHandle::User(connection) => Backend::User(Rc::clone(connection)),
            BackendHandle::Remote(remote) => Backend::Remote(remote.clone()),
        }
    }

    /// Has the tables made that bounds need, and that of the tags: what is evicted loses them.
    pub fn keep_totals(&self) -> Result<()> {
        for kind in [StoreKind::CacheTags, StoreKind::CacheBounds] {
            match self {
                BackendHandle::Native(handle) => handle.database().add_store(kind, Synchronous::Normal)?,
                BackendHandle::User(connection) => connection.add_kind(kind)?,
                BackendHandle::Remote(remote) => remote.connection.add_kind(kind),
            }
        }
        Ok(())
    }

    /// Whether entries of the cache are counted, as far as is known.
    pub fn counts_entries(&self) -> &Arc<AtomicBool> {
        match self {
            BackendHandle::Native(handle) => handle.database().counts_entries(),
            BackendHandle::User(connection) => connection.counts_entries(),
            BackendHandle::Remote(remote) => remote.connection.counts_entries(),
        }
    }

    /// Carries out what was called, and lets go. Done when it returns, unless it is a server's.
    pub fn close(self, env: Env, environment: &Environment) {
        match self {
            BackendHandle::Native(handle) => handle.close(),
            BackendHandle::User(connection) => connection.drain(environment),
            BackendHandle::Remote(remote) => remote.connection.flush(env),
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
            Backend::Remote(Remote { connection, timeout }) => {
                connection.enqueue(operation, Some(handler()), *timeout);
                None
            }
        }
    }

    /// Whether entries of the cache are counted, as far as is known.
    pub fn counts_entries(&self) -> &AtomicBool {
        match self {
            Backend::Native(database) => database.counts_entries(),
            Backend::User(connection) => connection.counts_entries(),
            Backend::Remote(remote) => remote.connection.counts_entries(),
        }
    }

    /// Whether a read of this target waits for nothing that was called before it.
    pub fn may_read(&self, target: Target<'_>) -> bool {
        match self {
            Backend::Native(database) => database.may_read(target),
            Backend::User(connection) => connection.may_read(target),
            Backend::Remote(_) => false,
        }
    }

    /// Puts an operation that nobody waits for at the end of the queue, for the next flush.
    pub fn enqueue(&self, operation: Operation, busy_timeout: Duration) {
        match self {
            Backend::Native(database) => database.enqueue(operation, None, busy_timeout),
            Backend::User(connection) => connection.enqueue(operation, None),
            Backend::Remote(Remote { connection, timeout }) => connection.enqueue(operation, None, *timeout),
        }
    }

    /// Whether something is queued that nobody is working on.
    pub fn needs_flush(&self) -> bool {
        match self {
            Backend::Native(database) => database.needs_flush(),
            Backend::User(connection) => connection.needs_flush(),
            Backend::Remote(remote) => remote.connection.needs_flush(),
        }
    }
}

impl FlushTarget for Backend {
    fn address(&self) -> usize {
        match self {
            Backend::Native(database) => Arc::as_ptr(database).addr(),
            Backend::User(connection) => Rc::as_ptr(connection).addr(),
            Backend::Remote(remote) => Rc::as_ptr(&remote.connection).addr(),
        }
    }

    fn flush(&self, env: Env, environment: &Environment) {
        match self {
            Backend::Native(database) => database.flush(),
            Backend::User(connection) => connection.flush(env, environment),
            Backend::Remote(remote) => remote.connection.flush(env),
        }
    }

    fn drain(&self, env: Env, environment: &Environment) {
        match self {
            Backend::Native(database) => database.drain(),
            Backend::User(connection) => connection.drain(environment),
            // Nothing can be waited for here.
            Backend::Remote(remote) => remote.connection.flush(env),
        }
    }
}
