//! The adaptive rate limiter (docs/api.md, "SqliteAdaptiveRateLimitStore"): one limit, divided between users and
//! background work by [`capacity`](super::capacity) from the history in the database, which all processes share.

use std::fmt;
use std::sync::Arc;

use super::bookings::{self, ClassShare, Ticket};
use super::capacity::{self, Activity, Capacity};
use super::cooldowns;
use super::housekeeping::{self, BOUNDED_ROWS, OldRequests, Then, answer_then};
use super::operation::{Answer, BoundStatement, Field, Operation, Outcome, Results, StatementResult, Statements};
use super::options::{AdaptiveConfig, RateLimitConfig, Reservations, ResourceConfigs, SharedLimits};
use super::rate_limit::{
    AdmissionStatement, admit as admit_if_free, cleanup_old, corrections, forget, forget_all, names, next_at,
    nth_newest_expiry, release, reservation, reset_time, resource_record, until_left, wait_for,
};
use super::spacing::{self, Found, Spacing};
use super::stamps;
use super::statements::Statement;
use super::value::{Millis, Value};

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    User,
    /// Nobody does.
    Background,
}

impl Priority {
    /// The text stored and given in calls.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::User => "user",
            Priority::Background => "background",
        }
    }
}

/// The divisions a store has computed, by resource, with the time of the computation. Each holds for
/// `recalculation_interval_ms`.
pub trait Divisions: fmt::Debug + Send + Sync {
    /// A resource's.
    fn get(&self, resource: &str) -> Option<(Capacity, Millis)>;

    /// Keeps one.
    fn set(&self, resource: &str, division: (Capacity, Millis));

    /// Forgets a resource's, or all.
    fn forget(&self, resource: Option<&str>);

    /// Forgets those that were computed up to a time.
    fn forget_until(&self, time: Millis);
}

/// One call on a resource: what it is about and when it was made.
#[derive(Clone, Debug)]
pub struct Call {
    pub resource: String,
    pub limit: RateLimitConfig,
    pub shared: SharedLimits,
    /// How limits are divided.
    pub config: AdaptiveConfig,
    /// The store's divisions.
    pub divisions: Arc<dyn Divisions>,
    /// The time of the call.
    pub now: Millis,
}

/// A resource's division and use, as a call found them.
struct View {
    capacity: Capacity,
    /// Requests in the window, and reserved slots, of each class.
    user: f64,
    background: f64,
    recent_user: f64,
    /// What else limits the resource.
    beyond: Found,
    /// Statements that follow from what was read.
    follow_up: Vec<BoundStatement>,
    /// The requests that serve nothing any more, if there are some.
    old: Option<OldRequests>,
    entered_high_activity: bool,
}

impl View {
    /// A request passes while its class is below its share and the whole below the limit. Where the division
    /// leaves users nothing, they may use any free slot: otherwise nobody could ever become active.
    fn admits(&self, priority: Priority, limit: f64) -> bool {
        self.class_admits(priority) && self.user + self.background < limit && self.beyond.is_free()
    }

    /// What a class may use of the limit.
    fn share(&self, priority: Priority) -> f64 {
        match priority {
            Priority::User if self.capacity.user_reserved == 0.0 => f64::INFINITY,
            Priority::User => self.capacity.user_reserved,
            Priority::Background => self.capacity.background_max,
        }
    }

    fn class_admits(&self, priority: Priority) -> bool {
        match priority {
            Priority::User => self.user < self.capacity.user_reserved || self.capacity.user_reserved == 0.0,
            Priority::Background => {
                !self.capacity.background_paused && self.background < self.capacity.background_max
            }
        }
    }

    fn answer(self, answer: Answer) -> Outcome {
        answer_then(answer, self.follow_up, self.old.into_iter().collect())
    }
}

impl Call {
    fn window_start(&self) -> Millis {
        self.now - self.limit.window_ms
    }

    /// Before when a request serves nothing any more: not the window, nor the monitoring, nor the inactivity span.
    fn keep_from(&self) -> Millis {
        self.now
            - spacing::kept_ms(self.limit, self.shared)
                .max(self.config.monitoring_window_ms)
                .max(self.config.sustained_inactivity_threshold_ms)
    }

    /// What limits the resource beside its window, if anything does.
    fn spacing(&self) -> Option<Spacing> {
        Spacing::of(self.limit, self.shared, self.now)
    }

