//! The seam: what the pool asks of whoever makes and judges connections.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::notes::Notes;
use crate::clock::Moment;
use crate::deadline::Deadline;
use crate::error::{Error, Phase};
use crate::occupancy::Occupancy;

/// What a look at a socket shows, without a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peek {
    /// Nothing to read, or no way to look: as good as a moment ago.
    Quiet,
    /// Something to read that nobody asked for: a farewell, or something harmless.
    Talking,
    /// The peer has hung up.
    Closed,
}

/// What is known of a connection's server without asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing speaks against it.
    Good,
    /// Something has happened since it was proven: it is asked before it is lent.
    Doubtful,
    /// It is not the one to talk to any more: closed where it lies, or when it comes home.
    Obsolete,
}

/// The seam to the database: what the pool needs of a connection.
pub(crate) trait Connect: Send + Sync + 'static {
    /// A physical connection.
    type Conn: Send + 'static;

    /// One attempt at a new connection. Bounded by the implementation, at the latest by the attempt's deadline.
    fn connect(&self, attempt: &Attempt) -> impl Future<Output = Result<Self::Conn, Error>> + Send;

    /// A look without a round trip.
    fn peek(&self, conn: &Self::Conn) -> Peek;

    /// What is known of its server. Costs nothing: asked at every lease.
    fn standing(&self, conn: &Self::Conn) -> Standing;

    /// How long callers may wait in all while the way to the database is being searched for; `None` when it is not.
    fn patience(&self) -> Option<Duration>;

    /// What stands in the way of a caller who has waited so long in vain, if it is the way to the database.
    fn obstacle(&self, waited: Duration) -> Option<Error>;

    /// Brings a connection to rest whatever was going on, and so proves that it answers. Bounded by the caller; when the
    /// future is dropped the connection may be restored again or closed.
    fn restore(&self, conn: &mut Self::Conn) -> impl Future<Output = Result<(), Error>> + Send;

    /// Begins to have the server end what may still go on on a connection that was not brought to rest in time, and is closed now.
    fn give_up(&self, conn: &mut Self::Conn);

    /// Asks the server of a connection at rest how full it is; `None` where that means nothing, or is not told. Bounded by
    /// the caller.
    fn occupancy(&self, conn: &mut Self::Conn) -> impl Future<Output = Result<Option<Occupancy>, Error>> + Send;

    /// Has the server close a connection at rest that has been idle for so long, where that can be said. Whoever uses it sooner
    /// takes that back. `used`: when it was last used. Bounded by the caller.
    fn set_idle_term(
        &self,
        conn: &mut Self::Conn,
        term: Duration,
        used: Moment,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits for what goes on beside the connections, as the end of a statement whose connection was given up, and leaves what
    /// nobody needs there any more. Bounded by the caller.
    fn settled(&self) -> impl Future<Output = ()> + Send;

    /// Says goodbye. Bounded by the caller.
    fn close(&self, conn: Self::Conn) -> impl Future<Output = ()> + Send;
}

/// A connect attempt: its budget, and how far it is.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) deadline: Deadline,
    pub(super) notes: Notes,
    pub(super) slot: usize,
    /// When a server was last dialled, or the attempt began. What comes before, a secret for example, is not its slowness.
    pub(super) dialled: Arc<Mutex<Instant>>,
}

impl Attempt {
    /// The same with another budget.
    pub(crate) fn within(&self, deadline: Deadline) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// Says what is going on, for the error of somebody who waits in vain.
    pub(crate) fn enter(&self, phase: Phase) {
        self.notes.dialling(self.slot, phase);
        if phase == Phase::Dialling {
            self.begin();
        }
    }

    pub(super) fn begin(&self) {
        *self.dialled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the server has taken.
    pub(super) fn took(&self) -> Duration {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) fn phase(&self) -> Phase {
        self.notes.phase(self.slot)
    }
}
