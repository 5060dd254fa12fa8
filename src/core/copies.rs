//! Copies, in memory, of what statements answered: whoever holds them may use them as long as the database is in the
//! state they were taken from, and tells them what it changes itself. Knows no connection: whether the state is the
//! same is the holder's affair.
//!
//! Three statements are answered so, once they have been asked: an entry of the cache, and how many requests of a
//! resource are in its window, for either rate limiter. A count is kept as it stands while every request of the resource
//! is in the window; once the oldest has left, it is counted again.

use std::collections::HashMap;
use std::sync::Arc;

use hashlink::LruCache;

use super::adaptive::Priority;
use super::codec;
use super::plan::{Step, StepRows};
use super::schema::Statement;
use super::value::{Millis, Value};

/// The most bytes of entries that are kept.
pub const MAX_ENTRY_BYTES: usize = 8 << 20;

/// The most bytes of one entry that is kept.
const MAX_BYTES_EACH: usize = MAX_ENTRY_BYTES / 4;

/// What an entry takes beside its key and text, about.
const ENTRY_OVERHEAD: usize = 128;

/// The most resources whose counts are kept.
const MAX_WINDOWS: usize = 10_000;

/// An entry of the cache: its text and expiry, or that there is none.
struct Entry(Option<(Arc<String>, Value)>);

/// The class of request that is counted, and its place among the counts: the plain limiter has but one.
type Class = usize;
const CLASSES: [Priority; 2] = [Priority::User, Priority::Background];
const BACKGROUND: Class = 1;

/// The class of a request, by the text that stands for it. What is neither is not counted by class.
fn class_of(priority: &Value) -> Option<Class> {
    CLASSES.iter().position(|class| priority.text() == Some(class.as_str()))
}

/// The requests of a resource, all of them in its window, and no places held.
struct Window {
    counts: [i64; 2],
    oldest: Option<Millis>,
    /// When they were counted. A clock that is set back makes places count that had lapsed.
    counted_at: Millis,
}

impl Window {
    fn new(counts: [f64; 2], oldest: Option<Millis>, now: &Value) -> Self {
        let counted_at = now.number().unwrap_or(Millis::INFINITY);
        Window { counts: counts.map(|count| count as i64), oldest, counted_at }
    }

    /// Whether the count is what it was for a window that starts at `start`, at the time `now`.
    fn holds(&self, start: &Value, now: &Value) -> bool {
        let (Some(start), Some(now)) = (start.number(), now.number()) else { return false };
        self.oldest.is_none_or(|oldest| start <= oldest) && now >= self.counted_at
    }
}

/// Windows by resource.
#[derive(Default)]
struct Windows(HashMap<String, Window>);

impl Windows {
    fn answer(&self, resource: &str, start: &Value, now: &Value) -> Option<&Window> {
        self.0.get(resource).filter(|window| window.holds(start, now))
    }

    fn learn(&mut self, resource: &str, window: Window, start: &Value, now: &Value) {
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
            window.oldest = match (window.oldest, at) {
                (Some(oldest), Some(at)) => Some(oldest.min(at)),
                (oldest, at) => oldest.or(at),
            };
        }
    }
}

/// See the module's description.
pub struct Copies {
    entries: LruCache<String, Entry>,
    entry_bytes: usize,
    plain: Windows,
    adaptive: Windows,
}

impl Default for Copies {
    fn default() -> Self {
        Copies {
            entries: LruCache::new_unbounded(),
            entry_bytes: 0,
            plain: Windows::default(),
            adaptive: Windows::default(),
        }
    }
}

fn row(values: impl Into<Vec<Value>>) -> StepRows {
    StepRows { rows: vec![values.into()], changes: 0 }
}

impl Copies {
    /// Whether a statement is one of those that copies answer.
    pub fn cover(statement: Statement) -> bool {
        matches!(statement, Statement::CacheGet | Statement::RateUsage | Statement::AdaptiveUsage)
    }