    fn usage(&self) -> BoundStatement {
        let resource = Value::from(self.resource.as_str());
        BoundStatement::new(Statement::AdaptiveUsage, [resource, self.window_start().into(), self.now.into()])
    }

    fn activity(&self) -> BoundStatement {
        let third = self.config.monitoring_window_ms / 3.0;
        BoundStatement::new(
            Statement::AdaptiveActivity,
            [
                Value::from(self.resource.as_str()),
                (self.now - self.config.monitoring_window_ms).into(),
                (self.now - third).into(),
                (self.now - 2.0 * third).into(),
            ],
        )
    }

    /// What serves nothing any more.
    fn old(&self) -> OldRequests {
        OldRequests { resource: self.resource.clone(), before: self.keep_from(), keeps_activity: true }
    }

    /// When a new division is due; one that was computed later than now is, since the clock has been set back.
    fn is_due_at(&self) -> Millis {
        let computed_at = self.divisions.get(&self.resource).map_or(0.0, |(_, at)| at);
        if computed_at > stamps::latest(self.now, 0.0) {
            return self.now;
        }
        computed_at.min(self.now) + self.config.recalculation_interval_ms
    }

    fn is_due(&self) -> bool {
        self.now >= self.is_due_at()
    }

    /// How long until then: the shares may change. At least 1 ms: the caller may not proceed now.
    fn until_due(&self) -> Millis {
        (self.is_due_at() - self.now).max(1.0)
    }

    /// Makes the view from the rows of [`usage`](Self::usage) and, if they were asked for,
    /// [`activity`](Self::activity) and [`Spacing::look`], so many ms after the call. `None`: the division is due and the
    /// activity is not there.
    fn view(
        &self,
        usage: &StatementResult,
        activity: Option<&StatementResult>,
        look: Option<&StatementResult>,
        waited: Millis,
    ) -> Option<View> {
        let mut follow_up = corrections(&self.resource, usage.number(5), self.limit, self.now, waited);
        let mut entered_high_activity = false;
        let capacity = if self.is_due() {
            let activity = activity?;
            let allowed = stamps::latest(self.now, waited);
            if KEPT_ACTIVITY
                .into_iter()
                .filter_map(|column| activity.optional_number(column))
                .any(|at| at > allowed)
            {
                let values = [Value::from(self.resource.as_str()), self.now.into()];
                follow_up.push(BoundStatement::new(Statement::AdaptiveCorrectActivity, values));
            }
            let (read, was_high) = read_activity(activity, self.now);
            let capacity = capacity::divide(&self.config, self.limit.limit, &read, self.now);
            if capacity.high_activity != was_high {
                entered_high_activity = capacity.high_activity;
                let statement = if was_high { Statement::AdaptiveLeaveHigh } else { Statement::AdaptiveEnterHigh };
                follow_up.push(BoundStatement::new(statement, [Value::from(self.resource.as_str())]));
            }
            self.divisions.set(&self.resource, (capacity.clone(), self.now));
            capacity
        } else {
            let computed = self.divisions.get(&self.resource).map(|(capacity, _)| capacity);
            let mut capacity = computed.unwrap_or_else(|| Capacity::initial(self.limit.limit));
            capacity.lower_to(self.limit.limit);
            capacity
        };
        let mut beyond = Found::default();
        if let Some(spacing) = self.spacing() {
            beyond = spacing.found(look, waited);
            follow_up.append(&mut beyond.corrections);
        }
        let has_old = usage.optional_number(2).is_some_and(|oldest| oldest < self.keep_from());
        let recent_user = activity.map_or(0.0, |result| result.number(0));
        Some(View {
            capacity,
            user: usage.number(0) + usage.number(3),
            background: usage.number(1) + usage.number(4),
            recent_user,
            beyond,
            follow_up,
            old: has_old.then(|| self.old()),
            entered_high_activity,
        })
    }

