//! Operations as data: statements with their values, the rows they give, and what a call answers.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::error::Error;
use super::stamps::TOLERANCE_MS;
use super::statements::{Access, Effect, Statement, Table};
use super::value::{Millis, Value};

/// One statement of the closed set with the values of its parameters, in order.
#[derive(Clone, Debug)]
pub struct BoundStatement {
    /// Which statement.
    pub statement: Statement,
    /// The values of `?1`, `?2`, …
    pub values: Vec<Value>,
}

impl BoundStatement {
    /// A statement with its values.
    pub fn new(statement: Statement, values: impl IntoIterator<Item = Value>) -> Self {
        BoundStatement { statement, values: values.into_iter().collect() }
    }

    /// What it touches.
    pub fn target(&self) -> Target<'_> {
        let Access { table, key, .. } = self.statement.access();
        // What has another key than text is taken for the whole.
        Target { table, key: key.and_then(|index| self.values.get(index)).and_then(Value::text) }
    }

    /// Whether a later statement has left nothing for this one to do: it has written anew what was stale.
    fn is_superseded_by(&self, later: &BoundStatement) -> bool {
        use Statement as S;
        let is_rewritten = later.statement == S::CacheSet
            && matches!(
                self.statement,
                S::CacheDeleteStale | S::CacheUntagAbsent | S::CacheUncountStale | S::CacheUnuseAbsent
            );
        is_rewritten && self.values.first() == later.values.first()
    }
}

/// A part of a store's tables: what belongs to a key, or the whole.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Target<'key> {
    pub table: Table,
    pub key: Option<&'key str>,
}

/// Rows of a statement: mostly one at most.
pub type Rows = SmallVec<[Vec<Value>; 1]>;

/// What running one statement gave.
#[derive(Debug, Default)]
pub struct StatementResult {
    /// The rows, each a list of columns.
    pub rows: Rows,
    /// How many rows the statement inserted, updated or deleted.
    pub changes: u64,
    /// Whether triggers changed others along with them.
    pub has_fired: bool,
}

impl StatementResult {
    /// The first row.
    pub fn first(&self) -> Option<&[Value]> {
        self.rows.first().map(Vec::as_slice)
    }

    /// A number in the first row; 0 where there is none.
    pub fn number(&self, column: usize) -> f64 {
        self.first().and_then(|row| row.get(column)).and_then(Value::number).unwrap_or(0.0)
    }

    /// A number in the first row; `None` for NULL or no row.
    pub fn optional_number(&self, column: usize) -> Option<f64> {
        self.first().and_then(|row| row.get(column)).and_then(Value::number)
    }
}

/// What running an operation gave: one entry a statement, in order.
pub type Results = SmallVec<[StatementResult; 1]>;

/// The statements of an operation: mostly one.
pub type Statements = SmallVec<[BoundStatement; 1]>;

/// How much work an operation may be, which decides the thread it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A handful of pages: may run on the JavaScript thread.
    Bounded,
    /// May touch any number of rows: always on a background thread where the connection has one.
    Unbounded,
}

/// Turns what the statements gave into what the call answers, given how many ms after the call that is.
pub type Completion = Box<dyn FnOnce(Results, Millis) -> Outcome + Send>;

/// A call on a store as data: statements to be run in order and atomically, and the completion that reads their rows.
///
/// The completion runs once, after the commit. The statements may run more than once (after a rollback).
pub struct Operation {
    pub statements: Statements,
    /// Whether no statement changes the database.
    pub read_only: bool,
    /// How much work it may be.
    pub cost: Cost,
    /// Whether another operation may follow from it that has to be carried out before any later call.
    pub may_continue: bool,
    /// Whether waiters for deduplicated requests have to poll once this is committed: those of the first statement's key.
    pub notifies_waiters: bool,
    /// Whether it may be carried out before writes that it would see, and that say when they are carried out.
    pub may_overtake: bool,
    /// Whether what it goes on with looks again at all that it depends on: others of this kind may come in between.
    pub rechecks: bool,
    /// When what it stores expires, where that counts from when it is stored.
    pub(super) expiry: Option<Box<Expiry>>,
    /// From rows to the answer.
    pub completion: Completion,
}

/// When something expires, a lease or a reservation: a time among an operation's values, or for how long after another one. It
/// counts from when the statements run: otherwise a call that waits long for a lock would store what is already over.
pub(super) struct Expiry {
    /// The statement that stores it.
    statement: Statement,
    /// Which of its values.
    value: usize,
    /// The value, if nothing were waited for.
    at_call: Millis,
}

impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Operation")
            .field("statements", &self.statements)
            .field("read_only", &self.read_only)
            .finish()
    }
}

