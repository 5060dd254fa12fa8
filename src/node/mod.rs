//! The only place that names Node-API: the four classes, and what lies between JavaScript values and the rules.

pub mod adaptive;
pub mod arguments;
pub mod backend;
pub mod bookings;
pub mod cache;
pub mod class;
pub mod dedupe;
pub mod environment;
pub mod exports;
#[cfg(feature = "faults")]
pub mod faults;
pub mod inspection;
pub mod limiter;
pub mod limits;
pub mod metrics;
#[allow(unsafe_code)]
pub mod napi;
pub mod options;
pub mod rate_limit;
pub mod realm;
pub mod remote;
pub mod store;
pub mod user_connection;
pub mod whole;
