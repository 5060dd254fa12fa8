//! The sliding-window rate limiter (docs/api.md, "SQLiteRateLimitStore"): a request counts while it is at most
//! `window_ms` old, a slot reserved for one until it is recorded or the reservation expires, and one more may be made while fewer than
//! `limit` count.

use smallvec::smallvec;

use super::bookings::{self, Ticket};
use super::cooldowns;
use super::housekeeping::{self, BOUNDED_ROWS, OldRequests, Then, answer_then};
use super::operation::{Answer, BoundStatement, Field, Operation, Outcome, Results, StatementResult, Statements};
use super::options::{RateLimitConfig, Reservations, ResourceConfigs, SharedLimits};
use super::settings;
use super::spacing::{self, Found, Spacing, nth_newest_offset};
use super::stamps;
use super::statements::{STEP_ROWS, Statement};
use super::value::{LAST_TIME, Millis, Value};

/// One call on a resource.
#[derive(Clone, Debug)]
pub struct Call {
    pub resource: String,
    pub limit: RateLimitConfig,
    pub shared: SharedLimits,
    /// The time of the call.
    pub now: Millis,
}

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
    /// What else limits the resource.
    beyond: Found,
    /// What corrects stamps that are later than now, if there are some.
    corrections: Vec<BoundStatement>,
}

impl Usage {
    /// From the rows of [`Call::usage`], and of [`Spacing::look`] if they were asked for.
    fn read(call: &Call, rows: &[StatementResult], waited: Millis) -> Self {
        let row = rows.first().and_then(StatementResult::first).unwrap_or_default();
        let number = |column: usize| row.get(column).and_then(Value::number);
        let latest = number(3).unwrap_or_default();
        let mut corrections = corrections(&call.resource, latest, call.limit, call.now, waited);
        let mut beyond = Found::default();
        if let (Some(spacing), Some(look)) = (call.spacing(), rows.get(1)) {
            beyond = spacing.found(Some(look), waited);
            corrections.append(&mut beyond.corrections);
        }
        Usage {
            recorded: number(0).unwrap_or_default(),
            oldest: number(1),
            reserved: number(2).unwrap_or_default(),
            beyond,
            corrections,
        }
    }

    fn count(&self) -> f64 {
        self.recorded + self.reserved
    }

