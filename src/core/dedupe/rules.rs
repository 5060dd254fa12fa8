//! The deduplication of requests (docs/api.md, "SQLiteDedupeStore").
//!
//! A hash goes through: absent → *claimed* (somebody was told to make the request, by `waitFor`) → *pending*
//! (registered, with a lease while its owner lives) → completed or failed. A claim, a lease and a job each have an
//! end, so nobody waits for the dead.
//!
//! Two clocks: a job's times are the caller's (`now`, which tests fake); leases and claims tell whether a process
//! lives, so they are in system time.

use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;

use crate::core::codec;
use crate::core::error::Error;
use crate::core::housekeeping::{self, Selection, Then};
use crate::core::operation::{
    Answer, BoundStatement, Field, Operation, Outcome, Results, Rows, StatementResult, Statements, Wait,
};
use crate::core::options::{DedupeOptions, OWN_THREAD_LEASE_MS};
use crate::core::stamps;
use crate::core::statements::Statement;
use crate::core::value::{Millis, Value};

/// For how long the lease of a job that is never ended, or a claim, is renewed, in ms, where jobs have no timeout.
pub const LONGEST_RENEWAL_MS: Millis = 300_000.0;

/// How often an owner renews its leases.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(1);

/// The names of errors that are the affair of whoever made the request, and not the request's: it was called off. A
/// `TimeoutError` may be the other side's.
const ABORTS: [&str; 2] = ["AbortError", "CanceledError"];

/// Whether an error of this name says that a request was called off. Whoever waits for it has not called it off: one of them
/// makes it.
pub fn is_abort(name: Option<&str>) -> bool {
    name.is_some_and(|name| ABORTS.contains(&name))
}

/// The error recorded for a job past its time.
const TIMED_OUT: &str = "Job timed out";

/// One call on a hash.
#[derive(Clone, Debug)]
pub struct Call {
    pub hash: String,
    /// The store that calls.
    pub owner: String,
    /// The store's options.
    pub options: DedupeOptions,
    /// The time of the call, by the caller's clock.
    pub now: Millis,
    /// The time of the call, in system time.
    pub system_now: Millis,
    /// Since when the caller has been waiting, if it has.
    pub waiting_since: Option<Millis>,
}

enum State {
    /// The job has ended and answers the call.
    Ended(Box<Outcome>),
    /// There is something to wait for.
    Live(Wait),
    /// Nothing: the caller may make the request.
    Absent,
}

struct Job<'rows> {
    id: &'rows Value,
    status: &'rows str,
    result: &'rows Value,
    error: &'rows Value,
    created_at: Millis,
    updated_at: Millis,
    lease_expires_at: Option<Millis>,
    /// The name of its error, where that was read.
    error_name: Option<&'rows str>,
}

impl<'rows> Job<'rows> {
    fn read(result: Option<&'rows StatementResult>) -> Option<Self> {
        let row = result?.first()?;
        let [id, status, result, error, created_at, updated_at, lease, ..] = row else {
            return None;
        };
        if *id == Value::Null {
            return None;
        }
        Some(Job {
            id,
            status: status.text().unwrap_or_default(),
            result,
            error,
            created_at: created_at.number().unwrap_or_default(),
            updated_at: updated_at.number().unwrap_or_default(),
            lease_expires_at: lease.number(),
            error_name: row.get(9).and_then(Value::text).zip(id.text()).and_then(|(name, id)| name_of(name, id)),
        })
    }

    fn removal(&self, hash: &str) -> BoundStatement {
        BoundStatement::new(Statement::DedupeDelete, [Value::from(hash), self.id.clone()])
    }

    /// Removes a job that is past its time.
    fn forget(&self, hash: &str) -> Operation {
        Operation::command(vec![self.removal(hash), end_lease(hash)]).notifying()
    }

