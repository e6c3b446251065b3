//! What is under way when the end of an invocation is near: nothing runs on in the database for a function that has timed
//! out, and the handler hears in time what became of its statement.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use lambda_rds::{Error, Outcome, internals};
use sqlx::AssertSqlSafe;
use tokio::time::sleep as pause;

use super::language::ERRORS_ABORT;
use super::stage::*;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::until;

/// Long enough for a connect on a busy machine.
const LEFT: Duration = Duration::from_secs(2);

/// A server with a table of one row that `app` may write.
async fn ledger() -> Server {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    server.execute("insert into ledger values (0)").await;
    server
}

/// One connection, by a way on which faults can be played.
async fn through_a_door(server: &Server) -> Result<(FaultProxy, DbProxy), Error> {
    let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = proxy_to(server).port(way.port()).max_connections(1).build()?;
    Ok((way, proxy))
}

fn reached(error: impl Into<Error>) -> Outcome {
    match error.into() {
        Error::DeadlineReached { outcome, .. } => outcome,
        error => panic!("{error:?}"),
    }
}

/// A cancel has 150 ms, in which it logs in beside the statement. On a busy machine it may come too late for the handler, which
/// is told so; then it goes on, and the upkeep waits for it.
const ATTEMPTS: usize = 10;

/// Nothing runs on for an invocation that is over.
async fn has_ended(proxy: &DbProxy, server: &Server) {
    proxy.upkeep().await;
    until("the statement has ended", async || running(server).await == 0).await;
}

#[tokio::test]
async fn a_statement_that_would_outlive_its_invocation_is_cancelled_and_says_so() -> Result<(), Error> {
    let server = ledger().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for _ in 0..ATTEMPTS {
        let mut conn = proxy.get_connection().await?;
        let ended = internals::invocation(LEFT, sqlx::query(LOCKS_LONG).execute(&mut conn)).await;
        let outcome = reached(ended.unwrap_err());
        if outcome == Outcome::RolledBack {
            assert_eq!(running(&server).await, 0);
            // The session goes on, on the same connection.
            let n: i32 = sqlx::query_scalar("select n from ledger").fetch_one(&mut conn).await?;
            assert_eq!((n, proxy.status().connections), (0, 1));
            return Ok(());
        }
        assert_eq!(outcome, Outcome::Unknown);
        has_ended(&proxy, &server).await;
        // It may have been done.
        server.execute("update ledger set n = 0").await;
    }
    panic!("no cancel was answered in time")
}

#[tokio::test]
async fn in_a_transaction_it_is_the_transaction_that_decides() -> Result<(), Error> {
    let server = ledger().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for _ in 0..ATTEMPTS {
        let mut conn = proxy.get_connection().await?;
        let ended = internals::invocation(LEFT, async {
            let mut tx = conn.begin().await?;
            sqlx::query("update ledger set n = 7").execute(&mut *tx).await?;
            let rows = sqlx::raw_sql(LOCKS_LONG).fetch_many(&mut *tx).try_for_each(async |_| Ok(())).await;
            assert_eq!(reached(rows.unwrap_err()), Outcome::RolledBack, "by the cancel, or with the connection");
            tx.commit().await
        });
        let ended = ended.await;
        let came_too_late = matches!(ended, Err(Error::ConnectionLost { outcome: Outcome::RolledBack, .. }));
        if came_too_late {
            has_ended(&proxy, &server).await;
        }
        assert_eq!(running(&server).await, 0);
        let n: i32 = sqlx::query_scalar("select n from ledger").fetch_one(&mut conn).await?;
        assert_eq!(n, if ended.is_ok() { 7 } else { 0 }, "{ended:?}");
        match ended {
            Ok(()) if !ERRORS_ABORT => return Ok(()),
            Err(Error::TransactionAborted { outcome: Outcome::RolledBack, .. }) if ERRORS_ABORT => return Ok(()),
            ended => assert!(came_too_late, "{ended:?}"),
        }
    }
    panic!("no cancel was answered in time")
}