    /// Looks at the resource and goes on with what it sees; reads the activity only when that is `needed` or a
    /// new division is due.
    fn read_usage_then(
        self,
        needed: bool,
        then: impl FnOnce(&Call, View) -> Outcome + Send + 'static,
    ) -> Operation {
        let mut statements = vec![self.usage()];
        let look = self.spacing().map(|spacing| spacing.look(&self.resource));
        let looked_at = look.as_ref().map(|_| statements.len());
        statements.extend(look);
        let is_needed = needed || self.is_due();
        let activity_at = is_needed.then_some(statements.len());
        if is_needed {
            statements.push(self.activity());
        }
        Operation::read_timed(statements, move |rows: Results, waited| {
            let nothing = StatementResult::default();
            let at = |index: Option<usize>| index.and_then(|index| rows.get(index));
            match self.view(rows.first().unwrap_or(&nothing), at(activity_at), at(looked_at), waited) {
                Some(view) => then(&self, view),
                // The division was dropped between the call and its turn.
                None => Outcome::Continue(self.read_usage_then(true, then)),
            }
        })
        .continuing()
    }
}

/// The columns of [`Statement::AdaptiveActivity`] that say when users and background work were last active, as it was kept.
const KEPT_ACTIVITY: [usize; 2] = [5, 6];

/// The activity, and whether the resource is in high-activity mode.
fn read_activity(result: &StatementResult, now: Millis) -> (Activity, bool) {
    let latest = |stored: usize, kept: usize| {
        let stamps = [stored, kept].into_iter().filter_map(|column| result.optional_number(column));
        stamps.reduce(f64::max).map(|at| at.min(now))
    };
    let [user, background] = KEPT_ACTIVITY;
    let activity = Activity {
        recent_user: result.number(0),
        last_third: result.number(1),
        middle_third: result.number(2),
        last_user_at: latest(3, user),
        background_seen: latest(4, background).is_some(),
    };
    (activity, result.number(7) != 0.0)
}

/// Answers whether one more request of a class may be made; reserves a slot if `reservations` are on.
pub fn can_proceed(call: Call, priority: Priority, reservations: Option<&Reservations>) -> Operation {
    if let Some(Reservations { owner, for_ms }) = reservations {
        let reservation = reservation(owner, call.now, *for_ms);
        let statement = AdmissionStatement {
            plain: Statement::AdaptiveReserve,
            spaced: Statement::AdaptiveReserveSpaced,
            expiry: Some(7),
        };
        return admit(call, priority, statement, reservation.to_vec());
    }
    call.read_usage_then(false, move |call, mut view| {
        if priority == Priority::Background && view.capacity.background_paused {
            view.old = None;
        }
        let admitted = view.admits(priority, call.limit.limit);
        view.answer(Answer::Bool(admitted))
    })
}

/// Records a request of a class if one more may be made, in one step; answers whether it did.
pub fn acquire(call: Call, priority: Priority) -> Operation {
    let (plain, spaced) = (Statement::AdaptiveAcquire, Statement::AdaptiveAcquireSpaced);
    let statement = AdmissionStatement { plain, spaced, expiry: None };
    admit(call, priority, statement, Vec::new())
}

/// Undoes what [`acquire`] has recorded at a time, for a caller that has stopped waiting.
pub fn give_back(resource: &str, priority: Priority, at: Millis) -> Operation {
    let values = [resource.into(), at.into(), priority.as_str().into()];
    Operation::command([BoundStatement::new(Statement::AdaptiveReturn, values)])
}

/// Looks how the limit is divided, and runs a statement that records or reserves if a slot is free: it counts
/// again, so that no two processes get the same slot.
fn admit(call: Call, priority: Priority, statement: AdmissionStatement, more: Vec<Value>) -> Operation {
    call.read_usage_then(false, move |call, view| {
        if !view.admits(priority, call.limit.limit) {
            return view.answer(Answer::Bool(false));
        }
        let mut values = vec![Value::from(call.resource.as_str())];
        values.extend([call.now, call.window_start(), call.limit.limit].map(Value::from));
        values.extend([priority.as_str().into(), view.share(priority).into()]);
        values.extend(more);
        let mut statements = view.follow_up;
        statements.extend(view.old.iter().flat_map(|old| old.removal(BOUNDED_ROWS)));
        let resource = call.resource.clone();
        Outcome::Continue(admit_if_free(resource, call.limit, call.shared, call.now, statements, statement, values))
    })
    .rechecking()
}

/// Records a request of a class, in the slot reserved for it if there is one.
pub fn record(resource: &str, priority: Priority, now: Millis, reservations: Option<&Reservations>) -> Operation {
    let class = priority.as_str();
    let mut statements = Vec::with_capacity(2);
    statements.extend(reservations.map(|reservations| release(resource, reservations, Some(class))));
    statements
        .push(BoundStatement::new(Statement::AdaptiveRecord, [Value::from(resource), now.into(), class.into()]));
    Operation::command(statements)
}

