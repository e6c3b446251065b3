//! An error aborts its transaction, also one that comes late or from behind the session's back, and committing what was
//! aborted or ended is an error. On MySQL no error aborts one: what ends it there is in `mysql::transactions`.

use futures_util::TryStreamExt;
use lambda_rds::{Error, Outcome};
use sqlx::{Acquire, Executor};

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
