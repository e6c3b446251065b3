//! Opens physical connections: credentials, then TLS and login, then set-up, under one deadline.
//!
//! Turns what the driver says into errors that name cause and cure.

mod cancel;
mod memory;
mod rest;
mod trial;
mod wire;

use std::collections::HashSet;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use crate::clock::Clock;
use crate::config::{Config, ConfigError, Isolation, Pem, PinningFilter, Tls, is_host, is_name};
use crate::credentials::{Credentials, CredentialsError, CredentialsProvider, CredentialsRequest};
use crate::engine::{Diagnosis, Engine, Login, Orphans, Reached, Socket, Tap};
use crate::error::{Error, Phase, TlsProblem, Unreachable, chain};
use crate::event::{Event, Events};
use crate::panicked::{Panicked, caught, caught_at_once};
use crate::pool::{Attempt, Peek};
use crate::retry::Deadline;
use crate::tls;
use crate::topology::{Address, Endpoint, Place, is_of_every_region};

use self::trial::{Key, Trials, Turn};

pub(crate) use self::memory::Memory;
pub(crate) use self::rest::Unread;
pub(crate) use self::wire::{Access, Peer, Proof, Wire};

/// Credentials tried in one connect at the most: a cached one and the three stages of a secret.
const MOST_CREDENTIALS: usize = 4;

/// After a failed dial the name is looked up again to tell a bad name from a bad host; nobody waits longer for it.
const LOOKUP_BOUND: Duration = Duration::from_secs(1);

