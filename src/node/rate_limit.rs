//! `SQLiteRateLimitStore`.

use std::rc::Rc;

use super::arguments::Arguments;
use super::class::{Class, Method, Shape};
use super::limiter::Limiter;
use super::napi::js::{Js, Result, Value};
use super::options::Members;
use super::realm::Realm;
use super::store::Store;
use crate::core::error::StoreKind;
use crate::core::operation::Operation;
use crate::core::options::RateLimitConfig;
use crate::core::rate_limit::{self, Call};

/// The class.
pub struct RateLimitStore(Rc<Limiter>);

impl Class for RateLimitStore {
    const NAME: &'static str = "SQLiteRateLimitStore";
    const METHODS: &'static [Method<Self>] = &[
        Method::new(Shape::Limited, "canProceed", 1, |store, call| {
            store.on(call, |on| rate_limit::can_proceed(on, store.0.reservations.as_ref()))
        }),
        Method::new(Shape::Limited, "acquire", 1, |store, call| store.on(call, |on| rate_limit::acquire(&on))),
        Method::new(Shape::Promised, "record", 1, |store, call| {
            let reservations = store.0.reservations.as_ref();
            store.0.on_name(call, |resource| Ok(rate_limit::record(resource, call.now()?, reservations)))
        }),
        Method::new(Shape::Limited, "getStatus", 1, |store, call| store.on(call, rate_limit::status)),
        Method::new(Shape::Promised, "reset", 1, |store, call| {
            store.0.on_name(call, |resource| Ok(rate_limit::reset(&resource)))
        }),
        Method::new(Shape::Limited, "getWaitTime", 1, |store, call| store.on(call, rate_limit::wait_time)),
        Method::new(Shape::Direct, "setResourceConfig", 2, |store, call| {
            Ok(store.0.limits.set_resource_config(call))
        }),
        Method::new(Shape::Direct, "getResourceConfig", 1, |store, call| {
            Ok(store.0.limits.get_resource_config(call))
        }),
        Method::new(Shape::Promised, "getStats", 0, |store, call| store.0.on_all(call, rate_limit::stats)),
        Method::new(Shape::Promised, "clear", 0, |store, call| {
            store.0.store.call(call, || Ok(Some(rate_limit::clear())))
        }),
        Method::new(Shape::Promised, "cleanup", 0, |store, call| store.0.on_all(call, rate_limit::cleanup)),
    ];

    fn open(js: Js, realm: Rc<Realm>, options: Value, limits: Value) -> Result<Self> {
        let members = Members::of_options(js, options)?;
        let default = RateLimitConfig::PLAIN_DEFAULT;
        Limiter::open(js, realm, &members, limits, StoreKind::RateLimit, default).map(RateLimitStore)
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn collected(&self, js: Js) {
        self.0.collected(js);
    }
}

impl RateLimitStore {
    fn on(&self, call: &Arguments, make: impl FnOnce(Call) -> Operation) -> Result<Value> {
        self.0.on(call, |resource, limit, now| Ok(make(Call { resource, limit, now })))
    }
}
