//! The threads for everything that must not run on a JavaScript thread.

use std::future::Future;

use once_cell::sync::Lazy;
use tokio::runtime::{Builder, Runtime};

/// One for the process. Threads for blocking work start when there is some and end when there has been none for
/// ten seconds.
static RUNTIME: Lazy<std::io::Result<Runtime>> =
    Lazy::new(|| Builder::new_multi_thread().worker_threads(1).thread_name("sqlite-store").enable_time().build());

/// Runs `work` on a background thread; on this one if no thread can be had.
pub fn run(work: impl FnOnce() + Send + 'static) {
    match &*RUNTIME {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// Starts a task that sleeps most of the time. Answers whether it has: there may be no thread to be had.
pub fn start(task: impl Future<Output = ()> + Send + 'static) -> bool {
    let runtime = RUNTIME.as_ref();
    runtime.is_ok_and(|runtime| {
        drop(runtime.spawn(task));
        true
    })
}
