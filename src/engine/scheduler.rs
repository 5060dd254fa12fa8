//! The queue in front of a connection, in call order, and what follows from what has been carried out.

use std::collections::VecDeque;

use super::batch::{Batch, Completion, take_if};
use super::call::{Call, Time};
use crate::core::error::Error;
use crate::core::plan::{Operation, Weight};

/// See the module's description. One batch is under way at a time.
pub struct Scheduler<R, E> {
    queue: VecDeque<Call<R>>,
    in_flight: bool,
    errors: std::marker::PhantomData<fn() -> E>,
}

impl<R, E> Default for Scheduler<R, E> {
    fn default() -> Self {
        Scheduler { queue: VecDeque::new(), in_flight: false, errors: std::marker::PhantomData }
    }
}

impl<R, E: Clone + From<Error>> Scheduler<R, E> {
    /// Whether nothing is queued or under way.
    pub fn is_idle(&self) -> bool {
        !self.in_flight && self.queue.is_empty()
    }

    /// Whether something is queued, and nothing under way.
    pub fn is_ready(&self) -> bool {
        !self.in_flight && !self.queue.is_empty()
    }

    /// Whether something is queued.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What is queued, in order.
    pub fn queued(&self) -> impl ExactSizeIterator<Item = &Call<R>> {
        self.queue.iter()
    }

    /// Puts a call at the end of the queue.
    pub fn submit(&mut self, call: Call<R>) {
        self.queue.push_back(call);
    }

    /// Takes the operations that are to be one transaction, no more than so many and, unless one alone has more, with no
    /// more bytes of text and blobs than that. `None` if there are none, or others are under way.
    pub fn next_batch(&mut self, operations_at_most: usize, bytes_at_most: usize) -> Option<Batch<R, E>> {
        if !self.is_ready() {
            return None;
        }
        let operations = self.queue.iter().take(operations_at_most).map(|call| &call.operation);
        let length = batch_length(operations, bytes_at_most);
        self.in_flight = true;
        Some(Batch::new(self.queue.drain(..length).collect()))
    }

    /// A batch has come to its end, or is given up: what is left of it is queued again, and what follows from the rest. See
    /// [`follow_up`](Self::follow_up).
    pub fn end(&mut self, batch: Batch<R, E>, completion: &mut Completion<R, E>) -> bool {
        self.in_flight = false;
        self.requeue_front(batch.into_calls());
        self.follow_up(completion)
    }

    /// Queues what follows from what was carried out: before whatever was called later, except the rest of work that may be
    /// any amount, which gives others their turn. Answers whether there is such a rest.
    pub fn follow_up(&mut self, completion: &mut Completion<R, E>) -> bool {
        let has_rest = completion.rest.iter().any(|call| call.operation.weight == Weight::Heavy);
        self.requeue_front(std::mem::take(&mut completion.next_in_turn));
        self.queue.append(&mut completion.rest);
        has_rest
    }

    /// Work on a batch has broken off, and it is lost.
    pub fn abandon(&mut self) {
        self.in_flight = false;
    }

    fn requeue_front(&mut self, mut calls: VecDeque<Call<R>>) {
        if !calls.is_empty() {
            calls.append(&mut self.queue);
            self.queue = calls;
        }
    }

    /// Takes what has waited long enough for a lock, out of a batch and out of the queue behind it.
    pub fn take_timed_out(&mut self, batch: &mut Batch<R, E>, now: Time) -> Batch<R, E> {
        let is_late = |call: &Call<R>| call.deadline.is_some_and(|deadline| deadline <= now);
        let mut late = batch.take_if(is_late);
        late.append(&mut take_if(&mut self.queue, is_late));
        Batch::alone(late)
    }

    /// Takes everything that is queued.
    pub fn take_all(&mut self) -> Batch<R, E> {
        Batch::alone(std::mem::take(&mut self.queue))
    }
}

/// How many operations from the front of a queue make one transaction: up to one that may go on, since what it goes on
/// with comes before later calls. One that may be any amount of work is a transaction of its own.
fn batch_length<'queue>(operations: impl Iterator<Item = &'queue Operation>, bytes_at_most: usize) -> usize {
    let (mut length, mut bytes) = (0, 0);
    for operation in operations {
        let is_heavy = operation.weight == Weight::Heavy;
        if is_heavy && length > 0 {
            break;
        }
        length += 1;
        bytes += operation.payload_bytes();
        if is_heavy || operation.goes_on || bytes > bytes_at_most {
            break;
        }
    }
    length
}
