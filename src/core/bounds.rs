//! Bounds of the cache: how many entries it holds at most, and how many bytes (docs/schema.md, "Bounds of the cache").
//!
//! - What there is stands in a row of totals. Each transaction of ours that changes entries changes it along with them, wherever the
//!   row is: see [`counted`]. What others change is found when all is counted: see [`reconcile`].
//! - What is evicted is decided by SQL in the transaction that stores an entry: on the totals, and on when entries were used. It
//!   is first marked, so that one statement after the other can do its part.
//! - When entries are used is gathered in memory: see [`Uses`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::codec;
use super::housekeeping::{self, Then};
use super::operation::{Answer, BoundStatement, Operation, Outcome, Results, StatementResult, Statements};
use super::options::Bounds;
use super::statements::{STEP_ROWS, Statement};
use super::value::{Millis, Value};

/// How much one transaction evicts at most.
#[derive(Clone, Copy)]
struct AtMost {
    /// How many entries that have expired; whatever their size.
    expired: f64,
    /// How many others, and up to how many bytes of them, unless one has more.
    rows: f64,
    bytes: f64,
}

/// Along with an entry that is stored: it may be done on the JavaScript thread.
const WITH_SET: AtMost = AtMost { expired: 16.0, rows: 100.0, bytes: (1 << 20) as f64 };

/// With a large entry, and where nothing is stored.
const IN_STEP: AtMost = AtMost { expired: 50.0, rows: STEP_ROWS as f64, bytes: (4 << 20) as f64 };

/// How many entries an answer names at most that had to go.
const NAMED_AT_MOST: usize = 1_000;

/// Is told how many entries had to go, each time that has been committed.
pub type OnEvicted = Arc<dyn Fn(usize) + Send + Sync>;

/// From how many bytes on an entry may take the place of many.
const LARGE_BYTES: usize = 64 << 10;

/// Whether entries are counted where an operation that has been made is carried out, and noted when they are stored: has it
/// do so.
pub fn counted(operation: Operation) -> Operation {
    let mut statements = Statements::new();
    // Which of them are the operation's own.
    let mut own = Vec::new();
    for bound in operation.statements {
        let (before, after) = companions(&bound);
        own.extend(before.iter().map(|_| false));
        own.push(true);
        own.extend(after.iter().map(|_| false));
        statements.extend(before.into_iter().chain([bound]).chain(after));
    }
    let completion = operation.completion;
    let completion = move |rows: Results, waited: Millis| {
        let rows = if own.iter().all(|own| *own) {
            rows
        } else {
            rows.into_iter().zip(own).filter_map(|(result, own)| own.then_some(result)).collect()
        };
        match completion(rows, waited) {
            Outcome::Answer(answer) => Outcome::Answer(answer),
            Outcome::AnswerThen(answer, next) => Outcome::AnswerThen(answer, counted(next)),
            Outcome::Continue(next) => Outcome::Continue(counted(next)),
        }
    };
    Operation { statements, completion: Box::new(completion), ..operation }
}

/// What is to be run before and after a statement, for the totals and the times of use to be right.
fn companions(bound: &BoundStatement) -> (Vec<BoundStatement>, Vec<BoundStatement>) {
    use Statement as S;
    let values = || bound.values.iter().cloned();
    let new = |statement, values: &[&Value]| BoundStatement::new(statement, values.iter().copied().cloned());
    let uncount = |statement| vec![BoundStatement::new(statement, values())];
    match (bound.statement, bound.values.as_slice()) {
        (S::CacheSet, [hash, value, _, now]) => {
            let count = new(S::CacheCountSet, &[hash, &(stored_bytes(value) as f64).into()]);
            (vec![count], vec![new(S::CacheUse, &[hash, now])])
        }
        (S::CacheDelete, [hash]) => (uncount(S::CacheUncount), vec![new(S::CacheUnuseAbsent, &[hash])]),
        (S::CacheDeleteStale, [hash, _]) => {
            (uncount(S::CacheUncountStale), vec![new(S::CacheUnuseAbsent, &[hash])])
        }
        (S::CacheDeleteTagged, [hash, _]) => {
            (uncount(S::CacheUncountTagged), vec![new(S::CacheUnuseAbsent, &[hash])])
        }
        (S::CacheRemoveLater, _) => (uncount(S::CacheUncountLater), Vec::new()),
        (S::CacheRemoveExpired, _) => (uncount(S::CacheUncountExpired), Vec::new()),
        // What has been counted before must not correct the totals of nothing.
        (S::CacheClear, _) => {
            let after = [S::CacheUncountAll, S::CacheUnuseAll, S::CacheRenewTotals];
            (Vec::new(), after.map(|statement| new(statement, &[])).into())
        }
        _ => (Vec::new(), Vec::new()),
    }
}

