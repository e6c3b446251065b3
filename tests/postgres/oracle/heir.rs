//! Whose login is the reference, and what PostgreSQL tells of a session.

use sqlx::{Executor, PgConnection, Row};

use super::{corpus, witness};
use crate::oracle::snapshot::Snapshot;

pub(super) use crate::support::postgres::Postgres as Server;
pub(super) use lambda_rds::PgProxy as Proxy;

/// A login whose defaults are unlike the server's, by its role and its database, and which may do everything.
pub(super) const LOGIN: &str = "
    create role heir superuser login password 'of its own';
    alter role heir set work_mem = '3MB'; alter role heir set lock_timeout = '2s';
    alter role heir set search_path = shop, public; alter role heir set statement_timeout = '20s';
    alter role heir set default_transaction_isolation = 'repeatable read'; alter role heir set random_page_cost = 3;
    alter role heir set enable_seqscan = off; alter role heir set app.tenant = 'of the login';
    alter role heir set log_min_duration_statement = 5000; alter role heir set row_security = off;
    alter role heir set array_nulls = off; alter role heir set xmloption = 'document';
    alter database app set intervalstyle = 'iso_8601'; alter database app set bytea_output = 'escape';
    alter database app set default_text_search_config = 'pg_catalog.simple'; alter database app set geqo = off;
    alter database app set lc_monetary = 'C'; alter database app set temp_buffers = 200;
    alter database app set transform_null_equals = on; alter database app set app.\"user\" = 'of the database';
    alter role heir in database app set join_collapse_limit = 3; alter role heir in database app set jit = off";

/// Where a setting comes from, and what a reset would make of it. Some are set again to what they are, each transaction's
/// own for one, and those of a library are there once somebody has called it.
const SOURCES: &str = "select 'source ' || name, \
        case when name like 'transaction\\_%' or name in ('client_encoding', 'standard_conforming_strings') \
             then 'any' else source end || ' ' || coalesce(reset_val, '') \
    from pg_catalog.pg_settings where context <> 'internal' and name not like '%.%'";

/// What it must tell, or nothing is compared.
pub(super) const SHOWN: [&str; 3] = ["setting work_mem", "source lock_timeout", "number"];

/// They do.
pub(super) const SO_THAT_SETTINGS_MOVE: &str = "";

/// Texts around a generated one: a setting that moves, and something that is cleaned away.
pub(super) const LEFT: [&str; 2] = ["set work_mem = '9MB'", "create temp table left_behind (n int)"];

pub(super) fn texts() -> impl Iterator<Item = String> {
    corpus::PLAIN.iter().copied().chain(corpus::OTHERS.iter().map(|(_, text)| *text)).map(str::to_owned)
}

pub(super) fn proxy_to(server: &Server) -> Proxy {
    let url = server.url_for("heir", "of its own", "app");
    Proxy::builder().url(url).ca_pem(server.ca_pem()).max_connections(1).build().expect("valid")
}

pub(super) async fn look(conn: &mut PgConnection) -> Snapshot {
    let mut pairs = witness::pairs(conn).await.expect("a session at rest");
    let rows = conn.fetch_all(sqlx::raw_sql(SOURCES)).await.expect("a session at rest");
    pairs.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
    let lastval = conn.fetch_all(sqlx::raw_sql("select lastval()")).await;
    let refused = lastval.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    pairs.push(("number".to_owned(), refused.unwrap_or_default()));
    // Each login has a name of its own.
    pairs.retain(|(key, _)| !key.ends_with(" application_name"));
    pairs.into_iter().collect()
}
