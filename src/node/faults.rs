//! Faults of the operating system, armed from JavaScript: for tests.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use napi_derive::napi;
use once_cell::sync::Lazy;
use parking_lot::Mutex;

use crate::sqlite::faults::{Faults, Plan, arm};

static ARMED: Lazy<Mutex<HashMap<String, Faults>>> = Lazy::new(Mutex::default);

/// Arms faults for the database at `path`, of which one call in `one_in` fails and no more than `at_most` do; without a
/// seed, ends them. Answers, as JSON, how many had struck until then, by kind.
#[napi]
pub fn faults(path: String, seed: Option<u32>, one_in: Option<u32>, at_most: Option<u32>) -> String {
    let mut armed = ARMED.lock();
    let mut struck: BTreeMap<String, u32> = BTreeMap::new();
    for fault in armed.remove(&path).map(|faults| faults.struck()).unwrap_or_default() {
        *struck.entry(format!("{:?} {:?}", fault.method, fault.manner)).or_default() += 1;
    }
    if let Some(seed) = seed {
        let plan = Plan::Random {
            seed: u64::from(seed),
            one_in: one_in.unwrap_or(20),
            at_most: at_most.unwrap_or(u32::MAX),
        };
        let faults = arm(Path::new(&path), plan);
        armed.insert(path, faults);
    }
    let counts: Vec<String> = struck.iter().map(|(kind, count)| format!("\"{kind}\":{count}")).collect();
    format!("{{{}}}", counts.join(","))
}
