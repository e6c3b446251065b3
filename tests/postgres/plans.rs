//! A plan that became stale heals by itself; on bare sqlx 0.9.0 it never does.

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error, PgProxy, Tls};
use sqlx::{AssertSqlSafe, Connection as _, Executor, Row, SqlSafeStr, Statement};

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

/// What a literal means is decided when its statement is planned: under what was set for the transaction alone, and no longer than that
/// is so, wherever it ends.
#[tokio::test]
async fn a_plan_of_what_was_set_for_a_transaction_ends_with_that() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute("create table ev (at timestamptz); grant all on ev to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let local = "set local timezone = 'Asia/Tokyo'";
    let unseen = "do $$ begin perform set_config('timezone', 'Asia/Tokyo', true); end $$";
    // `x` is the statement with the literal, and the last one of each program is in the session's own zone.
    for program in [
        vec!["begin", "savepoint a", local, "x", "rollback to a", "x"],
        vec!["begin", local, "x", "reset timezone", "x"],
        vec!["begin", local, "x", "set timezone = 'UTC'", "x"],
        vec!["begin; set local timezone = 'Asia/Tokyo'", "x", "commit", "x"],
        vec!["begin; set timezone = 'Asia/Tokyo'", "x", "rollback", "x"],
        vec!["begin", unseen, "x", "commit", "x"],
        vec!["begin", unseen, "x", "rollback", "x"],
    ] {
        let mut conn = proxy.get_connection().await?;
        sqlx::raw_sql("set timezone = 'UTC'").execute(&mut conn).await?;
        let x = "insert into ev values ('2024-07-01 09:00') returning extract(hour from at at time zone 'UTC')::int4";
        let mut hours = vec![sqlx::query_scalar::<_, i32>(x).fetch_one(&mut conn).await?];
        for step in &program {
            if *step == "x" {
                hours.push(sqlx::query_scalar(x).fetch_one(&mut conn).await?);
            } else {
                sqlx::raw_sql(AssertSqlSafe(*step)).execute(&mut conn).await?;
            }
        }
        assert_eq!(hours, [9, 0, 9], "{program:?}");
        let _ = sqlx::raw_sql("rollback").execute(&mut conn).await;
    }
    Ok(())
}

/// A statement that the application holds was prepared when its table had other columns.
#[tokio::test]
async fn the_columns_of_a_statement_that_is_held_are_those_that_it_has_now() -> Result<(), Error> {
    let server = Postgres::start(PostgresOptions::default()).await;
    server.execute("create table people (id int, nickname text, email text); grant all on people to app").await;
    server.execute("insert into people values (1, 'one', 'one@example.com')").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let text = "select * from people".into_sql_str();
    let statement = (&mut conn).prepare(text).await?;
    let row = statement.query().fetch_one(&mut conn).await?;
    assert_eq!(row.get::<&str, _>("nickname"), "one");
    server.execute("alter table people drop column nickname").await;
    let row = statement.query().fetch_one(&mut conn).await?;
    assert_eq!(row.get::<&str, _>("email"), "one@example.com");
    assert!(row.try_get::<&str, _>("nickname").is_err());
    Ok(())
}

/// A setting is there as soon as its answer is seen, also where nobody reads that to its end.
#[tokio::test]
async fn what_a_stream_has_said_to_be_set_is_set() -> Result<(), Error> {
    let proxy = crate::support::proxy().await;
    let mut conn = proxy.get_connection().await?;
    let text = "select set_config('app.tenant', $1, false)";
    let first = sqlx::query(text).bind("42").fetch(&mut conn).try_next().await?;
    assert!(first.is_some());
    let tenant = "select current_setting('app.tenant', true)";
    assert_eq!(sqlx::query_scalar::<_, String>(tenant).fetch_one(&mut conn).await?, "42");
    let first = (&mut conn).fetch_many("set app.tenant = '43'").try_next().await?;
    assert!(first.is_some());
    assert_eq!(sqlx::query_scalar::<_, String>(tenant).fetch_one(&mut conn).await?, "43");
    Ok(())
}
