//! The answers that a connection keeps of what it read: whatever is called, here or by others on the same file, they
//! are the database's.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::cache;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Operation, Outcome, Results};
use comic_vine_sqlite_store::core::options::Reservations;
use comic_vine_sqlite_store::core::options::{AdaptiveConfig, RateLimitConfig, ResourceConfigs, SharedLimits};
use comic_vine_sqlite_store::core::query_cache::MAX_ENTRY_BYTES;
use comic_vine_sqlite_store::core::rate_limit::{self, Call};
use comic_vine_sqlite_store::core::schema::SchemaConnection;
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use common::{Divisions, TempFile};
use proptest::prelude::*;

const START: f64 = 1_000_000.0;
const HASHES: [&str; 3] = ["one", "two", "three"];
const RESOURCES: [&str; 2] = ["issues", "volumes"];

/// A call of a store's, by whichever connection.
#[derive(Clone, Debug)]
enum Act {
    Set(usize, String, f64),
    Delete(usize),
    Get(usize),
    ClearCache,
    CleanCache,
    SetWithTag(usize, String),
    Invalidate,
    ClearScope,
    Record(usize),
    Acquire(usize),
    CanProceed(usize),
    Reserve(usize),
    RecordFor(usize, Priority),
    AcquireFor(usize, Priority),
    CanProceedFor(usize, Priority),
    ReserveFor(usize, Priority),
    Reset(usize),
    ClearRequests,
    CleanRequests,
    /// Another program's statement on the connection.
    Foreign(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    let hash = 0..HASHES.len();
    let resource = 0..RESOURCES.len();
    let class = (0..RESOURCES.len(), prop_oneof![Just(Priority::User), Just(Priority::Background)]);
    let text =
        prop_oneof![Just("{\"a\":1}".to_owned()), Just("\"text\"".to_owned()), Just("__UNDEFINED__".to_owned())];
    prop_oneof![
        6 => (hash.clone(), text.clone(), prop_oneof![Just(0.0), Just(1.0), Just(0.0605)]).prop_map(|(hash, text, ttl)| Act::Set(hash, text, ttl)),
        1 => hash.clone().prop_map(Act::Delete),
        2 => (hash.clone(), text.clone()).prop_map(|(hash, text)| Act::SetWithTag(hash, text)),
        1 => Just(Act::Invalidate),
        1 => Just(Act::ClearScope),
        6 => hash.prop_map(Act::Get),
        1 => Just(Act::ClearCache),
        1 => Just(Act::CleanCache),
        6 => resource.clone().prop_map(Act::Record),
        3 => resource.clone().prop_map(Act::Acquire),
        6 => resource.clone().prop_map(Act::CanProceed),
        2 => resource.clone().prop_map(Act::Reserve),
        6 => class.clone().prop_map(|(resource, priority)| Act::RecordFor(resource, priority)),
        3 => class.clone().prop_map(|(resource, priority)| Act::AcquireFor(resource, priority)),
        6 => class.clone().prop_map(|(resource, priority)| Act::CanProceedFor(resource, priority)),
        2 => class.prop_map(|(resource, priority)| Act::ReserveFor(resource, priority)),
        1 => resource.prop_map(Act::Reset),
        1 => Just(Act::ClearRequests),
        1 => Just(Act::CleanRequests),
        1 => prop_oneof![
            Just("UPDATE cache SET expires_at = expires_at + 10"),
            Just("DELETE FROM cache WHERE hash = 'one'"),
            Just("UPDATE cache SET expires_at = 0 WHERE hash = 'two'"),
            Just("DELETE FROM cache_tags WHERE hash = 'two'"),
            Just("INSERT OR REPLACE INTO cache VALUES ('two', '5', 9e15, 0)"),
            Just("INSERT OR REPLACE INTO cache VALUES ('three', x'ff', 9e15, 0)"),
            Just("UPDATE rate_limits SET timestamp = timestamp - 50"),
            Just("DELETE FROM rate_limits WHERE id = (SELECT MIN(id) FROM rate_limits)"),
            Just("BEGIN; INSERT INTO rate_limits (resource, timestamp) VALUES ('issues', 1000000); ROLLBACK"),
        ].prop_map(Act::Foreign),
    ]
}

fn call(resource: usize, now: f64) -> Call {
    Call { resource: RESOURCES[resource].to_owned(), limit: limit(), shared: SharedLimits::NONE, now }
}

/// A division of the limit lasts for no time, so that it is of what the file says.
fn call_for(resource: usize, now: f64) -> adaptive::Call {
    let config = AdaptiveConfig { recalculation_interval_ms: 1e9, ..AdaptiveConfig::default() };
    adaptive::Call {
        resource: RESOURCES[resource].to_owned(),
        limit: limit(),
        shared: SharedLimits::NONE,
        config,
        divisions: Divisions::default(),
        now,
    }
}

fn limit() -> RateLimitConfig {
    RateLimitConfig::new(5.0, 100.0)
}

fn operation(act: &Act, now: f64) -> Option<Operation> {
    let reservations = Reservations { owner: "store".to_owned(), for_ms: 40.0 };
    Some(match act {
        Act::Set(hash, text, ttl) => cache::set(HASHES[*hash], text.as_str(), *ttl, now),
        Act::Delete(hash) => cache::delete(HASHES[*hash]),
        Act::Get(hash) => cache::get(HASHES[*hash], now),
        Act::ClearCache => cache::clear(),
        Act::CleanCache => cache::cleanup(now),
        Act::SetWithTag(hash, text) => {
            cache::set_with_tags(HASHES[*hash], text.as_str(), 60.0, ["tag".to_owned()], now)
        }
        Act::Invalidate => cache::invalidate(["tag".to_owned()], now),
        Act::ClearScope => cache::clear_scope("t"),
        Act::Record(resource) => rate_limit::record(RESOURCES[*resource].to_owned(), now, None),
        Act::Acquire(resource) => rate_limit::acquire(call(*resource, now)),
        Act::CanProceed(resource) => rate_limit::can_proceed(call(*resource, now), None),
        Act::Reserve(resource) => rate_limit::can_proceed(call(*resource, now), Some(&reservations)),
        Act::RecordFor(resource, priority) => adaptive::record(RESOURCES[*resource], *priority, now, None),
        Act::AcquireFor(resource, priority) => adaptive::acquire(call_for(*resource, now), *priority),
        Act::CanProceedFor(resource, priority) => adaptive::can_proceed(call_for(*resource, now), *priority, None),
        Act::ReserveFor(resource, priority) => {
            adaptive::can_proceed(call_for(*resource, now), *priority, Some(&reservations))
        }
        Act::Reset(resource) => rate_limit::reset(RESOURCES[*resource], SharedLimits::NONE, now),
        Act::ClearRequests => rate_limit::clear(),
        Act::CleanRequests => rate_limit::cleanup(
            ResourceConfigs { default: limit(), named: Vec::new(), shared: SharedLimits::NONE },
            now,
        ),
        Act::Foreign(_) => return None,
    })
}

fn open(location: &Location) -> Connection {
    common::open(location, &[StoreKind::Cache, StoreKind::CacheTags, StoreKind::Adaptive])
}

/// Carries out a call and what follows from it.
fn run(connection: &Connection, operation: Operation) -> Answer {
    let Operation { statements, read_only, completion, .. } = operation;
    let rows: Results = if read_only {
        connection.read(&statements).unwrap()
    } else {
        connection.transact(true, &[&statements]).unwrap().remove(0)
    };
    match completion(rows, 0.0) {
        Outcome::Answer(answer) => answer,
        Outcome::AnswerThen(answer, next) => {
            run(connection, next);
            answer
        }
        Outcome::Continue(next) => run(connection, next),
    }
}

/// What the calls that only read answer now: with the help of the query cache, and without.
fn compare(connection: &Connection, now: f64) -> Result<(), TestCaseError> {
    let reads = || {
        let gets = (0..HASHES.len()).map(Act::Get);
        gets.chain((0..RESOURCES.len()).map(Act::CanProceed)).filter_map(|act| Some((operation(&act, now)?, act)))
    };
    for ((with, act), (without, _)) in reads().zip(reads()) {
        let cached = connection.read(&with.statements).unwrap();
        let read = connection.transact(false, &[&without.statements]).unwrap().remove(0);
        let answers =
            [(with.completion)(cached, 0.0), (without.completion)(read, 0.0)].map(|outcome| match outcome {
                Outcome::Answer(answer) => (format!("{answer:?}"), false),
                Outcome::AnswerThen(answer, _) => (format!("{answer:?}"), true),
                Outcome::Continue(next) => (format!("{:?}", next.statements), true),
            });
        prop_assert_eq!(&answers[0], &answers[1], "{:?} at {}", act, now);
    }
    Ok(())
}

fn history(connections: &mut [Connection], acts: Vec<(usize, i64, Act)>) -> Result<(), TestCaseError> {
    let mut now = START;
    for (who, after, act) in acts {
        now += after as f64;
        let count = connections.len();
        let connection = &mut connections[who % count];
        match (operation(&act, now), act) {
            (_, Act::Foreign(sql)) => connection.execute_script(sql).unwrap(),
            (Some(operation), _) => drop(run(connection, operation)),
            (None, act) => panic!("{act:?} is no call"),
        }
        // The others first: whoever acted has just looked.
        for connection in connections.iter().rev() {
            compare(connection, now)?;
        }
    }
    Ok(())
}

fn acts() -> impl Strategy<Value = Vec<(usize, i64, Act)>> {
    // Clocks are set back at times.
    let after = prop_oneof![8 => 0..30_i64, 1 => 30..200_i64, 1 => -60..0_i64];
    prop::collection::vec((0..2_usize, after, act()), 1..60)
}

proptest! {
    #![proptest_config(common::random(200))]

    #[test]
    fn cached_answers_are_the_databases_in_memory(acts in acts()) {
        history(&mut [open(&Location::Memory)], acts)?;
    }

    #[test]
    fn cached_answers_are_the_databases_when_two_connections_write_one_file(acts in acts()) {
        let file = TempFile::new();
        let location = Location::File(file.path().to_owned());
        history(&mut [open(&location), open(&location)], acts)?;
    }
}

#[test]
fn cached_answers_are_used_until_somebody_else_commits() {
    let file = TempFile::new();
    let location = Location::File(file.path().to_owned());
    let (one, other) = (open(&location), open(&location));
    let reads = || [cache::get("one", START), rate_limit::can_proceed(call(0, START), None)];
    let cached = |connection: &Connection| reads().map(|read| connection.has_cached(&read.statements));
    let read = |connection: &Connection| reads().map(|read| drop(run(connection, read)));

    assert_eq!(cached(&one), [false, false]);
    read(&one);
    assert_eq!(cached(&one), [true, true], "what was read");
    run(&one, cache::set("one", "1", 60.0, START));
    run(&one, rate_limit::record(RESOURCES[0].to_owned(), START, None));
    assert_eq!(cached(&one), [true, true], "what this connection has written itself");
    run(&other, cache::set("two", "2", 60.0, START));
    assert_eq!(cached(&one), [false, false], "another connection has committed");
    read(&one);
    assert_eq!(cached(&one), [true, true]);
    run(&one, rate_limit::reset(RESOURCES[0], SharedLimits::NONE, START));
    assert_eq!(cached(&one), [true, false], "its requests are gone");
}

#[test]
fn cached_entries_are_bounded() {
    let connection = open(&Location::Memory);
    let text = format!("\"{}\"", "x".repeat(100_000));
    let count = MAX_ENTRY_BYTES / text.len() + 10;
    for index in 0..count {
        run(&connection, cache::set(index.to_string(), text.as_str(), 60.0, START));
        let get = || cache::get(index.to_string(), START);
        assert!(!connection.has_cached(&get().statements), "nobody has asked for it");
        run(&connection, get());
    }
    let cached = |index: usize| connection.has_cached(&cache::get(index.to_string(), START).statements);
    assert!(cached(count - 1));
    assert!((0..count).filter(|index| cached(*index)).count() * text.len() <= MAX_ENTRY_BYTES);

    run(&connection, cache::get("huge", START));
    run(&connection, cache::set("huge", format!("\"{}\"", "x".repeat(MAX_ENTRY_BYTES)), 60.0, START));
    assert!(!connection.has_cached(&cache::get("huge", START).statements));
    assert!(cached(count - 1), "what is too large does not drive out the rest");
}
