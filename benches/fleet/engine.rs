//! What differs between the engines in the function processes.

use std::str::FromStr;

use lambda_rds::Engine;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, MySql, Postgres, Row};

/// How one gets into an engine's connection without us.
pub(crate) type Options<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// An engine whose functions can be written once.
pub(crate) trait Fleet: Engine {
    /// The way in for all but us, verify-full.
    fn options(url: &str, roots: String) -> Options<Self>;

    /// The statement of an invocation, which keeps the database busy for so long and answers with the session's number.
    fn statement(busy: f64) -> String;

    fn ask_session(
        session: &mut lambda_rds::Connection<Self>,
        sql: &'static str,
    ) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;

    fn ask(conn: &mut Self::Connection, sql: &'static str) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;

    /// As [`ask`](Self::ask), on the simple protocol, which suits a pooler best: the driver prepares a statement and
    /// executes it in two exchanges, and without a transaction the second may reach another session of the server.
    fn ask_simply(
        conn: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;
}

/// What does not differ but by its types.
macro_rules! asks {
    () => {
        async fn ask_session(
            session: &mut lambda_rds::Connection<Self>,
            sql: &'static str,
        ) -> Result<i64, sqlx::Error> {
            sqlx::query_scalar(sql).fetch_one(session).await
        }

        async fn ask(conn: &mut Self::Connection, sql: &'static str) -> Result<i64, sqlx::Error> {
            sqlx::query_scalar(sql).fetch_one(conn).await
        }

        async fn ask_simply(conn: &mut Self::Connection, sql: &'static str) -> Result<i64, sqlx::Error> {
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(conn).await?.try_get(0)
        }
    };
}

impl Fleet for Postgres {
    fn options(url: &str, roots: String) -> PgConnectOptions {
        PgConnectOptions::from_str(url)
            .expect("the service gives a URL")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(roots.into_bytes())
            // A login setting that PgBouncer does not know.
            .extra_float_digits(None)
    }

    fn statement(busy: f64) -> String {
        format!("select pg_backend_pid()::bigint from pg_sleep({busy})")
    }

    asks!();
}

impl Fleet for MySql {
    fn options(url: &str, roots: String) -> MySqlConnectOptions {
        MySqlConnectOptions::from_str(url)
            .expect("the service gives a URL")
            .ssl_mode(MySqlSslMode::VerifyIdentity)
            .ssl_ca_from_pem(roots.into_bytes())
    }

    fn statement(busy: f64) -> String {
        format!("select cast(connection_id() as signed) from (select sleep({busy})) busy")
    }

    asks!();
}
