//! `SQLiteRateLimitStore`.

use std::rc::{Rc, Weak};

use super::class::{Arguments, Class, Method, Shape};
use super::environment::Member;
use super::js::{Js, Result, Value};
use super::limits::{self, Limits};
use super::options::{self, Members};
use super::realm::Realm;
use super::store::Store;
use crate::core::error::StoreKind;
use crate::core::options::{RateLimitConfig, ResourceConfigs};
use crate::core::plan::Operation;
use crate::core::rate_limit::{self, Call, Reservations};
use crate::core::value::Millis;

/// The class.
pub struct RateLimitStore(Rc<Inner>);

struct Inner {
    store: Store,
    limits: Limits,
    reservations: Option<Reservations>,
}

impl Class for RateLimitStore {
    const NAME: &'static str = "SQLiteRateLimitStore";
    const EXPECTED: &'static str = "an SQLiteRateLimitStore";
    const METHODS: &'static [Method<Self>] = &[
        Method::new(Shape::Limited, "canProceed", 1, |store, call| {
            store.0.on(call, |on| rate_limit::can_proceed(on, store.0.reservations.as_ref()))
        }),
        Method::new(Shape::Limited, "acquire", 1, |store, call| store.0.on(call, |on| rate_limit::acquire(&on))),
        Method::new(Shape::Promised, "record", 1, |store, call| store.0.record(call)),
        Method::new(Shape::Limited, "getStatus", 1, |store, call| store.0.on(call, rate_limit::status)),
        Method::new(Shape::Promised, "reset", 1, |store, call| store.0.reset(call)),
        Method::new(Shape::Limited, "getWaitTime", 1, |store, call| store.0.on(call, rate_limit::wait_time)),
        Method::new(Shape::Direct, "setResourceConfig", 2, |store, call| store.0.limits.set_resource_config(call)),
        Method::new(Shape::Direct, "getResourceConfig", 1, |store, call| store.0.limits.get_resource_config(call)),
        Method::new(Shape::Promised, "getStats", 0, |store, call| store.0.on_all(call, rate_limit::stats)),
        Method::new(Shape::Promised, "clear", 0, |store, call| {
            store.0.store.call(call, || Ok(Some(rate_limit::clear())))
        }),
        Method::new(Shape::Promised, "cleanup", 0, |store, call| store.0.on_all(call, rate_limit::cleanup)),
        Method::new(Shape::Promised, "close", 0, |store, call| store.0.store.close(call.js)),
        Method::new(Shape::Direct, "destroy", 0, |store, call| {
            store.0.store.destroy(call.js);
            call.js.undefined()
        }),
    ];

    fn construct(js: Js, options: Value, realm: Rc<Realm>) -> Result<Self> {
        let members = Members::of_options(js, options)?;
        let limits = Limits::read(js, &members, &realm, RateLimitConfig::PLAIN_DEFAULT)?;
        let reservations = limits::reservations(&members)?;
        let store = Store::open(js, StoreKind::RateLimit, realm, &members)?;
        let inner = Rc::new(Inner { store, limits, reservations });
        let member: Weak<dyn Member> = Rc::downgrade(&inner) as Weak<dyn Member>;
        inner.store.join(js, member, 0.0)?;
        Ok(RateLimitStore(inner))
    }

    fn limits(&self, js: Js) -> Option<Value> {
        self.0.limits.value(js).ok()
    }

    fn collected(&self, js: Js) {
        self.0.store.collected(js, None);
        self.0.limits.collected(js);
    }
}

impl Member for Inner {
    fn shut_down(&self) {
        self.store.shut_down(None);
    }
}

impl Inner {
    /// A call on a resource.
    fn on(&self, call: &Arguments, make: impl FnOnce(Call) -> Operation) -> Value {
        self.store.call(call, || {
            let (resource, limit) = self.limits.resource(call)?;
            Ok(Some(make(Call { resource, limit, now: call.now()? })))
        })
    }

    /// A call on all resources.
    fn on_all(&self, call: &Arguments, make: fn(ResourceConfigs, Millis) -> Operation) -> Value {
        self.store.call(call, || Ok(Some(make(self.limits.all(call.js)?, call.now()?))))
    }

    fn record(&self, call: &Arguments) -> Value {
        let js = call.js;
        self.store.call(call, || {
            let resource = options::string(js, call.get(0), "resource")?;
            let now = call.now()?;
            Ok(Some(rate_limit::record(resource, now, self.reservations.as_ref())))
        })
    }

    fn reset(&self, call: &Arguments) -> Value {
        self.store.call(call, || Ok(Some(rate_limit::reset(&options::string(call.js, call.get(0), "resource")?))))
    }
}
