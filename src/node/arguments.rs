//! The arguments of a call.

use super::metrics::Counted;
use super::napi::env::{Env, Result, Value};
use super::realm;
use crate::core::value::Millis;

/// A call on a method, as `lib/methods.js` passes it on: `undefined` stands for arguments that were not given.
pub struct Arguments<'call> {
    /// Access to JavaScript.
    pub env: Env,
    /// What is counted of it.
    pub counted: Counted,
    /// Whether a JSON text may be answered as text, to be parsed there.
    pub takes_text: bool,
    now: Value,
    /// How far the clock that counts is ahead of the caller's.
    ahead: Millis,
    values: &'call [Value],
    note: Option<Value>,
}

impl<'call> Arguments<'call> {
    /// Those of the running call.
    pub fn new(
        env: Env,
        counted: Counted,
        takes_text: bool,
        now: Value,
        ahead: Millis,
        values: &'call [Value],
        note: Option<Value>,
    ) -> Self {
        Arguments { env, counted, takes_text, now, ahead, values, note }
    }

    /// The argument at a position.
    pub fn get(&self, index: usize) -> Value {
        self.values[index]
    }

    /// The time of the call, by the clock that counts, of a method that promises.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is no finite number.
    pub fn now(&self) -> Result<Millis> {
        Ok(self.by_clock(realm::time(self.env, self.now)?))
    }

    /// A time of the caller's, by the clock that counts.
    pub fn by_clock(&self, time: Millis) -> Millis {
        time + self.ahead
    }

    /// The `limit` and `windowMs` of the resource, of a limiter's method on a resource, and what has them.
    pub fn limit(&self) -> [Value; 3] {
        [2, 3, 4].map(|index| self.get(index))
    }

    /// The caller's number, of a method of a limiter that books waits.
    pub fn caller(&self) -> Option<u64> {
        self.env.as_number(self.get(5)).map(|number| number as u64)
    }

    /// Whether the call gives back what an earlier one has acquired.
    pub fn gives_back(&self) -> bool {
        self.env.as_boolean(self.get(5)) == Some(true)
    }

    /// Where it is to be noted what becomes of the call, if anywhere.
    pub fn note(&self) -> Option<Value> {
        self.note
    }

    /// The JSON text of the second argument, of a method that stores it; `undefined` if there is
    /// none.
    pub fn text(&self) -> Value {
        self.get(3)
    }

    /// The fourth argument of such a method.
    pub fn fourth(&self) -> Value {
        self.get(4)
    }
}
