//! `SQLiteDedupeStore`: beside the calls, the waiters. All that wait in this store for one hash are a *group*, which
//! looks again when something has changed or is due.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use uuid::Uuid;

use super::class::{Arguments, Class, Method};
use super::environment::Member;
use super::js::{Js, Reference, Result, Type, Value};
use super::options::{self, Members};
use super::realm::Realm;
use super::store::{Pending, Store};
use crate::core::codec;
use crate::core::dedupe::{self, Call, Wait};
use crate::core::error::{Error, Result as CoreResult, StoreKind};
use crate::core::options::DedupeOptions;
use crate::core::plan::{Answer, Millis, Operation};
use crate::sqlite::watch::{self, Watch};

/// The class.
pub struct DedupeStore(Rc<Inner>);

struct Inner {
    store: Store,
    options: DedupeOptions,
    /// The store's name in leases and claims.
    owner: String,
    watch: Arc<Watch>,
    groups: RefCell<HashMap<String, Group>>,
    /// Calls of `waitFor` that are not answered yet, which may become waiters.
    asking: Cell<usize>,
    /// The jobs this store registered and has not ended, by hash.
    registered: RefCell<HashMap<String, String>>,
    itself: RefCell<Weak<Inner>>,
}

/// Those who wait for one hash.
struct Group {
    since: Millis,
    waiters: Vec<Pending>,
    wait: Wait,
    timer: Option<Reference>,
    /// Whether it is looking, and whether something changed meanwhile.
    looking: bool,
    look_again: bool,
}

impl Class for DedupeStore {
    const NAME: &'static str = "SQLiteDedupeStore";
    const METHODS: &'static [Method<Self>] = &[
        Method { name: "waitFor", length: 1, run: |store, call| store.0.wait_for(call) },
        Method { name: "register", length: 1, run: |store, call| store.0.register(call) },
        Method { name: "complete", length: 2, run: |store, call| store.0.complete(call) },
        Method { name: "fail", length: 2, run: |store, call| store.0.fail(call) },
        Method {
            name: "isInProgress",
            length: 1,
            run: |store, call| store.0.on(call, |on| Ok(dedupe::is_in_progress(on))),
        },
        Method { name: "getResult", length: 1, run: |store, call| store.0.on(call, |on| Ok(dedupe::result(on))) },
        Method { name: "getStats", length: 0, run: |store, call| store.0.stats(call) },
        Method { name: "cleanup", length: 0, run: |store, call| store.0.cleanup(call) },
        Method { name: "clear", length: 0, run: |store, call| store.0.clear(call) },
        Method { name: "close", length: 0, run: |store, call| store.0.close(call) },
        Method { name: "destroy", length: 0, run: |store, call| store.0.destroy(call) },
    ];

    fn construct(js: Js, options: Value, realm: Rc<Realm>) -> Result<Self> {
        let members = Members::of_options(js, options)?;
        let options = members.dedupe()?;
        let store = Store::open(js, StoreKind::Dedupe, realm, &members)?;
        let owner = Uuid::new_v4().to_string();
        let database = store.database()?;
        let mailbox = Arc::clone(store.environment().mailbox());
        let inner = Rc::new_cyclic(|itself: &Weak<Inner>| {
            let member: Weak<dyn Member> = itself.clone() as Weak<dyn Member>;
            let number = store.environment().join(member);
            store.joined_as(number);
            let notify = Box::new(move || mailbox.notify(number));
            Inner {
                watch: Watch::new(&database, owner.clone(), options.poll_interval_ms, notify),
                store,
                options,
                owner,
                groups: RefCell::default(),
                asking: Cell::new(0),
                registered: RefCell::default(),
                itself: RefCell::new(itself.clone()),
            }
        });
        inner.store.start_cleaning(js, options.cleanup_interval_ms)?;
        Ok(DedupeStore(inner))
    }

    fn realm(&self) -> &Realm {
        self.0.store.realm()
    }

    fn collected(&self, js: Js) {
        self.0.store.collected(js);
    }
}

impl Member for Inner {
    fn look_again(&self, js: Js) {
        let hashes: Vec<String> = self.groups.borrow().keys().cloned().collect();
        for hash in hashes {
            self.look(js, hash);
        }
    }

    fn shut_down(&self) {
        self.store.shut_down();
    }

    fn tick(&self, js: Js) -> bool {
        self.store.clean(js, |now| dedupe::cleanup(&self.options, now, watch::system_now()))
    }

    fn alarm(&self, js: Js) {
        self.end_late_jobs(js);
    }
}

impl Inner {
    fn itself(&self) -> Weak<Inner> {
        self.itself.borrow().clone()
    }

