//! Logging in: with what, whose turn it is to try it, and what a new connection needs.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::timeout_at;

use super::dial::Failure;
use super::trial::{Key, Turn};
use super::{Access, Connector, Peer, Wire};
use crate::config::{ConfigError, Pem, Tls, is_host, is_name};
use crate::credentials::{Credentials, CredentialsError, CredentialsRequest};
use crate::deadline::Deadline;
use crate::engine::{Diagnosis, Engine, Login, Orphans};
use crate::error::{Error, Phase, Unreachable, chain};
use crate::event::Event;
use crate::panicked::{caught, caught_at_once};
use crate::pool::Attempt;
use crate::random;
use crate::tls;
use crate::topology::{Address, Place, is_of_every_region};

/// What is opened beside the pool is used every moment or not at all, and its place on the server is another's: a frozen environment
/// does not close it, but the server does.
const BESIDE_TERM: Duration = Duration::from_secs(3);

/// Credentials tried in one connect at the most: a cached one and the three stages of a secret.
const MOST_CREDENTIALS: usize = 4;

impl<DB: Engine> Connector<DB> {
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
    pub(super) async fn log_in(&self, place: Place, access: Access, attempt: &Attempt) -> Result<Wire<DB>, Error> {
        let mut request = self.request(place, attempt.deadline);
        #[cfg(feature = "testing")]
        self.refuse_if_asked(&request)?;
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
                    self.let_in(&key, &request, &login);
                    // Those who wait are told when it is noted.
                    drop(turn);
                    self.events.emit(&Event::Connected { host: place_of(&login), elapsed: attempt.deadline.spent() });
                    return Ok(wire);
                }
                Err(failure) => failure,
            };
            let error = self.explain(failure, &login, request.refused.len(), attempt).await;
            match &error {
                Error::Authentication { .. } => {}
                // It has refused a login that asked for what only newer servers know, and is not asked for that again.
                Error::Connect { source, .. }
                    if DB::diagnose_login(source) == Diagnosis::UnknownSetting
                        && self.old_servers().insert(Address::new(login.host, login.port)) =>
                {
                    continue;
                }
                _ => return Err(error),
            }
            self.trials.refuse(&key);
            drop(turn);
            request.refused.push(credentials);
            self.tell_refused(&error, request.refused.len());
            refusal = Some(error);
        }
    }

    fn tell_refused(&self, error: &Error, credentials: usize) {
        let refused = u32::try_from(credentials).unwrap_or(u32::MAX);
        self.events.emit(&Event::CredentialsRefused { error: chain(error), refused });
    }

    /// What is remembered of a login that the server has accepted.
    fn let_in(&self, key: &Key, request: &CredentialsRequest, login: &Login) {
        self.trials.accept(key, request);
        if login.may_be_pooler {
            self.saw_no_pooler(Address::new(login.host.clone(), login.port));
        }
        *self.last_login.lock().unwrap_or_else(PoisonError::into_inner) = Some(place_of(login));
    }

    #[cfg(feature = "testing")]
    fn refuse_if_asked(&self, request: &CredentialsRequest) -> Result<(), Error> {
        use crate::faults::Fault;
        let struck = self.faults.strike(|fault| (fault == Fault::ConnectRefused).then_some(()));
        let refused = |()| Error::Unreachable {
            host: request.host.clone().unwrap_or_default(),
            port: request.port,
            reason: Unreachable::Refused,
            phase: Phase::Dialling,
            elapsed: request.deadline.spent(),
            source: Some(io::ErrorKind::ConnectionRefused.into()),
        };
        struck.map_or(Ok(()), |struck| Err(refused(struck)))
    }

    /// Whose turn it is to log in with these credentials; `None` where nobody has to wait. Only a secret is put on trial, because all
    /// callers are told the same one and would all be refused. A configured password or a provider of the application is taken at its
    /// word.
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
            read_only: false,
            // A name of its own on the server, so that a cancel can find this connection and no other.
            application_name: format!("{} #{:08x}", self.application_name, random::unique()),
            is_token: self.config.iam,
            statement_cache_capacity: self.config.statement_cache_capacity,
            log_statements: self.config.log_statements,
            may_be_pooler: self.config.may_be_pooler() && self.looks_for_pooler(&host, port),
            orphans: (!self.config.via_proxy()).then(|| Orphans {
                idle: self.config.idle_timeout(),
                idle_in_transaction: self.config.idle_in_transaction_timeout(),
                is_old: self.old_servers().contains(&Address::new(host.clone(), port)),
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
    pub(super) async fn log_in_as(
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
        // What is kept may have gone bad since: a token whose keys have ended, a secret that was rotated once more.
        for _ in 0..MOST_CREDENTIALS {
            let credentials = self.ask(&request, deadline).await.map_err(|_| None)?;
            if request.refused.contains(&credentials) {
                break;
            }
            match self.try_once(&request, &credentials).await? {
                Some(wire) => return Ok(wire),
                None => request.refused.push(credentials),
            }
        }
        Err(None)
    }

    /// `None`: they are refused, now or before, with no login of that server in between.
    async fn try_once(
        &self,
        request: &CredentialsRequest,
        credentials: &Credentials,
    ) -> Result<Option<Wire<DB>>, Option<sqlx::Error>> {
        let mut login = self.login(request, credentials).map_err(|_| None)?;
        if let Some(orphans) = &mut login.orphans {
            orphans.idle = BESIDE_TERM;
        }
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
                Ok(None)
            }
            Err(failure) => Err(failure.source),
        }
    }

    /// The one statement of its own that a new connection may need.
    pub(super) async fn set_up(&self, wire: &mut Wire<DB>, attempt: &Attempt) -> Result<(), Error> {
        let Some(query) = &self.config.init_query else { return Ok(()) };
        attempt.enter(Phase::Setup);
        let deadline = attempt.deadline.within(self.config.connect_timeout());
        let answered = timeout_at(deadline.instant(), DB::run(&mut wire.driver, query.clone())).await;
        let source = match answered {
            Ok(Ok(())) => {
                wire.carried.memory.touched();
                return Ok(());
            }
            Ok(Err(source)) => source,
            Err(_) => sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "init_query did not end in time")),
        };
        let host = wire.at.host.clone();
        Err(Error::Connect { host, phase: Phase::Setup, elapsed: attempt.deadline.spent(), source })
    }
}

fn place_of(login: &Login) -> String {
    format!("{}:{}", login.host, login.port)
}
