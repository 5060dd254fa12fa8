//! The baseline: the statements of the stores' calls through rusqlite in a loop, with nothing around them. No Node, no
//! promises, no rules on what was read, no query cache; values are bound and rows walked through.
//!
//! `npm run bench` shows the figures beside those of the calls that have the same names.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::cell::Cell;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, process};

use std::sync::Arc;

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{BoundStatement, Operation, Outcome, StatementResult};
use comic_vine_sqlite_store::core::options::{
    AdaptiveConfig, DedupeOptions, JournalMode, RateLimitConfig, SharedLimits, Synchronous,
};
use comic_vine_sqlite_store::core::statements::Statement;
use comic_vine_sqlite_store::core::{cache, rate_limit};
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use comic_vine_sqlite_store::sqlite::divisions::SharedDivisions;
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use rusqlite::Connection as Sqlite;
use rusqlite::config::DbConfig;

const DAY_MS: f64 = 86_400_000.0;
const LIMIT: RateLimitConfig = RateLimitConfig::new(1e9, DAY_MS);
const SIZES: [(&str, usize); 4] = [("100 B", 100), ("5 KB", 5_000), ("55 KB", 55_000), ("1 MB", 1_000_000)];
const WINDOWS: [(&str, u32); 4] = [("50", 50), ("1,000", 1_000), ("10,000", 10_000), ("100,000", 100_000)];
const AT_ONCE: u32 = 100;

/// A directory of the benchmark's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let base = env::var_os("BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
        let path = base.join(format!("sqlite-store-baseline-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as f64
}

/// A JSON text of about so many bytes.
fn text(bytes: usize) -> String {
    if bytes < 1_000 {
        return format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
    }
    let description = "About this issue. ".repeat(50);
    let item = format!(r#"{{"id":4000,"name":"An issue","deck":null,"description":"{description}"}}"#);
    format!(r#"{{"results":[{}]}}"#, vec![item.as_str(); bytes.div_ceil(item.len() + 1)].join(","))
}

/// A file with the tables of a store, on a bare connection with the settings that a path has by default.
fn connect(directory: &Path, kind: StoreKind) -> Sqlite {
    let path = directory.join(format!("{kind:?}.db"));
    let mut connection = Connection::open(&Location::File(path.clone())).unwrap();
    connection.configure(JournalMode::Wal, Synchronous::Normal, true).unwrap();
    connection.prepare_store(kind, true).unwrap();
    drop(connection);
    let sqlite = Sqlite::open(path).unwrap();
    sqlite.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    sqlite.set_prepared_statement_cache_capacity(Statement::ALL.len() + 8);
    sqlite
}

/// Runs statements in order.
fn run_statements(sqlite: &Sqlite, statements: &[BoundStatement]) {
    for bound in statements {
        let mut statement = sqlite.prepare_cached(bound.statement.sql()).unwrap();
        for (index, value) in bound.values.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value).unwrap();
        }
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                black_box(row.get_ref(column).unwrap());
            }
        }
    }
}

/// Runs work as one transaction.
fn transact(sqlite: &Sqlite, begin: &str, work: impl FnOnce()) {
    sqlite.prepare_cached(begin).unwrap().raw_execute().unwrap();
    work();
    sqlite.prepare_cached("COMMIT").unwrap().raw_execute().unwrap();
}

/// Runs the statements of an operation, as one transaction.
fn run(sqlite: &Sqlite, operation: &Operation) {
    match operation.statements.as_slice() {
        [_] => run_statements(sqlite, &operation.statements),
        statements => {
            let begin = if operation.read_only { "BEGIN" } else { "BEGIN IMMEDIATE" };
            transact(sqlite, begin, || run_statements(sqlite, statements));
        }
    }
}

/// Times operations in transactions of a hundred, each of them.
fn at_once(bencher: &mut Bencher<'_>, sqlite: &Sqlite, operation: &mut dyn FnMut() -> Operation) {
    bencher.iter_custom(|times| {
        let start = Instant::now();
        for _ in 0..times {
            transact(sqlite, "BEGIN IMMEDIATE", || {
                for _ in 0..AT_ONCE {
                    run_statements(sqlite, &operation().statements);
                }
            });
        }
        start.elapsed() / AT_ONCE
    });
}

