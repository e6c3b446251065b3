//! A MariaDB that asks for IAM tokens.

use lambda_rds::{MySql, Proxy, ProxyBuilder};

use super::super::mariadb::{MariaDb, MariaDbOptions};
use super::super::site::HOST;
use super::{ACCESS_DENIED, Asks, Gate};

/// See the module.
#[derive(Debug)]
pub struct TokenServer {
    gate: Gate,
    _server: MariaDb,
}

impl TokenServer {
    /// A server with one user, whose tokens are all good.
    pub async fn start(user: &str) -> Self {
        let server = MariaDb::start(MariaDbOptions::default()).await;
        server.open_account(user).await;
        let gate = Gate::before(&server, Asks::InClear, "").await;
        Self { gate, _server: server }
    }

    /// The way there, without a user.
    pub fn place(&self) -> ProxyBuilder<MySql> {
        Proxy::builder().host(HOST).port(self.port()).database("app").ca_pem(self.gate.ca_pem())
    }

    pub fn port(&self) -> u16 {
        self.gate.port()
    }

    /// Refuses every token from now on.
    pub fn refuse(&self) {
        self.gate.refuse(ACCESS_DENIED);
    }

    /// All that were sent, in order.
    pub fn tokens(&self) -> Vec<String> {
        self.gate.visitors().iter().filter_map(super::Visitor::clear).collect()
    }
}
