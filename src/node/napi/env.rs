//! Values, calls, errors, promises, references. An [`Env`] exists only within a callback.

use std::ffi::{CStr, CString};
use std::ptr;

use napi::JsValue;
use napi_sys as sys;

use crate::core::codec;
use crate::core::error::{Error, IsBusy};
use crate::core::value::Value as SqlValue;

/// A JavaScript value, valid within the callback that got it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Value(sys::napi_value);

impl Value {
    /// # Safety
    /// `raw` must come from the running callback.
    pub unsafe fn from_raw(raw: sys::napi_value) -> Self {
        Value(raw)
    }

    pub fn raw(self) -> sys::napi_value {
        self.0
    }
}

/// A failed call: an error of ours, or what JavaScript threw.
#[derive(Clone)]
pub enum Failure {
    /// To be made a JavaScript error.
    Error(Error),
    /// Thrown by JavaScript: passed on as it is.
    Thrown(Value),
}

impl IsBusy for Failure {
    fn is_busy(&self) -> bool {
        matches!(self, Failure::Error(error) if error.is_busy())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

/// The result of anything that may throw.
pub type Result<T> = std::result::Result<T, Failure>;

/// The type of a value, as `typeof` tells it, with `null` apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Undefined,
    Null,
    Boolean,
    Number,
    String,
    Symbol,
    Object,
    Function,
    BigInt,
}

/// Access to an environment, within a callback on its thread.
#[derive(Clone, Copy)]
pub struct Env {
    raw: sys::napi_env,
}

/// A promise's other end.
pub struct Deferred(sys::napi_deferred);

/// A reference to an object that outlives the callback: strong with a count of 1, weak with 0.
pub struct Reference(sys::napi_ref);

/// A value of whatever type that outlives the callback, until it is taken. Node-API has references to objects only: it
/// lies in an array.
pub struct Persistent(Reference);

impl Reference {
    /// To no object.
    pub const NONE: Reference = Reference(ptr::null_mut());
}

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty)?) = $make:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(self $(, $argument: $kind)?) -> Value {
            let mut value = ptr::null_mut();
            // SAFETY: `env` is valid; the call only writes `value`. It cannot fail on a valid environment.
            unsafe { sys::$make(self.raw $(, $argument)?, &mut value) };
            Value(value)
        }
    )*};
}

/// What napi-rs gives a callback.
pub fn adopt<'value>(env: &napi::Env, value: &impl JsValue<'value>) -> (Env, Value) {
    // SAFETY: both exist only within a callback, on its thread.
    unsafe { (Env::new(env.raw()), Value::from_raw(value.raw())) }
}

// What is called from everywhere is there once: it takes longer than a call of it.
impl Env {
    /// # Safety
    /// `raw` must be the environment of the running thread, within a callback from it.
    pub unsafe fn new(raw: sys::napi_env) -> Self {
        Env { raw }
    }

    /// The raw environment.
    pub fn raw(self) -> sys::napi_env {
        self.raw
    }

    /// Makes a result of a status: a pending exception is taken as what was thrown.
    pub(super) fn check(self, status: sys::napi_status) -> Result<()> {
        if status == sys::Status::napi_ok { Ok(()) } else { Err(self.failure(status)) }
    }

    #[cold]
    fn failure(self, status: sys::napi_status) -> Failure {
        let mut pending = false;
        let mut thrown = ptr::null_mut();
        // SAFETY: `env` is valid on this thread (see `new`); both calls only write to the places given.
        unsafe {
            sys::napi_is_exception_pending(self.raw, &mut pending);
            if pending && sys::napi_get_and_clear_last_exception(self.raw, &mut thrown) == sys::Status::napi_ok {
                return Failure::Thrown(Value(thrown));
            }
        }
        Error::Internal(format!("Node-API status {status}")).into()
    }

    values! {
        /// `undefined`.
        undefined() = napi_get_undefined;
        /// `null`.
        null() = napi_get_null;
        /// The global object of the realm the binding was loaded in.
        global() = napi_get_global;
        boolean(boolean: bool) = napi_get_boolean;
        number(number: f64) = napi_create_double;
    }

