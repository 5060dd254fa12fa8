//! Rows as another program may have written them: any of SQLite's types in any column.

use std::fmt::Write;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::numbers::{NOW, Name, Number, OWNERS, list};
use comic_vine_sqlite_store::core::error::StoreKind;

/// The stores' tables, with what their columns are for.
const TABLES: [(StoreKind, &str, &[Column]); 7] = {
    use Column::{Count, Job, Key, Owner, Priority, Status, Text, Time};
    use StoreKind::{Adaptive, Cache, Dedupe};
    [
        (Cache, "cache (hash, value, expires_at, created_at)", &[Key, Text, Time, Time]),
        (
            Dedupe,
            "dedupe_jobs (hash, job_id, status, result, error, created_at, updated_at)",
            &[Key, Job, Status, Text, Text, Time, Time],
        ),
        (Dedupe, "dedupe_leases (hash, owner, job_id, expires_at)", &[Key, Owner, Job, Time]),
        (Adaptive, "rate_limits (resource, timestamp, priority)", &[Key, Time, Priority]),
        (
            Adaptive,
            "rate_limit_reservations (resource, priority, owner, expires_at, reserved_at)",
            &[Key, Priority, Owner, Time, Time],
        ),
        (
            Adaptive,
            "adaptive_state (resource, last_user_at, last_background_at, high_activity, activations)",
            &[Key, Time, Time, Count, Count],
        ),
        (Adaptive, "adaptive_totals (name, value)", &[Priority, Count]),
    ]
};

#[derive(Clone, Copy)]
enum Column {
    Key,
    Job,
    Status,
    Text,
    Time,
    Owner,
    Priority,
    Count,
}

/// The tables as another program may have made them: nothing has a type, or has to be there.
const LOOSE: &str = "
    CREATE TABLE cache (hash PRIMARY KEY, value, expires_at, created_at);
    CREATE TABLE dedupe_jobs (hash PRIMARY KEY, job_id, status, result, error, created_at, updated_at);
    CREATE TABLE dedupe_leases (hash PRIMARY KEY, owner, job_id, expires_at);
    CREATE TABLE rate_limits (id INTEGER PRIMARY KEY, resource, timestamp, priority);
    CREATE TABLE rate_limit_reservations (id INTEGER PRIMARY KEY, resource, priority, owner, expires_at, reserved_at);
    CREATE TABLE adaptive_state (resource PRIMARY KEY, last_user_at, last_background_at, high_activity, activations);
    CREATE TABLE adaptive_totals (name PRIMARY KEY, value);";

/// SQL to be run before the stores' tables are made, and after that.
#[derive(Default)]
pub struct Script {
    pub before: &'static str,
    pub after: String,
}

pub struct RowPlan {
    is_loose: bool,
    inserts: Vec<Insert>,
}

struct Insert {
    kind: StoreKind,
    table: &'static str,
    cells: Vec<String>,
    /// Written once, or more often than a step of housekeeping removes at once, under names of their own or the same.
    is_repeated: bool,
    has_own_names: bool,
}

impl<'a> Arbitrary<'a> for RowPlan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(RowPlan { is_loose: bool::arbitrary(input)?, inserts: list(input, 1..=6)? })
    }
}

impl<'a> Arbitrary<'a> for Insert {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (kind, table, columns) = *input.choose(&TABLES)?;
        let cells = columns.iter().map(|column| cell(*column, input)).collect::<Result<_>>()?;
        Ok(Insert { kind, table, cells, is_repeated: input.ratio(1, 8)?, has_own_names: bool::arbitrary(input)? })
    }
}

impl RowPlan {
    /// What fills the tables of stores of these kinds.
    pub fn script(&self, kinds: &[StoreKind]) -> Script {
        let mut after = String::new();
        let inserts = self.inserts.iter().filter(|insert| kinds.contains(&insert.kind));
        for Insert { table, cells, is_repeated, has_own_names, .. } in inserts {
            let values = if *is_repeated && *has_own_names {
                let [first, rest @ ..] = cells.as_slice() else { continue };
                let rest: String = rest.iter().map(|cell| format!(", {cell}")).collect();
                format!("{first} || i{rest}")
            } else {
                cells.join(", ")
            };
            let times = if *is_repeated { 1_100 } else { 1 };
            writeln!(
                after,
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {times})
                 INSERT OR IGNORE INTO {table} SELECT {values} FROM n;"
            )
            .unwrap();
        }
        Script { before: if self.is_loose { LOOSE } else { "" }, after }
    }
}

/// A literal: what the column is for, or anything.
fn cell(column: Column, input: &mut Unstructured<'_>) -> Result<String> {
    if input.ratio(1, 3)? {
        return anything(input);
    }
    match column {
        Column::Key => text(Name::arbitrary(input)?.0.as_bytes()),
        Column::Job => text(input.choose(&["", "job", "other"])?.as_bytes()),
        Column::Status => text(input.choose(&["pending", "completed", "failed", "PENDING", ""])?.as_bytes()),
        Column::Priority => text(input.choose(&["user", "background", "activations", ""])?.as_bytes()),
        Column::Owner => text(input.choose(&OWNERS)?.as_bytes()),
        Column::Text => {
            const STORED: [&str; 10] = [
                r#""{\"a\":1}""#,
                r#""__UNDEFINED__""#,
                r#""__NULL__""#,
                "__NULL__",
                r#"{"a":1}"#,
                "",
                "\"",
                r#""\""#,
                r#""\ud800""#,
                " \"1\" ",
            ];
            let stored = input.choose(&STORED)?.as_bytes();
            if bool::arbitrary(input)? { Ok(blob(stored)) } else { text(stored) }
        }
        Column::Time => Ok(real(if bool::arbitrary(input)? { NOW } else { Number::arbitrary(input)?.0 })),
        Column::Count => Ok(i64::from(u8::arbitrary(input)?).to_string()),
    }
}

fn anything(input: &mut Unstructured<'_>) -> Result<String> {
    match input.int_in_range(0..=5)? {
        0 => Ok("NULL".to_owned()),
        1 => Ok(real(Number::arbitrary(input)?.0)),
        // The least integer has no literal.
        2 => Ok(format!("({} - 1)", i64::arbitrary(input)?.max(i64::MIN + 2))),
        3 => text(some_bytes(input)?),
        4 => Ok(blob(some_bytes(input)?)),
        // More than a page.
        _ => Ok(format!("zeroblob({})", input.int_in_range(0..=9_000)?)),
    }
}

fn some_bytes<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = input.int_in_range(0..=24)?;
    input.bytes(length.min(input.len()))
}

/// Whole numbers are stored as such where they can be.
fn real(number: f64) -> String {
    if number.is_infinite() {
        if number > 0.0 { "9e999".to_owned() } else { "-9e999".to_owned() }
    } else if number.fract() == 0.0 && number.abs() < 9e18 {
        (number as i64).to_string()
    } else {
        format!("{number:e}")
    }
}

fn blob(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// It need not be UTF-8.
fn text(bytes: &[u8]) -> Result<String> {
    Ok(format!("CAST({} AS TEXT)", blob(bytes)))
}
