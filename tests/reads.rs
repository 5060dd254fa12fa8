//! Reads beside other work on the database: each is answered at once, unless the work writes what it reads.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use comic_vine_sqlite_store::core::cache;
use comic_vine_sqlite_store::core::dedupe::rules as dedupe;
use comic_vine_sqlite_store::core::error::{Error, Result, StoreKind};
use comic_vine_sqlite_store::core::operation::{Answer, BoundStatement, Operation, Target};
use comic_vine_sqlite_store::core::options::{DedupeOptions, JournalMode, Synchronous};
use comic_vine_sqlite_store::core::schema::SchemaConnection;
use comic_vine_sqlite_store::core::statements::{Statement, Table};
use comic_vine_sqlite_store::engine::batch::Completed;
use comic_vine_sqlite_store::engine::call::Call;
use comic_vine_sqlite_store::engine::scheduler::Scheduler;
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use comic_vine_sqlite_store::sqlite::database::{Database, Recipient, Reply, Submitted};
use comic_vine_sqlite_store::sqlite::os::sidecars::sidecar_paths;
use common::TempFile;

const PATIENCE: Duration = Duration::from_secs(60);
const FOREVER: f64 = 9e15;

/// A queued call's answer.
struct Later(Sender<Result<Answer>>);

impl Recipient for Later {
    fn deliver(&self, _call: usize, answer: Result<Answer>) {
        self.0.send(answer).unwrap();
    }
}

fn later() -> (Reply, Receiver<Result<Answer>>) {
    let (sender, receiver) = channel();
    (Reply::new(Arc::new(Later(sender)), 0), receiver)
}

/// A file with a store of each kind, and an entry.
fn open(file: &TempFile) -> Arc<Database> {
    let location = Location::File(file.path().to_owned());
    let database = Database::open(location, JournalMode::Wal, Synchronous::Normal).unwrap();
    for kind in [StoreKind::Cache, StoreKind::Dedupe, StoreKind::RateLimit] {
        database.add_store(kind, Synchronous::Normal).unwrap();
    }
    call(&database, cache::set("key", "\"value\"", FOREVER, 0.0)).recv().unwrap().unwrap();
    database
}

/// Another program that writes.
fn locked(file: &TempFile) -> Connection {
    let mut other = common::open_cache(file.path());
    other.execute_script("BEGIN IMMEDIATE").unwrap();
    other
}

/// A file, open, and an operation on it that waits for the lock of another program: a thread works on it.
fn busy(operation: Operation) -> (TempFile, Arc<Database>, Connection, Receiver<Result<Answer>>) {
    let file = TempFile::new();
    let database = open(&file);
    let other = locked(&file);
    let answer = call(&database, operation);
    while database.data_version().is_some() {
        thread::yield_now();
    }
    (file, database, other, answer)
}

fn set_own() -> Operation {
    cache::set("own", "\"new\"", FOREVER, 0.0)
}

fn call(database: &Arc<Database>, operation: Operation) -> Receiver<Result<Answer>> {
    let (reply, answer) = later();
    database.enqueue(operation, Some(reply), PATIENCE);
    database.flush();
    answer
}

/// The answer to a read, if it is there at once; else where it will arrive.
fn read(database: &Arc<Database>, operation: Operation) -> std::result::Result<Answer, Receiver<Result<Answer>>> {
    let mut queued = None;
    let submitted = database.submit(operation, PATIENCE, || {
        let (reply, answer) = later();
        queued = Some(answer);
        reply
    });
    match submitted {
        Submitted::Done(answer) => Ok(answer.unwrap()),
        Submitted::Queued => {
            database.flush();
            Err(queued.unwrap())
        }
    }
}

fn text(answer: Answer) -> Option<String> {
    match answer {
        Answer::Json { text, .. } => Some(text.to_string()),
        Answer::Undefined | Answer::Expired => None,
        other => panic!("{other:?}"),
    }
}

