//! The queue in front of a connection, in call order, and what follows from what has been carried out.

use std::collections::VecDeque;

use super::batch::{Batch, Completed, take_if};
use super::call::{Call, Time};
use super::write_set::WriteSet;
use crate::core::error::Error;
use crate::core::operation::{Cost, Operation, Target};

/// The batch that is under way.
enum InFlight {
    None,
    /// No read may be carried out beside it.
    Alone,
    /// Reads may be carried out beside it, of what it does not write.
    BesideReads(WriteSet),
}

/// Decides what is carried out next, and together with what. One batch is under way at a time.
pub struct Scheduler<R, E> {
    queue: VecDeque<Call<R>>,
    /// What the queue writes.
    queued: WriteSet,
    in_flight: InFlight,
    errors: std::marker::PhantomData<fn() -> E>,
}

impl<R, E> Default for Scheduler<R, E> {
    fn default() -> Self {
        Scheduler {
            queue: VecDeque::new(),
            queued: WriteSet::default(),
            in_flight: InFlight::None,
            errors: std::marker::PhantomData,
        }
    }
}

impl<R, E: Clone + From<Error>> Scheduler<R, E> {
    /// Whether nothing is queued or under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.in_flight, InFlight::None) && self.queue.is_empty()
    }

    /// Whether something is queued, and nothing under way.
    pub fn is_ready(&self) -> bool {
        matches!(self.in_flight, InFlight::None) && !self.queue.is_empty()
    }

    /// Whether something is queued.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether what is read at this target is what it will be when all that is queued and under way has been carried out:
    /// none of it writes there.
    pub fn may_read(&self, target: Target<'_>) -> bool {
        let waits_for_batch = match &self.in_flight {
            InFlight::None => false,
            InFlight::Alone => true,
            InFlight::BesideReads(writes) => writes.overlaps(target),
        };
        !waits_for_batch && (self.queue.is_empty() || !self.queued.overlaps(target))
    }

    /// Whether all that an operation tidies is going to be tidied by what is queued. Reads that follow one another find the
    /// same to be tidied, and do not wait for it.
    pub fn already_tidies(&self, operation: &Operation) -> bool {
        !self.queue.is_empty() && self.queued.already_tidies(operation)
    }

    /// What is queued, in order.
    pub fn queued(&self) -> impl ExactSizeIterator<Item = &Call<R>> {
        self.queue.iter()
    }

    /// Puts a call at the end of the queue.
    pub fn submit(&mut self, call: Call<R>) {
        self.queued.insert(&call.operation);
        self.queue.push_back(call);
    }

    /// Takes the operations that are to be one transaction, no more than so many and, unless one alone has more, with no
    /// more bytes of text and blobs than that. `None` if there are none, or others are under way.
    pub fn next_batch(&mut self, operations_at_most: usize, bytes_at_most: usize) -> Option<Batch<R, E>> {
        self.take_batch(operations_at_most, |operations| batch_length(operations, bytes_at_most))
    }

    /// As [`next_batch`](Self::next_batch), for a connection that is far away: what may go on with another operation does not
    /// end a transaction if what is called later has nothing to do with it.
    pub fn next_batch_of_independent(
        &mut self,
        operations_at_most: usize,
        bytes_at_most: usize,
    ) -> Option<Batch<R, E>> {
        self.take_batch(operations_at_most, |operations| independent_length(operations, bytes_at_most))
    }

    fn take_batch(
        &mut self,
        operations_at_most: usize,
        length: impl FnOnce(&mut dyn Iterator<Item = &Operation>) -> usize,
    ) -> Option<Batch<R, E>> {
        if !self.is_ready() {
            return None;
        }
        let length = length(&mut self.queue.iter().take(operations_at_most).map(|call| &call.operation));
        self.in_flight = InFlight::Alone;
        let calls = self.queue.drain(..length).collect();
        self.forget_writes(&calls);
        Some(Batch::new(calls))
    }

    /// As [`next_batch`](Self::next_batch), of one beside which reads may be carried out.
    pub fn next_batch_beside_reads(
        &mut self,
        operations_at_most: usize,
        bytes_at_most: usize,
    ) -> Option<Batch<R, E>> {
        let batch = self.next_batch(operations_at_most, bytes_at_most)?;
        let mut writes = WriteSet::default();
        batch.calls().for_each(|call| writes.insert(&call.operation));
        self.in_flight = InFlight::BesideReads(writes);
        Some(batch)
    }

    /// A batch has come to its end, or is given up: what is left of it is queued again, and what follows from the rest. See
    /// [`follow_up`](Self::follow_up).
    pub fn end(&mut self, batch: Batch<R, E>, completed: &mut Completed<R, E>) -> bool {
        self.in_flight = InFlight::None;
        self.requeue_front(batch.into_calls());
        self.follow_up(completed)
    }

    /// Queues what follows from what was carried out: before whatever was called later, except the rest of work that may be
    /// any amount, which gives others their turn. Answers whether there is such a rest.
    pub fn follow_up(&mut self, completed: &mut Completed<R, E>) -> bool {
        let has_rest = completed.rest.iter().any(|call| call.operation.cost == Cost::Unbounded);
        self.requeue_front(std::mem::take(&mut completed.next_in_turn));
        completed.rest.drain(..).for_each(|call| self.submit(call));
        has_rest
    }

    /// Work on a batch has broken off, and it is lost.
    pub fn abandon(&mut self) {
        self.in_flight = InFlight::None;
    }

    fn requeue_front(&mut self, mut calls: VecDeque<Call<R>>) {
        if !calls.is_empty() {
            calls.iter().for_each(|call| self.queued.insert(&call.operation));
            calls.append(&mut self.queue);
            self.queue = calls;
        }
    }

    /// Takes what has waited long enough for a lock, out of a batch and out of the queue behind it.
    pub fn take_timed_out(&mut self, batch: &mut Batch<R, E>, now: Time) -> Batch<R, E> {
        let mut late = batch.take_if(|call| call.is_late(now));
        let mut queued = take_if(&mut self.queue, |call| call.is_late(now));
        self.forget_writes(&queued);
        late.append(&mut queued);
        Batch::alone(late)
    }

    /// The first deadline of what is queued.
    pub fn next_deadline(&self) -> Option<Time> {
        self.queue.iter().filter_map(|call| call.deadline).min()
    }

    /// Takes everything that is queued.
    pub fn take_all(&mut self) -> Batch<R, E> {
        self.queued.clear();
        Batch::alone(std::mem::take(&mut self.queue))
    }

    /// These have been taken out of the queue.
    fn forget_writes(&mut self, calls: &VecDeque<Call<R>>) {
        if self.queue.is_empty() {
            self.queued.clear();
        } else {
            calls.iter().for_each(|call| self.queued.remove(&call.operation));
        }
    }
}

