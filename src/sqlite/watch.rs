//! What runs beside the dedupe stores of a process: one task that polls for all that wait, renews the leases of all jobs and
//! claims, pings the event loops of those that have claims, and looks whether those live that are waited for.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::database::{ChangeListener, Database, Recipient, Reply};
use super::os::processes;
use super::{background, clock};
use crate::core::dedupe::{owner, rules};
use crate::core::error::Result;
use crate::core::operation::{Answer, Changed, Operation};
use crate::core::options::DedupeOptions;
use crate::core::value::Millis;
use crate::engine::call::Time;
use crate::engine::change_watcher::ChangeWatcher;
use crate::engine::claim_timer::ClaimTimer;
use crate::engine::lease_heartbeat::LeaseHeartbeat;

/// What a store is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Something that calls may be waiting for has changed or is due.
    Changed(Changed),
    /// It is time to ask the connection whether something has changed: only where it is not ours.
    Poll,
    /// It is time to renew leases: only where the connection is not ours.
    Renew,
    /// The process of an owner of leases that are waited for has ended.
    OwnerEnded(String),
    /// To be answered by a turn of the event loop.
    Ping,
    /// Something is due on a connection to a server.
    Due,
    /// The lease of a job of the store's is no longer renewed: the job is gone, or was not ended for too long.
    Lost {
        /// The job's hash.
        hash: String,
        /// Its id.
        job_id: String,
    },
}

/// What is watched, and renewed, for one dedupe store.
pub struct StoreWatch {
    /// `None`: the store runs its operations on a connection that only its own thread may use, and is told when.
    database: Option<Weak<Database>>,
    /// Tells the store. May be called from any thread.
    notify: Box<dyn Fn(WatchEvent) + Send + Sync>,
    changes: Mutex<ChangeWatcher>,
    heartbeat: Mutex<LeaseHeartbeat>,
    claims: Mutex<ClaimTimer>,
    itself: Weak<StoreWatch>,
}

struct Task {
    runs: bool,
    /// `None` until somebody wakes it.
    sleeps_until: Option<Time>,
    stores: Vec<Weak<StoreWatch>>,
}

static TASK: Mutex<Task> = Mutex::new(Task { runs: false, sleeps_until: None, stores: Vec::new() });
static WAKE: Notify = Notify::const_new();

/// Makes sure that the task runs.
///
/// # Errors
/// [`Error::NoThread`](crate::core::error::Error::NoThread): nobody would poll, and nobody renew.
pub fn ensure_running() -> Result<()> {
    let mut task = TASK.lock();
    if !task.runs {
        background::start(Box::pin(run()))?;
        task.runs = true;
    }
    Ok(())
}

async fn run() {
    loop {
        match run_due() {
            Some(at) => drop(timeout(at.saturating_sub(clock::now()), WAKE.notified()).await),
            None => WAKE.notified().await,
        }
    }
}

/// Does what is due for any store; answers when something will be next.
fn run_due() -> Option<Time> {
    let mut stores = Vec::new();
    TASK.lock().stores.retain(|store| {
        stores.extend(store.upgrade());
        store.strong_count() > 0
    });
    for store in &stores {
        // A panic is that store's alone.
        let _ = catch_unwind(AssertUnwindSafe(|| store.run_due()));
    }
    let mut task = TASK.lock();
    task.sleeps_until = stores.iter().filter_map(|store| store.next_at()).min();
    task.sleeps_until
}

impl StoreWatch {
    /// Of a store with this database, if that is ours.
    pub fn new(
        database: Option<&Arc<Database>>,
        owner: String,
        options: DedupeOptions,
        notify: Box<dyn Fn(WatchEvent) + Send + Sync>,
    ) -> Arc<Self> {
        let store = Arc::new_cyclic(|itself| StoreWatch {
            database: database.map(Arc::downgrade),
            notify,
            changes: Mutex::new(ChangeWatcher::new(options.poll_interval_ms, database.is_none())),
            heartbeat: Mutex::new(LeaseHeartbeat::new(owner, options)),
            claims: Mutex::new(ClaimTimer::new(&options)),
            itself: Weak::clone(itself),
        });
        if let Some(database) = database {
            let listener: Arc<dyn ChangeListener> = store.clone();
            database.add_change_listener(Arc::downgrade(&listener));
        }
        TASK.lock().stores.push(Arc::downgrade(&store));
        store
    }

    /// See [`ChangeWatcher::set_waiting`].
    ///
    /// # Errors
    /// As those of [`ensure_running`].
    pub fn set_waiting(
        &self,
        is_waiting: bool,
        first_end: Option<Millis>,
        owners: &Arc<BTreeSet<String>>,
    ) -> Result<()> {
        if is_waiting {
            ensure_running()?;
        }
        let now = clock::now();
        let mut changes = self.changes.lock();
        changes.set_waiting(is_waiting, first_end, now);
        changes.set_owners(owners, now);
        drop(changes);
        self.wake_task();
        Ok(())
    }

