//! Faults of the operating system. Stores of every kind are called at random while, by a seed, calls to the system
//! fail: before they have any effect, half-way, or after they have taken effect. A model beside them keeps what each
//! call may have come to. What was acknowledged is there, once; what was refused is there once or not at all; every
//! call is answered; and once the faults end, calls work again and the file is sound.
//!
//! `FAULT_SEEDS` says how many seeds; `FAULT_SEED` is one alone, with its trace. A seed decides the calls and, as far as
//! threads let it, the faults.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test helpers")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::{Error, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, Field, Operation};
use comic_vine_sqlite_store::core::options::{
    AdaptiveConfig, Bounds, DatabaseOptions, DedupeOptions, JournalMode, RateLimitConfig, ResourceConfigs,
    SharedLimits, Synchronous,
};
use comic_vine_sqlite_store::core::{bounds, cache, codec, rate_limit};
use comic_vine_sqlite_store::sqlite::database::{Recipient, Reply, Submitted};
use comic_vine_sqlite_store::sqlite::faults::{self, Fault, Faults, Manner, Method, Plan, Random};
use comic_vine_sqlite_store::sqlite::registry::{self, Handle};
use common::{Divisions, TempFile, Value};
use rusqlite::Connection as Plain;
use rusqlite::types::ValueRef;

const SEEDS: u64 = 2_000;

/// Only a call that is never answered takes so long.
const HUNG: Duration = Duration::from_secs(120);

const KINDS: [StoreKind; 4] = [StoreKind::Cache, StoreKind::Dedupe, StoreKind::RateLimit, StoreKind::Adaptive];
const KEYS: usize = 6;
const HASHES: usize = 3;

/// Everything happens within one window of every limit.
const START: u64 = 1_000_000;
const LIMIT: f64 = 1e9;
/// The limit of the resource that has one.
const NARROW_LIMIT: usize = 3;
const AGES: f64 = 1e12;

/// A resource of the two limiters, which share a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Wide,
    Narrow,
    Adaptive,
}

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Resource::Wide => "wide",
            Resource::Narrow => "narrow",
            Resource::Adaptive => "adaptive",
        }
    }

    fn limit(self) -> RateLimitConfig {
        let limit = if self == Resource::Narrow { NARROW_LIMIT as f64 } else { LIMIT };
        RateLimitConfig::new(limit, AGES)
    }
}

