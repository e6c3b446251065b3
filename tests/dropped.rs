//! A statement that was dropped is nobody's any more: it is cancelled on the server, its error reaches nobody, and its
//! connection serves the next. A plan that became stale heals by itself. Each of these fails on bare sqlx 0.9.0, and the
//! tests show that too.

use std::time::Duration;

use futures_util::TryStreamExt;
use lambda_rds::{Error, Event};
use sqlx::{Connection as _, Executor};

use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::{Recorder, proxy_to};

const LONG: &str = "select pg_sleep(20)";

async fn drop_after_a_moment(statement: impl Future) {
    assert!(tokio::time::timeout(Duration::from_millis(30), statement).await.is_err());
}

async fn running(server: &Postgres) -> i64 {
    let mut admin = server.admin().await;
    sqlx::query_scalar("select count(*) from pg_stat_activity where usename = 'app' and state = 'active'")
        .fetch_one(&mut admin)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn a_dropped_statement_is_cancelled_on_the_server_and_its_connection_kept() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server)
        .max_connections(1)
        .validate_timeout(Duration::from_secs(5))
        .observer(recorder.observer())
        .build()?;
    let mut conn = proxy.get_connection().await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await?;
    drop_after_a_moment(sqlx::query(LONG).execute(&mut conn)).await;
    drop(conn);
    assert_eq!(running(&server).await, 1);
    proxy.upkeep().await;
    assert_eq!(running(&server).await, 0, "nothing runs on through the freeze");

    let mut next = proxy.get_connection().await?;
    drop_after_a_moment(sqlx::query(LONG).execute(&mut next)).await;
    let kept: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut next).await?;
    assert_eq!((kept, running(&server).await), (pid, 0));
    assert_eq!(recorder.count(|event| matches!(event, Event::Recovered { .. })), 2);
    Ok(())
}

#[tokio::test]
async fn a_statement_dropped_in_a_transaction_is_cancelled_and_aborts_it() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    drop_after_a_moment(sqlx::query(LONG).execute(&mut *tx)).await;
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    assert_eq!(running(&server).await, 0);
    Ok(())
}

#[tokio::test]
async fn the_late_error_of_a_dropped_statement_reaches_nobody() -> Result<(), Error> {
    const DOOMED: &str = "select pg_sleep(0.06), 1 / (random() < 0)::int";
    let server = Postgres::start(PostgresOptions::default()).await;
    let mut bare = sqlx::PgConnection::connect(&format!("{}?sslmode=require", server.url())).await?;
    drop_after_a_moment(sqlx::query(DOOMED).execute(&mut bare)).await;
    let handed_on = sqlx::query("select 1").execute(&mut bare).await.unwrap_err();
    assert_eq!(handed_on.as_database_error().and_then(|error| error.code()).as_deref(), Some("22012"), "bare sqlx");

    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    drop_after_a_moment(sqlx::query(DOOMED).execute(&mut one)).await;
    sqlx::query("select 1").execute(&mut other).await?;
    sqlx::query("select 1").execute(&mut one).await?;
    Ok(())
}

#[tokio::test]
async fn a_plan_that_a_migration_made_stale_heals_by_itself() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute("create table stale (a int); insert into stale values (1); grant all on stale to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut bare = sqlx::PgConnection::connect(&format!("{}?sslmode=require", server.url())).await?;
    let all = "select * from stale";
    sqlx::query(all).fetch_all(&mut conn).await?;
    sqlx::query(all).fetch_all(&mut bare).await?;
    server.execute("alter table stale add column b int").await;
    for _ in 0..2 {
        assert!(sqlx::query(all).fetch_all(&mut bare).await.is_err(), "bare sqlx never recovers");
    }
    assert_eq!(sqlx::query(all).fetch_all(&mut conn).await?.len(), 1);

    server.execute("alter table stale add column c int").await;
    let rows: Vec<_> = sqlx::query(all).fetch(&mut conn).try_collect().await?;
    assert_eq!(rows.len(), 1);
    server.execute("alter table stale add column d int").await;
    assert!(sqlx::query(all).fetch_optional(&mut conn).await?.is_some());

    // Inside a transaction the server has aborted it by then: that is for the application to know.
    server.execute("alter table stale add column e int").await;
    let mut tx = conn.begin().await?;
    let error = Error::from(sqlx::query(all).fetch_all(&mut *tx).await.unwrap_err());
    assert_eq!(error.sqlstate().as_deref(), Some("0A000"));
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    assert_eq!(sqlx::query(all).fetch_all(&mut conn).await?.len(), 1);

    // Deallocated behind the driver's back.
    (&mut conn).execute(sqlx::raw_sql("select 1")).await?;
    conn.pin().await?.execute(sqlx::raw_sql("deallocate all")).await?;
    drop(conn);
    let mut conn = proxy.get_connection().await?;
    assert_eq!(sqlx::query(all).fetch_all(&mut conn).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_session_whose_begin_as_text_was_dropped_does_not_go_on() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute("create table vanished (n int); grant all on vanished to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    drop_after_a_moment((&mut conn).execute(sqlx::raw_sql("begin; select pg_sleep(20)"))).await;
    let error = Error::from(sqlx::query("insert into vanished values (1)").execute(&mut conn).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "an insert into a forgotten transaction: {error:?}");
    drop(conn);
    let mut next = proxy.get_connection().await?;
    sqlx::query("insert into vanished values (2)").execute(&mut next).await?;
    drop(next);
    let mut admin = server.admin().await;
    let rows: Vec<i32> = sqlx::query_scalar("select n from vanished").fetch_all(&mut admin).await?;
    assert_eq!(rows, [2]);
    Ok(())
}
