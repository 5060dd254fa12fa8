//! Files looked at from outside, as `tools/inspection/file.js` uses them.

use std::path::Path;
use std::sync::Arc;

use napi::bindgen_prelude::{Buffer, Either4, Function, Null, Object};
use napi_derive::napi;

use super::napi::env::{self, Failure};
use super::options::OptionsReader;
use super::realm::code_of;
use crate::core::adaptive::{self, Priority};
use crate::core::dedupe::owner;
use crate::core::error::Error;
use crate::core::operation::{Answer, Field};
use crate::core::options::RateLimitConfig;
use crate::core::rate_limit;
use crate::core::value::{Millis, Value};
use crate::sqlite::backup::CopyProgress;
use crate::sqlite::divisions::SharedDivisions;
use crate::sqlite::inspection;
use crate::sqlite::os::processes;

/// A value of a row, or a parameter.
type Cell = Either4<Null, f64, String, Buffer>;

/// Fails with an error that has a `code`.
type Result<T> = std::result::Result<T, napi::Error<String>>;

/// A file looked at from outside.
#[napi(js_name = "Inspection")]
pub struct Inspection(inspection::Inspection);

/// What a query has answered.
#[napi(object)]
pub struct InspectedRows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

/// What remains of a limit.
#[napi(object)]
pub struct InspectedLimit {
    pub remaining: f64,
    pub reset_time: f64,
    pub limit: f64,
    /// When the next request may be made: now, or later.
    pub next_at: f64,
    pub adaptive: Option<InspectedDivision>,
}

/// How a limit is divided.
#[napi(object)]
pub struct InspectedDivision {
    pub user_reserved: f64,
    pub background_max: f64,
    pub background_paused: bool,
    pub recent_user_activity: f64,
    pub reason: String,
}

#[napi]
impl Inspection {
    /// Of the file at a path.
    #[napi(constructor, catch_unwind)]
    pub fn new(path: String) -> Result<Self> {
        inspection::Inspection::of(Path::new(&path)).map(Inspection).map_err(refused)
    }

    /// Where the file is, by its own name.
    #[napi(getter, catch_unwind)]
    pub fn path(&self) -> String {
        self.0.path().to_string_lossy().into_owned()
    }

    /// Begins to read one state. Answers how.
    #[napi(catch_unwind)]
    pub fn begin(&mut self) -> Result<&'static str> {
        self.0.begin().map(inspection::Access::as_str).map_err(refused)
    }

    /// Runs a query on the state that is read.
    #[napi(catch_unwind)]
    pub fn query(&self, sql: String, parameters: Vec<Cell>) -> Result<InspectedRows> {
        let parameters: Vec<Value> = parameters.into_iter().map(to_value).collect();
        self.0.query(&sql, &parameters).map(to_rows).map_err(refused)
    }

    /// Runs a query on an empty database that has the tables and indexes of all stores.
    #[napi(catch_unwind)]
    pub fn query_expected(&self, sql: String) -> Result<InspectedRows> {
        inspection::query_expected(&sql).map(to_rows).map_err(refused)
    }

    /// Copies the state that is read to a file that is not there yet. The function is told which part of it is copied; where it fails, the
    /// copy ends, and nothing is left of it.
    #[napi(catch_unwind)]
    pub fn back_up(&self, target: String, on_progress: Function<'_, f64, ()>) -> Result<()> {
        let goes_on = |progress: CopyProgress| {
            let CopyProgress { total_pages, remaining_pages } = progress;
            let part = 1.0 - remaining_pages as f64 / total_pages.max(1) as f64;
            // It cannot be called in a worker that is to end.
            on_progress.call(part).is_ok()
        };
        self.0.back_up(Path::new(&target), goes_on).map_err(refused)
    }

    /// What remains of a resource's limit: of one with these options, which are those of a limiter.
    #[napi(catch_unwind)]
    pub fn limit(
        &self,
        env: napi::Env,
        is_adaptive: bool,
        resource: String,
        options: Object<'_>,
        now: f64,
    ) -> Result<InspectedLimit> {
        let (env, options) = env::adopt(&env, &options);
        let reader = OptionsReader::of_options(env, options).map_err(failed)?;
        let shared = reader.shared_limits().map_err(failed)?;
        let default = reader.get(c"defaultConfig").map_err(failed)?;
        let limit = OptionsReader::of(env, default, format_args!("defaultConfig")).map_err(failed)?;
        let limit = limit.rate_limit().map_err(failed)?;
        let (status, wait) = if is_adaptive {
            let (config, divisions) = (reader.adaptive().map_err(failed)?, Arc::<SharedDivisions>::default());
            let call = adaptive::Call { resource, limit, shared, config, divisions, now };
            (adaptive::status(call.clone()), adaptive::wait_time(call, Priority::User))
        } else {
            let call = rate_limit::Call { resource, limit, shared, now };
            (rate_limit::status(call.clone()), rate_limit::wait_time(call))
        };
        let status = self.0.answer(status).map_err(refused)?;
        let wait = self.0.answer(wait).map_err(refused)?;
        Ok(told(status, wait, limit, now))
    }

    /// Whether the process of a lease's owner lives; `None` where that cannot be seen from here.
    #[napi(catch_unwind)]
    pub fn is_owner_alive(&self, owner: String) -> Option<bool> {
        let own = format!("inspection {}", processes::this()?);
        owner::are_neighbours(&own, &owner).then(|| !owner::has_ended(&owner, processes::look))
    }

    /// Ends reading. Answers whether what was read is of one state.
    #[napi(catch_unwind)]
    pub fn end(&mut self) -> bool {
        self.0.end()
    }

    /// What differs once somebody has committed.
    #[napi(catch_unwind)]
    pub fn version(&self) -> String {
        self.0.version()
    }
}

