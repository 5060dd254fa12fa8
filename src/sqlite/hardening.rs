//! What connections of our own refuse, whatever lies in a file: it may come from anybody (docs/reliability.md). How much
//! work a statement may be is in [`budget`](super::os::budget).

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, Result};

/// Limits (sqlite.org/limits.html), and why they are enough. What a file's own schema goes past, SQLite refuses to read.
const LIMITS: [(Limit, i32); 10] = [
    // The largest value there may be, encoded: see `codec::MAX_TEXT_BYTES`.
    (Limit::SQLITE_LIMIT_LENGTH, 1_000_000_000),
    // The stores' statements have less than 2 KB. Definitions of an application's tables count, too.
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000),
    // SQLite's own: what is deeper overflows the stack. The same for the parser.
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 1_000),
    // A view or trigger with more terms takes very long to be compiled.
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    // The stores' largest statement has some hundreds; triggers add theirs.
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    // Triggers that fire triggers: each level takes memory.
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 20),
    // `VACUUM` needs one.
    (Limit::SQLITE_LIMIT_ATTACHED, 1),
    // `ROWS_AT_ONCE` rows of four values.
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
    // Time grows with its square, within one step. The stores have no patterns.
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
    // Nothing of ours runs on threads of SQLite's.
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Hardens a connection.
pub fn harden(connection: &Connection) -> Result<()> {
    for (limit, value) in LIMITS {
        connection.set_limit(limit, value)?;
    }
    // No SQL can damage the file: the schema cannot be written to, nor the journal switched off.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // What the schema calls (triggers, views, expressions) has no effect past the database.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Pages that are damaged are noticed when they are read, before anything is made of their cells.
    connection.execute_batch("PRAGMA cell_size_check = ON")
}
