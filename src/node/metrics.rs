//! What a program can see of a store: what has become of its calls, as counts and, of a call that asks for it, as a note.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::napi::env::{Env, Failure, Persistent, Result, Value};
use super::realm::Realm;
use crate::core::bounds::OnEvicted;
use crate::core::error::{Error, StoreKind};
use crate::core::operation::{Answer, Field};

/// What is counted of a method's calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Failures alone, as of all of them.
    Failures,
    /// Whether an entry was found.
    Lookups,
    /// Whether an entry was stored.
    Sets,
    /// Which entries had to go.
    Cleanups,
    /// Whether a request may be made.
    Admissions,
    /// That a cooldown was set.
    Cooldowns,
    /// What a wait came to.
    Waits,
    /// Whether a job is the caller's own.
    Registrations,
}

#[derive(Clone, Copy)]
enum Count {
    Hits,
    Misses,
    Expired,
    Sets,
    Skipped,
    Owned,
    Shared,
    Waited,
    TakenOver,
    Allowed,
    Denied,
    Cooldowns,
    Errors,
}

impl Count {
    const ALL: usize = Count::Errors as usize + 1;
}

/// What becomes of a call: what is counted of it, and where it is to be noted.
pub struct Observed {
    pub counted: Counted,
    note: Option<Persistent>,
}

impl Observed {
    /// Of a call that is not a user's.
    pub const NOTHING: Observed = Observed { counted: Counted::Failures, note: None };

    /// Of a call whose answer comes later.
    pub fn later(env: Env, counted: Counted, note: Option<Value>) -> Result<Self> {
        Ok(Observed { counted, note: note.map(|note| env.keep(note)).transpose()? })
    }

    /// Where it is to be noted. Once.
    pub fn take_note(&mut self, env: Env) -> Option<Value> {
        self.note.take().and_then(|note| env.take(note))
    }
}

/// The counts of a store.
#[derive(Default)]
pub struct Metrics {
    counts: [Cell<u64>; Count::ALL],
    /// How many jobs that were waited for have passed their time.
    pub timed_out: Cell<u64>,
    /// How many entries had to go, whatever for.
    evictions: Arc<AtomicU64>,
}

impl Metrics {
    #[inline]
    fn add(&self, count: Count, number: u64) {
        let cell = &self.counts[count as usize];
        cell.set(cell.get() + number);
    }

    /// Takes note of a call's answer, and of whether it was waited for.
    #[inline]
    pub fn answered(
        &self,
        env: Env,
        counted: Counted,
        note: Option<Value>,
        answer: &Result<Answer>,
        has_waited: bool,
    ) {
        match (note, counted, answer) {
            // What calls mostly come to.
            (_, Counted::Failures, Ok(_)) => {}
            (None, Counted::Lookups, Ok(Answer::Undefined)) => self.add(Count::Misses, 1),
            (None, Counted::Sets, Ok(Answer::Undefined)) => self.add(Count::Sets, 1),
            (None, Counted::Admissions, Ok(Answer::Bool(true))) => self.add(Count::Allowed, 1),
            _ => self.answered_otherwise(env, counted, note, answer, has_waited),
        }
    }

    #[inline(never)]
    fn answered_otherwise(
        &self,
        env: Env,
        counted: Counted,
        note: Option<Value>,
        answer: &Result<Answer>,
        has_waited: bool,
    ) {
        use Counted as C;
        let waited = |result| if has_waited { ("wait", Some(result)) } else { ("hit", None) };
        let (count, told) = match (counted, answer) {
            (C::Waits, Ok(Answer::Rejection(_)) | Err(Failure::Error(Error::JobFailed { .. }))) => {
                (Count::Shared, waited("failure"))
            }
            (_, Err(failure)) => return self.failed(env, note, failure, true),
            (C::Failures, _) => return,
            (C::Lookups, Ok(Answer::Json { .. })) => return self.found(env, note),
            (C::Lookups, Ok(Answer::Expired)) => {
                self.add(Count::Expired, 1);
                (Count::Misses, ("miss", Some("expired")))
            }
            (C::Lookups, _) => (Count::Misses, ("miss", None)),
            (C::Cleanups, Ok(Answer::Evicted(hashes))) => return tell_evicted(env, note, hashes),
            (C::Cleanups, _) => return,
            (C::Sets, Ok(Answer::Evicted(hashes))) => {
                tell_evicted(env, note, hashes);
                (Count::Sets, ("set", None))
            }
            (C::Sets, _) => (Count::Sets, ("set", None)),
            (C::Admissions, Ok(Answer::Bool(false))) => (Count::Denied, ("deny", None)),
            (C::Admissions, _) => (Count::Allowed, ("allow", None)),
            (C::Cooldowns, _) => (Count::Cooldowns, ("cooldown", None)),
            (C::Waits, Ok(Answer::Claimed)) if has_waited => (Count::TakenOver, ("take-over", None)),
            (C::Waits, Ok(Answer::Json { .. } | Answer::Null)) => (Count::Shared, waited("value")),
            (C::Waits, answer) => {
                let told = match answer {
                    Ok(Answer::Claimed) => "claim",
                    _ if has_waited => "wait",
                    _ => "miss",
                };
                self.add(Count::Waited, u64::from(has_waited));
                return tell(env, note, told, has_waited.then_some("none"));
            }
            (C::Registrations, Ok(answer)) if is_owner(answer) => (Count::Owned, ("claim", None)),
            (C::Registrations, _) => return,
        };
        self.add(count, 1);
        if has_waited {
            self.add(Count::Waited, 1);
        }
        let (told, result) = told;
        tell(env, note, told, result);
    }