fn told(status: Answer, wait: Answer, limit: RateLimitConfig, now: Millis) -> InspectedLimit {
    let wait = if let Answer::Number(wait) = wait { wait } else { 0.0 };
    let mut told = InspectedLimit {
        remaining: 0.0,
        reset_time: now + limit.window_ms,
        limit: limit.limit,
        next_at: now + wait,
        adaptive: None,
    };
    let Answer::Record(fields) = status else { return told };
    for (name, field) in fields {
        match (name, field) {
            ("remaining", Field::Number(number)) => told.remaining = number,
            ("resetTime", Field::Time(time)) => told.reset_time = time,
            ("adaptive", Field::Record(fields)) => told.adaptive = Some(division(fields)),
            _ => {}
        }
    }
    told
}

fn division(fields: Vec<(&'static str, Field)>) -> InspectedDivision {
    let mut division = InspectedDivision {
        user_reserved: 0.0,
        background_max: 0.0,
        background_paused: false,
        recent_user_activity: 0.0,
        reason: String::new(),
    };
    for (name, field) in fields {
        match (name, field) {
            ("userReserved", Field::Number(number)) => division.user_reserved = number,
            ("backgroundMax", Field::Number(number)) => division.background_max = number,
            ("backgroundPaused", Field::Bool(boolean)) => division.background_paused = boolean,
            ("recentUserActivity", Field::Number(number)) => division.recent_user_activity = number,
            ("reason", Field::Text(text)) => division.reason = text,
            _ => {}
        }
    }
    division
}

fn to_rows(found: inspection::Rows) -> InspectedRows {
    let rows = found.rows.into_iter().map(|row| row.into_iter().map(to_cell).collect()).collect();
    InspectedRows { columns: found.columns, rows }
}

fn to_value(cell: Cell) -> Value {
    match cell {
        Either4::A(Null) => Value::Null,
        Either4::B(number) => number.into(),
        Either4::C(text) => text.into(),
        Either4::D(bytes) => Value::Blob(bytes.to_vec()),
    }
}

fn to_cell(value: Value) -> Cell {
    match value {
        Value::Null => Either4::A(Null),
        Value::Integer(integer) => Either4::B(integer as f64),
        Value::Real(real) => Either4::B(real),
        Value::Text(text) => Either4::C(text),
        Value::Blob(bytes) => Either4::D(bytes.into()),
        Value::Json(text) => Either4::C(text.to_string()),
    }
}

#[cold]
fn refused(error: Error) -> napi::Error<String> {
    let code = code_of(&error).unwrap_or("SQLITE_STORE_INTERNAL").to_owned();
    napi::Error::new(code, error.to_string())
}

#[cold]
fn failed(failure: Failure) -> napi::Error<String> {
    match failure {
        Failure::Error(error) => refused(error),
        Failure::Thrown(_) => refused(Error::Internal("a member of the settings cannot be read".to_owned())),
    }
}
