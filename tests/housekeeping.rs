//! Housekeeping of much: each step is bounded in rows and bytes, keys are gone through once, and where a connection has
//! another thread, it runs there.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use comic_vine_sqlite_store::core::adaptive::{self, CallOnAll, Priority};
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::{Error, Result, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, Cost, Operation, Outcome, StatementResult};
use comic_vine_sqlite_store::core::options::{
    AdaptiveConfig, DedupeOptions, JournalMode, RateLimitConfig, ResourceConfigs, SharedLimits, Synchronous,
};
use comic_vine_sqlite_store::core::statements::{PAGE_RESOURCES, STEP_ROWS, Statement};
use comic_vine_sqlite_store::core::{cache, housekeeping, rate_limit};
use comic_vine_sqlite_store::sqlite::connection::Location;
use comic_vine_sqlite_store::sqlite::database::{Database, Recipient, Reply};
use common::{Db, Divisions, TempFile, Value};

const NOW: f64 = 1_000_000.0;
const STEP_BYTES: f64 = (4 << 20) as f64;

/// What the steps of a clean-up did.
#[derive(Debug, Default)]
struct StepCounts {
    /// How many read, and how many removed something.
    reads: usize,
    removals: usize,
    /// The most rows, and bytes of the cache, that one removed.
    most_rows: u64,
    most_bytes: f64,
    removed: u64,
}

/// Runs a clean-up, as often as not between other calls, to its end.
fn run(db: &Db, table: &str, size: &str, mut operation: Operation) -> StepCounts {
    let mut steps = StepCounts::default();
    let stored = || {
        let rows = db.rows(&format!("SELECT COUNT(*), COALESCE(SUM({size}), 0) FROM {table}"));
        (rows[0][0].number().unwrap() as u64, rows[0][1].number().unwrap())
    };
    loop {
        let before = stored();
        let is_read = operation.read_only;
        let outcome = db.step(operation);
        let after = stored();
        let (rows, bytes) = (before.0 - after.0, before.1 - after.1);
        steps.reads += usize::from(is_read);
        steps.removals += usize::from(rows > 0);
        steps.most_rows = steps.most_rows.max(rows);
        steps.most_bytes = steps.most_bytes.max(bytes);
        steps.removed += rows;
        match outcome {
            Outcome::Continue(next) => operation = next,
            Outcome::Answer(Answer::Undefined) => return steps,
            Outcome::Answer(other) => panic!("{other:?}"),
            Outcome::AnswerThen(..) => panic!("nothing follows"),
        }
    }
}

fn configs() -> ResourceConfigs {
    ResourceConfigs { default: RateLimitConfig::new(10.0, 1_000.0), named: Vec::new(), shared: SharedLimits::NONE }
}

#[test]
fn entries_are_removed_by_rows_and_by_bytes() {
    let db = Db::memory(StoreKind::Cache);
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO cache SELECT 'small-' || i, zeroblob(10), 1, 0 FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
         INSERT INTO cache SELECT 'large-' || i, zeroblob(1000000), 2, 0 FROM n;
         INSERT INTO cache VALUES ('huge', zeroblob(20000000), 3, 0), ('live', zeroblob(10), 9e15, 0)",
    );
    let statements = run(&db, "cache", "IIF(hash = 'huge', 0, length(value))", cache::cleanup(NOW));
    assert_eq!(statements.removed, 5_031, "{statements:?}");
    assert!(statements.most_rows <= STEP_ROWS && statements.most_bytes <= STEP_BYTES, "{statements:?}");
    // 5,032 entries that may be later than now, 500 at a time, and that there is no next one; 5,031 that have expired; no tags.
    assert_eq!(statements.reads, 11 + 1 + 11 + 1, "each key is found once: {statements:?}");
    assert_eq!(db.rows("SELECT hash FROM cache").len(), 1);
}

#[test]
fn what_cannot_be_removed_ends_it() {
    let db = Db::memory(StoreKind::Cache);
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO cache SELECT 'small-' || i, zeroblob(10), 1, 0 FROM n;
         CREATE TRIGGER keep BEFORE DELETE ON cache BEGIN SELECT RAISE(IGNORE); END",
    );
    let statements = run(&db, "cache", "1", cache::cleanup(NOW));
    // All 2,000 entries, 500 at a time, and that there is no next one; then those that have expired, once; no tags.
    assert_eq!((statements.reads, statements.removed), (4 + 1 + 1 + 1, 0));
}