    /// What the job came to. A result that cannot be read counts as none, and the job is removed.
    fn result(&self, hash: &str, null: Answer) -> Outcome {
        if *self.result == Value::Null {
            return Outcome::Answer(Answer::Undefined);
        }
        let removal = self.removal(hash);
        match codec::text(self.result.clone()).map(completed_with) {
            Some(Answer::Null) => Outcome::Answer(null),
            Some(Answer::Json { text, .. }) => Outcome::Answer(Answer::Json { text, unreadable: Some(removal) }),
            Some(answer) => Outcome::Answer(answer),
            None => Outcome::AnswerThen(Answer::Undefined, Operation::command([removal])),
        }
    }
}

/// The name of a job's error, given what is stored, if it is that of this job.
fn name_of<'stored>(stored: &'stored str, job_id: &str) -> Option<&'stored str> {
    stored.strip_prefix(job_id)?.strip_prefix(' ')
}

/// What those get who wait for a job that is completed with a JSON text or a marker.
pub fn completed_with(text: Arc<String>) -> Answer {
    match text.as_str() {
        codec::UNDEFINED => Answer::Undefined,
        codec::NULL => Answer::Null,
        _ => Answer::Json { text, unreadable: None },
    }
}

impl Call {
    fn hash(&self) -> Value {
        Value::from(self.hash.as_str())
    }

    fn job(&self) -> BoundStatement {
        BoundStatement::new(Statement::DedupeJob, [self.hash()])
    }

    /// The job, and a claim.
    fn poll(&self) -> BoundStatement {
        BoundStatement::new(Statement::DedupePoll, [self.hash()])
    }

    /// A claim: the hash, whose it is, until when unless renewed, and the time.
    fn claim(&self) -> [Value; 4] {
        let until = self.system_now + self.options.lease_ms;
        [self.hash(), self.owner.as_str().into(), until.into(), self.system_now.into()]
    }

    /// Whether one of these times of a job, or the expiry of a lease or claim, is later than it may be, so many ms after the
    /// call.
    fn is_later(&self, times: [Option<Millis>; 2], expires_at: Option<Millis>, waited: Millis) -> bool {
        let is_later = |at: Millis| at > stamps::latest(self.now, waited);
        times.into_iter().flatten().any(is_later) || expires_at.is_some_and(|at| at > self.latest_expiry(waited))
    }

    /// How late the lease or claim of any store may expire.
    fn latest_expiry(&self, waited: Millis) -> Millis {
        stamps::latest(self.system_now, waited) + longest_lease(&self.options)
    }

    fn has_met_later(&self, poll: Option<&StatementResult>, waited: Millis) -> bool {
        let time = |column| poll.and_then(|poll| poll.optional_number(column));
        self.is_later([time(4), time(5)], time(6).or(time(7)), waited)
    }

    /// Corrects what is stored under the hash to now: results are gone, leases and claims last for their own length again.
    fn correct(&self, waited: Millis, then: impl FnOnce() -> Outcome + Send + 'static) -> Operation {
        let latest = Value::from(stamps::latest(self.now, waited));
        let lease = [(self.system_now + self.options.lease_ms).into(), self.latest_expiry(waited).into()];
        let statements = vec![
            BoundStatement::new(Statement::DedupeCorrectPending, [self.hash(), self.now.into(), latest.clone()]),
            BoundStatement::new(Statement::DedupeRemoveLater, [self.hash(), latest]),
            BoundStatement::new(Statement::DedupeCorrectLease, [self.hash()].into_iter().chain(lease)),
        ];
        Operation::write(statements, |_| then()).continuing().expiring(Statement::DedupeCorrectLease, 1)
    }

    /// Has the call go on again once it has corrected what a poll has met; `None` if there is nothing to correct. Once: what a
    /// trigger keeps as it is would be met for ever.
    fn correct_first(
        &self,
        poll: Option<&StatementResult>,
        waited: Millis,
        again: fn(Call, bool) -> Operation,
    ) -> Option<Outcome> {
        self.has_met_later(poll, waited).then(|| {
            let call = self.clone();
            Outcome::Continue(self.correct(waited, move || Outcome::Continue(again(call, false))))
        })
    }

    /// An answer, and then a correction if what was read has met something that is later than it may be.
    fn answer_then_correct(&self, answer: Answer, has_met_later: bool, waited: Millis) -> Outcome {
        if has_met_later {
            Outcome::AnswerThen(answer, self.correct(waited, || Outcome::Answer(Answer::Undefined)))
        } else {
            Outcome::Answer(answer)
        }
    }

