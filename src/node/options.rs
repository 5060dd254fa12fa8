//! From JavaScript values to checked options and arguments. Every message names the option or argument.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use super::arguments::Arguments;
use super::napi::env::{Env, Result, Type, Value};
use super::napi::handle::{self, Handled};
use super::realm::{Realm, property};
use crate::core::adaptive::Priority;
use crate::core::cache::EntryFilter;
use crate::core::error::Error;
use crate::core::options::{
    AdaptiveConfig, Bounds, CacheOptions, DatabaseOptions, DedupeOptions, JournalMode, OWN_THREAD_LEASE_MS,
    REMOTE_POLL_INTERVAL_MS, RateLimitConfig, SharedLimits, Synchronous,
};
use crate::sqlite::database::Database;

/// An options object, or part of one: reads members under the name the user knows them by.
#[derive(Clone, Copy)]
pub struct OptionsReader<'a> {
    env: Env,
    /// `None` where no object was given.
    object: Option<Value>,
    /// What it is called in messages; `None` where its members' names stand alone.
    name: Option<fmt::Arguments<'a>>,
}

pub enum DatabaseOption {
    /// A file to open, or one of SQLite's names for none.
    Path(String),
    /// An open connection.
    Connection(Value),
    /// A client of a server.
    Client(Value),
    /// One in memory that several stores share: see `lib/stores.js`.
    Memory(Arc<Database>),
}

/// What a handle of a database in memory stands for.
pub struct MemoryDatabase(pub Arc<Database>);

impl Handled for MemoryDatabase {
    fn collected(self, _env: Env) {}
}

const MILLISECONDS: &str = "a non-negative number of milliseconds";

impl<'a> OptionsReader<'a> {
    /// The members of a constructor's options.
    pub fn of_options(env: Env, options: Value) -> Result<Self> {
        let options = (env.type_of(options) != Type::Undefined).then_some(options);
        Self::of(env, options, format_args!("options")).map(|reader| OptionsReader { name: None, ..reader })
    }

    /// The members of an object under a name.
    pub fn of(env: Env, object: Option<Value>, name: fmt::Arguments<'a>) -> Result<Self> {
        match object {
            Some(object) if !env.is_object(object) => {
                Err(Error::argument(name.to_string(), "an object", env.describe(object)).into())
            }
            object => Ok(OptionsReader { env, object, name: Some(name) }),
        }
    }

    /// A member, `None` where it is `undefined`.
    pub fn get(&self, name: &CStr) -> Result<Option<Value>> {
        self.object.map_or(Ok(None), |object| property(self.env, object, name))
    }

    fn wrong(&self, name: &CStr, expected: &'static str, value: Value) -> Error {
        let member = name.to_string_lossy();
        let name = self.name.map_or_else(|| member.to_string(), |name| format!("{name}.{member}"));
        Error::argument(name, expected, self.env.describe(value))
    }

    /// A number that `accept` takes.
    pub fn number(
        &self,
        name: &CStr,
        expected: &'static str,
        default: f64,
        accept: impl FnOnce(f64) -> bool,
    ) -> Result<f64> {
        let Some(value) = self.get(name)? else {
            return Ok(default);
        };
        let number = self.env.as_number(value).filter(|number| accept(*number));
        number.ok_or_else(|| self.wrong(name, expected, value).into())
    }

    /// A span in ms; infinity is a span that never ends.
    fn span(&self, name: &CStr, default: f64) -> Result<f64> {
        self.number(name, MILLISECONDS, default, |number| number >= 0.0)
    }

    /// A span in ms where 0 means never; so does infinity.
    fn span_or_never(&self, name: &CStr, default: f64) -> Result<f64> {
        self.span(name, default).map(|span| if span.is_infinite() { 0.0 } else { span })
    }

