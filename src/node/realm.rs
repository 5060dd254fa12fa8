//! The importer's realm: the intrinsics its JavaScript entry handed over. What stores return and throw is made of
//! these, and time is asked of these, so that a test framework that evaluates each file in a context of its own,
//! with its own `Date`, `Error` and fake timers, sees its own.

use std::cell::Cell;
use std::ffi::CStr;
use std::rc::Rc;

use super::environment::Environment;
use super::napi::env::{Deferred, Env, Failure, Reference, Result, Type, Value};
use super::napi::handle::Handled;
use crate::core::error::Error;
use crate::core::operation::Field;
use crate::core::options::RateLimitConfig;
use crate::core::value::{LAST_TIME, Millis};
use crate::sqlite::codes;

macro_rules! intrinsics {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// What the entry hands over, by name.
        struct Intrinsics {
            $($(#[$doc])* $field: Reference,)*
        }

        impl Intrinsics {
            /// Weak references: the classes keep the object, and so its members, alive. Strong ones would keep a
            /// realm alive for ever.
            fn read(env: Env, object: Value) -> Result<Self> {
                Ok(Intrinsics { $($field: env.create_reference(env.get(object, $name)?, false)?,)* })
            }

            fn drop_references(&mut self, env: Env) {
                $(env.drop_reference(std::mem::replace(&mut self.$field, Reference::NONE));)*
            }
        }
    };
}

intrinsics! {
    /// `() => Date.now()`.
    now = c"now";
    /// `(ms) => new Date(ms)`.
    date = c"date";
    /// `JSON.parse`.
    parse = c"parse";
    /// `JSON.stringify`.
    stringify = c"stringify";
    /// `Object`.
    object = c"Object";
    /// `Array`.
    array = c"Array";
    /// `Error`.
    error = c"Error";
    /// `TypeError`.
    type_error = c"TypeError";
    /// `() => [promise, resolve, reject]`.
    pending = c"pending";
    /// `(error) => promise`: rejected with the error, whose stack then names those who await.
    rejected = c"rejected";
    /// `(callback, number, ms) => timer`: calls `callback(number)` until it answers false.
    start_interval = c"startInterval";
    /// `(callback, number, ms) => timer`.
    start_timeout = c"startTimeout";
    /// `(timer) => void`, for both.
    stop_timer = c"stopTimer";
    /// `(connection) => driver`: see `lib/driver.js`.
    driver = c"driver";
    /// `(client, settle) => run`: see `lib/remote-driver.js`.
    remote_driver = c"remoteDriver";
}

/// A promise's other end, in whichever realm.
pub enum Resolver {
    /// Of the realm the binding was loaded in: Node-API's own.
    Own(Deferred),
    /// Of another realm: its `resolve` and `reject`, in an array.
    Foreign(Reference),
}

pub struct Realm {
    env: Env,
    intrinsics: Intrinsics,
    /// The object with the intrinsics. Strong while calls are pending.
    anchor: Reference,
    pending: Cell<usize>,
    /// Whether it is the one the binding was loaded in.
    is_own: bool,
}

impl Realm {
    /// Takes over the intrinsics in `object`.
    pub fn new(env: Env, object: Value) -> Result<Self> {
        let own_promise = env.get(env.global(), c"Promise")?;
        let is_own = env.strict_equals(own_promise, env.get(object, c"Promise")?);
        let intrinsics = Intrinsics::read(env, object)?;
        Ok(Realm { env, intrinsics, anchor: env.create_reference(object, false)?, pending: Cell::new(0), is_own })
    }

    /// Keeps the realm's intrinsics alive until [`release`](Self::release) is called as often.
    pub fn hold(&self, env: Env) {
        if self.pending.replace(self.pending.get() + 1) == 0 {
            env.set_strong(&self.anchor, true);
        }
    }

    /// See [`hold`](Self::hold).
    pub fn release(&self, env: Env) {
        let left = self.pending.get().saturating_sub(1);
        self.pending.set(left);
        if left == 0 {
            env.set_strong(&self.anchor, false);
        }
    }

    fn get(&self, env: Env, intrinsic: &Reference) -> Result<Value> {
        env.reference_value(intrinsic)
            .ok_or_else(|| Error::Internal("the importer's realm is gone".to_owned()).into())
    }

    fn call(&self, env: Env, intrinsic: &Reference, arguments: &[Value]) -> Result<Value> {
        // `this` is unused.
        let function = self.get(env, intrinsic)?;
        env.call(function, function, arguments)
    }

    /// The realm's time.
    pub fn now(&self, env: Env) -> Result<Millis> {
        time(env, self.call(env, &self.intrinsics.now, &[])?)
    }

    /// `JSON.stringify`. `Err` with the reason, as text, if a value has no JSON form.
    pub fn stringify(&self, env: Env, value: Value) -> Result<std::result::Result<String, String>> {
        let text = match self.call(env, &self.intrinsics.stringify, &[value]) {
            Ok(text) => text,
            Err(Failure::Thrown(thrown)) => return Ok(Err(self.message_of(env, thrown))),
            Err(failure) => return Err(failure),
        };
        Ok(env.as_string(text).ok_or_else(|| format!("{} has no JSON form", env.describe(value))))
    }

    /// `JSON.parse`.
    pub fn parse(&self, env: Env, text: &str) -> Result<Value> {
        self.call(env, &self.intrinsics.parse, &[env.string(text)?])
    }

    /// What `lib/driver.js` makes of a connection; `undefined` if it is none.
    pub fn driver(&self, env: Env, connection: Value) -> Result<Value> {
        self.call(env, &self.intrinsics.driver, &[connection])
    }

    /// What `lib/remote-driver.js` makes of a client of a server.
    pub fn remote_driver(&self, env: Env, client: Value, settle: Value, system: Millis) -> Result<Value> {
        self.call(env, &self.intrinsics.remote_driver, &[client, settle, env.number(system)])
    }

    fn message_of(&self, env: Env, thrown: Value) -> String {
        let is_error = env.is_error(thrown);
        let message = if is_error { env.get(thrown, c"message").ok() } else { None };
        env.display(message.unwrap_or(thrown)).unwrap_or_else(|| env.describe(thrown))
    }

    /// The object that says what a limit is.
    pub fn limit_object(&self, env: Env, config: RateLimitConfig) -> Result<Value> {
        let RateLimitConfig { limit, window_ms, .. } = config;
        self.record(env, vec![("limit", Field::Number(limit)), ("windowMs", Field::Number(window_ms))], 0.0)
    }

    /// An object with the fields of a record. Its times are those of a clock that is so far ahead of the realm's.
    pub fn record(&self, env: Env, fields: Vec<(&'static str, Field)>, ahead: Millis) -> Result<Value> {
        let object = env.construct(self.get(env, &self.intrinsics.object)?, &[])?;
        for (name, field) in fields {
            let value = match field {
                Field::Number(number) => env.number(number),
                Field::Stamp(time) => env.number(if time == 0.0 { time } else { time - ahead }),
                Field::Bool(boolean) => env.boolean(boolean),
                Field::Text(text) => env.string(&text)?,
                Field::Time(time) => self.call(
                    env,
                    &self.intrinsics.date,
                    &[env.number(if time.abs() < LAST_TIME { time - ahead } else { time })],
                )?,
                Field::Record(fields) => self.record(env, fields, ahead)?,
                Field::List(texts) => {
                    let array = env.construct(self.get(env, &self.intrinsics.array)?, &[])?;
                    for (index, text) in (0..).zip(texts) {
                        env.set_element(array, index, env.string(&text)?)?;
                    }
                    array
                }
            };
            env.set(object, name, value)?;
        }
        Ok(object)
    }

    /// An array of such objects.
    pub fn records(&self, env: Env, records: Vec<Vec<(&'static str, Field)>>, ahead: Millis) -> Result<Value> {
        let array = env.construct(self.get(env, &self.intrinsics.array)?, &[])?;
        for (index, fields) in (0..).zip(records) {
            env.set_element(array, index, self.record(env, fields, ahead)?)?;
        }
        Ok(array)
    }

    /// The JavaScript error that stands for a failure. If even that cannot be made, `undefined`.
    pub fn error(&self, env: Env, failure: Failure) -> Value {
        match failure {
            Failure::Thrown(thrown) => thrown,
            Failure::Error(error) => self.make_error(env, &error).unwrap_or_else(|_| env.undefined()),
        }
    }

    fn make_error(&self, env: Env, error: &Error) -> Result<Value> {
        let constructor = match error {
            Error::Argument { .. } | Error::MissingDirectory(_) | Error::Contradiction(_) => {
                &self.intrinsics.type_error
            }
            _ => &self.intrinsics.error,
        };
        let object = env.construct(self.get(env, constructor)?, &[env.string(&error.to_string())?])?;
        let name = match error {
            Error::Sqlite { .. } => Some("SqliteError"),
            Error::Remote { code: Some(code), .. } if code.starts_with("SQLITE_") => Some("SqliteError"),
            Error::JobFailed { name, .. } => name.as_deref(),
            _ => None,
        };
        if let Some(name) = name {
            env.set(object, "name", env.string(name)?)?;
        }
        if let Some(code) = code_of(error) {
            env.set(object, "code", env.string(code)?)?;
        }
        Ok(object)
    }

    /// A pending promise.
    pub fn promise(&self, env: Env) -> Result<(Resolver, Value)> {
        if self.is_own {
            let (deferred, promise) = env.promise()?;
            return Ok((Resolver::Own(deferred), promise));
        }
        let parts = self.call(env, &self.intrinsics.pending, &[])?;
        Ok((Resolver::Foreign(env.create_reference(parts, true)?), env.element(parts, 0)?))
    }

    /// Settles a promise.
    pub fn settle(&self, env: Env, resolver: Resolver, result: Result<Value>) {
        let result = match result {
            Err(Failure::Thrown(thrown)) => Err(thrown),
            Err(failure) => {
                let error = self.error(env, failure);
                self.call(env, &self.intrinsics.rejected, &[error]).map_err(|_| error)
            }
            Ok(value) => Ok(value),
        };
        match resolver {
            Resolver::Own(deferred) => env.settle(deferred, result),
            Resolver::Foreign(parts) => {
                let (index, value) = match result {
                    Ok(value) => (1, value),
                    Err(error) => (2, error),
                };
                if let Some(array) = env.reference_value(&parts)
                    && let Ok(function) = env.element(array, index)
                {
                    let _ = env.call(env.undefined(), function, &[value]);
                }
                env.drop_reference(parts);
            }
        }
    }

    /// Starts a timer; `callback` is a function that takes the number.
    pub fn start_timer(
        &self,
        env: Env,
        callback: Value,
        number: usize,
        after: Millis,
        repeat: bool,
    ) -> Result<Reference> {
        // Timers count in 32 bits; longer ones would fire at once.
        let after = env.number(after.clamp(0.0, 2_147_483_647.0));
        let start = if repeat { &self.intrinsics.start_interval } else { &self.intrinsics.start_timeout };
        let timer = self.call(env, start, &[callback, env.number(number as f64), after])?;
        env.create_reference(timer, true)
    }

    pub fn stop_timer(&self, env: Env, timer: Reference) {
        if let Some(object) = env.reference_value(&timer) {
            let _ = self.call(env, &self.intrinsics.stop_timer, &[object]);
        }
        env.drop_reference(timer);
    }
}

impl Drop for Realm {
    /// Its stores have ended, and its classes are gone.
    fn drop(&mut self) {
        if !Environment::has_ended() {
            self.intrinsics.drop_references(self.env);
            self.env.drop_reference(std::mem::replace(&mut self.anchor, Reference::NONE));
        }
    }
}

impl Handled for Rc<Realm> {
    fn collected(self, _env: Env) {}
}

/// The `code` of the JavaScript error that stands for an error, if it has one.
pub fn code_of(error: &Error) -> Option<&str> {
    match error {
        Error::Sqlite { code, .. } => Some(codes::name(*code)),
        Error::Remote { code, .. } => code.as_deref(),
        Error::Timeout { outcome_unknown: true, .. } => Some("SQLITE_STORE_OUTCOME_UNKNOWN"),
        Error::Timeout { .. } => Some("SQLITE_STORE_TIMEOUT"),
        Error::NoThread => Some("SQLITE_STORE_NO_THREAD"),
        Error::Refused { code, .. } => Some(*code),
        Error::OpenInOtherCopy { .. } => Some("SQLITE_STORE_OTHER_COPY"),
        _ => None,
    }
}

/// A time, as the clock gave it.
pub fn time(env: Env, now: Value) -> Result<Millis> {
    match env.as_number(now) {
        Some(now) if now.is_finite() => Ok(now),
        _ => Err(Error::argument("Date.now()", "a finite number", env.describe(now)).into()),
    }
}

/// A member of an options object; `None` where it is `undefined`.
pub fn property(env: Env, object: Value, name: &CStr) -> Result<Option<Value>> {
    let value = env.get(object, name)?;
    Ok(if env.type_of(value) == Type::Undefined { None } else { Some(value) })
}
