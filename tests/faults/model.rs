//! Calls at random, and what may lie in the database after them, from what they answered.

use std::collections::{BTreeMap, HashMap};

use comic_vine_sqlite_store::core::codec;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Field};
use comic_vine_sqlite_store::core::options::RateLimitConfig;
use comic_vine_sqlite_store::sqlite::faults::Random;
use rusqlite::Connection as Plain;
use rusqlite::types::ValueRef;

use crate::common::Value;

pub const KINDS: [StoreKind; 4] = [StoreKind::Cache, StoreKind::Dedupe, StoreKind::RateLimit, StoreKind::Adaptive];
pub const KEYS: usize = 6;
pub const HASHES: usize = 3;

/// Everything happens within one window of every limit.
pub const START: u64 = 1_000_000;
pub const LIMIT: f64 = 1e9;
/// The limit of the resource that has one.
const NARROW_LIMIT: usize = 3;
pub const AGES: f64 = 1e12;

/// A resource of the two limiters, which share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Wide,
    Narrow,
    Adaptive,
}

impl Resource {
    pub fn name(self) -> &'static str {
        match self {
            Resource::Wide => "wide",
            Resource::Narrow => "narrow",
            Resource::Adaptive => "adaptive",
        }
    }

    pub fn limit(self) -> RateLimitConfig {
        let limit = if self == Resource::Narrow { NARROW_LIMIT as f64 } else { LIMIT };
        RateLimitConfig::new(limit, AGES)
    }
}

/// A call. Values and jobs have numbers; the time of a call is its own, so that it tells which row is whose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    Set { key: usize, value: u64, length: usize, expired: bool },
    Get { key: usize },
    Delete { key: usize },
    ClearCache,
    CleanCache,
    CacheStats,
    Record { resource: Resource },
    Acquire { resource: Resource },
    Status,
    Reset { resource: Resource },
    ClearRates,
    Register { hash: usize, job: u64 },
    Complete { hash: usize, job: u64, value: u64, length: usize },
    Fail { hash: usize, job: u64 },
    IsInProgress { hash: usize },
    Result { hash: usize },
    ClearDedupe,
}

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub now: u64,
    pub kind: StoreKind,
    pub act: Act,
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Nothing,
    /// A stored value's number; `None`: none.
    Value(Option<u64>),
    Bool(bool),
    Registered {
        job: u64,
        created: bool,
    },
    Changed(bool),
    Remaining(f64),
    Statistics,
    /// These keys had to go.
    Evicted(Vec<usize>),
}

