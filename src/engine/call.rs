//! Calls, and what their operations come to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::core::error::Error;
use crate::core::operation::{Answer, Operation, Outcome, Results};
use crate::core::value::Millis;

/// A point in time, since an origin of the caller's choice.
pub type Time = Duration;

/// A call that waits for its turn.
pub struct Call<R> {
    /// What it asks for.
    pub operation: Operation,
    /// Where its answer goes, if anywhere.
    pub reply: Option<R>,
    /// When it was made.
    pub made_at: Time,
    /// Until when it may wait for a lock; without one, as long as the connection does.
    pub deadline: Option<Time>,
}

impl<R> Call<R> {
    /// Whether its deadline has come.
    pub fn is_late(&self, now: Time) -> bool {
        self.passed_deadline(now).is_some()
    }

    /// Its deadline, if that has come.
    pub(super) fn passed_deadline(&self, now: Time) -> Option<Time> {
        self.deadline.filter(|deadline| *deadline <= now)
    }
}

/// The reply of a call whose deadline has come.
pub struct LateReply<R> {
    /// Where its answer goes.
    pub reply: R,
    /// Whether it changes nothing.
    pub only_reads: bool,
    /// How long it could wait.
    pub timeout_ms: Millis,
}

/// What an operation came to that was run at once.
pub enum AtOnce<E> {
    /// Its answer, and an operation that follows from it and that nobody waits for.
    Answered(Result<Answer, E>, Option<Operation>),
    /// It was not run, or goes on with this one, which was not.
    Queue(Operation),
}

/// The ms from one point in time to a later one.
pub fn ms_between(from: Time, to: Time) -> Millis {
    to.saturating_sub(from).as_secs_f64() * 1000.0
}

/// Runs an operation, and what it goes on with, as far as `run` does.
pub fn run_at_once<E: From<Error>>(
    mut operation: Operation,
    now: impl Fn() -> Time,
    mut run: impl FnMut(&Operation) -> Option<Result<Results, E>>,
) -> AtOnce<E> {
    let made_at = now();
    loop {
        let Some(rows) = run(&operation) else { return AtOnce::Queue(operation) };
        match apply_outcome(operation, rows, ms_between(made_at, now())) {
            Ok(Outcome::Answer(answer)) => return AtOnce::Answered(Ok(answer), None),
            Ok(Outcome::AnswerThen(answer, next)) => return AtOnce::Answered(Ok(answer), Some(next)),
            Ok(Outcome::Continue(next)) => operation = next,
            Err(error) => return AtOnce::Answered(Err(error), None),
        }
    }
}

/// Runs an operation's completion, so many ms after the call was made. One that panics fails its own call and no other.
pub(super) fn apply_outcome<E: From<Error>>(
    operation: Operation,
    rows: Result<Results, E>,
    waited: Millis,
) -> Result<Outcome, E> {
    let rows = rows?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (operation.completion)(rows, waited)));
    outcome.map_err(|_| E::from(Error::panic()))
}
