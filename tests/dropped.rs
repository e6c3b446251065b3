//! A statement that was dropped is nobody's any more: it is cancelled on the server, its error reaches nobody, and its
//! connection serves the next. On bare sqlx 0.9.0 it is not so, and the tests show that too.
//!
//! Of plans that became stale is `postgres::plans`: MySQL prepares anew by itself (`mysql::driver`).

use std::time::{Duration, Instant};

use lambda_rds::{Error, Event};
use sqlx::{AssertSqlSafe, Connection as _, Database, Executor};

use super::language::ERRORS_ABORT;
use super::stage::*;
use crate::support::Recorder;
use crate::support::site::WAIT_LIMIT;

fn long() -> AssertSqlSafe<String> {
    AssertSqlSafe(sleep(20.0))
}

async fn drop_after_a_moment(statement: impl Future) {
    assert!(tokio::time::timeout(Duration::from_millis(30), statement).await.is_err());
}

/// What was told to end does so in a moment, and not only when its time is over.
async fn wait_until_none_runs(server: &Server) {
    let deadline = Instant::now() + WAIT_LIMIT;
    while running(server).await > 0 {
        assert!(Instant::now() < deadline, "a dropped statement runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_dropped_statement_is_cancelled_on_the_server_and_its_connection_kept() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server)
        .max_connections(1)
        .validate_timeout(Duration::from_secs(5))
        .observer(recorder.observer())
        .build()?;
    let mut conn = proxy.get_connection().await?;
    let id: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
    drop_after_a_moment(sqlx::query(long()).execute(&mut conn)).await;
    drop(conn);
    assert_eq!(running(&server).await, 1);
    proxy.upkeep().await;
    wait_until_none_runs(&server).await;

    let mut next = proxy.get_connection().await?;
    drop_after_a_moment(sqlx::query(long()).execute(&mut next)).await;
    let kept: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut next).await?;
    assert_eq!(kept, id);
    wait_until_none_runs(&server).await;
    assert_eq!(recorder.count(|event| matches!(event, Event::Recovered { .. })), 2);
    Ok(())
}

/// An error aborts a transaction on PostgreSQL. On MySQL the transaction goes on without what was cancelled.
#[tokio::test]
async fn a_statement_dropped_in_a_transaction_is_cancelled_and_not_part_of_it() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let proxy = proxy_to(&server).validate_timeout(Duration::from_secs(5)).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    sqlx::query(INSERT).bind(1).execute(&mut *tx).await?;
    let insert = format!("insert into ledger {}", slowly("2", 20.0));
    drop_after_a_moment(sqlx::query(AssertSqlSafe(insert)).execute(&mut *tx)).await;
    let committed = tx.commit().await;
    wait_until_none_runs(&server).await;
    let rows: Vec<i32> = sqlx::query_scalar("select n from ledger").fetch_all(&mut conn).await?;
    if ERRORS_ABORT {
        assert!(matches!(committed, Err(Error::TransactionAborted { .. })), "{committed:?}");
        assert_eq!(rows, [0; 0]);
    } else {
        committed?;
        assert_eq!(rows, [1]);
    }
    Ok(())
}

#[tokio::test]
async fn the_late_error_of_a_dropped_statement_reaches_nobody() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let mut bare = <Db as Database>::Connection::connect(&format!("{}?{}", server.url(), TLS_MODES[2])).await?;
    drop_after_a_moment(sqlx::query(DOOMED).execute(&mut bare)).await;
    let handed_on = sqlx::query("select 1").execute(&mut bare).await.unwrap_err();
    assert_eq!(handed_on.as_database_error().and_then(|error| error.code()).as_deref(), Some(DOOM), "bare sqlx");

    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    drop_after_a_moment(sqlx::query(DOOMED).execute(&mut one)).await;
    sqlx::query("select 1").execute(&mut other).await?;
    sqlx::query("select 1").execute(&mut one).await?;
    Ok(())
}

#[tokio::test]
async fn a_session_whose_begin_as_text_was_dropped_does_not_go_on() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    drop_after_a_moment((&mut conn).execute(sqlx::raw_sql(AssertSqlSafe(format!("begin; {}", sleep(20.0)))))).await;
    let error = Error::from(sqlx::query("insert into ledger values (1)").execute(&mut conn).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "an insert into a forgotten transaction: {error:?}");
    drop(conn);
    let mut next = proxy.get_connection().await?;
    sqlx::query("insert into ledger values (2)").execute(&mut next).await?;
    drop(next);
    let mut admin = server.admin().await;
    let rows: Vec<i32> = sqlx::query_scalar("select n from ledger").fetch_all(&mut admin).await?;
    assert_eq!(rows, [2]);
    Ok(())
}