/// What lies in the database in one place: under a key, under a hash, or in the row of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Absent,
    Value(u64),
    Row,
    Pending(u64),
    Completed(u64, u64),
    Failed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Target {
    Key(usize),
    Hash(usize),
    /// A request, by its resource and time.
    Row(&'static str, u64),
}

/// A stored value, which says which it is, so that one made of parts of others is noticed.
pub fn text(value: u64, length: usize) -> String {
    let mut random = Random::new(value);
    // Of a length that no page's is a multiple of.
    let pattern: String = (0..61).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    format!("\"{value}.{length}:{}\"", &pattern.repeat(length / pattern.len() + 1)[..length])
}

pub fn number(stored: &str) -> u64 {
    let parts = stored.trim_start_matches('"').split_once(':').and_then(|(head, _)| head.split_once('.'));
    let found = parts.and_then(|(value, length)| Some((value.parse().ok()?, length.parse().ok()?)));
    match found {
        Some((value, length)) if stored == text(value, length) => value,
        _ => panic!("a value that nobody stored: {} bytes, {:.60}", stored.len(), stored),
    }
}

fn key_number(hash: &str) -> usize {
    hash.strip_prefix("key-").and_then(|number| number.parse().ok()).unwrap()
}

fn job_number(id: &str) -> u64 {
    id.strip_prefix("job-").and_then(|number| number.parse().ok()).unwrap()
}

pub fn said(answer: Answer) -> Said {
    match answer {
        Answer::Undefined | Answer::Expired => Said::Nothing,
        Answer::Bool(boolean) => Said::Bool(boolean),
        Answer::Json { text, .. } => Said::Value(Some(number(&text))),
        Answer::Registered { job_id, created } => Said::Registered { job: job_number(&job_id), created },
        Answer::Ended { changed } => Said::Changed(changed),
        Answer::Evicted(hashes) => Said::Evicted(hashes.iter().map(|hash| key_number(hash)).collect()),
        Answer::Record(fields) => match fields.as_slice() {
            [("remaining", Field::Number(remaining)), ..] => Said::Remaining(*remaining),
            _ => Said::Statistics,
        },
        other => panic!("an answer that no call here gives: {other:?}"),
    }
}

impl Act {
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Act::Get { .. } | Act::CacheStats | Act::Status | Act::IsInProgress { .. } | Act::Result { .. }
        )
    }

    /// What may become of a place in a state, each with the answer that goes with it if it is this place that decides.
    fn outcomes(self, state: State) -> Vec<(State, Option<Said>)> {
        let yes = Some(Said::Bool(true));
        let ended = |to: Option<State>| vec![(to.unwrap_or(state), Some(Said::Changed(to.is_some())))];
        match self {
            Act::Set { expired: true, .. } => vec![(State::Absent, None)],
            Act::Set { value, .. } => vec![(State::Value(value), None)],
            Act::Get { .. } => {
                let value = match state {
                    State::Value(value) => Said::Value(Some(value)),
                    _ => Said::Nothing,
                };
                vec![(state, Some(value))]
            }
            Act::Delete { .. } | Act::ClearCache | Act::Reset { .. } | Act::ClearRates | Act::ClearDedupe => {
                vec![(State::Absent, None)]
            }
            Act::CleanCache | Act::CacheStats | Act::Status => vec![(state, None)],
            Act::Record { .. } => vec![(State::Row, None)],
            Act::Acquire { resource: Resource::Wide } => vec![(State::Row, yes)],
            Act::Acquire { .. } => vec![(State::Row, yes), (State::Absent, Some(Said::Bool(false)))],
            Act::Register { job, .. } => match state {
                State::Pending(job) => vec![(state, Some(Said::Registered { job, created: false }))],
                _ => vec![(State::Pending(job), Some(Said::Registered { job, created: true }))],
            },
            Act::Complete { job, value, .. } => match state {
                State::Pending(found) | State::Failed(found) if found == job => {
                    ended(Some(State::Completed(job, value)))
                }
                _ => ended(None),
            },
            Act::Fail { job, .. } => match state {
                State::Pending(found) | State::Failed(found) | State::Completed(found, _) if found == job => {
                    ended(Some(State::Failed(job)))
                }
                _ => ended(None),
            },
            Act::IsInProgress { .. } => vec![(state, Some(Said::Bool(matches!(state, State::Pending(_)))))],
            Act::Result { .. } => {
                let value = match state {
                    State::Completed(_, value) => Said::Value(Some(value)),
                    _ => Said::Nothing,
                };
                vec![(state, Some(value))]
            }
        }
    }

    /// Whether one that was acknowledged so has written something, whatever was there.
    fn has_written(self, said: &Said) -> bool {
        match self {
            Act::Set { .. } | Act::Record { .. } => true,
            Act::Acquire { .. } => *said == Said::Bool(true),
            Act::Register { .. } => matches!(said, Said::Registered { created: true, .. }),
            Act::Complete { .. } | Act::Fail { .. } => *said == Said::Changed(true),
            _ => false,
        }
    }
}

/// What each place may hold, from what the calls answered.
pub struct Model {
    /// Whether entries have to go when there are too many.
    evicts: bool,
    /// What was under keys that had to go, for reads that were called before that was known: they do not wait for the `set` of
    /// another key.
    overtaken: HashMap<Target, Vec<State>>,
    places: BTreeMap<Target, Vec<State>>,
    /// Calls that were refused since something was last written for certain. A commit that failed after it was in the
    /// log takes effect if the log is recovered before another commit has taken its place there.
    latent: Vec<Call>,
}

impl Model {
    pub fn new(evicts: bool) -> Self {
        let places = (0..KEYS).map(Target::Key).chain((0..HASHES).map(Target::Hash));
        Model {
            evicts,
            overtaken: HashMap::new(),
            places: places.map(|place| (place, vec![State::Absent])).collect(),
            latent: Vec::new(),
        }
    }

