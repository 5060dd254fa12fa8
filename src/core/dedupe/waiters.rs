//! Who waits in a store for which hash, and which jobs are the store's own: a state machine. Events go in, actions come
//! out; whoever holds it performs them, in order, and tells it what its operations answered.
//!
//! All that wait for one hash are a *group*, which polls when something has changed or is due.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::owner;
use super::rules::{self, Call};
use crate::core::error::{Error, IsBusy};
use crate::core::operation::{Answer, Changed, Field, Operation, Wait};
use crate::core::options::DedupeOptions;
use crate::core::value::Millis;

/// The time of an event.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By the caller's clock, which tests fake.
    pub caller: Millis,
    /// By the system's.
    pub system: Millis,
}

/// What a store is told: calls, with the other ends of their promises, and what else happens. `W` is a promise's other end,
/// `V` what a job was ended with, `E` why an operation failed.
pub enum Event<W, V, E> {
    /// `waitFor`. Whether it would be carried out at once, and its number if it may be ended early.
    WaitFor { hash: String, at_once: bool, number: Option<u64>, waiter: W },
    /// The `waitFor` of this number ends early: it is answered, and takes no claim.
    Cancel { hash: String, number: u64 },
    /// `register`, or `registerOrJoin`, which `tells_owner`.
    Register { hash: String, job_id: String, tells_owner: bool, waiter: W },
    /// `complete` or `fail`.
    End { hash: String, ending: Ending<V>, waiter: W },
    /// `clear` of the hashes that begin with a text.
    Clear { scope: String, waiter: W },
    /// Something that is waited for may have changed, or is due.
    Changed(Changed),
    /// The lease of a job of the store's could not be renewed, or no longer is: the job is no longer the store's to end.
    Lost { hash: String, job_id: String },
    /// The store's claim has not been followed by `register` for as long as a claim may be.
    Unused { hash: String },
    /// The process of one of the [owners](Waiters::owners) has ended.
    OwnerEnded(String),
    /// The [next deadline](Waiters::next_deadline) has come.
    Deadline,
    /// An operation was answered.
    Answered { context: OperationContext<W, V>, answer: Result<Answer, E> },
    /// Nobody can poll.
    Unwatched(E),
    /// The store has ended.
    Closed,
}

/// How a job is ended.
pub enum Ending<V> {
    /// With a JSON text or a marker.
    Completed(Arc<String>),
    /// With an error's message and name, and the error, with which those who wait in this store are rejected, unless the
    /// name says that the request was [called off](rules::is_abort).
    Failed { message: Option<String>, name: Option<String>, error: Option<V> },
}

/// What is to be done.
pub enum Action<W, V, E> {
    /// Carry out an operation, and tell what it [answered](Event::Answered).
    Run { operation: Operation, context: OperationContext<W, V> },
    /// Settle a promise, of a call that may have waited for a job.
    Settle { waiter: W, answer: Result<Answer, E>, has_waited: bool },
    /// Reject promises, if any, with the error that a job failed with. It is needed no longer.
    RejectAll { waiters: Vec<W>, error: V },
    /// Poll whether something has changed while any hash is waited for; see [`Waiters::watched`].
    Watch,
    /// Renew the lease of a job of the store's from now on or, without a job, a claim, which may become [unused](Event::Unused).
    Renew { hash: String, job_id: Option<String> },
    /// `register` has been called: the claim of a hash, if any, does not become unused. It goes on being renewed.
    UseClaim(String),
    /// Renew nothing of a hash, or nothing at all, any more.
    EndRenewal(Option<String>),
}

/// What an operation was carried out for.
pub struct OperationContext<W, V>(Purpose<W, V>);

enum Purpose<W, V> {
    Wait { hash: String, since: Millis, asked_at: Millis, waiter: Waiter<W> },
    Poll { hash: String, asked_at: Millis },
    PollAll,
    TimeOut { hash: String },
    Register(Registration, W),
    End { hash: String, owned: Option<Owned>, ending: Ending<V>, waiter: W },
    Clear { scope: String, waiter: W },
    GiveUpClaim { hash: String },
    GiveUpOwner,
    Renew,
}

struct Registration {
    hash: String,
    number: u64,
    /// What the store had of the hash before.
    before: Option<Owned>,
    asked_at: Millis,
    tells_owner: bool,
}

