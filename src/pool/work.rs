//! When this environment has something to do, and what becomes of its connections when it has not.
//!
//! Work is an invocation, as the layer tells it, or a session where there is no layer. Its end is the last moment before a
//! freeze: `retention` says what is worth keeping then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout_at;

use super::ledger::Physical;
use super::retention::{Decision, Kind, Retention};
use super::{Connect, Lease, Peek, Pool, Standing};
use crate::deadline::Deadline;
use crate::error::{Error, Purpose};
use crate::event::{Discard, Event};
use crate::occupancy::Occupancy;

/// With less than this left of the upkeep's time the server is not asked: that it would not answer in it says nothing.
const TOO_LITTLE: Duration = Duration::from_millis(50);

/// Counts the invocations and sessions under way, and remembers what was last known of the server.
#[derive(Debug, Default)]
pub(super) struct Work {
    invocations: AtomicUsize,
    sessions: AtomicUsize,
    /// The server was crowded when it was last heard of. As long as it was not, the ends of sessions mean nothing.
    is_pressed: AtomicBool,
    /// That the server is too small has been said.
    is_outgrown: AtomicBool,
}

impl<C: Connect> Pool<C> {
    /// A session begins.
    pub(crate) fn opened(&self) {
        let work = &self.0.work;
        if work.sessions.fetch_add(1, Ordering::AcqRel) == 0 && work.is_pressed.load(Ordering::Relaxed) {
            self.began(Kind::Session);
        }
    }

    /// A session has ended, and has given back what it had. Nothing is awaited, since this is called in a `Drop`: where the
    /// connections at rest are others' now, their sockets are closed without a goodbye.
    pub(crate) fn closed(&self) {
        let work = &self.0.work;
        let was_last = work.sessions.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && work.is_pressed.load(Ordering::Relaxed) && !self.is_invoked() {
            for lease in self.leaving(Kind::Session) {
                lease.discard(Discard::GivenBack, None);
            }
        }
    }

    /// An invocation begins. It has ended when what is returned is dropped.
    #[cfg(any(test, feature = "lambda"))]
    pub(crate) fn invoked(&self) -> Invocation<C> {
        if self.0.work.invocations.fetch_add(1, Ordering::AcqRel) == 0 {
            self.began(Kind::Invocation);
        }
        Invocation(self.clone())
    }

    /// The end of the work: asks how full the server is where that is worth a round trip, and closes what is not worth its
    /// slot. Does nothing while there are other invocations.
    ///
    /// # Cancel safety
    /// What was taken up goes home as it is; what was being closed is closed without a goodbye.
    pub(crate) async fn rest(&self, deadline: Deadline) {
        if self.is_invoked() {
            return;
        }
        let now = self.0.clock.now();
        let wants_to_know = self.retention().wants_to_know(now);
        let is_time = deadline.remaining() >= TOO_LITTLE;
        if wants_to_know
            && is_time
            && let Some(lease) = self.at_rest()
        {
            self.ask(lease, deadline).await;
        }
        // Somebody may be at work again, with what is at rest.
        if !self.is_invoked() {
            join_all(self.leaving(Kind::Invocation).into_iter().map(|lease| lease.close(Discard::GivenBack))).await;
        }
        let term = self.retention().idle_term(self.0.clock.now());
        if let Some(term) = term.filter(|_| !self.is_invoked() && deadline.remaining() >= TOO_LITTLE) {
            let kept = self.all_at_rest();
            join_all(kept.into_iter().map(|lease| self.set_idle_term(lease, term, deadline))).await;
        }
    }

    /// What is kept is let for a term: when this environment stays frozen for longer, the server takes the slot back.
    async fn set_idle_term(&self, mut lease: Lease<C>, term: Duration, deadline: Deadline) {
        lease.note(Purpose::Check);
        // Setting the term is no use of the connection: counted as one, it would keep an unneeded connection from ever being idle.
        let used = lease.physical().past.used;
        lease.lent = used;
        lease.begin();
        match timeout_at(deadline.instant(), self.0.connector.set_idle_term(lease.conn(), term, used)).await {
            Ok(Ok(())) => lease.end(),
            // Frozen with an unread answer it would be of no use to anybody, and keep its slot.
            _ => lease.broke(),
        }
    }