/// A call. Values and jobs have numbers; the time of a call is its own, so that it tells which row is whose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
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
struct Call {
    now: u64,
    kind: StoreKind,
    act: Act,
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq)]
enum Said {
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
fn text(value: u64, length: usize) -> String {
    let mut random = Random::new(value);
    // Of a length that no page's is a multiple of.
    let pattern: String = (0..61).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    format!("\"{value}.{length}:{}\"", &pattern.repeat(length / pattern.len() + 1)[..length])
}

fn number(stored: &str) -> u64 {
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

fn said(answer: Answer) -> Said {
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
    fn writes(self) -> bool {
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
struct Model {
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
    fn new(evicts: bool) -> Self {
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

    fn acknowledged(&mut self, call: Call, said: &Said) -> Result<(), String> {
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

    fn refused(&mut self, call: Call) {
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

    /// The file was closed and opened again.
    fn recovered(&mut self) {
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
    fn compare(&self, database: &Plain, kinds: &[StoreKind]) -> Result<(), String> {
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

fn rows(database: &Plain, sql: &str) -> Result<Vec<Vec<Value>>, String> {
    let read = || {
        let mut statement = database.prepare(sql)?;
        let columns = statement.column_count();
        let value = |value: ValueRef<'_>| Value::from(value);
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get_ref(at).map(value)).collect())?;
        rows.collect::<rusqlite::Result<Vec<Vec<Value>>>>()
    };
    read().map_err(|error| format!("{sql}: {error}"))
}

/// A mistake that is made on purpose, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// A failed write of the log is reported as done.
    HiddenWrite,
    /// A refused request is recorded again, as if it could not have taken effect.
    RunAgain,
    /// A call is acknowledged before it is known whether it was committed.
    EarlyAnswer,
}

/// The answers to calls, by number.
#[derive(Default)]
struct Inbox {
    answers: Mutex<HashMap<usize, Result<Said, Error>>>,
    twice: Mutex<Option<usize>>,
    arrived: Condvar,
}

impl Recipient for Inbox {
    fn deliver(&self, call: usize, answer: Result<Answer, Error>) {
        if self.answers.lock().unwrap().insert(call, answer.map(said)).is_some() {
            *self.twice.lock().unwrap() = Some(call);
        }
        self.arrived.notify_all();
    }
}

impl Inbox {
    fn take(&self, call: usize) -> Result<Result<Said, Error>, String> {
        let (mut answers, timeout) = self
            .arrived
            .wait_timeout_while(self.answers.lock().unwrap(), HUNG, |answers| !answers.contains_key(&call))
            .unwrap();
        if timeout.timed_out() {
            return Err(format!("call {call} is never answered"));
        }
        Ok(answers.remove(&call).unwrap())
    }
}

/// What came of seeds.
#[derive(Default)]
struct Tally {
    struck: BTreeMap<String, u64>,
    acknowledged: u64,
    refused: u64,
    refused_openings: u64,
    reopenings: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        for (kind, count) in other.struck {
            *self.struck.entry(kind).or_default() += count;
        }
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.refused_openings += other.refused_openings;
        self.reopenings += other.reopenings;
    }

    fn print(&self, seeds: u64) {
        let all: u64 = self.struck.values().sum();
        println!("{seeds} seeds: {} calls acknowledged, {} refused", self.acknowledged, self.refused);
        println!("files opened again: {}; openings refused: {}", self.reopenings, self.refused_openings);
        println!("faults that struck: {all}");
        for (kind, count) in &self.struck {
            println!("  {kind}: {count}");
        }
    }
}

/// The stores on one file, and the calls on them.
struct Run {
    file: TempFile,
    faults: Option<Faults>,
    mistake: Option<Mistake>,
    random: Random,
    kinds: Vec<StoreKind>,
    /// Whether entries are counted, and how many there may be.
    counts: bool,
    bounds: Option<Bounds>,
    stores: Vec<(StoreKind, Handle)>,
    options: DatabaseOptions,
    busy_timeout: Duration,
    inbox: Arc<Inbox>,
    model: Model,
    calls: Vec<Call>,
    /// How many of them the model knows the answers of.
    settled: usize,
    jobs: Vec<Vec<u64>>,
    divisions: Divisions,
    tally: Tally,
    trace: Vec<String>,
    traced_faults: usize,
}

fn options(random: &mut Random) -> DatabaseOptions {
    DatabaseOptions {
        journal_mode: Some(*random.of(&[JournalMode::Wal, JournalMode::Delete])),
        synchronous: *random.of(&[Synchronous::Normal, Synchronous::Full]),
        ..DatabaseOptions::default()
    }
}

impl Run {
    fn new(file: TempFile, mut random: Random, mistake: Option<Mistake>) -> Self {
        let chosen = 1 + random.below(15);
        let kinds = KINDS.into_iter().enumerate().filter(|(index, _)| chosen & (1 << index) != 0);
        let counts = random.one_in(2);
        let bounds = (counts && random.one_in(2)).then(|| Bounds {
            max_entries: *random.of(&[1.0, 3.0, Bounds::UNBOUNDED]),
            max_size_bytes: *random.of(&[320_000.0, Bounds::UNBOUNDED]),
            by_use: true,
        });
        Run {
            faults: None,
            mistake,
            counts,
            bounds,
            kinds: kinds.map(|(_, kind)| kind).collect(),
            stores: Vec::new(),
            options: options(&mut random),
            busy_timeout: Duration::from_millis(*random.of(&[0, 30, 3_000])),
            inbox: Arc::default(),
            model: Model::new(bounds.is_some()),
            calls: Vec::new(),
            settled: 0,
            jobs: vec![Vec::new(); HASHES],
            divisions: Divisions::default(),
            tally: Tally::default(),
            trace: Vec::new(),
            traced_faults: 0,
            file,
            random,
        }
    }

    fn note(&mut self, line: String) {
        let struck = self.struck();
        self.trace.extend(struck[self.traced_faults..].iter().map(|fault| format!("      {fault}")));
        self.traced_faults = struck.len();
        self.trace.push(line);
    }

    fn struck(&self) -> Vec<Fault> {
        self.faults.as_ref().map(Faults::struck).unwrap_or_default()
    }

    /// Opens the stores that are not open. After a few refusals the faults pause.
    fn open(&mut self) -> Result<(), String> {
        for kind in self.kinds.clone() {
            for attempt in 0.. {
                if attempt == 3 {
                    self.switch(false);
                }
                let opened = registry::open(self.file.path().to_str().unwrap(), kind, &self.options);
                let opened = opened.and_then(|handle| {
                    if self.counts && kind == StoreKind::Cache {
                        handle.database().add_store(StoreKind::CacheBounds, self.options.synchronous)?;
                    }
                    Ok(handle)
                });
                match opened {
                    Ok(handle) => {
                        self.note(format!("opened {kind:?}"));
                        self.stores.push((kind, handle));
                        break;
                    }
                    Err(error) => {
                        self.note(format!("opening {kind:?} was refused: {error:?}"));
                        self.tally.refused_openings += 1;
                        if attempt >= 3 {
                            return Err(format!("{kind:?} cannot be opened without faults: {error:?}"));
                        }
                    }
                }
            }
            self.switch(true);
        }
        Ok(())
    }

    fn switch(&self, on: bool) {
        if let Some(faults) = &self.faults {
            faults.switch(on);
        }
    }

    fn close(&mut self) -> Result<(), String> {
        for (_, store) in self.stores.drain(..) {
            store.close();
        }
        self.note("closed".to_owned());
        self.settle()?;
        self.model.recovered();
        Ok(())
    }

    fn value(&mut self) -> (u64, usize) {
        let length = match self.random.below(8) {
            0..=4 => self.random.below(200),
            5 => self.random.below(10_000),
            6 => self.random.below(70_000),
            _ => self.random.below(300_000),
        };
        (self.calls.len() as u64, length as usize)
    }

    fn act(&mut self, kind: StoreKind) -> Act {
        let number = self.calls.len() as u64;
        let key = self.random.below(KEYS as u64) as usize;
        let hash = self.random.below(HASHES as u64) as usize;
        let resource = match kind {
            StoreKind::Adaptive => Resource::Adaptive,
            _ => Resource::Wide,
        };
        let chance = self.random.below(40);
        match kind {
            StoreKind::Cache | StoreKind::CacheTags | StoreKind::CacheBounds | StoreKind::Server => match chance {
                0..=16 => {
                    let (value, length) = self.value();
                    Act::Set { key, value, length, expired: self.random.one_in(8) }
                }
                17..=28 => Act::Get { key },
                29..=35 => Act::Delete { key },
                36 => Act::ClearCache,
                37..=38 => Act::CleanCache,
                _ => Act::CacheStats,
            },
            StoreKind::Dedupe => {
                let last = self.jobs[hash].iter().rev().take(2).copied().collect::<Vec<_>>();
                let job = if last.is_empty() { number } else { *self.random.of(&last) };
                match chance {
                    0..=12 => {
                        self.jobs[hash].push(number);
                        Act::Register { hash, job: number }
                    }
                    13..=22 => {
                        let (value, length) = self.value();
                        Act::Complete { hash, job, value, length }
                    }
                    23..=27 => Act::Fail { hash, job },
                    28..=33 => Act::IsInProgress { hash },
                    34..=38 => Act::Result { hash },
                    _ => Act::ClearDedupe,
                }
            }
            StoreKind::RateLimit | StoreKind::Adaptive => match chance {
                0..=14 => Act::Record { resource },
                15..=28 => Act::Acquire { resource },
                29..=31 if kind == StoreKind::RateLimit => Act::Acquire { resource: Resource::Narrow },
                32..=36 if kind == StoreKind::RateLimit => Act::Status,
                37 if kind == StoreKind::RateLimit => Act::Reset { resource: Resource::Narrow },
                38 => Act::Reset { resource },
                39 if self.random.one_in(4) => Act::ClearRates,
                _ => Act::Record { resource },
            },
        }
    }

    fn operation(&self, call: Call) -> Operation {
        let operation = self.uncounted(call);
        if !self.counts || call.kind != StoreKind::Cache {
            return operation;
        }
        let now = call.now as f64;
        match (self.bounds, call.act) {
            (Some(bounds), Act::Set { .. }) => {
                let used = vec![(format!("key-{}", call.now as usize % KEYS), now)];
                bounds::within(bounds, operation, used, now, Arc::new(|_| {}))
            }
            (bounds, Act::CleanCache) => bounds::after_cleanup(operation, bounds, now, Arc::new(|_| {})),
            _ => bounds::counted(operation),
        }
    }

    fn uncounted(&self, Call { now, kind, act }: Call) -> Operation {
        let now = now as f64;
        let of = |hash: usize| dedupe::Call {
            hash: format!("hash-{hash}"),
            owner: "store".to_owned(),
            options: DedupeOptions { job_timeout_ms: AGES, result_ttl_ms: AGES, ..DedupeOptions::default() },
            now,
            system_now: START as f64,
            waiting_since: None,
        };
        let on = |resource: Resource| rate_limit::Call {
            resource: resource.name().to_owned(),
            limit: resource.limit(),
            shared: SharedLimits::NONE,
            now,
        };
        let priority = if (now as u64).is_multiple_of(2) { Priority::User } else { Priority::Background };
        let is_adaptive = kind == StoreKind::Adaptive;
        match act {
            Act::Set { key, value, length, expired } => {
                cache::set(format!("key-{key}"), text(value, length), if expired { 0.0 } else { 1e6 }, now)
            }
            Act::Get { key } => cache::get(format!("key-{key}"), now),
            Act::Delete { key } => cache::delete(format!("key-{key}")),
            Act::ClearCache => cache::clear(),
            Act::CleanCache => cache::cleanup(now),
            Act::CacheStats => cache::stats(now),
            Act::Record { resource } if is_adaptive => adaptive::record(resource.name(), priority, now, None),
            Act::Record { resource } => rate_limit::record(resource.name().to_owned(), now, None),
            Act::Acquire { resource } if is_adaptive => adaptive::acquire(
                adaptive::Call {
                    resource: resource.name().to_owned(),
                    limit: resource.limit(),
                    shared: SharedLimits::NONE,
                    config: AdaptiveConfig::default(),
                    divisions: self.divisions.clone(),
                    now,
                },
                priority,
            ),
            Act::Acquire { resource } => rate_limit::acquire(on(resource)),
            Act::Status => rate_limit::status(on(Resource::Wide)),
            Act::Reset { resource } if is_adaptive => {
                adaptive::reset(resource.name(), SharedLimits::NONE, now, self.divisions.clone())
            }
            Act::Reset { resource } => rate_limit::reset(resource.name(), SharedLimits::NONE, now),
            Act::ClearRates if is_adaptive => adaptive::clear(self.divisions.clone()),
            Act::ClearRates => rate_limit::clear(),
            Act::Register { hash, job } => dedupe::register(of(hash), format!("job-{job}")),
            Act::Complete { hash, job, value, length } => {
                dedupe::complete(&of(hash), text(value, length), Some(format!("job-{job}")))
            }
            Act::Fail { hash, job } => {
                dedupe::fail(&of(hash), Some("refused".to_owned()), None, Some(format!("job-{job}")))
            }
            Act::IsInProgress { hash } => dedupe::is_in_progress(of(hash)),
            Act::Result { hash } => dedupe::result(of(hash)),
            Act::ClearDedupe => dedupe::clear(),
        }
    }

    /// Hands a call in under a number.
    fn submit(&self, number: usize, call: Call) {
        let (_, store) = self.stores.iter().find(|(kind, _)| *kind == call.kind).unwrap();
        let reply = || Reply::new(Arc::clone(&self.inbox) as Arc<dyn Recipient>, number);
        match store.database().submit(self.operation(call), self.busy_timeout, reply) {
            Submitted::Done(answer) => self.inbox.deliver(number, answer),
            Submitted::Queued => {}
        }
    }

    fn call(&mut self, kind: StoreKind, act: Act) {
        let number = self.calls.len();
        let call = Call { now: START + number as u64, kind, act };
        self.calls.push(call);
        self.note(format!("{number}: {kind:?} {act:?}"));
        self.submit(number, call);
    }

    fn flush(&mut self) {
        if let Some((_, store)) = self.stores.first() {
            store.database().flush();
            self.note("flushed".to_owned());
        }
    }

    /// Waits for the answers that are due and tells the model, in the order of the calls.
    fn settle(&mut self) -> Result<(), String> {
        while self.settled < self.calls.len() {
            let number = self.settled;
            let call = self.calls[number];
            let mut answer = self.inbox.take(number)?;
            if answer.is_err() && call.act.writes() {
                match self.mistake {
                    Some(Mistake::RunAgain)
                        if matches!(call.act, Act::Record { .. } | Act::Acquire { .. })
                            && !self.stores.is_empty() =>
                    {
                        self.submit(number, call);
                        self.flush();
                        answer = self.inbox.take(number)?;
                    }
                    Some(Mistake::EarlyAnswer) if matches!(call.act, Act::Set { .. } | Act::Record { .. }) => {
                        answer = Ok(Said::Nothing);
                    }
                    _ => {}
                }
            }
            if self.mistake == Some(Mistake::RunAgain) && call.act == Act::Status {
                // It was answered before.
                answer = Ok(Said::Statistics);
            }
            self.note(format!("{number}: {answer:?}"));
            match answer {
                Ok(said) => {
                    self.tally.acknowledged += 1;
                    self.model.acknowledged(call, &said)?;
                }
                Err(Error::Sqlite { .. }) => {
                    self.tally.refused += 1;
                    self.model.refused(call);
                }
                Err(error) => return Err(format!("{call:?} was refused with {error:?}")),
            }
            self.settled += 1;
        }
        self.model.overtaken.clear();
        match *self.inbox.twice.lock().unwrap() {
            Some(call) => Err(format!("call {call} was answered twice")),
            None => Ok(()),
        }
    }

    /// Every store works.
    fn works(&mut self) -> Result<(), String> {
        let refused = self.tally.refused;
        for kind in self.kinds.clone() {
            let number = self.calls.len() as u64;
            let acts = match kind {
                StoreKind::Cache | StoreKind::CacheTags | StoreKind::CacheBounds | StoreKind::Server => {
                    vec![
                        Act::Set { key: 0, value: number, length: 100_000, expired: false },
                        Act::Get { key: 0 },
                        Act::Get { key: 1 },
                    ]
                }
                StoreKind::Dedupe => vec![Act::Register { hash: 0, job: number }, Act::Result { hash: 1 }],
                StoreKind::RateLimit => vec![Act::Record { resource: Resource::Wide }, Act::Status],
                StoreKind::Adaptive => vec![Act::Record { resource: Resource::Adaptive }],
            };
            for act in acts {
                self.call(kind, act);
                self.flush();
            }
        }
        self.settle()?;
        if self.tally.refused > refused {
            return Err("calls are still refused without faults".to_owned());
        }
        Ok(())
    }

    /// No lock is left that keeps others out: of this process, as the same SQLite sees to them.
    fn leaves_no_lock(&self) -> Result<(), String> {
        let other = Plain::open(self.file.path()).map_err(|error| error.to_string())?;
        let locked = other.busy_timeout(HUNG).and_then(|()| other.execute_batch("BEGIN EXCLUSIVE; COMMIT"));
        locked.map_err(|error| format!("others are kept out: {error}"))
    }

    fn check(&mut self) -> Result<(), String> {
        let database = Plain::open(self.file.path()).map_err(|error| error.to_string())?;
        if self.counts && self.kinds.contains(&StoreKind::Cache) {
            let sql = "SELECT entries, bytes, (SELECT COUNT(*) FROM cache), (SELECT IFNULL(SUM(length(value)), 0) FROM cache)
                FROM cache_totals";
            let found = rows(&database, sql)?;
            let are_right = matches!(found.as_slice(), [row] if row[..2] == row[2..]);
            if !are_right {
                return Err(format!("wrong totals: {found:?}"));
            }
            let number =
                |column: usize| found.first().and_then(|row| row.get(column)?.number()).unwrap_or_default();
            let is_above = |bounds: Bounds| number(0) > bounds.max_entries || number(1) > bounds.max_size_bytes;
            if self.bounds.is_some_and(is_above) {
                return Err(format!("above {:?}: {found:?}", self.bounds));
            }
        }
        self.model.compare(&database, &self.kinds)
    }

    fn carry_out(&mut self, seed: u64) -> Result<(), String> {
        let plan = Plan::Random {
            seed: self.random.number(),
            one_in: *self.random.of(&[3, 8, 20, 60]),
            at_most: *self.random.of(&[1, 3, 10, 40]),
        };
        let file = self.file.path().to_owned();
        self.note(format!(
            "seed {seed}, {:?}, {:?}, busy timeout {:?}, {plan:?}",
            self.kinds, self.options, self.busy_timeout
        ));
        if self.random.one_in(2) {
            // Faults not before the stores are there.
            self.arm(Plan::Nothing, &file);
            self.open()?;
            self.arm(plan, &file);
        } else {
            self.arm(plan, &file);
            self.open()?;
        }
        let rounds = 4 + self.random.below(12);
        for _ in 0..rounds {
            let kind = *self.random.of(&self.kinds.clone());
            if self.random.one_in(8) && matches!(kind, StoreKind::RateLimit | StoreKind::Adaptive) {
                // Many rows by one statement.
                let resource = if kind == StoreKind::Adaptive { Resource::Adaptive } else { Resource::Wide };
                for _ in 0..20 + self.random.below(30) {
                    self.call(kind, Act::Record { resource });
                }
            }
            for _ in 0..1 + self.random.below(6) {
                let kind = *self.random.of(&self.kinds.clone());
                let act = self.act(kind);
                self.call(kind, act);
            }
            self.flush();
            if !self.random.one_in(4) {
                self.settle()?;
            }
            if self.random.one_in(10) {
                self.close()?;
                if self.random.one_in(4) {
                    self.options = options(&mut self.random);
                }
                self.tally.reopenings += 1;
                self.open()?;
            }
        }
        if self.random.one_in(2) {
            self.settle()?;
        }
        self.switch(false);
        self.note("no more faults".to_owned());
        self.settle()?;
        self.works()?;
        self.leaves_no_lock()?;
        self.close()?;
        self.check()
    }

    fn arm(&mut self, plan: Plan, file: &Path) {
        self.note(format!("{plan:?}"));
        let faults = faults::arm(file, plan);
        if self.mistake == Some(Mistake::HiddenWrite) {
            faults.hide_failed_writes();
        }
        self.faults = Some(faults);
        self.traced_faults = 0;
    }
}

/// Carries out a seed. Answers what came of it, or the violation and the trace.
fn run(seed: u64, mistake: Option<Mistake>) -> Result<Tally, String> {
    let mut run = Run::new(TempFile::new(), Random::new(seed), mistake);
    let outcome = catch_unwind(AssertUnwindSafe(|| run.carry_out(seed))).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        Err(message.unwrap_or_else(|| "a panic".to_owned()))
    });
    run.switch(false);
    for fault in run.struck() {
        let kind = format!("{:?} {:?}", fault.method, fault.manner);
        *run.tally.struck.entry(kind).or_default() += 1;
    }
    if env::var_os("FAULT_SEED").is_some() {
        println!("{}", run.trace.join("\n"));
    }
    match outcome {
        Ok(()) => Ok(run.tally),
        Err(violation) => {
            run.note("the end".to_owned());
            Err(format!("{}\nFAULT_SEED={seed}: {violation}", run.trace.join("\n")))
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|number| number.parse().unwrap())
}

#[test]
fn keep_what_was_acknowledged() {
    let alone = number_from("FAULT_SEED");
    let (first, count) = alone.map_or((1, number_from("FAULT_SEEDS").unwrap_or(SEEDS)), |seed| (seed, 1));
    let (next, tally, failures) = (AtomicU64::new(first), Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..count.min(8) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run(seed, None) {
                        Ok(found) => tally.lock().unwrap().add(found),
                        Err(failure) => failures.lock().unwrap().push((seed, failure)),
                    }
                }
            });
        }
    });
    tally.lock().unwrap().print(count);
    println!("in {:.1} s", started.elapsed().as_secs_f64());
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    for (_, failure) in failures.iter().take(5) {
        println!("{failure}\n");
    }
    let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    assert!(failures.is_empty(), "violations with the seeds {seeds:?}");
}

