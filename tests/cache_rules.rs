//! The cache beside a map: what is stored comes back unchanged until its time is over, and not a millisecond longer.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::HashMap;

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Operation, Outcome};
use comic_vine_sqlite_store::core::{cache, codec};
use common::{Db, TOLERANCE, Value, members};
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

const STORES: usize = 2;
const HASHES: [&str; 4] = ["", "one", "two\0", "'; DROP TABLE cache; --"];

#[derive(Clone, Debug)]
enum Act {
    Set(String, f64),
    Get,
    /// A `get` after which the store stops before it removes what it found expired.
    Look,
    /// It goes on and removes it.
    GoOn,
    Delete,
    Clear,
    Cleanup,
    Stats,
}

/// After how long, which store, which hash, what.
type Action = (i64, usize, usize, Act);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    text: String,
    until: f64,
    created_at: f64,
}

impl Entry {
    fn is_served(&self, now: f64) -> bool {
        now < self.until
    }

    fn has_expired(&self, now: f64) -> bool {
        self.until < now
    }

    /// Whether a clean-up removes it: also if it was created later than `now`, unless it never expires.
    fn is_cleaned_up(&self, now: f64) -> bool {
        self.has_expired(now) || (self.created_at > now + TOLERANCE && self.until <= 8.64e15)
    }
}

/// What lies in the database: hash, value, expiry, creation.
type Row = (String, Vec<u8>, f64, f64);

struct Model<'db> {
    db: &'db Db,
    /// The world's time, and how far the stores' clocks are ahead of it.
    now: f64,
    ahead: [i64; STORES],
    map: HashMap<&'static str, Entry>,
    /// What each store has found expired and not removed yet: its hash, its expiry, and the removal.
    found: [Option<(&'static str, f64, Operation)>; STORES],
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, ahead: [i64; STORES]) -> Self {
        db.run(cache::clear());
        Model { db, now: START, ahead, map: HashMap::new(), found: Default::default() }
    }

    fn stored(&self) -> Vec<Row> {
        let rows = self.db.rows("SELECT hash, value, expires_at, created_at FROM cache ORDER BY hash");
        rows.into_iter()
            .map(|row| {
                let [hash, Value::Blob(value), until, created_at] = row.as_slice() else { panic!("{row:?}") };
                let number = |value: &Value| value.number().unwrap();
                (hash.text().unwrap().to_owned(), value.clone(), number(until), number(created_at))
            })
            .collect()
    }

    fn expected(&self) -> Vec<Row> {
        let row = |(hash, entry): (&&str, &Entry)| {
            (String::from(*hash), codec::encode(&entry.text), entry.until, entry.created_at)
        };
        let mut rows: Vec<Row> = self.map.iter().map(row).collect();
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        rows
    }

    fn apply(&mut self, (after, store, hash, act): Action) {
        self.now += after as f64;
        let now = self.now + self.ahead[store] as f64;
        let (db, hash) = (self.db, HASHES[hash]);
        let before = self.stored();
        match act.clone() {
            Act::Set(text, ttl) => {
                db.run(cache::set(hash, text.as_str(), ttl, now));
                self.map.insert(hash, Entry { text, until: now + ttl.max(0.0) * 1_000.0, created_at: now });
            }
            Act::Get => {
                self.map.retain(|kept, entry| *kept != hash || entry.is_served(now));
                let answer = get(db, hash, now);
                assert_eq!(answer, self.map.get(hash).map(|entry| entry.text.clone()));
                never_serves_what_has_expired(&before, hash, now, answer.as_deref());
            }
            Act::Look => match (db.step(cache::get(hash, now)), self.map.get(hash)) {
                (Outcome::AnswerThen(Answer::Undefined, removal), Some(entry)) => {
                    assert!(!entry.is_served(now), "{entry:?}");
                    self.found[store] = Some((hash, entry.until, removal));
                }
                (Outcome::Answer(Answer::Json { text, .. }), Some(entry)) => {
                    assert!(entry.is_served(now) && entry.text == *text, "{entry:?}");
                    never_serves_what_has_expired(&before, hash, now, Some(&text));
                }
                (Outcome::Answer(Answer::Undefined), None) => {}
                (_, entry) => panic!("another answer than {entry:?}"),
            },
            Act::GoOn => {
                if let Some((hash, until, removal)) = self.found[store].take() {
                    db.run(removal);
                    self.map.retain(|kept, entry| *kept != hash || entry.until != until);
                }
            }
            Act::Delete => {
                db.run(cache::delete(hash));
                self.map.remove(hash);
            }
            Act::Clear => {
                db.run(cache::clear());
                self.map.clear();
            }
            Act::Cleanup => {
                db.run(cache::cleanup(now));
                self.map.retain(|_, entry| !entry.is_cleaned_up(now));
                let after = self.stored();
                let spared = |row: &&Row| row.2 >= now && row.3 <= now;
                assert!(before.iter().filter(spared).all(|row| after.contains(row)), "{before:?} {after:?}");
            }
            Act::Stats => {
                let expired = self.map.values().filter(|entry| entry.has_expired(now)).count();
                let mut stats = members(db.run(cache::stats(now)));
                let (expired_items, total) = (stats.number("expiredItems"), stats.number("totalItems"));
                assert_eq!(expired_items, expired as f64);
                assert_eq!(total, self.map.len() as f64);
                assert_eq!(total, before.len() as f64);
                assert_eq!(expired_items, before.iter().filter(|row| row.2 < now).count() as f64);
                assert!(stats.number("databaseSizeKB") > 0.0);
            }
        }
        assert_eq!(count(self.db), self.map.len() as f64);
        assert_eq!(self.stored(), self.expected(), "after {act:?} of {hash:?} by {store} at {now}");
    }

    /// Once all clocks are past an expiry, the entry is absent and goes, whatever the clocks showed before.
    fn settle(mut self) {
        let finite = self.stored().into_iter().map(|row| row.2).filter(|until| *until < 1e15);
        let last = finite.fold(self.now, f64::max);
        let behind = -self.ahead.into_iter().min().unwrap();
        self.apply(((last - self.now).ceil() as i64 + behind + 1, 0, 0, Act::Stats));
        for (hash, name) in HASHES.iter().enumerate() {
            let endless = self.map.get(name).is_some_and(|entry| entry.until >= 1e15);
            self.apply((0, 0, hash, Act::Get));
            assert_eq!(self.map.contains_key(name), endless);
        }
        for store in 0..STORES {
            self.apply((0, store, 0, Act::Cleanup));
        }
        assert!(self.stored().iter().all(|row| row.2 >= 1e15));
    }
}

