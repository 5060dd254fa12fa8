//! Those who wait for what other connections do are told, and the leases of pending jobs are renewed.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use comic_vine_sqlite_store::core::dedupe::rules::LEASE_RENEWAL;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::Changed;
use comic_vine_sqlite_store::core::options::{DedupeOptions, JournalMode, Synchronous};
use comic_vine_sqlite_store::core::schema::SchemaConnection;
use comic_vine_sqlite_store::sqlite::clock::system_now;
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use comic_vine_sqlite_store::sqlite::database::Database;
use comic_vine_sqlite_store::sqlite::watch::{StoreWatch, WatchEvent, ensure_running};
use common::TempFile;

fn options() -> DedupeOptions {
    DedupeOptions { poll_interval_ms: 1.0, ..DedupeOptions::default() }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn connection(file: &TempFile) -> Connection {
    common::open(&Location::File(file.path().to_owned()), &[StoreKind::Dedupe])
}

fn insert(connection: &mut Connection, hash: &str) {
    let job = format!(
        "INSERT INTO dedupe_jobs (hash, job_id, status, created_at, updated_at)
         VALUES ('{hash}', 'id', 'pending', 0, 0)"
    );
    connection.execute_script(&job).unwrap();
}

#[test]
fn the_version_changes_with_others_commits_and_no_others() {
    let file = TempFile::new();
    let (mut own, mut other) = (connection(&file), connection(&file));
    let first = own.data_version().unwrap();
    assert_eq!(own.data_version().unwrap(), first);
    insert(&mut own, "own");
    assert_eq!(own.data_version().unwrap(), first);
    insert(&mut other, "other");
    let second = own.data_version().unwrap();
    assert_ne!(second, first);
    assert_eq!(own.data_version().unwrap(), second);
    insert(&mut own, "own, once more");
    assert_eq!(own.data_version().unwrap(), second);
}

#[test]
fn every_store_whose_calls_wait_is_told_of_a_change_from_outside() {
    let file = TempFile::new();
    let location = Location::File(file.path().to_owned());
    let database = Database::open(location, JournalMode::Wal, Synchronous::Normal).unwrap();
    database.add_store(StoreKind::Dedupe, Synchronous::Normal).unwrap();
    let mut other = connection(&file);
    let (stores, events): (Vec<_>, Vec<_>) = (0..3)
        .map(|_| {
            let (sender, events) = channel();
            let notify = Box::new(move |event| sender.send(event).unwrap());
            (StoreWatch::new(Some(&database), "owner".to_owned(), options(), notify), events)
        })
        .unzip();
    // What came before the first poll counts as a change: the look that found nothing may have been earlier.
    for (round, store) in stores.iter().enumerate() {
        store.set_waiting(true, None, &Arc::default()).unwrap();
        assert_eq!(events[round].recv_timeout(PATIENCE).unwrap(), WatchEvent::Changed(Changed::Anything));
    }
    insert(&mut other, "hash");
    for events in &events {
        assert_eq!(events.recv_timeout(PATIENCE).unwrap(), WatchEvent::Changed(Changed::Anything));
    }
}

#[test]
fn a_lease_is_renewed_until_its_job_ends() {
    let file = TempFile::new();
    let location = Location::File(file.path().to_owned());
    let database = Database::open(location, JournalMode::Wal, Synchronous::Normal).unwrap();
    database.add_store(StoreKind::Dedupe, Synchronous::Normal).unwrap();
    let mut other = connection(&file);
    insert(&mut other, "hash");
    other.execute_script("INSERT INTO dedupe_leases VALUES ('hash', 'owner', 'id', 1)").unwrap();
    let mut expires_at = || other.query("SELECT expires_at FROM dedupe_leases").unwrap()[0][0].number().unwrap();

    ensure_running().unwrap();
    let (sender, events) = channel();
    let notify = Box::new(move |event| sender.send(event).unwrap());
    let store = StoreWatch::new(Some(&database), "owner".to_owned(), options(), notify);
    store.add_lease("hash".to_owned(), Some("id".to_owned()));
    // Real time: leases are renewed each second.
    while expires_at() < system_now() {
        thread::sleep(Duration::from_millis(20));
    }
    // As another store's `clear()` does.
    other.execute_script("DELETE FROM dedupe_jobs").unwrap();
    let lost = WatchEvent::Lost { hash: "hash".to_owned(), job_id: "id".to_owned() };
    assert_eq!(events.recv_timeout(PATIENCE).unwrap(), lost);

    insert(&mut other, "hash");
    store.add_lease("hash".to_owned(), Some("id".to_owned()));
    store.remove_leases(Some("hash"));
    let mut expires_at = || other.query("SELECT expires_at FROM dedupe_leases").unwrap()[0][0].number().unwrap();
    let last = expires_at();
    thread::sleep(2 * LEASE_RENEWAL);
    assert_eq!(expires_at(), last);
    assert!(events.try_recv().is_err(), "a job that has ended is not lost");
}
