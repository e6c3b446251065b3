//! What happened, for those who watch: a closed catalogue and the trait that receives it.
//!
//! | subject | started | done | failed |
//! |---|---|---|---|
//! | connect | | [`Connected`](Event::Connected) | [`ConnectFailed`](Event::ConnectFailed) |
//! | connect, refused because the server is full | [`Refused`](Event::Refused) | [`Connected`](Event::Connected) | [`ConnectFailed`](Event::ConnectFailed) |
//! | a server that is too small | | | [`Outgrown`](Event::Outgrown) |
//! | credentials | | [`CredentialsFetched`](Event::CredentialsFetched) | [`CredentialsKept`](Event::CredentialsKept), [`CredentialsRefused`](Event::CredentialsRefused) |
//! | validation of an idle connection | | [`Validated`](Event::Validated) | [`Discarded`](Event::Discarded) |
//! | a statement or transaction that was dropped | | [`Recovered`](Event::Recovered) | [`Discarded`](Event::Discarded) |
//! | cancel of a dropped statement | | [`Recovered`](Event::Recovered) | [`CancelFailed`](Event::CancelFailed) |
//! | upkeep | | [`UpkeepDone`](Event::UpkeepDone) | [`UpkeepCutShort`](Event::UpkeepCutShort) |
//! | the driver's socket | | | [`SocketsUnreachable`](Event::SocketsUnreachable) |
//! | writer | [`Suspected`](Event::Suspected) | [`WriterFound`](Event::WriterFound) | [`ConnectFailed`](Event::ConnectFailed) |
//! | members, from the RDS API | | | [`WatchGivenUp`](Event::WatchGivenUp) |
//! | members, from a server | | | [`ClaimIgnored`](Event::ClaimIgnored), [`LookFailed`](Event::LookFailed) |
//! | a statement that takes long | | [`SlowStatement`](Event::SlowStatement) | [`SlowStatement`](Event::SlowStatement) |
//! | pin | [`Pinned`](Event::Pinned) | [`Unpinned`](Event::Unpinned) | |
//! | freeze | | [`Thawed`](Event::Thawed) | |
//!
//! What fails where nobody waits for it is an event too; nothing is swallowed. No event carries a secret or a parameter
//! of its own; what a server says is quoted, and one that was given the password in clear can say that.

mod recent;
mod traced;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::EndpointProblem;
use crate::occupancy::Occupancy;
use crate::panicked::caught_at_once;
use crate::pin::PinReason;
use crate::status::Status;

pub(crate) use self::recent::Recent;
pub(crate) use self::traced::TracingObserver;

