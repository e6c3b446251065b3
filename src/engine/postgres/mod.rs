//! PostgreSQL: RDS for PostgreSQL, Aurora PostgreSQL, and anything that speaks their protocol.

mod classify;
mod connect;
mod control;
mod diagnose;
mod ends;
mod glance;
#[cfg(feature = "_bench")]
pub mod inspect;
mod knock;
mod lexer;
mod settings;
mod survey;

use std::cell::RefCell;
use std::time::Duration;

use futures_util::TryStreamExt;
use once_cell::sync::OnceCell;
use sqlx::postgres::{PgConnection, PgQueryResult};
use sqlx::{AssertSqlSafe, Connection, Error, Executor, Postgres, SqlStr};

use super::repeat::{self, Repeats};
use super::{Class, Diagnosis, Driver, End, Flavour, Found, Login, Settings, Survey, without_panic};
use crate::pin::{PinCause, Soil};
use crate::proxy::Proxy;

static PROCESS_WIDE: OnceCell<Proxy<Postgres>> = OnceCell::new();

thread_local! {
    /// An engine's own: the same text may mean something else to another one.
    static SEEN: RefCell<Repeats> = const { RefCell::new(Repeats::new()) };
}

/// `DISCARD ALL` without `DEALLOCATE ALL`: <https://www.postgresql.org/docs/current/sql-discard.html>.
const DISCARD_ALL_BUT_PLANS: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP";

/// What the refusal of a savepoint says of the transaction.
fn found(refusal: Error) -> Result<Found, Error> {
    match refusal.as_database_error().and_then(|refusal| refusal.code()).as_deref() {
        // in_failed_sql_transaction
        Some("25P02") => Ok(Found::Aborted),
        // no_active_sql_transaction
        Some("25P01") => Ok(Found::Nothing),
        _ => Err(refusal),
    }
}

