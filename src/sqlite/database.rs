//! A database with the queue in front of its one connection.
//!
//! - A light read runs at once, on the calling thread, when nothing is queued and the connection is free.
//! - In memory, a short write that answers nothing is put aside: it is done with at once, and carried out with others,
//!   before anything else is. Nobody can tell.
//! - Everything else is queued in call order. The binding calls [`Database::flush`] at the end of a stretch of
//!   JavaScript: what is queued then is committed as one transaction, on the calling thread if that is cheap (WAL,
//!   `synchronous` normal, light, lock free), else on a background thread, which goes on until the queue is empty.
//! - The calling thread never waits: not for the connection (it tries the lock), not for another process (the busy
//!   timeout is 0 except on a background thread), not for an fsync. [`Database::drain`] is the exception, for
//!   `destroy()` and the end of the process.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use super::checkpoints::{self, Checkpoints, Due};
use super::connection::{Connection, Location, Refusal};
use super::files::{self, Fate, FileKey};
use super::{background, lock};
use crate::core::error::{Error, Result, StoreKind};
use crate::core::options::{JournalMode, Synchronous};
use crate::core::plan::{Answer, Operation, Outcome, OutcomeRule, PlanRows, Step, Weight, batch_length};

/// The most operations and bytes that are committed on a JavaScript thread at once: about 2 ms of work.
const INLINE_OPERATIONS: usize = 400;
const INLINE_BYTES: usize = 1 << 20;

/// The most operations and bytes in one background transaction, so that other processes get their turn.
const BATCH_OPERATIONS: usize = 4_000;
const BATCH_BYTES: usize = 16 << 20;

/// The most writes that are put aside in memory, and the most bytes of one.
const ASIDE_OPERATIONS: usize = 100;
const ASIDE_BYTES: usize = 8 << 10;

/// Somebody who waits for a deduplicated request.
pub trait Waiter: Send + Sync {
    /// Something may have changed. Called from any thread.
    fn wake(&self);
}

/// How long a lock is waited for at a time, after which calls that have waited long enough are refused.
const LOCK_SLICE: Duration = Duration::from_millis(25);

/// For how long at a time one flush may keep locks for the next: other processes' checkpoints stop at what was read, and
/// one that opens the file waits to write.
const KEEP_AT_MOST: Duration = Duration::from_millis(20);

/// How soon after another a flush comes that locks are kept for.
const FOLLOWS_WITHIN: Duration = Duration::from_millis(1);

/// How often it is looked, while writes are made, whether the log has its name still.
const NAMES_INTERVAL: Duration = Duration::from_millis(500);

/// How long a file is waited for before its journal mode is taken as another process keeps it.
const PREPARATION_PATIENCE: Duration = Duration::from_secs(1);

/// Somebody who wants to know what befalls a database.
pub trait Listener: Send + Sync {
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

    /// Delivers the answer.
    pub fn deliver(self, answer: Result<Answer>) {
        self.recipient.deliver(self.call, answer);
    }
}

/// An operation in the queue.
pub struct Queued {
    /// The operation.
    pub operation: Operation,
    /// Where its answer goes, if anywhere.
    pub reply: Option<Reply>,
    /// Until when it may wait for a lock.
    pub deadline: Instant,
}

#[derive(Default)]
struct Queue {
    operations: VecDeque<Queued>,
    /// Stores whose tables could not be made yet because another process wrote.
    unprepared: Vec<(StoreKind, Synchronous)>,
    /// Whether the write-ahead log is to be checkpointed after that.
    checkpoint: bool,
    /// Whether a background thread works on the queue.
    in_background: bool,
    closed: bool,
}

