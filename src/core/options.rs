//! Every option with its default and its check. The binding reads JavaScript values into these.

use super::error::{Error, Result};
use super::value::Millis;

/// How commits reach the file (sqlite.org/pragma.html#pragma_journal_mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalMode {
    /// Write-ahead log: the default.
    Wal,
    /// Rollback journal, as 0.2.0 had it.
    Delete,
}

/// When commits are flushed to the medium (sqlite.org/pragma.html#pragma_synchronous).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Synchronous {
    /// In WAL mode, at checkpoints: a commit survives the death of the process, not always a power loss.
    Normal,
    /// At every commit.
    Full,
}

/// The options of a database that a store opens by its path.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseOptions {
    /// How long a call may wait for a lock that another process holds, in ms.
    pub busy_timeout_ms: Millis,
    /// How long a call may take on a server, in ms.
    pub request_timeout_ms: Millis,
    /// The journal mode; `None` when the user did not say.
    pub journal_mode: Option<JournalMode>,
    /// When commits are flushed.
    pub synchronous: Synchronous,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        DatabaseOptions {
            busy_timeout_ms: 5_000.0,
            request_timeout_ms: 10_000.0,
            journal_mode: None,
            synchronous: Synchronous::Normal,
        }
    }
}

/// How much a cache holds at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// How many entries; [`UNBOUNDED`](Self::UNBOUNDED): any number.
    pub max_entries: f64,
    /// How many bytes all values take together, as they are stored.
    pub max_size_bytes: f64,
    /// Whether what was not used for longest is evicted first, rather than what was stored first.
    pub by_use: bool,
}

impl Bounds {
    /// The most that a number of JavaScript's and an INTEGER of SQLite's both hold.
    pub const UNBOUNDED: f64 = 9_007_199_254_740_991.0;
}

/// The options of the cache store.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions {
    /// How often expired entries are deleted, in ms; 0: never.
    pub cleanup_interval_ms: Millis,
    /// The largest JSON text that is stored, in bytes of UTF-8.
    pub max_entry_size_bytes: f64,
    /// Whether a lifetime of 0 lasts for ever, as the successor has it. Otherwise it is over at once, as in 0.2.0.
    pub zero_lasts: bool,
    /// How much is held at most, if that is bounded.
    pub bounds: Option<Bounds>,
}

impl CacheOptions {
    /// For how many seconds an entry is stored that is to live for so many.
    pub fn lifetime(&self, ttl_seconds: f64) -> f64 {
        if ttl_seconds == 0.0 && self.zero_lasts { f64::INFINITY } else { ttl_seconds }
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions {
            cleanup_interval_ms: 60_000.0,
            max_entry_size_bytes: 5.0 * 1024.0 * 1024.0,
            zero_lasts: false,
            bounds: None,
        }
    }
}

/// How long a lease is valid without renewal, in ms: a dead owner's job is taken over after at most this long.
pub const LEASE_MS: Millis = 4_000.0;

/// The same where only the store's own thread can renew it, which may be busy.
pub const OWN_THREAD_LEASE_MS: Millis = 15_000.0;

/// The options of the dedupe store.
#[derive(Clone, Copy, Debug)]
pub struct DedupeOptions {
    /// How long a job may take, in ms; 0: for ever.
    pub job_timeout_ms: Millis,
    /// How often rows past the job timeout are deleted, in ms; 0: never.
    pub cleanup_interval_ms: Millis,
    /// How often other processes' changes are polled for while somebody waits, in ms.
    pub poll_interval_ms: Millis,
    /// How long a `waitFor` that answered `undefined` keeps others waiting for its `register`, in ms; 0: not.
    pub claim_timeout_ms: Millis,
    /// How long a completed job's result is served to later requests, in ms.
    pub result_ttl_ms: Millis,
    /// How long a lease is valid without renewal, in ms: no option of the user's, but it depends on who can renew it.
    pub lease_ms: Millis,
    /// The most bytes of a result that can be stored, likewise: of a larger one other processes are told that there is none.
    pub most_result_bytes: usize,
}

/// How often those who wait look at a server, in ms, by default.
pub const REMOTE_POLL_INTERVAL_MS: Millis = 100.0;

impl Default for DedupeOptions {
    fn default() -> Self {
        DedupeOptions {
            job_timeout_ms: 300_000.0,
            cleanup_interval_ms: 60_000.0,
            poll_interval_ms: 10.0,
            claim_timeout_ms: 250.0,
            result_ttl_ms: 1_000.0,
            lease_ms: LEASE_MS,
            most_result_bytes: usize::MAX,
        }
    }
}

/// A rate limit: at most `limit` requests in any `window_ms`, and at least `min_interval_ms` between any two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimitConfig {
    /// How many requests; may be infinite.
    pub limit: f64,
    /// The length of the sliding window, in ms.
    pub window_ms: Millis,
    /// The shortest time between two requests, in ms; 0: any.
    pub min_interval_ms: Millis,
}

