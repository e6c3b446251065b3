//! The means that the crate gives to the tests of applications.

use lambda_rds::testing::{Fault, Faults, Recorder};
use lambda_rds::{Error, Event, Outcome};
use sqlx::AssertSqlSafe;

use super::stage::*;

#[tokio::test]
async fn faults_strike_once_and_errors_say_what_they_say_in_earnest() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&numbers("doubles")).await;
    let (faults, recorder) = (Faults::new(), Recorder::new());
    let proxy = proxy_to(&server).faults(&faults).observer(recorder.clone()).max_connections(1).build()?;

    faults.next(Fault::ConnectRefused);
    let refused = proxy.get_connection().await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }) && refused.is_retryable(), "{refused:?}");
    assert_eq!(recorder.count(|event| matches!(event, Event::ConnectFailed { .. })), 1);
    let mut conn = proxy.get_connection().await?;

    for (n, executed) in [(1, true), (2, false)] {
        faults.next(Fault::CommitUnknown { executed });
        let mut tx = conn.begin().await?;
        let insert = AssertSqlSafe(format!("insert into doubles values ({n})"));
        sqlx::query(insert).execute(&mut *tx).await?;
        let error = tx.commit().await.unwrap_err();
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, false), "{error:?}");
    }
    let kept: Vec<i32> = sqlx::query_scalar("select n from doubles").fetch_all(&mut conn).await?;
    assert_eq!(kept, [1]);

    // Outside a transaction it may have been executed; inside it is rolled back.
    faults.next(Fault::ConnectionLost);
    let lost: Error = sqlx::query("insert into doubles values (3)").execute(&mut conn).await.unwrap_err().into();
    assert_eq!(lost.outcome(), Outcome::Unknown, "{lost:?}");
    faults.next(Fault::ConnectionLost);
    let mut runs = 0;
    proxy
        .transaction(|tx| {
            runs += 1;
            Box::pin(async move {
                sqlx::query("insert into doubles values (4)").execute(&mut **tx).await?;
                Ok::<_, Error>(())
            })
        })
        .await?;
    assert_eq!((runs, faults.pending()), (2, 0));
    let kept: Vec<i32> = sqlx::query_scalar("select n from doubles order by n").fetch_all(&mut conn).await?;
    assert_eq!(kept, [1, 4]);
    Ok(())
}

/// What an application sees of a failover, without one.
#[tokio::test]
async fn a_failover_is_had_where_there_is_one_server() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&numbers("failed_over")).await;
    let (faults, recorder) = (Faults::new(), Recorder::new());
    let proxy = proxy_to(&server).faults(&faults).observer(recorder.clone()).max_connections(3).build()?;
    for round in 1..=3 {
        // Idle ones beside the one that is in use.
        let mut all = [proxy.get_connection().await?, proxy.get_connection().await?, proxy.get_connection().await?];
        let mut open = Vec::new();
        for conn in &mut all {
            open.push(conn.begin().await?);
        }
        for transaction in open {
            transaction.rollback().await?;
        }
        assert_eq!(proxy.status().connections, 3);
        recorder.clear();
        faults.next(Fault::Failover);
        let mut runs = 0;
        proxy
            .transaction(|tx| {
                runs += 1;
                Box::pin(async move {
                    let insert = AssertSqlSafe(format!("insert into failed_over values ({round})"));
                    sqlx::query(insert).execute(&mut **tx).await?;
                    Ok::<_, Error>(())
                })
            })
            .await?;
        assert_eq!((runs, faults.pending()), (2, 0));
        recorder.assert_saw(1, |event| matches!(event, Event::Suspected { .. }));
        recorder.assert_saw(3, |event| matches!(event, Event::Discarded { .. }));
        recorder.assert_saw(1, |event| matches!(event, Event::Connected { .. }));
        assert_eq!(proxy.status().connections, 1, "the idle ones are gone");
    }
    let mut conn = proxy.get_connection().await?;
    let kept: Vec<i32> = sqlx::query_scalar("select n from failed_over order by n").fetch_all(&mut conn).await?;
    assert_eq!(kept, [1, 2, 3]);
    Ok(())
}
