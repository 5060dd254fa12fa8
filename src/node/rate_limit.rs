//! `SQLiteRateLimitStore`.

use std::rc::Rc;

use super::arguments::Arguments;
use super::class::{Class, Method, MethodKind};
use super::limiter::Limiter;
use super::metrics::Counted;
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
        Method::counting(Counted::Admissions, MethodKind::Asking, "canProceed", 1, |store, call| {
            let limiter = &store.0;
            store.call_on_resource(call, |rule_call| {
                limiter.can_proceed(call, rate_limit::can_proceed(rule_call, limiter.reservations.as_ref()))
            })
        }),
        Method::counting(Counted::Admissions, MethodKind::Acquiring, "acquire", 1, |store, call| {
            if call.gives_back() {
                return store.0.on_name(call, |resource| Ok(rate_limit::give_back(&resource, call.now()?)));
            }
            let answer = store.call_on_resource(call, |rule_call| {
                let resource = rule_call.resource.clone();
                store.0.on_recorded(call, &resource)?;
                store.0.acquire(call, &resource, None, rate_limit::acquire(rule_call))
            });
            store.0.recording(call, answer, None, rate_limit::remove_oldest)
        }),
        Method::new(MethodKind::Recording, "record", 1, |store, call| {
            let answer = store.0.on_name(call, |resource| {
                let now = store.0.on_recorded(call, &resource)?;
                match store.0.record_spaced(call, &resource, None)? {
                    Some(operation) => Ok(operation),
                    None => Ok(rate_limit::record(resource, now, store.0.reservations.as_ref())),
                }
            });
            store.0.recording(call, answer, None, rate_limit::remove_oldest)
        }),
        Method::new(MethodKind::Limited, "getStatus", 1, |store, call| {
            store.call_on_resource(call, |rule_call| Ok(rate_limit::status(rule_call)))
        }),
        Method::new(MethodKind::Changing, "reset", 1, |store, call| {
            let shared = store.0.limits.shared;
            store.0.on_name(call, |resource| Ok(rate_limit::reset(&resource, shared, call.now()?)))
        }),
        Method::new(MethodKind::Booking, "getWaitTime", 1, |store, call| {
            store.call_on_resource(call, |rule_call| {
                Ok(match store.0.ticket_to_book(call)? {
                    Some((reservations, ticket)) => rate_limit::book_wait(rule_call, reservations, &ticket),
                    None => rate_limit::wait_time(rule_call),
                })
            })
        }),
        Method::new(MethodKind::Direct, "setResourceConfig", 2, |store, call| {
            Ok(store.0.set_resource_config(call))
        }),
        Method::new(MethodKind::Direct, "getResourceConfig", 1, |store, call| {
            Ok(store.0.limits.get_resource_config(call))
        }),
        Method::new(MethodKind::Promised, "listResources", 0, |store, call| {
            store.0.on_all(call, rate_limit::list_resources)
        }),
        Method::counting(Counted::Cooldowns, MethodKind::Handled, "setCooldown", 2, |store, call| {
            store.0.set_cooldown(call)
        }),
        Method::new(MethodKind::Promised, "getCooldown", 1, |store, call| store.0.cooldown(call)),
        Method::new(MethodKind::Changing, "clearCooldown", 1, |store, call| store.0.clear_cooldown(call)),
        Method::new(MethodKind::Promised, "getStats", 0, |store, call| store.0.on_all(call, rate_limit::stats)),
        Method::new(MethodKind::Changing, "clear", 0, |store, call| {
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
    fn call_on_resource(&self, call: &Arguments, make: impl FnOnce(Call) -> Result<Operation>) -> Result<Value> {
        let shared = self.0.limits.shared;
        self.0.call_on_resource(call, |resource, limit, now| make(Call { resource, limit, shared, now }))
    }
}
