//! Operations that are carried out as one transaction. If one of them fails, nothing of it stands and each is run again in a
//! transaction of its own, so that it alone is refused. If the commit fails, all are refused: it may have taken effect.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::call::{Call, LateReply, Time, apply_outcome, ms_between};
use super::executor::{Executor, Refusal, Transaction, TransactionResult};
use crate::core::error::Error;
use crate::core::operation::{Answer, BoundStatement, Changed, Operation, Outcome, Results};

/// Operations taken from the queue, until all of them have come to an end.
pub struct Batch<R, E> {
    /// What has not come to an end.
    calls: VecDeque<Call<R>>,
    /// Whether they are still to be run together.
    together: bool,
    finished: Vec<(Call<R>, Result<Results, E>)>,
}

/// What has come of operations.
pub struct Completed<R, E> {
    /// The answers, in call order, and where they go.
    pub answers: Vec<(R, Result<Answer, E>)>,
    /// What waiters for deduplicated requests have to poll.
    pub changed: Option<Changed>,
    /// What follows from them before later calls, and what after.
    pub(super) next_in_turn: VecDeque<Call<R>>,
    pub(super) rest: VecDeque<Call<R>>,
}

impl<R, E> Default for Completed<R, E> {
    fn default() -> Self {
        Completed { answers: Vec::new(), changed: None, next_in_turn: VecDeque::new(), rest: VecDeque::new() }
    }
}

/// How far a batch has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress<E> {
    /// All of it has come to an end.
    Done,
    /// A transaction is under way.
    Running,
    /// Another connection has the lock. What is left may be run again.
    Busy(E),
}

impl<R, E> Default for Batch<R, E> {
    fn default() -> Self {
        Batch { calls: VecDeque::new(), together: false, finished: Vec::new() }
    }
}

impl<R, E: Clone> Batch<R, E> {
    pub(super) fn new(calls: VecDeque<Call<R>>) -> Self {
        Batch { finished: Vec::with_capacity(calls.len()), together: calls.len() > 1, calls }
    }

    /// Operations each of which is a transaction of its own.
    pub(super) fn alone(calls: VecDeque<Call<R>>) -> Self {
        Batch { together: false, ..Self::new(calls) }
    }

    /// Runs what is left, as far as it can be.
    pub fn run(&mut self, executor: &mut impl Executor<Error = E>, now: Time) -> Progress<E> {
        for call in &mut self.calls {
            call.operation.postpone_expiry(ms_between(call.made_at, now));
        }
        while !self.calls.is_empty() {
            let lists = self.lists();
            let result = executor.run(Transaction { lists: &lists, writes: self.next_writes() });
            drop(lists);
            let Some(result) = result else { return Progress::Running };
            if let Some(busy) = self.take_result(result) {
                return Progress::Busy(busy);
            }
        }
        Progress::Done
    }

    /// The operations of the next transaction, or of the one that is under way.
    fn next(&self) -> impl Iterator<Item = &Operation> {
        let count = if self.together { self.calls.len() } else { 1 };
        self.calls.iter().take(count).map(|call| &call.operation)
    }

    /// Their statements.
    pub fn lists(&self) -> SmallVec<[&[BoundStatement]; 1]> {
        self.next().map(|operation| operation.statements.as_slice()).collect()
    }

    /// Whether any of them changes the database.
    pub fn next_writes(&self) -> bool {
        self.next().any(|operation| !operation.read_only)
    }

    /// Takes note of what became of the transaction that was run; answers the error if that was for want of a lock. Goes
    /// on with [`run`](Self::run).
    pub fn take_result(&mut self, result: TransactionResult<E>) -> Option<E> {
        match result {
            Err(Refusal::Busy(error)) => return Some(error),
            Ok(rows) if self.together => self.finished.extend(self.calls.drain(..).zip(rows.into_iter().map(Ok))),
            Ok(mut rows) => self.end_first(Ok(rows.pop().unwrap_or_default())),
            Err(Refusal::UndoneBy(index, error)) if self.together => {
                self.finished.extend(self.calls.remove(index).map(|call| (call, Err(error))));
            }
            Err(Refusal::Undone(_)) if self.together => self.together = false,
            Err(Refusal::Unclear(error)) if self.together => self.refuse(&error),
            Err(Refusal::Undone(error) | Refusal::UndoneBy(_, error) | Refusal::Unclear(error)) => {
                self.end_first(Err(error));
            }
        }
        None
    }

