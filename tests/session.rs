//! A session is sqlx's executor, and borrows a physical connection for a statement or a transaction.
//!
//! Not here: committing what was aborted (`postgres::aborted`; what ends a transaction on MySQL is in
//! `mysql::transactions`).

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error, Event, Outcome, PinCause, PinReason};
use sqlx::{Acquire, AssertSqlSafe, Executor, Row, Statement};

use super::stage::*;
use crate::support::Recorder;

/// The lock of these tests.
const LOCK: u8 = 22;

#[tokio::test]
async fn every_way_of_running_a_query_works() -> Result<(), Error> {
    let mut conn = proxy().await.get_connection().await?;
    let (one, text): (i64, String) = sqlx::query_as(ECHO_TWO).bind(1_i64).bind("x").fetch_one(&mut conn).await?;
    assert_eq!((one, text.as_str()), (1, "x"));
    assert_eq!(sqlx::query_scalar::<_, i32>("select 5").fetch_one(&mut conn).await?, 5);
    let none = "select 1 from (select 1 as n) as one where false";
    assert!(sqlx::query(none).fetch_optional(&mut conn).await?.is_none());
    assert!(sqlx::query(AssertSqlSafe(series(3))).fetch_optional(&mut conn).await?.is_some());
    assert_eq!(conn.fetch_all(AssertSqlSafe(series(3))).await?.len(), 3);
    let done = sqlx::query(AssertSqlSafe(series(4))).execute(&mut conn).await?;
    assert_eq!(done.rows_affected(), if COUNTS_WHAT_IS_READ { 4 } else { 0 });
    let sum: i64 = sqlx::query(AssertSqlSafe(series(4)))
        .fetch(&mut conn)
        .try_fold(0, |sum, row| async move { Ok(sum + row.get::<i64, _>(0)) })
        .await?;
    assert_eq!(sum, 10);
    sqlx::raw_sql("select 1; select 2").execute(&mut conn).await?;
    let statement = conn.prepare(sqlx::SqlSafeStr::into_sql_str(ECHO)).await?;
    assert_eq!(statement.query_scalar::<String>().bind("y").fetch_one(&mut conn).await?, "y");
    Ok(())
}

