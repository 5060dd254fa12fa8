//! A request to a client, and what comes back, as values of JavaScript: what `lib/remote-driver.js` is given and answers.

use std::cell::Cell;

use crate::core::error::{Error, Result as CoreResult};
use crate::core::operation::StatementResult;
use crate::core::value::{Millis, Value as SqlValue};
use crate::engine::exchange::Step;
use crate::node::environment::Environment;
use crate::node::napi::env::{Env, Failure, Reference, Result, Type, Value};
use crate::node::realm::Realm;
use crate::sqlite::clock::system_now;

/// A client, and the driver's way to it.
pub struct Wire {
    env: Env,
    client: Reference,
    /// The driver's function that sends.
    send: Reference,
    /// Where the driver keeps what is known of clocks.
    clocks: Reference,
    last_ticket: Cell<u64>,
}

/// What was known of clocks when a client was given to a store.
pub struct KnownClocks {
    /// How far this system's was ahead of the realm's when the client was first given to one.
    pub ahead_of_realm: Millis,
    /// How far the server's is ahead of this system's, if others have learned that.
    pub server_ahead: Option<Millis>,
}

impl Wire {
    pub fn new(env: Env, client: Value, realm: &Realm) -> Result<(Self, KnownClocks)> {
        let driver = realm.remote_driver(env, client, Environment::answered_function(env)?, system_now())?;
        let clocks = env.get(driver, c"clocks")?;
        let known = KnownClocks {
            ahead_of_realm: env.as_number(env.get(clocks, c"system")?).unwrap_or(0.0),
            server_ahead: env.as_number(env.get(clocks, c"server")?),
        };
        let wire = Wire {
            env,
            client: env.create_reference(client, true)?,
            send: env.create_reference(env.get(driver, c"run")?, true)?,
            clocks: env.create_reference(clocks, true)?,
            last_ticket: Cell::new(0),
        };
        Ok((wire, known))
    }

    /// Whether this is its client.
    pub fn is_to(&self, client: Value) -> bool {
        self.env.reference_value(&self.client).is_some_and(|own| self.env.strict_equals(own, client))
    }

    /// How far the server's clock is ahead of the system's, for those who are given the client later.
    pub fn keep_clock(&self, ahead: Millis) {
        if let Some(clocks) = self.env.reference_value(&self.clocks) {
            let _ = self.env.set(clocks, "server", self.env.number(ahead));
        }
    }

    /// Has a request made, for the connection of this number; its ticket.
    pub fn send<'step>(
        &self,
        number: usize,
        steps: impl IntoIterator<Item = &'step Step<'step>>,
        writes: bool,
    ) -> CoreResult<u64> {
        self.try_send(number, steps, writes).map_err(|failure| thrown(self.env, failure))
    }

    fn try_send<'step>(
        &self,
        number: usize,
        steps: impl IntoIterator<Item = &'step Step<'step>>,
        writes: bool,
    ) -> Result<u64> {
        let env = self.env;
        let (texts, values, columns) = (env.array()?, env.array()?, env.array()?);
        for (index, step) in (0..).zip(steps) {
            env.set_element(texts, index, env.string(&step.text.sql)?)?;
            let arguments = env.array()?;
            for (place, parameter) in (0..).zip(&step.text.parameters) {
                let value = match parameter.and_then(|index| step.values.get(index)) {
                    Some(value) => env.parameter(value)?,
                    None => env.number(step.bound),
                };
                env.set_element(arguments, place, value)?;
            }
            env.set_element(values, index, arguments)?;
            env.set_element(columns, index, env.number(step.columns as f64))?;
        }
        let ticket = self.last_ticket.get() + 1;
        self.last_ticket.set(ticket);
        let gone = || Error::Internal("the client is gone".to_owned());
        let send = env.reference_value(&self.send).ok_or_else(gone)?;
        let numbers = [env.number(number as f64), env.number(ticket as f64), env.boolean(writes)];
        let [number, request, writes] = numbers;
        env.call(send, send, &[number, request, writes, texts, values, columns])?;
        Ok(ticket)
    }

    /// Lets go of what it refers to, while the environment is there.
    pub fn release(&mut self) {
        for reference in [&mut self.client, &mut self.send, &mut self.clocks] {
            self.env.drop_reference(std::mem::replace(reference, Reference::NONE));
        }
    }
}

/// Why a request was not answered with results.
pub struct Refused {
    pub kind: RefusedFor,
    code: Option<String>,
    pub message: String,
    /// Which statement was refused.
    pub index: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum RefusedFor {
    Busy,
    /// It was not sent.
    Unsent,
    /// Nobody knows.
    Lost,
    Failed,
}

impl Refused {
    pub fn error(&self) -> Error {
        Error::Remote { code: self.code.clone(), message: self.message.clone() }
    }

    /// What took effect when it was sent before.
    pub fn is_logged_already(&self) -> bool {
        self.message.contains("UNIQUE constraint failed: request_log.id")
    }

    pub fn is_by_sqlite(&self) -> bool {
        self.code.as_ref().is_some_and(|code| code.starts_with("SQLITE_"))
    }
}

/// A ticket, and what its request has come to, as the driver tells it.
pub fn read_answer(
    env: Env,
    [ticket, failure, answers]: [Value; 3],
) -> (u64, std::result::Result<Vec<StatementResult>, Refused>) {
    let ticket = env.as_number(ticket).unwrap_or(0.0) as u64;
    if env.type_of(failure) != Type::Undefined {
        return (ticket, Err(read_refusal(env, failure)));
    }
    let answers = read_results(env, answers).map_err(|failure| Refused {
        kind: RefusedFor::Failed,
        code: None,
        message: thrown(env, failure).to_string(),
        index: None,
    });
    (ticket, answers)
}

fn read_results(env: Env, answers: Value) -> Result<Vec<StatementResult>> {
    let row = |row: Value| -> Result<Vec<SqlValue>> {
        let columns = env.array_length(row)?;
        (0..columns).map(|index| Ok(env.to_sql(env.element(row, index)?))).collect()
    };
    let answer = |answer: Value| -> Result<StatementResult> {
        let rows = env.get(answer, c"rows")?;
        let count = env.array_length(rows)?;
        let rows = (0..count).map(|index| row(env.element(rows, index)?)).collect::<Result<_>>()?;
        let changes = env.as_number(env.get(answer, c"changes")?).unwrap_or(0.0) as u64;
        Ok(StatementResult { rows, changes, ..StatementResult::default() })
    };
    (0..env.array_length(answers)?).map(|index| answer(env.element(answers, index)?)).collect()
}

fn read_refusal(env: Env, failure: Value) -> Refused {
    let text = |name| env.get(failure, name).ok().and_then(|value| env.as_string(value));
    let kind = match text(c"kind").as_deref() {
        Some("busy") => RefusedFor::Busy,
        Some("unsent") => RefusedFor::Unsent,
        Some("lost") => RefusedFor::Lost,
        _ => RefusedFor::Failed,
    };
    let index = env.get(failure, c"index").ok().and_then(|index| env.as_number(index)).map(|index| index as usize);
    Refused { kind, code: text(c"code"), message: text(c"message").unwrap_or_default(), index }
}

/// What JavaScript threw, as an error that outlives the callback.
fn thrown(env: Env, failure: Failure) -> Error {
    match failure {
        Failure::Error(error) => error,
        Failure::Thrown(thrown) => {
            let message = env.get(thrown, c"message").ok().and_then(|message| env.as_string(message));
            Error::Remote { code: None, message: message.unwrap_or_else(|| env.describe(thrown)) }
        }
    }
}
