//! The question whether a host is there: by a fresh socket, or over a login where the server minds such sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
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

    /// A task, as a cancel is: one that is broken off is held against this host by the server, and while nobody drives one others
    /// wait for what the database says of its credentials.
    fn login(&self, host: &Peer) -> LoginBeside<DB> {
        let (done, login) = oneshot::channel();
        let (connector, host) = (Arc::clone(&self.connector), host.clone());
        tokio::spawn(async move {
            // Nobody may wait for it any more.
            if let Err(Ok(Some(wire))) = done.send(connector.beside(&host).await) {
                connector.close(wire).await;
            }
        });
        login
    }

    /// Whether the server greets a new socket. After `MOST_GREETINGS` it is not asked any more and counts as alive, for the server would
    /// block this address; TCP then finds out.
    async fn greeting(&self, at: SocketAddr) -> io::Result<()> {
        if self.greetings.fetch_add(1, Ordering::Relaxed) >= MOST_GREETINGS {
            return Ok(());
        }
        DB::check_liveness(at).await
    }
}

type LoginBeside<DB> = oneshot::Receiver<Result<Option<Wire<DB>>, Option<sqlx::Error>>>;

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
        // Given up in the middle of it, what is of use for the next question is still there.
        if let Some(Beside::Wire(wire)) = side {
            match timeout(LOGIN_BOUND, DB::drain(&mut wire.driver, &mut None)).await {
                Ok(Ok(_)) => {
                    self.greetings.store(0, Ordering::Relaxed);
                    return Ok(());
                }
                // It may have been cut off meanwhile, by its term too, which says nothing about the host.
                Ok(Err(_)) => *side = None,
                // What it answers late the next question reads first.
                Err(_) => return self.greeting(host.address).await,
            }
        }
        let Beside::Login(login) = side.get_or_insert_with(|| Beside::Login(self.login(host))) else {
            return self.greeting(host.address).await;
        };
        let Ok(logged_in) = timeout(LOGIN_BOUND, login).await else { return self.greeting(host.address).await };
        *side = None;
        match logged_in {
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
            // No name, no credentials, or its runtime has ended: none of that is the host's doing.
            Ok(Err(_)) | Err(_) => {}
        }
        self.greeting(host.address).await
    }

    async fn close(&self, side: Beside<DB>) {
        match side {
            Beside::Wire(wire) => self.connector.close(*wire).await,
            // It ends by itself, if its time is not over with the freeze.
            Beside::Login(login) => {
                if let Ok(Ok(Ok(Some(wire)))) = timeout(LOGIN_BOUND, login).await {
                    self.connector.close(wire).await;
                }
            }
        }
    }
}