    /// What a call writes.
    fn create(self, make: impl FnOnce(*mut sys::napi_value) -> sys::napi_status) -> Result<Value> {
        let mut value = ptr::null_mut();
        let status = make(&mut value);
        self.check(status).map(|()| Value(value))
    }

    /// A string. Fails when it is longer than the engine allows.
    #[inline(never)]
    pub fn string(self, text: &str) -> Result<Value> {
        let (start, length) = (text.as_ptr().cast(), text.len() as isize);
        // ASCII becomes a one-byte string without decoding.
        let make = if text.is_ascii() { sys::napi_create_string_latin1 } else { sys::napi_create_string_utf8 };
        // SAFETY: `start` and `length` denote the bytes of `text`, which lives through the call.
        self.create(|value| unsafe { make(self.raw, start, length, value) })
    }

    pub fn type_of(self, value: Value) -> Type {
        let mut kind = 0;
        // SAFETY: `value` comes from this callback; the call only writes `kind`.
        unsafe { sys::napi_typeof(self.raw, value.0, &mut kind) };
        match kind {
            sys::ValueType::napi_undefined => Type::Undefined,
            sys::ValueType::napi_null => Type::Null,
            sys::ValueType::napi_boolean => Type::Boolean,
            sys::ValueType::napi_number => Type::Number,
            sys::ValueType::napi_string => Type::String,
            sys::ValueType::napi_symbol => Type::Symbol,
            sys::ValueType::napi_function => Type::Function,
            sys::ValueType::napi_bigint => Type::BigInt,
            _ => Type::Object,
        }
    }

    /// A copy of bytes, as a `Buffer`.
    pub fn buffer(self, bytes: &[u8]) -> Result<Value> {
        let (length, start) = (bytes.len(), bytes.as_ptr().cast());
        // SAFETY: the bytes live through the call, which copies them; where the copy lies is of no interest.
        self.create(|value| unsafe {
            sys::napi_create_buffer_copy(self.raw, length, start, ptr::null_mut(), value)
        })
    }

    /// What a driver answered for a column.
    #[inline(never)]
    pub fn to_sql(self, value: Value) -> SqlValue {
        match self.type_of(value) {
            Type::Number => self.as_number(value).into(),
            Type::String => self.as_string(value).into(),
            Type::BigInt => {
                let (mut integer, mut lossless) = (0, false);
                // SAFETY: as in `type_of`.
                let status =
                    unsafe { sys::napi_get_value_bigint_int64(self.raw, value.0, &mut integer, &mut lossless) };
                if status == sys::Status::napi_ok { SqlValue::Integer(integer) } else { SqlValue::Null }
            }
            Type::Object => self.bytes(value).into(),
            _ => SqlValue::Null,
        }
    }

    /// What a driver is given for a parameter.
    pub fn parameter(self, value: &SqlValue) -> Result<Value> {
        match value {
            SqlValue::Null => Ok(self.null()),
            SqlValue::Integer(integer) => Ok(self.number(*integer as f64)),
            SqlValue::Real(real) => Ok(self.number(*real)),
            SqlValue::Text(text) => self.string(text),
            SqlValue::Blob(bytes) => self.buffer(bytes),
            SqlValue::Json(text) => self.buffer(&codec::encode(text)),
        }
    }

    /// A copy of the bytes in a `Buffer` or `Uint8Array`.
    #[inline(never)]
    fn bytes(self, value: Value) -> Option<Vec<u8>> {
        let (mut kind, mut length, mut start) = (0, 0, ptr::null_mut());
        let (buffer, offset) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: as in `type_of`; a value that is no typed array is refused.
        let status = unsafe {
            sys::napi_get_typedarray_info(self.raw, value.0, &mut kind, &mut length, &mut start, buffer, offset)
        };
        if status != sys::Status::napi_ok || kind != sys::TypedarrayType::uint8_array {
            return None;
        }
        if length == 0 {
            return Some(Vec::new());
        }
        // SAFETY: the array has `length` bytes from `start`, and no JavaScript runs before they are copied.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast_const().cast::<u8>(), length) };
        Some(bytes.to_vec())
    }

