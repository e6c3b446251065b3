//! The exchanges of one connection with its server.

use sqlx::mysql::MySqlConnection;
use sqlx::{Connection, Either, Error, Execute, Executor, MySql, Row, SqlStr, Statement};

use super::{connect, diagnose, number};
use crate::engine::driver::{MOST_LATE, Steps};
use crate::engine::question::{row, rows};
use crate::engine::{Dialect, Dialled, Driver, Found, Login, Target, without_panic};

/// `ER_NO_SUCH_THREAD`
const NO_SUCH_SESSION: u16 = 1094;

/// What a savepoint's end says of the transaction that it was set in.
fn found(result: Result<(), Error>) -> Result<Found, Error> {
    match result {
        Ok(()) => Ok(Found::Healthy),
        Err(error) if MySql::is_no_savepoint(&error) => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

async fn drain(conn: &mut MySqlConnection, late: &mut Option<Error>) -> Result<(), Error> {
    for _ in 0..MOST_LATE {
        // A question that only its own answer fits: the driver loses count when a ping is dropped, and its place when it
        // is dropped in the middle of a row (sqlx 0.9.0). Whatever the session's `sql_select_limit` is.
        let asked = fastrand::i64(0..);
        match rows::<MySql>(conn, format!("SELECT {asked} LIMIT 1")).await {
            Ok(rows) => match rows.as_slice() {
                [row] if row.try_get::<i64, _>(0).ok() == Some(asked) => return Ok(()),
                _ => break,
            },
            // Of what was sent before; the question was not sent then.
            Err(error) if diagnose::diagnose(&error).is_of_statement() => {
                late.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Protocol("the driver is out of step with the server".to_owned()))
}

impl Driver for MySql {
    async fn dial(login: &Login) -> Result<Dialled<MySqlConnection>, Error> {
        let dial = async {
            let driver = MySqlConnection::connect_with(&connect::options(login)).await?;
            connect::set_up(driver, login).await
        };
        without_panic(dial).await
    }

    async fn prepare(conn: &mut MySqlConnection, sql: SqlStr, values: usize) -> Result<bool, Error> {
        // A statement that is prepared already costs no exchange. One whose preparation is dropped half way leaves packets
        // that the driver takes for something else (sqlx 0.9.0); so does a wrong number of values.
        let statement = conn.prepare(sql).await?;
        match statement.parameters() {
            Some(Either::Right(wanted)) if wanted != values => Err(Error::InvalidArgument(format!(
                "the statement has {wanted} parameters, and was given {values} values"
            ))),
            _ => Ok(conn.cached_statements_size() > 0),
        }
    }

    fn start<'c>(conn: &'c mut MySqlConnection, query: impl Execute<'c, Self> + 'c) -> Steps<'c, Self> {
        conn.fetch_many(query)
    }

    async fn drain(conn: &mut MySqlConnection, late: &mut Option<Error>) -> Result<(), Error> {
        // What it reads where it has lost its place is whatever somebody has stored.
        without_panic(drain(conn, late)).await
    }

    async fn last_generated(conn: &mut MySqlConnection) -> Result<u64, Error> {
        let text = "SELECT CAST(LAST_INSERT_ID() AS UNSIGNED) LIMIT 1";
        without_panic(row::<Self>(conn, text)).await?.try_get(0)
    }

    fn has_prepared(conn: &MySqlConnection) -> bool {
        conn.cached_statements_size() > 0
    }

    async fn forget(conn: &mut MySqlConnection) -> Result<(), Error> {
        without_panic(conn.clear_cached_statements()).await
    }

    async fn number(_: &mut MySqlConnection) -> Result<Option<String>, Error> {
        // It is part of the name.
        Ok(None)
    }

    async fn cancel(side: &mut MySqlConnection, target: &Target) -> Result<bool, Error> {
        // A number is a session's on one server only, and the way may lead to another one by now.
        let Some(session) = without_panic(connect::session_here(side, &target.name)).await? else { return Ok(false) };
        match Self::run(side, format!("KILL QUERY {session}")).await {
            // It is at an end, and what it was doing too.
            Err(error) if number(&error) == Some(NO_SUCH_SESSION) => Ok(true),
            result => result.map(|()| true),
        }
    }

    async fn is_idle(side: &mut MySqlConnection, target: &Target) -> Result<bool, Error> {
        // As it was found here a moment ago.
        let session = target.name.split('@').next().and_then(|session| session.parse::<u64>().ok());
        let Some(session) = session else { return Ok(false) };
        // A cancel that has hit nothing stays with an idle session of MariaDB until its next statement.
        let asked = format!(
            "SELECT 1 FROM information_schema.processlist \
             WHERE id = {session} AND command IN ('Sleep', 'Killed') AND info IS NULL"
        );
        Ok(!rows::<Self>(side, asked).await?.is_empty())
    }

    async fn clean(conn: &mut MySqlConnection, keep: bool) -> Result<(), Error> {
        if !keep {
            let message = "no statement makes a MySQL session as good as new";
            return Err(Error::Protocol(message.to_owned()));
        }
        // MySQL 5.7 and MariaDB 10.5.2 and later.
        // What was drawn last is nobody's, either.
        Self::run(conn, "UNLOCK TABLES; DO RELEASE_ALL_LOCKS(), LAST_INSERT_ID(0)".to_owned()).await
    }

    async fn probe(conn: &mut MySqlConnection) -> Result<Found, Error> {
        // Outside a transaction a savepoint goes with the statement that sets it.
        let text = "SAVEPOINT lambda_rds_probe; RELEASE SAVEPOINT lambda_rds_probe";
        found(Self::run(conn, text.to_owned()).await)
    }

    async fn find_marked(conn: &mut MySqlConnection, mark: u64) -> Result<Found, Error> {
        found(Self::run(conn, format!("RELEASE SAVEPOINT lambda_rds_{mark}")).await)
    }

    async fn close(conn: MySqlConnection) {
        // The goodbye is a courtesy to the server's log; a socket that cannot take it is closed all the same.
        let _ = conn.close().await;
    }
}
