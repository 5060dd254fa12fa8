//! `SQLiteCacheStore`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::arguments::Arguments;
use super::class::{Class, Method, MethodKind};
use super::environment::{Environment, StoreEvents};
use super::metrics::Counted;
use super::napi::env::{Env, Reference, Result, Type, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use super::remote::LARGEST_VALUE;
use super::store::Store;
use crate::core::bounds::{self, Uses};
use crate::core::cache;
use crate::core::codec;
use crate::core::error::StoreKind;
use crate::core::housekeeping;
use crate::core::operation::Operation;
use crate::core::options::CacheOptions;
use crate::core::stamps;
use crate::core::value::Millis;
use crate::sqlite::clock;

pub struct CacheStore(Rc<Inner>);

struct Inner {
    store: Store,
    options: CacheOptions,
    /// When the timer last had it cleaned up, by the caller's clock and by one that is never set.
    cleaned_at: Cell<Option<(Millis, Millis)>>,
    /// When entries were used, until that is noted, and the timer by which it is.
    uses: RefCell<Uses>,
    notes_uses: RefCell<Option<Reference>>,
}

impl Class for CacheStore {
    const NAME: &'static str = "SQLiteCacheStore";
    const METHODS: &'static [Method<Self>] = &[
        Method::counting(Counted::Lookups, MethodKind::Parsed, "get", 1, |store, call| store.0.get(call)),
        Method::counting(Counted::Sets, MethodKind::Stringified, "set", 3, |store, call| store.0.set(call, false)),
        Method::new(MethodKind::Promised, "delete", 1, |store, call| store.0.delete(call)),
        Method::counting(Counted::Sets, MethodKind::Stringified, "setWithTags", 4, |store, call| {
            store.0.set(call, true)
        }),
        Method::new(MethodKind::Promised, "invalidateByTag", 1, |store, call| {
            store.0.run(call, || Ok(cache::invalidate([options::name(call.env, call.get(0), "tag")?], call.now()?)))
        }),
        Method::new(MethodKind::Promised, "invalidateByTags", 1, |store, call| {
            store.0.run(call, || Ok(cache::invalidate(options::tags(call.env, call.get(0))?, call.now()?)))
        }),
        Method::new(MethodKind::Promised, "listEntries", 0, |store, call| {
            store.0.run(call, || {
                let (offset, limit) = options::page(call.env, call.get(0), call.get(1))?;
                Ok(cache::list(offset, limit, call.now()?))
            })
        }),
        Method::new(MethodKind::Pages, "entries", 0, |store, call| {
            store.0.run(call, || {
                let (filter, after) = options::entries(call)?;
                Ok(cache::entries(filter, after, call.now()?))
            })
        }),
        Method::new(MethodKind::Promised, "clear", 0, |store, call| {
            store.0.run(call, || Ok(cache::clear_scope(&options::scope(call.env, call.get(0))?)))
        }),
        Method::new(MethodKind::Promised, "getStats", 0, |store, call| {
            store.0.run(call, || Ok(cache::stats(call.now()?)))
        }),
        Method::counting(Counted::Cleanups, MethodKind::Promised, "cleanup", 0, |store, call| {
            store.0.run_counted(call, || {
                let now = call.now()?;
                Ok(store.0.with_bounds(call.env, cache::cleanup(now), now))
            })
        }),
    ];

    fn open(env: Env, realm: Rc<Realm>, options: Value, _limits: Value) -> Result<Self> {
        let reader = OptionsReader::of_options(env, options)?;
        let options = reader.cache()?;
        let store = Store::open(env, StoreKind::Cache, realm, &reader)?;
        let inner = Rc::new(Inner {
            store,
            options,
            cleaned_at: Cell::default(),
            uses: RefCell::default(),
            notes_uses: RefCell::default(),
        });
        let events: Weak<dyn StoreEvents> = Rc::downgrade(&inner) as Weak<dyn StoreEvents>;
        if options.bounds.is_some() {
            inner.store.keep_totals(env)?;
        }
        inner.store.join(env, events, options.cleanup_interval_ms)?;
        if options.bounds.is_some() {
            inner.store.run(env, bounds::begin());
        }
        Ok(CacheStore(inner))
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn close(&self, env: Env) -> Result<Value> {
        self.0.prepare_end(env);
        self.0.store.close(env)
    }

    fn destroy(&self, env: Env) {
        self.0.prepare_end(env);
        self.0.store.destroy(env);
    }

    fn collected(&self, env: Env) {
        if let Some(timer) = self.0.notes_uses.borrow_mut().take() {
            env.drop_reference(timer);
        }
        self.0.store.collected(env, self.0.last_note());
    }
}

impl StoreEvents for Inner {
    fn exit(&self, env: Env) {
        if let Some(note) = self.last_note() {
            self.store.run_last(env, note);
        }
    }

    fn shut_down(&self) {
        self.store.shut_down(self.last_note());
    }

    fn on_interval(&self, env: Env) -> bool {
        let is_open = self.store.clean(env, |now| {
            let times = (now, clock::now().as_secs_f64() * 1000.0);
            let is_unsure =
                self.cleaned_at.replace(Some(times)).is_none_or(|before| stamps::was_set_back(before, times));
            let cleanup = if is_unsure { cache::cleanup(now) } else { cache::remove_expired(now) };
            if self.store.is_remote() { self.store.counted(cleanup) } else { self.with_bounds(env, cleanup, now) }
        });
        if is_open && self.store.is_remote() {
            self.keep_bounds_on_server(env);
        }
        is_open
    }

    fn on_deadline(&self, env: Env) {
        if let Some(timer) = self.notes_uses.borrow_mut().take() {
            env.drop_reference(timer);
        }
        if let Ok(now) = self.store.now(env) {
            self.note_uses(env, now);
            let next_at = self.uses.borrow().next_at();
            if let Some(next_at) = next_at {
                self.note_uses_after(env, (next_at - now).clamp(0.0, bounds::NOTED_FOR_MS));
            }
        }
    }
}

impl Inner {
    fn run(&self, call: &Arguments, make: impl FnOnce() -> Result<Operation>) -> Result<Value> {
        self.run_counted(call, || make().map(|operation| self.store.counted(operation)))
    }

    /// Runs what counts entries by itself.
    fn run_counted(&self, call: &Arguments, make: impl FnOnce() -> Result<Operation>) -> Result<Value> {
        self.store.call(call, || make().map(Some))
    }

    fn get(&self, call: &Arguments) -> Result<Value> {
        if self.options.bounds.is_some_and(|bounds| bounds.by_use) {
            return self.get_and_record(call);
        }
        self.run_counted(call, || {
            let hash = options::name(call.env, call.get(0), "hash")?;
            Ok(cache::get_counted(hash, call.now()?, self.store.counts()))
        })
    }

    /// Apart, so that caches which keep no uses do not pay for it.
    #[inline(never)]
    fn get_and_record(&self, call: &Arguments) -> Result<Value> {
        let mut used = None;
        let value = self.run_counted(call, || {
            let (hash, now) = (options::name(call.env, call.get(0), "hash")?, call.now()?);
            if !self.uses.borrow_mut().record_again(&hash, now) {
                used = Some((hash.clone(), now));
            }
            Ok(cache::get_counted(hash, now, self.store.counts()))
        })?;
        self.record(call.env, value, used);
        Ok(value)
    }

    /// Takes note of the use of an entry that was found. It is not known yet of one that is read later: to note the use of none
    /// does nothing.
    fn record(&self, env: Env, value: Value, used: Option<(String, Millis)>) {
        if let Some((hash, now)) = used.filter(|_| env.type_of(value) != Type::Undefined) {
            self.uses.borrow_mut().record(hash, now);
            if self.uses.borrow().is_full() {
                self.note_uses(env, now);
            }
        }
        if self.notes_uses.borrow().is_none() && self.uses.borrow().has_waiting() {
            self.note_uses_after(env, bounds::NOTED_FOR_MS);
        }
    }

    fn note_uses_after(&self, env: Env, after: Millis) {
        let start = || {
            let function = Environment::deadline_function(env)?;
            self.store.realm().start_timer(env, function, self.store.id(), after, false)
        };
        // Without a timer they are noted with entries that are stored.
        *self.notes_uses.borrow_mut() = start().ok();
    }

    /// Has the uses noted that are to be by now.
    fn note_uses(&self, env: Env, now: Millis) {
        let mut uses = self.uses.borrow_mut();
        loop {
            let used = uses.take_next(now);
            if used.is_empty() {
                return uses.forget_old(now);
            }
            self.store.run(env, bounds::note(used));
        }
    }

    /// Notes all uses that have not been.
    fn last_note(&self) -> Option<Operation> {
        let used = std::mem::take(&mut *self.uses.borrow_mut()).into_waiting();
        (!used.is_empty()).then(|| bounds::note(used))
    }

    fn prepare_end(&self, env: Env) {
        if let Some(timer) = self.notes_uses.borrow_mut().take() {
            self.store.realm().stop_timer(env, timer);
        }
        if let Some(note) = self.last_note() {
            self.store.run_last(env, note);
        }
    }

    /// A clean-up, after which the bounds are kept whatever others have stored.
    fn with_bounds(&self, env: Env, cleanup: Operation, now: Millis) -> Operation {
        let Some(counts) = self.store.counts_entries() else { return cleanup };
        if counts.load(Ordering::Relaxed) {
            let on_evicted = self.store.metrics().on_evicted();
            return bounds::after_cleanup(cleanup, self.options.bounds, now, on_evicted);
        }
        if !self.store.is_remote() {
            // Another process may have begun to. What is written until that is known counts from its next clean-up.
            let counts = Arc::clone(&counts);
            self.store.run(env, bounds::look_for_totals(move || counts.store(true, Ordering::Relaxed)));
        }
        cleanup
    }

    /// The same on a server, where one host makes the totals right, and each keeps its own bounds.
    fn keep_bounds_on_server(&self, env: Env) {
        let Some(bounds) = self.options.bounds else { return };
        let reconcile = bounds::reconcile(housekeeping::done());
        self.store.run(env, self.store.on_one_host(StoreKind::CacheBounds, reconcile));
        if let Ok(now) = self.store.now(env) {
            self.store.run(env, bounds::evict(bounds, now, self.store.metrics().on_evicted()));
        }
    }

    /// Stores a value, unless it is too large: then what is stored under the hash stays, with its tags.
    fn set(&self, call: &Arguments, has_tags: bool) -> Result<Value> {
        let env = call.env;
        self.store.call(call, || {
            let hash = options::name(env, call.get(0), "hash")?;
            let ttl_seconds = self.options.lifetime(options::ttl_seconds(env, call.get(2))?);
            let tags = if has_tags { Some(options::tags(env, call.fourth())?) } else { None };
            let markers = [(Type::Undefined, codec::UNDEFINED)];
            let text = options::json_text(call, self.store.realm(), "value", &markers)?;
            if text.len() as f64 > self.options.max_entry_size_bytes {
                return Ok(None);
            }
            if self.store.is_remote() && codec::encoded_exceeds(&text, LARGEST_VALUE) {
                return Ok(None);
            }
            let bounds = self.options.bounds;
            if bounds.is_some_and(|bounds| codec::encoded_exceeds(&text, bounds.max_size_bytes as usize)) {
                return Ok(None);
            }
            codec::check_length(text.len())?;
            let now = call.now()?;
            let operation = match tags {
                None => cache::set(hash, text, ttl_seconds, now),
                Some(tags) => cache::set_with_tags(hash, text, ttl_seconds, tags, now),
            };
            Ok(Some(match bounds {
                Some(bounds) => {
                    let used = self.uses.borrow_mut().take_some(now);
                    bounds::within(bounds, operation, used, now, self.store.metrics().on_evicted())
                }
                None => self.store.counted(operation),
            }))
        })
    }

    fn delete(&self, call: &Arguments) -> Result<Value> {
        self.run(call, || Ok(cache::delete(options::name(call.env, call.get(0), "hash")?)))
    }
}
