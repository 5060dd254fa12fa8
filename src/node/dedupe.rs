//! `SQLiteDedupeStore`: performs what [`Waiters`] decides.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use uuid::Uuid;

use super::arguments::Arguments;
use super::backend::Backend;
use super::class::{Class, Method, MethodKind};
use super::environment::{Environment, StoreEvents};
use super::metrics::Counted;
use super::napi::env::{Env, Failure, Persistent, Reference, Result, Type, Value};
use super::options::{self, OptionsReader};
use super::realm::Realm;
use super::remote::LARGEST_VALUE;
use super::store::{Pending, Store};
use crate::core::codec;
use crate::core::dedupe::owner;
use crate::core::dedupe::rules::{self, Call};
use crate::core::dedupe::waiters::{Action, Ending, Event, Now, Waiters};
use crate::core::error::StoreKind;
use crate::core::operation::{Changed, Operation, Target};
use crate::core::options::{DedupeOptions, OWN_THREAD_LEASE_MS};
use crate::core::statements::Table;
use crate::core::value::Millis;
use crate::sqlite::os::processes;
use crate::sqlite::watch::{self, StoreWatch, WatchEvent};

pub struct DedupeStore(Rc<Inner>);

struct Inner {
    store: Store,
    options: DedupeOptions,
    waiters: RefCell<Waiters<Pending>>,
    watch: Arc<StoreWatch>,
    /// The timer of the next deadline, and that.
    timer: RefCell<Option<(Millis, Reference)>>,
    itself: Weak<Inner>,
    /// Itself while somebody waits: the promise of a `waitFor` outlives the store's object.
    self_while_waiting: RefCell<Option<Rc<Inner>>>,
    /// The store's object has been collected while somebody waited.
    orphaned: Cell<bool>,
}

impl Class for DedupeStore {
    const NAME: &'static str = "SQLiteDedupeStore";
    const METHODS: &'static [Method<Self>] = &[
        Method::counting(Counted::Waits, MethodKind::Waiting, "waitFor", 1, |store, call| store.0.wait_for(call)),
        Method::counting(Counted::Registrations, MethodKind::Promised, "register", 1, |store, call| {
            store.0.register(call, false)
        }),
        Method::counting(Counted::Registrations, MethodKind::Promised, "registerOrJoin", 1, |store, call| {
            store.0.register(call, true)
        }),
        Method::new(MethodKind::Stringified, "complete", 2, |store, call| store.0.complete(call)),
        Method::new(MethodKind::Promised, "fail", 2, |store, call| store.0.fail(call)),
        Method::new(MethodKind::Promised, "isInProgress", 1, |store, call| {
            store.0.call_on_hash(call, |rule_call| Ok(rules::is_in_progress(rule_call)))
        }),
        Method::new(MethodKind::Parsed, "getResult", 1, |store, call| {
            store.0.call_on_hash(call, |rule_call| Ok(rules::result(rule_call)))
        }),
        Method::new(MethodKind::Promised, "getStats", 0, |store, call| store.0.stats(call)),
        Method::new(MethodKind::Promised, "cleanup", 0, |store, call| store.0.cleanup(call)),
        Method::new(MethodKind::Promised, "clear", 0, |store, call| store.0.clear(call)),
        Method::new(MethodKind::Promised, "listJobs", 0, |store, call| store.0.list(call)),
    ];

    fn open(env: Env, realm: Rc<Realm>, options: Value, _limits: Value) -> Result<Self> {
        let reader = OptionsReader::of_options(env, options)?;
        let mut options = reader.dedupe()?;
        let store = Store::open(env, StoreKind::Dedupe, realm, &reader)?;
        let backend = store.backend()?;
        match backend {
            Backend::Native(_) => {}
            Backend::User(_) => options.lease_ms = OWN_THREAD_LEASE_MS,
            Backend::Remote(_) => options = reader.dedupe_on_server(options, LARGEST_VALUE)?,
        }
        // Who shares a server need not share a system.
        let process = processes::this().filter(|_| !store.is_remote());
        let name = [Uuid::new_v4().to_string().as_str()].into_iter().chain(process).collect::<Vec<_>>().join(" ");
        let mailbox = Arc::clone(store.environment().mailbox());
        let inner = Rc::new_cyclic(|itself: &Weak<Inner>| {
            let events: Weak<dyn StoreEvents> = itself.clone() as Weak<dyn StoreEvents>;
            let number = store.environment().join(events);
            store.joined_as(number);
            let notify = Box::new(move |event| mailbox.notify(number, event));
            let database = match &backend {
                Backend::Native(database) => Some(database),
                Backend::User(connection) => {
                    connection.add_change_listener(number);
                    None
                }
                Backend::Remote(remote) => {
                    remote.connection.add_change_listener(number);
                    None
                }
            };
            Inner {
                watch: StoreWatch::new(database, name.clone(), options, notify),
                store,
                options,
                waiters: RefCell::new(Waiters::new(name, options)),
                timer: RefCell::new(None),
                itself: itself.clone(),
                self_while_waiting: RefCell::new(None),
                orphaned: Cell::new(false),
            }
        });
        if reader.ignores_errors()? {
            inner.waiters.borrow_mut().end_regardless();
        }
        inner.store.start_cleaning(env, options.cleanup_interval_ms)?;
        Ok(DedupeStore(inner))
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn close(&self, env: Env) -> Result<Value> {
        self.0.prepare_end(env);
        let promise = self.0.store.close(env);
        self.0.dispatch(env, Event::Closed);
        promise
    }

    fn destroy(&self, env: Env) {
        self.0.prepare_end(env);
        self.0.store.destroy(env);
        self.0.dispatch(env, Event::Closed);
    }

    fn collected(&self, env: Env) {
        if self.0.self_while_waiting.borrow().is_some() {
            self.0.orphaned.set(true);
        } else {
            self.0.end_unseen(env);
        }
    }
}

