//! `SqliteAdaptiveRateLimitStore`.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::class::{Arguments, Class, Method, Shape};
use super::environment::Member;
use super::js::{Js, Result, Value};
use super::limits::{self, Limits};
use super::options::{self, Members};
use super::realm::Realm;
use super::store::Store;
use crate::core::adaptive::{self, Call, CallOnAll};
use crate::core::error::StoreKind;
use crate::core::options::{AdaptiveConfig, RateLimitConfig};
use crate::core::plan::Operation;
use crate::core::rate_limit::Reservations;
use crate::sqlite::divisions::SharedDivisions;

/// The class.
pub struct AdaptiveStore(Rc<Inner>);

struct Inner {
    store: Store,
    limits: Limits,
    config: AdaptiveConfig,
    divisions: Arc<SharedDivisions>,
    reservations: Option<Reservations>,
}

impl Class for AdaptiveStore {
    const NAME: &'static str = "SqliteAdaptiveRateLimitStore";
    const EXPECTED: &'static str = "an SqliteAdaptiveRateLimitStore";
    const METHODS: &'static [Method<Self>] = &[
        // The client passes a priority only to functions of at least two parameters.
        Method::new(Shape::Limited, "canProceed", 2, |store, call| {
            let reservations = store.0.reservations.as_ref();
            store.0.on(call, |on| {
                Ok(adaptive::can_proceed(on, options::priority(call.js, call.get(1))?, reservations))
            })
        }),
        Method::new(Shape::Limited, "acquire", 1, |store, call| {
            store.0.on(call, |on| Ok(adaptive::acquire(on, options::priority(call.js, call.get(1))?)))
        }),
        Method::new(Shape::Promised, "record", 1, |store, call| store.0.record(call)),
        Method::new(Shape::Limited, "getStatus", 1, |store, call| store.0.on(call, |on| Ok(adaptive::status(on)))),
        Method::new(Shape::Promised, "reset", 1, |store, call| store.0.reset(call)),
        Method::new(Shape::Limited, "getWaitTime", 1, |store, call| {
            store.0.on(call, |on| Ok(adaptive::wait_time(on, options::priority(call.js, call.get(1))?)))
        }),
        Method::new(Shape::Direct, "setResourceConfig", 2, |store, call| store.0.limits.set_resource_config(call)),
        Method::new(Shape::Direct, "getResourceConfig", 1, |store, call| store.0.limits.get_resource_config(call)),
        Method::new(Shape::Promised, "getStats", 0, |store, call| store.0.on_all(call, adaptive::stats)),
        Method::new(Shape::Promised, "clear", 0, |store, call| {
            store.0.store.call(call, || Ok(Some(adaptive::clear(store.0.divisions.clone()))))
        }),
        Method::new(Shape::Promised, "cleanup", 0, |store, call| store.0.on_all(call, adaptive::cleanup)),
        Method::new(Shape::Promised, "close", 0, |store, call| store.0.store.close(call.js)),
        Method::new(Shape::Direct, "destroy", 0, |store, call| {
            store.0.store.destroy(call.js);
            call.js.undefined()
        }),
    ];

    fn construct(js: Js, options: Value, realm: Rc<Realm>) -> Result<Self> {
        let members = Members::of_options(js, options)?;
        let limits = Limits::read(js, &members, &realm, RateLimitConfig::ADAPTIVE_DEFAULT)?;
        let config = members.adaptive()?;
        let reservations = limits::reservations(&members)?;
        let store = Store::open(js, StoreKind::Adaptive, realm, &members)?;
        let divisions = Arc::default();
        let inner = Rc::new(Inner { store, limits, config, divisions, reservations });
        let member: Weak<dyn Member> = Rc::downgrade(&inner) as Weak<dyn Member>;
        inner.store.join(js, member, 0.0)?;
        Ok(AdaptiveStore(inner))
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
    fn on(&self, call: &Arguments, make: impl FnOnce(Call) -> Result<Operation>) -> Value {
        self.store.call(call, || {
            let (resource, limit) = self.limits.resource(call)?;
            make(Call { resource, limit, config: self.config, divisions: self.divisions.clone(), now: call.now()? })
                .map(Some)
        })
    }

    /// A call on all resources.
    fn on_all(&self, call: &Arguments, make: fn(CallOnAll) -> Operation) -> Value {
        self.store.call(call, || {
            Ok(Some(make(CallOnAll {
                configs: self.limits.all(call.js)?,
                config: self.config,
                divisions: self.divisions.clone(),
                now: call.now()?,
            })))
        })
    }

    fn record(&self, call: &Arguments) -> Value {
        let js = call.js;
        self.store.call(call, || {
            let resource = options::string(js, call.get(0), "resource")?;
            let priority = options::priority(js, call.get(1))?;
            let now = call.now()?;
            Ok(Some(adaptive::record(&resource, priority, now, self.reservations.as_ref())))
        })
    }

    fn reset(&self, call: &Arguments) -> Value {
        self.store.call(call, || {
            let resource = options::string(call.js, call.get(0), "resource")?;
            Ok(Some(adaptive::reset(&resource, self.divisions.clone())))
        })
    }
}
