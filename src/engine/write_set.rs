//! What calls write, so that a read can tell at once whether it has to wait for one of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use hashlink::DefaultHashBuilder;

use crate::core::plan::{Operation, Place, Step};
use crate::core::schema::Table;

/// How many writes there are of each key, and of each table. Keys are told apart by a hash: where two have the same, a read
/// waits for a write that it need not wait for.
#[derive(Default)]
pub struct WriteSet {
    hasher: DefaultHashBuilder,
    by_key: HashMap<u64, usize, DefaultHashBuilder>,
    by_table: [Counts; Table::COUNT],
}

#[derive(Default)]
struct Counts {
    /// Writes of the whole table, which reads of any key wait for.
    whole: usize,
    /// Whatever is written or tidied.
    all: usize,
}

impl WriteSet {
    /// Whether something is written that a read of this place would see.
    pub fn overlaps(&self, place: Place<'_>) -> bool {
        let counts = &self.by_table[place.table as usize];
        match place.key {
            Some(_) => counts.whole > 0 || self.by_key.contains_key(&self.hasher.hash_one(place)),
            None => counts.all > 0,
        }
    }

    /// Whether an operation only tidies, and all of that is done already by what was added.
    pub fn tidies_like(&self, operation: &Operation) -> bool {
        let mut written = operation.written().peekable();
        written.peek().is_some()
            && written.all(|(step, tidies)| tidies && self.by_key.contains_key(&self.key(step, true)))
    }

    /// Adds what an operation writes.
    pub fn insert(&mut self, operation: &Operation) {
        for (step, tidies) in operation.written() {
            let place = step.place();
            let counts = &mut self.by_table[place.table as usize];
            counts.all += 1;
            counts.whole += usize::from(place.key.is_none() && !tidies);
            *self.by_key.entry(self.key(step, tidies)).or_default() += 1;
        }
    }

    /// Takes away what an operation writes that was added before.
    pub fn remove(&mut self, operation: &Operation) {
        for (step, tidies) in operation.written() {
            let place = step.place();
            let counts = &mut self.by_table[place.table as usize];
            counts.all -= 1;
            counts.whole -= usize::from(place.key.is_none() && !tidies);
            if let Entry::Occupied(mut entry) = self.by_key.entry(self.key(step, tidies)) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }

    /// What is written of a key is found by that; what is tidied, by how, too.
    fn key(&self, step: &Step, tidies: bool) -> u64 {
        if tidies {
            self.hasher.hash_one((step.statement, step.place()))
        } else {
            self.hasher.hash_one(step.place())
        }
    }

    /// Takes away everything.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.by_table = <_>::default();
    }
}
