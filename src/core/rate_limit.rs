//! The sliding-window rate limiter (docs/api.md, "SQLiteRateLimitStore"): a request counts while it is at most
//! `window_ms` old, a slot reserved for one until it is recorded or the reservation expires, and one more may be made while fewer than
//! `limit` count.

use super::housekeeping::{self, BOUNDED_ROWS, OldRequests, Then, answer_then};
use super::operation::{Answer, BoundStatement, Field, Operation, Outcome, Results, StatementResult};
use super::options::{RateLimitConfig, ResourceConfigs};
use super::statements::Statement;
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

/// The last time that a `Date` of JavaScript's can be.
const LAST_TIME: Millis = 8.64e15;

/// The longest that a timer of JavaScript's can wait: one set for longer would fire at once.
const LONGEST_WAIT: Millis = 2_147_483_647.0;

/// When the window that begins now has passed.
pub(super) fn reset_time(now: Millis, limit: RateLimitConfig) -> Field {
    Field::Time((now + limit.window_ms).min(LAST_TIME))
}

/// Answers a time to wait.
pub(super) fn wait_for(wait: Millis) -> Answer {
    Answer::Number(wait.min(LONGEST_WAIT))
}

struct Usage {
    recorded: f64,
    reserved: f64,
    oldest: Option<Millis>,
}

impl Usage {
    fn read(result: Option<&StatementResult>) -> Self {
        let number = |column| result.map_or(0.0, |result| result.number(column));
        Usage {
            recorded: number(0),
            oldest: result.and_then(|result| result.optional_number(1)),
            reserved: number(2),
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

    /// The answer, and then the removal of what has left the window.
    fn answer(&self, usage: &Usage, answer: Answer) -> Outcome {
        answer_then(answer, Vec::new(), self.has_old(usage).then(|| self.old()).into_iter().collect())
    }

    fn read_usage_then(self, answer: impl FnOnce(&Call, &Usage) -> Answer + Send + 'static) -> Operation {
        Operation::read([self.usage()], move |rows| {
            let usage = Usage::read(rows.first());
            let answer = answer(&self, &usage);
            self.answer(&usage, answer)
        })
    }

    /// The parameters of a statement that records or reserves if a slot is free.
    fn admission(&self) -> Vec<Value> {
        vec![self.resource(), self.now.into(), self.window_start().into(), self.limit.limit.into()]
    }

    /// Runs such a statement, having removed what no longer counts.
    fn admit(&self, statement: BoundStatement) -> Operation {
        let mut statements = self.old().removal(BOUNDED_ROWS);
        statements.extend([expire_reservations(&self.resource, self.now), statement]);
        Operation::write(statements, admitted)
    }
}

/// The statement that removes a resource's expired reservations.
pub(super) fn expire_reservations(resource: &str, now: Millis) -> BoundStatement {
    BoundStatement::new(Statement::RateExpireReservations, [Value::from(resource), now.into()])
}

/// Answers whether the statement that records or reserves, the last, did so.
pub(super) fn admitted(rows: Results) -> Outcome {
    Outcome::Answer(Answer::Bool(rows.last().is_some_and(|result| result.first().is_some())))
}

/// Answers whether one more request may be made; reserves a slot if `reservations` are on.
pub fn can_proceed(call: Call, reservations: Option<&Reservations>) -> Operation {
    let Some(Reservations { owner, for_ms }) = reservations else {
        return call.read_usage_then(|call, usage| Answer::Bool(usage.count() < call.limit.limit));
    };
    let mut values = call.admission();
    values.extend([Value::from(owner.as_str()), (call.now + for_ms).into()]);
    call.admit(BoundStatement::new(Statement::RateReserve, values))
}

/// Records a request if one more may be made, in one step; answers whether it did.
pub fn acquire(call: &Call) -> Operation {
    call.admit(BoundStatement::new(Statement::RateAcquire, call.admission()))
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
pub(super) fn nth_newest_expiry(resource: &str, start: Millis, limit: f64, window_ms: Millis) -> Vec<Value> {
    let offset = Value::Integer((limit.ceil() - 1.0).max(0.0) as i64);
    vec![Value::from(resource), start.into(), offset, window_ms.into()]
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
    Operation::read([call.usage()], move |rows| {
        let usage = Usage::read(rows.first());
        if usage.count() < limit {
            return call.answer(&usage, Answer::Number(0.0));
        }
        let mut values = nth_newest_expiry(&call.resource, call.window_start(), limit, window_ms);
        let statement = if usage.reserved > 0.0 {
            values.push(call.now.into());
            Statement::RateNthNewestExpiryReserved
        } else {
            Statement::RateNthNewestExpiry
        };
        Outcome::Continue(Operation::read([BoundStatement::new(statement, values)], move |rows| {
            let wait = until_left(rows.first(), call.now).unwrap_or(0.0);
            call.answer(&usage, wait_for(wait))
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
    Operation::read(statements, move |rows| {
        let unique = calls.len() as f64;
        let (mut old, mut limited) = (Vec::new(), Vec::new());
        for (call, result) in calls.into_iter().zip(&rows) {
            let usage = Usage::read(Some(result));
            if call.has_old(&usage) {
                old.push(call.old());
            }
            if usage.count() >= call.limit.limit {
                limited.push(call.resource);
            }
        }
        let answer = Answer::Record(vec![
            ("totalRequests", Field::Number(total)),
            ("uniqueResources", Field::Number(unique)),
            ("rateLimitedResources", Field::List(limited)),
        ]);
        answer_then(answer, Vec::new(), old)
    })
    .unbounded()
}

/// Removes expired reservations.
fn expire_all_reservations(now: Millis) -> Operation {
    let page = |after| BoundStatement::new(Statement::RateReservationsAfter, [after]);
    let remove =
        move |after, last| BoundStatement::new(Statement::RateExpireAllReservations, [after, last, now.into()]);
    housekeeping::walk(Value::Integer(i64::MIN), page, remove, |last| last, housekeeping::done())
}

/// Removes the requests that are `old`, of all resources, and expired reservations.
pub(super) fn cleanup_old(old: impl Fn(String) -> OldRequests + Send + 'static, now: Millis) -> Operation {
    let then: Then = Box::new(move || Outcome::Continue(expire_all_reservations(now)));
    housekeeping::remove_all_old(Value::from(""), old, then)
}

/// Removes what has left the windows of all resources.
pub fn cleanup(configs: ResourceConfigs, now: Millis) -> Operation {
    cleanup_old(move |resource| call_on(resource, &configs, now).old(), now)
}
