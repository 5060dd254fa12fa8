//! Runs the rules on a real connection: no Node, no threads, and time is whatever a test says.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test helper")]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, BoundStatement, Cost, Field, Operation, Outcome};
use comic_vine_sqlite_store::core::options::{AdaptiveConfig, JournalMode, Synchronous};
use comic_vine_sqlite_store::core::schema::SchemaConnection;
pub use comic_vine_sqlite_store::core::value::Value;
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use comic_vine_sqlite_store::sqlite::divisions::SharedDivisions;
use proptest::prelude::{Just, Strategy, any, prop, prop_compose};
use proptest::strategy::Union;
use proptest::test_runner::{Config, RngSeed};

/// How an adaptive store divided limits last.
pub type Divisions = Arc<SharedDivisions>;

/// A connection with the tables of some kinds of store; to a file, with the settings that a path has by default.
pub fn open(location: &Location, kinds: &[StoreKind]) -> Connection {
    let mut connection = Connection::open(location).unwrap();
    if matches!(location, Location::File(_)) {
        connection.configure(JournalMode::Wal, Synchronous::Normal, true).unwrap();
    }
    for kind in kinds {
        connection.prepare_store(*kind, true).unwrap();
    }
    connection
}

/// A connection to a file with the cache's tables.
pub fn open_cache(path: &Path) -> Connection {
    open(&Location::File(path.to_owned()), &[StoreKind::Cache])
}

/// A connection with the tables of one kind of store.
pub struct Db(RefCell<Connection>);

impl Db {
    pub fn memory(kind: StoreKind) -> Self {
        Self::open(&Location::Memory, kind)
    }

    pub fn file(file: &TempFile, kind: StoreKind) -> Self {
        Self::open(&Location::File(file.0.clone()), kind)
    }

    /// In memory, with the tables of some kinds.
    pub fn with(kinds: &[StoreKind]) -> Self {
        Db(RefCell::new(open(&Location::Memory, kinds)))
    }

    fn open(location: &Location, kind: StoreKind) -> Self {
        let mut connection = Connection::open(location).unwrap();
        connection.prepare_store(kind, true).unwrap();
        Db(RefCell::new(connection))
    }

    /// Runs the statements of an operation in one transaction and asks its rule: one step of a call, between which
    /// other processes' calls may come.
    pub fn step(&self, operation: Operation) -> Outcome {
        self.step_late(operation, 0.0)
    }

    /// The same of a call that was made so many ms ago.
    pub fn step_late(&self, mut operation: Operation, waited: f64) -> Outcome {
        operation.postpone_expiry(waited);
        let Operation { statements, read_only, may_continue, completion, .. } = operation;
        let connection = self.0.borrow();
        let rows = if read_only {
            let reads = |bound: &BoundStatement| {
                ["SELECT", "WITH"].iter().any(|first| bound.statement.sql().starts_with(first))
            };
            assert!(statements.iter().all(reads), "{statements:?}");
            connection.read(&statements).unwrap()
        } else {
            connection.transact(true, &[&statements]).unwrap().remove(0)
        };
        drop(connection);
        let outcome = completion(rows, waited);
        if let Outcome::Continue(next) = &outcome {
            // No later call may come between, except between the steps of housekeeping.
            assert!(may_continue || next.cost == Cost::Unbounded, "{:?}", next.statements);
        }
        outcome
    }

    /// Runs a call to its answer, and what follows from it.
    pub fn run(&self, operation: Operation) -> Answer {
        let outcome = self.step(operation);
        self.go_on(outcome)
    }

    /// The same of a call that was made so many ms ago.
    pub fn run_late(&self, operation: Operation, waited: f64) -> Answer {
        match self.step_late(operation, waited) {
            Outcome::Continue(next) => self.run_late(next, waited),
            outcome => self.go_on(outcome),
        }
    }

    /// Goes on with a call that has come as far as `outcome`.
    pub fn go_on(&self, outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Answer(answer) => answer,
            Outcome::AnswerThen(answer, next) => {
                self.run(next);
                answer
            }
            Outcome::Continue(next) => self.run(next),
        }
    }

    /// Runs SQL of another program's.
    pub fn execute(&self, sql: &str) {
        self.0.borrow_mut().execute_script(sql).unwrap();
    }

    /// What a query of the test's own finds.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        self.0.borrow_mut().query(sql).unwrap()
    }

    /// A number that a query of the test's own finds.
    pub fn number(&self, sql: &str) -> f64 {
        self.rows(sql)[0][0].number().unwrap()
    }
}

/// The boolean in an answer.
pub fn boolean(answer: Answer) -> bool {
    match answer {
        Answer::Bool(boolean) => boolean,
        other => panic!("not a boolean: {other:?}"),
    }
}