    /// Whether one more request may be made.
    fn is_free(&self, limit: RateLimitConfig) -> bool {
        self.count() < limit.limit && self.beyond.is_free()
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

    /// What limits the resource beside its window, if anything does.
    fn spacing(&self) -> Option<Spacing> {
        Spacing::of(self.limit, self.shared, self.now)
    }

    /// All that is to be read before a request is made.
    fn look(&self) -> Statements {
        let mut statements: Statements = smallvec![self.usage()];
        statements.extend(self.spacing().map(|spacing| spacing.look(&self.resource)));
        statements
    }

    /// Before when a request counts for nothing any more.
    fn keep_from(&self) -> Millis {
        self.now - spacing::kept_ms(self.limit, self.shared)
    }

    /// Whether requests are stored that count for nothing any more.
    fn has_old(&self, usage: &Usage) -> bool {
        usage.oldest.is_some_and(|oldest| oldest < self.keep_from())
    }

    /// Those.
    fn old(&self) -> OldRequests {
        OldRequests { resource: self.resource.clone(), before: self.keep_from(), keeps_activity: false }
    }

    /// The answer, and then the correction of stamps and the removal of what has left the window.
    fn answer(&self, usage: Usage, answer: Answer) -> Outcome {
        let old = self.has_old(&usage).then(|| self.old());
        answer_then(answer, usage.corrections, old.into_iter().collect())
    }

    /// The parameters of a statement that records or reserves if a slot is free.
    fn admission(&self) -> Vec<Value> {
        vec![self.resource(), self.now.into(), self.window_start().into(), self.limit.limit.into()]
    }

    /// Runs such a statement, having removed what no longer counts.
    fn admit(self, statement: AdmissionStatement, values: Vec<Value>) -> Operation {
        let Call { ref resource, limit, shared, now } = self;
        admit(resource.clone(), limit, shared, now, self.old().removal(BOUNDED_ROWS), statement, values)
    }

    /// Finds how long until a request may be made, in ms: 0 when it may now.
    fn find_wait(self, then: impl FnOnce(Call, Usage, Millis) -> Outcome + Send + 'static) -> Operation {
        Operation::read_timed(self.look(), move |rows, waited| {
            let usage = Usage::read(&self, &rows, waited);
            let RateLimitConfig { limit, window_ms, .. } = self.limit;
            if limit == 0.0 {
                return then(self, usage, window_ms);
            }
            let is_full = usage.count() >= limit;
            let spacing = self.spacing().filter(|_| usage.beyond.is_full);
            if !is_full && spacing.is_none() {
                let wait = usage.beyond.wait;
                return then(self, usage, wait);
            }
            let statement = if usage.reserved > 0.0 {
                Statement::RateNthNewestExpiryReserved
            } else {
                Statement::RateNthNewestExpiry
            };
            let values = nth_newest_expiry(&self.resource, limit, window_ms, self.now);
            let of_own = is_full.then(|| BoundStatement::new(statement, values));
            let of_all = spacing.map(|spacing| spacing.first_to_leave());
            let statements = Statements::from_iter(of_own.into_iter().chain(of_all));
            Outcome::Continue(Operation::read(statements, move |rows| {
                let wait = rows.iter().filter_map(|result| until_left(Some(result), self.now));
                let wait = wait.fold(usage.beyond.wait, f64::max);
                then(self, usage, wait)
            }))
        })
        .continuing()
    }
}

/// A statement that records or reserves if a slot is free, and the one that does where more than a window limits it.
pub(super) struct AdmissionStatement {
    pub plain: Statement,
    pub spaced: Statement,
    /// Which of its values is when the reservation expires, if it makes one.
    pub expiry: Option<usize>,
}

/// Runs a statement that records or reserves if a slot is free, after others, and answers whether it did so. Corrects stamps
/// that are later than now.
pub(super) fn admit(
    resource: String,
    limit: RateLimitConfig,
    shared: SharedLimits,
    now: Millis,
    first: Vec<BoundStatement>,
    statement: AdmissionStatement,
    mut values: Vec<Value>,
) -> Operation {
    let name = || Value::from(resource.as_str());
    let spacing = Spacing::of(limit, shared, now);
    let latest = BoundStatement::new(Statement::RateLatest, [name(), (now - limit.window_ms).into(), now.into()]);
    let mut statements = vec![latest];
    statements.extend(spacing.map(|spacing| spacing.look(&resource)));
    statements.extend(first);
    let AdmissionStatement { plain, spaced, expiry } = statement;
    let statement = match spacing {
        Some(spacing) => {
            statements.extend(spacing.tidy(&resource));
            values.extend(spacing.values());
            spaced
        }
        None => {
            statements.push(BoundStatement::new(Statement::RateExpireReservations, [name(), now.into()]));
            plain
        }
    };
    statements.push(BoundStatement::new(statement, values));
    let operation = Operation::write_timed(statements, move |rows, waited| {
        let admitted = rows.last().is_some_and(|result| result.first().is_some());
        let latest = rows.first().map_or(0.0, |result| result.number(0));
        let mut corrections = corrections(&resource, latest, limit, now, waited);
        if let Some(spacing) = spacing {
            corrections.extend(spacing.found(rows.get(1), waited).corrections);
        }
        answer_then(Answer::Bool(admitted), corrections, Vec::new())
    });
    match expiry {
        Some(value) => operation.expiring(statement, value),
        None => operation,
    }
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
        return Operation::read_timed(call.look(), move |rows, waited| {
            let usage = Usage::read(&call, &rows, waited);
            let is_free = usage.is_free(call.limit);
            call.answer(usage, Answer::Bool(is_free))
        });
    };
    let mut values = call.admission();
    values.extend(reservation(owner, call.now, *for_ms));
    let statement =
        AdmissionStatement { plain: Statement::RateReserve, spaced: Statement::RateReserveSpaced, expiry: Some(5) };
    call.admit(statement, values)
}

/// The last parameters of a statement that reserves: for whom, until when, since when.
pub(super) fn reservation(owner: &str, now: Millis, for_ms: Millis) -> [Value; 3] {
    [owner.into(), (now + for_ms).into(), now.into()]
}

/// Records a request if one more may be made, in one step; answers whether it did.
pub fn acquire(call: Call) -> Operation {
    let values = call.admission();
    let (plain, spaced) = (Statement::RateAcquire, Statement::RateAcquireSpaced);
    call.admit(AdmissionStatement { plain, spaced, expiry: None }, values)
}