impl Operation {
    fn new(read_only: bool, statements: Statements, completion: Completion) -> Self {
        Operation {
            statements,
            read_only,
            cost: Cost::Bounded,
            may_continue: false,
            notifies_waiters: false,
            may_overtake: false,
            rechecks: false,
            expiry: None,
            completion,
        }
    }

    /// Statements that only read, and the completion for their rows.
    pub fn read(
        statements: impl Into<Statements>,
        completion: impl FnOnce(Results) -> Outcome + Send + 'static,
    ) -> Self {
        Self::read_timed(statements, |rows, _| completion(rows))
    }

    /// The same, where the completion asks how many ms after the call that is.
    pub fn read_timed(
        statements: impl Into<Statements>,
        completion: impl FnOnce(Results, Millis) -> Outcome + Send + 'static,
    ) -> Self {
        Self::new(true, statements.into(), Box::new(completion))
    }

    /// Statements that write, and the completion for their rows.
    pub fn write(
        statements: impl Into<Statements>,
        completion: impl FnOnce(Results) -> Outcome + Send + 'static,
    ) -> Self {
        Self::write_timed(statements, |rows, _| completion(rows))
    }

    /// The same, where the completion asks how many ms after the call that is.
    pub fn write_timed(
        statements: impl Into<Statements>,
        completion: impl FnOnce(Results, Millis) -> Outcome + Send + 'static,
    ) -> Self {
        Self::new(false, statements.into(), Box::new(completion))
    }

    /// Statements that write and answer nothing.
    pub fn command(statements: impl Into<Statements>) -> Self {
        Self::write(statements, |_| Outcome::Answer(Answer::Undefined))
    }

    /// No statements. The call is answered when its turn comes.
    pub fn nothing() -> Self {
        Self::read(Statements::new(), |_| Outcome::Answer(Answer::Undefined))
    }

    /// Marks an operation that may touch any number of rows.
    pub fn unbounded(mut self) -> Self {
        self.cost = Cost::Unbounded;
        self
    }

    /// Marks an operation that may go on with another one in its place.
    pub fn continuing(mut self) -> Self {
        self.may_continue = true;
        self
    }

    /// Marks an operation after which waiters for deduplicated requests poll.
    pub fn notifying(mut self) -> Self {
        self.notifies_waiters = true;
        self
    }

    /// Marks a read that may be carried out before writes that it would see.
    pub fn overtaking(mut self) -> Self {
        self.may_overtake = true;
        self
    }

    /// Marks an operation whose continuation looks again at all that it depends on.
    pub fn rechecking(mut self) -> Self {
        self.rechecks = true;
        self
    }

    /// Has what this statement stores expire the later, the later it runs. The value says when; where the statement stands
    /// several times, it is the same in all.
    pub(super) fn expiring(mut self, statement: Statement, value: usize) -> Self {
        let found = self.statements.iter().find(|bound| bound.statement == statement);
        let time = found.and_then(|bound| bound.values.get(value)).and_then(Value::number);
        debug_assert!(time.is_some() || found.is_none(), "nothing expires there");
        self.expiry = time.map(|at_call| Box::new(Expiry { statement, value, at_call }));
        self
    }

    /// To be called before the statements run, so many ms after the call: what they store expires as much later. A wait that
    /// clocks may differ by does not count, so times are exact where the clock is faked.
    pub fn postpone_expiry(&mut self, waited: Millis) {
        let Some(Expiry { statement, value, at_call }) = self.expiry.as_deref() else { return };
        if waited < TOLERANCE_MS {
            return;
        }
        for bound in self.statements.iter_mut().filter(|bound| bound.statement == *statement) {
            if let Some(time) = bound.values.get_mut(*value) {
                *time = (at_call + waited.floor()).into();
            }
        }
    }

    /// Has something done when the call is answered with `false`.
    pub fn on_refusal(mut self, refused: Arc<dyn Fn() + Send + Sync>) -> Self {
        let completion = self.completion;
        self.completion = Box::new(move |rows, waited| match completion(rows, waited) {
            Outcome::Continue(next) => Outcome::Continue(next.on_refusal(refused)),
            outcome => {
                if let Outcome::Answer(Answer::Bool(false)) | Outcome::AnswerThen(Answer::Bool(false), _) = outcome
                {
                    refused();
                }
                outcome
            }
        });
        self
    }

    /// What waiters are to be told of, if any.
    pub fn change(&self) -> Option<Changed> {
        let first = self.statements.first().filter(|_| self.notifies_waiters)?;
        Some(first.target().key.map_or(Changed::Anything, |hash| Changed::Hashes(vec![hash.to_owned()])))
    }

