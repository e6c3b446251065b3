//! A plan that became stale heals by itself; on bare sqlx 0.9.0 it never does.

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error, PgProxy, Tls};
use sqlx::{AssertSqlSafe, Connection as _, Executor};

use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{APP_PASSWORD, Postgres, PostgresOptions};
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

/// Whatever has kept the server from planning anew, be it a cancel from outside or a limit of time: what was planned under other
/// settings is not run, and what has aborted a transaction is told.
#[tokio::test]
async fn what_could_not_be_planned_anew_is_not_run() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    let door = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let spoil = || door.misprint("DISCARD PLANS", "DISCARD PLANZ");
    let place = PgProxy::builder().host("127.0.0.1").port(door.port()).database("app").tls(Tls::Disable);
    let proxy = place.user("plain").password(APP_PASSWORD).max_connections(1).build()?;
    let noon = async |conn: &mut Connection<sqlx::Postgres>| {
        let text: String = sqlx::query_scalar("select ('2020-01-01 12:00'::timestamptz at time zone 'UTC')::text")
            .fetch_one(conn)
            .await?;
        Ok::<_, Error>(text[11..16].to_owned())
    };
    let run = async |conn: &mut Connection<sqlx::Postgres>, sql: &str| {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.map_err(Error::from)
    };
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set timezone = 'UTC'").await?;
    assert_eq!(noon(&mut conn).await?, "12:00");

    run(&mut conn, "set timezone = 'Asia/Tokyo'").await?;
    spoil();
    assert_eq!(noon(&mut conn).await.unwrap_err().sqlstate().as_deref(), Some("42601"));
    door.pass();
    assert_eq!(noon(&mut conn).await?, "03:00");

    let mut tx = conn.begin().await?;
    run(&mut tx, "set local timezone = 'America/New_York'").await?;
    spoil();
    assert_eq!(noon(&mut tx).await.unwrap_err().sqlstate().as_deref(), Some("42601"));
    assert!(noon(&mut tx).await.is_err());
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    // An end is no statement: it finds a transaction that is aborted, and ends it.
    for rolls_back in [true, false] {
        door.pass();
        run(&mut conn, "begin").await?;
        assert_eq!(noon(&mut conn).await?, "03:00");
        run(&mut conn, "set local timezone = 'America/New_York'").await?;
        spoil();
        if rolls_back {
            run(&mut conn, "rollback").await?;
        } else {
            let aborted = run(&mut conn, "commit").await.unwrap_err();
            assert!(matches!(aborted, Error::TransactionAborted { .. }), "{aborted:?}");
        }
    }
    door.pass();
    assert_eq!(noon(&mut conn).await?, "03:00");

    // By the next session, in one text with what takes this one's settings back: that connection is closed, and it gets another one.
    let mut other = proxy.get_connection().await?;
    spoil();
    let at_login = noon(&mut other).await?;
    door.pass();
    assert_eq!(noon(&mut other).await?, at_login);
    assert_eq!(noon(&mut conn).await?, "03:00");
    Ok(())
}