    /// What a statement would answer, if that is known.
    pub fn answer(&mut self, step: &Step) -> Option<StepRows> {
        match (step.statement, step.values.as_slice()) {
            (Statement::CacheGet, [Value::Text(hash)]) => Some(match &self.entries.get(hash)?.0 {
                Some((text, expires_at)) => row([Value::Json(Arc::clone(text)), expires_at.clone()]),
                None => StepRows::default(),
            }),
            (Statement::RateUsage, [Value::Text(resource), start, now]) => {
                let Window { counts: [all, _], oldest, .. } = self.plain.answer(resource, start, now)?;
                Some(row([Value::Integer(*all), Value::from(*oldest), Value::Integer(0)]))
            }
            (Statement::AdaptiveUsage, [Value::Text(resource), start, now]) => {
                let Window { counts: [user, background], oldest, .. } =
                    self.adaptive.answer(resource, start, now)?;
                let [user, background, none] = [*user, *background, 0].map(Value::Integer);
                Some(row([user, background, Value::from(*oldest), none.clone(), none]))
            }
            _ => None,
        }
    }

    /// Keeps what a statement answered, and decodes what is kept decoded.
    pub fn learn(&mut self, step: &Step, rows: &mut StepRows) {
        match (step.statement, step.values.as_slice()) {
            (Statement::CacheGet, [Value::Text(hash)]) => match rows.rows.first_mut().map(Vec::as_mut_slice) {
                None => self.keep(hash, Entry(None)),
                Some([value, expires_at]) => {
                    if let Some(text) = codec::text(std::mem::replace(value, Value::Null)) {
                        *value = Value::Json(Arc::clone(&text));
                        self.keep(hash, Entry(Some((text, expires_at.clone()))));
                    }
                }
                Some(_) => {}
            },
            (Statement::RateUsage, [Value::Text(resource), start, now]) if rows.number(2) == 0.0 => {
                let window = Window::new([rows.number(0), 0.0], rows.optional_number(1), now);
                self.plain.learn(resource, window, start, now);
            }
            (Statement::AdaptiveUsage, [Value::Text(resource), start, now])
                if rows.number(3) + rows.number(4) == 0.0 =>
            {
                let window = Window::new([rows.number(0), rows.number(1)], rows.optional_number(2), now);
                self.adaptive.learn(resource, window, start, now);
            }
            _ => {}
        }
    }

