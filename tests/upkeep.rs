//! What is left undone when a handler returns is done before the freeze.

use std::time::Duration;

use lambda_rds::{Error, Event};

use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::{Recorder, proxy_to};

async fn in_transaction(server: &Postgres) -> i64 {
    let mut admin = server.admin().await;
    sqlx::query_scalar("select count(*) from pg_stat_activity where usename = 'app' and xact_start is not null")
        .fetch_one(&mut admin)
        .await
        .expect("an answer")
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_by_upkeep() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server).observer(recorder.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = conn.begin().await?;
        sqlx::query("select 1").execute(&mut *tx).await?;
    }
    drop(conn);
    proxy.upkeep().await;
    assert_eq!(in_transaction(&server).await, 0);
    assert_eq!(recorder.count(|event| matches!(event, Event::Recovered { .. })), 1);
    assert_eq!((proxy.status().idle, proxy.status().leased), (1, 0), "and its connection is kept");
    Ok(())
}

#[tokio::test]
async fn a_begin_that_was_cancelled_leaves_no_transaction_open() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for polls in 0..6 {
        let mut conn = proxy.get_connection().await?;
        {
            let mut begin = Box::pin(conn.begin());
            for _ in 0..polls {
                if futures_util::poll!(&mut begin).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        drop(conn);
        proxy.upkeep().await;
        assert_eq!(in_transaction(&server).await, 0, "dropped after {polls} polls");
        assert_eq!(proxy.status().leased, 0);
    }
    Ok(())
}

#[tokio::test]
async fn the_server_is_told_to_drop_what_a_killed_environment_leaves() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server)
        .idle_timeout(Duration::from_secs(77))
        .idle_in_transaction_timeout(Duration::from_millis(300))
        .build()?;
    let mut conn = proxy.get_connection().await?;
    let idle: String =
        sqlx::query_scalar("select current_setting('idle_session_timeout')").fetch_one(&mut conn).await?;
    assert_eq!(idle, "77s");
    let mut tx = conn.begin().await?;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let error = Error::from(sqlx::query("select 1").execute(&mut *tx).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert_eq!(error.sqlstate().as_deref(), Some("25P03"));
    Ok(())
}

#[tokio::test]
async fn closing_says_goodbye_and_refuses_from_then_on() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    proxy.close().await;
    server.wait_until_sessions("app", 0).await;
    assert!(matches!(proxy.get_connection().await, Err(Error::Closed)));
    let error = Error::from(sqlx::query("select 1").execute(&mut conn).await.unwrap_err());
    assert!(matches!(error, Error::Closed), "{error:?}");
    assert!(!server.log().contains("unexpected EOF"), "{}", server.log());
    Ok(())
}
