//! Operations that are carried out together, many rows by one statement: they do what they do one by one.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use comic_vine_sqlite_store::core::adaptive::{self, Priority};
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{BoundStatement, Operation, StatementResult};
use comic_vine_sqlite_store::core::options::SharedLimits;
use comic_vine_sqlite_store::core::schema::SchemaConnection;
use comic_vine_sqlite_store::core::statements::ROWS_AT_ONCE;
use comic_vine_sqlite_store::core::value::Value;
use comic_vine_sqlite_store::core::{cache, rate_limit};
use comic_vine_sqlite_store::sqlite::connection::{Connection, Location};
use proptest::prelude::*;

fn open() -> Connection {
    common::open(&Location::Memory, &[StoreKind::Cache, StoreKind::Adaptive])
}

fn rows(connection: &mut Connection) -> Vec<Vec<Vec<Value>>> {
    // Not by which id requests are in their order.
    ["SELECT * FROM cache ORDER BY hash", "SELECT resource, timestamp, priority FROM rate_limits ORDER BY id"]
        .map(|sql| connection.query(sql).unwrap())
        .to_vec()
}

/// One to a few calls of a kind, one after the other.
fn calls() -> impl Strategy<Value = Vec<Operation>> {
    let count = prop_oneof![3 => 1..4_usize, 2 => ROWS_AT_ONCE - 1..3 * ROWS_AT_ONCE];
    (count, 0..5_usize, any::<u8>()).prop_map(|(count, kind, start)| {
        let call = |index: usize| {
            // Some hashes come twice in a statement.
            let number = index + usize::from(start);
            let hash = format!("hash {}", number % 15);
            let now = number as f64;
            match kind {
                0 => cache::set(hash, number.to_string(), 60.5, now),
                1 => rate_limit::record("issues".to_owned(), now, None),
                2 if number.is_multiple_of(2) => adaptive::record("issues", Priority::User, now, None),
                2 => adaptive::record("volumes", Priority::Background, now, None),
                3 => cache::delete(hash),
                _ => rate_limit::reset("issues", SharedLimits::NONE, 0.0),
            }
        };
        (0..count).map(call).collect()
    })
}

proptest! {
    #![proptest_config(common::random(200))]

    #[test]
    fn together_do_what_they_do_one_by_one(calls in prop::collection::vec(calls(), 1..6)) {
        let operations: Vec<Operation> = calls.into_iter().flatten().collect();
        let (mut together, mut alone) = (open(), open());

        let lists: Vec<&[BoundStatement]> = operations.iter().map(|operation| operation.statements.as_slice()).collect();
        let answers = together.transact(true, &lists).unwrap();
        prop_assert_eq!(answers.len(), lists.len());
        for (list, answer) in lists.iter().zip(&answers) {
            let changes = |answer: &[StatementResult]| -> Vec<u64> {
                answer.iter().map(|result| result.changes).collect()
            };
            let expected = alone.transact(true, &[list]).unwrap().remove(0);
            prop_assert_eq!(changes(answer), changes(&expected));
        }
        prop_assert_eq!(rows(&mut together), rows(&mut alone));
    }
}