    /// A function, if there is one.
    pub fn function(&self, name: &CStr) -> Result<Option<Value>> {
        match self.get(name)? {
            Some(value) if self.env.type_of(value) != Type::Function => {
                Err(self.wrong(name, "a function", value).into())
            }
            value => Ok(value),
        }
    }

    fn choice<T: Copy>(&self, name: &CStr, expected: &'static str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        let text = self.env.as_string(value);
        let chosen = choices.iter().find(|(choice, _)| text.as_deref() == Some(choice));
        chosen.map(|(_, value)| Some(*value)).ok_or_else(|| self.wrong(name, expected, value).into())
    }

    /// The database: `":memory:"` by default.
    pub fn database(&self) -> Result<DatabaseOption> {
        const EXPECTED: &str =
            "a file path without NUL characters and lone surrogates, ':memory:', or an open SQLite connection";
        let is_client = |value| {
            self.env.has_methods(value, &[c"execute", c"batch"])
                || self.env.has_methods(value, &[c"prepare", c"exec", c"batch"])
        };
        let Some(value) = self.get(c"database")? else { return Ok(DatabaseOption::Path(":memory:".to_owned())) };
        if let Some(database) = handle::with(self.env, value, |MemoryDatabase(database)| Arc::clone(database)) {
            return Ok(DatabaseOption::Memory(database));
        }
        match self.env.as_string(value) {
            Some(path) if !path.contains('\0') && self.env.is_well_formed(value, &path)? => {
                Ok(DatabaseOption::Path(path))
            }
            None if is_client(value) => Ok(DatabaseOption::Client(value)),
            None if self.env.has_methods(value, &[c"prepare", c"exec"]) => Ok(DatabaseOption::Connection(value)),
            _ => Err(self.wrong(c"database", EXPECTED, value).into()),
        }
    }

    /// Whether a store answers, where it fails, what lets its caller go on.
    pub fn ignores_errors(&self) -> Result<bool> {
        let choices = [("reject", false), ("ignore", true)];
        Ok(self.choice(c"onError", "'reject' or 'ignore'", &choices)?.unwrap_or(false))
    }

    /// What concerns a database opened by path.
    pub fn database_options(&self) -> Result<DatabaseOptions> {
        let default = DatabaseOptions::default();
        Ok(DatabaseOptions {
            busy_timeout_ms: self.span(c"busyTimeoutMs", default.busy_timeout_ms)?,
            request_timeout_ms: self.number(
                c"requestTimeoutMs",
                "a positive number of milliseconds",
                default.request_timeout_ms,
                |number| number > 0.0,
            )?,
            journal_mode: self.choice(
                c"journalMode",
                "'wal' or 'delete'",
                &[("wal", JournalMode::Wal), ("delete", JournalMode::Delete)],
            )?,
            synchronous: self
                .choice(
                    c"synchronous",
                    "'normal' or 'full'",
                    &[("normal", Synchronous::Normal), ("full", Synchronous::Full)],
                )?
                .unwrap_or(default.synchronous),
        })
    }

    /// What concerns the cache store.
    pub fn cache(&self) -> Result<CacheOptions> {
        let default = CacheOptions::default();
        Ok(CacheOptions {
            cleanup_interval_ms: self.span_or_never(c"cleanupIntervalMs", default.cleanup_interval_ms)?,
            max_entry_size_bytes: self.number(
                c"maxEntrySizeBytes",
                "a non-negative number of bytes",
                default.max_entry_size_bytes,
                |number| number >= 0.0,
            )?,
            zero_lasts: self
                .choice(c"zeroTtl", "'expired' or 'forever'", &[("expired", false), ("forever", true)])?
                .unwrap_or(default.zero_lasts),
            bounds: self.bounds()?,
        })
    }

