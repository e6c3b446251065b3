//! A connect under way. It belongs to the pool, not to whoever made it necessary.
//!
//! A panic in it is a failure like any other, for one waiter, and the next dial waits for a moment.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::fitness::Past;
use super::ledger::Physical;
use super::{Attempt, Connect, Pool, runtime};
use crate::backoff::Backoff;
use crate::deadline::Deadline;
use crate::error::{Error, Phase, chain};
use crate::event::Event;
use crate::panicked::{Panicked, caught};
use crate::random;

/// Pauses between attempts on a full or starting server.
pub(super) const REFUSED_BASE: Duration = Duration::from_millis(20);
pub(super) const REFUSED_CAP: Duration = Duration::from_millis(500);

/// A dial gives up at this share of `borrow_timeout`, before its caller does, so that the caller gets the cause.
const DIAL_SHARE: f64 = 0.9;

/// The pause after a panic takes no more of a dial's time than this, so that whoever waits for it hears the cause.
const PAUSE_SHARE: f64 = 0.5;

/// The right to one connect: a slot that is being dialled in. Dropped before the end, the slot becomes vacant again.
pub(super) struct Approval<C: Connect> {
    pool: Pool<C>,
    slot: Option<usize>,
    deadline: Deadline,
}

impl<C: Connect> Approval<C> {
    /// Its time begins with the wait that made it necessary, and not with its first turn, which may come late.
    pub(super) fn new(pool: Pool<C>, slot: usize) -> Self {
        let deadline = Deadline::after(pool.0.settings.borrow_timeout.mul_f64(DIAL_SHARE));
        Self { pool, slot: Some(slot), deadline }
    }

    pub(super) async fn dial(mut self) {
        let Some(slot) = self.slot else { return };
        let inner = &self.pool.0;
        let attempt = Attempt {
            deadline: self.deadline,
            notes: inner.notes.clone(),
            slot,
            dialled: Arc::new(Mutex::new(Instant::now())),
        };
        attempt.enter(Phase::Credentials);
        let pause = inner.relapse.pause(inner.clock.now()).min(attempt.deadline.remaining().mul_f64(PAUSE_SHARE));
        if !pause.is_zero() {
            sleep(pause).await;
            if !self.wanted() {
                return;
            }
        }
        match self.dial_until_accepted(&attempt).await {
            Ok(Some((conn, was_refused))) => {
                self.slot = None;
                let opened = inner.clock.now();
                let lifetime = inner.settings.policy.lifetime(&mut random::generator());
                let past = Past { opened, lifetime, used: opened, dirty: false };
                *inner.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.pool.retention().connected(attempt.took(), was_refused);
                inner.relapse.over();
                self.pool.come_home(Box::new(Physical { conn, slot, past, runtime: runtime::current() }));
                // The slot is no longer being dialled in, so that upkeep need not wait for it.
                self.pool.0.dial_ended.notify_waiters();
            }
            // The refusals were reported one by one.
            Ok(None) => {}
            Err(error) => {
                if Panicked::is_behind(&error) {
                    inner.relapse.again(inner.clock.now());
                }
                self.fail(error, attempt.deadline.spent());
            }
        }
    }

    /// Attempts until one succeeds, and whether one was refused before, or fails for good; `None` when nobody wants the
    /// connection any more.
    async fn dial_until_accepted(&self, attempt: &Attempt) -> Result<Option<(C::Conn, bool)>, Error> {
        let inner = &self.pool.0;
        let began = Instant::now();
        let mut pauses = Backoff::new(REFUSED_BASE, REFUSED_CAP, random::generator());
        let mut was_refused = false;
        loop {
            attempt.begin();
            // Boxed, for the task that it is in is moved several times before it runs.
            let connected = caught("a connect", Box::pin(inner.connector.connect(attempt))).await;
            let error = match connected.unwrap_or_else(|panicked| Err(self.panicked(panicked, attempt))) {
                Ok(conn) => return Ok(Some((conn, was_refused))),
                // Cut off half way all the same: the server was slower this time.
                Err(error) if attempt.deadline.remaining().is_zero() => self.refusal_since(began).unwrap_or(error),
                Err(error) => error,
            };
            let error = if matches!(error, Error::TooManyConnections { .. }) {
                self.pool.turned_away(!was_refused, error)
            } else {
                error
            };
            was_refused |= error.is_refusal();
            // An attempt that would be cut off half way is not begun: its error would hide this one, the cause.
            let left = attempt.deadline.remaining();
            let took = attempt.took();
            let pause = pauses.next_of(attempt.deadline.share(), took, left);
            if !error.is_refusal() || !self.wanted() || pause + took >= left {
                return Err(error);
            }
            inner.events.emit(&Event::Refused { error: chain(&error), pause });
            *inner.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::new(error)));
            sleep(pause).await;
            // A full server is not asked for what somebody else's connection has served meanwhile.
            if !self.wanted() {
                return Ok(None);
            }
        }
    }

    /// The connector knows whose host it was, and has not come back to say it.
    fn panicked(&self, panicked: Panicked, attempt: &Attempt) -> Error {
        let (host, elapsed) = ("the database".to_owned(), attempt.deadline.spent());
        Error::Connect { host, phase: attempt.phase(), elapsed, source: panicked.into() }
    }

    /// Why the server turned an earlier attempt away.
    fn refusal_since(&self, began: Instant) -> Option<Error> {
        let mut refusal = self.pool.0.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, error) = refusal.take_if(|(at, _)| *at >= began)?;
        Arc::into_inner(error)
    }

    fn wanted(&self) -> bool {
        self.pool.lock().waiting() > 0
    }

    /// One failed dial fails one waiter, the eldest; the slot's next dial is for the next.
    fn fail(&self, error: Error, elapsed: Duration) {
        self.pool.0.events.emit(&Event::ConnectFailed { error: chain(&error), elapsed });
        let mut error = Some(error);
        while let Some(unheard) = error.take() {
            let Some(waiter) = self.pool.lock().next_waiter() else { return };
            if let Err(Err(returned)) = waiter.send(Err(unheard)) {
                error = Some(returned);
            }
        }
    }
}

impl<C: Connect> Drop for Approval<C> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.vacate(slot);
            self.pool.0.dial_ended.notify_waiters();
        }
    }
}
