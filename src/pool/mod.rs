//! Physical connections: lent, given back, closed. Knows no SQL, and runs without a server in its tests.
//!
//! `ledger` has the rules of who, `fitness` those of when a connection may be lent, `retention` those of which one is kept; `work` and
//! `upkeep` obey between invocations, `fit`, `dial` and `recovery` while somebody waits.
//!
//! Callers wait on the *pool*, never on a connect: whichever comes first, a connection that comes home or one that was
//! dialled, goes to whoever has waited longest. A dial therefore belongs to nobody and outlives a caller that gave up.
//!
//! What came home in the middle of something is brought to rest by whoever comes next, before a clean connection is lent:
//! the locks that it holds may be what the caller runs into. That takes one round trip mostly. Where it takes longer, the
//! caller goes on with another connection, and the recovery goes on without the caller. A dial and a recovery are the
//! tasks of the pool; each ends at its own deadline, and [`Pool::upkeep`] sees to it that none is left when an environment
//! is frozen. `Drop` only moves a connection and never waits.

mod connect;
mod dial;
mod fit;
mod fitness;
mod gaps;
mod lease;
mod ledger;
mod notes;
mod queue;
mod recovery;
mod relapse;
mod retention;
mod runtime;
#[cfg(test)]
mod tests;
mod upkeep;
mod work;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::clock::{Clock, Moment};
use crate::deadline::Deadline;
use crate::error::{Error, Holder, Phase, PoolNumbers, Purpose, chain};
use crate::event::{Discard, Event, Events};
use crate::random;
use crate::span;
use crate::usage::Meter;

use self::dial::Approval;
use self::fitness::Fitness;
use self::lease::Fate;
use self::ledger::{Home, Ledger, Physical};
use self::notes::Notes;
use self::recovery::Recoveries;
use self::relapse::Relapse;
use self::retention::Retention;
use self::work::Work;

pub(crate) use self::connect::{Attempt, Connect, Peek, Standing};
pub(crate) use self::fitness::Policy;
pub(crate) use self::lease::Lease;
#[cfg(feature = "lambda")]
pub(crate) use self::work::Invocation;

/// Closing politely is one message; nobody waits longer for it.
const CLOSE_BOUND: Duration = Duration::from_millis(200);

/// The pool's settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) limit: usize,
    pub(crate) borrow_timeout: Duration,
    pub(crate) policy: Policy,
}

/// A pool of `C`'s connections. Clones share it.
pub(crate) struct Pool<C: Connect>(Arc<Inner<C>>);

struct Inner<C: Connect> {
    connector: C,
    settings: Settings,
    clock: Clock,
    events: Events,
    ledger: Mutex<Ledger<C::Conn, Sender<C>>>,
    notes: Notes,
    dials: Mutex<Vec<AbortHandle>>,
    dial_ended: Notify,
    recoveries: Recoveries,
    /// A slot has become vacant where nobody can dial (in a `Drop`): wakes one waiter to see to it.
    vacancy: Notify,
    /// The last refusal by a full server, for the errors of those who waited then.
    refusal: Mutex<Option<(Instant, Arc<Error>)>>,
    /// How long dials wait after one that ended in a panic.
    relapse: Relapse,
    retention: Mutex<Retention>,
    work: Work,
    meter: Meter,
}

type Sender<C> = oneshot::Sender<Result<Box<Physical<<C as Connect>::Conn>>, Error>>;
type Receiver<C> = oneshot::Receiver<Result<Box<Physical<<C as Connect>::Conn>>, Error>>;

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Connect> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("settings", &self.0.settings).field("numbers", &self.numbers()).finish()
    }
}

