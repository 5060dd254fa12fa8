//! The sliding-window rate limiter (docs/api.md, "SQLiteRateLimitStore"): a request counts while it is at most
//! `window_ms` old, a slot reserved for one until it is recorded or the reservation expires, and one more may be made while fewer than
//! `limit` count.

use super::housekeeping::{self, BOUNDED_ROWS, OldRequests, Then, answer_then};
use super::operation::{Answer, BoundStatement, Field, Operation, Outcome, Results, StatementResult};
use super::options::{RateLimitConfig, ResourceConfigs};
use super::stamps;
use super::statements::{STEP_ROWS, Statement};
use super::value::{Millis, Value};

/// One call on a resource.
#[derive(Clone, Debug)]
pub struct Call {
    pub resource: String,
    /// Its limit and window.
    pub limit: RateLimitConfig,
    /// The time of the call.
    pub now: Millis,
}

/// Slots reserved by `canProceed` for the `record` to come.
#[derive(Clone, Debug)]
pub struct Reservations {
    /// The store that reserved them.
    pub owner: String,
    /// For how long.
    pub for_ms: Millis,
}

/// The last time that a `Date` of JavaScript's can be; the first is as far from 1970.
const LAST_TIME: Millis = 8.64e15;

/// The longest that a timer of JavaScript's can wait: one set for longer would fire at once.
const LONGEST_WAIT: Millis = 2_147_483_647.0;

/// When the window that begins now has passed.
pub(super) fn reset_time(now: Millis, limit: RateLimitConfig) -> Field {
    Field::Time((now + limit.window_ms).clamp(-LAST_TIME, LAST_TIME))
}

/// Answers a time to wait.
pub(super) fn wait_for(wait: Millis) -> Answer {
    Answer::Number(wait.min(LONGEST_WAIT))
}

struct Usage {
    recorded: f64,
    reserved: f64,
    oldest: Option<Millis>,
    /// What corrects stamps that are later than now, if there are some.
    corrections: Vec<BoundStatement>,
}

impl Usage {
    fn read(call: &Call, result: Option<&StatementResult>, waited: Millis) -> Self {
        let number = |column| result.map_or(0.0, |result| result.number(column));
        Usage {
            recorded: number(0),
            oldest: result.and_then(|result| result.optional_number(1)),
            reserved: number(2),
            corrections: corrections(&call.resource, number(3), call.limit, call.now, waited),
        }
    }

    fn count(&self) -> f64 {
        self.recorded + self.reserved
    }
}

impl Call {
    fn resource(&self) -> Value {
        Value::from(self.resource.as_str())
    }

    fn window_start(&self) -> Millis {
        self.now - self.limit.window_ms
    }

    fn usage(&self) -> BoundStatement {
        BoundStatement::new(Statement::RateUsage, [self.resource(), self.window_start().into(), self.now.into()])
    }

    /// Whether requests are stored that have left the window.
    fn has_old(&self, usage: &Usage) -> bool {
        usage.oldest.is_some_and(|oldest| oldest < self.window_start())
    }

    /// What has left the window.
    fn old(&self) -> OldRequests {
        OldRequests { resource: self.resource.clone(), before: self.window_start(), keeps_activity: false }
    }

    /// The answer, and then the correction of stamps and the removal of what has left the window.
    fn answer(&self, usage: Usage, answer: Answer) -> Outcome {
        let old = self.has_old(&usage).then(|| self.old());
        answer_then(answer, usage.corrections, old.into_iter().collect())
    }

    fn read_usage_then(self, answer: impl FnOnce(&Call, &Usage) -> Answer + Send + 'static) -> Operation {
        Operation::read_timed([self.usage()], move |rows, waited| {
            let usage = Usage::read(&self, rows.first(), waited);
            let answer = answer(&self, &usage);
            self.answer(usage, answer)
        })
    }

    /// The parameters of a statement that records or reserves if a slot is free.
    fn admission(&self) -> Vec<Value> {
        vec![self.resource(), self.now.into(), self.window_start().into(), self.limit.limit.into()]
    }

    /// Runs such a statement, having removed what no longer counts.
    fn admit(self, statement: BoundStatement) -> Operation {
        admit(self.resource.clone(), self.limit, self.now, self.old().removal(BOUNDED_ROWS), statement)
    }
}

/// Runs a statement that records or reserves if a slot is free, after others, and answers whether it did so. Corrects stamps
/// that are later than now.
pub(super) fn admit(
    resource: String,
    limit: RateLimitConfig,
    now: Millis,
    first: Vec<BoundStatement>,
    statement: BoundStatement,
) -> Operation {
    let name = || Value::from(resource.as_str());
    let latest = BoundStatement::new(Statement::RateLatest, [name(), (now - limit.window_ms).into(), now.into()]);
    let expire = BoundStatement::new(Statement::RateExpireReservations, [name(), now.into()]);
    let mut statements = vec![latest];
    statements.extend(first);
    statements.extend([expire, statement]);
    Operation::write_timed(statements, move |rows, waited| {
        let admitted = rows.last().is_some_and(|result| result.first().is_some());
        let latest = rows.first().map_or(0.0, |result| result.number(0));
        let corrections = corrections(&resource, latest, limit, now, waited);
        answer_then(Answer::Bool(admitted), corrections, Vec::new())
    })
}