    /// Whether a value is an object with methods of these names.
    #[inline(never)]
    pub fn has_methods(self, value: Value, names: &[&CStr]) -> bool {
        let is_method =
            |name: &&CStr| self.get(value, name).is_ok_and(|method| self.type_of(method) == Type::Function);
        self.is_object(value) && names.iter().all(is_method)
    }

    /// Whether a value is an object or function.
    pub fn is_object(self, value: Value) -> bool {
        matches!(self.type_of(value), Type::Object | Type::Function)
    }

    /// The number in a value that is one.
    pub fn as_number(self, value: Value) -> Option<f64> {
        let mut number = 0.0;
        // SAFETY: as in `type_of`; a value of another type is refused.
        let status = unsafe { sys::napi_get_value_double(self.raw, value.0, &mut number) };
        (status == sys::Status::napi_ok).then_some(number)
    }

    /// The boolean in a value that is one.
    pub fn as_boolean(self, value: Value) -> Option<bool> {
        let mut boolean = false;
        // SAFETY: as in `type_of`; a value of another type is refused.
        let status = unsafe { sys::napi_get_value_bool(self.raw, value.0, &mut boolean) };
        (status == sys::Status::napi_ok).then_some(boolean)
    }

    /// The text of a value that is a string; lone surrogates become U+FFFD, as in better-sqlite3.
    #[inline(never)]
    pub fn as_string(self, value: Value) -> Option<String> {
        // Hashes and names fit; so their length need not be asked for first.
        const SHORT: usize = 160;
        // A character that did not fit may have left up to three bytes free, beside the NUL's.
        let is_whole = |bytes: &Vec<u8>, room: usize| bytes.len() + 4 < room;
        let mut bytes = self.utf8(value, SHORT)?;
        if !is_whole(&bytes, SHORT) {
            let units = self.string_units(value);
            // Most texts are little longer in UTF-8.
            let room = units + units / 16 + 8;
            bytes = self.utf8(value, room)?;
            if !is_whole(&bytes, room) {
                bytes = self.utf8(value, self.string_bytes(value) + 1)?;
            }
        }
        if bytes.is_ascii() {
            // SAFETY: ASCII is UTF-8. Quicker than to have all of UTF-8 looked for.
            return Some(unsafe { String::from_utf8_unchecked(bytes) });
        }
        String::from_utf8(bytes).ok()
    }

    /// Whether a string is the text that [`as_string`](Self::as_string) answered for it: it has no lone surrogates.
    #[inline]
    pub fn is_well_formed(self, value: Value, text: &str) -> Result<bool> {
        if text.is_ascii() { Ok(true) } else { self.is_replaced_nowhere(value, text) }
    }

    #[cold]
    fn is_replaced_nowhere(self, value: Value, text: &str) -> Result<bool> {
        Ok(!text.contains('\u{fffd}') || self.strict_equals(self.string(text)?, value))
    }

    /// The length of a string in UTF-16 units, which is known.
    pub fn string_units(self, value: Value) -> usize {
        let mut length = 0;
        // SAFETY: without a buffer the call only writes the length.
        unsafe { sys::napi_get_value_string_utf16(self.raw, value.0, ptr::null_mut(), 0, &mut length) };
        length
    }

    /// The length of a string in bytes of UTF-8, which is counted.
    pub fn string_bytes(self, value: Value) -> usize {
        let mut length = 0;
        // SAFETY: as in `string_units`.
        unsafe { sys::napi_get_value_string_utf8(self.raw, value.0, ptr::null_mut(), 0, &mut length) };
        length
    }

    /// As much of a string in UTF-8 as fits into `room` bytes with a NUL.
    fn utf8(self, value: Value, room: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::<u8>::with_capacity(room);
        let mut length = 0;
        // SAFETY: at most `room` bytes are written, the NUL included, and `length` says how many without it.
        unsafe {
            let start = bytes.as_mut_ptr().cast();
            let status = sys::napi_get_value_string_utf8(self.raw, value.0, start, room, &mut length);
            if status != sys::Status::napi_ok {
                return None;
            }
            bytes.set_len(length);
        }
        Some(bytes)
    }