/// How many operations from the front of a queue make one transaction: up to one that may go on, since what it goes on
/// with comes before later calls. One that may be any amount of work is a transaction of its own.
fn batch_length<'queue>(operations: impl Iterator<Item = &'queue Operation>, bytes_at_most: usize) -> usize {
    let (mut length, mut bytes) = (0, 0);
    for operation in operations {
        let is_heavy = operation.cost == Cost::Unbounded;
        if is_heavy && length > 0 {
            break;
        }
        length += 1;
        bytes += operation.payload_bytes();
        if is_heavy || operation.may_continue || bytes > bytes_at_most {
            break;
        }
    }
    length
}

/// The same, past operations that may go on, up to one that has to do with what those may touch.
fn independent_length<'queue>(operations: impl Iterator<Item = &'queue Operation>, bytes_at_most: usize) -> usize {
    let (mut length, mut bytes) = (0, 0);
    // What may go on: of the kind that looks again, and others.
    let (mut rechecking, mut open) = (WriteSet::default(), WriteSet::default());
    for operation in operations {
        let is_heavy = operation.cost == Cost::Unbounded;
        let touches = |writes: &WriteSet| operation.statements.iter().any(|bound| writes.overlaps(bound.target()));
        if length > 0 && (is_heavy || touches(&open) || (!operation.rechecks && touches(&rechecking))) {
            break;
        }
        length += 1;
        bytes += operation.payload_bytes();
        if is_heavy || bytes > bytes_at_most {
            break;
        }
        if operation.may_continue {
            let writes = if operation.rechecks { &mut rechecking } else { &mut open };
            writes.insert(operation);
        }
    }
    length
}
