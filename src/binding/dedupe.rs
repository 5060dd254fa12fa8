//! `SQLiteDedupeStore`: beside the calls, the waiters. All that wait in this store for one hash are a *group*, which
//! looks again when something has changed or is due.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use uuid::Uuid;

use super::backend::Backend;
use super::class::{Arguments, Class, Method, Shape};
use super::environment::Member;
use super::js::{Failure, Js, Reference, Result, Type, Value};
use super::options::{self, Members};
use super::realm::Realm;
use super::store::{Pending, Request, Store};
use crate::core::codec;
use crate::core::dedupe::{self, Call};
use crate::core::error::StoreKind;
use crate::core::options::DedupeOptions;
use crate::core::plan::{Answer, Field, Operation, Wait};
use crate::core::value::Millis;
use crate::sqlite::watch::{self, Signal, Watch};

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
    /// Calls that change jobs and are not answered yet.
    changing: Cell<usize>,
    /// The jobs this store registered and has not ended, by hash.
    registered: RefCell<HashMap<String, Registered>>,
    registrations: Cell<u64>,
    /// Whether the store may have claims or leases, which it gives up when it ends.
    has_claimed: Cell<bool>,
    itself: Weak<Inner>,
    /// Itself while somebody waits: the promise of a `waitFor` outlives the store's object.
    kept: RefCell<Option<Rc<Inner>>>,
    /// The store's object has been collected while somebody waited.
    orphaned: Cell<bool>,
}

/// A job this store registered.
enum Registered {
    /// By the call of this number, which is not answered yet: it may join another's job, or that of an earlier call.
    Asked(u64, Option<String>),
    /// This one.
    Job(String),
    /// This one, which was no longer there when it was to be ended, or one of another store that failed while it was
    /// waited for here: whatever has come in its place is not this store's to end.
    Lost(String),
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
    const EXPECTED: &'static str = "an SQLiteDedupeStore";
    const METHODS: &'static [Method<Self>] = &[
        Method::new(Shape::Promised, "waitFor", 1, |store, call| store.0.wait_for(call)),
        Method::new(Shape::Promised, "register", 1, |store, call| {
            store.0.register(call, |job_id, _| Answer::Text(job_id))
        }),
        Method::new(Shape::Promised, "registerOrJoin", 1, |store, call| {
            store.0.register(call, |job_id, created| {
                Answer::Record(vec![("jobId", Field::Text(job_id)), ("isOwner", Field::Bool(created))])
            })
        }),
        Method::new(Shape::Stringified, "complete", 2, |store, call| store.0.complete(call)),
        Method::new(Shape::Promised, "fail", 2, |store, call| store.0.fail(call)),
        Method::new(Shape::Promised, "isInProgress", 1, |store, call| {
            store.0.on(call, |on| Ok(dedupe::is_in_progress(on)))
        }),
        Method::new(Shape::Parsed, "getResult", 1, |store, call| store.0.on(call, |on| Ok(dedupe::result(on)))),
        Method::new(Shape::Promised, "getStats", 0, |store, call| store.0.stats(call)),
        Method::new(Shape::Promised, "cleanup", 0, |store, call| store.0.cleanup(call)),
        Method::new(Shape::Promised, "clear", 0, |store, call| store.0.clear(call)),
        Method::new(Shape::Promised, "close", 0, |store, call| store.0.close(call)),
        Method::new(Shape::Direct, "destroy", 0, |store, call| store.0.destroy(call)),
    ];

    fn construct(js: Js, options: Value, realm: Rc<Realm>) -> Result<Self> {
        let members = Members::of_options(js, options)?;
        let options = members.dedupe()?;
        let store = Store::open(js, StoreKind::Dedupe, realm, &members)?;
        let owner = Uuid::new_v4().to_string();
        let backend = store.backend()?;
        let mailbox = Arc::clone(store.environment().mailbox());
        let inner = Rc::new_cyclic(|itself: &Weak<Inner>| {
            let member: Weak<dyn Member> = itself.clone() as Weak<dyn Member>;
            let number = store.environment().join(member);
            store.joined_as(number);
            let notify = Box::new(move |signal| mailbox.notify(number, signal));
            let database = match &backend {
                Backend::Own(database) => Some(database),
                Backend::Given(given) => {
                    given.add_watcher(number);
                    None
                }
            };
            Inner {
                watch: Watch::new(database, owner.clone(), options.poll_interval_ms, notify),
                store,
                options,
                owner,
                groups: RefCell::default(),
                asking: Cell::new(0),
                changing: Cell::new(0),
                registered: RefCell::default(),
                registrations: Cell::new(0),
                has_claimed: Cell::new(false),
                itself: itself.clone(),
                kept: RefCell::new(None),
                orphaned: Cell::new(false),
            }
        });
        inner.store.start_cleaning(js, options.cleanup_interval_ms)?;
        Ok(DedupeStore(inner))
    }

    fn collected(&self, js: Js) {
        if self.0.kept.borrow().is_some() {
            self.0.orphaned.set(true);
        } else {
            self.0.end_unseen(js);
        }
    }
}

