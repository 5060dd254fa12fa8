//! A model of the deduplication beside the real statements. Several stores, one of them 0.2.0, act on the same
//! hashes in any order while time passes, some die, and some stop between two steps of one call. What a hash has gone
//! through is kept here in plain words ([`Hash`]); every answer has to be one that this allows, and after every act
//! the database has to hold just what this says. Beyond that: a hash has at most one live owner, no live job is ended
//! by a stranger, no result reaches a waiter that asked after it expired, and every waiter is answered in the end. The
//! same while clocks differ and are set back, where live is what has a lease, by the clock of whoever acts.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::HashSet;

use comic_vine_sqlite_store::core::codec;
use comic_vine_sqlite_store::core::dedupe::rules::{self as dedupe, Call};
use comic_vine_sqlite_store::core::error::{Error, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, Operation, Outcome, StatementResult};
use comic_vine_sqlite_store::core::options::{DedupeOptions, LEASE_MS, OWN_THREAD_LEASE_MS};
use common::{Db, TOLERANCE, Value, members};
use proptest::prelude::*;

const LEASE: i64 = LEASE_MS as i64;
/// A claim is a lease without a job.
const CLAIM: i64 = LEASE;
const START: i64 = 1_700_000_000_000;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A store of ours.
    Store,
    /// A store of ours with `claimTimeoutMs: 0`.
    WithoutClaims,
    /// 0.2.0, by its own statements.
    Old,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    job_timeout: i64,
    result_ttl: i64,
}

const USUAL: Settings = Settings { job_timeout: 300_000, result_ttl: 10_000 };

#[derive(Clone, Copy, Debug)]
enum Act {
    /// `waitFor`, or a waiter that looks again.
    WaitFor,
    /// The same, but the store stops before it claims what it found free.
    Poll,
    /// It goes on and claims.
    GoOn,
    /// `waitFor` as one operation, where it cannot be carried out at once.
    WaitInTurn,
    Register,
    Complete,
    Fail,
    /// `fail` with an error that says that the request was called off.
    Abort,
    TimeOut,
    IsInProgress,
    GetResult,
    Renew,
    /// A claim is given up that was not used.
    GiveUpClaim,
    Cleanup,
    /// `close()`, which gives up what the store has claimed and registered.
    Close,
    Stats,
    Clear,
    Die,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Do {
        who: usize,
        hash: usize,
        act: Act,
    },
    /// Time passes, by the clock that tests fake and by the system's; or a clock is set back.
    Pass {
        now: i64,
        system: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Pending,
    Completed(String),
    Failed(String),
    /// It ended with nothing to say to those who wait: past its time, or called off.
    TimedOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Job {
    id: String,
    by: usize,
    state: State,
    created_at: i64,
    updated_at: i64,
    /// Until when its owner is known to live; 0.2.0 does not say.
    lease: Option<i64>,
    /// Whether the hash was claimed from it when it was past its time: it is over, though its owner may still come
    /// back with a result.
    taken_over: bool,
    /// Whether the name of its error says that it was called off. 0.2.0 leaves the name.
    aborted: bool,
}

/// A job in the database.
#[derive(Debug, PartialEq)]
struct Row {
    id: String,
    status: String,
    created_at: i64,
    updated_at: i64,
    lease: Option<i64>,
}

/// What one store is up to with one hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seat {
    waiting_since: Option<i64>,
    /// It found the hash free, at these times, and has not claimed it yet.
    found_free: Option<(i64, i64)>,
    registered: Option<String>,
}

/// What a hash has gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Hash {
    job: Option<Job>,
    /// The claim last made, and until when it holds.
    claim: Option<i64>,
    claimed_by: Option<usize>,
    /// Who was told to make the request and neither registered nor was overtaken, and until when that holds.
    told: Vec<(usize, i64)>,
    seats: Vec<Seat>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: i64,
    system: i64,
    /// The latest that any clock ever showed.
    latest: (i64, i64),
    /// Whether a clock was ever set back, or clocks differ.
    strays: bool,
    ids: usize,
    dead: Vec<bool>,
    hashes: Vec<Hash>,
}

impl World {
    /// Whether a store has nothing to do with any hash.
    fn is_idle(&self, who: usize) -> bool {
        !self.dead[who]
            && self.hashes.iter().all(|hash| {
                hash.seats[who] == Seat::default()
                    && hash.job.as_ref().is_none_or(|job| job.by != who)
                    && hash.told.iter().all(|(told, _)| *told != who)
            })
    }
}

#[derive(Debug, PartialEq)]
enum Expected {
    Result(String),
    Rejection(String),
    Wait { deadline: Option<i64>, expires_at: Option<i64> },
    Free,
}

/// What a call takes a time of a job to be, by the same clock: one that is later than the call's is taken as now.
fn seen(at: i64, now: i64) -> i64 {
    at.min(now)
}

/// The longest lease of any store.
const LONGEST: i64 = OWN_THREAD_LEASE_MS as i64;

impl Job {
    fn age(&self, now: i64) -> i64 {
        now - seen(self.created_at, now)
    }

    fn lease(&self, _system: i64) -> Option<i64> {
        self.lease
    }

    fn is_later_than(&self, allowed: i64) -> bool {
        self.created_at > allowed || self.updated_at > allowed
    }
}

impl Hash {
    fn claim(&self, _system: i64) -> Option<i64> {
        self.claim
    }

    /// Whether a call finds something that is later than it may be.
    fn is_later(&self, now: i64, system: i64, waited: i64) -> bool {
        let lease = self.job.as_ref().and_then(|job| job.lease).or(self.claim);
        self.job.as_ref().is_some_and(|job| job.is_later_than(now + waited + TOLERANCE as i64))
            || lease.is_some_and(|until| until > system + waited + LONGEST + TOLERANCE as i64)
    }
}

impl Settings {
    fn is_over(self, job: &Job, now: i64) -> bool {
        self.job_timeout > 0 && job.age(now) >= self.job_timeout
    }

    /// Whether a job that was completed still answers those who ask now.
    fn is_served(self, job: &Job, now: i64) -> bool {
        now - seen(job.updated_at, now) < self.ttl()
    }

    fn is_live(self, hash: &Hash, now: i64, system: i64) -> bool {
        hash.job.as_ref().is_some_and(|job| {
            // One that was taken over is past its time, unless the clock was set back since.
            job.state == State::Pending
                && !self.is_over(job, now)
                && job.lease(system).is_none_or(|lease| system < lease)
        })
    }

    fn ttl(self) -> i64 {
        if self.job_timeout > 0 { self.result_ttl.min(self.job_timeout) } else { self.result_ttl }
    }

