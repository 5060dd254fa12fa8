//! What the engine asks of a kind of connection.

use crate::core::operation::{BoundStatement, Results};

/// One transaction: the statements of some operations, in order.
pub struct Transaction<'batch> {
    /// The statements of each operation.
    pub lists: &'batch [&'batch [BoundStatement]],
    /// Whether any of them changes the database.
    pub writes: bool,
}

/// Why a transaction was refused.
#[derive(Clone, Debug)]
pub enum Refusal<E> {
    /// Another connection has the lock; nothing was done.
    Busy(E),
    /// A statement failed, and nothing of the transaction stands: it may be run again.
    Undone(E),
    /// The same, and it was a statement of the operation at this place: the others may be run again without it.
    UndoneBy(usize, E),
    /// The commit was reported as failed. It may have taken effect all the same, as when a lock cannot be given back
    /// after it. To run the transaction again could do everything twice.
    Unclear(E),
}

impl<E> Refusal<E> {
    /// The error, whatever it means for what was run.
    pub fn error(&self) -> &E {
        let (Refusal::Busy(error) | Refusal::Undone(error) | Refusal::UndoneBy(_, error) | Refusal::Unclear(error)) =
            self;
        error
    }

    /// As [`error`](Self::error).
    pub fn into_error(self) -> E {
        let (Refusal::Busy(error) | Refusal::Undone(error) | Refusal::UndoneBy(_, error) | Refusal::Unclear(error)) =
            self;
        error
    }
}

/// What running a transaction gave: the results of each operation.
pub type TransactionResult<E> = Result<Vec<Results>, Refusal<E>>;

/// A connection that runs one transaction at a time.
pub trait Executor {
    /// What it refuses with.
    type Error: Clone;

    /// Runs a transaction: atomically, and, if it is but read, on one state of the database. `None`: it is under way, and
    /// its result is told later, to [`Batch::take_result`](super::batch::Batch::take_result).
    fn run(&mut self, transaction: Transaction<'_>) -> Option<TransactionResult<Self::Error>>;
}
