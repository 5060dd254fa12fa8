//! The cache beside a map: what is stored comes back unchanged until its time is over, and not a millisecond longer.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::HashMap;

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::plan::{Answer, Operation, Outcome};
use comic_vine_sqlite_store::core::{cache, codec};
use common::{Db, members};
use proptest::prelude::*;

const START: f64 = 1.7e12;

/// What a `get` answers, after its parse: a text that is no JSON makes way as the binding has it.
fn get(db: &Db, hash: &str, now: f64) -> Option<String> {
    match db.run(cache::get(hash, now)) {
        Answer::Undefined => None,
        Answer::Json { text, .. } if serde_json::from_str::<serde_json::Value>(&text).is_ok() => {
            Some(text.to_string())
        }
        Answer::Json { unreadable, .. } => {
            db.run(Operation::command([unreadable.unwrap()]));
            None
        }
        other => panic!("{other:?}"),
    }
}

fn count(db: &Db) -> f64 {
    db.number("SELECT COUNT(*) FROM cache")
}

#[derive(Clone, Debug)]
enum Act {
    Set(String, f64),
    Get,
    Delete,
    Clear,
    Cleanup,
    Stats,
}

fn acts() -> impl Strategy<Value = Act> {
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let ttl = prop_oneof![
        4 => (0..5u32).prop_map(f64::from),
        2 => 0.0..5.0f64,
        1 => prop::sample::select(vec![0.001, -1.0, f64::INFINITY, f64::NEG_INFINITY, 1e300]),
    ];
    prop_oneof![
        6 => (text, ttl).prop_map(|(text, ttl)| Act::Set(text, ttl)),
        8 => Just(Act::Get),
        2 => Just(Act::Delete),
        1 => Just(Act::Clear),
        1 => Just(Act::Cleanup),
        1 => Just(Act::Stats),
    ]
}

#[test]
fn every_answer_is_that_of_a_map() {
    let db = Db::memory(StoreKind::Cache);
    let after = prop_oneof![2 => 0..2i64, 1 => prop::sample::select(vec![999, 1_000, 2_000]), 1 => 0..3_000i64];
    let actions = prop::collection::vec((after, 0..4usize, acts()), 1..60);
    proptest!(common::random(400), |(actions in actions)| {
        let hashes = ["", "one", "two\0", "'; DROP TABLE cache; --"];
        let mut map: HashMap<&str, (String, f64)> = HashMap::new();
        let mut now = START;
        db.run(cache::clear());
        for (after, hash, act) in actions {
            now += after as f64;
            let hash = hashes[hash];
            match act {
                Act::Set(text, ttl) => {
                    db.run(cache::set(hash, text.as_str(), ttl, now));
                    map.insert(hash, (text, now + ttl.max(0.0) * 1_000.0));
                }
                Act::Get => {
                    map.retain(|kept, (_, until)| *kept != hash || now < *until);
                    assert_eq!(get(&db, hash, now), map.get(hash).map(|(text, _)| text.clone()));
                }
                Act::Delete => {
                    db.run(cache::delete(hash));
                    map.remove(hash);
                }
                Act::Clear => {
                    db.run(cache::clear());
                    map.clear();
                }
                Act::Cleanup => {
                    db.run(cache::cleanup(now));
                    map.retain(|_, (_, until)| now <= *until);
                }
                Act::Stats => {
                    let expired = map.values().filter(|(_, until)| *until < now).count();
                    let mut stats = members(db.run(cache::stats(now)));
                    assert_eq!(stats.number("expiredItems"), expired as f64);
                    assert_eq!(stats.number("totalItems"), map.len() as f64);
                    assert!(stats.number("databaseSizeKB") > 0.0);
                }
            }
            assert_eq!(count(&db), map.len() as f64);
        }
    });
}