impl StoreEvents for Inner {
    fn on_event(&self, env: Env, event: WatchEvent) {
        match event {
            WatchEvent::Changed(changed) => self.dispatch(env, Event::Changed(changed)),
            WatchEvent::Poll => {
                let has_changed = match self.store.backend() {
                    Ok(Backend::User(connection)) => connection.has_changed(),
                    // That is not told: all are looked at, unless they are being.
                    Ok(Backend::Remote(_)) => !self.waiters.borrow().is_polling(),
                    _ => false,
                };
                if has_changed {
                    self.dispatch(env, Event::Changed(Changed::Anything));
                }
            }
            WatchEvent::Due => {}
            WatchEvent::Renew => {
                if let Some(renewal) = self.watch.renewal(self.store.system_now()) {
                    let watch = Arc::clone(&self.watch);
                    self.store.perform(env, renewal, move |_, answer| {
                        answer.into_iter().for_each(|answer| watch.on_renewed(answer));
                    });
                }
            }
            WatchEvent::OwnerEnded(owner) => self.dispatch(env, Event::OwnerEnded(owner)),
            WatchEvent::Ping => {
                for hash in self.watch.on_ping_answered() {
                    self.dispatch(env, Event::Unused { hash });
                }
            }
            WatchEvent::Lost { hash, job_id } => self.dispatch(env, Event::Lost { hash, job_id }),
        }
    }

    fn exit(&self, env: Env) {
        self.give_up(env);
    }

    fn shut_down(&self) {
        // Nobody polls any more.
        let _ = self.watch.set_waiting(false, None, &Arc::default());
        self.store.shut_down(self.giving_up());
        self.self_while_waiting.take();
    }

    fn on_interval(&self, env: Env) -> bool {
        self.waiters.borrow_mut().forget_lost();
        self.store.clean(env, |now| rules::cleanup(&self.options, now, self.store.system_now()))
    }

    fn on_deadline(&self, env: Env) {
        if let Some((_, timer)) = self.timer.take() {
            env.drop_reference(timer);
        }
        self.dispatch(env, Event::Deadline);
        self.store.metrics().timed_out.set(self.waiters.borrow().timed_out());
    }
}

impl Inner {
    /// The time of a call.
    fn now(&self, call: &Arguments) -> Result<Now> {
        Ok(Now { caller: call.now()?, system: self.store.system_now() })
    }

    /// Tells the waiters what happens, and does what they answer.
    fn dispatch(&self, env: Env, event: Event<Pending, Persistent, Failure>) {
        let system = self.store.system_now();
        self.dispatch_at(env, event, Now { caller: self.store.now(env).unwrap_or(system), system });
    }

