//! When a write-ahead log is copied into its database: once it has grown enough since that was last done. Most of what
//! a checkpoint has to wait for is that the log is on the disk, which can be had before, while calls go on.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::os::sidecars::sidecar_paths;

/// By how much the log grows before it is checkpointed. SQLite's own default is 1000 pages, 4 MB. With that, an awaited `set`
/// of a few keys takes a third fewer instructions, since SQLite searches the index of a shorter log (`walIndexAppend`), but a
/// seventh more time, for the flushes.
const INTERVAL_BYTES: u64 = 16 << 20;

/// What is to be done about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// It is to be flushed, and then checkpointed.
    Flush,
    /// It grows faster than it is flushed: it is to be checkpointed, and writers wait.
    Checkpoint,
}

/// A log's checkpoints.
#[derive(Debug, Default)]
pub struct Checkpoints {
    /// How much of the log was in use after the last one.
    done_at_bytes: AtomicU64,
    /// Whether the log is being flushed for the next one.
    flushes: AtomicBool,
}

impl Checkpoints {
    /// What is due now that so much of the log is in use. A flush is due once, until [`done`](Self::done).
    pub fn due(&self, log_bytes: u64) -> Due {
        let before = self.done_at_bytes.load(Ordering::Relaxed);
        // Less than before: it has been begun anew.
        let grown = log_bytes.checked_sub(before).unwrap_or(log_bytes);
        if grown >= 2 * INTERVAL_BYTES {
            Due::Checkpoint
        } else if grown >= INTERVAL_BYTES && !self.flushes.swap(true, Ordering::Relaxed) {
            Due::Flush
        } else {
            Due::Nothing
        }
    }

    /// The flush that was due cannot be had now.
    pub fn put_off(&self) {
        self.flushes.store(false, Ordering::Relaxed);
    }

    /// A checkpoint has been tried, and so much of the log is in use.
    pub fn done(&self, log_bytes: u64) {
        self.done_at_bytes.store(log_bytes, Ordering::Relaxed);
        self.flushes.store(false, Ordering::Relaxed);
    }
}

/// Flushes the log of a database to the disk. What is not, the checkpoint flushes.
pub fn flush_log(database: &Path) {
    let [log, _] = sidecar_paths(database);
    // What is written meanwhile is little, the second time.
    for _ in 0..2 {
        // No locks are lost when the file is closed: there are none on it.
        let _ = File::options().write(true).open(&log).and_then(|log| log.sync_data());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_flushed_once_and_checkpointed_when_that_takes_too_long() {
        let checkpoints = Checkpoints::default();
        assert_eq!(checkpoints.due(INTERVAL_BYTES - 1), Due::Nothing);
        assert_eq!(checkpoints.due(INTERVAL_BYTES), Due::Flush);
        assert_eq!(checkpoints.due(INTERVAL_BYTES + 1), Due::Nothing);
        assert_eq!(checkpoints.due(2 * INTERVAL_BYTES), Due::Checkpoint);
        // Others keep it from being begun anew.
        checkpoints.done(2 * INTERVAL_BYTES);
        assert_eq!(checkpoints.due(2 * INTERVAL_BYTES + 1), Due::Nothing);
        assert_eq!(checkpoints.due(3 * INTERVAL_BYTES), Due::Flush);
        checkpoints.done(3 * INTERVAL_BYTES);
        assert_eq!(checkpoints.due(4096), Due::Nothing, "begun anew");
        assert_eq!(checkpoints.due(INTERVAL_BYTES), Due::Flush);
    }
}
