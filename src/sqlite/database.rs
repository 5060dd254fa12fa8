//! A database with the queue in front of the connection that writes, and another one for reads beside it.
//!
//! - A bounded read runs at once, on the calling thread, unless something queued or under way writes what it reads. While the
//!   connection is busy, the other one reads. A bounded write in memory runs at once when nothing is queued.
//! - Everything else is queued in call order. The owner calls [`Database::flush`] at the end of a stretch of
//!   JavaScript: what is queued then is committed as one transaction, on the calling thread if that is cheap (WAL,
//!   `synchronous` normal, bounded, lock free), else on a background thread, which goes on until the queue is empty.
//! - The calling thread never waits: not for the connection (it tries the lock), not for another process (the busy
//!   timeout is 0 except on a background thread), not for an fsync. [`Database::drain`] is the exception, for
//!   `destroy()` and the end of the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use file_id::{FileId, get_file_id};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::InterruptHandle;
use smallvec::smallvec;

use super::background;
use super::backup::{self, CopyProgress};
use super::checkpoints::{self, Checkpoints, Due};
use super::clock::now;
use super::connection::{Connection, Location, refused};
use super::os::budget::Budget;
use super::os::copies::{Claim, Copies};
use super::os::sidecars::LogState;
use super::reader::Reader;
use crate::core::error::{Error, IsBusy, Result, StoreKind};
use crate::core::operation::{
    Answer, BoundStatement, Changed, Cost, Field, Operation, Results, StatementResult, Target,
};
use crate::core::options::{JournalMode, Synchronous};
use crate::core::schema;
use crate::core::statements::{Effect, Table};
use crate::core::value::Value;
use crate::engine::batch::{Batch, Completed, Progress};
use crate::engine::call::{AtOnce, Call, Time, run_at_once};
use crate::engine::executor::{Executor, Refusal, Transaction, TransactionResult};
use crate::engine::scheduler::Scheduler;

/// The most operations and bytes that are committed on a JavaScript thread at once: about 2 ms of work.
const INLINE_OPERATIONS: usize = 400;
const INLINE_BYTES: usize = 1 << 20;

/// The most operations and bytes in one background transaction, so that other processes get their turn.
const BATCH_OPERATIONS: usize = 4_000;
const BATCH_BYTES: usize = 16 << 20;

/// Somebody who waits for a deduplicated request.
pub trait ChangeListener: Send + Sync {
    /// Something has changed. Called from any thread.
    fn on_change(&self, changed: &Changed);
}

/// How long a lock is waited for at a time, after which calls that have waited long enough are refused.
const LOCK_SLICE: Duration = Duration::from_millis(25);

/// For how long at a time one flush may keep a read mark for the next: other processes' checkpoints stop there.
const KEEP_AT_MOST: Duration = Duration::from_millis(20);

/// How soon after another one a flush follows it.
const FOLLOWS_WITHIN: Duration = Duration::from_millis(1);

/// How often it is checked, while writes are made, whether the log still has its name.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a file is waited for before its journal mode is taken as another process keeps it.
const PREPARATION_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a store's tables are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PreparedOn {
    JavaScript,
    Background {
        /// Whether the file has been waited for.
        has_waited: bool,
    },
}

/// Somebody who wants to know what befalls a database.
pub trait LogLossListener: Send + Sync {
    /// The log of the database at `path` was removed by another program, or replaced with the file. What was written since
    /// may be lost; the file has been opened afresh. Called from any thread.
    fn log_lost(&self, path: &Path);
}

/// Where answers to queued calls go.
pub trait Recipient: Send + Sync {
    /// Delivers the answer to a call, once. Called from any thread.
    fn deliver(&self, call: usize, answer: Result<Answer>);
}

/// Where the answer to one call goes.
pub struct Reply {
    recipient: Arc<dyn Recipient>,
    call: usize,
}

impl Reply {
    /// To a call by its recipient's number.
    pub fn new(recipient: Arc<dyn Recipient>, call: usize) -> Self {
        Reply { recipient, call }
    }

    pub fn deliver(self, answer: Result<Answer>) {
        self.recipient.deliver(self.call, answer);
    }
}

type CallBatch = Batch<Reply, Error>;

#[derive(Default)]
struct Queue {
    scheduler: Scheduler<Reply, Error>,
    /// Stores whose tables could not be made yet because another process wrote.
    pending_schemas: Vec<(StoreKind, Synchronous)>,
    /// Whether the write-ahead log is to be checkpointed after that.
    checkpoint: bool,
    /// Whether a background thread works on the queue.
    in_background: bool,
    closed: bool,
}

/// What became of a call that was submitted.
pub enum Submitted {
    /// It was carried out at once.
    Done(Result<Answer>),
    /// It is in the queue; the reply will tell.
    Queued,
}