    fn dispatch_at(&self, env: Env, event: Event<Pending, Persistent, Failure>, now: Now) {
        // It may be the last that anybody waits for.
        let Some(itself) = self.itself.upgrade() else { return };
        let actions = self.waiters.borrow_mut().on_event(event, now);
        let mut watches = false;
        for action in actions {
            match action {
                Action::Run { operation, context } => {
                    let inner = Rc::clone(&itself);
                    self.store.perform(env, operation, move |env, answer| {
                        inner.dispatch(env, Event::Answered { context, answer });
                    });
                }
                Action::Settle { mut waiter, answer, has_waited } => {
                    let (counted, note) = (waiter.observed.counted, waiter.observed.take_note(env));
                    self.store.metrics().answered(env, counted, note, &answer, has_waited);
                    let value = self.store.to_value(env, answer);
                    waiter.settle(env, value);
                }
                Action::RejectAll { waiters, error } => {
                    let error = env.take(error).unwrap_or_else(|| env.undefined());
                    for mut waiter in waiters {
                        let note = waiter.observed.take_note(env);
                        self.store.metrics().failed_with_job(env, note);
                        waiter.settle(env, Err(Failure::Thrown(error)));
                    }
                }
                Action::Watch => watches = true,
                Action::Renew { hash, job_id } => {
                    // Without a thread a claim ends with its first lease.
                    let _ = watch::ensure_running();
                    self.watch.add_lease(hash, job_id);
                }
                Action::UseClaim(hash) => self.watch.use_claim(&hash),
                Action::EndRenewal(hash) => self.watch.remove_leases(hash.as_deref()),
            }
        }
        if watches {
            self.watch_changes(env);
        }
        self.keep_while_waiting(env);
    }

    /// Has changes watched that somebody waits for, and the next deadline. Where nobody can watch, nobody waits.
    fn watch_changes(&self, env: Env) {
        let waiters = self.waiters.borrow();
        let (is_waiting, first_end) = waiters.watched();
        // All are looked at, at each interval anyway.
        let first_end = first_end.filter(|_| !self.store.is_remote());
        let watched = self.watch.set_waiting(is_waiting, first_end, waiters.owners());
        drop(waiters);
        if let Err(error) = watched {
            return self.dispatch(env, Event::Unwatched(error.into()));
        }
        let deadline = self.waiters.borrow().next_deadline();
        if self.timer.borrow().as_ref().map(|(deadline, _)| *deadline) == deadline {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            self.store.realm().stop_timer(env, timer);
        }
        // Without a timer the job's end still wakes those who wait.
        let start = |deadline| self.deadline_timer(env, deadline).ok().map(|timer| (deadline, timer));
        let timer = deadline.and_then(start);
        *self.timer.borrow_mut() = timer;
    }

    fn deadline_timer(&self, env: Env, deadline: Millis) -> Result<Reference> {
        let after = (deadline - self.store.now(env)?).max(0.0);
        self.store.realm().start_timer(env, Environment::deadline_function(env)?, self.store.id(), after, false)
    }

    /// Lives on while somebody waits, and no longer.
    fn keep_while_waiting(&self, env: Env) {
        let waiting = self.waiters.borrow().is_waiting();
        let self_while_waiting = if waiting { self.itself.upgrade() } else { None };
        let before = self.self_while_waiting.replace(self_while_waiting);
        if !waiting && self.orphaned.replace(false) {
            self.end_unseen(env);
        }
        // The last thing: it may be the last that holds `self`.
        drop(before);
    }

    /// The store's object has been collected.
    fn end_unseen(&self, env: Env) {
        self.leave_connection();
        self.store.collected(env, self.giving_up());
    }

    /// The operation that gives up the store's claims and leases, if it may have some.
    fn giving_up(&self) -> Option<Operation> {
        self.watch.remove_leases(None);
        self.waiters.borrow_mut().give_up()
    }

    /// Gives up the store's claims and leases, so that those who wait elsewhere take over at once.
    fn give_up(&self, env: Env) {
        if let Some(operation) = self.giving_up() {
            self.store.run_last(env, operation);
        }
    }

    /// Before the store is closed.
    fn prepare_end(&self, env: Env) {
        self.give_up(env);
        self.waiters.borrow_mut().close();
        self.leave_connection();
    }

    fn leave_connection(&self) {
        match self.store.backend() {
            Ok(Backend::User(connection)) => connection.remove_change_listener(self.store.id()),
            Ok(Backend::Remote(remote)) => remote.connection.remove_change_listener(self.store.id()),
            _ => {}
        }
    }

    /// A call on a hash that is answered by its operation alone.
    fn call_on_hash(&self, call: &Arguments, make: impl FnOnce(Call) -> Result<Operation>) -> Result<Value> {
        self.store.call(call, || {
            let hash = options::name(call.env, call.get(0), "hash")?;
            let now = self.now(call)?;
            let call = self.waiters.borrow().call(&hash, now, None);
            make(call).map(Some)
        })
    }

