//! Transactions on a server, of which any answer may be lost: what is sent again does nothing twice, and answers the same. No
//! number that is not finite is sent or answered, and no value of any size.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::rc::Rc;

use comic_vine_sqlite_store::core::cache;
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{BoundStatement, Operation, Results, StatementResult};
use comic_vine_sqlite_store::core::options::{DedupeOptions, RateLimitConfig, Reservations, SharedLimits};
use comic_vine_sqlite_store::core::rate_limit::{self, Call};
use comic_vine_sqlite_store::core::schema;
use comic_vine_sqlite_store::core::statements::Statement;
use comic_vine_sqlite_store::core::value::Value;
use comic_vine_sqlite_store::engine::exchange::{Answered, Exchange, Step};
use comic_vine_sqlite_store::engine::server_text::Texts;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, params_from_iter};

const KINDS: [StoreKind; 6] = [
    StoreKind::Server,
    StoreKind::Cache,
    StoreKind::CacheTags,
    StoreKind::CacheBounds,
    StoreKind::Dedupe,
    StoreKind::Adaptive,
];
const NOW: f64 = 1_000_000.0;

/// A server: it runs statements as one transaction.
struct Server(Connection);

fn bound(value: &Value) -> ToSqlOutput<'_> {
    match value {
        Value::Null => ToSqlOutput::Owned(SqlValue::Null),
        Value::Integer(integer) => (*integer).into(),
        Value::Real(real) => {
            assert!(real.is_finite(), "sent: {real}");
            (*real).into()
        }
        Value::Text(text) => text.as_str().into(),
        Value::Blob(bytes) => bytes.as_slice().into(),
        Value::Json(text) => comic_vine_sqlite_store::core::codec::encode(text).into(),
    }
}

fn answered(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => {
            assert!(real.is_finite(), "answered: {real}");
            Value::from(real)
        }
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).unwrap()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

impl Server {
    fn new() -> Self {
        let server = Server(Connection::open_in_memory().unwrap());
        server.prepare(&KINDS);
        server
    }

