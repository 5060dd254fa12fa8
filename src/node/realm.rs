//! The importer's realm: the intrinsics its JavaScript entry handed over. What stores return and throw is made of
//! these, and time is asked of these, so that a test framework that evaluates each file in a context of its own,
//! with its own `Date`, `Error` and fake timers, sees its own.

use std::cell::Cell;
use std::ffi::CStr;
use std::rc::Rc;

use super::environment::Environment;
use super::napi::handle::Handled;
use super::napi::js::{Deferred, Failure, Js, Reference, Result, Type, Value};
use crate::core::error::Error;
use crate::core::operation::Field;
use crate::core::options::RateLimitConfig;
use crate::core::value::Millis;
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
            fn read(js: Js, object: Value) -> Result<Self> {
                Ok(Intrinsics { $($field: js.refer(js.get(object, $name)?, false)?,)* })
            }

            fn drop_references(&mut self, js: Js) {
                $(js.drop_reference(std::mem::replace(&mut self.$field, Reference::NONE));)*
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
    /// `(tick, number, ms) => timer`: calls `tick(number)` until it answers false.
    start_interval = c"startInterval";
    /// `(tick, number, ms) => timer`.
    start_timeout = c"startTimeout";
    /// `(timer) => void`, for both.
    stop_timer = c"stopTimer";
    /// `(connection) => driver`: see `lib/driver.js`.
    driver = c"driver";
}

/// A promise's other end, in whichever realm.
pub enum Settler {
    /// Of the realm the binding was loaded in: Node-API's own.
    Own(Deferred),
    /// Of another realm: its `resolve` and `reject`, in an array.
    Foreign(Reference),
}

/// A realm.
pub struct Realm {
    js: Js,
    intrinsics: Intrinsics,
    /// The object with the intrinsics. Strong while calls are pending.
    anchor: Reference,
    pending: Cell<usize>,
    /// Whether it is the one the binding was loaded in.
    is_own: bool,
}

impl Realm {
    /// Takes over the intrinsics in `object`.
    pub fn new(js: Js, object: Value) -> Result<Self> {
        let own_promise = js.get(js.global(), c"Promise")?;
        let is_own = js.strict_equals(own_promise, js.get(object, c"Promise")?);
        let intrinsics = Intrinsics::read(js, object)?;
        Ok(Realm { js, intrinsics, anchor: js.refer(object, false)?, pending: Cell::new(0), is_own })
    }

    /// Keeps the realm's intrinsics alive until [`release`](Self::release) is called as often.
    pub fn hold(&self, js: Js) {
        if self.pending.replace(self.pending.get() + 1) == 0 {
            js.hold(&self.anchor, true);
        }
    }

    /// See [`hold`](Self::hold).
    pub fn release(&self, js: Js) {
        let left = self.pending.get().saturating_sub(1);
        self.pending.set(left);
        if left == 0 {
            js.hold(&self.anchor, false);
        }
    }

    fn get(&self, js: Js, intrinsic: &Reference) -> Result<Value> {
        js.deref(intrinsic).ok_or_else(|| Error::Internal("the importer's realm is gone".to_owned()).into())
    }

    fn call(&self, js: Js, intrinsic: &Reference, arguments: &[Value]) -> Result<Value> {
        // They look at no receiver.
        let function = self.get(js, intrinsic)?;
        js.call(function, function, arguments)
    }

    /// The realm's time.
    pub fn now(&self, js: Js) -> Result<Millis> {
        time(js, self.call(js, &self.intrinsics.now, &[])?)
    }

    /// `JSON.stringify`. `Err` with the reason, as text, if a value has no JSON form.
    pub fn stringify(&self, js: Js, value: Value) -> Result<std::result::Result<String, String>> {
        let text = match self.call(js, &self.intrinsics.stringify, &[value]) {
            Ok(text) => text,
            Err(Failure::Thrown(thrown)) => return Ok(Err(self.message_of(js, thrown))),
            Err(failure) => return Err(failure),
        };
        Ok(js.as_string(text).ok_or_else(|| format!("{} has no JSON form", js.describe(value))))
    }

    /// `JSON.parse`.
    pub fn parse(&self, js: Js, text: &str) -> Result<Value> {
        self.call(js, &self.intrinsics.parse, &[js.string(text)?])
    }

    /// What `lib/driver.js` makes of a connection; `undefined` if it is none.
    pub fn driver(&self, js: Js, connection: Value) -> Result<Value> {
        self.call(js, &self.intrinsics.driver, &[connection])
    }

    fn message_of(&self, js: Js, thrown: Value) -> String {
        let is_error = js.is_error(thrown);
        let message = if is_error { js.get(thrown, c"message").ok() } else { None };
        js.display(message.unwrap_or(thrown)).unwrap_or_else(|| js.describe(thrown))
    }

    /// The object that says what a limit is.
    pub fn limit_object(&self, js: Js, config: RateLimitConfig) -> Result<Value> {
        let RateLimitConfig { limit, window_ms } = config;
        self.record(js, vec![("limit", Field::Number(limit)), ("windowMs", Field::Number(window_ms))])
    }