    /// How much a cache holds at most; `None` where neither entries nor bytes are bounded.
    fn bounds(&self) -> Result<Option<Bounds>> {
        let accept = |number: f64| number >= 1.0 && (number.floor() == number || number.is_infinite());
        let bound = |name, expected| self.number(name, expected, f64::INFINITY, accept);
        let max_entries = bound(c"maxEntries", "a whole number of entries from 1, or Infinity")?;
        let max_size_bytes = bound(c"maxSizeBytes", "a whole number of bytes from 1, or Infinity")?;
        let by_use =
            self.choice(c"eviction", "'lru' or 'fifo'", &[("lru", true), ("fifo", false)])?.unwrap_or(true);
        if max_entries.is_infinite() && max_size_bytes.is_infinite() {
            return Ok(None);
        }
        let [max_entries, max_size_bytes] = [max_entries, max_size_bytes].map(|bound| bound.min(Bounds::UNBOUNDED));
        Ok(Some(Bounds { max_entries, max_size_bytes, by_use }))
    }

    /// What concerns the dedupe store. `timeoutMs` is the older name of `jobTimeoutMs` and goes first.
    pub fn dedupe(&self) -> Result<DedupeOptions> {
        let default = DedupeOptions::default();
        let is_given = |name| -> Result<bool> {
            Ok(self.get(name)?.is_some_and(|value| self.env.type_of(value) != Type::Null))
        };
        let job_timeout_ms = if is_given(c"timeoutMs")? {
            self.span_or_never(c"timeoutMs", default.job_timeout_ms)?
        } else if is_given(c"jobTimeoutMs")? {
            self.span_or_never(c"jobTimeoutMs", default.job_timeout_ms)?
        } else {
            default.job_timeout_ms
        };
        Ok(DedupeOptions {
            job_timeout_ms,
            cleanup_interval_ms: self.span_or_never(c"cleanupIntervalMs", default.cleanup_interval_ms)?,
            poll_interval_ms: self.span(c"pollIntervalMs", default.poll_interval_ms)?,
            claim_timeout_ms: self.span(c"claimTimeoutMs", default.claim_timeout_ms)?,
            result_ttl_ms: self.span(c"resultTtlMs", default.result_ttl_ms)?,
            lease_ms: default.lease_ms,
            most_result_bytes: default.most_result_bytes,
        })
    }

    /// What counts for a dedupe store on a server.
    pub fn dedupe_on_server(&self, options: DedupeOptions, most_result_bytes: usize) -> Result<DedupeOptions> {
        let poll_interval_ms = self.span(c"pollIntervalMs", REMOTE_POLL_INTERVAL_MS)?;
        Ok(DedupeOptions { poll_interval_ms, lease_ms: OWN_THREAD_LEASE_MS, most_result_bytes, ..options })
    }

    /// How long a `canProceed` that says yes reserves a slot: `None` where it does not.
    pub fn reservation_ms(&self) -> Result<Option<f64>> {
        let span = self.span(c"reservationMs", 0.0)?;
        Ok((span > 0.0).then_some(span))
    }

    /// A rate limit, whose limit and window have to be there.
    pub fn rate_limit(&self) -> Result<RateLimitConfig> {
        const LIMIT: &str = "a non-negative number";
        const SPAN: &str = "a non-negative, finite number of milliseconds";
        let limit = self.number(c"limit", LIMIT, f64::NAN, RateLimitConfig::is_limit)?;
        let window_ms = self.number(c"windowMs", SPAN, f64::NAN, RateLimitConfig::is_span)?;
        let min_interval_ms = self.number(c"minIntervalMs", SPAN, 0.0, RateLimitConfig::is_span)?;
        for (name, number, expected) in [(c"limit", limit, LIMIT), (c"windowMs", window_ms, SPAN)] {
            if number.is_nan() {
                return Err(self.wrong(name, expected, self.env.undefined()).into());
            }
        }
        Ok(RateLimitConfig { limit, window_ms, min_interval_ms })
    }