    fn end_first(&mut self, result: Result<Results, E>) {
        self.finished.extend(self.calls.pop_front().map(|call| (call, result)));
    }

    /// Refuses what is left.
    pub fn refuse(&mut self, error: &E) {
        self.refuse_if(error, |_| true);
    }

    /// What is left.
    pub fn calls(&self) -> impl Iterator<Item = &Call<R>> {
        self.calls.iter()
    }

    /// Takes out what matches, of what is left.
    pub(super) fn take_if(&mut self, matches: impl FnMut(&Call<R>) -> bool) -> VecDeque<Call<R>> {
        take_if(&mut self.calls, matches)
    }

    /// Applies the rules to what has come to an end by `now`.
    pub fn complete(&mut self, now: Time) -> Completed<R, E>
    where
        E: From<Error>,
    {
        let mut completed = Completed::default();
        let mut finished = std::mem::take(&mut self.finished).into_iter();
        while let Some((Call { operation, reply, made_at, deadline }, rows)) = finished.next() {
            if let Some(change) = operation.change().filter(|_| rows.is_ok()) {
                completed.changed = Some(match completed.changed {
                    Some(changed) => changed.and(change),
                    None => change,
                });
            }
            let may_continue = operation.may_continue;
            let answer = match apply_outcome(operation, rows, ms_between(made_at, now)) {
                Ok(Outcome::Answer(answer)) => Ok(answer),
                Ok(Outcome::AnswerThen(answer, next)) => {
                    let later = finished.as_slice().iter().map(|(later, _)| &later.operation);
                    if !next.is_superseded(later) {
                        completed.next_in_turn.push_back(Call { operation: next, reply: None, made_at, deadline });
                    }
                    Ok(answer)
                }
                Ok(Outcome::Continue(next)) => {
                    let list = if may_continue { &mut completed.next_in_turn } else { &mut completed.rest };
                    list.push_back(Call { operation: next, reply, made_at, deadline });
                    continue;
                }
                Err(error) => Err(error),
            };
            completed.answers.extend(reply.map(|reply| (reply, answer)));
        }
        completed
    }

    /// Takes out the replies of calls that are past their deadline. What they ask for is still carried out.
    pub fn take_late_replies(&mut self, now: Time) -> Vec<LateReply<R>> {
        let late = |call: &mut Call<R>| {
            let deadline = call.passed_deadline(now)?;
            Some(LateReply {
                reply: call.reply.take()?,
                only_reads: call.operation.read_only,
                timeout_ms: ms_between(call.made_at, deadline),
            })
        };
        self.calls.iter_mut().filter_map(late).collect()
    }

    /// Whether all that is left is past its deadline.
    pub fn is_late(&self, now: Time) -> bool {
        self.calls.iter().all(|call| call.is_late(now))
    }

    /// The next deadline of calls that are waited for or, if none is, the last.
    pub fn next_deadline(&self) -> Option<Time> {
        let awaited = self.calls.iter().filter(|call| call.reply.is_some()).filter_map(|call| call.deadline).min();
        awaited.or_else(|| self.calls.iter().filter_map(|call| call.deadline).max())
    }

    /// Refuses what matches, of what is left.
    pub fn refuse_if(&mut self, error: &E, matches: impl FnMut(&Call<R>) -> bool) {
        let refused = take_if(&mut self.calls, matches);
        self.finished.extend(refused.into_iter().map(|call| (call, Err(error.clone()))));
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.calls.is_empty()
    }

    /// What is left, in order.
    pub(super) fn into_calls(self) -> VecDeque<Call<R>> {
        self.calls
    }
}

/// Takes out of a list what matches. Both stay in order.
pub(super) fn take_if<T>(list: &mut VecDeque<T>, matches: impl FnMut(&T) -> bool) -> VecDeque<T> {
    let (taken, left) = std::mem::take(list).into_iter().partition(matches);
    *list = left;
    taken
}