/// Asserts that a mistake is found, in these words; prints the first seed that finds it so.
fn assert_found(mistake: Mistake, words: &str) {
    let violation = |seed| Some(run(seed, Some(mistake)).err()?.lines().last()?.to_owned());
    let found = (1..=300).filter_map(violation).find(|violation| violation.contains(words));
    println!("{mistake:?} is found by {:.300}", found.expect("the mistake is not found"));
}

#[test]
fn a_failed_write_that_is_reported_as_done_is_found() {
    assert_found(Mistake::HiddenWrite, "can only be");
}

#[test]
fn a_refused_request_that_is_recorded_again_is_found() {
    assert_found(Mistake::RunAgain, "is there twice");
}

#[test]
fn a_call_that_is_acknowledged_before_it_is_committed_is_found() {
    assert_found(Mistake::EarlyAnswer, "can only be");
}

/// Writes in the mode that options ask for, one after the other, after each of which somebody else may checkpoint the log.
/// Answers on which threads files were flushed.
fn flushing_threads(journal_mode: JournalMode, synchronous: Synchronous, checkpoints: bool) -> Vec<ThreadId> {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache, StoreKind::RateLimit];
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), synchronous, ..DatabaseOptions::default() };
    run.busy_timeout = Duration::from_secs(3);
    let path = run.file.path().to_owned();
    run.open().unwrap();
    run.arm(Plan::Nothing, &path);
    // Its locks and ours are told apart: it is the same SQLite.
    let other = Plain::open(&path).unwrap();
    for round in 0..20 {
        if checkpoints {
            other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }
        run.call(
            StoreKind::Cache,
            Act::Set { key: round % KEYS, value: round as u64, length: 100, expired: false },
        );
        run.call(StoreKind::RateLimit, Act::Record { resource: Resource::Wide });
        run.flush();
        run.settle().unwrap();
    }
    let threads = run.faults.as_ref().unwrap().flushing_threads();
    drop(other);
    run.close().unwrap();
    threads
}

