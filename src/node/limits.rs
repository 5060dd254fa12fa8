//! The configuration of limits by resource, which `lib/limits.js` keeps: checked when a call is made.

use std::cell::RefCell;
use std::fmt;

use super::arguments::Arguments;
use super::napi::env::{Env, Reference, Result, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use crate::core::error::Error;
use crate::core::options::{RateLimitConfig, ResourceConfigs, SharedLimits};

/// The configurations of a store.
pub struct Limits {
    /// What keeps them, which the store's object keeps alive.
    object: RefCell<Reference>,
    pub shared: SharedLimits,
}

impl Limits {
    /// Reads `defaultConfig` and `resourceConfigs` into the object; `default` is what counts without the first.
    pub fn read(
        env: Env,
        reader: &OptionsReader<'_>,
        realm: &Realm,
        object: Value,
        default: RateLimitConfig,
    ) -> Result<Self> {
        let config = match reader.get(c"defaultConfig")? {
            Some(config) => {
                read_default(env, config)?;
                config
            }
            None => realm.limit_object(env, default)?,
        };
        env.set(object, "config", config)?;
        if let Some(map) = reader.get(c"resourceConfigs")? {
            if !env.has_methods(map, &[c"get", c"set", c"forEach"]) {
                return Err(Error::argument("resourceConfigs", "a Map", env.describe(map)).into());
            }
            env.set(object, "map", map)?;
        }
        let shared = reader.shared_limits()?;
        if shared.books_waits {
            env.set(object, "booksWaits", env.boolean(true))?;
        }
        Ok(Limits { object: RefCell::new(env.create_reference(object, false)?), shared })
    }

    /// What keeps them.
    pub fn value(&self, env: Env) -> Result<Value> {
        env.reference_value(&self.object.borrow())
            .ok_or_else(|| Error::Internal("the store's limits are gone".to_owned()).into())
    }

    /// The `resource` argument, as text and with its limit.
    pub fn resource(&self, call: &Arguments) -> Result<(String, RateLimitConfig)> {
        let env = call.env;
        let name = options::name(env, call.get(0), "resource")?;
        let [limit, window_ms, config] = call.limit();
        let limit = match RateLimitConfig::checked(env.as_number(limit), env.as_number(window_ms)) {
            Some(limit) => limit,
            // Says what is wrong.
            None if env.strict_equals(config, env.get(self.value(env)?, c"config")?) => read_default(env, config)?,
            None => read_entry(env, &name, config)?,
        };
        Ok((name, limit))
    }

    /// The limit of a resource, as it is configured now.
    pub fn of(&self, env: Env, resource: &str) -> Result<RateLimitConfig> {
        let limits = self.value(env)?;
        let config = env.call(limits, env.get(limits, c"of")?, &[env.string(resource)?])?;
        read_entry(env, resource, config)
    }

    /// The configuration of every resource.
    pub fn all(&self, env: Env) -> Result<ResourceConfigs> {
        let limits = self.value(env)?;
        let list = env.call(limits, env.get(limits, c"all")?, &[])?;
        let mut named = Vec::new();
        for index in (1..env.array_length(list)?).step_by(2) {
            // What no call can name has no requests.
            if let Ok(resource) = options::name(env, env.element(list, index)?, "resource") {
                let config = read_entry(env, &resource, env.element(list, index + 1)?)?;
                named.push((resource, config));
            }
        }
        let default = read_default(env, env.element(list, 0)?)?;
        Ok(ResourceConfigs { default, named, shared: self.shared })
    }

    /// The method `setResourceConfig`. Never throws: what is wrong with a configuration is told by the calls that use
    /// it.
    pub fn set_resource_config(&self, call: &Arguments) -> Value {
        let env = call.env;
        let set = || {
            let limits = self.value(env)?;
            env.call(limits, env.get(limits, c"set")?, &[call.get(0), call.get(1)])
        };
        let _ = set();
        env.undefined()
    }

    /// The method `getResourceConfig`: answers the object that was given, or the default. Never throws.
    pub fn get_resource_config(&self, call: &Arguments) -> Value {
        let env = call.env;
        let Ok(limits) = self.value(env) else { return env.undefined() };
        let of = || env.call(limits, env.get(limits, c"of")?, &[call.get(0)]);
        of().or_else(|_| env.get(limits, c"config")).unwrap_or_else(|_| env.undefined())
    }

    /// Gives the reference up.
    pub fn collected(&self, env: Env) {
        env.drop_reference(self.object.replace(Reference::NONE));
    }
}

fn read_default(env: Env, config: Value) -> Result<RateLimitConfig> {
    read(env, config, format_args!("defaultConfig"))
}

fn read_entry(env: Env, resource: &str, config: Value) -> Result<RateLimitConfig> {
    read(env, config, format_args!("resourceConfigs.get('{resource}')"))
}

fn read(env: Env, config: Value, name: fmt::Arguments<'_>) -> Result<RateLimitConfig> {
    OptionsReader::of(env, Some(config), name)?.rate_limit()
}
