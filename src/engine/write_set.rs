//! What calls write, so that a read can tell at once whether it has to wait for one of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::core::operation::{BoundStatement, Operation, Target};
use crate::core::statements::Table;

/// How many writes there are of each target, and of each table. Targets are told apart by a hash: where two have the same, a
/// read waits for a write that it need not wait for.
#[derive(Default)]
pub struct WriteSet {
    hasher: RandomState,
    by_target: HashMap<u64, usize, RandomState>,
    /// Whatever is written or tidied of a table.
    by_table: [usize; Table::COUNT],
}

impl WriteSet {
    /// Whether something is written that a read of this target would see.
    pub fn overlaps(&self, target: Target<'_>) -> bool {
        let is_written = |target| self.by_target.contains_key(&self.hasher.hash_one(target));
        let whole = Target { key: None, ..target };
        match target.key {
            Some(_) => is_written(target) || is_written(whole),
            None => self.by_table[target.table as usize] > 0,
        }
    }

    /// Whether an operation only tidies, and all of that is done already by what was added.
    pub fn already_tidies(&self, operation: &Operation) -> bool {
        let mut written = operation.written().peekable();
        written.peek().is_some()
            && written.all(|(bound, tidies)| tidies && self.by_target.contains_key(&self.hash(bound, true)))
    }

    /// Adds what an operation writes.
    pub fn insert(&mut self, operation: &Operation) {
        for (bound, tidies) in operation.written() {
            self.by_table[bound.target().table as usize] += 1;
            *self.by_target.entry(self.hash(bound, tidies)).or_default() += 1;
        }
    }

    /// Takes away what an operation writes that was added before.
    pub fn remove(&mut self, operation: &Operation) {
        for (bound, tidies) in operation.written() {
            self.by_table[bound.target().table as usize] -= 1;
            if let Entry::Occupied(mut entry) = self.by_target.entry(self.hash(bound, tidies)) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }

    /// Writes are found by their target; tidying by its statement, too.
    fn hash(&self, bound: &BoundStatement, tidies: bool) -> u64 {
        if tidies {
            self.hasher.hash_one((bound.statement, bound.target()))
        } else {
            self.hasher.hash_one(bound.target())
        }
    }

    /// Takes away everything.
    pub fn clear(&mut self) {
        self.by_target.clear();
        self.by_table = <_>::default();
    }
}
