//! Small databases, and what a process that ended suddenly has left beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use rusqlite::Connection as Sqlite;

use super::session::{KINDS, remove};
use comic_vine_sqlite_store::core::options::{JournalMode, Synchronous};
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};

/// The bytes of a database and of the files beside it; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub database: Vec<u8>,
    pub log: Vec<u8>,
    pub journal: Vec<u8>,
    pub page_size: usize,
}

pub static BASES: LazyLock<Vec<Files>> = LazyLock::new(|| {
    vec![
        with_log(512, &[]),
        with_journal(1_024, &[]),
        with_journal(512, &[TABLES_0_2_0, "ALTER TABLE rate_limits ADD COLUMN priority TEXT DEFAULT 'background'"]),
        // Of the first versions.
        with_log(1_024, &[TABLES_0_2_0]),
        plain(4_096, &[]),
    ]
});

/// As 0.2.0 makes them; in its first versions `rate_limits` had no priority.
const TABLES_0_2_0: &str = "
    CREATE TABLE cache (hash TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at INTEGER NOT NULL, created_at INTEGER NOT NULL);
    CREATE INDEX idx_cache_expires_at ON cache(expires_at);
    CREATE TABLE dedupe_jobs (hash TEXT PRIMARY KEY, job_id TEXT NOT NULL, status TEXT NOT NULL, result BLOB, error TEXT,
      created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
    CREATE INDEX idx_dedupe_status ON dedupe_jobs(status);
    CREATE TABLE rate_limits (id INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, timestamp INTEGER NOT NULL);
    CREATE INDEX idx_rate_limit_resource ON rate_limits(resource);
    CREATE INDEX idx_rate_limit_timestamp ON rate_limits(timestamp);";

/// Entries of which one has overflow pages, jobs of each status, and requests, all around the time of the calls.
const ROWS: &str = r#"
    INSERT INTO cache VALUES ('a', x'22315c22', 1767225700000, 1767225500000),
      ('b', CAST('"' || hex(zeroblob(700)) || '"' AS BLOB), 1767225700000, 1767225500000);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20)
      INSERT INTO cache SELECT 'a ' || i, CAST('"1"' AS BLOB), 1767225600000 + (i - 10) * 60000, 1767225500000 FROM n;
    INSERT INTO dedupe_jobs (hash, job_id, status, result, error, created_at, updated_at)
      VALUES ('a', 'job', 'completed', CAST('"1"' AS BLOB), NULL, 1767225599000, 1767225599900),
      ('b', 'other', 'pending', NULL, NULL, 1767225599000, 1767225599000),
      ('', 'job 2', 'failed', NULL, 'failed', 1767225599000, 1767225599900);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40)
      INSERT INTO rate_limits (resource, timestamp) SELECT char(97 + i % 2), 1767225600000 - i * 2500 FROM n;"#;

/// Rows of the tables that 0.2.0 does not have.
const OWN_ROWS: &str = "
    INSERT INTO dedupe_leases VALUES ('b', 'somebody', 'other', 1767225603000), ('c', 'somebody', NULL, 1767225603000);
    INSERT INTO rate_limit_reservations (resource, priority, owner, expires_at, reserved_at)
      VALUES ('a', 'user', 'somebody', 1767225700000, 1767225599000), ('b', NULL, 'store', 1767225600000, NULL);
    INSERT INTO adaptive_state VALUES ('a', 1767225599000, 1767225599000, 1, 3);
    INSERT INTO adaptive_totals VALUES ('activations', 5);";

/// What a transaction was about to change.
const CHANGES: &str = "
    UPDATE cache SET value = CAST('\"2\"' AS BLOB), expires_at = expires_at + 1;
    DELETE FROM rate_limits WHERE id % 3 = 0;
    UPDATE dedupe_jobs SET updated_at = updated_at + 1;";

/// A directory that no flush has to wait for, where there is one.
pub fn directory() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

