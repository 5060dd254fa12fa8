//! The response cache (docs/api.md, "SQLiteCacheStore").

use super::codec;
use super::housekeeping::{self, Then};
use super::operation::{Answer, BoundStatement, Field, Operation, Outcome};
use super::stamps;
use super::statements::Statement;
use super::value::{Millis, Value};

/// From how many bytes on an entry is more than a handful of pages to remove.
const LARGE_BYTES: usize = 64 << 10;

/// Answers the value under a hash that has not expired. An expired or unreadable entry reads as absent and is
/// removed.
pub fn get(hash: impl Into<Value>, now: Millis) -> Operation {
    let hash = hash.into();
    Operation::read([BoundStatement::new(Statement::CacheGet, [hash.clone()])], move |mut rows| {
        let Some(row) = rows.pop().and_then(|mut result| result.rows.pop()) else {
            return Outcome::Answer(Answer::Undefined);
        };
        let Ok([value, expires_at]) = <[Value; 2]>::try_from(row) else {
            return Outcome::Answer(Answer::Undefined);
        };
        let expired = expires_at.number().is_none_or(|expires_at| now >= expires_at);
        let removal = BoundStatement::new(Statement::CacheDeleteStale, [hash, expires_at]);
        if expired {
            let is_large = value.payload_bytes() > LARGE_BYTES;
            let removal = Operation::command([removal]);
            return Outcome::AnswerThen(Answer::Undefined, if is_large { removal.unbounded() } else { removal });
        }
        match codec::text(value) {
            Some(text) if *text == *codec::UNDEFINED => Outcome::Answer(Answer::Undefined),
            Some(text) => Outcome::Answer(Answer::Json { text, unreadable: Some(removal) }),
            None => Outcome::AnswerThen(Answer::Undefined, Operation::command([removal])),
        }
    })
}

/// Stores a JSON text (or the marker of `undefined`) under a hash for a number of seconds; at most 0 means that
/// it has expired at once.
pub fn set(hash: impl Into<Value>, text: impl Into<String>, ttl_seconds: f64, now: Millis) -> Operation {
    let expires_at = if ttl_seconds <= 0.0 { now } else { now + ttl_seconds * 1000.0 };
    Operation::command([BoundStatement::new(
        Statement::CacheSet,
        [hash.into(), Value::from_json(text), expires_at.into(), now.into()],
    )])
}

/// Removes the entry under a hash.
pub fn delete(hash: impl Into<Value>) -> Operation {
    Operation::command([BoundStatement::new(Statement::CacheDelete, [hash.into()])])
}

/// Removes every entry.
pub fn clear() -> Operation {
    Operation::command([BoundStatement::new(Statement::CacheClear, [])]).unbounded()
}

/// Answers how many entries there are, how many have expired, and the size of the database.
pub fn stats(now: Millis) -> Operation {
    Operation::read([BoundStatement::new(Statement::CacheStats, [Value::from(now)])], |rows| {
        let number = |column| rows.first().map_or(0.0, |result| result.number(column));
        let kilobytes = (number(2) * number(3) / 1024.0 + 0.5).floor();
        Outcome::Answer(Answer::Record(vec![
            ("databaseSizeKB", Field::Number(kilobytes)),
            ("expiredItems", Field::Number(number(1))),
            ("totalItems", Field::Number(number(0))),
        ]))
    })
    .unbounded()
}

/// Removes the entries that were created later than now, for which all are looked at, and those that have expired.
pub fn cleanup(now: Millis) -> Operation {
    let then: Then = Box::new(move || Outcome::Continue(remove_expired(now)));
    remove_later(now, Value::Integer(i64::MIN), then)
}

/// Removes the entries that have expired.
pub fn remove_expired(now: Millis) -> Operation {
    let find = BoundStatement::new(Statement::CacheExpired, [Value::from(now)]);
    let remove = move |key: &Value| BoundStatement::new(Statement::CacheRemoveExpired, [key.clone(), now.into()]);
    housekeeping::remove_found(find, remove, false, housekeeping::done())
}

/// Removes the entries after a key that were created later than now, which would be served for longer than they were stored
/// for. Those that never expire stay.
fn remove_later(now: Millis, after: Value, then: Then) -> Operation {
    let find = BoundStatement::new(Statement::CacheLaterAfter, [after.clone(), stamps::latest(now, 0.0).into()]);
    Operation::read_timed([find], move |rows, waited| {
        let rows = rows.first().map_or(&[][..], |result| &result.rows);
        let last = rows.last().and_then(|row| row.first()).cloned();
        let Some(last) = last.filter(|last| *last != Value::Null) else { return then() };
        if !last.comes_after(&after) {
            return housekeeping::endless();
        }
        let latest = stamps::latest(now, waited);
        let removals = rows.iter().filter_map(|row| match row.as_slice() {
            [key, bytes, created_at] if created_at.number()? > latest => {
                let values = [key.clone(), created_at.clone()];
                Some((vec![BoundStatement::new(Statement::CacheRemoveLater, values)], 1.0, bytes.number()?))
            }
            _ => None,
        });
        housekeeping::remove_in_steps(removals.collect(), false, move |_| {
            Outcome::Continue(remove_later(now, last, then))
        })
    })
    .unbounded()
    .continuing()
}
