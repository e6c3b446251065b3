//! A physical connection.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::cancel::Cancel;
use super::carried::Carried;
use crate::clock::Moment;
use crate::credentials::Credentials;
use crate::engine::{Dialled, Engine, Settings, Socket};
use crate::topology::Address;

/// What the sessions of a login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    /// Whatever the server would allow.
    ReadOnly,
}

/// When its server was proven to be the one to talk to: in which epoch, and after how many suspicions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) epoch: u64,
    pub(crate) doubt: u64,
}

/// A server at the other end: where it is, and the name that led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
}

/// A physical connection, and what it carries.
pub(crate) struct Wire<DB: Engine> {
    pub(crate) driver: DB::Connection,
    /// Where it was dialled.
    pub(crate) at: Address,
    /// Where that was, of all places that the name may lead to.
    pub(crate) peer: Option<Arc<Peer>>,
    /// How long its login took.
    pub(crate) login: Duration,
    pub(crate) proof: Proof,
    /// Counts it among the connections to its reader, while it lives.
    pub(crate) share: Option<Arc<()>>,
    /// The writer, for want of a reader.
    pub(crate) stands_in: bool,
    /// When its server was last asked for its role.
    pub(crate) looked: Option<Moment>,
    /// Declared after the driver: the duplicate must not outlive it by more than this drop.
    pub(super) socket: Option<Socket>,
    /// What sessions have left on it.
    pub(crate) carried: Carried,
    /// What takes a setting back to what it was at login, where the engine has no word for that.
    pub(crate) login_defaults: Settings,
    /// The login has other values too, to which nothing takes a setting back.
    has_own_values: bool,
    /// What is prepared on it is prepared for values of certain types.
    pub(crate) prepares_for_types: bool,
    /// An exchange is under way, or one was dropped before its answer was read to the end: the next use reads what is left first. Also
    /// set when the connection is handed out, because nobody sees what is left unread on it.
    pub(crate) in_flight: bool,
    /// The driver would misread what is still on its way.
    pub(crate) out_of_step: bool,
    pub(crate) id: u64,
    /// What the server calls it, and no other connection.
    pub(super) name: String,
    /// The server's number for it, where that was asked.
    pub(super) number: Option<String>,
    /// What it was logged in with: a cancel is a matter between connections of one user.
    pub(super) credentials: Credentials,
    /// The error of a dropped statement, from when it was read until the connection is at rest: whoever reads it may be dropped as
    /// well, and it may have ended the transaction.
    pub(super) late: Option<sqlx::Error>,
    /// From its beginning until it is known to have hit nothing else: the connection is not at rest as long as it is there.
    pub(super) cancel: Option<Cancel>,
    /// Kept by whoever left it in the middle of something, and dropped when it is at rest or gone.
    pub(crate) parted: Option<oneshot::Sender<Infallible>>,
}

/// Tells physical connections apart.
static WIRES: AtomicU64 = AtomicU64::new(1);

impl<DB: Engine> Wire<DB> {
    pub(super) fn new(
        dialled: Dialled<DB::Connection>,
        socket: Option<Socket>,
        credentials: Credentials,
        at: Address,
        peer: Option<SocketAddr>,
        login_defaults: Settings,
        carried: Carried,
    ) -> Self {
        let Dialled { driver, name, has_own_values, prepares_for_types } = dialled;
        Self {
            peer: peer.map(|address| Arc::new(Peer { address, name: at.host.clone() })),
            at,
            login: Duration::ZERO,
            proof: Proof::default(),
            share: None,
            stands_in: false,
            looked: None,
            driver,
            socket,
            carried,
            login_defaults,
            has_own_values,
            prepares_for_types,
            in_flight: false,
            out_of_step: false,
            id: WIRES.fetch_add(1, Ordering::Relaxed),
            name,
            number: None,
            credentials,
            late: None,
            cancel: None,
            parted: None,
        }
    }

    /// Whether a setting would have to go back to a value of this login's that nothing takes it back to.
    pub(crate) fn cannot_go_to(&self, wanted: &Settings) -> bool {
        self.has_own_values
            && self.carried.settings().names().any(|name| !wanted.contains(name) && !self.login_defaults.contains(name))
    }

    /// Whether the driver has prepared anything that could be stale.
    pub(crate) fn has_prepared(&self) -> bool {
        DB::has_prepared(&self.driver)
    }
}

impl<DB: Engine> fmt::Debug for Wire<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("carried", &self.carried).finish_non_exhaustive()
    }
}