    /// What a store has to find that asked at `since`, or asks now.
    fn expect(self, hash: &Hash, asked: Asked, since: Option<i64>, claims: bool) -> Expected {
        let Asked { now, system, waited, .. } = asked;
        if let Some(job) = &hash.job {
            let asked_before = since.is_some_and(|since| since <= job.updated_at);
            match &job.state {
                State::Pending if self.is_live(hash, now, system) => {
                    let deadline =
                        (self.job_timeout > 0).then_some(seen(job.created_at, now + waited) + self.job_timeout);
                    return Expected::Wait { deadline, expires_at: job.lease(system) };
                }
                State::Completed(text) if asked_before || self.is_served(job, now) => {
                    return Expected::Result(text.clone());
                }
                State::Failed(message) if asked_before => return Expected::Rejection(message.clone()),
                _ => {}
            }
        }
        match hash.claim(system) {
            Some(until) if claims && system < until => Expected::Wait { deadline: None, expires_at: Some(until) },
            _ => Expected::Free,
        }
    }
}

/// A look at a hash: the times it goes by, and whether the store stopped before it claimed.
#[derive(Clone, Copy)]
struct Asked {
    now: i64,
    system: i64,
    /// How long ago that was.
    waited: i64,
    stopped: bool,
}

struct Model<'db> {
    db: &'db Db,
    settings: Settings,
    kinds: &'static [Kind],
    /// How far the two clocks of each store are ahead of the world's.
    ahead: Vec<(i64, i64)>,
    world: World,
}

fn status_of(job: &Job) -> &'static str {
    match job.state {
        State::Pending => "pending",
        State::Completed(_) => "completed",
        State::Failed(_) | State::TimedOut => "failed",
    }
}

fn name(hash: usize) -> String {
    format!("hash-{hash}")
}

