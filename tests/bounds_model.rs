//! A cache with bounds beside what is known of its entries: never past the bounds, never more evicted than need be, and nothing
//! evicted before what was used longer ago, up to a minute.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use comic_vine_sqlite_store::core::bounds::{self, NOTED_FOR_MS, Uses};
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::{Answer, Operation, Outcome};
use comic_vine_sqlite_store::core::options::Bounds;
use comic_vine_sqlite_store::core::{cache, codec};
use common::{Db, Value};
use proptest::prelude::*;

const START: f64 = 1.7e12;
const HASHES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", ""];
const TAGS: [&str; 3] = ["x", "y", "z"];
const KINDS: [StoreKind; 3] = [StoreKind::Cache, StoreKind::CacheTags, StoreKind::CacheBounds];

#[derive(Clone, Debug)]
enum Act {
    Set {
        store: usize,
        hash: usize,
        size: usize,
        ttl: f64,
        tags: Option<Vec<usize>>,
    },
    Get {
        store: usize,
        hash: usize,
    },
    Delete(usize),
    Clear,
    ClearScope(usize),
    Invalidate(usize),
    Cleanup,
    /// By a version that knows no bounds.
    ForeignSet {
        hash: usize,
        size: usize,
    },
    ForeignDelete(usize),
}

fn acts() -> impl Strategy<Value = Vec<(u32, Act)>> {
    let hash = || 0..HASHES.len();
    let size = || prop_oneof![4 => 0..300usize, 1 => 0..3_000usize];
    let ttl = prop::sample::select(vec![0.0, -1.0, 0.5, 30.0, 3_600.0, 3_600.0, 3_600.0, f64::INFINITY]);
    let tags = prop::option::of(prop::collection::vec(0..TAGS.len(), 0..3));
    let set = (0..2usize, hash(), size(), ttl, tags);
    let act = prop_oneof![
        12 => set.prop_map(|(store, hash, size, ttl, tags)| Act::Set { store, hash, size, ttl, tags }),
        10 => (0..2usize, hash()).prop_map(|(store, hash)| Act::Get { store, hash }),
        1 => hash().prop_map(Act::Delete),
        1 => Just(Act::Cleanup),
        1 => (0..TAGS.len()).prop_map(Act::Invalidate),
        1 => prop_oneof![3 => hash().prop_map(Act::ClearScope), 1 => Just(Act::Clear)],
        1 => (hash(), size()).prop_map(|(hash, size)| Act::ForeignSet { hash, size }),
        1 => hash().prop_map(Act::ForeignDelete),
    ];
    let pause = prop_oneof![4 => Just(0u32), 4 => 0..2_000u32, 3 => 2_000..50_000u32, 1 => 50_000..200_000u32];
    prop::collection::vec((pause, act), 1..80)
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    let entries = prop_oneof![2 => (1..8u32).prop_map(f64::from), 1 => Just(Bounds::UNBOUNDED)];
    let bytes = prop_oneof![2 => (3..2_500u32).prop_map(f64::from), 1 => Just(Bounds::UNBOUNDED)];
    (entries, bytes, any::<bool>()).prop_map(|(max_entries, max_size_bytes, by_use)| Bounds {
        max_entries,
        max_size_bytes,
        by_use,
    })
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    bytes: f64,
    expires_at: f64,
}

/// What is known of an entry beside what lies in the file.
#[derive(Clone, Debug)]
struct Known {
    /// In which order, and when, it was stored.
    number: usize,
    stored_at: f64,
    uses: Vec<f64>,
    is_foreign: bool,
}

struct World {
    db: Db,
    bounds: Bounds,
    now: f64,
    /// Of each store: what waits to be noted, and when its timer fires.
    stores: [(Uses, Option<f64>); 2],
    known: HashMap<&'static str, Known>,
    count: usize,
    /// Whether another version has changed something since the last clean-up.
    is_unsure: bool,
    /// Whether one ever has.
    has_foreign: bool,
}

impl World {
    fn rows(&self) -> HashMap<String, Row> {
        let rows =
            self.db.rows("SELECT json_array(hash, length(value), CAST(expires_at AS TEXT)) AS c0 FROM cache");
        let row = |row: Vec<Value>| {
            let (hash, bytes, expires_at): (String, f64, String) =
                serde_json::from_str(row[0].text().unwrap()).unwrap();
            let expires_at = if expires_at == "Inf" { f64::INFINITY } else { expires_at.parse().unwrap() };
            (hash, Row { bytes, expires_at })
        };
        rows.into_iter().map(row).collect()
    }