    fn call_at(&self, hash: String, now: Millis, waiting_since: Option<Millis>) -> Call {
        Call {
            hash,
            owner: self.owner.clone(),
            options: self.options,
            now,
            system_now: watch::system_now(),
            waiting_since,
        }
    }

    fn arguments(&self, call: &Arguments) -> Result<Call> {
        let hash = options::string(call.js, call.get(0), "hash")?;
        Ok(self.call_at(hash, self.store.realm().now(call.js)?, None))
    }

    /// A call on a hash that is answered by its operation alone.
    fn on(&self, call: &Arguments, make: impl FnOnce(Call) -> Result<Operation>) -> Value {
        self.store.call(call.js, || make(self.arguments(call)?).map(Some))
    }

    fn wait_for(&self, call: &Arguments) -> Value {
        let js = call.js;
        let on = match self.store.database().map_err(Into::into).and_then(|_| self.arguments(call)) {
            Ok(on) => on,
            Err(failure) => return self.store.realm().settled(js, Err(failure)),
        };
        if let Some(group) = self.groups.borrow_mut().get_mut(&on.hash) {
            return match Pending::new(js, self.store.environment(), self.store.realm()) {
                Ok((pending, promise)) => {
                    group.waiters.push(pending);
                    promise
                }
                Err(failure) => self.store.realm().settled(js, Err(failure)),
            };
        }
        let (hash, since) = (on.hash.clone(), on.now);
        let itself = self.itself();
        self.asking.set(self.asking.get() + 1);
        self.store.call_then(
            js,
            || Ok(dedupe::wait_for(on)),
            move |js, answer, pending| {
                let Some(inner) = itself.upgrade() else {
                    return pending.settle(js, Ok(js.undefined()));
                };
                inner.asking.set(inner.asking.get().saturating_sub(1));
                match (answer, inner.store.database()) {
                    (Ok(Answer::Wait(wait)), Ok(_)) => inner.wait(js, hash, since, wait, pending),
                    (answer, Ok(database)) => {
                        let value = inner.store.to_value(js, &database, answer);
                        pending.settle(js, value);
                    }
                    // Closed meanwhile.
                    (_, Err(_)) => pending.settle(js, Ok(js.undefined())),
                }
            },
        )
    }

    /// Adds a waiter to the group of its hash.
    fn wait(&self, js: Js, hash: String, since: Millis, wait: Wait, pending: Pending) {
        let mut groups = self.groups.borrow_mut();
        let group = groups.entry(hash.clone()).or_insert_with(|| Group {
            since,
            waiters: Vec::new(),
            wait: Wait { deadline: None, look_again_at: None },
            timer: None,
            looking: false,
            look_again: false,
        });
        group.waiters.push(pending);
        drop(groups);
        self.go_on_waiting(js, &hash, wait);
    }

    /// Takes over what a group waits for, sets its timer, and has changes watched.
    fn go_on_waiting(&self, js: Js, hash: &str, wait: Wait) {
        let mut stopped = None;
        let mut deadline = None;
        if let Some(group) = self.groups.borrow_mut().get_mut(hash) {
            if group.wait.deadline != wait.deadline {
                stopped = group.timer.take();
                deadline = wait.deadline;
            }
            group.wait = wait;
        }
        if let Some(timer) = stopped {
            self.store.realm().stop_timer(js, timer);
        }
        if let Some(deadline) = deadline {
            // Without a timer the job's end still wakes the group.
            let timer = self.deadline_timer(js, deadline).ok();
            if let Some(group) = self.groups.borrow_mut().get_mut(hash) {
                group.timer = timer;
            }
        }
        self.watch_groups();
    }

    fn deadline_timer(&self, js: Js, deadline: Millis) -> Result<Reference> {
        let realm = self.store.realm();
        let after = (deadline - realm.now(js)?).max(0.0);
        let tick = self.store.environment().alarm(js, self.store.member())?;
        realm.start_timer(js, tick, after, false)
    }

    fn watch_groups(&self) {
        let groups = self.groups.borrow();
        let first = groups.values().filter_map(|group| group.wait.look_again_at).reduce(f64::min);
        self.watch.set_waiting(groups.len(), first);
    }

    /// Has a group find out what has become of its hash.
    fn look(&self, js: Js, hash: String) {
        let Ok(now) = self.store.realm().now(js) else {
            return;
        };
        let since = match self.groups.borrow_mut().get_mut(&hash) {
            None => return,
            Some(group) if group.looking => {
                group.look_again = true;
                return;
            }
            Some(group) => {
                group.looking = true;
                group.since
            }
        };
        let itself = self.itself();
        let operation = dedupe::wait_for(self.call_at(hash.clone(), now, Some(since)));
        self.store.run(
            js,
            operation,
            Some(Box::new(move |js, answer| {
                if let Some(inner) = itself.upgrade() {
                    inner.looked(js, hash, answer);
                }
            })),
        );
    }