    fn snapshot(&self) -> Vec<Vec<Value>> {
        let columns = schema::SNAPSHOT_COLUMNS;
        let mut statement = self.0.prepare(schema::SNAPSHOT).unwrap();
        let rows =
            statement.query_map([], |row| Ok((0..columns).map(|at| answered(row.get_ref(at).unwrap())).collect()));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Makes what is missing; answers how many statements that took.
    fn prepare(&self, kinds: &[StoreKind]) -> usize {
        let plan = schema::plan(kinds, &self.snapshot()).unwrap();
        plan.iter().for_each(|sql| self.0.execute_batch(sql).unwrap());
        plan.len()
    }

    fn run(&self, step: &Step<'_>) -> rusqlite::Result<StatementResult> {
        let mut statement = self.0.prepare(&step.text.sql)?;
        let bound_at = Value::from(step.bound);
        let values =
            step.text.parameters.iter().map(|parameter| parameter.map_or(&bound_at, |at| &step.values[at]));
        let values = params_from_iter(values.map(bound));
        if step.columns == 0 {
            return Ok(StatementResult {
                changes: statement.execute(values)? as u64,
                ..StatementResult::default()
            });
        }
        let rows = statement.query_map(values, |row| {
            Ok((0..step.columns).map(|at| answered(row.get_ref(at).unwrap())).collect())
        })?;
        Ok(StatementResult { rows: rows.collect::<rusqlite::Result<_>>()?, ..StatementResult::default() })
    }

    fn transact(&self, steps: &[Step<'_>]) -> Result<Vec<StatementResult>, String> {
        self.0.execute_batch("BEGIN IMMEDIATE").unwrap();
        let results = steps.iter().map(|step| self.run(step)).collect::<rusqlite::Result<Vec<_>>>();
        self.0.execute_batch(if results.is_ok() { "COMMIT" } else { "ROLLBACK" }).unwrap();
        results.map_err(|error| error.to_string())
    }

    fn count(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// Sends operations until they are answered; of the requests with these numbers the answer is lost.
fn exchange(server: &Server, id: &str, operations: &[&Operation], lost: &[usize]) -> (Vec<Results>, usize) {
    let lists: Vec<&[BoundStatement]> =
        operations.iter().map(|operation| operation.statements.as_slice()).collect();
    let (mut exchange, mut texts) = (Exchange::new(id.to_owned(), NOW), Texts::default());
    let writes = operations.iter().any(|operation| !operation.read_only);
    for request in 0.. {
        let steps = exchange.steps(&lists, &mut texts, request == 0);
        let only_reads = steps.iter().all(|step| server.0.prepare(&step.text.sql).unwrap().readonly());
        // A replica answers that from what it has so far.
        assert!(!(writes && only_reads), "{:?}", steps.iter().map(|step| &step.text.sql).collect::<Vec<_>>());
        let result = server.transact(&steps);
        drop(steps);
        if lost.contains(&request) {
            continue;
        }
        match result {
            Ok(answers) => {
                if let Answered::Done(results) = exchange.on_answered(&lists, answers) {
                    return (results, request + 1);
                }
            }
            Err(message) => {
                assert!(message.contains("UNIQUE constraint failed: request_log.id"), "{message}");
                exchange.took_effect_before();
            }
        }
    }
    unreachable!()
}

fn call(limit: f64) -> Call {
    Call {
        resource: "resource".to_owned(),
        limit: RateLimitConfig::new(limit, 60_000.0),
        shared: SharedLimits::NONE,
        now: NOW,
    }
}

fn has_row(results: &Results) -> bool {
    results.last().is_some_and(|result| !result.rows.is_empty())
}

#[test]
fn what_is_sent_again_counts_once_and_answers_the_same() {
    for lost in [vec![], vec![0], vec![0, 1], vec![0, 1, 2]] {
        let server = Server::new();
        let claim = |owner: &str| {
            let options = DedupeOptions::default();
            let call = dedupe::Call {
                hash: "job".to_owned(),
                owner: owner.to_owned(),
                options,
                now: NOW,
                system_now: NOW,
                waiting_since: None,
            };
            dedupe::wait_for_in_turn(call)
        };
        let reservations = Reservations { owner: "store".to_owned(), for_ms: f64::INFINITY };
        let operations = [
            rate_limit::record("resource".to_owned(), NOW, None),
            rate_limit::acquire(call(3.0)),
            rate_limit::acquire(call(3.0)),
            rate_limit::acquire(call(3.0)),
            rate_limit::can_proceed(call(4.0), Some(&reservations)),
            claim("one"),
            claim("other"),
            cache::set("key", "1", f64::INFINITY, NOW),
            cache::get("key", NOW),
        ];
        let (results, requests) = exchange(&server, "request", &operations.iter().collect::<Vec<_>>(), &lost);
        // The one that tells that it took effect, and the one that asks for the rest.
        assert_eq!(requests, if lost.is_empty() { 1 } else { lost.len() + 2 }, "{lost:?}");
        let taken: Vec<bool> = results[1..5].iter().map(has_row).collect();
        assert_eq!(taken, [true, true, false, true], "{lost:?}");
        assert_eq!(results[5][1].rows.len(), 1, "the first claims");
        assert_eq!(results[6][1].rows.len(), 0, "the other waits");
        assert_eq!(results[8][0].rows[0][1], Value::Real(f64::INFINITY));
        assert_eq!(server.count("SELECT COUNT(*) FROM rate_limits"), 3);
        assert_eq!(server.count("SELECT COUNT(*) FROM rate_limit_reservations"), 1);
        assert_eq!(server.count("SELECT COUNT(*) FROM dedupe_leases WHERE owner = 'one'"), 1);
    }
}

#[test]
fn what_changes_nothing_twice_is_not_logged() {
    let server = Server::new();
    let operations = [cache::set("key", "1", 60.0, NOW), cache::get("key", NOW), cache::delete("other")];
    exchange(&server, "request", &operations.iter().collect::<Vec<_>>(), &[0]);
    assert_eq!(server.count("SELECT COUNT(*) FROM request_log"), 0);
}

#[test]
fn the_log_does_not_grow_for_ever() {
    let server = Server::new();
    for n in 0..300 {
        server.0.execute("INSERT INTO request_log VALUES (?, -9999999)", [format!("old {n}")]).unwrap();
    }
    for n in 0..100 {
        exchange(&server, &format!("request {n}"), &[&rate_limit::acquire(call(1_000.0))], &[]);
    }
    assert_eq!(server.count("SELECT COUNT(*) FROM request_log WHERE at < 0"), 0);
    assert_eq!(server.count("SELECT COUNT(*) FROM request_log"), 200);
}

#[test]
fn large_values_are_answered_a_few_at_a_time_and_too_large_ones_not_at_all() {
    let server = Server::new();
    let sizes = [10, 1 << 20, 3 << 20, 3 << 20, 3 << 20, 8 << 20, 100];
    for (n, size) in sizes.into_iter().enumerate() {
        let set = cache::set(format!("key {n}"), format!("\"{}\"", "x".repeat(size)), 60.0, NOW);
        exchange(&server, "set", &[&set], &[]);
    }
    let gets: Vec<Operation> = (0..8).map(|n| cache::get(format!("key {n}"), NOW)).collect();
    for lost in [vec![], vec![0, 2]] {
        let (results, requests) = exchange(&server, "get", &gets.iter().collect::<Vec<_>>(), &lost);
        let bytes = |result: &StatementResult| result.rows.first().map(|row| row[0].payload_bytes());
        let found: Vec<Option<usize>> = results.iter().map(|results| bytes(&results[0])).collect();
        // In quotes, which are escaped, and those in quotes.
        let stored = |n: usize| Some(sizes[n] + 6);
        assert_eq!(found, [stored(0), stored(1), stored(2), stored(3), stored(4), None, stored(6), None]);
        assert_eq!(requests, 4 + lost.len(), "1 + 3, 3, and 3 MiB come after the rest");
    }
}

#[test]
fn every_statement_has_a_text_that_a_server_understands() {
    let server = Server::new();
    for statement in Statement::ALL {
        if statement.many().is_none() && format!("{statement:?}").ends_with("Many") {
            continue;
        }
        let highest = (1..=20).rev().find(|n| statement.sql().contains(&format!("?{n}"))).unwrap_or(0);
        let count = if highest > 0 { highest } else { statement.sql().matches('?').count() };
        for value in
            [Value::Integer(1), Value::Real(f64::INFINITY), Value::Real(f64::NEG_INFINITY), Value::Real(f64::NAN)]
        {
            let bound = BoundStatement::new(*statement, vec![value; count]);
            let text = Texts::default().of(&bound);
            let step = Step {
                text: Rc::clone(&text),
                values: bound.values.into(),
                bound: 1_000.0,
                columns: statement.columns(),
            };
            if let Err(error) = server.run(&step) {
                // A value where none may be, or of a type that cannot be.
                let message = error.to_string();
                let is_of_values = ["NOT NULL constraint", "datatype mismatch", "malformed JSON"];
                assert!(is_of_values.iter().any(|known| message.contains(known)), "{statement:?}: {message}");
            }
        }
    }
}

#[test]
fn tables_are_made_once_and_columns_added_that_older_versions_lack() {
    let server = Server::new();
    assert_eq!(server.prepare(&KINDS), 0);
    let old = Server(Connection::open_in_memory().unwrap());
    old.0
        .execute_batch(
            "CREATE TABLE rate_limits (id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, timestamp INTEGER NOT NULL);
             CREATE TABLE dedupe_jobs (hash TEXT PRIMARY KEY, job_id TEXT NOT NULL, status TEXT NOT NULL, result BLOB, error TEXT,
               created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);",
        )
        .unwrap();
    assert!(old.prepare(&KINDS) > 0);
    assert_eq!(old.prepare(&KINDS), 0);
    assert_eq!(old.count("SELECT COUNT(*) FROM pragma_table_info('rate_limits') WHERE name = 'priority'"), 1);
    assert_eq!(old.count("SELECT COUNT(*) FROM pragma_table_info('dedupe_jobs') WHERE name = 'error_name'"), 1);
    let view = Server(Connection::open_in_memory().unwrap());
    view.0.execute_batch("CREATE VIEW cache AS SELECT 1 AS hash").unwrap();
    assert!(schema::plan(&[StoreKind::Cache], &view.snapshot()).is_err());
}