/// Something that happened inside a proxy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A physical connection is open, logged in and set up.
    #[non_exhaustive]
    Connected {
        /// `host:port` that was dialled.
        host: String,
        /// From asking for credentials to the end of the set-up.
        elapsed: Duration,
    },
    /// A connect attempt ended in an error. Whoever waited for it has the error itself.
    #[non_exhaustive]
    ConnectFailed {
        /// The error's text.
        error: String,
        /// Time since the attempt began.
        elapsed: Duration,
    },
    /// The server is full or still starting; the attempt goes on after a pause.
    #[non_exhaustive]
    Refused {
        /// The error's text.
        error: String,
        /// The pause before the next attempt.
        pause: Duration,
    },
    /// The server admits fewer sessions than the environments that are there may open together, as far as it can be seen
    /// after the first work is done. Told once: some will wait when there is much to do. See [`crate::guide::connections`].
    #[non_exhaustive]
    Outgrown {
        /// How many connections each environment may have.
        max_connections: usize,
        /// What the server said.
        seen: Occupancy,
    },
    /// A statement or commit took as long as `slow_statements` or longer, and has ended, well or not.
    #[non_exhaustive]
    SlowStatement {
        /// Its first word, in capitals: never its text, nor a parameter.
        statement: String,
        /// From the call to the end of its answer. Of a stream, with the time that its reader took.
        elapsed: Duration,
        /// Until it had a connection: queue, validation, connect, search for the writer; earlier attempts too.
        waited: Duration,
        /// Until that was fit: what others had left taken away, settings replayed.
        settled: Duration,
        /// Until the server's answer had ended.
        answered: Duration,
    },
    /// A credentials provider went to its source.
    #[non_exhaustive]
    CredentialsFetched {
        /// Which source and version, for example `secrets-manager AWSCURRENT`.
        source: String,
        /// How long it took.
        elapsed: Duration,
    },
    /// The source of the credentials failed and the cached ones stay in use.
    #[non_exhaustive]
    CredentialsKept {
        /// The error's text.
        error: String,
        /// Age of the credentials in use.
        age: Duration,
    },
    /// The database refused credentials; the provider is asked for others.
    #[non_exhaustive]
    CredentialsRefused {
        /// The error's text.
        error: String,
        /// How many have been refused in this connect.
        refused: u32,
    },
    /// An idle connection answered before it was lent.
    #[non_exhaustive]
    Validated {
        /// How long it had been idle.
        idle: Duration,
        /// How long the answer took.
        elapsed: Duration,
    },
    /// A connection came home in the middle of something and was brought back to rest.
    #[non_exhaustive]
    Recovered {
        /// How long that took.
        elapsed: Duration,
    },
    /// A dropped statement could not be cancelled on the server, or was not found there; it is read to its end or its
    /// connection closed, and may run on.
    #[non_exhaustive]
    CancelFailed {
        /// The error's text.
        error: String,
    },
    /// A connection was closed.
    #[non_exhaustive]
    Discarded {
        /// Why.
        why: Discard,
        /// The error's text where there was one.
        error: Option<String>,
    },
    /// The environment was frozen; idle connections are looked at before they are lent again.
    #[non_exhaustive]
    Thawed {
        /// How long, as far as the clocks tell.
        frozen: Duration,
    },
    /// A session keeps its connection to itself from now on.
    #[non_exhaustive]
    Pinned {
        /// The statement and the cause.
        reason: PinReason,
    },
    /// A pinned session has ended and its connection will be cleaned.
    #[non_exhaustive]
    Unpinned {
        /// How long it was pinned.
        held: Duration,
    },
    /// The driver's sockets are out of reach on this system: no `TCP_NODELAY`, no keepalive, no look for free.
    #[non_exhaustive]
    SocketsUnreachable {
        /// The system's answer.
        error: String,
    },
    /// Something speaks against the writer: every connection is asked for its server's role before it is lent again.
    #[non_exhaustive]
    Suspected {
        /// `host:port` of the server in doubt.
        host: String,
        /// What happened.
        error: String,
    },
    /// A search for the writer has ended.
    #[non_exhaustive]
    WriterFound {
        /// `host:port` of the server that proved to be the writer.
        host: String,
        /// It is another than before; connections to the old one are closed.
        moved: bool,
        /// How often that has happened.
        epoch: u64,
        /// How long the search took.
        elapsed: Duration,
    },
    /// A server has named what nobody vouches for: an address outside of the target's domain, `instance_host_pattern` and
    /// `instances`, or functions that do not belong to RDS. It is neither dialled nor called. Each claim is told once.
    #[non_exhaustive]
    ClaimIgnored {
        /// `host:port` of the server that said so.
        host: String,
        /// What it said, control characters escaped.
        claim: String,
    },
    /// A server could not be asked for its neighbours: its role is known, and who the others are is as it was.
    #[non_exhaustive]
    LookFailed {
        /// `host:port` of the server.
        host: String,
        /// The error's text.
        error: String,
    },
    /// The RDS API cannot be asked who the members are, and is left alone for an hour. Everything else works without it:
    /// members and writer are learnt from the servers themselves.
    #[non_exhaustive]
    WatchGivenUp {
        /// The cluster's identifier.
        cluster: String,
        /// Why, and what would help.
        problem: EndpointProblem,
        /// The error's text.
        error: String,
    },
    /// Upkeep could not finish within its bound.
    #[non_exhaustive]
    UpkeepCutShort {
        /// The bound.
        bound: Duration,
    },
    /// Upkeep is over: with the [`lambda`](crate::lambda) layer the last event of each invocation, before the freeze. The
    /// moment to write what an observer has gathered.
    #[non_exhaustive]
    UpkeepDone {
        /// The proxy at this moment.
        status: Box<Status>,
    },
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discard {
    /// It failed while in use.
    Broken,
    /// The server had closed it while it was idle.
    ClosedByPeer,
    /// It did not answer its validation in time, or answered with an error.
    Silent,
    /// It could not be brought back to rest after a dropped statement or transaction.
    Unrecoverable,
    /// Idle for longer than `idle_timeout`.
    Idle,
    /// Older than `max_lifetime`.
    Old,
    /// Its server is not the one to talk to any more.
    Obsolete,
    /// The work was done, and others need its slot on the server more.
    GivenBack,
    /// It was opened on another tokio runtime than that of who asked for it, which alone can use it.
    Foreign,
    /// A snapshot was about to be taken (SnapStart), of which no connection is part.
    Snapshot,
    /// The pool was closed.
    Closed,
}

/// Receives events as they happen.
///
/// Called synchronously, sometimes from `Drop`: it must return soon and must not block. One that panics loses that event
/// and disturbs nothing else; the first panic of each is an error of the target `lambda_rds` in `tracing`.
pub trait Observer: Send + Sync + 'static {
    /// One event.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

/// The one place where events leave from.
#[derive(Clone)]
pub(crate) struct Events(Arc<[Listener]>);

struct Listener {
    observer: Box<dyn Observer>,
    has_panicked: AtomicBool,
}

impl Events {
    pub(crate) fn new(observers: Vec<Box<dyn Observer>>) -> Self {
        let listen = |observer| Listener { observer, has_panicked: AtomicBool::new(false) };
        Self(observers.into_iter().map(listen).collect())
    }

    /// Whatever an observer does: a login that succeeded is not thrown away because somebody could not take the news.
    pub(crate) fn emit(&self, event: &Event) {
        for Listener { observer, has_panicked } in &*self.0 {
            let Err(panicked) = caught_at_once("an observer", || observer.observe(event)) else { continue };
            if !has_panicked.swap(true, Ordering::Relaxed) {
                // The one that panicked may be the one that writes the log.
                let _ = caught_at_once("the log", || {
                    tracing::error!(target: "lambda_rds", %panicked, ?event, "an event was lost; this is said once an observer");
                });
            }
        }
    }
}

impl Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Events({})", self.0.len())
    }
}