    fn totals(&self) -> [f64; 2] {
        [
            self.db.number("SELECT entries AS c0 FROM cache_totals"),
            self.db.number("SELECT bytes AS c0 FROM cache_totals"),
        ]
    }

    fn counted(&self) -> [f64; 2] {
        let rows = self.rows();
        [rows.len() as f64, rows.values().map(|row| row.bytes).sum()]
    }

    fn excess(&self, [entries, bytes]: [f64; 2]) -> bool {
        entries > self.bounds.max_entries || bytes > self.bounds.max_size_bytes
    }

    /// Runs a call, and looks after each of its transactions whether the totals are right.
    fn run(&self, operation: Operation) -> Answer {
        let mut outcome = self.db.step(operation);
        loop {
            if !self.is_unsure {
                assert_eq!(self.totals(), self.counted());
            }
            assert_eq!(self.db.number("SELECT COUNT(*) AS c0 FROM cache_use WHERE used_at < -8e15"), 0.0);
            outcome = match outcome {
                Outcome::Continue(next) => self.db.step(next),
                Outcome::AnswerThen(answer, next) => {
                    self.run(next);
                    return answer;
                }
                Outcome::Answer(answer) => return answer,
            };
        }
    }

    fn note_due(&mut self) {
        for store in 0..2 {
            while let Some(at) = self.stores[store].1.filter(|at| *at <= self.now) {
                let mut notes = Vec::new();
                let (uses, timer) = &mut self.stores[store];
                loop {
                    let taken = uses.take_next(at);
                    if taken.is_empty() {
                        break;
                    }
                    notes.push(bounds::note(taken));
                }
                uses.forget_old(at);
                *timer = uses.next_at();
                notes.into_iter().for_each(|note| drop(self.run(note)));
            }
        }
    }

    fn store(&mut self, hash: usize, is_foreign: bool) {
        self.count += 1;
        let known = Known { number: self.count, stored_at: self.now, uses: Vec::new(), is_foreign };
        self.known.insert(HASHES[hash], known);
    }

    fn set(&mut self, store: usize, hash: usize, size: usize, ttl: f64, tags: Option<Vec<usize>>) {
        let text = format!("\"{}\"", "v".repeat(size));
        if codec::encoded_exceeds(&text, self.bounds.max_size_bytes as usize) {
            return;
        }
        let before = self.rows();
        let used = self.stores[store].0.take_some(self.now);
        let operation = match tags {
            None => cache::set(HASHES[hash], text, ttl, self.now),
            Some(tags) => {
                let tags = tags.into_iter().map(|tag| TAGS[tag].to_owned());
                cache::set_with_tags(HASHES[hash], text, ttl, tags, self.now)
            }
        };
        self.run(bounds::within(self.bounds, operation, used, self.now, Arc::new(|_| ())));
        self.store(hash, false);
        let after = self.rows();
        assert!(after.contains_key(HASHES[hash]), "it was just stored");
        if self.is_unsure {
            return;
        }
        let counted = self.counted();
        assert!(!self.excess(counted), "{counted:?} {:?}", self.bounds);
        self.check_evicted(HASHES[hash], &before, &after);
        let orphans = "SELECT COUNT(*) AS c0 FROM cache_tags t WHERE NOT EXISTS (SELECT 1 FROM cache c WHERE c.hash = t.hash)";
        assert_eq!(self.db.number(orphans), 0.0);
    }