fn owner(who: usize) -> String {
    format!("store-{who}")
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, settings: Settings, kinds: &'static [Kind], hashes: usize) -> Self {
        db.execute("DELETE FROM dedupe_jobs; DELETE FROM dedupe_leases");
        let hash = Hash { seats: vec![Seat::default(); kinds.len()], ..Hash::default() };
        let world = World {
            now: START,
            system: START,
            latest: (START, START),
            strays: false,
            ids: 0,
            dead: vec![false; kinds.len()],
            hashes: vec![hash; hashes],
        };
        Model { db, settings, kinds, ahead: vec![(0, 0); kinds.len()], world }
    }

    fn with_clocks(mut self, ahead: Vec<(i64, i64)>) -> Self {
        self.world.strays = ahead.iter().any(|ahead| *ahead != (0, 0));
        self.ahead = ahead;
        self.pass(0, 0);
        self
    }

    /// The times by a store's clocks.
    fn times(&self, who: usize) -> (i64, i64) {
        let (now, system) = self.ahead[who];
        (self.world.now + now, self.world.system + system)
    }

    fn pass(&mut self, now: i64, system: i64) {
        self.world.now += now;
        self.world.system += system;
        self.world.strays |= now < 0 || system < 0;
        for who in 0..self.kinds.len() {
            let (now, system) = self.times(who);
            let latest = &mut self.world.latest;
            *latest = (latest.0.max(now), latest.1.max(system));
        }
    }

    fn claims(&self, who: usize) -> bool {
        self.kinds[who] == Kind::Store
    }

    fn call_at(&self, who: usize, hash: usize, now: i64, system: i64, since: Option<i64>) -> Call {
        let options = DedupeOptions {
            job_timeout_ms: self.settings.job_timeout as f64,
            claim_timeout_ms: if self.claims(who) { 250.0 } else { 0.0 },
            result_ttl_ms: self.settings.result_ttl as f64,
            ..DedupeOptions::default()
        };
        Call {
            hash: name(hash),
            owner: owner(who),
            options,
            now: now as f64,
            system_now: system as f64,
            waiting_since: since.map(|since| since as f64),
        }
    }

    fn call(&self, who: usize, hash: usize) -> Call {
        let (now, system) = self.times(who);
        self.call_at(who, hash, now, system, None)
    }

    fn apply(&mut self, action: Action) {
        let (now, system) = self.judged_at(action);
        let live: Vec<Option<Job>> = self
            .world
            .hashes
            .iter()
            .map(|hash| {
                let is_live = self.settings.is_live(hash, now, system);
                hash.job.clone().filter(|_| is_live)
            })
            .collect();
        let enders = self.enders(action);
        match action {
            Action::Pass { now, system } => self.pass(now, system),
            Action::Do { who, .. } if self.world.dead[who] => {}
            Action::Do { who, hash, act } if self.kinds[who] == Kind::Old => self.act_as_old(who, hash, act),
            Action::Do { who, hash, act } => self.act(who, hash, act),
        }
        for (hash, live) in live.into_iter().enumerate() {
            let state = &self.world.hashes[hash];
            let taken_over = state.job.as_ref().is_some_and(|job| job.taken_over);
            let World { now, system, strays, .. } = self.world;
            assert!(strays || !taken_over || !self.settings.is_live(state, now, system), "{state:?}");
            let owners = self.owners(hash);
            assert!(owners <= 1, "{owners} live owners of {:?}", self.world.hashes[hash]);
            let stored = self.stored(hash);
            if let Some(job) = live {
                let may_continue = stored.0.as_ref().is_some_and(|row| row.id == job.id && row.status == "pending");
                assert!(may_continue || enders(hash, &job), "a stranger ended {job:?} by {action:?}: {stored:?}");
            }
            let state = &self.world.hashes[hash];
            assert_eq!(stored, Self::expected(state), "{action:?} left something else than {state:?}");
        }
    }

    /// By which times an action must not end what is live.
    fn judged_at(&self, action: Action) -> (i64, i64) {
        match action {
            Action::Do { who, hash, act: Act::GoOn } if self.world.strays => {
                self.world.hashes[hash].seats[who].found_free.unwrap_or(self.times(who))
            }
            Action::Do { who, .. } => self.times(who),
            Action::Pass { .. } => (self.world.now, self.world.system),
        }
    }

    /// Which live jobs an action may end: its store's own; any, of a store that registered none; any, of 0.2.0; all, of
    /// `clear`.
    fn enders(&self, action: Action) -> impl Fn(usize, &Job) -> bool + use<> {
        let clears = matches!(action, Action::Do { act: Act::Clear, .. });
        let ender = match action {
            Action::Do { who, hash, act: Act::Complete | Act::Fail | Act::Abort } => {
                let stands_alone =
                    self.kinds[who] == Kind::Old || self.world.hashes[hash].seats[who].registered.is_none();
                Some((who, Some(hash), stands_alone))
            }
            Action::Do { who, act: Act::Close, .. } => Some((who, None, false)),
            _ => None,
        };
        move |hash, job| {
            let is_ended = |(who, at, any): (usize, Option<usize>, bool)| {
                at.is_none_or(|at| at == hash) && (any || job.by == who)
            };
            clears || ender.is_some_and(is_ended)
        }
    }

    /// What lies in the database of a hash: its job, and until when a claim holds.
    fn stored(&self, hash: usize) -> (Option<Row>, Option<i64>) {
        let rows = self.db.rows(&format!(
            "SELECT job_id, status, created_at, updated_at,
               (SELECT expires_at FROM dedupe_leases l WHERE l.hash = h.hash AND l.job_id = j.job_id),
               (SELECT expires_at FROM dedupe_leases l WHERE l.hash = h.hash AND l.job_id IS NULL)
             FROM (SELECT '{}' AS hash) h LEFT JOIN dedupe_jobs j ON j.hash = h.hash",
            name(hash)
        ));
        let [id, status, created_at, updated_at, lease, claim] = rows[0].as_slice() else { panic!("{rows:?}") };
        let time = |value: &Value| value.number().map(|time| time as i64);
        let row = id.text().map(|id| Row {
            id: id.to_owned(),
            status: status.text().unwrap().to_owned(),
            created_at: time(created_at).unwrap(),
            updated_at: time(updated_at).unwrap(),
            lease: time(lease),
        });
        (row, time(claim))
    }

    /// What has to lie in the database of a hash.
    fn expected(state: &Hash) -> (Option<Row>, Option<i64>) {
        let row = state.job.as_ref().map(|job| Row {
            id: job.id.clone(),
            status: String::from(status_of(job)),
            created_at: job.created_at,
            updated_at: job.updated_at,
            lease: job.lease,
        });
        (row, state.claim)
    }

    /// How many may believe now that it is theirs to make the request.
    fn owners(&self, hash: usize) -> usize {
        let World { now, system, strays, .. } = self.world;
        let state = &self.world.hashes[hash];
        let believes = |(who, until): &&(usize, i64)| self.times(*who).1 < *until && !self.world.dead[*who];
        let told = state.told.iter().filter(believes).count();
        let has_lease =
            |job: &Job| job.state == State::Pending && job.lease.is_some_and(|until| self.times(job.by).1 < until);
        let is_live = match strays {
            true => state.job.as_ref().is_some_and(has_lease),
            false => self.settings.is_live(state, now, system),
        };
        told + usize::from(is_live)
    }

    fn act(&mut self, who: usize, hash: usize, act: Act) {
        let (now, system) = self.times(who);
        let found_free = self.world.hashes[hash].seats[who].found_free;
        match act {
            Act::WaitFor | Act::Poll if found_free.is_none() => {
                let since = self.world.hashes[hash].seats[who].waiting_since;
                let stop = matches!(act, Act::Poll);
                let asked = Asked { now, system, waited: 0, stopped: false };
                let mut operation = dedupe::wait_for(self.call_at(who, hash, now, system, since));
                if self.world.hashes[hash].is_later(now, system, 0) {
                    for _ in 0..2 {
                        let Outcome::Continue(next) = self.db.step(operation) else { panic!("it is corrected") };
                        operation = next;
                    }
                    self.correct(hash, now, system, 0);
                }
                match self.db.step(operation) {
                    Outcome::Continue(_) if stop => {
                        let expected =
                            self.settings.expect(&self.world.hashes[hash], asked, since, self.claims(who));
                        assert_eq!(expected, Expected::Free);
                        self.world.hashes[hash].seats[who].found_free = Some((now, system));
                    }
                    Outcome::Continue(claim) => {
                        let answer = self.db.run(claim);
                        self.waited(who, hash, asked, answer);
                    }
                    outcome => {
                        let answer = self.db.go_on(outcome);
                        self.waited(who, hash, asked, answer);
                    }
                }
            }
            Act::GoOn => {
                if let Some((then, system_then)) = found_free {
                    let since = self.world.hashes[hash].seats[who].waiting_since;
                    let call = self.call_at(who, hash, then, system_then, since);
                    let waited = (now - then).max(system - system_then).max(0);
                    let answer = self.db.run_late(claim_of(call), waited as f64);
                    self.correct_unless_free(hash, then, system_then, waited);
                    self.world.hashes[hash].seats[who].found_free = None;
                    self.waited(who, hash, Asked { now: then, system: system_then, waited, stopped: true }, answer);
                }
            }
            Act::WaitInTurn if found_free.is_none() => {
                if self.world.hashes[hash].seats[who].waiting_since.is_none() {
                    let answer = self.db.run(dedupe::wait_for_in_turn(self.call(who, hash)));
                    if self.claims(who) {
                        self.correct_unless_free(hash, now, system, 0);
                    } else {
                        self.correct(hash, now, system, 0);
                    }
                    self.waited(who, hash, Asked { now, system, waited: 0, stopped: false }, answer);
                }
            }
            Act::WaitFor | Act::Poll | Act::WaitInTurn => {}
            Act::Register => self.register(who, hash),
            Act::Complete | Act::Fail | Act::Abort => self.end(who, hash, act),
            Act::TimeOut => self.time_out(who, hash),
            Act::IsInProgress => {
                let live = self.settings.is_live(&self.world.hashes[hash], now, system);
                let answer = self.db.run(dedupe::is_in_progress(self.call(who, hash)));
                assert_eq!(common::boolean(answer), live, "{:?}", self.world.hashes[hash]);
                if self.world.hashes[hash].job.as_ref().is_some_and(|job| self.settings.is_over(job, now)) {
                    self.forget_if(hash, |_, _| true);
                } else {
                    let mut without_claim = self.world.hashes[hash].clone();
                    without_claim.claim = None;
                    if without_claim.job.is_some() && without_claim.is_later(now, system, 0) {
                        self.correct(hash, now, system, 0);
                    }
                }
            }
            Act::GetResult => {
                let timeout = self.settings.job_timeout;
                self.forget_if(hash, |job, _| timeout > 0 && job.age(now) > timeout);
                let is_later = |job: &Job| job.is_later_than(now + TOLERANCE as i64);
                if self.world.hashes[hash].job.as_ref().is_some_and(is_later) {
                    self.correct(hash, now, system, 0);
                }
                let expected = self.world.hashes[hash].job.as_ref().and_then(|job| match &job.state {
                    State::Completed(text) => Some(text.clone()),
                    _ => None,
                });
                let answer = self.db.run(dedupe::result(self.call(who, hash)));
                match answer {
                    Answer::Json { text, .. } => assert_eq!(Some(text.to_string()), expected),
                    Answer::Undefined => assert_eq!(None, expected),
                    other => panic!("{other:?}"),
                }
            }
            Act::Renew => {
                let hashes = self.world.hashes.iter().enumerate();
                let leases = hashes.flat_map(|(hash, state)| {
                    let job_id = state.seats[who].registered.clone();
                    [(name(hash), None)].into_iter().chain(job_id.map(|id| (name(hash), Some(id))))
                });
                self.db.run(dedupe::renew(&owner(who), DedupeOptions::default(), leases, system as f64));
                for Hash { job, seats, claim, claimed_by, told } in &mut self.world.hashes {
                    if *claimed_by == Some(who)
                        && let Some(until @ 1..) = claim
                    {
                        *until = system + CLAIM;
                        told.iter_mut().filter(|told| told.0 == who).for_each(|told| told.1 = system + CLAIM);
                    }
                    if let Some(job) = job.as_mut().filter(|job| seats[who].registered.as_ref() == Some(&job.id))
                        && job.state == State::Pending
                        && job.lease.is_some()
                    {
                        job.lease = Some(system + LEASE);
                    }
                }
            }
            Act::GiveUpClaim => {
                self.db.run(dedupe::give_up_claim(&self.call(who, hash)));
                let Hash { claim, claimed_by, told, .. } = &mut self.world.hashes[hash];
                if *claimed_by == Some(who) {
                    *claim = claim.map(|_| 0);
                    told.retain(|(other, _)| *other != who);
                }
            }
            Act::Cleanup => {
                let options = self.call(who, hash).options;
                self.db.run(dedupe::cleanup(&options, now as f64, system as f64));
                let timeout = self.settings.job_timeout;
                for hash in 0..self.world.hashes.len() {
                    let before = self.world.hashes[hash].job.clone();
                    // Without a timeout, what has ended goes when it is no longer served.
                    let unserved = now - self.settings.result_ttl;
                    let is_unserved =
                        |job: &Job| timeout == 0 && job.state != State::Pending && job.updated_at < unserved;
                    let is_later =
                        |job: &Job| job.state != State::Pending && job.created_at > now + TOLERANCE as i64;
                    self.forget_if(hash, |job, _| {
                        is_later(job) || is_unserved(job) || (timeout > 0 && job.age(now) > timeout)
                    });
                    let state = &mut self.world.hashes[hash];
                    let ended = |job: &Job| {
                        is_later(job) || is_unserved(job) || (timeout > 0 && now - timeout > job.created_at)
                    };
                    assert!(before.as_ref() == state.job.as_ref() || before.as_ref().is_some_and(ended));
                    let latest = system + LONGEST + TOLERANCE as i64;
                    if state.claim.is_some_and(|until| until > latest) {
                        state.claim = None;
                        state.told.retain(|(who, _)| Some(*who) != state.claimed_by);
                    }
                    state.claim = state.claim(system).filter(|until| *until >= system);
                    // Whoever was told by a claim that was removed has had its time, by that clock.
                    state.told.retain(|(_, until)| *until >= system);
                }
            }
            Act::Close => {
                self.db.run(dedupe::give_up(&owner(who)));
                self.world.dead[who] = true;
                for Hash { job, claim, claimed_by, told, seats } in &mut self.world.hashes {
                    if let Some(job) = job.as_mut().filter(|job| job.by == who && job.lease.is_some()) {
                        job.lease = Some(0);
                    }
                    if *claimed_by == Some(who) {
                        *claim = claim.map(|_| 0);
                    }
                    told.retain(|(other, _)| *other != who);
                    seats[who] = Seat::default();
                }
            }
            Act::Stats => self.check_stats(who),
            Act::Clear => {
                self.db.run(dedupe::clear());
                for state in &mut self.world.hashes {
                    (state.job, state.claim) = (None, None);
                    state.told.clear();
                }
            }
            Act::Die => {
                self.world.dead[who] = true;
                for hash in &mut self.world.hashes {
                    hash.seats[who] = Seat::default();
                }
            }
        }
    }

    /// What a call does that meets what is later than it may be: results are gone, everything else begins now.
    fn correct(&mut self, hash: usize, now: i64, system: i64, waited: i64) {
        let waited = waited + TOLERANCE as i64;
        let (allowed, latest) = (now + waited, system + waited + LONGEST);
        let times: Vec<i64> = (0..self.kinds.len()).map(|who| self.times(who).1).collect();
        let Hash { job, claim, claimed_by, told, .. } = &mut self.world.hashes[hash];
        job.take_if(|job| job.state != State::Pending && job.is_later_than(allowed));
        if let Some(job) = job {
            if job.state == State::Pending && job.is_later_than(allowed) {
                (job.created_at, job.updated_at) = (job.created_at.min(now), job.updated_at.min(now));
            }
            job.lease = job.lease.map(|until| if until > latest { system + LEASE } else { until });
        }
        if claim.is_some_and(|until| until > latest) {
            *claim = Some(system + CLAIM);
            // Its own clock is not the one by which that is judged.
            for (who, until) in told.iter_mut().filter(|(who, _)| Some(*who) == *claimed_by) {
                *until = (*until).min(times[*who] + CLAIM);
            }
        }
    }

    /// The same, of a call that claims the hash unless it finds something there.
    fn correct_unless_free(&mut self, hash: usize, now: i64, system: i64, waited: i64) {
        let state = &self.world.hashes[hash];
        let served = |job: &Job| matches!(job.state, State::Completed(_)) && self.settings.is_served(job, now);
        let is_free = !self.settings.is_live(state, now, system)
            && !state.job.as_ref().is_some_and(served)
            && state.claim.is_none_or(|until| until <= system);
        if !is_free && state.is_later(now, system, waited) {
            self.correct(hash, now, system, waited);
        }
    }

    fn check_stats(&self, who: usize) {
        let (now, _) = self.times(who);
        let options = self.call(who, 0).options;
        let mut stats = members(self.db.run(dedupe::stats(&options, now as f64)));
        let jobs = || self.world.hashes.iter().filter_map(|hash| hash.job.as_ref());
        let with = |status: &str| {
            let rows = self.db.number(&format!("SELECT COUNT(*) FROM dedupe_jobs WHERE status = '{status}'"));
            let expected = jobs().filter(|job| status_of(job) == status).count() as f64;
            assert_eq!(rows, expected);
            expected
        };
        let timeout = self.settings.job_timeout;
        let expired = jobs().filter(|job| timeout > 0 && job.age(now) > timeout).count() as f64;
        let (pending, completed, failed) = (with("pending"), with("completed"), with("failed"));
        assert_eq!(stats.number("pendingJobs"), pending);
        assert_eq!(stats.number("completedJobs"), completed);
        assert_eq!(stats.number("failedJobs"), failed);
        assert_eq!(stats.number("totalJobs"), pending + completed + failed);
        assert_eq!(stats.number("expiredJobs"), expired);
    }

    fn forget_if(&mut self, hash: usize, is_gone: impl FnOnce(&Job, Settings) -> bool) {
        let job = &mut self.world.hashes[hash].job;
        if job.as_ref().is_some_and(|job| is_gone(job, self.settings)) {
            *job = None;
        }
    }

    /// A `waitFor`, or the look of a waiter, was answered.
    fn waited(&mut self, who: usize, hash: usize, asked: Asked, answer: Answer) {
        let Asked { now, system, stopped, .. } = asked;
        let claims = self.claims(who);
        let settings = self.settings;
        let current = self.times(who).0;
        let state = &mut self.world.hashes[hash];
        let since = state.seats[who].waiting_since;
        let expected = settings.expect(state, asked, since, claims);
        let context = format!("{who} asked at {now}/{system}, since {since:?}: {answer:?}, {state:?}");
        let mut waiting_since = None;
        match (answer, expected) {
            (Answer::Claimed, expected) => {
                assert!(claims, "{context}");
                assert!(!settings.is_live(state, now, system), "{context}");
                assert!(state.claim(system).is_none_or(|until| until <= system), "{context}");
                // Between its look and its claim the job it waited for may have ended.
                let served = |job: &Job| matches!(job.state, State::Completed(_)) && settings.is_served(job, now);
                assert!(!state.job.as_ref().is_some_and(served), "{context}");
                let ended_meanwhile = stopped && !matches!(expected, Expected::Wait { .. });
                assert!(expected == Expected::Free || ended_meanwhile, "{context}");
                if let Some(job) = &mut state.job {
                    let lease = job.lease(system);
                    job.lease = None;
                    match job.state {
                        State::Pending if lease.is_some_and(|lease| lease <= system) => {
                            (job.state, job.updated_at) = (State::TimedOut, now);
                        }
                        State::Pending => job.taken_over = true,
                        _ => {}
                    }
                }
                state.claim = Some(system + CLAIM);
                // The claim takes the place of one that has run out, by this clock.
                let before = state.claimed_by.replace(who);
                state.told.retain(|(who, until)| *until > system && Some(*who) != before);
                state.told.push((who, system + CLAIM));
            }
            (Answer::Undefined, Expected::Free) => assert!(!claims, "{context}"),
            // It asked before the job was past its time, and goes on now: its timer is due at once.
            (Answer::Wait(wait), Expected::Wait { .. })
                if stopped && wait.deadline.is_some_and(|at| at <= current as f64) =>
            {
                assert!(state.job.as_ref().is_some_and(|job| settings.is_over(job, current)), "{context}");
                waiting_since = Some(since.unwrap_or(now));
            }
            (Answer::Wait(wait), Expected::Wait { deadline, expires_at }) => {
                let float = |time: Option<i64>| time.map(|time| time as f64);
                assert_eq!((wait.deadline, wait.expires_at), (float(deadline), float(expires_at)), "{context}");
                waiting_since = Some(since.unwrap_or(now));
            }
            (Answer::Json { text, .. }, Expected::Result(expected)) => {
                assert_eq!(*text, *expected, "{context}");
                let completed_at = state.job.as_ref().unwrap().updated_at;
                let asked_before = since.is_some_and(|since| since <= completed_at);
                assert!(asked_before || now < completed_at + settings.ttl(), "{context}");
            }
            (Answer::Rejection(Error::JobFailed { message, name }), Expected::Rejection(expected)) => {
                // 0.2.0 leaves the name.
                assert!(name.is_some() || message.contains("old"), "{context}");
                assert_eq!(message, expected, "{context}");
            }
            (_, expected) => panic!("expected {expected:?}: {context}"),
        }
        state.seats[who].waiting_since = waiting_since;
    }

    fn new_id(&mut self) -> String {
        self.world.ids += 1;
        format!("job-{}", self.world.ids)
    }

    fn new_job(&mut self, id: String, by: usize, created_at: i64, lease: Option<i64>) -> Job {
        let (updated_at, _) = self.times(by);
        Job { id, by, state: State::Pending, created_at, updated_at, lease, taken_over: false, aborted: false }
    }

    fn register(&mut self, who: usize, hash: usize) {
        let (now, system) = self.times(who);
        let id = self.new_id();
        let answer = self.db.run(dedupe::register(self.call(who, hash), id.clone()));
        let Answer::Registered { job_id, created } = answer else { panic!("{answer:?}") };
        let live = self.settings.is_live(&self.world.hashes[hash], now, system);
        assert_eq!(created, !live, "{who} registered at {now}/{system}: {:?}", self.world.hashes[hash]);
        if created {
            assert_eq!(job_id, id);
            let job = self.new_job(id, who, now, Some(system + LEASE));
            let state = &mut self.world.hashes[hash];
            state.job = Some(job);
            state.claim = None;
            state.told.clear();
            state.seats[who].registered = Some(job_id);
        } else {
            let state = &mut self.world.hashes[hash];
            assert_eq!(Some(&job_id), state.job.as_ref().map(|job| &job.id));
            state.told.retain(|(told, _)| *told != who);
            let registered = &mut state.seats[who].registered;
            *registered = registered.take().filter(|own| *own == job_id);
            self.correct(hash, now, system, 0);
        }
    }

    fn end(&mut self, who: usize, hash: usize, act: Act) {
        let (well, aborts) = (matches!(act, Act::Complete), matches!(act, Act::Abort));
        let (ids, (now, _)) = (self.world.ids, self.times(who));
        let registered = self.world.hashes[hash].seats[who].registered.take();
        let call = self.call(who, hash);
        let text = format!(r#"{{"by":{who},"at":{now},"after":{ids}}}"#);
        let (operation, state) = if well {
            (dedupe::complete(&call, text.clone(), registered.clone()), State::Completed(text))
        } else {
            let name = if aborts { "AbortError" } else { "TimeoutError" }.to_owned();
            let fail = dedupe::fail(&call, Some(text.clone()), Some(name), registered.clone());
            (fail, if aborts { State::TimedOut } else { State::Failed(text) })
        };
        let answer = self.db.run(operation);
        let Answer::Ended { changed } = answer else { panic!("{answer:?}") };
        let job = &mut self.world.hashes[hash].job;
        let may = job.as_ref().is_some_and(|job| {
            let own = match &registered {
                Some(id) => job.id == *id,
                None => job.state == State::Pending || job.by == who && job.lease.is_some(),
            };
            own && !(well && matches!(job.state, State::Completed(_)))
        });
        assert_eq!(changed, may, "{who} ended {registered:?}: {job:?}");
        if changed {
            let job = job.as_mut().unwrap();
            (job.state, job.updated_at, job.taken_over) = (state, now, false);
            job.aborted = if well { job.aborted } else { aborts };
        }
        self.end_lease(hash);
    }

    /// The lease of a job that has ended ends with it.
    fn end_lease(&mut self, hash: usize) {
        if let Some(job) = self.world.hashes[hash].job.as_mut().filter(|job| job.state != State::Pending) {
            job.lease = job.lease.map(|_| 0);
        }
    }

    fn time_out(&mut self, who: usize, hash: usize) {
        let (now, _) = self.times(who);
        if self.settings.job_timeout == 0 {
            return;
        }
        self.db.run(dedupe::time_out(&self.call(who, hash)));
        if let Some(job) = self.world.hashes[hash].job.as_mut().filter(|job| job.state == State::Pending)
            && self.settings.is_over(job, now)
        {
            (job.state, job.updated_at, job.taken_over) = (State::TimedOut, now, false);
        }
        self.end_lease(hash);
    }

    /// 0.2.0: its `register` joins what is pending and keeps `created_at` otherwise, its `complete` and `fail` know
    /// the hash alone.
    fn act_as_old(&mut self, who: usize, hash: usize, act: Act) {
        let (now, _) = self.times(who);
        let name = name(hash);
        let rows = self.db.rows(&format!("SELECT status FROM dedupe_jobs WHERE hash = '{name}'"));
        let status = rows.first().map(|row| row[0].text().unwrap());
        match act {
            Act::Register if status != Some("pending") => {
                let id = self.new_id();
                self.db.execute(&format!(
                    "INSERT INTO dedupe_jobs (hash, job_id, status, created_at, updated_at)
                       VALUES ('{name}', '{id}', 'pending', {now}, {now})
                     ON CONFLICT (hash) DO UPDATE SET job_id = '{id}', status = 'pending', updated_at = {now}"
                ));
                let created_at =
                    self.db.number(&format!("SELECT created_at FROM dedupe_jobs WHERE hash = '{name}'"));
                let job = self.new_job(id, who, created_at as i64, None);
                let state = &mut self.world.hashes[hash];
                state.job = Some(job);
                state.told.clear();
            }
            Act::Complete | Act::Fail if status.is_some() => {
                let text = format!(r#"{{"old":{who},"at":{now}}}"#);
                let (values, state) = if matches!(act, Act::Fail) {
                    (format!("status = 'failed', error = '{text}'"), State::Failed(text))
                } else if status == Some("completed") {
                    return;
                } else {
                    let stored = serde_json::to_string(&text).unwrap();
                    (format!("status = 'completed', result = CAST('{stored}' AS BLOB)"), State::Completed(text))
                };
                self.db
                    .execute(&format!("UPDATE dedupe_jobs SET {values}, updated_at = {now} WHERE hash = '{name}'"));
                let job = self.world.hashes[hash].job.as_mut().unwrap();
                let state = if job.aborted && matches!(state, State::Failed(_)) { State::TimedOut } else { state };
                (job.state, job.updated_at, job.taken_over) = (state, now, false);
            }
            Act::Close | Act::Die => self.world.dead[who] = true,
            _ => {}
        }
    }

    /// Nobody does anything any more but look: once every claim, lease and job has run out by all clocks, everybody who
    /// waits is answered, and of those who find the hash free one at a time makes the request.
    fn settle(mut self) {
        let hashes = 0..self.world.hashes.len();
        let whos = 0..self.kinds.len();
        for hash in hashes.clone() {
            for who in whos.clone() {
                self.apply(Action::Do { who, hash, act: Act::GoOn });
            }
        }
        let longest = self.settings.job_timeout.max(LEASE).max(CLAIM);
        let behind = self.ahead.iter().fold((0, 0), |most, ahead| (most.0.max(-ahead.0), most.1.max(-ahead.1)));
        let World { now, system, latest, .. } = self.world;
        self.apply(Action::Pass {
            now: latest.0 - now + behind.0 + longest,
            system: latest.1 - system + behind.1 + longest,
        });
        let ahead = self.ahead.iter().map(|ahead| ahead.1).max().unwrap();
        let differ = ahead + behind.1;
        for hash in hashes {
            let endless = |job: &Job| job.state == State::Pending && job.lease.is_none() && !job.taken_over;
            if self.settings.job_timeout == 0 && self.world.hashes[hash].job.as_ref().is_some_and(endless) {
                continue;
            }
            loop {
                let waits = |model: &Self, who: usize| model.world.hashes[hash].seats[who].waiting_since.is_some();
                let waiting: Vec<usize> = whos.clone().filter(|who| waits(&self, *who)).collect();
                if waiting.is_empty() {
                    break;
                }
                self.world.hashes[hash].told.clear();
                for who in &waiting {
                    self.apply(Action::Do { who: *who, hash, act: Act::WaitFor });
                }
                let told = &self.world.hashes[hash].told;
                let free = waiting.iter().any(|who| self.claims(*who)) && !has_ended(&self.world.hashes[hash]);
                if free {
                    // A claim that one clock has not reached the end of may be over by another.
                    let are_as_many = if differ == 0 { told.len() == 1 } else { !told.is_empty() };
                    assert!(are_as_many, "{:?}", self.world.hashes[hash]);
                }
                let still = waiting.iter().filter(|who| waits(&self, **who)).count();
                assert!(still < waiting.len(), "nobody is answered: {:?}", self.world.hashes[hash]);
                self.apply(Action::Pass { now: CLAIM + differ, system: CLAIM + differ });
            }
        }
    }
}

/// Whether the job ended with something to say to those who waited.
fn has_ended(hash: &Hash) -> bool {
    hash.job.as_ref().is_some_and(|job| matches!(job.state, State::Completed(_) | State::Failed(_)))
}

/// The claim that a call goes on with once it has found the hash free.
fn claim_of(call: Call) -> Operation {
    let free = [StatementResult::default(), StatementResult::default()].into_iter().collect();
    match (dedupe::wait_for(call).completion)(free, 0.0) {
        Outcome::Continue(claim) => claim,
        _ => panic!("a free hash is claimed"),
    }
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::WaitFor),
        3 => Just(Act::Poll),
        3 => Just(Act::GoOn),
        1 => Just(Act::WaitInTurn),
        4 => Just(Act::Register),
        3 => Just(Act::Complete),
        2 => Just(Act::Fail),
        1 => Just(Act::Abort),
        1 => Just(Act::TimeOut),
        1 => Just(Act::IsInProgress),
        1 => Just(Act::GetResult),
        2 => Just(Act::Renew),
        1 => Just(Act::GiveUpClaim),
        1 => Just(Act::Cleanup),
        1 => Just(Act::Close),
        1 => prop::sample::select(vec![Act::Stats, Act::Stats, Act::Stats, Act::Clear]),
        1 => Just(Act::Die),
    ]
}

