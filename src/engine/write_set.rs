//! What calls write, so that a read can tell at once whether it has to wait for one of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::core::plan::{Operation, Place, Step};
use crate::core::schema::Table;

/// How many writes there are of each place, and of each table. Places are told apart by a hash: where two have the same, a
/// read waits for a write that it need not wait for.
#[derive(Default)]
pub struct WriteSet {
    hasher: RandomState,
    by_place: HashMap<u64, usize, RandomState>,
    /// Whatever is written or tidied of a table.
    by_table: [usize; Table::COUNT],
}

impl WriteSet {
    /// Whether something is written that a read of this place would see.
    pub fn overlaps(&self, place: Place<'_>) -> bool {
        let is_written = |place| self.by_place.contains_key(&self.hasher.hash_one(place));
        let whole = Place { key: None, ..place };
        match place.key {
            Some(_) => is_written(place) || is_written(whole),
            None => self.by_table[place.table as usize] > 0,
        }
    }

    /// Whether an operation only tidies, and all of that is done already by what was added.
    pub fn tidies_like(&self, operation: &Operation) -> bool {
        let mut written = operation.written().peekable();
        written.peek().is_some()
            && written.all(|(step, tidies)| tidies && self.by_place.contains_key(&self.hash(step, true)))
    }

    /// Adds what an operation writes.
    pub fn insert(&mut self, operation: &Operation) {
        for (step, tidies) in operation.written() {
            self.by_table[step.place().table as usize] += 1;
            *self.by_place.entry(self.hash(step, tidies)).or_default() += 1;
        }
    }

    /// Takes away what an operation writes that was added before.
    pub fn remove(&mut self, operation: &Operation) {
        for (step, tidies) in operation.written() {
            self.by_table[step.place().table as usize] -= 1;
            if let Entry::Occupied(mut entry) = self.by_place.entry(self.hash(step, tidies)) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }

    /// What is written is found by its place; what is tidied, by how, too.
    fn hash(&self, step: &Step, tidies: bool) -> u64 {
        if tidies {
            self.hasher.hash_one((step.statement, step.place()))
        } else {
            self.hasher.hash_one(step.place())
        }
    }

    /// Takes away everything.
    pub fn clear(&mut self) {
        self.by_place.clear();
        self.by_table = <_>::default();
    }
}