/// How many bytes a value takes in its column.
fn stored_bytes(value: &Value) -> usize {
    match value {
        Value::Json(text) => codec::encoded_length(text),
        value => value.payload_bytes(),
    }
}

/// Has an operation that stores an entry keep the bounds: whatever goes past them is evicted in its transaction, as far as that
/// is a handful of pages. The rest follows in steps, before the call is answered. Before it, `used` entries are noted to be.
pub fn within(
    bounds: Bounds,
    operation: Operation,
    used: Vec<(String, Millis)>,
    now: Millis,
    on_evicted: OnEvicted,
) -> Operation {
    let entry = operation.statements.iter().find(|bound| bound.statement == Statement::CacheSet);
    let (hash, bytes) = match entry.map(|bound| bound.values.as_slice()) {
        Some([hash, value, ..]) => (hash.clone(), value.payload_bytes()),
        _ => (Value::Null, 0),
    };
    let at_most = if bytes > LARGE_BYTES { IN_STEP } else { WITH_SET };
    let operation = counted(operation);
    let used = note_used(used);
    let mut statements: Statements = used.into_iter().chain(operation.statements).collect();
    let own = statements.len();
    statements.extend(eviction(bounds, &hash, at_most, now));
    let completion = move |rows: Results, _| {
        let mut evicting = Evicting { bounds, hash, now, may_reconcile: true, named: Vec::new(), on_evicted };
        match evicting.outcome_of(rows.get(own..).unwrap_or_default()) {
            Some(Eviction { is_done: false, .. }) => Outcome::Continue(evicting.step()),
            _ => evicting.end(),
        }
    };
    Operation { statements, completion: Box::new(completion), ..operation }
}

/// The statements that evict some entries, if the totals are above the bounds; not the one under a hash.
fn eviction(bounds: Bounds, hash: &Value, at_most: AtMost, now: Millis) -> [BoundStatement; 8] {
    use Statement as S;
    let AtMost { expired, rows, bytes } = at_most;
    let above = [bounds.max_entries.into(), bounds.max_size_bytes.into(), hash.clone()];
    let mark = |statement, values: &[f64]| {
        BoundStatement::new(statement, above.iter().cloned().chain(values.iter().map(|value| Value::from(*value))))
    };
    let marked = |statement| BoundStatement::new(statement, []);
    [
        mark(S::CacheMarkExpired, &[now, expired]),
        mark(S::CacheMarkOldest, &[expired, rows, bytes]),
        marked(S::CacheUncountMarked),
        marked(S::CacheMarked),
        marked(S::CacheDeleteMarked),
        marked(S::CacheUntagMarked),
        marked(S::CacheUnuseMarked),
        marked(S::CacheTotals),
    ]
}

/// What came of an eviction.
struct Eviction {
    /// Whether the totals are within the bounds.
    is_done: bool,
    /// Whether it found something to do.
    has_marked: bool,
}

/// Evicts what goes past the bounds.
pub fn evict(bounds: Bounds, now: Millis, on_evicted: OnEvicted) -> Operation {
    Evicting { bounds, hash: Value::Null, now, may_reconcile: true, named: Vec::new(), on_evicted }.step()
}

/// Evicts what goes past the bounds, except the entry under a hash: in steps, between which others have their turn. Where nothing is
/// found to be evicted, the totals are wrong, or somebody else's entries are not known yet: then they are first made right.
struct Evicting {
    bounds: Bounds,
    hash: Value,
    now: Millis,
    may_reconcile: bool,
    /// Some of those that had to go.
    named: Vec<String>,
    on_evicted: OnEvicted,
}