    /// `String(value)`; `None` where that throws.
    #[inline(never)]
    pub fn display(self, value: Value) -> Option<String> {
        // SAFETY: `value` comes from this callback.
        let text = self.create(|text| unsafe { sys::napi_coerce_to_string(self.raw, value.0, text) });
        self.as_string(text.ok()?)
    }

    /// A property of an object.
    #[inline(never)]
    pub fn get(self, object: Value, name: &CStr) -> Result<Value> {
        // SAFETY: `object` comes from this callback; `name` ends in NUL.
        self.create(|value| unsafe { sys::napi_get_named_property(self.raw, object.0, name.as_ptr(), value) })
    }

    /// Sets a property of an object.
    #[inline(never)]
    pub fn set(self, object: Value, name: &str, value: Value) -> Result<()> {
        let name = self.string(name)?;
        // SAFETY: all three come from this callback.
        let status = unsafe { sys::napi_set_property(self.raw, object.0, name.0, value.0) };
        self.check(status)
    }

    #[inline(never)]
    pub fn element(self, array: Value, index: u32) -> Result<Value> {
        // SAFETY: `array` comes from this callback.
        self.create(|value| unsafe { sys::napi_get_element(self.raw, array.0, index, value) })
    }

    #[inline(never)]
    pub fn set_element(self, array: Value, index: u32, value: Value) -> Result<()> {
        // SAFETY: both come from this callback.
        let status = unsafe { sys::napi_set_element(self.raw, array.0, index, value.0) };
        self.check(status)
    }

    #[inline(never)]
    pub fn array_length(self, array: Value) -> Result<u32> {
        let mut length = 0;
        // SAFETY: `array` comes from this callback.
        let status = unsafe { sys::napi_get_array_length(self.raw, array.0, &mut length) };
        self.check(status).map(|()| length)
    }

    /// An empty array of the realm the binding was loaded in.
    #[inline(never)]
    pub fn array(self) -> Result<Value> {
        // SAFETY: the call only writes the value.
        self.create(|value| unsafe { sys::napi_create_array(self.raw, value) })
    }

    pub fn call(self, this: Value, function: Value, arguments: &[Value]) -> Result<Value> {
        let (count, arguments) = (arguments.len(), arguments.as_ptr().cast());
        // SAFETY: all come from this callback; the count is the slice's.
        self.create(|value| unsafe {
            sys::napi_call_function(self.raw, this.0, function.0, count, arguments, value)
        })
    }

    /// `new constructor(...arguments)`.
    #[inline(never)]
    pub fn construct(self, constructor: Value, arguments: &[Value]) -> Result<Value> {
        let (count, arguments) = (arguments.len(), arguments.as_ptr().cast());
        // SAFETY: as in `call`.
        self.create(|value| unsafe { sys::napi_new_instance(self.raw, constructor.0, count, arguments, value) })
    }

    /// `one === other`.
    #[inline(never)]
    pub fn strict_equals(self, one: Value, other: Value) -> bool {
        let mut equal = false;
        // SAFETY: both come from this callback.
        unsafe { sys::napi_strict_equals(self.raw, one.0, other.0, &mut equal) };
        equal
    }

    /// Whether a value is an error object, of whatever realm.
    #[inline(never)]
    pub fn is_error(self, value: Value) -> bool {
        let mut is_error = false;
        // SAFETY: `value` comes from this callback.
        unsafe { sys::napi_is_error(self.raw, value.0, &mut is_error) };
        is_error
    }

    /// Throws a value: to be the last thing a callback does.
    pub fn throw(self, value: Value) {
        // SAFETY: `value` comes from this callback. While the environment ends nothing can be thrown, nor seen.
        unsafe { sys::napi_throw(self.raw, value.0) };
    }

    /// Throws an `Error` of the realm the binding was loaded in, likewise.
    pub fn throw_error(self, message: &str) {
        if let Ok(message) = CString::new(message) {
            // SAFETY: the message lives through the call, and ends in NUL.
            unsafe { sys::napi_throw_error(self.raw, ptr::null(), message.as_ptr()) };
        }
    }