/// What became of a call that was handed in.
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
    queue: Mutex<Queue>,
    /// Whether the connection has its settings: not while another process has had the file to itself.
    configured: AtomicBool,
    /// Whether a commit neither waits for the medium nor for a lock longer than the statement takes.
    commits_inline: AtomicBool,
    synchronous: Mutex<Synchronous>,
    journal_mode: JournalMode,
    /// What tells the file that is open from others.
    file_key: Mutex<Option<FileKey>>,
    /// The stores whose tables belong to it.
    kinds: Mutex<Vec<StoreKind>>,
    /// When it was last looked whether the log has its name still.
    names_seen_at: Mutex<Option<Instant>>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    checkpoints: Checkpoints,
    /// When the last flush carried something out.
    flushed_at: Mutex<Option<Instant>>,
    /// Whether locks will be given back after a while.
    gives_back: AtomicBool,
    /// Whether the write lock may be kept between commits. Not beside another copy of SQLite in this process, which would
    /// give it up: a process's locks on a file are not told apart.
    keeps_write_lock: bool,
    waiters: Mutex<Vec<Weak<dyn Waiter>>>,
}

impl Database {
    /// Opens a database; `is_open_elsewhere` in this process, through another copy of SQLite.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn open(
        location: Location,
        journal_mode: JournalMode,
        synchronous: Synchronous,
        is_open_elsewhere: bool,
    ) -> Result<Arc<Self>> {
        let connection = Connection::open(&location)?;
        let database = Database {
            file_key: Mutex::new(key_of(&location)),
            configured: AtomicBool::new(!matches!(location, Location::File(_))),
            commits_inline: AtomicBool::new(!matches!(location, Location::File(_))),
            location,
            connection: Mutex::new(Some(connection)),
            queue: Mutex::default(),
            synchronous: Mutex::new(synchronous),
            journal_mode,
            kinds: Mutex::default(),
            names_seen_at: Mutex::default(),
            listeners: Mutex::default(),
            checkpoints: Checkpoints::default(),
            flushed_at: Mutex::default(),
            gives_back: AtomicBool::new(false),
            keeps_write_lock: !is_open_elsewhere,
            waiters: Mutex::default(),
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

    /// Gives the connection its settings, if it does not have them, and makes a store's tables.
    fn prepare_store(
        &self,
        connection: &mut Connection,
        kind: StoreKind,
        synchronous: Synchronous,
        has_waited: bool,
    ) -> Result<()> {
        let stricter = {
            let mut current = lock(&self.synchronous);
            let stricter = synchronous > *current;
            *current = synchronous.max(*current);
            stricter
        };
        if matches!(self.location, Location::File(_)) {
            let synchronous = *lock(&self.synchronous);
            if !self.configured.load(Ordering::Relaxed) {
                connection.configure(self.journal_mode, synchronous, has_waited)?;
                self.configured.store(true, Ordering::Relaxed);
            } else if stricter {
                connection.set_synchronous(synchronous)?;
            }
            let inline = synchronous == Synchronous::Normal && connection.is_wal();
            self.commits_inline.store(inline, Ordering::Relaxed);
        }
        connection.prepare_store(kind)
    }

    /// Makes a store's tables. While another process writes, that is left to the background and calls wait for it.
    /// A store that wants commits flushed gets that for the whole database.
    ///
    /// # Errors
    /// What SQLite refuses, other than for want of a lock.
    pub fn add_store(self: &Arc<Self>, kind: StoreKind, synchronous: Synchronous) -> Result<()> {
        if let Some(mut connection) = self.try_connection()
            && let Some(connection) = connection.as_mut()
        {
            match self.prepare_store(connection, kind, synchronous, false) {
                Err(error) if error.is_busy() => {}
                Ok(()) => {
                    self.add_kind(kind);
                    return Ok(());
                }
                refused => return refused,
            }
        }
        self.add_kind(kind);
        let mut queue = lock(&self.queue);
        queue.unprepared.push((kind, synchronous));
        self.continue_in_background(queue);
        Ok(())
    }

    fn add_kind(&self, kind: StoreKind) {
        let mut kinds = lock(&self.kinds);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }

    fn try_connection(&self) -> Option<MutexGuard<'_, Option<Connection>>> {
        match self.connection.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether an operation may be carried out as soon as it is handed in: a light read or, where nobody else can look
    /// and no disk is waited for, a light write.
    fn runs_at_once(&self, operation: &Operation) -> bool {
        let is_private = !matches!(self.location, Location::File(_));
        operation.weight == Weight::Light
            && (operation.read_only
                || (is_private && !operation.wakes_waiters && operation.payload_bytes() <= INLINE_BYTES))
    }

    /// Hands in a call: it is carried out at once where it may be and that keeps the order, otherwise it is queued.
    /// `reply` is asked for only then. Waits for locks for `busy_timeout`.
    pub fn submit(
        self: &Arc<Self>,
        mut operation: Operation,
        busy_timeout: Duration,
        reply: impl FnOnce() -> Reply,
    ) -> Submitted {
        if matches!(self.location, Location::Memory) {
            operation = match self.put_aside(operation) {
                Ok(()) => return Submitted::Done(Ok(Answer::Undefined)),
                Err(operation) => operation,
            };
        }
        while self.runs_at_once(&operation) {
            let Some(connection) = self.connection_if_idle() else {
                break;
            };
            let Some(open) = connection.as_ref() else {
                break;
            };
            let rows = match guarded(|| run_alone(open, &operation)) {
                Ok(rows) => rows,
                Err(error) if error.is_busy() => break,
                Err(error) => return Submitted::Done(Err(error)),
            };
            drop(connection);
            match decide(operation.outcome, rows) {
                Ok(Outcome::Answer(answer)) => return Submitted::Done(Ok(answer)),
                Ok(Outcome::AnswerThen(answer, next)) => {
                    self.enqueue(Queued { operation: next, reply: None, deadline: Instant::now() + busy_timeout });
                    return Submitted::Done(Ok(answer));
                }
                Ok(Outcome::Continue(next)) => operation = next,
                Err(error) => return Submitted::Done(Err(error)),
            }
        }
        self.enqueue(Queued { operation, reply: Some(reply()), deadline: Instant::now() + busy_timeout });
        Submitted::Queued
    }

    /// Whether all that is queued, if anything, has been put aside: nobody waits for it, and nobody else can look.
    fn is_put_aside(&self, queue: &Queue) -> bool {
        matches!(self.location, Location::Memory)
            && !queue.in_background
            && !queue.closed
            && queue.unprepared.is_empty()
            && queue.operations.back().is_none_or(|last| last.reply.is_none())
    }

    /// Puts a write aside, or carries out what has been put aside and gives the operation back.
    fn put_aside(self: &Arc<Self>, operation: Operation) -> std::result::Result<(), Operation> {
        let mut queue = lock(&self.queue);
        if !self.is_put_aside(&queue) {
            return Err(operation);
        }
        let may_wait =
            operation.is_command && operation.payload_bytes() <= ASIDE_BYTES && self.runs_at_once(&operation);
        if may_wait && queue.operations.len() < ASIDE_OPERATIONS {
            queue.operations.push_back(Queued { operation, reply: None, deadline: Instant::now() });
            return Ok(());
        }
        drop(queue);
        self.flush();
        Err(operation)
    }

    /// Whether nothing is queued or under way in the background that could keep a call waiting.
    pub fn is_idle(&self) -> bool {
        let queue = lock(&self.queue);
        !queue.in_background && (queue.operations.is_empty() || self.is_put_aside(&queue))
    }

    /// The connection, if nothing is before the caller.
    fn connection_if_idle(&self) -> Option<MutexGuard<'_, Option<Connection>>> {
        let queue = lock(&self.queue);
        if queue.in_background || !queue.operations.is_empty() || !queue.unprepared.is_empty() {
            return None;
        }
        self.try_connection()
    }

    /// Puts an operation at the end of the queue, for the next flush.
    pub fn enqueue(&self, queued: Queued) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            if let Some(reply) = queued.reply {
                reply.deliver(Err(closed()));
            }
            return;
        }
        queue.operations.push_back(queued);
    }

    /// Whether something is queued that cannot wait and that no background thread is working on.
    pub fn needs_flush(&self) -> bool {
        let queue = lock(&self.queue);
        !queue.in_background && !queue.operations.is_empty() && !self.is_put_aside(&queue)
    }

    /// Carries out what is queued: here if that is cheap, else in the background.
    pub fn flush(self: &Arc<Self>) {
        loop {
            let mut queue = lock(&self.queue);
            if queue.in_background || queue.operations.is_empty() {
                return;
            }
            let guard = self.try_connection();
            let connection = guard.as_deref().and_then(Option::as_ref);
            let Some(connection) = connection.filter(|connection| self.is_cheap(&queue, connection)) else {
                drop(guard);
                return self.continue_in_background(queue);
            };
            let length = first_batch(&queue.operations);
            let mut batch: VecDeque<Queued> = queue.operations.drain(..length).collect();
            drop(queue);
            // One of many: somebody awaits one write after the other.
            let now = Instant::now();
            let before = lock(&self.flushed_at).replace(now);
            let follows = before.is_some_and(|before| now.duration_since(before) < FOLLOWS_WITHIN);
            let is_file = matches!(self.location, Location::File(_));
            if is_file && follows && self.gives_back_locks_later() {
                connection.keep_read_lock();
                if self.keeps_write_lock {
                    connection.keep_write_lock_if_alone();
                }
            }
            let mut finished = Vec::with_capacity(batch.len());
            let mut waits_for_lock = false;
            match guarded(|| run_batch(connection, &mut batch, &mut finished)) {
                Ok(()) => {}
                Err(error) if error.is_busy() => {
                    // Before the connection is free for others: what is left stays first in order.
                    let mut queue = lock(&self.queue);
                    prepend(&mut queue, batch);
                    waits_for_lock = true;
                }
                Err(error) => finished.extend(batch.drain(..).map(|queued| (queued, Err(error.clone())))),
            }
            self.finish(finished);
            self.checkpoint_if_due(connection);
            drop(guard);
            if waits_for_lock {
                return self.continue_in_background(lock(&self.queue));
            }
        }
    }

    /// Gives back the locks that one flush keeps for the next; answers whether it has, which it has not while the
    /// connection is in use.
    fn try_to_give_back_locks(&self) -> bool {
        let connection = self.try_connection();
        if let Some(connection) = connection.as_deref().and_then(Option::as_ref) {
            connection.give_back_locks();
        }
        connection.is_some()
    }

    /// Has the locks given back after a while, whatever the calling thread does until then. Answers whether that can be
    /// had.
    fn gives_back_locks_later(self: &Arc<Self>) -> bool {
        if self.gives_back.swap(true, Ordering::SeqCst) {
            return true;
        }
        let database = Arc::downgrade(self);
        let started = background::start(async move {
            tokio::time::sleep(KEEP_AT_MOST).await;
            while let Some(database) = database.upgrade() {
                // First: whoever keeps it from here on has it given back once more.
                database.gives_back.store(false, Ordering::SeqCst);
                if database.try_to_give_back_locks() {
                    return;
                }
                drop(database);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        if started.is_err() {
            self.gives_back.store(false, Ordering::SeqCst);
        }
        started.is_ok()
    }

    fn is_cheap(&self, queue: &Queue, connection: &Connection) -> bool {
        let mut bytes = 0;
        queue.unprepared.is_empty()
            && queue.operations.len() <= INLINE_OPERATIONS
            && queue.operations.iter().all(|queued| {
                bytes += queued.operation.payload_bytes();
                queued.operation.weight == Weight::Light
            })
            && bytes <= INLINE_BYTES
            && (queue.operations.iter().all(|queued| queued.operation.read_only) || self.commits_here(connection))
    }

    /// Whether a commit may be made on a JavaScript thread: it waits for no flush, and others see it.
    fn commits_here(&self, connection: &Connection) -> bool {
        self.commits_inline.load(Ordering::Relaxed)
            && !connection.next_commit_syncs()
            && !self.has_lost_log(connection, NAMES_INTERVAL)
    }

    /// Whether what is written to the log is lost, or damages what others write. Looked at once in an `interval`.
    fn has_lost_log(&self, connection: &Connection, interval: Duration) -> bool {
        if !matches!(self.location, Location::File(_)) {
            return false;
        }
        let mut seen_at = lock(&self.names_seen_at);
        if seen_at.is_some_and(|seen_at| seen_at.elapsed() < interval) {
            return false;
        }
        let has_lost_log = connection.fate() != Fate::Sound;
        if !has_lost_log {
            *seen_at = Some(Instant::now());
        }
        has_lost_log
    }

    /// Opens the file afresh where its log is lost.
    fn reopen_if_lost(&self, slot: &mut Option<Connection>, interval: Duration) -> Result<()> {
        match slot.take_if(|connection| self.has_lost_log(connection, interval)) {
            Some(lost) => self.abandon(lost),
            None if slot.is_some() || lock(&self.queue).closed => return Ok(()),
            // It could not be opened the last time.
            None => {}
        }
        // Not before the old one is closed: connections of one process share a WAL-index.
        *slot = Some(Connection::open(&self.location)?);
        *lock(&self.file_key) = key_of(&self.location);
        self.configured.store(false, Ordering::Relaxed);
        self.commits_inline.store(false, Ordering::Relaxed);
        let synchronous = *lock(&self.synchronous);
        let kinds = lock(&self.kinds).clone();
        lock(&self.queue).unprepared.extend(kinds.into_iter().map(|kind| (kind, synchronous)));
        // What they wait for may have changed, and the new connection's counter does not tell.
        self.wake();
        Ok(())
    }

    /// Closes a connection whose log is lost, and says so.
    fn abandon(&self, connection: Connection) {
        connection.abandon();
        // Whoever opens what is there now is to use this database.
        *lock(&self.file_key) = key_of(&self.location);
        if let Location::File(path) = &self.location {
            let listeners: Vec<_> = lock(&self.listeners).iter().filter_map(Weak::upgrade).collect();
            for listener in listeners {
                listener.log_lost(path);
            }
        }
    }

    /// What tells the file that is open from others.
    pub fn file_key(&self) -> Option<FileKey> {
        lock(&self.file_key).clone()
    }

    /// See [`Connection::part_from_replaced`]. If the log is taken for the new file's by now, the connection is closed, for
    /// that to be opened with the next call. Nothing is done while the connection is in use.
    pub fn part_from_replaced(&self) {
        let Some(mut slot) = self.try_connection() else { return };
        if let Some(connection) = slot.as_ref() {
            connection.part_from_replaced();
        }
        if let Some(lost) = slot.take_if(|connection| connection.fate() == Fate::Taken) {
            self.abandon(lost);
        }
    }

    /// Registers somebody who wants to know what befalls the database.
    pub fn add_listener(&self, listener: Weak<dyn Listener>) {
        let mut listeners = lock(&self.listeners);
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
        let guard = self.try_connection();
        let connection = guard.as_deref().and_then(Option::as_ref);
        loop {
            let mut queue = lock(&self.queue);
            let is_prepared = queue.unprepared.is_empty();
            let Some(queued) = queue.operations.pop_front() else { return };
            drop(queue);
            let Operation { weight, read_only, .. } = queued.operation;
            let runs_here = |connection: &&Connection| {
                is_prepared && weight == Weight::Light && (read_only || self.commits_here(connection))
            };
            let rows = match connection.filter(runs_here) {
                Some(connection) => guarded(|| run_alone(connection, &queued.operation)),
                None => Err(Error::NoThread),
            };
            let rows = rows.map_err(|error| if error.is_busy() { Error::NoThread } else { error });
            self.finish(vec![(queued, rows)]);
        }
    }

    /// What a background thread does: batch after batch until nothing is queued.
    fn work(self: Arc<Self>) {
        // A panic, which nothing is known to bring about, fails what was in hand; later calls are to work.
        if catch_unwind(AssertUnwindSafe(|| while self.work_once() {})).is_err() {
            lock(&self.queue).in_background = false;
        }
    }

    fn work_once(self: &Arc<Self>) -> bool {
        // The connection first: whoever takes operations from the queue must be the one who can run them.
        let mut guard = lock(&self.connection);
        // Before a checkpoint, it is looked at once more: one of a log that is lost damages the file.
        let checkpoint = std::mem::take(&mut lock(&self.queue).checkpoint);
        let interval = if checkpoint { Duration::ZERO } else { NAMES_INTERVAL };
        let reopened = self.reopen_if_lost(&mut guard, interval);
        let mut queue = lock(&self.queue);
        let Some(connection) = guard.as_mut() else {
            queue.in_background = false;
            let operations = std::mem::take(&mut queue.operations);
            drop(queue);
            let error = reopened.err().unwrap_or_else(closed);
            self.finish(operations.into_iter().map(|queued| (queued, Err(error.clone()))).collect());
            return false;
        };
        let mut unprepared = std::mem::take(&mut queue.unprepared);
        connection.give_back_locks();
        if queue.operations.is_empty() && unprepared.is_empty() && !checkpoint {
            queue.in_background = false;
            return false;
        }
        let length = first_batch(&queue.operations);
        let mut batch: VecDeque<Queued> = queue.operations.drain(..length).collect();
        drop(queue);

        let mut finished = Vec::with_capacity(batch.len());
        let started = Instant::now();
        loop {
            let until = batch.iter().map(|queued| queued.deadline).min();
            let left = until.map_or(LOCK_SLICE, |until| until.saturating_duration_since(Instant::now()));
            connection.wait_for_locks(left.min(LOCK_SLICE));
            let has_waited = started.elapsed() >= PREPARATION_PATIENCE;
            let outcome = guarded(|| {
                self.prepare(connection, &mut unprepared, has_waited)?;
                run_batch(connection, &mut batch, &mut finished)
            });
            let Err(error) = outcome else { break };
            if !error.is_busy() {
                finished.extend(batch.drain(..).map(|queued| (queued, Err(error.clone()))));
                break;
            }
            connection.wait_for_locks(Duration::ZERO);
            let late = self.take_late(&mut batch);
            if !late.is_empty() {
                finished.extend(late.into_iter().map(|queued| {
                    // A read may have waited for nothing but the writes before it.
                    let is_read = queued.operation.read_only;
                    let rows = match is_read {
                        true => guarded(|| run_alone(connection, &queued.operation)),
                        false => Err(error.clone()),
                    };
                    (queued, rows)
                }));
                // Now: others may wait for the lock longer.
                self.finish(std::mem::take(&mut finished));
            }
            // A store that was added while another process wrote may have no calls yet.
            if batch.is_empty() && (unprepared.is_empty() || has_waited || !lock(&self.queue).operations.is_empty())
            {
                break;
            }
            // SQLite answers BUSY at once where waiting could not help, for example while a snapshot is recovered.
            std::thread::sleep(Duration::from_millis(1));
        }
        connection.wait_for_locks(Duration::ZERO);
        // While the connection is held: whoever waits for it finds everything delivered and queued.
        self.finish(finished);
        if checkpoint {
            // One that fails is made up for by the next, or when the database is closed.
            let _ = connection.checkpoint();
            self.checkpoints.done(connection.log_bytes());
        } else {
            self.checkpoint_if_due(connection);
        }
        if !unprepared.is_empty() {
            let mut queue = lock(&self.queue);
            queue.unprepared.append(&mut unprepared);
            if queue.operations.is_empty() {
                // Nobody waits: the next call tries again.
                queue.in_background = false;
                return false;
            }
        }
        true
    }

    /// Takes out of a batch, and out of the queue behind it, what has waited long enough.
    fn take_late(&self, batch: &mut VecDeque<Queued>) -> Vec<Queued> {
        let now = Instant::now();
        let mut late = Vec::new();
        for operations in [batch, &mut lock(&self.queue).operations] {
            let (taken, rest) =
                std::mem::take(operations).into_iter().partition::<VecDeque<_>, _>(|queued| queued.deadline <= now);
            *operations = rest;
            late.extend(taken);
        }
        late
    }

    fn prepare(
        &self,
        connection: &mut Connection,
        unprepared: &mut Vec<(StoreKind, Synchronous)>,
        has_waited: bool,
    ) -> Result<()> {
        let mut refused = Vec::new();
        while let Some((kind, synchronous)) = unprepared.last().copied() {
            match self.prepare_store(connection, kind, synchronous, has_waited) {
                Err(error) if error.is_busy() => {
                    unprepared.append(&mut refused);
                    return Err(error);
                }
                // Its calls say so; those of other stores are to work.
                Err(_) => refused.push((kind, synchronous)),
                Ok(()) => {}
            }
            unprepared.pop();
        }
        *unprepared = refused;
        Ok(())
    }

    /// Applies the rules to what has been committed, delivers the answers, and queues what follows from them: before
    /// whatever was called later, save for the rest of long work, which gives others their turn.
    fn finish(self: &Arc<Self>, finished: Vec<(Queued, Result<PlanRows>)>) {
        let mut wakes = false;
        let mut next_in_turn = VecDeque::new();
        let mut finished = finished.into_iter();
        while let Some((queued, rows)) = finished.next() {
            let Queued { operation, reply, deadline } = queued;
            wakes |= operation.wakes_waiters && rows.is_ok();
            let answer = match rows.and_then(|rows| decide(operation.outcome, rows)) {
                Ok(Outcome::Answer(answer)) => Ok(answer),
                Ok(Outcome::AnswerThen(answer, next)) => {
                    let later = finished.as_slice().iter().map(|(later, _)| &later.operation);
                    if !next.is_overtaken(later) {
                        next_in_turn.push_back(Queued { operation: next, reply: None, deadline });
                    }
                    Ok(answer)
                }
                Ok(Outcome::Continue(next)) if operation.goes_on => {
                    next_in_turn.push_back(Queued { operation: next, reply, deadline });
                    continue;
                }
                Ok(Outcome::Continue(next)) => {
                    self.enqueue(Queued { operation: next, reply, deadline });
                    continue;
                }
                Err(error) => Err(error),
            };
            if let Some(reply) = reply {
                reply.deliver(answer);
            }
        }
        if !next_in_turn.is_empty() {
            prepend(&mut lock(&self.queue), next_in_turn);
        }
        if wakes {
            self.wake();
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
        let mut queue = lock(&self.queue);
        queue.checkpoint = true;
        if !self.works_in_background(&mut queue) {
            queue.checkpoint = false;
            self.checkpoints.put_off();
        }
    }

    /// Carries out everything queued, on this thread, and waits for what a background thread has in hand.
    pub fn drain(self: &Arc<Self>) {
        loop {
            {
                let queue = lock(&self.queue);
                if queue.operations.is_empty() {
                    drop(queue);
                    // Whatever a background thread had taken is done once the connection is free.
                    drop(lock(&self.connection));
                    if lock(&self.queue).operations.is_empty() {
                        return;
                    }
                }
            }
            self.work_once();
        }
    }

    /// Carries out everything queued and closes the connection. SQLite checkpoints then, and removes `-wal` and
    /// `-shm` if nobody else has the file open.
    pub fn close(self: &Arc<Self>) {
        self.drain();
        lock(&self.queue).closed = true;
        self.drain();
        let Some(connection) = lock(&self.connection).take() else { return };
        if self.has_lost_log(&connection, Duration::ZERO) {
            self.abandon(connection);
        }
    }

    /// Registers somebody who wants to know when deduplicated requests may have changed.
    pub fn add_waiter(&self, waiter: Weak<dyn Waiter>) {
        let mut waiters = lock(&self.waiters);
        waiters.retain(|waiter| waiter.strong_count() > 0);
        waiters.push(waiter);
    }

    fn wake(&self) {
        let waiters: Vec<_> = lock(&self.waiters).iter().filter_map(Weak::upgrade).collect();
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// See [`Connection::data_version`]. `None` while the connection is in use.
    pub fn data_version(&self) -> Option<i64> {
        self.try_connection()?.as_ref()?.data_version().ok()
    }

    /// Queues an operation nobody waits for and has the background carry it out.
    pub fn run_in_background(self: &Arc<Self>, operation: Operation, deadline: Instant) {
        self.enqueue(Queued { operation, reply: None, deadline });
        let queue = lock(&self.queue);
        if !queue.closed {
            self.continue_in_background(queue);
        }
    }
}

/// How many operations from the front make one transaction.
fn first_batch(operations: &VecDeque<Queued>) -> usize {
    batch_length(operations.iter().take(BATCH_OPERATIONS).map(|queued| &queued.operation), BATCH_BYTES)
}

fn key_of(location: &Location) -> Option<FileKey> {
    if let Location::File(path) = location { files::file_key(path) } else { None }
}

#[cold]
fn closed() -> Error {
    Error::Internal("the database is closed".to_owned())
}

fn prepend(queue: &mut Queue, mut batch: VecDeque<Queued>) {
    batch.append(&mut queue.operations);
    queue.operations = batch;
}

/// Applies a rule. A rule that panics fails its own call and no other.
fn decide(rule: OutcomeRule, rows: PlanRows) -> Result<Outcome> {
    guarded(|| Ok(rule(rows)))
}

/// Makes an error of a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::Internal("a panic".to_owned())))
}

/// Runs a batch as one transaction. If one of its operations fails, nothing of it stands and each is run again in
/// a transaction of its own, so that it alone is refused. If the commit fails, all are refused: it may have taken effect.
///
/// # Errors
/// `SQLITE_BUSY`: what is left in `batch` has not been run.
fn run_batch(
    connection: &Connection,
    batch: &mut VecDeque<Queued>,
    finished: &mut Vec<(Queued, Result<PlanRows>)>,
) -> Result<()> {
    if batch.len() > 1 {
        let writes = batch.iter().any(|queued| !queued.operation.read_only);
        let plans: Vec<&[Step]> = batch.iter().map(|queued| queued.operation.steps.as_slice()).collect();
        match connection.transact(writes, &plans) {
            Ok(all) => {
                finished.extend(batch.drain(..).zip(all.into_iter().map(Ok)));
                return Ok(());
            }
            Err(Refusal::Undone(error) | Refusal::Unclear(error)) if error.is_busy() => return Err(error),
            Err(Refusal::Undone(_)) => {}
            Err(Refusal::Unclear(error)) => {
                finished.extend(batch.drain(..).map(|queued| (queued, Err(error.clone()))));
                return Ok(());
            }
        }
    }
    while let Some(queued) = batch.front() {
        let rows = run_alone(connection, &queued.operation);
        match rows {
            Err(error) if error.is_busy() => return Err(error),
            rows => finished.extend(batch.pop_front().map(|queued| (queued, rows))),
        }
    }
    Ok(())
}

fn run_alone(connection: &Connection, operation: &Operation) -> Result<PlanRows> {
    if operation.read_only {
        return connection.read(&operation.steps);
    }
    Ok(connection.transact(true, &[&operation.steps])?.pop().unwrap_or_default())
}
