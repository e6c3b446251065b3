//! PostgreSQL: RDS for PostgreSQL, Aurora PostgreSQL, and anything that speaks their protocol.

mod cancel;
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
mod occupancy;
mod settings;
mod survey;

use std::cell::RefCell;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnection, PgQueryResult, PgRow};
use sqlx::{AssertSqlSafe, Connection, Either, Error, Execute, Executor, Postgres, Row, SqlStr};

use super::repeat::{self, Repeats};
use super::{
    Class, Diagnosis, Dialled, Driver, End, Flavour, Found, Login, MOST_LATE, OwnLimits, Question, Settings, Staleness,
    Survey, Target, without_panic,
};
use crate::error::ConnectionLimit;
use crate::occupancy::Occupancy;
use crate::pin::{PinCause, Soil};

thread_local! {
    /// An engine's own: the same text may mean something else to another one.
    static SEEN: RefCell<Repeats> = const { RefCell::new(Repeats::new()) };
}

/// `DISCARD ALL` without `DEALLOCATE ALL`: <https://www.postgresql.org/docs/current/sql-discard.html>.
const DISCARD_ALL_BUT_PLANS: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP; \
                                     DISCARD PLANS";

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

fn has_code(error: &Error, code: &str) -> bool {
    error.as_database_error().and_then(|refusal| refusal.code()).as_deref() == Some(code)
}

/// Whether a syntax error is about this question.
fn quotes(error: &Error, asked: i64) -> bool {
    has_code(error, "42601")
        && error.as_database_error().is_some_and(|refusal| refusal.message().contains(&format!("lambda_rds_{asked}")))
}