#[tokio::test]
async fn what_has_ended_before_the_cancel_has_been_executed() -> Result<(), Error> {
    let server = ledger().await;
    // Answers come a little later than the moment at which the statement would be cancelled.
    let (way, proxy) = through_a_door(&server).await?;
    let mut conn = proxy.get_connection().await?;
    let text = "update ledger set n = n + 1";
    sqlx::query(text).execute(&mut conn).await?;
    let ended = internals::invocation(Duration::from_millis(400), async {
        way.delay(Duration::from_millis(215));
        sqlx::query(text).execute(&mut conn).await
    });
    let outcome = reached(ended.await.unwrap_err());
    way.delay(Duration::ZERO);
    assert!(matches!(outcome, Outcome::Completed | Outcome::Unknown), "{outcome:?}");
    let n: i32 = sqlx::query_scalar("select n from ledger").fetch_one(&mut proxy.get_connection().await?).await?;
    assert_eq!(n, 2, "once");
    Ok(())
}

#[tokio::test]
async fn where_nobody_answers_the_handler_still_has_its_last_word() -> Result<(), Error> {
    let server = ledger().await;
    let (way, proxy) = through_a_door(&server).await?;
    let mut conn = proxy.get_connection().await?;
    // A statement of the invocation before, so that nothing is to be prepared.
    sqlx::query("select 1").execute(&mut conn).await?;
    let left = Duration::from_millis(700);
    let ended = internals::invocation(left, async {
        way.mute();
        sqlx::query("select 1").execute(&mut conn).await
    });
    let error = ended.await.unwrap_err();
    assert_eq!(reached(error), Outcome::Unknown);
    way.pass();
    drop(conn);
    sqlx::query("select 1").execute(&mut proxy.get_connection().await?).await?;
    Ok(())
}

#[tokio::test]
async fn a_statement_that_ends_in_time_is_left_alone() -> Result<(), Error> {
    let server = ledger().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let short = AssertSqlSafe(sleep(0.3));
    internals::invocation(LEFT, sqlx::query(short).execute(&mut conn)).await?;
    assert_eq!(proxy.status().connections, 1);
    Ok(())
}

