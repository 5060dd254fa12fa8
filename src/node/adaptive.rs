//! `SqliteAdaptiveRateLimitStore`.

use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Arguments;
use super::class::{Class, Method, MethodKind};
use super::limiter::Limiter;
use super::metrics::Counted;
use super::napi::env::{Env, Result, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use super::store::Store;
use crate::core::adaptive::{self, Call, CallOnAll};
use crate::core::error::StoreKind;
use crate::core::operation::Operation;
use crate::core::options::{AdaptiveConfig, RateLimitConfig, ResourceConfigs};
use crate::core::value::Millis;
use crate::sqlite::divisions::SharedDivisions;

pub struct AdaptiveStore {
    limiter: Rc<Limiter>,
    config: AdaptiveConfig,
    divisions: Arc<SharedDivisions>,
}

impl Class for AdaptiveStore {
    const NAME: &'static str = "SqliteAdaptiveRateLimitStore";
    const METHODS: &'static [Method<Self>] = &[
        // The client passes a priority only to functions of at least two parameters.
        Method::counting(Counted::Admissions, MethodKind::Asking, "canProceed", 2, |store, call| {
            let limiter = &store.limiter;
            store.call_on_resource(call, |rule_call| {
                let priority = options::priority(call.env, call.get(1))?;
                let operation = adaptive::can_proceed(rule_call, priority, limiter.reservations.as_ref());
                limiter.can_proceed(call, operation)
            })
        }),
        Method::counting(Counted::Admissions, MethodKind::Acquiring, "acquire", 1, |store, call| {
            if call.gives_back() {
                return store.limiter.on_name(call, |resource| {
                    let priority = options::priority(call.env, call.get(1))?;
                    Ok(adaptive::give_back(&resource, priority, call.now()?))
                });
            }
            let answer = store.call_on_resource(call, |rule_call| {
                let priority = options::priority(call.env, call.get(1))?;
                let resource = rule_call.resource.clone();
                store.limiter.on_recorded(call, &resource)?;
                let operation = adaptive::acquire(rule_call, priority);
                store.limiter.acquire(call, &resource, Some(priority.as_str()), operation)
            });
            store.recording(call, answer)
        }),
        Method::new(MethodKind::Recording, "record", 1, |store, call| {
            let limiter = &store.limiter;
            let answer = limiter.on_name(call, |resource| {
                let priority = options::priority(call.env, call.get(1))?;
                let now = limiter.on_recorded(call, &resource)?;
                match limiter.record_spaced(call, &resource, Some(priority.as_str()))? {
                    Some(operation) => Ok(operation),
                    None => Ok(adaptive::record(&resource, priority, now, limiter.reservations.as_ref())),
                }
            });
            store.recording(call, answer)
        }),
        Method::new(MethodKind::Limited, "getStatus", 1, |store, call| {
            store.call_on_resource(call, |rule_call| Ok(adaptive::status(rule_call)))
        }),
        Method::new(MethodKind::Changing, "reset", 1, |store, call| {
            let (shared, divisions) = (store.limiter.limits.shared, store.divisions.clone());
            store.limiter.on_name(call, |resource| Ok(adaptive::reset(&resource, shared, call.now()?, divisions)))
        }),
        Method::new(MethodKind::Booking, "getWaitTime", 1, |store, call| {
            store.call_on_resource(call, |rule_call| {
                let priority = options::priority(call.env, call.get(1))?;
                Ok(match store.limiter.ticket_to_book(call)? {
                    Some((reservations, ticket)) => adaptive::book_wait(rule_call, priority, reservations, &ticket),
                    None => adaptive::wait_time(rule_call, priority),
                })
            })
        }),
        Method::new(MethodKind::Direct, "setResourceConfig", 2, |store, call| {
            Ok(store.limiter.set_resource_config(call))
        }),
        Method::new(MethodKind::Direct, "getResourceConfig", 1, |store, call| {
            Ok(store.limiter.limits.get_resource_config(call))
        }),
        Method::new(MethodKind::Promised, "listResources", 0, |store, call| {
            store.on_all(call, adaptive::list_resources)
        }),
        Method::counting(Counted::Cooldowns, MethodKind::Handled, "setCooldown", 2, |store, call| {
            store.limiter.set_cooldown(call)
        }),
        Method::new(MethodKind::Promised, "getCooldown", 1, |store, call| store.limiter.cooldown(call)),
        Method::new(MethodKind::Changing, "clearCooldown", 1, |store, call| store.limiter.clear_cooldown(call)),
        Method::new(MethodKind::Promised, "getStats", 0, |store, call| store.on_all(call, adaptive::stats)),
        Method::new(MethodKind::Changing, "clear", 0, |store, call| {
            store.limiter.store.call(call, || Ok(Some(adaptive::clear(store.divisions.clone()))))
        }),
        Method::new(MethodKind::Promised, "cleanup", 0, |store, call| store.on_all(call, adaptive::cleanup)),
    ];

    fn open(env: Env, realm: Rc<Realm>, options: Value, limits: Value) -> Result<Self> {
        let reader = OptionsReader::of_options(env, options)?;
        let config = reader.adaptive()?;
        let default = RateLimitConfig::ADAPTIVE_DEFAULT;
        let limiter = Limiter::open(env, realm, &reader, limits, StoreKind::Adaptive, default)?;
        Ok(AdaptiveStore { limiter, config, divisions: Arc::default() })
    }

    fn store(&self) -> &Store {
        &self.limiter.store
    }

    fn collected(&self, env: Env) {
        self.limiter.collected(env);
    }
}

impl AdaptiveStore {
    fn call_on_resource(&self, call: &Arguments, make: impl FnOnce(Call) -> Result<Operation>) -> Result<Value> {
        let (shared, config, divisions) = (self.limiter.limits.shared, self.config, self.divisions.clone());
        self.limiter.call_on_resource(call, |resource, limit, now| {
            make(Call { resource, limit, shared, config, divisions, now })
        })
    }

    fn on_all(&self, call: &Arguments, make: fn(CallOnAll) -> Operation) -> Result<Value> {
        self.limiter.on_all(call, |configs, now| make(self.all(configs, now)))
    }

    fn all(&self, configs: ResourceConfigs, now: Millis) -> CallOnAll {
        CallOnAll { configs, config: self.config, divisions: self.divisions.clone(), now }
    }

    fn recording(&self, call: &Arguments, answer: Result<Value>) -> Result<Value> {
        self.limiter.recording(call, answer, Some(self.config), |configs, now| {
            adaptive::remove_oldest(self.all(configs, now))
        })
    }
}
