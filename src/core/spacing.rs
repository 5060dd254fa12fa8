//! What limits the requests of a resource beside its own window: an interval between any two, the limit of all resources
//! together, and cooldowns (docs/api.md, "Spacing and shared limits").
//!
//! A slot is taken when a request is recorded, when one is reserved, or at the time for which it is [booked](super::bookings).
//! Nobody gets one before the last that is booked.

use super::operation::{BoundStatement, StatementResult};
use super::options::{RateLimitConfig, ResourceConfigs, SharedLimits};
use super::stamps;
use super::statements::Statement;
use super::value::{Millis, Value};

/// What limits a call beside the window of its resource, and when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Spacing {
    /// The resource's limit.
    pub limit: RateLimitConfig,
    pub shared: SharedLimits,
    pub now: Millis,
}

/// What a look at it has found.
#[derive(Debug, Default)]
pub struct Found {
    /// How long until the intervals are over, and the cooldown.
    pub wait: Millis,
    /// Whether all slots of all resources together are taken.
    pub is_full: bool,
    /// What corrects stamps that are later than they may be.
    pub corrections: Vec<BoundStatement>,
}

impl Found {
    /// Whether a request may be made now.
    pub fn is_free(&self) -> bool {
        self.wait <= 0.0 && !self.is_full
    }
}

/// For how long a request counts for something.
pub fn kept_ms(limit: RateLimitConfig, shared: SharedLimits) -> Millis {
    limit.span_ms().max(shared.config.span_ms())
}

impl Spacing {
    /// `None` where nothing does.
    pub fn of(limit: RateLimitConfig, shared: SharedLimits, now: Millis) -> Option<Self> {
        let is_limited = limit.min_interval_ms > 0.0 || shared != SharedLimits::NONE;
        is_limited.then_some(Spacing { limit, shared, now })
    }

    /// The parameters with which a statement asks for a free slot: interval; window start, limit and interval of all resources;
    /// whether cooldowns count.
    pub fn values(&self) -> [Value; 5] {
        let RateLimitConfig { limit, window_ms, min_interval_ms } = self.shared.config;
        [
            self.limit.min_interval_ms.into(),
            (self.now - window_ms).into(),
            limit.into(),
            min_interval_ms.into(),
            Value::Integer(i64::from(self.shared.honours_cooldowns)),
        ]
    }

    /// The statement that looks.
    pub fn look(&self, resource: &str) -> BoundStatement {
        let first = [Value::from(resource), self.now.into()];
        BoundStatement::new(Statement::RateBeyond, first.into_iter().chain(self.values()))
    }

    /// What it has found, so many ms after the call.
    pub fn found(&self, result: Option<&StatementResult>, waited: Millis) -> Found {
        let Some(result) = result else { return Found::default() };
        let Spacing { limit, shared, now } = *self;
        let until = |column, interval| result.optional_number(column).map_or(0.0, |at| at + interval - now);
        let spacing = until(0, limit.min_interval_ms).max(until(1, shared.config.min_interval_ms));
        let cooldown = until(3, 0.0);
        let never = if shared.config.limit == 0.0 { shared.config.window_ms } else { 0.0 };
        let mut corrections = Vec::new();
        let allowed = stamps::latest(now, waited);
        if result.number(4) > allowed {
            let values = || [now, allowed].map(Value::from);
            corrections.push(BoundStatement::new(Statement::RateCorrectAll, values()));
            corrections.push(BoundStatement::new(Statement::RateCorrectAllReservations, values()));
        }
        if result.number(5) > 0.0 {
            corrections.push(drop_wrong_bookings(now));
        }
        Found {
            wait: spacing.max(cooldown).max(never).max(0.0),
            is_full: result.number(2) >= shared.config.limit,
            corrections,
        }
    }

    /// The statement that finds when one of all slots is free, where all are taken.
    pub fn first_to_leave(&self) -> BoundStatement {
        let RateLimitConfig { limit, window_ms, .. } = self.shared.config;
        let values = [(self.now - window_ms).into(), self.now.into(), nth_newest_offset(limit), window_ms.into()];
        BoundStatement::new(Statement::RateNthNewestOfAll, values)
    }

    /// What is removed before a slot is taken: bookings of a wrong clock, and reservations that are over.
    pub fn tidy(&self, resource: &str) -> [BoundStatement; 2] {
        let expire = [Value::from(resource), self.now.into(), self.needed_from().into()];
        [drop_wrong_bookings(self.now), BoundStatement::new(Statement::RateExpireSpaced, expire)]
    }

    /// The statements that keep when a resource's slots were taken, for the interval of all, before it is forgotten.
    pub fn keep(&self, resource: &str) -> Vec<BoundStatement> {
        if self.shared.config == RateLimitConfig::NONE {
            return Vec::new();
        }
        let values = [Value::from(resource), (self.now - self.shared.config.min_interval_ms).into()];
        let statements = [Statement::RateKeepSlot, Statement::RateKeepReserved];
        statements.map(|statement| BoundStatement::new(statement, values.clone())).to_vec()
    }

    /// Since when it is needed when a slot was taken.
    fn needed_from(&self) -> Millis {
        self.now - self.limit.min_interval_ms.max(self.shared.config.min_interval_ms)
    }
}

/// The statement that removes bookings of a clock that was ahead: their times are wrong.
pub fn drop_wrong_bookings(now: Millis) -> BoundStatement {
    BoundStatement::new(Statement::RateDropWrongBookings, [Value::Integer(0), now.into()])
}

/// Which of so many slots, counted from the last, has to leave for one to be free: how many are before it.
pub(super) fn nth_newest_offset(limit: f64) -> Value {
    let before = if limit.is_finite() { (limit.ceil() - 1.0).max(0.0) } else { 0.0 };
    Value::Integer(before as i64)
}

/// Since when a clean-up of all resources needs to know when a slot was taken.
pub fn needed_from(configs: &ResourceConfigs, now: Millis) -> Millis {
    now - configs.all().map(|config| config.min_interval_ms).fold(0.0, f64::max)
}
