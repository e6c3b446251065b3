//! A plan that became stale heals by itself; on bare sqlx 0.9.0 it never does.

use futures_util::TryStreamExt;
use lambda_rds::Error;
use sqlx::{Connection as _, Executor};

use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::proxy_to;

#[tokio::test]
async fn a_plan_that_a_migration_made_stale_heals_by_itself() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute("create table stale (a int); insert into stale values (1); grant all on stale to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut bare = sqlx::PgConnection::connect(&format!("{}?sslmode=require", server.url())).await?;
    let all = "select * from stale";
    sqlx::query(all).fetch_all(&mut conn).await?;
    sqlx::query(all).fetch_all(&mut bare).await?;
    server.execute("alter table stale add column b int").await;
    for _ in 0..2 {
        assert!(sqlx::query(all).fetch_all(&mut bare).await.is_err(), "bare sqlx never recovers");
    }
    assert_eq!(sqlx::query(all).fetch_all(&mut conn).await?.len(), 1);

    server.execute("alter table stale add column c int").await;
    let rows: Vec<_> = sqlx::query(all).fetch(&mut conn).try_collect().await?;
    assert_eq!(rows.len(), 1);
    server.execute("alter table stale add column d int").await;
    assert!(sqlx::query(all).fetch_optional(&mut conn).await?.is_some());

    // Inside a transaction the server has aborted it by then: that is for the application to know.
    server.execute("alter table stale add column e int").await;
    let mut tx = conn.begin().await?;
    let error = Error::from(sqlx::query(all).fetch_all(&mut *tx).await.unwrap_err());
    assert_eq!(error.sqlstate().as_deref(), Some("0A000"));
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    assert_eq!(sqlx::query(all).fetch_all(&mut conn).await?.len(), 1);

    // Deallocated behind the driver's back.
    (&mut conn).execute(sqlx::raw_sql("select 1")).await?;
    conn.pin().await?.execute(sqlx::raw_sql("deallocate all")).await?;
    drop(conn);
    let mut conn = proxy.get_connection().await?;
    assert_eq!(sqlx::query(all).fetch_all(&mut conn).await?.len(), 1);
    Ok(())
}