    /// Counts entries that had to go: on the thread that they went on.
    pub fn on_evicted(&self) -> OnEvicted {
        let evictions = Arc::clone(&self.evictions);
        Arc::new(move |number| {
            evictions.fetch_add(number as u64, Ordering::Relaxed);
        })
    }

    /// A call has found an entry.
    #[inline]
    pub fn found(&self, env: Env, note: Option<Value>) {
        self.add(Count::Hits, 1);
        tell(env, note, "hit", None);
    }

    /// Those who waited for a job of this store's are rejected with what it failed with.
    pub fn failed_with_job(&self, env: Env, note: Option<Value>) {
        self.add(Count::Shared, 1);
        self.add(Count::Waited, 1);
        tell(env, note, "wait", Some("failure"));
    }

    /// A call on an entry that was found, and whose text does not parse: it was none.
    pub fn unreadable(&self, env: Env, note: Option<Value>) {
        let hits = &self.counts[Count::Hits as usize];
        hits.set(hits.get().saturating_sub(1));
        self.add(Count::Misses, 1);
        tell(env, note, "miss", None);
    }

    /// A value was not stored, since it is too large.
    pub fn skipped(&self, env: Env, note: Option<Value>) {
        self.add(Count::Skipped, 1);
        tell(env, note, "skip", None);
    }

    /// A call was refused. What JavaScript has thrown is the driver's, if that `was_asked`, or else the caller's.
    pub fn failed(&self, env: Env, note: Option<Value>, failure: &Failure, was_asked: bool) {
        let is_of_store = match failure {
            Failure::Error(error) => error.is_of_store(),
            Failure::Thrown(_) => was_asked,
        };
        if is_of_store {
            self.add(Count::Errors, 1);
            tell(env, note, "error", None);
        }
    }

    /// The counts under their names.
    pub fn to_value(&self, env: Env, realm: &Realm, kind: StoreKind) -> Result<Value> {
        use Count as C;
        let counts: &[(&str, Count)] = match kind {
            StoreKind::Cache | StoreKind::CacheTags | StoreKind::CacheBounds | StoreKind::Server => &[
                ("hits", C::Hits),
                ("misses", C::Misses),
                ("expired", C::Expired),
                ("sets", C::Sets),
                ("skipped", C::Skipped),
            ],
            StoreKind::Dedupe => {
                &[("owned", C::Owned), ("shared", C::Shared), ("waited", C::Waited), ("takenOver", C::TakenOver)]
            }
            StoreKind::RateLimit | StoreKind::Adaptive => &[
                ("allowed", C::Allowed),
                ("denied", C::Denied),
                ("waited", C::Waited),
                ("cooldowns", C::Cooldowns),
            ],
        };
        let number = |count: u64| Field::Number(count as f64);
        let mut fields: Vec<_> =
            counts.iter().map(|(name, count)| (*name, number(self.counts[*count as usize].get()))).collect();
        match kind {
            StoreKind::Dedupe => fields.push(("timedOut", number(self.timed_out.get()))),
            StoreKind::Cache => fields.push(("evictions", number(self.evictions.load(Ordering::Relaxed)))),
            _ => {}
        }
        fields.push(("errors", number(self.counts[C::Errors as usize].get())));
        realm.record(env, fields, 0.0)
    }
}

/// Whether the answer to a registration says that the job is the caller's own.
fn is_owner(answer: &Answer) -> bool {
    match answer {
        Answer::Registered { created, .. } => *created,
        Answer::Record(fields) => fields.iter().any(|(_, field)| matches!(field, Field::Bool(true))),
        _ => false,
    }
}

/// Says in a call's note, if it has one, what became of the call.
#[inline]
fn tell(env: Env, note: Option<Value>, told: &str, result: Option<&str>) {
    if let Some(note) = note {
        // One that cannot be written tells nothing.
        let _ = tell_in(env, note, told, result);
    }
}

#[cold]
fn tell_in(env: Env, note: Value, told: &str, result: Option<&str>) -> Result<()> {
    env.set(note, "type", env.string(told)?)?;
    match result {
        Some(result) => env.set(note, "result", env.string(result)?),
        None => Ok(()),
    }
}

/// Says in a call's note, if it has one, which entries had to go.
fn tell_evicted(env: Env, note: Option<Value>, hashes: &[String]) {
    let Some(note) = note else { return };
    let tell = || {
        let evicted = env.array()?;
        for (index, hash) in (0..).zip(hashes) {
            env.set_element(evicted, index, env.string(hash)?)?;
        }
        env.set(note, "evicted", evicted)
    };
    // One that cannot be written tells nothing.
    let _ = tell();
}
