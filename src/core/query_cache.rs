//! What statements answered, kept in memory: whoever holds it may use it as long as the database is in the state it was
//! read in, and tells it what it changes itself. Knows no connection: whether the state is the same is the holder's
//! affair.
//!
//! Three statements are answered so, once they have been asked: an entry of the cache, and how many requests of a
//! resource are in its window, for either rate limiter. A count is kept as it stands while every request of the resource
//! is in the window; once the oldest has left, it is counted again.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use smallvec::smallvec;

use super::adaptive::Priority;
use super::codec;
use super::operation::{BoundStatement, StatementResult};
use super::statements::{Effect, Statement, Table};
use super::value::{Millis, Value};

/// The most bytes of entries that are kept.
pub const MAX_ENTRY_BYTES: usize = 8 << 20;

/// The most bytes of one entry that is kept: it would drive out too many others.
const MAX_BYTES_EACH: usize = MAX_ENTRY_BYTES / 4;

/// About how many there are, by which it is sized at first.
const TYPICAL_ENTRIES: usize = 1_000;

/// What an entry takes beside its key and text, about.
const ENTRY_OVERHEAD: usize = 128;

/// The most resources whose counts are kept.
const MAX_WINDOWS: usize = 10_000;

/// An entry of the cache: its text and expiry, or that there is none.
type Entry = Option<(Arc<String>, Value)>;

/// What an entry takes, in bytes.
struct Bytes;

impl Weighter<String, Entry> for Bytes {
    fn weight(&self, hash: &String, entry: &Entry) -> u64 {
        (ENTRY_OVERHEAD + hash.len() + entry.as_ref().map_or(0, |(text, _)| text.len())) as u64
    }
}

/// The class of request that is counted, and the index of its count: the plain limiter has but one.
type Class = usize;
const CLASSES: [Priority; 2] = [Priority::User, Priority::Background];
const BACKGROUND: Class = 1;

/// The class of a request, by the text that stands for it. What is neither is not counted by class.
fn class_of(priority: &Value) -> Option<Class> {
    CLASSES.iter().position(|class| priority.text() == Some(class.as_str()))
}

/// The requests of a resource, all of them in its window, and no reservations.
struct Window {
    counts: [i64; 2],
    oldest: Option<Millis>,
    newest: Option<Millis>,
    /// When they were counted. A clock that is set back makes reservations count again that had expired.
    counted_at: Millis,
}

impl Window {
    fn new(counts: [f64; 2], oldest: Option<Millis>, newest: Option<Millis>, now: &Value) -> Self {
        let counted_at = now.number().unwrap_or(Millis::INFINITY);
        Window { counts: counts.map(|count| count as i64), oldest, newest, counted_at }
    }

    /// Whether the count is what it was for a window that starts at `start`, at the time `now`.
    fn holds(&self, start: &Value, now: &Value) -> bool {
        let (Some(start), Some(now)) = (start.number(), now.number()) else { return false };
        self.oldest.is_none_or(|oldest| start <= oldest) && now >= self.counted_at
    }
}

/// Windows by resource.
#[derive(Default)]
struct Windows(HashMap<String, Window, RandomState>);

impl Windows {
    fn get(&self, resource: &str, start: &Value, now: &Value) -> Option<&Window> {
        self.0.get(resource).filter(|window| window.holds(start, now))
    }

    fn insert(&mut self, resource: &str, window: Window, start: &Value, now: &Value) {
        if window.holds(start, now) {
            if self.0.len() >= MAX_WINDOWS {
                self.0.clear();
            }
            self.0.insert(resource.to_owned(), window);
        }
    }

    fn record(&mut self, resource: &str, class: Option<Class>, at: &Value) {
        if let Some(window) = self.0.get_mut(resource) {
            let at = at.number();
            class.into_iter().for_each(|class| window.counts[class] += 1);
            let of_both = |one: Option<Millis>, of: fn(Millis, Millis) -> Millis| match (one, at) {
                (Some(one), Some(at)) => Some(of(one, at)),
                (one, at) => one.or(at),
            };
            window.oldest = of_both(window.oldest, Millis::min);
            window.newest = of_both(window.newest, Millis::max);
        }
    }
}