    /// Has the lease of a job, or a claim, renewed from now on, as long as the task [runs](ensure_running).
    pub fn add_lease(&self, hash: String, job_id: Option<String>) {
        let now = clock::now();
        if job_id.is_none() {
            self.claims.lock().add(hash.clone(), now);
        }
        self.heartbeat.lock().add(hash, job_id, now);
        self.wake_task();
    }

    /// A claim is not to be given up: see [`ClaimTimer`].
    pub fn use_claim(&self, hash: &str) {
        self.claims.lock().remove(Some(hash));
    }

    /// The store's job for a hash, or its claim, if any, has ended; or all have.
    pub fn remove_leases(&self, hash: Option<&str>) {
        self.claims.lock().remove(hash);
        self.heartbeat.lock().remove(hash);
    }

    /// The event loop has turned since it was pinged. Answers the hashes whose claims are to be given up.
    pub fn on_ping_answered(&self) -> Vec<String> {
        let unused = self.claims.lock().on_answered(clock::now());
        self.wake_task();
        unused
    }

    /// See [`LeaseHeartbeat::renewal`].
    pub fn renewal(&self, system: Millis) -> Option<Operation> {
        self.heartbeat.lock().renewal(system)
    }

    /// What became of a renewal.
    pub fn on_renewed(&self, answer: Answer) {
        let Answer::Renewed { lost } = answer else { return };
        for (hash, job_id) in lost {
            if self.heartbeat.lock().remove_lost(&hash, job_id.as_deref()) {
                self.lost(hash, job_id);
            }
        }
    }

    fn lost(&self, hash: String, job_id: Option<String>) {
        match job_id {
            Some(job_id) => (self.notify)(WatchEvent::Lost { hash, job_id }),
            None => self.use_claim(&hash),
        }
    }

    fn next_at(&self) -> Option<Time> {
        let changes = self.changes.lock();
        let (next_poll_at, next_look_at) = (changes.next_poll_at(), changes.next_look_at());
        drop(changes);
        let next_beat_at = self.heartbeat.lock().next_at();
        let next_ping_at = self.claims.lock().next_ping_at();
        [next_poll_at, next_look_at, next_beat_at, next_ping_at].into_iter().flatten().min()
    }

    /// Wakes the task if it would sleep for too long.
    fn wake_task(&self) {
        if let Some(next) = self.next_at()
            && TASK.lock().sleeps_until.is_none_or(|at| next < at)
        {
            WAKE.notify_one();
        }
    }

    fn run_due(&self) {
        let now = clock::now();
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let database = self.database.as_ref().map(Weak::upgrade);
        if is_due(self.changes.lock().next_poll_at()) {
            let version = database.as_ref().and_then(|database| database.as_ref()?.data_version());
            if database.is_none() {
                (self.notify)(WatchEvent::Poll);
            }
            if self.changes.lock().on_polled(version, now, clock::system_now()) {
                (self.notify)(WatchEvent::Changed(Changed::Anything));
            }
        }
        if is_due(self.changes.lock().next_look_at()) {
            let owners = self.changes.lock().on_look(now);
            for owner in owners.iter().filter(|owner| owner::has_ended(owner, processes::look)) {
                (self.notify)(WatchEvent::OwnerEnded(owner.clone()));
            }
        }
        if is_due(self.claims.lock().next_ping_at()) {
            self.claims.lock().on_pinged(now);
            (self.notify)(WatchEvent::Ping);
        }
        if is_due(self.heartbeat.lock().next_at()) {
            let late = self.heartbeat.lock().on_beat(now);
            late.into_iter().for_each(|(hash, job_id)| self.lost(hash, job_id));
            match database {
                None => (self.notify)(WatchEvent::Renew),
                Some(Some(database)) => {
                    if let Some(renewal) = self.renewal(clock::system_now()) {
                        let reply = self.itself.upgrade().map(|itself| Reply::new(itself, 0));
                        database.run_in_background(renewal, reply, rules::LEASE_RENEWAL);
                    }
                }
                Some(None) => {}
            }
        }
    }
}

impl Recipient for StoreWatch {
    fn deliver(&self, _call: usize, answer: Result<Answer>) {
        // One that failed is made up for by the next.
        answer.into_iter().for_each(|answer| self.on_renewed(answer));
    }
}

impl ChangeListener for StoreWatch {
    fn on_change(&self, changed: &Changed) {
        if self.changes.lock().is_waiting() {
            (self.notify)(WatchEvent::Changed(changed.clone()));
        }
    }
}