    /// An object with the fields of a record.
    pub fn record(&self, js: Js, fields: Vec<(&'static str, Field)>) -> Result<Value> {
        let object = js.construct(self.get(js, &self.intrinsics.object)?, &[])?;
        for (name, field) in fields {
            let value = match field {
                Field::Number(number) => js.number(number),
                Field::Bool(boolean) => js.boolean(boolean),
                Field::Text(text) => js.string(&text)?,
                Field::Time(time) => self.call(js, &self.intrinsics.date, &[js.number(time)])?,
                Field::Record(fields) => self.record(js, fields)?,
                Field::List(texts) => {
                    let array = js.construct(self.get(js, &self.intrinsics.array)?, &[])?;
                    for (index, text) in (0..).zip(texts) {
                        js.set_element(array, index, js.string(&text)?)?;
                    }
                    array
                }
            };
            js.set(object, name, value)?;
        }
        Ok(object)
    }

    /// The JavaScript error that stands for a failure. If even that cannot be made, `undefined`.
    pub fn error(&self, js: Js, failure: Failure) -> Value {
        match failure {
            Failure::Thrown(thrown) => thrown,
            Failure::Error(error) => self.make_error(js, &error).unwrap_or_else(|_| js.undefined()),
        }
    }

    fn make_error(&self, js: Js, error: &Error) -> Result<Value> {
        let constructor = match error {
            Error::Argument { .. } | Error::MissingDirectory | Error::Contradiction(_) => {
                &self.intrinsics.type_error
            }
            _ => &self.intrinsics.error,
        };
        let object = js.construct(self.get(js, constructor)?, &[js.string(&error.to_string())?])?;
        if let Error::Sqlite { code, .. } = error {
            js.set(object, "name", js.string("SqliteError")?)?;
            js.set(object, "code", js.string(codes::name(*code))?)?;
        }
        if *error == Error::NoThread {
            js.set(object, "code", js.string("SQLITE_STORE_NO_THREAD")?)?;
        }
        Ok(object)
    }

    /// A pending promise.
    pub fn promise(&self, js: Js) -> Result<(Settler, Value)> {
        if self.is_own {
            let (deferred, promise) = js.promise()?;
            return Ok((Settler::Own(deferred), promise));
        }
        let parts = self.call(js, &self.intrinsics.pending, &[])?;
        Ok((Settler::Foreign(js.refer(parts, true)?), js.element(parts, 0)?))
    }

    /// Settles a promise.
    pub fn settle(&self, js: Js, settler: Settler, settlement: Result<Value>) {
        let settlement = settlement.map_err(|failure| self.error(js, failure));
        match settler {
            Settler::Own(deferred) => js.settle(deferred, settlement),
            Settler::Foreign(parts) => {
                let (index, value) = match settlement {
                    Ok(value) => (1, value),
                    Err(error) => (2, error),
                };
                if let Some(array) = js.deref(&parts)
                    && let Ok(function) = js.element(array, index)
                {
                    let _ = js.call(js.undefined(), function, &[value]);
                }
                js.drop_reference(parts);
            }
        }
    }

    /// Starts a timer; `tick` is a function that takes the number.
    pub fn start_timer(
        &self,
        js: Js,
        tick: Value,
        number: usize,
        after: Millis,
        repeat: bool,
    ) -> Result<Reference> {
        // Timers count in 32 bits; longer ones would fire at once.
        let after = js.number(after.clamp(0.0, 2_147_483_647.0));
        let start = if repeat { &self.intrinsics.start_interval } else { &self.intrinsics.start_timeout };
        let timer = self.call(js, start, &[tick, js.number(number as f64), after])?;
        js.refer(timer, true)
    }

    /// Stops a timer.
    pub fn stop_timer(&self, js: Js, timer: Reference) {
        if let Some(object) = js.deref(&timer) {
            let _ = self.call(js, &self.intrinsics.stop_timer, &[object]);
        }
        js.drop_reference(timer);
    }
}

impl Drop for Realm {
    /// Its stores have ended, and its classes are gone.
    fn drop(&mut self) {
        if !Environment::has_ended() {
            self.intrinsics.drop_references(self.js);
            self.js.drop_reference(std::mem::replace(&mut self.anchor, Reference::NONE));
        }
    }
}

impl Handled for Rc<Realm> {
    fn collected(self, _js: Js) {}
}

/// A time, as the clock gave it.
pub fn time(js: Js, now: Value) -> Result<Millis> {
    match js.as_number(now) {
        Some(now) if now.is_finite() => Ok(now),
        _ => Err(Error::argument("Date.now()", "a finite number", js.describe(now)).into()),
    }
}

/// A member of an options object; `None` where it is `undefined`.
pub fn member(js: Js, object: Value, name: &CStr) -> Result<Option<Value>> {
    let value = js.get(object, name)?;
    Ok(if js.type_of(value) == Type::Undefined { None } else { Some(value) })
}
