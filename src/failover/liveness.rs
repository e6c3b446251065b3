//! The question whether a host is there: by a fresh socket, or over a login where the server minds such sockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::monitor::Ask;
use crate::connector::{Connector, Peer, Wire};
use crate::engine::Engine;

/// So long is an answer by login waited for; then a greeting will do.
const LOGIN_BOUND: Duration = Duration::from_millis(100);

/// The engine's question to a host.
pub(super) struct LivenessProbe<DB: Engine>(pub(super) Arc<Connector<DB>>);

/// A connection for questions, or the login for one, which may take longer than a question.
pub(super) enum Beside<DB: Engine> {
    Login(BoxFuture<'static, Result<Wire<DB>, Option<sqlx::Error>>>),
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
            Some(Beside::Wire(mut wire)) => {
                if let Ok(Ok(_)) = timeout(LOGIN_BOUND, DB::drain(&mut wire.driver)).await {
                    *side = Some(Beside::Wire(wire));
                    return Ok(());
                }
                // It may have been cut off meanwhile, which says nothing about the host.
                return DB::check_liveness(host.address).await;
            }
            None => {
                let (connector, host) = (Arc::clone(&self.0), host.clone());
                Box::pin(async move { connector.beside(&host).await })
            }
        };
        match timeout(LOGIN_BOUND, &mut login).await {
            Ok(Ok(wire)) if wire.peer.as_ref().is_some_and(|peer| peer.address == host.address) => {
                *side = Some(Beside::Wire(Box::new(wire)));
                return Ok(());
            }
            // The name leads elsewhere by now.
            Ok(Ok(wire)) => self.0.close(wire).await,
            // A refusal is an answer.
            Ok(Err(Some(sqlx::Error::Database(_)))) => return Ok(()),
            // No name, no credentials: none of that is the host's doing.
            Ok(Err(_)) => {}
            Err(_) => *side = Some(Beside::Login(login)),
        }
        DB::check_liveness(host.address).await
    }
}
