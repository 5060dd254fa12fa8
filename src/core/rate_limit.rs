//! The sliding-window rate limiter (README, "SQLiteRateLimitStore"): a request counts while it is at most
//! `window_ms` old, and one more may be made while fewer than `limit` count.

use super::options::{RateLimitConfig, ResourceConfigs};
use super::plan::{Answer, Field, Millis, Operation, Outcome, Step, StepRows, Value, delete_in_chunks};
use super::schema::Statement;

/// The statement that removes what has left a resource's window.
fn delete_before(resource: &str, time: Millis) -> Step {
    Step::new(Statement::RateDeleteBefore, [Value::from(resource), time.into()])
}

/// Looks at a resource's window: `answer` gets the number of requests in it. What has left the window is removed.
fn look(
    resource: &str,
    config: RateLimitConfig,
    now: Millis,
    answer: impl FnOnce(f64) -> Answer + Send + 'static,
) -> Operation {
    let start = now - config.window_ms;
    let removal = delete_before(resource, start);
    Operation::read([usage(resource, start)], move |rows| {
        let (count, has_old) = read_usage(rows.first());
        if has_old {
            Outcome::AnswerThen(answer(count), delete_in_chunks(Vec::new(), vec![removal]))
        } else {
            Outcome::Answer(answer(count))
        }
    })
}

fn usage(resource: &str, start: Millis) -> Step {
    Step::new(Statement::RateUsage, [Value::from(resource), start.into(), start.into()])
}

fn read_usage(step: Option<&StepRows>) -> (f64, bool) {
    step.map_or((0.0, false), |step| (step.number(0), step.number(1) != 0.0))
}

/// Answers whether one more request may be made.
pub fn can_proceed(resource: &str, config: RateLimitConfig, now: Millis) -> Operation {
    look(resource, config, now, move |count| Answer::Bool(count < config.limit))
}

/// Records a request.
pub fn record(resource: &str, now: Millis) -> Operation {
    Operation::command([Step::new(Statement::RateRecord, [Value::from(resource), now.into()])])
}

/// Answers what remains of a resource's limit.
pub fn status(resource: &str, config: RateLimitConfig, now: Millis) -> Operation {
    look(resource, config, now, move |count| {
        Answer::Record(vec![
            ("remaining", Field::Number((config.limit - count).max(0.0))),
            ("resetTime", Field::Time(now + config.window_ms)),
            ("limit", Field::Number(config.limit)),
        ])
    })
}

/// The statement that finds the request whose leaving brings a count below `limit`: the `limit`th newest.
pub(super) fn last_to_leave(statement: Statement, resource: &str, start: Millis, limit: f64) -> Step {
    let offset = Value::Integer((limit.ceil() - 1.0).max(0.0) as i64);
    Step::new(statement, [Value::from(resource), start.into(), offset])
}

/// How long until that request has left its window; `None` if there is none. At least 1 ms: the caller may not
/// proceed now.
pub(super) fn until_left(step: &StepRows, window_ms: Millis, now: Millis) -> Option<Millis> {
    step.optional_number(0).map(|timestamp| (timestamp + window_ms - now).max(1.0))
}

/// Answers how long until a request may be made, in ms: 0 when it may now.
pub fn wait_time(resource: &str, config: RateLimitConfig, now: Millis) -> Operation {
    if config.limit == 0.0 {
        return Operation::read([], move |_| Outcome::Answer(Answer::Number(config.window_ms)));
    }
    let start = now - config.window_ms;
    let removal = delete_before(resource, start);
    let steps = [usage(resource, start), last_to_leave(Statement::RateNthNewest, resource, start, config.limit)];
    Operation::read(steps, move |rows| {
        let (_, has_old) = read_usage(rows.first());
        let wait = rows.get(1).and_then(|step| until_left(step, config.window_ms, now)).unwrap_or(0.0);
        if has_old {
            Outcome::AnswerThen(Answer::Number(wait), delete_in_chunks(Vec::new(), vec![removal]))
        } else {
            Outcome::Answer(Answer::Number(wait))
        }
    })
}

/// Forgets a resource's requests.
pub fn reset(resource: &str) -> Operation {
    Operation::command([Step::new(Statement::RateReset, [Value::from(resource)])]).heavy()
}

/// Forgets every request.
pub fn clear() -> Operation {
    Operation::command([Step::new(Statement::RateClear, [])]).heavy()
}

/// The names in a list of resources.
pub(super) fn names(step: Option<&StepRows>) -> Vec<String> {
    step.map_or_else(Vec::new, |step| {
        step.rows.iter().filter_map(|row| row.first().and_then(Value::text)).map(str::to_owned).collect()
    })
}

/// Answers how many requests are stored, of how many resources, and which resources are at their limit.
pub fn stats(configs: ResourceConfigs, now: Millis) -> Operation {
    let steps = [Step::new(Statement::RateTotal, []), Step::new(Statement::RateResources, [])];
    Operation::read(steps, move |rows| {
        let total = rows.first().map_or(0.0, |step| step.number(0));
        Outcome::Continue(windows(names(rows.get(1)), total, configs, now))
    })
}

fn windows(resources: Vec<String>, total: f64, configs: ResourceConfigs, now: Millis) -> Operation {
    let start = move |config: RateLimitConfig| now - config.window_ms;
    let steps: Vec<Step> = resources.iter().map(|resource| usage(resource, start(configs.get(resource)))).collect();
    Operation::read(steps, move |rows| {
        let unique = resources.len() as f64;
        let mut removals = Vec::new();
        let mut limited = Vec::new();
        for (resource, step) in resources.into_iter().zip(&rows) {
            let config = configs.get(&resource);
            let (count, has_old) = read_usage(Some(step));
            if has_old {
                removals.push(delete_before(&resource, start(config)));
            }
            if count >= config.limit {
                limited.push(resource);
            }
        }
        let answer = Answer::Record(vec![
            ("totalRequests", Field::Number(total)),
            ("uniqueResources", Field::Number(unique)),
            ("rateLimitedResources", Field::List(limited)),
        ]);
        if removals.is_empty() {
            Outcome::Answer(answer)
        } else {
            Outcome::AnswerThen(answer, delete_in_chunks(Vec::new(), removals))
        }
    })
}

/// Removes what has left the windows of all resources.
pub fn cleanup(configs: ResourceConfigs, now: Millis) -> Operation {
    Operation::read([Step::new(Statement::RateResources, [])], move |rows| {
        let removals: Vec<Step> = names(rows.first())
            .iter()
            .map(|resource| delete_before(resource, now - configs.get(resource).window_ms))
            .collect();
        Outcome::Continue(delete_in_chunks(Vec::new(), removals))
    })
}