#[test]
fn no_write_has_its_caller_wait_for_a_flush() {
    for (journal_mode, synchronous, checkpoints) in [
        (JournalMode::Wal, Synchronous::Normal, true),
        (JournalMode::Wal, Synchronous::Full, false),
        (JournalMode::Delete, Synchronous::Normal, false),
        (JournalMode::Delete, Synchronous::Full, false),
    ] {
        let threads = flushing_threads(journal_mode, synchronous, checkpoints);
        println!("{journal_mode:?} {synchronous:?}: {} flushes", threads.len());
        assert!(threads.len() >= 20, "{journal_mode:?} {synchronous:?}: {} flushes", threads.len());
        assert!(!threads.contains(&thread::current().id()), "{journal_mode:?} {synchronous:?}");
    }
    // Nothing is flushed where nobody asks for it, so that commits are made at once.
    assert_eq!(flushing_threads(JournalMode::Wal, Synchronous::Normal, false), []);
}

/// When a call to the system fails in a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
enum During {
    Commit,
    Close,
}

/// One commit of far more than what is gathered of a log, in a file with some content, in which one call to the system
/// fails. Answers whether one did.
fn commit(journal_mode: JournalMode, during: During, plan: Plan) -> Result<bool, String> {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache, StoreKind::RateLimit];
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), ..DatabaseOptions::default() };
    run.busy_timeout = Duration::from_secs(3);
    run.note(format!("{journal_mode:?} {during:?} {plan:?}"));
    let path = run.file.path().to_owned();
    run.arm(Plan::Nothing, &path);
    let carried_out = commit_in(&mut run, during, plan, &path);
    carried_out.map_err(|violation| format!("{}\n{violation}", run.trace.join("\n")))
}