    fn looked(&self, js: Js, hash: String, answer: CoreResult<Answer>) {
        let again = match self.groups.borrow_mut().get_mut(&hash) {
            None => return,
            Some(group) => {
                group.looking = false;
                std::mem::take(&mut group.look_again)
            }
        };
        match answer {
            Ok(Answer::Wait(wait)) => {
                self.go_on_waiting(js, &hash, wait);
                if again {
                    self.look(js, hash);
                }
            }
            // One of them makes the request; the others wait for that one.
            Ok(Answer::Claimed) => {
                let (first, left) = match self.groups.borrow_mut().get_mut(&hash) {
                    Some(group) => (group.waiters.remove(0), group.waiters.len()),
                    None => return,
                };
                if left == 0 {
                    self.take_group(js, &hash);
                } else {
                    self.look(js, hash);
                }
                first.settle(js, Ok(js.undefined()));
            }
            // A lock held elsewhere: look again with the next change.
            Err(error) if error.is_busy() => {}
            Ok(Answer::Json { text, unreadable }) => {
                // Each waiter gets a value of its own, as if it had asked alone.
                let Ok(database) = self.store.database() else {
                    return;
                };
                for waiter in self.take_group(js, &hash) {
                    let answer = Answer::Json { text: text.clone(), unreadable: unreadable.clone() };
                    waiter.settle(js, self.store.to_value(js, &database, Ok(answer)));
                }
            }
            Ok(Answer::Rejection(error)) | Err(error) => {
                for waiter in self.take_group(js, &hash) {
                    waiter.settle(js, Err(error.clone().into()));
                }
            }
            Ok(_) => self.settle_group(js, &hash, |js| Ok(js.undefined())),
        }
    }

    /// Dissolves a group; its waiters are to be settled.
    fn take_group(&self, js: Js, hash: &str) -> Vec<Pending> {
        let Some(group) = self.groups.borrow_mut().remove(hash) else {
            return Vec::new();
        };
        if let Some(timer) = group.timer {
            self.store.realm().stop_timer(js, timer);
        }
        self.watch_groups();
        group.waiters
    }

    fn settle_group(&self, js: Js, hash: &str, settlement: impl Fn(Js) -> Result<Value>) {
        for waiter in self.take_group(js, hash) {
            waiter.settle(js, settlement(js));
        }
    }

    fn settle_all(&self, js: Js) {
        let hashes: Vec<String> = self.groups.borrow().keys().cloned().collect();
        for hash in hashes {
            self.settle_group(js, &hash, |js| Ok(js.undefined()));
        }
    }

    /// A deadline's timer fired: the jobs past their time have failed, and nobody waits for them any longer.
    fn end_late_jobs(&self, js: Js) {
        let Ok(now) = self.store.realm().now(js) else {
            return;
        };
        let is_late = |group: &Group| group.wait.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<String> =
            self.groups.borrow().iter().filter(|(_, group)| is_late(group)).map(|(hash, _)| hash.clone()).collect();
        for hash in late {
            let waiters = self.take_group(js, &hash);
            let operation = dedupe::time_out(&self.call_at(hash, now, None));
            self.store.run(
                js,
                operation,
                Some(Box::new(move |js, _| {
                    for waiter in waiters {
                        waiter.settle(js, Ok(js.undefined()));
                    }
                })),
            );
        }
    }

    fn register(&self, call: &Arguments) -> Value {
        let itself = self.itself();
        let js = call.js;
        let on = match self.store.database().map_err(Into::into).and_then(|_| self.arguments(call)) {
            Ok(on) => on,
            Err(failure) => return self.store.realm().settled(js, Err(failure)),
        };
        let hash = on.hash.clone();
        self.store.call_then(
            js,
            || Ok(dedupe::register(&on, Uuid::new_v4().to_string())),
            move |js, answer, pending| {
                if let (Ok(Answer::Registered { job_id, created: true }), Some(inner)) = (&answer, itself.upgrade())
                {
                    inner.registered.borrow_mut().insert(hash, job_id.clone());
                    inner.watch.set_pending_jobs(inner.registered.borrow().len());
                }
                let value = match answer {
                    Ok(Answer::Registered { job_id, .. }) => js.string(&job_id),
                    Ok(_) => Ok(js.undefined()),
                    Err(error) => Err(error.into()),
                };
                pending.settle(js, value);
            },
        )
    }