/// A job this store registered.
enum Owned {
    /// By the call of this number, which is not answered yet: it may join another's job, or that of an earlier call.
    Registering(u64, Option<String>),
    /// This one.
    Job(String),
    /// This one, which was no longer there when it was to be ended, or one of another store that failed while it was
    /// waited for here: whatever has come in its place is not this store's to end.
    Lost(String),
}

impl Owned {
    /// The job, if that is known.
    fn job_id(&self) -> Option<String> {
        match self {
            Owned::Job(job_id) | Owned::Lost(job_id) => Some(job_id.clone()),
            Owned::Registering(_, created) => created.clone(),
        }
    }
}

/// Who waits, with the number of the call if it may end early.
struct Waiter<W> {
    number: Option<u64>,
    promise: W,
}

/// Those who wait for one hash.
struct Group<W> {
    since: Millis,
    waiters: Vec<Waiter<W>>,
    wait: Wait,
    /// Whether it is polling, and whether something changed meanwhile.
    polling: bool,
    poll_again: bool,
}

const UNKNOWN: Wait = Wait { deadline: None, expires_at: None, owner: None };

pub struct Waiters<W> {
    options: DedupeOptions,
    /// The store's name in leases and claims.
    owner: String,
    groups: BTreeMap<String, Group<W>>,
    /// Whether all of them are being polled, and whether something changed meanwhile.
    polling_all: bool,
    poll_all_again: bool,
    /// When the first of what they wait for ends, or earlier: of those that have ended by themselves it is not known.
    first: Wait,
    /// Whose leases and claims are waited for, of those whose process can be seen from here; or were.
    owners: Arc<BTreeSet<String>>,
    /// Calls of `waitFor` that are not answered yet, which may become waiters.
    asking: usize,
    /// The numbers of those of them that may end early, and have not.
    numbered: HashSet<u64>,
    /// Calls that change jobs and are not answered yet.
    changing: usize,
    owned: HashMap<String, Owned>,
    /// The hashes that a caller was told to make the request of, and has not registered yet, with its number.
    claims: HashMap<String, Option<u64>>,
    registrations: u64,
    /// Whether the store may have claims or leases, which it gives up when it ends.
    has_claimed: bool,
    /// How many jobs that were waited for have passed their time.
    timed_out: u64,
    /// Whether a job counts as ended here that could not be ended.
    ends_regardless: bool,
    closed: bool,
}

impl<W> Waiters<W> {
    /// Of a store that has just been made.
    pub fn new(owner: String, options: DedupeOptions) -> Self {
        Waiters {
            options,
            owner,
            groups: BTreeMap::new(),
            polling_all: false,
            poll_all_again: false,
            first: UNKNOWN,
            owners: Arc::default(),
            asking: 0,
            numbered: HashSet::new(),
            changing: 0,
            owned: HashMap::new(),
            claims: HashMap::new(),
            registrations: 0,
            has_claimed: false,
            timed_out: 0,
            ends_regardless: false,
            closed: false,
        }
    }

    /// A call of the store's on a hash.
    pub fn call(&self, hash: &str, now: Now, waiting_since: Option<Millis>) -> Call {
        Call {
            hash: hash.to_owned(),
            owner: self.owner.clone(),
            options: self.options,
            now: now.caller,
            system_now: now.system,
            waiting_since,
        }
    }

    /// Whether somebody waits, or may soon.
    pub fn is_waiting(&self) -> bool {
        self.asking > 0 || !self.groups.is_empty()
    }

    /// Whether all that is waited for is being looked at.
    pub fn is_polling(&self) -> bool {
        self.polling_all || self.groups.values().all(|group| group.polling)
    }

    /// Whether somebody may be waiting for a hash when what is called now has been carried out.
    pub fn may_wait_for(&self, hash: &str) -> bool {
        self.asking > 0 || self.groups.contains_key(hash)
    }

    /// Whether any hash is waited for, and when the first claim or lease among those ends, in system time; or earlier.
    pub fn watched(&self) -> (bool, Option<Millis>) {
        (!self.groups.is_empty(), self.first.expires_at)
    }

