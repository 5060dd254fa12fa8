//! One transaction on a server, which may take several requests: what is sent, and what its answers come to.
//!
//! - Whoever loses a connection does not know whether what was sent took effect, and sends it again. So a transaction with
//!   statements that [count each time](Statement::counts_each_time) begins with its id in `request_log`: sent again after it took
//!   effect, it is refused there as a whole. What those statements answered is in the log, too; the others are run again.
//! - Values that are too large to be answered beside others are asked for afterwards.

use std::borrow::Cow;
use std::rc::Rc;

use super::server_clock::TIME;
use super::server_text::{Text, Texts, received};
use crate::core::operation::{BoundStatement, Results, Rows, StatementResult};
use crate::core::statements::{Effect, Statement};
use crate::core::value::{Millis, Value};

/// The most bytes of values that are asked for at once. A server answers some 10 MB by default.
const ANSWERED_BYTES: f64 = (6 << 20) as f64;

/// A value of so many bytes is never answered, whoever has stored it: it reads as absent.
const UNREADABLE_BYTES: f64 = (7 << 20) as f64;

/// How long the log keeps an id, in ms: nobody sends for longer.
const LOGGED_MS: Millis = 3_600_000.0;

const LOG: &str = "INSERT INTO request_log (id, at) VALUES (?, ?)";
/// Directly after a statement that answers a row if it did something.
const LOG_DONE: &str = "INSERT INTO request_log (id, at) SELECT ?, ? WHERE changes() > 0";
/// What was done by a transaction of this id. The log's keys come in the order of their bytes.
const DONE: &str = "SELECT id AS c0 FROM request_log WHERE id > ? || ':' AND id < ? || ';'";
/// Changes nothing, but has the primary answer: a request that only reads is answered by a replica, from what it has so far.
const ON_PRIMARY: &str = "DELETE FROM request_log WHERE id = ''";
const FORGET: &str = "DELETE FROM request_log WHERE rowid IN (
    SELECT rowid FROM request_log WHERE at < ? ORDER BY rowid LIMIT ?)";

/// What a statement that was sent is there for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Purpose {
    /// The statement at this place of the transaction.
    Statement(usize),
    Log,
    /// Answers what the log has.
    Done,
    Time,
}

/// A statement to be sent.
pub struct Step<'lists> {
    pub text: Rc<Text>,
    pub values: Cow<'lists, [Value]>,
    /// What stands for [`None`] among its parameters.
    pub bound: f64,
    /// How many columns its rows have.
    pub columns: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// All is run.
    All,
    /// It took effect before: what counts each time is not run again.
    Rest,
    /// Values are asked for that were too large.
    Values,
}

/// What has come of a request.
pub enum Answered {
    /// The results of each list.
    Done(Vec<Results>),
    /// More is to be sent.
    More,
}

/// A transaction, from when it is first sent.
pub struct Exchange {
    id: String,
    /// By the server's clock.
    at: Millis,
    phase: Phase,
    purposes: Vec<Purpose>,
    /// The results so far, of the statements of all lists.
    results: Vec<StatementResult>,
    /// The statements, by place, whose values are to be asked for, with their sizes.
    withheld: Vec<(usize, f64)>,
    server_time: Option<Millis>,
}

impl Exchange {
    /// One with an id that no other has.
    pub fn new(id: String, at: Millis) -> Self {
        Exchange {
            id,
            at,
            phase: Phase::All,
            purposes: Vec::new(),
            results: Vec::new(),
            withheld: Vec::new(),
            server_time: None,
        }
    }

