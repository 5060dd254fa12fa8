//! The configuration of limits by resource, which `lib/limits.js` keeps: checked when a call is made.

use std::cell::RefCell;
use std::fmt;

use super::arguments::Arguments;
use super::napi::js::{Js, Reference, Result, Value};
use super::options::{self, Members};
use super::realm::Realm;
use crate::core::error::Error;
use crate::core::options::{RateLimitConfig, ResourceConfigs};

/// The configurations of a store.
pub struct Limits {
    /// What keeps them, which the store's object keeps alive.
    object: RefCell<Reference>,
}

impl Limits {
    /// Reads `defaultConfig` and `resourceConfigs` into the object; `default` is what counts without the first.
    pub fn read(
        js: Js,
        members: &Members<'_>,
        realm: &Realm,
        object: Value,
        default: RateLimitConfig,
    ) -> Result<Self> {
        let config = match members.get(c"defaultConfig")? {
            Some(config) => {
                read_default(js, config)?;
                config
            }
            None => realm.limit_object(js, default)?,
        };
        js.set(object, "config", config)?;
        if let Some(map) = members.get(c"resourceConfigs")? {
            if !js.has_methods(map, &[c"get", c"set", c"forEach"]) {
                return Err(Error::argument("resourceConfigs", "a Map", js.describe(map)).into());
            }
            js.set(object, "map", map)?;
        }
        Ok(Limits { object: RefCell::new(js.refer(object, false)?) })
    }

    /// What keeps them.
    pub fn value(&self, js: Js) -> Result<Value> {
        js.deref(&self.object.borrow())
            .ok_or_else(|| Error::Internal("the store's limits are gone".to_owned()).into())
    }

    /// The `resource` argument, as text and with its limit.
    pub fn resource(&self, call: &Arguments) -> Result<(String, RateLimitConfig)> {
        let js = call.js;
        let name = options::string(js, call.get(0), "resource")?;
        let [limit, window_ms, config] = call.limit();
        let limit = match RateLimitConfig::checked(js.as_number(limit), js.as_number(window_ms)) {
            Some(limit) => limit,
            // Says what is wrong.
            None if js.strict_equals(config, js.get(self.value(js)?, c"config")?) => read_default(js, config)?,
            None => read_entry(js, &name, config)?,
        };
        Ok((name, limit))
    }

    /// The configuration of every resource.
    pub fn all(&self, js: Js) -> Result<ResourceConfigs> {
        let limits = self.value(js)?;
        let list = js.call(limits, js.get(limits, c"all")?, &[])?;
        let mut named = Vec::new();
        for index in (1..js.array_length(list)?).step_by(2) {
            if let Some(resource) = js.as_string(js.element(list, index)?) {
                let config = read_entry(js, &resource, js.element(list, index + 1)?)?;
                named.push((resource, config));
            }
        }
        Ok(ResourceConfigs { default: read_default(js, js.element(list, 0)?)?, named })
    }

    /// The method `setResourceConfig`. Never throws: what is wrong with a configuration is told by the calls that use
    /// it.
    pub fn set_resource_config(&self, call: &Arguments) -> Value {
        let js = call.js;
        let set = || {
            let limits = self.value(js)?;
            js.call(limits, js.get(limits, c"set")?, &[call.get(0), call.get(1)])
        };
        let _ = set();
        js.undefined()
    }

    /// The method `getResourceConfig`: answers the object that was given, or the default. Never throws.
    pub fn get_resource_config(&self, call: &Arguments) -> Value {
        let js = call.js;
        let Ok(limits) = self.value(js) else { return js.undefined() };
        let of = || js.call(limits, js.get(limits, c"of")?, &[call.get(0)]);
        of().or_else(|_| js.get(limits, c"config")).unwrap_or_else(|_| js.undefined())
    }

    /// Gives the reference up.
    pub fn collected(&self, js: Js) {
        js.drop_reference(self.object.replace(Reference::NONE));
    }
}

fn read_default(js: Js, config: Value) -> Result<RateLimitConfig> {
    read(js, config, format_args!("defaultConfig"))
}

fn read_entry(js: Js, resource: &str, config: Value) -> Result<RateLimitConfig> {
    read(js, config, format_args!("resourceConfigs.get('{resource}')"))
}

fn read(js: Js, config: Value, name: fmt::Arguments<'_>) -> Result<RateLimitConfig> {
    Members::of(js, Some(config), name)?.rate_limit()
}