    /// When the first job that is waited for is past its time, by the caller's clock; or earlier.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.first.deadline
    }

    /// The store's name in leases and claims.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Whose processes are to be looked at.
    pub fn owners(&self) -> &Arc<BTreeSet<String>> {
        &self.owners
    }

    /// Finds out when the first of what is waited for ends, and whose it is.
    fn find_first(&mut self) {
        self.first = UNKNOWN;
        self.owners = Arc::default();
        let groups = std::mem::take(&mut self.groups);
        groups.values().for_each(|group| self.add_wait(&group.wait));
        self.groups = groups;
    }

    fn add_wait(&mut self, wait: &Wait) {
        self.first = self.first.or_earlier(wait);
        if let Some(owner) = &wait.owner
            && !self.owners.contains(owner)
            && owner::are_neighbours(&self.owner, owner)
        {
            Arc::make_mut(&mut self.owners).insert(owner.clone());
        }
    }

    /// Has a job count as ended that could not be ended: those who wait in this store get what it came to, and elsewhere one takes
    /// over when its lease has run out. Otherwise it goes on, until it is ended.
    pub fn end_regardless(&mut self) {
        self.ends_regardless = true;
    }

    /// How many jobs that were waited for have passed their time.
    pub fn timed_out(&self) -> u64 {
        self.timed_out
    }

    /// The store ends: nobody polls any more, and no lease is renewed. What was called before may still be answered, until
    /// the store [has ended](Event::Closed).
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The operation that gives up the store's claims and leases, if it may have some.
    pub fn give_up(&mut self) -> Option<Operation> {
        std::mem::take(&mut self.has_claimed).then(|| rules::give_up(&self.owner))
    }

    /// Forgets what it could not end: long ago, by now.
    pub fn forget_lost(&mut self) {
        self.owned.retain(|_, owned| !matches!(owned, Owned::Lost(_)));
    }

    /// Takes note of an event; answers what is to be done.
    pub fn on_event<V, E: Clone + From<Error> + IsBusy>(
        &mut self,
        event: Event<W, V, E>,
        now: Now,
    ) -> Vec<Action<W, V, E>> {
        let mut transition = Transition { state: self, now, actions: Vec::new() };
        match event {
            Event::WaitFor { hash, at_once, number, waiter } => {
                transition.wait_for(hash, at_once, Waiter { number, promise: waiter });
            }
            Event::Cancel { hash, number } => transition.cancel(hash, number),
            Event::Register { hash, job_id, tells_owner, waiter } => {
                transition.register(hash, job_id, tells_owner, waiter);
            }
            Event::End { hash, ending, waiter } => transition.end(hash, ending, waiter),
            Event::Clear { scope, waiter } => transition.clear(scope, waiter),
            Event::Changed(Changed::Hashes(hashes)) => hashes.into_iter().for_each(|hash| transition.poll(hash)),
            Event::Changed(Changed::Anything) => transition.poll_all(),
            Event::Lost { hash, job_id } => transition.lost(hash, job_id),
            Event::Unused { hash } => {
                if transition.state.claims.remove(&hash).is_some() {
                    transition.give_up_claim(hash);
                }
            }
            Event::OwnerEnded(owner) => {
                // Not looked at again, unless it still is an owner afterwards.
                Arc::make_mut(&mut transition.state.owners).remove(&owner);
                transition.actions.push(Action::Watch);
                transition.run(rules::give_up(&owner), Purpose::GiveUpOwner);
            }
            Event::Deadline => transition.end_late_jobs(),
            Event::Answered { context: OperationContext(purpose), answer } => transition.answered(purpose, answer),
            Event::Unwatched(error) => transition.settle_all(&Err(error)),
            Event::Closed => transition.settle_all(&Ok(Answer::Undefined)),
        }
        transition.actions
    }
}

/// One event: the state, and what is to be done so far.
struct Transition<'state, W, V, E> {
    state: &'state mut Waiters<W>,
    now: Now,
    actions: Vec<Action<W, V, E>>,
}

