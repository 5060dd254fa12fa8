//! The response cache (docs/api.md, "SQLiteCacheStore").

use std::collections::VecDeque;

use super::bounds;
use super::codec;
use super::error::Error;
use super::housekeeping::{self, Removal, Selection, Then};
use super::operation::{
    Answer, BoundStatement, Field, Operation, Outcome, Results, Rows, StatementResult, Statements,
};
use super::stamps;
use super::statements::{PAGE_ENTRIES, STEP_ROWS, Statement};
use super::value::{Millis, Value};

/// From how many bytes on an entry is more than a handful of pages to remove.
const LARGE_BYTES: usize = 64 << 10;

/// Whether an entry has expired. One with an expiry of 0 never does: so the successor stores what is to last for ever. This
/// version writes infinity, and never 0.
fn has_expired(expires_at: Millis, now: Millis) -> bool {
    expires_at != 0.0 && now >= expires_at
}

/// When an entry that is stored now expires; a lifetime of at most 0 means at once.
fn expiry(ttl_seconds: f64, now: Millis) -> Millis {
    let expires_at = if ttl_seconds <= 0.0 { now } else { now + ttl_seconds * 1000.0 };
    if expires_at == 0.0 { -1.0 } else { expires_at }
}

/// Answers the value under a hash that has not expired. An expired or unreadable entry reads as absent and is
/// removed.
pub fn get(hash: impl Into<Value>, now: Millis) -> Operation {
    get_counted(hash, now, false)
}

/// The same, where what is removed is also taken out of the totals if entries are counted. [`bounds::counted`] would do that, but
/// take a hit a tenth more instructions.
pub fn get_counted(hash: impl Into<Value>, now: Millis, counts: bool) -> Operation {
    let hash = hash.into();
    let remove = move |removal| {
        let removal = remove_unreadable(removal);
        if counts { bounds::counted(removal) } else { removal }
    };
    Operation::read([BoundStatement::new(Statement::CacheGet, [hash.clone()])], move |mut rows| {
        let Some(row) = rows.pop().and_then(|mut result| result.rows.pop()) else {
            return Outcome::Answer(Answer::Undefined);
        };
        let Ok([value, expires_at]) = <[Value; 2]>::try_from(row) else {
            return Outcome::Answer(Answer::Undefined);
        };
        let expired = expires_at.number().is_none_or(|expires_at| has_expired(expires_at, now));
        let removal = BoundStatement::new(Statement::CacheDeleteStale, [hash, expires_at]);
        if expired {
            let is_large = value.payload_bytes() > LARGE_BYTES;
            let removal = remove(removal);
            return Outcome::AnswerThen(Answer::Expired, if is_large { removal.unbounded() } else { removal });
        }
        match codec::text(value) {
            Some(text) if *text == *codec::UNDEFINED => Outcome::Answer(Answer::Undefined),
            Some(text) => Outcome::Answer(Answer::Json { text, unreadable: Some(removal) }),
            None => Outcome::AnswerThen(Answer::Undefined, remove(removal)),
        }
    })
}

/// Removes what reads as absent: a row that cannot be read, by the statement that came along with it, and, of an entry, its
/// tags.
pub fn remove_unreadable(removal: BoundStatement) -> Operation {
    let hash = removal.values.first().filter(|_| removal.statement == Statement::CacheDeleteStale).cloned();
    let tags = hash.map(|hash| BoundStatement::new(Statement::CacheUntagAbsent, [hash]));
    Operation::command(Statements::from_iter([removal].into_iter().chain(tags)))
}

fn store(hash: Value, text: impl Into<String>, ttl_seconds: f64, now: Millis) -> BoundStatement {
    let expires_at = expiry(ttl_seconds, now);
    BoundStatement::new(Statement::CacheSet, [hash, Value::from_json(text), expires_at.into(), now.into()])
}

/// Stores a JSON text (or the marker of `undefined`) under a hash for a number of seconds; at most 0 means that
/// it has expired at once. The entry keeps its tags.
pub fn set(hash: impl Into<Value>, text: impl Into<String>, ttl_seconds: f64, now: Millis) -> Operation {
    Operation::command([store(hash.into(), text, ttl_seconds, now)])
}

