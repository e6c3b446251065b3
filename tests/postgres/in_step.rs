//! Whatever happened on a connection before, the next statement gets its own answer: a question that no other answer fits
//! is asked after everything that may have left one behind.

use std::time::Duration;

use futures_util::TryStreamExt;
use lambda_rds::{Error, PgProxy};
use sqlx::Row;
use tokio::time::timeout;

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

async fn stage() -> (Server, PgProxy) {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create table t (n int primary key); create table r (n int references t deferrable initially deferred); \
             insert into t select generate_series(1, 1000); grant all on t, r to app",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(1).build().expect("valid");
    (server, proxy)
}

/// Ways to leave something unread on a connection that was handed out.
#[derive(Debug, Clone, Copy)]
enum GivenUp {
    CopyIn,
    CopyInAfterSome,
    CopyInThatTimesOut,
    CopyOut,
    Rows,
    RefusedCopy,
}

async fn give_up(conn: &mut sqlx::PgConnection, how: GivenUp) {
    let copy = "copy r from stdin";
    match how {
        GivenUp::CopyIn => drop(conn.copy_in_raw(copy).await),
        GivenUp::CopyInAfterSome => {
            let mut sink = conn.copy_in_raw(copy).await.expect("begun");
            sink.send(&b"1\n"[..]).await.expect("sent");
        }
        GivenUp::CopyInThatTimesOut => {
            let mut sink = conn.copy_in_raw(copy).await.expect("begun");
            let _ = timeout(Duration::ZERO, sink.send(&b"1\n"[..])).await;
        }
        GivenUp::CopyOut => {
            let mut rows = conn.copy_out_raw("copy t to stdout").await.expect("begun");
            let _ = rows.try_next().await;
        }
        GivenUp::Rows => {
            let mut rows = sqlx::raw_sql("select n from t; select 'late'").fetch(conn);
            let _ = rows.try_next().await;
        }
        GivenUp::RefusedCopy => {
            let _ = sqlx::raw_sql(copy).execute(conn).await;
        }
    }
}

const WAYS: [GivenUp; 6] = [
    GivenUp::CopyIn,
    GivenUp::CopyInAfterSome,
    GivenUp::CopyInThatTimesOut,
    GivenUp::CopyOut,
    GivenUp::Rows,
    GivenUp::RefusedCopy,
];

#[tokio::test]
async fn what_was_given_up_on_a_handed_out_connection_is_nobody_elses_answer() -> Result<(), Error> {
    for how in WAYS {
        let (_server, proxy) = stage().await;
        let mut a = proxy.get_connection().await?;
        give_up(a.pin().await?, how).await;
        drop(a);
        for own in ["b", "c", "d"] {
            let mut conn = proxy.get_connection().await?;
            let text = sqlx::AssertSqlSafe(format!("select 'of {own}'"));
            let rows = sqlx::raw_sql(text).fetch_all(&mut conn).await?;
            let seen: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(seen, [format!("of {own}")], "{how:?}");
        }
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        sqlx::query("insert into r values (-1)").execute(&mut *tx).await?;
        let refused = tx.commit().await.unwrap_err();
        assert_eq!(refused.sqlstate().as_deref(), Some("23503"), "{how:?}: the server refused it");
    }
    Ok(())
}

/// Within the session: its own answer, or an error that says that the connection is gone. Never somebody else's.
#[tokio::test]
async fn a_session_that_gave_something_up_gets_its_own_answers_or_none() -> Result<(), Error> {
    for how in WAYS {
        let (_server, proxy) = stage().await;
        let mut a = proxy.get_connection().await?;
        give_up(a.pin().await?, how).await;
        for n in 0..4_i64 {
            match sqlx::query_scalar::<_, i64>("select $1::int8").bind(n).fetch_all(&mut a).await.map_err(Error::from) {
                Ok(own) => assert_eq!(own, [n], "{how:?}"),
                Err(Error::ConnectionLost { outcome, .. }) => assert_eq!(outcome, lambda_rds::Outcome::NotExecuted),
                Err(other) => panic!("{how:?}: {other:?}"),
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_statement_that_is_dropped_in_an_aborted_transaction_leaves_it_as_it_was() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    assert!(sqlx::query("select 1 / 0").execute(&mut *tx).await.is_err());
    for _ in 0..3 {
        let _ = timeout(Duration::ZERO, sqlx::query("select 2").execute(&mut *tx)).await;
    }
    let refused = sqlx::query("select 3").execute(&mut *tx).await.unwrap_err();
    assert_eq!(Error::from(refused).sqlstate().as_deref(), Some("25P02"));
    tx.rollback().await?;
    let three: i32 = sqlx::query_scalar("select 3").fetch_one(&mut conn).await?;
    assert_eq!(three, 3);
    Ok(())
}

/// What the driver refuses is not executed, puts nobody in doubt, and the connection goes on.
#[tokio::test]
async fn what_the_driver_refuses_was_not_executed() -> Result<(), Error> {
    let (_server, proxy) = stage().await;
    let mut conn = proxy.get_connection().await?;
    let mut query = sqlx::query("select 1");
    for n in 0..65_536 {
        query = query.bind(n);
    }
    let refused = Error::from(query.execute(&mut conn).await.unwrap_err());
    assert_eq!((refused.outcome(), refused.is_retryable()), (lambda_rds::Outcome::NotExecuted, false), "{refused:?}");
    let mut tx = conn.begin().await?;
    sqlx::query("insert into t values (-5)").execute(&mut *tx).await?;
    let mut query = sqlx::query("select 1");
    for n in 0..65_536 {
        query = query.bind(n);
    }
    let refused = Error::from(query.execute(&mut *tx).await.unwrap_err());
    assert_eq!(refused.outcome(), lambda_rds::Outcome::NotExecuted, "{refused:?}");
    tx.commit().await?;
    let there: i64 = sqlx::query_scalar("select count(*) from t where n = -5").fetch_one(&mut conn).await?;
    assert_eq!((there, proxy.status().epoch), (1, 0));
    Ok(())
}
