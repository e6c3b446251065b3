//! What the tests that both engines share call things by, on PostgreSQL.

use std::time::Duration;

pub use lambda_rds::{PgProxy as DbProxy, Postgres as Db};

pub use super::cluster::{Cluster, Imitation, id};
pub use super::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions as ServerOptions};
pub use super::proxy_to;

/// A cluster that tells of its members.
pub const CLUSTERED: Imitation = Imitation::Aurora;
/// A cluster that tells of its members, and not of their addresses.
pub const WITHOUT_ADDRESSES: Imitation = Imitation::Aurora;
pub const ENGINE: &str = "PostgreSQL";
/// As secrets call it.
pub const FAMILY: &str = "postgres";

pub const TABLE: &str = "create table ledger (n int); grant all on ledger to app";
pub const INSERT: &str = "insert into ledger values ($1)";
pub const PORT: &str = "select inet_server_port()::int8";
pub const PREPARE: &str = "prepare one as select 1";
/// The server's number of the session.
pub const SESSION: &str = "select pg_backend_pid()::int8";
/// The code of the last word of a server that is stopped.
pub const FAREWELL: Option<&str> = Some("57P01");
/// For the ledger: a commit is acknowledged when the standby that is promoted next has it.
pub const LEDGER: &str = "create table ledger (id bigint not null); grant all on ledger to app; \
                          alter role app set synchronous_commit = remote_apply";
/// Between two writes of one writer.
pub const PAUSE: Duration = Duration::from_millis(2);
/// For the quickstart.
pub const ORDERS: &str = "create table orders (id bigint generated always as identity primary key, item text not null); \
                          grant all on orders to app";
pub const ORDERED: &str = "select item from orders";
pub const QUICKSTART: &str = "quickstart";

/// In the log: a login, and a socket that was opened.
pub const LOGIN: &str = "authorized: user=app";
pub const SOCKET: &str = "connection received";

pub fn sleep(seconds: f64) -> String {
    format!("select pg_sleep({seconds})")
}

pub fn logging_connections() -> ServerOptions {
    ServerOptions { settings: vec![("log_connections", "on".to_owned())], ..ServerOptions::default() }
}

/// Cuts the sessions that are in [`sleep`].
pub async fn terminate_sleepers(server: &Server) {
    server
        .execute("select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep(20)%'")
        .await;
}

/// The standby that is promoted next has applied whatever is acknowledged; the others may be late.
pub async fn synchronize(cluster: &Cluster, writer: usize, standby: usize) {
    let server = cluster.node(writer);
    server.execute(&format!("alter system set synchronous_standby_names = '\"{}\"'", id(standby))).await;
    server.execute("select pg_reload_conf()").await;
}