    /// What is to be sent next for these lists, which are the same each time but for when something expires.
    pub fn steps<'lists>(
        &mut self,
        lists: &[&'lists [BoundStatement]],
        texts: &mut Texts,
        asks_time: bool,
    ) -> Vec<Step<'lists>> {
        let all: Vec<&'lists BoundStatement> = lists.iter().copied().flatten().collect();
        self.results.resize_with(all.len(), StatementResult::default);
        self.purposes.clear();
        let mut steps = Steps { steps: Vec::new(), purposes: &mut self.purposes, texts, bound: 0.0 };
        // What follows a transaction that writes is about what that has met.
        if self.phase != Phase::All && all.iter().any(|bound| bound.statement.access().effect != Effect::Reads) {
            steps.push(Purpose::Log, ON_PRIMARY, Vec::new(), 0);
        }
        if self.phase == Phase::Values {
            steps.bound = UNREADABLE_BYTES;
            let mut bytes = 0.0;
            for (index, size) in &self.withheld {
                bytes += size;
                if bytes > ANSWERED_BYTES && bytes > *size {
                    break;
                }
                steps.push_statement(*index, all[*index]);
            }
            return steps.steps;
        }
        let values = all.iter().filter(|bound| bound.statement.value_column().is_some()).count();
        steps.bound = (ANSWERED_BYTES / values.max(1) as f64).floor();
        let counts = |bound: &&BoundStatement| bound.statement.counts_each_time();
        let id = || Value::from(self.id.as_str());
        let mut logged = 0.0;
        match self.phase {
            Phase::All if all.iter().any(counts) => {
                steps.push(Purpose::Log, LOG, vec![id(), self.at.into()], 0);
                logged += 1.0;
            }
            Phase::Rest => steps.push(Purpose::Done, DONE, vec![id(), id()], 1),
            _ => {}
        }
        for (index, bound) in all.into_iter().enumerate() {
            if self.phase == Phase::Rest && counts(&bound) {
                continue;
            }
            steps.push_statement(index, bound);
            if counts(&bound) && bound.statement.columns() > 0 {
                let values = vec![format!("{}:{index}", self.id).into(), self.at.into()];
                steps.push(Purpose::Log, LOG_DONE, values, 0);
                logged += 1.0;
            }
        }
        if logged > 0.0 {
            // More than are added, so that the log does not grow for ever.
            let values = vec![(self.at - LOGGED_MS).into(), (2.0 * logged).into()];
            steps.push(Purpose::Log, FORGET, values, 0);
        }
        if asks_time {
            steps.push(Purpose::Time, TIME, Vec::new(), 1);
        }
        steps.steps
    }

    /// The list that a statement which was sent belongs to, if it is of one.
    pub fn list_of(&self, lengths: impl IntoIterator<Item = usize>, step: usize) -> Option<usize> {
        let Purpose::Statement(index) = self.purposes.get(step).copied()? else { return None };
        let mut end = 0;
        lengths.into_iter().position(|length| {
            end += length;
            index < end
        })
    }

    /// It was refused for being in the log: it took effect when it was sent before.
    pub fn took_effect_before(&mut self) {
        self.phase = Phase::Rest;
    }

    /// Takes note of the answers to what was sent.
    pub fn on_answered(&mut self, lists: &[&[BoundStatement]], answers: Vec<StatementResult>) -> Answered {
        let all: Vec<&BoundStatement> = lists.iter().copied().flatten().collect();
        let mut done = Rows::new();
        let asked = self.phase == Phase::Values;
        for (purpose, mut answer) in self.purposes.iter().zip(answers) {
            match *purpose {
                Purpose::Log => {}
                Purpose::Done => done = answer.rows,
                Purpose::Time => self.server_time = answer.optional_number(0),
                Purpose::Statement(index) => {
                    answer.rows.iter_mut().flatten().for_each(|value| {
                        *value = received(std::mem::replace(value, Value::Null));
                    });
                    let withheld = all.get(index).and_then(|bound| withheld_bytes(bound.statement, &answer));
                    match withheld {
                        Some(bytes) if !asked && bytes <= UNREADABLE_BYTES => self.withheld.push((index, bytes)),
                        Some(_) => answer.rows.clear(),
                        None => {}
                    }
                    if let Some(result) = self.results.get_mut(index) {
                        *result = answer;
                    }
                }
            }
        }
        if self.phase == Phase::Rest {
            self.recall(&all, &done);
        }
        if asked {
            let answered: Vec<&Purpose> = self.purposes.iter().collect();
            self.withheld.retain(|(index, _)| !answered.contains(&&Purpose::Statement(*index)));
        }
        if !self.withheld.is_empty() {
            self.phase = Phase::Values;
            return Answered::More;
        }
        let mut results = std::mem::take(&mut self.results).into_iter();
        Answered::Done(lists.iter().map(|list| results.by_ref().take(list.len()).collect()).collect())
    }

    /// What the statements did that are not run again.
    fn recall(&mut self, all: &[&BoundStatement], done: &[Vec<Value>]) {
        for (index, (bound, result)) in all.iter().zip(&mut self.results).enumerate() {
            if bound.statement.counts_each_time() {
                let id = format!("{}:{index}", self.id);
                let is_done = done.iter().any(|row| row.first().and_then(Value::text) == Some(id.as_str()));
                result.rows = is_done.then(|| vec![Value::Integer(1)]).into_iter().collect();
                result.changes = 1;
            }
        }
    }

    /// The time that the server told last, if it was asked.
    pub fn take_server_time(&mut self) -> Option<Millis> {
        self.server_time.take()
    }
}

/// How many bytes the value has that was not answered.
fn withheld_bytes(statement: Statement, answer: &StatementResult) -> Option<f64> {
    match answer.first()?.get(statement.value_column()?) {
        Some(Value::Integer(bytes)) => Some(*bytes as f64),
        _ => None,
    }
}

struct Steps<'exchange, 'lists> {
    steps: Vec<Step<'lists>>,
    purposes: &'exchange mut Vec<Purpose>,
    texts: &'exchange mut Texts,
    bound: f64,
}

impl<'lists> Steps<'_, 'lists> {
    fn push_statement(&mut self, index: usize, bound: &'lists BoundStatement) {
        self.purposes.push(Purpose::Statement(index));
        let (text, values) = (self.texts.of(bound), Cow::Borrowed(bound.values.as_slice()));
        self.steps.push(Step { text, values, bound: self.bound, columns: bound.statement.columns() });
    }

    fn push(&mut self, purpose: Purpose, sql: &str, values: Vec<Value>, columns: usize) {
        self.purposes.push(purpose);
        let text = Rc::new(Text { sql: sql.to_owned(), parameters: (0..values.len()).map(Some).collect() });
        self.steps.push(Step { text, values: Cow::Owned(values), bound: self.bound, columns });
    }
}