/// The answers of a connection are read by the runtime that it was opened on: on another one a statement would be executed,
/// and nobody would know.
#[test]
fn a_proxy_serves_one_runtime_after_another() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let insert = async |conn: &mut Connection<Db>, n: i32| {
        sqlx::raw_sql(AssertSqlSafe(format!("insert into runtimes values ({n})"))).execute(conn).await
    };
    let (first, second, third) = (runtime(), runtime(), runtime());
    let proxy = first.block_on(async {
        server().await.execute(&numbers("runtimes")).await;
        proxy().await
    });
    let mut conn = first.block_on(async {
        let mut conn = proxy.get_connection().await.unwrap();
        insert(&mut conn, 1).await.unwrap();
        conn
    });
    drop(first);
    // A session goes along, where nothing binds it to its connection.
    second.block_on(async { insert(&mut conn, 2).await.unwrap() });
    // The second one lives, and nobody runs it.
    third.block_on(async {
        insert(&mut proxy.get_connection().await.unwrap(), 3).await.unwrap();
        insert(&mut conn, 4).await.unwrap();
        conn.begin().await.unwrap().rollback().await.unwrap();
        sqlx::raw_sql("begin").execute(&mut conn).await.unwrap();
        insert(&mut conn, 5).await.unwrap();
    });
    second.block_on(async {
        let error = Error::from(sqlx::raw_sql("commit").execute(&mut conn).await.unwrap_err());
        assert!(matches!(&error, Error::ConnectionLost { outcome: Outcome::RolledBack, .. }), "{error:?}");
        drop(conn);
        let mut conn = proxy.get_connection().await.unwrap();
        let found =
            sqlx::query_scalar::<_, i32>("select n from runtimes order by n").fetch_all(&mut conn).await.unwrap();
        assert_eq!(found, [1, 2, 3, 4]);
    });
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
    server().await.execute(&numbers("nest")).await;
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    let count = async |conn: &mut Connection<Db>| -> Result<Vec<i32>, Error> {
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
    let n: u64 = conn
        .transaction(|tx| {
            Box::pin(async move {
                let done = sqlx::query("insert into nest values (9)").execute(&mut **tx).await?;
                Ok::<_, Error>(done.rows_affected())
            })
        })
        .await?;
    assert_eq!((n, count(&mut conn).await?), (1, vec![1, 3, 5, 9]));
    assert_eq!(proxy.status().pinned, 0);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_moved_pins_and_is_cleaned_afterwards() -> Result<(), Error> {
    let temporary = "create temporary table mine (n int)";
    let locks = lock(LOCK);
    for (text, cause, kept) in
        [(temporary, PinCause::TemporaryObject, DROPS_TEMPORARY_TABLES), (&locks, PinCause::AdvisoryLock, true)]
    {
        let recorder = Recorder::default();
        let proxy = proxy_to(server().await).max_connections(1).observer(recorder.observer()).build()?;
        let mut conn = proxy.get_connection().await?;
        sqlx::query(AssertSqlSafe(text)).execute(&mut conn).await?;
        let reason = conn.pin_reason().expect("pinned");
        // Up to the first string or number.
        let literal = |next: char| next == '\'' || next.is_ascii_digit();
        let shown = text.split_once(literal).map_or_else(|| text.to_owned(), |(before, _)| format!("{before}'…'"));
        assert_eq!((reason.cause(), reason.statement()), (cause, shown.as_str()));
        assert_eq!(proxy.status().pinned, 1);
        if cause == PinCause::TemporaryObject {
            sqlx::query("insert into mine values (1)").execute(&mut conn).await?;
        }
        let session: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut conn).await?;
        drop(conn);

        let mut other = proxy.get_connection().await?;
        let held = AssertSqlSafe(format!("select {}", held(LOCK)));
        assert_eq!(sqlx::query_scalar::<_, i64>(held).fetch_one(&mut other).await?, 0);
        let gone = Error::from(sqlx::query("select * from mine").execute(&mut other).await.unwrap_err());
        assert_eq!(gone.sqlstate().as_deref(), Some(NO_TABLE));
        let next: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut other).await?;
        assert_eq!(session == next, kept, "cleaned, not closed, after {text}");
        assert_eq!((proxy.status().pinned, other.pin_reason()), (0, None));
        assert_eq!(recorder.count(|event| matches!(event, Event::Unpinned { .. })), 1);
    }
    Ok(())
}

#[tokio::test]
async fn the_physical_connection_and_sqlx_transactions_can_be_had() -> Result<(), Error> {
    server().await.execute(&numbers("had")).await;
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    {
        let mut tx = Acquire::begin(&mut conn).await?;
        sqlx::query("insert into had values (1)").execute(&mut *tx).await?;
    }
    let rows = sqlx::query("select n from had").fetch_all(&mut conn).await?;
    assert!(rows.is_empty(), "a dropped sqlx transaction is rolled back");
    let physical = conn.pin().await?;
    sqlx::Connection::ping(physical).await?;
    assert_eq!(conn.pin_reason().map(PinReason::cause), Some(PinCause::HandedOut));
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
        let mut rows = sqlx::query(AssertSqlSafe(series(10_000))).fetch(&mut conn);
        rows.try_next().await?;
    }
    assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut conn).await?, 1);
    // A statement that fails after its future was dropped: its error is nobody else's.
    let doomed = sqlx::query(DOOMED).execute(&mut conn);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(10), doomed).await.is_err());
    assert_eq!(sqlx::query_scalar::<_, i32>("select 2").fetch_one(&mut conn).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_lost_transaction_is_never_continued_on_another_connection() -> Result<(), Error> {
    let server = server().await;
    server.execute(&numbers("lost")).await;
    let proxy = proxy_to(server).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    let id: i64 = sqlx::query_scalar(SESSION).fetch_one(&mut *tx).await?;
    server.execute(&terminate(id)).await;
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
    async fn generic<'e, E: Executor<'e, Database = Db>>(executor: E) -> Result<i32, sqlx::Error> {
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