fn forward() -> impl Strategy<Value = i64> + Clone {
    prop::sample::select(vec![0, 1, 100, CLAIM - 1, CLAIM, 1_000, LEASE - 1, LEASE, 10_000, 20_000])
}

fn actions(spans: impl Strategy<Value = i64> + Clone) -> impl Strategy<Value = Action> {
    let pass = (spans.clone(), spans, 0..5u8).prop_map(|(one, other, clocks)| match clocks {
        0 => Action::Pass { now: one, system: other },
        1 => Action::Pass { now: 0, system: other },
        _ => Action::Pass { now: one, system: one },
    });
    let act = (0..KINDS.len(), 0..10usize, acts()).prop_map(|(who, hash, act)| {
        // Mostly the same hash: they are to meet.
        Action::Do { who, hash: hash / 9, act }
    });
    prop_oneof![1 => pass, 3 => act]
}

fn settings() -> impl Strategy<Value = Settings> {
    let job_timeout = prop::sample::select(vec![0, 1_000, 20_000, 300_000]);
    let result_ttl = prop::sample::select(vec![0, 100, 10_000]);
    (job_timeout, result_ttl).prop_map(|(job_timeout, result_ttl)| Settings { job_timeout, result_ttl })
}

const KINDS: &[Kind] = &[Kind::Store, Kind::Store, Kind::Store, Kind::WithoutClaims, Kind::Old];

