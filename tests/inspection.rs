//! Looking at a file from outside: whatever state it was left in, and without a trace.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::error::{Error, StoreKind};
use comic_vine_sqlite_store::core::options::{AdaptiveConfig, RateLimitConfig, SharedLimits};
use comic_vine_sqlite_store::core::rate_limit;
use comic_vine_sqlite_store::sqlite::connection::Location;
use comic_vine_sqlite_store::sqlite::inspection::{Access, Inspection};
use common::{Divisions, TempFile, Value, members, number};
use rusqlite::Connection;

const NOW: f64 = 1_000_000.0;

/// The files that begin with a database's name: their names, what is in them, and their times. Connections of one process share a
/// WAL-index, so that one in use by this process changes: `__test__/95-command-line` looks at those of other processes.
fn files(path: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let hash = |path: &Path| {
        let mut hasher = DefaultHasher::new();
        let is_index = path.to_string_lossy().ends_with("-shm");
        is_index.then(Vec::new).unwrap_or_else(|| fs::read(path).unwrap()).hash(&mut hasher);
        hasher.finish()
    };
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&name))
        .map(|path| (path.clone(), hash(&path), fs::metadata(&path).unwrap().modified().unwrap()))
        .collect();
    found.sort();
    found
}

fn count(inspection: &Inspection, table: &str) -> f64 {
    inspection.query(&format!("SELECT COUNT(*) FROM {table}"), &[]).unwrap().rows[0][0].number().unwrap()
}

/// Reads how many entries there are, and that no file changes by it.
fn entries(path: &Path) -> (Access, f64) {
    let before = files(path);
    let mut inspection = Inspection::of(path).unwrap();
    let access = inspection.begin().unwrap();
    let entries = count(&inspection, "cache");
    assert!(inspection.end());
    drop(inspection);
    assert_eq!(files(path), before);
    (access, entries)
}

fn copy(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(with(from), with(to)).unwrap();
    }
}

const INSERT: &str = "INSERT INTO cache SELECT 'key ' || value, '1', 0, 0 FROM json_each('[1,2,3]')";

#[test]
fn a_file_is_read_as_it_was_left() {
    let (file, other) = (TempFile::new(), TempFile::new());
    let store = common::open_cache(file.path());
    store.query_any("SELECT 1", &[]).unwrap();
    let writer = Connection::open(file.path()).unwrap();
    writer.execute_batch(INSERT).unwrap();
    assert_eq!(entries(file.path()), (Access::Shared, 3.0), "in use");

    copy(file.path(), other.path(), &["", "-wal", "-shm"]);
    assert_eq!(entries(other.path()), (Access::Shared, 3.0), "left by a process that was killed");
    fs::remove_file(format!("{}-shm", other.path().display())).unwrap();
    assert_eq!(entries(other.path()), (Access::Copy, 3.0), "left by a system that went down, or copied so");
    fs::remove_file(format!("{}-wal", other.path().display())).unwrap();
    assert_eq!(entries(other.path()).0, Access::Alone, "copied without its log");

    drop((store, writer));
    assert_eq!(entries(file.path()), (Access::Alone, 3.0), "closed");
}

#[test]
fn a_journal_that_a_crash_left_is_rolled_back_in_a_copy() {
    let (file, other) = (TempFile::new(), TempFile::new());
    let writer = Connection::open(file.path()).unwrap();
    let create = "CREATE TABLE cache (hash TEXT PRIMARY KEY, value BLOB, expires_at INTEGER, created_at INTEGER)";
    writer.execute_batch(&format!("PRAGMA cache_size = 1; {create}; {INSERT}")).unwrap();
    assert_eq!(entries(file.path()), (Access::Shared, 3.0));
    writer.execute_batch("BEGIN; UPDATE cache SET value = zeroblob(100000); DELETE FROM cache").unwrap();
    copy(file.path(), other.path(), &["", "-journal"]);
    assert_eq!(entries(other.path()), (Access::Copy, 3.0));
}

#[test]
fn the_version_differs_once_somebody_has_committed() {
    let file = TempFile::new();
    let writer = Connection::open(file.path()).unwrap();
    writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
    let inspection = Inspection::of(file.path()).unwrap();
    let mut before = inspection.version();
    assert_eq!(inspection.version(), before);
    for sql in ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        writer.query_row(sql, [], |_| Ok(())).ok();
        let after = inspection.version();
        assert_ne!(after, before, "{sql}");
        before = after;
    }
}