/// A database: see the module's description.
pub struct Database {
    location: Location,
    /// `None` once closed, or while the file cannot be opened afresh.
    connection: Mutex<Option<Connection>>,
    /// For reads while that is busy.
    reader: Mutex<Reader>,
    queue: Mutex<Queue>,
    /// Whether the connection has its settings: not while another process has had the file to itself.
    configured: AtomicBool,
    /// Whether a commit neither waits for the medium nor for a lock longer than the statement takes.
    commits_inline: AtomicBool,
    synchronous: Mutex<Synchronous>,
    journal_mode: JournalMode,
    /// What tells the file that is open from others.
    file_id: Mutex<Option<FileId>>,
    /// Tells other copies of this package that the file is used.
    claim: Option<Claim>,
    /// The stores whose tables belong to it.
    kinds: Mutex<Vec<StoreKind>>,
    /// Whether entries of the cache are counted, as far as is known.
    counts_entries: Arc<AtomicBool>,
    /// When something was last carried out by [`flush`](Self::flush).
    flushed_at: Mutex<Option<Instant>>,
    /// Whether a read mark that is kept is going to be given back.
    gives_mark_back: AtomicBool,
    /// When it was last checked whether the log still has its name.
    files_checked_at: Mutex<Option<Instant>>,
    listeners: Mutex<Vec<Weak<dyn LogLossListener>>>,
    checkpoints: Checkpoints,
    change_listeners: Mutex<Vec<Weak<dyn ChangeListener>>>,
    /// What is done with the whole of it, and that something of that has ended.
    tasks: Mutex<Tasks>,
    task_ended: Condvar,
}

/// What is done with a database beside calls: see [`Database::begin_task`].
#[derive(Default)]
struct Tasks {
    running: usize,
    is_closing: bool,
    interrupts: Vec<InterruptHandle>,
}

/// What is done with the whole of a database.
pub enum Task {
    /// A copy at this path. It is told again and again how far it is, and answers whether to go on.
    BackUp(PathBuf, Box<dyn Fn(CopyProgress) -> bool + Send + Sync>),
    Vacuum,
}

/// Begins a task when what was called before has been carried out.
struct AfterCalls {
    database: Arc<Database>,
    task: Mutex<Option<Task>>,
    reply: Mutex<Option<Reply>>,
    busy_timeout: Duration,
}

impl Recipient for AfterCalls {
    fn deliver(&self, _: usize, called: Result<Answer>) {
        let (Some(task), Some(reply)) = (self.task.lock().take(), self.reply.lock().take()) else { return };
        if let Err(error) = called {
            return reply.deliver(Err(error));
        }
        let (database, busy_timeout) = (Arc::clone(&self.database), self.busy_timeout);
        let reply = Arc::new(Mutex::new(Some(reply)));
        let reply_of_task = Arc::clone(&reply);
        let begun = background::run(move || {
            let result = catch_unwind(AssertUnwindSafe(|| database.run_task(task, busy_timeout)));
            if let Some(reply) = reply_of_task.lock().take() {
                reply.deliver(result.unwrap_or_else(|_| Err(Error::panic())));
            }
        });
        if begun.is_err()
            && let Some(reply) = reply.lock().take()
        {
            reply.deliver(Err(Error::NoThread));
        }
    }
}

impl Database {
    /// Opens a database.
    pub fn open(location: Location, journal_mode: JournalMode, synchronous: Synchronous) -> Result<Arc<Self>> {
        let claim = match &location {
            Location::File(path) => {
                Some(Claim::new(path, id_of(&location)).map_err(|copies| in_other(path, &copies))?)
            }
            _ => None,
        };
        let connection = Connection::open(&location)?;
        let id = id_of(&location);
        claim.iter().for_each(|claim| claim.renew(id));
        let database = Database {
            file_id: Mutex::new(id),
            claim,
            configured: AtomicBool::new(!matches!(location, Location::File(_))),
            commits_inline: AtomicBool::new(!matches!(location, Location::File(_))),
            location,
            connection: Mutex::new(Some(connection)),
            reader: Mutex::default(),
            queue: Mutex::default(),
            synchronous: Mutex::new(synchronous),
            journal_mode,
            kinds: Mutex::default(),
            counts_entries: Arc::default(),
            flushed_at: Mutex::default(),
            gives_mark_back: AtomicBool::new(false),
            files_checked_at: Mutex::default(),
            listeners: Mutex::default(),
            checkpoints: Checkpoints::default(),
            change_listeners: Mutex::default(),
            tasks: Mutex::default(),
            task_ended: Condvar::new(),
        };
        Ok(Arc::new(database))
    }

    /// The file, if it is one.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The journal mode that was asked for.
    pub fn journal_mode(&self) -> JournalMode {
        self.journal_mode
    }

    /// Gives the connection its settings, if it does not have them, and makes a store's tables. Answers whether that is done:
    /// see [`Connection::prepare_store`].
    fn prepare_store(
        &self,
        connection: &mut Connection,
        kind: StoreKind,
        synchronous: Synchronous,
        thread: PreparedOn,
    ) -> Result<bool> {
        let stricter = {
            let mut current = self.synchronous.lock();
            let stricter = synchronous > *current;
            *current = synchronous.max(*current);
            stricter
        };
        if matches!(self.location, Location::File(_)) {
            let synchronous = *self.synchronous.lock();
            if !self.configured.load(Ordering::Relaxed) {
                let has_waited = thread == PreparedOn::Background { has_waited: true };
                connection.configure(self.journal_mode, synchronous, has_waited)?;
                self.configured.store(true, Ordering::Relaxed);
            } else if stricter {
                connection.set_synchronous(synchronous)?;
            }
            self.commits_inline.store(synchronous == Synchronous::Normal && connection.is_wal(), Ordering::Relaxed);
        }
        let is_done = connection.prepare_store(kind, thread != PreparedOn::JavaScript)?;
        if kind == StoreKind::Cache && schema::has_totals(connection)? {
            self.counts_entries.store(true, Ordering::Relaxed);
        }
        self.reader.lock().follow(connection);
        Ok(is_done)
    }