/// The members of a status that say how a limit is divided.
fn division(view: &View) -> Field {
    let Capacity { user_reserved, background_max, background_paused, ref reason, .. } = view.capacity;
    Field::Record(vec![
        ("userReserved", Field::Number(user_reserved)),
        ("backgroundMax", Field::Number(background_max)),
        ("backgroundPaused", Field::Bool(background_paused)),
        ("recentUserActivity", Field::Number(view.recent_user)),
        ("reason", Field::Text(reason.clone())),
    ])
}

/// Answers what remains of a resource's limit, and how it is divided; where more than its window limits it, also when the next
/// request may be made, if shares leave room for it.
pub fn status(call: Call) -> Operation {
    call.read_usage_then(true, |call, view| {
        let Capacity { user_reserved, background_max, .. } = view.capacity;
        let remaining = (user_reserved - view.user) + (background_max - view.background);
        let fields = vec![
            ("remaining", Field::Number(remaining.max(0.0))),
            ("resetTime", reset_time(call.now, call.limit)),
            ("limit", Field::Number(call.limit.limit)),
            ("adaptive", division(&view)),
        ];
        if call.spacing().is_none() {
            return view.answer(Answer::Record(fields));
        }
        let now = call.now;
        find_wait(call, view, None, move |wait, follow_up, old| {
            let mut fields = fields;
            fields.push(next_at(now, wait));
            answer_then(Answer::Record(fields), follow_up, old)
        })
    })
}

/// Answers how long until a request of a class may be made, in ms: 0 when it may now.
pub fn wait_time(call: Call, priority: Priority) -> Operation {
    if call.limit.limit == 0.0 {
        return Operation::read(Statements::new(), move |_| Outcome::Answer(wait_for(call.limit.window_ms)));
    }
    call.read_usage_then(false, move |call, view| {
        find_wait(call, view, Some(priority), |wait, follow_up, old| answer_then(wait_for(wait), follow_up, old))
    })
}

/// Finds how long until a request of a class, or of any as far as shares go, may be made, in ms: 0 when it may now. Answers what
/// follows from the view, too.
fn find_wait(
    call: &Call,
    view: View,
    priority: Option<Priority>,
    then: impl FnOnce(Millis, Vec<BoundStatement>, Vec<OldRequests>) -> Outcome + Send + 'static,
) -> Outcome {
    let RateLimitConfig { limit, window_ms, .. } = call.limit;
    let now = call.now;
    let until_due = call.until_due();
    let class_blocked = priority.is_some_and(|priority| !view.class_admits(priority));
    let total_blocked = view.user + view.background >= limit;
    let all_blocked = view.beyond.is_full;
    let share = priority.map_or(limit, |priority| match priority {
        Priority::User => view.capacity.user_reserved,
        Priority::Background => view.capacity.background_max,
    });
    let is_paused = view.capacity.background_paused && priority == Some(Priority::Background);
    let View { beyond, follow_up, old, .. } = view;
    let old: Vec<OldRequests> = old.into_iter().collect();
    if class_blocked && (share == 0.0 || is_paused) {
        // No expiry frees a slot; only a new division can.
        return then(until_due, follow_up, old);
    }
    if !class_blocked && !total_blocked && !all_blocked {
        return then(beyond.wait, follow_up, old);
    }
    let mut of_class = nth_newest_expiry(&call.resource, share, window_ms, now);
    of_class.push(priority.map(Priority::as_str).into());
    let of_class = BoundStatement::new(Statement::AdaptiveNthNewestExpiry, of_class);
    let of_whole = nth_newest_expiry(&call.resource, limit, window_ms, now);
    let of_whole = BoundStatement::new(Statement::RateNthNewestExpiryReserved, of_whole);
    let of_all = call.spacing().filter(|_| all_blocked).map(|spacing| spacing.first_to_leave());
    let statements = Statements::from_iter([of_class, of_whole].into_iter().chain(of_all));
    Outcome::Continue(Operation::read(statements, move |rows| {
        let wait = |index: usize| until_left(rows.get(index), now);
        let class_wait = if class_blocked { wait(0) } else { None };
        let total_wait = if total_blocked { wait(1) } else { None };
        let all_wait = if all_blocked { wait(2) } else { None };
        let own = class_wait.into_iter().chain(total_wait).reduce(f64::max);
        // A share alone stands in the way until the next division at most.
        let own = match own {
            Some(own) if total_blocked || !class_blocked => own,
            Some(own) => own.min(until_due),
            None if class_blocked || total_blocked => until_due,
            None => 0.0,
        };
        then(own.max(all_wait.unwrap_or(0.0)).max(beyond.wait), follow_up, old)
    }))
}