#[test]
fn random_histories_keep_the_rules() {
    let db = Db::memory(StoreKind::Dedupe);
    let actions = prop::collection::vec(actions(forward()), 1..60);
    proptest!(common::random(600), |(settings in settings(), actions in actions)| {
        let mut model = Model::new(&db, settings, KINDS, 2);
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}

/// How far the stores' clocks are ahead of the world's: the one that tests fake, the system's, or both.
fn clocks() -> impl Strategy<Value = Vec<(i64, i64)>> {
    let ahead = || common::clocks::<5>();
    (ahead(), ahead(), 0..3u8).prop_map(|(now, system, kind)| match kind {
        0 => now.map(|now| (now, 0)).to_vec(),
        1 => now.map(|now| (now, now)).to_vec(),
        _ => now.into_iter().zip(system).collect(),
    })
}

#[test]
fn random_histories_keep_the_rules_when_time_goes_back() {
    let db = Db::memory(StoreKind::Dedupe);
    let actions = prop::collection::vec(actions(common::back_and_forth(forward())), 1..60);
    proptest!(common::random(300), |(settings in settings(), clocks in clocks(), actions in actions)| {
        let mut model = Model::new(&db, settings, KINDS, 2).with_clocks(clocks);
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}

/// What the database holds, as SQL that restores it.
fn snapshot(db: &Db) -> String {
    let mut sql = String::from("DELETE FROM dedupe_jobs; DELETE FROM dedupe_leases;");
    for table in ["dedupe_jobs", "dedupe_leases"] {
        for row in db.rows(&format!("SELECT * FROM {table}")) {
            let values: Vec<String> = row.iter().map(literal).collect();
            sql += &format!("INSERT INTO {table} VALUES ({});", values.join(", "));
        }
    }
    sql
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(text) => format!("'{text}'"),
        Value::Json(text) => literal(&Value::Blob(codec::encode(text))),
        Value::Blob(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// Goes through every order of `actions` up to `depth`, and lets everybody settle after each.
fn explore(kinds: &'static [Kind], settings: Settings, actions: &[Action], depth: usize) -> usize {
    let db = Db::memory(StoreKind::Dedupe);
    let mut model = Model::new(&db, settings, kinds, 1);
    let mut seen = HashSet::new();
    let mut level = vec![(model.world.clone(), snapshot(&db))];
    for _ in 0..depth {
        let mut next = Vec::new();
        for (world, sql) in level {
            for action in actions {
                // Stores of a kind are alike: which of them begins does not matter.
                if let Action::Do { who: who @ 1.., .. } = *action
                    && kinds[who] == kinds[who - 1]
                    && world.is_idle(who)
                    && world.is_idle(who - 1)
                {
                    continue;
                }
                model.world = world.clone();
                db.execute(&sql);
                model.apply(*action);
                let after = (model.world.clone(), snapshot(&db));
                if seen.insert(after.clone()) {
                    let ahead = model.ahead.clone();
                    Model { db: &db, settings, kinds, ahead, world: after.0.clone() }.settle();
                    next.push(after);
                }
            }
        }
        level = next;
    }
    seen.len()
}

/// Every one of `acts` by every one of `stores` stores, and the passing of each of `spans`.
fn all(stores: usize, acts: &[Act], spans: &[i64]) -> Vec<Action> {
    let doings = (0..stores).flat_map(|who| acts.iter().map(move |act| Action::Do { who, hash: 0, act: *act }));
    doings.chain(spans.iter().map(|span| Action::Pass { now: *span, system: *span })).collect()
}

#[test]
fn removing_a_late_job_spares_the_one_registered_meanwhile() {
    type Question = fn(Call) -> Operation;
    let db = Db::memory(StoreKind::Dedupe);
    for ask in [dedupe::is_in_progress as Question, dedupe::result as Question] {
        let mut model = Model::new(&db, USUAL, &[Kind::Store], 1);
        model.apply(Action::Do { who: 0, hash: 0, act: Act::Register });
        let late = USUAL.job_timeout + 1;
        model.apply(Action::Pass { now: late, system: late });
        let Outcome::AnswerThen(_, removal) = db.step(ask(model.call(0, 0))) else { panic!("it is past its time") };
        model.apply(Action::Do { who: 0, hash: 0, act: Act::Register });
        db.run(removal);
        assert_eq!(db.rows("SELECT job_id FROM dedupe_jobs"), [[Value::from("job-2")]]);
    }
}

#[test]
fn an_unreadable_result_counts_as_none_and_is_removed() {
    type Question = fn(Call) -> Operation;
    let db = Db::memory(StoreKind::Dedupe);
    for ask in [dedupe::wait_for as Question, dedupe::wait_for_in_turn, dedupe::result] {
        for result in ["x'fffe'", "x''", "'\"open'"] {
            let mut model = Model::new(&db, USUAL, &[Kind::Store], 1);
            model.apply(Action::Do { who: 0, hash: 0, act: Act::Register });
            model.apply(Action::Do { who: 0, hash: 0, act: Act::Complete });
            db.execute(&format!("UPDATE dedupe_jobs SET result = {result}"));
            assert!(matches!(db.run(ask(model.call(0, 0))), Answer::Undefined), "{result}");
            assert_eq!(db.number("SELECT COUNT(*) FROM dedupe_jobs"), 0.0, "{result}");
        }
    }
}

/// Every order in which each of `whos` first looks and later goes on.
fn interleavings(whos: &[usize]) -> Vec<Vec<Action>> {
    let mut orders = vec![(Vec::new(), vec![0; whos.len()])];
    for _ in 0..whos.len() * 2 {
        let mut longer = Vec::new();
        for (order, done) in orders {
            for (index, who) in whos.iter().enumerate() {
                if let Some(act) = [Act::Poll, Act::GoOn].get(done[index]) {
                    let (mut order, mut done): (Vec<Action>, Vec<usize>) = (order.clone(), done.clone());
                    order.push(Action::Do { who: *who, hash: 0, act: *act });
                    done[index] += 1;
                    longer.push((order, done));
                }
            }
        }
        orders = longer;
    }
    orders.into_iter().map(|(order, _)| order).collect()
}

#[test]
fn a_dead_owners_job_passes_on() {
    let db = Db::memory(StoreKind::Dedupe);
    let orders = interleavings(&[1, 2, 3]);
    assert_eq!(orders.len(), 90);
    for settings in [USUAL, Settings { job_timeout: 0, ..USUAL }] {
        for order in &orders {
            let mut model = Model::new(&db, settings, &[Kind::Store; 4], 1);
            let at = |who, act| Action::Do { who, hash: 0, act };
            let told =
                |model: &Model<'_>| model.world.hashes[0].told.iter().map(|(who, _)| *who).collect::<Vec<_>>();
            let poll = |model: &mut Model<'_>, but: &[usize]| {
                model.world.hashes[0].told.clear();
                for action in order {
                    if matches!(action, Action::Do { who, .. } if !but.contains(who)) {
                        model.apply(*action);
                    }
                }
            };
            model.apply(at(0, Act::Register));
            model.apply(at(0, Act::Die));
            model.apply(Action::Pass { now: LEASE - 1, system: LEASE - 1 });
            poll(&mut model, &[]);
            assert!(told(&model).is_empty(), "its lease has not run out");
            model.apply(Action::Pass { now: 1, system: 1 });
            poll(&mut model, &[]);
            let [first] = told(&model)[..] else { panic!("{:?} take over: {order:?}", told(&model)) };
            // That one dies too, before it registers.
            model.apply(at(first, Act::Die));
            model.apply(Action::Pass { now: CLAIM, system: CLAIM });
            poll(&mut model, &[first]);
            let [second] = told(&model)[..] else { panic!("{:?} take over: {order:?}", told(&model)) };
            model.apply(at(second, Act::Register));
            assert_eq!(model.world.hashes[0].job.as_ref().unwrap().by, second);
            let last = 6 - first - second;
            model.apply(at(last, Act::WaitFor));
            assert!(model.world.hashes[0].seats[last].waiting_since.is_some());
            model.apply(at(second, Act::Complete));
            model.apply(at(last, Act::WaitFor));
            assert!(model.world.hashes[0].seats[last].waiting_since.is_none());
        }
    }
}

#[test]
fn a_slow_owner_does_not_end_the_job_that_replaced_its_own() {
    let db = Db::memory(StoreKind::Dedupe);
    for act in [Act::Complete, Act::Fail] {
        let mut model = Model::new(&db, USUAL, &[Kind::Store; 2], 1);
        for (who, act) in [(0, Act::Register), (1, Act::WaitFor)] {
            model.apply(Action::Do { who, hash: 0, act });
        }
        model.apply(Action::Pass { now: LEASE, system: LEASE });
        for (who, act) in [(1, Act::WaitFor), (1, Act::Register), (0, act)] {
            model.apply(Action::Do { who, hash: 0, act });
        }
        let rows = db.rows("SELECT job_id, status FROM dedupe_jobs");
        assert_eq!(rows, [[Value::from("job-2"), Value::from("pending")]]);
    }
}

#[test]
fn a_job_registered_late_lives_for_a_whole_lease() {
    for late in [LEASE / 2 + 1, LEASE, 3 * LEASE] {
        let db = Db::memory(StoreKind::Dedupe);
        let model = Model::new(&db, USUAL, &[Kind::Store; 2], 1);
        // Stamps are whole.
        let waited = late as f64 + 0.4;
        let answer = db.run_late(dedupe::register(model.call(0, 0), "late".to_owned()), waited);
        assert!(matches!(answer, Answer::Registered { created: true, .. }), "{answer:?}");
        for (ms, lives) in [(LEASE - 1, true), (LEASE, false)] {
            let at = START + late + ms;
            let answer = db.run(dedupe::is_in_progress(model.call_at(1, 0, at, at, None)));
            assert_eq!(common::boolean(answer), lives, "{ms} ms after it was registered, {late} ms late");
        }
    }
}

#[test]
fn claims_in_every_order() {
    let kinds = &[Kind::Store, Kind::Store, Kind::Store];
    let acts = [Act::Poll, Act::GoOn, Act::Register, Act::GiveUpClaim];
    let states = explore(kinds, USUAL, &all(3, &acts, &[CLAIM]), 5);
    assert!(states > 500, "{states}");
}

#[test]
fn leases_in_every_order() {
    let kinds = &[Kind::Store, Kind::Store];
    let acts = [Act::WaitFor, Act::Register, Act::Complete, Act::Renew, Act::Close, Act::Die];
    let states = explore(kinds, USUAL, &all(2, &acts, &[LEASE]), 6);
    assert!(states > 500, "{states}");
}

#[test]
fn beside_the_old_version_in_every_order() {
    let kinds = &[Kind::Store, Kind::Old];
    let acts = [Act::WaitFor, Act::Register, Act::Complete, Act::Fail];
    let states = explore(kinds, Settings { job_timeout: 2_000, result_ttl: 500 }, &all(2, &acts, &[500, 2_000]), 5);
    assert!(states > 500, "{states}");
}

#[test]
fn claims_in_every_order_when_time_goes_back() {
    let kinds = &[Kind::Store, Kind::Store];
    let acts = [Act::Poll, Act::GoOn, Act::Register];
    let states = explore(kinds, USUAL, &all(2, &acts, &[CLAIM, -CLAIM]), 5);
    assert!(states > 300, "{states}");
}

#[test]
fn jobs_in_every_order_when_time_goes_back() {
    let kinds = &[Kind::Store, Kind::WithoutClaims];
    let acts = [Act::WaitFor, Act::Register, Act::Complete];
    let settings = Settings { job_timeout: LEASE / 2, result_ttl: 500 };
    let states = explore(kinds, settings, &all(2, &acts, &[LEASE, -LEASE, -500]), 4);
    assert!(states > 300, "{states}");
}
