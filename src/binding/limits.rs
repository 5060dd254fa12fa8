//! The configuration of limits by resource, live: what is in the given `Map` and objects counts when a call is
//! made, as in 0.2.0.

use std::cell::RefCell;
use std::fmt;

use uuid::Uuid;

use super::class;
use super::js::{Js, Reference, Result, Value};
use super::options::{self, Members};
use super::realm::Realm;
use crate::core::error::Error;
use crate::core::options::{RateLimitConfig, ResourceConfigs};
use crate::core::rate_limit::Reservations;

/// The configurations of a store.
pub struct Limits {
    /// The `resourceConfigs` that were given or, once it is needed, a map of the store's own.
    map: RefCell<Option<Reference>>,
    /// The `defaultConfig` that was given.
    given_default: RefCell<Option<Reference>>,
    /// What counts where none was, and the object that stands for it once it is asked for.
    default: RateLimitConfig,
    default_object: RefCell<Option<Reference>>,
}

impl Limits {
    /// Reads `defaultConfig` and `resourceConfigs`.
    pub fn read(js: Js, members: &Members<'_>, default: RateLimitConfig) -> Result<Self> {
        let config = members.get(c"defaultConfig")?;
        let mut first = default;
        if let Some(config) = config {
            first = read(js, config, format_args!("defaultConfig"))?;
        }
        let map = members.get(c"resourceConfigs")?;
        if let Some(map) = map
            && !js.has_methods(map, &[c"get", c"set", c"forEach"])
        {
            return Err(Error::argument("resourceConfigs", "a Map", js.describe(map)).into());
        }
        let refer = |object: Option<Value>| object.map(|object| js.refer(object, true)).transpose();
        Ok(Limits {
            map: RefCell::new(refer(map)?),
            given_default: RefCell::new(refer(config)?),
            default: first,
            default_object: RefCell::new(None),
        })
    }

    fn map(&self, js: Js) -> Option<Value> {
        self.map.borrow().as_ref().and_then(|map| js.deref(map))
    }

    fn given_default(&self, js: Js) -> Option<Value> {
        self.given_default.borrow().as_ref().and_then(|config| js.deref(config))
    }

    fn default(&self, js: Js) -> Result<RateLimitConfig> {
        match self.given_default(js) {
            Some(config) => read(js, config, format_args!("defaultConfig")),
            None => Ok(self.default),
        }
    }

    /// The entry of a resource, if it has one that is not falsy.
    fn entry(&self, js: Js, resource: Value) -> Result<Option<Value>> {
        let Some(map) = self.map(js) else {
            return Ok(None);
        };
        let entry = js.call(map, js.get(map, c"get")?, &[resource])?;
        Ok(js.truthy(entry).then_some(entry))
    }

    /// The configuration of a resource.
    pub fn of(&self, js: Js, resource: Value) -> Result<RateLimitConfig> {
        match self.entry(js, resource)? {
            None => self.default(js),
            Some(entry) => {
                let name = js.as_string(resource).unwrap_or_default();
                read(js, entry, format_args!("resourceConfigs.get('{name}')"))
            }
        }
    }

    /// The configuration of every resource.
    pub fn all(&self, js: Js, realm: &Realm) -> Result<ResourceConfigs> {
        let mut named = Vec::new();
        if let Some(map) = self.map(js) {
            for (resource, entry) in realm.entries(js, map)? {
                if let Some(resource) = js.as_string(resource)
                    && js.truthy(entry)
                {
                    let config = read(js, entry, format_args!("resourceConfigs.get('{resource}')"))?;
                    named.push((resource, config));
                }
            }
        }
        Ok(ResourceConfigs { default: self.default(js)?, named })
    }

    /// `setResourceConfig`: what is wrong with a configuration is told by the calls that use it.
    pub fn set(&self, js: Js, realm: &Realm, resource: Value, config: Value) -> Result<()> {
        let map = match self.map(js) {
            Some(map) => map,
            None => {
                let map = realm.map(js)?;
                *self.map.borrow_mut() = Some(js.refer(map, true)?);
                map
            }
        };
        js.call(map, js.get(map, c"set")?, &[resource, config]).map(drop)
    }

    /// `getResourceConfig`: the object that was given, or the default.
    pub fn get(&self, js: Js, realm: &Realm, resource: Value) -> Result<Value> {
        if let Ok(Some(entry)) = self.entry(js, resource) {
            return Ok(entry);
        }
        if let Some(config) = self.given_default(js) {
            return Ok(config);
        }
        if let Some(object) = self.default_object.borrow().as_ref().and_then(|object| js.deref(object)) {
            return Ok(object);
        }
        let object = realm.limit_object(js, self.default)?;
        *self.default_object.borrow_mut() = Some(js.refer(object, true)?);
        Ok(object)
    }

    /// Gives the references up.
    pub fn collected(&self, js: Js) {
        for reference in [&self.map, &self.given_default, &self.default_object] {
            if let Some(reference) = reference.borrow_mut().take() {
                js.drop_reference(reference);
            }
        }
    }
}

fn read(js: Js, config: Value, name: fmt::Arguments<'_>) -> Result<RateLimitConfig> {
    Members::of(js, Some(config), name)?.rate_limit()
}

/// The `reservationMs` option, and a name for the store that holds places.
pub fn reservations(members: &Members<'_>) -> Result<Option<Reservations>> {
    let for_ms = members.reservation_ms()?;
    Ok(for_ms.map(|for_ms| Reservations { owner: Uuid::new_v4().to_string(), for_ms }))
}

/// The `resource` argument, as text and with its limit.
pub fn resource(js: Js, value: Value, limits: &Limits) -> Result<(String, RateLimitConfig)> {
    let name = options::string(js, value, "resource")?;
    Ok((name, limits.of(js, value)?))
}

impl Limits {
    /// The method `setResourceConfig`. Never throws.
    pub fn set_resource_config(&self, call: &class::Arguments, realm: &Realm) -> Value {
        let _ = self.set(call.js, realm, call.get(0), call.get(1));
        call.js.undefined()
    }

    /// The method `getResourceConfig`. Never throws.
    pub fn get_resource_config(&self, call: &class::Arguments, realm: &Realm) -> Value {
        self.get(call.js, realm, call.get(0)).unwrap_or_else(|_| call.js.undefined())
    }
}