fn never_serves_what_has_expired(rows: &[Row], hash: &str, now: f64, answer: Option<&str>) {
    let Some(answer) = answer else { return };
    let row = rows.iter().find(|row| row.0 == hash).unwrap();
    assert!(now < row.2, "{answer} at {now} of {row:?}");
    assert_eq!(row.1, codec::encode(answer));
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
        2 => Just(Act::Look),
        2 => Just(Act::GoOn),
        2 => Just(Act::Delete),
        1 => Just(Act::Clear),
        1 => Just(Act::Cleanup),
        1 => Just(Act::Stats),
    ]
}

fn forward() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![2 => 0..2i64, 1 => prop::sample::select(vec![999, 1_000, 2_000]), 1 => 0..3_000i64]
}

fn actions(after: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec((after, 0..STORES, 0..HASHES.len(), acts()), 1..60)
}

#[test]
fn every_answer_is_that_of_a_map() {
    let db = Db::memory(StoreKind::Cache);
    proptest!(common::random(400), |(actions in actions(forward()))| {
        let mut model = Model::new(&db, [0; STORES]);
        for action in actions {
            model.apply(action);
        }
        model.settle();
    });
}

#[test]
fn every_answer_is_that_of_a_map_when_time_goes_back() {
    let db = Db::memory(StoreKind::Cache);
    let actions = actions(common::back_and_forth(forward()));
    proptest!(common::random(200), |(ahead in common::clocks(), actions in actions)| {
        let mut model = Model::new(&db, ahead);
        for action in actions {
            model.apply(action);
        }
        model.settle();
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

#[test]
fn entries_created_later_than_now_are_removed_in_bounded_steps() {
    let db = Db::memory(StoreKind::Cache);
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
           INSERT INTO cache SELECT 'large-' || i, zeroblob(1000000), 9e12, 8e12 + i FROM n;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
           INSERT INTO cache SELECT 'small-' || i, '1', 9e12, IIF(i % 2, 8e12, 2000) FROM n;
         INSERT INTO cache VALUES ('for ever', '1', 9e999, 8e12), ('later by less', '1', 9e12, 2000)",
    );
    let (mut left, mut next) = (count(&db), Some(cache::cleanup(1_000.0)));
    while let Some(operation) = next {
        let outcome = db.step(operation);
        let large = db.number("SELECT COUNT(*) FROM cache WHERE length(value) > 1");
        let removed = left - count(&db);
        left = count(&db);
        assert!(removed <= if large > 0.0 { 5.0 } else { 500.0 }, "{removed}");
        next = if let Outcome::Continue(next) = outcome { Some(next) } else { None };
    }
    assert_eq!(left, 602.0);
    assert_eq!(db.number("SELECT COUNT(*) FROM cache WHERE created_at = 2000"), 601.0);
}
