//! What is left undone when a handler returns is done before the freeze.

use std::time::Duration;

use lambda_rds::{Error, Event};

use super::stage::*;
use crate::support::Recorder;

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_by_upkeep() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(ORDERS).await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server).observer(recorder.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = conn.begin().await?;
        sqlx::query("insert into orders (item) values ('x')").execute(&mut *tx).await?;
        assert_eq!(in_transaction(&server).await, 1);
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
    let server = Server::start(ServerOptions::default()).await;
    server.execute(ORDERS).await;
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
        // Whatever was left open would swallow it.
        let mut next = proxy.get_connection().await?;
        sqlx::query("insert into orders (item) values ('x')").execute(&mut next).await?;
    }
    proxy.close().await;
    server.wait_until_sessions("app", 0).await;
    let query = sqlx::query_scalar::<_, i64>("select count(*) from orders");
    assert_eq!(query.fetch_one(&mut server.admin().await).await?, 6);
    Ok(())
}

#[tokio::test]
async fn the_server_is_told_to_drop_what_a_killed_environment_leaves() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server)
        .idle_timeout(Duration::from_secs(77))
        .idle_in_transaction_timeout(Duration::from_millis(300))
        .build()?;
    let mut conn = proxy.get_connection().await?;
    assert_eq!(sqlx::query_scalar::<_, String>(IDLE_TIMEOUT).fetch_one(&mut conn).await?, "77s");
    let mut tx = conn.begin().await?;
    if !ends_idle_transactions() {
        // A real MySQL goes on for its `wait_timeout`, which is the other term.
        return tx.commit().await;
    }
    server.wait_until_sessions("app", 0).await;
    let error = Error::from(sqlx::query("select 1").execute(&mut *tx).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert_eq!(error.sqlstate().as_deref(), LAST_WORD_TO_AN_IDLE_TRANSACTION);
    Ok(())
}

/// What the server has dropped while the environment was frozen is replaced, and nobody hears of it.
#[tokio::test]
async fn a_connection_that_the_server_dropped_for_being_idle_costs_a_connect_and_no_error() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server).max_connections(1).idle_timeout(Duration::from_secs(1)).build()?;
    let mut conn = proxy.get_connection().await?;
    let before: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
    server.wait_until_sessions("app", 0).await;
    let after: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
    assert_ne!(before, after);
    Ok(())
}

#[tokio::test]
async fn closing_says_goodbye_and_refuses_from_then_on() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    proxy.close().await;
    server.wait_until_sessions("app", 0).await;
    assert!(matches!(proxy.get_connection().await, Err(Error::Closed)));
    let error = Error::from(sqlx::query("select 1").execute(&mut conn).await.unwrap_err());
    assert!(matches!(error, Error::Closed), "{error:?}");
    assert!(!server.log().contains(NO_GOODBYE), "{}", server.log());
    Ok(())
}

/// What an observer writes after each invocation is all in the last event before the freeze.
#[tokio::test]
async fn the_last_event_of_an_upkeep_tells_what_was_done() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server).observer(recorder.observer()).max_connections(2).build()?;
    {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        let (mut tx, mut beside) = (one.begin().await?, other.begin().await?);
        for _ in 0..3 {
            sqlx::query("select 1").execute(&mut *tx).await?;
        }
        sqlx::query("select * from nowhere").execute(&mut *beside).await.unwrap_err();
    }
    proxy.upkeep().await;
    let status = proxy.status();
    assert_eq!((status.usage.response_latency.count(), status.usage.borrows_failed), (4, 0));
    assert!(status.usage.borrow_latency.count() >= 2 && status.encrypted, "{status}");
    let told = recorder.events().into_iter().rev().find_map(|event| match event {
        Event::UpkeepDone { status, .. } => Some(status),
        _ => None,
    });
    let told = told.expect("the upkeep is over");
    assert_eq!((told.most_leased, told.usage), (2, status.usage.clone()));
    assert_eq!(status.most_leased, 0, "since then");
    Ok(())
}

#[tokio::test]
async fn a_report_tells_the_error_the_numbers_and_what_came_before() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let error: Error = sqlx::query("select * from nowhere").execute(&mut conn).await.unwrap_err().into();
    let report = proxy.report(&error).to_string();
    for part in [NO_TABLE, "Database: ", "nowhere", "RolledBack", "connections  1 of 2", "Connected {", FAMILY] {
        assert!(report.contains(part), "no {part} in {report}");
    }
    assert!(!report.contains(APP_PASSWORD), "{report}");
    Ok(())
}
