//! What the server never read was not executed, and the outcome says so.

use lambda_rds::{Error, Outcome, PgProxy};

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

async fn stage() -> (Server, PgProxy) {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table t (n int); grant all on t to app").await;
    let proxy = proxy_to(&server).max_connections(1).build().expect("valid");
    (server, proxy)
}

fn outcome<T: std::fmt::Debug>(result: Result<T, impl Into<Error>>) -> Outcome {
    let error = result.map_err(Into::into).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    error.outcome()
}

/// The server has hung up while the handler was at work: the commit was never sent.
#[tokio::test]
async fn a_commit_on_a_connection_that_was_closed_before_is_known_to_have_done_nothing() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    sqlx::query("insert into t values (1)").execute(&mut *tx).await?;
    server.terminate_sessions("app").await;
    server.wait_until_sessions("app", 0).await;
    assert_eq!(outcome(tx.commit().await), Outcome::RolledBack);
    // As text, and inside.
    for text in ["commit", "insert into t values (3)"] {
        sqlx::raw_sql("begin").execute(&mut conn).await?;
        sqlx::query("insert into t values (2)").execute(&mut conn).await?;
        server.terminate_sessions("app").await;
        server.wait_until_sessions("app", 0).await;
        assert_eq!(
            outcome(sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut conn).await),
            Outcome::RolledBack,
            "{text}"
        );
        let _ = sqlx::raw_sql("rollback").execute(&mut conn).await;
    }
    // And on a session that is pinned.
    let mut pinned = proxy.get_connection().await?;
    sqlx::raw_sql("create temp table kept (n int)").execute(&mut pinned).await?;
    server.terminate_sessions("app").await;
    server.wait_until_sessions("app", 0).await;
    assert_eq!(outcome(sqlx::query("insert into t values (4)").execute(&mut pinned).await), Outcome::NotExecuted);
    let rows: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut server.admin().await).await?;
    assert_eq!(rows, 0);
    Ok(())
}

/// What the server says to a session that waits for too long, it says before it reads the next statement.
#[tokio::test]
async fn a_session_that_was_idle_for_too_long_lost_nothing_that_it_sent() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    sqlx::raw_sql("set idle_session_timeout = 50").execute(&mut conn).await?;
    server.wait_until_sessions("app", 0).await;
    sqlx::query("insert into t values (1)").execute(&mut conn).await?;
    sqlx::raw_sql("set idle_session_timeout = 0").execute(&mut conn).await?;
    // Long enough for a busy machine to come to the next statement.
    sqlx::raw_sql("set idle_in_transaction_session_timeout = 1000").execute(&mut conn).await?;
    let mut tx = conn.begin().await?;
    sqlx::query("insert into t values (2)").execute(&mut *tx).await?;
    server.wait_until_sessions("app", 0).await;
    assert_eq!(outcome(tx.commit().await), Outcome::RolledBack);
    let rows: Vec<i32> = sqlx::query_scalar("select n from t").fetch_all(&mut server.admin().await).await?;
    assert_eq!(rows, [1]);
    Ok(())
}

/// Another session's limits are still in force when a connection is made fit for the next one.
#[tokio::test]
async fn another_sessions_time_limits_cost_no_statement() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    for limit in ["statement_timeout = 1", "idle_session_timeout = 1", "lock_timeout = 1"] {
        for n in 0..10 {
            let mut a = proxy.get_connection().await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set {limit}"))).execute(&mut a).await?;
            let mut b = proxy.get_connection().await?;
            sqlx::query("insert into t values ($1)").bind(n).execute(&mut b).await?;
        }
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut server.admin().await).await?;
    assert_eq!(rows, 30);
    Ok(())
}

/// As the server would have it: what follows is in a transaction again.
#[tokio::test]
async fn a_chained_commit_that_is_refused_begins_the_next_transaction() -> Result<(), Error> {
    let (server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    sqlx::raw_sql("begin").execute(&mut conn).await?;
    assert!(sqlx::raw_sql("select 1 / 0").execute(&mut conn).await.is_err());
    let refused = Error::from(sqlx::raw_sql("commit and chain").execute(&mut conn).await.unwrap_err());
    assert!(matches!(refused, Error::TransactionAborted { .. }), "{refused:?}");
    sqlx::query("insert into t values (1)").execute(&mut conn).await?;
    sqlx::raw_sql("rollback").execute(&mut conn).await?;
    let rows: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut server.admin().await).await?;
    assert_eq!(rows, 0);
    Ok(())
}