impl<C: Connect> Pool<C> {
    pub(crate) fn new(connector: C, settings: Settings, clock: Clock, events: Events) -> Self {
        Self(Arc::new(Inner {
            ledger: Mutex::new(Ledger::new(settings.limit)),
            notes: Notes::new(settings.limit),
            dials: Mutex::default(),
            dial_ended: Notify::new(),
            recoveries: Recoveries::default(),
            vacancy: Notify::new(),
            refusal: Mutex::default(),
            relapse: Relapse::default(),
            retention: Mutex::new(Retention::new(random::generator())),
            work: Work::default(),
            meter: Meter::default(),
            connector,
            settings,
            clock,
            events,
        }))
    }

    pub(crate) fn connector(&self) -> &C {
        &self.0.connector
    }

    pub(crate) fn borrow_timeout(&self) -> Duration {
        self.0.settings.borrow_timeout
    }

    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Where its sessions count.
    pub(crate) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// The most that were on loan at a time since [`take_peak`](Self::take_peak).
    pub(crate) fn peak(&self) -> usize {
        self.lock().peak()
    }

    /// The most that were on loan at a time since this was asked last.
    pub(crate) fn take_peak(&self) -> usize {
        self.lock().take_peak()
    }

    /// Lends a connection that is known to work: at once when one is at rest and fresh, else after a check or a dial.
    ///
    /// # Cancel safety
    /// A dropped future leaves the queue. A connection it had been handed goes to the next; a dial goes on for the pool.
    pub(crate) async fn lease(&self, purpose: Purpose) -> Result<Lease<C>, Error> {
        if let Some(lease) = self.lease_fresh(purpose) {
            self.0.meter.borrows.record_none();
            return Ok(lease);
        }
        // Boxed: the long road must not make every statement's future as large as itself.
        let lease = Box::pin(self.lease_in_time()).await.inspect_err(|_| Meter::count(&self.0.meter.borrows_failed))?;
        lease.note(purpose);
        Ok(lease)
    }

    /// As [`lease`](Self::lease), but this one and no other: `None` when it is not at rest any more, or unfit.
    ///
    /// # Cancel safety
    /// As [`lease`](Self::lease).
    pub(crate) async fn reclaim(&self, purpose: Purpose, is_it: impl Fn(&C::Conn) -> bool) -> Option<Lease<C>> {
        let now = self.0.clock.now();
        let taken = self.lock().take_where(now, |physical| is_it(&physical.conn)).pop();
        // Nothing beside it: another connection is no cure for what this one holds.
        let lease = self.check_or_recover(self.lend(taken?, now)).await?;
        if lease.standing() != Standing::Good {
            return lease.discard(Discard::Obsolete, None);
        }
        lease.note(purpose);
        Some(lease)
    }

