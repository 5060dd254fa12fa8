//! The stores on one file, while calls to the system fail.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::{Error, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, Operation};
use comic_vine_sqlite_store::core::options::{
    AdaptiveConfig, Bounds, DatabaseOptions, DedupeOptions, JournalMode, SharedLimits, Synchronous,
};
use comic_vine_sqlite_store::core::{bounds, cache, rate_limit};
use comic_vine_sqlite_store::sqlite::database::{Recipient, Reply, Submitted};
use comic_vine_sqlite_store::sqlite::faults::{self, Fault, Faults, Plan, Random};
use comic_vine_sqlite_store::sqlite::registry::{self, Handle};
use rusqlite::Connection as Plain;

use crate::common::{Divisions, TempFile};
use crate::model::{AGES, Act, Call, HASHES, KEYS, KINDS, Model, Resource, START, Said, rows, said, text};

/// Only a call that is never answered takes so long.
pub const HUNG: Duration = Duration::from_secs(120);

/// A mistake that is made on purpose, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
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
pub struct Tally {
    pub struck: BTreeMap<String, u64>,
    pub acknowledged: u64,
    pub refused: u64,
    refused_openings: u64,
    reopenings: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        for (kind, count) in other.struck {
            *self.struck.entry(kind).or_default() += count;
        }
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.refused_openings += other.refused_openings;
        self.reopenings += other.reopenings;
    }

    pub fn print(&self, seeds: u64) {
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
pub struct Run {
    pub file: TempFile,
    pub faults: Option<Faults>,
    mistake: Option<Mistake>,
    random: Random,
    pub kinds: Vec<StoreKind>,
    /// Whether entries are counted, and how many there may be.
    pub counts: bool,
    pub bounds: Option<Bounds>,
    stores: Vec<(StoreKind, Handle)>,
    pub options: DatabaseOptions,
    pub busy_timeout: Duration,
    inbox: Arc<Inbox>,
    model: Model,
    pub calls: Vec<Call>,
    /// How many of them the model knows the answers of.
    settled: usize,
    jobs: Vec<Vec<u64>>,
    divisions: Divisions,
    pub tally: Tally,
    pub trace: Vec<String>,
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
    pub fn new(file: TempFile, mut random: Random, mistake: Option<Mistake>) -> Self {
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

    pub fn note(&mut self, line: String) {
        let struck = self.struck();
        self.trace.extend(struck[self.traced_faults..].iter().map(|fault| format!("      {fault}")));
        self.traced_faults = struck.len();
        self.trace.push(line);
    }

    pub fn struck(&self) -> Vec<Fault> {
        self.faults.as_ref().map(Faults::struck).unwrap_or_default()
    }

    /// Opens the stores that are not open. After a few refusals the faults pause.
    pub fn open(&mut self) -> Result<(), String> {
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

    pub fn switch(&self, on: bool) {
        if let Some(faults) = &self.faults {
            faults.switch(on);
        }
    }

    pub fn close(&mut self) -> Result<(), String> {
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

    pub fn call(&mut self, kind: StoreKind, act: Act) {
        let number = self.calls.len();
        let call = Call { now: START + number as u64, kind, act };
        self.calls.push(call);
        self.note(format!("{number}: {kind:?} {act:?}"));
        self.submit(number, call);
    }

    pub fn flush(&mut self) {
        if let Some((_, store)) = self.stores.first() {
            store.database().flush();
            self.note("flushed".to_owned());
        }
    }

    /// Has the first store carry out an operation that the model knows nothing of.
    pub fn carry_out_alone(&self, operation: Operation) -> Result<(), Error> {
        let (number, (_, store)) = (usize::MAX, &self.stores[0]);
        let reply = || Reply::new(Arc::clone(&self.inbox) as Arc<dyn Recipient>, number);
        match store.database().submit(operation, Duration::from_secs(3), reply) {
            Submitted::Done(answer) => self.inbox.deliver(number, answer),
            Submitted::Queued => store.database().flush(),
        }
        self.inbox.take(number).unwrap().map(drop)
    }

    /// Waits for the answers that are due and tells the model, in the order of the calls.
    pub fn settle(&mut self) -> Result<(), String> {
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
        self.model.settled();
        match *self.inbox.twice.lock().unwrap() {
            Some(call) => Err(format!("call {call} was answered twice")),
            None => Ok(()),
        }
    }

    /// Every store works.
    pub fn works(&mut self) -> Result<(), String> {
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
    pub fn leaves_no_lock(&self) -> Result<(), String> {
        let other = Plain::open(self.file.path()).map_err(|error| error.to_string())?;
        let locked = other.busy_timeout(HUNG).and_then(|()| other.execute_batch("BEGIN EXCLUSIVE; COMMIT"));
        locked.map_err(|error| format!("others are kept out: {error}"))
    }

    pub fn check(&mut self) -> Result<(), String> {
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

    pub fn carry_out(&mut self, seed: u64) -> Result<(), String> {
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

    pub fn arm(&mut self, plan: Plan, file: &Path) {
        self.note(format!("{plan:?}"));
        let faults = faults::arm(file, plan);
        if self.mistake == Some(Mistake::HiddenWrite) {
            faults.hide_failed_writes();
        }
        self.faults = Some(faults);
        self.traced_faults = 0;
    }
}