impl Member for Inner {
    fn notice(&self, js: Js, notice: Signal) {
        match notice {
            Signal::Changed => self.look_at_all(js),
            Signal::Poll => {
                if let Ok(Backend::Given(given)) = self.store.backend()
                    && given.has_changed()
                {
                    self.look_at_all(js);
                }
            }
            Signal::Renew => self.store.run(js, self.watch.renewal(), None),
        }
    }

    fn exit(&self, js: Js) {
        self.give_up(js);
    }

    fn shut_down(&self) {
        // Nobody looks any more.
        let _ = self.watch.set_waiting(0, None);
        self.store.shut_down(self.giving_up());
    }

    fn tick(&self, js: Js) -> bool {
        self.registered.borrow_mut().retain(|_, job| !matches!(job, Registered::Lost(_)));
        self.store.clean(js, |now| dedupe::cleanup(&self.options, now, watch::system_now()))
    }

    fn alarm(&self, js: Js) {
        self.end_late_jobs(js);
    }
}

impl Inner {
    fn itself(&self) -> Weak<Inner> {
        self.itself.clone()
    }

    /// Lives on while somebody waits, and no longer.
    fn keep_while_waiting(&self, js: Js) {
        let waiting = self.asking.get() > 0 || !self.groups.borrow().is_empty();
        let kept = if waiting { self.itself.upgrade() } else { None };
        let before = self.kept.replace(kept);
        if !waiting && self.orphaned.replace(false) {
            self.end_unseen(js);
        }
        // The last thing: it may be the last that holds `self`.
        drop(before);
    }

    /// The store's object has been collected.
    fn end_unseen(&self, js: Js) {
        self.leave_connection();
        self.store.collected(js, self.giving_up());
    }

    /// The operation that gives up the store's claims and leases, if it may have some.
    fn giving_up(&self) -> Option<Operation> {
        self.watch.remove_jobs();
        self.has_claimed.take().then(|| dedupe::give_up(&self.owner))
    }

    /// Gives up the store's claims and leases, so that those who wait elsewhere take over at once.
    fn give_up(&self, js: Js) {
        if let Some(operation) = self.giving_up() {
            self.store.run_last(js, operation);
        }
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
        Ok(self.call_at(hash, call.now()?, None))
    }

    /// A call on a hash that is answered by its operation alone.
    fn on(&self, call: &Arguments, make: impl FnOnce(Call) -> Result<Operation>) -> Value {
        self.store.call(call, || make(self.arguments(call)?).map(Some))
    }

    fn wait_for(&self, call: &Arguments) -> Value {
        let js = call.js;
        let on = match self.store.backend().and_then(|_| self.arguments(call)) {
            Ok(on) => on,
            Err(failure) => return self.store.realm().rejected(js, failure),
        };
        // Joining at once would go past calls that are still to end or clear what the group waits for.
        if self.changing.get() == 0
            && let Some(group) = self.groups.borrow_mut().get_mut(&on.hash)
        {
            return match Pending::new(js, self.store.environment(), self.store.realm()) {
                Ok((pending, promise)) => {
                    group.waiters.push(pending);
                    promise
                }
                Err(failure) => self.store.realm().rejected(js, failure),
            };
        }
        let (hash, since) = (on.hash.clone(), on.now);
        let itself = self.itself();
        self.asking.set(self.asking.get() + 1);
        self.keep_while_waiting(js);
        let idle = self.store.backend().is_ok_and(|backend| backend.is_idle(self.store.environment()));
        let asked_at = on.system_now;
        self.has_claimed.set(true);
        self.store.call_then(
            call,
            || Ok(if idle { dedupe::wait_for(on) } else { dedupe::wait_for_in_turn(on) }),
            move |js, answer, pending| {
                let Some(inner) = itself.upgrade() else {
                    return pending.settle(js, Ok(js.undefined()));
                };
                inner.asking.set(inner.asking.get().saturating_sub(1));
                match (answer, inner.store.backend()) {
                    (Ok(Answer::Wait(wait)), Ok(_)) => inner.wait(js, hash, since, wait, pending),
                    (Ok(Answer::Claimed), Ok(_)) if inner.is_stale_claim(asked_at) => {
                        let wait = Wait { deadline: None, look_again_at: None };
                        inner.wait(js, hash.clone(), since, wait, pending);
                        inner.look(js, hash);
                    }
                    (answer, Ok(_)) => {
                        let value = inner.store.to_value(js, answer);
                        pending.settle(js, value);
                    }
                    // Closed meanwhile.
                    (_, Err(_)) => pending.settle(js, Ok(js.undefined())),
                }
                inner.keep_while_waiting(js);
            },
        )
    }