impl Evicting {
    fn step(mut self) -> Operation {
        let statements = eviction(self.bounds, &self.hash, IN_STEP, self.now);
        Operation::write(Vec::from(statements), move |rows| match self.outcome_of(&rows) {
            Some(Eviction { is_done: false, has_marked: true }) => Outcome::Continue(self.step()),
            Some(Eviction { is_done: false, .. }) if self.may_reconcile => {
                self.may_reconcile = false;
                Outcome::Continue(reconcile(Box::new(move || Outcome::Continue(self.step()))))
            }
            _ => self.end(),
        })
        .unbounded()
    }

    /// Takes note of what [`eviction`] has come to.
    fn outcome_of(&mut self, results: &[StatementResult]) -> Option<Eviction> {
        let [expired, oldest, _, marked, .., totals] = results else { return None };
        if !marked.rows.is_empty() {
            (self.on_evicted)(marked.rows.len());
            let hashes = marked.rows.iter().filter_map(|row| row.first()).map(Value::display);
            self.named.extend(hashes.take(NAMED_AT_MOST - self.named.len()));
        }
        let Bounds { max_entries, max_size_bytes, .. } = self.bounds;
        let is_done = totals.number(0) <= max_entries && totals.number(1) <= max_size_bytes;
        Some(Eviction { is_done, has_marked: expired.changes + oldest.changes > 0 })
    }

    fn end(self) -> Outcome {
        Outcome::Answer(if self.named.is_empty() { Answer::Undefined } else { Answer::Evicted(self.named) })
    }
}

/// Does housekeeping, and then makes the totals right, and evicts.
pub fn after_cleanup(cleanup: Operation, bounds: Option<Bounds>, now: Millis, on_evicted: OnEvicted) -> Operation {
    then(counted(cleanup), move || {
        reconcile(match bounds {
            Some(bounds) => Box::new(move || Outcome::Continue(evict(bounds, now, on_evicted))),
            None => housekeeping::done(),
        })
    })
}

/// Has an operation followed by another one before it is answered, unless it is refused.
fn then(operation: Operation, next: impl FnOnce() -> Operation + Send + 'static) -> Operation {
    let completion = operation.completion;
    let completion = move |rows: Results, waited: Millis| match completion(rows, waited) {
        Outcome::Answer(rejection @ Answer::Rejection(_)) => Outcome::Answer(rejection),
        Outcome::Answer(_) | Outcome::AnswerThen(..) => Outcome::Continue(next()),
        Outcome::Continue(operation) => Outcome::Continue(then(operation, next)),
    };
    Operation { completion: Box::new(completion), ..operation }
}

/// Makes the totals right, and has noted what is not: entries that others have stored, or removed.
pub fn reconcile(next: Then) -> Operation {
    recount(move |lacked| Outcome::Continue(note_all(lacked, next)))
}

/// Makes the totals right, and if they were not, has noted what is not. For a store that begins: otherwise nobody else has
/// changed anything.
pub fn begin() -> Operation {
    recount(
        |lacked| {
            if lacked { Outcome::Continue(note_all(true, housekeeping::done())) } else { housekeeping::done()() }
        },
    )
}

/// Counts what there is, on one state of the database, and adds to the totals what they lacked there. They may have changed
/// since; what they lack has not, unless somebody else has corrected them. Goes on with whether anything
/// was lacking.
fn recount(next: impl FnOnce(bool) -> Outcome + Send + 'static) -> Operation {
    Operation::read([BoundStatement::new(Statement::CacheRecount, [])], move |rows| {
        let result = rows.first();
        let number = |column| result.map_or(0.0, |result| result.number(column));
        let lacking = [number(0) - number(2), number(1) - number(3)];
        let has_totals = result.is_some_and(|result| result.optional_number(2).is_some());
        if lacking == [0.0, 0.0] && has_totals {
            return next(false);
        }
        let version = result.and_then(StatementResult::first).and_then(|row| row.get(4)).cloned();
        let [entries, bytes] = lacking.map(Value::from);
        let correct =
            BoundStatement::new(Statement::CacheCorrectTotals, [entries, bytes, version.unwrap_or(Value::Null)]);
        let renew = BoundStatement::new(Statement::CacheRenewTotals, []);
        Outcome::Continue(Operation::write(vec![correct, renew], move |_| next(true)).unbounded().continuing())
    })
    .unbounded()
    .continuing()
}

