//! Housekeeping: removing what nobody needs any more, however much has gathered. It goes in steps, each a transaction that
//! is bounded in rows and bytes, between which other calls get their turn; and it goes through the keys once. What a step
//! finds is removed, as far as one transaction may, before any later call.
//!
//! Where triggers write along with a removal, it ends with that step: they may put back what is removed. The rest is left to
//! the next time. Where the keys do not go on, it ends with an error: a table without end is damaged.

use std::collections::VecDeque;

use super::error::Error;
use super::operation::{Answer, BoundStatement, Operation, Outcome, Results, Rows, StatementResult, Statements};
use super::statements::{PAGE_RESOURCES, STEP_ROWS, Statement};
use super::value::{Millis, Value};

/// The most bytes one step removes, unless they are of a single row.
const STEP_BYTES: f64 = (4 << 20) as f64;

/// The most old requests that are removed along with a call that has met them: a handful of pages.
pub const BOUNDED_ROWS: f64 = 100.0;

/// What comes after housekeeping, or a part of it.
pub type Then = Box<dyn FnOnce() -> Outcome + Send>;

/// The end of a call that answers nothing.
pub fn done() -> Then {
    Box::new(|| Outcome::Answer(Answer::Undefined))
}

/// How much later than another's a lease may end that is no mistake: requests of two hosts may arrive in the other order.
const LEASE_TOLERANCE_MS: Millis = 60_000.0;

/// Has housekeeping done by one host at a time: by the owner of the lease of this name, which then lasts until a time.
pub fn on_one_host(name: &str, owner: &str, [now, until]: [Millis; 2], then: Operation) -> Operation {
    let latest = until + LEASE_TOLERANCE_MS;
    let values = [name.into(), owner.into(), until.into(), now.into(), latest.into()];
    Operation::write([BoundStatement::new(Statement::HostLease, values)], move |rows| {
        let has_lease = rows.first().is_some_and(|result| result.first().is_some());
        if has_lease { Outcome::Continue(then) } else { Outcome::Answer(Answer::Undefined) }
    })
    .continuing()
}

/// The end of going through keys that do not go on.
pub fn endless() -> Outcome {
    Outcome::Answer(Answer::Rejection(Error::corrupt()))
}

/// What removes a part of what was found: statements, how many rows they remove, about, and how many bytes.
pub type Removal = (Vec<BoundStatement>, f64, f64);

/// Removes the rows that `find` finds, at most [`STEP_ROWS`] at a time; `removal` says how, of each.
pub fn remove_found(
    find: BoundStatement,
    removal: impl Fn(&[Value]) -> Option<Removal> + Send + 'static,
    notifies_waiters: bool,
    then: Then,
) -> Operation {
    Operation::read([find.clone()], move |mut rows| {
        let found = rows.pop().unwrap_or_default().rows;
        let may_be_more = found.len() as u64 >= STEP_ROWS;
        let removals = found.iter().filter_map(|row| removal(row)).collect();
        remove_in_steps(removals, notifies_waiters, move |removed| {
            // What is found and cannot be removed would be found again.
            if may_be_more && removed > 0 {
                Outcome::Continue(remove_found(find, removal, notifies_waiters, then))
            } else {
                then()
            }
        })
    })
    .unbounded()
    .continuing()
}

/// Removes what is to go of the rows that `find` finds after a key, [`STEP_ROWS`] at a time: it answers them with their keys, and
/// then a row with the last key of all that it has looked at. `removal` says how, of each, given also how many ms after the call
/// it was found.
pub fn remove_after(
    after: Value,
    find: impl Fn(Value) -> BoundStatement + Send + 'static,
    removal: impl Fn(&[Value], Millis) -> Option<Removal> + Send + 'static,
    then: Then,
) -> Operation {
    Operation::read_timed([find(after.clone())], move |rows, waited| {
        let rows = rows.first().map_or(&[][..], |result| &result.rows);
        let Some((last, found)) = rows.split_last() else { return then() };
        let Some(last) = last.first().filter(|last| **last != Value::Null).cloned() else { return then() };
        if !last.comes_after(&after) {
            return endless();
        }
        let removals = found.iter().filter_map(|row| removal(row, waited)).collect();
        remove_in_steps(removals, false, move |_| Outcome::Continue(remove_after(last, find, removal, then)))
    })
    .unbounded()
    .continuing()
}

