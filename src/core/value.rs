//! Values as SQLite knows them, and time.

use std::sync::Arc;

/// A point in time or a span, in milliseconds. Fractions are kept: a cache entry's expiry may have one.
pub type Millis = f64;

/// The last time that a `Date` of JavaScript's can be; the first is as far from 1970.
pub const LAST_TIME: Millis = 8.64e15;

/// A value bound to a statement or read from a row: SQLite's five storage classes, and a form of BLOB.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A double.
    Real(f64),
    /// UTF-8 text; may contain NUL.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// A BLOB with a JSON text or marker in it, decoded (see [`codec`](super::codec)).
    Json(Arc<String>),
}

impl Value {
    /// A JSON text, or a marker.
    pub fn from_json(text: impl Into<String>) -> Self {
        Value::Json(Arc::new(text.into()))
    }

    /// The number in an INTEGER or REAL value.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::Integer(integer) => Some(integer as f64),
            Value::Real(real) => Some(real),
            _ => None,
        }
    }

    /// The bytes of text or of a blob.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
            Value::Json(text) => text.len(),
            Value::Null | Value::Integer(_) | Value::Real(_) => 8,
        }
    }

    /// Whether it comes after another one as a key, in SQLite's order (sqlite.org/datatype3.html#comparison_expressions).
    pub fn comes_after(&self, other: &Value) -> bool {
        let class = |value: &Value| match value {
            Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 1,
            Value::Text(_) => 2,
            Value::Blob(_) | Value::Json(_) => 3,
        };
        match (self, other) {
            (Value::Integer(own), Value::Integer(other)) => own > other,
            (Value::Text(own), Value::Text(other)) => own > other,
            (Value::Blob(own), Value::Blob(other)) => own > other,
            _ => match (self.number(), other.number()) {
                (Some(own), Some(other)) => own > other,
                _ => class(self) > class(other),
            },
        }
    }

    /// It as text, of whatever type another program has stored it.
    pub fn display(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Integer(integer) => integer.to_string(),
            Value::Real(real) => real.to_string(),
            Value::Text(text) => text.clone(),
            Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Json(text) => String::clone(text),
        }
    }

    /// Whether it begins with a text, by its bytes. Text that is no UTF-8 comes as bytes.
    pub fn begins_with(&self, start: &str) -> bool {
        match self {
            Value::Text(text) => text.starts_with(start),
            Value::Blob(bytes) => bytes.starts_with(start.as_bytes()),
            _ => false,
        }
    }

    /// The text in a TEXT value.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Blob(bytes)
    }
}

impl From<f64> for Value {
    /// Whole numbers that a double holds exactly become integers, so that a column without INTEGER affinity
    /// compares and stores them as SQLite's other clients do.
    fn from(number: f64) -> Self {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && number.abs() <= EXACT {
            Value::Integer(number as i64)
        } else {
            Value::Real(number)
        }
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Value::Integer(integer)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
