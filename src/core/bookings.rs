//! Bookings: slots at times yet to come, for callers that ask how long to wait, wait, and then do not ask again, as the client
//! 0.2.0 does (docs/api.md, "Booked waits"). A booking is a reservation that begins later; it is over so long after its time as
//! any other. It says when it was made, so that those of a clock that was ahead are known.

use super::operation::{Answer, BoundStatement, Operation, Outcome, StatementResult};
use super::options::{RateLimitConfig, Reservations};
use super::spacing::{Spacing, nth_newest_offset};
use super::statements::Statement;
use super::value::{Millis, Value};

/// A timer fires up to so many ms early.
const TIMER_GRANULARITY_MS: Millis = 1.0;

/// Who books: one caller of a store.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The store, a blank, the caller's number, `@`, and when it books.
    owner: String,
}

impl Ticket {
    /// That of a caller of a store who books now.
    pub fn new(reservations: &Reservations, number: u64, now: Millis) -> Self {
        Ticket { owner: format!("{} {number}@{now}", reservations.owner) }
    }
}

/// What a class of requests has of a limit.
pub struct ClassShare {
    pub class: &'static str,
    pub share: f64,
}

/// Books the next slot that will be free, unless the caller has booked one already, and answers how long until then.
pub fn book(
    resource: &str,
    spacing: Spacing,
    reservations: &Reservations,
    ticket: &Ticket,
    class: Option<ClassShare>,
) -> Operation {
    let Spacing { limit: RateLimitConfig { limit, window_ms, .. }, shared, now } = spacing;
    let mut values = vec![Value::from(resource), now.into(), (now - window_ms).into(), limit.into()];
    values.extend(spacing.values());
    values.extend([window_ms.into(), shared.config.window_ms.into()]);
    values.extend([limit, shared.config.limit].map(nth_newest_offset));
    values.extend([ticket.owner.as_str().into(), reservations.for_ms.into()]);
    let statement = if class.is_some() { Statement::AdaptiveBook } else { Statement::RateBook };
    if let Some(ClassShare { class, share }) = class {
        values.extend([class.into(), share.into(), nth_newest_offset(share)]);
    }
    let booked = BoundStatement::new(Statement::RateBooked, [ticket.owner.as_str().into(), now.into()]);
    let mut statements = spacing.tidy(resource).to_vec();
    statements.extend([BoundStatement::new(statement, values), booked]);
    Operation::write(statements, move |rows| {
        let at = rows.last().and_then(|result| result.optional_number(0)).unwrap_or(now);
        let wait = at - now;
        Outcome::Answer(Answer::Booked(if wait > 0.0 { wait.ceil() + TIMER_GRANULARITY_MS } else { 0.0 }))
    })
    .expiring(statement, 14)
}

/// Has the slot that a caller has booked be one that is reserved, if it is due, and answers `true`; goes on with `otherwise` if
/// not.
pub fn proceed(ticket: &Ticket, reservations: &Reservations, now: Millis, otherwise: Operation) -> Operation {
    take(ticket, reservations, now, || Outcome::Answer(Answer::Bool(true)), otherwise)
}

/// Records a request in the slot that its caller has booked, if it is due, and answers `true`; goes on with `otherwise` if not.
pub fn acquire(
    resource: &str,
    class: Option<&'static str>,
    ticket: &Ticket,
    reservations: &Reservations,
    now: Millis,
    otherwise: Operation,
) -> Operation {
    let record = recording(resource, class, now, reservations, None);
    let record = move || Outcome::Continue(Operation::write(record, |_| Outcome::Answer(Answer::Bool(true))));
    take(ticket, reservations, now, record, otherwise)
}

fn take(
    ticket: &Ticket,
    reservations: &Reservations,
    now: Millis,
    taken: impl FnOnce() -> Outcome + Send + 'static,
    otherwise: Operation,
) -> Operation {
    let Reservations { owner, for_ms } = reservations;
    let values = [ticket.owner.as_str().into(), now.into(), owner.as_str().into(), Value::from(now + for_ms)];
    let take = BoundStatement::new(Statement::RateTakeBooking, values);
    Operation::write([take], move |rows| {
        if rows.first().and_then(StatementResult::first).is_some() { taken() } else { Outcome::Continue(otherwise) }
    })
    .continuing()
    .expiring(Statement::RateTakeBooking, 3)
}

/// Records a request in the slot booked or reserved for it, as made when that was taken, or else as made now: where requests are
/// spaced.
pub fn record(
    resource: &str,
    class: Option<&'static str>,
    now: Millis,
    reservations: &Reservations,
    ticket: Option<&Ticket>,
) -> Operation {
    Operation::command(recording(resource, class, now, reservations, ticket))
}

fn recording(
    resource: &str,
    class: Option<&'static str>,
    now: Millis,
    reservations: &Reservations,
    ticket: Option<&Ticket>,
) -> Vec<BoundStatement> {
    let statement = if class.is_some() { Statement::AdaptiveRecordReserved } else { Statement::RateRecordReserved };
    let values = [
        Value::from(resource),
        now.into(),
        reservations.owner.as_str().into(),
        ticket.map(|ticket| ticket.owner.as_str()).into(),
        class.into(),
    ];
    vec![
        BoundStatement::new(statement, values.clone()),
        BoundStatement::new(Statement::RateReleaseReserved, values),
    ]
}