/// The same, and the entry then has these tags and no others.
pub fn set_with_tags(
    hash: impl Into<Value>,
    text: impl Into<String>,
    ttl_seconds: f64,
    tags: impl IntoIterator<Item = String>,
    now: Millis,
) -> Operation {
    let hash = hash.into();
    let tag = |tag: String| BoundStatement::new(Statement::CacheTag, [hash.clone(), tag.into()]);
    let tags: Vec<BoundStatement> = tags.into_iter().map(tag).collect();
    let untag = BoundStatement::new(Statement::CacheUntag, [hash.clone()]);
    Operation::command(Statements::from_iter([store(hash, text, ttl_seconds, now), untag].into_iter().chain(tags)))
}

/// Removes the entry under a hash.
pub fn delete(hash: impl Into<Value>) -> Operation {
    let hash = hash.into();
    let untag = BoundStatement::new(Statement::CacheUntag, [hash.clone()]);
    Operation::command(vec![BoundStatement::new(Statement::CacheDelete, [hash]), untag])
}

/// Removes every entry.
pub fn clear() -> Operation {
    let statements = [Statement::CacheClear, Statement::CacheClearTags];
    Operation::command(Vec::from(statements.map(|statement| BoundStatement::new(statement, [])))).unbounded()
}

/// Removes the entries whose hashes begin with a text.
pub fn clear_scope(scope: &str) -> Operation {
    if scope.is_empty() { clear() } else { housekeeping::remove_selected(Scope::new(scope), false) }
}

/// Entries whose hashes begin with a text, and then tags of such hashes. Each lie one after the other, from that text on.
struct Scope {
    scope: String,
    /// What is found next, from which hash on; nothing once all has been found.
    next: Option<(Statement, Value)>,
}

impl Scope {
    fn new(scope: &str) -> Self {
        Scope { scope: scope.to_owned(), next: Some((Statement::CacheFrom, scope.into())) }
    }
}

impl Selection for Scope {
    fn find(&self) -> Option<BoundStatement> {
        let (statement, from) = self.next.clone()?;
        Some(BoundStatement::new(statement, [from]))
    }

    fn take(&mut self, page: Rows) -> Result<Vec<BoundStatement>, Error> {
        let Some((found_by, from)) = self.next.take() else { return Ok(Vec::new()) };
        let mut found = housekeeping::beginning_with(&self.scope, page);
        let bytes = |row: &Vec<Value>| row.get(1).and_then(Value::number).unwrap_or(0.0);
        found.truncate(housekeeping::count_in_step(found.iter().map(|row| (1.0, bytes(row)))));
        let hashes = found.into_iter().filter_map(|row| row.into_iter().next());
        let removal =
            if found_by == Statement::CacheFrom { Statement::CacheDelete } else { Statement::CacheUntagAbsent };
        let removals: Vec<BoundStatement> = hashes.map(|hash| BoundStatement::new(removal, [hash])).collect();
        self.next = match removals.last().and_then(|last| last.values.first()) {
            Some(last) => Some((found_by, housekeeping::going_on(housekeeping::next_text(last.clone()), &from)?)),
            None if found_by == Statement::CacheFrom => {
                Some((Statement::CacheTagsFrom, self.scope.as_str().into()))
            }
            None => None,
        };
        Ok(removals)
    }

    fn answer(self) -> Answer {
        Answer::Undefined
    }
}

/// Removes the entries that have any of these tags; answers how many those were that had not expired.
pub fn invalidate(tags: impl IntoIterator<Item = String>, now: Millis) -> Operation {
    let tags: VecDeque<String> = tags.into_iter().collect();
    Operation::read([BoundStatement::new(Statement::CacheLastTag, [])], move |rows| {
        let Some(last) = rows.first().and_then(|last| last.optional_number(0)) else {
            return Outcome::Answer(Answer::Number(0.0));
        };
        let tagged = Tagged { tags, after: f64::NEG_INFINITY, last, now, removed: 0 };
        Outcome::Continue(housekeeping::remove_selected(tagged, false))
    })
    .unbounded()
    .continuing()
}

/// Entries that have any of some tags. Those of a tag are gone through in the order in which the tag was given to them, up to the
/// last that was given when the call was made: it comes to an end however many are tagged meanwhile.
struct Tagged {
    /// The first is the one whose entries are found next.
    tags: VecDeque<String>,
    after: f64,
    last: f64,
    now: Millis,
    removed: u64,
}

