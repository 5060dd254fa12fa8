//! What the binding exports: see `lib/realm.js`.

use std::rc::Rc;

use napi::bindgen_prelude::{Env, Object, Unknown};
use napi_derive::napi;

use super::napi::function::{ARGUMENTS, Callable};
use super::napi::handle;
use super::napi::js::{self, Js, Result, Value};
use super::realm::Realm;
use super::{adaptive, cache, class, dedupe, rate_limit};

/// `createRealm(intrinsics)`: a handle of the realm whose intrinsics are given (see `lib/realm.js`).
struct CreateRealm;

impl Callable for CreateRealm {
    fn call(&self, js: Js, [intrinsics, ..]: &[Value; ARGUMENTS]) -> std::result::Result<Value, Value> {
        let handle = Realm::new(js, *intrinsics).and_then(|realm| handle::create(js, Rc::new(realm)));
        handle.map_err(|_| js.undefined())
    }
}

/// What a value is, in words.
#[napi]
pub fn describe(env: Env, value: Unknown<'_>) -> String {
    let (js, value) = js::adopt(&env, &value);
    js.describe(value)
}

/// Called once an environment, however often the package's entry is evaluated.
#[napi(module_exports)]
pub fn export(exports: Object<'_>, env: Env) -> napi::Result<()> {
    let (js, exports) = js::adopt(&env, &exports);
    add_to(js, exports).map_err(|_| napi::Error::from_reason("the binding's functions cannot be made"))
}

fn add_to(js: Js, exports: Value) -> Result<()> {
    let classes = js.array()?;
    js.set_element(classes, 0, class::table::<cache::CacheStore>(js)?)?;
    js.set_element(classes, 1, class::table::<dedupe::DedupeStore>(js)?)?;
    js.set_element(classes, 2, class::table::<rate_limit::RateLimitStore>(js)?)?;
    js.set_element(classes, 3, class::table::<adaptive::AdaptiveStore>(js)?)?;
    js.set(exports, "classes", classes)?;
    js.set(exports, "createRealm", js.function("createRealm", &CreateRealm)?)
}