/// Carries out removals in bounded steps; says at the end how many rows they have removed.
pub fn remove_in_steps(
    removals: Vec<Removal>,
    notifies_waiters: bool,
    then: impl FnOnce(u64) -> Outcome + Send + 'static,
) -> Outcome {
    run(in_steps(removals), notifies_waiters, 0, then)
}

/// What a call removes that is to have removed it before any later call, however much that is.
pub trait Selection: Send + Sized + 'static {
    /// Finds the next page; `None` once all has been found. What it finds has not been found before.
    fn find(&self) -> Option<BoundStatement>;

    /// Takes note of a page, and answers what removes the first rows of it, as many as one step may; an error if the keys do not
    /// go on.
    fn take(&mut self, page: Rows) -> Result<Vec<BoundStatement>, Error>;

    /// Takes note of what the removals did.
    fn removed(&mut self, _results: &[StatementResult]) {}

    /// What the call answers in the end.
    fn answer(self) -> Answer;
}

/// Removes what a call has selected: page by page, each in a transaction of its own, which finds the next page. Other processes
/// have their turn in between; later calls here have not, since they may put back what is to be removed.
pub fn remove_selected(selection: impl Selection, notifies_waiters: bool) -> Operation {
    remove_page(selection, Vec::new(), notifies_waiters)
}

fn remove_page(mut selection: impl Selection, removals: Vec<BoundStatement>, notifies_waiters: bool) -> Operation {
    let find = selection.find();
    let (finds, only_reads) = (find.is_some(), removals.is_empty());
    // First: waiters are told of what the first statement touches.
    let statements = Statements::from_iter(find.into_iter().chain(removals));
    let completion = move |mut rows: Results| {
        let page = if finds { rows.remove(0).rows } else { Rows::new() };
        selection.removed(&rows);
        let removals = match selection.take(page) {
            Ok(removals) => removals,
            Err(error) => return Outcome::Answer(Answer::Rejection(error)),
        };
        if removals.is_empty() && selection.find().is_none() {
            return Outcome::Answer(selection.answer());
        }
        Outcome::Continue(remove_page(selection, removals, notifies_waiters))
    };
    let operation =
        if only_reads { Operation::read(statements, completion) } else { Operation::write(statements, completion) };
    let operation = operation.unbounded().continuing();
    if notifies_waiters && !only_reads { operation.notifying() } else { operation }
}

/// The rows whose keys, their first columns, begin with a text, of a page that begins at that text or later.
pub fn beginning_with(start: &str, page: Rows) -> Rows {
    page.into_iter().take_while(|row| row.first().is_some_and(|key| key.begins_with(start))).collect()
}

/// A key that comes after the one that a page was found from; an error if it does not.
pub fn going_on(key: Value, from: &Value) -> Result<Value, Error> {
    if key.comes_after(from) { Ok(key) } else { Err(Error::corrupt()) }
}

/// Says of how many of some rows in order one step may remove what it takes to remove them, given how many rows and bytes each
/// takes: one at least.
pub fn count_in_step(costs: impl Iterator<Item = (f64, f64)>) -> usize {
    let mut sum = (0.0, 0.0);
    let fits = |(rows, bytes): &(f64, f64)| {
        sum = (sum.0 + rows, sum.1 + bytes);
        sum.0 <= STEP_ROWS as f64 && sum.1 <= STEP_BYTES
    };
    costs.take_while(fits).count().max(1)
}

