//! A session is sqlx's executor, and borrows a physical connection for a statement or a transaction.

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error, MySql};
use sqlx::{Executor, Row, Statement};

use crate::support::{mysql_proxy, mysql_server};

#[tokio::test]
async fn every_way_of_running_a_query_works() -> Result<(), Error> {
    let mut conn = mysql_proxy().await.get_connection().await?;
    let (one, text): (i64, String) = sqlx::query_as("select ?, ?").bind(1_i64).bind("x").fetch_one(&mut conn).await?;
    assert_eq!((one, text.as_str()), (1, "x"));
    assert_eq!(sqlx::query_scalar::<_, i32>("select 5").fetch_one(&mut conn).await?, 5);
    assert!(sqlx::query("select 1 from dual where false").fetch_optional(&mut conn).await?.is_none());
    assert!(sqlx::query("select seq from seq_1_to_3").fetch_optional(&mut conn).await?.is_some());
    assert_eq!(conn.fetch_all("select seq from seq_1_to_3").await?.len(), 3);
    let sum: u64 = sqlx::query("select seq from seq_1_to_4")
        .fetch(&mut conn)
        .try_fold(0, |sum, row| async move { Ok(sum + row.get::<u64, _>(0)) })
        .await?;
    assert_eq!(sum, 10);
    sqlx::raw_sql("select 1; select 2").execute(&mut conn).await?;
    let statement = conn.prepare(sqlx::SqlSafeStr::into_sql_str("select ? + 1")).await?;
    assert_eq!(statement.query_scalar::<i64>().bind(1_i64).fetch_one(&mut conn).await?, 2);
    let wrong = Error::from(sqlx::query("select ?, ?").bind(1_i64).execute(&mut conn).await.unwrap_err());
    assert!(matches!(wrong, Error::Database(sqlx::Error::InvalidArgument(_))), "{wrong:?}");
    assert_eq!(sqlx::query_scalar::<_, i32>("select 6").fetch_one(&mut conn).await?, 6);
    Ok(())
}

#[tokio::test]
async fn a_session_holds_a_connection_only_while_it_works() -> Result<(), Error> {
    let proxy = mysql_proxy().await;
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
    let server = mysql_server().await;
    server.execute("create table if not exists app.nest (n int)").await;
    let proxy = mysql_proxy().await;
    let mut conn = proxy.get_connection().await?;
    let count = async |conn: &mut Connection<MySql>| -> Result<Vec<i32>, Error> {
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
    assert_eq!(proxy.status().pinned, 0);
    Ok(())
}