    /// What limits all resources together.
    pub fn shared_limits(&self) -> Result<SharedLimits> {
        let config = match self.get(c"sharedConfig")? {
            Some(config) => Self::of(self.env, Some(config), format_args!("sharedConfig"))?.rate_limit()?,
            None => RateLimitConfig::NONE,
        };
        let honours_cooldowns = self.boolean(c"honourCooldowns", false)?;
        Ok(SharedLimits { config, honours_cooldowns, books_waits: self.books_waits()? })
    }

    fn books_waits(&self) -> Result<bool> {
        let books_waits = self.boolean(c"bookWaits", false)?;
        if books_waits && self.reservation_ms()?.is_none() {
            return Err(
                Error::Contradiction("bookWaits needs reservationMs, a positive number of milliseconds").into()
            );
        }
        Ok(books_waits)
    }

    fn boolean(&self, name: &CStr, default: bool) -> Result<bool> {
        let Some(value) = self.get(name)? else { return Ok(default) };
        self.env.as_boolean(value).ok_or_else(|| self.wrong(name, "a boolean", value).into())
    }

    /// How the adaptive store divides limits.
    pub fn adaptive(&self) -> Result<AdaptiveConfig> {
        const POSITIVE: &str = "a positive number of milliseconds";
        let default = AdaptiveConfig::default();
        let config = self.get(c"adaptiveConfig")?;
        let reader = OptionsReader::of(self.env, config, format_args!("adaptiveConfig"))?;
        let positive = |name, default| reader.number(name, POSITIVE, default, |number| number > 0.0);
        let count = |name, default| reader.number(name, "a non-negative number", default, |number| number >= 0.0);
        let pause =
            reader.boolean(c"backgroundPauseOnIncreasingTrend", default.background_pause_on_increasing_trend)?;
        let config = AdaptiveConfig {
            monitoring_window_ms: positive(c"monitoringWindowMs", default.monitoring_window_ms)?,
            high_activity_threshold: count(c"highActivityThreshold", default.high_activity_threshold)?,
            moderate_activity_threshold: count(c"moderateActivityThreshold", default.moderate_activity_threshold)?,
            recalculation_interval_ms: positive(c"recalculationIntervalMs", default.recalculation_interval_ms)?,
            sustained_inactivity_threshold_ms: positive(
                c"sustainedInactivityThresholdMs",
                default.sustained_inactivity_threshold_ms,
            )?,
            background_pause_on_increasing_trend: pause,
            max_user_scaling: reader.number(
                c"maxUserScaling",
                "a positive number",
                default.max_user_scaling,
                |number| number > 0.0,
            )?,
            min_user_reserved: count(c"minUserReserved", default.min_user_reserved)?,
        };
        config.check()?;
        Ok(config)
    }
}

/// A string argument that names something. Lone surrogates would make several names one.
pub fn name(env: Env, value: Value, argument: &str) -> Result<String> {
    let Some(text) = env.as_string(value) else {
        return Err(Error::argument(argument, "a string", env.describe(value)).into());
    };
    if env.is_well_formed(value, &text)? {
        return Ok(text);
    }
    Err(Error::argument(argument, "a string without lone surrogates", env.describe(value)).into())
}

/// An argument that is the path of a file.
pub fn path(env: Env, value: Value, argument: &str) -> Result<String> {
    const EXPECTED: &str = "a file path without NUL characters and lone surrogates";
    match env.as_string(value) {
        Some(path) if !path.is_empty() && !path.contains('\0') && env.is_well_formed(value, &path)? => Ok(path),
        _ => Err(Error::argument(argument, EXPECTED, env.describe(value)).into()),
    }
}

/// The `scope` argument: what names begin with, `""` where it is `undefined`.
pub fn scope(env: Env, value: Value) -> Result<String> {
    if env.type_of(value) == Type::Undefined { Ok(String::new()) } else { name(env, value, "scope") }
}

