//! How an adaptive store divided limits last: asked by rules, on whichever thread they run.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::core::adaptive::Divisions;
use crate::core::capacity::Capacity;
use crate::core::value::Millis;

/// One store's.
#[derive(Debug, Default)]
pub struct SharedDivisions(Mutex<HashMap<String, (Capacity, Millis)>>);

impl Divisions for SharedDivisions {
    fn get(&self, resource: &str) -> Option<(Capacity, Millis)> {
        self.0.lock().get(resource).cloned()
    }

    fn set(&self, resource: &str, division: (Capacity, Millis)) {
        self.0.lock().insert(resource.to_owned(), division);
    }

    fn forget(&self, resource: Option<&str>) {
        match resource {
            Some(resource) => drop(self.0.lock().remove(resource)),
            None => self.0.lock().clear(),
        }
    }

    fn forget_until(&self, time: Millis) {
        self.0.lock().retain(|_, (_, computed_at)| *computed_at > time);
    }
}