impl RateLimitConfig {
    /// A limit of a window alone.
    pub const fn new(limit: f64, window_ms: Millis) -> Self {
        RateLimitConfig { limit, window_ms, min_interval_ms: 0.0 }
    }

    /// Whether a number can be a limit.
    pub fn is_limit(limit: f64) -> bool {
        limit >= 0.0
    }

    /// Whether a number of ms can be a window, or an interval.
    pub fn is_span(span_ms: Millis) -> bool {
        span_ms >= 0.0 && span_ms.is_finite()
    }

    /// A limit of numbers that can make one, of a window alone.
    pub fn checked(limit: Option<f64>, window_ms: Option<Millis>) -> Option<Self> {
        let limit = limit.filter(|limit| Self::is_limit(*limit))?;
        let window_ms = window_ms.filter(|window_ms| Self::is_span(*window_ms))?;
        Some(RateLimitConfig::new(limit, window_ms))
    }

    /// For how long a request counts.
    pub fn span_ms(&self) -> Millis {
        self.window_ms.max(self.min_interval_ms)
    }

    /// The plain store's default: 60 a minute.
    pub const PLAIN_DEFAULT: Self = RateLimitConfig::new(60.0, 60_000.0);
    /// The adaptive store's default: 200 an hour.
    pub const ADAPTIVE_DEFAULT: Self = RateLimitConfig::new(200.0, 3_600_000.0);
    /// Any number at any time.
    pub const NONE: Self = RateLimitConfig::new(f64::INFINITY, 0.0);
}

/// Slots reserved by `canProceed` for the `record` to come.
#[derive(Clone, Debug)]
pub struct Reservations {
    /// The store that reserved them.
    pub owner: String,
    /// For how long.
    pub for_ms: Millis,
}

/// What limits the requests of all resources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedLimits {
    /// The option `sharedConfig`.
    pub config: RateLimitConfig,
    /// Whether cooldowns count as refusals.
    pub honours_cooldowns: bool,
    /// Whether callers that are refused book a slot.
    pub books_waits: bool,
}

impl SharedLimits {
    /// Nothing does.
    pub const NONE: Self =
        SharedLimits { config: RateLimitConfig::NONE, honours_cooldowns: false, books_waits: false };
}

/// The configuration of every resource, as it stood when a call was made.
#[derive(Clone, Debug)]
pub struct ResourceConfigs {
    /// For resources not named below.
    pub default: RateLimitConfig,
    /// Resources with a configuration of their own.
    pub named: Vec<(String, RateLimitConfig)>,
    pub shared: SharedLimits,
}

impl ResourceConfigs {
    /// The configuration of one resource.
    pub fn get(&self, resource: &str) -> RateLimitConfig {
        self.named.iter().find(|(name, _)| name == resource).map_or(self.default, |(_, config)| *config)
    }

    /// The configurations of all resources, and of all together.
    pub fn all(&self) -> impl Iterator<Item = RateLimitConfig> {
        self.named.iter().map(|(_, config)| *config).chain([self.default, self.shared.config])
    }
}

/// How the adaptive store divides a limit between users and background work (docs/api.md, "Adaptive rate
/// limiting").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConfig {
    /// The span in which recent user activity is counted, in ms.
    pub monitoring_window_ms: Millis,
    /// User requests in that span from which users have priority.
    pub high_activity_threshold: f64,
    /// User requests in that span from which shares scale with activity.
    pub moderate_activity_threshold: f64,
    /// How long computed shares hold, in ms.
    pub recalculation_interval_ms: Millis,
    /// How long without user requests until background work gets everything, in ms.
    pub sustained_inactivity_threshold_ms: Millis,
    /// Whether background work pauses while high user activity still rises.
    pub background_pause_on_increasing_trend: bool,
    /// The largest factor on the users' base share.
    pub max_user_scaling: f64,
    /// The users' share when there is little or no user activity, in requests.
    pub min_user_reserved: f64,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        AdaptiveConfig {
            monitoring_window_ms: 900_000.0,
            high_activity_threshold: 10.0,
            moderate_activity_threshold: 3.0,
            recalculation_interval_ms: 30_000.0,
            sustained_inactivity_threshold_ms: 1_800_000.0,
            background_pause_on_increasing_trend: true,
            max_user_scaling: 2.0,
            min_user_reserved: 5.0,
        }
    }
}

impl AdaptiveConfig {
    /// Checks what concerns more than one member.
    ///
    /// # Errors
    /// [`Error::Contradiction`] unless the moderate threshold is below the high one.
    pub fn check(&self) -> Result<()> {
        if self.moderate_activity_threshold < self.high_activity_threshold {
            Ok(())
        } else {
            Err(Error::Contradiction("moderateActivityThreshold must be less than highActivityThreshold"))
        }
    }
}
