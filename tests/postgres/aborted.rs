//! An error aborts its transaction, also one that comes late or from behind the session's back, and committing what was
//! aborted or ended is an error. On MySQL no error aborts one: what ends it there is in `mysql::transactions`.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::TryStreamExt;
use lambda_rds::{Error, Outcome};
use sqlx::{Acquire, AssertSqlSafe, Executor};

use super::attacks::doomed;
use super::stage::*;

#[tokio::test]
async fn committing_an_aborted_transaction_is_an_error() -> Result<(), Error> {
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    sqlx::query("select 1 / 0").execute(&mut *tx).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(&error, Error::TransactionAborted { why, .. } if why.contains("22012")), "{error:?}");
    assert_eq!(error.outcome(), Outcome::RolledBack);

    let mut tx = conn.begin().await?;
    let mut inner = tx.begin().await?;
    sqlx::query("select 1 / 0").execute(&mut *inner).await.unwrap_err();
    assert!(matches!(inner.commit().await, Err(Error::TransactionAborted { .. })));
    sqlx::query("select 1").execute(&mut *tx).await?;
    tx.commit().await?;

    // The application ended it by itself: nothing is left to commit, and that is said.
    let mut tx = conn.begin().await?;
    sqlx::query("rollback").execute(&mut *tx).await?;
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    Ok(())
}

#[tokio::test]
async fn committing_what_a_text_of_postgresqls_own_has_ended_is_an_error() -> Result<(), Error> {
    let proxy = proxy_to(server().await).build()?;
    for text in ["abort", "end", "prepare transaction 'x'; rollback"] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        let _ = sqlx::raw_sql(text).execute(&mut *tx).await;
        assert!(tx.commit().await.is_err(), "{text}");
        assert_eq!(sqlx::query_scalar::<_, i32>("select 7").fetch_one(&mut conn).await?, 7);
    }
    Ok(())
}

#[tokio::test]
async fn an_error_on_the_physical_connection_aborts_its_transaction() -> Result<(), Error> {
    let proxy = proxy_to(server().await).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    assert!(tx.pin().await?.execute(sqlx::raw_sql("select 1 / 0")).await.is_err());
    assert!(tx.commit().await.is_err());
    Ok(())
}

/// Or its savepoint, and the transaction around it goes on.
#[tokio::test]
async fn a_statement_that_fails_after_it_was_dropped_aborts_its_transaction() -> Result<(), Error> {
    let proxy = proxy_to(server().await).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for prepared in [true, false] {
        let mut tx = conn.begin().await?;
        let mut inner = tx.begin().await?;
        // The savepoint is there: nothing stands before the statement that is dropped.
        sqlx::query("select 1").execute(&mut *inner).await?;
        doomed(&mut inner, prepared).await;
        assert!(matches!(inner.commit().await, Err(Error::TransactionAborted { .. })), "prepared: {prepared}");
        assert_eq!(sqlx::query_scalar::<_, i32>("select 8").fetch_one(&mut *tx).await?, 8);
        tx.commit().await?;
    }
    // As one message: what is prepared first may be dropped before it is executed, and then has no error.
    let mut tx = conn.begin().await?;
    doomed(&mut tx, false).await;
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    Ok(())
}

#[tokio::test]
async fn a_stream_that_fails_after_it_was_dropped_aborts_its_transaction() -> Result<(), Error> {
    let proxy = proxy_to(server().await).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    {
        let mut stream = sqlx::query("select 1 / (4000 - n) from generate_series(1, 5000) n").fetch(&mut *tx);
        stream.try_next().await?;
    }
    assert!(sqlx::query("select 1").execute(&mut *tx).await.is_err(), "the division by zero has aborted it");
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(&error, Error::TransactionAborted { why, .. } if why.contains("22012")), "{error:?}");
    assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut conn).await?, 1);
    Ok(())
}

/// And an error of what only PostgreSQL's driver has, on the physical connection, harms nobody.
#[tokio::test]
async fn a_temporary_table_goes_with_its_dropped_sqlx_transaction() -> Result<(), Error> {
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = Acquire::begin(&mut conn).await?;
        sqlx::query("create temp table t (n int)").execute(&mut *tx).await?;
    }
    let gone: Option<String> = sqlx::query_scalar("select to_regclass('pg_temp.t')::text").fetch_one(&mut conn).await?;
    assert_eq!(gone, None, "a dropped sqlx transaction is rolled back");
    assert!(conn.pin().await?.copy_in_raw("copy nothing_such from stdin").await.is_err());
    drop(conn);
    let mut again = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut again).await?;
    Ok(())
}

/// An application's own error is no failure of the database, and one that holds a failure of the database hides nothing.
#[tokio::test]
async fn a_closure_with_an_error_of_its_own_is_run_again_for_the_databases_alone() -> Result<(), Error> {
    #[derive(Debug)]
    enum Refusal {
        OutOfStock,
        Database,
    }
    impl From<Error> for Refusal {
        fn from(_: Error) -> Self {
            Self::Database
        }
    }

    let server = server().await;
    let proxy = proxy_to(server).build()?;
    let cases = [(0, true, 1), (1, true, 2), (0, false, 1), (2, false, 3), (9, false, 3)];
    for (case, (conflicts, ends, runs_expected)) in cases.into_iter().enumerate() {
        let name = format!("own_errors_{case}");
        server.execute(&numbers(&name)).await;
        let runs = AtomicU32::new(0);
        let result: Result<(), Refusal> = proxy
            .transaction(|tx| {
                let (run_now, name) = (runs.fetch_add(1, Ordering::Relaxed), name.clone());
                Box::pin(async move {
                    let insert = AssertSqlSafe(format!("insert into {name} values (1)"));
                    sqlx::query(insert).execute(&mut **tx).await.map_err(Error::from)?;
                    if run_now < conflicts {
                        sqlx::query(CONFLICT).execute(&mut **tx).await.map_err(Error::from)?;
                    }
                    if ends { Err(Refusal::OutOfStock) } else { Ok(()) }
                })
            })
            .await;
        let told = match result {
            Ok(()) => "done",
            Err(Refusal::OutOfStock) => "refused",
            Err(Refusal::Database) => "failed",
        };
        let expected = if ends {
            "refused"
        } else if conflicts < 3 {
            "done"
        } else {
            "failed"
        };
        assert_eq!((told, runs.into_inner()), (expected, runs_expected), "{conflicts} conflicts, refused: {ends}");
        let count = AssertSqlSafe(format!("select count(*) from {name}"));
        let kept: i64 = sqlx::query_scalar(count).fetch_one(&mut server.admin().await).await.expect("an answer");
        assert_eq!(kept, i64::from(told == "done"), "{conflicts} conflicts, refused: {ends}");
    }
    Ok(())
}