impl Driver for Postgres {
    const FAMILY: &'static str = "postgres";
    const DRIVER_VARIABLES: &'static [(&'static str, &'static str)] = connect::DRIVER_VARIABLES;
    const SCHEMES: &'static [&'static str] = &["postgres", "postgresql"];
    const PORT: u16 = 5432;
    const ERRORS_ABORT: bool = true;
    const CLEANS: bool = true;
    const NEED_A_HOME: &'static [&'static str] = &[];
    const ROLLBACK_RESETS: bool = true;
    const TEXTS_ARE_ATOMIC: bool = true;
    const MARK: Option<&'static str> = None;
    const POOLERS_FORGET: bool = true;
    const FORGET_GENERATED: &'static str = "DISCARD SEQUENCES";
    const CANCELLED: &'static str = "57014";
    const REFUSES_UNGENERATED: bool = true;
    const PREPARES_AHEAD: bool = false;
    const LOSES_ITS_PLACE: bool = false;
    const KNOCK_BY_LOGIN: bool = false;
    const RENAMED_BY: Option<&'static str> = Some("application_name");
    const CONTROLLING: &'static [&'static str] = &[];
    /// By itself the server looks anew when an object changes, not when another comes to stand before it, nor when a
    /// literal would be read in another way: <https://www.postgresql.org/docs/current/sql-prepare.html>.
    const REPLAN: Option<&'static str> = Some("DISCARD PLANS");

    async fn dial(login: &Login) -> Result<Dialled<PgConnection>, Error> {
        let driver = without_panic(PgConnection::connect_with(&connect::options(login))).await?;
        // `RESET` goes to what this login had, whoever has set it.
        Ok(Dialled { driver, name: connect::name(login), has_own_values: false })
    }

    fn home(_: &Login) -> Settings {
        // `RESET` goes there.
        Settings::default()
    }

    async fn prepare(_: &mut PgConnection, _: SqlStr, _: usize) -> Result<bool, Error> {
        // The driver reads on where a dropped exchange stopped, wherever that was.
        Ok(true)
    }

    fn start<'c>(
        conn: &'c mut PgConnection,
        query: impl Execute<'c, Self> + 'c,
    ) -> BoxStream<'c, Result<Either<PgQueryResult, PgRow>, Error>> {
        conn.fetch_many(query)
    }

    fn classify(sql: &str) -> Class<'_> {
        repeat::classify(&SEEN, sql, classify::classify)
    }

    fn question(sql: &str) -> Option<Question> {
        settings::question(classify::single(sql)?)
    }

    fn spelled(sql: &str, answers: &PgRow) -> Option<String> {
        let answers: Result<Vec<_>, _> = (0..answers.len()).map(|column| answers.try_get(column)).collect();
        settings::spelled(classify::single(sql)?, &answers.ok()?)
    }

    fn leaves(sql: &str) -> Vec<PinCause> {
        classify::leaves(sql)
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
        // Any answer ends a ping, also one that was meant for something else: after a `COPY` that was given up the driver is
        // one answer behind for ever (sqlx 0.9.0). So the question is one that only its own answer fits.
        let (mut late, mut aborted) = (None, false);
        for _ in 0..MOST_LATE {
            let asked = fastrand::i64(0..);
            // An aborted transaction answers no question. A text that is none is refused before the server looks at the
            // transaction, in words that quote it, and there is nothing left to abort.
            let text = if aborted { format!("lambda_rds_{asked}") } else { format!("SELECT {asked}::pg_catalog.int8") };
            match without_panic(conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(text)))).await {
                Ok(rows) => match rows.as_slice() {
                    [row] if !aborted && row.try_get::<i64, _>(0).ok() == Some(asked) => return Ok(late),
                    _ => break,
                },
                Err(error) if aborted && quotes(&error, asked) => return Ok(late),
                Err(error) if has_code(&error, "25P02") => aborted = true,
                // Of what was sent before.
                Err(error) if diagnose::diagnose(&error).is_of_statement() => late = late.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Protocol("the driver is out of step with the server".to_owned()))
    }

    fn settings_of(statement: &str) -> Vec<(String, String)> {
        settings::settings_of(statement)
    }

    fn begins_by_itself(_: &Settings) -> bool {
        false
    }

    fn replay(applied: &Settings, wanted: &Settings, _: &Settings) -> Option<String> {
        settings::replay(applied, wanted)
    }

    fn is_ungenerated(error: &Error) -> bool {
        // object_not_in_prerequisite_state: "currval of sequence is not yet defined in this session".
        error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55000")
    }

    async fn last_generated(_: &mut PgConnection) -> Result<u64, Error> {
        Err(Error::RowNotFound)
    }

    fn staleness(before: &Settings, after: &Settings) -> Staleness {
        settings::staleness(before, after)
    }

    fn staleness_by(cause: PinCause) -> Staleness {
        match cause {
            PinCause::Setting
            | PinCause::TemporaryObject
            | PinCause::HandedOut
            | PinCause::UnknownStatement
            | PinCause::SeveralStatements
            | PinCause::Procedure
            | PinCause::PreparedStatement => Staleness::Names,
            _ => Staleness::Fresh,
        }
    }

    fn may_be_misled(error: &Error) -> bool {
        diagnose::may_be_misled(error)
    }

    fn soil(cause: PinCause) -> Soil {
        match cause {
            PinCause::AdvisoryLock | PinCause::Listen | PinCause::HoldableCursor | PinCause::RawTransaction => {
                Soil::Traces
            }
            // What was prepared may be of the session's own tables, or of those in its own path.
            PinCause::TemporaryObject
            | PinCause::Setting
            | PinCause::PreparedStatement
            | PinCause::HandedOut
            | PinCause::SeveralStatements
            | PinCause::Procedure => Soil::Unknown,
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

    fn has_prepared(conn: &PgConnection) -> bool {
        conn.cached_statements_size() > 0
    }

    async fn forget(conn: &mut PgConnection) -> Result<(), Error> {
        without_panic(conn.clear_cached_statements()).await
    }

    async fn number(conn: &mut PgConnection) -> Result<Option<String>, Error> {
        without_panic(cancel::number(conn)).await.map(Some)
    }

    async fn cancel(side: &mut PgConnection, target: &Target) -> Result<bool, Error> {
        without_panic(cancel::cancel(side, target)).await
    }

    async fn is_idle(_: &mut PgConnection, _: &Target) -> Result<bool, Error> {
        Ok(false)
    }

    async fn clean(conn: &mut PgConnection, keep: bool) -> Result<(), Error> {
        if keep {
            return Self::run(conn, DISCARD_ALL_BUT_PLANS.to_owned()).await;
        }
        // DISCARD ALL drops the server's prepared statements; the driver must not believe that it still has them.
        without_panic(conn.clear_cached_statements()).await?;
        Self::run(conn, "DISCARD ALL".to_owned()).await
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

    async fn occupancy(conn: &mut PgConnection, own: OwnLimits) -> Result<(Occupancy, OwnLimits), Error> {
        without_panic(occupancy::occupancy(conn, own)).await
    }

    fn limit(error: &Error) -> ConnectionLimit {
        occupancy::limit(error)
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