/// The statements that correct what is stored of a resource, given the latest of its stamps.
pub(super) fn corrections(
    resource: &str,
    latest: Millis,
    limit: RateLimitConfig,
    now: Millis,
    waited: Millis,
) -> Vec<BoundStatement> {
    let allowed = stamps::latest(now, waited);
    if latest <= allowed {
        return Vec::new();
    }
    let values = || [Value::from(resource), now.into(), allowed.into()];
    let reservations = values().into_iter().chain([limit.window_ms.into()]);
    vec![
        BoundStatement::new(Statement::RateCorrect, values()),
        BoundStatement::new(Statement::RateCorrectReservations, reservations),
    ]
}

/// Answers whether one more request may be made; reserves a slot if `reservations` are on.
pub fn can_proceed(call: Call, reservations: Option<&Reservations>) -> Operation {
    let Some(Reservations { owner, for_ms }) = reservations else {
        return call.read_usage_then(|call, usage| Answer::Bool(usage.count() < call.limit.limit));
    };
    let mut values = call.admission();
    values.extend(reservation(owner, call.now, *for_ms));
    call.admit(BoundStatement::new(Statement::RateReserve, values))
}

/// The last parameters of a statement that reserves: for whom, until when, since when.
pub(super) fn reservation(owner: &str, now: Millis, for_ms: Millis) -> [Value; 3] {
    [owner.into(), (now + for_ms).into(), now.into()]
}

/// Records a request if one more may be made, in one step; answers whether it did.
pub fn acquire(call: Call) -> Operation {
    let statement = BoundStatement::new(Statement::RateAcquire, call.admission());
    call.admit(statement)
}

/// The statement that releases the oldest reservation.
pub(super) fn release(resource: &str, reservations: &Reservations, priority: Option<&str>) -> BoundStatement {
    BoundStatement::new(
        Statement::RateRelease,
        [Value::from(resource), reservations.owner.as_str().into(), priority.into()],
    )
}

/// Records a request, in the slot reserved for it if there is one.
pub fn record(resource: String, now: Millis, reservations: Option<&Reservations>) -> Operation {
    let mut statements = Vec::with_capacity(2);
    statements.extend(reservations.map(|reservations| release(&resource, reservations, None)));
    statements.push(BoundStatement::new(Statement::RateRecord, [resource.into(), now.into()]));
    Operation::command(statements)
}

/// Answers what remains of a resource's limit.
pub fn status(call: Call) -> Operation {
    call.read_usage_then(|call, usage| {
        Answer::Record(vec![
            ("remaining", Field::Number((call.limit.limit - usage.count()).max(0.0))),
            ("resetTime", reset_time(call.now, call.limit)),
            ("limit", Field::Number(call.limit.limit)),
        ])
    })
}

/// The parameters of a statement that finds when a count gets below `limit`: when the `limit`th newest leaves.
pub(super) fn nth_newest_expiry(resource: &str, limit: f64, window_ms: Millis, now: Millis) -> Vec<Value> {
    let offset = Value::Integer((limit.ceil() - 1.0).max(0.0) as i64);
    vec![Value::from(resource), (now - window_ms).into(), offset, window_ms.into(), now.into()]
}

/// How long until then; `None` if there is no such request. At least 1 ms: the caller may not proceed now.
pub(super) fn until_left(result: Option<&StatementResult>, now: Millis) -> Option<Millis> {
    result.and_then(|result| result.optional_number(0)).map(|at| (at - now).max(1.0))
}

/// Answers how long until a request may be made, in ms: 0 when it may now.
pub fn wait_time(call: Call) -> Operation {
    let RateLimitConfig { limit, window_ms } = call.limit;
    if limit == 0.0 {
        return Operation::read([], move |_| Outcome::Answer(wait_for(window_ms)));
    }
    Operation::read_timed([call.usage()], move |rows, waited| {
        let usage = Usage::read(&call, rows.first(), waited);
        if usage.count() < limit {
            return call.answer(usage, Answer::Number(0.0));
        }
        let values = nth_newest_expiry(&call.resource, limit, window_ms, call.now);
        let statement = if usage.reserved > 0.0 {
            Statement::RateNthNewestExpiryReserved
        } else {
            Statement::RateNthNewestExpiry
        };
        Outcome::Continue(Operation::read([BoundStatement::new(statement, values)], move |rows| {
            let wait = until_left(rows.first(), call.now).unwrap_or(0.0);
            call.answer(usage, wait_for(wait))
        }))
    })
    .continuing()
}

