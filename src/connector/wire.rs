//! A physical connection, and what sessions have done to it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::{Engine, Settings, Socket};

/// A physical connection, and what has been done to it.
pub(crate) struct Wire<DB: Engine> {
    pub(crate) driver: DB::Connection,
    /// Declared after the driver: the duplicate must not outlive it by more than this drop.
    pub(super) socket: Option<Socket>,
    /// A transaction may be open on it; a rollback takes the settings back to these.
    pub(crate) open: Option<Settings>,
    /// What is set on it that differs from the login, and from what `init_query` set.
    pub(crate) applied: Settings,
    pub(crate) id: u64,
    /// What the server calls it: `application_name`, and no other connection's.
    pub(super) name: String,
    /// How many sessions have had it since it was as good as new.
    pub(crate) hands: u64,
    pub(super) session: u64,
    /// A session may have left traces on it.
    pub(crate) soiled: bool,
}

/// Tells physical connections apart.
static WIRES: AtomicU64 = AtomicU64::new(1);

impl<DB: Engine> Wire<DB> {
    pub(super) fn new(driver: DB::Connection, socket: Option<Socket>, name: String) -> Self {
        Self {
            driver,
            socket,
            open: None,
            applied: Settings::default(),
            id: WIRES.fetch_add(1, Ordering::Relaxed),
            name,
            hands: 0,
            session: 0,
            soiled: false,
        }
    }

    /// A transaction may be open from here on.
    pub(crate) fn open(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.applied.clone());
        }
    }

    /// This session has it now.
    pub(crate) fn come_into(&mut self, session: u64) {
        if self.session != session {
            self.session = session;
            self.hands += 1;
        }
    }
}

impl<DB: Engine> fmt::Debug for Wire<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("open", &self.open.is_some()).field("soiled", &self.soiled).finish_non_exhaustive()
    }
}
