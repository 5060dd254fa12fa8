//! The cache beside a map: what is stored comes back unchanged until its time is over, and not a millisecond longer.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::{BTreeSet, HashMap};

use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Field, Operation, Outcome};
use comic_vine_sqlite_store::core::{cache, codec};
use common::{Db, TOLERANCE, Value, members};
use proptest::prelude::*;

const START: f64 = 1.7e12;

fn memory() -> Db {
    Db::with(&[StoreKind::Cache, StoreKind::CacheTags])
}

/// What a `get` answers, after its parse: a text that is no JSON makes way as the binding has it.
fn get(db: &Db, hash: &str, now: f64) -> Option<String> {
    match db.run(cache::get(hash, now)) {
        Answer::Undefined | Answer::Expired => None,
        Answer::Json { text, .. } if serde_json::from_str::<serde_json::Value>(&text).is_ok() => {
            Some(text.to_string())
        }
        Answer::Json { unreadable, .. } => {
            db.run(cache::remove_unreadable(unreadable.unwrap()));
            None
        }
        other => panic!("{other:?}"),
    }
}

fn count(db: &Db) -> f64 {
    db.number("SELECT COUNT(*) FROM cache")
}

const STORES: usize = 2;
const HASHES: [&str; 8] = ["", "one", "two\0", "'; DROP TABLE cache; --", "One", "%", "é", "ée"];
const TAGS: [&str; 4] = ["a", "A", "\0%", ""];
/// What hashes may begin with, some of them none.
const SCOPES: [&str; 10] = ["", "o", "O", "two\0", "_", "%", "é", "ée", "e", "'"];

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
    SetWithTags(String, f64, Vec<usize>),
    Invalidate(Vec<usize>),
    ClearScope(usize),
    List(usize, usize),
    /// Another version removes the entry, and leaves its tags.
    OldDelete,
    /// The successor stores an entry that never expires.
    SetForEver,
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
    fn is_endless(&self) -> bool {
        self.until == 0.0 || self.until > 8.64e15
    }

    fn is_served(&self, now: f64) -> bool {
        now < self.until || self.until == 0.0
    }

    fn has_expired(&self, now: f64) -> bool {
        self.until < now && self.until != 0.0
    }

    /// Whether a clean-up removes it: also if it was created later than `now`, unless it never expires.
    fn is_cleaned_up(&self, now: f64) -> bool {
        self.has_expired(now) || (self.created_at > now + TOLERANCE && !self.is_endless())
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
    /// The tags of each hash. An entry that another version has removed leaves them.
    tags: HashMap<&'static str, BTreeSet<&'static str>>,
    /// What each store has found expired and not removed yet: its hash, its expiry, and the removal.
    found: [Option<(&'static str, f64, Operation)>; STORES],
}

impl<'db> Model<'db> {
    fn new(db: &'db Db, ahead: [i64; STORES]) -> Self {
        db.run(cache::clear());
        let (map, tags) = Default::default();
        Model { db, now: START, ahead, map, tags, found: Default::default() }
    }

    /// Tags go with their entries.
    fn untag(&mut self, hash: &str) {
        if !self.map.contains_key(hash) {
            self.tags.remove(hash);
        }
    }

    fn remove(&mut self, is_gone: impl Fn(&str, &Entry) -> bool) {
        let gone: Vec<&str> =
            self.map.iter().filter(|(hash, entry)| is_gone(hash, entry)).map(|(hash, _)| *hash).collect();
        for hash in gone {
            self.map.remove(hash);
            self.tags.remove(hash);
        }
    }

    fn stored_tags(&self) -> Vec<(String, String)> {
        let rows = self.db.rows("SELECT hash, tag FROM cache_tags ORDER BY hash, tag");
        let text = |value: &Value| value.text().unwrap().to_owned();
        rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect()
    }

    fn expected_tags(&self) -> Vec<(String, String)> {
        let pair = |hash: &str, tag: &str| (hash.to_owned(), tag.to_owned());
        let mut tags: Vec<_> =
            self.tags.iter().flat_map(|(hash, tags)| tags.iter().map(|tag| pair(hash, tag))).collect();
        tags.sort();
        tags
    }

    fn has_any(&self, hash: &str, tags: &[&str]) -> bool {
        self.tags.get(hash).is_some_and(|own| tags.iter().any(|tag| own.contains(tag)))
    }

    fn check_list(&self, offset: usize, limit: usize, now: f64) {
        let Answer::Records(list) = self.db.run(cache::list(offset as f64, limit as f64, now)) else { panic!() };
        let mut expected: Vec<(&str, &Entry)> =
            self.map.iter().filter(|(_, entry)| entry.is_served(now)).map(|(hash, entry)| (*hash, entry)).collect();
        assert_eq!(list.len(), expected.len().saturating_sub(offset).min(limit));
        expected.sort_by(|one, other| other.1.created_at.total_cmp(&one.1.created_at).then(one.0.cmp(other.0)));
        for (index, record) in list.iter().enumerate() {
            let [
                ("hash", Field::Text(hash)),
                ("expiresAt", Field::Stamp(until)),
                ("createdAt", Field::Stamp(created_at)),
                ("sizeBytes", Field::Number(bytes)),
                ("tags", Field::List(tags)),
            ] = record.as_slice()
            else {
                panic!("{record:?}")
            };
            let entry = &self.map[hash.as_str()];
            assert_eq!(*until, if entry.until.is_finite() { entry.until } else { 0.0 });
            assert_eq!((*created_at, *bytes), (entry.created_at, codec::encode(&entry.text).len() as f64));
            assert_eq!(hash, expected[offset + index].0, "the newest first");
            let own: Vec<&str> = self.tags.get(hash.as_str()).into_iter().flatten().copied().collect();
            assert_eq!(*tags, own);
        }
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
            Act::SetWithTags(text, ttl, tags) => {
                let tags = tags.into_iter().map(|tag| TAGS[tag]);
                db.run(cache::set_with_tags(hash, text.as_str(), ttl, tags.clone().map(str::to_owned), now));
                self.map.insert(hash, Entry { text, until: now + ttl.max(0.0) * 1_000.0, created_at: now });
                self.tags.insert(hash, tags.collect());
            }
            Act::Invalidate(tags) => {
                let tags: Vec<&str> = tags.into_iter().map(|tag| TAGS[tag]).collect();
                let served = |(hash, entry): &(&&str, &Entry)| entry.is_served(now) && self.has_any(hash, &tags);
                let count = self.map.iter().filter(served).count();
                let answer = db.run(cache::invalidate(tags.iter().map(|tag| (*tag).to_owned()), now));
                assert_eq!(common::number(answer), count as f64);
                let tagged: BTreeSet<&str> = HASHES.into_iter().filter(|hash| self.has_any(hash, &tags)).collect();
                self.map.retain(|hash, _| !tagged.contains(hash));
                self.tags.retain(|hash, _| !tagged.contains(hash));
            }
            Act::ClearScope(scope) => {
                db.run(cache::clear_scope(SCOPES[scope]));
                self.remove(|hash, _| hash.starts_with(SCOPES[scope]));
                self.tags.retain(|hash, _| !hash.starts_with(SCOPES[scope]));
            }
            Act::List(offset, limit) => self.check_list(offset, limit, now),
            Act::OldDelete => {
                if !hash.contains('\0') {
                    db.execute(&format!("DELETE FROM cache WHERE hash = '{}'", hash.replace('\'', "''")));
                    self.map.remove(hash);
                }
            }
            Act::SetForEver => {
                if !hash.contains(['\0', '\'']) {
                    let row = format!("('{hash}', '\"1\"', 0, {now})");
                    db.execute(&format!(
                        "INSERT INTO cache VALUES {row} ON CONFLICT (hash) DO UPDATE SET value = excluded.value,
                           expires_at = excluded.expires_at, created_at = excluded.created_at"
                    ));
                    db.execute("UPDATE cache SET value = CAST(value AS BLOB)");
                    self.map.insert(hash, Entry { text: "1".to_owned(), until: 0.0, created_at: now });
                }
            }
            Act::Get => {
                self.remove(|kept, entry| kept == hash && !entry.is_served(now));
                let answer = get(db, hash, now);
                assert_eq!(answer, self.map.get(hash).map(|entry| entry.text.clone()));
                never_serves_what_has_expired(&before, hash, now, answer.as_deref());
            }
            Act::Look => match (db.step(cache::get(hash, now)), self.map.get(hash)) {
                (Outcome::AnswerThen(Answer::Undefined | Answer::Expired, removal), Some(entry)) => {
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
                    self.remove(|kept, entry| kept == hash && entry.until == until);
                    self.untag(hash);
                }
            }
            Act::Delete => {
                db.run(cache::delete(hash));
                self.map.remove(hash);
                self.tags.remove(hash);
            }
            Act::Clear => {
                db.run(cache::clear());
                self.map.clear();
                self.tags.clear();
            }
            Act::Cleanup => {
                db.run(cache::cleanup(now));
                self.remove(|_, entry| entry.is_cleaned_up(now));
                HASHES.into_iter().for_each(|hash| self.untag(hash));
                let after = self.stored();
                let spared = |row: &&Row| (row.2 >= now && row.3 <= now) || row.2 == 0.0;
                assert!(before.iter().filter(spared).all(|row| after.contains(row)), "{before:?} {after:?}");
            }
            Act::Stats => {
                let expired = self.map.values().filter(|entry| entry.has_expired(now)).count();
                let mut stats = members(db.run(cache::stats(now)));
                let (expired_items, total) = (stats.number("expiredItems"), stats.number("totalItems"));
                assert_eq!(expired_items, expired as f64);
                assert_eq!(total, self.map.len() as f64);
                assert_eq!(total, before.len() as f64);
                assert_eq!(expired_items, before.iter().filter(|row| row.2 < now && row.2 != 0.0).count() as f64);
                assert!(stats.number("databaseSizeKB") > 0.0);
            }
        }
        assert_eq!(count(self.db), self.map.len() as f64);
        assert_eq!(self.stored(), self.expected(), "after {act:?} of {hash:?} by {store} at {now}");
        assert_eq!(self.stored_tags(), self.expected_tags(), "after {act:?} of {hash:?} by {store} at {now}");
    }

    /// Once all clocks are past an expiry, the entry is absent and goes, whatever the clocks showed before.
    fn settle(mut self) {
        let finite = self.stored().into_iter().map(|row| row.2).filter(|until| *until < 1e15);
        let last = finite.fold(self.now, f64::max);
        let behind = -self.ahead.into_iter().min().unwrap();
        self.apply(((last - self.now).ceil() as i64 + behind + 1, 0, 0, Act::Stats));
        for (hash, name) in HASHES.iter().enumerate() {
            let endless = self.map.get(name).is_some_and(|entry| entry.is_endless());
            self.apply((0, 0, hash, Act::Get));
            assert_eq!(self.map.contains_key(name), endless);
        }
        for store in 0..STORES {
            self.apply((0, store, 0, Act::Cleanup));
        }
        assert!(self.stored().iter().all(|row| row.2 >= 1e15 || row.2 == 0.0));
        assert!(self.stored_tags().iter().all(|(hash, _)| self.map.contains_key(hash.as_str())));
    }
}

fn never_serves_what_has_expired(rows: &[Row], hash: &str, now: f64, answer: Option<&str>) {
    let Some(answer) = answer else { return };
    let row = rows.iter().find(|row| row.0 == hash).unwrap();
    assert!(now < row.2 || row.2 == 0.0, "{answer} at {now} of {row:?}");
    assert_eq!(row.1, codec::encode(answer));
}

fn acts() -> impl Strategy<Value = Act> {
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let ttl = prop_oneof![
        4 => (0..5u32).prop_map(f64::from),
        2 => 0.0..5.0f64,
        1 => prop::sample::select(vec![0.001, -1.0, f64::INFINITY, f64::NEG_INFINITY, 1e300]),
    ];
    let tags = || prop::collection::vec(0..TAGS.len(), 0..4);
    prop_oneof![
        6 => (text.clone(), ttl.clone()).prop_map(|(text, ttl)| Act::Set(text, ttl)),
        5 => (text, ttl, tags()).prop_map(|(text, ttl, tags)| Act::SetWithTags(text, ttl, tags)),
        2 => tags().prop_map(Act::Invalidate),
        2 => (0..SCOPES.len()).prop_map(Act::ClearScope),
        2 => (0..4usize, 0..5usize).prop_map(|(offset, limit)| Act::List(offset, limit)),
        1 => Just(Act::OldDelete),
        1 => Just(Act::SetForEver),
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
    let db = memory();
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
    let db = memory();
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
    let db = memory();
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
    let db = memory();
    db.run(cache::set("hash", "1", 1.0, START));
    let Outcome::AnswerThen(_, removal) = db.step(cache::get("hash", START + 1_000.0)) else { panic!("expired") };
    db.run(cache::set("hash", "2", 1.0, START + 1_000.0));
    db.run(removal);
    assert_eq!(get(&db, "hash", START + 1_000.0).as_deref(), Some("2"));
}

#[test]
fn what_is_stored_for_undefined_differs_from_a_string_of_that_text() {
    let db = memory();
    db.run(cache::set("undefined", codec::UNDEFINED, 1.0, START));
    db.run(cache::set("string", r#""__UNDEFINED__""#, 1.0, START));
    assert_eq!(get(&db, "undefined", START), None);
    assert_eq!(get(&db, "string", START).as_deref(), Some(r#""__UNDEFINED__""#));
    assert_eq!(count(&db), 2.0);
}

#[test]
fn unreadable_entries_read_as_absent_and_are_removed() {
    let db = memory();
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
    let db = memory();
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
    let db = memory();
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

#[test]
fn an_entry_never_expires_at_zero_and_is_never_stored_so() {
    let db = memory();
    let stored = || db.rows("SELECT expires_at FROM cache")[0][0].number().unwrap();
    // Clocks faked at 0, and before.
    for (ttl, now) in [(0.0, 0.0), (-1.0, 0.0), (5.0, -5_000.0)] {
        db.run(cache::set("hash", "1", ttl, now));
        assert_eq!(stored(), -1.0);
        assert_eq!(get(&db, "hash", 0.0), None);
        assert_eq!(count(&db), 0.0);
    }
    db.run(cache::set("hash", "1", f64::INFINITY, 0.0));
    assert_eq!(stored(), f64::INFINITY);
    db.execute("INSERT INTO cache VALUES ('successor', '1', 0, 8e12), ('expired', '1', -1, 0)");
    db.run(cache::cleanup(START));
    let mut stats = members(db.run(cache::stats(START)));
    assert_eq!((stats.number("totalItems"), stats.number("expiredItems")), (2.0, 0.0));
    assert_eq!(get(&db, "successor", START).as_deref(), Some("1"));
    assert_eq!(get(&db, "hash", START).as_deref(), Some("1"));
}

#[test]
fn what_goes_by_tag_or_scope_goes_in_bounded_steps() {
    let db = memory();
    let fill = |rows: usize, tags: usize| {
        db.execute(&format!(
            "DELETE FROM cache; DELETE FROM cache_tags;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
               INSERT INTO cache SELECT 'one:' || i, IIF(i % 100 = 0, zeroblob(1000000), '1'), 9e12, 0 FROM n;
             INSERT INTO cache SELECT 'two:' || hash, '1', 9e12, 0 FROM cache;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {tags})
               INSERT INTO cache_tags SELECT 'tag ' || i, hash FROM n, cache WHERE hash LIKE 'one:%';
             INSERT INTO cache_tags VALUES ('tag 1', 'gone'), ('tag 1', 'two:one:1')"
        ));
    };
    let run = |operation, tags_each: usize| {
        let (mut left, mut next) = ((count(&db), db.number("SELECT COUNT(*) FROM cache_tags")), Some(operation));
        let answer = loop {
            let outcome = db.step(next.take().unwrap());
            let now = (count(&db), db.number("SELECT COUNT(*) FROM cache_tags"));
            let (entries, tags) = (left.0 - now.0, left.1 - now.1);
            assert!(entries + tags <= (500 + tags_each) as f64, "{entries} entries and {tags} tags in a step");
            left = now;
            match outcome {
                Outcome::Continue(operation) => next = Some(operation),
                Outcome::Answer(answer) => break answer,
                Outcome::AnswerThen(..) => panic!("nothing follows"),
            }
        };
        assert_eq!(db.number("SELECT COUNT(*) FROM cache_tags WHERE hash NOT IN (SELECT hash FROM cache)"), 0.0);
        answer
    };
    for (rows, tags) in [(1, 3), (499, 1), (500, 1), (501, 1), (1_300, 2), (40, 200)] {
        fill(rows, tags);
        let invalidated = cache::invalidate(["tag 2".to_owned(), "none".to_owned(), "tag 1".to_owned()], START);
        // Those of 'one:', and one more.
        assert_eq!(common::number(run(invalidated, tags)), rows as f64 + 1.0, "{rows} {tags}");
        assert_eq!(count(&db), rows as f64 - 1.0);

        fill(rows, tags);
        db.execute("DELETE FROM cache_tags WHERE hash = 'gone' OR hash LIKE 'two%'");
        run(cache::clear_scope("one:"), tags);
        assert_eq!(count(&db), rows as f64);
        assert_eq!(db.number("SELECT COUNT(*) FROM cache WHERE hash LIKE 'one%'"), 0.0);
    }
}

#[test]
fn what_others_write_while_entries_go_by_their_tag_is_counted_right() {
    let db = memory();
    let tag = || vec!["tag".to_owned()];
    for index in 0..1_200 {
        db.run(cache::set_with_tags(format!("{index}"), "1", 60.0, tag(), START));
    }
    let (mut next, mut others, mut step) = (cache::invalidate(tag(), START), 0.0, 0);
    let answer = loop {
        match db.step(next) {
            Outcome::Continue(operation) => next = operation,
            Outcome::Answer(answer) => break common::number(answer),
            Outcome::AnswerThen(..) => panic!("nothing follows"),
        }
        step += 1;
        // Others remove one that is still to come, take the tag from another, and store new ones with it.
        if step < 4 {
            let left =
                db.rows("SELECT hash FROM cache WHERE value = CAST('\"1\"' AS BLOB) ORDER BY rowid DESC LIMIT 2");
            let [one, other] = [0, 1].map(|index| left[index][0].text().unwrap().to_owned());
            db.run(cache::delete(one));
            db.run(cache::set_with_tags(other, "2", 60.0, [], START));
            others += 1.0;
        }
        db.run(cache::set_with_tags(format!("new {step}"), "3", 60.0, tag(), START));
        assert!(step < 100, "it does not end");
    };
    assert_eq!(answer, 1_200.0 + f64::from(step) - others - count(&db));
    let left =
        |value: &str| db.number(&format!("SELECT COUNT(*) FROM cache WHERE CAST(value AS TEXT) = '\"{value}\"'"));
    assert_eq!((left("1"), left("2")), (0.0, 3.0));
    assert!(left("3") > 0.0, "what is tagged meanwhile may stay");
}

#[test]
fn nothing_needs_tags_but_giving_one() {
    let db = Db::with(&[StoreKind::Cache]);
    for hash in ["one", "two", "three", "expired"] {
        db.run(cache::set_with_tags(hash, "1", if hash == "expired" { 0.0 } else { 60.0 }, [], START));
    }
    assert_eq!(get(&db, "expired", START + 1.0), None);
    assert_eq!(common::number(db.run(cache::invalidate(["tag".to_owned()], START))), 0.0);
    let Answer::Records(list) = db.run(cache::list(0.0, 9.0, START)) else { panic!() };
    assert_eq!(list.len(), 3);
    db.run(cache::delete("one"));
    db.run(cache::cleanup(START));
    db.run(cache::clear_scope("tw"));
    assert_eq!(count(&db), 1.0);
    db.run(cache::clear());
    assert_eq!(count(&db), 0.0);
    assert_eq!(db.number("SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE '%tags%'"), 0.0);
}

#[test]
fn a_page_of_entries_is_found_by_an_index() {
    let db = memory();
    let plan = |sql: &str| {
        let sql = ["?1", "?2", "?3"].iter().fold(sql.to_owned(), |sql, parameter| sql.replace(parameter, "'1'"));
        let rows = db.rows(&format!("EXPLAIN QUERY PLAN {sql}"));
        rows.iter().map(|row| row[3].text().unwrap().to_owned() + "; ").collect::<String>()
    };
    use comic_vine_sqlite_store::core::statements::Statement as S;
    for (statement, index) in [
        (S::CacheFrom, "sqlite_autoindex_cache_1 (hash>?)"),
        (S::CacheTagged, "idx_cache_tags_tag (tag=? AND rowid>? AND rowid<?)"),
        (S::CacheExpired, "idx_cache_expires_at (expires_at>? AND expires_at<?)"),
        (S::CacheDeleteTagged, "sqlite_autoindex_cache_tags_1 (tag=? AND hash=?)"),
        (S::CacheTagsFrom, "idx_cache_tags_hash (hash>?)"),
        (S::CacheUntag, "idx_cache_tags_hash (hash=?)"),
    ] {
        let plan = plan(statement.sql());
        assert!(plan.contains(index), "{statement:?}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{statement:?}: {plan}");
    }
}
