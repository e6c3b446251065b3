//! What the tests that both engines share call things by, on MySQL.

use std::time::Duration;

pub use lambda_rds::{MySql as Db, MySqlProxy as DbProxy};

pub use super::mariadb::{APP_PASSWORD, MariaDb as Server, MariaDbOptions as ServerOptions};
pub use super::mariadb_cluster::{Imitation, MariaDbCluster as Cluster, id};
pub use super::mysql_proxy_to as proxy_to;

/// A cluster that tells of its members. Aurora's tables cannot be imitated under their own names.
pub const CLUSTERED: Imitation = Imitation::MultiAz;
/// A cluster that tells of no addresses.
pub const WITHOUT_ADDRESSES: Imitation = Imitation::Nothing;
pub const ENGINE: &str = "MariaDB";
/// As secrets call it.
pub const FAMILY: &str = "mysql";

pub const TABLE: &str = "create table app.ledger (n int)";
pub const INSERT: &str = "insert into ledger values (?)";
pub const PORT: &str = "select cast(@@port as signed)";
pub const PREPARE: &str = "prepare one from 'select 1'";
/// The server's number of the session.
pub const SESSION: &str = "select cast(connection_id() as signed)";
/// The code of the last word of a server that is stopped: it hangs up without one.
pub const FAREWELL: Option<&str> = None;
/// For the ledger.
pub const LEDGER: &str = "create table app.ledger (id bigint not null)";
/// Between two writes of one writer. A node that comes back gets all of them again, one after the other.
pub const PAUSE: Duration = Duration::from_millis(10);
/// For the quickstart.
pub const ORDERS: &str = "create table app.orders (id bigint unsigned auto_increment primary key, item text not null)";
pub const ORDERED: &str = "select item from app.orders";
pub const QUICKSTART: &str = "quickstart_mysql";

/// In the log: a login. Nothing tells of a socket that was only opened.
pub const LOGIN: &str = "Connect\tapp@";
pub const SOCKET: &str = LOGIN;

pub fn sleep(seconds: f64) -> String {
    format!("select sleep({seconds})")
}

pub fn logging_connections() -> ServerOptions {
    ServerOptions { settings: vec![("general_log", "1".to_owned())], ..ServerOptions::default() }
}

/// Cuts the sessions that are in [`sleep`].
pub async fn terminate_sleepers(server: &Server) {
    let text = "select id from information_schema.processlist where user = 'app' and info like 'select sleep(20)%'";
    for row in server.rows(text).await {
        let id: i64 = sqlx::Row::get_unchecked(&row, 0);
        server.execute(&format!("kill connection {id}")).await;
    }
}

/// A commit is acknowledged when the standby that is promoted next has it.
pub async fn synchronize(cluster: &Cluster, writer: usize, _standby: usize) {
    cluster.acknowledge_late(writer).await;
}
