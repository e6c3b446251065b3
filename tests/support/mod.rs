//! The local stage: a real PostgreSQL and a real MariaDB or MySQL, a stand-in for the AWS services, a Lambda environment. Used by
//! the tests, the benches and the demo alike; nothing of it outlives the process that started it.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each user of the stage takes a part of it")]

pub mod aws;
pub mod certificates;
pub mod child;
pub mod cluster;
pub mod directory;
pub mod fault_proxy;
#[cfg(feature = "mysql")]
pub mod gate;
pub mod http;
pub mod keeper;
pub mod lambda;
#[cfg(feature = "mysql")]
pub mod mariadb;
#[cfg(feature = "mysql")]
pub mod mariadb_cluster;
#[cfg(feature = "mysql")]
pub mod on_mysql;
pub mod on_postgres;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod servers;
pub mod site;
pub mod until;
#[cfg(feature = "mysql")]
pub mod words;

use std::sync::{Arc, Mutex};

use lambda_rds::{Event, PgProxy, Postgres as Engine, Proxy, ProxyBuilder};
#[cfg(feature = "mysql")]
use lambda_rds::{MySql, MySqlProxy};
use tokio::sync::OnceCell;

#[cfg(feature = "mysql")]
use mariadb::{MariaDb, MariaDbOptions};
use postgres::{Postgres, PostgresOptions};

/// The server that the tests of a process share. Tests that change or break it start their own.
pub async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER.get_or_init(|| Postgres::start(PostgresOptions { max_connections: 90, ..PostgresOptions::default() })).await
}

/// A proxy for `app` on this server, verify-full.
pub fn proxy_to(server: &Postgres) -> ProxyBuilder<Engine> {
    Proxy::builder().url(server.url()).ca_pem(server.ca_pem())
}

/// A proxy for `app` on the shared server.
pub async fn proxy() -> PgProxy {
    proxy_to(server().await).build().expect("a valid configuration")
}

/// An account of one test's own on the shared server, with [`APP_PASSWORD`](postgres::APP_PASSWORD), and as many
/// connections at the most.
pub async fn account(name: &str, connections: Option<u16>) -> &'static Postgres {
    let server = server().await;
    let limit = connections.map(|limit| format!("connection limit {limit}")).unwrap_or_default();
    server.execute(&format!("create role \"{name}\" login password '{}' {limit}", postgres::APP_PASSWORD)).await;
    server
}

/// As [`account`], on the shared MariaDB.
#[cfg(feature = "mysql")]
pub async fn mysql_account(name: &str, connections: Option<u16>) -> &'static MariaDb {
    let server = mysql_server().await;
    let (password, limit) = (postgres::APP_PASSWORD, connections.unwrap_or_default());
    let account = format!("create user {name}@'%' identified by '{password}' require ssl");
    server.execute(&format!("{account} with max_user_connections {limit}; grant all on app.* to {name}@'%'")).await;
    server
}

/// As [`server`], a MariaDB.
#[cfg(feature = "mysql")]
pub async fn mysql_server() -> &'static MariaDb {
    static SERVER: OnceCell<MariaDb> = OnceCell::const_new();
    SERVER.get_or_init(|| MariaDb::start(MariaDbOptions { max_connections: 90, ..MariaDbOptions::default() })).await
}

/// As [`proxy_to`], for a MariaDB.
#[cfg(feature = "mysql")]
pub fn mysql_proxy_to(server: &MariaDb) -> ProxyBuilder<MySql> {
    Proxy::builder().url(server.url()).ca_pem(server.ca_pem())
}

/// As [`proxy`], for a MariaDB.
#[cfg(feature = "mysql")]
pub async fn mysql_proxy() -> MySqlProxy {
    mysql_proxy_to(mysql_server().await).build().expect("a valid configuration")
}

/// Collects events.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    /// To be given to `observer(..)`.
    pub fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let events = Arc::clone(&self.0);
        move |event: &Event| http::lock(&events).push(event.clone())
    }

    pub fn events(&self) -> Vec<Event> {
        http::lock(&self.0).clone()
    }

    /// How many events satisfy `is`.
    pub fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| is(event)).count()
    }
}

/// An error and all its causes, as a log would show them.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} | {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" <- {cause} | {cause:?}"));
        source = cause.source();
    }
    text
}