/// Books the next slot of a class for a caller that was refused, and answers how long until then, in ms. Where only a new division
/// can make one, it books none.
pub fn book_wait(call: Call, priority: Priority, reservations: &Reservations, ticket: &Ticket) -> Operation {
    if call.limit.limit == 0.0 || call.shared.config.limit == 0.0 {
        return wait_time(call, priority);
    }
    let (reservations, ticket) = (reservations.clone(), ticket.clone());
    call.read_usage_then(false, move |call, view| {
        let share = view.share(priority);
        if share == 0.0 || view.capacity.background_paused && priority == Priority::Background {
            return view.answer(wait_for(call.until_due()));
        }
        let spacing = Spacing { limit: call.limit, shared: call.shared, now: call.now };
        let class = ClassShare { class: priority.as_str(), share };
        Outcome::Continue(bookings::book(&call.resource, spacing, &reservations, &ticket, Some(class)))
    })
}

/// Forgets a resource's requests and activity.
pub fn reset(resource: &str, shared: SharedLimits, now: Millis, divisions: Arc<dyn Divisions>) -> Operation {
    let resource = resource.to_owned();
    let mut statements = forget(&resource, shared, now);
    statements.push(BoundStatement::new(Statement::AdaptiveForget, [Value::from(resource.as_str())]));
    Operation::write(statements, move |_| {
        divisions.forget(Some(&resource));
        Outcome::Answer(Answer::Undefined)
    })
    .unbounded()
}

/// Forgets every resource, and every cooldown.
pub fn clear(divisions: Arc<dyn Divisions>) -> Operation {
    let mut statements = forget_all();
    statements.extend(
        [Statement::AdaptiveForgetAll, Statement::AdaptiveForgetTotals]
            .map(|statement| BoundStatement::new(statement, [])),
    );
    Operation::write(statements, move |_| {
        divisions.forget(None);
        Outcome::Answer(Answer::Undefined)
    })
    .unbounded()
}

/// What a call on every resource needs.
#[derive(Clone, Debug)]
pub struct CallOnAll {
    /// The limits.
    pub configs: ResourceConfigs,
    /// How limits are divided.
    pub config: AdaptiveConfig,
    /// The store's divisions.
    pub divisions: Arc<dyn Divisions>,
    /// The time of the call.
    pub now: Millis,
}

impl CallOnAll {
    /// Before when a resource must have been active last to be forgotten.
    fn unused_before(&self) -> Millis {
        self.now - self.config.monitoring_window_ms.max(self.config.sustained_inactivity_threshold_ms)
    }

    fn on(&self, resource: String) -> Call {
        Call {
            limit: self.configs.get(&resource),
            shared: self.configs.shared,
            resource,
            config: self.config,
            divisions: self.divisions.clone(),
            now: self.now,
        }
    }
}

/// Answers how many requests are stored, of how many resources, which resources have no slot for background
/// work, and the metrics of the division over all resources.
pub fn stats(call: CallOnAll) -> Operation {
    let statements = vec![
        BoundStatement::new(Statement::RateTotal, []),
        BoundStatement::new(Statement::RateResources, []),
        BoundStatement::new(Statement::AdaptiveActivations, []),
    ];
    Operation::read(statements, move |rows| {
        let number = |index: usize| rows.get(index).map_or(0.0, |result: &StatementResult| result.number(0));
        let calls = names(rows.get(1)).into_iter().map(|resource| call.on(resource)).collect();
        Outcome::Continue(stats_of(calls, number(0), number(2)))
    })
    .unbounded()
    .continuing()
}