fn cache_store(criterion: &mut Criterion) {
    println!("SQLite {}", rusqlite::version());
    let directory = Directory::new();
    let sqlite = connect(&directory.0, StoreKind::Cache);
    let keys: Vec<String> = (0..AT_ONCE).map(|i| format!("key-{i}")).collect();
    for (size, bytes) in SIZES {
        let value = text(bytes);
        let mut key = keys.iter().cycle();
        let mut set = || cache::set(key.next().unwrap().as_str(), value.clone(), 3_600.0, now());
        criterion.bench_function(&format!("set, {size}"), |bencher| bencher.iter(|| run(&sqlite, &set())));
        criterion
            .bench_function(&format!("set, {size}, 100 at once"), |bencher| at_once(bencher, &sqlite, &mut set));
        let mut key = keys.iter().take(20).cycle();
        criterion.bench_function(&format!("get hit, {size}"), |bencher| {
            bencher.iter(|| run(&sqlite, &cache::get(key.next().unwrap().as_str(), now())));
        });
    }
    criterion.bench_function("get miss", |bencher| {
        bencher.iter(|| run(&sqlite, &cache::get("no-key", now())));
    });
}

fn rate_limit_store(criterion: &mut Criterion) {
    let directory = Directory::new();
    let sqlite = connect(&directory.0, StoreKind::RateLimit);
    let start = now();
    transact(&sqlite, "BEGIN IMMEDIATE", || {
        for (name, count) in WINDOWS {
            for i in 0..count {
                let at = start - f64::from(count - i);
                run_statements(&sqlite, &rate_limit::record(name.to_owned(), at, None).statements);
            }
        }
    });
    for (name, _) in WINDOWS {
        criterion.bench_function(&format!("canProceed, {name} in the window"), |bencher| {
            bencher.iter(|| {
                let call = rate_limit::Call {
                    resource: name.to_owned(),
                    limit: LIMIT,
                    shared: SharedLimits::NONE,
                    now: now(),
                };
                run(&sqlite, &rate_limit::can_proceed(call, None));
            });
        });
    }
    let mut record = || rate_limit::record("recorded".to_owned(), now(), None);
    criterion.bench_function("record", |bencher| bencher.iter(|| run(&sqlite, &record())));
    criterion.bench_function("record, 100 at once", |bencher| at_once(bencher, &sqlite, &mut record));
}

fn adaptive_store(criterion: &mut Criterion) {
    let directory = Directory::new();
    let sqlite = connect(&directory.0, StoreKind::Adaptive);
    let divisions = Arc::new(SharedDivisions::default());
    let reset = || run(&sqlite, &adaptive::reset("recorded", SharedLimits::NONE, now(), divisions.clone()));
    let count = Cell::new(0_u32);
    criterion.bench_function("adaptive canProceed + record", |bencher| {
        bencher.iter(|| {
            // As many as a round of the stores makes between two resets.
            count.set((count.get() + 1) % 400);
            if count.get() == 0 {
                reset();
            }
            let priority = if count.get().is_multiple_of(2) { Priority::Background } else { Priority::User };
            let call = adaptive::Call {
                resource: "recorded".to_owned(),
                limit: LIMIT,
                shared: SharedLimits::NONE,
                config: AdaptiveConfig::default(),
                divisions: divisions.clone(),
                now: now(),
            };
            run(&sqlite, &adaptive::can_proceed(call, priority, None));
            run(&sqlite, &adaptive::record("recorded", priority, now(), None));
        });
    });
}

fn dedupe_store(criterion: &mut Criterion) {
    let directory = Directory::new();
    let sqlite = connect(&directory.0, StoreKind::Dedupe);
    let value = text(100);
    let count = Cell::new(0_u32);
    let call = || {
        count.set(count.get() + 1);
        dedupe::Call {
            hash: format!("job-{}", count.get()),
            options: DedupeOptions::default(),
            owner: "owner".to_owned(),
            now: now(),
            system_now: now(),
            waiting_since: None,
        }
    };
    criterion.bench_function("dedupe waitFor + register + complete", |bencher| {
        bencher.iter(|| {
            let call = call();
            let poll = dedupe::wait_for(call.clone());
            run(&sqlite, &poll);
            // Nothing is known of the hash.
            let nothing = poll.statements.iter().map(|_| StatementResult::default()).collect();
            if let Outcome::Continue(claim) = (poll.completion)(nothing, 0.0) {
                run(&sqlite, &claim);
            }
            run(&sqlite, &dedupe::register(call.clone(), "job".to_owned()));
            run(&sqlite, &dedupe::complete(&call, value.clone(), Some("job".to_owned())));
        });
    });
    criterion.bench_function("dedupe register", |bencher| {
        bencher.iter(|| run(&sqlite, &dedupe::register(call(), "job".to_owned())));
    });
    criterion.bench_function("dedupe isInProgress", |bencher| {
        bencher.iter(|| run(&sqlite, &dedupe::is_in_progress(dedupe::Call { hash: "no-job".into(), ..call() })));
    });
}

/// Short: the figures are for orientation.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
}

criterion_group! {
    name = baseline;
    config = short();
    targets = cache_store, rate_limit_store, adaptive_store, dedupe_store
}
criterion_main!(baseline);