fn path() -> PathBuf {
    directory().join(format!("fuzz-base-{}.db", process::id()))
}

/// A file in rollback mode, with the tables and rows that `tables` make possible; without tables, with ours.
fn make(path: &Path, page_size: usize, tables: &[&str]) -> Sqlite {
    remove(path);
    let sqlite = Sqlite::open(path).unwrap();
    sqlite.execute_batch(&format!("PRAGMA page_size = {page_size}; VACUUM")).unwrap();
    if tables.is_empty() {
        prepare(path);
    }
    for script in tables.iter().copied().chain([ROWS]).chain(tables.is_empty().then_some(OWN_ROWS)) {
        sqlite.execute_batch(script).unwrap();
    }
    sqlite
}

fn prepare(path: &Path) {
    let mut connection = Connection::open(&Location::File(path.to_owned())).unwrap();
    for kind in KINDS {
        connection.prepare_store(kind, true).unwrap();
    }
}

fn plain(page_size: usize, tables: &[&str]) -> Files {
    let path = path();
    drop(make(&path, page_size, tables));
    let files = Files { database: fs::read(&path).unwrap(), page_size, ..Files::default() };
    remove(&path);
    files
}

/// With a write-ahead log that was not checkpointed.
fn with_log(page_size: usize, tables: &[&str]) -> Files {
    let path = path();
    drop(make(&path, page_size, tables));
    let location = Location::File(path.clone());
    let mut connection = Connection::open(&location).unwrap();
    connection.configure(JournalMode::Wal, Synchronous::Normal, true).unwrap();
    let writer = Sqlite::open(&path).unwrap();
    writer.execute_batch(&format!("PRAGMA wal_autocheckpoint = 0; {CHANGES}")).unwrap();
    let read = |path: PathBuf| fs::read(path).unwrap();
    // Nobody else has the file open, whose locks that drops.
    let files = Files {
        database: read(path.clone()),
        log: read(with_suffix(&path, "-wal")),
        page_size,
        ..Files::default()
    };
    drop((writer, connection));
    remove(&path);
    files
}

/// With the journal of a transaction that did not get to its end.
fn with_journal(page_size: usize, tables: &[&str]) -> Files {
    let path = path();
    let sqlite = make(&path, page_size, tables);
    // What was changed goes to the file before the commit.
    sqlite
        .execute_batch(&format!("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE; {CHANGES}"))
        .unwrap();
    let read = |path: PathBuf| fs::read(path).unwrap();
    let files = Files {
        database: read(path.clone()),
        journal: read(with_suffix(&path, "-journal")),
        page_size,
        ..Files::default()
    };
    drop(sqlite);
    remove(&path);
    files
}

pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_beside_databases_are_taken_for_what_they_are() {
        for (index, files) in BASES.iter().enumerate() {
            let path = directory().join(format!("fuzz-base-{}-{index}.db", process::id()));
            fs::write(&path, &files.database).unwrap();
            let value = || {
                let sqlite = Sqlite::open(&path).unwrap();
                sqlite
                    .query_row("SELECT hex(value) FROM cache WHERE hash = 'a 1'", [], |row| row.get::<_, String>(0))
            };
            let (one, two) = ("223122", "223222");
            if !files.log.is_empty() {
                assert_eq!(value().unwrap(), one, "base {index} without its log");
                remove(&path);
                fs::write(&path, &files.database).unwrap();
                fs::write(with_suffix(&path, "-wal"), &files.log).unwrap();
                assert_eq!(value().unwrap(), two, "base {index}");
            } else if !files.journal.is_empty() {
                fs::write(with_suffix(&path, "-journal"), &files.journal).unwrap();
                assert_eq!(value().unwrap(), one, "base {index}");
                assert_ne!(fs::read(&path).unwrap(), files.database, "base {index}: nothing was rolled back");
            }
            remove(&path);
        }
    }
}
