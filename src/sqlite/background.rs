//! The threads for everything that must not run on a JavaScript thread. The system may refuse one: whoever asks is told, and
//! what was to be run is given back. (Tokio's own threads for blocking work are not used: it panics then, and keeps the
//! work.)

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle};

use crate::core::error::{Error, Result};

/// Something to be run.
pub type Work = Box<dyn FnOnce() + Send>;

/// How long a thread without work stays for more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

struct Pool {
    /// What no thread has taken yet.
    waiting: VecDeque<Work>,
    threads: usize,
    /// How many of them have nothing to do.
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { waiting: VecDeque::new(), threads: 0, idle: 0 });
static HAS_WORK: Condvar = Condvar::new();

/// Runs `work` on a background thread.
///
/// # Errors
/// Gives it back if there is no thread, and the system refuses one.
pub fn run(work: impl FnOnce() + Send + 'static) -> std::result::Result<(), Work> {
    let mut pool = POOL.lock();
    pool.waiting.push_back(Box::new(work));
    if pool.idle >= pool.waiting.len() {
        HAS_WORK.notify_one();
        return Ok(());
    }
    match spawn(serve) {
        Ok(()) => pool.threads += 1,
        // One that is busy comes to it later.
        Err(_) if pool.threads > 0 => {}
        Err(_) => return pool.waiting.pop_back().map_or(Ok(()), Err),
    }
    Ok(())
}

fn spawn(main: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("sqlite-store".to_owned()).spawn(main).map(drop)
}

/// What a thread of the pool does.
fn serve() {
    let mut pool = POOL.lock();
    loop {
        if let Some(work) = pool.waiting.pop_front() {
            drop(pool);
            // A panic fails what it was about; the thread goes on.
            let _ = catch_unwind(AssertUnwindSafe(work));
            pool = POOL.lock();
            continue;
        }
        pool.idle += 1;
        let timeout = HAS_WORK.wait_for(&mut pool, IDLE_TIMEOUT);
        pool.idle -= 1;
        if timeout.timed_out() && pool.waiting.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}

/// Starts a task that sleeps most of the time, on a thread that all of them share.
///
/// # Errors
/// [`Error::NoThread`] if that thread is not there, and the system refuses it.
pub fn start(task: Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<()> {
    drop(timers()?.spawn(task));
    Ok(())
}

fn timers() -> Result<Handle> {
    static TIMERS: Mutex<Option<Handle>> = Mutex::new(None);
    let mut timers = TIMERS.lock();
    if let Some(handle) = &*timers {
        return Ok(handle.clone());
    }
    // Tried again by the next who asks: a thread that was refused may be had later.
    let refused = |_| Error::NoThread;
    let runtime = Builder::new_current_thread().enable_time().build().map_err(refused)?;
    let handle = runtime.handle().clone();
    spawn(move || runtime.block_on(std::future::pending())).map_err(refused)?;
    *timers = Some(handle.clone());
    Ok(handle)
}