    /// Takes note of a statement that the holder of the copies has carried out and committed.
    pub fn follow(&mut self, step: &Step, rows: &StepRows) {
        use Statement as S;
        match (step.statement, step.values.as_slice()) {
            // Whoever merely writes has no use for copies.
            (S::CacheSet | S::CacheDelete, [Value::Text(hash), ..]) if !self.entries.contains_key(hash) => {}
            (S::CacheSet, [Value::Text(hash), Value::Json(text), expires_at, _]) => {
                self.keep(hash, Entry(Some((Arc::clone(text), expires_at.clone()))));
            }
            (S::CacheDelete, [Value::Text(hash)]) => self.keep(hash, Entry(None)),
            (S::CacheDeleteStale, [Value::Text(hash), _]) => self.drop_entry(hash),
            (S::CacheSet | S::CacheDelete | S::CacheDeleteStale | S::CacheClear, _) => self.forget_entries(),
            (S::CacheRemoveExpired, _) if rows.changes > 0 => self.forget_entries(),
            // The column's default.
            (S::RateRecord, [Value::Text(resource), at]) => self.record(resource, Some(BACKGROUND), at),
            (S::AdaptiveRecord, [Value::Text(resource), at, priority]) => {
                self.record(resource, class_of(priority), at);
            }
            (S::RateAcquire, [Value::Text(resource), at, ..]) => {
                if rows.first().is_some() {
                    self.record(resource, Some(BACKGROUND), at);
                }
            }
            (S::AdaptiveAcquire, [Value::Text(resource), at, _, _, priority, ..]) => {
                if rows.first().is_some() {
                    self.record(resource, class_of(priority), at);
                }
            }
            (S::RateReserve | S::AdaptiveReserve, [Value::Text(resource), ..]) => {
                if rows.first().is_some() {
                    self.drop_windows(resource);
                }
            }
            (
                S::RateRelease | S::RateLapse | S::RateResetReservations | S::RateDeleteBefore | S::RateReset,
                [Value::Text(resource), ..],
            ) => {
                if rows.changes > 0 {
                    self.drop_windows(resource);
                }
            }
            (
                S::RateRecord
                | S::AdaptiveRecord
                | S::RateAcquire
                | S::AdaptiveAcquire
                | S::RateReserve
                | S::AdaptiveReserve
                | S::RateRelease
                | S::RateLapse
                | S::RateResetReservations
                | S::RateDeleteBefore
                | S::RateReset
                | S::RateClear
                | S::RateClearReservations
                | S::RateLapseAll,
                _,
            ) => self.forget_windows(),
            // What changes other tables, what only reads, and what stands for statements that are followed one by one.
            (
                S::CacheGet
                | S::CacheSetMany
                | S::RateRecordMany
                | S::AdaptiveRecordMany
                | S::CacheStats
                | S::DedupeJob
                | S::DedupeLook
                | S::DedupeJobId
                | S::DedupeClaimNew
                | S::DedupeAbandon
                | S::DedupeClaim
                | S::DedupeRegister
                | S::DedupeLease
                | S::DedupeRenew
                | S::DedupeEndLease
                | S::DedupeGiveUp
                | S::DedupeComplete
                | S::DedupeFail
                | S::DedupeTimeOut
                | S::DedupeDelete
                | S::DedupeStats
                | S::CacheExpired
                | S::CacheRemoveExpired
                | S::DedupeExpired
                | S::DedupeRemoveExpired
                | S::DedupeLeasesFrom
                | S::DedupeCleanupLeases
                | S::DedupeClear
                | S::DedupeClearLeases
                | S::RateUsage
                | S::RateNthToLeave
                | S::RateNthToLeaveOrLapse
                | S::RateTotal
                | S::RateResources
                | S::RateResourcesFrom
                | S::RateReservationsAfter
                | S::RateCountBefore
                | S::AdaptiveUsage
                | S::AdaptiveActivity
                | S::AdaptiveNthToLeave
                | S::AdaptiveKeepActivity
                | S::AdaptiveEnterHigh
                | S::AdaptiveLeaveHigh
                | S::AdaptiveForget
                | S::AdaptiveForgetAll
                | S::AdaptiveActivations,
                _,
            ) => {}
        }
    }

    /// Forgets everything: the database is in another state.
    pub fn forget(&mut self) {
        self.forget_entries();
        self.forget_windows();
    }

    fn forget_entries(&mut self) {
        self.entries.clear();
        self.entry_bytes = 0;
    }

    fn forget_windows(&mut self) {
        self.plain.0.clear();
        self.adaptive.0.clear();
    }

    fn drop_windows(&mut self, resource: &str) {
        self.plain.0.remove(resource);
        self.adaptive.0.remove(resource);
    }

    fn keep(&mut self, hash: &str, entry: Entry) {
        let bytes = bytes_of(hash, &entry);
        if bytes > MAX_BYTES_EACH {
            return self.drop_entry(hash);
        }
        self.entry_bytes += bytes;
        match self.entries.get_mut(hash) {
            Some(kept) => self.entry_bytes -= bytes_of(hash, &std::mem::replace(kept, entry)),
            None => drop(self.entries.insert(hash.to_owned(), entry)),
        }
        while self.entry_bytes > MAX_ENTRY_BYTES
            && let Some((hash, entry)) = self.entries.remove_lru()
        {
            self.entry_bytes -= bytes_of(&hash, &entry);
        }
    }

    fn drop_entry(&mut self, hash: &str) {
        if let Some(entry) = self.entries.remove(hash) {
            self.entry_bytes -= bytes_of(hash, &entry);
        }
    }

    fn record(&mut self, resource: &str, class: Option<Class>, at: &Value) {
        self.plain.record(resource, Some(0), at);
        self.adaptive.record(resource, class, at);
    }
}

fn bytes_of(hash: &str, Entry(entry): &Entry) -> usize {
    ENTRY_OVERHEAD + hash.len() + entry.as_ref().map_or(0, |(text, _)| text.len())
}