    fn check_evicted(&self, stored: &str, before: &HashMap<String, Row>, after: &HashMap<String, Row>) {
        let has_expired = |row: &Row| row.expires_at != 0.0 && row.expires_at < self.now;
        let gone: Vec<(&str, &Row)> = before
            .iter()
            .filter(|(hash, _)| !after.contains_key(*hash))
            .map(|(hash, row)| (hash.as_str(), row))
            .collect();
        let live: Vec<(&str, &Row)> = gone.iter().copied().filter(|(_, row)| !has_expired(row)).collect();
        let stays = |hash: &&String| hash.as_str() != stored;
        if !live.is_empty() {
            assert!(
                after.iter().all(|(hash, row)| hash == stored || !has_expired(row)),
                "what has expired goes first: {gone:?} {after:?}"
            );
        }
        for (hash, row) in &live {
            // The last one that was evicted does not fit: it is one of these.
            let known = &self.known[hash];
            for other in after.keys().filter(stays) {
                let other = &self.known[other.as_str()];
                if other.is_foreign {
                    // What takes the place of as much is found when it is met first.
                    continue;
                }
                if self.bounds.by_use {
                    let until = self.now - NOTED_FOR_MS;
                    let noted =
                        known.uses.iter().copied().filter(|used| *used <= until).fold(known.stored_at, f64::max);
                    let last = other.uses.iter().copied().fold(other.stored_at, f64::max);
                    assert!(noted <= last, "{hash} {row:?} {known:?} before {other:?}");
                } else {
                    assert!(known.stored_at <= other.stored_at, "{hash} {known:?} before {other:?}");
                }
                if known.uses.is_empty() && other.uses.is_empty() && !self.has_foreign {
                    assert!(known.number < other.number, "{hash} {known:?} before {other:?}");
                }
            }
        }
        // Each of them would fit, unless it is the last one that had to go.
        let [entries, bytes] = self.counted();
        let fits = |row: &Row| !self.excess([entries + 1.0, bytes + row.bytes]);
        assert!(
            live.is_empty() || !live.iter().all(|(_, row)| fits(row)),
            "{gone:?} fit: {after:?} {:?}",
            self.bounds
        );
    }

    fn act(&mut self, act: Act) {
        let hash = |hash: usize| HASHES[hash];
        match act {
            Act::Set { store, hash, size, ttl, tags } => self.set(store, hash, size, ttl, tags),
            Act::Get { store, hash } => {
                let answer = self.run(bounds::counted(cache::get(HASHES[hash], self.now)));
                if !matches!(answer, Answer::Undefined | Answer::Expired) && self.bounds.by_use {
                    let (uses, timer) = &mut self.stores[store];
                    uses.record(HASHES[hash].to_owned(), self.now);
                    timer.get_or_insert(self.now + NOTED_FOR_MS);
                    self.known.get_mut(HASHES[hash]).unwrap().uses.push(self.now);
                }
            }
            Act::Delete(index) => drop(self.run(bounds::counted(cache::delete(hash(index))))),
            Act::Clear => {
                self.run(bounds::counted(cache::clear()));
                // Whatever others have done before.
                assert_eq!(self.totals(), [0.0, 0.0]);
            }
            Act::ClearScope(index) => drop(self.run(bounds::counted(cache::clear_scope(hash(index))))),
            Act::Invalidate(tag) => {
                drop(self.run(bounds::counted(cache::invalidate([TAGS[tag].to_owned()], self.now))));
            }
            Act::Cleanup => {
                let finds_others = self.totals() != self.counted();
                let cleanup =
                    bounds::after_cleanup(cache::cleanup(self.now), Some(self.bounds), self.now, Arc::new(|_| ()));
                self.run(cleanup);
                self.is_unsure = false;
                if finds_others {
                    self.known.values_mut().for_each(|known| known.is_foreign = false);
                }
                let counted = self.counted();
                assert_eq!(self.totals(), counted);
                assert!(!self.excess(counted));
                let one_each = "SELECT COUNT(*) AS c0 FROM cache_use u FULL JOIN cache c ON c.hash = u.hash
                    WHERE (c.hash IS NULL OR u.hash IS NULL) AND u.hash IS NOT x''";
                assert_eq!(self.db.number(one_each), 0.0);
            }
            Act::ForeignSet { hash, size } => {
                self.db.execute(&format!(
                    "INSERT OR REPLACE INTO cache VALUES ('{}', CAST('\"' || hex(zeroblob({size})) || '\"' AS BLOB), 9e15, {})",
                    HASHES[hash], self.now
                ));
                self.store(hash, true);
                (self.is_unsure, self.has_foreign) = (true, true);
            }
            Act::ForeignDelete(index) => {
                self.db.execute(&format!("DELETE FROM cache WHERE hash = '{}'", hash(index)));
                (self.is_unsure, self.has_foreign) = (true, true);
            }
        }
    }
}

#[test]
fn nothing_goes_past_the_bounds_or_goes_before_its_turn() {
    proptest!(common::random(400), |(bounds in any_bounds(), acts in acts())| {
        let mut world = World {
            db: Db::with(&KINDS),
            bounds,
            now: START,
            stores: Default::default(),
            known: HashMap::new(),
            count: 0,
            is_unsure: false,
            has_foreign: false,
        };
        for (pause, act) in acts {
            world.now += f64::from(pause);
            world.note_due();
            world.act(act);
        }
    });
}