    fn is_past_its_time(&self, created_at: Millis) -> bool {
        self.options.job_timeout_ms > 0.0 && self.now - created_at >= self.options.job_timeout_ms
    }

    fn is_live(&self, job: &Job<'_>) -> bool {
        job.status == "pending"
            && !self.is_past_its_time(job.created_at)
            && job.lease_expires_at.is_none_or(|at| at > self.system_now)
    }

    /// How long results are served: never longer than a job may take.
    fn result_ttl_ms(&self) -> Millis {
        match self.options.job_timeout_ms {
            timeout if timeout > 0.0 => self.options.result_ttl_ms.min(timeout),
            _ => self.options.result_ttl_ms,
        }
    }

    /// What a poll has found, so many ms after the call.
    fn state(&self, poll: Option<&StatementResult>, waited: Millis) -> State {
        let Some(job) = Job::read(poll) else {
            return self.claim_state(poll);
        };
        let asked_before = self.waiting_since.is_some_and(|since| since <= job.updated_at);
        match job.status {
            "pending" if self.is_live(&job) => State::Live(Wait {
                deadline: (self.options.job_timeout_ms > 0.0)
                    .then_some(job.created_at.min(self.now + waited) + self.options.job_timeout_ms),
                expires_at: job.lease_expires_at,
                owner: job.lease_expires_at.and(owner(poll)),
            }),
            "completed" if asked_before || (self.now - job.updated_at).max(0.0) < self.result_ttl_ms() => {
                // A later call that finds `null` makes the request again, as in 0.2.0.
                let null = if asked_before { Answer::Null } else { Answer::Undefined };
                State::Ended(Box::new(job.result(&self.hash, null)))
            }
            "failed" if asked_before && job.error.text() != Some(TIMED_OUT) && !is_abort(job.error_name) => {
                let message = job.error.text().unwrap_or_default().to_owned();
                let error = Error::JobFailed { message, name: job.error_name.map(str::to_owned) };
                State::Ended(Box::new(Outcome::Answer(Answer::Rejection(error))))
            }
            _ => self.claim_state(poll),
        }
    }

    fn claim_state(&self, poll: Option<&StatementResult>) -> State {
        match poll.and_then(|poll| poll.optional_number(7)) {
            Some(expires_at) if self.options.claim_timeout_ms > 0.0 && expires_at > self.system_now => {
                State::Live(Wait { deadline: None, expires_at: Some(expires_at), owner: owner(poll) })
            }
            _ => State::Absent,
        }
    }
}

/// Whose the lease or claim is that a poll has found.
fn owner(poll: Option<&StatementResult>) -> Option<String> {
    Some(poll?.first()?.get(8)?.text()?.to_owned())
}

/// Answers a served result; waits for a live job or claim; otherwise claims the hash and answers `undefined`. Writes
/// only if it claims.
pub fn wait_for(call: Call) -> Operation {
    poll(call, true)
}

fn poll(call: Call, corrects: bool) -> Operation {
    Operation::read_timed([call.poll()], move |rows, waited| {
        if corrects && let Some(outcome) = call.correct_first(rows.first(), waited, poll) {
            return outcome;
        }
        match call.state(rows.first(), waited) {
            State::Ended(outcome) => *outcome,
            State::Live(wait) => Outcome::Answer(Answer::Wait(wait)),
            State::Absent if call.options.claim_timeout_ms <= 0.0 => Outcome::Answer(Answer::Undefined),
            State::Absent if Job::read(rows.first()).is_some() => Outcome::Continue(claim(call, corrects)),
            State::Absent => Outcome::Continue(claim_new(call, corrects)),
        }
    })
    .continuing()
}

