//! A session is sqlx's executor, and borrows a physical connection for a statement or a transaction.

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error, Outcome, PinCause, Postgres};
use sqlx::{Acquire, AssertSqlSafe, Executor, Row};

use crate::support::{Recorder, proxy, proxy_to, server};

#[tokio::test]
async fn every_way_of_running_a_query_works() -> Result<(), Error> {
    let mut conn = proxy().await.get_connection().await?;
    let (one, text): (i32, String) =
        sqlx::query_as("select $1::int, $2::text").bind(1).bind("x").fetch_one(&mut conn).await?;
    assert_eq!((one, text.as_str()), (1, "x"));
    assert_eq!(sqlx::query_scalar::<_, i64>("select 5::int8").fetch_one(&mut conn).await?, 5);
    assert!(sqlx::query("select 1 where false").fetch_optional(&mut conn).await?.is_none());
    assert_eq!(conn.fetch_all("select generate_series(1, 3)").await?.len(), 3);
    assert_eq!(sqlx::query("select 1 from generate_series(1, 4)").execute(&mut conn).await?.rows_affected(), 4);
    let sum: i32 = sqlx::query("select generate_series(1, 4)")
        .fetch(&mut conn)
        .try_fold(0, |sum, row| async move { Ok(sum + row.get::<i32, _>(0)) })
        .await?;
    assert_eq!(sum, 10);
    sqlx::raw_sql("select 1; select 2").execute(&mut conn).await?;
    let statement = conn.prepare(sqlx::SqlSafeStr::into_sql_str("select $1::int + 1")).await?;
    use sqlx::Statement;
    assert_eq!(statement.query_scalar::<i32>().bind(1).fetch_one(&mut conn).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_session_holds_a_connection_only_while_it_works() -> Result<(), Error> {
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    assert_eq!((proxy.status().idle, proxy.status().leased), (1, 0));
    sqlx::query("select 1").execute(&mut conn).await?;
    assert_eq!((proxy.status().idle, proxy.status().leased), (1, 0));
    let mut tx = conn.begin().await?;
    assert_eq!((proxy.status().idle, proxy.status().leased), (0, 1));
    sqlx::query("select 1").execute(&mut *tx).await?;
    tx.commit().await?;
    assert_eq!((proxy.status().idle, proxy.status().leased, proxy.status().connections), (1, 0, 1));
    Ok(())
}

#[tokio::test]
async fn transactions_commit_roll_back_and_nest() -> Result<(), Error> {
    let server = server().await;
    server.execute("create table if not exists nest (n int); grant all on nest to app").await;
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    let count = async |conn: &mut Connection<Postgres>| -> Result<Vec<i32>, Error> {
        Ok(sqlx::query_scalar("select n from nest order by n").fetch_all(conn).await?)
    };

    let mut tx = conn.begin().await?;
    sqlx::query("insert into nest values (1)").execute(&mut *tx).await?;
    let mut inner = tx.begin().await?;
    sqlx::query("insert into nest values (2)").execute(&mut *inner).await?;
    inner.rollback().await?;
    let mut inner = tx.begin().await?;
    sqlx::query("insert into nest values (3)").execute(&mut *inner).await?;
    inner.commit().await?;
    {
        let mut dropped = tx.begin().await?;
        sqlx::query("insert into nest values (4)").execute(&mut *dropped).await?;
    }
    sqlx::query("insert into nest values (5)").execute(&mut *tx).await?;
    tx.commit().await?;
    assert_eq!(count(&mut conn).await?, [1, 3, 5]);

    let mut tx = conn.begin().await?;
    sqlx::query("insert into nest values (6)").execute(&mut *tx).await?;
    tx.rollback().await?;
    {
        let mut tx = conn.begin().await?;
        sqlx::query("insert into nest values (7)").execute(&mut *tx).await?;
    }
    assert_eq!(count(&mut conn).await?, [1, 3, 5]);

    let result: Result<(), Error> = conn
        .transaction(|tx| {
            Box::pin(async move {
                sqlx::query("insert into nest values (8)").execute(&mut **tx).await?;
                Err(sqlx::Error::RowNotFound.into())
            })
        })
        .await;
    assert!(matches!(result, Err(Error::Database(sqlx::Error::RowNotFound))));
    let n: i32 = conn
        .transaction(|tx| {
            Box::pin(async move {
                sqlx::query_scalar("insert into nest values (9) returning n")
                    .fetch_one(&mut **tx)
                    .await
                    .map_err(Error::from)
            })
        })
        .await?;
    assert_eq!((n, count(&mut conn).await?), (9, vec![1, 3, 5, 9]));
    assert_eq!(proxy.status().pinned, 0);
    Ok(())
}

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
async fn what_cannot_be_moved_pins_and_is_cleaned_afterwards() -> Result<(), Error> {
    let recorder = Recorder::default();
    let proxy = proxy_to(server().await).max_connections(1).observer(recorder.observer()).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("create temp table mine (n int)").execute(&mut conn).await?;
    let reason = conn.pin_reason().expect("pinned");
    assert_eq!((reason.cause(), reason.statement()), (PinCause::TemporaryObject, "create temp table mine (n int)"));
    assert_eq!(proxy.status().pinned, 1);
    sqlx::query("insert into mine values (1)").execute(&mut conn).await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await?;
    drop(conn);

    let mut other = proxy.get_connection().await?;
    let table: Option<String> = sqlx::query_scalar("select to_regclass('mine')::text").fetch_one(&mut other).await?;
    assert_eq!(table, None);
    assert_eq!(
        pid,
        sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&mut other).await?,
        "cleaned, not closed"
    );
    assert_eq!((proxy.status().pinned, other.pin_reason()), (0, None));
    assert_eq!(recorder.count(|event| matches!(event, lambda_rds::Event::Unpinned { .. })), 1);
    Ok(())
}

#[tokio::test]
async fn the_physical_connection_and_sqlx_transactions_can_be_had() -> Result<(), Error> {
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = Acquire::begin(&mut conn).await?;
        sqlx::query("create temp table t (n int)").execute(&mut *tx).await?;
    }
    let gone: Option<String> = sqlx::query_scalar("select to_regclass('pg_temp.t')::text").fetch_one(&mut conn).await?;
    assert_eq!(gone, None, "a dropped sqlx transaction is rolled back");
    let physical = conn.pin().await?;
    assert!(physical.copy_in_raw("copy nothing_such from stdin").await.is_err());
    assert_eq!(conn.pin_reason().map(lambda_rds::PinReason::cause), Some(PinCause::HandedOut));
    drop(conn);
    let mut again = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut again).await?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_statement_harms_nobody() -> Result<(), Error> {
    let proxy = proxy_to(server().await).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    // Half a stream.
    {
        let mut rows = sqlx::query("select generate_series(1, 10000)").fetch(&mut conn);
        rows.try_next().await?;
    }
    assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut conn).await?, 1);
    // A statement that fails after its future was dropped: its error is nobody else's.
    let doomed = sqlx::query("select pg_sleep(0.05), 1 / (random() < 0)::int").execute(&mut conn);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(10), doomed).await.is_err());
    assert_eq!(sqlx::query_scalar::<_, i32>("select 2").fetch_one(&mut conn).await?, 2);
    // Inside a transaction it aborts the transaction.
    let mut tx = conn.begin().await?;
    // As one message: what is prepared first may be dropped before it is executed, and then has no error.
    let doomed = sqlx::raw_sql("select pg_sleep(0.05), 1 / (random() < 0)::int").execute(&mut *tx);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(10), doomed).await.is_err());
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    Ok(())
}