pub struct QueryCache {
    entries: Cache<String, Entry, Bytes, RandomState>,
    plain: Windows,
    adaptive: Windows,
}

impl Default for QueryCache {
    fn default() -> Self {
        let capacity = MAX_ENTRY_BYTES as u64;
        QueryCache {
            entries: Cache::with(
                TYPICAL_ENTRIES,
                capacity,
                Bytes,
                RandomState::default(),
                DefaultLifecycle::default(),
            ),
            plain: Windows::default(),
            adaptive: Windows::default(),
        }
    }
}

/// A time as a REAL: its reader asks for a number, so whole ones need not be told apart.
fn time(at: Option<Millis>) -> Value {
    at.map_or(Value::Null, Value::Real)
}

fn row(values: impl Into<Vec<Value>>) -> StatementResult {
    StatementResult { rows: smallvec![values.into()], ..StatementResult::default() }
}

impl QueryCache {
    /// Whether a statement is one of those whose answers are kept.
    pub fn is_cacheable(statement: Statement) -> bool {
        matches!(statement, Statement::CacheGet | Statement::RateUsage | Statement::AdaptiveUsage)
    }

    /// What a statement would answer, if that is known.
    pub fn get(&mut self, bound: &BoundStatement) -> Option<StatementResult> {
        match (bound.statement, bound.values.as_slice()) {
            (Statement::CacheGet, [Value::Text(hash)]) => Some(match self.entries.get(hash)? {
                Some((text, expires_at)) => row([Value::Json(Arc::clone(text)), expires_at.clone()]),
                None => StatementResult::default(),
            }),
            (Statement::RateUsage, [Value::Text(resource), start, now]) => {
                let Window { counts: [all, _], oldest, newest, .. } = self.plain.get(resource, start, now)?;
                let [all, none] = [*all, 0].map(Value::Integer);
                Some(row([all, time(*oldest), none, time(*newest)]))
            }
            (Statement::AdaptiveUsage, [Value::Text(resource), start, now]) => {
                let Window { counts: [user, background], oldest, newest, .. } =
                    self.adaptive.get(resource, start, now)?;
                let [user, background, none] = [*user, *background, 0].map(Value::Integer);
                Some(row([user, background, time(*oldest), none.clone(), none, time(*newest)]))
            }
            _ => None,
        }
    }

    /// Keeps what a statement answered, and decodes what is kept decoded.
    pub fn insert(&mut self, bound: &BoundStatement, rows: &mut StatementResult) {
        match (bound.statement, bound.values.as_slice()) {
            (Statement::CacheGet, [Value::Text(hash)]) => match rows.rows.first_mut().map(Vec::as_mut_slice) {
                None => self.insert_entry(hash, None),
                Some([value, expires_at]) => {
                    if let Some(text) = codec::text(std::mem::replace(value, Value::Null)) {
                        *value = Value::Json(Arc::clone(&text));
                        self.insert_entry(hash, Some((text, expires_at.clone())));
                    }
                }
                Some(_) => {}
            },
            (Statement::RateUsage, [Value::Text(resource), start, now]) if rows.number(2) == 0.0 => {
                let counts = [rows.number(0), 0.0];
                let window = Window::new(counts, rows.optional_number(1), rows.optional_number(3), now);
                self.plain.insert(resource, window, start, now);
            }
            (Statement::AdaptiveUsage, [Value::Text(resource), start, now])
                if rows.number(3) + rows.number(4) == 0.0 =>
            {
                let counts = [rows.number(0), rows.number(1)];
                let window = Window::new(counts, rows.optional_number(2), rows.optional_number(5), now);
                self.adaptive.insert(resource, window, start, now);
            }
            _ => {}
        }
    }