fn commit_in(run: &mut Run, during: During, plan: Plan, path: &Path) -> Result<bool, String> {
    let batch = |run: &mut Run| {
        for (key, length) in [(0, 50_000), (1, 120_000), (2, 20_000)] {
            let value = run.calls.len() as u64;
            run.call(StoreKind::Cache, Act::Set { key, value, length, expired: false });
        }
        for _ in 0..5 {
            run.call(StoreKind::RateLimit, Act::Record { resource: Resource::Wide });
        }
        run.call(StoreKind::Cache, Act::Delete { key: 3 });
        run.flush();
        run.settle()
    };
    run.open()?;
    for key in [1, 3, 4] {
        let value = run.calls.len() as u64;
        run.call(StoreKind::Cache, Act::Set { key, value, length: 30_000, expired: false });
        run.call(StoreKind::RateLimit, Act::Acquire { resource: Resource::Narrow });
        run.flush();
        run.settle()?;
    }
    if during == During::Commit {
        run.arm(plan, path);
    }
    batch(run)?;
    if during == During::Commit {
        run.switch(false);
        let refused = run.tally.refused;
        // The same once more.
        batch(run)?;
        run.works()?;
        run.leaves_no_lock()?;
        if run.tally.refused > refused {
            return Err("calls are still refused".to_owned());
        }
    } else {
        run.arm(plan, path);
    }
    run.close()?;
    run.switch(false);
    run.check()?;
    Ok(!run.struck().is_empty())
}

