//! What the binding exports: see `lib/realm.js`.

use std::rc::Rc;

use napi::bindgen_prelude::{Object, Unknown};
use napi_derive::napi;

use super::environment::Environment;
use super::napi::env::{self, Env, Result, Value};
use super::napi::function::{ARGUMENTS, Callable, Returned};
use super::napi::handle;
use super::options::MemoryDatabase;
use super::realm::Realm;
use super::{adaptive, cache, class, dedupe, rate_limit};
use crate::sqlite::registry;

/// `createRealm(intrinsics)`: a handle of the realm whose intrinsics are given (see `lib/realm.js`). The first starts the
/// environment.
struct CreateRealm;

impl Callable for CreateRealm {
    fn call(&self, env: Env, [intrinsics, ..]: &[Value; ARGUMENTS], _: Option<Value>) -> Returned {
        let create = || {
            Environment::start_once(env, env.get(*intrinsics, c"outside")?)?;
            handle::create(env, Rc::new(Realm::new(env, *intrinsics)?))
        };
        create().map_err(|_| env.undefined())
    }
}

/// `createMemoryDatabase()`: a handle of a database in memory, which stores take as `database`.
struct CreateMemoryDatabase;

impl Callable for CreateMemoryDatabase {
    fn call(&self, env: Env, _: &[Value; ARGUMENTS], _: Option<Value>) -> Returned {
        let create = || handle::create(env, MemoryDatabase(registry::open_memory()?));
        create().map_err(|_| env.undefined())
    }
}

/// What a value is, in words.
#[napi]
pub fn describe(env: napi::Env, value: Unknown<'_>) -> String {
    let (env, value) = env::adopt(&env, &value);
    env.describe(value)
}

/// Called once an environment, however often the package's entry is evaluated.
#[napi(module_exports)]
pub fn export(exports: Object<'_>, env: napi::Env) -> napi::Result<()> {
    let (env, exports) = env::adopt(&env, &exports);
    add_to(env, exports).map_err(|_| napi::Error::from_reason("the binding's functions cannot be made"))
}

fn add_to(env: Env, exports: Value) -> Result<()> {
    let classes = env.array()?;
    env.set_element(classes, 0, class::table::<cache::CacheStore>(env)?)?;
    env.set_element(classes, 1, class::table::<dedupe::DedupeStore>(env)?)?;
    env.set_element(classes, 2, class::table::<rate_limit::RateLimitStore>(env)?)?;
    env.set_element(classes, 3, class::table::<adaptive::AdaptiveStore>(env)?)?;
    env.set(exports, "classes", classes)?;
    env.set(exports, "createRealm", env.function("createRealm", &CreateRealm)?)?;
    env.set(exports, "createMemoryDatabase", env.function("createMemoryDatabase", &CreateMemoryDatabase)?)?;
    // By which `lib/binding.js` tells the binary of its own version from any other.
    env.set(exports, "version", env.string(env!("CARGO_PKG_VERSION"))?)
}