fn is_in_progress() -> Operation {
    dedupe::is_in_progress(dedupe::Call {
        hash: "job".to_owned(),
        owner: "me".to_owned(),
        options: DedupeOptions::default(),
        now: 0.0,
        system_now: 0.0,
        waiting_since: None,
    })
}

/// The entry `key`, read at once.
fn read_key(database: &Arc<Database>) -> Option<String> {
    text(read(database, cache::get("key", 0.0)).unwrap_or_else(|_| panic!("the read was queued")))
}

#[test]
fn no_read_is_queued_beside_a_clean_up() {
    let file = TempFile::new();
    let database = open(&file);
    common::open_cache(file.path())
        .execute_script(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO cache SELECT 'expired ' || i, zeroblob(100), -1, 0 FROM n",
        )
        .unwrap();
    let cleaned = call(&database, cache::cleanup(0.0));
    let mut reads = 0;
    while reads == 0 || cleaned.try_recv().is_err() {
        assert_eq!(read_key(&database).unwrap(), "\"value\"");
        reads += 1;
    }
    database.close();
}

#[test]
fn no_read_is_queued_beside_a_checkpoint() {
    let file = TempFile::new();
    let database = open(&file);
    // A reader elsewhere keeps the log from starting anew, and the checkpoint waits for it.
    let mut reader = common::open_cache(file.path());
    reader.execute_script("BEGIN; SELECT * FROM cache").unwrap();
    let megabyte = format!("\"{}\"", "x".repeat(1 << 20));
    let written: Vec<_> = (0..70)
        .map(|i| call(&database, cache::set(format!("large {i}"), megabyte.as_str(), FOREVER, 0.0)))
        .collect();
    for answer in written {
        answer.recv().unwrap().unwrap();
    }
    let drained = thread::spawn({
        let database = Arc::clone(&database);
        move || database.drain()
    });
    let mut reads = 0;
    while reads == 0 || !drained.is_finished() {
        assert_eq!(read_key(&database).unwrap(), "\"value\"");
        reads += 1;
    }
    drained.join().unwrap();
    drop(reader);
    database.close();
}

#[test]
fn a_read_waits_only_for_writes_that_it_could_see() {
    let (_file, database, mut other, written) = busy(set_own());
    assert_eq!(read_key(&database).unwrap(), "\"value\"");
    assert!(read(&database, is_in_progress()).is_ok());
    let own = read(&database, cache::get("own", 0.0)).unwrap_err();
    assert!(own.try_recv().is_err(), "it waits for the write");
    // One that writes the table is waited for by all.
    let cleared = call(&database, cache::clear());
    let key = read(&database, cache::get("key", 0.0)).unwrap_err();
    other.execute_script("COMMIT").unwrap();
    assert!(written.recv().unwrap().is_ok());
    assert_eq!(text(own.recv().unwrap().unwrap()).unwrap(), "\"new\"");
    assert!(cleared.recv().unwrap().is_ok());
    assert_eq!(text(key.recv().unwrap().unwrap()), None);
    database.close();
}

#[test]
fn a_renewal_of_leases_is_not_waited_for() {
    let (hash, job) = ("job".to_owned(), "1".to_owned());
    let (_file, database, mut other, renewed) =
        busy(dedupe::renew("me", DedupeOptions::default(), [(hash, Some(job))], 0.0));
    assert!(read(&database, is_in_progress()).is_ok());
    assert!(read_key(&database).is_some());
    assert!(renewed.try_recv().is_err(), "it waits for the lock");
    other.execute_script("COMMIT").unwrap();
    assert!(renewed.recv().unwrap().is_ok());
    database.close();
}

#[test]
fn the_tables_of_its_store_are_waited_for() {
    let file = TempFile::new();
    let location = Location::File(file.path().to_owned());
    common::open_cache(file.path());
    let database = Database::open(location, JournalMode::Wal, Synchronous::Normal).unwrap();
    database.add_store(StoreKind::Cache, Synchronous::Normal).unwrap();
    let mut other = locked(&file);
    database.add_store(StoreKind::Dedupe, Synchronous::Normal).unwrap();
    assert!(read_key(&database).is_none());
    let job = read(&database, is_in_progress()).unwrap_err();
    other.execute_script("COMMIT").unwrap();
    assert!(matches!(job.recv().unwrap(), Ok(Answer::Bool(false))));
    database.close();
}