/// Finds out what there is to wait for under each of these hashes; the call is on none of them.
pub fn poll_all(call: Call, hashes: Vec<String>) -> Operation {
    // SQLite's JSON ends a text at a NUL: such hashes are polled one by one.
    let (hashes, others): (Vec<_>, Vec<_>) = hashes.into_iter().partition(|hash| !hash.contains('\0'));
    let list = serde_json::Value::from(hashes.as_slice()).to_string();
    Operation::read_timed([BoundStatement::new(Statement::DedupePollAll, [list.into()])], move |rows, waited| {
        let mut polled: Vec<_> = hashes.into_iter().map(|hash| (hash, None)).collect();
        for row in rows.into_iter().flat_map(|result| result.rows) {
            let index = row.last().and_then(Value::number).unwrap_or_default() as usize;
            let row = StatementResult { rows: smallvec![row], ..StatementResult::default() };
            if call.has_met_later(Some(&row), waited) {
                continue;
            }
            if let (Some((_, wait)), State::Live(live)) = (polled.get_mut(index), call.state(Some(&row), waited)) {
                *wait = Some(live);
            }
        }
        polled.extend(others.into_iter().map(|hash| (hash, None)));
        Outcome::Answer(Answer::Polled(polled))
    })
    .overtaking()
}

/// [`wait_for`] in one operation, which writes: for a call that cannot be carried out at once anyhow.
pub fn wait_for_in_turn(call: Call) -> Operation {
    if call.options.claim_timeout_ms > 0.0 { claim(call, true) } else { wait_for(call) }
}

/// Claims a hash that had no job when it was polled. One statement; if it has one by now, all of [`claim`]'s.
fn claim_new(call: Call, corrects: bool) -> Operation {
    let attempt = BoundStatement::new(Statement::DedupeClaimNew, call.claim());
    Operation::write([attempt], move |rows| match rows.first().and_then(StatementResult::first) {
        Some(_) => Outcome::Answer(Answer::Claimed),
        None => Outcome::Continue(claim(call, corrects)),
    })
    .continuing()
}

fn claim(call: Call, corrects: bool) -> Operation {
    let allowed = [call.now, call.options.job_timeout_ms, call.result_ttl_ms()].map(Value::from);
    let attempt = BoundStatement::new(Statement::DedupeClaim, call.claim().into_iter().chain(allowed));
    // The claim takes the place of a dead owner's lease, by which the job was known to be dead.
    let abandon = BoundStatement::new(
        Statement::DedupeAbandon,
        [call.hash(), TIMED_OUT.into(), call.now.into(), call.system_now.into()],
    );
    Operation::write_timed(vec![abandon, attempt, call.poll()], move |rows, waited| {
        if rows.get(1).is_some_and(|result| result.first().is_some()) {
            return Outcome::Answer(Answer::Claimed);
        }
        if corrects && let Some(outcome) = call.correct_first(rows.get(2), waited, claim) {
            return outcome;
        }
        match call.state(rows.get(2), waited) {
            State::Ended(outcome) => *outcome,
            State::Live(wait) => Outcome::Answer(Answer::Wait(wait)),
            State::Absent => Outcome::Answer(Answer::Undefined),
        }
    })
    .continuing()
}

/// Registers a job under `job_id`, or joins the live one; answers the id of the one that is pending then.
pub fn register(call: Call, job_id: String) -> Operation {
    let statements = vec![
        BoundStatement::new(
            Statement::DedupeRegister,
            [
                call.hash(),
                job_id.as_str().into(),
                call.now.into(),
                call.options.job_timeout_ms.into(),
                call.system_now.into(),
            ],
        ),
        BoundStatement::new(
            Statement::DedupeLease,
            [
                call.hash(),
                job_id.as_str().into(),
                call.owner.as_str().into(),
                (call.system_now + call.options.lease_ms).into(),
            ],
        ),
        BoundStatement::new(Statement::DedupeJobId, [call.hash()]),
    ];
    Operation::write_timed(statements, move |rows, waited| {
        let job = rows.get(2);
        let pending = job.and_then(StatementResult::first).and_then(|row| row.first()?.text().map(str::to_owned));
        let pending = pending.unwrap_or_else(|| job_id.clone());
        let time = |column| job.and_then(|job| job.optional_number(column));
        let has_met_later = call.is_later([time(1), time(2)], time(3), waited);
        let answer = Answer::Registered { created: pending == job_id, job_id: pending };
        call.answer_then_correct(answer, has_met_later, waited)
    })
    .notifying()
    .expiring(Statement::DedupeLease, 3)
}

