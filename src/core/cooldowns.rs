//! Cooldowns: until when a server is not to be asked (docs/api.md, "Cooldowns"). A limiter keeps them, and looks at them itself
//! only if it is told to.

use std::collections::{BTreeMap, BTreeSet};

use super::housekeeping::{self, Then};
use super::operation::{Answer, BoundStatement, Operation, Outcome, StatementResult};
use super::statements::Statement;
use super::value::{Millis, Value};

/// Sets one: the last counts.
pub fn set(key: &str, until: Millis) -> Operation {
    Operation::command([BoundStatement::new(Statement::CooldownSet, [key.into(), until.into()])])
}

/// Answers until when one lasts, and nothing where it is over.
pub fn get(key: &str, now: Millis) -> Operation {
    Operation::read([BoundStatement::new(Statement::CooldownGet, [key.into()])], move |rows| {
        let until = rows.first().and_then(|result| result.optional_number(0)).filter(|until| *until > now);
        Outcome::Answer(until.map_or(Answer::Undefined, Answer::Time))
    })
}

/// Ends one.
pub fn clear(key: &str) -> Operation {
    Operation::command([BoundStatement::new(Statement::CooldownClear, [key.into()])])
}

/// The statement that answers those that last.
pub fn all(now: Millis) -> BoundStatement {
    BoundStatement::new(Statement::CooldownAll, [now.into()])
}

/// Those that last, by key.
pub(super) fn lasting(result: Option<&StatementResult>) -> BTreeMap<String, Millis> {
    let rows = result.map_or(&[][..], |result| &result.rows).iter();
    rows.filter_map(|row| Some((row.first()?.text()?.to_owned(), row.get(1)?.number()?))).collect()
}

/// The names of resources, and of those that have a cooldown alone.
pub(super) fn with_resources(lasting: &BTreeMap<String, Millis>, resources: Vec<String>) -> BTreeSet<String> {
    resources.into_iter().chain(lasting.keys().cloned()).collect()
}

/// Removes those that are over.
pub fn expire(now: Millis, then: Then) -> Operation {
    let page = |from| BoundStatement::new(Statement::CooldownsFrom, [from]);
    let remove =
        move |first, last| vec![BoundStatement::new(Statement::CooldownExpire, [first, last, Value::from(now)])];
    housekeeping::walk(Value::from(""), page, remove, housekeeping::next_text, then)
}