/// Undoes what [`acquire`] has recorded at a time, for a caller that has stopped waiting.
pub fn give_back(resource: &str, at: Millis) -> Operation {
    Operation::command([BoundStatement::new(Statement::RateReturn, [resource.into(), at.into()])])
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

/// Answers what remains of a resource's limit, and, where more than its window limits it, when the next request may be made.
pub fn status(call: Call) -> Operation {
    let answer = |call: Call, usage: Usage, wait: Option<Millis>| {
        let RateLimitConfig { limit, .. } = call.limit;
        let mut fields = vec![
            ("remaining", Field::Number((limit - usage.count()).max(0.0))),
            ("resetTime", reset_time(call.now, call.limit)),
            ("limit", Field::Number(limit)),
        ];
        fields.extend(wait.map(|wait| next_at(call.now, wait)));
        call.answer(usage, Answer::Record(fields))
    };
    if call.spacing().is_some() {
        return call.find_wait(move |call, usage, wait| answer(call, usage, Some(wait)));
    }
    Operation::read_timed([call.usage()], move |rows, waited| {
        let usage = Usage::read(&call, &rows, waited);
        answer(call, usage, None)
    })
}

/// The member of a status that says when the next request may be made.
pub(super) fn next_at(now: Millis, wait: Millis) -> (&'static str, Field) {
    ("nextAt", Field::Time((now + wait).clamp(-LAST_TIME, LAST_TIME)))
}

/// The parameters of a statement that finds when a count gets below `limit`: when the `limit`th newest leaves.
pub(super) fn nth_newest_expiry(resource: &str, limit: f64, window_ms: Millis, now: Millis) -> Vec<Value> {
    vec![Value::from(resource), (now - window_ms).into(), nth_newest_offset(limit), window_ms.into(), now.into()]
}

/// How long until then; `None` if there is no such request. At least 1 ms: the caller may not proceed now.
pub(super) fn until_left(result: Option<&StatementResult>, now: Millis) -> Option<Millis> {
    result.and_then(|result| result.optional_number(0)).map(|at| (at - now).max(1.0))
}

/// Answers how long until a request may be made, in ms: 0 when it may now.
pub fn wait_time(call: Call) -> Operation {
    let RateLimitConfig { limit, window_ms, .. } = call.limit;
    if limit == 0.0 {
        return Operation::read(Statements::new(), move |_| Outcome::Answer(wait_for(window_ms)));
    }
    call.find_wait(|call, usage, wait| call.answer(usage, wait_for(wait)))
}

/// Books the next slot for a caller that was refused, and answers how long until then, in ms.
pub fn book_wait(call: Call, reservations: &Reservations, ticket: &Ticket) -> Operation {
    let Call { ref resource, limit, shared, now } = call;
    if limit.limit == 0.0 || shared.config.limit == 0.0 {
        return wait_time(call);
    }
    bookings::book(resource, Spacing { limit, shared, now }, reservations, ticket, None)
}

/// Forgets a resource's requests. Where all resources share a limit, it is kept when its slots were taken.
pub fn reset(resource: &str, shared: SharedLimits, now: Millis) -> Operation {
    Operation::command(forget(resource, shared, now)).unbounded()
}

/// The statements that do.
pub(super) fn forget(resource: &str, shared: SharedLimits, now: Millis) -> Vec<BoundStatement> {
    let mut statements = Spacing { limit: RateLimitConfig::NONE, shared, now }.keep(resource);
    statements.extend(
        [Statement::RateReset, Statement::RateResetReservations]
            .map(|statement| BoundStatement::new(statement, [Value::from(resource)])),
    );
    statements
}

/// Forgets every request, and every cooldown.
pub fn clear() -> Operation {
    Operation::command(forget_all()).unbounded()
}

/// The statements that do.
pub(super) fn forget_all() -> Vec<BoundStatement> {
    [Statement::RateClear, Statement::RateClearReservations, Statement::CooldownClearAll]
        .map(|statement| BoundStatement::new(statement, []))
        .to_vec()
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
        vec![BoundStatement::new(Statement::RateTotal, []), BoundStatement::new(Statement::RateResources, [])];
    Operation::read(statements, move |rows| {
        let total = rows.first().map_or(0.0, |result| result.number(0));
        let calls = names(rows.get(1)).into_iter().map(|resource| call_on(resource, &configs, now)).collect();
        Outcome::Continue(stats_of(calls, total))
    })
    .unbounded()
    .continuing()
}

fn call_on(resource: String, configs: &ResourceConfigs, now: Millis) -> Call {
    Call { limit: configs.get(&resource), shared: configs.shared, resource, now }
}

fn stats_of(calls: Vec<Call>, total: f64) -> Operation {
    let statements: Vec<BoundStatement> = calls.iter().map(Call::usage).collect();
    Operation::read_timed(statements, move |rows, waited| {
        let unique = calls.len() as f64;
        let (mut corrections, mut old, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for (call, result) in calls.into_iter().zip(&rows) {
            let usage = Usage::read(&call, std::slice::from_ref(result), waited);
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

/// Removes expired reservations that no interval needs.
fn expire_all_reservations(needed_from: Millis, now: Millis, then: Then) -> Operation {
    let page = |after| BoundStatement::new(Statement::RateReservationsAfter, [after]);
    let remove = move |after, last| {
        let values = [after, last, now.into(), needed_from.into()];
        vec![BoundStatement::new(Statement::RateExpireAllReservations, values)]
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
        Outcome::Continue(Operation::write(Vec::from(statements), go_on).unbounded().continuing())
    })
    .unbounded()
    .continuing()
}

/// Removes the requests that are `old`, of all resources, expired reservations, and cooldowns that are over.
pub(super) fn cleanup_old(
    configs: &ResourceConfigs,
    old: impl Fn(String) -> OldRequests + Send + 'static,
    now: Millis,
    then: Then,
) -> Operation {
    let needed_from = spacing::needed_from(configs, now);
    let few = vec![spacing::drop_wrong_bookings(now), settings::forget_unused(now)];
    let then: Then = Box::new(move || Outcome::Continue(cooldowns::expire(now, then)));
    let then: Then = Box::new(move || Outcome::Continue(expire_all_reservations(needed_from, now, then)));
    let then: Then = Box::new(move || Outcome::Continue(Operation::write(few, |_| then()).unbounded()));
    let remove_old = move || Outcome::Continue(housekeeping::remove_all_old(Value::from(""), old, then));
    correct_all(now, Box::new(remove_old))
}

/// Removes some requests that have left their windows, oldest first: a handful of pages.
pub fn remove_oldest(configs: ResourceConfigs, now: Millis) -> Operation {
    housekeeping::remove_oldest(move |resource| call_on(resource, &configs, now).old(), |_| Vec::new())
}

/// Removes what has left the windows of all resources.
pub fn cleanup(configs: ResourceConfigs, now: Millis) -> Operation {
    let of_all = configs.clone();
    cleanup_old(&of_all, move |resource| call_on(resource, &configs, now).old(), now, housekeeping::done())
}

/// Answers which resources have requests in their windows or a cooldown, how many, and what limits them.
pub fn list_resources(configs: ResourceConfigs, now: Millis) -> Operation {
    let statements = vec![BoundStatement::new(Statement::RateResources, []), cooldowns::all(now)];
    Operation::read(statements, move |rows| {
        let cooldowns = cooldowns::lasting(rows.get(1));
        let names = cooldowns::with_resources(&cooldowns, names(rows.first()));
        let calls: Vec<Call> = names.into_iter().map(|resource| call_on(resource, &configs, now)).collect();
        let statements: Vec<BoundStatement> = calls.iter().map(Call::usage).collect();
        Outcome::Continue(
            Operation::read_timed(statements, move |rows, waited| {
                let (mut records, mut corrections) = (Vec::new(), Vec::new());
                for (call, result) in calls.into_iter().zip(&rows) {
                    let usage = Usage::read(&call, std::slice::from_ref(result), waited);
                    let cooldown = cooldowns.get(&call.resource).copied();
                    records.extend(resource_record(&call.resource, usage.recorded, call.limit, cooldown));
                    corrections.extend(usage.corrections);
                }
                answer_then(Answer::Records(records), corrections, Vec::new())
            })
            .unbounded(),
        )
    })
    .unbounded()
    .continuing()
}

/// What is listed of a resource, if anything.
pub(super) fn resource_record(
    resource: &str,
    count: f64,
    limit: RateLimitConfig,
    cooldown: Option<Millis>,
) -> Option<Vec<(&'static str, Field)>> {
    if count == 0.0 && cooldown.is_none() {
        return None;
    }
    let mut record = vec![
        ("resource", Field::Text(resource.to_owned())),
        ("requestCount", Field::Number(count)),
        ("limit", Field::Number(limit.limit)),
        ("windowMs", Field::Number(limit.window_ms)),
    ];
    record.extend(cooldown.map(|until| ("cooldownUntil", Field::Stamp(until))));
    Some(record)
}