    /// Makes sure that the target answers, without keeping a connection: no I/O when it answered a moment ago.
    ///
    /// # Cancel safety
    /// As [`lease`](Self::lease).
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        {
            let now = self.0.clock.now();
            let ledger = self.lock();
            let fresh = ledger.next().is_some_and(|next| {
                !next.is_foreign()
                    && matches!(self.0.settings.policy.judge(next.past, now), Fitness::Fresh | Fitness::Look)
                    && self.0.connector.standing(&next.conn) == Standing::Good
                    && self.0.connector.peek(&next.conn) == Peek::Quiet
            });
            // With all connections on loan the target is answering others; the first statement waits for its turn.
            let busy = !ledger.is_closed() && ledger.leased().count() == ledger.limit();
            if fresh || busy {
                return Ok(());
            }
        }
        self.lease(Purpose::Check).await.map(drop)
    }

    pub(crate) fn numbers(&self) -> PoolNumbers {
        let now = self.0.clock.now();
        let ledger = self.lock();
        PoolNumbers {
            limit: ledger.limit(),
            idle: ledger.idle(),
            holders: ledger
                .leased()
                .map(|(slot, since)| Holder { purpose: self.0.notes.purpose(slot), held: now.since(since) })
                .collect(),
            connecting: ledger.dialling().map(|slot| self.0.notes.phase(slot)).collect(),
            waiting: ledger.waiting(),
        }
    }

    /// The connection used last, if it is at rest and nothing needs to happen before it is lent.
    pub(crate) fn lease_idle(&self, purpose: Purpose) -> Option<Lease<C>> {
        self.lease_fresh(purpose)
    }

    /// The fast road: the clean connection used last, if nothing needs to happen before it is lent.
    fn lease_fresh(&self, purpose: Purpose) -> Option<Lease<C>> {
        let now = self.0.clock.now();
        let mut ledger = self.lock();
        let next = ledger.next()?;
        if next.is_foreign() || self.0.connector.standing(&next.conn) != Standing::Good {
            return None;
        }
        match self.0.settings.policy.judge(next.past, now) {
            Fitness::Fresh => {}
            Fitness::Look if self.0.connector.peek(&next.conn) == Peek::Quiet => {}
            _ => return None,
        }
        let physical = ledger.take(now)?;
        drop(ledger);
        let lease = self.lend(physical, now);
        lease.note(purpose);
        Some(lease)
    }

    fn lend(&self, physical: Box<Physical<C::Conn>>, lent: Moment) -> Lease<C> {
        let fate = if physical.past.dirty { Fate::Dirty } else { Fate::Clean };
        Lease { pool: self.clone(), physical: Some(physical), fate, lent }
    }

    /// Starts as many dials as the ledger approves.
    fn dial_for_waiters(&self) {
        while let Some(slot) = { self.lock().approve() } {
            let dial = tokio::spawn(span::inherited(Approval::new(self.clone(), slot).dial()));
            let mut dials = self.0.dials.lock().unwrap_or_else(PoisonError::into_inner);
            dials.retain(|dial| !dial.is_finished());
            dials.push(dial.abort_handle());
        }
    }

    fn abort_dials(&self) {
        let dials = std::mem::take(&mut *self.0.dials.lock().unwrap_or_else(PoisonError::into_inner));
        for dial in dials {
            dial.abort();
        }
    }

    /// A connection is free: for the eldest waiter that is still there, or for the shelf.
    fn come_home(&self, mut physical: Box<Physical<C::Conn>>) {
        // Whoever gets it checks it first, and says then what for.
        self.0.notes.held(physical.slot, Purpose::Check);
        loop {
            let home = self.lock().home(physical, || self.0.clock.now());
            match home {
                Home::Kept => return,
                Home::Closed { .. } => return self.0.events.emit(&discarded(Discard::Closed, None)),
                Home::Handed(waiter, handed) => match waiter.send(Ok(handed)) {
                    Ok(()) => return,
                    // The waiter was dropped between the ledger's decision and now.
                    Err(Ok(returned)) => physical = returned,
                    Err(Err(_)) => return,
                },
            }
        }
    }

    /// A slot has become vacant. Runs in `Drop`, so it spawns nothing: a waiter, if there is one, wakes up and dials.
    fn vacate(&self, slot: usize) {
        self.lock().vacate(slot);
        self.0.vacancy.notify_one();
    }

    fn exhausted(&self, deadline: Deadline) -> Error {
        let numbers = Box::new(self.numbers());
        let phase = match (numbers.holders.is_empty(), numbers.connecting.first()) {
            (true, Some(phase)) => *phase,
            _ => Phase::Waiting,
        };
        let waited = deadline.spent();
        if numbers.holders.is_empty()
            && let Some(error) = self.0.connector.obstacle(waited)
        {
            return error;
        }
        let refusal = self.0.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = refusal.filter(|(at, _)| at.elapsed() <= waited).map(|(_, error)| error);
        Error::PoolExhausted { waited, phase, numbers, last }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<C::Conn, Sender<C>>> {
        // A panic while the lock is held leaves a ledger whose every step was complete.
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn discarded(why: Discard, error: Option<&Error>) -> Event {
    Event::Discarded { why, error: error.map(|error| chain(error)) }
}
