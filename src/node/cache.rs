//! `SQLiteCacheStore`.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use super::arguments::Arguments;
use super::class::{Class, Method, MethodKind};
use super::environment::StoreEvents;
use super::metrics::Counted;
use super::napi::env::{Env, Result, Type, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use super::remote::LARGEST_VALUE;
use super::store::Store;
use crate::core::cache;
use crate::core::codec;
use crate::core::error::StoreKind;
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
        Method::new(MethodKind::Promised, "cleanup", 0, |store, call| {
            store.0.run(call, || Ok(cache::cleanup(call.now()?)))
        }),
    ];

    fn open(env: Env, realm: Rc<Realm>, options: Value, _limits: Value) -> Result<Self> {
        let reader = OptionsReader::of_options(env, options)?;
        let options = reader.cache()?;
        let store = Store::open(env, StoreKind::Cache, realm, &reader)?;
        let inner = Rc::new(Inner { store, options, cleaned_at: Cell::default() });
        let events: Weak<dyn StoreEvents> = Rc::downgrade(&inner) as Weak<dyn StoreEvents>;
        inner.store.join(env, events, options.cleanup_interval_ms)?;
        Ok(CacheStore(inner))
    }

    fn store(&self) -> &Store {
        &self.0.store
    }
}

impl StoreEvents for Inner {
    fn shut_down(&self) {
        self.store.shut_down(None);
    }

    fn on_interval(&self, env: Env) -> bool {
        self.store.clean(env, |now| {
            let times = (now, clock::now().as_secs_f64() * 1000.0);
            let is_unsure =
                self.cleaned_at.replace(Some(times)).is_none_or(|before| stamps::was_set_back(before, times));
            if is_unsure { cache::cleanup(now) } else { cache::remove_expired(now) }
        })
    }
}

impl Inner {
    fn run(&self, call: &Arguments, make: impl FnOnce() -> Result<Operation>) -> Result<Value> {
        self.store.call(call, || make().map(Some))
    }

    fn get(&self, call: &Arguments) -> Result<Value> {
        self.run(call, || Ok(cache::get(options::name(call.env, call.get(0), "hash")?, call.now()?)))
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
            codec::check_length(text.len())?;
            let now = call.now()?;
            Ok(Some(match tags {
                None => cache::set(hash, text, ttl_seconds, now),
                Some(tags) => cache::set_with_tags(hash, text, ttl_seconds, tags, now),
            }))
        })
    }

    fn delete(&self, call: &Arguments) -> Result<Value> {
        self.run(call, || Ok(cache::delete(options::name(call.env, call.get(0), "hash")?)))
    }
}