impl<W, V, E: Clone + From<Error> + IsBusy> Transition<'_, W, V, E> {
    fn run(&mut self, operation: Operation, purpose: Purpose<W, V>) {
        self.actions.push(Action::Run { operation, context: OperationContext(purpose) });
    }

    fn settle(&mut self, waiter: W, answer: Result<Answer, E>) {
        self.actions.push(Action::Settle { waiter, answer, has_waited: false });
    }

    /// Settles the promise of a call that has waited.
    fn settle_waited(&mut self, waiter: W, answer: Result<Answer, E>) {
        self.actions.push(Action::Settle { waiter, answer, has_waited: true });
    }

    fn wait_for(&mut self, hash: String, at_once: bool, waiter: Waiter<W>) {
        // Joining at once would go past calls that are still to end or clear what the group waits for.
        if self.state.changing == 0
            && let Some(group) = self.state.groups.get_mut(&hash)
        {
            return group.waiters.push(waiter);
        }
        self.state.asking += 1;
        self.state.numbered.extend(waiter.number);
        self.state.has_claimed = true;
        let call = self.state.call(&hash, self.now, None);
        let operation = if at_once { rules::wait_for(call) } else { rules::wait_for_in_turn(call) };
        let Now { caller: since, system: asked_at } = self.now;
        self.run(operation, Purpose::Wait { hash, since, asked_at, waiter });
    }

    fn cancel(&mut self, hash: String, number: u64) {
        if self.state.numbered.remove(&number) {
            // It is answered with its operation.
        } else if self.state.claims.get(&hash) == Some(&Some(number)) {
            self.state.claims.remove(&hash);
            self.give_up_claim(hash);
        } else if let Some(group) = self.state.groups.get_mut(&hash)
            && let Some(index) = group.waiters.iter().position(|waiter| waiter.number == Some(number))
        {
            let waiter = group.waiters.remove(index);
            if group.waiters.is_empty() {
                self.take_group(&hash);
            }
            self.settle_waited(waiter.promise, Ok(Answer::Undefined));
        }
    }

    fn register(&mut self, hash: String, job_id: String, tells_owner: bool, waiter: W) {
        self.state.has_claimed = true;
        self.state.changing += 1;
        self.state.registrations += 1;
        let number = self.state.registrations;
        let before = self.state.owned.insert(hash.clone(), Owned::Registering(number, None));
        if self.state.claims.contains_key(&hash) {
            self.actions.push(Action::UseClaim(hash.clone()));
        }
        let operation = rules::register(self.state.call(&hash, self.now, None), job_id);
        let asked_at = self.now.system;
        let registration = Registration { hash, number, before, asked_at, tells_owner };
        self.run(operation, Purpose::Register(registration, waiter));
    }

    fn end(&mut self, hash: String, ending: Ending<V>, waiter: W) {
        // Taken out at once: what is called next is about the next job.
        let owned = match self.state.owned.remove(&hash) {
            Some(Owned::Registering(_, created)) => created.map(Owned::Job),
            owned => owned,
        };
        let job_id = owned.as_ref().and_then(Owned::job_id);
        if !self.state.claims.contains_key(&hash) {
            self.actions.push(Action::EndRenewal(Some(hash.clone())));
        }
        self.state.changing += 1;
        let call = self.state.call(&hash, self.now, None);
        let operation = match &ending {
            Ending::Completed(text) => rules::complete(&call, Arc::clone(text), job_id),
            Ending::Failed { message, name, .. } => rules::fail(&call, message.clone(), name.clone(), job_id),
        };
        self.run(operation, Purpose::End { hash, owned, ending, waiter });
    }

    fn clear(&mut self, scope: String, waiter: W) {
        // At once: what is registered next is not cleared.
        if scope.is_empty() {
            self.actions.push(Action::EndRenewal(None));
        } else {
            let hashes: BTreeSet<&String> = self.state.owned.keys().chain(self.state.claims.keys()).collect();
            let cleared = hashes.into_iter().filter(|hash| hash.starts_with(&scope)).cloned();
            self.actions.extend(cleared.map(|hash| Action::EndRenewal(Some(hash))));
        }
        self.state.owned.retain(|hash, _| !hash.starts_with(&scope));
        self.state.claims.retain(|hash, _| !hash.starts_with(&scope));
        self.state.changing += 1;
        self.run(rules::clear_scope(&scope), Purpose::Clear { scope, waiter });
    }

    fn answered(&mut self, purpose: Purpose<W, V>, answer: Result<Answer, E>) {
        match purpose {
            Purpose::Wait { hash, since, asked_at, waiter } => {
                self.state.asking = self.state.asking.saturating_sub(1);
                let has_ended = waiter.number.is_some_and(|number| !self.state.numbered.remove(&number));
                match answer {
                    _ if self.state.closed => self.settle(waiter.promise, Ok(Answer::Undefined)),
                    answer if has_ended => {
                        if matches!(answer, Ok(Answer::Claimed)) {
                            self.give_up_claim(hash);
                        }
                        self.settle(waiter.promise, Ok(Answer::Undefined));
                    }
                    Ok(Answer::Wait(wait)) => self.wait(&hash, since, wait, [waiter]),
                    Ok(Answer::Claimed) if self.is_stale(asked_at) => {
                        self.wait(&hash, since, UNKNOWN, [waiter]);
                        self.give_up_claim(hash);
                    }
                    Ok(Answer::Claimed) => {
                        let promise = self.grant(hash, waiter);
                        self.settle(promise, Ok(Answer::Claimed));
                    }
                    answer => self.settle(waiter.promise, answer),
                }
            }
            Purpose::Poll { hash, asked_at } => self.on_polled(hash, asked_at, answer),
            Purpose::PollAll => self.on_all_polled(answer),
            // One of those who waited makes the request now, unless another job has come in its place.
            Purpose::TimeOut { hash } => self.poll(hash),
            Purpose::Register(registration, waiter) => {
                self.changed();
                let answer = match answer {
                    Ok(Answer::Registered { job_id, created }) => {
                        Ok(self.registered(registration, job_id, created))
                    }
                    answer => {
                        if self.state.claims.contains_key(&registration.hash) {
                            self.renew(&registration.hash, None);
                        }
                        answer
                    }
                };
                self.settle(waiter, answer);
            }
            Purpose::End { hash, owned, ending, waiter } => {
                self.changed();
                let settled = answer.as_ref().map(|_| Answer::Undefined).map_err(E::clone);
                self.ended(hash, owned, ending, answer);
                self.settle(waiter, settled);
            }
            Purpose::Clear { scope, waiter } => {
                self.changed();
                if answer.is_ok() {
                    self.settle_scope(&scope, &Ok(Answer::Undefined));
                }
                self.settle(waiter, answer);
            }
            Purpose::GiveUpClaim { hash } => self.poll(hash),
            Purpose::GiveUpOwner => self.poll_all(),
            Purpose::Renew => {}
        }
    }

    fn changed(&mut self) {
        self.state.changing = self.state.changing.saturating_sub(1);
    }

    /// Whether the answer to a call made at `asked_at` comes so late that its lease or claim may have run for long: the call was
    /// put off, or waited for a lock, or its answer for this thread. Soon another may take its place, or has.
    fn is_stale(&self, asked_at: Millis) -> bool {
        self.now.system - asked_at > self.state.options.lease_ms / 2.0
    }

    /// Has a waiter make the request; answers its promise, to be settled with that.
    fn grant(&mut self, hash: String, waiter: Waiter<W>) -> W {
        self.renew(&hash, None);
        self.state.claims.insert(hash, waiter.number);
        waiter.promise
    }

    /// Gives up a claim. Those who wait take over.
    fn give_up_claim(&mut self, hash: String) {
        self.actions.push(Action::EndRenewal(Some(hash.clone())));
        let operation = rules::give_up_claim(&self.state.call(&hash, self.now, None));
        self.run(operation, Purpose::GiveUpClaim { hash });
    }

    /// Adds waiters to the group of their hash.
    fn wait(&mut self, hash: &str, since: Millis, wait: Wait, waiters: impl IntoIterator<Item = Waiter<W>>) {
        let group = self.state.groups.entry(hash.to_owned()).or_insert_with(|| Group {
            since,
            waiters: Vec::new(),
            wait: UNKNOWN,
            polling: false,
            poll_again: false,
        });
        group.waiters.extend(waiters);
        group.wait = wait.clone();
        self.state.add_wait(&wait);
        self.actions.push(Action::Watch);
    }

    /// Has all groups find out what has become of their hashes, by one look at all.
    fn poll_all(&mut self) {
        if self.state.groups.len() <= 1 {
            let hash = self.state.groups.keys().next().cloned();
            return hash.into_iter().for_each(|hash| self.poll(hash));
        }
        if self.state.polling_all {
            self.state.poll_all_again = true;
        } else if !self.state.closed {
            self.state.polling_all = true;
            let hashes = self.state.groups.keys().cloned().collect();
            self.run(rules::poll_all(self.state.call("", self.now, None), hashes), Purpose::PollAll);
        }
    }

    fn on_all_polled(&mut self, answer: Result<Answer, E>) {
        self.state.polling_all = false;
        let polled = match answer {
            Ok(Answer::Polled(polled)) => polled,
            // A lock held elsewhere: they poll again with the next change.
            Err(error) if error.is_busy() => Vec::new(),
            _ => self.state.groups.keys().map(|hash| (hash.clone(), None)).collect(),
        };
        for (hash, wait) in polled {
            match (wait, self.state.groups.get_mut(&hash)) {
                (Some(wait), Some(group)) => group.wait = wait,
                _ => self.poll(hash),
            }
        }
        self.state.find_first();
        self.actions.push(Action::Watch);
        if std::mem::take(&mut self.state.poll_all_again) {
            self.poll_all();
        }
    }

    /// Has a group find out what has become of its hash.
    fn poll(&mut self, hash: String) {
        let Some(group) = self.state.groups.get_mut(&hash).filter(|_| !self.state.closed) else { return };
        if group.polling {
            group.poll_again = true;
            return;
        }
        group.polling = true;
        let since = group.since;
        let operation = rules::wait_for(self.state.call(&hash, self.now, Some(since)));
        let asked_at = self.now.system;
        self.run(operation, Purpose::Poll { hash, asked_at });
    }

    fn on_polled(&mut self, hash: String, asked_at: Millis, answer: Result<Answer, E>) {
        let is_stale = self.is_stale(asked_at);
        let Some(group) = self.state.groups.get_mut(&hash) else {
            // Those who waited have been answered.
            if matches!(answer, Ok(Answer::Claimed)) {
                self.give_up_claim(hash);
            }
            return;
        };
        group.polling = false;
        let poll_again = std::mem::take(&mut group.poll_again);
        match answer {
            Ok(Answer::Wait(wait)) => {
                group.wait = wait.clone();
                if self.state.groups.len() == 1 {
                    self.state.find_first();
                } else {
                    self.state.add_wait(&wait);
                }
                self.actions.push(Action::Watch);
                if poll_again {
                    self.poll(hash);
                }
            }
            Ok(Answer::Claimed) if is_stale => self.give_up_claim(hash),
            // One of them makes the request; the others wait for that one.
            Ok(Answer::Claimed) => {
                let first = group.waiters.remove(0);
                if group.waiters.is_empty() {
                    self.take_group(&hash);
                } else {
                    self.poll(hash.clone());
                }
                let promise = self.grant(hash, first);
                self.settle_waited(promise, Ok(Answer::Claimed));
            }
            // A lock held elsewhere: it polls again with the next change.
            Err(error) if error.is_busy() => {}
            Ok(Answer::Rejection(error)) => {
                // Those who waited will say that their request has failed: that was this job, and not the next.
                self.state.owned.entry(hash.clone()).or_insert_with(|| Owned::Lost(String::new()));
                self.settle_group(&hash, &Err(error.into()));
            }
            // Each waiter gets a value of its own, as if it had asked alone.
            answer @ (Ok(Answer::Json { .. } | Answer::Null) | Err(_)) => self.settle_group(&hash, &answer),
            Ok(_) => self.settle_group(&hash, &Ok(Answer::Undefined)),
        }
    }

    /// Dissolves a group; its waiters are to be settled.
    fn take_group(&mut self, hash: &str) -> Vec<W> {
        let Some(group) = self.state.groups.remove(hash) else { return Vec::new() };
        if self.state.groups.is_empty() {
            self.state.find_first();
        }
        self.actions.push(Action::Watch);
        group.waiters.into_iter().map(|waiter| waiter.promise).collect()
    }

    fn settle_group(&mut self, hash: &str, answer: &Result<Answer, E>) {
        for waiter in self.take_group(hash) {
            let answer = match answer {
                Ok(Answer::Json { text, unreadable }) => {
                    Ok(Answer::Json { text: text.clone(), unreadable: unreadable.clone() })
                }
                Ok(Answer::Null) => Ok(Answer::Null),
                Ok(_) => Ok(Answer::Undefined),
                Err(error) => Err(error.clone()),
            };
            self.settle_waited(waiter, answer);
        }
    }

    fn settle_all(&mut self, answer: &Result<Answer, E>) {
        self.settle_scope("", answer);
    }

    fn settle_scope(&mut self, scope: &str, answer: &Result<Answer, E>) {
        let hashes: Vec<String> =
            self.state.groups.keys().filter(|hash| hash.starts_with(scope)).cloned().collect();
        for hash in hashes {
            self.settle_group(&hash, answer);
        }
    }

    /// The jobs past their time have failed: those who waited poll.
    fn end_late_jobs(&mut self) {
        let now = self.now.caller;
        let is_late = |group: &Group<W>| group.wait.deadline.is_some_and(|deadline| deadline <= now);
        let late = self.state.groups.iter_mut().filter(|(_, group)| is_late(group));
        let late: Vec<String> = late
            .map(|(hash, group)| {
                group.wait = UNKNOWN;
                hash.clone()
            })
            .collect();
        self.state.timed_out += late.len() as u64;
        self.state.find_first();
        self.actions.push(Action::Watch);
        for hash in late {
            let operation = rules::time_out(&self.state.call(&hash, self.now, None));
            self.run(operation, Purpose::TimeOut { hash });
        }
    }

    /// Takes note of a registration: the job is this store's own, or another's that it has joined. A later call on the hash
    /// decides what becomes of it.
    fn registered(&mut self, registration: Registration, job_id: String, created: bool) -> Answer {
        let Registration { hash, number, before, asked_at, tells_owner } = registration;
        if created && self.is_stale(asked_at) {
            let lease = (hash.clone(), Some(job_id.clone()));
            let renewal = rules::renew(&self.state.owner, self.state.options, [lease], self.now.system);
            self.run(renewal, Purpose::Renew);
        }
        if self.state.claims.remove(&hash).is_some() {
            self.actions.push(Action::EndRenewal(Some(hash.clone())));
        }
        let own = created || matches!(&before, Some(Owned::Job(own)) if *own == job_id);
        match self.state.owned.get_mut(&hash) {
            Some(Owned::Registering(asked, earlier)) if *asked == number => {
                if own || earlier.as_deref() == Some(job_id.as_str()) {
                    self.renew(&hash, Some(&job_id));
                    self.state.owned.insert(hash, Owned::Job(job_id.clone()));
                } else {
                    self.state.owned.remove(&hash);
                }
            }
            // One that is not answered yet: it will join this one.
            Some(Owned::Registering(_, earlier)) if own => *earlier = Some(job_id.clone()),
            _ => {}
        }
        if tells_owner {
            Answer::Record(vec![("jobId", Field::Text(job_id)), ("isOwner", Field::Bool(created))])
        } else {
            Answer::Registered { job_id, created }
        }
    }

    fn lost(&mut self, hash: String, job_id: String) {
        if let Some(owned) = self.state.owned.get_mut(&hash)
            && matches!(owned, Owned::Job(own) if *own == job_id)
        {
            *owned = Owned::Lost(job_id);
        }
    }

    /// Has the lease of a job, or a claim, renewed, unless the store has ended.
    fn renew(&mut self, hash: &str, job_id: Option<&str>) {
        if !self.state.closed {
            self.actions.push(Action::Renew { hash: hash.to_owned(), job_id: job_id.map(str::to_owned) });
        }
    }

    fn ended(&mut self, hash: String, owned: Option<Owned>, ending: Ending<V>, answer: Result<Answer, E>) {
        let changed = matches!(answer, Ok(Answer::Ended { changed: true }));
        let is_over = changed || (self.state.ends_regardless && answer.is_err());
        match ending {
            Ending::Completed(text) if is_over => self.settle_group(&hash, &Ok(rules::completed_with(text))),
            Ending::Failed { name, error: Some(error), .. } => {
                // Those who wait for what was called off poll, and one of them makes the request.
                let is_theirs = is_over && !rules::is_abort(name.as_deref());
                let waiters = if is_theirs { self.take_group(&hash) } else { Vec::new() };
                self.actions.push(Action::RejectAll { waiters, error });
            }
            _ => {}
        }
        if answer.is_ok() {
            if let (false, Some(job_id)) = (changed, owned.as_ref().and_then(Owned::job_id)) {
                self.state.owned.entry(hash.clone()).or_insert(Owned::Lost(job_id));
            }
            // Those who are left, if any: the job was another's.
            self.poll(hash);
        } else if let Some(owned) = owned.filter(|_| !is_over) {
            // It was not ended: it still is what it was.
            if let Owned::Job(job_id) = &owned
                && !self.state.claims.contains_key(&hash)
            {
                self.renew(&hash, Some(job_id));
            }
            self.state.owned.entry(hash).or_insert(owned);
        }
    }
}