#[test]
fn a_replaced_file_is_not_read_beside_the_old_one() {
    let another = TempFile::new();
    drop(common::open_cache(another.path()));
    let (file, database, other, written) = busy(set_own());
    let moved = file.path().with_extension("moved");
    std::fs::rename(file.path(), &moved).unwrap();
    std::fs::rename(another.path(), file.path()).unwrap();
    // No second connection has been opened yet, and what is there now is another file.
    let key = read(&database, cache::get("key", 0.0)).unwrap_err();
    std::fs::rename(&moved, file.path()).unwrap();
    drop(other);
    assert!(written.recv().unwrap().is_ok());
    assert_eq!(text(key.recv().unwrap().unwrap()).unwrap(), "\"value\"");
    database.close();
}

#[test]
fn a_log_that_another_program_replaced_is_not_read() {
    let (file, database, other, written) = busy(set_own());
    let [log, _] = sidecar_paths(file.path());
    let moved = log.with_extension("moved");
    std::fs::rename(&log, &moved).unwrap();
    std::fs::write(&log, []).unwrap();
    let key = read(&database, cache::get("key", 0.0)).unwrap_err();
    std::fs::rename(&moved, &log).unwrap();
    drop(other);
    assert!(written.recv().unwrap().is_ok());
    assert_eq!(text(key.recv().unwrap().unwrap()).unwrap(), "\"value\"");
    database.close();
}

#[test]
fn what_many_reads_find_to_be_tidied_is_queued_once() {
    let tidying = |key: &str| {
        let values = [key.into(), 1.0.into()];
        Operation::command([BoundStatement::new(Statement::RateExpireReservations, values)])
    };
    let mut scheduler = Scheduler::<(), Error>::default();
    assert!(!scheduler.already_tidies(&tidying("one")));
    scheduler.submit(Call { operation: tidying("one"), reply: None, made_at: Duration::ZERO, deadline: None });
    assert!(scheduler.already_tidies(&tidying("one")));
    assert!(!scheduler.already_tidies(&tidying("two")), "another resource");
    let writes = Operation::command([BoundStatement::new(Statement::RateReset, ["one".into()])]);
    assert!(!scheduler.already_tidies(&writes), "a write is made as often as it is asked for");
    let reads = Operation::read([BoundStatement::new(Statement::CacheGet, ["one".into()])], |_| panic!("not run"));
    assert!(!scheduler.already_tidies(&reads));
    // Once it is under way it may be past what was found since.
    scheduler.next_batch(1, 1).unwrap();
    assert!(!scheduler.already_tidies(&tidying("one")));
}

#[test]
fn what_is_tidied_is_waited_for_by_statistics_alone() {
    let mut scheduler = Scheduler::<(), Error>::default();
    let bound = BoundStatement::new(Statement::DedupeRemoveExpired, [1.0.into(), 0.0.into()]);
    scheduler.submit(Call {
        operation: Operation::command([bound]),
        reply: None,
        made_at: Duration::ZERO,
        deadline: None,
    });
    let may_read = |scheduler: &Scheduler<(), Error>, key| scheduler.may_read(Target { table: Table::Jobs, key });
    assert!(may_read(&scheduler, Some("job")));
    assert!(!may_read(&scheduler, None));
    let mut batch = scheduler.next_batch_beside_reads(1, 1).unwrap();
    assert!(may_read(&scheduler, Some("job")) && !may_read(&scheduler, None));
    batch.refuse(&Error::NoThread);
    scheduler.end(batch, &mut Completed::default());
    assert!(may_read(&scheduler, None));
}

#[test]
fn no_call_is_answered_once_closed() {
    let file = TempFile::new();
    let database = open(&file);
    database.close();
    let read = read(&database, cache::get("key", 0.0)).unwrap_err();
    assert!(matches!(read.recv().unwrap(), Err(Error::Internal(_))));
}