    /// The places whose entries may have to go for a call.
    fn evictable(&self, call: Call) -> Vec<Target> {
        let own = match call.act {
            Act::Set { key, .. } => Some(Target::Key(key)),
            Act::CleanCache => None,
            _ => return Vec::new(),
        };
        let keys = (0..KEYS).map(Target::Key).filter(|place| Some(*place) != own);
        if self.evicts { keys.collect() } else { Vec::new() }
    }

    /// The places that a call is about.
    fn touched(&mut self, call: Call) -> Vec<Target> {
        let all = |wanted: &dyn Fn(&Target) -> bool| {
            self.places.keys().filter(|place| wanted(place)).copied().collect::<Vec<_>>()
        };
        match call.act {
            Act::Set { key, .. } | Act::Get { key } | Act::Delete { key } => vec![Target::Key(key)],
            Act::ClearCache => all(&|place| matches!(place, Target::Key(_))),
            Act::CleanCache | Act::CacheStats | Act::Status => Vec::new(),
            Act::Record { resource } | Act::Acquire { resource } => {
                let place = Target::Row(resource.name(), call.now);
                self.places.entry(place).or_insert_with(|| vec![State::Absent]);
                vec![place]
            }
            Act::Reset { resource } => {
                all(&|place| matches!(place, Target::Row(name, at) if *name == resource.name() && *at < call.now))
            }
            Act::ClearRates => all(&|place| matches!(place, Target::Row(_, at) if *at < call.now)),
            Act::Register { hash, .. }
            | Act::Complete { hash, .. }
            | Act::Fail { hash, .. }
            | Act::IsInProgress { hash }
            | Act::Result { hash } => vec![Target::Hash(hash)],
            Act::ClearDedupe => all(&|place| matches!(place, Target::Hash(_))),
        }
    }

    pub fn acknowledged(&mut self, call: Call, said: &Said) -> Result<(), String> {
        for place in self.touched(call) {
            let before = self.places[&place].clone();
            let mut after = Vec::new();
            for (state, expected) in before.iter().flat_map(|state| call.act.outcomes(*state)) {
                if expected.is_none_or(|expected| expected == *said) && !after.contains(&state) {
                    after.push(state);
                }
            }
            if let (Act::Get { .. }, Said::Value(Some(value))) = (call.act, said)
                && self.overtaken.get(&place).is_some_and(|states| states.contains(&State::Value(*value)))
            {
                continue;
            }
            if after.is_empty() {
                return Err(format!("{call:?} answered {said:?}, but {place:?} can only be {before:?}"));
            }
            self.places.insert(place, after);
        }
        if let Said::Evicted(keys) = said {
            let evictable = self.evictable(call);
            for place in keys.iter().map(|key| Target::Key(*key)) {
                if !evictable.contains(&place) {
                    return Err(format!("{call:?} evicted {place:?}"));
                }
                let before = self.places.insert(place, vec![State::Absent]).unwrap_or_default();
                self.overtaken.entry(place).or_default().extend(before);
            }
        }
        if let Said::Remaining(remaining) = *said {
            let (least, most) = self.rows_of(Resource::Wide);
            let found = LIMIT - remaining;
            if found < least as f64 || found > most as f64 {
                return Err(format!("{call:?} counted {found} requests, not {least} to {most}"));
            }
        }
        if call.act.has_written(said) {
            self.latent.clear();
        }
        Ok(())
    }

    pub fn refused(&mut self, call: Call) {
        if call.act.writes() {
            self.may_have_happened(call);
            self.latent.push(call);
        }
    }

    fn may_have_happened(&mut self, call: Call) {
        for place in self.touched(call) {
            let states = self.places.entry(place).or_default();
            for (state, _) in states.clone().into_iter().flat_map(|state| call.act.outcomes(state)) {
                if !states.contains(&state) {
                    states.push(state);
                }
            }
        }
        for place in self.evictable(call) {
            let states = self.places.entry(place).or_default();
            if !states.contains(&State::Absent) {
                states.push(State::Absent);
            }
        }
    }

    /// All that was called has been answered.
    pub fn settled(&mut self) {
        self.overtaken.clear();
    }