    /// Whether a claim made for a call at `asked_at` has run for so long, while a lock was waited for, that another
    /// may have taken its place.
    fn is_stale_claim(&self, asked_at: Millis) -> bool {
        const USUAL_DELAY_MS: Millis = 50.0;
        watch::system_now() - asked_at > (self.options.claim_timeout_ms / 2.0).max(USUAL_DELAY_MS)
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
        self.watch_groups(js);
    }

    fn deadline_timer(&self, js: Js, deadline: Millis) -> Result<Reference> {
        let realm = self.store.realm();
        let after = (deadline - realm.now(js)?).max(0.0);
        let tick = self.store.environment().alarm(js, self.store.member())?;
        realm.start_timer(js, tick, after, false)
    }

    /// Has changes watched that somebody waits for. Where nobody can watch, nobody waits.
    fn watch_groups(&self, js: Js) {
        let watched = {
            let groups = self.groups.borrow();
            let first = groups.values().filter_map(|group| group.wait.look_again_at).reduce(f64::min);
            self.watch.set_waiting(groups.len(), first)
        };
        if let Err(error) = watched {
            for group in self.groups.take().into_values() {
                if let Some(timer) = group.timer {
                    self.store.realm().stop_timer(js, timer);
                }
                for waiter in group.waiters {
                    waiter.settle(js, Err(error.clone().into()));
                }
            }
        }
    }

    fn look_at_all(&self, js: Js) {
        let hashes: Vec<String> = self.groups.borrow().keys().cloned().collect();
        for hash in hashes {
            self.look(js, hash);
        }
    }

    fn leave_connection(&self) {
        if let Ok(Backend::Given(given)) = self.store.backend() {
            given.remove_watcher(self.store.member());
        }
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
        let on = self.call_at(hash.clone(), now, Some(since));
        let asked_at = on.system_now;
        let operation = dedupe::wait_for(on);
        self.store.run(
            js,
            operation,
            Some(Box::new(move |js, answer| {
                if let Some(inner) = itself.upgrade() {
                    inner.looked(js, hash, answer, asked_at);
                }
            })),
        );
    }