fn stats_of(calls: Vec<Call>, total: f64, mut activations: f64) -> Operation {
    let statements: Vec<BoundStatement> = calls.iter().flat_map(|call| [call.usage(), call.activity()]).collect();
    Operation::read_timed(statements, move |rows, waited| {
        let unique = calls.len() as f64;
        let (mut user_activity, mut background_used, mut background_max) = (0.0, 0.0, 0.0);
        let (mut follow_up, mut old, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for (call, read) in calls.into_iter().zip(rows.chunks(2)) {
            let [usage, activity] = read else { break };
            let Some(view) = call.view(usage, Some(activity), None, waited) else {
                break;
            };
            user_activity += view.recent_user;
            background_used += view.background;
            background_max += view.capacity.background_max;
            activations += f64::from(u8::from(view.entered_high_activity));
            if !view.admits(Priority::Background, call.limit.limit) {
                limited.push(call.resource);
            }
            follow_up.extend(view.follow_up);
            old.extend(view.old);
        }
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let answer = Answer::Record(vec![
            ("totalRequests", Field::Number(total)),
            ("uniqueResources", Field::Number(unique)),
            ("rateLimitedResources", Field::List(limited)),
            (
                "adaptiveMetrics",
                Field::Record(vec![
                    ("averageUserActivity", Field::Number(share(user_activity, unique))),
                    ("backgroundUtilization", Field::Number(share(background_used, background_max).min(1.0))),
                    ("priorityModeActivations", Field::Number(activations)),
                ]),
            ),
        ]);
        answer_then(answer, follow_up, old)
    })
    .unbounded()
}

/// Removes the requests of all resources that serve nothing any more, and what is kept of resources that have none.
pub fn cleanup(call: CallOnAll) -> Operation {
    let CallOnAll { config, now, .. } = call;
    // A new one is due.
    call.divisions.forget_until(now - config.recalculation_interval_ms);
    let before = call.unused_before();
    let then: Then = Box::new(move || Outcome::Continue(forget_unused(before)));
    let configs = call.configs.clone();
    cleanup_old(&configs, move |resource| call.on(resource).old(), now, then)
}

/// Forgets all resources that nobody uses.
fn forget_unused(before: Millis) -> Operation {
    let page = |from| BoundStatement::new(Statement::AdaptiveResourcesFrom, [from]);
    let remove = move |first, last| forget_between(first, last, before);
    housekeeping::walk(Value::from(""), page, remove, housekeeping::next_text, housekeeping::done())
}

/// The statements that forget the resources between two names that have neither requests nor reservations, and were last active
/// before a time. How often they entered high-activity mode still counts.
fn forget_between(first: Value, last: Value, before: Millis) -> Vec<BoundStatement> {
    let values = [first, last, before.into()];
    let statements = [Statement::AdaptiveKeepTotals, Statement::AdaptiveForgetUnused];
    statements.map(|statement| BoundStatement::new(statement, values.clone())).to_vec()
}

/// Removes some requests that serve nothing any more, oldest first, and what is kept of resources that have no other: a handful
/// of pages.
pub fn remove_oldest(call: CallOnAll) -> Operation {
    let before = call.unused_before();
    housekeeping::remove_oldest(
        move |resource| call.on(resource).old(),
        move |name| forget_between(name.into(), name.into(), before),
    )
}

/// Answers which resources have requests in their windows or a cooldown, how many, and what limits them.
pub fn list_resources(call: CallOnAll) -> Operation {
    let statements = vec![BoundStatement::new(Statement::RateResources, []), cooldowns::all(call.now)];
    Operation::read(statements, move |rows| {
        let cooldowns = cooldowns::lasting(rows.get(1));
        let names = cooldowns::with_resources(&cooldowns, names(rows.first()));
        let calls: Vec<Call> = names.into_iter().map(|resource| call.on(resource)).collect();
        let statements: Vec<BoundStatement> =
            calls.iter().flat_map(|call| [call.usage(), call.activity()]).collect();
        Outcome::Continue(
            Operation::read_timed(statements, move |rows, waited| {
                let (mut records, mut follow_up) = (Vec::new(), Vec::new());
                for (call, read) in calls.into_iter().zip(rows.chunks(2)) {
                    let [usage, activity] = read else { break };
                    let Some(view) = call.view(usage, Some(activity), None, waited) else { break };
                    let count = usage.number(0) + usage.number(1);
                    let cooldown = cooldowns.get(&call.resource).copied();
                    if let Some(mut record) = resource_record(&call.resource, count, call.limit, cooldown) {
                        record.push(("adaptive", division(&view)));
                        records.push(record);
                    }
                    follow_up.extend(view.follow_up);
                }
                answer_then(Answer::Records(records), follow_up, Vec::new())
            })
            .unbounded(),
        )
    })
    .unbounded()
    .continuing()
}
