//! Whose login is the reference, and what MySQL tells of a session.

use sqlx::MySqlConnection;

use super::{corpus, witness};
use crate::oracle::snapshot::Snapshot;

pub(super) use crate::support::mariadb::MariaDb as Server;
pub(super) use lambda_rds::MySqlProxy as Proxy;

/// A login that may do everything but what would spare it the server's `init_connect`, and a server whose defaults are
/// unlike those that it comes with.
pub(super) const LOGIN: &str = "
    create user heir@'%' identified by 'of its own';
    grant select, insert, update, delete, create, drop, alter, index, references, lock tables, create temporary tables,
        execute, create routine, alter routine, trigger, event, create view, show view, process, reload
        on *.* to heir@'%';
    set global init_connect = 'set @of_the_login = 7, div_precision_increment = 6, long_query_time = 3';
    set global lock_wait_timeout = 2; set global innodb_lock_wait_timeout = 2; set global group_concat_max_len = 4096;
    set global sort_buffer_size = 131072; set global default_week_format = 3; set global lc_time_names = 'de_DE';
    set global max_sort_length = 512; set global net_write_timeout = 77; set global foreign_key_checks = on";

/// What it must tell, or nothing is compared: `init_connect` has run.
pub(super) const SHOWN: [&str; 2] = ["setting group_concat_max_len", "variable of_the_login"];

/// What `init_connect` has set nobody takes back: a connection on which a session has set something is closed.
pub(super) const SO_THAT_SETTINGS_MOVE: &str = "set global init_connect = ''";

/// Texts around a generated one: a setting that moves, and something that closes the connection.
pub(super) const LEFT: [&str; 2] = ["set group_concat_max_len = 9000", "set @left_behind = 1"];

pub(super) fn texts() -> impl Iterator<Item = String> {
    let plain = corpus::plain().into_iter().chain(corpus::committing());
    plain.chain(corpus::others().into_iter().map(|(_, text)| text))
}

pub(super) fn proxy_to(server: &Server) -> Proxy {
    let url = server.url_for("heir", "of its own", "app");
    Proxy::builder().url(url).ca_pem(server.ca_pem()).max_connections(1).build().expect("valid")
}

pub(super) async fn look(conn: &mut MySqlConnection) -> Snapshot {
    witness::look(conn).await.unwrap_or_else(|error| panic!("a session at rest answers with {error}"))
}
