//! What holds of each statement that the stores run.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::plan::Step;
use comic_vine_sqlite_store::core::schema::Statement;
use comic_vine_sqlite_store::sqlite::connection::Location;

use common::Value;

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
    let kinds = [StoreKind::Cache, StoreKind::Dedupe, StoreKind::Adaptive];
    let connection = common::open(&Location::Memory, &kinds);
    let mut first = None;
    for round in 0..5 {
        for statement in Statement::ALL {
            let values = (0..parameters(*statement)).map(|parameter| Value::Integer(round * 1_000 + parameter));
            connection.transact(true, &[&[Step::new(*statement, values)]]).unwrap();
        }
        // The first time for the schema.
        let anew = connection.preparations_anew().unwrap();
        assert_eq!(*first.get_or_insert(anew), anew, "round {round}");
    }
}
