//! Operations as data: statements with their values, the rows they give, and what a call answers.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::error::Error;
use super::schema::{Access, Effect, Statement, Table};
use super::value::{Millis, Value};

/// One statement of the closed set with the values of its parameters, in order.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which statement.
    pub statement: Statement,
    /// The values of `?1`, `?2`, …
    pub values: Vec<Value>,
}

impl Step {
    /// A statement with its values.
    pub fn new(statement: Statement, values: impl IntoIterator<Item = Value>) -> Self {
        Step { statement, values: values.into_iter().collect() }
    }

    /// What it touches.
    pub fn place(&self) -> Place<'_> {
        let Access { table, key, .. } = self.statement.access();
        // What has another key than text is taken for the whole.
        Place { table, key: key.and_then(|index| self.values.get(index)).and_then(Value::text) }
    }

    /// Whether a later step has left nothing for this one to do: it has written anew what was stale.
    fn is_overtaken_by(&self, later: &Step) -> bool {
        let is_rewritten =
            matches!((self.statement, later.statement), (Statement::CacheDeleteStale, Statement::CacheSet));
        is_rewritten && self.values.first() == later.values.first()
    }
}

/// A part of a store's tables: what belongs to a key, or the whole.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Place<'key> {
    /// The tables.
    pub table: Table,
    /// The key.
    pub key: Option<&'key str>,
}

/// What running one step gave.
#[derive(Debug, Default)]
pub struct StepRows {
    /// The rows, each a list of columns.
    pub rows: Vec<Vec<Value>>,
    /// How many rows the statement inserted, updated or deleted.
    pub changes: u64,
}

impl StepRows {
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

/// What running a plan gave: one entry a step, in order.
pub type PlanRows = SmallVec<[StepRows; 1]>;

/// The statements of a plan. Most plans are one.
pub type Steps = SmallVec<[Step; 1]>;

/// How much work an operation may be, which decides the thread it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A handful of pages: may run on the JavaScript thread.
    Light,
    /// May touch any number of rows: always on a background thread where the connection has one.
    Heavy,
}

/// Turns the rows of a plan that has been carried out into what the call answers.
pub type OutcomeRule = Box<dyn FnOnce(PlanRows) -> Outcome + Send>;

/// A call on a store as data: statements to be run in order and atomically, and the rule that reads their rows.
///
/// The rule runs once, after the commit. The plan may run more than once (after a rollback).
pub struct Operation {
    /// The statements.
    pub steps: Steps,
    /// Whether no step changes the database.
    pub read_only: bool,
    /// How much work it may be.
    pub weight: Weight,
    /// Whether another operation may follow from it that has to be carried out before any later call.
    pub goes_on: bool,
    /// Whether waiters for deduplicated requests have to look again once this is committed.
    pub wakes_waiters: bool,
    /// From rows to the answer.
    pub outcome: OutcomeRule,
}

impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Operation").field("steps", &self.steps).field("read_only", &self.read_only).finish()
    }
}

impl Operation {
    fn new(read_only: bool, steps: impl IntoIterator<Item = Step>, outcome: OutcomeRule) -> Self {
        let steps = steps.into_iter().collect();
        Operation { steps, read_only, weight: Weight::Light, goes_on: false, wakes_waiters: false, outcome }
    }

    /// Statements that only read, and the rule for their rows.
    pub fn read(
        steps: impl IntoIterator<Item = Step>,
        outcome: impl FnOnce(PlanRows) -> Outcome + Send + 'static,
    ) -> Self {
        Self::new(true, steps, Box::new(outcome))
    }

    /// Statements that write, and the rule for their rows.
    pub fn write(
        steps: impl IntoIterator<Item = Step>,
        outcome: impl FnOnce(PlanRows) -> Outcome + Send + 'static,
    ) -> Self {
        Self::new(false, steps, Box::new(outcome))
    }

    /// Statements that write and answer nothing.
    pub fn command(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::write(steps, |_| Outcome::Answer(Answer::Undefined))
    }

    /// Marks an operation that may touch any number of rows.
    pub fn heavy(mut self) -> Self {
        self.weight = Weight::Heavy;
        self
    }

    /// Marks an operation that may go on with another one in its place.
    pub fn going_on(mut self) -> Self {
        self.goes_on = true;
        self
    }

    /// Marks an operation after which waiters for deduplicated requests look again.
    pub fn waking(mut self) -> Self {
        self.wakes_waiters = true;
        self
    }

    /// Whether one of the later operations that were carried out before this one, which follows from an earlier call, has
    /// left nothing for it to do.
    pub fn is_overtaken<'later>(&self, mut later: impl Iterator<Item = &'later Operation>) -> bool {
        later.any(|later| {
            let is_overtaken = |step: &Step| later.steps.iter().any(|later| step.is_overtaken_by(later));
            self.steps.iter().all(is_overtaken)
        })
    }

    /// The steps that reads may have to wait for, and whether those of a key need not: what it writes or, where it may go on,
    /// may write then; and what it tidies.
    pub fn written(&self) -> impl Iterator<Item = (&Step, bool)> {
        let goes_on = self.goes_on;
        self.steps.iter().filter_map(move |step| match step.statement.access().effect {
            Effect::Writes => Some((step, false)),
            Effect::Reads => goes_on.then_some((step, false)),
            Effect::Tidies => Some((step, true)),
        })
    }

    /// The bytes of text and blobs this operation carries.
    pub fn payload_bytes(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.values).map(Value::payload_bytes).sum()
    }
}

/// What the rule of an operation decided.
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
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// The value that this JSON text denotes; `unreadable` deletes the row it came from if it does not parse.
    Json {
        /// The JSON text.
        text: Arc<String>,
        /// What to do with a row whose text does not parse.
        unreadable: Option<Step>,
    },
    /// Numbers and lists under names, in the order of the documentation.
    Record(Vec<(&'static str, Field)>),
    /// A rejection.
    Rejection(Error),
    /// `undefined`, and the hash is claimed for the caller.
    Claimed,
    /// A deduplicated request is under way elsewhere: the call waits.
    Wait(Wait),
    /// A job was registered; whether it is this call's own.
    Registered {
        /// The job that is pending now.
        job_id: String,
        /// Whether this call created it.
        created: bool,
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
    /// A number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of strings.
    List(Vec<String>),
    /// A `Date`.
    Time(Millis),
    /// An object within.
    Record(Vec<(&'static str, Field)>),
}

/// What a waiting call waits for, apart from the end of the job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// When the job is past its time, by the caller's clock.
    pub deadline: Option<Millis>,
    /// When its lease, or the claim, runs out unless renewed, in system time.
    pub look_again_at: Option<Millis>,
}
