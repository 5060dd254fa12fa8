//! What both rate limiters are made of.

use std::rc::{Rc, Weak};

use uuid::Uuid;

use super::arguments::Arguments;
use super::environment::Member;
use super::limits::Limits;
use super::napi::js::{Js, Result, Value};
use super::options::{self, Members};
use super::realm::Realm;
use super::store::Store;
use crate::core::error::StoreKind;
use crate::core::operation::Operation;
use crate::core::options::{RateLimitConfig, ResourceConfigs};
use crate::core::rate_limit::Reservations;
use crate::core::value::Millis;

/// A rate limiter.
pub struct Limiter {
    /// Its store.
    pub store: Store,
    /// Its limits by resource.
    pub limits: Limits,
    /// How it holds places, if it does.
    pub reservations: Option<Reservations>,
}

impl Limiter {
    /// Makes one; `default` is what counts without the option `defaultConfig`, and `object` keeps the limits.
    pub fn open(
        js: Js,
        realm: Rc<Realm>,
        members: &Members<'_>,
        object: Value,
        kind: StoreKind,
        default: RateLimitConfig,
    ) -> Result<Rc<Self>> {
        let limits = Limits::read(js, members, &realm, object, default)?;
        let for_ms = members.reservation_ms()?;
        let reservations = for_ms.map(|for_ms| Reservations { owner: Uuid::new_v4().to_string(), for_ms });
        let store = Store::open(js, kind, realm, members).inspect_err(|_| limits.collected(js))?;
        let limiter = Rc::new(Limiter { store, limits, reservations });
        let member: Weak<dyn Member> = Rc::downgrade(&limiter) as Weak<dyn Member>;
        limiter.store.join(js, member, 0.0)?;
        Ok(limiter)
    }

    /// A call on a resource: its name, its limit and the time.
    pub fn on(
        &self,
        call: &Arguments,
        make: impl FnOnce(String, RateLimitConfig, Millis) -> Result<Operation>,
    ) -> Result<Value> {
        self.store.call(call, || {
            let (resource, limit) = self.limits.resource(call)?;
            make(resource, limit, call.now()?).map(Some)
        })
    }

    /// A call on all resources.
    pub fn on_all(
        &self,
        call: &Arguments,
        make: impl FnOnce(ResourceConfigs, Millis) -> Operation,
    ) -> Result<Value> {
        self.store.call(call, || Ok(Some(make(self.limits.all(call.js)?, call.now()?))))
    }

    /// A call on a resource, whatever its limit.
    pub fn on_name(&self, call: &Arguments, make: impl FnOnce(String) -> Result<Operation>) -> Result<Value> {
        self.store.call(call, || make(options::string(call.js, call.get(0), "resource")?).map(Some))
    }

    /// Its object has been collected.
    pub fn collected(&self, js: Js) {
        self.store.collected(js, None);
        self.limits.collected(js);
    }
}

impl Member for Limiter {
    fn shut_down(&self) {
        self.store.shut_down(None);
    }
}