/// Somebody in between has forgotten the connection: no answer will ever come, and the server is alive.
#[tokio::test]
async fn a_commit_that_nobody_answers_is_unknown_while_the_handler_can_hear_it() -> Result<(), Error> {
    let server = ledger().await;
    let (way, proxy) = through_a_door(&server).await?;
    let mut conn = proxy.get_connection().await?;
    let ended = internals::invocation(LEFT, async {
        let mut tx = conn.begin().await?;
        sqlx::query("update ledger set n = 7").execute(&mut *tx).await?;
        way.forget();
        tx.commit().await
    });
    let error = ended.await.unwrap_err();
    assert!(matches!(error, Error::DeadlineReached { phase: lambda_rds::error::Phase::Commit, .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    // The next invocation has another connection.
    let n: i32 = sqlx::query_scalar("select 1 + 0").fetch_one(&mut conn).await?;
    assert_eq!(n, 1);
    Ok(())
}

/// PostgreSQL's driver prepares a statement in one exchange and executes it in another, so that a deadline in between leaves nothing of
/// it to be cancelled, and nothing executed.
#[tokio::test]
async fn what_was_prepared_and_not_executed_in_time_is_not_called_executed() -> Result<(), Error> {
    // Over before the host is asked whether it is there.
    const LEFT: Duration = Duration::from_millis(500);
    let server = ledger().await;
    for text in ["commit", "begin", "insert into ledger values (7)", "insert in a guard"].repeat(2) {
        let (way, proxy) = through_a_door(&server).await?;
        let way = Arc::new(way);
        let mut conn = proxy.get_connection().await?;
        sqlx::raw_sql("select 1").execute(&mut conn).await?;
        if text == "commit" {
            sqlx::raw_sql("begin").execute(&mut conn).await?;
            sqlx::raw_sql("insert into ledger values (7)").execute(&mut conn).await?;
        }
        // A packet of the answer is lost, and sent again when the end of the invocation is near.
        let held = || {
            way.mute();
            let way = Arc::clone(&way);
            tokio::spawn(async move {
                pause(LEFT - Duration::from_millis(120)).await;
                way.pass();
            })
        };
        let told = internals::invocation(LEFT, async {
            if text == "insert in a guard" {
                let mut tx = conn.begin().await?;
                let passes = held();
                let told = sqlx::query("insert into ledger values (7)").execute(&mut *tx).await;
                passes.await.expect("passes");
                let committed = tx.commit().await;
                return told.map(|_| ()).map_err(Error::from).and(committed);
            }
            let _passes = held();
            sqlx::query(text).execute(&mut conn).await?;
            Ok::<_, Error>(())
        });
        let outcome = match told.await {
            Ok(()) => Outcome::Completed,
            Err(error) => error.outcome(),
        };
        if text == "begin" {
            // If that is where it is, this is taken back.
            let inserted = sqlx::raw_sql("insert into ledger values (7)").execute(&mut conn).await;
            let rolled_back = sqlx::raw_sql("rollback").execute(&mut conn).await;
            let is_begun = outcome == Outcome::Completed;
            let n: i64 = sqlx::query_scalar("select count(*) from ledger where n = 7").fetch_one(&mut conn).await?;
            assert!(!is_begun || n == 0, "{outcome:?}, {inserted:?}, {rolled_back:?}");
        }
        drop(conn);
        // Whoever comes next is in nobody's transaction.
        let mut other = proxy.get_connection().await?;
        sqlx::raw_sql("insert into ledger values (77)").execute(&mut other).await?;
        drop(other);
        proxy.close().await;
        let mut admin = server.admin().await;
        let count = |n: i32| AssertSqlSafe(format!("select count(*) from {LEDGER_TABLE} where n = {n}"));
        let others: i64 = sqlx::query_scalar(count(77)).fetch_one(&mut admin).await?;
        let own: i64 = sqlx::query_scalar(count(7)).fetch_one(&mut admin).await?;
        assert_eq!(others, 1, "{text}: another session's row");
        match outcome {
            _ if text == "begin" => {}
            Outcome::Completed => assert_eq!(own, 1, "{text}"),
            Outcome::NotExecuted | Outcome::RolledBack => assert_eq!(own, 0, "{text}"),
            _ => {}
        }
        server.execute(&format!("delete from {LEDGER_TABLE} where n > 0")).await;
    }
    Ok(())
}

/// Rows that are there at once never let a timer have its turn.
#[tokio::test]
async fn an_answer_whose_rows_come_fast_ends_with_its_invocation() -> Result<(), Error> {
    let server = ledger().await;
    server.execute("create table k (n int)").await;
    server.execute("insert into k values (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)").await;
    server.execute("grant select on k to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for how in ["execute", "raw", "stream", "in a guard"] {
        let mut conn = proxy.get_connection().await?;
        let sql = "select a.n from k a, k b, k c, k d, k e, k f, k g, k h, k i";
        let work = async {
            match how {
                "execute" => sqlx::query(sql).execute(&mut conn).await.map(|_| ()),
                "raw" => sqlx::raw_sql(sql).execute(&mut conn).await.map(|_| ()),
                "in a guard" => {
                    let mut transaction = conn.begin().await?;
                    sqlx::query(sql).execute(&mut *transaction).await.map(|_| ())
                }
                _ => {
                    let mut rows = sqlx::query(sql).fetch(&mut conn);
                    while rows.try_next().await?.is_some() {}
                    Ok(())
                }
            }
        };
        let error = internals::invocation(LEFT, work).await.expect_err("there is no end of it");
        assert!(matches!(reached(error), Outcome::Unknown | Outcome::RolledBack), "{how}");
        drop(conn);
        proxy.upkeep().await;
    }
    Ok(())
}
