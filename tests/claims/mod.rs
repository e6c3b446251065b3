//! What a server, a schema, a name or a text says is a claim: it never decides where a password goes, whose code runs, or how
//! long the process stands still. Ways that a hostile tester has tried; `trust` has those of the review before.

mod code;
#[cfg(feature = "mysql")]
mod on_mysql;
mod places;
mod refused;
mod settings;
mod strict;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lambda_rds::{Connection, Error, Event, Isolation, PgProxy, Postgres, ProxyBuilder};
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};

use crate::support::aws::{Aws, Fault, Instance, Service};
use crate::support::cluster::{Cluster, Imitation};
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions as ServerOptions};
use crate::support::until::until;
use crate::support::{Recorder, chain, proxy_to};

const SECRET: &str = "prod/shop/db";

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn started() -> Server {
    Server::start(ServerOptions::default()).await
}

/// Names by which a stranger at loopback would be reached, or that end as the target's do.
const HOSTS: [&str; 26] = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "LocalHost..",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "0",
    "",
    " localhost",
    "localhost ",
    "localhost\n",
    "user@localhost",
    "/tmp",
    "localhost:1",
    "ｌocalhost",
    "loca\u{200b}lhost",
    "xn--localhost",
    "a.localhost",
    "localhost,evil.example",
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
