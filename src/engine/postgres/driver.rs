//! The exchanges of one connection with its server.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error, Execute, Executor, Postgres, Row, SqlStr};

use super::diagnose::{self, Pooled};
use super::{bound, cancel, connect};
use crate::engine::driver::{MOST_LATE, Steps};
use crate::engine::question::rows;
use crate::engine::{Dialled, Driver, Found, Login, Target, TypeName, without_panic};
use crate::random;

/// `DISCARD ALL` without `DEALLOCATE ALL`: <https://www.postgresql.org/docs/current/sql-discard.html>. Before the minor versions
/// of November 2024 the authorization that is set back takes the login's own role with it, and only `RESET ROLE` brings that back.
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
    async fn dial(login: &Login) -> Result<Dialled<PgConnection>, Error> {
        let mut driver = without_panic(PgConnection::connect_with(&connect::options(login))).await?;
        if login.may_be_pooler && !connect::is_of_this_login(&mut driver, login).await? {
            return Err(Error::Configuration(Box::new(Pooled)));
        }
        if login.orphans.is_none() {
            connect::strings_are_standard(&mut driver).await?;
        }
        // `RESET` goes to what this login had, whoever has set it.
        Ok(Dialled { driver, name: connect::name(login), has_own_values: false, prepares_for_types: true })
    }

    async fn prepare(_: &mut PgConnection, _: SqlStr, _: usize) -> Result<bool, Error> {
        // The driver reads on where a dropped exchange stopped, wherever that was.
        Ok(true)
    }

    async fn ready(conn: &mut PgConnection) -> Result<(), Error> {
        // It tells an error when that has come, and the end of that answer comes later, if only by a moment (sqlx 0.9.0).
        without_panic(conn.flush()).await
    }

    fn start<'c>(conn: &'c mut PgConnection, query: impl Execute<'c, Self> + 'c) -> Steps<'c, Self> {
        conn.fetch_many(query)
    }

    async fn drain(conn: &mut PgConnection, late: &mut Option<Error>) -> Result<(), Error> {
        // Any answer ends a ping, also one that was meant for something else: after a `COPY` that was given up the driver is
        // one answer behind for ever (sqlx 0.9.0). So the question is one that only its own answer fits.
        let mut aborted = false;
        for _ in 0..MOST_LATE {
            let asked = fastrand::i64(0..);
            // An aborted transaction answers no question. A text that is none is refused before the server looks at the
            // transaction, in words that quote it, and there is nothing left to abort.
            let text = if aborted { format!("lambda_rds_{asked}") } else { format!("SELECT {asked}::pg_catalog.int8") };
            match without_panic(rows::<Self>(conn, text)).await {
                Ok(rows) => match rows.as_slice() {
                    [row] if !aborted && row.try_get::<i64, _>(0).ok() == Some(asked) => return Ok(()),
                    _ => break,
                },
                Err(error) if aborted && quotes(&error, asked) => return Ok(()),
                // Whoever dropped what has aborted it is told so, though the error itself was told before.
                Err(error) if has_code(&error, "25P02") => {
                    aborted = true;
                    late.get_or_insert(error);
                }
                // Of what was sent before.
                Err(error) if diagnose::diagnose(&error).is_of_statement() => {
                    late.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Protocol("the driver is out of step with the server".to_owned()))
    }

    async fn last_generated(_: &mut PgConnection) -> Result<u64, Error> {
        Err(Error::RowNotFound)
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

    async fn types_meant(conn: &mut PgConnection, names: &[TypeName]) -> Result<Vec<Option<u32>>, Error> {
        without_panic(bound::meant(conn, names)).await
    }

    async fn types_known(conn: &mut PgConnection, names: &[TypeName]) -> Result<Vec<Option<u32>>, Error> {
        without_panic(bound::known(conn, names)).await
    }

    async fn clean(conn: &mut PgConnection, keep: bool) -> Result<(), Error> {
        // Neither takes back what `random()` was told to begin with: the next session gets numbers that nobody has chosen.
        // The function that does so may be forbidden, and the setting is not.
        let own = format!("RESET ROLE; SET seed = {}", random::generator().f64());
        if keep {
            return Self::run(conn, format!("{DISCARD_ALL_BUT_PLANS}; {own}")).await;
        }
        // DISCARD ALL drops the server's prepared statements; the driver must not believe that it still has them.
        without_panic(conn.clear_cached_statements()).await?;
        // By itself, for in a transaction that somebody has left open it is refused.
        Self::run(conn, "DISCARD ALL".to_owned()).await?;
        Self::run(conn, own).await
    }

    async fn probe(conn: &mut PgConnection) -> Result<Found, Error> {
        let text = "SAVEPOINT lambda_rds_probe; RELEASE SAVEPOINT lambda_rds_probe";
        let Err(error) = Self::run(conn, text.to_owned()).await else { return Ok(Found::Healthy) };
        found(error)
    }

    async fn find_marked(conn: &mut PgConnection, mark: u64) -> Result<Found, Error> {
        // Asked without a function, whose use can be forbidden; and the server is not asked to compare, for an operator can be
        // anybody's.
        match without_panic(rows::<Self>(conn, "SHOW lambda_rds.mark".to_owned())).await {
            Ok(rows) => {
                let shown = rows.first().and_then(|row| row.try_get::<String, _>(0).ok());
                Ok(if shown == Some(mark.to_string()) { Found::Healthy } else { Found::Nothing })
            }
            // undefined_object: nothing of that name was ever set.
            Err(error) if has_code(&error, "42704") => Ok(Found::Nothing),
            Err(error) => found(error),
        }
    }

    async fn close(conn: PgConnection) {
        // The goodbye is a courtesy to the server's log; a socket that cannot take it is closed all the same.
        let _ = conn.close().await;
    }
}