/// Has each call to the system fail, in each way, one at a time. Answers how many did.
fn sweep(journal_mode: JournalMode, during: During) -> BTreeMap<String, usize> {
    let mut swept = BTreeMap::new();
    for method in Method::ALL {
        for manner in method.manners() {
            let nth_fails = |nth: &u64| {
                let plan = Plan::Nth { method, file: None, nth: *nth, manner: *manner };
                commit(journal_mode, during, plan).unwrap_or_else(|violation| panic!("{violation}"))
            };
            let count = (1..).take_while(nth_fails).count();
            if count > 0 {
                swept.insert(format!("{method:?} {manner:?}"), count);
            }
        }
    }
    println!("{journal_mode:?}, {during:?}: {swept:?}");
    swept
}

fn assert_writes(swept: &BTreeMap<String, usize>, least: usize) {
    for manner in [Manner::Before, Manner::HalfWay, Manner::After] {
        let writes = swept[&format!("Write {manner:?}")];
        assert!(writes >= least, "{writes} writes of a commit of 190 KB");
    }
}

#[test]
fn a_large_commit_to_a_log_may_fail_at_every_call() {
    assert_writes(&sweep(JournalMode::Wal, During::Commit), 3);
}

#[test]
fn a_large_commit_with_a_rollback_journal_may_fail_at_every_call() {
    assert_writes(&sweep(JournalMode::Delete, During::Commit), 50);
}

