//! What the driver gets wrong about sessions: each test shows it on bare sqlx 0.9.0, and that it does not happen
//! through this crate. The rest of them are in `dropped` (late errors, stale plans) and `attacks`.

use lambda_rds::Error;
use sqlx::{Connection as _, Executor, PgConnection};

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// A server with a table that nobody else writes to.
async fn stage() -> Server {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table t (n int); grant all on t to app").await;
    server
}

fn url(server: &Server) -> String {
    format!("{}?sslmode=require", server.url())
}

/// What everybody else sees.
async fn rows(server: &Server) -> Vec<i32> {
    sqlx::query_scalar("select n from t order by n").fetch_all(&mut server.admin().await).await.expect("an answer")
}

/// How many of the application's sessions are in a transaction and do nothing.
async fn idle_in_transaction(server: &Server) -> i64 {
    let sql = "select count(*) from pg_stat_activity where usename = 'app' and state like 'idle in transaction%'";
    sqlx::query_scalar(sql).fetch_one(&mut server.admin().await).await.expect("an answer")
}

fn code(error: sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Sends what there is to send, and is dropped. Whether the answer was there already.
async fn drop_when_sent<F: Future>(future: F) -> bool {
    let mut future = Box::pin(future);
    futures_util::poll!(&mut future).is_ready()
}

#[tokio::test]
async fn a_begin_that_was_dropped_swallows_no_later_write() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = PgConnection::connect(&url(&server)).await?;
    assert!(!drop_when_sent(bare.begin_with("begin; select pg_sleep(0.05)")).await);
    sqlx::query("insert into t values (1)").execute(&mut bare).await?;
    assert!(!bare.is_in_transaction(), "so bare sqlx says");
    drop(bare);
    server.wait_until_sessions("app", 0).await;
    assert_eq!(rows(&server).await, [0; 0], "bare sqlx");

    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    drop_when_sent(one.begin()).await;
    sqlx::query("insert into t values (2)").execute(&mut one).await?;
    drop_when_sent(one.begin()).await;
    sqlx::query("insert into t values (3)").execute(&mut other).await?;
    assert_eq!(rows(&server).await, [2, 3]);
    Ok(())
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_before_the_freeze() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = PgConnection::connect(&url(&server)).await?;
    {
        let mut tx = bare.begin().await?;
        sqlx::query("insert into t values (1)").execute(&mut *tx).await?;
    }
    assert_eq!(idle_in_transaction(&server).await, 1, "bare sqlx only puts the rollback into its buffer");
    drop(bare);

    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = conn.begin().await?;
        sqlx::query("insert into t values (2)").execute(&mut *tx).await?;
    }
    // As after each response; without it, before anybody else gets the connection.
    proxy.upkeep().await;
    server.wait_until_sessions("app", 1).await;
    assert_eq!(idle_in_transaction(&server).await, 0);
    Ok(())
}

#[tokio::test]
async fn a_commit_that_the_server_answered_with_a_rollback_is_an_error() -> Result<(), Error> {
    let server = stage().await;
    let mut bare = PgConnection::connect(&url(&server)).await?;
    let mut tx = bare.begin().await?;
    sqlx::query("insert into t values (1)").execute(&mut *tx).await?;
    sqlx::query("select 1 / 0").execute(&mut *tx).await.unwrap_err();
    tx.commit().await.expect("bare sqlx calls it a success");
    assert_eq!(rows(&server).await, [0; 0]);

    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    sqlx::query("insert into t values (2)").execute(&mut *tx).await?;
    sqlx::query("select 1 / 0").execute(&mut *tx).await.unwrap_err();
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    assert_eq!(rows(&server).await, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn rows_left_unread_are_nobody_elses() -> Result<(), Error> {
    use futures_util::TryStreamExt;
    // The second row fails; bare sqlx has handed out the first by then and leaves the rest for later.
    const DOOMED: &str = "select 1 / (3 - n) from generate_series(1, 3) n";
    let server = stage().await;
    let mut bare = PgConnection::connect(&url(&server)).await?;
    {
        let mut rows = sqlx::query(DOOMED).fetch(&mut bare);
        rows.try_next().await?;
    }
    let handed_on = sqlx::query("select 1").execute(&mut bare).await.unwrap_err();
    assert_eq!(code(handed_on).as_deref(), Some("22012"), "bare sqlx");
    drop(bare);

    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for read_by_other in [false, true] {
        {
            let mut rows = sqlx::query(DOOMED).fetch(&mut one);
            rows.try_next().await?;
        }
        let next = if read_by_other { &mut other } else { &mut one };
        assert_eq!(sqlx::query_scalar::<_, i32>("select 7").fetch_one(next).await?, 7);
        // Read to the end, whatever of it is wanted: the statement's own error is its own.
        let failed = sqlx::query(DOOMED).fetch_optional(&mut one).await.unwrap_err();
        assert_eq!(code(failed).as_deref(), Some("22012"));
        assert_eq!(sqlx::query_scalar::<_, i32>("select 8").fetch_one(&mut other).await?, 8);
    }
    // In a transaction it is the transaction's.
    let mut tx = one.begin().await?;
    {
        let mut rows = sqlx::query(DOOMED).fetch(&mut *tx);
        rows.try_next().await?;
    }
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    Ok(())
}

#[tokio::test]
async fn statements_deallocated_behind_the_drivers_back_are_prepared_again_for_the_next_session() -> Result<(), Error> {
    for text in ["deallocate all", "discard all"] {
        let server = stage().await;
        let mut bare = PgConnection::connect(&url(&server)).await?;
        sqlx::query("select n from t").execute(&mut bare).await?;
        bare.execute(sqlx::raw_sql(text)).await?;
        for _ in 0..2 {
            let missing = sqlx::query("select n from t").execute(&mut bare).await.unwrap_err();
            assert_eq!(code(missing).as_deref(), Some("26000"), "bare sqlx never recovers from {text}");
        }

        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        sqlx::query("select n from t").execute(&mut conn).await?;
        sqlx::raw_sql(text).execute(&mut conn).await?;
        drop(conn);
        let mut next = proxy.get_connection().await?;
        sqlx::query("select n from t").execute(&mut next).await?;
    }
    Ok(())
}
