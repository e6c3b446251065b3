//! PostgreSQL: RDS for PostgreSQL, Aurora PostgreSQL, and anything that speaks their protocol.

mod classify;
mod connect;
mod diagnose;
mod settings;

use futures_util::TryStreamExt;
use once_cell::sync::OnceCell;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Error, Executor, Postgres};

use super::{Class, Committed, Diagnosis, Driver, Login, Settings};
use crate::proxy::Proxy;

static PROCESS_WIDE: OnceCell<Proxy<Postgres>> = OnceCell::new();

impl Driver for Postgres {
    const FAMILY: &'static str = "postgres";
    const SCHEMES: &'static [&'static str] = &["postgres", "postgresql"];
    const PORT: u16 = 5432;

    fn process_wide() -> &'static OnceCell<Proxy<Self>> {
        &PROCESS_WIDE
    }

    async fn dial(login: &Login) -> Result<PgConnection, Error> {
        PgConnection::connect_with(&connect::options(login)).await
    }

    fn classify(sql: &str) -> Class<'_> {
        classify::classify(sql)
    }

    fn diagnose(error: &Error) -> Diagnosis {
        diagnose::diagnose(error)
    }

    async fn run(conn: &mut PgConnection, sql: String) -> Result<(), Error> {
        let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
        while results.try_next().await?.is_some() {}
        Ok(())
    }

    async fn drain(conn: &mut PgConnection) -> Result<Option<Error>, Error> {
        let mut late = None;
        // Each error ends one ping: the answers to what was sent before it, then the ping's own.
        loop {
            match conn.ping().await {
                Ok(()) => return Ok(late),
                Err(error) if diagnose::diagnose(&error) == Diagnosis::Statement => late = late.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
    }

    fn replay(applied: &Settings, wanted: &Settings) -> Option<String> {
        settings::replay(applied, wanted)
    }

    async fn forget(conn: &mut PgConnection) -> Result<(), Error> {
        conn.clear_cached_statements().await
    }

    async fn cancel(side: &mut PgConnection, name: &str) -> Result<(), Error> {
        // The protocol's own cancel request needs a key that the driver keeps to itself.
        let cancel = "select pg_cancel_backend(pid) from pg_stat_activity \
                      where application_name = $1 and pid <> pg_backend_pid() and usename = current_user";
        sqlx::query(cancel).bind(name).persistent(false).execute(side).await.map(|_| ())
    }

    async fn clean(conn: &mut PgConnection) -> Result<(), Error> {
        // DISCARD ALL drops the server's prepared statements; the driver must not believe that it still has them.
        conn.clear_cached_statements().await?;
        Self::run(conn, "DISCARD ALL".to_owned()).await
    }

    async fn commit_if_healthy(conn: &mut PgConnection) -> Result<Committed, Error> {
        // An empty statement asks the server for its transaction status, and the driver takes a healthy transaction for
        // its own, so that its commit is the one that counts. In an aborted or ended one it refuses.
        let committed = match conn.begin_with(";").await {
            Ok(transaction) => return transaction.commit().await.map(|()| Committed::Yes),
            Err(error) => Err(error),
        };
        match committed {
            Err(Error::BeginFailed) => Self::run(conn, "ROLLBACK".to_owned()).await.map(|()| Committed::No),
            committed => committed,
        }
    }

    async fn close(conn: PgConnection) {
        // The goodbye is a courtesy to the server's log; a socket that cannot take it is closed all the same.
        let _ = conn.close().await;
    }
}