/// Forgets a resource's requests.
pub fn reset(resource: &str) -> Operation {
    let statements = [Statement::RateReset, Statement::RateResetReservations]
        .map(|statement| BoundStatement::new(statement, [Value::from(resource)]));
    Operation::command(statements).unbounded()
}

/// Forgets every request.
pub fn clear() -> Operation {
    let statements = [Statement::RateClear, Statement::RateClearReservations]
        .map(|statement| BoundStatement::new(statement, []));
    Operation::command(statements).unbounded()
}

/// The names in a list of resources.
pub(super) fn names(result: Option<&StatementResult>) -> Vec<String> {
    result.map_or_else(Vec::new, |result| {
        result.rows.iter().filter_map(|row| row.first().and_then(Value::text)).map(str::to_owned).collect()
    })
}

/// Answers how many requests are stored, of how many resources, and which resources are at their limit.
pub fn stats(configs: ResourceConfigs, now: Millis) -> Operation {
    let statements =
        [BoundStatement::new(Statement::RateTotal, []), BoundStatement::new(Statement::RateResources, [])];
    Operation::read(statements, move |rows| {
        let total = rows.first().map_or(0.0, |result| result.number(0));
        let calls = names(rows.get(1)).into_iter().map(|resource| call_on(resource, &configs, now)).collect();
        Outcome::Continue(stats_of(calls, total))
    })
    .unbounded()
    .continuing()
}

fn call_on(resource: String, configs: &ResourceConfigs, now: Millis) -> Call {
    Call { limit: configs.get(&resource), resource, now }
}

fn stats_of(calls: Vec<Call>, total: f64) -> Operation {
    let statements: Vec<BoundStatement> = calls.iter().map(Call::usage).collect();
    Operation::read_timed(statements, move |rows, waited| {
        let unique = calls.len() as f64;
        let (mut corrections, mut old, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for (call, result) in calls.into_iter().zip(&rows) {
            let usage = Usage::read(&call, Some(result), waited);
            if call.has_old(&usage) {
                old.push(call.old());
            }
            if usage.count() >= call.limit.limit {
                limited.push(call.resource);
            }
            corrections.extend(usage.corrections);
        }
        let answer = Answer::Record(vec![
            ("totalRequests", Field::Number(total)),
            ("uniqueResources", Field::Number(unique)),
            ("rateLimitedResources", Field::List(limited)),
        ]);
        answer_then(answer, corrections, old)
    })
    .unbounded()
}

/// Removes expired reservations.
fn expire_all_reservations(now: Millis, then: Then) -> Operation {
    let page = |after| BoundStatement::new(Statement::RateReservationsAfter, [after]);
    let remove = move |after, last| {
        vec![BoundStatement::new(Statement::RateExpireAllReservations, [after, last, now.into()])]
    };
    housekeeping::walk(Value::Integer(i64::MIN), page, remove, |last| last, then)
}

/// Corrects all stamps that are later than now.
fn correct_all(now: Millis, then: Then) -> Operation {
    Operation::read_timed([BoundStatement::new(Statement::RateLatestOfAll, [])], move |rows, waited| {
        let latest = stamps::latest(now, waited);
        if rows.first().is_none_or(|result| result.number(0) <= latest) {
            return then();
        }
        let statements = [Statement::RateCorrectAll, Statement::RateCorrectAllReservations];
        let statements = statements.map(|statement| BoundStatement::new(statement, [now, latest].map(Value::from)));
        let go_on = move |rows: Results| {
            let may_be_more = rows.iter().any(|result| result.changes >= STEP_ROWS);
            // A trigger may set stamps back to what they were.
            if may_be_more && !housekeeping::has_fired(&rows) {
                Outcome::Continue(correct_all(now, then))
            } else {
                then()
            }
        };
        Outcome::Continue(Operation::write(statements, go_on).unbounded().continuing())
    })
    .unbounded()
    .continuing()
}

/// Removes the requests that are `old`, of all resources, and expired reservations.
pub(super) fn cleanup_old(
    old: impl Fn(String) -> OldRequests + Send + 'static,
    now: Millis,
    then: Then,
) -> Operation {
    let then: Then = Box::new(move || Outcome::Continue(expire_all_reservations(now, then)));
    let remove_old = move || Outcome::Continue(housekeeping::remove_all_old(Value::from(""), old, then));
    correct_all(now, Box::new(remove_old))
}

/// Removes some requests that have left their windows, oldest first: a handful of pages.
pub fn remove_oldest(configs: ResourceConfigs, now: Millis) -> Operation {
    housekeeping::remove_oldest(move |resource| call_on(resource, &configs, now).old(), |_| Vec::new())
}

/// Removes what has left the windows of all resources.
pub fn cleanup(configs: ResourceConfigs, now: Millis) -> Operation {
    cleanup_old(move |resource| call_on(resource, &configs, now).old(), now, housekeeping::done())
}