/// Notes entries that nothing is noted of, which other versions have stored, and forgets what is noted of entries that are gone.
/// `looks_closely` if others may have stored some anew.
fn note_all(looks_closely: bool, next: Then) -> Operation {
    let find = move |after| {
        let looks_closely = Value::Integer(looks_closely.into());
        BoundStatement::new(Statement::CacheUnlistedFrom, [following(after), looks_closely])
    };
    let forget = move || {
        let find = |after| BoundStatement::new(Statement::CacheDanglingUseFrom, [following(after)]);
        Outcome::Continue(walk(find, Statement::CacheUnuseAbsent, next))
    };
    walk(find, Statement::CacheAdopt, Box::new(forget))
}

/// The next hash to look at, after the last one: the walk begins before all texts.
fn following(after: Value) -> Value {
    match after {
        Value::Integer(_) => "".into(),
        hash => housekeeping::next_text(hash),
    }
}

fn walk(find: impl Fn(Value) -> BoundStatement + Send + 'static, repair: Statement, next: Then) -> Operation {
    let repair = move |row: &[Value], _| match row {
        [hash, _] => Some((vec![BoundStatement::new(repair, [hash.clone()])], 1.0, 0.0)),
        _ => None,
    };
    housekeeping::remove_after(Value::Integer(i64::MIN), find, repair, next)
}

/// Finds out whether entries are counted: somebody else may have begun to.
pub fn look_for_totals(counts: impl FnOnce() + Send + 'static) -> Operation {
    Operation::read([BoundStatement::new(Statement::CacheIsCounted, [])], move |rows| {
        if rows.first().is_some_and(|result| result.first().is_some()) {
            counts();
        }
        Outcome::Answer(Answer::Undefined)
    })
}

/// How long the use of an entry is not noted again.
pub const NOTED_FOR_MS: Millis = 60_000.0;

/// The most uses that one statement notes.
const USES_AT_ONCE: usize = 500;

/// The most that are noted along with an entry that is stored.
const USES_WITH_SET: usize = 50;

/// How many uses wait to be noted before that is to be done, whatever time it is.
const USES_AT_MOST: usize = 50_000;

/// When an entry was used.
struct Use {
    at: Millis,
    /// When that was last handed out to be noted.
    noted_at: Millis,
    waits: bool,
}

/// When entries were used last, gathered until it is noted: of each entry at most once in [`NOTED_FOR_MS`].
#[derive(Default)]
pub struct Uses {
    by_hash: HashMap<String, Use, RandomState>,
    /// Those that may be noted now, in the order of their first use.
    ready: VecDeque<String>,
    /// Those that were noted shortly before they were used again. The first becomes ready first, or at most
    /// [`NOTED_FOR_MS`] after its use.
    later: VecDeque<String>,
}

impl Uses {
    /// Takes note of a use of an entry that was used shortly before; answers whether it was.
    pub fn record_again(&mut self, hash: &str, now: Millis) -> bool {
        let Some(used) = self.by_hash.get_mut(hash).filter(|_| now.is_finite()) else { return false };
        used.at = now;
        if !used.waits {
            used.waits = true;
            self.later.push_back(hash.to_owned());
        }
        true
    }

    /// Takes note of a use.
    pub fn record(&mut self, hash: String, now: Millis) {
        if now.is_finite() && !self.record_again(&hash, now) {
            self.by_hash.insert(hash.clone(), Use { at: now, noted_at: Millis::NEG_INFINITY, waits: true });
            self.ready.push_back(hash);
        }
    }

    /// Whether any waits to be noted.
    pub fn has_waiting(&self) -> bool {
        !self.ready.is_empty() || !self.later.is_empty()
    }

