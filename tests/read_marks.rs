//! The lock on a read mark that a connection keeps between transactions, and marks that it does not move each time:
//! whoever else uses the file, with whatever SQLite, reads, writes and checkpoints as ever.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::path::Path;
use std::time::Duration;

use comic_vine_sqlite_store::core::cache;
use comic_vine_sqlite_store::core::operation::{Answer, Operation, Outcome};
use comic_vine_sqlite_store::sqlite::connection::Connection;
use comic_vine_sqlite_store::sqlite::os::sidecars::sidecar_paths;
use common::{TempFile, open_cache as open};
use proptest::prelude::*;
use rusqlite::Connection as Plain;

const HOUR: f64 = 3600.0;

/// A connection of another program's, which waits for no lock.
fn plain(path: &Path) -> Plain {
    let connection = Plain::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection
}

fn set(connection: &Connection, hash: &str, number: u32) {
    let operation = cache::set(hash, number.to_string(), HOUR, 0.0);
    connection.transact(true, &[&operation.statements]).unwrap();
}

/// What the file says, not a copy of it in memory.
fn get(connection: &Connection, hash: &str) -> Option<u32> {
    let Operation { statements, completion, .. } = cache::get(hash, 1.0);
    // Two statements, since the query cache answers single ones.
    let rows = connection.transact(false, &[&statements, &statements]).unwrap().remove(0);
    match completion(rows, 0.0) {
        Outcome::Answer(Answer::Json { text, .. }) => text.parse().ok(),
        _ => None,
    }
}

fn plain_set(connection: &Plain, hash: &str, number: u32) {
    let sql = "INSERT OR REPLACE INTO cache VALUES (?1, CAST(?2 AS BLOB), 9e15, 0)";
    connection.execute(sql, (hash, format!("\"{number}\""))).unwrap();
}

fn plain_get(connection: &Plain, hash: &str) -> Option<u32> {
    let sql = "SELECT CAST(value AS TEXT) FROM cache WHERE hash = ?1";
    let text: Option<String> = connection.query_row(sql, [hash], |row| row.get(0)).ok();
    text.and_then(|text| text.trim_matches('"').parse().ok())
}

/// Whether it had to give up, how many frames the log has, and how many of them the database has.
fn checkpoint(connection: &Plain, mode: &str) -> (i64, i64, i64) {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
}

#[test]
fn a_lock_that_is_kept_holds_checkpoints_up_until_it_is_given_back() {
    let file = TempFile::new();
    let (own, other) = (open(file.path()), plain(file.path()));
    own.keep_read_mark(true);
    set(&own, "one", 2);
    // Behind what the lock is on.
    plain_set(&other, "two", 2);
    let (busy, log, done) = checkpoint(&other, "PASSIVE");
    assert_eq!(busy, 0);
    assert!(done < log, "{done} of {log} frames");
    assert_eq!(checkpoint(&other, "RESTART").0, 1, "the log is in use");

    own.keep_read_mark(false);
    let (busy, log, done) = checkpoint(&other, "RESTART");
    assert_eq!((busy, done), (0, log));
    plain_set(&other, "two", 3);
    assert_eq!((get(&own, "one"), get(&own, "two")), (Some(2), Some(3)));
}

#[test]
fn a_mark_that_is_not_moved_each_time_stays_near_the_end() {
    let file = TempFile::new();
    let (own, other) = (open(file.path()), plain(file.path()));
    own.keep_read_mark(true);
    for number in 0..1_000 {
        set(&own, "one", number);
    }
    let (_, log, done) = checkpoint(&other, "PASSIVE");
    // A commit is two or three frames.
    assert!(log > 2_000 && log - done < 3 * 80, "{done} of {log} frames");
}

#[test]
fn two_that_keep_their_locks_move_their_marks_all_the_same() {
    let file = TempFile::new();
    let (one, two, other) = (open(file.path()), open(file.path()), plain(file.path()));
    one.keep_read_mark(true);
    two.keep_read_mark(true);
    for number in 0..1_000 {
        set(&one, "one", number);
        set(&two, "two", number);
    }
    let (_, log, done) = checkpoint(&other, "PASSIVE");
    assert!(log > 4_000 && log - done < 2 * 3 * 80, "{done} of {log} frames");
}

