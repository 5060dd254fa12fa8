//! What comes before the first call on a server: to make the stores' tables, and to learn what time it is there.
//!
//! A replica answers reads from what it had some time ago, and has the primary carry out requests that write. So whether tables
//! have been made is asked by a request that writes. Then it is looked until those who only read see them, too.

use std::rc::Rc;

use super::call::Time;
use super::exchange::Step;
use super::server_clock::{ServerClock, TIME};
use super::server_text::Text;
use crate::core::error::{Error, Result, StoreKind};
use crate::core::operation::StatementResult;
use crate::core::schema;
use crate::core::value::{Millis, Value};

/// How often it is tried to make tables that somebody else makes at the same time.
const ROUNDS: u32 = 5;

#[derive(Debug, Default)]
enum Phase {
    /// It is looked which tables are there.
    #[default]
    Look,
    /// These statements make what is missing, and then it is looked which tables there are.
    Make(Vec<String>),
    /// It is looked which tables there are, by a request that writes.
    LookOnPrimary,
    /// The tables are there, and the time is asked for until it is known well enough.
    AskTime,
}

/// How a preparation goes on.
#[derive(Debug)]
pub enum Next {
    /// Its [`steps`](Preparation::steps) are to be sent.
    Send,
    /// The same, after a pause, for this reason: what was made is not seen yet.
    SendLater(Error),
    /// The tables of these kinds are there, and the clock is known.
    Done(Vec<StoreKind>),
}

/// One that has begun. Hosts that prepare the same server at once may be in each other's way: it looks again then.
#[derive(Debug, Default)]
pub struct Preparation {
    phase: Phase,
    /// Whose tables are there.
    kinds: Vec<StoreKind>,
    /// Whose tables were there after they had been made.
    made: Vec<StoreKind>,
    has_totals: bool,
    rounds: u32,
}

impl Preparation {
    /// What is to be sent next.
    pub fn steps(&self) -> Vec<Step<'static>> {
        match &self.phase {
            // With an integer, to see how the client answers one.
            Phase::Look => vec![look(), step(&format!("{TIME}, 1 AS c1"), 2)],
            Phase::Make(statements) => statements.iter().map(|sql| step(sql, 0)).chain([look()]).collect(),
            Phase::LookOnPrimary => vec![step(schema::first_on_servers(), 0), look()],
            Phase::AskTime => vec![step(TIME, 1)],
        }
    }

    /// Whether they change the database.
    pub fn writes(&self) -> bool {
        matches!(self.phase, Phase::Make(_) | Phase::LookOnPrimary)
    }

    /// Whether entries of the cache were counted when it looked last.
    pub fn has_totals(&self) -> bool {
        self.has_totals
    }

    /// The steps were answered, having been sent and answered at these times of the system's clock. `kinds`: whose tables are
    /// needed by now.
    ///
    /// # Errors
    /// The tables cannot be made, or the client is none that the stores can use.
    pub fn on_answered(
        &mut self,
        answers: &[StatementResult],
        kinds: &[StoreKind],
        clock: &mut ServerClock,
        times: [Millis; 2],
        now: Time,
    ) -> Result<Next> {
        match self.phase {
            Phase::Make(_) | Phase::LookOnPrimary => {
                let snapshot = answers.last().ok_or_else(wrong_number)?;
                let missing = schema::plan(kinds, &snapshot.rows)?;
                if !missing.is_empty() {
                    return self.make(missing);
                }
                self.made = kinds.to_vec();
                self.phase = Phase::Look;
                Ok(Next::Send)
            }
            Phase::AskTime => {
                let probe = answers.first().ok_or_else(wrong_number)?;
                clock.on_told(probe.number(0), times, now);
                Ok(self.on_tables_there(clock))
            }
            Phase::Look => {
                let [snapshot, probe] = answers else { return Err(wrong_number()) };
                if probe.first().and_then(|row| row.get(1)) != Some(&Value::Integer(1)) {
                    return Err(Error::argument(
                        "database",
                        "a client that answers integers as numbers or as BigInts",
                        "one that answers them as text",
                    ));
                }
                clock.on_told(probe.number(0), times, now);
                self.has_totals = schema::has_totals_in(&snapshot.rows);
                let missing = schema::plan(kinds, &snapshot.rows)?;
                if missing.is_empty() {
                    self.kinds = kinds.to_vec();
                    return Ok(self.on_tables_there(clock));
                }
                if self.made.is_empty() {
                    return self.make(missing);
                }
                if kinds.iter().all(|kind| self.made.contains(kind)) {
                    let lagging = "the stores' tables were made, but are not there yet for those who read: a replica may lag behind";
                    return Ok(Next::SendLater(remote_error(lagging)));
                }
                // Another store needs its tables by now; but what is missing for those who read may be there.
                self.phase = Phase::LookOnPrimary;
                Ok(Next::Send)
            }
        }
    }

    /// The steps were refused, with this message. Whether it goes on all the same: somebody else has made the tables, or this one
    /// has, and did not hear of it.
    pub fn goes_on_after(&mut self, message: &str) -> bool {
        let is_raced = message.contains("duplicate column name") || message.contains("already exists");
        if is_raced {
            self.phase = Phase::LookOnPrimary;
        }
        is_raced && self.rounds < ROUNDS
    }

    fn make(&mut self, missing: Vec<String>) -> Result<Next> {
        if self.rounds >= ROUNDS {
            return Err(remote_error("the stores' tables cannot be made"));
        }
        self.rounds += 1;
        self.phase = Phase::Make(missing);
        Ok(Next::Send)
    }

    fn on_tables_there(&mut self, clock: &ServerClock) -> Next {
        if clock.is_unsure() {
            self.phase = Phase::AskTime;
            return Next::Send;
        }
        Next::Done(std::mem::take(&mut self.kinds))
    }
}