    /// The file was closed and opened again.
    pub fn recovered(&mut self) {
        for call in self.latent.clone() {
            self.may_have_happened(call);
        }
    }

    /// How many requests of a resource there are, at least and at most.
    fn rows_of(&self, resource: Resource) -> (usize, usize) {
        let rows = || {
            let of = |place: &Target| matches!(place, Target::Row(name, _) if *name == resource.name());
            self.places.iter().filter(move |(place, _)| of(place)).map(|(_, states)| states)
        };
        let certain = rows().filter(|states| states.as_slice() == [State::Row]).count();
        (certain, rows().filter(|states| states.contains(&State::Row)).count())
    }

    /// Whether the file, opened afresh, holds what it may.
    pub fn compare(&self, database: &Plain, kinds: &[StoreKind]) -> Result<(), String> {
        let check = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        if check.as_deref() != Ok("ok") {
            return Err(format!("the file is not sound: {check:?}"));
        }
        let mut found: HashMap<Target, State> = HashMap::new();
        if kinds.contains(&StoreKind::Cache) {
            for row in rows(database, "SELECT hash, value, expires_at > 10000000 FROM cache")? {
                let [hash, value, lives] = row.as_slice() else { unreachable!() };
                let key = key_number(hash.text().unwrap());
                let stored = codec::text(value.clone()).map(|stored| number(&stored));
                if lives.number() == Some(1.0) {
                    found.insert(Target::Key(key), State::Value(stored.unwrap()));
                }
            }
        }
        if kinds.contains(&StoreKind::Dedupe) {
            let sql = "SELECT j.hash, j.job_id, j.status, j.result, l.job_id IS j.job_id AND l.expires_at > 0
              FROM dedupe_jobs j LEFT JOIN dedupe_leases l ON l.hash = j.hash";
            for row in rows(database, sql)? {
                let [hash, id, status, result, has_lease] = row.as_slice() else { unreachable!() };
                let hash = hash.text().and_then(|hash| hash.strip_prefix("hash-")).unwrap().parse().unwrap();
                let job = job_number(id.text().unwrap());
                if has_lease.number() != Some(f64::from(u8::from(status.text() == Some("pending")))) {
                    return Err(format!("job {job} is there, or has ended, without its lease"));
                }
                let state = match status.text().unwrap() {
                    "pending" => State::Pending(job),
                    "completed" => State::Completed(job, number(&codec::text(result.clone()).unwrap())),
                    _ => State::Failed(job),
                };
                found.insert(Target::Hash(hash), state);
            }
        }
        if kinds.iter().any(|kind| matches!(kind, StoreKind::RateLimit | StoreKind::Adaptive)) {
            let mut narrow = 0;
            for row in rows(database, "SELECT resource, timestamp FROM rate_limits")? {
                let [resource, at] = row.as_slice() else { unreachable!() };
                let named = |place: &&Target| matches!(place, Target::Row(name, when) if resource.text() == Some(name) && at.number() == Some(*when as f64));
                let Some(place) = self.places.keys().find(named).copied() else {
                    return Err(format!("a request that nobody made: {row:?}"));
                };
                if found.insert(place, State::Row).is_some() {
                    return Err(format!("{place:?} is there twice"));
                }
                narrow += usize::from(resource.text() == Some(Resource::Narrow.name()));
            }
            if narrow > NARROW_LIMIT {
                return Err(format!("{narrow} requests where the limit is {NARROW_LIMIT}"));
            }
        }
        for (place, states) in &self.places {
            let state = found.get(place).copied().unwrap_or(State::Absent);
            if !states.contains(&state) {
                return Err(format!("{place:?} is {state:?}, but can only be {states:?}"));
            }
        }
        Ok(())
    }
}

pub fn rows(database: &Plain, sql: &str) -> Result<Vec<Vec<Value>>, String> {
    let read = || {
        let mut statement = database.prepare(sql)?;
        let columns = statement.column_count();
        let value = |value: ValueRef<'_>| Value::from(value);
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get_ref(at).map(value)).collect())?;
        rows.collect::<rusqlite::Result<Vec<Vec<Value>>>>()
    };
    read().map_err(|error| format!("{sql}: {error}"))
}