    /// Makes a store's tables. While another process writes, and where that may take long, it is left to the background and
    /// calls wait for it. A store that wants commits flushed gets that for the whole database.
    ///
    /// # Errors
    /// What SQLite refuses, other than for want of a lock.
    pub fn add_store(self: &Arc<Self>, kind: StoreKind, synchronous: Synchronous) -> Result<()> {
        // The bounds of a cache are about its table, which the background may be yet to make.
        let is_about = |pending: StoreKind| pending != kind && Table::of(pending) == Table::of(kind);
        let waits = self.queue.lock().pending_schemas.iter().any(|(pending, _)| is_about(*pending));
        if !waits
            && let Some(mut connection) = self.connection.try_lock()
            && let Some(connection) = connection.as_mut()
        {
            match self.prepare_store(connection, kind, synchronous, PreparedOn::JavaScript) {
                Ok(false) => {}
                Ok(true) => {
                    self.add_kind(kind);
                    return Ok(());
                }
                Err(error) if error.is_busy() => {}
                Err(error) => return Err(error),
            }
        }
        self.add_kind(kind);
        let mut queue = self.queue.lock();
        queue.pending_schemas.push((kind, synchronous));
        self.continue_in_background(queue);
        Ok(())
    }

    /// Has the tables of all stores made, where they are missing, before the next operation that is carried out in the
    /// background.
    fn prepare_anew(&self) {
        let synchronous = *self.synchronous.lock();
        let kinds = self.kinds.lock().clone();
        self.queue.lock().pending_schemas.extend(kinds.into_iter().map(|kind| (kind, synchronous)));
    }

    fn add_kind(&self, kind: StoreKind) {
        if kind == StoreKind::CacheBounds {
            self.counts_entries.store(true, Ordering::Relaxed);
        }
        let mut kinds = self.kinds.lock();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }

    /// Whether entries of the cache are counted, as far as is known.
    pub fn counts_entries(&self) -> &Arc<AtomicBool> {
        &self.counts_entries
    }

    /// Whether an operation may be carried out as soon as it is submitted: a bounded read or, where nobody else can read
    /// and no disk is waited for, a bounded write.
    fn runs_at_once(&self, operation: &Operation) -> bool {
        let is_private = !matches!(self.location, Location::File(_));
        operation.cost == Cost::Bounded
            && (operation.read_only
                || (is_private && !operation.notifies_waiters && operation.payload_bytes() <= INLINE_BYTES))
    }

    /// Submits a call: it is carried out at once where it may be and that keeps the order, otherwise it is queued.
    /// `reply` is asked for only then. Waits for locks for `busy_timeout`.
    pub fn submit(
        self: &Arc<Self>,
        operation: Operation,
        busy_timeout: Duration,
        reply: impl FnOnce() -> Reply,
    ) -> Submitted {
        let run = |operation: &Operation| {
            if self.runs_at_once(operation) { self.run_now(operation) } else { None }
        };
        // It waits for nothing.
        match run_at_once(operation, || Time::ZERO, run) {
            AtOnce::Answered(answer, next) => {
                if let Some(next) = next.filter(|next| !self.queue.lock().scheduler.already_tidies(next)) {
                    self.enqueue(next, None, busy_timeout);
                }
                Submitted::Done(answer)
            }
            AtOnce::Queue(operation) => {
                self.enqueue(operation, Some(reply()), busy_timeout);
                Submitted::Queued
            }
        }
    }

    /// Whether a read of this target waits for nothing that was called before it.
    pub fn may_read(&self, target: Target<'_>) -> bool {
        let queue = self.queue.lock();
        let is_prepared = queue.pending_schemas.iter().all(|(kind, _)| Table::of(*kind) != target.table);
        is_prepared && queue.scheduler.may_read(target)
    }

    /// Runs an operation if nothing is before it that it has to wait for, and a connection is free: the one that writes,
    /// or beside it, for reads, the other one.
    fn run_now(&self, operation: &Operation) -> Option<Result<Results>> {
        let waits = if operation.may_overtake {
            false
        } else if operation.read_only {
            !operation.statements.iter().all(|bound| self.may_read(bound.target()))
        } else {
            let queue = self.queue.lock();
            queue.in_background || !queue.scheduler.is_idle() || !queue.pending_schemas.is_empty()
        };
        if waits {
            return None;
        }
        // First: its pages are warm. Through the other one, what was written last is read from the file.
        let Some(slot) = self.connection.try_lock() else {
            let read = |connection: &Connection| NativeExecutor::here(connection).run_single(operation);
            // Another thread of JavaScript may use it, for one bounded read.
            return if operation.read_only { self.reader.lock().read(&self.location, read).map(Ok) } else { None };
        };
        match NativeExecutor::mending(slot.as_ref()?).run_single(operation) {
            Err(Refusal::Busy(error)) => {
                self.mend(&error);
                None
            }
            result => Some(result.map_err(Refusal::into_error)),
        }
    }

    /// Has the tables made anew if what was to be run lacks one.
    fn mend(&self, busy: &Error) {
        if is_missing(busy) {
            self.add_needed(busy);
            self.prepare_anew();
        }
    }

    /// Takes note of tables that are needed now and are not made with a store's.
    fn add_needed(&self, missing: &Error) {
        if let Error::Sqlite { message, .. } = missing
            && let Some(kind) = schema::made_when_needed(message)
        {
            self.add_kind(kind);
        }
    }

