//! A connection on loan.

use std::fmt;

use tokio::time::timeout;

use super::ledger::Physical;
use super::{CLOSE_BOUND, Connect, Pool, Standing, discarded};
use crate::clock::Moment;
use crate::error::{Error, Purpose};
use crate::event::Discard;

/// How a connection will come home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Clean,
    Dirty,
    Broken,
}

/// A connection on loan. Dropped, it goes home: clean between [`end`](Self::end) and [`begin`](Self::begin), dirty in
/// between, closed after [`broke`](Self::broke).
pub(crate) struct Lease<C: Connect> {
    pub(super) pool: Pool<C>,
    pub(super) physical: Option<Box<Physical<C::Conn>>>,
    pub(super) fate: Fate,
    pub(super) lent: Moment,
}

impl<C: Connect> Lease<C> {
    /// Something begins on this connection; until [`end`](Self::end) it is not at rest.
    pub(crate) fn begin(&mut self) {
        if self.fate == Fate::Clean {
            self.fate = Fate::Dirty;
        }
    }

    /// It is at rest again.
    pub(crate) fn end(&mut self) {
        if self.fate == Fate::Dirty {
            self.fate = Fate::Clean;
        }
    }

    /// It must not be used again.
    pub(crate) fn broke(&mut self) {
        self.fate = Fate::Broken;
    }

    /// Says what this lease is for, for the errors of those who wait.
    pub(crate) fn note(&self, purpose: Purpose) {
        self.pool.0.notes.held(self.physical().slot, purpose);
    }

    pub(super) fn standing(&self) -> Standing {
        self.pool.0.connector.standing(&self.physical().conn)
    }

    /// Whether another tokio runtime than the caller's has opened it: nobody would read its answers here.
    pub(crate) fn is_foreign(&self) -> bool {
        self.physical().is_foreign()
    }

    pub(crate) fn conn(&mut self) -> &mut C::Conn {
        &mut self.physical_mut().conn
    }

    /// Has the server end what may still go on on this connection, which is closed now.
    pub(super) fn give_up(&mut self) {
        if let Some(physical) = &mut self.physical {
            self.pool.give_up(physical);
        }
    }

    /// Closes a connection of another runtime, on which nothing can be read.
    pub(super) fn discard_foreign(mut self) -> Option<Self> {
        self.give_up();
        self.discard(Discard::Foreign, None)
    }

    /// Closes the connection without a goodbye; always `None`, for those who return what is left.
    pub(super) fn discard(mut self, why: Discard, error: Option<&Error>) -> Option<Self> {
        self.pool.0.events.emit(&discarded(why, error));
        if let Some(physical) = self.physical.take() {
            let Physical { conn, slot, .. } = *physical;
            drop(conn);
            self.pool.vacate(slot);
        }
        None
    }

    /// Closes the connection with a goodbye, within a bound.
    pub(crate) async fn close(mut self, why: Discard) {
        self.pool.0.events.emit(&discarded(why, None));
        if let Some(physical) = self.physical.take() {
            let Physical { conn, slot, .. } = *physical;
            // Vacant only when the socket is gone, or the server would see one connection more than it was promised.
            let _slot = Vacating { pool: &self.pool, slot };
            // A socket that does not take the goodbye is closed without one.
            let _ = timeout(CLOSE_BOUND, self.pool.0.connector.close(conn)).await;
        }
    }

    pub(super) fn physical(&self) -> &Physical<C::Conn> {
        // INVARIANT: only `discard`, `close` and `drop` take it out, and all three consume the lease.
        self.physical.as_deref().expect("BUG: a lease without a connection")
    }

    pub(super) fn physical_mut(&mut self) -> &mut Physical<C::Conn> {
        // INVARIANT: as above.
        self.physical.as_deref_mut().expect("BUG: a lease without a connection")
    }
}

/// A slot whose connection is saying goodbye; vacant when this is dropped.
struct Vacating<'a, C: Connect> {
    pool: &'a Pool<C>,
    slot: usize,
}

impl<C: Connect> Drop for Vacating<'_, C> {
    fn drop(&mut self) {
        self.pool.vacate(self.slot);
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        let Some(mut physical) = self.physical.take() else { return };
        let obsolete = self.pool.0.connector.standing(&physical.conn) == Standing::Obsolete;
        if self.fate == Fate::Broken || obsolete {
            let why = if self.fate == Fate::Broken { Discard::Broken } else { Discard::Obsolete };
            self.pool.0.events.emit(&discarded(why, None));
            let slot = physical.slot;
            drop(physical);
            return self.pool.vacate(slot);
        }
        physical.past.dirty = self.fate == Fate::Dirty;
        // The time of lending and not of now: a clock costs as much as all the rest. What was on loan for longer than
        // `validate_after` is asked once more than it need be.
        physical.past.used = self.lent;
        self.pool.come_home(physical);
    }
}

impl<C: Connect> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("fate", &self.fate).finish_non_exhaustive()
    }
}