/// Knows the way to one database.
pub(crate) struct Connector<DB: Engine> {
    config: Config,
    provider: Arc<dyn CredentialsProvider>,
    endpoint: Endpoint,
    region: Option<String>,
    application_name: String,
    clock: Clock,
    events: Events,
    /// Servers that are too old for the idle timeout. Each speaks for itself.
    without_idle_timeout: Mutex<HashSet<Address>>,
    sockets_unreachable: AtomicBool,
    last_login: Mutex<Option<String>>,
    /// How many cancels are under way.
    cancels: watch::Sender<usize>,
    trials: Trials,
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
            without_idle_timeout: Mutex::default(),
            sockets_unreachable: AtomicBool::new(false),
            last_login: Mutex::default(),
            cancels: watch::Sender::default(),
            trials: Trials::default(),
            engine: PhantomData,
        }
    }

    pub(crate) fn via_proxy(&self) -> bool {
        self.config.via_proxy()
    }

    /// Whether nothing of a session may be left on the server from one transaction to the next.
    pub(crate) fn pools_transactions(&self) -> bool {
        self.config.via_proxy() && DB::RULES.poolers_lose_state
    }

    fn without_idle_timeout(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.without_idle_timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `host:port` of the last login.
    pub(crate) fn last_login(&self) -> Option<String> {
        self.last_login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn request(&self, place: Place, deadline: Deadline) -> CredentialsRequest {
        let port = place.port.or(self.config.port).unwrap_or(DB::RULES.default_port);
        CredentialsRequest {
            user: self.config.user.clone(),
            engine: DB::RULES.family,
            refused: Vec::new(),
            accepted: self.trials.accepted(place.host.as_deref(), port),
            host: place.host,
            port,
            deadline,
        }
    }

    /// Logs in with the first credentials that the database does not refuse.
    async fn log_in(&self, place: Place, access: Access, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let mut request = self.request(place, attempt.deadline);
        let mut refusal = None;
        loop {
            attempt.enter(Phase::Credentials);
            let seen = self.trials.refused();
            let answer = self.ask(&request, attempt.deadline).await;
            let credentials = match (answer, refusal.take()) {
                (Err(CredentialsError::Exhausted | CredentialsError::Refused { .. }), Some(refusal)) => {
                    return Err(refusal);
                }
                (Ok(same), Some(refusal)) if request.refused.contains(&same) => return Err(refusal),
                // Asked once more than is tried, so that the provider has heard of the last refusal.
                (_, Some(refusal)) if request.refused.len() >= MOST_CREDENTIALS => return Err(refusal),
                (answer, earlier) => {
                    refusal = earlier;
                    answer?
                }
            };
            let login = Login { read_only: access == Access::ReadOnly, ..self.login(&request, &credentials)? };
            let key = Key { host: login.host.clone(), port: login.port, credentials: credentials.clone() };
            let turn = match self.turn(&key, seen, attempt.deadline).await? {
                // Said to somebody else, a moment ago, of the same credentials.
                Some(Turn::Refused) if request.refused.len() < MOST_CREDENTIALS => {
                    request.refused.push(credentials);
                    continue;
                }
                turn => turn,
            };
            let failure = match self.dial(&login, &credentials, attempt).await {
                Ok(wire) => {
                    self.trials.accept(&key, &request);
                    drop(turn);
                    let host = format!("{}:{}", login.host, login.port);
                    *self.last_login.lock().unwrap_or_else(PoisonError::into_inner) = Some(host.clone());
                    self.events.emit(&Event::Connected { host, elapsed: attempt.deadline.spent() });
                    return Ok(wire);
                }
                Err(failure) => failure,
            };
            let error = self.explain(failure, &login, request.refused.len(), attempt).await;
            match &error {
                Error::Authentication { .. } => {}
                // It has refused a login that asked for the idle timeout, and is not asked for that again.
                Error::Connect { source, .. }
                    if DB::diagnose_login(source) == Diagnosis::UnknownSetting
                        && self.without_idle_timeout().insert(Address::new(login.host, login.port)) =>
                {
                    continue;
                }
                _ => return Err(error),
            }
            self.trials.refuse(&key);
            if let Some(Turn::Yours(trial)) = turn {
                trial.refused();
            }
            request.refused.push(credentials);
            let refused = u32::try_from(request.refused.len()).unwrap_or(u32::MAX);
            self.events.emit(&Event::CredentialsRefused { error: chain(&error), refused });
            refusal = Some(error);
        }
    }

    /// Whose turn it is to log in with these; `None` where nobody waits. A secret only, of which all callers are told the
    /// same: what the application configured, or provides by itself, it means.
    async fn turn(&self, key: &Key, seen: u64, deadline: Deadline) -> Result<Option<Turn<'_>>, Error> {
        if self.config.secret.is_none() {
            return Ok(None);
        }
        let turn = timeout_at(deadline.instant(), self.trials.turn(key, seen)).await;
        turn.map(Some).map_err(|_| Error::Unreachable {
            host: key.host.clone(),
            port: key.port,
            // The login that it waited for has not come to an end.
            reason: Unreachable::Silent,
            phase: Phase::Handshake,
            elapsed: deadline.spent(),
            source: None,
        })
    }

    async fn ask(&self, request: &CredentialsRequest, deadline: Deadline) -> Result<Credentials, CredentialsError> {
        let asked = caught("the credentials provider", async { self.provider.credentials(request).await });
        match timeout_at(deadline.instant(), asked).await {
            Ok(Ok(Ok(credentials))) => Ok(credentials),
            // It is read again and again from here on, and may be one of the application's own.
            Ok(Ok(Err(error))) => match caught_at_once("the error of the credentials provider", || chain(&error)) {
                Ok(_) => Err(error),
                Err(panicked) => Err(CredentialsError::Provider(Box::new(panicked))),
            },
            Ok(Err(panicked)) => Err(CredentialsError::Provider(Box::new(panicked))),
            Err(_) => Err(CredentialsError::Unreachable {
                service: "the credentials provider",
                endpoint: "it needs",
                elapsed: deadline.spent(),
                source: None,
            }),
        }
    }

    fn login(&self, request: &CredentialsRequest, credentials: &Credentials) -> Result<Login, Error> {
        let host = request.host.clone().or_else(|| credentials.host.clone()).ok_or(ConfigError::NoHost)?;
        // A port that came with the secret's host belongs to that host, and one that was asked for to the other.
        let port = match &request.host {
            Some(_) => request.port,
            None => self.config.port.or(credentials.port).unwrap_or(request.port),
        };
        let database = self.config.database.clone().or_else(|| credentials.database.clone());
        // What was configured was looked at when it was; what a provider says is dialled and sent, and would be shown.
        let names = [
            ("host", is_host(&host)),
            ("user", is_name(&credentials.user)),
            ("database", database.as_deref().is_none_or(is_name)),
        ];
        if let Some((field, _)) = names.into_iter().find(|(_, is_good)| !is_good) {
            let problem = format!("the {field} that the credentials come with is no name, and is not shown");
            return Err(CredentialsError::Provider(problem.into()).into());
        }
        Ok(Login {
            port,
            user: credentials.user.clone(),
            password: credentials.password.clone(),
            database,
            tls: self.config.tls(),
            roots: self.roots(&host)?,
            // Told apart on the server, so that one can be cancelled and not another.
            read_only: false,
            application_name: format!("{} #{:08x}", self.application_name, fastrand::u32(..)),
            is_token: self.config.iam,
            statement_cache_capacity: self.config.statement_cache_capacity,
            log_statements: self.config.log_statements,
            orphans: (!self.config.via_proxy()).then(|| Orphans {
                idle: self.config.idle_timeout(),
                idle_in_transaction: self.config.idle_in_transaction_timeout(),
                idle_unknown: self.without_idle_timeout().contains(&Address::new(host.clone(), port)),
            }),
            host,
        })
    }

    /// The roots of the user's own authority, or else the region's RDS roots; and those to add. The file is read at each
    /// connect, so that it can be replaced.
    fn roots(&self, host: &str) -> Result<Vec<u8>, ConfigError> {
        if matches!(self.config.tls(), Tls::Require | Tls::Disable) {
            return Ok(Vec::new());
        }
        let now = self.clock.now().since_1970();
        let good = |option, pem: &Pem| {
            if pem.is_empty() {
                return Ok(Vec::new());
            }
            tls::in_term(pem.bytes(), now).map_err(|problem| ConfigError::Value { option, problem })
        };
        let mut roots = good("ca_pem", &self.config.ca_pem)?;
        if let Some(path) = &self.config.ca_file {
            let failed = |source| ConfigError::CaFile { path: path.display().to_string(), source };
            let file = std::fs::read(path).map_err(failed)?;
            let fault = |fault| failed(io::Error::new(io::ErrorKind::InvalidData, format!("the file {fault}")));
            roots.extend(tls::in_term(&file, now).map_err(fault)?);
        }
        if roots.is_empty() {
            // The writer of a global database shows the certificate of its own region, and that is not known.
            let own = self.region.as_deref().filter(|_| !is_of_every_region(host));
            roots = tls::roots(tls::region_of(host).as_deref().or(own)).into_bytes();
        }
        roots.extend(good("add_ca_pem", &self.config.add_ca_pem)?);
        Ok(roots)
    }

    async fn dial(&self, login: &Login, credentials: &Credentials, attempt: &Attempt) -> Result<Wire<DB>, Failure> {
        attempt.enter(Phase::Dialling);
        self.dial_within(login, credentials, attempt.deadline.within(self.config.connect_timeout())).await
    }

    async fn dial_within(
        &self,
        login: &Login,
        credentials: &Credentials,
        deadline: Deadline,
    ) -> Result<Wire<DB>, Failure> {
        let mut tap = Tap::new(login.port);
        let dialled = timeout_at(deadline.instant(), tap.follow(DB::dial(login))).await;
        let dialled = match dialled {
            Ok(Ok(dialled)) => dialled,
            Ok(Err(error)) => return Err(Failure { source: Some(error), reached: tap.reached() }),
            Err(_) => return Err(Failure { source: None, reached: tap.reached() }),
        };
        let socket = tap.into_socket().unwrap_or_else(|error| {
            if !self.sockets_unreachable.swap(true, Ordering::Relaxed) {
                self.events.emit(&Event::SocketsUnreachable { error: error.to_string() });
            }
            None
        });
        let peer = match &socket {
            Some(socket) => socket.peer(),
            None => only_address(&login.host, login.port).await,
        };
        let at = Address::new(login.host.clone(), login.port);
        let mut wire = Wire::new(dialled, socket, credentials.clone(), at, peer, DB::login_defaults(login));
        wire.memory = Memory::new(self.config.via_proxy());
        Ok(wire)
    }

    /// What a failed dial means, and what to do about it.
    async fn explain(&self, failure: Failure, login: &Login, refused: usize, attempt: &Attempt) -> Error {
        let elapsed = attempt.deadline.spent();
        let (host, port) = (login.host.clone(), login.port);
        let Some(source) = failure.source else {
            let (reason, phase) = match failure.reached {
                Reached::Nothing => {
                    let source = io::Error::new(io::ErrorKind::TimedOut, "the resolver did not answer");
                    return Error::Dns { host, elapsed, source };
                }
                Reached::Connected => (Unreachable::Silent, Phase::Handshake),
                Reached::Dialling | Reached::Unknown => (Unreachable::NoRoute, Phase::Dialling),
            };
            return Error::Unreachable { host, port, reason, phase, elapsed, source: None };
        };
        if let Some(problem) = tls::problem(&source) {
            return Error::Tls { host, problem, elapsed, source };
        }
        match DB::diagnose_login(&source) {
            Diagnosis::Authentication => {
                let refused = u32::try_from(refused + 1).unwrap_or(u32::MAX);
                Error::Authentication { host, user: login.user.clone(), refused, elapsed, source }
            }
            Diagnosis::Full => {
                let limit = DB::limit(&source);
                Error::TooManyConnections { host, elapsed, limit, seen: None, source }
            }
            Diagnosis::NotReady => Error::NotReady { host, elapsed, source },
            Diagnosis::TlsDemanded => Error::Tls { host, problem: TlsProblem::Demanded, elapsed, source },
            Diagnosis::UnknownDatabase => {
                let database = login.database.clone().unwrap_or_else(|| login.user.clone());
                Error::UnknownDatabase { host, database, elapsed, source }
            }
            _ => match source {
                sqlx::Error::Io(source) if !Panicked::is_behind(&source) => {
                    explain_io(source, failure.reached, host, port, elapsed).await
                }
                source => Error::Connect { host, phase: Phase::Handshake, elapsed, source },
            },
        }
    }

    /// Whether a connection must be as good as new when it passes to another session.
    pub(crate) fn is_strict(&self) -> bool {
        self.config.isolation() == Isolation::Strict
    }

    pub(crate) fn pinning_filter(&self) -> PinningFilter {
        self.config.pinning_filter()
    }

    pub(crate) fn has_init_query(&self) -> bool {
        self.config.init_query.is_some()
    }

    /// One more connection to a server, for questions beside a statement in flight. `Ok(None)`: all credentials that there
    /// are were refused, now or before. `Err(None)`: it did not answer, or there are no credentials.
    pub(crate) async fn beside(&self, peer: &Peer) -> Result<Option<Wire<DB>>, Option<sqlx::Error>> {
        let deadline = Deadline::after(self.config.connect_timeout());
        let place = Place { host: Some(peer.name.clone()), port: Some(peer.address.port()) };
        let mut request = self.request(place, deadline);
        // What the server has refused is not tried again every time: it counts refusals, and locks the user in the end.
        for _ in 0..MOST_CREDENTIALS {
            let credentials = match self.ask(&request, deadline).await {
                Ok(credentials) if !request.refused.contains(&credentials) => credentials,
                Err(_) if request.refused.is_empty() => return Err(None),
                _ => break,
            };
            match self.try_once(&request, &credentials).await? {
                Some(wire) => return Ok(Some(wire)),
                None => request.refused.push(credentials),
            }
        }
        Ok(None)
    }

    /// One more connection to end a statement with, logged in as the connection that it is on: that may be another user's
    /// than what the provider has by now. Tokens are of one user, and do not last. What the server has refused is not tried
    /// again, for every dropped statement asks for this.
    async fn log_in_as(
        &self,
        known: Credentials,
        at: Address,
        deadline: Deadline,
    ) -> Result<Wire<DB>, Option<sqlx::Error>> {
        let mut request = self.request(Place { host: Some(at.host), port: Some(at.port) }, deadline);
        if !self.config.iam {
            match self.try_once(&request, &known).await? {
                Some(wire) => return Ok(wire),
                None => request.refused.push(known),
            }
        }
        let credentials = self.ask(&request, deadline).await.map_err(|_| None)?;
        if request.refused.contains(&credentials) {
            return Err(None);
        }
        self.try_once(&request, &credentials).await?.ok_or(None)
    }

    /// `None`: they are refused, now or before, with no login of that server in between.
    async fn try_once(
        &self,
        request: &CredentialsRequest,
        credentials: &Credentials,
    ) -> Result<Option<Wire<DB>>, Option<sqlx::Error>> {
        let login = self.login(request, credentials).map_err(|_| None)?;
        let key = Key { host: login.host.clone(), port: login.port, credentials: credentials.clone() };
        let turn = timeout_at(request.deadline.instant(), self.trials.turn(&key, 0)).await.map_err(|_| None)?;
        if matches!(turn, Turn::Refused) {
            return Ok(None);
        }
        match self.dial_within(&login, credentials, request.deadline).await {
            Ok(wire) => {
                self.trials.accept(&key, request);
                Ok(Some(wire))
            }
            Err(Failure { source: Some(refusal), .. }) if DB::diagnose_login(&refusal) == Diagnosis::Authentication => {
                self.trials.refuse(&key);
                if let Turn::Yours(trial) = turn {
                    trial.refused();
                }
                Ok(None)
            }
            Err(failure) => Err(failure.source),
        }
    }

    /// The one statement of its own that a new connection may need.
    async fn set_up(&self, wire: &mut Wire<DB>, attempt: &Attempt) -> Result<(), Error> {
        let Some(query) = &self.config.init_query else { return Ok(()) };
        attempt.enter(Phase::Setup);
        let deadline = attempt.deadline.within(self.config.connect_timeout());
        let answered = timeout_at(deadline.instant(), DB::run(&mut wire.driver, query.clone())).await;
        let source = match answered {
            Ok(Ok(())) => {
                wire.memory.touched();
                return Ok(());
            }
            Ok(Err(source)) => source,
            Err(_) => sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "init_query did not end in time")),
        };
        let host = wire.at.host.clone();
        Err(Error::Connect { host, phase: Phase::Setup, elapsed: attempt.deadline.spent(), source })
    }
}