impl Selection for Tagged {
    fn find(&self) -> Option<BoundStatement> {
        let tag = self.tags.front()?.as_str();
        Some(BoundStatement::new(Statement::CacheTagged, [tag.into(), self.after.into(), self.last.into()]))
    }

    fn take(&mut self, page: Rows) -> Result<Vec<BoundStatement>, Error> {
        let Some(tag) = self.tags.front().cloned() else { return Ok(Vec::new()) };
        let found: Vec<&[Value; 4]> = page.iter().filter_map(|row| row.as_slice().try_into().ok()).collect();
        let number = |value: &Value| value.number().unwrap_or(0.0);
        let costs = found.iter().map(|[_, _, bytes, tags]| (1.0 + number(tags), number(bytes)));
        let count = housekeeping::count_in_step(costs).min(found.len());
        let last = found[..count].last().and_then(|[key, ..]| key.number());
        match last {
            Some(last) if last <= self.after => return Err(Error::corrupt()),
            Some(last) if count < found.len() || found.len() as u64 >= STEP_ROWS => self.after = last,
            _ => {
                self.tags.pop_front();
                self.after = f64::NEG_INFINITY;
            }
        }
        let statements = found[..count].iter().flat_map(|[_, hash, ..]| {
            let values = [hash.clone(), tag.as_str().into()];
            let untag = BoundStatement::new(Statement::CacheUntagAbsent, [hash.clone()]);
            [BoundStatement::new(Statement::CacheDeleteTagged, values), untag]
        });
        Ok(statements.collect())
    }

    fn removed(&mut self, results: &[StatementResult]) {
        let expiries = results.iter().filter_map(|result| result.optional_number(0));
        self.removed += expiries.filter(|expires_at| !has_expired(*expires_at, self.now)).count() as u64;
    }

    fn answer(self) -> Answer {
        Answer::Number(self.removed as f64)
    }
}

/// Answers some of the entries that have not expired, the newest first: so many at most, after so many.
pub fn list(offset: f64, limit: f64, now: Millis) -> Operation {
    let page = [now, limit, offset].map(Value::from);
    let statements = [Statement::CacheList, Statement::CacheListTags];
    let statements = statements.map(|statement| BoundStatement::new(statement, page.clone()));
    Operation::read(Vec::from(statements), |rows| {
        Outcome::Answer(Answer::Records(entries_of(rows).into_iter().map(|(_, entry)| entry).collect()))
    })
    .unbounded()
}

type Entry = Vec<(&'static str, Field)>;

/// Entries, and what is told of them, of the rows of entries and those of their tags, in the same order.
fn entries_of(mut rows: Results) -> Vec<([Value; 4], Entry)> {
    let mut tags = rows.pop().unwrap_or_default().rows.into_iter().peekable();
    let entries = rows.pop().unwrap_or_default().rows.into_iter().filter_map(|entry| {
        let entry = <[Value; 4]>::try_from(entry).ok()?;
        let [hash, expires_at, created_at, bytes] = &entry;
        let of_entry = std::iter::from_fn(|| tags.next_if(|tag| tag.first() == Some(hash)));
        let of_entry = of_entry.filter_map(|tag| tag.last().map(Value::display)).collect();
        let number = |value: &Value| value.number().filter(|number| number.is_finite()).unwrap_or(0.0);
        let told = vec![
            ("hash", Field::Text(hash.display())),
            ("expiresAt", Field::Stamp(number(expires_at))),
            ("createdAt", Field::Stamp(number(created_at))),
            ("sizeBytes", Field::Number(number(bytes))),
            ("tags", Field::List(of_entry)),
        ];
        Some((entry, told))
    });
    entries.collect()
}

/// Which entries are gone through.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// What their hashes begin with.
    pub prefix: String,
    /// A tag that they have.
    pub tag: Option<String>,
    /// Whether those count that have expired.
    pub has_expired: bool,
}

/// Answers the next entries, in the order of their hashes, after one; none at the end.
pub fn entries(filter: EntryFilter, after: Option<String>, now: Millis) -> Operation {
    let after = after.filter(|after| *after >= filter.prefix);
    let from = after.map_or_else(|| filter.prefix.as_str().into(), |after| housekeeping::next_text(after.into()));
    entries_from(filter, from, now)
}