/// The number in an answer.
pub fn number(answer: Answer) -> f64 {
    match answer {
        Answer::Number(number) | Answer::Time(number) => number,
        other => panic!("not a number: {other:?}"),
    }
}

/// The members of a record.
pub struct Members(Vec<(&'static str, Field)>);

pub fn members(answer: Answer) -> Members {
    match answer {
        Answer::Record(members) => Members(members),
        other => panic!("not a record: {other:?}"),
    }
}

impl Members {
    fn take(&mut self, name: &str) -> Field {
        let index = self.0.iter().position(|(found, _)| *found == name).unwrap();
        self.0.swap_remove(index).1
    }

    pub fn number(&mut self, name: &str) -> f64 {
        match self.take(name) {
            Field::Number(number) | Field::Stamp(number) | Field::Time(number) => number,
            other => panic!("{name} is not a number: {other:?}"),
        }
    }

    pub fn boolean(&mut self, name: &str) -> bool {
        match self.take(name) {
            Field::Bool(boolean) => boolean,
            other => panic!("{name} is not a boolean: {other:?}"),
        }
    }

    pub fn text(&mut self, name: &str) -> String {
        match self.take(name) {
            Field::Text(text) => text,
            other => panic!("{name} is not a text: {other:?}"),
        }
    }

    pub fn list(&mut self, name: &str) -> Vec<String> {
        match self.take(name) {
            Field::List(list) => list,
            other => panic!("{name} is not a list: {other:?}"),
        }
    }

    pub fn record(&mut self, name: &str) -> Members {
        match self.take(name) {
            Field::Record(members) => Members(members),
            other => panic!("{name} is not a record: {other:?}"),
        }
    }
}

/// A database file of one test's, removed at its end.
pub struct TempFile(PathBuf);

impl TempFile {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rules-{}-{}.db", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        TempFile(std::env::temp_dir().join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// How random tests run: the same way each time, unless `PROPTEST_RNG_SEED` or `PROPTEST_CASES` say otherwise. A
/// failing test prints its smallest failing input, and its seed.
pub fn random(cases: u32) -> Config {
    let given = Config::default();
    let seed = match given.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => 20_260,
    };
    println!("PROPTEST_RNG_SEED={seed}");
    Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { cases },
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..given
    }
}

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// How much later than now a stamp may be that is not corrected.
pub const TOLERANCE: f64 = 1_000.0;

/// Steps of time, some of them back: mostly by a little, as when a clock is adjusted, or as far as steps go forward,
/// seldom by a minute, hours or days, as when it was wrong.
pub fn back_and_forth(forward: impl Strategy<Value = i64> + Clone + 'static) -> impl Strategy<Value = i64> + Clone {
    let back = forward.clone().prop_map(|ms| -ms);
    Union::new_weighted(vec![
        (12, forward.boxed()),
        (2, (-5..0i64).boxed()),
        (3, back.boxed()),
        (
            1,
            prop::sample::select(vec![-30 * DAY, -5 * HOUR, -HOUR, -60_000, 60_000, HOUR, 4 * HOUR, 30 * DAY])
                .boxed(),
        ),
    ])
}

/// How far the clock of each store is ahead of the world's. Half of the time all clocks agree.
pub fn clocks<const STORES: usize>() -> impl Strategy<Value = [i64; STORES]> {
    let ahead = || prop::sample::select(vec![0, 0, 1, -1, 50, -300, 999, 1_000, 1_001, 60_000, -HOUR]);
    let differing = prop::collection::vec(ahead(), STORES);
    (any::<bool>(), differing).prop_map(|(agree, ahead)| std::array::from_fn(|i| if agree { 0 } else { ahead[i] }))
}

prop_compose! {
    /// Ways to divide a limit.
    pub fn adaptive_configs()(
        monitoring_window_ms in prop::sample::select(vec![60_000.0, 100_000.0, 900_000.0]),
        (moderate, high) in (1..6u32).prop_flat_map(|moderate| (Just(moderate), moderate + 1..12)),
        recalculation_interval_ms in prop::sample::select(vec![1.0, 1_000.0, 30_000.0, 300_000.0]),
        sustained_inactivity_threshold_ms in prop::sample::select(vec![60_000.0, 600_000.0, 1_800_000.0]),
        background_pause_on_increasing_trend: bool,
        max_user_scaling in 0.5f64..4.0,
        min_user_reserved in 0..10u32,
    ) -> AdaptiveConfig {
        AdaptiveConfig {
            monitoring_window_ms,
            high_activity_threshold: f64::from(high),
            moderate_activity_threshold: f64::from(moderate),
            recalculation_interval_ms,
            sustained_inactivity_threshold_ms,
            background_pause_on_increasing_trend,
            max_user_scaling,
            min_user_reserved: f64::from(min_user_reserved),
        }
    }
}