#[test]
fn closing_may_fail_at_every_call() {
    assert_writes(&sweep(JournalMode::Wal, During::Close), 50);
    sweep(JournalMode::Delete, During::Close);
}

/// Opens a cache with bounds in a new file, in which one call to the system fails, and stores something. Answers whether one did.
fn open_bounded(journal_mode: JournalMode, plan: Plan) -> bool {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache];
    (run.counts, run.bounds) = (true, None);
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), ..DatabaseOptions::default() };
    run.busy_timeout = Duration::from_secs(3);
    let path = run.file.path().to_owned();
    run.arm(plan, &path);
    run.open().unwrap();
    run.call(StoreKind::Cache, Act::Set { key: 0, value: 0, length: 100, expired: false });
    run.flush();
    run.switch(false);
    run.settle().unwrap();
    run.works().unwrap();
    let struck = run.struck();
    run.close().unwrap();
    run.check().unwrap();
    let lacks_table = run.trace.iter().find(|line| line.contains("no such table"));
    assert_eq!(lacks_table, None, "{journal_mode:?} {plan:?}: {}", run.trace.join("\n"));
    !struck.is_empty()
}

#[test]
fn opening_a_cache_with_bounds_may_fail_at_every_call() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
        let mut swept = BTreeMap::new();
        for method in Method::ALL {
            for manner in method.manners() {
                let nth_fails = |nth: &u64| {
                    open_bounded(journal_mode, Plan::Nth { method, file: None, nth: *nth, manner: *manner })
                };
                swept.insert(format!("{method:?} {manner:?}"), (1..).take_while(nth_fails).count());
            }
        }
        println!("{journal_mode:?}: {swept:?}");
        assert!(swept["Lock Before"] >= 4, "{swept:?}");
    }
}