fn entries_from(filter: EntryFilter, from: Value, now: Millis) -> Operation {
    let statements = match filter.tag {
        None => [Statement::CacheEntriesFrom, Statement::CacheEntriesFromTags],
        Some(_) => [Statement::CacheEntriesTagged, Statement::CacheEntriesTaggedTags],
    };
    let values: Vec<Value> =
        [from.clone()].into_iter().chain(filter.tag.iter().map(|tag| tag.as_str().into())).collect();
    let statements = statements.map(|statement| BoundStatement::new(statement, values.clone()));
    Operation::read(Vec::from(statements), move |rows| {
        let found = entries_of(rows);
        let is_last = found.len() < PAGE_ENTRIES;
        let last = found.last().map(|([hash, ..], _)| hash.clone());
        let is_of_prefix = |hash: &Value| hash.begins_with(&filter.prefix);
        let goes_on = !is_last && last.as_ref().is_some_and(is_of_prefix);
        let is_told = |hash: &Value, expires_at: &Value| {
            // What has another hash than text has no name.
            let has_expired = |expires_at| has_expired(expires_at, now);
            hash.text().is_some()
                && is_of_prefix(hash)
                && (filter.has_expired || expires_at.number().is_some_and(|expires_at| !has_expired(expires_at)))
        };
        let told = found.into_iter().filter(|([hash, expires_at, ..], _)| is_told(hash, expires_at));
        let told: Vec<Entry> = told.map(|(_, entry)| entry).collect();
        match last {
            Some(last) if told.is_empty() && goes_on => {
                match housekeeping::going_on(housekeeping::next_text(last), &from) {
                    Ok(next) => Outcome::Continue(entries_from(filter, next, now)),
                    Err(error) => Outcome::Answer(Answer::Rejection(error)),
                }
            }
            _ => Outcome::Answer(Answer::Records(told)),
        }
    })
    .unbounded()
    .continuing()
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

/// Removes the entries that were created later than now, for which all are looked at, and what else does not count.
pub fn cleanup(now: Millis) -> Operation {
    let then: Then = Box::new(move || Outcome::Continue(remove_expired(now)));
    remove_later(now, then)
}

/// Removes the entries that have expired, and then tags of entries that are gone.
pub fn remove_expired(now: Millis) -> Operation {
    let find = BoundStatement::new(Statement::CacheExpired, [Value::from(now)]);
    let removal = move |row: &[Value]| match row {
        [key, bytes] => removal(Statement::CacheRemoveExpired, key, now.into(), bytes),
        _ => None,
    };
    housekeeping::remove_found(find, removal, false, Box::new(|| Outcome::Continue(remove_dangling_tags())))
}

/// Removes the entries that were created later than now, which would be served for longer than they were stored
/// for. Those that never expire stay.
fn remove_later(now: Millis, then: Then) -> Operation {
    let find =
        move |after| BoundStatement::new(Statement::CacheLaterAfter, [after, stamps::latest(now, 0.0).into()]);
    let removal = move |row: &[Value], waited| match row {
        [key, bytes, created_at] if created_at.number()? > stamps::latest(now, waited) => {
            removal(Statement::CacheRemoveLater, key, created_at.clone(), bytes)
        }
        _ => None,
    };
    housekeeping::remove_after(Value::Integer(i64::MIN), find, removal, then)
}

/// What removes an entry that was found, by its key and a time by which it is known to be the same still.
fn removal(statement: Statement, key: &Value, time: Value, bytes: &Value) -> Option<Removal> {
    Some((vec![BoundStatement::new(statement, [key.clone(), time])], 1.0, bytes.number()?))
}

/// Removes tags whose entry is gone: those of entries that a clean-up has removed, or another version, which knows no tags.
fn remove_dangling_tags() -> Operation {
    let find = |after| BoundStatement::new(Statement::CacheDanglingAfter, [after]);
    let removal = |row: &[Value], _| match row {
        [_, hash] => Some((vec![BoundStatement::new(Statement::CacheUntagAbsent, [hash.clone()])], 1.0, 0.0)),
        _ => None,
    };
    housekeeping::remove_after(Value::Integer(i64::MIN), find, removal, housekeeping::done())
}
