//! The question whether a host is there: by a fresh socket, or over a login where the server minds such sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::monitor::Ask;
use crate::connector::{Connector, Peer, Wire};
use crate::engine::Engine;

/// So long is an answer by login waited for; then a greeting will do.
const LOGIN_BOUND: Duration = Duration::from_millis(100);

/// So many greetings in a row without a login. The server holds them against the address that they come from (MySQL's
/// `max_connect_errors`, 100), which is the whole fleet's behind one network interface.
const MOST_GREETINGS: u32 = 10;

/// The engine's question to a host.
pub(super) struct LivenessProbe<DB: Engine> {
    connector: Arc<Connector<DB>>,
    greetings: AtomicU32,
}

impl<DB: Engine> LivenessProbe<DB> {
    pub(super) fn new(connector: Arc<Connector<DB>>) -> Self {
        Self { connector, greetings: AtomicU32::new(0) }
    }

    fn login(&self, host: &Peer) -> LoginBeside<DB> {
        let (connector, host) = (Arc::clone(&self.connector), host.clone());
        Box::pin(async move { connector.beside(&host).await })
    }

    /// Whether the server greets. Nobody can say of one that was asked too often: then it is left to TCP.
    async fn greeting(&self, at: SocketAddr) -> io::Result<()> {
        if self.greetings.fetch_add(1, Ordering::Relaxed) >= MOST_GREETINGS {
            return Ok(());
        }
        DB::check_liveness(at).await
    }
}

type LoginBeside<DB> = BoxFuture<'static, Result<Option<Wire<DB>>, Option<sqlx::Error>>>;

/// A connection for questions, or the login for one, which may take longer than a question.
pub(super) enum Beside<DB: Engine> {
    Login(LoginBeside<DB>),
    Wire(Box<Wire<DB>>),
}

impl<DB: Engine> Ask for LivenessProbe<DB> {
    type Side = Beside<DB>;

    async fn ask(&self, host: &Peer, side: &mut Option<Beside<DB>>) -> io::Result<()> {
        if !DB::RULES.probes_by_login {
            return DB::check_liveness(host.address).await;
        }
        let mut login = match side.take() {
            Some(Beside::Login(login)) => login,
            Some(Beside::Wire(mut wire)) => match timeout(LOGIN_BOUND, DB::drain(&mut wire.driver)).await {
                Ok(Ok(_)) => {
                    self.greetings.store(0, Ordering::Relaxed);
                    *side = Some(Beside::Wire(wire));
                    return Ok(());
                }
                // It may have been cut off meanwhile, by its term too, which says nothing about the host.
                Ok(Err(_)) => self.login(host),
                // What it answers late the next question reads first.
                Err(_) => {
                    *side = Some(Beside::Wire(wire));
                    return self.greeting(host.address).await;
                }
            },
            None => self.login(host),
        };
        match timeout(LOGIN_BOUND, &mut login).await {
            Ok(Ok(Some(wire))) if wire.peer.as_ref().is_some_and(|peer| peer.address == host.address) => {
                self.greetings.store(0, Ordering::Relaxed);
                *side = Some(Beside::Wire(Box::new(wire)));
                return Ok(());
            }
            // The name leads elsewhere by now.
            Ok(Ok(Some(wire))) => self.connector.close(wire).await,
            // A refusal is an answer. One that is remembered is none, but nothing that could be asked does no harm: refused
            // logins lock the user in the end, and greetings without one the host. TCP has the last word then.
            Ok(Ok(None)) => return Ok(()),
            // So is any other word of the server's.
            Ok(Err(Some(sqlx::Error::Database(_)))) => return Ok(()),
            // No name, no credentials: none of that is the host's doing.
            Ok(Err(_)) => {}
            Err(_) => *side = Some(Beside::Login(login)),
        }
        self.greeting(host.address).await
    }

    async fn close(&self, side: Beside<DB>) {
        match side {
            Beside::Wire(wire) => self.connector.close(*wire).await,
            // One that is broken off would be held against this host.
            Beside::Login(login) => {
                if let Ok(Some(wire)) = login.await {
                    self.connector.close(wire).await;
                }
            }
        }
    }
}