fn end(
    statement: Statement,
    call: &Call,
    value: Value,
    registered: Option<String>,
    more: impl IntoIterator<Item = Value>,
) -> Operation {
    let values = [call.hash(), value, call.now.into(), registered.into(), call.owner.as_str().into()];
    let values = values.into_iter().chain(more);
    Operation::write(vec![BoundStatement::new(statement, values), end_lease(&call.hash)], ended).notifying()
}

/// The statement that ends the lease of a job that has ended.
fn end_lease(hash: &str) -> BoundStatement {
    BoundStatement::new(Statement::DedupeEndLease, [Value::from(hash)])
}

fn ended(rows: Results) -> Outcome {
    Outcome::Answer(Answer::Ended { changed: rows.first().is_some_and(|result| result.changes > 0) })
}

/// Ends a job with a result (a JSON text or a marker): the job this store registered, or, if it registered none,
/// a pending one.
pub fn complete(call: &Call, text: impl Into<Arc<String>>, registered: Option<String>) -> Operation {
    let mut text = text.into();
    if codec::encoded_exceeds(&text, call.options.most_result_bytes) {
        text = Arc::new(codec::UNDEFINED.to_owned());
    }
    end(Statement::DedupeComplete, call, Value::Json(text), registered, [])
}

/// Ends a job with an error's message and name: the job this store registered, or, if it registered none, a pending one.
pub fn fail(call: &Call, message: Option<String>, name: Option<String>, registered: Option<String>) -> Operation {
    end(Statement::DedupeFail, call, message.into(), registered, [name.into()])
}

/// Ends a pending job that is past its time.
pub fn time_out(call: &Call) -> Operation {
    let values = [call.hash(), TIMED_OUT.into(), call.now.into(), call.options.job_timeout_ms.into()];
    Operation::write(vec![BoundStatement::new(Statement::DedupeTimeOut, values), end_lease(&call.hash)], ended)
        .notifying()
}

/// Answers whether a live job is pending. A job past its time is removed.
pub fn is_in_progress(call: Call) -> Operation {
    Operation::read_timed([call.job()], move |rows, waited| {
        let Some(job) = Job::read(rows.first()) else {
            return Outcome::Answer(Answer::Bool(false));
        };
        if call.is_past_its_time(job.created_at) {
            return Outcome::AnswerThen(Answer::Bool(false), job.forget(&call.hash));
        }
        call.answer_then_correct(Answer::Bool(call.is_live(&job)), call.has_met_later(rows.first(), waited), waited)
    })
    .continuing()
}

/// Answers the result of a completed job that is within the job timeout. A job past its time is removed.
pub fn result(call: Call) -> Operation {
    Operation::read_timed([call.job()], move |rows, waited| {
        let Some(job) = Job::read(rows.first()) else {
            return Outcome::Answer(Answer::Undefined);
        };
        let timeout = call.options.job_timeout_ms;
        // Here a job's last millisecond still counts, as in 0.2.0.
        if timeout > 0.0 && call.now - job.created_at > timeout {
            return Outcome::AnswerThen(Answer::Undefined, job.forget(&call.hash));
        }
        match job.status {
            _ if call.is_later([Some(job.created_at), Some(job.updated_at)], None, waited) => {
                call.answer_then_correct(Answer::Undefined, true, waited)
            }
            "completed" => job.result(&call.hash, Answer::Null),
            _ => Outcome::Answer(Answer::Undefined),
        }
    })
    .continuing()
}

/// The longest that a lease or claim of any store lasts. How long another's does is not stored.
fn longest_lease(options: &DedupeOptions) -> Millis {
    OWN_THREAD_LEASE_MS.max(options.claim_timeout_ms)
}

/// Before when a job must have been created to be past its time.
fn expired_before(options: &DedupeOptions, now: Millis) -> Option<Millis> {
    (options.job_timeout_ms > 0.0).then_some(now - options.job_timeout_ms)
}