    /// Takes note of a statement that the holder has carried out and committed. What is not known to leave an answer as it
    /// is drops all answers that it may have changed.
    pub fn apply_write(&mut self, bound: &BoundStatement, rows: &StatementResult) {
        use Statement as S;
        let access = bound.statement.access();
        let changes_nothing =
            if bound.statement.columns() > 0 { rows.first().is_none() } else { rows.changes == 0 };
        if access.effect == Effect::Reads || changes_nothing {
            return;
        }
        match (bound.statement, bound.values.as_slice()) {
            // Whoever merely writes has no use for answers.
            (S::CacheSet | S::CacheDelete, [Value::Text(hash), ..]) if !self.entries.contains_key(hash) => {}
            (S::CacheSet, [Value::Text(hash), Value::Json(text), expires_at, _]) => {
                self.insert_entry(hash, Some((Arc::clone(text), expires_at.clone())));
            }
            (S::CacheDelete, [Value::Text(hash)]) => self.insert_entry(hash, None),
            (S::CacheDeleteTagged, [Value::Text(hash), _]) => drop(self.entries.remove(hash)),
            (S::CacheMarked, _) => {
                rows.rows
                    .iter()
                    .filter_map(|row| row.first()?.text())
                    .for_each(|hash| drop(self.entries.remove(hash)));
            }
            (S::CacheDeleteStale, [Value::Text(hash), _]) => drop(self.entries.remove(hash)),
            (S::RateRecord | S::RateAcquire | S::RateAcquireSpaced, [Value::Text(resource), at, ..]) => {
                // The column's default.
                self.record(resource, Some(BACKGROUND), at);
            }
            (S::AdaptiveRecord, [Value::Text(resource), at, priority])
            | (S::AdaptiveAcquire | S::AdaptiveAcquireSpaced, [Value::Text(resource), at, _, _, priority, ..]) => {
                self.record(resource, class_of(priority), at);
            }
            (
                S::RateReserve
                | S::AdaptiveReserve
                | S::RateRelease
                | S::RateExpireReservations
                | S::RateResetReservations
                | S::RateDeleteBefore
                | S::RateCorrect
                | S::RateCorrectReservations
                | S::RateReset,
                [Value::Text(resource), ..],
            ) => {
                self.plain.0.remove(resource);
                self.adaptive.0.remove(resource);
            }
            // What finds rows to tidy, and what is not of the tables that are counted.
            (
                S::CacheExpired
                | S::CacheLaterAfter
                | S::CacheDanglingAfter
                | S::CacheTag
                | S::CacheUntag
                | S::CacheUntagAbsent
                | S::CacheClearTags
                | S::CacheCountSet
                | S::CacheUncount
                | S::CacheUncountStale
                | S::CacheUncountTagged
                | S::CacheUncountLater
                | S::CacheUncountExpired
                | S::CacheUncountAll
                | S::CacheUncountMarked
                | S::CacheTotals
                | S::CacheRecount
                | S::CacheCorrectTotals
                | S::CacheRenewTotals
                | S::CacheUse
                | S::CacheUsed
                | S::CacheAdopt
                | S::CacheUnuseAbsent
                | S::CacheUnuseAll
                | S::CacheUnlistedFrom
                | S::CacheDanglingUseFrom
                | S::CacheMarkExpired
                | S::CacheMarkOldest
                | S::CacheDeleteMarked
                | S::CacheUntagMarked
                | S::CacheUnuseMarked
                | S::CacheIsCounted
                | S::RateCountBefore
                | S::RateReservationsAfter
                | S::RateResourcesFrom
                | S::CooldownSet
                | S::CooldownClear
                | S::CooldownClearAll
                | S::CooldownsFrom
                | S::CooldownExpire
                | S::AdaptiveKeepActivity
                | S::AdaptiveEnterHigh
                | S::AdaptiveLeaveHigh
                | S::AdaptiveForget
                | S::AdaptiveForgetAll,
                _,
            ) => {}
            _ => match access.table {
                Table::Cache => self.entries.clear(),
                Table::Requests => self.clear_windows(),
                Table::Jobs | Table::Settings | Table::Hosts => {}
            },
        }
    }

    /// Forgets everything: the database is in another state.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.clear_windows();
    }

    fn clear_windows(&mut self) {
        self.plain.0.clear();
        self.adaptive.0.clear();
    }

    fn insert_entry(&mut self, hash: &str, entry: Entry) {
        let hash = hash.to_owned();
        if Bytes.weight(&hash, &entry) > MAX_BYTES_EACH as u64 {
            self.entries.remove(&hash);
        } else {
            self.entries.insert(hash, entry);
        }
    }

    fn record(&mut self, resource: &str, class: Option<Class>, at: &Value) {
        self.plain.record(resource, Some(0), at);
        self.adaptive.record(resource, class, at);
    }
}