fn look() -> Step<'static> {
    step(schema::SNAPSHOT, schema::SNAPSHOT_COLUMNS)
}

fn step(sql: &str, columns: usize) -> Step<'static> {
    let text = Rc::new(Text { sql: sql.to_owned(), parameters: Vec::new() });
    Step { text, values: Vec::new().into(), bound: 0.0, columns }
}

fn remote_error(message: &str) -> Error {
    Error::Remote { code: None, message: message.to_owned() }
}

fn wrong_number() -> Error {
    remote_error("the client has answered another number of results than statements")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: Vec<Vec<Value>>) -> StatementResult {
        StatementResult { rows: rows.into(), ..StatementResult::default() }
    }

    fn probe(integer: Value) -> StatementResult {
        answer(vec![vec![Value::Real(5_000.0), integer]])
    }

    /// What a look answers of an empty database.
    fn empty() -> [StatementResult; 2] {
        [answer(Vec::new()), probe(Value::Integer(1))]
    }

    /// What a look answers of one with the tables of servers.
    fn all() -> [StatementResult; 2] {
        let row = |name: &str| vec!["table".into(), name.into(), Value::Integer(2), Value::Null];
        [answer(["request_log", "host_leases"].map(row).to_vec()), probe(Value::Integer(1))]
    }

    /// What the statements answer that make them.
    fn made_by(preparation: &Preparation) -> Vec<StatementResult> {
        let [there, _] = all();
        let mut answers: Vec<StatementResult> =
            preparation.steps().iter().skip(1).map(|_| answer(Vec::new())).collect();
        answers.push(there);
        answers
    }

    fn go_on(preparation: &mut Preparation, clock: &mut ServerClock, answers: &[StatementResult]) -> Result<Next> {
        go_on_for(&[StoreKind::Server], preparation, clock, answers)
    }

    fn go_on_for(
        kinds: &[StoreKind],
        preparation: &mut Preparation,
        clock: &mut ServerClock,
        answers: &[StatementResult],
    ) -> Result<Next> {
        preparation.on_answered(answers, kinds, clock, [1_000.0, 1_010.0], Time::ZERO)
    }

    fn is_looking_on_primary(preparation: &Preparation) -> bool {
        preparation.writes() && preparation.steps().len() == 2
    }

    #[test]
    fn makes_what_is_missing_and_asks_for_the_time_until_it_is_sure() {
        let (mut preparation, mut clock) = (Preparation::default(), ServerClock::default());
        assert!(!preparation.writes());
        assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::Send)));
        assert!(preparation.writes());
        let made = preparation.steps();
        assert!(made.iter().any(|step| step.text.sql.starts_with("CREATE TABLE IF NOT EXISTS request_log")));
        assert_eq!(made.last().map(|step| step.text.sql.as_str()), Some(schema::SNAPSHOT));
        let answers = made_by(&preparation);
        assert!(matches!(go_on(&mut preparation, &mut clock, &answers), Ok(Next::Send)));
        // It looks again, and all is there.
        assert!(!preparation.writes());
        assert!(matches!(go_on(&mut preparation, &mut clock, &all()), Ok(Next::Send)));
        assert!(clock.is_unsure());
        assert_eq!(preparation.steps().len(), 1);
        let next = go_on(&mut preparation, &mut clock, &[probe(Value::Integer(1))]);
        assert!(matches!(next, Ok(Next::Done(kinds)) if kinds == [StoreKind::Server]));
        assert_eq!(clock.ahead_ms(), 3_995.0);
    }

    #[test]
    fn looks_until_a_replica_has_what_was_made() {
        let (mut preparation, mut clock) = (Preparation::default(), ServerClock::default());
        assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::Send)));
        let answers = made_by(&preparation);
        assert!(matches!(go_on(&mut preparation, &mut clock, &answers), Ok(Next::Send)));
        for _ in 0..2 * ROUNDS {
            assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::SendLater(_))));
            assert!(!preparation.writes());
        }
        // Another store's tables are needed by now. What is missing is not concluded from what the replica has.
        let kinds = [StoreKind::Server, StoreKind::Dedupe];
        assert!(matches!(go_on_for(&kinds, &mut preparation, &mut clock, &empty()), Ok(Next::Send)));
        assert!(is_looking_on_primary(&preparation));
        let answers = made_by(&preparation);
        assert!(matches!(go_on_for(&kinds, &mut preparation, &mut clock, &answers), Ok(Next::Send)));
        let made = preparation.steps();
        assert!(made.iter().any(|step| step.text.sql.contains("dedupe_jobs")));
        assert!(!made.iter().any(|step| step.text.sql.contains("request_log")));
    }

    #[test]
    fn asks_the_primary_when_somebody_else_has_made_what_a_replica_does_not_have() {
        let (mut preparation, mut clock) = (Preparation::default(), ServerClock::default());
        assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::Send)));
        assert!(preparation.goes_on_after("duplicate column name: error_name"));
        assert!(is_looking_on_primary(&preparation));
        let answers = made_by(&preparation);
        assert!(matches!(go_on(&mut preparation, &mut clock, &answers), Ok(Next::Send)));
        assert!(!preparation.writes());
        assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::SendLater(_))));
        assert!(matches!(go_on(&mut preparation, &mut clock, &all()), Ok(Next::Done(_))));
    }

    #[test]
    fn looks_again_when_others_make_the_tables_too_but_not_for_ever() {
        let (mut preparation, mut clock) = (Preparation::default(), ServerClock::default());
        for _ in 1..ROUNDS {
            assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::Send)));
            assert!(preparation.goes_on_after("table request_log already exists"));
            assert!(is_looking_on_primary(&preparation));
        }
        assert!(matches!(go_on(&mut preparation, &mut clock, &empty()), Ok(Next::Send)));
        assert!(go_on(&mut preparation, &mut clock, &empty()).is_err());
        assert!(!preparation.goes_on_after("table request_log already exists"));
        assert!(!Preparation::default().goes_on_after("no such function: unixepoch"));
    }

    #[test]
    fn refuses_a_client_that_it_cannot_read() {
        for answers in [vec![answer(Vec::new())], vec![answer(Vec::new()), probe("1".into())]] {
            assert!(go_on(&mut Preparation::default(), &mut ServerClock::default(), &answers).is_err());
        }
    }
}