/// A dial that failed: with an error, or by running out of time.
struct Failure {
    source: Option<sqlx::Error>,
    reached: Reached,
}

async fn explain_io(source: io::Error, reached: Reached, host: String, port: u16, elapsed: Duration) -> Error {
    let reason = match source.kind() {
        io::ErrorKind::ConnectionRefused => Unreachable::Refused,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Unreachable::HungUp
        }
        // A resolver's errors have no number, as a socket's have. Sockets that others open meanwhile are none of this dial's.
        _ if source.raw_os_error().is_none() || matches!(reached, Reached::Nothing | Reached::Unknown) => {
            // They have no kind of their own either: ask again, and believe the answer.
            if !is_found(&host, port).await {
                return Error::Dns { host, elapsed, source };
            }
            Unreachable::NoRoute
        }
        _ => Unreachable::NoRoute,
    };
    let phase = if reason == Unreachable::HungUp { Phase::Handshake } else { Phase::Dialling };
    Error::Unreachable { host, port, reason, phase, elapsed, source: Some(source) }
}

/// Where a host is, if it is in one place only.
async fn only_address(host: &str, port: u16) -> Option<SocketAddr> {
    let mut found = timeout(LOOKUP_BOUND, tokio::net::lookup_host((host, port))).await.ok()?.ok()?;
    found.next().filter(|_| found.next().is_none())
}

async fn is_found(host: &str, port: u16) -> bool {
    matches!(timeout(LOOKUP_BOUND, tokio::net::lookup_host((host, port))).await, Ok(Ok(_)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `ENETUNREACH` of Linux.
    const NETWORK_UNREACHABLE: i32 = 101;

    #[tokio::test]
    async fn a_name_without_an_address_is_told_whatever_sockets_others_open() {
        for reached in [Reached::Nothing, Reached::Dialling, Reached::Connected, Reached::Unknown] {
            let source = io::Error::other("failed to lookup address information: Name or service not known");
            let error = explain_io(source, reached, "db.invalid".to_owned(), 5432, Duration::ZERO).await;
            assert!(matches!(error, Error::Dns { .. }), "{error:?}");
        }
        let source = io::Error::from_raw_os_error(NETWORK_UNREACHABLE);
        let error = explain_io(source, Reached::Dialling, "db.invalid".to_owned(), 5432, Duration::ZERO).await;
        assert!(matches!(error, Error::Unreachable { reason: Unreachable::NoRoute, .. }), "{error:?}");
    }
}