#[test]
fn a_cache_with_bounds_can_be_opened_while_others_write() {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache];
    (run.counts, run.bounds) = (true, None);
    run.busy_timeout = HUNG;
    let other = Plain::open(run.file.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE others (x)").unwrap();
    run.open().unwrap();
    run.call(StoreKind::Cache, Act::Set { key: 0, value: 0, length: 100, expired: false });
    run.flush();
    other.execute_batch("COMMIT").unwrap();
    run.settle().unwrap();
    assert_eq!(run.tally.refused, 0, "{}", run.trace.join("\n"));
    run.close().unwrap();
    run.check().unwrap();
}

/// A clean-up by a store on a volume whose logs and journals have room for so many bytes; answers whether that was enough.
/// `setup` is run before it, `sums` are what must be equal after it.
fn clean_up_with_room(
    bytes: i64,
    journal_mode: JournalMode,
    kind: StoreKind,
    setup: &str,
    sums: [&str; 2],
    cleanup: fn() -> Operation,
) -> bool {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![kind];
    (run.counts, run.bounds) = (kind == StoreKind::Cache, None);
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), ..DatabaseOptions::default() };
    let path = run.file.path().to_owned();
    run.open().unwrap();
    let other = Plain::open(&path).unwrap();
    let numbers = "CREATE TEMP TABLE numbers AS
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 200) SELECT n FROM c";
    other.execute_batch(&format!("{numbers}; {setup}")).unwrap();
    run.arm(Plan::Room(bytes), &path);
    let (_, store) = &run.stores[0];
    let reply = || Reply::new(Arc::clone(&run.inbox) as Arc<dyn Recipient>, 0);
    if let Submitted::Done(answer) = store.database().submit(cleanup(), Duration::from_secs(3), reply) {
        run.inbox.deliver(0, answer);
    }
    store.database().flush();
    let cleaned = run.inbox.take(0).unwrap();
    run.switch(false);
    let [found, expected] = sums.map(|sql| other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap());
    assert_eq!(found, expected, "{kind:?} {journal_mode:?}, room for {bytes} bytes: {cleaned:?}");
    drop(other);
    run.stores.drain(..).for_each(|(_, store)| store.close());
    cleaned.is_ok()
}

/// From no room to enough; answers with how much room a clean-up failed.
fn clean_ups_with_little_room(
    kind: StoreKind,
    setup: &str,
    sums: [&str; 2],
    cleanup: fn() -> Operation,
) -> Vec<(JournalMode, i64)> {
    let rooms = |journal_mode| (1..).map(move |pages| (journal_mode, pages * 4_200));
    let fails = |(journal_mode, bytes): &(JournalMode, i64)| {
        !clean_up_with_room(*bytes, *journal_mode, kind, setup, sums, cleanup)
    };
    [JournalMode::Wal, JournalMode::Delete].into_iter().flat_map(|mode| rooms(mode).take_while(fails)).collect()
}

#[test]
fn what_is_counted_is_right_however_little_room_a_clean_up_has() {
    // Of several pages each, so that there may be room for the count and not for the removal.
    let failed = clean_ups_with_little_room(
        StoreKind::Cache,
        "INSERT INTO cache (hash, value, expires_at, created_at)
           SELECT 'key-' || n, zeroblob(30000), 1, 1 FROM numbers WHERE n <= 3;
         INSERT OR REPLACE INTO cache_totals (id, entries, bytes) VALUES (1, 3, 90000)",
        ["SELECT entries FROM cache_totals", "SELECT COUNT(*) FROM cache"],
        || bounds::counted(cache::cleanup(1e6)),
    );
    assert!(failed.len() >= 4, "{failed:?}");
    let failed = clean_ups_with_little_room(
        StoreKind::Adaptive,
        "INSERT INTO adaptive_state (resource, last_user_at, activations)
           SELECT printf('%0500d', n), 1, 1 FROM numbers",
        [
            "SELECT COALESCE((SELECT SUM(value) FROM adaptive_totals), 0)
               + COALESCE((SELECT SUM(activations) FROM adaptive_state), 0)",
            "SELECT 200",
        ],
        || {
            adaptive::cleanup(adaptive::CallOnAll {
                configs: ResourceConfigs {
                    default: Resource::Wide.limit(),
                    named: Vec::new(),
                    shared: SharedLimits::NONE,
                },
                config: AdaptiveConfig::default(),
                divisions: Divisions::default(),
                now: 2e12,
            })
        },
    );
    assert!(failed.len() >= 4, "{failed:?}");
}
