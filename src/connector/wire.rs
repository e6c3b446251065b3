//! A physical connection, and what sessions have done to it.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::cancel::Cancel;
use super::memory::Memory;
use crate::clock::Moment;
use crate::credentials::Credentials;
use crate::engine::{Cleanup, Dialled, Engine, Settings, Socket, Staleness};
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

/// A physical connection, and what has been done to it.
pub(crate) struct Wire<DB: Engine> {
    pub(crate) driver: DB::Connection,
    /// Where it was dialled.
    pub(crate) at: Address,
    /// Where that was, of all places that the name may lead to.
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) proof: Proof,
    /// Counts it among the connections to its reader, while it lives.
    pub(crate) share: Option<Arc<()>>,
    /// The writer, for want of a reader.
    pub(crate) stands_in: bool,
    /// When its server was last asked for its role.
    pub(crate) looked: Option<Moment>,
    /// Declared after the driver: the duplicate must not outlive it by more than this drop.
    pub(super) socket: Option<Socket>,
    /// A transaction may be open on it; a rollback takes the settings back to these.
    pub(crate) open: Option<Settings>,
    /// What is set on it that differs from the login, and from what `init_query` set.
    pub(crate) applied: Settings,
    /// What takes a setting back to what it was at login, where the engine has no word for that.
    pub(crate) login_defaults: Settings,
    /// The login has other values too, to which nothing takes a setting back.
    has_own_values: bool,
    /// How many exchanges there were on it, this crate's own included.
    pub(crate) exchanges: u64,
    /// The driver would misread what is still on its way.
    pub(crate) out_of_step: bool,
    pub(crate) id: u64,
    /// What the server calls it, and no other connection.
    pub(super) name: String,
    /// The server's number for it, where that was asked.
    pub(super) number: Option<String>,
    /// What it was logged in with: a cancel is a matter between connections of one user.
    pub(super) credentials: Credentials,
    /// From its beginning until it is known to have hit nothing else: the connection is not at rest as long as it is there.
    pub(super) cancel: Option<Cancel>,
    /// The session that had it last since it was as good as new; 0 is none.
    pub(super) session: u64,
    /// What sessions may have left in the server's memory.
    pub(crate) memory: Memory,
    pub(crate) cleanup: Cleanup,
    /// Kept by whoever left it in the middle of something, and dropped when it is at rest or gone.
    pub(crate) unrest: Option<oneshot::Sender<Infallible>>,
    /// What has become of the statements that were prepared on it.
    pub(crate) stale: Staleness,
    /// What becomes of them when the transaction ends, and what it has set with it.
    pub(crate) local: Staleness,
    /// Names have stood for different things since its login, and the driver remembers what it learnt of them.
    pub(crate) mixed: bool,
    /// How many sessions have had it since its login.
    pub(crate) owners: u64,
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
    ) -> Self {
        let Dialled { driver, name, has_own_values } = dialled;
        Self {
            peer: peer.map(|address| Arc::new(Peer { address, name: at.host.clone() })),
            at,
            proof: Proof::default(),
            share: None,
            stands_in: false,
            looked: None,
            driver,
            socket,
            open: None,
            applied: Settings::default(),
            login_defaults,
            has_own_values,
            exchanges: 0,
            out_of_step: false,
            id: WIRES.fetch_add(1, Ordering::Relaxed),
            name,
            number: None,
            credentials,
            cancel: None,
            session: 0,
            memory: Memory::new(false),
            cleanup: Cleanup::None,
            stale: Staleness::Fresh,
            local: Staleness::Fresh,
            mixed: false,
            owners: 0,
            unrest: None,
        }
    }

    /// A transaction may be open from here on.
    pub(crate) fn open(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.applied.clone());
        }
    }

    /// Another session has had it.
    pub(crate) fn is_anothers(&self, session: u64) -> bool {
        self.session != 0 && self.session != session
    }

    /// This session has it now.
    pub(crate) fn come_into(&mut self, session: u64) {
        if self.session != session {
            self.session = session;
            self.owners += 1;
        }
    }

    /// The settings are these from here on, and what was prepared was prepared under those before.
    pub(crate) fn become_set(&mut self, settings: Settings) {
        self.outdate(DB::staleness(&self.applied, &settings));
        self.applied = settings;
    }

    /// Whether a setting would have to go back to a value of this login's that nothing takes it back to.
    pub(crate) fn cannot_go_to(&self, wanted: &Settings) -> bool {
        self.has_own_values
            && self.applied.names().any(|name| !wanted.contains(name) && !self.login_defaults.contains(name))
    }

    /// What is prepared no longer means what it meant.
    pub(crate) fn outdate(&mut self, staleness: Staleness) {
        self.stale = self.stale.max(staleness);
        self.mixed |= staleness == Staleness::Names;
    }

    /// Whether the driver has prepared anything that could be stale.
    pub(crate) fn has_prepared(&self) -> bool {
        DB::has_prepared(&self.driver)
    }
}

impl<DB: Engine> fmt::Debug for Wire<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("open", &self.open.is_some())
            .field("cleanup", &self.cleanup)
            .finish_non_exhaustive()
    }
}