/// The arguments of `entries`: its options, and the hash that was told last.
pub fn entries(call: &Arguments) -> Result<(EntryFilter, Option<String>)> {
    let env = call.env;
    let is_given = |value: Value| env.type_of(value) != Type::Undefined;
    let given = is_given(call.get(0)).then_some(call.get(0));
    let reader = OptionsReader::of(env, given, format_args!("options"))?;
    let text = |member: &CStr, named: &str| reader.get(member)?.map(|value| name(env, value, named)).transpose();
    let has_expired = match reader.get(c"expired")? {
        None => false,
        Some(value) => env.as_boolean(value).ok_or_else(|| reader.wrong(c"expired", "a boolean", value))?,
    };
    let filter = EntryFilter {
        prefix: text(c"prefix", "options.prefix")?.unwrap_or_default(),
        tag: text(c"tag", "options.tag")?,
        has_expired,
    };
    let after = is_given(call.get(1)).then(|| name(env, call.get(1), "after")).transpose()?;
    Ok((filter, after))
}

/// The `tags` argument.
pub fn tags(env: Env, value: Value) -> Result<Vec<String>> {
    let Ok(length) = env.array_length(value) else {
        return Err(Error::argument("tags", "an array of strings", env.describe(value)).into());
    };
    (0..length).map(|index| name(env, env.element(value, index)?, &format!("tags[{index}]"))).collect()
}

/// The arguments `offset` and `limit` of a list, 0 and 50 where they are `undefined`.
pub fn page(env: Env, offset: Value, limit: Value) -> Result<(f64, f64)> {
    /// The most that an INTEGER of SQLite's and a number of JavaScript's both hold.
    const MOST: f64 = 9_007_199_254_740_991.0;
    let count = |value, argument, default| {
        if env.type_of(value) == Type::Undefined {
            return Ok(default);
        }
        let number = env.as_number(value).filter(|number| *number >= 0.0 && number.floor() == *number);
        let expected = "a whole number from 0, or Infinity";
        number
            .map(|number| number.min(MOST))
            .ok_or_else(|| Error::argument(argument, expected, env.describe(value)))
    };
    Ok((count(offset, "offset", 0.0)?, count(limit, "limit", 50.0)?))
}

/// The second argument as JSON text, or as the marker that stands for all of its type.
pub fn json_text(call: &Arguments, realm: &Realm, what: &'static str, markers: &[(Type, &str)]) -> Result<String> {
    let (env, value) = (call.env, call.get(1));
    let text = env.as_string(call.text());
    // A value that has a marker has no other text than this, if any.
    let marker = if text.as_ref().is_none_or(|text| text == "null") {
        let kind = env.type_of(value);
        markers.iter().find(|(marked, _)| *marked == kind).map(|(_, marker)| (*marker).to_owned())
    } else {
        None
    };
    match marker.or(text) {
        Some(text) => Ok(text),
        None => Ok(realm.stringify(env, value)?.map_err(|reason| Error::Unserializable { what, reason })?),
    }
}

/// The `ttlSeconds` argument.
pub fn ttl_seconds(env: Env, value: Value) -> Result<f64> {
    let number = env.as_number(value).filter(|number| !number.is_nan());
    number.ok_or_else(|| Error::argument("ttlSeconds", "a number of seconds", env.describe(value)).into())
}

/// The `priority` argument, background where it is `undefined`.
pub fn priority(env: Env, value: Value) -> Result<Priority> {
    if env.type_of(value) == Type::Undefined {
        return Ok(Priority::Background);
    }
    match env.as_string(value).as_deref() {
        Some("user") => Ok(Priority::User),
        Some("background") => Ok(Priority::Background),
        _ => Err(Error::argument("priority", "'user' or 'background'", env.describe(value)).into()),
    }
}

/// The `untilMs` argument.
pub fn until_ms(env: Env, value: Value) -> Result<f64> {
    let number = env.as_number(value).filter(|number| number.is_finite());
    number.ok_or_else(|| Error::argument("untilMs", "a time in milliseconds", env.describe(value)).into())
}
