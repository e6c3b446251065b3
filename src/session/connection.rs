//! What the application holds.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::core::State;
use crate::clock::Moment;
use crate::connector::{Connector, Unread};
use crate::engine::Engine;
use crate::error::Purpose;
use crate::event::Event;
use crate::failover::Failover;
use crate::pin::PinReason;
use crate::pool::{Lease, Pool};

/// A session with the database: what [`get_connection`](crate::get_connection) returns.
///
/// `&mut Connection` is a [`sqlx::Executor`], so sqlx's queries, macros and streams run on it as on any connection. It
/// holds no physical connection until the first statement, holds one for the length of a statement or a transaction, and
/// shares it with other sessions in between. A statement that leaves something behind in the session *pins* it: from
/// then on the physical connection belongs to this session alone, and is cleaned when the session ends.
///
/// `'static` and [`Send`]: it can move into a task or a response stream. Dropping it never blocks. What was going on is
/// brought to rest (a transaction rolled back, rows read to the end) before anybody else gets the physical connection.
pub struct Connection<DB: Engine> {
    pub(super) pool: Pool<Failover<DB>>,
    pub(super) lease: Option<Lease<Failover<DB>>>,
    pub(super) state: State,
    pub(super) pinned_at: Option<Moment>,
    pub(super) id: u64,
    /// The connection that this session gave back in the middle of something. It may still hold locks that the session's next
    /// statement would wait for, so it is taken back or brought to rest first.
    pub(super) parted: Option<Parted>,
    /// The server has refused to make a connection fit for this session, and that connection is closed.
    pub(super) refused_connection: bool,
    pub(super) milestones: Milestones,
    /// How many cacheable statements this session has run. The number goes into texts that must not be found again (`set_apart`).
    pub(super) texts: u64,
    /// Running the whole transaction again might succeed, and nothing of the first try was committed.
    pub(super) may_succeed_again: bool,
}

/// A connection that a session has left in the middle of something.
pub(super) struct Parted {
    pub(super) wire: u64,
    /// Closes when the connection is at rest, or gone.
    pub(super) at_rest: oneshot::Receiver<Infallible>,
}

/// When the last exchange of a session reached each of its stages, for the event about a slow statement.
#[derive(Debug, Default)]
pub(super) struct Milestones {
    /// There was a connection.
    pub(super) leased: Option<Instant>,
    /// It was fit, and the statement could be sent.
    pub(super) fit: Option<Instant>,
    /// The statement was answered, and had not failed.
    pub(super) answered: Option<Instant>,
}

/// Tells sessions apart.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

impl<DB: Engine> Connection<DB> {
    pub(crate) fn new(pool: Pool<Failover<DB>>) -> Self {
        let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
        pool.opened();
        let state = State::of::<DB>(id, pool.connector().connector().pools_transactions());
        Self {
            pool,
            lease: None,
            state,
            pinned_at: None,
            id,
            parted: None,
            refused_connection: false,
            milestones: Milestones::default(),
            texts: 0,
            may_succeed_again: false,
        }
    }

    /// Why this session is pinned, if it is.
    pub fn pin_reason(&self) -> Option<&PinReason> {
        self.state.pin_reason()
    }

    pub(super) fn connector(&self) -> &Connector<DB> {
        self.pool.connector().connector()
    }

    pub(super) fn pin_for(&mut self, reason: PinReason) {
        if let Some(lease) = &mut self.lease {
            let wire = lease.conn();
            wire.carried.soil(DB::cleanup_after(reason.cause()));
            // Whatever was sent may have opened a transaction; a rollback without one does nothing.
            wire.carried.open();
            lease.note(Purpose::Pin);
        }
        if self.state.pin_reason().is_none() {
            self.pinned_at = Some(self.pool.clock().now());
            self.pool.events().emit(&Event::Pinned { reason: reason.clone() });
        }
        let may_control = DB::may_control(reason.cause());
        self.state.pin(reason, may_control);
    }

    /// What pinned the session is gone.
    pub(super) fn unpinned(&mut self) {
        if let Some(since) = self.pinned_at.take() {
            let held = self.pool.clock().now().since(since);
            self.pool.events().emit(&Event::Unpinned { held });
        }
    }

    /// How a long answer that was dropped is dealt with. A free session has its connection closed, since a new one takes less time
    /// than reading the rest.
    pub(super) fn unread(&self) -> Unread {
        if self.state.is_free() {
            Unread::Close
        } else if self.state.abandoned().is_some() {
            Unread::Shorten
        } else {
            Unread::Read
        }
    }
}

impl<DB: Engine> Drop for Connection<DB> {
    fn drop(&mut self) {
        if self.state.unpin() {
            self.unpinned();
        }
        if let Some(mut lease) = self.lease.take() {
            lease.begin();
        }
        self.pool.closed();
    }
}

impl<DB: Engine> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and causes only: a setting's value may be a token, and an error's text may quote a row.
        f.debug_struct("Connection")
            .field("engine", &DB::RULES.family)
            .field("depth", &self.state.depth())
            .field("pinned", &self.state.pin_reason().map(PinReason::cause))
            .field("settings", self.state.settings())
            .field("borrowing", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}