    fn looked(&self, js: Js, hash: String, answer: Result<Answer>, asked_at: Millis) {
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
            Ok(Answer::Claimed) if self.is_stale_claim(asked_at) => self.look(js, hash),
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
            Err(Failure::Error(error)) if error.is_busy() => {}
            Ok(Answer::Json { text, unreadable }) => {
                // Each waiter gets a value of its own, as if it had asked alone.
                for waiter in self.take_group(js, &hash) {
                    let answer = Answer::Json { text: text.clone(), unreadable: unreadable.clone() };
                    waiter.settle(js, self.store.to_value(js, Ok(answer)));
                }
            }
            Ok(Answer::Rejection(error)) => {
                // Those who waited will say that their request has failed: that was this job, and not the next.
                let mut registered = self.registered.borrow_mut();
                registered.entry(hash.clone()).or_insert(Registered::Lost(String::new()));
                drop(registered);
                for waiter in self.take_group(js, &hash) {
                    waiter.settle(js, Err(error.clone().into()));
                }
            }
            Err(Failure::Error(error)) => {
                for waiter in self.take_group(js, &hash) {
                    waiter.settle(js, Err(error.clone().into()));
                }
            }
            Err(Failure::Thrown(thrown)) => {
                for waiter in self.take_group(js, &hash) {
                    waiter.settle(js, Err(Failure::Thrown(thrown)));
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
        self.watch_groups(js);
        self.keep_while_waiting(js);
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

    /// A deadline's timer fired: the jobs past their time have failed, and nobody waits for them any longer. Where
    /// another job has come in the place of one, its waiters go on with that.
    fn end_late_jobs(&self, js: Js) {
        let (Ok(now), Some(itself)) = (self.store.realm().now(js), self.itself.upgrade()) else {
            return;
        };
        let is_late = |group: &Group| group.wait.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<(String, Millis)> = {
            let groups = self.groups.borrow();
            let late = groups.iter().filter(|(_, group)| is_late(group));
            late.map(|(hash, group)| (hash.clone(), group.since)).collect()
        };
        for (hash, since) in late {
            let waiters = self.take_group(js, &hash);
            let operation = dedupe::time_out(&self.call_at(hash.clone(), now, None));
            let inner = Rc::clone(&itself);
            self.store.run(
                js,
                operation,
                Some(Box::new(move |js, answer| {
                    let is_over = !matches!(answer, Ok(Answer::Ended { changed: false }));
                    if is_over || inner.store.backend().is_err() {
                        for waiter in waiters {
                            waiter.settle(js, Ok(js.undefined()));
                        }
                        return;
                    }
                    for waiter in waiters {
                        let wait = Wait { deadline: None, look_again_at: None };
                        inner.wait(js, hash.clone(), since, wait, waiter);
                    }
                    inner.keep_while_waiting(js);
                    inner.look(js, hash);
                })),
            );
        }
    }

    /// As [`Store::call_then`], of a call that changes jobs.
    fn change<R: Into<Request>>(
        &self,
        call: &Arguments,
        make: impl FnOnce() -> Result<R>,
        finish: impl FnOnce(Js, &Inner, Result<Answer>, Pending) + 'static,
    ) -> Value {
        // The call outlives the store's object.
        let Some(inner) = self.itself.upgrade() else { return call.js.undefined() };
        self.changing.set(self.changing.get() + 1);
        self.store.call_then(call, make, move |js, answer, pending| {
            inner.changing.set(inner.changing.get().saturating_sub(1));
            finish(js, &inner, answer, pending);
        })
    }

    /// Registers a job or joins the live one; `make` is told which it is, and whether it is this store's own new one.
    fn register(&self, call: &Arguments, make: fn(String, bool) -> Answer) -> Value {
        let js = call.js;
        let on = self.store.backend().and_then(|_| self.arguments(call));
        let on = match on.and_then(|on| Ok(Watch::ensure_renewal().map(|()| on)?)) {
            Ok(on) => on,
            Err(failure) => return self.store.realm().rejected(js, failure),
        };
        let hash = on.hash.clone();
        let registered_at = on.system_now;
        let number = self.registrations.get() + 1;
        self.registrations.set(number);
        self.has_claimed.set(true);
        let before = self.registered.borrow_mut().insert(hash.clone(), Registered::Asked(number, None));
        self.change(
            call,
            || Ok(dedupe::register(&on, Uuid::new_v4().to_string())),
            move |js, inner, answer, pending| {
                let answer = answer.map(|answer| match answer {
                    Answer::Registered { job_id, created } => {
                        if created && watch::system_now() - registered_at > dedupe::LEASE_MS / 2.0 {
                            // The lease counts from the call, and a lock was waited for.
                            let renewal = dedupe::renew(&inner.owner, [(&hash, &job_id)], watch::system_now());
                            inner.store.run(js, renewal, None);
                        }
                        let own = created || matches!(&before, Some(Registered::Job(own)) if *own == job_id);
                        inner.registration_answered(hash, number, &job_id, own);
                        make(job_id, created)
                    }
                    other => other,
                });
                let value = inner.store.to_value(js, answer);
                pending.settle(js, value);
            },
        )
    }

    /// Takes note of a registration: the job is this store's `own`, or another's that it has joined. A later call on the
    /// hash decides what becomes of it.
    fn registration_answered(&self, hash: String, number: u64, job_id: &str, own: bool) {
        let mut registered = self.registered.borrow_mut();
        match registered.get_mut(&hash) {
            Some(Registered::Asked(asked, created)) if *asked == number => {
                if own || created.as_deref() == Some(job_id) {
                    registered.insert(hash.clone(), Registered::Job(job_id.to_owned()));
                    drop(registered);
                    self.renew(&hash, job_id);
                } else {
                    registered.remove(&hash);
                }
            }
            // One that is not answered yet: it will join this one.
            Some(Registered::Asked(_, created)) if own => *created = Some(job_id.to_owned()),
            _ => {}
        }
    }

    /// Has the lease of a job renewed, unless the store has ended.
    fn renew(&self, hash: &str, job_id: &str) {
        if self.store.backend().is_ok() {
            self.watch.add_job(hash, job_id);
        }
    }

    /// Ends a job. Waiters of this store get `value` itself, not a copy.
    fn end<R: Into<Request>>(
        &self,
        call: &Arguments,
        on: Call,
        make: impl FnOnce(&Call, Option<String>) -> R,
        settlement: fn(Value) -> Result<Value>,
    ) -> Value {
        let js = call.js;
        // Taken out at once: what is called next is about the next job.
        let registered = match self.registered.borrow_mut().remove(&on.hash) {
            Some(Registered::Job(job_id) | Registered::Lost(job_id)) => Some(job_id),
            Some(Registered::Asked(_, created)) => created,
            None => None,
        };
        self.watch.remove_job(&on.hash);
        let ended = registered.clone();
        // Kept only if somebody may be waiting here when the job has ended.
        let may_be_awaited = self.asking.get() > 0 || self.groups.borrow().contains_key(&on.hash);
        let kept = if may_be_awaited { js.keep(call.get(1)).ok() } else { None };
        let hash = on.hash.clone();
        self.change(
            call,
            || Ok(make(&on, registered)),
            move |js, inner, answer, pending| {
                let value = kept.and_then(|kept| js.take(kept));
                if let Ok(Answer::Ended { changed }) = &answer {
                    if let (false, Some(job_id)) = (changed, ended) {
                        let mut registered = inner.registered.borrow_mut();
                        registered.entry(hash.clone()).or_insert(Registered::Lost(job_id));
                    }
                    match value {
                        Some(value) if *changed => inner.settle_group(js, &hash, |_| settlement(value)),
                        _ => inner.look(js, hash),
                    }
                } else if let Some(job_id) = ended {
                    // It was not ended: it still is this store's.
                    inner.renew(&hash, &job_id);
                    inner.registered.borrow_mut().entry(hash).or_insert(Registered::Job(job_id));
                }
                pending.settle(js, answer.map(|_| js.undefined()));
            },
        )
    }

    fn complete(&self, call: &Arguments) -> Value {
        let js = call.js;
        let made = self.store.backend().and_then(|_| {
            let hash = options::string(js, call.get(0), "hash")?;
            let markers = [(Type::Undefined, codec::UNDEFINED), (Type::Null, codec::NULL)];
            let text = options::json_text(call, &self.store, "result", &markers)?;
            Ok((self.call_at(hash, call.now()?, None), text.split()))
        });
        match made {
            Ok((on, (text, unread))) => {
                let make = |on: &Call, registered| Request::new(dedupe::complete(on, text, registered), unread);
                self.end(call, on, make, Ok)
            }
            Err(failure) => self.store.realm().rejected(js, failure),
        }
    }

    fn fail(&self, call: &Arguments) -> Value {
        let js = call.js;
        let made = self.store.backend().and_then(|_| {
            let on = self.arguments(call)?;
            let error = call.get(1);
            let message = if js.is_object(error) { js.get(error, c"message")? } else { error };
            let message = if js.type_of(message) == Type::Undefined { None } else { js.display(message) };
            Ok((on, message))
        });
        match made {
            Ok((on, message)) => self.end(
                call,
                on,
                |on, registered| dedupe::fail(on, message, registered),
                |error| Err(Failure::Thrown(error)),
            ),
            Err(failure) => self.store.realm().rejected(js, failure),
        }
    }

    fn stats(&self, call: &Arguments) -> Value {
        self.store.call(call, || Ok(Some(dedupe::stats(&self.options, call.now()?))))
    }

    fn cleanup(&self, call: &Arguments) -> Value {
        self.store.call(call, || {
            let now = call.now()?;
            Ok(Some(dedupe::cleanup(&self.options, now, watch::system_now())))
        })
    }

    fn clear(&self, call: &Arguments) -> Value {
        // At once: what is registered next is not cleared.
        self.registered.borrow_mut().clear();
        self.watch.remove_jobs();
        self.change(
            call,
            || Ok(dedupe::clear()),
            |js, inner, answer, pending| {
                if answer.is_ok() {
                    inner.settle_all(js);
                }
                pending.settle(js, answer.map(|_| js.undefined()));
            },
        )
    }

    fn close(&self, call: &Arguments) -> Value {
        let itself = self.itself();
        self.give_up(call.js);
        self.leave_connection();
        let promise = self.store.close(call.js, move |js| {
            if let Some(inner) = itself.upgrade() {
                inner.settle_all(js);
            }
        });
        self.settle_all(call.js);
        promise
    }

    fn destroy(&self, call: &Arguments) -> Value {
        self.give_up(call.js);
        self.leave_connection();
        self.store.destroy(call.js);
        self.settle_all(call.js);
        call.js.undefined()
    }
}