/// Goes through a table by its key. `page` makes the statement that answers the last key of the next [`STEP_ROWS`] rows
/// from a key on, `remove` those that remove what is to go between two keys; `next` is the key after one.
pub fn walk(
    from: Value,
    page: fn(Value) -> BoundStatement,
    remove: impl Fn(Value, Value) -> Vec<BoundStatement> + Send + 'static,
    next: fn(Value) -> Value,
    then: Then,
) -> Operation {
    Operation::read([page(from.clone())], move |rows| {
        let last = rows.first().and_then(StatementResult::first).and_then(|row| row.first()).cloned();
        let Some(last) = last.filter(|last| *last != Value::Null) else {
            return then();
        };
        let after = next(last.clone());
        if !after.comes_after(&from) {
            return endless();
        }
        let removal = remove(from, last);
        let go_on = move |rows: Results| {
            if has_fired(&rows) {
                Outcome::Answer(Answer::Undefined)
            } else {
                Outcome::Continue(walk(after, page, remove, next, then))
            }
        };
        Outcome::Continue(Operation::write(removal, go_on).unbounded())
    })
    .unbounded()
    .continuing()
}

/// The text that comes next after another, by its bytes.
pub fn next_text(text: Value) -> Value {
    match text {
        Value::Text(mut text) => {
            text.push('\0');
            Value::Text(text)
        }
        Value::Blob(mut bytes) => {
            bytes.push(0);
            Value::Blob(bytes)
        }
        other => other,
    }
}

/// The requests of a resource that serve nothing any more.
#[derive(Clone, Debug)]
pub struct OldRequests {
    pub resource: String,
    /// Before when they were made.
    pub before: Millis,
    /// Whether it is kept when each class was last active, which they tell.
    pub keeps_activity: bool,
}

impl OldRequests {
    fn count(&self) -> BoundStatement {
        BoundStatement::new(Statement::RateCountBefore, [Value::from(self.resource.as_str()), self.before.into()])
    }

    /// The statements that remove so many of them at most. The last one does, and says how many.
    pub fn removal(&self, at_most: f64) -> Vec<BoundStatement> {
        let resource = Value::from(self.resource.as_str());
        let keep =
            self.keeps_activity.then(|| BoundStatement::new(Statement::AdaptiveKeepActivity, [resource.clone()]));
        let delete =
            BoundStatement::new(Statement::RateDeleteBefore, [resource, self.before.into(), at_most.into()]);
        keep.into_iter().chain([delete]).collect()
    }
}

/// Removes old requests of some resources.
pub fn remove_old(resources: Vec<OldRequests>, then: Then) -> Operation {
    let counts: Vec<BoundStatement> = resources.iter().map(OldRequests::count).collect();
    Operation::read(counts, move |rows| {
        let counts = rows.iter().map(|count| count.number(0));
        let found: Vec<(OldRequests, f64)> =
            resources.into_iter().zip(counts).filter(|(_, count)| *count > 0.0).collect();
        let at_most = STEP_ROWS as f64;
        let removals = found.iter().map(|(old, count)| (old.removal(at_most), *count, 0.0)).collect();
        let unfinished: Vec<OldRequests> =
            found.into_iter().filter(|(_, count)| *count >= at_most).map(|(old, _)| old).collect();
        remove_in_steps(removals, false, move |removed| {
            if unfinished.is_empty() || removed == 0 {
                then()
            } else {
                Outcome::Continue(remove_old(unfinished, then))
            }
        })
    })
    .unbounded()
    .continuing()
}

/// Removes old requests of all resources, from one on in the order of their names.
pub fn remove_all_old(from: Value, old: impl Fn(String) -> OldRequests + Send + 'static, then: Then) -> Operation {
    Operation::read([BoundStatement::new(Statement::RateResourcesFrom, [from.clone()])], move |mut rows| {
        let names: Vec<Value> =
            rows.pop().unwrap_or_default().rows.into_iter().filter_map(|mut row| row.pop()).collect();
        let more = names.last().filter(|_| names.len() >= PAGE_RESOURCES).cloned().map(next_text);
        // What is no text is another program's.
        let texts = names.iter().filter_map(Value::text).map(str::to_owned);
        let resources: Vec<OldRequests> = texts.map(&old).collect();
        if names.is_empty() {
            return then();
        }
        let then: Then = match more {
            Some(next) if !next.comes_after(&from) => return endless(),
            Some(next) => Box::new(move || Outcome::Continue(remove_all_old(next, old, then))),
            None => then,
        };
        Outcome::Continue(remove_old(resources, then))
    })
    .unbounded()
    .continuing()
}

