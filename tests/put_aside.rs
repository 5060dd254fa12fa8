//! Writes that are put aside in memory: no call can tell.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use comic_vine_sqlite_store::core::cache;
use comic_vine_sqlite_store::core::error::{Result, StoreKind};
use comic_vine_sqlite_store::core::options::{JournalMode, Synchronous};
use comic_vine_sqlite_store::core::plan::{Answer, Operation};
use comic_vine_sqlite_store::sqlite::connection::Location;
use comic_vine_sqlite_store::sqlite::database::{Database, Recipient, Reply, Submitted};
use common::Db;
use proptest::prelude::*;

/// The last answer that was delivered.
#[derive(Default)]
struct Inbox(Mutex<Option<Result<Answer>>>);

impl Recipient for Inbox {
    fn deliver(&self, _call: usize, answer: Result<Answer>) {
        *self.0.lock().unwrap() = Some(answer);
    }
}

fn open(location: Location) -> Arc<Database> {
    let database = Database::open(location, JournalMode::Wal, Synchronous::Normal, false).unwrap();
    database.add_store(StoreKind::Cache, Synchronous::Normal).unwrap();
    database
}

/// Whether a call is answered at once.
fn submit(database: &Arc<Database>, operation: Operation, inbox: &Arc<Inbox>) -> Option<Answer> {
    let reply = || Reply::new(inbox.clone(), 0);
    match database.submit(operation, Duration::ZERO, reply) {
        Submitted::Done(answer) => Some(answer.unwrap()),
        Submitted::Queued => None,
    }
}

#[derive(Clone, Debug)]
enum Call {
    Set { hash: u8, bytes: usize, times: usize },
    Get(u8),
    Delete(u8),
    Stats,
    Cleanup,
    Clear,
    Wait,
}

fn call() -> impl Strategy<Value = Call> {
    let hash = || 0..4_u8;
    let bytes = prop_oneof![6 => Just(5), 1 => Just(10_000)];
    let times = prop_oneof![8 => Just(1), 1 => 90..230_usize];
    prop_oneof![
        8 => (hash(), bytes, times).prop_map(|(hash, bytes, times)| {
            Call::Set { hash, bytes, times: if bytes < 100 { times } else { 1 } }
        }),
        6 => hash().prop_map(Call::Get),
        3 => hash().prop_map(Call::Delete),
        2 => Just(Call::Stats),
        1 => Just(Call::Cleanup),
        1 => Just(Call::Clear),
        2 => Just(Call::Wait),
    ]
}

/// What a call does, at a time; entries last for 2 s.
fn operations(call: &Call, now: f64) -> Vec<Operation> {
    match *call {
        Call::Set { hash, bytes, times } => (0..times)
            .map(|index| {
                let hash = format!("{}", usize::from(hash) + index % 3);
                cache::set(hash, format!("\"{index}{}\"", "x".repeat(bytes)), 2.0, now)
            })
            .collect(),
        Call::Get(hash) => vec![cache::get(hash.to_string(), now)],
        Call::Delete(hash) => vec![cache::delete(hash.to_string())],
        Call::Stats => vec![cache::stats(now)],
        Call::Cleanup => vec![cache::cleanup(now)],
        Call::Clear => vec![cache::clear()],
        Call::Wait => Vec::new(),
    }
}

proptest! {
    #![proptest_config(common::random(150))]

    #[test]
    fn calls_answer_as_if_each_were_carried_out_at_once(calls in prop::collection::vec(call(), 1..40)) {
        let (database, alone) = (open(Location::Memory), Db::memory(StoreKind::Cache));
        let inbox = Arc::new(Inbox::default());
        let mut now = 0.0;
        for call in &calls {
            if matches!(call, Call::Wait) {
                now += 1_000.0;
            }
            for (put, other) in operations(call, now).into_iter().zip(operations(call, now)) {
                let expected = alone.run(other);
                let found = submit(&database, put, &inbox).unwrap_or_else(|| {
                    database.drain();
                    inbox.0.lock().unwrap().take().unwrap().unwrap()
                });
                prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{:?}", call);
            }
        }
        database.close();
    }
}

#[test]
fn is_done_with_what_nobody_waits_for() {
    let inbox = Arc::new(Inbox::default());
    let set = |hash: &str| cache::set(hash, "1", 60.0, 0.0);

    let memory = open(Location::Memory);
    assert!(submit(&memory, set("key"), &inbox).is_some());
    assert!(memory.is_idle() && !memory.needs_flush(), "it can wait");
    assert!(submit(&memory, cache::stats(0.0), &inbox).is_none());
    assert!(!memory.is_idle() && memory.needs_flush(), "somebody waits");
    memory.close();
    let stats = common::members(inbox.0.lock().unwrap().take().unwrap().unwrap()).number("totalItems");
    assert_eq!(stats, 1.0);

    let file = common::TempFile::new();
    let shared = open(Location::File(file.path().to_owned()));
    assert!(submit(&shared, set("key"), &inbox).is_none(), "others may look, and the file stays");
    assert!(!shared.is_idle() && shared.needs_flush());
    shared.close();
}