/// Answers how many jobs there are, by status, and how many are past their time.
pub fn stats(options: &DedupeOptions, now: Millis) -> Operation {
    let before = expired_before(options, now).unwrap_or(f64::NEG_INFINITY);
    Operation::read([BoundStatement::new(Statement::DedupeStats, [Value::from(before)])], |rows| {
        let number = |column| Field::Number(rows.first().map_or(0.0, |result| result.number(column)));
        Outcome::Answer(Answer::Record(vec![
            ("totalJobs", number(0)),
            ("pendingJobs", number(1)),
            ("completedJobs", number(2)),
            ("failedJobs", number(3)),
            ("expiredJobs", number(4)),
        ]))
    })
    .unbounded()
}

/// Removes the jobs past their time, whatever became of them, or, where jobs have no timeout, those that have ended and
/// are no longer served; and leases and claims without a job.
pub fn cleanup(options: &DedupeOptions, now: Millis, system_now: Millis) -> Operation {
    let (find, remove, before) = match expired_before(options, now) {
        Some(before) => (Statement::DedupeExpired, Statement::DedupeRemoveExpired, before),
        None => (Statement::DedupeEnded, Statement::DedupeRemoveEnded, now - options.result_ttl_ms),
    };
    let longest = longest_lease(options);
    Operation::read_timed(Statements::new(), move |_, waited| {
        let latest_expiry = stamps::latest(system_now, waited) + longest;
        let leases = move || Outcome::Continue(cleanup_leases(system_now, latest_expiry));
        let ended = move || Outcome::Continue(remove_jobs(find, remove, before, Box::new(leases)));
        let latest = stamps::latest(now, waited);
        let (find, remove) = (Statement::DedupeLater, Statement::DedupeRemoveLaterOne);
        Outcome::Continue(remove_jobs(find, remove, latest, Box::new(ended)))
    })
    .unbounded()
    .continuing()
}

/// Removes the jobs that a statement finds, given a time.
fn remove_jobs(find: Statement, remove: Statement, time: Millis, then: Then) -> Operation {
    let find = BoundStatement::new(find, [Value::from(time)]);
    let removal = move |row: &[Value]| match row {
        [key, bytes] => {
            let statement = BoundStatement::new(remove, [key.clone(), time.into()]);
            Some((vec![statement], 1.0, bytes.number().unwrap_or(0.0)))
        }
        _ => None,
    };
    housekeeping::remove_found(find, removal, true, then)
}

fn cleanup_leases(system_now: Millis, latest_expiry: Millis) -> Operation {
    let page = |from| BoundStatement::new(Statement::DedupeLeasesFrom, [from]);
    let remove = move |first, last| {
        let values = [first, last, system_now.into(), latest_expiry.into()];
        vec![BoundStatement::new(Statement::DedupeCleanupLeases, values)]
    };
    housekeeping::walk(Value::from(""), page, remove, housekeeping::next_text, housekeeping::done())
}

/// Removes every job.
pub fn clear() -> Operation {
    Operation::command(vec![
        BoundStatement::new(Statement::DedupeClear, []),
        BoundStatement::new(Statement::DedupeClearLeases, []),
    ])
    .unbounded()
    .notifying()
}

/// Removes the jobs whose hashes begin with a text, and their leases and claims.
pub fn clear_scope(scope: &str) -> Operation {
    if scope.is_empty() { clear() } else { housekeeping::remove_selected(Scope::new(scope), true) }
}

/// Hashes that begin with a text. They lie one after the other, from that text on.
struct Scope {
    scope: String,
    from: Option<Value>,
}

impl Scope {
    fn new(scope: &str) -> Self {
        Scope { scope: scope.to_owned(), from: Some(scope.into()) }
    }
}

impl Selection for Scope {
    fn find(&self) -> Option<BoundStatement> {
        Some(BoundStatement::new(Statement::DedupeFrom, [self.from.clone()?]))
    }