/// Removes some old requests, oldest first, and then what `then` says of each resource: a handful of pages.
pub fn remove_oldest(
    old: impl Fn(String) -> OldRequests + Send + 'static,
    then: impl Fn(&str) -> Vec<BoundStatement> + Send + 'static,
) -> Operation {
    Operation::read([BoundStatement::new(Statement::RateOldest, [])], move |rows| {
        let found = rows.first().map_or(&[][..], |result| &result.rows).iter();
        let found = found.filter_map(|row| match row.as_slice() {
            [name, oldest] => Some((old(name.text()?.to_owned()), oldest.number()?)),
            _ => None,
        });
        let statements: Vec<BoundStatement> = found
            .filter(|(old, oldest)| *oldest < old.before)
            .flat_map(|(old, _)| old.removal(BOUNDED_ROWS).into_iter().chain(then(&old.resource)))
            .collect();
        if statements.is_empty() {
            return done()();
        }
        Outcome::Continue(Operation::command(statements))
    })
    .continuing()
}

/// What follows from a call that has met old requests: `first`, and their removal. What is old of a single resource is
/// mostly little, and removed along with what is committed next.
pub fn follow_up(first: Vec<BoundStatement>, mut old: Vec<OldRequests>, then: Then) -> Operation {
    let mut statements = first;
    if old.len() > 1 {
        return if statements.is_empty() {
            remove_old(old, then)
        } else {
            Operation::write(statements, move |_| Outcome::Continue(remove_old(old, then))).unbounded().continuing()
        };
    }
    statements.extend(old.iter().flat_map(|old| old.removal(BOUNDED_ROWS)));
    Operation::write(statements, move |rows| {
        let may_be_more = rows.last().is_some_and(|removal| removal.changes as f64 >= BOUNDED_ROWS);
        old.retain(|_| may_be_more);
        if old.is_empty() { then() } else { Outcome::Continue(remove_old(old, then)) }
    })
    .continuing()
}

/// An answer, and what follows from a call that has met something to do or old requests, if anything does.
pub fn answer_then(answer: Answer, first: Vec<BoundStatement>, old: Vec<OldRequests>) -> Outcome {
    if first.is_empty() && old.is_empty() {
        Outcome::Answer(answer)
    } else {
        Outcome::AnswerThen(answer, follow_up(first, old, done()))
    }
}

pub fn has_fired(rows: &Results) -> bool {
    rows.iter().any(|rows| rows.has_fired)
}

/// Puts removals together to steps.
fn in_steps(removals: Vec<Removal>) -> VecDeque<Statements> {
    let mut steps: VecDeque<Statements> = VecDeque::new();
    let (mut rows, mut bytes) = (0.0, 0.0);
    for (statements, adds_rows, adds_bytes) in removals {
        match steps.back_mut() {
            Some(step) if rows + adds_rows <= STEP_ROWS as f64 && bytes + adds_bytes <= STEP_BYTES => {
                step.extend(statements);
            }
            _ => {
                steps.push_back(statements.into_iter().collect());
                (rows, bytes) = (0.0, 0.0);
            }
        }
        (rows, bytes) = (rows + adds_rows, bytes + adds_bytes);
    }
    steps
}

/// Runs steps one after the other, and says at the end how many rows they have removed.
fn run(
    mut steps: VecDeque<Statements>,
    notifies_waiters: bool,
    removed: u64,
    then: impl FnOnce(u64) -> Outcome + Send + 'static,
) -> Outcome {
    let Some(step) = steps.pop_front() else {
        return then(removed);
    };
    let removes: Vec<bool> = step.iter().map(|bound| bound.statement.removes()).collect();
    let removal = Operation::write(step, move |rows: Results| {
        if has_fired(&rows) {
            return Outcome::Answer(Answer::Undefined);
        }
        let removals = rows.iter().zip(removes).filter(|(_, removes)| *removes);
        let removed = removed + removals.map(|(rows, _)| rows.changes).sum::<u64>();
        run(steps, notifies_waiters, removed, then)
    });
    Outcome::Continue(if notifies_waiters { removal.notifying() } else { removal }.unbounded())
}