    /// When the next are to be noted that are not noted along with something else, once those that are ready have been taken.
    pub fn next_at(&self) -> Option<Millis> {
        let next = self.by_hash.get(self.later.front()?)?;
        Some(next.noted_at + NOTED_FOR_MS)
    }

    /// Whether so many wait that they are to be noted now.
    pub fn is_full(&self) -> bool {
        self.ready.len() >= USES_AT_MOST
    }

    /// Those that are to be noted along with an entry that is stored.
    pub fn take_some(&mut self, now: Millis) -> Vec<(String, Millis)> {
        self.take(USES_WITH_SET, now)
    }

    /// Those that one statement is to note; none once all have been taken that may be noted.
    pub fn take_next(&mut self, now: Millis) -> Vec<(String, Millis)> {
        self.take(USES_AT_ONCE, now)
    }

    /// All that wait: the last that there are.
    pub fn into_waiting(self) -> Vec<(String, Millis)> {
        self.by_hash.into_iter().filter(|(_, used)| used.waits).map(|(hash, used)| (hash, used.at)).collect()
    }

    fn take(&mut self, at_most: usize, now: Millis) -> Vec<(String, Millis)> {
        let mut taken = Vec::new();
        while taken.len() < at_most {
            let Some(hash) = self.ready.pop_front().or_else(|| self.take_due(now)) else { break };
            if let Some(used) = self.by_hash.get_mut(&hash) {
                (used.waits, used.noted_at) = (false, now);
                taken.push((hash, used.at));
            }
        }
        taken
    }

    fn take_due(&mut self, now: Millis) -> Option<String> {
        let noted_at = self.by_hash.get(self.later.front()?).map_or(Millis::NEG_INFINITY, |used| used.noted_at);
        // A clock that was set back has no part in it.
        let is_due = !(noted_at..noted_at + NOTED_FOR_MS).contains(&now);
        if is_due { self.later.pop_front() } else { None }
    }

    /// Forgets what would be ready at its next use anyway.
    pub fn forget_old(&mut self, now: Millis) {
        self.by_hash.retain(|_, used| used.waits || (used.noted_at..used.noted_at + NOTED_FOR_MS).contains(&now));
    }
}

/// Notes uses.
pub fn note(used: Vec<(String, Millis)>) -> Operation {
    Operation::command(Statements::from_iter(note_used(used))).unbounded()
}

fn note_used(used: Vec<(String, Millis)>) -> Option<BoundStatement> {
    if used.is_empty() {
        return None;
    }
    let json = serde_json::to_string(&used).ok()?;
    Some(BoundStatement::new(Statement::CacheUsed, [json.into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let mut uses = Uses::default();
        uses.record("a".to_owned(), 1.0);
        uses.record("a".to_owned(), 2.0);
        assert_eq!(uses.take_some(3.0), [("a".to_owned(), 2.0)]);
        uses.record("a".to_owned(), 4.0);
        uses.record("b".to_owned(), 5.0);
        assert_eq!(uses.take_some(60_002.0), [("b".to_owned(), 5.0)]);
        assert!(uses.has_waiting());
        assert_eq!(uses.take_some(60_003.0), [("a".to_owned(), 4.0)]);
        assert!(!uses.has_waiting());
        uses.forget_old(60_003.0);
        assert_eq!(uses.by_hash.len(), 2);
        uses.forget_old(120_003.0);
        assert!(uses.by_hash.is_empty());
    }

    #[test]
    fn what_waits_is_noted_when_the_clock_is_set_back_or_the_store_ends() {
        let mut uses = Uses::default();
        uses.record("a".to_owned(), 1_000.0);
        drop(uses.take_some(1_000.0));
        uses.record("a".to_owned(), 10.0);
        assert_eq!(uses.take_some(11.0), [("a".to_owned(), 10.0)]);
        uses.record("a".to_owned(), 12.0);
        assert!(uses.take_next(13.0).is_empty());
        assert_eq!(uses.into_waiting(), [("a".to_owned(), 12.0)]);
    }
}
