//! What callers of a limiter have booked, or may: those that were refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::core::bookings::Ticket;
use crate::core::operation::Operation;
use crate::core::options::Reservations;
use crate::core::value::Millis;

/// The most callers that are remembered: who is refused need not ask how long to wait.
const MOST: usize = 100_000;

#[derive(Default)]
struct Callers {
    refused: HashSet<u64>,
    booked: HashMap<u64, Ticket>,
}

/// The callers of one store, by the numbers that `lib/tickets.js` gives them.
#[derive(Default)]
pub struct Bookings(Arc<Mutex<Callers>>);

impl Bookings {
    /// An operation that answers whether a caller may proceed: remembers if not.
    pub fn asking(&self, operation: Operation, caller: u64) -> Operation {
        let callers = Arc::clone(&self.0);
        operation.on_refusal(Arc::new(move || {
            let mut callers = callers.lock();
            if callers.refused.len() >= MOST {
                callers.refused.clear();
            }
            callers.refused.insert(caller);
        }))
    }

    /// The ticket of a caller that asks how long to wait, if it may book, or has: it was refused.
    pub fn book(&self, reservations: &Reservations, caller: u64, now: Millis) -> Option<Ticket> {
        let mut callers = self.0.lock();
        if callers.refused.remove(&caller) {
            if callers.booked.len() >= MOST {
                callers.booked.clear();
            }
            callers.booked.entry(caller).or_insert_with(|| Ticket::new(reservations, caller, now));
        }
        callers.booked.get(&caller).cloned()
    }

    /// The ticket of a caller that asks again, if it has booked.
    pub fn booked(&self, caller: u64) -> Option<Ticket> {
        self.0.lock().booked.get(&caller).cloned()
    }

    /// The same of one that records, which needs it no more.
    pub fn spend(&self, caller: u64) -> Option<Ticket> {
        self.0.lock().booked.remove(&caller)
    }
}