    /// Puts an operation at the end of the queue, for the next flush. It may wait for locks for so long.
    pub fn enqueue(&self, operation: Operation, reply: Option<Reply>, busy_timeout: Duration) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            if let Some(reply) = reply {
                reply.deliver(Err(closed()));
            }
            return;
        }
        let made_at = now();
        queue.scheduler.submit(Call { operation, reply, made_at, deadline: Some(made_at + busy_timeout) });
    }

    /// Whether something is queued that no background thread is working on.
    pub fn needs_flush(&self) -> bool {
        let queue = self.queue.lock();
        !queue.in_background && queue.scheduler.is_ready()
    }

    /// Carries out what is queued: here if that is cheap, else in the background.
    pub fn flush(self: &Arc<Self>) {
        loop {
            let mut queue = self.queue.lock();
            if queue.in_background || !queue.scheduler.is_ready() {
                return;
            }
            let guard = self.connection.try_lock();
            let connection = guard.as_deref().and_then(Option::as_ref);
            let Some(connection) = connection.filter(|connection| self.is_cheap(&queue, connection)) else {
                drop(guard);
                return self.continue_in_background(queue);
            };
            let Some(mut batch) = queue.scheduler.next_batch(BATCH_OPERATIONS, BATCH_BYTES) else { return };
            drop(queue);
            if self.follows_another() && self.gives_mark_back_later() {
                connection.keep_read_mark(true);
            }
            let progress = batch.run(&mut NativeExecutor::mending(connection), now());
            // While the connection is held, here and below: what is left, and what follows, comes before what others call.
            self.end(batch);
            self.checkpoint_if_due(connection);
            drop(guard);
            if let Progress::Busy(error) = progress {
                self.mend(&error);
                return self.continue_in_background(self.queue.lock());
            }
        }
    }

    /// Whether what is carried out now is one of many: somebody awaits one write after the other.
    fn follows_another(&self) -> bool {
        if !matches!(self.location, Location::File(_)) {
            return false;
        }
        let now = Instant::now();
        let before = self.flushed_at.lock().replace(now);
        before.is_some_and(|before| now - before < FOLLOWS_WITHIN)
    }

    /// Has a read mark given back after a while, whatever the calling thread does until then. Answers whether that can be
    /// had.
    fn gives_mark_back_later(self: &Arc<Self>) -> bool {
        if self.gives_mark_back.swap(true, Ordering::SeqCst) {
            return true;
        }
        let database = Arc::downgrade(self);
        let started = background::start(Box::pin(async move {
            tokio::time::sleep(KEEP_AT_MOST).await;
            while let Some(database) = database.upgrade() {
                // While the connection is in use, later.
                if let Some(slot) = database.connection.try_lock() {
                    // Whoever keeps it after this one has it given back once more.
                    database.gives_mark_back.store(false, Ordering::SeqCst);
                    slot.iter().for_each(|connection| connection.keep_read_mark(false));
                    return;
                }
                drop(database);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
        if started.is_err() {
            self.gives_mark_back.store(false, Ordering::SeqCst);
        }
        started.is_ok()
    }

    fn is_cheap(&self, queue: &Queue, connection: &Connection) -> bool {
        let queued = queue.scheduler.queued();
        let (mut bytes, mut is_read) = (0, true);
        queue.pending_schemas.is_empty()
            && queued.len() <= INLINE_OPERATIONS
            && queued.map(|call| &call.operation).all(|operation| {
                bytes += operation.payload_bytes();
                is_read &= operation.read_only;
                operation.cost == Cost::Bounded
            })
            && bytes <= INLINE_BYTES
            && (is_read || self.commits_here(connection))
    }

    /// Whether a commit may be made on a JavaScript thread: it waits for no flush, and others see it.
    fn commits_here(&self, connection: &Connection) -> bool {
        self.commits_inline.load(Ordering::Relaxed)
            && !connection.next_commit_syncs()
            && !connection.has_stopped()
            && !self.has_lost_log(connection, FILE_CHECK_INTERVAL)
    }

    /// Whether what is written to the log is lost, or damages what others write. Looked at once in an `interval`.
    fn has_lost_log(&self, connection: &Connection, interval: Duration) -> bool {
        if !matches!(self.location, Location::File(_)) {
            return false;
        }
        let mut seen_at = self.files_checked_at.lock();
        if seen_at.is_some_and(|seen_at| seen_at.elapsed() < interval) {
            return false;
        }
        let has_lost_log = connection.log_state() != LogState::Sound;
        if !has_lost_log {
            *seen_at = Some(Instant::now());
        }
        has_lost_log
    }

    /// Opens the file afresh where its log is lost.
    fn reopen_if_lost(&self, slot: &mut Option<Connection>, interval: Duration) -> Result<()> {
        match slot.take_if(|connection| self.has_lost_log(connection, interval)) {
            Some(lost) => self.abandon(lost),
            None if slot.is_some() || self.queue.lock().closed => return Ok(()),
            // It could not be opened the last time.
            None => {}
        }
        // Not before the old one is closed: connections of one process share a WAL-index.
        *slot = Some(Connection::open(&self.location)?);
        self.find_file_id();
        self.configured.store(false, Ordering::Relaxed);
        self.commits_inline.store(false, Ordering::Relaxed);
        self.prepare_anew();
        // What they wait for may have changed, and the new connection's counter does not tell.
        self.notify_change_listeners(&Changed::Anything);
        Ok(())
    }

    /// Closes a connection whose log is lost, and says so.
    fn abandon(&self, connection: Connection) {
        *self.reader.lock() = Reader::default();
        connection.abandon();
        // Whoever opens what is there now is to use this database.
        self.find_file_id();
        if let Location::File(path) = &self.location {
            let listeners: Vec<_> = self.listeners.lock().iter().filter_map(Weak::upgrade).collect();
            for listener in listeners {
                listener.log_lost(path);
            }
        }
    }

    fn find_file_id(&self) {
        let id = id_of(&self.location);
        *self.file_id.lock() = id;
        self.claim.iter().for_each(|claim| claim.renew(id));
    }

    /// Lets other copies of this package use the file. To be called when it is closed, and no longer touched.
    pub fn release_claim(&self) {
        self.claim.iter().for_each(Claim::release);
    }

    /// What tells the file that is open from others.
    pub fn file_id(&self) -> Option<FileId> {
        *self.file_id.lock()
    }

    /// See [`Connection::detach_from_replaced`]. If the log is taken for the new file's by now, the connection is closed, for
    /// that to be opened with the next call. Nothing is done while the connection is in use.
    pub fn detach_from_replaced(&self) {
        let Some(mut slot) = self.connection.try_lock() else { return };
        if let Some(connection) = slot.as_ref() {
            connection.detach_from_replaced();
        }
        if let Some(lost) = slot.take_if(|connection| connection.log_state() == LogState::Taken) {
            self.abandon(lost);
        }
    }

    /// Registers somebody who wants to know what befalls the database.
    pub fn add_listener(&self, listener: Weak<dyn LogLossListener>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&listener));
        listeners.push(listener);
    }

    /// Has a background thread carry out what is queued. If the system refuses one, it is done here as far as it can be.
    fn continue_in_background(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let works = self.works_in_background(&mut queue);
        drop(queue);
        if !works {
            self.run_without_thread();
        }
    }

    /// Has a background thread work on the queue; answers whether one does.
    fn works_in_background(self: &Arc<Self>, queue: &mut Queue) -> bool {
        if !queue.in_background {
            let database = Arc::clone(self);
            queue.in_background = background::run(move || database.work()).is_ok();
        }
        queue.in_background
    }

    /// Carries out what is bounded and waits for neither a lock nor a flush, and refuses the rest.
    fn run_without_thread(self: &Arc<Self>) {
        let guard = self.connection.try_lock();
        let connection = guard.as_deref().and_then(Option::as_ref);
        loop {
            let mut queue = self.queue.lock();
            let is_prepared = queue.pending_schemas.is_empty();
            let Some(mut batch) = queue.scheduler.next_batch(1, usize::MAX) else { return };
            drop(queue);
            let runs_here = |connection: &&Connection| {
                batch.calls().all(|Call { operation: Operation { cost, read_only, .. }, .. }| {
                    is_prepared && *cost == Cost::Bounded && (*read_only || self.commits_here(connection))
                })
            };
            if let Some(connection) = connection.filter(runs_here) {
                batch.run(&mut NativeExecutor::here(connection), now());
            }
            batch.refuse(&Error::NoThread);
            self.end(batch);
        }
    }

    /// What a background thread does: batch after batch until nothing is queued.
    fn work(self: Arc<Self>) {
        // A panic, which nothing is known to bring about, fails what was in hand; later calls are to work.
        if catch_unwind(AssertUnwindSafe(|| while self.work_once() {})).is_err() {
            let mut queue = self.queue.lock();
            queue.in_background = false;
            queue.scheduler.abandon();
        }
    }

    fn work_once(self: &Arc<Self>) -> bool {
        // The connection first: whoever takes operations from the queue must be the one who can run them.
        let mut guard = self.connection.lock();
        // Before a checkpoint, it is checked once more: a checkpoint of a log that is lost damages the file.
        let checkpoint = std::mem::take(&mut self.queue.lock().checkpoint);
        let interval = if checkpoint { Duration::ZERO } else { FILE_CHECK_INTERVAL };
        let reopened = self.reopen_if_lost(&mut guard, interval);
        let mut queue = self.queue.lock();
        let Some(connection) = guard.as_mut() else {
            queue.in_background = false;
            let mut batch = queue.scheduler.take_all();
            drop(queue);
            batch.refuse(&reopened.err().unwrap_or_else(closed));
            self.end(batch);
            return false;
        };
        connection.keep_read_mark(false);
        let mut pending_schemas = queue.pending_schemas.clone();
        let to_prepare = pending_schemas.len();
        let batch = queue.scheduler.next_batch_beside_reads(BATCH_OPERATIONS, BATCH_BYTES);
        if batch.is_none() && pending_schemas.is_empty() && !checkpoint {
            queue.in_background = false;
            return false;
        }
        drop(queue);
        let mut batch = batch.unwrap_or_default();
        // Where something was stopped, more is likely to be.
        let takes_long =
            |operation: &Operation| operation.cost == Cost::Unbounded || operation.payload_bytes() > BATCH_BYTES;
        if !connection.has_stopped() && batch.calls().any(|call| takes_long(&call.operation)) {
            connection.set_budget(Budget::UNBOUNDED);
        }
        let started = now();
        let mut mended = false;
        loop {
            let until = batch.calls().filter_map(|call| call.deadline).min();
            let left = until.map_or(LOCK_SLICE, |until| until.saturating_sub(now()));
            connection.wait_for_locks(left.min(LOCK_SLICE));
            let has_waited = now() - started >= PREPARATION_TIMEOUT;
            let prepared = catch_panic(|| {
                let prepared = self.prepare(connection, &mut pending_schemas, &mut batch, has_waited);
                prepared.map_err(|error| refused(error, Refusal::Undone))
            });
            let progress = match prepared {
                Ok(()) => batch.run(&mut NativeExecutor { connection, mends: !mended, may_flush: true }, now()),
                Err(Refusal::Busy(error)) => Progress::Busy(error),
                Err(refusal) => {
                    let error = refusal.into_error();
                    batch.refuse(&error);
                    Progress::Done
                }
            };
            connection.wait_for_locks(Duration::ZERO);
            let Progress::Busy(busy) = progress else { break };
            if is_missing(&busy) {
                self.add_needed(&busy);
                let synchronous = *self.synchronous.lock();
                pending_schemas.extend(self.kinds.lock().iter().map(|kind| (*kind, synchronous)));
                mended = true;
                continue;
            }
            // Now: others may wait for the lock longer.
            self.refuse_late(connection, &mut batch, &busy);
            // A store that was added while another process wrote may have no calls yet.
            if batch.is_over()
                && (pending_schemas.is_empty() || has_waited || self.queue.lock().scheduler.has_queued())
            {
                break;
            }
            // SQLite answers BUSY at once where waiting could not help, for example while a snapshot is recovered.
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_unprepared = !pending_schemas.is_empty();
        // Only now: reads beside this check whether their table is there.
        self.queue.lock().pending_schemas.splice(..to_prepare, pending_schemas);
        connection.set_budget(Budget::BOUNDED);
        // While the connection is held: whoever waits for it finds everything delivered and queued.
        self.end(batch);
        if checkpoint {
            // One that fails is made up for by the next, or when the database is closed.
            let _ = connection.checkpoint();
            self.checkpoints.done(connection.log_bytes());
        } else {
            self.checkpoint_if_due(connection);
        }
        if is_unprepared {
            let mut queue = self.queue.lock();
            if !queue.scheduler.has_queued() {
                // Nobody waits: the next call tries again.
                queue.in_background = false;
                return false;
            }
        }
        true
    }

    /// Refuses what has waited long enough for a lock, of a batch and of the queue behind it.
    fn refuse_late(self: &Arc<Self>, connection: &Connection, batch: &mut CallBatch, busy: &Error) {
        let mut late = self.queue.lock().scheduler.take_timed_out(batch, now());
        late.refuse_if(busy, |call| !call.operation.read_only);
        // A read may have waited for nothing but the writes before it.
        late.run(&mut NativeExecutor::here(connection), now());
        late.refuse(busy);
        for done in [batch, &mut late] {
            let mut completed = done.complete(now());
            self.queue.lock().scheduler.follow_up(&mut completed);
            self.deliver(completed);
        }
    }

    fn prepare(
        &self,
        connection: &mut Connection,
        pending_schemas: &mut Vec<(StoreKind, Synchronous)>,
        batch: &mut CallBatch,
        has_waited: bool,
    ) -> Result<()> {
        let mut refused = Vec::new();
        // In order: the bounds of a cache are about its table.
        while let Some((kind, synchronous)) = pending_schemas.first().copied() {
            match self.prepare_store(connection, kind, synchronous, PreparedOn::Background { has_waited }) {
                Err(error) if error.is_busy() => {
                    pending_schemas.splice(..0, refused);
                    return Err(error);
                }
                Err(error) => {
                    // Those of other stores are to work.
                    let table = Table::of(kind);
                    let touches = |bound: &BoundStatement| bound.target().table == table;
                    batch.refuse_if(&error, |call| call.operation.statements.iter().any(touches));
                    refused.push((kind, synchronous));
                }
                Ok(_) => {}
            }
            pending_schemas.remove(0);
        }
        *pending_schemas = refused;
        Ok(())
    }

    /// Applies the rules to what has been carried out of a batch, queues what follows from it and what is left, and delivers
    /// the answers.
    fn end(&self, mut batch: CallBatch) {
        let mut completed = batch.complete(now());
        self.queue.lock().scheduler.end(batch, &mut completed);
        self.deliver(completed);
    }

    fn deliver(&self, completed: Completed<Reply, Error>) {
        for (reply, answer) in completed.answers {
            reply.deliver(answer);
        }
        if let Some(changed) = &completed.changed {
            self.notify_change_listeners(changed);
        }
    }

    fn checkpoint_if_due(self: &Arc<Self>, connection: &Connection) {
        match self.checkpoints.due(connection.log_bytes()) {
            Due::Nothing => {}
            Due::Checkpoint => self.checkpoint_in_background(),
            Due::Flush => {
                let database = Arc::clone(self);
                let flushed = background::run(move || {
                    if let Location::File(path) = &database.location {
                        checkpoints::flush_log(path);
                    }
                    database.checkpoint_in_background();
                });
                if flushed.is_err() {
                    self.checkpoints.put_off();
                }
            }
        }
    }

    /// On this connection: while it copies the log nobody here adds to it, so it gets to the end.
    fn checkpoint_in_background(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        queue.checkpoint = true;
        if !self.works_in_background(&mut queue) {
            queue.checkpoint = false;
            self.checkpoints.put_off();
        }
    }

    /// Carries out everything queued, on this thread, and waits for what a background thread has in hand.
    pub fn drain(self: &Arc<Self>) {
        loop {
            if !self.queue.lock().scheduler.has_queued() {
                // Whatever a background thread had taken is done once the connection is free.
                drop(self.connection.lock());
                if !self.queue.lock().scheduler.has_queued() {
                    return;
                }
            }
            self.work_once();
        }
    }

    /// Carries out everything queued and closes the connection. SQLite checkpoints then, and removes `-wal` and
    /// `-shm` if nobody else has the file open.
    pub fn close(self: &Arc<Self>) {
        self.end_tasks();
        self.drain();
        self.queue.lock().closed = true;
        self.drain();
        // The last one to close checkpoints.
        *self.reader.lock() = Reader::default();
        let Some(connection) = self.connection.lock().take() else { return };
        if self.has_lost_log(&connection, Duration::ZERO) {
            self.abandon(connection);
        }
    }

    /// Has something done with the whole database, when what was called before has been carried out.
    pub fn begin_task(self: &Arc<Self>, task: Task, reply: Reply, busy_timeout: Duration) {
        let (task, reply) = (Mutex::new(Some(task)), Mutex::new(Some(reply)));
        let after = AfterCalls { database: Arc::clone(self), task, reply, busy_timeout };
        self.enqueue(Operation::nothing(), Some(Reply::new(Arc::new(after), 0)), busy_timeout);
    }

    fn run_task(&self, task: Task, busy_timeout: Duration) -> Result<Answer> {
        {
            let mut tasks = self.tasks.lock();
            if tasks.is_closing {
                return Err(backup::closed());
            }
            tasks.running += 1;
        }
        let result = catch_unwind(AssertUnwindSafe(|| match &self.location {
            Location::File(path) => self.run_beside(path, task, busy_timeout),
            _ => match self.connection.lock().as_ref() {
                Some(connection) => self.run_on(connection, task),
                None => Err(closed()),
            },
        }));
        let mut tasks = self.tasks.lock();
        tasks.running -= 1;
        if tasks.running == 0 {
            tasks.interrupts.clear();
        }
        let is_closing = tasks.is_closing;
        drop(tasks);
        self.task_ended.notify_all();
        match result.unwrap_or_else(|_| Err(Error::panic())) {
            Err(_) if is_closing => Err(backup::closed()),
            result => result,
        }
    }

    /// On a connection of its own.
    fn run_beside(&self, path: &Path, task: Task, busy_timeout: Duration) -> Result<Answer> {
        let connection = match task {
            Task::BackUp(..) => Connection::open_to_copy(&self.location, busy_timeout)?,
            Task::Vacuum => Connection::open_to_vacuum(path, busy_timeout)?,
        };
        {
            let mut tasks = self.tasks.lock();
            if tasks.is_closing {
                return Err(backup::closed());
            }
            tasks.interrupts.push(connection.interrupt_handle());
        }
        self.run_on(&connection, task)
    }

    fn run_on(&self, connection: &Connection, task: Task) -> Result<Answer> {
        match task {
            Task::BackUp(target, goes_on) => {
                let goes_on = |progress| !self.tasks.lock().is_closing && goes_on(progress);
                backup::copy(connection, &target, goes_on)?;
                Ok(Answer::Undefined)
            }
            Task::Vacuum => {
                let path = if let Location::File(path) = &self.location { Some(path.as_path()) } else { None };
                let freed = connection.vacuum(path)?;
                Ok(Answer::Record(vec![("freedBytes", Field::Number(freed as f64))]))
            }
        }
    }

    /// Stops what is done on connections of its own, and waits until it has come to its end.
    fn end_tasks(&self) {
        let mut tasks = self.tasks.lock();
        tasks.is_closing = true;
        for interrupt in tasks.interrupts.drain(..) {
            interrupt.interrupt();
        }
        while tasks.running > 0 {
            self.task_ended.wait(&mut tasks);
        }
    }

    /// Registers somebody who wants to know when deduplicated requests may have changed.
    pub fn add_change_listener(&self, listener: Weak<dyn ChangeListener>) {
        let mut change_listeners = self.change_listeners.lock();
        change_listeners.retain(|listener| listener.strong_count() > 0);
        change_listeners.push(listener);
    }

    fn notify_change_listeners(&self, changed: &Changed) {
        let change_listeners: Vec<_> = self.change_listeners.lock().iter().filter_map(Weak::upgrade).collect();
        for listener in change_listeners {
            listener.on_change(changed);
        }
    }

    /// See [`Connection::data_version`]. `None` while the connection is in use.
    pub fn data_version(&self) -> Option<i64> {
        self.connection.try_lock()?.as_ref()?.data_version().ok()
    }

    /// Queues an operation and has the background carry it out.
    pub fn run_in_background(self: &Arc<Self>, operation: Operation, reply: Option<Reply>, busy_timeout: Duration) {
        self.enqueue(operation, reply, busy_timeout);
        let queue = self.queue.lock();
        if !queue.closed {
            self.continue_in_background(queue);
        }
    }
}

fn id_of(location: &Location) -> Option<FileId> {
    if let Location::File(path) = location { get_file_id(path).ok() } else { None }
}

#[cold]
fn in_other(path: &Path, copies: &Copies) -> Error {
    let [path, own, other] = [path, &copies.own, &copies.other].map(|path| path.display().to_string());
    Error::OpenInOtherCopy { path, own, other }
}

#[cold]
fn closed() -> Error {
    Error::Internal("the database is closed".to_owned())
}

/// Whether a table of ours is missing.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Sqlite { message, .. } if schema::is_missing(message))
}

/// The executor of our own connections.
struct NativeExecutor<'connection> {
    connection: &'connection Connection,
    /// Whether what a table is missing for is refused as if for want of a lock: to be run again when it is there.
    mends: bool,
    /// Whether it may wait for the medium, to make room. If not, what needs room is refused as if for want of a lock.
    may_flush: bool,
}