    /// Ends a job. Waiters of this store get `value` itself, not a copy.
    fn end(
        &self,
        js: Js,
        on: Call,
        value: Value,
        make: impl FnOnce(&Call, Option<String>) -> Operation,
        settlement: fn(Value) -> Result<Value>,
    ) -> Value {
        let registered = self.registered.borrow().get(&on.hash).cloned();
        let ended = registered.clone();
        // Kept only if somebody may be waiting here when the job has ended.
        let kept = if self.asking.get() > 0 || self.groups.borrow().contains_key(&on.hash) {
            js.internal_array().and_then(|holder| {
                js.set_element(holder, 0, value)?;
                js.refer(holder, true)
            })
        } else {
            Err(Error::Internal(String::new()).into())
        };
        let hash = on.hash.clone();
        let itself = self.itself();
        self.store.call_then(
            js,
            || Ok(make(&on, registered)),
            move |js, answer, pending| {
                let inner = itself.upgrade();
                if let (Some(inner), Ok(Answer::Ended { changed })) = (&inner, &answer) {
                    inner.forget_job(&hash, ended.as_deref());
                    let value = kept.as_ref().ok().and_then(|kept| js.deref(kept));
                    match value.map(|holder| js.element(holder, 0)) {
                        Some(Ok(value)) if *changed => inner.settle_group(js, &hash, |_| settlement(value)),
                        _ => inner.look(js, hash),
                    }
                }
                if let Ok(kept) = kept {
                    js.drop_reference(kept);
                }
                pending.settle(js, answer.map(|_| js.undefined()).map_err(Into::into));
            },
        )
    }

    fn forget_job(&self, hash: &str, job_id: Option<&str>) {
        let mut registered = self.registered.borrow_mut();
        if job_id.is_some() && registered.get(hash).map(String::as_str) == job_id {
            registered.remove(hash);
        }
        self.watch.set_pending_jobs(registered.len());
    }

    fn complete(&self, call: &Arguments) -> Value {
        let js = call.js;
        let made = self.store.database().map_err(Into::into).and_then(|_| {
            let on = self.arguments(call)?;
            let text = match js.type_of(call.get(1)) {
                Type::Undefined => codec::UNDEFINED.to_owned(),
                Type::Null => codec::NULL.to_owned(),
                _ => self
                    .store
                    .realm()
                    .stringify(js, call.get(1))?
                    .map_err(|reason| Error::Unserializable { what: "result", reason })?,
            };
            Ok((on, text))
        });
        match made {
            Ok((on, text)) => {
                self.end(js, on, call.get(1), |on, registered| dedupe::complete(on, &text, registered), Ok)
            }
            Err(failure) => self.store.realm().settled(js, Err(failure)),
        }
    }

    fn fail(&self, call: &Arguments) -> Value {
        let js = call.js;
        let made = self.store.database().map_err(Into::into).and_then(|_| {
            let on = self.arguments(call)?;
            let error = call.get(1);
            let message = if js.is_object(error) { js.get(error, c"message")? } else { error };
            let message = if js.type_of(message) == Type::Undefined { None } else { js.display(message) };
            Ok((on, message))
        });
        match made {
            Ok((on, message)) => self.end(
                js,
                on,
                call.get(1),
                |on, registered| dedupe::fail(on, message, registered),
                |error| Err(super::js::Failure::Thrown(error)),
            ),
            Err(failure) => self.store.realm().settled(js, Err(failure)),
        }
    }

    fn stats(&self, call: &Arguments) -> Value {
        self.store.call(call.js, || Ok(Some(dedupe::stats(&self.options, self.store.realm().now(call.js)?))))
    }

    fn cleanup(&self, call: &Arguments) -> Value {
        self.store.call(call.js, || {
            let now = self.store.realm().now(call.js)?;
            Ok(Some(dedupe::cleanup(&self.options, now, watch::system_now())))
        })
    }

    fn clear(&self, call: &Arguments) -> Value {
        let itself = self.itself();
        self.store.call_then(
            call.js,
            || Ok(dedupe::clear()),
            move |js, answer, pending| {
                if let (Some(inner), Ok(_)) = (itself.upgrade(), &answer) {
                    inner.registered.borrow_mut().clear();
                    inner.watch.set_pending_jobs(0);
                    inner.settle_all(js);
                }
                pending.settle(js, answer.map(|_| js.undefined()).map_err(Into::into));
            },
        )
    }

    fn close(&self, call: &Arguments) -> Value {
        let itself = self.itself();
        let promise = self.store.close(call.js, move |js| {
            if let Some(inner) = itself.upgrade() {
                inner.settle_all(js);
            }
        });
        self.settle_all(call.js);
        promise
    }

    fn destroy(&self, call: &Arguments) -> Value {
        self.store.destroy(call.js);
        self.settle_all(call.js);
        call.js.undefined()
    }
}
