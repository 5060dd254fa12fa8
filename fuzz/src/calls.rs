//! Calls on the stores, with their options.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::numbers::{NOW, Name, Number, list};
use comic_vine_sqlite_store::core::adaptive::Priority;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::options::{
    AdaptiveConfig, DedupeOptions, LEASE_MS, OWN_THREAD_LEASE_MS, RateLimitConfig, ResourceConfigs, SharedLimits,
};

/// The options of stores of each kind, and what is called on them.
#[derive(Debug)]
pub struct Plan {
    pub limits: ResourceConfigs,
    pub adaptive: AdaptiveConfig,
    pub dedupe: DedupeOptions,
    pub reservation_ms: f64,
    pub calls: Vec<Timed>,
}

impl Plan {
    /// The kinds of stores that are called; the adaptive limiter's tables serve the other one, too.
    pub fn kinds(&self) -> Vec<StoreKind> {
        let is_called = |called: fn(&Call) -> bool| self.calls.iter().any(|timed| called(&timed.call));
        let kinds = [
            (StoreKind::Cache, is_called(|call| matches!(call, Call::Cache(_)))),
            (StoreKind::Dedupe, is_called(|call| matches!(call, Call::Dedupe(..)))),
            (StoreKind::Adaptive, is_called(|call| matches!(call, Call::Rate(..) | Call::Adaptive(..)))),
        ];
        kinds.into_iter().filter(|(_, is_called)| *is_called).map(|(kind, _)| kind).collect()
    }
}

/// A call, and when it is made.
#[derive(Debug)]
pub struct Timed {
    pub now: f64,
    /// By the system's clock, which nobody fakes.
    pub system_now: f64,
    /// How long it has stood in the queue.
    pub waited: f64,
    pub call: Call,
}

#[derive(Arbitrary, Debug)]
pub enum Call {
    Cache(CacheCall),
    Rate(Name, RateCall, Reserves),
    Adaptive(Name, RateCall, Reserves, IsUser),
    Dedupe(Name, DedupeCall),
}

#[derive(Arbitrary, Debug)]
pub enum CacheCall {
    Get(Name),
    Set(Name, Text, Number),
    Delete(Name),
    Clear,
    Stats,
    Cleanup,
    RemoveExpired,
}

/// On a limiter of either kind.
#[derive(Arbitrary, Debug)]
pub enum RateCall {
    CanProceed,
    Acquire,
    Record,
    Status,
    WaitTime,
    Reset,
    Clear,
    Stats,
    Cleanup,
    RemoveOldest,
}

#[derive(Arbitrary, Debug)]
pub enum DedupeCall {
    WaitFor,
    Cancel,
    Register(IsUser),
    Complete(Text),
    Fail(Option<Name>),
    IsInProgress,
    Result,
    Stats,
    Cleanup,
    Clear,
    Changed,
    Deadline,
    OwnerEnded(u8),
    Unused,
    Renew,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Reserves(pub bool);

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct IsUser(pub bool);

impl IsUser {
    pub fn priority(self) -> Priority {
        if self.0 { Priority::User } else { Priority::Background }
    }
}

/// A JSON text, or something like one.
#[derive(Debug)]
pub struct Text(pub String);

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        const TEXTS: [&str; 5] = ["1", "\"\\\"\"", "{\"a\":[1]}", "__UNDEFINED__", "__NULL__"];
        match input.int_in_range(0..=3)? {
            0 => Ok(Text(String::from_utf8_lossy(input.bytes(input.len().min(9))?).into_owned())),
            // More than is removed on a JavaScript thread.
            1 => Ok(Text(format!("\"{}\"", "\\".repeat(70_000)))),
            _ => Ok(Text((*input.choose(&TEXTS)?).to_owned())),
        }
    }
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let mut plan = Plan {
            limits: ResourceConfigs {
                default: limit(input)?,
                named: if bool::arbitrary(input)? { vec![("a".to_owned(), limit(input)?)] } else { Vec::new() },
                shared: SharedLimits::NONE,
            },
            adaptive: if bool::arbitrary(input)? { adaptive(input)? } else { AdaptiveConfig::default() },
            dedupe: if bool::arbitrary(input)? { dedupe(input)? } else { DedupeOptions::default() },
            reservation_ms: Number::arbitrary(input)?.positive(),
            calls: list(input, 1..=12)?,
        };
        // Last, so that older inputs still mean what they did.
        if bool::arbitrary(input)? {
            plan.limits.default.min_interval_ms = Number::arbitrary(input)?.finite().abs();
            plan.limits.shared.config = limit(input)?;
            plan.limits.shared.config.min_interval_ms = Number::arbitrary(input)?.finite().abs();
            plan.limits.shared.honours_cooldowns = bool::arbitrary(input)?;
        }
        Ok(plan)
    }
}

impl<'a> Arbitrary<'a> for Timed {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let call = Call::arbitrary(input)?;
        let now = if bool::arbitrary(input)? { NOW } else { Number::arbitrary(input)?.finite() };
        let system_now = NOW + f64::from(i16::arbitrary(input)?);
        let waited = f64::from(u16::arbitrary(input)?);
        Ok(Timed { now, system_now, waited, call })
    }
}

fn limit(input: &mut Unstructured<'_>) -> Result<RateLimitConfig> {
    if bool::arbitrary(input)? {
        return Ok(RateLimitConfig::new(f64::from(u8::arbitrary(input)?), 60_000.0));
    }
    let limit = Number::arbitrary(input)?.span();
    let window_ms = Number::arbitrary(input)?.finite().abs();
    Ok(RateLimitConfig::checked(Some(limit), Some(window_ms)).expect("both are accepted"))
}

fn adaptive(input: &mut Unstructured<'_>) -> Result<AdaptiveConfig> {
    let mut number = || Number::arbitrary(input);
    let config = AdaptiveConfig {
        monitoring_window_ms: number()?.positive(),
        high_activity_threshold: number()?.span(),
        moderate_activity_threshold: number()?.span(),
        recalculation_interval_ms: number()?.positive(),
        sustained_inactivity_threshold_ms: number()?.positive(),
        max_user_scaling: number()?.positive(),
        min_user_reserved: number()?.span(),
        background_pause_on_increasing_trend: bool::arbitrary(input)?,
    };
    Ok(if config.check().is_ok() { config } else { AdaptiveConfig::default() })
}

fn dedupe(input: &mut Unstructured<'_>) -> Result<DedupeOptions> {
    let mut number = || Number::arbitrary(input);
    Ok(DedupeOptions {
        job_timeout_ms: number()?.span_or_never(),
        cleanup_interval_ms: 0.0,
        poll_interval_ms: 10.0,
        claim_timeout_ms: number()?.span(),
        result_ttl_ms: number()?.span(),
        most_result_bytes: usize::MAX,
        lease_ms: if bool::arbitrary(input)? { LEASE_MS } else { OWN_THREAD_LEASE_MS },
    })
}