impl<'connection> NativeExecutor<'connection> {
    /// On a thread that waits for nothing.
    fn here(connection: &'connection Connection) -> Self {
        NativeExecutor { connection, mends: false, may_flush: false }
    }

    fn mending(connection: &'connection Connection) -> Self {
        NativeExecutor { mends: true, ..Self::here(connection) }
    }

    fn run_single(&self, operation: &Operation) -> Result<Results, Refusal<Error>> {
        if operation.read_only {
            return catch_panic(|| self.read(&operation.statements));
        }
        self.write(&operation.statements)
    }

    /// Carries out a list of statements as a transaction of their own.
    fn write(&self, list: &[BoundStatement]) -> Result<Results, Refusal<Error>> {
        let transaction = Transaction { lists: &[list], writes: true };
        self.transact(&transaction).map(|mut rows| rows.pop().unwrap_or_default())
    }

    fn read(&self, list: &[BoundStatement]) -> Result<Results, Refusal<Error>> {
        self.connection.read(list).map_err(|error| self.or_mended(refused(error, Refusal::Undone)))
    }

    fn transact(&self, transaction: &Transaction<'_>) -> TransactionResult<Error> {
        let attempt = || {
            catch_panic(|| match transaction {
                Transaction { lists: [list], writes: false } => self.read(list).map(|rows| vec![rows]),
                Transaction { lists, writes } => {
                    self.connection.transact(*writes, lists).map_err(|refusal| self.or_mended(refusal))
                }
            })
        };
        match attempt() {
            Err(refusal) if transaction.writes && refusal.error().is_full() => {
                self.transact_on_full_volume(transaction, refusal, attempt)
            }
            result => result,
        }
    }