/// How a call that goes through a damaged table ends, in which the keys that come next are always these.
fn of_same_keys(mut operation: Operation, statement: Statement, keys: &[Value]) -> Answer {
    for _ in 0..100 {
        let results = operation.statements.iter().map(|bound| {
            let row = |key: &Value, columns: usize| {
                [key.clone()].into_iter().chain(std::iter::repeat(Value::Null)).take(columns).collect()
            };
            let rows = match bound.statement {
                // Up to which key tags are gone through.
                Statement::CacheLastTag => vec![row(&Value::Integer(9), 1)],
                found_by if found_by == statement => keys.iter().map(|key| row(key, statement.columns())).collect(),
                _ => Vec::new(),
            };
            StatementResult { rows: rows.into(), ..StatementResult::default() }
        });
        match (operation.completion)(results.collect(), 0.0) {
            Outcome::Continue(next) => operation = next,
            Outcome::Answer(answer) => return answer,
            Outcome::AnswerThen(..) => panic!("an answer before the end"),
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn keys_that_do_not_go_on_end_it() {
    let configs = || ResourceConfigs {
        default: RateLimitConfig::PLAIN_DEFAULT,
        named: Vec::new(),
        shared: SharedLimits::NONE,
    };
    let divisions = Divisions::default();
    let all = CallOnAll { configs: configs(), config: AdaptiveConfig::default(), divisions, now: NOW };
    let names: Vec<Value> = (0..PAGE_RESOURCES).map(|number| format!("{number:03}").into()).collect();
    let (id, name) = (&[Value::Integer(5)], &[Value::from("b")]);
    let ids = [const { Value::Integer(5) }; STEP_ROWS as usize];
    let walks: [(Operation, Statement, &[Value]); 10] = [
        (cache::cleanup(NOW), Statement::CacheLaterAfter, id),
        (dedupe::cleanup(&DedupeOptions::default(), NOW, NOW), Statement::DedupeLeasesFrom, name),
        (rate_limit::cleanup(configs(), NOW), Statement::RateResourcesFrom, &names),
        (rate_limit::cleanup(configs(), NOW), Statement::RateReservationsAfter, id),
        (rate_limit::cleanup(configs(), NOW), Statement::CooldownsFrom, name),
        (adaptive::cleanup(all), Statement::AdaptiveResourcesFrom, name),
        (cache::clear_scope("b"), Statement::CacheFrom, name),
        (cache::clear_scope("b"), Statement::CacheTagsFrom, name),
        (cache::invalidate(["tag".to_owned()], NOW), Statement::CacheTagged, &ids),
        (dedupe::clear_scope("b"), Statement::DedupeFrom, name),
    ];
    for (walk, statement, keys) in walks {
        let answer = of_same_keys(walk, statement, keys);
        let is_corrupt = matches!(&answer, Answer::Rejection(Error::Sqlite { code: 11, .. }));
        assert!(is_corrupt, "{statement:?}: {answer:?}");
    }
}

#[test]
fn a_trigger_that_sets_stamps_back_ends_it() {
    let db = Db::memory(StoreKind::RateLimit);
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
         INSERT INTO rate_limits (resource, timestamp) SELECT 'a', 900000000000000 FROM n;
         CREATE TRIGGER back AFTER UPDATE ON rate_limits BEGIN
           UPDATE rate_limits SET timestamp = 900000000000000 WHERE id = NEW.id; END",
    );
    let configs =
        ResourceConfigs { default: RateLimitConfig::PLAIN_DEFAULT, named: Vec::new(), shared: SharedLimits::NONE };
    let mut operation = rate_limit::cleanup(configs, NOW);
    for _ in 0..100 {
        match db.step(operation) {
            Outcome::Continue(next) => operation = next,
            _ => return,
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn keys_come_after_each_other_as_in_sqlite() {
    let db = Db::memory(StoreKind::Cache);
    let values = [
        ("NULL", Value::Null),
        ("-1", Value::Integer(-1)),
        ("9223372036854775806", Value::Integer(i64::MAX - 1)),
        ("9223372036854775807", Value::Integer(i64::MAX)),
        ("0.5", Value::Real(0.5)),
        ("9e999", Value::Real(f64::INFINITY)),
        ("''", Value::from("")),
        ("'b'", Value::from("b")),
        ("'B'", Value::from("B")),
        ("'b' || char(0)", Value::from("b\0")),
        ("'\u{e9}'", Value::from("\u{e9}")),
        ("x''", Value::Blob(Vec::new())),
        ("x'ff'", Value::Blob(vec![255])),
    ];
    for (own, value) in &values {
        for (other, other_value) in &values {
            // NULL compares with nothing, and is sorted before all else.
            let sorted = |second: &str| {
                let rows = format!("SELECT 1 AS n, {other} AS key UNION ALL SELECT 2, {own}");
                db.number(&format!("SELECT n FROM ({rows}) ORDER BY key, n {second}"))
            };
            let is_last = sorted("ASC") == 1.0 && sorted("DESC") == 1.0;
            assert_eq!(value.comes_after(other_value), is_last, "{own} after {other}");
        }
    }
}

#[test]
fn jobs_and_leases_are_removed_in_steps() {
    let db = Db::memory(StoreKind::Dedupe);
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO dedupe_jobs SELECT 'job-' || i, i, 'completed', zeroblob(2000), NULL, 0, 0, NULL FROM n;
         INSERT INTO dedupe_leases SELECT hash, 'me', job_id, 0 FROM dedupe_jobs;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO dedupe_jobs SELECT 'pending-' || i, i, 'pending', NULL, NULL, 999999, 0, NULL FROM n;
         INSERT INTO dedupe_leases SELECT hash, 'me', job_id, 9e15 FROM dedupe_jobs WHERE status = 'pending'",
    );
    let options = DedupeOptions { job_timeout_ms: 1_000.0, ..DedupeOptions::default() };
    let jobs = run(&db, "dedupe_jobs", "length(result)", dedupe::cleanup(&options, NOW, NOW));
    assert_eq!(jobs.removed, 3_000, "{jobs:?}");
    assert!(jobs.most_rows <= STEP_ROWS, "{jobs:?}");
    assert_eq!(db.number("SELECT COUNT(*) FROM dedupe_leases"), 3_000.0, "those of pending jobs stay");
    db.execute("DELETE FROM dedupe_jobs; UPDATE dedupe_leases SET expires_at = 1");
    let leases = run(&db, "dedupe_leases", "1", dedupe::cleanup(&options, NOW, NOW));
    assert_eq!(leases.removed, 3_000, "{leases:?}");
    assert!(leases.most_rows <= STEP_ROWS, "{leases:?}");
}

#[test]
fn requests_of_many_resources_are_removed_in_steps() {
    for kind in [StoreKind::RateLimit, StoreKind::Adaptive] {
        let db = Db::memory(kind);
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO rate_limits (resource, timestamp) SELECT 'name-' || i, -1e13 FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO rate_limits (resource, timestamp) SELECT 'many', -1e13 FROM n;
             INSERT INTO rate_limits (resource, timestamp) SELECT 'name-7', 999999;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO rate_limit_reservations (resource, owner, expires_at) SELECT 'name', 'me', i % 2 * 9e15 FROM n",
        );
        let cleanup = || match kind {
            StoreKind::RateLimit => rate_limit::cleanup(configs(), NOW),
            _ => adaptive::cleanup(CallOnAll {
                configs: configs(),
                config: AdaptiveConfig::default(),
                divisions: Divisions::default(),
                now: NOW,
            }),
        };
        let statements = run(&db, "rate_limits", "1", cleanup());
        assert_eq!(statements.removed, 4_000, "{statements:?}");
        assert!(statements.most_rows <= STEP_ROWS, "{statements:?}");
        // 2,001 names, 200 at a time, and what each page of them has; the reserved slots, 500 at a time; the latest stamp; the
        // cooldowns; and what is kept of names, 500 at a time.
        let kept = if kind == StoreKind::Adaptive { 5 + 1 } else { 0 };
        assert!(statements.reads <= 2 * 11 + 4 + 5 + 1 + 1 + kept, "each name is looked up once: {statements:?}");
        assert_eq!(db.rows("SELECT resource, timestamp FROM rate_limits").len(), 1);
        assert_eq!(db.number("SELECT COUNT(*) FROM rate_limit_reservations"), 1_000.0);
        let statements = run(&db, "rate_limits", "1", cleanup());
        assert_eq!(statements.removed, 0);
        if kind == StoreKind::Adaptive {
            let kept = db.rows("SELECT resource FROM adaptive_state");
            assert_eq!(kept, [[Value::from("name-7")]], "nothing of names that are not used");
        }
    }
}

/// Takes note of where answers come from.
#[derive(Default)]
struct Threads {
    answered: Mutex<Vec<ThreadId>>,
    changed: Condvar,
}

impl Recipient for Threads {
    fn deliver(&self, _call: usize, answer: Result<Answer>) {
        answer.unwrap();
        self.answered.lock().unwrap().push(thread::current().id());
        self.changed.notify_all();
    }
}

/// Which thread carries an operation out that is called on this one.
fn thread_of(database: &Arc<Database>, operation: Operation) -> ThreadId {
    let threads = Arc::new(Threads::default());
    let reply = Some(Reply::new(threads.clone(), 0));
    database.enqueue(operation, reply, Duration::from_secs(60));
    database.flush();
    let answered = threads.answered.lock().unwrap();
    threads.changed.wait_while(answered, |answered| answered.is_empty()).unwrap()[0]
}

#[test]
fn it_runs_on_a_thread_of_its_own() {
    let file = TempFile::new();
    for location in [Location::File(file.path().to_owned()), Location::Memory] {
        let database = Database::open(location, JournalMode::Wal, Synchronous::Normal).unwrap();
        for kind in [StoreKind::Cache, StoreKind::Dedupe, StoreKind::RateLimit, StoreKind::Adaptive] {
            database.add_store(kind, Synchronous::Normal).unwrap();
        }
        let here = thread::current().id();
        // The first commit begins the log.
        thread_of(&database, cache::set("key", "1", 0.0, 0.0));
        assert_eq!(thread_of(&database, cache::set("key", "1", 0.0, 0.0)), here);
        assert_eq!(thread_of(&database, rate_limit::record("issues".to_owned(), 0.0, None)), here);
        assert_eq!(thread_of(&database, adaptive::record("volumes", Priority::User, 0.0, None)), here);
        let call = CallOnAll {
            configs: configs(),
            config: AdaptiveConfig::default(),
            divisions: Divisions::default(),
            now: NOW,
        };
        let cleanups = [
            cache::cleanup(NOW),
            dedupe::cleanup(&DedupeOptions::default(), NOW, NOW),
            rate_limit::cleanup(configs(), NOW),
            adaptive::cleanup(call),
        ];
        for cleanup in cleanups {
            assert_ne!(thread_of(&database, cleanup), here);
        }
        database.close();
    }
}

#[test]
fn a_large_entry_that_has_expired_is_removed_there_too() {
    let db = Db::memory(StoreKind::Cache);
    for (bytes, is_heavy) in [(1_000, false), (1_000_000, true)] {
        let text = format!("\"{}\"", "x".repeat(bytes));
        db.run(cache::set("key", text, 1.0, 0.0));
        let Outcome::AnswerThen(Answer::Expired, removal) = db.step(cache::get("key", NOW)) else {
            panic!("it has expired");
        };
        assert_eq!(removal.cost == Cost::Unbounded, is_heavy);
    }
}

#[test]
fn one_host_does_it_until_its_lease_has_ended() {
    let db = Db::memory(StoreKind::Server);
    let does = |host: &str, now: f64| {
        let lease = [now, now + 30_000.0];
        let then = Operation::write(Vec::new(), |_| Outcome::Answer(Answer::Bool(true)));
        matches!(db.run(housekeeping::on_one_host("cache", host, lease, then)), Answer::Bool(true))
    };
    assert!(does("first", NOW));
    assert!(!does("second", NOW + 100.0));
    assert!(!does("second", NOW - 100.0), "its request was made before the first one's, and arrived later");
    assert!(does("first", NOW + 200.0));
    assert!(!does("second", NOW + 30_100.0));
    assert!(does("second", NOW + 30_200.0), "the lease has ended");
    assert!(!does("first", NOW + 30_300.0));
    assert!(does("first", NOW - 3_600_000.0), "the clock that it was made by has been set back");
}