#[test]
fn what_an_older_version_lacks_is_there_and_empty() {
    let file = TempFile::new();
    let lists = [
        "SELECT priority, id FROM rate_limits",
        "SELECT error_name FROM dedupe_jobs",
        "SELECT reserved_at FROM rate_limit_reservations",
        "SELECT tag FROM cache_tags",
        "SELECT used_at FROM cache_use",
        "SELECT entries FROM cache_totals",
        "SELECT owner FROM dedupe_leases",
        "SELECT settings FROM store_settings",
        "SELECT cooldown_until FROM server_cooldowns",
        "SELECT activations FROM adaptive_state",
        "SELECT value FROM adaptive_totals",
    ];
    let read = |sql: &str| {
        let mut inspection = Inspection::of(file.path()).unwrap();
        inspection.begin().unwrap();
        inspection.query(sql, &[]).unwrap().rows
    };
    fs::write(file.path(), "").unwrap();
    for sql in lists {
        assert_eq!(read(sql), Vec::<Vec<Value>>::new(), "{sql}");
    }
    Connection::open(file.path())
        .unwrap()
        .execute_batch(
            "CREATE TABLE rate_limits (id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT, timestamp INTEGER);
            INSERT INTO rate_limits (resource, timestamp) VALUES ('r', 1);
            CREATE TABLE dedupe_jobs (hash TEXT PRIMARY KEY, job_id TEXT);
            INSERT INTO dedupe_jobs VALUES ('h', 'j');
            CREATE TABLE rate_limit_reservations (id INTEGER PRIMARY KEY, resource TEXT);",
        )
        .unwrap();
    assert_eq!(read(lists[0]), [[Value::Text("background".to_owned()), Value::Integer(1)]]);
    assert_eq!(read(lists[1]), [[Value::Null]]);
    assert_eq!(read(lists[2]), Vec::<Vec<Value>>::new());
}

#[test]
fn limits_are_told_by_the_rules_of_the_stores() {
    let file = TempFile::new();
    let kinds = [StoreKind::RateLimit, StoreKind::Adaptive];
    let db = common::open(&Location::File(file.path().to_owned()), &kinds);
    let resource = || "r".to_owned();
    for (index, priority) in [Priority::User, Priority::Background, Priority::User].into_iter().enumerate() {
        let record = adaptive::record("r", priority, NOW + index as f64, None);
        db.transact(true, &[&record.statements]).unwrap();
    }
    drop(db);
    let limit = RateLimitConfig::new(3.0, 1_000.0);
    let mut inspection = Inspection::of(file.path()).unwrap();
    inspection.begin().unwrap();
    let answer = |operation| inspection.answer(operation).unwrap();
    let call = |now| rate_limit::Call { resource: resource(), limit, shared: SharedLimits::NONE, now };
    assert_eq!(members(answer(rate_limit::status(call(NOW + 2.0)))).number("remaining"), 0.0);
    assert_eq!(number(answer(rate_limit::wait_time(call(NOW + 2.0)))), 998.0);
    assert_eq!(members(answer(rate_limit::status(call(NOW + 2_000.0)))).number("remaining"), 3.0);
    let call = adaptive::Call {
        resource: resource(),
        limit: RateLimitConfig::new(200.0, 3_600_000.0),
        shared: SharedLimits::NONE,
        config: AdaptiveConfig::default(),
        divisions: Divisions::default(),
        now: NOW + 3.0,
    };
    let mut status = members(answer(adaptive::status(call)));
    assert_eq!(status.record("adaptive").number("recentUserActivity"), 2.0);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let file = TempFile::new();
    let code = |path: &Path| match Inspection::of(path).and_then(|mut inspection| inspection.begin()) {
        Err(Error::Refused { code, message }) => {
            assert!(message.contains(&*path.to_string_lossy()), "{message}");
            code.to_owned()
        }
        Err(Error::Sqlite { code, .. }) => code.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(code(file.path()), "ENOENT");
    assert_eq!(code(file.path().parent().unwrap()), "EISDIR");
    fs::write(file.path(), "no database, but long enough to look like one".repeat(100)).unwrap();
    assert_eq!(code(file.path()), "26");
    fs::write(file.path(), "").unwrap();
    let mut inspection = Inspection::of(file.path()).unwrap();
    assert!(inspection.query("SELECT 1", &[]).is_err(), "no state is being read");
    inspection.begin().unwrap();
    assert!(inspection.query("DELETE FROM cache", &[]).is_err());
    assert!(inspection.query("SELECT * FROM nothing", &[]).is_err());
}
