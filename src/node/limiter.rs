//! What both rate limiters are made of.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use foldhash::fast::RandomState;
use uuid::Uuid;

use super::arguments::Arguments;
use super::bookings::Bookings;
use super::environment::StoreEvents;
use super::limits::Limits;
use super::napi::env::{Env, Result, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use super::store::Store;
use crate::core::bookings::{self, Ticket};
use crate::core::cooldowns;
use crate::core::error::StoreKind;
use crate::core::operation::Operation;
use crate::core::options::{AdaptiveConfig, RateLimitConfig, Reservations, ResourceConfigs};
use crate::core::settings::{self, Settings};
use crate::core::value::Millis;

/// A rate limiter.
pub struct Limiter {
    pub store: Store,
    /// Its limits by resource.
    pub limits: Limits,
    /// How it reserves slots, if it does.
    pub reservations: Option<Reservations>,
    /// What its callers have booked, if they may.
    bookings: Option<Bookings>,
    /// Whether a resource was met whose requests are spaced.
    is_spaced: Cell<bool>,
    /// How often it was to record.
    recorded: Cell<u32>,
    told: ToldSettings,
}

/// When it was written down last what limits resources.
#[derive(Default)]
struct ToldSettings {
    by_resource: RefCell<HashMap<String, Millis, RandomState>>,
    /// Whether it is due, of the resource of the call.
    is_due: Cell<bool>,
}

/// Of how many resources is kept when it was.
const MOST_TOLD: usize = 10_000;

impl ToldSettings {
    /// A request of the resource is recorded.
    fn look(&self, resource: &str, now: Millis) {
        let told_at = self.by_resource.borrow().get(resource).copied();
        self.is_due.set(told_at.is_none_or(|at| now < at || now >= at + settings::TELL_EVERY_MS));
    }

    fn told(&self, resource: &str, now: Millis) {
        let mut by_resource = self.by_resource.borrow_mut();
        if by_resource.len() >= MOST_TOLD {
            by_resource.clear();
        }
        by_resource.insert(resource.to_owned(), now);
    }
}

/// After how many requests it removes some that are old, of whatever resource.
const REMOVES_EVERY: u32 = 100;

impl Limiter {
    /// Makes one; `default` is what counts without the option `defaultConfig`, and `object` keeps the limits.
    pub fn open(
        env: Env,
        realm: Rc<Realm>,
        reader: &OptionsReader<'_>,
        object: Value,
        kind: StoreKind,
        default: RateLimitConfig,
    ) -> Result<Rc<Self>> {
        let limits = Limits::read(env, reader, &realm, object, default)?;
        let for_ms = reader.reservation_ms()?;
        let reservations = for_ms.map(|for_ms| Reservations { owner: Uuid::new_v4().to_string(), for_ms });
        let store = Store::open(env, kind, realm, reader).inspect_err(|_| limits.collected(env))?;
        let bookings = limits.shared.books_waits.then(Bookings::default);
        let is_spaced = Cell::new(bookings.is_some() || limits.shared.config != RateLimitConfig::NONE);
        let limiter = Rc::new(Limiter {
            store,
            limits,
            reservations,
            bookings,
            is_spaced,
            recorded: Cell::default(),
            told: ToldSettings::default(),
        });
        let events: Weak<dyn StoreEvents> = Rc::downgrade(&limiter) as Weak<dyn StoreEvents>;
        limiter.store.join(env, events, 0.0)?;
        Ok(limiter)
    }

    /// A call on a resource: its name, its limit and the time.
    pub fn call_on_resource(
        &self,
        call: &Arguments,
        make: impl FnOnce(String, RateLimitConfig, Millis) -> Result<Operation>,
    ) -> Result<Value> {
        self.store.call(call, || {
            let (resource, limit) = self.limits.resource(call)?;
            if limit.min_interval_ms > 0.0 {
                self.is_spaced.set(true);
            }
            make(resource, limit, call.now()?).map(Some)
        })
    }

    /// An operation that answers whether a request may be made: takes what its caller has booked first, and a caller that is
    /// refused may book.
    pub fn can_proceed(&self, call: &Arguments, operation: Operation) -> Result<Operation> {
        let (Some((bookings, caller)), Some(reservations)) = (self.of_caller(call), &self.reservations) else {
            return Ok(operation);
        };
        let operation = match bookings.booked(caller) {
            Some(ticket) => bookings::proceed(&ticket, reservations, call.now()?, operation),
            None => operation,
        };
        Ok(bookings.asking(operation, caller))
    }

    /// An operation that acquires a slot for a request of a class: takes what its caller has booked first.
    pub fn acquire(
        &self,
        call: &Arguments,
        resource: &str,
        class: Option<&'static str>,
        operation: Operation,
    ) -> Result<Operation> {
        let ticket = self.of_caller(call).and_then(|(bookings, caller)| bookings.booked(caller));
        Ok(match (ticket, &self.reservations) {
            (Some(ticket), Some(reservations)) => {
                bookings::acquire(resource, class, &ticket, reservations, call.now()?, operation)
            }
            _ => operation,
        })
    }

    /// The ticket of a caller that asks how long to wait, if it may book.
    pub fn ticket_to_book(&self, call: &Arguments) -> Result<Option<(&Reservations, Ticket)>> {
        let (Some((bookings, caller)), Some(reservations)) = (self.of_caller(call), &self.reservations) else {
            return Ok(None);
        };
        Ok(bookings.book(reservations, caller, call.now()?).map(|ticket| (reservations, ticket)))
    }

    /// What callers have booked, and which of them calls.
    fn of_caller(&self, call: &Arguments) -> Option<(&Bookings, u64)> {
        Some((self.bookings.as_ref()?, call.caller()?))
    }

    /// The operation that records a request of a class where requests are spaced.
    pub fn record_spaced(
        &self,
        call: &Arguments,
        resource: &str,
        class: Option<&'static str>,
    ) -> Result<Option<Operation>> {
        let Some(reservations) = self.reservations.as_ref().filter(|_| self.is_spaced.get()) else {
            return Ok(None);
        };
        let ticket = self.of_caller(call).and_then(|(bookings, caller)| bookings.spend(caller));
        Ok(Some(bookings::record(resource, class, call.now()?, reservations, ticket.as_ref())))
    }

    /// The method `setCooldown`.
    pub fn set_cooldown(&self, call: &Arguments) -> Result<Value> {
        let env = call.env;
        self.store.call(call, || {
            let key = options::name(env, call.get(0), "key")?;
            Ok(Some(cooldowns::set(&key, call.by_clock(options::until_ms(env, call.get(1))?))))
        })
    }

    /// The method `getCooldown`.
    pub fn cooldown(&self, call: &Arguments) -> Result<Value> {
        self.store.call(call, || {
            let key = options::name(call.env, call.get(0), "key")?;
            Ok(Some(cooldowns::get(&key, call.now()?)))
        })
    }

    /// The method `clearCooldown`.
    pub fn clear_cooldown(&self, call: &Arguments) -> Result<Value> {
        self.store.call(call, || Ok(Some(cooldowns::clear(&options::name(call.env, call.get(0), "key")?))))
    }

    /// A call on all resources.
    pub fn on_all(
        &self,
        call: &Arguments,
        make: impl FnOnce(ResourceConfigs, Millis) -> Operation,
    ) -> Result<Value> {
        self.store.call(call, || Ok(Some(make(self.limits.all(call.env)?, call.now()?))))
    }

    /// A call on a resource, whatever its limit.
    pub fn on_name(&self, call: &Arguments, make: impl FnOnce(String) -> Result<Operation>) -> Result<Value> {
        self.store.call(call, || make(options::name(call.env, call.get(0), "resource")?).map(Some))
    }

    /// Notes that a call records a request of a resource; answers the call's time.
    pub fn on_recorded(&self, call: &Arguments, resource: &str) -> Result<Millis> {
        let now = call.now()?;
        self.told.look(resource, now);
        Ok(now)
    }

    /// The method `setResourceConfig`.
    pub fn set_resource_config(&self, call: &Arguments) -> Value {
        self.told.by_resource.borrow_mut().clear();
        self.limits.set_resource_config(call)
    }

    /// Writes down what limits the resource of a call.
    fn tell_settings(&self, call: &Arguments, adaptive: Option<AdaptiveConfig>) -> Result<()> {
        let (env, now) = (call.env, call.now()?);
        let resource = options::name(env, call.get(0), "resource")?;
        let limit = self.limits.of(env, &resource)?;
        let settings = Settings { limit, shared: self.limits.shared, adaptive };
        self.told.told(&resource, now);
        self.store.run(env, settings::tell(&resource, &settings, env!("CARGO_PKG_VERSION"), now));
        Ok(())
    }

    /// A call that records. What limits its resource is written down where that is due. Now and then, what is old is removed: names
    /// that are not met again would be kept for ever.
    pub fn recording(
        &self,
        call: &Arguments,
        answer: Result<Value>,
        adaptive: Option<AdaptiveConfig>,
        remove_oldest: impl FnOnce(ResourceConfigs, Millis) -> Operation,
    ) -> Result<Value> {
        if self.told.is_due.take() {
            // What is wrong with a configuration is told by the calls that use it.
            let _ = self.tell_settings(call, adaptive);
        }
        self.recorded.set(self.recorded.get().wrapping_add(1));
        if self.recorded.get().is_multiple_of(REMOVES_EVERY)
            && let (Ok(limits), Ok(now)) = (self.limits.all(call.env), call.now())
        {
            self.store.run(call.env, remove_oldest(limits, now));
        }
        answer
    }

    /// Its object has been collected.
    pub fn collected(&self, env: Env) {
        self.store.collected(env, None);
        self.limits.collected(env);
    }
}

impl StoreEvents for Limiter {
    fn shut_down(&self) {
        self.store.shut_down(None);
    }
}
