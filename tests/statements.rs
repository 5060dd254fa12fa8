//! What holds of each statement that the stores run.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::BoundStatement;
use comic_vine_sqlite_store::core::schema::SchemaConnection;
use comic_vine_sqlite_store::core::statements::{Effect, Statement, Table};
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};

use common::Value;

const KINDS: [StoreKind; 6] = [
    StoreKind::Cache,
    StoreKind::CacheTags,
    StoreKind::CacheBounds,
    StoreKind::Dedupe,
    StoreKind::Adaptive,
    StoreKind::Server,
];

/// How many values it is given.
fn parameters(statement: Statement) -> i64 {
    let places = statement.sql().split('?').skip(1);
    // Those without a number have the one after the last.
    places.fold(0, |highest, place| {
        let digits = place.split(|character: char| !character.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).map_or(highest + 1, |number: i64| highest.max(number))
    })
}

/// SQLite may make another plan for other values (sqlite.org/c3ref/c_dbconfig_defensive.html,
/// `SQLITE_DBCONFIG_ENABLE_QPSG`), which takes longer than running a statement.
#[test]
fn none_is_prepared_anew_for_other_values() {
    let connection = common::open(&Location::Memory, &KINDS);
    let mut first = None;
    for round in 0..5 {
        for statement in Statement::ALL {
            let values = (0..parameters(*statement)).map(|parameter| Value::Integer(round * 1_000 + parameter));
            connection.transact(true, &[&[BoundStatement::new(*statement, values)]]).unwrap();
        }
        // The first time for the schema.
        let anew = connection.preparations_anew().unwrap();
        assert_eq!(*first.get_or_insert(anew), anew, "round {round}");
    }
}

/// The tables of the stores that share one.
fn table_of(name: &str) -> Table {
    match name {
        "cache" | "cache_tags" | "cache_use" | "cache_totals" => Table::Cache,
        "dedupe_jobs" | "dedupe_leases" => Table::Jobs,
        "rate_limits" | "rate_limit_reservations" | "adaptive_state" | "adaptive_totals" | "server_cooldowns" => {
            Table::Requests
        }
        "store_settings" => Table::Settings,
        "request_log" | "host_leases" => Table::Hosts,
        other => panic!("{other}"),
    }
}

/// Whether all that a statement touches is of the key it is given as this parameter, by its text.
fn is_of_key(sql: &str, index: usize) -> bool {
    let parameter = format!("= ?{}", index + 1);
    let columns = [("resource", "resource"), ("origin", "origin"), ("host_leases", "name")];
    let column = columns.into_iter().find(|(word, _)| sql.contains(word)).map_or("hash", |(_, column)| column);
    let inserts_it = index == 0 && sql.contains(&format!("({column}, "));
    let renames_it = sql.contains(&format!("?{} AS of,", index + 1)) && sql.contains(&format!("{column} = of"));
    sql.contains(&format!("{column} {parameter}")) || inserts_it || renames_it
}

/// What SQLite makes of a statement whose parameters are all 1 (sqlite.org/opcode.html).
fn program(connection: &mut Connection, statement: Statement) -> Vec<Vec<Value>> {
    let mut parts = statement.sql().split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    let sql = parts.fold(first, |sql, part| sql + "1" + part.trim_start_matches(|it: char| it.is_ascii_digit()));
    connection.query(&format!("EXPLAIN {sql}")).unwrap()
}

/// `Count` goes through a whole tree as one step: a budget of steps does not end that where the tree has no end.
#[test]
fn none_counts_a_tree_in_one_step() {
    let mut connection = common::open(&Location::Memory, &KINDS);
    let counts = |program: Vec<Vec<Value>>| program.iter().any(|row| row[1].text() == Some("Count"));
    assert!(counts(connection.query("EXPLAIN SELECT COUNT(*) FROM cache").unwrap()));
    for statement in Statement::ALL {
        assert!(!counts(program(&mut connection, *statement)), "{statement:?}");
    }
}

#[test]
fn each_touches_what_it_says() {
    let mut connection = common::open(&Location::Memory, &KINDS);
    let roots = connection.query("SELECT rootpage, tbl_name FROM sqlite_schema WHERE rootpage > 0").unwrap();
    // Where ids given out are kept: no read looks there.
    let sequence = roots.iter().find(|row| row[1].text() == Some("sqlite_sequence")).map(|row| row[0].clone());
    let table_at = |page: &Value| {
        let found = roots.iter().find(|row| row[0].number() == page.number());
        found.and_then(|row| row[1].text()).map(table_of)
    };
    for statement in Statement::ALL {
        let access = statement.access();
        let program = program(&mut connection, *statement);
        let mut writes = false;
        for row in &program {
            let touched = match row[1].text().unwrap() {
                "OpenRead" | "OpenWrite" => &row[3],
                "Clear" => &row[2],
                _ => continue,
            };
            // Or the schema.
            if Some(touched) == sequence.as_ref() || touched.number() == Some(1.0) {
                continue;
            }
            writes |= row[1].text() != Some("OpenRead");
            assert_eq!(table_at(touched), Some(access.table), "{statement:?} {row:?}");
        }
        if writes {
            assert_ne!(access.effect, Effect::Reads, "{statement:?}");
        }
        if let Some(index) = access.key {
            assert!(is_of_key(statement.sql(), index), "{statement:?}");
        }
    }
}