#[test]
fn an_entry_lives_until_its_last_millisecond() {
    let db = Db::memory(StoreKind::Cache);
    // 1.0005 s: the expiry is a fraction, and kept as one.
    for (ttl, last) in [(1.0, 999.0), (1.0005, 1_000.0), (0.001, 0.0)] {
        db.run(cache::set("hash", "1", ttl, START));
        assert_eq!(get(&db, "hash", START + last).as_deref(), Some("1"));
        assert_eq!(get(&db, "hash", START + last + 1.0), None);
        assert_eq!(count(&db), 0.0);
    }
    for ttl in [0.0, -5.0] {
        db.run(cache::set("hash", "1", ttl, START));
        assert_eq!(get(&db, "hash", START), None);
    }
}

#[test]
fn removing_an_expired_entry_spares_the_one_stored_meanwhile() {
    let db = Db::memory(StoreKind::Cache);
    db.run(cache::set("hash", "1", 1.0, START));
    let Outcome::AnswerThen(_, removal) = db.step(cache::get("hash", START + 1_000.0)) else { panic!("expired") };
    db.run(cache::set("hash", "2", 1.0, START + 1_000.0));
    db.run(removal);
    assert_eq!(get(&db, "hash", START + 1_000.0).as_deref(), Some("2"));
}

#[test]
fn what_is_stored_for_undefined_differs_from_a_string_of_that_text() {
    let db = Db::memory(StoreKind::Cache);
    db.run(cache::set("undefined", codec::UNDEFINED, 1.0, START));
    db.run(cache::set("string", r#""__UNDEFINED__""#, 1.0, START));
    assert_eq!(get(&db, "undefined", START), None);
    assert_eq!(get(&db, "string", START).as_deref(), Some(r#""__UNDEFINED__""#));
    assert_eq!(count(&db), 2.0);
}

#[test]
fn unreadable_entries_read_as_absent_and_are_removed() {
    let db = Db::memory(StoreKind::Cache);
    let until = START + 1_000.0;
    let values = ["x''", "x'fffe'", "'\"open'", "''", "'\"no json\"'", "'{'", "5", "1.5"];
    for value in values {
        db.execute(&format!("INSERT INTO cache VALUES ('hash', {value}, {until}, 0)"));
        assert_eq!(get(&db, "hash", START), None, "{value}");
        assert_eq!(count(&db), 0.0, "{value}");
    }
    for expires_at in ["'never'", "x'00'"] {
        db.execute(&format!("INSERT INTO cache VALUES ('hash', '1', {expires_at}, 0)"));
        assert_eq!(get(&db, "hash", START), None, "{expires_at}");
        assert_eq!(count(&db), 0.0, "{expires_at}");
    }
    // Plain JSON, as BLOB or TEXT, is what other programs may have written.
    for value in [r#"'{"a":1}'"#, r#"CAST('{"a":1}' AS BLOB)"#, r#"'"{\"a\":1}"'"#] {
        db.execute(&format!("INSERT OR REPLACE INTO cache VALUES ('hash', {value}, {until}, 0)"));
        assert_eq!(get(&db, "hash", START).as_deref(), Some(r#"{"a":1}"#), "{value}");
    }
}

#[test]
fn a_cleanup_takes_bounded_steps_and_leaves_what_has_not_expired() {
    let db = Db::memory(StoreKind::Cache);
    for rows in [0, 499, 500, 501, 1_000, 1_700] {
        db.execute(&format!(
            "DELETE FROM cache;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} + 1700)
               INSERT INTO cache SELECT 'hash-' || i, '1', CASE WHEN i <= {rows} THEN 999 ELSE 1000 + i END, 0 FROM n"
        ));
        let (mut left, mut next) = (rows + 1_700, Some(cache::cleanup(1_000.0)));
        while let Some(operation) = next {
            let outcome = db.step(operation);
            let before = left;
            left = count(&db) as i32;
            assert!(before - left <= 500, "{}", before - left);
            next = match outcome {
                Outcome::Continue(next) => Some(next),
                Outcome::Answer(Answer::Undefined) => None,
                _ => panic!("a cleanup answers undefined"),
            };
        }
        assert_eq!(left, 1_700);
        assert_eq!(db.number("SELECT COUNT(*) FROM cache WHERE expires_at >= 1000"), 1_700.0);
    }
}
