//! Calls that stand in line until the text of a large value is read. Reading copies a text into memory that the system
//! has yet to provide, which takes a quarter of the time of serializing it; so only some are read in one turn of the
//! event loop, and the others in the next ones. Whatever is called later on the same database stands in line behind.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use super::backend::Share;
use super::js::{Js, Kept, Result, Value};
use crate::core::error::Error;
use crate::sqlite::connection::Location;
use crate::sqlite::database::{Database, Queued};

/// What counts as large, and how much of it is read in one turn, in UTF-16 units.
const LARGE: usize = 16 << 10;
const READ_IN_A_TURN: usize = 2 << 20;

/// The most that stands in line: what is unread takes room in JavaScript's heap, which is bounded.
const UNREAD_AT_MOST: usize = 128 << 20;

/// A text that is not read yet.
struct Unread {
    text: Kept,
    units: usize,
}

enum Place {
    Call(Queued, Option<Unread>),
    /// A store that has been collected: its share is given back in its turn.
    End {
        _share: Share,
    },
}

/// See the module's description.
#[derive(Default)]
pub struct Line {
    places: RefCell<VecDeque<(Arc<Database>, Place)>>,
    /// How much is unread.
    unread: Cell<usize>,
    /// How much that is large has been read in this turn.
    read: Cell<usize>,
}

impl Line {
    /// Whether nobody stands in line, and nothing large has been read in this turn.
    pub fn is_quiet(&self) -> bool {
        self.read.get() == 0 && self.places.borrow().is_empty()
    }

    /// Whether what is called on a database has to stand in line.
    pub fn is_before(&self, database: &Arc<Database>) -> bool {
        self.places.borrow().iter().any(|(other, _)| Arc::ptr_eq(other, database))
    }

    /// Whether a text of so many UTF-16 units, for a database, is to be read now; it counts as read then. What is kept
    /// in memory alone is stored at once anyway.
    pub fn may_read(&self, database: &Database, units: usize) -> bool {
        if units < LARGE || !matches!(database.location(), Location::File(_)) {
            return true;
        }
        let read = self.read.get() + units;
        // The first of a turn is read whatever its length.
        let is_early = self.is_quiet() || (self.places.borrow().is_empty() && read <= READ_IN_A_TURN);
        let may_read = is_early || self.unread.get() + units > UNREAD_AT_MOST;
        if may_read {
            self.read.set(read);
        }
        may_read
    }

    /// Has a call stand in line, with the text that is to be read for it, if any.
    pub fn add(&self, js: Js, database: &Arc<Database>, call: Queued, text: Option<Value>) {
        let unread = |text| -> Result<Unread> { Ok(Unread { text: js.keep(text)?, units: js.string_units(text) }) };
        match text.map(unread).transpose() {
            Ok(unread) => {
                self.unread.set(self.unread.get() + unread.as_ref().map_or(0, |unread| unread.units));
                self.places.borrow_mut().push_back((Arc::clone(database), Place::Call(call, unread)));
            }
            Err(_) => refuse(call),
        }
    }

    /// Gives back the share of a store that has been collected, after what was called before.
    pub fn end(&self, share: Share) {
        if let Share::Own(handle) = &share {
            let database = Arc::clone(handle.database());
            if self.is_before(&database) {
                self.places.borrow_mut().push_back((database, Place::End { _share: share }));
            }
        }
    }

    /// Another turn of the event loop: hands on what may be read in it; or, at an end, all.
    pub fn advance(&self, js: Js, all: bool) {
        self.read.set(0);
        let mut advanced: Vec<Arc<Database>> = Vec::new();
        while all || self.read.get() < READ_IN_A_TURN {
            let next = self.places.borrow_mut().pop_front();
            let Some((database, Place::Call(mut call, unread))) = next else {
                if next.is_none() { break } else { continue }
            };
            if let Some(unread) = unread {
                self.unread.set(self.unread.get().saturating_sub(unread.units));
                self.read.set(self.read.get() + unread.units);
                let Some(text) = js.take(unread.text).and_then(|text| js.as_string(text)) else {
                    refuse(call);
                    continue;
                };
                call.operation.give_text(text);
            }
            database.enqueue(call);
            if !advanced.iter().any(|other| Arc::ptr_eq(other, &database)) {
                advanced.push(database);
            }
        }
        advanced.iter().for_each(Database::flush);
    }

    /// The environment ends, and nobody can read any more.
    pub fn clear(&self) {
        self.places.borrow_mut().clear();
    }
}

/// Only where Node-API fails.
fn refuse(call: Queued) {
    if let Some(reply) = call.reply {
        reply.deliver(Err(Error::Internal("a text cannot be read".to_owned())));
    }
}