#[tokio::test]
async fn a_lost_transaction_is_never_continued_on_another_connection() -> Result<(), Error> {
    let server = server().await;
    server.execute("create table if not exists lost (n int); grant all on lost to app").await;
    let proxy = proxy_to(server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *tx).await?;
    server.execute(&format!("select pg_terminate_backend({pid})")).await;
    let error = Error::from(sqlx::query("insert into lost values (1)").execute(&mut *tx).await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert_eq!((error.outcome(), error.is_retryable()), (Outcome::RolledBack, true));
    let again = Error::from(sqlx::query("insert into lost values (2)").execute(&mut *tx).await.unwrap_err());
    assert!(matches!(again, Error::ConnectionLost { .. }), "{again:?}");
    assert!(matches!(tx.commit().await, Err(Error::ConnectionLost { .. })));
    // The session itself goes on.
    assert_eq!(sqlx::query_scalar::<_, i64>("select count(*) from lost").fetch_one(&mut conn).await?, 0);
    Ok(())
}

#[tokio::test]
async fn dynamic_texts_and_generic_code_compile() -> Result<(), Error> {
    async fn generic<'e, E: Executor<'e, Database = Postgres>>(executor: E) -> Result<i32, sqlx::Error> {
        sqlx::query_scalar("select 7").fetch_one(executor).await
    }
    fn is_send_and_static<T: Send + 'static>(_: &T) {}
    let mut conn = proxy().await.get_connection().await?;
    is_send_and_static(&conn);
    assert_eq!(generic(&mut conn).await?, 7);
    sqlx::query(AssertSqlSafe(format!("select {}", 8))).execute(&mut conn).await?;
    let mut tx = conn.begin().await?;
    assert_eq!(generic(&mut *tx).await?, 7);
    tx.rollback().await?;
    Ok(())
}