    fn take(&mut self, page: Rows) -> Result<Vec<BoundStatement>, Error> {
        let Some(from) = self.from.take() else { return Ok(Vec::new()) };
        let mut found = housekeeping::beginning_with(&self.scope, page);
        let bytes = |row: &Vec<Value>| row.get(1).and_then(Value::number).unwrap_or(0.0);
        found.truncate(housekeeping::count_in_step(found.iter().map(|row| (2.0, bytes(row)))));
        let hashes: Vec<Value> = found.into_iter().filter_map(|row| row.into_iter().next()).collect();
        let next = hashes.last().cloned().map(housekeeping::next_text);
        self.from = next.map(|next| housekeeping::going_on(next, &from)).transpose()?;
        let removals = [Statement::DedupeForget, Statement::DedupeForgetLease];
        let removal = |hash: Value| removals.map(|removal| BoundStatement::new(removal, [hash.clone()]));
        Ok(hashes.into_iter().flat_map(removal).collect())
    }

    fn answer(self) -> Answer {
        Answer::Undefined
    }
}

/// Answers some of the jobs, the newest first: so many at most, after so many. `has_ended` says whether the process of an owner is
/// gone.
pub fn list(
    options: DedupeOptions,
    [offset, limit]: [f64; 2],
    now: Millis,
    system_now: Millis,
    has_ended: impl Fn(&str) -> bool + Send + 'static,
) -> Operation {
    let list = BoundStatement::new(Statement::DedupeList, [limit, offset].map(Value::from));
    Operation::read([list], move |mut rows| {
        let jobs = rows.pop().unwrap_or_default().rows.into_iter().filter_map(|row| {
            let [hash, job_id, status, created_at, expires_at, owner] = <[Value; 6]>::try_from(row).ok()?;
            let created_at = created_at.number().unwrap_or_default();
            let lives = match expires_at.number() {
                Some(at) => at > system_now && !owner.text().is_some_and(&has_ended),
                // 0.2.0's have no lease.
                None => options.job_timeout_ms == 0.0 || now - created_at < options.job_timeout_ms,
            };
            let lives = lives && status.text() == Some("pending");
            Some(vec![
                ("hash", Field::Text(hash.display())),
                ("jobId", Field::Text(job_id.display())),
                ("status", Field::Text(status.display())),
                ("createdAt", Field::Stamp(created_at)),
                ("ownerAlive", Field::Bool(lives)),
            ])
        });
        Outcome::Answer(Answer::Records(jobs.collect()))
    })
    .unbounded()
}

/// Prolongs a store's leases: of pending jobs, given by hash and id, and, without an id, claims. Answers which are no longer
/// pending, or not the store's.
pub fn renew(
    owner: &str,
    options: DedupeOptions,
    leases: impl IntoIterator<Item = (String, Option<String>)>,
    system_now: Millis,
) -> Operation {
    let until = system_now + options.lease_ms;
    let leases: Vec<(String, Option<String>)> = leases.into_iter().collect();
    let renewal = |(hash, job_id): &(String, Option<String>)| {
        let values = [hash.as_str().into(), job_id.clone().into(), owner.into(), until.into()];
        BoundStatement::new(Statement::DedupeRenew, values)
    };
    let renewals: Vec<BoundStatement> = leases.iter().map(renewal).collect();
    Operation::write(renewals, |rows| {
        let renewed = rows.into_iter().map(|renewal| renewal.changes > 0);
        let lost = leases.into_iter().zip(renewed).filter(|(_, renewed)| !renewed);
        Outcome::Answer(Answer::Renewed { lost: lost.map(|(lease, _)| lease).collect() })
    })
    .expiring(Statement::DedupeRenew, 3)
}

/// Gives up a store's claim, for others to take over at once.
pub fn give_up_claim(call: &Call) -> Operation {
    let values = [call.hash(), call.owner.as_str().into()];
    Operation::command([BoundStatement::new(Statement::DedupeGiveUpClaim, values)]).notifying()
}

/// Gives up a store's claims and leases, for others to take over at once: the store ends, or its process has ended. Its pending
/// jobs stay, as those of a dead owner do.
pub fn give_up(owner: &str) -> Operation {
    Operation::command([BoundStatement::new(Statement::DedupeGiveUp, [Value::from(owner)])]).unbounded().notifying()
}
