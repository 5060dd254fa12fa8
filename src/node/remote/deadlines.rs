//! What is due at a time: to send again what was not answered, and to refuse what took too long.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Deferred, Preparing, RemoteConnection, State};
use crate::core::error::Error;
use crate::core::value::Millis;
use crate::engine::batch::Batch;
use crate::engine::call::{LateReply, ms_between};
use crate::node::environment::{AnswerHandler, Environment};
use crate::node::napi::env::Env;
use crate::sqlite::background;
use crate::sqlite::clock::now;
use crate::sqlite::watch::WatchEvent;

/// That a call has taken longer than it may.
fn timed_out(after: Millis, outcome_unknown: bool, reason: Option<&String>) -> Error {
    Error::Timeout { after, outcome_unknown, reason: reason.cloned() }
}

impl RemoteConnection {
    /// What is due by now.
    pub(super) fn on_time(&self, env: Env) {
        let Some(_itself) = self.itself.upgrade() else { return };
        self.wakes_at.set(None);
        let now = now();
        let is_late = |deferred: &Deferred| deferred.deadline.is_some_and(|deadline| deadline <= now);
        let (late, left) = self.deferred.take().into_iter().partition::<VecDeque<_>, _>(is_late);
        *self.deferred.borrow_mut() = left;
        let reason = self.reason();
        for Deferred { made_at, deadline, run } in late {
            let after = ms_between(made_at, deadline.unwrap_or(now));
            run(env, Err(timed_out(after, false, reason.as_ref())));
        }
        let mut queued = self.scheduler.borrow_mut().take_timed_out(&mut Batch::default(), now);
        self.refuse_late(env, queued.take_late_replies(now), false, reason.as_ref());
        match self.state.take() {
            State::Idle => {}
            State::Running(mut running) => {
                let may_stand = running.sending.was_sent || running.sending.ticket.is_some();
                let late = running.batch.take_late_replies(now);
                let is_due = running.sending.retry_at.is_some_and(|at| at <= now);
                if running.batch.is_late(now) {
                    if running.sending.ticket.is_some() {
                        self.given_up.set(self.given_up.get() + 1);
                    }
                    self.scheduler.borrow_mut().abandon();
                } else if is_due {
                    self.advance(env, *running);
                } else {
                    *self.state.borrow_mut() = State::Running(running);
                }
                self.refuse_late(env, late, may_stand, reason.as_ref());
            }
            State::Preparing(mut preparing) => {
                self.refuse_late_behind(env, &mut preparing, reason.as_ref());
                if self.deadline_of(&preparing).is_some_and(|deadline| deadline <= now) {
                    if preparing.sending.ticket.is_some() {
                        self.given_up.set(self.given_up.get() + 1);
                    }
                    // For calls that were made meanwhile it begins anew, here or by the flush.
                    if preparing.then.is_some() {
                        self.prepare(env, preparing.then);
                    }
                } else if preparing.sending.retry_at.is_some_and(|at| at <= now) {
                    self.send_preparation(env, preparing);
                } else {
                    *self.state.borrow_mut() = State::Preparing(preparing);
                }
            }
        }
        self.flush(env);
    }

    /// Refuses the late ones of the calls whose transaction waits for a preparation.
    fn refuse_late_behind(&self, env: Env, preparing: &mut Preparing, reason: Option<&String>) {
        let Some(running) = &mut preparing.then else { return };
        let (now, may_stand) = (now(), running.sending.was_sent);
        let late = running.batch.take_late_replies(now);
        if running.batch.is_late(now) {
            preparing.then = None;
            self.scheduler.borrow_mut().abandon();
        }
        self.refuse_late(env, late, may_stand, reason);
    }

    /// Refuses calls that are past their deadline, which may have taken effect if they write and what was sent `may_stand`.
    fn refuse_late(&self, env: Env, late: Vec<LateReply<AnswerHandler>>, may_stand: bool, reason: Option<&String>) {
        for LateReply { reply, only_reads, timeout_ms } in late {
            reply(env, Err(timed_out(timeout_ms, may_stand && !only_reads, reason).into()));
        }
    }

    /// Why what is under way was not answered when it was sent last.
    fn reason(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Idle => None,
            State::Preparing(preparing) => preparing.sending.reason.clone(),
            State::Running(running) => running.sending.reason.clone(),
        }
    }

    /// Has itself woken for what is due next.
    #[inline(never)]
    pub(super) fn watch_time(&self) {
        let of_state = match &*self.state.borrow() {
            State::Idle => None,
            State::Preparing(preparing) => {
                let behind = preparing.then.as_ref().and_then(|running| running.batch.next_deadline());
                [preparing.sending.retry_at, self.deadline_of(preparing), behind].into_iter().flatten().min()
            }
            State::Running(running) => {
                [running.sending.retry_at, running.batch.next_deadline()].into_iter().flatten().min()
            }
        };
        let deferred = self.deferred.borrow().iter().filter_map(|deferred| deferred.deadline).min();
        let queued = self.scheduler.borrow().next_deadline();
        let Some(next) = [of_state, deferred, queued].into_iter().flatten().min() else { return };
        if self.wakes_at.get().is_some_and(|at| at <= next) {
            return;
        }
        let Ok(environment) = Environment::current() else { return };
        let (mailbox, number) = (Arc::clone(environment.mailbox()), self.number.get());
        let pause = next.saturating_sub(now());
        let woken = background::start(Box::pin(async move {
            tokio::time::sleep(pause).await;
            mailbox.notify(number, WatchEvent::Due);
        }));
        // Without a thread what is due is done with the next call.
        if woken.is_ok() {
            self.wakes_at.set(Some(next));
        }
    }
}