    /// Makes room and tries once more. Housekeeping then goes on in smaller transactions, which take less at a time.
    #[cold]
    fn transact_on_full_volume(
        &self,
        transaction: &Transaction<'_>,
        refusal: Refusal<Error>,
        attempt: impl FnOnce() -> TransactionResult<Error>,
    ) -> TransactionResult<Error> {
        let has_log = self.connection.has_log();
        if has_log && !self.may_flush {
            return Err(Refusal::Busy(refusal.into_error()));
        }
        let result = if has_log && self.connection.make_room() { attempt() } else { Err(refusal) };
        if has_log && result.is_err() {
            // What it has written is of no use.
            self.connection.make_room();
        }
        let tidies = |bound: &BoundStatement| bound.statement.access().effect == Effect::Tidies;
        match (&result, transaction.lists) {
            // It may be done twice, whatever became of it.
            (Err(refusal), [list]) if refusal.error().is_full() && list.iter().all(tidies) => match list {
                [bound] => self.in_parts(bound).map_or(result, |rows| rows.map(|rows| vec![smallvec![rows]])),
                list => self.part_by_part(list).map_or(result, |rows| rows.map(|rows| vec![rows])),
            },
            _ => result,
        }
    }

    /// Runs each statement in a transaction of its own, along with those that must not stand without it; `None` if that would be
    /// the whole list.
    fn part_by_part(&self, list: &[BoundStatement]) -> Option<Result<Results, Refusal<Error>>> {
        let parts = || list.chunk_by(|bound, _| bound.statement.goes_with_next());
        parts().nth(1)?;
        let rows: Result<Vec<Results>, _> = parts().map(|part| self.write(part)).collect();
        Some(rows.map(|rows| rows.into_iter().flatten().collect()))
    }