    /// A connection that may be asked. The question proves by itself that it answers, however long it was idle.
    fn at_rest(&self) -> Option<Lease<C>> {
        let now = self.0.clock.now();
        let connector = &self.0.connector;
        let good = |physical: &Physical<C::Conn>| {
            !physical.past.dirty
                && connector.standing(&physical.conn) != Standing::Obsolete
                && connector.peek(&physical.conn) == Peek::Quiet
        };
        let physical = self.lock().take_one_where(now, good)?;
        let lease = self.lend(physical, now);
        lease.note(Purpose::Check);
        Some(lease)
    }

    async fn ask(&self, mut lease: Lease<C>, deadline: Deadline) {
        lease.begin();
        let asked = timeout_at(deadline.instant(), self.0.connector.occupancy(lease.conn())).await;
        let now = self.0.clock.now();
        match asked {
            Ok(Ok(occupancy)) => {
                lease.end();
                self.retention().told(occupancy, now);
                self.warn_if_outgrown(occupancy);
            }
            // Frozen in the middle of something it would be of no use to anybody, and keep its slot.
            _ => {
                lease.broke();
                self.retention().unanswered(now);
            }
        }
    }

    /// Says once that the server is too small, as far as it can be seen.
    fn warn_if_outgrown(&self, seen: Option<Occupancy>) {
        let max_connections = self.0.settings.limit;
        if let Some(seen) = seen.filter(|seen| seen.is_outgrown_by(max_connections))
            && !self.0.work.is_outgrown.swap(true, Ordering::Relaxed)
        {
            self.0.events.emit(&Event::Outgrown { max_connections, seen });
        }
    }

    /// The connections at rest that are not kept, out on loan.
    fn leaving(&self, work: Kind) -> Vec<Lease<C>> {
        let now = self.0.clock.now();
        let verdict = {
            let mut retention = self.retention();
            retention.ended(work, now);
            self.0.work.is_pressed.store(retention.is_pressed(now), Ordering::Relaxed);
            retention.judge(now)
        };
        if verdict == Decision::Keep {
            return Vec::new();
        }
        self.all_at_rest()
    }

    /// What is dirty has to be brought to rest first, and is not among them.
    fn all_at_rest(&self) -> Vec<Lease<C>> {
        let now = self.0.clock.now();
        let taken = self.lock().take_where(now, |physical| !physical.past.dirty);
        taken.into_iter().map(|physical| self.lend(physical, now)).collect()
    }

    /// The server has turned a connect away; the first attempt of it, or one more. Returns what is known of how full it is.
    pub(super) fn turned_away(&self, is_first: bool, error: Error) -> Error {
        let now = self.0.clock.now();
        let mut retention = self.retention();
        retention.refused(is_first, now);
        self.0.work.is_pressed.store(true, Ordering::Relaxed);
        match error {
            Error::TooManyConnections { host, elapsed, limit, source, .. } => {
                Error::TooManyConnections { host, elapsed, limit, seen: retention.seen(now).map(Box::new), source }
            }
            error => error,
        }
    }

    fn began(&self, work: Kind) {
        self.retention().began(work, self.0.clock.now());
    }

    fn is_invoked(&self) -> bool {
        self.0.work.invocations.load(Ordering::Acquire) > 0
    }

    /// What the server said when it was last asked how full it is.
    pub(crate) fn occupancy(&self) -> Option<Occupancy> {
        self.retention().seen(self.0.clock.now()).map(|(occupancy, _)| occupancy)
    }

    pub(super) fn retention(&self) -> MutexGuard<'_, Retention> {
        // Each of its steps is complete.
        self.0.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An invocation under way.
#[cfg(any(test, feature = "lambda"))]
pub(crate) struct Invocation<C: Connect>(Pool<C>);

#[cfg(any(test, feature = "lambda"))]
impl<C: Connect> Drop for Invocation<C> {
    fn drop(&mut self) {
        self.0.0.work.invocations.fetch_sub(1, Ordering::AcqRel);
    }
}