    /// Whether a call made later, but run earlier, has already written anew what this follow-up would delete.
    pub fn is_superseded<'later>(&self, mut later: impl Iterator<Item = &'later Operation>) -> bool {
        later.any(|later| {
            let is_superseded =
                |bound: &BoundStatement| later.statements.iter().any(|later| bound.is_superseded_by(later));
            self.statements.iter().all(is_superseded)
        })
    }

    /// The statements that reads are checked against, with whether one only tidies: reads of a key need not wait for it. An
    /// operation that may continue may write then what it reads now.
    pub fn written(&self) -> impl Iterator<Item = (&BoundStatement, bool)> {
        let may_continue = self.may_continue;
        self.statements.iter().filter_map(move |bound| match bound.statement.access().effect {
            Effect::Writes => Some((bound, false)),
            Effect::Reads => may_continue.then_some((bound, false)),
            Effect::Tidies => Some((bound, true)),
        })
    }

    /// The bytes of text and blobs this operation carries.
    pub fn payload_bytes(&self) -> usize {
        self.statements.iter().flat_map(|bound| &bound.values).map(Value::payload_bytes).sum()
    }
}

/// What has changed that may be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// What belongs to these hashes.
    Hashes(Vec<String>),
    Anything,
}

impl Changed {
    /// This, and something else.
    pub fn and(self, other: Changed) -> Changed {
        match (self, other) {
            (Changed::Hashes(mut hashes), Changed::Hashes(mut others)) => {
                hashes.append(&mut others);
                Changed::Hashes(hashes)
            }
            _ => Changed::Anything,
        }
    }
}

/// What a completion decided.
pub enum Outcome {
    /// The call's answer.
    Answer(Answer),
    /// The answer, and work that follows from it and that nobody waits for: deleting an expired row, say.
    AnswerThen(Answer, Operation),
    /// The call goes on with another operation, which answers it.
    Continue(Operation),
}

/// What a call on a store resolves to.
#[derive(Debug)]
pub enum Answer {
    /// `undefined`.
    Undefined,
    /// `undefined`: what was stored has expired.
    Expired,
    /// `undefined`: entries had to go, for one that was stored or to keep bounds; some of their hashes.
    Evicted(Vec<String>),
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    Number(f64),
    /// A time in ms, by the clock that the call's time was told by.
    Time(Millis),
    Text(String),
    /// The value that this JSON text denotes; `unreadable` deletes the row it came from if it does not parse.
    Json {
        /// The JSON text.
        text: Arc<String>,
        /// What to do with a row whose text does not parse.
        unreadable: Option<BoundStatement>,
    },
    /// Numbers and lists under names, in the order of the documentation.
    Record(Vec<(&'static str, Field)>),
    /// Such records, each an object of a list.
    Records(Vec<Vec<(&'static str, Field)>>),
    /// How many ms until a slot that is booked: a timer that is started when this is told is not to fire before.
    Booked(f64),
    Rejection(Error),
    /// `undefined`, and the hash is claimed for the caller.
    Claimed,
    /// A deduplicated request is under way elsewhere: the call waits.
    Wait(Wait),
    /// What there is to wait for under each hash; `None`: that has to be found out one by one.
    Polled(Vec<(String, Option<Wait>)>),
    /// A job was registered; whether it is this call's own.
    Registered {
        /// The job that is pending now.
        job_id: String,
        /// Whether this call created it.
        created: bool,
    },
    /// Leases were renewed, except these, given by hash and job; claims have none.
    Renewed {
        /// They are no longer pending, or have another owner.
        lost: Vec<(String, Option<String>)>,
    },
    /// A job was completed or failed; whether there was one to end.
    Ended {
        /// Whether a row changed.
        changed: bool,
    },
}

/// A member of an [`Answer::Record`].
#[derive(Debug)]
pub enum Field {
    Number(f64),
    /// A time in ms, as a number.
    Stamp(Millis),
    /// A boolean.
    Bool(bool),
    Text(String),
    /// An array of strings.
    List(Vec<String>),
    /// A `Date`.
    Time(Millis),
    /// An object within.
    Record(Vec<(&'static str, Field)>),
}

/// What a waiting call waits for, apart from the end of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// When the job is past its time, by the caller's clock.
    pub deadline: Option<Millis>,
    /// When its lease, or the claim, runs out unless renewed, in system time.
    pub expires_at: Option<Millis>,
    /// Whose that is.
    pub owner: Option<String>,
}

impl Wait {
    /// When the first of both ends, whoever's it is.
    pub fn or_earlier(&self, other: &Wait) -> Wait {
        let earlier = |one: Option<Millis>, other| one.into_iter().chain(other).reduce(f64::min);
        Wait {
            deadline: earlier(self.deadline, other.deadline),
            expires_at: earlier(self.expires_at, other.expires_at),
            owner: None,
        }
    }
}