impl Driver for Postgres {
    const FAMILY: &'static str = "postgres";
    const SCHEMES: &'static [&'static str] = &["postgres", "postgresql"];
    const PORT: u16 = 5432;
    const ERRORS_ABORT: bool = true;
    const CLEANS: bool = true;
    const NEED_A_HOME: &'static [&'static str] = &[];
    const ROLLBACK_RESETS: bool = true;
    const TEXTS_ARE_ATOMIC: bool = true;
    const MARK: Option<&'static str> = None;
    const POOLERS_FORGET: bool = true;
    const TELLS_DRAWN: bool = false;
    const PREPARES_AHEAD: bool = false;
    const KNOCK_BY_LOGIN: bool = false;
    const CONTROLLING: &'static [&'static str] = &[];

    fn process_wide() -> &'static OnceCell<Proxy<Self>> {
        &PROCESS_WIDE
    }

    async fn dial(login: &Login) -> Result<(PgConnection, String), Error> {
        let conn = without_panic(PgConnection::connect_with(&connect::options(login))).await?;
        Ok((conn, login.application_name.clone()))
    }

    fn home(_: &Login) -> Settings {
        // `RESET` goes there.
        Settings::default()
    }

    async fn prepare(_: &mut PgConnection, _: SqlStr, _: usize) -> Result<bool, Error> {
        // The driver reads on where a dropped exchange stopped, wherever that was.
        Ok(true)
    }

    fn classify(sql: &str) -> Class<'_> {
        repeat::classify(&SEEN, sql, classify::classify)
    }

    fn diagnose(error: &Error) -> Diagnosis {
        diagnose::diagnose(error)
    }

    fn wants_no_transaction(error: &Error) -> bool {
        // active_sql_transaction (VACUUM, CREATE DATABASE), invalid_transaction_termination (a procedure that commits)
        matches!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("25001" | "2D000"))
    }

    async fn run(conn: &mut PgConnection, sql: String) -> Result<(), Error> {
        let run = async {
            let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
            while results.try_next().await?.is_some() {}
            Ok(())
        };
        without_panic(run).await
    }

    async fn drain(conn: &mut PgConnection) -> Result<Option<Error>, Error> {
        let mut late = None;
        // Each error ends one ping: the answers to what was sent before it, then the ping's own.
        loop {
            match without_panic(conn.ping()).await {
                Ok(()) => return Ok(late),
                Err(error) if diagnose::diagnose(&error).is_of_statement() => late = late.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
    }

    fn settings_of(_: &str) -> Vec<(String, String)> {
        // A statement sets one.
        Vec::new()
    }

    fn begins_by_itself(_: &Settings) -> bool {
        false
    }

    fn replay(applied: &Settings, wanted: &Settings, _: &Settings) -> Option<String> {
        settings::replay(applied, wanted)
    }

    fn drawn(_: &PgQueryResult) -> Option<u64> {
        None
    }

    async fn last_drawn(_: &mut PgConnection) -> Result<u64, Error> {
        Err(Error::RowNotFound)
    }

    fn reads_anew(_: &Settings, _: &Settings) -> bool {
        // The server looks at what it has prepared again where the names in it may stand for something else.
        false
    }

    fn may_read_anew(_: PinCause) -> bool {
        false
    }

    fn soil(cause: PinCause) -> Soil {
        match cause {
            PinCause::TemporaryObject
            | PinCause::AdvisoryLock
            | PinCause::Listen
            | PinCause::HoldableCursor
            | PinCause::Setting
            | PinCause::RawTransaction => Soil::Traces,
            PinCause::PreparedStatement | PinCause::HandedOut | PinCause::SeveralStatements | PinCause::Procedure => {
                Soil::Unknown
            }
            // A library stays in its process, and so may what is not known.
            _ => Soil::Indelible,
        }
    }

    fn may_control(cause: PinCause) -> bool {
        matches!(
            cause,
            PinCause::HandedOut | PinCause::UnknownStatement | PinCause::RawTransaction | PinCause::SeveralStatements
        )
    }

    async fn forget(conn: &mut PgConnection) -> Result<(), Error> {
        without_panic(conn.clear_cached_statements()).await
    }

    async fn cancel(side: &mut PgConnection, name: &str) -> Result<(), Error> {
        // The protocol's own cancel request needs a key that the driver keeps to itself.
        let cancel = "select pg_cancel_backend(pid) from pg_stat_activity \
                      where application_name = $1 and pid <> pg_backend_pid() and usename = current_user";
        without_panic(sqlx::query(cancel).bind(name).persistent(false).execute(side)).await.map(|_| ())
    }

    async fn clean(conn: &mut PgConnection, keep: bool) -> Result<(), Error> {
        if keep {
            return Self::run(conn, DISCARD_ALL_BUT_PLANS.to_owned()).await;
        }
        // DISCARD ALL drops the server's prepared statements; the driver must not believe that it still has them.
        without_panic(conn.clear_cached_statements()).await?;
        Self::run(conn, "DISCARD ALL".to_owned()).await
    }

    async fn replan(conn: &mut PgConnection) -> Result<(), Error> {
        // The server looks anew when an object changes, not when another comes to stand before it:
        // https://www.postgresql.org/docs/current/sql-prepare.html
        Self::run(conn, "DISCARD PLANS".to_owned()).await
    }

    async fn probe(conn: &mut PgConnection) -> Result<Found, Error> {
        let text = "SAVEPOINT lambda_rds_probe; RELEASE SAVEPOINT lambda_rds_probe";
        let Err(error) = Self::run(conn, text.to_owned()).await else { return Ok(Found::Healthy) };
        found(error)
    }

    async fn end_doubtful(conn: &mut PgConnection, end: End) -> Result<Found, Error> {
        // The server allows a savepoint in a healthy transaction only, and does not go on with the text when it refuses.
        let text = match end {
            End::Commit => "SAVEPOINT lambda_rds_probe; COMMIT",
            End::Rollback => "SAVEPOINT lambda_rds_probe; ROLLBACK",
        };
        let Err(error) = Self::run(conn, text.to_owned()).await else { return Ok(Found::Healthy) };
        let found = found(error)?;
        if found == Found::Aborted {
            Self::run(conn, "ROLLBACK".to_owned()).await?;
        }
        Ok(found)
    }

    async fn survey(conn: &mut PgConnection, flavour: Flavour) -> Result<Survey, Error> {
        without_panic(survey::survey(conn, flavour)).await
    }

    async fn await_promotion(conn: &mut PgConnection, bound: Duration) -> Result<bool, Error> {
        without_panic(survey::await_promotion(conn, bound)).await
    }

    async fn knock(at: std::net::SocketAddr) -> std::io::Result<()> {
        knock::knock(at).await
    }

    async fn close(conn: PgConnection) {
        // The goodbye is a courtesy to the server's log; a socket that cannot take it is closed all the same.
        let _ = conn.close().await;
    }
}
