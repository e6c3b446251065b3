//! What random programs of sessions found wrong once, each on its own.

use std::time::Duration;

use lambda_rds::{Error, Isolation};
use sqlx::{AssertSqlSafe, Row};

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// `RESET SESSION AUTHORIZATION` ends the role on the server; the session's account keeps it.
#[tokio::test]
async fn the_end_of_a_session_authorization_is_the_end_of_the_role() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role clerk; grant clerk to app").await;
    for text in ["set session authorization default", "reset session authorization"] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        sqlx::query("set role clerk").execute(&mut one).await?;
        sqlx::query(text).execute(&mut one).await?;
        sqlx::query("select 1").execute(&mut other).await?;
        let who: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut one).await?;
        assert_eq!(who, "app", "{text}");
    }
    Ok(())
}

/// The abandoned transaction keeps its locks on the connection that went home, and the session goes on upon the other.
#[tokio::test]
async fn a_session_is_not_blocked_by_the_transaction_it_has_dropped() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table t (n int); insert into t values (0); grant all on t to app").await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    // Two connections are open, as after any `join!`.
    let (a, b) = tokio::try_join!(one.begin(), other.begin())?;
    tokio::try_join!(a.commit(), b.commit())?;
    {
        let mut tx = one.begin().await?;
        sqlx::query("update t set n = 1").execute(&mut *tx).await?;
    }
    sqlx::query("set lock_timeout = '2s'").execute(&mut one).await?;
    sqlx::query("update t set n = 2").execute(&mut one).await?;
    Ok(())
}

/// As above, with a statement that was dropped and not its transaction.
#[tokio::test]
async fn a_session_is_not_blocked_by_the_statement_it_has_dropped() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table t (n int); insert into t values (0); grant all on t to app").await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let (a, b) = tokio::try_join!(one.begin(), other.begin())?;
    tokio::try_join!(a.commit(), b.commit())?;
    let long = sqlx::query("with l as (update t set n = 1 returning n) select pg_sleep(20) from l").execute(&mut one);
    assert!(tokio::time::timeout(Duration::from_millis(50), long).await.is_err());
    sqlx::query("set lock_timeout = '2s'").execute(&mut one).await?;
    sqlx::query("update t set n = 2").execute(&mut one).await?;
    Ok(())
}

/// The driver keeps the columns that `fetch` had when it was prepared: those of another session's cursor.
#[tokio::test]
async fn a_fetch_has_the_columns_of_its_own_cursor() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for isolation in [Isolation::ByStatement, Isolation::Strict] {
        let proxy = proxy_to(&server).max_connections(1).isolation(isolation).build()?;
        for (sql, columns) in [("select 7::int4", "INT4"), ("select 'seven'::text", "TEXT")] {
            let mut conn = proxy.get_connection().await?;
            let mut tx = conn.begin().await?;
            sqlx::query(AssertSqlSafe(format!("declare c cursor for {sql}"))).execute(&mut *tx).await?;
            let row = sqlx::query("fetch 1 from c").fetch_one(&mut *tx).await?;
            assert_eq!(sqlx::Column::type_info(row.column(0)).to_string(), columns, "{isolation:?}");
            tx.commit().await?;
        }
    }
    Ok(())
}

/// The session that deallocated is pinned, and a doubtful session never heals.
#[tokio::test]
async fn a_session_that_deallocates_goes_on() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for text in ["deallocate all", "discard all"] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut conn).await?;
        sqlx::raw_sql(text).execute(&mut conn).await?;
        sqlx::query("select 1").execute(&mut conn).await?;
    }
    Ok(())
}

/// A replay that was cut short is on the server, and the connection's account does not know.
#[tokio::test]
async fn a_replay_that_was_cut_short_leaks_to_nobody_and_loses_nothing() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for polls in 1..6 {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        let look = "select current_setting('search_path')";
        sqlx::query("set search_path = mine").execute(&mut one).await?;
        let plain: String = sqlx::query_scalar(look).fetch_one(&mut other).await?;
        // `one`'s setting is on its way when the statement is dropped.
        drop_after(polls, sqlx::query("select 1").execute(&mut one)).await;
        assert_eq!(sqlx::query_scalar::<_, String>(look).fetch_one(&mut other).await?, plain, "leaked, {polls} polls");
        assert_eq!(sqlx::query_scalar::<_, String>(look).fetch_one(&mut one).await?, "mine");
        // The same with what takes it back.
        drop_after(polls, sqlx::query("select 1").execute(&mut other)).await;
        assert_eq!(sqlx::query_scalar::<_, String>(look).fetch_one(&mut one).await?, "mine", "lost, {polls} polls");
    }
    Ok(())
}

async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if futures_util::poll!(&mut future).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
