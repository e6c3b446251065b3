//! Opens physical connections: credentials, then TLS and login, then set-up, under one deadline.
//!
//! Turns what the driver says into errors that name cause and cure.

mod cancel;
mod carried;
mod dial;
mod hush;
mod login;
mod memory;
mod prepared;
mod rest;
mod slot_term;
mod trial;
mod wire;

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::{Config, Isolation, PinningFilter, Tls};
use crate::credentials::CredentialsProvider;
use crate::deadline::Deadline;
use crate::engine::{Engine, Socket};
use crate::error::Error;
use crate::event::Events;
#[cfg(feature = "testing")]
use crate::faults::Faults;
#[cfg(feature = "lambda")]
use crate::panicked::caught_at_once;
use crate::pool::{Attempt, Peek};
use crate::topology::{Address, Endpoint, Place, is_of_rds};

use self::hush::Disclosed;
use self::trial::Trials;

pub(crate) use self::carried::Carried;
pub(crate) use self::memory::Memory;
pub(crate) use self::prepared::Spelling;
pub(crate) use self::rest::{Rested, Unread};
pub(crate) use self::wire::{Access, Peer, Proof, Wire};

/// Knows the way to one database.
pub(crate) struct Connector<DB: Engine> {
    config: Config,
    provider: Arc<dyn CredentialsProvider>,
    endpoint: Endpoint,
    region: Option<String>,
    application_name: String,
    clock: Clock,
    events: Events,
    /// Servers that do not know all that a login sets. Each speaks for itself.
    old_servers: Mutex<HashSet<Address>>,
    /// Where it was seen that a login leads to a session of its own.
    no_poolers: Mutex<HashSet<Address>>,
    sockets_unreachable: AtomicBool,
    last_login: Mutex<Option<String>>,
    /// How many cancels are under way.
    cancels: watch::Sender<usize>,
    trials: Trials,
    disclosed: Disclosed,
    #[cfg(feature = "testing")]
    faults: Faults,
    engine: PhantomData<fn() -> DB>,
}

impl<DB: Engine> Connector<DB> {
    pub(crate) fn new(
        config: Config,
        provider: Arc<dyn CredentialsProvider>,
        endpoint: Endpoint,
        region: Option<String>,
        application_name: String,
        clock: Clock,
        events: Events,
    ) -> Self {
        Self {
            config,
            provider,
            endpoint,
            region,
            application_name,
            clock,
            events,
            old_servers: Mutex::default(),
            no_poolers: Mutex::default(),
            sockets_unreachable: AtomicBool::new(false),
            last_login: Mutex::default(),
            cancels: watch::Sender::default(),
            trials: Trials::default(),
            disclosed: Disclosed::default(),
            #[cfg(feature = "testing")]
            faults: Faults::default(),
            engine: PhantomData,
        }
    }

    /// With faults that a test asks for.
    #[cfg(feature = "testing")]
    pub(crate) fn with_faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// A snapshot is about to be taken.
    #[cfg(feature = "lambda")]
    pub(crate) fn forget_credentials(&self) {
        self.trials.forget();
        self.disclosed.forget();
        if let Err(panicked) = caught_at_once("the credentials provider", || self.provider.forget()) {
            tracing::warn!(target: "lambda_rds", %panicked, "credentials may be part of the snapshot");
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.config.tls() != Tls::Disable
    }

    pub(crate) fn via_proxy(&self) -> bool {
        self.config.via_proxy()
    }

    /// Whether nothing of a session may be left on the server from one transaction to the next.
    pub(crate) fn pools_transactions(&self) -> bool {
        self.config.via_proxy() && DB::RULES.poolers_lose_state
    }

    fn old_servers(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.old_servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has to be seen that no pooler is there. Behind a name of RDS there is what the name says.
    fn looks_for_pooler(&self, host: &str, port: u16) -> bool {
        let seen = self.no_poolers.lock().unwrap_or_else(PoisonError::into_inner);
        DB::RULES.poolers_lose_state && !is_of_rds(host) && !seen.contains(&Address::new(host.to_owned(), port))
    }

    fn saw_no_pooler(&self, at: Address) {
        self.no_poolers.lock().unwrap_or_else(PoisonError::into_inner).insert(at);
    }

    /// `host:port` of the last login.
    pub(crate) fn last_login(&self) -> Option<String> {
        self.last_login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a connection must be as good as new when it passes to another session.
    pub(crate) fn is_strict(&self) -> bool {
        self.config.isolation() == Isolation::Strict
    }

    pub(crate) fn pinning_filter(&self) -> PinningFilter {
        self.config.pinning_filter()
    }

    pub(crate) fn slow_statements(&self) -> Duration {
        self.config.slow_statements()
    }

    pub(crate) fn has_init_query(&self) -> bool {
        self.config.init_query.is_some()
    }
}

impl<DB: Engine> Connector<DB> {
    /// Where the target is said to be.
    pub(crate) async fn home(&self, deadline: Deadline) -> Result<Place, Error> {
        self.endpoint.resolve(deadline).await
    }

    /// A connection to the server at this place, logged in and set up.
    pub(crate) async fn reach(&self, place: Place, access: Access, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let mut wire = self.log_in(place, access, attempt).await?;
        self.set_up(&mut wire, attempt).await?;
        Ok(wire)
    }

    pub(crate) fn peek(&self, wire: &Wire<DB>) -> Peek {
        match wire.socket.as_ref().map(Socket::has_input) {
            None | Some(Ok(false)) => Peek::Quiet,
            Some(Ok(true)) => Peek::Talking,
            Some(Err(_)) => Peek::Closed,
        }
    }

    pub(crate) async fn close(&self, wire: Wire<DB>) {
        let Wire { driver, socket, .. } = wire;
        // The duplicate first: the server sees the end only when both are gone.
        drop(socket);
        DB::close(driver).await;
    }
}
