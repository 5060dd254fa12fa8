//! `SQLiteRateLimitStore`.

use std::rc::Rc;

use super::arguments::Arguments;
use super::class::{Class, Method, MethodKind};
use super::limiter::Limiter;
use super::napi::env::{Env, Result, Value};
use super::options::OptionsReader;
use super::realm::Realm;
use super::store::Store;
use crate::core::error::StoreKind;
use crate::core::operation::Operation;
use crate::core::options::RateLimitConfig;
use crate::core::rate_limit::{self, Call};

pub struct RateLimitStore(Rc<Limiter>);

impl Class for RateLimitStore {
    const NAME: &'static str = "SQLiteRateLimitStore";
    const METHODS: &'static [Method<Self>] = &[
        Method::new(MethodKind::Limited, "canProceed", 1, |store, call| {
            store.call_on_resource(call, |rule_call| {
                rate_limit::can_proceed(rule_call, store.0.reservations.as_ref())
            })
        }),
        Method::new(MethodKind::Limited, "acquire", 1, |store, call| {
            store.0.recording(call, store.call_on_resource(call, rate_limit::acquire), rate_limit::remove_oldest)
        }),
        Method::new(MethodKind::Promised, "record", 1, |store, call| {
            let reservations = store.0.reservations.as_ref();
            let answer =
                store.0.on_name(call, |resource| Ok(rate_limit::record(resource, call.now()?, reservations)));
            store.0.recording(call, answer, rate_limit::remove_oldest)
        }),
        Method::new(MethodKind::Limited, "getStatus", 1, |store, call| {
            store.call_on_resource(call, rate_limit::status)
        }),
        Method::new(MethodKind::Promised, "reset", 1, |store, call| {
            store.0.on_name(call, |resource| Ok(rate_limit::reset(&resource)))
        }),
        Method::new(MethodKind::Limited, "getWaitTime", 1, |store, call| {
            store.call_on_resource(call, rate_limit::wait_time)
        }),
        Method::new(MethodKind::Direct, "setResourceConfig", 2, |store, call| {
            Ok(store.0.limits.set_resource_config(call))
        }),
        Method::new(MethodKind::Direct, "getResourceConfig", 1, |store, call| {
            Ok(store.0.limits.get_resource_config(call))
        }),
        Method::new(MethodKind::Promised, "getStats", 0, |store, call| store.0.on_all(call, rate_limit::stats)),
        Method::new(MethodKind::Promised, "clear", 0, |store, call| {
            store.0.store.call(call, || Ok(Some(rate_limit::clear())))
        }),
        Method::new(MethodKind::Promised, "cleanup", 0, |store, call| store.0.on_all(call, rate_limit::cleanup)),
    ];

    fn open(env: Env, realm: Rc<Realm>, options: Value, limits: Value) -> Result<Self> {
        let reader = OptionsReader::of_options(env, options)?;
        let default = RateLimitConfig::PLAIN_DEFAULT;
        Limiter::open(env, realm, &reader, limits, StoreKind::RateLimit, default).map(RateLimitStore)
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn collected(&self, env: Env) {
        self.0.collected(env);
    }
}

impl RateLimitStore {
    fn call_on_resource(&self, call: &Arguments, make: impl FnOnce(Call) -> Operation) -> Result<Value> {
        self.0.call_on_resource(call, |resource, limit, now| Ok(make(Call { resource, limit, now })))
    }
}
