//! What runs beside a dedupe store: looking for other processes' changes while somebody waits, and renewing the
//! leases of the store's jobs while some are pending.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::background;
use super::database::{Database, Waiter};
use crate::core::dedupe::rules;
use crate::core::error::Result;
use crate::core::plan::Operation;
use crate::core::value::Millis;
use parking_lot::Mutex;

/// The system's time, in ms since 1970.
pub fn system_now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| (since.as_micros() / 1000) as f64)
}

/// Where only the store's own thread may look, each look takes a turn of its event loop. So when nothing has happened for
/// a while, looks become rarer: on a connection that is not ours.
const QUIET_AFTER: Duration = Duration::from_millis(250);
const QUIET_INTERVAL: Duration = Duration::from_millis(30);

/// What a watch tells its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Something that calls may be waiting for has changed or is due.
    Changed,
    /// It is time to ask the connection whether something has changed: only where it is not ours.
    Poll,
    /// It is time to renew leases: only where the connection is not ours.
    Renew,
}

/// One dedupe store's interest in changes.
pub struct Watch {
    /// `None`: the store runs its operations on a connection that only its own thread may use, and is told when.
    database: Option<Weak<Database>>,
    owner: String,
    poll_interval: Duration,
    /// Tells the store. May be called from any thread.
    notify: Box<dyn Fn(Signal) + Send + Sync>,
    waiting: AtomicUsize,
    /// How often somebody has begun to wait, or has looked and goes on waiting.
    asked: AtomicUsize,
    polling: AtomicBool,
    /// The store's pending jobs, by hash.
    jobs: Mutex<HashMap<String, String>>,
    renewing: AtomicBool,
    look_again_at: Mutex<Option<Millis>>,
}

impl Watch {
    /// Registers a store's interest with its database, if that is ours.
    pub fn new(
        database: Option<&Arc<Database>>,
        owner: String,
        poll_interval_ms: Millis,
        notify: Box<dyn Fn(Signal) + Send + Sync>,
    ) -> Arc<Self> {
        // SQLite's own change counter is read at most once a millisecond.
        let poll_interval = Duration::from_secs_f64((poll_interval_ms / 1000.0).clamp(0.001, 60.0));
        let watch = Arc::new(Watch {
            database: database.map(Arc::downgrade),
            owner,
            poll_interval,
            notify,
            waiting: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            polling: AtomicBool::new(false),
            jobs: Mutex::default(),
            renewing: AtomicBool::new(false),
            look_again_at: Mutex::new(None),
        });
        if let Some(database) = database {
            let watch: Arc<dyn Waiter> = watch.clone();
            database.add_waiter(Arc::downgrade(&watch));
        }
        watch
    }

    /// Says how many hashes are waited for, and when the first claim or lease among them runs out.
    ///
    /// # Errors
    /// [`Error::NoThread`](crate::core::error::Error::NoThread): nobody would look.
    pub fn set_waiting(self: &Arc<Self>, waiting: usize, look_again_at: Option<Millis>) -> Result<()> {
        *self.look_again_at.lock() = look_again_at;
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.waiting.store(waiting, Ordering::SeqCst);
        if waiting > 0 && !self.polling.swap(true, Ordering::SeqCst) {
            let started = background::start(poll(Arc::downgrade(self), self.poll_interval));
            if started.is_err() {
                self.polling.store(false, Ordering::SeqCst);
            }
            return started;
        }
        Ok(())
    }

    /// Makes sure that leases can be renewed.
    ///
    /// # Errors
    /// [`Error::NoThread`](crate::core::error::Error::NoThread).
    pub fn ensure_renewal() -> Result<()> {
        background::ensure_timers()
    }

    /// Has the lease of a job of the store's renewed from now on.
    pub fn add_job(self: &Arc<Self>, hash: &str, job_id: &str) {
        let mut jobs = self.jobs.lock();
        jobs.insert(hash.to_owned(), job_id.to_owned());
        // Under the lock, as where renewing ends.
        if !self.renewing.swap(true, Ordering::SeqCst) {
            // Its thread is there: see `ensure_renewal`.
            let started = background::start(renew(Arc::downgrade(self)));
            if started.is_err() {
                self.renewing.store(false, Ordering::SeqCst);
            }
        }
    }

    /// The store's job for a hash, if any, has ended.
    pub fn remove_job(&self, hash: &str) {
        self.jobs.lock().remove(hash);
    }

    /// All jobs of the store have ended.
    pub fn remove_jobs(&self) {
        self.jobs.lock().clear();
    }

    /// Whether there are jobs. If not, renewing ends until another one comes.
    fn goes_on_renewing(&self) -> bool {
        let jobs = self.jobs.lock();
        self.renewing.store(!jobs.is_empty(), Ordering::SeqCst);
        !jobs.is_empty()
    }

    /// The operation that renews the leases of the store's jobs.
    pub fn renewal(&self) -> Operation {
        rules::renew(&self.owner, &*self.jobs.lock(), system_now())
    }
}

impl Waiter for Watch {
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            (self.notify)(Signal::Changed);
        }
    }
}

/// Whether a task of `interest` goes on. If not, `running` is cleared such that whoever raises `interest` next
/// starts a new one.
fn goes_on(interest: &AtomicUsize, running: &AtomicBool) -> bool {
    if interest.load(Ordering::SeqCst) > 0 {
        return true;
    }
    running.store(false, Ordering::SeqCst);
    interest.load(Ordering::SeqCst) > 0 && !running.swap(true, Ordering::SeqCst)
}

async fn poll(watch: Weak<Watch>, interval: Duration) {
    let (mut asked, mut asked_at) = (0, Instant::now());
    // Unknown at first, so the first round looks again: a change between the store's look and the first reading of
    // the counter must not be missed.
    let mut seen = None;
    let mut pause = interval;
    loop {
        tokio::time::sleep(pause).await;
        let Some(watch) = watch.upgrade() else { return };
        if !goes_on(&watch.waiting, &watch.polling) {
            return;
        }
        let asks = watch.asked.load(Ordering::SeqCst);
        if std::mem::replace(&mut asked, asks) != asks {
            asked_at = Instant::now();
        }
        let is_quiet = watch.database.is_none() && asked_at.elapsed() > QUIET_AFTER;
        pause = if is_quiet { interval.max(QUIET_INTERVAL) } else { interval };
        let changed = match &watch.database {
            None => {
                (watch.notify)(Signal::Poll);
                false
            }
            Some(database) => {
                let Some(database) = database.upgrade() else { return };
                let version = database.data_version();
                let changed = version.is_some() && version != seen;
                seen = version.or(seen);
                changed
            }
        };
        let due = watch.look_again_at.lock().is_some_and(|at| at <= system_now());
        if changed || due {
            watch.wake();
        }
    }
}

async fn renew(watch: Weak<Watch>) {
    loop {
        tokio::time::sleep(Duration::from_millis(rules::LEASE_RENEWAL_MS as u64)).await;
        let Some(watch) = watch.upgrade() else { return };
        if !watch.goes_on_renewing() {
            return;
        }
        let Some(database) = &watch.database else {
            (watch.notify)(Signal::Renew);
            continue;
        };
        let Some(database) = database.upgrade() else { return };
        database.run_in_background(watch.renewal(), Duration::from_millis(rules::LEASE_RENEWAL_MS as u64));
    }
}
