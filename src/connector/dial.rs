//! One connect, and what it means when it fails.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{Carried, Connector, Wire};
use crate::config::ConfigError;
use crate::credentials::Credentials;
use crate::deadline::Deadline;
use crate::engine::{Diagnosis, Engine, Login, Reached, Tap};
use crate::error::{Error, Phase, TlsProblem, Unreachable};
use crate::event::Event;
use crate::panicked::Panicked;
use crate::pool::Attempt;
use crate::span::{self, Watch};
use crate::tls;
use crate::topology::Address;

/// After a failed dial the name is looked up again to tell a bad name from a bad host; nobody waits longer for it.
const LOOKUP_BOUND: Duration = Duration::from_secs(1);

/// A dial that failed: with an error, or by running out of time.
pub(super) struct Failure {
    pub(super) source: Option<sqlx::Error>,
    pub(super) reached: Reached,
}

impl span::Failure for Failure {
    fn kind(&self) -> String {
        self.source.as_ref().map_or_else(|| "Timeout".to_owned(), span::Failure::kind)
    }

    fn code(&self) -> Option<String> {
        self.source.as_ref().and_then(span::Failure::code)
    }
}

impl<DB: Engine> Connector<DB> {
    pub(super) async fn dial(
        &self,
        login: &Login,
        credentials: &Credentials,
        attempt: &Attempt,
    ) -> Result<Wire<DB>, Failure> {
        attempt.enter(Phase::Dialling);
        let deadline = attempt.deadline.within(self.config.connect_timeout());
        let watch = Watch::connect(DB::RULES.family, &login.host, login.port);
        watch.over(self.dial_within(login, credentials, deadline)).await
    }

    pub(super) async fn dial_within(
        &self,
        login: &Login,
        credentials: &Credentials,
        deadline: Deadline,
    ) -> Result<Wire<DB>, Failure> {
        let shown = [login.user.as_str(), &login.host, login.database.as_deref().unwrap_or_default()];
        self.disclosed.add(&login.password, &shown);
        let mut tap = Tap::new(login.port);
        let began = Instant::now();
        let dialled = timeout_at(deadline.instant(), tap.follow(DB::dial(login))).await;
        let dialled = match dialled {
            Ok(Ok(dialled)) => dialled,
            Ok(Err(error)) => {
                return Err(Failure { source: Some(self.disclosed.hush(error)), reached: tap.reached() });
            }
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
        let carried = Carried::of::<DB>(self.config.via_proxy());
        let mut wire = Wire::new(dialled, socket, credentials.clone(), at, peer, DB::login_defaults(login), carried);
        wire.login = began.elapsed();
        Ok(wire)
    }

    /// What a failed dial means, and what to do about it.
    pub(super) async fn explain(&self, failure: Failure, login: &Login, refused: usize, attempt: &Attempt) -> Error {
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
            Diagnosis::Pooler => ConfigError::Pooler { host, source }.into(),
            _ => match source {
                sqlx::Error::Io(source) if !Panicked::is_behind(&source) => {
                    explain_io(source, failure.reached, host, port, elapsed).await
                }
                source => match Error::from(source) {
                    Error::Database(source) => Error::Connect { host, phase: Phase::Handshake, elapsed, source },
                    // Found at the login, and no failure of it.
                    ours => ours,
                },
            },
        }
    }
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
