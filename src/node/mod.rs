//! The only place that names Node-API: the four classes, and what lies between JavaScript values and the rules.

pub mod adaptive;
pub mod backend;
pub mod cache;
pub mod class;
pub mod dedupe;
pub mod environment;
#[cfg(feature = "faults")]
pub mod faults;
pub mod given;
pub mod js;
pub mod limits;
pub mod options;
pub mod rate_limit;
pub mod realm;
pub mod store;

use std::rc::Rc;

use napi::JsValue;
use napi::bindgen_prelude::{Env, FromNapiValue, Unknown};
use napi_derive::napi;

use self::class::{Class, define};
use self::js::{Js, Result, Value};
use self::realm::Realm;

/// Defines the four classes for the realm whose intrinsics are given (see `lib/realm.js`); answers them by name.
/// Called once per evaluation of the package's entry.
#[napi]
pub fn define_stores<'env>(env: Env, intrinsics: Unknown<'env>) -> napi::Result<Unknown<'env>> {
    // SAFETY: within a callback of this environment.
    let js = unsafe { Js::new(env.raw()) };
    // SAFETY: this callback's own argument.
    let intrinsics = unsafe { Value::from_raw(intrinsics.raw()) };
    let defined = define_all(js, intrinsics)
        .map_err(|_| napi::Error::from_reason("defineStores must be given the intrinsics of a realm"))?;
    // SAFETY: a value made in this callback.
    unsafe { Unknown::from_napi_value(env.raw(), defined.raw()) }
}

fn define_all(js: Js, intrinsics: Value) -> Result<Value> {
    let realm = Rc::new(Realm::new(js, intrinsics)?);
    let classes = realm.record(js, Vec::new())?;
    define_into::<cache::CacheStore>(js, &realm, classes, intrinsics)?;
    define_into::<dedupe::DedupeStore>(js, &realm, classes, intrinsics)?;
    define_into::<rate_limit::RateLimitStore>(js, &realm, classes, intrinsics)?;
    define_into::<adaptive::AdaptiveStore>(js, &realm, classes, intrinsics)?;
    Ok(classes)
}

fn define_into<S: Class>(js: Js, realm: &Rc<Realm>, classes: Value, intrinsics: Value) -> Result<()> {
    let class = define::<S>(js, realm)?;
    let prototype = js.get(class, c"prototype")?;
    // `await using` ends a store as `close()` does.
    let close = js.get(prototype, c"close")?;
    js.define_hidden(prototype, js.get(intrinsics, c"asyncDispose")?, close)?;
    // The realm's intrinsics live as long as the class, or an object of it, does.
    js.define_hidden(prototype, js.get(intrinsics, c"key")?, intrinsics)?;
    js.set(classes, S::NAME, class)
}