    /// An object of the realm the binding was loaded in.
    #[inline(never)]
    pub fn object(self) -> Result<Value> {
        // SAFETY: the call only writes the value.
        self.create(|value| unsafe { sys::napi_create_object(self.raw, value) })
    }

    /// A pending promise of the realm the binding was loaded in, and its other end.
    pub fn promise(self) -> Result<(Deferred, Value)> {
        let (mut deferred, mut promise) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the call only writes the two.
        let status = unsafe { sys::napi_create_promise(self.raw, &mut deferred, &mut promise) };
        self.check(status).map(|()| (Deferred(deferred), Value(promise)))
    }

    /// Settles a promise.
    pub fn settle(self, deferred: Deferred, result: std::result::Result<Value, Value>) {
        // SAFETY: a `Deferred` is made once, by `promise`, and consumed here.
        unsafe {
            match result {
                Ok(value) => sys::napi_resolve_deferred(self.raw, deferred.0, value.0),
                Err(error) => sys::napi_reject_deferred(self.raw, deferred.0, error.0),
            };
        }
    }

    /// A reference to an object: strong, or weak.
    #[inline(never)]
    pub fn create_reference(self, object: Value, strong: bool) -> Result<Reference> {
        let mut reference = ptr::null_mut();
        // SAFETY: `object` comes from this callback.
        let status = unsafe { sys::napi_create_reference(self.raw, object.0, u32::from(strong), &mut reference) };
        self.check(status).map(|()| Reference(reference))
    }

    /// The object of a reference; `None` if it was weak and the object is gone.
    pub fn reference_value(self, reference: &Reference) -> Option<Value> {
        let mut value = ptr::null_mut();
        // SAFETY: a `Reference` is valid until `drop_reference` consumes it.
        unsafe { sys::napi_get_reference_value(self.raw, reference.0, &mut value) };
        (!value.is_null()).then_some(Value(value))
    }

    /// Makes a weak reference strong, or weak again.
    pub fn set_strong(self, reference: &Reference, strong: bool) {
        let mut count = 0;
        // SAFETY: as in `reference_value`.
        unsafe {
            if strong {
                sys::napi_reference_ref(self.raw, reference.0, &mut count);
            } else {
                sys::napi_reference_unref(self.raw, reference.0, &mut count);
            }
        }
    }

    /// Gives a reference up. One that is merely dropped is leaked until its environment ends: the thread that
    /// drops it may be past the point where Node-API may be called.
    pub fn drop_reference(self, reference: Reference) {
        if !reference.0.is_null() {
            // SAFETY: consumes the reference.
            unsafe { sys::napi_delete_reference(self.raw, reference.0) };
        }
    }

    /// Keeps a value until it is [taken](Self::take).
    #[inline(never)]
    pub fn keep(self, value: Value) -> Result<Persistent> {
        let holder = self.array()?;
        self.set_element(holder, 0, value)?;
        self.create_reference(holder, true).map(Persistent)
    }

    /// A value that was kept. `None` where Node-API fails.
    #[inline(never)]
    pub fn take(self, Persistent(reference): Persistent) -> Option<Value> {
        let value = self.reference_value(&reference).and_then(|holder| self.element(holder, 0).ok());
        self.drop_reference(reference);
        value
    }

    /// What came, in words, for the message about a wrong argument.
    #[inline(never)]
    pub fn describe(self, value: Value) -> String {
        match self.type_of(value) {
            Type::Undefined => "undefined".to_owned(),
            Type::Null => "null".to_owned(),
            Type::Boolean | Type::Number => self.display(value).unwrap_or_default(),
            Type::BigInt => "a bigint".to_owned(),
            Type::Symbol => "a symbol".to_owned(),
            Type::Function => "a function".to_owned(),
            Type::Object => "an object".to_owned(),
            Type::String => match self.as_string(value) {
                Some(text) if text.chars().count() <= 40 => format!("'{text}'"),
                _ => "a string".to_owned(),
            },
        }
    }
}