#[test]
fn a_connection_that_keeps_its_lock_can_be_closed() {
    let file = TempFile::new();
    let (own, other) = (open(file.path()), plain(file.path()));
    own.keep_read_mark(true);
    set(&own, "one", 1);
    plain_set(&other, "two", 2);
    drop(own);
    let (busy, log, done) = checkpoint(&other, "TRUNCATE");
    assert_eq!((busy, log, done), (0, 0, 0));
    assert_eq!((plain_get(&other, "one"), plain_get(&other, "two")), (Some(1), Some(2)));
}

#[test]
fn the_last_connection_takes_the_log_away_though_it_keeps_its_lock() {
    let file = TempFile::new();
    let own = open(file.path());
    own.keep_read_mark(true);
    set(&own, "one", 1);
    drop(own);
    for path in sidecar_paths(file.path()) {
        assert!(!path.exists(), "{path:?}");
    }
    assert_eq!(plain_get(&plain(file.path()), "one"), Some(1));
}

/// What one of the connections does.
#[derive(Clone, Debug)]
enum Act {
    Keep(usize),
    GiveBack(usize),
    Write(usize, usize),
    /// So often that marks are moved.
    WriteOften(usize, usize),
    PlainWrite(usize),
    Checkpoint(&'static str),
    OwnCheckpoint(usize),
    Reopen(usize),
}

const HASHES: [&str; 3] = ["one", "two", "three"];

fn act() -> impl Strategy<Value = Act> {
    let (own, hash) = (0..2_usize, 0..HASHES.len());
    prop_oneof![
        4 => own.clone().prop_map(Act::Keep),
        2 => own.clone().prop_map(Act::GiveBack),
        8 => (own.clone(), hash.clone()).prop_map(|(own, hash)| Act::Write(own, hash)),
        1 => (own.clone(), hash.clone()).prop_map(|(own, hash)| Act::WriteOften(own, hash)),
        5 => hash.prop_map(Act::PlainWrite),
        4 => prop_oneof![Just("PASSIVE"), Just("FULL"), Just("RESTART"), Just("TRUNCATE")].prop_map(Act::Checkpoint),
        2 => own.clone().prop_map(Act::OwnCheckpoint),
        1 => own.prop_map(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(common::random(150))]

    #[test]
    fn everybody_reads_what_was_written_last(acts in prop::collection::vec(act(), 1..80)) {
        let file = TempFile::new();
        let mut own = [open(file.path()), open(file.path())];
        let other = plain(file.path());
        let mut written = [None; HASHES.len()];
        for (number, act) in (0..).zip(acts) {
            match act {
                Act::Keep(index) => own[index].keep_read_mark(true),
                Act::GiveBack(index) => own[index].keep_read_mark(false),
                Act::Write(index, hash) => {
                    set(&own[index], HASHES[hash], number);
                    written[hash] = Some(number);
                }
                Act::WriteOften(index, hash) => {
                    (0..70).for_each(|_| set(&own[index], HASHES[hash], number));
                    written[hash] = Some(number);
                }
                Act::PlainWrite(hash) => {
                    plain_set(&other, HASHES[hash], number);
                    written[hash] = Some(number);
                }
                Act::Checkpoint(mode) => {
                    // One that wants the log for itself gives up where a lock is kept.
                    checkpoint(&other, mode);
                }
                Act::OwnCheckpoint(index) => own[index].checkpoint().unwrap(),
                Act::Reopen(index) => own[index] = open(file.path()),
            }
            for (hash, expected) in HASHES.iter().zip(written) {
                for connection in &own {
                    prop_assert_eq!(get(connection, hash), expected);
                }
                prop_assert_eq!(plain_get(&other, hash), expected);
            }
        }
        let sound: String = other.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(sound, "ok");
    }
}