    /// A call that the waiters are told of. `make` reads its arguments, and answers what makes an event of the other end of
    /// its promise.
    fn dispatch_call(
        &self,
        call: &Arguments,
        make: impl FnOnce() -> Result<Box<dyn FnOnce(Pending) -> Event<Pending, Persistent, Failure>>>,
    ) -> Result<Value> {
        let env = call.env;
        self.store.backend()?;
        let make = make().map_err(|failure| self.store.refused(call, failure))?;
        let now = self.now(call)?;
        // Again: JavaScript of the user's (`toJSON`, a getter) may have ended the store meanwhile.
        self.store.backend()?;
        let (pending, promise) = Pending::of_call(call, self.store.environment(), self.store.realm())?;
        self.dispatch_at(env, make(pending), now);
        Ok(promise)
    }

    fn wait_for(&self, call: &Arguments) -> Result<Value> {
        let env = call.env;
        let number = env.as_number(call.get(1)).map(|number| number as u64);
        if let (Some(number), Some(true)) = (number, env.as_boolean(call.get(2))) {
            let hash = options::name(env, call.get(0), "hash")?;
            self.dispatch(env, Event::Cancel { hash, number });
            return Ok(env.undefined());
        }
        self.dispatch_call(call, || {
            let hash = options::name(call.env, call.get(0), "hash")?;
            let target = Target { table: Table::Jobs, key: Some(&hash) };
            let at_once = self.store.backend()?.may_read(target);
            Ok(Box::new(move |waiter| Event::WaitFor { hash, at_once, number, waiter }))
        })
    }

    /// Registers a job or joins the live one; the answer may tell whether it is this store's own new one.
    fn register(&self, call: &Arguments, tells_owner: bool) -> Result<Value> {
        self.dispatch_call(call, || {
            let hash = options::name(call.env, call.get(0), "hash")?;
            watch::ensure_running()?;
            let job_id = Uuid::new_v4().to_string();
            Ok(Box::new(move |waiter| Event::Register { hash, job_id, tells_owner, waiter }))
        })
    }

    fn end(&self, call: &Arguments, ending: impl FnOnce(&str) -> Result<Ending<Persistent>>) -> Result<Value> {
        self.dispatch_call(call, || {
            let hash = options::name(call.env, call.get(0), "hash")?;
            let ending = ending(&hash)?;
            Ok(Box::new(move |waiter| Event::End { hash, ending, waiter }))
        })
    }

    fn complete(&self, call: &Arguments) -> Result<Value> {
        self.end(call, |_| {
            let markers = [(Type::Undefined, codec::UNDEFINED), (Type::Null, codec::NULL)];
            let text = options::json_text(call, self.store.realm(), "result", &markers)?;
            codec::check_length(text.len())?;
            Ok(Ending::Completed(Arc::new(text)))
        })
    }

    fn fail(&self, call: &Arguments) -> Result<Value> {
        let env = call.env;
        self.end(call, |hash| {
            let error = call.get(1);
            let is_object = env.is_object(error);
            let message = if is_object { env.get(error, c"message")? } else { error };
            let message = if env.type_of(message) == Type::Undefined { None } else { env.display(message) };
            let name = if is_object { env.get(error, c"name").ok() } else { None };
            let name = name.and_then(|name| env.as_string(name)).filter(|name| !name.is_empty());
            // The error is kept only if somebody may be waiting here when the job has ended.
            let may_wait = self.waiters.borrow().may_wait_for(hash);
            Ok(Ending::Failed { message, name, error: if may_wait { env.keep(error).ok() } else { None } })
        })
    }

    fn stats(&self, call: &Arguments) -> Result<Value> {
        self.store.call(call, || Ok(Some(rules::stats(&self.options, call.now()?))))
    }

    fn cleanup(&self, call: &Arguments) -> Result<Value> {
        self.store.call(call, || {
            let Now { caller, system } = self.now(call)?;
            Ok(Some(rules::cleanup(&self.options, caller, system)))
        })
    }

    fn clear(&self, call: &Arguments) -> Result<Value> {
        self.dispatch_call(call, || {
            let scope = options::scope(call.env, call.get(0))?;
            Ok(Box::new(|waiter| Event::Clear { scope, waiter }))
        })
    }

    fn list(&self, call: &Arguments) -> Result<Value> {
        self.store.call(call, || {
            let (offset, limit) = options::page(call.env, call.get(0), call.get(1))?;
            let Now { caller, system } = self.now(call)?;
            let own = self.waiters.borrow().owner().to_owned();
            let has_ended =
                move |other: &str| owner::are_neighbours(&own, other) && owner::has_ended(other, processes::look);
            Ok(Some(rules::list(self.options, [offset, limit], caller, system, has_ended)))
        })
    }
}