    fn alone(&self, bound: &BoundStatement) -> Result<StatementResult, Refusal<Error>> {
        Ok(self.write(std::slice::from_ref(bound))?.pop().unwrap_or_default())
    }

    /// Removes a part of the rows at a time, if a statement says how many it removes at most.
    fn in_parts(&self, bound: &BoundStatement) -> Option<Result<StatementResult, Refusal<Error>>> {
        let index = bound.statement.row_limit()?;
        let at_most = bound.values.get(index).and_then(Value::number).filter(|at_most| *at_most > 1.0)? as u64;
        let (mut part, rows) = (bound.clone(), at_most.div_ceil(16));
        part.values[index] = Value::from(rows as f64);
        let mut removed = StatementResult::default();
        while removed.changes < at_most {
            match self.alone(&part) {
                Ok(StatementResult { changes, has_fired, .. }) => {
                    removed.changes += changes;
                    removed.has_fired |= has_fired;
                    if changes < rows {
                        break;
                    }
                }
                Err(refusal) => return Some(Err(refusal)),
            }
        }
        Some(Ok(removed))
    }

    /// A statement that lacks a table has done nothing, and what was done before it has been rolled back.
    fn or_mended(&self, refusal: Refusal<Error>) -> Refusal<Error> {
        match refusal {
            Refusal::Undone(error) | Refusal::Unclear(error) if self.mends && is_missing(&error) => {
                Refusal::Busy(error)
            }
            refusal => refusal,
        }
    }
}

/// Makes a refusal of a panic: it fails what was to be run, and nothing else.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, Refusal<Error>>) -> Result<T, Refusal<Error>> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Refusal::Unclear(Error::panic())))
}

impl Executor for NativeExecutor<'_> {
    type Error = Error;

    fn run(&mut self, transaction: Transaction<'_>) -> Option<TransactionResult<Error>> {
        Some(self.transact(&transaction))
    }
}
